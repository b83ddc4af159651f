//! Typed identifiers: a prefix and a KSUID, so that ids sort by the time they were made.
//!
//! A KSUID is 20 bytes printed as 27 characters of base62 (`0-9A-Za-z`, big endian). In the variant
//! used here the first four bytes are seconds since 2014-05-13T16:53:20Z, the fifth is the
//! millisecond within that second divided by four, and 15 bytes are drawn or derived.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use runtime::clock::Timestamp;
use runtime::random::{self, Random};

const EPOCH_SECONDS: u64 = 1_400_000_000;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TEXT_LENGTH: usize = 27;

/// Longest uid, event id, event type name and the like, in characters.
pub const NAME_LENGTH_MAX: usize = 256;

/// The 20 bytes behind every id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ksuid([u8; 20]);

impl Ksuid {
    /// Bytes that are drawn or derived, behind the time.
    pub const PAYLOAD_LENGTH: usize = 15;

    /// An id of that time (rounded down to four milliseconds) and payload.
    pub fn new(at: Timestamp, payload: [u8; Self::PAYLOAD_LENGTH]) -> Self {
        let seconds = at.seconds().saturating_sub(EPOCH_SECONDS);
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&u32::try_from(seconds).unwrap_or(u32::MAX).to_be_bytes());
        bytes[4] = u8::try_from(at.ms() % 1000 / 4).expect("below 250");
        bytes[5..].copy_from_slice(&payload);
        Self(bytes)
    }

    /// The time inside, to four milliseconds.
    pub fn time(&self) -> Timestamp {
        let seconds = u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]);
        Timestamp::from_ms((u64::from(seconds) + EPOCH_SECONDS) * 1000 + u64::from(self.0[4]) * 4)
    }

    /// The bytes behind the time.
    pub fn payload(&self) -> [u8; Self::PAYLOAD_LENGTH] {
        self.0[5..].try_into().expect("15 bytes are left")
    }

    /// All 20 bytes.
    pub const fn bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// An id read from its 20 bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_LENGTH {
            return None;
        }
        let mut limbs = [0u32; 5];
        for c in text.bytes() {
            let mut carry = match c {
                b'0'..=b'9' => c - b'0',
                b'A'..=b'Z' => c - b'A' + 10,
                b'a'..=b'z' => c - b'a' + 36,
                _ => return None,
            } as u64;
            for limb in limbs.iter_mut().rev() {
                carry += u64::from(*limb) * 62;
                *limb = (carry & 0xffff_ffff) as u32;
                carry >>= 32;
            }
            if carry != 0 {
                return None; // more than 160 bits
            }
        }
        let mut bytes = [0; 20];
        for (chunk, limb) in bytes.chunks_exact_mut(4).zip(limbs) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        Some(Self(bytes))
    }

    fn text(&self) -> [u8; TEXT_LENGTH] {
        // Five 32-bit limbs, divided once for every five characters.
        const FIVE: u64 = 62u64.pow(5);
        let mut limbs = [0u32; 5];
        for (limb, chunk) in limbs.iter_mut().zip(self.0.chunks_exact(4)) {
            *limb = u32::from_be_bytes(chunk.try_into().expect("chunks of four"));
        }
        let mut text = [b'0'; TEXT_LENGTH];
        for slots in text.rchunks_mut(5) {
            let mut remainder = 0u64;
            for limb in &mut limbs {
                let value = (remainder << 32) | u64::from(*limb);
                *limb = u32::try_from(value / FIVE).expect("the remainder is below the divisor");
                remainder = value % FIVE;
            }
            for slot in slots.iter_mut().rev() {
                *slot = ALPHABET[(remainder % 62) as usize];
                remainder /= 62;
            }
        }
        text
    }
}

impl fmt::Display for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not an id of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id: {prefix} and {TEXT_LENGTH} letters and digits are expected")]
pub struct IdError {
    prefix: &'static str,
}

