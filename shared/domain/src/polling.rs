//! Polling: where a reader of an application's messages is, and what it is given (ADR 0029).
//!
//! Messages are read in the order of their IDs, which hold when they were posted and not when they were
//! stored. So a position has two parts: before its base, everything is stored and was given; behind it,
//! single messages were given ahead, and others may still be stored.

use std::collections::BTreeSet;
use std::time::Duration;

use runtime::clock::Timestamp;

use crate::ids::{AppId, EndpointId, Id as _, Ksuid, MessageId};
use crate::retention::{LOG_RETENTION_DAYS, Retention};
use runtime::clock::DAY;

/// How old the ID of a message may be when its item is written: as long as the longest function runs. A
/// request that is later gets another ID.
pub const STORE_WITHIN: Duration = Duration::from_secs(60);
/// How old the ID of a request that died may be for another request to take it over: what is left of
/// [`STORE_WITHIN`] is enough to store it.
pub const TAKE_OVER_WITHIN: Duration = Duration::from_secs(30);
/// How long a write may be on its way to the table after whoever sent it has given up: the SDK gives an
/// operation 12 seconds.
const IN_FLIGHT_MAX: Duration = Duration::from_secs(20);
/// How far the clocks of two instances may differ. Amazon Time Sync keeps them within milliseconds.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(40);
/// What is older is stored, or never will be: a position's base goes no further.
pub const SETTLED_AFTER: Duration =
    Duration::from_secs(STORE_WITHIN.as_secs() + IN_FLIGHT_MAX.as_secs() + CLOCKS_DIFFER_MAX.as_secs());

/// Messages that are given ahead of the base at most: each is ten bytes of the iterator, and an iterator has to
/// fit into a URL.
pub const AHEAD_MAX: usize = 300;
/// Of an ID, what distinguishes it from others of the last two minutes: its time and 40 bits.
const MARK_LENGTH: usize = 10;
const ID_LENGTH: usize = 20;
const VERSION: u8 = 1;

/// Shortest, usual and longest lease.
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// The lease of a poll that names none.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(60);
/// The longest lease.
pub const LEASE_MAX: Duration = Duration::from_secs(3600);

/// How far a consumer's position moves on before it is kept although there was nothing to lease: until then it
/// costs less to pass the time again.
pub const STILL_CHEAP_MAX: Duration = DAY;

/// Consumers of one endpoint at a time, of either kind.
pub const CONSUMERS_MAX: usize = 100;
/// Longest name of a consumer.
pub const CONSUMER_LENGTH_MAX: usize = 128;
/// How long a consumer is remembered that does not poll.
pub const CONSUMER_KEPT: Duration = Duration::from_secs(LOG_RETENTION_DAYS * DAY.as_secs());

type Mark = [u8; MARK_LENGTH];

fn mark(id: Ksuid) -> Mark {
    id.bytes()[..MARK_LENGTH].try_into().expect("an ID is longer")
}

/// Where a reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    base: Ksuid,
    ahead: BTreeSet<Mark>,
}

impl Position {
    /// Before everything that was posted at that time or later.
    pub fn at(time: Timestamp) -> Self {
        // What sorts before every ID of those four milliseconds is the last one of the four before.
        Self { base: Ksuid::new(time.before(Duration::from_millis(4)), [0xff; 15]), ahead: BTreeSet::new() }
    }

    /// Before everything that was posted since an endpoint was created, by whatever clock: an ID of what was
    /// posted after that may be older by as much as clocks differ.
    pub fn since_creation(created_at: Timestamp) -> Self {
        Self::at(created_at.before(CLOCKS_DIFFER_MAX))
    }

    /// Behind everything that was posted at that time or earlier.
    pub fn behind(time: Timestamp) -> Self {
        Self { base: Ksuid::new(time, [0xff; 15]), ahead: BTreeSet::new() }
    }

    /// Everything up to this ID was given.
    pub const fn base(&self) -> Ksuid {
        self.base
    }

    /// Whether messages behind it may have left the log before they were given.
    pub fn is_stale(&self, kept: &Retention, now: Timestamp) -> bool {
        now > kept.messages_until(self.base.time())
    }

