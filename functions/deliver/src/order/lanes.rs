//! What a worker has at hand of an ordered endpoint: a lane for each key that it is sending for.
//!
//! A lane has the next messages of its key. It is *level* as long as it knows all of them up to the endpoint's position,
//! so that further ones are added as they are read; else it reads on by itself, from where it is.

use std::collections::{BTreeMap, VecDeque};

use shared::Result;
use shared::clock::Timestamp;
use shared::ids::{AppId, EndpointId, MessageId};
use shared::order::{KEYS_WAITING_MAX, OrderKey, Place, Waiting};
use shared::store::Store;

use super::step::Step;

/// Lanes at a time: keys that waited, and go on.
const RESUMED_MAX: usize = 50;
/// Messages that one lane knows.
const LANE_MAX: usize = 50;
/// Messages of all lanes that are known ahead.
const AHEAD_MAX: usize = 200;
/// Entries that are read at a time.
const PAGE: usize = 100;
/// Due at once, by every clock: who leaves something undone may be ahead of who comes for it.
const AT_ONCE: Timestamp = Timestamp::from_ms(0);

#[derive(Debug)]
struct Lane {
    /// The next messages and their numbers.
    queue: VecDeque<(u64, MessageId)>,
    /// All of its messages up to this number are done or in the queue; of a level one, up to the position.
    scanned: u64,
    level: bool,
    running: bool,
    slot: Option<Timestamp>,
    /// Its next message is tried although it is not due.
    forced: bool,
}

/// A message that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its key.
    pub key: OrderKey,
    /// The message.
    pub message: MessageId,
    /// The slot of a rate limit that it has taken.
    pub slot: Option<Timestamp>,
    /// Somebody asked for it to be tried before it is due.
    pub forced: bool,
}

/// The work on an endpoint's place.
#[derive(Debug)]
pub struct Work {
    /// The place as it would be kept now, but for the lanes.
    pub place: Place,
    lanes: BTreeMap<OrderKey, Lane>,
    /// Everything that is in the order has been read.
    at_end: bool,
    stopped: bool,
}

impl Work {
    /// The work on a place that was just leased.
    pub fn of(place: Place) -> Self {
        let mut work = Self { place, lanes: BTreeMap::new(), at_end: false, stopped: false };
        work.force();
        work
    }

    /// Whether so many keys wait that no message of another one is begun.
    pub fn is_full(place: &Place) -> bool {
        place.waiting.len() >= KEYS_WAITING_MAX
    }

    fn force(&mut self) {
        if self.place.is_forced() {
            for waiting in self.place.waiting.values_mut() {
                (waiting.next, waiting.forced) = (AT_ONCE, true);
            }
            self.place.forced_done = self.place.forced;
        }
    }

    /// Takes note of what was asked for while this was leased.
    pub fn see(&mut self, seen: &Place) {
        (self.place.forced, self.place.turn) = (seen.forced, seen.turn);
        self.stopped = seen.paused;
        self.at_end = false;
        self.force();
    }

