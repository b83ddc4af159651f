//! The queues, and the jobs that travel in them ([`Job`]).

pub mod consumer;
mod queues;

pub use domain::job::{Advance, Deliver, FanOut, Job, Operational, Probe, QueueName, Resend, TaskStep};
pub use queues::{Queue, QueueUrl};

use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::send_message_batch::{
    SendMessageBatch, SendMessageBatchError, SendMessageBatchInput, SendMessageBatchOutput,
};
use aws_sdk_sqs::types::{
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, SendMessageBatchRequestEntry,
};
use futures_util::future::join_all;

use domain::error::{Error, Result, Source, unavailable};
use domain::operational::OperationalEvents;
use runtime::clock::{SharedClock, Timestamp};
use runtime::trace::Trace;
use sdk::{Call, Service};

/// Longest delay that SQS offers.
pub const DELAY_MAX: Duration = Duration::from_secs(900);
/// For how long after its time a plain first attempt is posted without a look at what copies of its job did. A copy that
/// may exist beside a plain one is marked `check`, and not posted before this is over. How late a send can take effect is
/// bounded by nothing that AWS says (a signature holds for five minutes), so both go by one clock, whatever those of
/// functions say: the queue's, at which they were received.
pub const DEDUP_FREE_WINDOW: Duration = Duration::from_secs(10);
/// From then on a batch that was not sent is not tried again.
const SENDING_MAX: Duration = Duration::from_secs(10);
/// Most entries of one batch, by its definition.
const BATCH_MAX: usize = 10;
/// Most bytes of one batch: what every implementation of SQS takes. AWS takes four times that and
/// charges by 64 KB, so larger batches save nothing.
const BATCH_LENGTH_MAX: usize = 256 * 1024;
/// A body on its way into a queue.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The job's text.
    pub body: String,
    /// How long it stays unseen, rounded up to whole seconds, at most [`DELAY_MAX`].
    pub delay: Duration,
    /// The fair-queueing group: one noisy application does not delay the others.
    pub group: String,
    /// The trace that X-Ray is to count the consumer's work to.
    pub trace: Option<Trace>,
}

impl Outgoing {
    /// A job on its way.
    ///
    /// # Errors
    /// `Corrupt`: its payload is no JSON.
    pub fn new(job: &Job, delay: Duration, group: impl std::fmt::Display) -> Result<Self> {
        Ok(Self { body: job.body()?, delay, group: group.to_string(), trace: job.trace() })
    }

    /// The same job, for a queue that may have it already.
    fn as_copy(&self, now: Timestamp) -> Self {
        let (job, first) = match Job::parse(&self.body) {
            Ok(Job::Deliver(job)) if job.number() == 1 => {
                let due = job.due();
                (Job::Deliver(job.beside_plain_until(due.after(DEDUP_FREE_WINDOW))), due)
            }
            Ok(Job::FanOut(job)) => {
                let first = job.message.time();
                (Job::FanOut(FanOut { check: true, ..job }), first)
            }
            // Whatever else there is looks before it does anything.
            _ => return self.clone(),
        };
        let Ok(body) = job.body() else { return self.clone() };
        let delay = self.delay.max(first.after(DEDUP_FREE_WINDOW).since(now));
        Self { body, delay, group: self.group.clone(), trace: self.trace }
    }
}

/// The queue service.
#[derive(Clone, Debug)]
pub struct Sqs {
    client: Client,
    send: Call<SendMessageBatchInput, SendMessageBatchOutput, SendMessageBatchError>,
    clock: SharedClock,
}

fn trace_attribute(trace: Trace) -> HashMap<MessageSystemAttributeNameForSends, MessageSystemAttributeValue> {
    let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace.to_string());
    let value = value.build().expect("the data type is set");
    HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, value)])
}

