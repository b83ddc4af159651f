//! What happened to each message: when it was posted, answered, and arrived at each endpoint.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kinds of errors that are told apart; the others count as one.
const KINDS_MAX: usize = 20;

/// Filled in by posters and the receiver at once. Times are microseconds, and 0 is none.
#[derive(Debug)]
pub(crate) struct Tally {
    origin: Instant,
    /// Messages before this one warm up and are not counted.
    pub(crate) first: u32,
    pub(crate) endpoints: u32,
    /// Messages of one request, which are of one application.
    pub(crate) together: u32,
    posted: Vec<AtomicU64>,
    answered: Vec<AtomicU32>,
    arrived: Vec<AtomicU32>,
    accepted: AtomicU64,
    delivered: AtomicU64,
    last_arrival: AtomicU64,
    /// Copies of what had arrived already.
    pub(crate) doubled: AtomicU64,
    /// Signatures that do not fit.
    pub(crate) wrongly_signed: AtomicU64,
    /// Bodies that nobody posted, or that came to a wrong place.
    pub(crate) altered: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    /// Microseconds of each read.
    reads: Mutex<Vec<u32>>,
}

fn atomics<T: Default>(count: usize) -> Vec<T> {
    std::iter::repeat_with(T::default).take(count).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).saturating_add(1)
}

impl Tally {
    pub(crate) fn new(warm_up: u32, messages: u32, endpoints: u32, together: u32) -> Self {
        let all = warm_up as usize + messages as usize;
        Self {
            origin: Instant::now(),
            first: warm_up,
            endpoints,
            together,
            posted: atomics(all),
            answered: atomics(all),
            arrived: atomics(all * endpoints as usize),
            accepted: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            last_arrival: AtomicU64::new(0),
            doubled: AtomicU64::new(0),
            wrongly_signed: AtomicU64::new(0),
            altered: AtomicU64::new(0),
            errors: Mutex::default(),
            reads: Mutex::default(),
        }
    }

    /// Which application a message is of, if there were as many as requests. What warms up begins anew after it.
    pub(crate) fn application(&self, nth: u32) -> u32 {
        let nth = nth.checked_sub(self.first).unwrap_or(nth);
        nth / self.together
    }

    /// Something was read.
    pub(crate) fn read(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    /// Forgets what was read until now.
    pub(crate) fn warmed_up(&self) {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What reading took each time.
    pub(crate) fn reads(&self) -> Vec<u32> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Messages, those that warm up included.
    pub(crate) fn messages(&self) -> u32 {
        u32::try_from(self.posted.len()).unwrap_or(u32::MAX)
    }

    fn since_origin(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.origin))
    }

    /// A message is posted now, or should have been at that time.
    pub(crate) fn post(&self, nth: u32, at: Instant) {
        self.posted[nth as usize].store(self.since_origin(at), Ordering::Release);
    }

    /// It was accepted.
    pub(crate) fn answer(&self, nth: u32) {
        let posted = self.posted[nth as usize].load(Ordering::Acquire);
        let took = self.since_origin(Instant::now()).saturating_sub(posted).max(1);
        self.answered[nth as usize].store(u32::try_from(took).unwrap_or(u32::MAX), Ordering::Release);
        self.accepted.fetch_add(1, Ordering::AcqRel);
    }

    /// It was not accepted.
    pub(crate) fn fail(&self, reason: &str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let known = errors.len() < KINDS_MAX || errors.contains_key(reason);
        *errors.entry(if known { reason } else { "others" }.to_owned()).or_default() += 1;
    }

    /// It arrived.
    pub(crate) fn arrive(&self, nth: u32, endpoint: u32) {
        let Some(posted) = self.posted.get(nth as usize) else {
            self.altered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let now = self.since_origin(Instant::now());
        let took = now.saturating_sub(posted.load(Ordering::Acquire)).max(1);
        let took = u32::try_from(took).unwrap_or(u32::MAX);
        let at = nth as usize * self.endpoints as usize + endpoint as usize;
        if self.arrived[at].compare_exchange(0, took, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.delivered.fetch_add(1, Ordering::AcqRel);
        } else {
            self.doubled.fetch_add(1, Ordering::Relaxed);
        }
        self.last_arrival.fetch_max(now, Ordering::AcqRel);
    }

    /// Messages accepted so far, those that warm up included.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Deliveries arrived so far, those that warm up included.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Acquire)
    }

    /// How long nothing has arrived.
    pub(crate) fn quiet_for(&self) -> Duration {
        let now = self.since_origin(Instant::now());
        Duration::from_micros(now.saturating_sub(self.last_arrival.load(Ordering::Acquire)))
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages that count and were accepted, in the order of their numbers.
    pub(crate) fn each(&self) -> impl Iterator<Item = Told> + '_ {
        let endpoints = self.endpoints as usize;
        (self.first as usize..self.posted.len()).filter_map(move |nth| {
            let posted = self.posted[nth].load(Ordering::Acquire).checked_sub(1)?;
            let answered = self.answered[nth].load(Ordering::Acquire);
            let arrived = &self.arrived[nth * endpoints..(nth + 1) * endpoints];
            let arrived = arrived.iter().map(|took| took.load(Ordering::Acquire));
            let arrived = arrived.map(|took| (took > 0).then_some(took)).collect();
            (answered > 0).then_some(Told { posted, answered, arrived })
        })
    }
}

/// One accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Microseconds since the run's beginning.
    pub(crate) posted: u64,
    /// Microseconds that its answer took.
    pub(crate) answered: u32,
    /// Microseconds until it arrived at each endpoint.
    pub(crate) arrived: Vec<Option<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delivery_counts_once() {
        let tally = Tally::new(1, 2, 2, 1);
        for nth in 0..3 {
            tally.post(nth, Instant::now());
            tally.arrive(nth, 1);
        }
        tally.arrive(2, 1);
        tally.answer(0);
        tally.answer(2);
        tally.fail("503");
        tally.arrive(3, 0);
        assert_eq!((tally.accepted(), tally.delivered()), (2, 3));
        assert_eq!(tally.doubled.load(Ordering::Relaxed), 1);
        assert_eq!(tally.altered.load(Ordering::Relaxed), 1);
        assert_eq!(tally.errors(), BTreeMap::from([("503".to_owned(), 1)]));
        // The first one warmed up, the second one has no answer.
        let told: Vec<Told> = tally.each().collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].arrived[0].is_none() && told[0].arrived[1].is_some());
    }
}