    /// The later of the two.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if other.base > self.base { self.moved(other.base) } else { self }
    }

    fn moved(mut self, base: Ksuid) -> Self {
        self.base = base;
        let mark = mark(base);
        self.ahead.retain(|ahead| *ahead > mark);
        self
    }

    /// As bytes, to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.base.bytes());
        bytes.extend(self.ahead.iter().flatten());
        bytes
    }

    /// What [`Position::to_bytes`] made; none if it is something else.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (base, ahead) = rest.split_first_chunk::<ID_LENGTH>()?;
        let (ahead, rest) = ahead.as_chunks::<MARK_LENGTH>();
        let whole = *version == VERSION && rest.is_empty() && ahead.len() <= AHEAD_MAX;
        whole.then(|| Self { base: Ksuid::from_bytes(*base), ahead: ahead.iter().copied().collect() })
    }
}

/// What becomes of a message that a reader meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It was given already.
    Before,
    /// It can be given now.
    Open,
    /// It cannot be given yet: as many were given ahead as can be kept.
    Full,
}

/// One reading of an application's messages, in the order of their IDs.
#[derive(Clone, Debug)]
pub struct Reading {
    position: Position,
    /// Up to it, everything is stored.
    settled: Ksuid,
    /// What was met last is younger than that.
    young: bool,
}

impl Reading {
    /// From `position` on, now.
    pub fn new(position: Position, now: Timestamp) -> Self {
        Self::settled_before(position, now.before(SETTLED_AFTER))
    }

    /// The same where everything up to that time counts as stored.
    pub fn settled_before(position: Position, settled: Timestamp) -> Self {
        let settled = Ksuid::new(settled, [0xff; 15]);
        Self { position, settled, young: false }
    }

    /// Only what lies behind this is read.
    pub const fn base(&self) -> Ksuid {
        self.position.base
    }

    /// Says what becomes of a message that is met; [`Reading::pass`] is to follow unless it cannot be given.
    pub fn meet(&mut self, id: MessageId) -> Met {
        let id = id.ksuid();
        self.young = id > self.settled;
        if self.position.ahead.contains(&mark(id)) {
            Met::Before
        } else if self.young && self.position.ahead.len() >= AHEAD_MAX {
            Met::Full
        } else {
            Met::Open
        }
    }

    /// Goes on behind a message, which was given or is not wanted.
    pub fn pass(&mut self, id: MessageId, given: bool) {
        let id = id.ksuid();
        if id <= self.settled {
            self.position = self.take().moved(id);
        } else if given {
            self.position.ahead.insert(mark(id));
        }
    }

    /// Whether what was met last can be followed by what is stored later: reading again at once finds
    /// nothing more.
    pub const fn is_young(&self) -> bool {
        self.young
    }

    /// Where the reader is then. `ended` says that everything was met that there is.
    pub fn end(mut self, ended: bool) -> Position {
        if ended && self.settled > self.position.base {
            self.take().moved(self.settled)
        } else {
            self.position
        }
    }

    fn take(&mut self) -> Position {
        let base = self.position.base;
        std::mem::replace(&mut self.position, Position { base, ahead: BTreeSet::new() })
    }
}

/// A consumer with leases: what it has committed, and what is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    /// Behind everything that was handed out.
    pub position: Position,
    /// The offset of the last message that was committed; the first message has 1.
    pub committed: u64,
    /// Messages that were handed out and not committed, in the order of their offsets.
    pub out: Vec<MessageId>,
    /// Until when they are leased.
    pub until: Timestamp,
}

/// Why a commit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitRefused {
    /// A later offset was committed already: this one.
    Backwards(u64),
    /// It was never handed out; the last one that was is this.
    Ahead(u64),
}

impl Leases {
    /// A consumer that has done nothing yet.
    pub const fn new(position: Position) -> Self {
        Self { position, committed: 0, out: Vec::new(), until: Timestamp::from_ms(0) }
    }

    /// Whether somebody holds the lease of what is out.
    pub fn is_held(&self, now: Timestamp) -> bool {
        !self.out.is_empty() && now < self.until
    }

    /// The messages that are out, by their offsets.
    pub fn offsets(&self) -> impl Iterator<Item = (u64, MessageId)> {
        (self.committed + 1..).zip(self.out.iter().copied())
    }

    /// Commits the first `count` that are out.
    pub fn skip(&mut self, count: usize) {
        let count = count.min(self.out.len());
        self.out.drain(..count);
        self.committed += count as u64;
    }

