//! What happened in a run, for the invariants to be checked against.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::coverage::Coverage;
use crate::faults::Fate;

/// A webhook as a receiver saw it, or a message of one that is a list.
#[derive(Clone, Debug)]
pub struct Post {
    pub receiver: usize,
    pub message: String,
    /// The request that it came in, the webhook's ID and its whole body.
    pub request: usize,
    pub webhook: String,
    pub whole: Bytes,
    /// Which message of a list it is, and of how many.
    pub listed: Option<(usize, usize)>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub invocation: u64,
    pub at: Duration,
    /// When and with what it was answered.
    pub answer: Option<(Duration, u16)>,
}

/// An attempt's item that was written, and not only asked for.
#[derive(Clone, Debug)]
pub struct Record {
    pub endpoint: String,
    pub message: String,
    pub invocation: u64,
    pub at: Duration,
}

/// One run of a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub function: &'static str,
    /// The last request that it began.
    pub step: Option<String>,
    pub from: Duration,
    pub to: Option<Duration>,
    /// It ended without an answer.
    pub broke: bool,
    /// When requests of its were struck.
    pub struck: Vec<Duration>,
}

#[derive(Clone, Debug, Default)]
pub struct Events {
    pub posts: Vec<Post>,
    pub records: Vec<Record>,
    /// When endpoints were disabled, and from when on they were no longer, by the server behind them.
    pub disabled: Vec<(usize, Duration, Option<Duration>)>,
    pub invocations: BTreeMap<u64, Invocation>,
    /// Which steps were taken, and what met them.
    pub coverage: Coverage,
}

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Events>>);

impl Journal {
    pub fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, invocation: u64, function: &'static str, now: Duration) {
        let begun =
            Invocation { function, step: None, from: now, to: None, broke: false, struck: Vec::new() };
        self.lock().invocations.insert(invocation, begun);
    }

    pub fn end(&self, invocation: u64, now: Duration, broke: bool) {
        if let Some(invocation) = self.lock().invocations.get_mut(&invocation) {
            (invocation.to, invocation.broke) = (Some(now), broke);
        }
    }

    /// An invocation made a request, and this became of it.
    pub fn step(&self, invocation: u64, fate: Fate, name: impl FnOnce(&str) -> String) {
        let mut events = self.lock();
        let Events { invocations, coverage, .. } = &mut *events;
        if let Some(invocation) = invocations.get_mut(&invocation) {
            let step = name(invocation.function);
            coverage.note(&step, fate);
            invocation.step = Some(step);
        }
    }

    /// An invocation crashed.
    pub fn crash(&self, invocation: u64) {
        let mut events = self.lock();
        let Events { invocations, coverage, .. } = &mut *events;
        if let Some(step) = invocations.get(&invocation).and_then(|invocation| invocation.step.as_deref()) {
            coverage.note_crash(step);
        }
    }

    pub fn strike(&self, invocation: u64, now: Duration) {
        if let Some(invocation) = self.lock().invocations.get_mut(&invocation) {
            invocation.struck.push(now);
        }
    }
}
