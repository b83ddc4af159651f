//! `listen`: forwards an application's messages to a server on this machine.
//!
//! It polls, so it works behind NAT and with an application's token.

mod keys;
mod source;

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

pub(crate) use self::source::{ENDPOINT_DESCRIPTION, ENDPOINT_UID};
use self::source::{Message, Source, Wanted, discard};
use super::{connect, id, interruption, recent, time};
use crate::Connection;
use crate::client::Api;
use crate::connection::{Env, application, web_url};
use crate::error::{CliError, Result};
use crate::json;
use crate::output::{Colour, Output, plain};

/// Between two looks while messages come, and when none came for a minute.
const BUSY_TURN: Duration = Duration::from_secs(1);
const IDLE_TURN: Duration = Duration::from_secs(5);
const IDLE_AFTER: Duration = Duration::from_secs(60);
/// The deadline of a delivery by default.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Messages that are kept for `r` and `d`, and the length of their payloads together.
const KEPT_MAX: usize = 200;
const KEPT_LENGTH_MAX: usize = 64 * 1024 * 1024;
/// What is shown of a response.
const RESPONSE_LENGTH_MAX: usize = 64 * 1024;

/// `postrider listen`
#[derive(Debug, Args)]
pub struct Listen {
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP", value_parser = id)]
    app: Option<String>,
    /// Where messages go, such as http://localhost:3000/webhooks.
    #[arg(long, value_name = "URL")]
    forward_to: String,
    /// Only these event types or patterns such as invoice.*, separated by commas.
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    event_types: Vec<String>,
    /// Only messages of this channel.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Begin with messages of this long ago: 10m, 1h, or 2026-01-31T00:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Keep the polling endpoint at the end, and how far it was read: the same command goes on from there.
    #[arg(long)]
    keep: bool,
    /// The secret to sign with, whsec_… [env: POSTRIDER_SECRET] [default: a new one, which is printed].
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
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
    key: SigningKey,
    out: &'a Output,
    kept: VecDeque<Forwarded>,
}

impl Session<'_> {
    async fn forward(&self, message: Message) -> Result<Forwarded> {
        let started = SystemClock.now();
        let body = message.body().to_owned();
        let signature = signatures([&self.key], &message.id, started.seconds(), body.as_bytes())
            .map_err(|_| CliError::usage("--secret: the private key is not a seed of ed25519"))?;
        let request = Request::post(&self.flags.forward_to)
            .header(USER_AGENT, concat!("Postrider/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, message.content_type())
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
        let length = |one: &Forwarded| one.message.body().len();
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
        let clock = plain(message.timestamp.get(11..19).unwrap_or_default());
        self.out.line(&format!(
            "{}  {}  {}  {}  {ms} ms",
            self.out.paint(Colour::Dim, &clock),
            self.out.paint(Colour::Bold, &plain(&message.event_type)),
            plain(&message.id),
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
        let payload = one.message.body();
        let shown = json::parsed(payload).map_or_else(|| plain(payload), |value| json::pretty(value.get()));
        self.out.line(&shown)?;
        match &one.outcome {
            Ok((status, text)) => self.out.line(&format!("{status} {}", plain(text))),
            Err(problem) => self.out.line(&plain(problem)),
        }
    }

    fn say_hello(&self, app: &str, secret: &str, source: &str, keys: bool) -> Result<()> {
        if self.flags.json {
            return Ok(());
        }
        self.out.line(&format!("Forwarding messages of {app} to {}", self.flags.forward_to))?;
        self.out.line(&format!("Signing secret: {secret}"))?;
        self.out.line(source)?;
        let hint = if keys { "r resend  d details  o open the portal  q quit" } else { "Ctrl-C ends it." };
        self.out.line(&self.out.paint(Colour::Dim, hint))
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
    async fn serve(&mut self, source: &mut Source<'_>, keys: &mut keys::Keys) -> Result<()> {
        let (mut waiting, mut last_message) = (recent::Waiting::default(), SystemClock.now());
        loop {
            let mut more = false;
            if let Some(found) = waiting.after(source.look().await, self.out)? {
                more = found.more;
                for message in found.messages {
                    last_message = SystemClock.now();
                    self.take(message).await?;
                }
            }
            let idle = SystemClock.now().since(last_message) > IDLE_AFTER;
            let turn = match (more, idle) {
                (true, _) => Duration::ZERO,
                (false, true) => IDLE_TURN,
                (false, false) => BUSY_TURN,
            };
            let turn = tokio::time::sleep(turn);
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

/// What the flags ask for.
async fn wanted(flags: &Listen, since: Option<Timestamp>, env: Env<'_>, api: &Api) -> Result<Wanted> {
    let channel = flags.channel.clone();
    let mut parts = vec![flags.forward_to.as_str(), channel.as_deref().unwrap_or_default()];
    parts.extend(flags.event_types.iter().map(String::as_str));
    Ok(Wanted {
        uid: Wanted::uid_of(env, &parts),
        event_types: flags.event_types.clone(),
        channel,
        keep: flags.keep,
        begin: match since {
            Some(since) => since,
            None => recent::now(api).await?,
        },
        stated: since.is_some(),
    })
}

/// Forwards until `q` or Ctrl-C.
pub(crate) async fn run(flags: Listen, env: Env<'_>, out: &Output) -> Result<()> {
    web_url("--forward-to", &flags.forward_to, "http")?;
    let since = flags.since.as_deref().map(|text| time("--since", text)).transpose()?;
    let api = flags.connection.api(env)?;
    let key = secret(&flags, env)?;
    let verifying = key.verifying_text().map_err(|_| CliError::usage("--secret: not a key"))?;
    let app = application(&api, flags.app.as_deref()).await?;
    let wanted = wanted(&flags, since, env, &api).await?;
    let interrupted = interruption()?;
    tokio::pin!(interrupted);
    let mut source = tokio::select! {
        opened = Source::open(&api, &app, &wanted) => opened?,
        () = &mut interrupted => {
            discard(&api, &app, &wanted).await;
            return Ok(());
        }
    };
    // Only where both are a terminal: programs do not press keys.
    let mut keys = keys::Keys::read(!flags.json && out.is_terminal());
    let quit = keys.quit();
    let mut session = Session { flags: &flags, api: &api, key, out, kept: VecDeque::new() };
    let ended = tokio::select! {
        ended = async {
            session.say_hello(&app, &verifying, &source.about, keys.are_read())?;
            session.serve(&mut source, &mut keys).await
        } => ended,
        () = &mut interrupted => Ok(()),
        () = quit.notified() => Ok(()),
    };
    // The terminal comes first: the server may need a while.
    drop(keys);
    source.close(out).await;
    ended
}
