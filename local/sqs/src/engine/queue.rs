//! One queue in memory: which message is where, and what comes next.
//!
//! Nothing here waits, writes or reads a clock. Every step costs the logarithm of the number of
//! messages, whatever the backlog.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use super::content::Payload;
use super::settings::Settings;
use crate::wire::error::{ApiError, Kind};

/// The longest that one receive can hold a message, counted from the receive.
const MAX_HOLD_MS: u64 = 43_200_000;
/// The most messages of a queue that can be in flight.
pub(crate) const MAX_IN_FLIGHT: usize = 120_000;

type Group = Option<Arc<str>>;
/// A time and a message: the order of everything here.
type Key = (u64, u64);

/// A message and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) payload: Arc<Payload>,
    pub(crate) sent_ms: u64,
    pub(crate) receives: u32,
    /// The receives that happened before it came to this queue: a dead letter keeps its count, but
    /// only the receives here count towards being moved on.
    pub(crate) receives_before: u32,
    pub(crate) first_receive_ms: Option<u64>,
    /// The number of its last receive, whose handle is the one that works.
    pub(crate) receive: u64,
    /// The ARN of the queue that it came from as a dead letter.
    pub(crate) origin: Option<Arc<str>>,
    pub(crate) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Delayed { until: u64 },
    Visible { since: u64 },
    InFlight { until: u64, taken: u64 },
}

/// What [`Queue::take`] came upon.
#[derive(Debug)]
pub(crate) enum Taken {
    Received(Message),
    /// It was received too often, and is no longer in this queue.
    Dead(Message),
}

/// How many messages of a queue are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready to be received.
    pub visible: usize,
    /// Received and neither deleted nor visible again.
    pub in_flight: usize,
    /// Sent with a delay that has not ended.
    pub delayed: usize,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) arn: Arc<str>,
    pub(crate) created_ms: u64,
    pub(crate) modified_ms: u64,
    pub(crate) settings: Settings,
    pub(crate) tags: BTreeMap<String, String>,
    /// Wakes the receives that wait.
    pub(crate) notify: Arc<Notify>,
    /// Sends with a smaller number were purged, also when their commit ends later.
    purged_below: u64,
    messages: HashMap<u64, Message>,
    delayed: BTreeSet<Key>,
    in_flight: BTreeSet<Key>,
    /// By the time sent, for the retention period.
    ages: BTreeSet<Key>,
    /// The visible messages of each group. A group has an entry exactly while it is in the ring.
    groups: HashMap<Group, BTreeSet<Key>>,
    /// Whose turn it is: receives rotate through the groups, so that a quiet group never waits
    /// behind the backlog of a noisy one. Messages without a group share one turn.
    ring: VecDeque<Group>,
    visible: usize,
}