    /// Begins nothing more.
    pub const fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether nothing more is begun.
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Reads what can be begun.
    pub async fn fill(
        &mut self,
        store: &Store,
        app: AppId,
        endpoint: EndpointId,
        now: Timestamp,
    ) -> Result<()> {
        let mut due: Vec<(u64, OrderKey)> = self
            .place
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.next <= now)
            .map(|(key, waiting)| (waiting.at, *key))
            .collect();
        due.sort();
        for (_, key) in due.into_iter().take(RESUMED_MAX.saturating_sub(self.lanes.len())) {
            if let Some(Waiting { at, slot, forced, .. }) = self.place.waiting.remove(&key) {
                let (queue, scanned) = (VecDeque::new(), at.saturating_sub(1));
                self.lanes.insert(key, Lane { queue, scanned, level: false, running: false, slot, forced });
            }
        }
        let idle = self.lanes.iter().filter(|(_, lane)| lane.queue.is_empty() && !lane.running);
        for key in idle.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.read_lane(store, app, endpoint, key).await?;
        }
        while !self.at_end && self.ahead() < AHEAD_MAX && self.has_room() {
            let (entries, more) = store.order_after(app, self.place.position, PAGE).await?;
            self.at_end = !more;
            for entry in entries {
                if !self.has_room() {
                    self.at_end = false;
                    break;
                }
                for (number, one) in (entry.first..).zip(&entry.messages) {
                    if let Some(key) = one.key_at(endpoint) {
                        self.add(key, number, one.message);
                    }
                }
                self.place.position = entry.last();
            }
        }
        Ok(())
    }

    fn ahead(&self) -> usize {
        self.lanes.values().map(|lane| lane.queue.len()).sum()
    }

    fn has_room(&self) -> bool {
        self.place.waiting.len() + self.lanes.len() < KEYS_WAITING_MAX
    }

    /// A message behind the position. One whose key waits is found again from where that is.
    fn add(&mut self, key: OrderKey, number: u64, message: MessageId) {
        if self.place.waiting.contains_key(&key) {
            return;
        }
        let new = || Lane {
            queue: VecDeque::new(),
            scanned: 0,
            level: true,
            running: false,
            slot: None,
            forced: false,
        };
        let lane = self.lanes.entry(key).or_insert_with(new);
        if lane.level && lane.queue.len() >= LANE_MAX {
            (lane.level, lane.scanned) = (false, number - 1);
        }
        if lane.level {
            lane.queue.push_back((number, message));
        }
    }

    /// Reads a lane's next messages, up to the position; one that has no more is gone.
    async fn read_lane(
        &mut self,
        store: &Store,
        app: AppId,
        endpoint: EndpointId,
        key: OrderKey,
    ) -> Result<()> {
        let position = self.place.position;
        let Some(lane) = self.lanes.get_mut(&key) else { return Ok(()) };
        while !lane.level && lane.queue.is_empty() {
            let (entries, more) = store.order_from(app, lane.scanned + 1, PAGE).await?;
            let (from, mut is_full) = (lane.scanned, false);
            let reaches = !more || entries.last().is_none_or(|entry| entry.last() >= position);
            let numbered = entries.iter().flat_map(|entry| (entry.first..).zip(&entry.messages));
            for (number, one) in numbered.filter(|(number, _)| *number > from && *number <= position) {
                is_full = lane.queue.len() >= LANE_MAX;
                if is_full {
                    break;
                }
                lane.scanned = number;
                if one.key_at(endpoint) == Some(key) {
                    lane.queue.push_back((number, one.message));
                }
            }
            lane.level = reaches && !is_full;
        }
        if lane.queue.is_empty() {
            self.lanes.remove(&key);
        }
        Ok(())
    }

    /// The next message of a lane where none is under way.
    pub fn begin(&mut self) -> Option<Begun> {
        let idle = self.lanes.iter_mut().filter(|(_, lane)| !lane.running && !lane.queue.is_empty());
        let (key, lane) = idle.min_by_key(|(_, lane)| lane.queue.front().map(|(number, _)| *number))?;
        lane.running = true;
        let (key, message) = (*key, lane.queue.front()?.1);
        Some(Begun { key, message, slot: lane.slot.take(), forced: lane.forced })
    }

    /// What was begun for a key has ended so.
    pub fn end(&mut self, key: OrderKey, step: Step) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.running = false;
        match step {
            Step::Done => {
                lane.queue.pop_front();
                lane.forced = false;
            }
            Step::Later { next, slot } | Step::LaterAndStop { next, slot } => {
                // One that waits for the rate limit was not tried yet.
                let forced = lane.forced && slot.is_some();
                if let Some((at, _)) = lane.queue.front().copied() {
                    self.place.waiting.insert(key, Waiting { at, next, slot, forced });
                }
                self.lanes.remove(&key);
                self.stopped |= matches!(step, Step::LaterAndStop { .. });
            }
            Step::Stop => self.stopped = true,
        }
    }

    /// What was begun for a key has not ended, as far as is known.
    pub fn interrupt(&mut self, key: OrderKey) {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.running = false;
        }
    }

    /// What is left in lanes waits from now on, and is due at once. Whether anything is.
    pub fn settle(&mut self, now: Timestamp) -> bool {
        for (key, lane) in std::mem::take(&mut self.lanes) {
            let front = lane.queue.front().map(|(number, _)| *number);
            let behind = (!lane.level).then_some(lane.scanned + 1);
            if let Some(at) = front.or(behind) {
                let Lane { slot, forced, .. } = lane;
                self.place.waiting.insert(key, Waiting { at, next: AT_ONCE, slot, forced });
            }
        }
        let is_due = self.place.waiting.values().any(|waiting| waiting.next <= now);
        !self.stopped && (is_due || !self.at_end && !Self::is_full(&self.place))
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::{Id as _, Ksuid};
    use shared::order::Fifo;
    use shared::payload_filter::PayloadView;

    use super::*;

    fn key(text: &str) -> OrderKey {
        let payload = serde_json::json!({ "k": text }).to_string();
        Fifo { key: Some("/k".into()) }.key_of(&PayloadView::new(&payload))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(1_800_000_000_000 + seconds * 1000)
    }

    fn message(number: u64) -> MessageId {
        MessageId::from_ksuid(Ksuid::new(at(number), [number as u8; 15]))
    }

    fn begun(name: &str, number: u64) -> Option<Begun> {
        Some(Begun { key: key(name), message: message(number), slot: None, forced: false })
    }

    fn work() -> Work {
        let mut work = Work::of(Place::default());
        for (number, name) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
            work.add(key(name), number, message(number));
            work.place.position = number;
        }
        work
    }

    #[test]
    fn one_message_of_a_key_is_under_way_and_the_first_first() {
        let mut work = work();
        assert_eq!(work.begin(), begun("a", 1));
        assert_eq!(work.begin(), begun("b", 2));
        assert_eq!(work.begin(), None);
        work.end(key("b"), Step::Done);
        assert_eq!(work.begin(), begun("b", 4));
        work.end(key("a"), Step::Done);
        assert_eq!(work.begin(), begun("a", 3));
    }

    #[test]
    fn a_key_that_fails_waits_alone_and_what_comes_of_it_is_found_again() {
        let mut work = work();
        work.begin();
        work.begin();
        work.end(key("a"), Step::Later { next: at(9), slot: None });
        work.end(key("b"), Step::Done);
        work.add(key("a"), 5, message(5));
        assert_eq!(work.begin(), begun("b", 4));
        assert_eq!(work.begin(), None);
        work.end(key("b"), Step::Done);
        work.at_end = true;
        assert!(!work.settle(at(1)));
        let waiting = Waiting { at: 1, next: at(9), slot: None, forced: false };
        assert_eq!(work.place.waiting, [(key("a"), waiting)].into());
    }

    #[test]
    fn what_is_left_is_due_at_once() {
        let mut work = work();
        work.begin();
        work.end(key("a"), Step::Done);
        work.at_end = true;
        assert!(work.settle(at(7)));
        let left: Vec<_> = work.place.waiting.values().map(|waiting| (waiting.at, waiting.next)).collect();
        assert!(left.contains(&(3, AT_ONCE)) && left.contains(&(2, AT_ONCE)) && left.len() == 2);
        work.stop();
        assert!(!work.settle(at(8)));
    }

    #[test]
    fn a_long_lane_is_read_on_from_where_it_is() {
        let mut work = Work::of(Place::default());
        for number in 1..=LANE_MAX as u64 + 3 {
            work.add(key("a"), number, message(number % 200));
            work.place.position = number;
        }
        let lane = &work.lanes[&key("a")];
        assert_eq!((lane.queue.len(), lane.level, lane.scanned), (LANE_MAX, false, LANE_MAX as u64));
        for _ in 0..LANE_MAX {
            work.begin().expect("a message");
            work.end(key("a"), Step::Done);
        }
        work.at_end = true;
        assert!(work.settle(at(1)));
        assert_eq!(work.place.waiting[&key("a")].at, LANE_MAX as u64 + 1);
    }

    #[test]
    fn a_force_makes_what_waits_due_until_it_was_tried() {
        let waits = Waiting { at: 1, next: at(900), slot: None, forced: false };
        let waiting = [(key("a"), waits), (key("b"), Waiting { at: 2, ..waits })].into();
        let place = Place { waiting, forced: 3, forced_done: 2, ..Place::default() };
        assert!(place.has_due(at(1)));
        let mut work = Work::of(place);
        assert_eq!((work.place.waiting[&key("a")].next, work.place.forced_done), (AT_ONCE, 3));
        // The rate limit lets "a" wait, and the time is over before "b" is begun.
        for (name, number) in [("a", 1), ("b", 2)] {
            let forced = work.place.waiting.remove(&key(name)).is_some_and(|waiting| waiting.forced);
            work.add(key(name), number, message(number));
            work.lanes.get_mut(&key(name)).unwrap().forced = forced;
        }
        assert_eq!(work.begin(), Some(Begun { forced: true, ..begun("a", 1).unwrap() }));
        work.end(key("a"), Step::Later { next: at(5), slot: Some(at(5)) });
        work.settle(at(2));
        assert!(work.place.waiting.values().all(|waiting| waiting.forced));
        // What was tried waits for its time again.
        work.place.waiting.remove(&key("a"));
        work.add(key("a"), 1, message(1));
        work.lanes.get_mut(&key("a")).unwrap().forced = true;
        work.begin();
        work.end(key("a"), Step::Later { next: at(900), slot: None });
        assert!(!work.place.waiting[&key("a")].forced);
    }
}
