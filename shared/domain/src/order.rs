//! Ordered delivery: what an endpoint asks for, the entries of an application's order, and how far an endpoint is
//! in it (ADR 0035).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use runtime::clock::{DAY, Timestamp};

use crate::aws_place::is_pointer;
use crate::ids::{EndpointId, Id as _, Ksuid, MessageId};
use crate::json::Json;
use crate::payload_filter::PayloadView;
use crate::together::Batching;

/// Keys of one endpoint that may wait at a time, because they failed or are not served yet. With more of them no
/// further message of the endpoint is begun: its item would grow without end.
pub const KEYS_WAITING_MAX: usize = 1_000;
/// With so many of them none waits for further messages of its webhook any more: those that fail have to find room.
pub const KEYS_GATHERING_MAX: usize = KEYS_WAITING_MAX / 2;
/// Ordered endpoints of one application: each entry of its order names those that a message is for.
pub const ORDERED_MAX: usize = 20;
/// Messages of one entry.
pub const ENTRY_MESSAGES_MAX: usize = 25;
/// How long an entry is kept.
pub const ENTRY_KEPT: Duration = DAY.saturating_mul(90);
/// An entry that is older counts no more, and none that counts has left the table: so nobody passes one that may leave
/// while the numbers behind it are looked for.
pub const ENTRY_COUNTS: Duration = DAY.saturating_mul(89);
/// From then on the youngest entry alone does not say how far the numbers went: others behind it may have expired.
pub const TAIL_TRUSTED: Duration = DAY.saturating_mul(80);
/// How long a lease is held at most: the longest life of an invocation that takes one.
pub const LEASE: Duration = Duration::from_secs(60);
/// By how much two clocks may differ.
pub const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(40);
/// How long a message that used its retry policy up waits for each further attempt, at the least.
pub const HELD_MIN: Duration = Duration::from_secs(3600);

const ID_LENGTH: usize = 20;
const KEY_LENGTH: usize = 16;

/// That an endpoint's messages arrive in order, and by what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fifo {
    /// A JSON pointer (RFC 6901) to what in a payload names its key; all messages are of one key if none.
    pub key: Option<String>,
    /// How many of one key are one webhook.
    pub batching: Batching,
}

impl Fifo {
    /// Whether a text can be a `fifoKey`.
    pub fn is_key(text: &str) -> bool {
        is_pointer(text)
    }

    /// The key of a payload. Payloads in which there is nothing, or `null`, share one key.
    pub fn key_of(&self, payload: &PayloadView<'_>) -> OrderKey {
        let found = self.key.as_deref().and_then(|pointer| payload.at(pointer));
        let text = match found {
            None | Some(Json::Null) => return OrderKey::default(),
            // A text and a number that look the same are different keys.
            Some(value) => value.canonical(),
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut key = [0; KEY_LENGTH];
        key.copy_from_slice(&digest.as_ref()[..KEY_LENGTH]);
        OrderKey(key)
    }
}

/// What messages of one endpoint are in order by: 16 bytes of a hash of what the payload has, zeros for nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey([u8; KEY_LENGTH]);

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A message in an application's order, and the ordered endpoints that it is for, with its key at each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The message.
    pub message: MessageId,
    /// The endpoints.
    pub endpoints: Vec<(EndpointId, OrderKey)>,
}

impl Ordered {
    /// Its key at an endpoint; none if it is not for it.
    pub fn key_at(&self, endpoint: EndpointId) -> Option<OrderKey> {
        self.endpoints.iter().find(|(id, _)| *id == endpoint).map(|(_, key)| *key)
    }

    /// As an entry holds it.
    pub fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.message.ksuid().bytes());
        to.push(u8::try_from(self.endpoints.len()).unwrap_or(u8::MAX));
        for (endpoint, key) in self.endpoints.iter().take(usize::from(u8::MAX)) {
            to.extend(endpoint.ksuid().bytes());
            to.extend(key.0);
        }
    }

    /// What [`Ordered::write`] wrote, any number of them; none if it is something else.
    pub fn read(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let message = MessageId::from_ksuid(Ksuid::from_bytes(take(&mut bytes)?));
            let [count] = take::<1>(&mut bytes)?;
            let mut endpoints = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                let endpoint = EndpointId::from_ksuid(Ksuid::from_bytes(take::<ID_LENGTH>(&mut bytes)?));
                endpoints.push((endpoint, OrderKey(take(&mut bytes)?)));
            }
            all.push(Self { message, endpoints });
        }
        Some(all)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

/// A part of an application's order: messages with consecutive numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of the first, from 1. Each entry begins where the one before ends.
    pub first: u64,
    /// The messages, one at least.
    pub messages: Vec<Ordered>,
}

