//! `listen`: forwards an application's messages to a server on this machine.
//!
//! It polls the list of messages, so it works behind NAT and with an application's token. Ids are
//! ordered by the time at which a message was accepted, and a message may be written a little later than
//! one with a younger id; so each look begins [`OVERLAP`] before the newest message that was seen, and
//! what came before is skipped by its id.

mod keys;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use domain::signing::{KeyKind, SigningKey, signatures};
use http::Request;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http_body_util::Full;
use runtime::clock::{Clock as _, SystemClock, Timestamp};
use runtime::random::SystemRandom;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connect;
use super::time;
use crate::Connection;
use crate::client::{Api, encoded};
use crate::connection::{Env, application};
use crate::error::{CliError, Result};
use crate::output::{Colour, Output, plain};

/// Between two looks while messages come, and when none came for a minute.
const BUSY_TURN: Duration = Duration::from_secs(1);
const IDLE_TURN: Duration = Duration::from_secs(5);
const IDLE_AFTER: Duration = Duration::from_secs(60);
/// Longer than a message takes from its id to its item.
const OVERLAP: Duration = Duration::from_secs(30);
/// The deadline of a delivery by default.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Messages that are kept for `r` and `d`.
const KEPT_MAX: usize = 200;
/// Looks that may fail in a row before the command ends.
const FAILURES_MAX: u32 = 30;

/// `postrider listen`
#[derive(Debug, Args)]
pub struct Listen {
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Where messages go, such as http://localhost:3000/webhooks.
    #[arg(long, value_name = "URL")]
    forward_to: String,
    /// Only these event types, separated by commas.
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    event_types: Vec<String>,
    /// Only messages of this channel.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Begin with messages of this long ago: 10m, 1h, or 2026-01-31T00:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The secret to sign with, whsec_… [env: POSTRIDER_SECRET] [default: a new one, which is printed].
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Message>,
    iterator: Option<String>,
    done: bool,
}

/// A message as it is listed: its payload's text stays as it is, since that is what is signed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: String,
    event_type: String,
    timestamp: String,
    payload: Box<RawValue>,
}

/// What became of a forwarded message.
#[derive(Debug)]
struct Forwarded {
    message: Message,
    /// The status and the response's text, or why there is none.
    outcome: std::result::Result<(u16, String), String>,
    ms: u128,
}

struct Session<'a> {
    flags: &'a Listen,
    api: &'a Api,
    app: String,
    key: SigningKey,
    out: &'a Output,
    kept: VecDeque<Forwarded>,
    /// Nothing before this is forwarded.
    begin: Timestamp,
    /// The newest message that was seen.
    newest: Timestamp,
    /// Ids of the overlap, by their time.
    seen: BTreeMap<String, Timestamp>,
}