    /// Commits everything up to `offset`. What was committed already may be committed again.
    ///
    /// # Errors
    /// An offset that lies before what was committed, or behind what was handed out.
    pub fn commit(&mut self, offset: u64) -> Result<(), CommitRefused> {
        let Some(done) = offset.checked_sub(self.committed) else {
            return Err(CommitRefused::Backwards(self.committed));
        };
        match usize::try_from(done) {
            Ok(done) if done <= self.out.len() => {
                self.skip(done);
                Ok(())
            }
            _ => Err(CommitRefused::Ahead(self.committed + self.out.len() as u64)),
        }
    }

    const HEAD: usize = 16;

    /// As bytes, to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [self.committed.to_be_bytes(), self.until.ms().to_be_bytes()].concat();
        bytes.extend(self.out.iter().flat_map(|id| *id.ksuid().bytes()));
        bytes
    }

    /// What [`Leases::to_bytes`] made, and the position beside it; none if it is something else.
    pub fn of_bytes(position: Position, bytes: &[u8]) -> Option<Self> {
        let (head, ids) = bytes.split_first_chunk::<{ Self::HEAD }>()?;
        let (numbers, _) = head.as_chunks::<8>();
        let (ids, rest) = ids.as_chunks::<ID_LENGTH>();
        let out = ids.iter().map(|id| MessageId::from_ksuid(Ksuid::from_bytes(*id))).collect();
        rest.is_empty().then(|| Self {
            position,
            committed: u64::from_be_bytes(numbers[0]),
            out,
            until: Timestamp::from_ms(u64::from_be_bytes(numbers[1])),
        })
    }
}

/// What a polling key begins with.
pub const KEY_PREFIX: &str = "sk_poll_";
/// Bytes of a key that are drawn.
pub const KEY_SECRET_LENGTH: usize = 24;
/// How long a polling key is valid at most, in seconds: a year.
pub const KEY_LIFE_SECONDS_MAX: u64 = 31_536_000;
/// How long an old key is valid after a rotation, in seconds, if nothing else is asked for, and at most.
pub const OLD_KEY_SECONDS_DEFAULT: u64 = 300;
/// The longest that may be asked for.
pub const OLD_KEY_SECONDS_MAX: u64 = 86_400;
/// Keys of one endpoint that are valid at the same time.
pub const KEYS_MAX: usize = 5;

/// A polling key as its bearer has it: it names its endpoint, so that checking it is one read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PollingKey {
    /// The endpoint's application.
    pub app: AppId,
    /// The one endpoint that it can poll.
    pub endpoint: EndpointId,
    /// What nobody can guess.
    pub secret: [u8; KEY_SECRET_LENGTH],
}