impl Entry {
    /// The number of the last.
    pub fn last(&self) -> u64 {
        self.first + (self.messages.len() as u64).saturating_sub(1)
    }
}

/// A key that is not as far as its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// All of its messages with lower numbers are done.
    pub at: u64,
    /// When it goes on.
    pub next: Timestamp,
    /// The slot of a rate limit that it has taken.
    pub slot: Option<Timestamp>,
    /// Somebody asked for it to be tried before it is due.
    pub forced: bool,
    /// How many of its messages are known that wait for more to be one webhook with them; 0 if it waits for something else.
    pub gathered: u16,
}

impl Waiting {
    /// It waits for nothing but more messages.
    pub const fn gathers(&self) -> bool {
        self.gathered > 0
    }
}

/// The keys of an endpoint that wait.
pub type WaitingKeys = BTreeMap<OrderKey, Waiting>;

/// A lease of an endpoint's place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub token: String,
    /// When it runs out, by its holder's clock.
    pub until: Timestamp,
}

impl Lease {
    /// Whether its holder may still be at work, whatever its clock says.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.after(CLOCKS_DIFFER_MAX) > now
    }
}

/// How far an ordered endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// What has a number up to this is done, or its key waits.
    pub position: u64,
    /// Those keys.
    pub waiting: WaitingKeys,
    /// When it is woken for the one that goes on first.
    pub wake: Option<Timestamp>,
    /// Nothing is sent until it is resumed.
    pub paused: bool,
    /// How often somebody asked for what waits to be tried at once.
    pub forced: u64,
    /// How often that was done.
    pub forced_done: u64,
    /// How often somebody changed what a key waits for, so that those that wait are to be looked at.
    pub looks: u64,
    /// How often that was done.
    pub looks_done: u64,
    /// How often it was changed by who had a lease: each of their writes is on condition that it is the next.
    pub turn: u64,
    /// Who works on it.
    pub lease: Option<Lease>,
    /// Somebody wanted it while it was leased: the holder has to look again.
    pub awaited: bool,
    /// A job comes when the lease has run out.
    pub watched: bool,
}

impl Place {
    /// Whether somebody asked for what waits to be tried at once, and that was not done.
    pub const fn is_forced(&self) -> bool {
        self.forced != self.forced_done
    }

    /// Whether somebody changed what a key waits for, and those that wait were not looked at since.
    pub const fn is_to_be_looked_at(&self) -> bool {
        self.looks != self.looks_done
    }

    /// Whether a key that waits may go on.
    pub fn has_due(&self, now: Timestamp) -> bool {
        (self.is_forced() || self.is_to_be_looked_at()) && !self.waiting.is_empty()
            || self.waiting.values().any(|key| key.next <= now)
    }
}

/// When the first of those keys goes on.
pub fn next_of(waiting: &WaitingKeys) -> Option<Timestamp> {
    waiting.values().map(|key| key.next).min()
}

/// Flags of a key that waits.
const SLOT: u8 = 1;
const FORCED: u8 = 2;
const GATHERS: u8 = 4;

/// Keys that wait as an item has them: 33 bytes each, 8 more with a slot, and 2 more with messages that wait for others.
pub fn write_waiting(waiting: &WaitingKeys) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(waiting.len() * 33);
    for (key, Waiting { at, next, slot, forced, gathered }) in waiting {
        bytes.extend(key.0);
        let flag = |is: bool, flag| if is { flag } else { 0 };
        bytes.push(flag(slot.is_some(), SLOT) | flag(*forced, FORCED) | flag(*gathered > 0, GATHERS));
        for number in [Some(*at), Some(next.ms()), slot.map(|slot| slot.ms())].into_iter().flatten() {
            bytes.extend(number.to_be_bytes());
        }
        if *gathered > 0 {
            bytes.extend(gathered.to_be_bytes());
        }
    }
    bytes
}