impl Session<'_> {
    /// Messages that are new since the last look, the oldest first.
    async fn look(&mut self) -> Result<Vec<Message>> {
        let from = self.newest.before(OVERLAP).max(self.begin);
        let mut path = format!("/app/{}/msg?limit=250&after={from}", self.app);
        for name in &self.flags.event_types {
            path += &format!("&event_types={}", encoded(name));
        }
        if let Some(channel) = &self.flags.channel {
            path += &format!("&channel={}", encoded(channel));
        }
        let (mut new, mut iterator) = (Vec::new(), None::<String>);
        loop {
            let at = iterator.as_deref().map_or_else(String::new, |at| format!("&iterator={}", encoded(at)));
            let text = self.api.bytes(http::Method::GET, &format!("{path}{at}"), None).await?;
            let page: Page = serde_json::from_slice(&text).map_err(|_| {
                CliError::Refused(format!("{} answered with no list of messages", self.api.url()))
            })?;
            new.extend(page.data.into_iter().filter(|message| !self.seen.contains_key(&message.id)));
            if page.done || page.iterator.is_none() || page.iterator == iterator {
                break;
            }
            iterator = page.iterator;
        }
        let mut ids = BTreeSet::new();
        new.retain(|message| ids.insert(message.id.clone()));
        new.sort_by(|a, b| a.id.cmp(&b.id));
        for message in &new {
            let at = Timestamp::parse(&message.timestamp).unwrap_or(self.newest);
            self.newest = self.newest.max(at);
            self.seen.insert(message.id.clone(), at);
        }
        let oldest = self.newest.before(OVERLAP + OVERLAP);
        self.seen.retain(|_, at| *at >= oldest);
        Ok(new)
    }

    async fn forward(&self, message: Message) -> Result<Forwarded> {
        let started = SystemClock.now();
        let body = message.payload.get().to_owned();
        let signature = signatures([&self.key], &message.id, started.seconds(), body.as_bytes())
            .map_err(|_| CliError::usage("--secret: the private key is not a seed of ed25519"))?;
        let request = Request::post(&self.flags.forward_to)
            .header(USER_AGENT, concat!("Postrider/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", started.seconds())
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| CliError::usage(format!("--forward-to: {error}")))?;
        let response = self.api.http().send(request, TIMEOUT).await;
        let outcome = response
            .map(|response| (response.status.as_u16(), String::from_utf8_lossy(&response.body).into_owned()));
        Ok(Forwarded { message, outcome, ms: SystemClock.now().since(started).as_millis() })
    }
}

impl Session<'_> {
    /// Forwards one message, prints its line and keeps it.
    async fn take(&mut self, message: Message) -> Result<()> {
        let forwarded = self.forward(message).await?;
        self.show(&forwarded)?;
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(forwarded);
        Ok(())
    }

    fn show(&self, forwarded: &Forwarded) -> Result<()> {
        let Forwarded { message, outcome, ms } = forwarded;
        if self.flags.json {
            let (status, response) = match outcome {
                Ok((status, text)) => (Some(*status), text),
                Err(problem) => (None, problem),
            };
            let line = serde_json::json!({
                "id": message.id, "eventType": message.event_type, "timestamp": message.timestamp,
                "status": status, "response": response, "ms": ms,
            });
            return self.out.line(&line.to_string());
        }
        let (colour, shown) = match outcome {
            Ok((status, _)) if (200..300).contains(status) => (Colour::Green, status.to_string()),
            Ok((status, _)) => (Colour::Red, status.to_string()),
            Err(problem) => (Colour::Red, format!("{} (kept; press r to resend)", plain(problem))),
        };
        let clock = message.timestamp.get(11..19).unwrap_or_default();
        self.out.line(&format!(
            "{}  {}  {}  {}  {ms} ms",
            self.out.paint(Colour::Dim, clock),
            self.out.paint(Colour::Bold, &plain(&message.event_type)),
            message.id,
            self.out.paint(colour, &shown),
        ))
    }

    /// Resends what failed, or else the newest message.
    async fn resend(&mut self) -> Result<()> {
        let arrived =
            |one: &Forwarded| matches!(&one.outcome, Ok((status, _)) if (200..300).contains(status));
        let failed = self.kept.iter().any(|one| !arrived(one));
        let again: Vec<Message> = if failed {
            let (failed, rest) = std::mem::take(&mut self.kept).into_iter().partition(|one| !arrived(one));
            self.kept = rest;
            VecDeque::into_iter(failed).map(|one| one.message).collect()
        } else {
            self.kept.pop_back().map(|one| one.message).into_iter().collect()
        };
        if again.is_empty() {
            return self.out.line("There is no message to resend yet.");
        }
        for message in again {
            self.take(message).await?;
        }
        Ok(())
    }

    /// Shows the newest message and its response in full.
    fn details(&self) -> Result<()> {
        let Some(one) = self.kept.back() else { return self.out.line("There is no message to show yet.") };
        let payload = one.message.payload.get();
        let pretty = serde_json::from_str::<serde_json::Value>(payload)
            .and_then(|value| serde_json::to_string_pretty(&value))
            .unwrap_or_else(|_| payload.to_owned());
        self.out.line(&pretty)?;
        match &one.outcome {
            Ok((status, text)) => self.out.line(&format!("{status} {}", plain(text))),
            Err(problem) => self.out.line(&plain(problem)),
        }
    }

    async fn key_pressed(&mut self, key: keys::Key) -> Result<bool> {
        match key {
            keys::Key::Resend => self.resend().await?,
            keys::Key::Details => self.details()?,
            keys::Key::Open => {
                let link = connect::own_link(self.api);
                if !connect::browse(&link) {
                    self.out.line(&link)?;
                }
            }
            keys::Key::Quit => return Ok(false),
        }
        Ok(true)
    }
}

