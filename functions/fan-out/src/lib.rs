//! What takes many steps, or happens beside the hot path: the deliveries of messages with very many
//! endpoints, operational webhooks, and tasks that send messages again.

mod erase;
mod operational;
mod task;

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use shared::batch::{self, Received, Source};
use shared::clock::SharedClock;
use shared::config::{ConfigError, Env};
use shared::error::{corrupt, unavailable};
use shared::intake::Intake;
use shared::queue::{BLIND_MAX, Deliver, FanOut, Job, Outgoing, QueueUrl, Sqs};
use shared::store::Store;
use shared::store::applications::Application;
use shared::{Platform, Result};

/// How many deliveries one job queues before it hands the rest to its successor: far below what
/// the function's time allows, so that a crash repeats little.
const STEP: usize = 500;
/// Largest payload that is put into each of very many jobs.
const PAYLOAD_LENGTH_MAX: usize = 4 * 1024;

/// What this function holds.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    store: Store,
    /// Accepts operational webhooks.
    intake: Intake,
    sqs: Sqs,
    clock: SharedClock,
    deliveries: QueueUrl,
    retries: QueueUrl,
    source: Source,
}

impl Dispatcher {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect(env: &Env<'_>, platform: &Platform) -> Result<Self, ConfigError> {
        let store = platform.store(env)?;
        Ok(Self {
            intake: Intake::connect(env, platform, store.clone(), "fan-out")?,
            store,
            sqs: platform.sqs(env)?,
            clock: platform.clock.clone(),
            deliveries: QueueUrl::read(env, "POSTRIDER_DELIVERIES_QUEUE")?,
            retries: QueueUrl::read(env, "POSTRIDER_RETRIES_QUEUE")?,
            source: Source {
                queue: QueueUrl::read(env, "POSTRIDER_FAN_OUT_QUEUE")?,
                dead_letters: QueueUrl::read(env, "POSTRIDER_FAN_OUT_DEAD_QUEUE")?,
            },
        })
    }

    /// Works on a batch.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        batch::run(&self.sqs, std::slice::from_ref(&self.source), event, |received| self.work(received)).await
    }

    async fn work(&self, Received { job, again, .. }: Received) -> Result<()> {
        match job {
            Job::FanOut(job) => self.spread(job, again).await,
            Job::Operational(told) => self.tell(told, again).await,
            Job::Task(step) => self.step(step).await,
            Job::Deliver(_) | Job::Resend(_) => Err(corrupt("a job")("it belongs into another queue")),
        }
    }

    /// Sends a step of a message's deliveries.
    async fn spread(&self, job: FanOut, again: bool) -> Result<()> {
        // A message that was taken back, or whose application was deleted, goes nowhere.
        let Some(app) = self.store.find_application(job.org, job.app).await? else { return Ok(()) };
        let Some(message) = self.store.find_message(job.app, job.message).await? else { return Ok(()) };
        let Some(payload) = self.store.payload(&message).await? else { return Ok(()) };
        let endpoints = self.store.message_endpoints(&message).await?;
        let check = job.check || again;
        let inline = payload.length() <= PAYLOAD_LENGTH_MAX;
        let payload = inline.then_some(payload);
        // Plain copies may be on their way: these are not seen before all of those look.
        let free_at = message.id.time().after(BLIND_MAX);
        let delay = if check { free_at.since(self.clock.now()) } else { Duration::ZERO };
        let step = endpoints.iter().skip(job.from).take(STEP).map(|endpoint| {
            Job::Deliver(Deliver::first_of(&app, &message, payload.clone(), *endpoint, check))
                .following(job.trace)
        });
        self.send_in(delay, &self.deliveries, &app, step).await?;
        let next = job.from + STEP;
        if next < endpoints.len() {
            let job = Job::FanOut(FanOut { from: next, check, ..job });
            self.send(&self.source.queue, &app, [job]).await?;
        }
        Ok(())
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
