//! Endpoints: where an application's messages go, which of them, and what they are signed with.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use runtime::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::aws_place::{AwsPlace, AwsService};
use crate::error::{Error, Result};
use crate::ids::{AppId, EndpointId};
use crate::labels::Labels;
use crate::message::Payload;
use crate::order::Fifo;
use crate::payload_filter::{PayloadFilter, PayloadView};
use crate::probing::Probing;
use crate::retry::OwnRetryPolicy;
use crate::signing::SigningKey;
use crate::together::Batching;
use crate::transformation::TransformationId;

/// An endpoint as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The application that it belongs to.
    pub app: AppId,
    /// Its id.
    pub id: EndpointId,
    /// What its owner may change.
    pub settings: EndpointSettings,
    /// What its webhooks are signed with: the current key first.
    pub keys: Vec<EndpointKey>,
    /// What its webhooks carry besides ours.
    pub headers: EndpointHeaders,
    /// The transformation that its webhooks pass, if there is one that is enabled. The code is stored apart.
    pub transformation: Option<TransformationId>,
    /// The digest of the key with which its receiver configures it ([`crate::auto_config`]), if there is one.
    pub auto_config: Option<Vec<u8>>,
    /// Since when nothing has arrived: the first message whose last attempt failed, with no success
    /// since then. None while it works.
    pub failing_since: Option<Timestamp>,
    /// When the message that said so was made: what is made from then on may have to be sent again.
    pub failing_from: Option<Timestamp>,
    /// That it will be disabled soon was told, since it fails.
    pub failing_warned: bool,
    /// Where it was disabled because it only failed, and may come back by itself: when it is probed, or that a probe
    /// enabled it.
    pub probing: Option<Probing>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings were changed last.
    pub updated_at: Timestamp,
}

/// How the endpoints of an application stand, all in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    None,
    /// All are disabled.
    Disabled,
    /// One at least is not disabled.
    Works,
}

/// What the owner of an endpoint may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Where webhooks are sent.
    pub destination: Destination,
    /// For people.
    pub description: String,
    /// The owner's own id for it.
    pub uid: Option<String>,
    /// Only messages of these event types, each a name or a [pattern](is_type_pattern) of names; all if none.
    pub event_types: Option<Vec<String>>,
    /// Only messages with one of these channels; all if none.
    pub channels: Option<Vec<String>>,
    /// Only messages whose payload matches; all if none.
    pub filter: Option<PayloadFilter>,
    /// Gets nothing.
    pub disabled: bool,
    /// Messages per second that it takes.
    pub rate_limit: Option<u16>,
    /// When its failed deliveries are tried again, instead of the application's policy.
    pub retry_policy: Option<OwnRetryPolicy>,
    /// Once it was disabled because it only failed, it is probed, and enabled when it answers.
    pub auto_enable: bool,
    /// Webhooks are signed as HTTP messages as well (RFC 9421), by a key of the organisation.
    pub http_signatures: bool,
    /// Its messages arrive in order.
    pub fifo: Option<Fifo>,
    /// The owner's notes.
    pub metadata: BTreeMap<String, String>,
}

impl EndpointSettings {
    /// How many messages one webhook has, where that can be several.
    pub fn batching(&self) -> Option<Batching> {
        self.fifo.as_ref().map(|fifo| fifo.batching).filter(|batching| batching.is_on())
    }
}

/// Where an endpoint's webhooks are sent, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// POSTed to a URL.
    Http {
        /// With scheme `http` or `https`.
        url: String,
    },
    /// Nowhere: its owner polls for its messages.
    Polling,
    /// To a place in AWS.
    Aws(Box<AwsPlace>),
}

