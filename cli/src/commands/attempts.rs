//! What an operator does with deliveries: `tail`, `resend`, `recover`, `undelivered`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use runtime::clock::Timestamp;
use serde_json::{Value, json};

use super::recent::{self, Recent, Waiting};
use super::resources::{Columns, List, list};
use super::{confirm, id, interruption, time};
use crate::Connection;
use crate::client::{Api, encoded};
use crate::connection::{Env, application};
use crate::error::{CliError, Result};
use crate::login;
use crate::output::{Colour, Output, plain, text};

/// Endpoints that `tail` looks at, the newest ones: each costs a request a turn.
const ENDPOINTS_MAX: usize = 20;
/// Longer than an attempt takes from its time to its place in the log: a receiver may take half a minute.
const OVERLAP: Duration = Duration::from_secs(120);
/// Pages of attempts at one endpoint in one look.
const PAGES_MAX: usize = 20;
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
    #[arg(long, value_name = "APP", value_parser = id)]
    app: Option<String>,
    /// Only this endpoint [default: the application's newest 20].
    #[arg(long, value_name = "ENDPOINT", value_parser = id)]
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
    let clock = plain(text(attempt, "timestamp").get(11..19).unwrap_or_default());
    let kind = attempt["msg"]["eventType"].as_str().or(attempt["eventType"].as_str()).unwrap_or_default();
    let ms = format!("{} ms", attempt["responseDurationMs"].as_u64().unwrap_or_default());
    format!(
        "{}  {shown}  {ms:>8}  {}  {}  {}",
        out.paint(Colour::Dim, &clock),
        plain(&text(attempt, "msgId")),
        plain(kind),
        out.paint(Colour::Dim, &plain(&login::hidden(url))),
    )
}

/// The endpoints to look at: id and URL.
async fn endpoints(api: &Api, app: &str, named: Option<&str>) -> Result<Vec<(String, String)>> {
    let one = |endpoint: &Value| (text(endpoint, "id"), text(endpoint, "url"));
    if let Some(named) = named {
        return Ok(vec![one(&api.watch(&format!("/app/{app}/endpoint/{}", encoded(named))).await?)]);
    }
    let page = api.watch(&format!("/app/{app}/endpoint?limit={ENDPOINTS_MAX}")).await?;
    Ok(page["data"].as_array().into_iter().flatten().map(one).collect())
}

/// Attempts of one endpoint since a time, or at one message, the oldest first.
pub(super) async fn attempts(api: &Api, path: &str) -> Result<Vec<Value>> {
    let (mut attempts, mut iterator) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let at = iterator.as_deref().map_or_else(String::new, |at| format!("&iterator={}", encoded(at)));
        let mut page = api.watch(&format!("{path}{at}")).await?;
        let Value::Array(data) = page["data"].take() else { return Err(api.stranger()) };
        attempts.extend(data);
        iterator = page["iterator"].as_str().map(str::to_owned);
        if page["done"] != false || iterator.is_none() {
            attempts.reverse();
            return Ok(attempts);
        }
    }
    Err(CliError::usage(format!(
        "more than {} attempts at a time: begin later (--since), or take fewer (--failing, --type)",
        PAGES_MAX * 250
    )))
}

/// Prints attempts until Ctrl-C.
pub(crate) async fn tail(flags: Tail, env: Env<'_>, out: &Output) -> Result<()> {
    let api = flags.connection.api(env)?;
    let since = flags.since.as_deref().map(|text| time("--since", text)).transpose()?;
    let app = application(&api, flags.app.as_deref()).await?;
    let begin = match since {
        Some(since) => since,
        None => recent::now(&api).await?,
    };
    let mut filter = String::new();
    if flags.failing {
        filter += "&status=2";
    }
    for name in &flags.types {
        filter += &format!("&event_types={}", encoded(name));
    }
    let interrupted = interruption()?;
    out.note("Waiting for attempts. Ctrl-C ends it.");
    let mut watched = Watched { api: &api, app: &app, begin, filter, all: BTreeMap::new() };
    let looks = async {
        let mut waiting = Waiting::default();
        loop {
            // What was printed is known by its ID: a look that an error cut short begins where it began.
            waiting.after(watched.look(&flags, out).await, out)?;
            tokio::time::sleep(TURN).await;
        }
    };
    tokio::select! {
        ended = looks => ended,
        () = interrupted => Ok(()),
    }
}

/// The attempts that `tail` watches.
struct Watched<'a> {
    api: &'a Api,
    app: &'a str,
    begin: Timestamp,
    /// The rest of each query.
    filter: String,
    /// What was seen, by endpoint.
    all: BTreeMap<String, Recent>,
}

