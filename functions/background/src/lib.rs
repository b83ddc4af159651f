//! What takes many steps, or happens beside the hot path: the deliveries of messages with very many
//! endpoints, operational webhooks, and tasks.

mod erase;
mod expunge;
mod fan_out;
mod operational;
mod replay;
mod tasks;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use shared::batch::{self, Received, Source};
use shared::clock::SharedClock;
use shared::config::{ConfigError, Env};
use shared::error::{corrupt, unavailable};
use shared::intake::Intake;
use shared::queue::{Job, OperationalQueue, Outgoing, Queue, QueueUrl, Sqs};
use shared::store::Store;
use shared::store::applications::Application;
use shared::{Platform, Result};

/// What this function holds.
#[derive(Clone, Debug)]
pub struct Background {
    store: Store,
    /// Accepts operational webhooks.
    intake: Intake,
    sqs: Sqs,
    clock: SharedClock,
    deliveries: QueueUrl,
    retries: QueueUrl,
    source: Source,
}

impl Background {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect(env: &Env<'_>, platform: &Platform) -> Result<Self, ConfigError> {
        let queue = Queue::Background.url(env)?;
        let operational_queue = OperationalQueue { sqs: platform.sqs(env)?, queue };
        let store = platform.store(env)?.with_operational_events(Arc::new(operational_queue));
        Ok(Self {
            intake: Intake::connect(env, platform, store.clone(), "background")?,
            store,
            sqs: platform.sqs(env)?,
            clock: platform.clock.clone(),
            deliveries: Queue::Deliveries.url(env)?,
            retries: Queue::Retries.url(env)?,
            source: Queue::Background.source(env)?,
        })
    }

    /// Works on a batch.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        batch::run(&self.sqs, std::slice::from_ref(&self.source), event, |received| self.work(received)).await
    }

    async fn work(&self, Received { job, again, .. }: Received) -> Result<()> {
        match job {
            Job::FanOut(job) => self.fan_out(job, again).await,
            Job::Operational(event) => self.send_operational(event, again).await,
            Job::Task(step) => self.step(step).await,
            Job::Deliver(_) | Job::Resend(_) | Job::Advance(_) | Job::Probe(_) => {
                Err(corrupt("a job")("it belongs into another queue"))
            }
        }
    }

    async fn send(
        &self,
        queue: &QueueUrl,
        app: &Application,
        jobs: impl IntoIterator<Item = Job>,
    ) -> Result<()> {
        self.send_in(Duration::ZERO, queue, app, jobs).await
    }

    async fn send_in(
        &self,
        delay: Duration,
        queue: &QueueUrl,
        app: &Application,
        jobs: impl IntoIterator<Item = Job>,
    ) -> Result<()> {
        let jobs = jobs.into_iter().map(|job| Outgoing::new(&job, delay, app.id));
        let jobs: Vec<Outgoing> = jobs.collect::<Result<_>>()?;
        self.sqs.send(queue, &jobs).await.map_err(unavailable("queue jobs"))
    }
}