impl Queue {
    pub(crate) fn new(id: u64, name: String, arn: Arc<str>, now: u64) -> Self {
        Self {
            id,
            name,
            arn,
            created_ms: now,
            modified_ms: now,
            settings: Settings::default(),
            tags: BTreeMap::new(),
            notify: Arc::default(),
            purged_below: 0,
            messages: HashMap::new(),
            delayed: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            ages: BTreeSet::new(),
            groups: HashMap::new(),
            ring: VecDeque::new(),
            visible: 0,
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { visible: self.visible, in_flight: self.in_flight.len(), delayed: self.delayed.len() }
    }

    /// When the oldest message was sent.
    pub(crate) fn oldest_sent(&self) -> Option<u64> {
        self.ages.first().map(|(sent, _)| *sent)
    }

    /// Whether a message sent to this queue was purged before its commit ended.
    pub(crate) fn purged(&self, seq: u64) -> bool {
        seq < self.purged_below
    }

    /// Adds a message at its place.
    pub(crate) fn insert(&mut self, message: Message) {
        self.put(&message);
        self.ages.insert((message.sent_ms, message.seq));
        self.messages.insert(message.seq, message);
    }

    /// Brings the queue up to `now`: delays and visibility timeouts end, old messages go. Returns the
    /// messages that went.
    pub(crate) fn advance(&mut self, now: u64) -> Vec<u64> {
        let mut expired = Vec::new();
        let retention_ms = self.settings.retention * 1_000;
        while let Some(&(sent, seq)) = self.ages.first()
            && sent.saturating_add(retention_ms) <= now
        {
            self.remove(seq);
            expired.push(seq);
        }
        while let Some(&(until, seq)) = self.delayed.first()
            && until <= now
        {
            self.relocate(seq, Place::Visible { since: until });
        }
        while let Some(&(until, seq)) = self.in_flight.first()
            && until <= now
        {
            self.relocate(seq, Place::Visible { since: until });
        }
        expired
    }

    /// When the next message becomes visible by the passing of time.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let first = |keys: &BTreeSet<Key>| keys.first().map(|&(until, _)| until);
        match (first(&self.delayed), first(&self.in_flight)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Takes the next visible message, from the group whose turn it is. With `limit`, a message that
    /// was received that often already is handed out as dead.
    pub(crate) fn take(&mut self, now: u64, until: u64, receive: u64, limit: Option<u32>) -> Option<Taken> {
        let seq = self.next_visible()?;
        let message = self.messages.get(&seq)?;
        if limit.is_some_and(|limit| message.receives - message.receives_before >= limit) {
            return self.remove(seq).map(Taken::Dead);
        }
        // Also with a timeout of zero: it becomes visible with the next step of time, so that one
        // request does not receive it twice.
        self.relocate(seq, Place::InFlight { until, taken: now });
        let message = self.messages.get_mut(&seq)?;
        message.receives += 1;
        message.first_receive_ms.get_or_insert(now);
        message.receive = receive;
        Some(Taken::Received(message.clone()))
    }

    /// Removes the next visible message, without receiving it.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let seq = self.next_visible()?;
        self.remove(seq)
    }

    /// The next visible message without taking it; its group goes to the end of the ring.
    fn next_visible(&mut self) -> Option<u64> {
        while let Some(group) = self.ring.pop_front() {
            match self.groups.get(&group).and_then(BTreeSet::first) {
                Some(&(_, seq)) => {
                    self.ring.push_back(group);
                    return Some(seq);
                }
                // Emptied by a delete or by its age.
                None => self.groups.remove(&group),
            };
        }
        None
    }

    /// Deletes the message of a handle. An old handle, or one of a message that is gone, does nothing.
    pub(crate) fn delete(&mut self, seq: u64, receive: u64) -> bool {
        let current = self.messages.get(&seq).is_some_and(|message| message.receive == receive);
        current && self.remove(seq).is_some()
    }

    /// Sets when a message that is in flight becomes visible again.
    pub(crate) fn change_visibility(
        &mut self,
        seq: u64,
        receive: u64,
        now: u64,
        seconds: u64,
    ) -> Result<(), ApiError> {
        let place = self.messages.get(&seq).filter(|message| message.receive == receive).map(|m| m.place);
        match place {
            None => Err(ApiError::new(
                Kind::InvalidParameterValue,
                "Value for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not \
                 available for visibility timeout change.",
            )),
            Some(Place::InFlight { taken, .. }) => {
                let until = now + seconds * 1_000;
                if until > taken + MAX_HOLD_MS {
                    return Err(ApiError::value(
                        "VisibilityTimeout",
                        seconds,
                        "Total VisibilityTimeout for the message is beyond the limit [43200 seconds].",
                    ));
                }
                let place = if until > now {
                    Place::InFlight { until, taken }
                } else {
                    Place::Visible { since: now }
                };
                self.relocate(seq, place);
                Ok(())
            }
            Some(Place::Visible { .. } | Place::Delayed { .. }) => {
                Err(ApiError::new(Kind::MessageNotInflight, "The specified message isn't in flight."))
            }
        }
    }

    /// Forgets every message. Those numbered below `below` whose commit is under way are purged too.
    pub(crate) fn purge(&mut self, below: u64) {
        self.purged_below = below;
        self.messages.clear();
        self.delayed.clear();
        self.in_flight.clear();
        self.ages.clear();
        self.groups.clear();
        self.ring.clear();
        self.visible = 0;
    }

    fn relocate(&mut self, seq: u64, place: Place) {
        if let Some(mut message) = self.messages.remove(&seq) {
            self.lift(&message);
            message.place = place;
            self.put(&message);
            self.messages.insert(seq, message);
        }
    }

    fn remove(&mut self, seq: u64) -> Option<Message> {
        let message = self.messages.remove(&seq)?;
        self.lift(&message);
        self.ages.remove(&(message.sent_ms, seq));
        Some(message)
    }

    fn put(&mut self, message: &Message) {
        match message.place {
            Place::Delayed { until } => drop(self.delayed.insert((until, message.seq))),
            Place::InFlight { until, .. } => drop(self.in_flight.insert((until, message.seq))),
            Place::Visible { since } => {
                let group = &message.payload.group;
                if let Some(keys) = self.groups.get_mut(group) {
                    keys.insert((since, message.seq));
                } else {
                    self.groups.insert(group.clone(), BTreeSet::from([(since, message.seq)]));
                    self.ring.push_back(group.clone());
                }
                self.visible += 1;
            }
        }
    }

    fn lift(&mut self, message: &Message) {
        match message.place {
            Place::Delayed { until } => drop(self.delayed.remove(&(until, message.seq))),
            Place::InFlight { until, .. } => drop(self.in_flight.remove(&(until, message.seq))),
            Place::Visible { since } => {
                if let Some(keys) = self.groups.get_mut(&message.payload.group) {
                    keys.remove(&(since, message.seq));
                }
                self.visible -= 1;
                if self.visible == 0 {
                    self.groups.clear();
                    self.ring.clear();
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