impl Watched<'_> {
    /// Prints what is new at each endpoint.
    async fn look(&mut self, flags: &Tail, out: &Output) -> Result<()> {
        let Self { api, app, begin, filter, all } = self;
        for (endpoint, url) in endpoints(api, app, flags.endpoint.as_deref()).await? {
            let recent = all.entry(endpoint.clone()).or_insert_with(|| Recent::new(*begin, OVERLAP));
            let path = format!(
                "/app/{app}/attempt/endpoint/{endpoint}?limit=250&with_msg=true&with_content=false&after={}{filter}",
                recent.from()
            );
            for attempt in attempts(api, &path).await? {
                if recent.is_new(&text(&attempt, "id"), Timestamp::parse(&text(&attempt, "timestamp"))) {
                    let text = if flags.json { attempt.to_string() } else { line(out, &url, &attempt) };
                    out.line(&text)?;
                }
            }
            recent.looked();
        }
        Ok(())
    }
}

/// `postrider resend`
#[derive(Debug, Args)]
pub struct Resend {
    /// The message's id or event id.
    #[arg(value_name = "MESSAGE", value_parser = id)]
    message: String,
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP", value_parser = id)]
    app: Option<String>,
    /// The endpoint [default: all that the message was sent to].
    #[arg(long, value_name = "ENDPOINT", value_parser = id)]
    endpoint: Option<String>,
    /// Do not ask, even if it goes to several endpoints.
    #[arg(long)]
    yes: bool,
}

/// Most endpoints of one message: what an application may have.
const ENDPOINTS_OF_MESSAGE_MAX: usize = 10_000;

/// All endpoints that a message was sent to, or is to be.
pub(super) async fn sent_to(api: &Api, app: &str, message: &str) -> Result<Vec<Value>> {
    let (mut all, mut iterator) = (Vec::new(), None::<String>);
    while all.len() <= ENDPOINTS_OF_MESSAGE_MAX {
        let at = iterator.as_deref().map_or_else(String::new, |at| format!("&iterator={}", encoded(at)));
        let mut page =
            api.get(&format!("/app/{app}/msg/{}/endpoint?limit=250{at}", encoded(message))).await?;
        let Value::Array(data) = page["data"].take() else { return Err(api.stranger()) };
        all.extend(data);
        iterator = page["iterator"].as_str().map(str::to_owned);
        if page["done"] != false || iterator.is_none() {
            return Ok(all);
        }
    }
    Err(CliError::usage("the message was sent to more endpoints than an application can have"))
}

/// Sends a message again.
pub(crate) async fn resend(flags: Resend, env: Env<'_>, out: &Output) -> Result<()> {
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.app.as_deref()).await?;
    let to = match flags.endpoint {
        Some(endpoint) => vec![endpoint],
        None => {
            let all = sent_to(&api, &app, &flags.message).await?;
            all.iter().map(|endpoint| text(endpoint, "id")).collect()
        }
    };
    if to.is_empty() {
        return Err(CliError::usage("the message was sent to no endpoint; name one with --endpoint"));
    }
    if to.len() > 1 {
        confirm(&format!("Resend {} to {} endpoints?", flags.message, to.len()), flags.yes)?;
    }
    let message = encoded(&flags.message);
    for (done, endpoint) in to.iter().enumerate() {
        let path = format!("/app/{app}/msg/{message}/endpoint/{}/resend", encoded(endpoint));
        if let Err(error) = api.post(&path, &json!({})).await {
            out.progress_done();
            return Err(
                error.and(&format!(" (endpoint {endpoint}; resent to {done} of {} before it)", to.len()))
            );
        }
        out.progress(&format!("resent to {} of {} endpoints", done + 1, to.len()));
    }
    out.progress_done();
    match &to[..] {
        [only] => out.line(&format!("Resending {} to {only}", flags.message)),
        all => out.line(&format!("Resending {} to {} endpoints", flags.message, all.len())),
    }
}

/// `postrider recover`
#[derive(Debug, Args)]
pub struct Recover {
    /// The endpoint's id or uid.
    #[arg(value_name = "ENDPOINT", value_parser = id)]
    endpoint: String,
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP", value_parser = id)]
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
    /// Both, one after the other: what failed, and then what the endpoint was never sent. For an endpoint that was
    /// paused.
    #[arg(long, conflicts_with = "missing")]
    all: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// One of the tasks that `recover` starts.
struct Part {
    /// Its operation.
    name: &'static str,
    /// What it sends.
    what: &'static str,
    count: u64,
    /// There may be more than were counted.
    more: bool,
}

impl Part {
    fn is_empty(&self) -> bool {
        self.count == 0 && !self.more
    }