/// What all kinds of ids have in common.
pub trait Id: Copy + FromStr<Err = IdError> + fmt::Display {
    /// What the text begins with, underscore included.
    const PREFIX: &'static str;
    /// The 20 bytes behind the prefix.
    fn ksuid(&self) -> Ksuid;
    /// The id with those 20 bytes.
    fn from_ksuid(ksuid: Ksuid) -> Self;
}

macro_rules! id {
    ($(#[doc = $doc:literal] $name:ident $prefix:literal,)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ksuid);

        impl $name {
            /// A new id of that time.
            pub fn new(at: Timestamp, random: &dyn Random) -> Self {
                Self(Ksuid::new(at, random::bytes(random)))
            }

            /// The time at which it was made, to four milliseconds.
            pub fn time(&self) -> Timestamp {
                self.0.time()
            }
        }

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
            fn ksuid(&self) -> Ksuid {
                self.0
            }
            fn from_ksuid(ksuid: Ksuid) -> Self {
                Self(ksuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let id = text.strip_prefix($prefix).and_then(Ksuid::parse);
                id.map(Self).ok_or(IdError { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string", "pattern": concat!("^", $prefix, "[0-9A-Za-z]{27}$"),
                })
            }
        }
    )*};
}

id! {
    /// An organisation: the company that runs Postrider, or one environment of it.
    OrgId "org_",
    /// An application: one customer of the organisation.
    AppId "app_",
    /// An endpoint of an application.
    EndpointId "ep_",
    /// A message.
    MessageId "msg_",
    /// One attempt to deliver a message to an endpoint.
    AttemptId "atmpt_",
    /// An audit event.
    AuditId "audit_",
    /// Work in the background: a recovery or a replay.
    TaskId "qtask_",
    /// A third party that acts within an application.
    IntegrationId "integ_",
    /// A connector: what endpoints of one kind can be made with.
    ConnectorId "trtmpl_",
}

impl MessageId {
    /// The id of the message that tells an event about an attempt: it follows from both.
    pub fn for_event(event_type: &str, attempt: AttemptId, at: Timestamp) -> Self {
        Self::of_digest(at, &[attempt.0.bytes(), event_type.as_bytes()].concat())
    }

    /// The id of the message that a queue's record holds, which was sent to it at that time: it follows from the
    /// record's own id, which is the same however often the queue hands the record out.
    pub fn for_record(app: AppId, record: &str, sent: Timestamp) -> Self {
        Self::of_digest(sent, &[app.0.bytes(), record.as_bytes()].concat())
    }

    fn of_digest(at: Timestamp, seed: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, seed);
        let mut payload = [0; Ksuid::PAYLOAD_LENGTH];
        payload.copy_from_slice(&digest.as_ref()[..Ksuid::PAYLOAD_LENGTH]);
        Self(Ksuid::new(at, payload))
    }
}

impl AttemptId {
    /// The id of a scheduled attempt, which follows from what it is an attempt of: every copy of a
    /// job names the same attempt. `number` counts from 1.
    ///
    /// The first eight bytes behind the time come from message and endpoint alone, so that the
    /// endpoint of an attempt can be told without reading it ([`AttemptId::is_of`]).
    /// A first attempt has this id only if the message was not sent at once, or an earlier version made it.
    pub fn scheduled(message: MessageId, endpoint: EndpointId, number: u32, due: Timestamp) -> Self {
        let mut payload = [0; Ksuid::PAYLOAD_LENGTH];
        payload[..8].copy_from_slice(&pair_mark(message, endpoint));
        let mut seed = [0u8; 44];
        seed[..20].copy_from_slice(message.0.bytes());
        seed[20..40].copy_from_slice(endpoint.0.bytes());
        seed[40..].copy_from_slice(&number.to_be_bytes());
        let digest = ring::digest::digest(&ring::digest::SHA256, &seed);
        payload[8..].copy_from_slice(&digest.as_ref()[..7]);
        Self(Ksuid::new(due, payload))
    }

