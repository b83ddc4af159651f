//! Sends the deliveries of messages with very many endpoints, some hundred at a time.

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use shared::batch::{self, Received, Source};
use shared::config::{ConfigError, Env};
use shared::error::{corrupt, unavailable};
use shared::queue::{Deliver, FanOut, Job, Outgoing, QueueUrl, Sqs};
use shared::store::Store;
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
    sqs: Sqs,
    deliveries: QueueUrl,
    source: Source,
}

impl Dispatcher {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect(env: &Env<'_>, platform: &Platform) -> Result<Self, ConfigError> {
        Ok(Self {
            store: platform.store(env)?,
            sqs: platform.sqs(env)?,
            deliveries: QueueUrl::read(env, "POSTRIDER_DELIVERIES_QUEUE")?,
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
        let Job::FanOut(job) = job else {
            return Err(corrupt("a job")("it belongs into another queue"));
        };
        // A message that was taken back, or whose application was deleted, goes nowhere.
        let Some(app) = self.store.find_application(job.org, job.app).await? else { return Ok(()) };
        let Some(message) = self.store.find_message(job.app, job.message).await? else { return Ok(()) };
        let Some(payload) = self.store.payload(&message).await? else { return Ok(()) };
        let endpoints = self.store.message_endpoints(&message).await?;
        let check = job.check || again;
        let inline = payload.json.len() + payload.raw.as_deref().map_or(0, str::len) <= PAYLOAD_LENGTH_MAX;
        let payload = inline.then_some(payload);
        let group = job.app.to_string();
        let step = endpoints.iter().skip(job.from).take(STEP).map(|endpoint| {
            let body = Job::Deliver(Deliver {
                org: job.org,
                app: job.app,
                version: app.version,
                endpoint: *endpoint,
                message: message.id,
                event_type: message.event_type.clone(),
                channels: message.channels.clone(),
                tags: message.tags.clone(),
                due: vec![message.id.time()],
                check,
                payload: payload.clone(),
                payload_until: message.payload_until,
            });
            Ok(Outgoing { body: body.body()?, delay: Duration::ZERO, group: group.clone() })
        });
        let step: Vec<Outgoing> = step.collect::<Result<_>>()?;
        self.sqs.send(&self.deliveries, &step).await.map_err(unavailable("queue deliveries"))?;
        let next = job.from + STEP;
        if next < endpoints.len() {
            let body = Job::FanOut(FanOut { from: next, check, ..job }).body()?;
            self.sqs.send_one(&self.source.queue, Outgoing { body, delay: Duration::ZERO, group }).await?;
        }
        Ok(())
    }
}
