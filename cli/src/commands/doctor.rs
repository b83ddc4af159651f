//! `doctor`: what is wrong, and what to do about it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{Method, Request};
use http_body_util::Full;
use runtime::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::attempts::{attempts, sent_to};
use super::id;
use crate::Connection;
use crate::client::{Api, Http, encoded, is_local};
use crate::connection::{Env, subject};
use crate::error::{CliError, Result};
use crate::login;
use crate::output::{Colour, Output, plain, text};

/// How far clocks may differ before signatures are refused: half of what receivers allow.
const CLOCK_OFF_MAX_SECONDS: u64 = 150;

/// How long a response to a browser's question may take.
const PATIENCE: Duration = Duration::from_secs(35);

/// Looks at a test message, and how long each one waits: a first attempt has 15 seconds by default, and the one after it
/// comes later.
const LOOKS: u32 = 20;
const TURN: Duration = Duration::from_secs(1);
/// Looks after which a message without endpoints has none.
const LOOKS_EMPTY: u32 = 3;
/// Characters that are shown of a response.
const RESPONSE_SHOWN_MAX: usize = 200;

/// `postrider doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    connection: Connection,
    /// Also send a test message to this application and follow its delivery.
    #[arg(long, value_name = "APP", value_parser = id)]
    deliver: Option<String>,
    /// Also check that pages of this origin may call the API (CORS), such as https://app.example.com.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
}

struct Report<'a> {
    out: &'a Output,
    failed: usize,
}

impl Report<'_> {
    fn good(&self, what: &str) -> Result<()> {
        self.out.line(&format!("{}  {}", self.out.paint(Colour::Green, "ok  "), plain(what)))
    }

    fn bad(&mut self, what: &str, mend: &str) -> Result<()> {
        self.failed += 1;
        let (mark, what, mend) = (self.out.paint(Colour::Red, "FAIL"), plain(what), plain(mend));
        self.out.line(&format!("{mark}  {what}\n      {mend}"))
    }
}

/// Looks at one thing after the other; ends with 1 if something is wrong, 3 if nothing answers.
pub(crate) async fn run(flags: Doctor, env: Env<'_>, out: &Output) -> Result<()> {
    let (url, token) = flags.connection.resolve(env)?;
    let mut report = Report { out, failed: 0 };
    let api = Api::new(Http::new()?, &url, token.as_deref().unwrap_or_default());
    let health = api.send(Method::GET, "/health", None).await?;
    if health.status.is_success() {
        report.good(&format!("{url} answers"))?;
    } else {
        report.bad(
            &format!("{url} answers its health check with {}", health.status),
            "Is it a server of this API? Check --server-url.",
        )?;
    }
    if url.starts_with("http://") && !is_local(&url) {
        report.bad(
            "the connection is not encrypted",
            "Use an https:// URL: the token crosses the network as it is.",
        )?;
    } else {
        report.good("the connection is encrypted, or stays on this machine")?;
    }
    let theirs = health
        .headers
        .get("date")
        .and_then(|date| date.to_str().ok())
        .and_then(|date| Timestamp::parse_http_date(date, SystemClock.now()));
    match theirs.map(|theirs| theirs.seconds().abs_diff(SystemClock.now().seconds())) {
        Some(off) if off > CLOCK_OFF_MAX_SECONDS => report.bad(
            &format!("this clock and the server's differ by {off} s"),
            "Set this machine's clock: receivers refuse signatures that are five minutes off.",
        )?,
        Some(_) => report.good("the clocks agree")?,
        None => {}
    }
    if let Some(origin) = &flags.origin {
        cross_origin(&api, origin, &mut report).await?;
    }
    let Some(token) = token else {
        report.bad("there is no token", "Set POSTRIDER_TOKEN or save one with `postrider profile save`.")?;
        return end(&report);
    };
    let own = subject(&token).unwrap_or_default();
    let path = if own.starts_with("app_") { format!("/app/{own}") } else { "/app?limit=1".to_owned() };
    match api.get(&path).await {
        Ok(value) if value["id"].is_string() || value["data"].is_array() => {
            report.good(&format!("the token is valid, for {own}"))?;
        }
        Ok(_) => report.bad(&api.stranger().to_string(), "Check --server-url.")?,
        Err(error) => report.bad(
            &format!("the token is refused ({error})"),
            "Ask for a new one, or check that it is this server's.",
        )?,
    }
    if let Some(app) = &flags.deliver {
        deliver(&api, app, &mut report).await?;
    }
    end(&report)
}