fn secret(flags: &Listen, env: Env<'_>) -> Result<SigningKey> {
    match flags.secret.clone().or_else(|| env("POSTRIDER_SECRET")) {
        Some(text) => SigningKey::parse(text.trim()).ok_or_else(|| {
            CliError::usage("--secret: not a secret; expected whsec_ and base64 of 24 to 75 bytes, or whsk_…")
        }),
        None => Ok(SigningKey::generate(KeyKind::Hmac256, &SystemRandom::new())),
    }
}

/// Forwards until `q` or Ctrl-C.
pub(crate) async fn run(flags: Listen, env: Env<'_>, out: &Output) -> Result<()> {
    if !flags.forward_to.starts_with("http://") && !flags.forward_to.starts_with("https://") {
        let problem = format!("--forward-to: not a URL; did you mean http://{}?", flags.forward_to);
        return Err(CliError::usage(problem));
    }
    let begin = match &flags.since {
        Some(since) => time("--since", since)?,
        None => SystemClock.now(),
    };
    let api = flags.connection.api(env)?;
    let key = secret(&flags, env)?;
    let app = application(&api, flags.app.as_deref()).await?;
    let verifying = key.verifying_text().map_err(|_| CliError::usage("--secret: not a key"))?;
    let mut session = Session {
        flags: &flags,
        api: &api,
        app,
        key,
        out,
        kept: VecDeque::new(),
        begin,
        newest: begin,
        seen: BTreeMap::new(),
    };
    let mut keys = keys::Keys::read(!flags.json);
    if !flags.json {
        out.line(&format!("Forwarding messages of {} to {}", session.app, flags.forward_to))?;
        out.line(&format!("Signing secret: {verifying}"))?;
        let hint = if keys.are_read() {
            "r resend  d details  o open the portal  q quit"
        } else {
            "Ctrl-C ends it."
        };
        out.line(&out.paint(Colour::Dim, hint))?;
    }
    let (mut failures, mut last_message) = (0, SystemClock.now());
    // One for the whole command: a signal between two of them would be lost.
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let messages = tokio::select! {
            messages = session.look() => messages,
            _ = &mut interrupted => return Ok(()),
        };
        match messages {
            Ok(messages) => {
                failures = 0;
                for message in messages {
                    last_message = SystemClock.now();
                    tokio::select! {
                        taken = session.take(message) => taken?,
                        _ = &mut interrupted => return Ok(()),
                    }
                }
            }
            // A server that restarts is waited for; one that refuses will go on refusing.
            Err(CliError::Unreachable(problem)) if failures < FAILURES_MAX => {
                if failures == 0 {
                    out.note(&format!("{problem} Trying again …"));
                }
                failures += 1;
            }
            Err(error) => return Err(error),
        }
        let idle = SystemClock.now().since(last_message) > IDLE_AFTER;
        let turn = tokio::time::sleep(if idle { IDLE_TURN } else { BUSY_TURN });
        tokio::pin!(turn);
        loop {
            tokio::select! {
                () = &mut turn => break,
                key = keys.next() => if !session.key_pressed(key).await? { return Ok(()) },
                _ = &mut interrupted => return Ok(()),
            }
        }
    }
}
