//! Where `listen` has its messages from: a polling endpoint of its own, which is removed at the end.
//!
//! A poll returns each message once and skips none. Where the token may not manage endpoints, or the server has no
//! polling endpoints, the list of messages is looked at again and again instead: that writes nothing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use domain::endpoint::{EndpointSettings, Filter, is_type_pattern};
use domain::labels::Labels;
use http::{Method, StatusCode};
use runtime::clock::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::recent::Recent;
use crate::client::{Api, Response, encoded, sentence};
use crate::connection::Env;
use crate::error::{CliError, Result};
use crate::output::{Output, plain};

/// Longer than a message takes from its id to its item.
const OVERLAP: Duration = Duration::from_secs(30);
/// Messages in one page of a poll: what was polled and is not forwarded yet is polled again by the next run.
const POLL_PAGE: usize = 50;
/// Messages of the list that may wait to be forwarded, and the length of their payloads together.
const WAITING_MAX: usize = 10_000;
const WAITING_LENGTH_MAX: usize = 64 * 1024 * 1024;
/// What the end of the command may wait for the server.
const CLOSING: Duration = Duration::from_secs(5);
/// How the uid of a polling endpoint begins, and its description: what is copied to another server leaves it out.
pub(crate) const ENDPOINT_UID: &str = "cli-";
pub(crate) const ENDPOINT_DESCRIPTION: &str = "postrider listen";
/// The consumer under whose name a kept endpoint keeps the position.
const CONSUMER: &str = "cli";

/// A message as it is listed or polled: its payload's text stays as it is, since that is what is signed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) timestamp: String,
    pub(super) payload: Box<RawValue>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    /// What webhooks have as their body instead of the payload.
    #[serde(default)]
    raw_payload: Option<String>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
}

impl Message {
    /// The body of its webhooks.
    pub(super) fn body(&self) -> &str {
        self.raw_payload.as_deref().unwrap_or_else(|| self.payload.get())
    }

    fn labels(&self) -> Labels {
        Labels { channels: self.channels.clone(), ..Labels::of(&self.event_type) }
    }

    /// What kind of text the body is.
    pub(super) fn content_type(&self) -> &str {
        let own = self.headers.as_ref().and_then(|headers| headers.get("content-type"));
        own.map_or("application/json", String::as_str)
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Message>,
    iterator: Option<String>,
    done: bool,
}

/// Which messages are wanted, and from where on.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) event_types: Vec<String>,
    pub(super) channel: Option<String>,
    /// The endpoint and its position outlast the command.
    pub(super) keep: bool,
    /// Begin here.
    pub(super) begin: Timestamp,
    /// The beginning was asked for, so that a kept position does not count.
    pub(super) stated: bool,
    /// The endpoint's uid.
    pub(super) uid: String,
}

impl Wanted {
    /// The uid of the endpoint for one command of one person on one machine: the next run of it takes up what a run
    /// that was killed has left.
    pub(super) fn uid_of(env: Env<'_>, parts: &[&str]) -> String {
        let mut hash = DefaultHasher::new();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        host.or_else(|| env("HOSTNAME")).or_else(|| env("COMPUTERNAME")).hash(&mut hash);
        env("USER").or_else(|| env("USERNAME")).hash(&mut hash);
        parts.hash(&mut hash);
        format!("{ENDPOINT_UID}{:016x}", hash.finish())
    }

    fn filter(&self) -> Filter {
        let event_types = (!self.event_types.is_empty()).then(|| self.event_types.clone());
        let channels = self.channel.clone().map(|channel| vec![channel]);
        Filter::from(EndpointSettings { event_types, channels, ..EndpointSettings::default() })
    }

    /// The endpoint that polls them; without event types where one of these does not exist.
    fn endpoint(&self, with_types: bool) -> Value {
        let mut body = json!({
            "uid": self.uid,
            "destination": { "kind": "polling" },
            "description": ENDPOINT_DESCRIPTION,
        });
        if with_types && !self.event_types.is_empty() {
            body["filterTypes"] = json!(self.event_types);
        }
        if let Some(channel) = &self.channel {
            body["channels"] = json!([channel]);
        }
        body
    }
}

/// Where the next poll begins.
#[derive(Debug)]
enum Next {
    /// Behind this time.
    After(Timestamp),
    /// Where the run before has ended.
    Kept,
    /// After a page; `moved` if it had messages, so that the position is worth being kept.
    Iterator { iterator: String, moved: bool },
}

#[derive(Debug)]
enum Feed {
    Polled(Next),
    Listed,
}

/// What was found in one look.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The oldest first.
    pub(super) messages: Vec<Message>,
    /// There is more at once.
    pub(super) more: bool,
}

/// What became of the wish for an endpoint.
enum Made {
    New,
    TakenUp,
    Refused(CliError),
}

