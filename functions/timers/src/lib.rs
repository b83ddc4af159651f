//! Every minute: moves what comes due from DynamoDB into the queues.
//!
//! A timer is removed only after its job is in a queue. Two runs at once, or one that dies in
//! between, queue a job twice; jobs from timers read what was done before they do anything.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use shared::clock::{SharedClock, Timestamp};
use shared::config::{ConfigError, Env};
use shared::error::Chain;
use shared::metrics::Metrics;
use shared::queue::{Job, Outgoing, Queue, QueueName, QueueUrl, Sqs};
use shared::store::Store;
use shared::store::keys::TIMER_SHARDS;
use shared::store::timers::Timer;
use shared::{Platform, Result};

/// How far ahead timers are moved: the queue's delay keeps them to the second. Two runs, so that
/// one that is late or fails delays nothing.
const AHEAD: Duration = Duration::from_secs(130);
/// Timers of one shard that are read at a time.
const PAGE: usize = 200;
/// How long before its deadline a run stops taking on more.
const MARGIN: Duration = Duration::from_secs(15);

/// What this function holds.
#[derive(Clone, Debug)]
pub struct Timers {
    store: Store,
    sqs: Sqs,
    clock: SharedClock,
    retries: QueueUrl,
    background: QueueUrl,
    metrics: Arc<Metrics>,
}

impl Timers {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect(env: &Env<'_>, platform: &Platform) -> Result<Self, ConfigError> {
        Ok(Self {
            store: platform.store(env)?,
            sqs: platform.sqs(env)?,
            clock: platform.clock.clone(),
            retries: Queue::Retries.url(env)?,
            background: Queue::Background.url(env)?,
            metrics: platform.metrics("timers"),
        })
    }

    /// Moves everything that is due or soon will be, until `deadline` comes near; the next run goes
    /// on where this one stopped. Returns how many jobs were queued.
    ///
    /// # Errors
    /// DynamoDB or SQS is out of reach; what was queued until then is done.
    pub async fn handle(&self, deadline: Timestamp) -> Result<usize> {
        let moved = self.drain_all(deadline).await;
        self.metrics.flush();
        moved
    }

    async fn drain_all(&self, deadline: Timestamp) -> Result<usize> {
        // One after the other, as nearly always nothing is due: a connection for each shard would be eight handshakes, which
        // take an instance that starts five times as long as all the rest.
        let mut pages = Vec::new();
        let mut shards = 0..TIMER_SHARDS;
        for shard in shards.by_ref() {
            pages.push((shard, self.look(shard).await));
            if matches!(pages.last(), Some((_, Err(_)))) {
                break;
            }
        }
        // One that is out of reach may take its time, and holds up no other.
        pages.extend(join_all(shards.map(async |shard| (shard, self.look(shard).await))).await);
        let drained = pages.into_iter().map(async |(shard, due)| self.drain(shard, due?, deadline).await);
        let (mut moved, mut failed) = (0, None);
        for drained in join_all(drained).await {
            match drained {
                Ok(more) => moved += more,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if moved > 0 {
            tracing::info!(moved, "timers were moved");
        }
        failed.map_or(Ok(moved), Err)
    }

    /// The next page of what is due in one shard.
    async fn look(&self, shard: u8) -> Result<Vec<Timer>> {
        let now = self.clock.now();
        let due = self.store.due_timers(shard, now.after(AHEAD), PAGE).await?;
        // Of what was found, moved or not: while the queue is down, this grows. What lacks its time
        // (1970) is no lag.
        let oldest = due.iter().map(|timer| timer.due).filter(|due| due.ms() > 0).min();
        self.metrics.timer_lag(oldest.map(|due| now.since(due)).unwrap_or_default());
        Ok(due)
    }

    /// Moves what is due in one shard, beginning with its first page.
    async fn drain(&self, shard: u8, mut due: Vec<Timer>, deadline: Timestamp) -> Result<usize> {
        let mut moved = 0;
        while !due.is_empty() {
            let for_background = |timer: &Timer| {
                Job::parse(&timer.job).is_ok_and(|job| job.queue_name() == QueueName::Background)
            };
            let (background, deliveries): (Vec<Timer>, Vec<Timer>) =
                due.into_iter().partition(for_background);
            let read = background.len() + deliveries.len();
            for (queue, timers) in [(&self.retries, deliveries), (&self.background, background)] {
                moved += self.transfer(queue, &timers).await?;
            }
            if read < PAGE || self.clock.now().after(MARGIN) >= deadline {
                break;
            }
            due = self.look(shard).await?;
        }
        Ok(moved)
    }

    async fn transfer(&self, queue: &QueueUrl, timers: &[Timer]) -> Result<usize> {
        if timers.is_empty() {
            return Ok(0);
        }
        let now = self.clock.now();
        let jobs: Vec<Outgoing> = timers
            .iter()
            .map(|timer| Outgoing {
                body: timer.job.clone(),
                delay: timer.due.since(now),
                group: timer.group.clone(),
                trace: Job::parse(&timer.job).ok().and_then(|job| job.trace()),
            })
            .collect();
        let Err(unsent) = self.sqs.send(queue, &jobs).await else {
            self.store.remove_timers(timers).await?;
            return Ok(timers.len());
        };
        // What was taken is done with; what was not stays for the next run.
        tracing::warn!(error = %Chain(&unsent), "timers stay");
        let sent: Vec<Timer> = timers
            .iter()
            .enumerate()
            .filter(|(at, _)| !unsent.indexes.contains(at))
            .map(|(_, timer)| timer.clone())
            .collect();
        self.store.remove_timers(&sent).await?;
        Err(shared::error::unavailable("queue due jobs")(unsent))
    }
}