impl std::fmt::Debug for PollingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PollingKey").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl PollingKey {
    /// Reads a key; none if the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.strip_prefix(KEY_PREFIX)?);
        let bytes: [u8; 2 * ID_LENGTH + KEY_SECRET_LENGTH] = bytes.ok()?.try_into().ok()?;
        let (app, rest) = bytes.split_first_chunk::<ID_LENGTH>()?;
        let (endpoint, secret) = rest.split_first_chunk::<ID_LENGTH>()?;
        Some(Self {
            app: AppId::from_ksuid(Ksuid::from_bytes(*app)),
            endpoint: EndpointId::from_ksuid(Ksuid::from_bytes(*endpoint)),
            secret: secret.try_into().ok()?,
        })
    }

    /// The key's text.
    pub fn text(&self) -> String {
        use base64::Engine as _;
        let (app, endpoint) = (self.app.ksuid(), self.endpoint.ksuid());
        let bytes = [app.bytes().as_slice(), endpoint.bytes(), &self.secret].concat();
        format!("{KEY_PREFIX}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn id(before: u64, byte: u8) -> MessageId {
        MessageId::from_ksuid(Ksuid::new(NOW.before(Duration::from_secs(before)), [byte; 15]))
    }

    /// Reads all of `there`, as a poller does that wants everything.
    fn read(position: Position, now: Timestamp, there: &[MessageId]) -> (Vec<MessageId>, Position) {
        let mut reading = Reading::new(position, now);
        let mut given = Vec::new();
        let mut sorted = there.to_vec();
        sorted.sort();
        let base = reading.base();
        for id in sorted.into_iter().filter(|id| id.ksuid() > base) {
            match reading.meet(id) {
                Met::Before => reading.pass(id, false),
                Met::Open => {
                    reading.pass(id, true);
                    given.push(id);
                }
                Met::Full => return (given, reading.end(false)),
            }
        }
        (given, reading.end(true))
    }

    #[test]
    fn what_is_stored_late_is_given_late_and_nothing_twice() {
        let (first, late, last) = (id(50, 1), id(55, 2), id(10, 3));
        let start = Position::at(NOW.before(Duration::from_secs(100)));
        let (given, position) = read(start, NOW, &[first, last]);
        assert_eq!(given, [first, last]);
        let (given, position) = read(position, NOW, &[first, late, last]);
        assert_eq!(given, [late]);
        let (given, position) = read(position, NOW, &[first, late, last]);
        assert_eq!(given, []);
        // Once they are settled, nothing is kept of them.
        let (given, position) = read(position, NOW.after(SETTLED_AFTER), &[first, late, last]);
        assert_eq!((given, position.ahead.len()), (vec![], 0));
        assert_eq!(read(position, NOW.after(SETTLED_AFTER), &[first, late, last]).0, []);
    }

    #[test]
    fn so_many_are_given_ahead_and_the_rest_once_those_are_settled() {
        let there: Vec<MessageId> = (0..AHEAD_MAX as u64 + 5)
            .map(|nth| MessageId::from_ksuid(Ksuid::new(NOW.after(Duration::from_millis(nth * 4)), [7; 15])))
            .collect();
        let now = NOW.after(Duration::from_secs(5));
        let (given, position) = read(Position::at(NOW), now, &there);
        assert_eq!(given, there[..AHEAD_MAX]);
        assert_eq!(read(position.clone(), now, &there).0, []);
        let (given, position) = read(position, now.after(SETTLED_AFTER), &there);
        assert_eq!(given, there[AHEAD_MAX..]);
        assert!(position.ahead.is_empty());
    }

    #[test]
    fn a_position_is_its_bytes() {
        let (_, position) = read(Position::at(NOW.before(DAY)), NOW, &[id(5, 1), id(3, 2), id(500, 3)]);
        assert_eq!(position.ahead.len(), 2);
        assert_eq!(Position::of_bytes(&position.to_bytes()), Some(position.clone()));
        assert_eq!(Position::of_bytes(&position.to_bytes()[1..]), None);
        assert_eq!(Position::of_bytes(&[]), None);
        let kept = &Retention::default();
        assert!(!position.is_stale(kept, NOW) && position.is_stale(kept, NOW.after(CONSUMER_KEPT + DAY)));
        let later = position.clone().max(Position::behind(NOW));
        assert!(later.ahead.is_empty() && later.base > position.base);
        assert_eq!(position.clone().max(Position::at(NOW.before(DAY * 2))), position);
    }

    #[test]
    fn positions_stand_before_and_behind_a_time() {
        let exactly = id(0, 0).ksuid();
        assert!(Position::at(NOW).base < exactly && exactly < Position::behind(NOW).base);
    }

    #[test]
    fn commits_go_forward() {
        let mut leases = Leases { out: vec![id(3, 1), id(2, 2), id(1, 3)], ..Leases::new(Position::at(NOW)) };
        leases.until = NOW;
        assert_eq!(leases.offsets().map(|(offset, _)| offset).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(leases.commit(4), Err(CommitRefused::Ahead(3)));
        assert_eq!((leases.commit(2), leases.out.len()), (Ok(()), 1));
        assert_eq!((leases.commit(2), leases.out.len()), (Ok(()), 1));
        assert_eq!(leases.commit(1), Err(CommitRefused::Backwards(2)));
        assert_eq!(Leases::of_bytes(leases.position.clone(), &leases.to_bytes()), Some(leases.clone()));
        assert_eq!(leases.commit(3), Ok(()));
        assert!(!leases.is_held(NOW.before(DAY)));
        assert_eq!(leases.commit(4), Err(CommitRefused::Ahead(3)));
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = PollingKey {
            app: AppId::from_ksuid(Ksuid::new(NOW, [1; 15])),
            endpoint: EndpointId::from_ksuid(Ksuid::new(NOW, [2; 15])),
            secret: [3; KEY_SECRET_LENGTH],
        };
        assert_eq!(PollingKey::parse(&key.text()), Some(key));
        for text in ["", "sk_poll_", "sk_poll_AAAA", &key.text()[1..], &format!("{}A", key.text())] {
            assert_eq!(PollingKey::parse(text), None, "{text}");
        }
        assert!(!format!("{key:?}").contains("secret"));
    }
}
