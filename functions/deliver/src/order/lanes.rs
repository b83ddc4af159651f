//! What a worker has at hand of an ordered endpoint: a lane for each key that it is sending for.
//!
//! A lane has the next messages of its key. It is *level* as long as it knows all of them up to the endpoint's position,
//! so that further ones are added as they are read; else it reads on by itself, from where it is.
//!
//! Where several messages are one webhook, a lane that has too few of them waits for more until the time of its first is over:
//! its key *gathers*, and counts what comes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shared::Result;
use shared::clock::Timestamp;
use shared::ids::{AppId, EndpointId, MessageId};
use shared::order::{Entry, KEYS_GATHERING_MAX, KEYS_WAITING_MAX, OrderKey, Place, Waiting};
use shared::store::Store;
use shared::together::Batching;

use super::step::{Step, Stepped};

/// Lanes at a time: keys that waited, and go on.
const RESUMED_MAX: usize = 50;
/// Messages that one lane knows, of those that are sent one by one.
const LANE_MAX: usize = 50;
/// Messages of all lanes that are known ahead, of those that are sent one by one.
const AHEAD_MAX: usize = 200;
/// Entries that are read at a time, where a webhook has no more messages.
pub const PAGE: usize = 100;
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
    /// Its next message was tried, or may have been: it waits for no company.
    tried: bool,
}

/// Messages that are to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Their key.
    pub key: OrderKey,
    /// The messages: one, or as many as can be one webhook.
    pub messages: Vec<MessageId>,
    /// Webhooks are lists.
    pub listed: bool,
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
    /// How many messages are one webhook.
    pub batching: Batching,
    lanes: BTreeMap<OrderKey, Lane>,
    /// Everything that is in the order has been read.
    at_end: bool,
    stopped: bool,
}

impl Work {
    /// The work on a place that was just leased.
    pub fn of(place: Place, batching: Batching) -> Self {
        let mut work = Self { place, batching, lanes: BTreeMap::new(), at_end: false, stopped: false };
        work.force();
        work
    }

    /// Whether so many keys wait that no message of another one is begun.
    pub fn is_full(place: &Place) -> bool {
        place.waiting.len() >= KEYS_WAITING_MAX
    }

    /// Has what waits tried at once, or only looked at, where somebody asked for it: what is looked at before it is due waits on.
    fn force(&mut self) {
        if self.place.is_to_be_looked_at() {
            for waiting in self.place.waiting.values_mut().filter(|waiting| !waiting.gathers()) {
                waiting.next = AT_ONCE;
            }
            self.place.looks_done = self.place.looks;
        }
        if self.place.is_forced() {
            for waiting in self.place.waiting.values_mut() {
                (waiting.next, waiting.forced) = (AT_ONCE, true);
            }
            self.place.forced_done = self.place.forced;
        }
    }

    /// Takes note of what was asked for while this was leased.
    pub fn see(&mut self, seen: &Place) {
        (self.place.forced, self.place.looks, self.place.turn) = (seen.forced, seen.looks, seen.turn);
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
        self.resume(store, app, endpoint, now).await?;
        let mut is_full = false;
        while !self.at_end && self.ahead() < AHEAD_MAX.max(2 * self.size()) && self.has_room() {
            let (entries, more) = store.order_after(app, self.place.position, PAGE.max(self.size())).await?;
            self.at_end = !more;
            for entry in entries {
                if !self.has_room() {
                    self.at_end = false;
                    break;
                }
                for (number, one) in (entry.first..).zip(&entry.messages) {
                    if let Some(key) = one.key_at(endpoint) {
                        is_full |= self.add(key, number, one.message);
                    }
                }
                self.place.position = entry.last();
            }
        }
        if is_full {
            self.resume(store, app, endpoint, now).await?;
        }
        self.gather(now);
        Ok(())
    }