/// An application's messages as they come.
#[derive(Debug)]
pub(super) struct Source<'a> {
    api: &'a Api,
    app: &'a str,
    wanted: &'a Wanted,
    filter: Filter,
    recent: Recent,
    feed: Feed,
    /// What a person should know about it.
    pub(super) about: String,
}

impl<'a> Source<'a> {
    /// Makes the endpoint or takes it up; where neither is possible, looks at the list.
    ///
    /// # Errors
    /// `Refused` where the token is, or if the endpoint is to be kept and cannot be.
    pub(super) async fn open(api: &'a Api, app: &'a str, wanted: &'a Wanted) -> Result<Self> {
        let (filter, recent) = (wanted.filter(), Recent::new(wanted.begin, OVERLAP));
        let mut source = Self { api, app, wanted, filter, recent, feed: Feed::Listed, about: String::new() };
        let made = source.make().await?;
        if let Made::Refused(problem) = made {
            if wanted.keep {
                return Err(CliError::Refused(format!("--keep: there is no endpoint to keep: {problem}")));
            }
            source.about =
                format!("Without an endpoint, by the list of messages: {}", plain(&problem.to_string()));
            return Ok(source);
        }
        let goes_on = wanted.keep && !wanted.stated && matches!(made, Made::TakenUp);
        source.feed = Feed::Polled(if goes_on { Next::Kept } else { Next::After(wanted.begin) });
        source.about = format!(
            "Polling endpoint: {} ({})",
            wanted.uid,
            match (wanted.keep, goes_on) {
                (false, _) => "removed at the end",
                (true, false) => "kept",
                (true, true) => "kept; goes on where it ended",
            }
        );
        Ok(source)
    }

    /// Makes the endpoint, or makes the one that is there what it should be.
    async fn make(&self) -> Result<Made> {
        let mut response = self.put(true).await?;
        // Names have to exist; messages of others may be posted all the same, and are chosen here.
        let named = self.wanted.event_types.iter().any(|name| !is_type_pattern(name));
        if response.status == StatusCode::UNPROCESSABLE_ENTITY && named {
            response = self.put(false).await?;
        }
        if !response.status.is_success() {
            return Ok(Made::Refused(self.api.refused(&response)));
        }
        let made: Value = serde_json::from_slice(&response.body).map_err(|_| self.api.stranger())?;
        if made["destination"]["kind"] != "polling" {
            return Ok(Made::Refused(CliError::Refused("the server has no polling endpoints".into())));
        }
        Ok(if response.status == StatusCode::OK { Made::TakenUp } else { Made::New })
    }

    async fn put(&self, with_types: bool) -> Result<Response> {
        let path = format!("/app/{}/endpoint/{}", self.app, self.wanted.uid);
        let body = self.wanted.endpoint(with_types).to_string();
        self.api.answered(Method::PUT, &path, Some(body)).await
    }

    /// Messages that are new since the last look, the oldest first.
    ///
    /// # Errors
    /// `Unreachable` where the next look may succeed.
    pub(super) async fn look(&mut self) -> Result<Found> {
        let mut found = match &self.feed {
            Feed::Polled(next) => {
                let path = self.poll(next, POLL_PAGE);
                let response = self.api.answered(Method::GET, &path, None).await?;
                if response.status == StatusCode::NOT_FOUND {
                    return self.make_again().await;
                }
                let page = self.page(&response)?;
                let (Some(iterator), more, moved) = (page.iterator, !page.done, !page.data.is_empty()) else {
                    return Err(self.api.stranger());
                };
                self.feed = Feed::Polled(Next::Iterator { iterator, moved });
                Found { messages: page.data, more }
            }
            Feed::Listed => Found { messages: self.list().await?, more: false },
        };
        // Noted once all has come: what an error cuts short comes again.
        let (recent, filter) = (&mut self.recent, &self.filter);
        found.messages.retain(|message| {
            recent.is_new(&message.id, Timestamp::parse(&message.timestamp))
                && filter.may_want(&message.labels())
        });
        recent.looked();
        found.messages.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// The path of a poll. That of a consumer keeps the iterator which it is given.
    fn poll(&self, next: &Next, limit: usize) -> String {
        let path = format!("/app/{}/poller/{}", self.app, self.wanted.uid);
        match next {
            Next::After(after) => format!("{path}?limit={limit}&after={after}"),
            Next::Kept => format!("{path}/consumer/{CONSUMER}?limit={limit}"),
            Next::Iterator { iterator, moved } => {
                let consumer =
                    if self.wanted.keep && *moved { format!("/consumer/{CONSUMER}") } else { String::new() };
                format!("{path}{consumer}?limit={limit}&iterator={}", encoded(iterator))
            }
        }
    }

    fn page(&self, response: &Response) -> Result<Page> {
        if !response.status.is_success() {
            return Err(self.api.refused(response));
        }
        serde_json::from_slice(&response.body).map_err(|_| self.api.stranger())
    }

    /// Somebody has removed the endpoint.
    async fn make_again(&mut self) -> Result<Found> {
        if let Made::Refused(problem) = self.make().await? {
            return Err(problem);
        }
        self.feed = Feed::Polled(Next::After(self.recent.from()));
        Ok(Found { messages: Vec::new(), more: true })
    }

    async fn list(&self) -> Result<Vec<Message>> {
        let mut path = format!("/app/{}/msg?limit=250&after={}", self.app, self.recent.from());
        // The list knows names alone; patterns are looked at here.
        if !self.wanted.event_types.iter().any(|name| is_type_pattern(name)) {
            for name in &self.wanted.event_types {
                path += &format!("&event_types={}", encoded(name));
            }
        }
        if let Some(channel) = &self.wanted.channel {
            path += &format!("&channel={}", encoded(channel));
        }
        let (mut new, mut length, mut iterator) = (Vec::new(), 0, None::<String>);
        loop {
            let at = iterator.as_deref().map_or_else(String::new, |at| format!("&iterator={}", encoded(at)));
            let page = self.page(&self.api.answered(Method::GET, &format!("{path}{at}"), None).await?)?;
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
                return Ok(new);
            }
            iterator = page.iterator;
        }
    }