/// Asks what a browser asks before a page's first request.
async fn cross_origin(api: &Api, origin: &str, report: &mut Report<'_>) -> Result<()> {
    let wrong =
        || CliError::usage(format!("--origin: {origin:?} is not one; expected https://app.example.com"));
    let parsed = url::Url::parse(origin).map_err(|_| wrong())?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.origin().ascii_serialization() != origin {
        return Err(wrong());
    }
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri(format!("{}/api/v1/app", api.url()))
        .header(ORIGIN, origin)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "GET")
        .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization")
        .body(Full::new(Bytes::new()))
        .map_err(|_| wrong())?;
    let response = api.http().send(request, PATIENCE).await.map_err(CliError::Unreachable)?;
    let header = |name| response.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let allowed = header(ACCESS_CONTROL_ALLOW_ORIGIN);
    let headers = header(ACCESS_CONTROL_ALLOW_HEADERS).to_ascii_lowercase();
    if (allowed == "*" || allowed == origin) && headers.contains("authorization") {
        return report.good(&format!("pages of {origin} may call the API"));
    }
    report.bad(
        &format!("pages of {origin} may not call the API"),
        "Add it to the template's CorsOrigins (the local runner's --cors-origins).",
    )
}

/// Sends a test message and says what became of it at each endpoint.
async fn deliver(api: &Api, named: &str, report: &mut Report<'_>) -> Result<()> {
    let app = encoded(named);
    let body = json!({ "eventType": "postrider.test", "payload": { "test": true } });
    let message = text(&api.post(&format!("/app/{app}/msg"), &body).await?, "id");
    let (mut endpoints, mut first) = (Vec::new(), BTreeMap::new());
    for look in 1..=LOOKS {
        tokio::time::sleep(TURN).await;
        endpoints = sent_to(api, &app, &message).await?;
        // Of each endpoint the first attempt: a later one would say the same of it, later.
        first.clear();
        for attempt in attempts(api, &format!("/app/{app}/attempt/msg/{message}?limit=250")).await? {
            first.entry(text(&attempt, "endpointId")).or_insert(attempt);
        }
        let is_done = |endpoint: &Value| first.contains_key(&text(endpoint, "id"));
        if endpoints.iter().all(is_done) && (look == LOOKS_EMPTY || !endpoints.is_empty()) {
            break;
        }
    }
    if endpoints.is_empty() {
        return report.bad(
            "a test message goes to no endpoint",
            "Does the application have an enabled endpoint that takes all event types?",
        );
    }
    for endpoint in &endpoints {
        let id = text(endpoint, "id");
        let name = endpoint["uid"].as_str().unwrap_or(&id);
        let place = format!("{name} {}", login::hidden(&text(endpoint, "url")));
        let place = place.trim_end();
        let mend =
            format!("Look at the endpoint: `postrider tail --app {named} --endpoint {name} --failing`.");
        match first.get(&id) {
            Some(attempt) if attempt["status"] == 0 => {
                report.good(&format!("a test message was delivered to {place}{}", status(attempt)))?;
            }
            Some(attempt) => report.bad(&format!("{place}: {}", reason(attempt)), &mend)?,
            None => {
                report.bad(&format!("{place}: no attempt within {} s", (TURN * LOOKS).as_secs()), &mend)?
            }
        }
    }
    Ok(())
}

/// The status of a response; nothing where a destination has none.
fn status(attempt: &Value) -> String {
    match attempt["responseStatusCode"].as_u64() {
        Some(status @ 1..) => format!(" ({status})"),
        _ => String::new(),
    }
}

/// Why an attempt failed.
fn reason(attempt: &Value) -> String {
    let response = text(attempt, "response");
    let shown: String = response.chars().take(RESPONSE_SHOWN_MAX).collect();
    let shown = if shown.len() < response.len() { format!("{shown} …") } else { shown };
    match (attempt["responseStatusCode"].as_u64().unwrap_or_default(), shown.trim()) {
        (0, "") => "a test message got no response".to_owned(),
        (0, why) => format!("a test message got no response: {why}"),
        (status, "") => format!("a test message was answered with {status}"),
        (status, body) => format!("a test message was answered with {status}: {body}"),
    }
}

fn end(report: &Report<'_>) -> Result<()> {
    match report.failed {
        0 => Ok(()),
        1 => Err(CliError::Refused("1 check failed".into())),
        failed => Err(CliError::Refused(format!("{failed} checks failed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attempt_has_its_reason() {
        let reason = |status: u16, response: &str| {
            reason(&json!({"responseStatusCode": status, "response": response}))
        };
        assert_eq!(reason(0, "connection refused"), "a test message got no response: connection refused");
        assert_eq!(reason(500, ""), "a test message was answered with 500");
        assert_eq!(reason(500, "broken\n"), "a test message was answered with 500: broken");
        assert!(reason(500, &"é".repeat(300)).ends_with("éé …"));
        assert_eq!(status(&json!({"responseStatusCode": 204})), " (204)");
        assert_eq!(status(&json!({"responseStatusCode": 0})), "");
    }
}