impl Destination {
    /// The kind's name, in items, audit events and responses.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Polling => "polling",
            Self::Aws(place) => place.service.kind(),
        }
    }

    /// Whether one webhook there can have several messages, as a list.
    pub fn takes_lists(&self) -> bool {
        match self {
            Self::Http { .. } => true,
            Self::Polling => false,
            Self::Aws(place) => place.service == AwsService::Lambda,
        }
    }

    /// What names the place: the URL or the ARN, where it has one.
    pub fn address(&self) -> &str {
        match self {
            Self::Http { url } => url,
            Self::Polling => "",
            Self::Aws(place) => &place.arn,
        }
    }

    /// Whether messages that are delivered together are lines of one object there.
    pub fn takes_lines(&self) -> bool {
        matches!(self, Self::Aws(place) if place.json_lines)
    }

    /// What of a payload is signed there: all of it as it was posted, but in a line of JSON without the line breaks
    /// that stood between its values.
    pub fn signed<'a>(&self, payload: &'a Payload) -> Cow<'a, str> {
        let breaks = |letter| letter == '\n' || letter == '\r';
        if payload.raw.is_none() && self.takes_lines() && payload.json.contains(breaks) {
            return Cow::Owned(payload.json.replace(breaks, ""));
        }
        Cow::Borrowed(payload.sent())
    }

    /// Whether nobody has said yet where messages go: the endpoint waits for its receiver, and is disabled.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Http { url } if url.is_empty())
    }

    /// Refuses to send anything to an endpoint that is polled.
    ///
    /// # Errors
    /// `Conflict`, which says what to do instead.
    pub fn check_sent_to(&self) -> Result<()> {
        if self.is_polled() {
            return Err(Error::Conflict(
                "This endpoint is polled, so nothing is sent to it: to read messages again, seek its consumer or poll with `after`.".into(),
            ));
        }
        Ok(())
    }

    /// Refuses headers of the endpoint's owner where messages have none.
    ///
    /// # Errors
    /// `Conflict`, which says why.
    pub fn check_has_headers(&self) -> Result<()> {
        match self {
            Self::Http { .. } => Ok(()),
            Self::Polling => Err(Error::Conflict(
                "This endpoint is polled, so nothing is sent to it: it has no headers.".into(),
            )),
            Self::Aws(place) => Err(Error::Conflict(format!(
                "What is sent to {} carries no headers of your own, only the signature's: this endpoint has no headers.",
                place.service.place()
            ))),
        }
    }

    /// Whether messages wait for a poller, and are not sent.
    pub const fn is_polled(&self) -> bool {
        matches!(self, Self::Polling)
    }

    /// The address, to keep.
    pub fn into_address(self) -> String {
        match self {
            Self::Http { url } => url,
            Self::Polling => String::new(),
            Self::Aws(place) => place.arn,
        }
    }
}

impl Default for Destination {
    fn default() -> Self {
        Self::Http { url: String::new() }
    }
}

/// A signing key and how long it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointKey {
    /// The key.
    pub key: SigningKey,
    /// When it ends; the current key has no end.
    pub until: Option<Timestamp>,
}

/// Headers that an endpoint's webhooks carry besides ours, spelled as their owner spelled them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointHeaders(Vec<(String, String)>);

impl fmt::Debug for EndpointHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl EndpointHeaders {
    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a header, in whatever case it was written before.
    pub fn set(&mut self, name: String, value: String) {
        self.remove(&name);
        let at = self.0.partition_point(|(other, _)| *other < name);
        self.0.insert(at, (name, value));
    }