    /// The id of the first attempt of a message that is sent at once, which is kept in the delivery's state.
    /// It is the message's with a hash of message and endpoint at its end: so it follows from both, is another
    /// for each endpoint, and sorts within an endpoint's log as the messages do.
    pub fn first(message: MessageId, endpoint: EndpointId) -> Self {
        let mut bytes = *message.0.bytes();
        bytes[FIRST_SHARED..].copy_from_slice(&pair_mark(message, endpoint)[..20 - FIRST_SHARED]);
        Self(Ksuid(bytes))
    }

    /// The lowest and the highest id of a message whose first attempt can have this id.
    pub fn messages_of_first(&self) -> (MessageId, MessageId) {
        let end = |byte: u8| {
            let mut bytes = *self.0.bytes();
            bytes[FIRST_SHARED..].fill(byte);
            MessageId(Ksuid(bytes))
        };
        (end(0), end(0xff))
    }

    /// The id of an attempt that somebody asked for at that time. Each request has one of its own.
    pub fn by_hand(message: MessageId, endpoint: EndpointId, at: Timestamp, random: &dyn Random) -> Self {
        let mut payload = [0; Ksuid::PAYLOAD_LENGTH];
        payload[..8].copy_from_slice(&pair_mark(message, endpoint));
        random.fill(&mut payload[8..]);
        Self(Ksuid::new(at, payload))
    }

    /// The id of the one attempt that a task makes of a delivery: whoever works on the task names the same.
    pub fn of_task(task: TaskId, message: MessageId, endpoint: EndpointId) -> Self {
        let mut payload = [0; Ksuid::PAYLOAD_LENGTH];
        payload[..8].copy_from_slice(&pair_mark(message, endpoint));
        let mut seed = [0u8; 60];
        for (part, id) in seed.chunks_exact_mut(20).zip([task.0, message.0, endpoint.0]) {
            part.copy_from_slice(id.bytes());
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, &seed);
        payload[8..].copy_from_slice(&digest.as_ref()[..7]);
        Self(Ksuid::new(task.time(), payload))
    }

    /// Whether this can be the id of an attempt to deliver `message` to `endpoint`.
    pub fn is_of(&self, message: MessageId, endpoint: EndpointId) -> bool {
        self.0.payload()[..8] == pair_mark(message, endpoint) || *self == Self::first(message, endpoint)
    }
}

/// Bytes that the id of a first attempt has in common with its message's.
const FIRST_SHARED: usize = 14;

fn pair_mark(message: MessageId, endpoint: EndpointId) -> [u8; 8] {
    let mut seed = [0u8; 40];
    seed[..20].copy_from_slice(message.0.bytes());
    seed[20..].copy_from_slice(endpoint.0.bytes());
    let digest = ring::digest::digest(&ring::digest::SHA256, &seed);
    digest.as_ref()[..8].try_into().expect("a digest is longer")
}

/// Whether `text` has only the characters that names may have (`a-z A-Z 0-9 - _ .`), and 1 to `max` of
/// them, and is not `.` or `..`: clients remove those from a path (RFC 3986 section 5.2.4), so that a
/// request about something of that name reaches what stands before it in the path.
pub fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && !is_dot_segment(text)
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// Whether `text` is what clients remove from a path.
pub fn is_dot_segment(text: &str) -> bool {
    matches!(text, "." | "..")
}

