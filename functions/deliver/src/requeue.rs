//! The two queues by priority, and how a job that cannot be worked on now goes back into one.
//!
//! A job that is put back has a copy for as long as this one is not deleted: it is marked to be
//! checked, and reads what was done before it posts.

use std::time::Duration;

use shared::Result;
use shared::clock::Timestamp;
use shared::queue::{DELAY_MAX, Deliver as DeliverJob, Job, Outgoing};
use shared::store::applications::Application;
use shared::store::endpoints::Endpoint;

use crate::job::AttemptJob;
use crate::throttle::{self, Turn};
use crate::{Batch, Deliver};

/// The queue that a job came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Of first attempts.
    Normal,
    /// Of retries, and of endpoints known to hang.
    Low,
}

impl Priority {
    /// The priority of the function's source at that position.
    pub fn of(source: Option<usize>) -> Self {
        if source == Some(0) { Self::Normal } else { Self::Low }
    }
}

impl Deliver {
    /// Sends a job on that would hold up others here.
    pub(crate) async fn to_low_priority(&self, job: AttemptJob) -> Result<()> {
        self.put_into(Priority::Low, job.put_back(None), Duration::ZERO).await
    }

    /// Puts a copy off that came too soon, because its sender's clock is ahead. As a new message, by whose age the queue
    /// tells when it was received: of one that comes back it tells when it came first.
    pub(crate) async fn yield_for(&self, wait: Duration, priority: Priority, job: DeliverJob) -> Result<()> {
        let wait = Duration::from_secs(wait.as_secs() + 1);
        self.put_into(priority, AttemptJob::Scheduled(job), wait).await
    }

    /// The slot that an attempt has to wait for; none if there is no limit, or it is its turn.
    pub(crate) async fn slot_to_wait_for(
        &self,
        batch: &Batch,
        app: &Application,
        endpoint: &Endpoint,
        taken: Option<Timestamp>,
    ) -> Result<Option<Timestamp>> {
        let Some(limit) = throttle::limit_of(app, endpoint) else { return Ok(None) };
        let now = self.clock.now();
        let turn = match taken.and_then(|slot| throttle::turn(slot, now)) {
            Some(turn) => turn,
            None => {
                let slot = Box::pin(batch.slots.take(&self.store, limit)).await?;
                throttle::turn(slot, now).unwrap_or(Turn::Now)
            }
        };
        Ok(match turn {
            Turn::Now => None,
            Turn::At(slot) => Some(slot),
        })
    }

    /// Puts a job back until the slot that it has taken.
    pub(crate) async fn put_back(&self, priority: Priority, job: AttemptJob, slot: Timestamp) -> Result<()> {
        let job = job.put_back(Some(slot));
        let wait = slot.since(self.clock.now());
        if wait <= DELAY_MAX {
            return self.put_into(priority, job, wait).await;
        }
        let (app, message, what) = (job.app(), job.message(), job.timer_name());
        let job = Job::from(job.without_payload());
        Box::pin(self.store.set_timer(slot, message, &what, &app.to_string(), &job.body()?)).await
    }

    async fn put_into(&self, priority: Priority, job: AttemptJob, wait: Duration) -> Result<()> {
        let source = &self.sources[usize::from(priority == Priority::Low)];
        // Whole seconds, rounded down: what is up to a second early is on time.
        let delay = Duration::from_secs(wait.as_secs());
        let app = job.app();
        self.sqs.send_one(&source.queue, Outgoing::new(&job.into(), delay, app)?).await
    }
}
