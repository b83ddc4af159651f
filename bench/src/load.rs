//! Posting: at a fixed rate, or flat out.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Api, Asking};
use crate::flags::{Pace, Plan};
use crate::payload::Payloads;
use crate::tally::Tally;

/// Requests of an open loop that may be under way; more wait, and their wait counts.
const IN_FLIGHT_MAX: usize = 4_096;
/// Posters while messages warm up.
const WARMING_POSTERS: u32 = 8;

/// What each poster needs.
pub(crate) struct Load {
    pub(crate) api: Api,
    pub(crate) tally: Arc<Tally>,
    pub(crate) payloads: Arc<Payloads>,
    /// The ids of the applications.
    pub(crate) applications: Vec<String>,
    /// Distinguishes this run's keys and event ids from those of others.
    pub(crate) run: String,
    pub(crate) idempotency_key: bool,
    pub(crate) event_id: bool,
    /// By application.
    pub(crate) endpoints: Vec<Vec<String>>,
    /// After each request that posts.
    pub(crate) reads: u32,
}

/// Lets this thread sleep no longer than it asks for: Linux adds 50 µs, in which it might wake others as well, and they would count as
/// the server's.
fn on_time() {
    #[cfg(target_os = "linux")]
    let _later = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

impl Load {
    /// The request of these messages, which are of one application: put together before it is due, as that is no time of the
    /// server's.
    fn messages(&self, nths: &Range<u32>) -> Result<Asking, String> {
        let first = nths.start;
        let app = self.application(first);
        let key = self.idempotency_key.then(|| format!("key-{}-{first}", self.run));
        let each = nths.clone().map(|nth| {
            let event_id = self.event_id.then(|| format!("event-{}-{nth}", self.run));
            (event_id, self.payloads.text(nth))
        });
        self.api.messages(app, key, &each.collect::<Vec<_>>())
    }

    fn application(&self, nth: u32) -> &str {
        &self.applications[self.tally.application(nth) as usize % self.applications.len()]
    }

    /// Posts messages that are due at `due`, and reads as often as is wanted.
    async fn post(&self, nths: Range<u32>, messages: Result<Asking, String>, due: Instant) {
        nths.clone().for_each(|nth| self.tally.post(nth, due));
        let posted = match messages {
            Ok(messages) => self.api.post(messages, nths.len()).await,
            Err(reason) => vec![Err(reason); nths.len()],
        };
        for (nth, posted) in nths.clone().zip(posted) {
            match posted {
                Ok(()) => self.tally.answer(nth),
                Err(reason) => self.tally.fail(&reason),
            }
        }
        let application = self.tally.application(nths.start) as usize % self.applications.len();
        for nth in 0..self.reads {
            let app = &self.applications[application];
            let path = match self.endpoints.get(application).and_then(|endpoints| endpoints.first()) {
                Some(endpoint) if nth % 2 == 1 => format!("/app/{app}/attempt/endpoint/{endpoint}?limit=50"),
                _ => format!("/app/{app}/msg?limit=50"),
            };
            let began = Instant::now();
            match self.api.read(&path).await {
                Ok(_) => self.tally.read(began.elapsed()),
                Err(error) => self.tally.fail(&error.to_string()),
            }
        }
    }

    /// The messages of the request that begins with this one: none beyond the range's end.
    fn request(&self, first: u32, end: u32) -> Range<u32> {
        first..end.min(first.saturating_add(self.tally.together))
    }

    /// Posts what warms up.
    pub(crate) async fn warm_up(self: &Arc<Self>) {
        self.flat_out(WARMING_POSTERS, 0..self.tally.first, None).await;
    }

    /// Posts what counts, until all of it is posted or the time is over.
    pub(crate) async fn run(self: &Arc<Self>, plan: &Plan) {
        let messages = self.tally.first..self.tally.messages();
        match plan.pace {
            Pace::Posters(posters) => self.flat_out(posters, messages, Some(plan.limit)).await,
            Pace::Rate(rate) => self.at_rate(rate, messages, plan.limit).await,
        }
    }

    async fn flat_out(self: &Arc<Self>, posters: u32, range: Range<u32>, limit: Option<Duration>) {
        let (next, began) = (Arc::new(AtomicU32::new(range.start)), Instant::now());
        let mut posting = JoinSet::new();
        for _ in 0..posters {
            let (this, next, end) = (self.clone(), next.clone(), range.end);
            posting.spawn(async move {
                loop {
                    let nth = next.fetch_add(this.tally.together, Ordering::Relaxed);
                    if nth >= end || limit.is_some_and(|limit| began.elapsed() > limit) {
                        return;
                    }
                    let nths = this.request(nth, end);
                    let messages = this.messages(&nths);
                    this.post(nths, messages, Instant::now()).await;
                }
            });
        }
        while posting.join_next().await.is_some() {}
    }

    /// An open loop: each message has its time, and what is posted late counts from that time on. A
    /// thread keeps it, as the runtime's timers know whole milliseconds only.
    async fn at_rate(self: &Arc<Self>, rate: u32, range: Range<u32>, limit: Duration) {
        let (this, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let keeping = in_flight.clone();
        let metronome = move || {
            on_time();
            let began = Instant::now();
            let end = range.end;
            for (at, nth) in range.enumerate().step_by(this.tally.together as usize) {
                let due = Duration::from_secs_f64(at as f64 / f64::from(rate));
                if due > limit {
                    return;
                }
                let nths = this.request(nth, end);
                let messages = this.messages(&nths);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
                let Ok(permit) = runtime.block_on(keeping.clone().acquire_owned()) else { return };
                let this = this.clone();
                runtime.spawn(async move {
                    let _permit = permit;
                    this.post(nths, messages, began + due).await;
                });
            }
        };
        // It ends when all is posted; a panic in it shows as messages that are missing.
        let _ended = tokio::task::spawn_blocking(metronome).await;
        let all = u32::try_from(IN_FLIGHT_MAX).unwrap_or(u32::MAX);
        let _closed = in_flight.acquire_many(all).await;
    }
}
