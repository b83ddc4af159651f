//! What an operator does with deliveries: `tail`, `resend`, `recover`, `undelivered`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use runtime::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::{confirm, time};
use crate::Connection;
use crate::client::{Api, encoded};
use crate::connection::{Env, application};
use crate::error::{CliError, Result};
use crate::output::{Colour, Output, plain, text};

/// Endpoints that `tail` looks at, the newest ones: each costs a request a turn.
const ENDPOINTS_MAX: usize = 20;
/// How long `tail` pauses between two looks.
const TURN: Duration = Duration::from_secs(2);
/// How long `recover` waits between two looks at its task.
const TASK_TURN: Duration = Duration::from_secs(1);

/// `postrider tail`
#[derive(Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Only this endpoint [default: the application's newest 20].
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Only failed attempts.
    #[arg(long)]
    failing: bool,
    /// Only these event types.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Begin this long ago [default: now].
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// One line for one attempt.
fn line(out: &Output, url: &str, attempt: &Value) -> String {
    let status = attempt["responseStatusCode"].as_u64().unwrap_or_default();
    let success = attempt["status"] == 0;
    let shown = if status == 0 { "no response".to_owned() } else { status.to_string() };
    let shown = out.paint(if success { Colour::Green } else { Colour::Red }, &format!("{shown:<11}"));
    let clock = text(attempt, "timestamp").get(11..19).unwrap_or_default().to_owned();
    let kind = attempt["msg"]["eventType"].as_str().or(attempt["eventType"].as_str()).unwrap_or_default();
    let ms = format!("{} ms", attempt["responseDurationMs"].as_u64().unwrap_or_default());
    format!(
        "{}  {shown}  {ms:>8}  {}  {}  {}",
        out.paint(Colour::Dim, &clock),
        text(attempt, "msgId"),
        plain(kind),
        out.paint(Colour::Dim, &plain(url)),
    )
}

/// The endpoints to look at: id and URL.
async fn endpoints(api: &Api, app: &str, named: Option<&str>) -> Result<Vec<(String, String)>> {
    let one = |endpoint: &Value| (text(endpoint, "id"), text(endpoint, "url"));
    if let Some(named) = named {
        return Ok(vec![one(&api.get(&format!("/app/{app}/endpoint/{}", encoded(named))).await?)]);
    }
    let page = api.get(&format!("/app/{app}/endpoint?limit={ENDPOINTS_MAX}")).await?;
    Ok(page["data"].as_array().into_iter().flatten().map(one).collect())
}

/// Prints attempts until Ctrl-C.
pub(crate) async fn tail(flags: Tail, env: Env<'_>, out: &Output) -> Result<()> {
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.app.as_deref()).await?;
    let since = flags.since.as_deref().map(|text| time("--since", text)).transpose()?;
    let begin = since.unwrap_or_else(|| SystemClock.now());
    let mut filter = String::new();
    if flags.failing {
        filter += "&status=2";
    }
    for name in &flags.types {
        filter += &format!("&event_types={}", encoded(name));
    }
    let mut seen: BTreeMap<String, (Timestamp, Vec<String>)> = BTreeMap::new();
    out.note("Waiting for attempts. Ctrl-C ends it.");
    let look = async {
        loop {
            for (endpoint, url) in endpoints(&api, &app, flags.endpoint.as_deref()).await? {
                let (after, shown) = seen.entry(endpoint.clone()).or_insert_with(|| (begin, Vec::new()));
                let path = format!(
                    "/app/{app}/attempt/endpoint/{endpoint}?limit=250&with_msg=true&with_content=false&after={after}{filter}"
                );
                let page = api.get(&path).await?;
                let attempts = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
                // Newest first; those of the last timestamp come again, as `after` counts it in.
                for attempt in attempts.iter().rev() {
                    let id = text(attempt, "id");
                    if shown.contains(&id) {
                        continue;
                    }
                    let at = Timestamp::parse(&text(attempt, "timestamp")).unwrap_or(*after);
                    if at > *after {
                        *after = at;
                        shown.clear();
                    }
                    shown.push(id);
                    let text = if flags.json { attempt.to_string() } else { line(out, &url, attempt) };
                    out.line(&text)?;
                }
            }
            tokio::time::sleep(TURN).await;
        }
    };
    tokio::select! {
        ended = look => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// `postrider resend`
#[derive(Debug, Args)]
pub struct Resend {
    /// The message's id or event id.
    #[arg(value_name = "MESSAGE")]
    message: String,
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// The endpoint [default: all that the message was sent to].
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
}

/// Sends a message again.
pub(crate) async fn resend(flags: Resend, env: Env<'_>, out: &Output) -> Result<()> {
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.app.as_deref()).await?;
    let message = encoded(&flags.message);
    let to: Vec<String> = match flags.endpoint {
        Some(endpoint) => vec![endpoint],
        None => {
            let page = api.get(&format!("/app/{app}/msg/{message}/endpoint?limit=250")).await?;
            page["data"].as_array().into_iter().flatten().map(|endpoint| text(endpoint, "id")).collect()
        }
    };
    if to.is_empty() {
        return Err(CliError::usage("the message was sent to no endpoint; name one with --endpoint"));
    }
    for endpoint in to {
        api.post(&format!("/app/{app}/msg/{message}/endpoint/{}/resend", encoded(&endpoint)), &json!({}))
            .await?;
        out.line(&format!("Resending {} to {endpoint}", flags.message))?;
    }
    Ok(())
}