    /// `at least 7`
    fn number(&self) -> String {
        format!("{}{}", if self.more { "at least " } else { "" }, self.count)
    }
}

/// How many messages all parts send, for a person.
fn together(parts: &[Part]) -> String {
    let messages = |part: &Part| if part.count == 1 && !part.more { "message" } else { "messages" };
    match parts {
        [only] => format!("{} {}", only.number(), messages(only)),
        all => {
            let part = |part: &Part| format!("{} {} that {}", part.number(), messages(part), part.what);
            all.iter().map(part).collect::<Vec<_>>().join(" and ")
        }
    }
}

/// Counts, asks, starts the tasks and follows them.
pub(crate) async fn recover(flags: Recover, env: Env<'_>, out: &Output) -> Result<()> {
    const FAILED: (&str, &str) = ("recover", "failed");
    const MISSING: (&str, &str) = ("replay-missing", "it was never sent");
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.app.as_deref()).await?;
    let mut window = json!({ "since": time("--since", &flags.since)?.to_string() });
    if let Some(until) = &flags.until {
        window["until"] = json!(time("--until", until)?.to_string());
    }
    // What failed comes first: what is sent for the first time and fails is not sent twice by that.
    let (wanted, nothing): (&[_], _) = match (flags.all, flags.missing) {
        (true, _) => (&[FAILED, MISSING], "no message of that window failed or was never sent"),
        (_, true) => (&[MISSING], "no message of that window was never sent"),
        (_, false) => {
            (&[FAILED], "no message of that window failed. --missing sends what the endpoint was never sent")
        }
    };
    let path = format!("/app/{app}/endpoint/{}", encoded(&flags.endpoint));
    let mut parts = Vec::new();
    for (name, what) in wanted {
        let counted = api.post(&format!("{path}/{name}/count"), &window).await?;
        let count = counted["count"].as_u64().unwrap_or_default();
        parts.push(Part { name, what, count, more: counted["more"] == true });
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() {
        return out.line(&format!("Nothing to send: {nothing}."));
    }
    let messages = together(&parts);
    confirm(&format!("Resend {messages} to {}?", flags.endpoint), flags.yes)?;
    if flags.yes {
        out.line(&format!("Resending {messages} to {}", flags.endpoint))?;
    }
    for part in &parts {
        follow(&api, &api.post(&format!("{path}/{}", part.name), &window).await?, part, out).await?;
    }
    Ok(())
}

/// Follows a task to its end.
async fn follow(api: &Api, task: &Value, part: &Part, out: &Output) -> Result<()> {
    let id = plain(&text(task, "id"));
    let mut status = plain(&text(task, "status"));
    while status == "running" {
        tokio::time::sleep(TASK_TURN).await;
        // An application's token may start a task, and not look at it.
        let Ok(task) = api.get(&format!("/background-task/{}", encoded(&id))).await else {
            return out.line(&format!("Task {id} runs in the background."));
        };
        status = plain(&text(&task, "status"));
        let sent = task["data"]["messagesSent"].as_u64().unwrap_or_default();
        out.progress(&format!("{id}: {status}, {sent} of {} messages sent", part.number()));
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
    #[arg(long, value_name = "APP", value_parser = id)]
    app: Option<String>,
    #[command(flatten)]
    list: List,
}

/// Lists what was given up and never arrived.
pub(crate) async fn undelivered(flags: Undelivered, env: Env<'_>, out: &Output) -> Result<()> {
    const COLUMNS: Columns = &[
        ("GIVEN UP", "exhaustedAt"),
        ("APPLICATION", "appId"),
        ("ENDPOINT", "endpointId"),
        ("MESSAGE", "msgId"),
        ("EVENT TYPE", "eventType"),
        ("STATUS", "responseStatusCode"),
    ];
    let api = flags.connection.api(env)?;
    let own = crate::connection::subject(api.token()).filter(|subject| subject.starts_with("app_"));
    let path = match flags.app.or(own) {
        Some(app) => format!("/app/{}/undelivered", encoded(&app)),
        None => "/undelivered".to_owned(),
    };
    list(&api, &path, COLUMNS, &flags.list, out).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_how_many_messages_are_sent_and_why() {
        let part = |what, count, more| Part { name: "x", what, count, more };
        assert_eq!(together(&[part("failed", 1, false)]), "1 message");
        assert_eq!(together(&[part("failed", 1, true)]), "at least 1 messages");
        assert_eq!(
            together(&[part("failed", 2, false), part("it was never sent", 1, false)]),
            "2 messages that failed and 1 message that it was never sent"
        );
        assert!(part("failed", 0, false).is_empty() && !part("failed", 0, true).is_empty());
    }
}
