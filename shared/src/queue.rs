//! The queues, and the jobs that travel in them ([`Job`]).

mod job;

pub use job::{Deliver, FanOut, Job, Lane, Operational, Resend, TaskStep};

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::future::join_all;

use crate::clock::SharedClock;
use crate::config::{ConfigError, Env};
use crate::error::{Error, Result, Source, unavailable};

/// Longest delay that SQS offers.
pub const DELAY_MAX: Duration = Duration::from_secs(900);
/// Most entries of one batch, by its definition.
const BATCH_MAX: usize = 10;
/// Most bytes of one batch: what every implementation of SQS takes. AWS takes four times that and
/// charges by 64 KB, so larger batches save nothing.
const BATCH_LENGTH_MAX: usize = 256 * 1024;
/// A queue's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrl(String);

impl QueueUrl {
    /// Reads the variable that holds it.
    ///
    /// # Errors
    /// It is missing, or no URL.
    pub fn read(env: &Env<'_>, variable: &str) -> Result<Self, ConfigError> {
        let url = env.required(variable, "the URL of an SQS queue")?;
        match url::Url::parse(&url) {
            Ok(_) => Ok(Self(url)),
            Err(_) => Err(ConfigError::new(
                variable,
                format!("{url:?} is no URL; it should be that of an SQS queue"),
            )),
        }
    }

    /// The queue's name: the last part of its URL and of its ARN.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

/// A body on its way into a queue.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The job's text.
    pub body: String,
    /// How long it stays unseen, rounded up to whole seconds, at most [`DELAY_MAX`].
    pub delay: Duration,
    /// The fair-queueing group: one noisy application does not delay the others.
    pub group: String,
}

/// The queue service.
#[derive(Clone, Debug)]
pub struct Sqs {
    client: Client,
    clock: SharedClock,
}

/// What could not be queued.
#[derive(Debug, thiserror::Error)]
#[error("{} jobs could not be queued", .indexes.len())]
pub struct Unsent {
    /// Their positions in what was to be sent.
    pub indexes: Vec<usize>,
    /// Why the last of them was not.
    pub source: Source,
}

impl Sqs {
    /// The queue service behind `client`.
    pub fn new(client: Client, clock: SharedClock) -> Self {
        Self { client, clock }
    }

    /// Sends any number of jobs, in as few requests as possible and those at once.
    ///
    /// # Errors
    /// Some were not taken, after several tries each.
    pub async fn send(&self, queue: &QueueUrl, jobs: &[Outgoing]) -> Result<(), Unsent> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut length = 0;
        for (at, job) in jobs.iter().enumerate() {
            let fits = length + job.body.len() <= BATCH_LENGTH_MAX;
            match batches.last_mut() {
                Some(batch) if batch.len() < BATCH_MAX && fits => batch.push(at),
                _ => {
                    batches.push(vec![at]);
                    length = 0;
                }
            }
            length += job.body.len();
        }
        let sent = join_all(batches.into_iter().map(|batch| self.send_batch(queue, jobs, batch))).await;
        let mut failed: Option<Unsent> = None;
        for unsent in sent.into_iter().filter_map(Result::err) {
            match &mut failed {
                Some(failed) => failed.indexes.extend(unsent.indexes),
                None => failed = Some(unsent),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn send_batch(
        &self,
        queue: &QueueUrl,
        jobs: &[Outgoing],
        mut left: Vec<usize>,
    ) -> Result<(), Unsent> {
        const TRIES: u32 = 3;
        let mut wait = Duration::from_millis(50);
        let mut reason: Source = "not tried".into();
        for attempt in 1..=TRIES {
            let entries = left.iter().map(|at| {
                let job = &jobs[*at];
                let delay = job.delay.min(DELAY_MAX);
                let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
                SendMessageBatchRequestEntry::builder()
                    .id(at.to_string())
                    .message_body(&job.body)
                    .message_group_id(&job.group)
                    .set_delay_seconds((seconds > 0).then(|| i32::try_from(seconds).unwrap_or(900)))
                    .build()
                    .expect("id and body are set")
            });
            let request =
                self.client.send_message_batch().queue_url(&queue.0).set_entries(Some(entries.collect()));
            match request.send().await {
                Err(error) => return Err(Unsent { indexes: left, source: error.into() }),
                Ok(out) if out.failed().is_empty() => return Ok(()),
                Ok(out) => {
                    left = out.failed().iter().filter_map(|entry| entry.id().parse().ok()).collect();
                    let first = &out.failed()[0];
                    reason = format!("{}: {}", first.code(), first.message().unwrap_or_default()).into();
                    if attempt < TRIES && !out.failed().iter().any(|entry| entry.sender_fault()) {
                        self.clock.sleep(wait).await;
                        wait *= 2;
                    } else {
                        break;
                    }
                }
            }
        }
        Err(Unsent { indexes: left, source: reason })
    }

    /// Sends one body.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn send_one(&self, queue: &QueueUrl, job: Outgoing) -> Result<()> {
        self.send(queue, &[job]).await.map_err(unavailable("queue a job"))
    }

    /// Lets a message that was received be seen again in `wait`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn hide(&self, queue: &QueueUrl, receipt_handle: &str, wait: Duration) -> Result<()> {
        self.client
            .change_message_visibility()
            .queue_url(&queue.0)
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(wait.as_secs()).unwrap_or(i32::MAX))
            .send()
            .await
            .map(drop)
            .map_err(|error| Error::Unavailable { operation: "put a job off", source: error.into() })
    }
}