    /// Removes a header, in whatever case it was written.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// Bytes of all names and values.
    pub fn length(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// What an endpoint wants of its application's messages: the part of its settings that each of them is held
/// against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    event_types: Option<Vec<String>>,
    channels: Option<Vec<String>>,
    payload: Option<PayloadFilter>,
    disabled: bool,
}

impl From<EndpointSettings> for Filter {
    fn from(settings: EndpointSettings) -> Self {
        let EndpointSettings { event_types, channels, filter: payload, disabled, fifo, .. } = settings;
        // What comes while an ordered endpoint is disabled waits in its place.
        Self { event_types, channels, payload, disabled: disabled && fifo.is_none() }
    }
}

/// Whether a name of an event type is a pattern: it has a `*`, which stands for anything in its segment, and at
/// the end of the name for all that follows as well. `invoice.*` means `invoice.paid` and `invoice.paid.late`.
pub fn is_type_pattern(name: &str) -> bool {
    name.contains('*')
}

/// Whether an event type is the one of that name, or matches that pattern.
fn is_of_type(wanted: &str, event_type: &str) -> bool {
    if !is_type_pattern(wanted) {
        return wanted == event_type;
    }
    let (mut wanted, mut segments) = (wanted.split('.').peekable(), event_type.split('.'));
    while let Some(part) = wanted.next() {
        let Some(segment) = segments.next() else { return false };
        match part.strip_suffix('*') {
            Some(beginning) if !segment.starts_with(beginning) => return false,
            Some(_) if wanted.peek().is_none() => return true,
            None if part != segment => return false,
            _ => {}
        }
    }
    segments.next().is_none()
}

impl Filter {
    /// Whether a message with those labels and that payload goes to the endpoint. The payload is looked at if
    /// nothing else decides.
    pub fn wants(&self, labels: &Labels, payload: &PayloadView<'_>) -> bool {
        self.may_want(labels) && self.payload.as_ref().is_none_or(|filter| filter.matches(payload))
    }

    /// Whether payloads matter.
    pub const fn looks_at_payloads(&self) -> bool {
        self.payload.is_some()
    }

