//! What an audit event says of a thing before and after a change: what its owner may see of it, without
//! what is secret, and not more than an item can bear.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use crate::application::ApplicationSettings;
use crate::connector::Connector;
use crate::endpoint::{Destination, Endpoint};
use crate::event_type::EventType;
use crate::http_signature;
use crate::integration::Integration;
use crate::payload_filter::PayloadFilter;
use crate::signing::SigningKey;
use crate::task::Task;
use crate::token::Expiry;
use crate::transformation::TransformationId;

/// Most bytes that one side of an event has, as JSON: two write units for each KB of it, in a
/// transaction that is a few KB without.
const LENGTH_MAX: usize = 8 * 1024;
/// Stands where something secret is.
const HIDDEN: &str = "***";

/// One of the things that are known.
#[derive(Clone, Debug, PartialEq)]
struct Fact {
    shown: Value,
    /// What `shown` leaves out: compared and never written.
    hidden: String,
}

/// What is known of a thing, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditSnapshot(BTreeMap<&'static str, Fact>);

impl AuditSnapshot {
    /// One thing more, if it is set.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let shown = value.into();
        // What is not set is not there.
        if !shown.is_null() {
            self.0.insert(name, Fact { shown, hidden: String::new() });
        }
        self
    }

    fn with_hidden(self, name: &'static str, shown: impl Into<Value>, hidden: String) -> Self {
        let mut facts = self.with(name, shown);
        if let Some(fact) = facts.0.get_mut(name) {
            fact.hidden = hidden;
        }
        facts
    }

    fn with_metadata(self, metadata: &BTreeMap<String, String>) -> Self {
        let map: Map<String, Value> =
            metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        self.with("metadata", map)
    }

    /// How a place in AWS is reached, where an endpoint has one: nothing of it is secret.
    fn with_aws(self, destination: &Destination) -> Self {
        let Destination::Aws(place) = destination else { return self };
        self.with("roleArn", place.role_arn.as_str())
            .with("region", place.region.as_str())
            .with("fifoKey", place.fifo_key.as_deref())
            .with("keyTemplate", place.key_template.as_deref())
            .with("format", place.format())
    }

    /// Both without what is the same in them.
    #[must_use]
    pub fn differing(mut self, mut other: Self) -> (Self, Self) {
        let same = |a: &Fact, b: Option<&Fact>| b.is_some_and(|b| a == b);
        let kept: Vec<_> = self.0.iter().filter(|(name, fact)| same(fact, other.0.get(*name))).collect();
        let names: Vec<&'static str> = kept.into_iter().map(|(name, _)| *name).collect();
        for name in names {
            self.0.remove(name);
            other.0.remove(name);
        }
        (self, other)
    }

    /// As JSON of up to `LENGTH_MAX` bytes, and whether that is all. What is longest gives way first,
    /// to a text that says how long it was.
    pub fn text(&self) -> (String, bool) {
        let mut shown: BTreeMap<&str, Value> =
            self.0.iter().map(|(name, fact)| (*name, fact.shown.clone())).collect();
        let mut whole = true;
        loop {
            let map: Map<String, Value> =
                shown.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let text = Value::Object(map).to_string();
            let longest =
                shown.iter().map(|(name, value)| (value.to_string().len(), *name)).max().unwrap_or_default();
            if text.len() <= LENGTH_MAX || longest.0 < 64 {
                return (text, whole);
            }
            whole = false;
            shown.insert(longest.1, format!("({} bytes left out)", longest.0).into());
        }
    }
}

impl From<&ApplicationSettings> for AuditSnapshot {
    fn from(settings: &ApplicationSettings) -> Self {
        let ApplicationSettings { name, uid, rate_limit, retry_policy, metadata } = settings;
        Self::default()
            .with("name", name.as_str())
            .with("uid", uid.as_deref())
            .with("rateLimit", *rate_limit)
            .with("retryPolicy", retry_policy.as_ref().map(Value::from))
            .with_metadata(metadata)
    }
}