    /// Removes the endpoint, or keeps it and how far it was read.
    pub(super) async fn close(self, out: &Output) {
        let Feed::Polled(next) = &self.feed else { return };
        let uid = &self.wanted.uid;
        let (method, path, problem) = match (self.wanted.keep, next) {
            (false, _) => {
                (Method::DELETE, format!("/app/{}/endpoint/{uid}", self.app), "could not be removed")
            }
            (true, Next::Iterator { moved: true, .. }) => {
                (Method::GET, self.poll(next, 1), "is kept, but not how far it was read")
            }
            (true, _) => return,
        };
        let closed = tokio::time::timeout(CLOSING, self.api.bytes(method, &path, None)).await;
        let failed = match closed {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no response within {} s", CLOSING.as_secs()),
        };
        out.note(&format!(
            "The endpoint {uid} {problem}: {} The same command takes it up.",
            sentence(&failed)
        ));
    }
}

/// Removes what an interrupted [`Source::open`] may have made.
pub(super) async fn discard(api: &Api, app: &str, wanted: &Wanted) {
    if !wanted.keep {
        let path = format!("/app/{app}/endpoint/{}", wanted.uid);
        let _there_or_not = tokio::time::timeout(CLOSING, api.send(Method::DELETE, &path, None)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(event_types: &[&str]) -> Wanted {
        Wanted {
            event_types: event_types.iter().map(|&name| name.to_owned()).collect(),
            channel: Some("eu".into()),
            keep: false,
            begin: Timestamp::from_ms(0),
            stated: false,
            uid: "cli-1".into(),
        }
    }

    #[test]
    fn the_uid_is_the_same_for_the_same_command_and_no_other() {
        let env = |name: &str| (name == "USER").then(|| "ann".to_owned());
        let uid = Wanted::uid_of(&env, &["http://localhost:3000", ""]);
        assert!(uid.starts_with("cli-") && uid.len() == 20, "{uid}");
        assert_eq!(uid, Wanted::uid_of(&env, &["http://localhost:3000", ""]));
        assert_ne!(uid, Wanted::uid_of(&env, &["http://localhost:3000", "a"]));
        assert_ne!(uid, Wanted::uid_of(&|_| None, &["http://localhost:3000", ""]));
    }

    #[test]
    fn an_endpoint_takes_what_the_flags_say() {
        let wanted = wanted(&["invoice.*"]);
        let endpoint = wanted.endpoint(true);
        assert_eq!(
            (&endpoint["filterTypes"], &endpoint["channels"]),
            (&json!(["invoice.*"]), &json!(["eu"]))
        );
        assert!(wanted.endpoint(false).get("filterTypes").is_none());
        let message = |name: &str| {
            let text =
                json!({"id": "msg_1", "eventType": name, "timestamp": "", "payload": {}, "channels": ["eu"]});
            serde_json::from_value::<Message>(text).unwrap().labels()
        };
        assert!(wanted.filter().may_want(&message("invoice.paid")));
        assert!(!wanted.filter().may_want(&message("order.paid")));
    }

    #[test]
    fn a_message_is_sent_as_its_webhooks_are() {
        let plain = r#"{"id":"m","eventType":"a","timestamp":"t","payload":{"b" : 1}}"#;
        let plain: Message = serde_json::from_str(plain).unwrap();
        assert_eq!((plain.body(), plain.content_type()), (r#"{"b" : 1}"#, "application/json"));
        let raw = r#"{"id":"m","eventType":"a","timestamp":"t","payload":{},"rawPayload":"<a/>",
            "headers":{"content-type":"application/xml"}}"#;
        let raw: Message = serde_json::from_str(raw).unwrap();
        assert_eq!((raw.body(), raw.content_type()), ("<a/>", "application/xml"));
    }
}