/// A name that has only the characters that [`is_name`] allows, such as an event type's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// The text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a name: 1 to {NAME_LENGTH_MAX} of a-z, A-Z, 0-9, -, _ and . are expected")]
pub struct NameError;

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_name(text, NAME_LENGTH_MAX) { Ok(Self(text.to_owned())) } else { Err(NameError) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A resource as paths name it: by id, or by the uid that its owner chose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference<I> {
    /// Our id.
    Id(I),
    /// The owner's uid.
    Uid(String),
}

impl<I> Reference<I> {
    /// The uid of what a PUT makes or replaces: the one that its body gives, or else the one that its path names. Without
    /// that, the second of two identical requests would take the uid away that the first one gave.
    pub fn uid_of_put(&self, given: Option<&String>) -> Option<String> {
        match (given, self) {
            (Some(uid), _) | (None, Self::Uid(uid)) => Some(uid.clone()),
            (None, Self::Id(_)) => None,
        }
    }
}

impl<I: Id> Reference<I> {
    /// Reads a path segment; none if it can name nothing (wrong characters, or our prefix before
    /// something that is no id: no uid may begin like that).
    pub fn parse(segment: &str) -> Option<Self> {
        if segment.starts_with(I::PREFIX) {
            return segment.parse().ok().map(Self::Id);
        }
        is_name(segment, NAME_LENGTH_MAX).then(|| Self::Uid(segment.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_sorts_by_time() {
        let early = MessageId(Ksuid::new(Timestamp::from_ms(1_700_000_000_123), [0xff; 15]));
        let late = MessageId(Ksuid::new(Timestamp::from_ms(1_700_000_000_127), [0; 15]));
        assert_eq!(early.to_string().len(), "msg_".len() + 27);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.time(), Timestamp::from_ms(1_700_000_000_120));
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn known_values() {
        assert_eq!(Ksuid([0; 20]).to_string(), "000000000000000000000000000");
        assert_eq!(Ksuid([0xff; 20]).to_string(), "aWgEPTl1tmebfsQzFP4bxwgy80V");
        assert_eq!(Ksuid::parse("aWgEPTl1tmebfsQzFP4bxwgy80V"), Some(Ksuid([0xff; 20])));
        assert_eq!(Ksuid::parse("aWgEPTl1tmebfsQzFP4bxwgy80W"), None);
        for text in ["org_23rb8YdGqMT0qIzpgGwdXfHirMu", "org_00000000000SvixManagement00"] {
            assert_eq!(text.parse::<OrgId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn strangers_are_refused() {
        for text in ["", "msg_", "ep_000000000000000000000000000", "msg_00000000000000000000000000-", "msg_0"]
        {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
        assert_eq!(Reference::<AppId>::parse("app_x"), None);
        assert_eq!(Reference::<AppId>::parse("a b"), None);
        assert_eq!(Reference::<AppId>::parse("acme"), Some(Reference::Uid("acme".into())));
    }

    /// INV-10
    #[test]
    fn attempt_ids_follow_from_what_they_attempt() {
        let message = MessageId(Ksuid::new(Timestamp::from_ms(1_700_000_000_000), [1; 15]));
        let endpoint = EndpointId(Ksuid::new(Timestamp::from_ms(1_600_000_000_000), [2; 15]));
        let other = EndpointId(Ksuid::new(Timestamp::from_ms(1_600_000_000_000), [3; 15]));
        let due = Timestamp::from_ms(1_700_000_005_000);
        let second = AttemptId::scheduled(message, endpoint, 2, due);
        assert_eq!(second, AttemptId::scheduled(message, endpoint, 2, due));
        assert_ne!(second, AttemptId::scheduled(message, endpoint, 3, due));
        assert_eq!(second.time(), due);
        assert!(second.is_of(message, endpoint) && !second.is_of(message, other));
        let first = AttemptId::first(message, endpoint);
        assert!(first.is_of(message, endpoint) && !first.is_of(message, other));
        assert_ne!(first, AttemptId::first(message, other));
        assert_eq!(first.time(), message.time());
        let (lowest, highest) = first.messages_of_first();
        assert!(lowest <= message && message <= highest);
        let task = TaskId(Ksuid::new(due, [4; 15]));
        let of_task = AttemptId::of_task(task, message, endpoint);
        assert_eq!(of_task, AttemptId::of_task(task, message, endpoint));
        assert!(of_task.is_of(message, endpoint) && of_task != AttemptId::of_task(task, message, other));
        let random = runtime::random::SystemRandom::new();
        let by_hand = AttemptId::by_hand(message, endpoint, due, &random);
        assert!(by_hand.is_of(message, endpoint));
        assert_ne!(by_hand, AttemptId::by_hand(message, endpoint, due, &random));
    }
}
