//! `listen`: forwards an application's messages to a server on this machine.
//!
//! It polls the list of messages, so it works behind NAT and with an application's token.

mod keys;

use std::collections::VecDeque;
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

use super::recent::{self, Recent};
use super::{connect, interruption, time};
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
/// Messages that are kept for `r` and `d`, and the length of their payloads together.
const KEPT_MAX: usize = 200;
const KEPT_LENGTH_MAX: usize = 64 * 1024 * 1024;
/// What is shown of a response.
const RESPONSE_LENGTH_MAX: usize = 64 * 1024;
/// Messages that may wait to be forwarded, and the length of their payloads together.
const WAITING_MAX: usize = 10_000;
const WAITING_LENGTH_MAX: usize = 64 * 1024 * 1024;
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
    recent: Recent,
}

impl Session<'_> {
    /// Messages that are new since the last look, the oldest first.
    async fn look(&mut self) -> Result<Vec<Message>> {
        let mut path = format!("/app/{}/msg?limit=250&after={}", self.app, self.recent.from());
        for name in &self.flags.event_types {
            path += &format!("&event_types={}", encoded(name));
        }
        if let Some(channel) = &self.flags.channel {
            path += &format!("&channel={}", encoded(channel));
        }
        let (mut new, mut length, mut iterator) = (Vec::new(), 0, None::<String>);
        loop {
            let at = iterator.as_deref().map_or_else(String::new, |at| format!("&iterator={}", encoded(at)));
            let text = self.api.bytes(http::Method::GET, &format!("{path}{at}"), None).await?;
            let page: Page = serde_json::from_slice(&text).map_err(|_| self.api.stranger())?;
            for message in page.data.into_iter().filter(|message| !self.recent.knows(&message.id)) {
                length += message.payload.get().len();
                new.push(message);
            }
            if new.len() > WAITING_MAX || length > WAITING_LENGTH_MAX {
                return Err(CliError::usage(format!(
                    "more than {WAITING_MAX} messages or {} MiB wait to be forwarded: begin later (--since), or \
                     take fewer (--event-types, --channel)",
                    WAITING_LENGTH_MAX / 1024 / 1024
                )));
            }
            if page.done || page.iterator.is_none() || page.iterator == iterator {
                break;
            }
            iterator = page.iterator;
        }
        // Noted once all pages have come: what an error cuts short comes again.
        new.retain(|message| self.recent.is_new(&message.id, Timestamp::parse(&message.timestamp)));
        self.recent.looked();
        new.sort_by(|a, b| a.id.cmp(&b.id));
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
        let outcome = response.map(|response| {
            let shown = &response.body[..response.body.len().min(RESPONSE_LENGTH_MAX)];
            (response.status.as_u16(), String::from_utf8_lossy(shown).into_owned())
        });
        Ok(Forwarded { message, outcome, ms: SystemClock.now().since(started).as_millis() })
    }
}

impl Session<'_> {
    /// Forwards one message, prints its line and keeps it.
    async fn take(&mut self, message: Message) -> Result<()> {
        let forwarded = self.forward(message).await?;
        self.show(&forwarded)?;
        self.kept.push_back(forwarded);
        let length = |one: &Forwarded| one.message.payload.get().len();
        let mut kept: usize = self.kept.iter().map(length).sum();
        while self.kept.len() > KEPT_MAX || kept > KEPT_LENGTH_MAX {
            kept -= self.kept.pop_front().as_ref().map_or(0, length);
        }
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

    async fn key_pressed(&mut self, key: keys::Key) -> Result<()> {
        match key {
            keys::Key::Resend => self.resend().await,
            keys::Key::Details => self.details(),
            keys::Key::Open => {
                let link = connect::own_link(self.api);
                if connect::browse(&link) { Ok(()) } else { self.out.line(&link) }
            }
        }
    }

    /// Forwards what comes, and does what keys say.
    async fn serve(&mut self, keys: &mut keys::Keys) -> Result<()> {
        let (mut failures, mut last_message) = (0, SystemClock.now());
        loop {
            match self.look().await {
                Ok(messages) => {
                    failures = 0;
                    for message in messages {
                        last_message = SystemClock.now();
                        self.take(message).await?;
                    }
                }
                // A server that restarts is waited for; one that refuses will go on refusing.
                Err(CliError::Unreachable(problem)) if failures < FAILURES_MAX => {
                    if failures == 0 {
                        self.out.note(&format!("{problem} Trying again …"));
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
                    key = keys.next() => self.key_pressed(key).await?,
                }
            }
        }
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
    let since = flags.since.as_deref().map(|text| time("--since", text)).transpose()?;
    let api = flags.connection.api(env)?;
    let key = secret(&flags, env)?;
    let app = application(&api, flags.app.as_deref()).await?;
    let verifying = key.verifying_text().map_err(|_| CliError::usage("--secret: not a key"))?;
    let begin = match since {
        Some(since) => since,
        None => recent::now(&api).await?,
    };
    let recent = Recent::new(begin, OVERLAP);
    let mut session = Session { flags: &flags, api: &api, app, key, out, kept: VecDeque::new(), recent };
    let interrupted = interruption()?;
    // Only where both are a terminal: a reader that goes away ends the process, and keys would stay as they are.
    let mut keys = keys::Keys::read(!flags.json && out.is_terminal());
    let quit = keys.quit();
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
    tokio::select! {
        ended = session.serve(&mut keys) => ended,
        () = interrupted => Ok(()),
        () = quit.notified() => Ok(()),
    }
}