/// What [`write_waiting`] wrote; none if it is something else.
pub fn read_waiting(mut bytes: &[u8]) -> Option<WaitingKeys> {
    let mut waiting = WaitingKeys::new();
    while !bytes.is_empty() {
        let key = OrderKey(take(&mut bytes)?);
        let [flags] = take::<1>(&mut bytes)?;
        let mut number = || take(&mut bytes).map(u64::from_be_bytes);
        let (at, next) = (number()?, Timestamp::from_ms(number()?));
        let slot = if flags & SLOT != 0 { Some(Timestamp::from_ms(number()?)) } else { None };
        let gathered = if flags & GATHERS != 0 { u16::from_be_bytes(take(&mut bytes)?) } else { 0 };
        if flags & !(SLOT | FORCED | GATHERS) != 0 {
            return None;
        }
        waiting.insert(key, Waiting { at, next, slot, forced: flags & FORCED != 0, gathered });
    }
    Some(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pointer: Option<&str>, payload: &str) -> OrderKey {
        Fifo { key: pointer.map(str::to_owned), ..Fifo::default() }.key_of(&PayloadView::new(payload))
    }

    #[test]
    fn a_key_is_what_the_payload_has_there() {
        let payload = r#"{"customer": {"id": "7", "n": 7, "a/b": [1, null]}}"#;
        let id = key(Some("/customer/id"), payload);
        assert_eq!(id, key(Some("/customer/id"), r#"{"more": 1, "customer": {"id": "7"}}"#));
        assert_ne!(id, key(Some("/customer/n"), payload));
        assert_ne!(key(Some("/customer/a~1b/0"), payload), OrderKey::default());
        for nothing in ["/customer/other", "/customer/a~1b/1", "/customer/a~1b/2", "/customer/id/x"] {
            assert_eq!(key(Some(nothing), payload), OrderKey::default(), "{nothing}");
        }
        assert_eq!(key(None, payload), OrderKey::default());
        assert_eq!(key(Some("/a"), "\"a text\""), OrderKey::default());
        // Whatever else it has.
        let seven = key(Some("/k"), r#"{"k":7}"#);
        for same in [r#"{"k":7,"n":1e400}"#, r#"{"k":7,"n":"\ud800"}"#] {
            assert_eq!(key(Some("/k"), same), seven, "{same}");
        }
        assert_ne!(key(Some("/k"), r#"{"k":"7"}"#), seven);
    }

    #[test]
    fn a_key_is_the_same_as_in_earlier_versions() {
        // What waits in an order was hashed when it was accepted.
        for value in [
            "7",
            "-12",
            "2.5",
            "7.0",
            "1e5",
            "-0",
            "18446744073709551616",
            "0.1000000000000000055",
            "true",
            r#""a \"text\" é""#,
            r#"[1,"x",null]"#,
            r#"{"a":1,"b":[]}"#,
        ] {
            let payload = format!(r#"{{"k":{value}}}"#);
            let theirs: serde_json::Value = serde_json::from_str(value).unwrap();
            let digest = ring::digest::digest(&ring::digest::SHA256, theirs.to_string().as_bytes());
            assert_eq!(key(Some("/k"), &payload).0, digest.as_ref()[..KEY_LENGTH], "{value}");
        }
    }

    #[test]
    fn entries_and_keys_are_read_as_they_were_written() {
        let id = |byte| Ksuid::new(Timestamp::from_ms(1_800_000_000_000), [byte; 15]);
        let all: Vec<Ordered> = (0..3)
            .map(|nth| Ordered {
                message: MessageId::from_ksuid(id(nth)),
                endpoints: (0..nth)
                    .map(|at| (EndpointId::from_ksuid(id(100 + at)), OrderKey([at; KEY_LENGTH])))
                    .collect(),
            })
            .collect();
        let mut bytes = Vec::new();
        all.iter().for_each(|one| one.write(&mut bytes));
        assert_eq!(Ordered::read(&bytes), Some(all.clone()));
        assert_eq!(Ordered::read(&bytes[..bytes.len() - 1]), None);
        assert_eq!(all[2].key_at(EndpointId::from_ksuid(id(101))), Some(OrderKey([1; KEY_LENGTH])));
        assert_eq!(all[2].key_at(EndpointId::from_ksuid(id(102))), None);
        assert_eq!(Entry { first: 5, messages: all }.last(), 7);

        let at = Timestamp::from_ms(1_800_000_000_123);
        let waiting: WaitingKeys = [(1, None), (2, Some(at)), (3, None)]
            .map(|(byte, slot)| {
                let gathered = if byte == 3 { 999 } else { 0 };
                let waiting = Waiting { at: 1 << 40, next: at, slot, forced: byte == 2, gathered };
                (OrderKey([byte; KEY_LENGTH]), waiting)
            })
            .into();
        let bytes = write_waiting(&waiting);
        assert_eq!(bytes.len(), 3 * 33 + 8 + 2);
        assert_eq!(read_waiting(&bytes), Some(waiting.clone()));
        assert_eq!(read_waiting(&bytes[1..]), None);
        assert_eq!(next_of(&waiting), Some(at));
    }

    #[test]
    fn a_lease_holds_for_the_slowest_clock() {
        let at = |seconds: u64| Timestamp::from_ms(1_800_000_000_000 + seconds * 1000);
        let lease = Lease { token: "a".into(), until: at(60) };
        assert!(lease.holds(at(0)) && lease.holds(at(99)) && !lease.holds(at(100)));
    }
}