/// Whether the queue said that it did not take what was sent.
fn is_refusal<E>(error: &SdkError<E>) -> bool {
    error.raw_response().is_some_and(|response| response.status().is_client_error())
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

/// Sends what is told through a queue.
#[derive(Clone, Debug)]
pub struct OperationalQueue {
    /// The queue service.
    pub sqs: Sqs,
    /// The queue of those who make messages of it.
    pub queue: QueueUrl,
}

impl OperationalEvents for OperationalQueue {
    fn enqueue<'a>(
        &'a self,
        event: &'a Operational,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async {
            let job = Outgoing::new(&Job::from(event.clone()), Duration::ZERO, event.org)?;
            self.sqs.send_one(&self.queue, job).await
        })
    }
}

impl Sqs {
    /// The queue service behind `client` and `service`, which must not repeat requests by themselves.
    pub fn new(client: Client, service: &Service, clock: SharedClock) -> Self {
        Self { client, send: service.call("SendMessageBatch", &SendMessageBatch::new()), clock }
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
        let started = self.clock.now();
        let mut wait = Duration::from_millis(100);
        let mut reason: Source = "not tried".into();
        // The queue may have taken what it did not acknowledge. The SDK would repeat the request as it
        // was, and a second plain job would be posted without a look at what the first one did.
        let mut copies = false;
        for attempt in 1..=TRIES {
            let now = self.clock.now();
            if attempt > 1 && now.since(started) >= SENDING_MAX {
                break;
            }
            let entries = left.iter().map(|at| {
                let job = if copies { Cow::Owned(jobs[*at].as_copy(now)) } else { Cow::Borrowed(&jobs[*at]) };
                let delay = job.delay.min(DELAY_MAX);
                let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
                SendMessageBatchRequestEntry::builder()
                    .id(at.to_string())
                    .message_body(&job.body)
                    .message_group_id(&job.group)
                    .set_message_system_attributes(job.trace.map(trace_attribute))
                    .set_delay_seconds((seconds > 0).then(|| i32::try_from(seconds).unwrap_or(900)))
                    .build()
                    .expect("id and body are set")
            });
            let request = SendMessageBatchInput::builder()
                .queue_url(queue.as_str())
                .set_entries(Some(entries.collect()))
                .build()
                .expect("nothing of it is checked before it is sent");
            match self.send.send(request).await {
                Err(error) => {
                    copies |= !is_refusal(&error);
                    reason = error.into();
                    self.clock.sleep(wait).await;
                    wait *= 4;
                }
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
    pub async fn change_visibility(
        &self,
        queue: &QueueUrl,
        receipt_handle: &str,
        wait: Duration,
    ) -> Result<()> {
        let repeated = aws_sdk_sqs::config::Builder::new().retry_config(RetryConfig::standard());
        self.client
            .change_message_visibility()
            .queue_url(queue.as_str())
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(wait.as_secs()).unwrap_or(i32::MAX))
            .customize()
            .config_override(repeated)
            .send()
            .await
            .map(drop)
            .map_err(|error| Error::Unavailable { operation: "put a job off", source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// INV-14
    #[test]
    fn a_copy_of_a_first_attempt_looks_and_comes_late() {
        const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";
        let copy = |due: &str| {
            let body = format!(
                "{{\"job\":\"deliver.v1\",\"with\":{{\"org\":\"org_{K}\",\"app\":\"app_{K}\",\"version\":1,\
                 \"endpoint\":\"ep_{K}\",\"message\":\"msg_{K}\",\"event_type\":\"a\",\"due\":{due},\
                 \"payload_until\":2,\"payload\":{{\"x\":1}}}}}}"
            );
            let plain = Outgoing { body, delay: Duration::from_secs(1), group: "g".into(), trace: None };
            let copy = plain.as_copy(Timestamp::from_ms(2_000));
            let Ok(Job::Deliver(job)) = Job::parse(&copy.body) else { panic!() };
            (job.check, job.not_before.map(Timestamp::ms), copy.delay, job.payload.is_some())
        };
        assert_eq!(
            copy("[500]"),
            (true, Some(10_500), DEDUP_FREE_WINDOW - Duration::from_millis(1_500), true)
        );
        // A retry looks in any case.
        assert_eq!(copy("[500,900]"), (false, None, Duration::from_secs(1), true));
    }
}
