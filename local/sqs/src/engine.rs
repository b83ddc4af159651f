//! The engine: all queues, the operations on them, and the way their changes become durable.
//!
//! An operation decides under one lock and hands its writes over before it lets the lock go, so the
//! order of the commits is the order of the decisions. What must not be seen before it is durable
//! (a new message) is put in place by whoever makes the commit, so a caller that goes
//! away meanwhile takes nothing with it.

pub(crate) mod content;
mod manage;
mod moves;
pub(crate) mod queue;
mod receipt;
mod receive;
mod send;
pub(crate) mod settings;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::oneshot;

pub use queue::Counts;

use crate::store::{Loaded, Outcome, QueueRow, Store, Write};
use crate::wire::error::{ApiError, Kind};
use crate::{Clock, Error, Options};
use moves::Task;
use queue::{Message, Place, Queue};
use receipt::Ids;

/// Receipt numbers: the number of the opening, then a counter of this many bits.
const COUNTER_BITS: u32 = 40;

/// The queues. Clones are the same engine; the file is let go with the last of them, or by
/// [`Engine::close`].
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    store: Store,
}

/// What a commit needs too, on whichever thread. It has no store: otherwise the store's own thread could come to wait
/// for its own end.
struct Core {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    ids: Ids,
    region: String,
    account: String,
    waiting: AtomicUsize,
}

struct State {
    queues: BTreeMap<String, Queue>,
    next_queue: u64,
    next_seq: u64,
    next_receive: u64,
    tasks: Vec<Task>,
}

impl State {
    /// The queue with this name, provided that it is still the same one.
    fn same(&mut self, name: &str, id: u64) -> Option<&mut Queue> {
        self.queues.get_mut(name).filter(|queue| queue.id == id)
    }

    fn named(&mut self, name: &str) -> Result<&mut Queue, ApiError> {
        self.queues.get_mut(name).ok_or_else(ApiError::no_queue)
    }

    fn seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.clock.now_ms()
    }

    fn arn(&self, name: &str) -> String {
        format!("arn:aws:sqs:{}:{}:{name}", self.region, self.account)
    }

    /// The name in an ARN of this region and account.
    fn name_in_arn<'a>(&self, arn: &'a str) -> Option<&'a str> {
        let name = arn.rsplit(':').next()?;
        (self.arn(name) == arn).then_some(name)
    }
}

impl Engine {
    /// Opens the queues of a file, or an empty set of queues in memory.
    ///
    /// With a file, this reads all of it and starts a thread; call it before serving.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or read, or is open elsewhere.
    pub fn open(options: Options) -> Result<Self, Error> {
        let (store, loaded) = Store::open(options.path.as_deref())?;
        let Options { region, account, clock, seed, .. } = options;
        let state = State {
            queues: BTreeMap::new(),
            next_queue: 1,
            next_seq: 1,
            next_receive: (loaded.epoch << COUNTER_BITS) + 1,
            tasks: Vec::new(),
        };
        let (ids, waiting) = (Ids::new(seed), AtomicUsize::new(0));
        let core = Core { state: Mutex::new(state), clock, ids, region, account, waiting };
        core.restore(loaded);
        Ok(Self { inner: Arc::new(Inner { core: Arc::new(core), store }) })
    }

    /// How many messages of a queue are where; `None` when there is no such queue.
    #[must_use]
    pub fn counts(&self, queue: &str) -> Option<Counts> {
        self.sweep_queue(queue)
    }

    /// When the oldest message of a queue was sent, in milliseconds since 1970; `None` when it is empty.
    #[must_use]
    pub fn oldest_sent(&self, queue: &str) -> Option<u64> {
        self.core().lock().queues.get(queue)?.oldest_sent()
    }

    /// When the next message of a queue becomes visible by the passing of time, in milliseconds since
    /// 1970; `None` when none does.
    #[must_use]
    pub fn next_due(&self, queue: &str) -> Option<u64> {
        self.core().lock().queues.get(queue)?.next_due()
    }

    /// The names of all queues, in order.
    #[must_use]
    pub fn queue_names(&self) -> Vec<String> {
        self.core().lock().queues.keys().cloned().collect()
    }

    /// Makes every waiting receive look at the clock again, after a test has moved it.
    pub fn wake(&self) {
        for queue in self.core().lock().queues.values() {
            queue.notify.notify_waiters();
        }
    }

    /// Removes the messages of all queues that outlived their retention period. [`crate::serve`] does
    /// so every minute; they are never received in any case.
    pub fn sweep(&self) {
        for name in self.queue_names() {
            self.sweep_queue(&name);
        }
    }

    /// Commits what waits and lets go of the file, also while clones of this engine are around: every
    /// change asked of them from now on fails.
    pub fn close(&self) {
        self.inner.store.close();
    }

    /// An id for an answer.
    pub(crate) fn request_id(&self) -> String {
        self.core().ids.next()
    }

    fn sweep_queue(&self, name: &str) -> Option<Counts> {
        let mut state = self.core().lock();
        let queue = state.queues.get_mut(name)?;
        let expired = queue.advance(self.core().now());
        let counts = queue.counts();
        self.write_later(deletes(expired));
        Some(counts)
    }

    fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Hands over writes that nobody waits for. A failure is logged by the writer.
    fn write_later(&self, writes: Vec<Write>) {
        if !writes.is_empty() && !self.inner.store.in_memory() {
            self.inner.store.submit(writes, |_| {});
        }
    }

    /// Hands over writes; the answer comes after the commit. To be called under the lock, awaited
    /// without it.
    fn write(&self, writes: Vec<Write>, apply: impl FnOnce(&Core) + Send + 'static) -> Commit {
        let (answer, commit) = oneshot::channel();
        let core = Arc::clone(self.core());
        self.inner.store.submit(writes, move |outcome| {
            if outcome.is_ok() {
                apply(&core);
            }
            // Nobody listens when the caller has gone away; what was asked for is done.
            let _gone = answer.send(outcome);
        });
        // Not held: a file can be let go while somebody waits.
        let engine = Arc::downgrade(&self.inner);
        Commit { outcome: commit, engine }
    }
}

/// A commit to wait for.
struct Commit {
    outcome: oneshot::Receiver<Outcome>,
    engine: Weak<Inner>,
}

impl Commit {
    async fn done(self) -> Result<(), ApiError> {
        let failed = |text: &str| ApiError::new(Kind::Internal, format!("The change was not stored: {text}"));
        if let Some(engine) = self.engine.upgrade() {
            engine.store.finish();
        }
        match self.outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(text)) => Err(failed(&text)),
            Err(_) => Err(failed("the queue store has ended")),
        }
    }
}

impl Core {
    /// Takes in what a file held. Nothing is in flight any more: whoever received a message died with
    /// the process that served it.
    fn restore(&self, loaded: Loaded) {
        let now = self.now();
        let mut state = self.lock();
        let mut names = BTreeMap::new();
        for row in loaded.queues {
            let QueueRow { id, name, created_ms, modified_ms, settings, tags } = row;
            let mut queue = Queue::new(id, name.clone(), Arc::from(self.arn(&name)), created_ms);
            queue.modified_ms = modified_ms;
            queue.settings = settings;
            queue.tags = tags;
            state.next_queue = state.next_queue.max(id + 1);
            names.insert(id, name.clone());
            state.queues.insert(name, queue);
        }
        for row in loaded.messages {
            state.next_seq = state.next_seq.max(row.seq + 1);
            let place = if row.delayed_until > now && row.receives == 0 {
                Place::Delayed { until: row.delayed_until }
            } else {
                Place::Visible { since: row.sent_ms.max(row.delayed_until) }
            };
            // Counts are written behind the answer, so the last of them can be missing: what could
            // have been received counts as received, for its consumer to be careful with it. That
            // receive may never have been, so it does not bring the dead-letter queue nearer.
            let unseen = u32::from(row.receives == 0 && matches!(place, Place::Visible { .. }));
            let message = Message {
                seq: row.seq,
                id: row.id,
                payload: row.payload,
                sent_ms: row.sent_ms,
                receives: row.receives + unseen,
                receives_before: row.receives_before + unseen,
                first_receive_ms: row.first_receive_ms,
                receive: row.receive,
                origin: row.origin,
                place,
            };
            if let Some(queue) = names.get(&row.queue).and_then(|name| state.queues.get_mut(name)) {
                queue.insert(message);
            }
        }
    }
}

/// The last segment of a queue URL.
fn name_in_url(url: Option<&str>) -> Result<&str, ApiError> {
    let url = url.filter(|url| !url.is_empty()).ok_or_else(|| ApiError::missing("QueueUrl"))?;
    match url.trim_end_matches('/').rsplit('/').next() {
        Some(name) if !name.is_empty() => Ok(name),
        _ => Err(ApiError::new(
            Kind::InvalidAddress,
            format!("The address {url} is not valid for this endpoint."),
        )),
    }
}

fn deletes(seqs: Vec<u64>) -> Vec<Write> {
    seqs.into_iter().map(|seq| Write::Delete { seq }).collect()
}

/// Checks the number and the ids of the entries of a batch.
fn check_batch<E: crate::wire::shapes::Entry>(entries: &[E]) -> Result<(), ApiError> {
    if entries.is_empty() {
        return Err(ApiError::new(
            Kind::EmptyBatchRequest,
            "There should be at least one entry in the request.",
        ));
    }
    if entries.len() > 10 {
        return Err(ApiError::new(
            Kind::TooManyEntries,
            format!("Maximum number of entries per request are 10. You have sent {}.", entries.len()),
        ));
    }
    let mut seen = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry.id().ok_or_else(|| ApiError::missing("Id"))?;
        let fine = (1..=80).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !fine {
            return Err(ApiError::new(
                Kind::InvalidBatchEntryId,
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can \
                 be at most 80 letters long.",
            ));
        }
        if seen.contains(&id) {
            return Err(ApiError::new(Kind::BatchEntryIdsNotDistinct, format!("Id {id} repeated.")));
        }
        seen.push(id);
    }
    Ok(())
}

#[cfg(test)]
#[path = "engine/engine_tests.rs"]
mod tests;