/// `postrider recover`
#[derive(Debug, Args)]
pub struct Recover {
    /// The endpoint's id or uid.
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// The begin of the window: 1h, 2d, or 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: String,
    /// The end of the window [default: now].
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Messages that the endpoint was never sent, instead of those that failed.
    #[arg(long)]
    missing: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Counts, asks, starts the task and follows it.
pub(crate) async fn recover(flags: Recover, env: Env<'_>, out: &Output) -> Result<()> {
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.app.as_deref()).await?;
    let mut window = json!({ "since": time("--since", &flags.since)?.to_string() });
    if let Some(until) = &flags.until {
        window["until"] = json!(time("--until", until)?.to_string());
    }
    let name = if flags.missing { "replay-missing" } else { "recover" };
    let path = format!("/app/{app}/endpoint/{}/{name}", encoded(&flags.endpoint));
    let counted = api.post(&format!("{path}/count"), &window).await?;
    let count = counted["count"].as_u64().unwrap_or_default();
    let more = if counted["more"] == true { "at least " } else { "" };
    if count == 0 && counted["more"] != true {
        return out.line("Nothing to send: no message of that window is missing.");
    }
    confirm(&format!("Send {more}{count} messages to {} again?", flags.endpoint), flags.yes)?;
    let task = api.post(&path, &window).await?;
    let id = text(&task, "id");
    // An application's token may start a task, and not look at it.
    let mut status = text(&task, "status");
    while status == "running" {
        tokio::time::sleep(TASK_TURN).await;
        let Ok(task) = api.get(&format!("/background-task/{}", encoded(&id))).await else {
            return out.line(&format!("Task {id} runs in the background."));
        };
        status = text(&task, "status");
        out.progress(&format!("{id}: {status} {}", plain(&task["data"].to_string())));
    }
    out.progress_done();
    if status == "failed" {
        return Err(CliError::Refused(format!("task {id} failed; `postrider task get {id}` says more")));
    }
    out.line(&format!("Task {id}: {status}"))
}

/// `postrider undelivered`
#[derive(Debug, Args)]
pub struct Undelivered {
    #[command(flatten)]
    connection: Connection,
    /// Only this application; an application's token has no other [default: all].
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Entries.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u16,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Lists what was given up and never arrived.
pub(crate) async fn undelivered(flags: Undelivered, env: Env<'_>, out: &Output) -> Result<()> {
    let api = flags.connection.api(env)?;
    let own = crate::connection::subject(api.token()).filter(|subject| subject.starts_with("app_"));
    let path = match flags.app.or(own) {
        Some(app) => format!("/app/{}/undelivered", encoded(&app)),
        None => "/undelivered".to_owned(),
    };
    let page = api.get(&format!("{path}?limit={}", flags.limit.clamp(1, 250))).await?;
    let entries = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    if flags.json {
        return entries.iter().try_for_each(|entry| out.line(&entry.to_string()));
    }
    let rows = entries.iter().map(|entry| {
        ["exhaustedAt", "appId", "endpointId", "msgId", "eventType", "responseStatusCode"]
            .map(|field| text(entry, field))
            .to_vec()
    });
    out.table(&["GIVEN UP", "APPLICATION", "ENDPOINT", "MESSAGE", "EVENT TYPE", "STATUS"], rows.collect())?;
    if page["done"] == false {
        out.note("There are more: raise --limit.");
    }
    Ok(())
}