    /// Whether a message with those labels goes to the endpoint if its payload matches.
    pub fn may_want(&self, labels: &Labels) -> bool {
        let type_fits = self
            .event_types
            .as_ref()
            .is_none_or(|types| types.iter().any(|wanted| is_of_type(wanted, &labels.event_type)));
        let channel_fits =
            self.channels.as_ref().is_none_or(|ours| ours.iter().any(|channel| labels.has_channel(channel)));
        !self.disabled && type_fits && channel_fits
    }
}

impl Endpoint {
    /// The keys that are valid at that time, the current one first.
    pub fn valid_keys(&self, at: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter().filter(move |key| key.until.is_none_or(|until| until > at)).map(|key| &key.key)
    }
}

/// Old keys of one endpoint that may be valid at the same time: each adds a signature to every webhook.
pub const OLD_KEYS_MAX: usize = 10;

/// The keys after a rotation to `key`: the current one until now ends at `until`, or at once.
///
/// # Errors
/// `LimitReached` where too many old keys would be valid.
pub fn rotated(
    keys: &[EndpointKey],
    key: SigningKey,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<EndpointKey>> {
    let old = keys.iter().filter_map(|old| {
        let until = old.until.or(until)?;
        // The same key again is no old one.
        (until > now && old.key != key).then(|| EndpointKey { key: old.key.clone(), until: Some(until) })
    });
    let old: Vec<_> = old.collect();
    if old.len() > OLD_KEYS_MAX {
        return Err(Error::LimitReached(format!(
            "{OLD_KEYS_MAX} old keys are still valid: wait until one of them ends, or rotate with gracePeriodSeconds 0."
        )));
    }
    let mut keys = vec![EndpointKey { key, until: None }];
    keys.extend(old);
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let names = |list: &[&str]| Some(list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let on = |event_type: &str, channels: &[&str]| Labels {
            channels: names(channels).filter(|channels| !channels.is_empty()),
            ..Labels::of(event_type)
        };
        let all = Filter::default();
        assert!(all.may_want(&on("a", &[])) && all.may_want(&on("a", &["x"])));
        assert!(!Filter { disabled: true, ..all.clone() }.may_want(&on("a", &[])));
        let typed = Filter { event_types: names(&["a", "b"]), ..all.clone() };
        assert!(typed.may_want(&on("b", &[])) && !typed.may_want(&on("c", &[])));
        let tuned = Filter { channels: names(&["x"]), ..all };
        assert!(tuned.may_want(&on("a", &["y", "x"])));
        assert!(!tuned.may_want(&on("a", &[])) && !tuned.may_want(&on("a", &["y"])));
    }

    #[test]
    fn event_types_match_by_segments() {
        for (wanted, matching, others) in [
            ("invoice.paid", &["invoice.paid"][..], &["invoice", "invoice.paid.late"][..]),
            (
                "invoice.*",
                &["invoice.paid", "invoice.paid.late"],
                &["invoice", "invoices.paid", "x.invoice.paid"],
            ),
            ("invoice.pa*", &["invoice.paid", "invoice.pa", "invoice.part.x"], &["invoice.sent"]),
            ("*.paid", &["invoice.paid"], &["paid", "a.b.paid", "invoice.paid.late"]),
            ("in*.*", &["invoice.paid", "in.a.b"], &["in", "on.a"]),
        ] {
            for (names, expected) in [(matching, true), (others, false)] {
                for name in names {
                    assert_eq!(is_of_type(wanted, name), expected, "{wanted} on {name}");
                }
            }
        }
    }

    #[test]
    fn a_payload_is_read_only_where_a_filter_looks_at_it() {
        let pattern = PayloadFilter::parse(r#"{"plan":["gold"]}"#).unwrap();
        let filter =
            Filter { event_types: Some(vec!["a".into()]), payload: Some(pattern), ..Filter::default() };
        let gold = PayloadView::new(r#"{"plan":"gold"}"#);
        assert!(!filter.wants(&Labels::of("b"), &gold) && !gold.was_read());
        assert!(Filter::default().wants(&Labels::of("a"), &gold) && !gold.was_read());
        assert!(filter.wants(&Labels::of("a"), &gold) && gold.was_read());
        assert!(!filter.wants(&Labels::of("a"), &PayloadView::new("{}")));
    }

    fn key(byte: u8) -> SigningKey {
        SigningKey::Hmac256(vec![byte; 24])
    }

    #[test]
    fn headers_are_one_whatever_their_case() {
        let mut headers = EndpointHeaders::default();
        for (name, value) in [("X-b", "1"), ("A", "2"), ("x-B", "3")] {
            headers.set(name.into(), value.into());
        }
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("A", "2"), ("x-B", "3")]);
        assert_eq!((headers.len(), headers.length()), (2, 6));
        assert_eq!(format!("{headers:?}"), r#"["A", "x-B"]"#);
        headers.remove("X-B");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("A", "2")]);
    }

    #[test]
    fn a_rotated_key_stays_until_its_end() {
        let at = Timestamp::from_ms;
        let first = vec![EndpointKey { key: key(1), until: None }];
        let second = rotated(&first, key(2), Some(at(2_000)), at(1_000)).unwrap();
        assert_eq!(second[1], EndpointKey { key: key(1), until: Some(at(2_000)) });
        // The older key keeps its own end, and is dropped with it.
        let third = rotated(&second, key(3), Some(at(9_000)), at(1_999)).unwrap();
        assert_eq!(
            third.iter().map(|key| key.until).collect::<Vec<_>>(),
            [None, Some(at(9_000)), Some(at(2_000))]
        );
        let fourth = rotated(&third, key(4), None, at(2_000)).unwrap();
        // Without grace the third is gone at once; the second keeps the end that it was given.
        let left = EndpointKey { key: key(2), until: Some(at(9_000)) };
        assert_eq!(fourth, [EndpointKey { key: key(4), until: None }, left]);
        assert_eq!(rotated(&first, key(1), Some(at(2_000)), at(1_000)).unwrap(), first);
    }

    #[test]
    fn ten_old_keys_are_valid_and_not_eleven() {
        let (now, until) = (Timestamp::from_ms(1_000), Timestamp::from_ms(2_000));
        let mut keys = vec![EndpointKey { key: key(0), until: None }];
        for byte in 1..=10 {
            keys = rotated(&keys, key(byte), Some(until), now).unwrap();
        }
        assert_eq!(keys.len(), 11);
        assert!(matches!(rotated(&keys, key(11), Some(until), now), Err(Error::LimitReached(_))));
        assert_eq!(rotated(&keys, key(11), None, now).unwrap().len(), 11);
        assert_eq!(rotated(&keys, key(11), Some(until), until).unwrap().len(), 1);
    }
}