impl From<&Endpoint> for AuditSnapshot {
    fn from(endpoint: &Endpoint) -> Self {
        let settings = &endpoint.settings;
        let names: Vec<&str> = endpoint.headers.iter().map(|(name, _)| name).collect();
        let values: Vec<&str> = endpoint.headers.iter().map(|(_, value)| value).collect();
        let keys: Vec<Value> = endpoint
            .keys
            .iter()
            .map(|key| {
                let kind = match key.key {
                    SigningKey::Hmac256(_) => "hmac256",
                    SigningKey::Ed25519(_) => "ed25519",
                };
                serde_json::json!({ "kind": kind, "until": key.until.map(|until| until.to_string()) })
            })
            .collect();
        let private: Vec<String> = endpoint.keys.iter().map(|key| key.key.private_text()).collect();
        Self::default()
            .with("destination", settings.destination.kind())
            .with_hidden(
                "url",
                masked(settings.destination.address()),
                settings.destination.address().to_owned(),
            )
            .with_aws(&settings.destination)
            .with("description", settings.description.as_str())
            .with("uid", settings.uid.as_deref())
            .with("eventTypes", settings.event_types.as_deref())
            .with("channels", settings.channels.as_deref())
            .with("filter", settings.filter.as_ref().map(PayloadFilter::text))
            .with("disabled", settings.disabled)
            .with("rateLimit", settings.rate_limit)
            .with("fifo", settings.fifo.as_ref().map(|_| true))
            .with("orderKey", settings.fifo.as_ref().and_then(|fifo| fifo.key.as_deref()))
            .with("batchSize", settings.batching().map(|batching| batching.size))
            .with("maxWaitSecs", settings.batching().map(|batching| batching.wait).filter(|wait| *wait > 0))
            .with("retryPolicy", settings.retry_policy.as_ref().map(Value::from))
            .with("autoEnable", settings.auto_enable.then_some(true))
            .with("headerStyle", settings.http_signatures.then_some(http_signature::STYLE))
            .with_metadata(&settings.metadata)
            .with("transformation", endpoint.transformation.as_ref().map(TransformationId::text))
            .with_hidden(
                "autoConfig",
                endpoint.auto_config.as_ref().map(|_| true),
                endpoint.auto_config.as_deref().map(runtime::hex).unwrap_or_default(),
            )
            .with_hidden("headers", names, values.join("\n"))
            .with_hidden("secrets", keys, private.join("\n"))
    }
}

impl From<&Integration> for AuditSnapshot {
    fn from(integration: &Integration) -> Self {
        Self::default()
            .with("name", integration.name.as_str())
            .with("featureFlags", integration.feature_flags.as_slice())
    }
}

impl From<&Connector> for AuditSnapshot {
    fn from(connector: &Connector) -> Self {
        let settings = &connector.settings;
        // Code may hold a token, and is longer than an event can be: that it is another one is all that is told.
        let length = settings.transformation.chars().count();
        Self::default()
            .with("name", settings.name.as_str())
            .with("uid", settings.uid.as_deref())
            .with("logo", settings.logo.as_deref())
            .with("description", settings.description.as_str())
            .with("kind", settings.kind.as_str())
            .with("instructions", settings.instructions.as_str())
            .with("allowedEventTypes", settings.allowed_event_types.as_deref())
            .with("featureFlags", settings.feature_flags.as_slice())
            .with_hidden("transformation", format!("({length} characters)"), settings.transformation.clone())
    }
}

impl From<&EventType> for AuditSnapshot {
    fn from(event_type: &EventType) -> Self {
        let EventType {
            name: _,
            description,
            schemas,
            feature_flags,
            group_name,
            archived,
            deprecated,
            created_at: _,
            updated_at: _,
        } = event_type;
        let schemas = schemas.as_deref().map(|text| {
            // It was parsed when it was posted; if it cannot be read any more, its text says as much.
            serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into())
        });
        Self::default()
            .with("description", description.as_str())
            .with("schemas", schemas)
            .with("featureFlags", feature_flags.as_slice())
            .with("groupName", group_name.as_deref())
            .with("archived", *archived)
            .with("deprecated", *deprecated)
    }
}