    /// Makes lanes of the keys that are due, and reads those that know too little.
    async fn resume(
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
            if let Some(waiting) = self.place.waiting.remove(&key) {
                let (queue, scanned) = (VecDeque::new(), waiting.at.saturating_sub(1));
                let Waiting { slot, forced, .. } = waiting;
                let tried = !waiting.gathers();
                let lane = Lane { queue, scanned, level: false, running: false, slot, forced, tried };
                self.lanes.insert(key, lane);
            }
        }
        let size = self.size();
        let idle = self.lanes.iter().filter(|(_, lane)| !lane.running);
        let short = idle.filter(|(_, lane)| lane.queue.is_empty() || !lane.level && lane.queue.len() < size);
        for key in short.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.read_lane(store, app, endpoint, key).await?;
        }
        Ok(())
    }

    /// Messages of one webhook.
    const fn size(&self) -> usize {
        self.batching.size as usize
    }

    /// Lets keys wait that have too few messages, until the time of the first of them is over; not where so many wait that
    /// those which fail would find no room.
    fn gather(&mut self, now: Timestamp) {
        let Batching { size, wait } = self.batching;
        if wait == 0 {
            return;
        }
        let waits = Duration::from_secs(wait.into());
        let until = |(key, lane): (&OrderKey, &Lane)| {
            let (at, first) = *lane.queue.front()?;
            let known = u16::try_from(lane.queue.len()).ok().filter(|known| *known < size)?;
            let next = first.time().after(waits);
            let gathers = lane.level && !lane.running && !lane.forced && !lane.tried && next > now;
            let slot = lane.slot;
            gathers.then_some((*key, Waiting { at, next, slot, forced: false, gathered: known }))
        };
        let gathering: Vec<(OrderKey, Waiting)> = self.lanes.iter().filter_map(until).collect();
        let room = KEYS_GATHERING_MAX.saturating_sub(self.place.waiting.len());
        for (key, waiting) in gathering.into_iter().take(room) {
            self.lanes.remove(&key);
            self.place.waiting.insert(key, waiting);
        }
    }

    fn ahead(&self) -> usize {
        self.lanes.values().map(|lane| lane.queue.len()).sum()
    }

    fn has_room(&self) -> bool {
        self.place.waiting.len() + self.lanes.len() < KEYS_WAITING_MAX
    }

    /// A message behind the position. One whose key waits is found again from where that is. Whether that key has gathered
    /// enough with it.
    fn add(&mut self, key: OrderKey, number: u64, message: MessageId) -> bool {
        if let Some(waiting) = self.place.waiting.get_mut(&key) {
            if !waiting.gathers() {
                return false;
            }
            waiting.gathered = waiting.gathered.saturating_add(1);
            let is_full = waiting.gathered >= self.batching.size;
            if is_full {
                waiting.next = AT_ONCE;
            }
            return is_full;
        }
        let most = lane_max(self.size());
        let new = || Lane {
            queue: VecDeque::new(),
            scanned: 0,
            level: true,
            running: false,
            slot: None,
            forced: false,
            tried: false,
        };
        let lane = self.lanes.entry(key).or_insert_with(new);
        if lane.level && lane.queue.len() >= most {
            (lane.level, lane.scanned) = (false, number - 1);
        }
        if lane.level {
            lane.queue.push_back((number, message));
        }
        false
    }

    /// Reads a lane's next messages, up to the position; one that has no more is gone.
    async fn read_lane(
        &mut self,
        store: &Store,
        app: AppId,
        endpoint: EndpointId,
        key: OrderKey,
    ) -> Result<()> {
        let (position, size) = (self.place.position, self.size());
        let Some(lane) = self.lanes.get_mut(&key) else { return Ok(()) };
        while !lane.level && lane.queue.len() < size {
            let (entries, more) = store.order_from(app, lane.scanned + 1, PAGE.max(size)).await?;
            let (from, mut is_full) = (lane.scanned, false);
            let reaches = !more || entries.last().is_none_or(|entry| entry.last() >= position);
            let numbered = entries.iter().flat_map(|entry| (entry.first..).zip(&entry.messages));
            for (number, one) in numbered.filter(|(number, _)| *number > from && *number <= position) {
                is_full = lane.queue.len() >= lane_max(size);
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

    /// The next messages of a lane where none is under way: one, or those of one webhook.
    pub fn begin(&mut self) -> Option<Begun> {
        let size = self.size();
        let idle = self.lanes.iter_mut().filter(|(_, lane)| !lane.running && !lane.queue.is_empty());
        let (key, lane) = idle.min_by_key(|(_, lane)| lane.queue.front().map(|(number, _)| *number))?;
        lane.running = true;
        let messages = lane.queue.iter().take(size).map(|(_, message)| *message).collect();
        Some(Begun { key: *key, messages, listed: size > 1, slot: lane.slot.take(), forced: lane.forced })
    }

    /// What was begun for a key has ended so.
    pub fn end(&mut self, key: OrderKey, Stepped { done, step, tried }: Stepped) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.running = false;
        lane.queue.drain(..done.min(lane.queue.len()));
        match step {
            Step::Done => (lane.forced, lane.tried) = (false, tried),
            Step::Later { next, slot } | Step::LaterAndStop { next, slot } => {
                // One that waits for the rate limit was not tried yet.
                let forced = lane.forced && slot.is_some();
                if let Some((at, _)) = lane.queue.front().copied() {
                    self.place.waiting.insert(key, Waiting { at, next, slot, forced, gathered: 0 });
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
                self.place.waiting.insert(key, Waiting { at, next: AT_ONCE, slot, forced, gathered: 0 });
            }
        }
        let is_due = self.place.waiting.values().any(|waiting| waiting.next <= now);
        !self.stopped && (is_due || !self.at_end && !Self::is_full(&self.place))
    }
}

/// Messages that one lane knows.
const fn lane_max(size: usize) -> usize {
    if 2 * size > LANE_MAX { 2 * size } else { LANE_MAX }
}

/// Whether nothing begins with what those entries have: their messages are for keys that wait, and none of these has gathered
/// enough with them.
pub fn only_gather(place: &Place, entries: &[Entry], endpoint: EndpointId, batching: Batching) -> bool {
    let mut more: BTreeMap<OrderKey, u16> = BTreeMap::new();
    let messages = entries.iter().flat_map(|entry| &entry.messages);
    messages.filter_map(|one| one.key_at(endpoint)).all(|key| match place.waiting.get(&key) {
        Some(waiting) if waiting.gathers() => {
            let more = more.entry(key).or_default();
            *more += 1;
            waiting.gathered.saturating_add(*more) < batching.size
        }
        Some(_) => true,
        None => false,
    })
}

#[cfg(test)]
mod tests;