impl From<&[String]> for AuditSnapshot {
    /// Sessions by their names.
    fn from(sessions: &[String]) -> Self {
        Self::default().with("sessionIds", sessions)
    }
}

impl From<&[Expiry]> for AuditSnapshot {
    fn from(expiries: &[Expiry]) -> Self {
        let ends = expiries.iter().map(|expiry| {
            serde_json::json!({ "madeUntil": expiry.made_until.to_string(), "end": expiry.ends.to_string() })
        });
        Self::default().with("tokenExpiries", Value::Array(ends.collect()))
    }
}

impl From<&Task> for AuditSnapshot {
    fn from(task: &Task) -> Self {
        let filter = &task.filter;
        Self::default()
            .with("taskId", task.id.to_string())
            .with("since", task.since.to_string())
            .with("until", task.until.to_string())
            .with("eventTypes", filter.event_types.as_deref())
            .with("channel", filter.channel.as_deref())
            .with("tag", filter.tag.as_deref())
            .with("status", filter.status.map(|status| status as u8))
            .with("statusCodeClass", filter.code_class)
    }
}

/// A URL without what lets one in: its password, and the values of its query.
fn masked(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return HIDDEN.to_owned() };
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.to_owned();
    }
    if let Some(query) = url.query() {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) => format!("{name}={HIDDEN}"),
            None => HIDDEN.to_owned(),
        });
        let pairs: Vec<String> = pairs.collect();
        url.set_query(Some(&pairs.join("&")));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_show_where_and_not_with_what() {
        for (url, shown) in [
            ("https://example.com/a/b", "https://example.com/a/b"),
            (
                "https://user:pass@example.com:8443/?token=abc&x",
                "https://user:***@example.com:8443/?token=***&***",
            ),
            ("https://example.com/?k=a=b&=c", "https://example.com/?k=***&=***"),
            ("no url with a secret", "***"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn only_what_differs_is_told_and_what_is_hidden_differs_too() {
        let facts = |name: &str, hidden: &str| {
            AuditSnapshot::default().with("a", 1).with("name", name).with_hidden(
                "url",
                "u",
                hidden.to_owned(),
            )
        };
        let text = |(before, after): (AuditSnapshot, AuditSnapshot)| (before.text().0, after.text().0);
        assert_eq!(text(facts("x", "1").differing(facts("x", "1"))), ("{}".into(), "{}".into()));
        let both = r#"{"url":"u"}"#.to_owned();
        assert_eq!(text(facts("x", "1").differing(facts("x", "2"))), (both.clone(), both));
        let more = facts("x", "1").with("uid", "new");
        assert_eq!(text(facts("x", "1").differing(more)), ("{}".into(), r#"{"uid":"new"}"#.into()));
        let less = AuditSnapshot::default().with("a", None::<u8>).with("name", "y");
        let (before, after) = text(facts("x", "1").differing(less));
        assert_eq!((before.as_str(), after.as_str()), (r#"{"a":1,"name":"x","url":"u"}"#, r#"{"name":"y"}"#));
    }

    #[test]
    fn what_is_too_long_is_left_out_and_says_so() {
        let long = "x".repeat(LENGTH_MAX);
        let facts = AuditSnapshot::default().with("long", long.as_str()).with("name", "n");
        let (text, whole) = facts.text();
        assert_eq!((text.as_str(), whole), (r#"{"long":"(8194 bytes left out)","name":"n"}"#, false));
        let halves = "x".repeat(LENGTH_MAX / 2);
        let facts = AuditSnapshot::default().with("a", halves.as_str()).with("b", halves.as_str());
        let (text, whole) = facts.text();
        assert!(!whole && text.len() <= LENGTH_MAX && text.len() > LENGTH_MAX / 2);
        assert_eq!(AuditSnapshot::default().with("name", "n").text(), (r#"{"name":"n"}"#.to_owned(), true));
    }
}
