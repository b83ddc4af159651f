//! The only loop over SQS records.

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tracing::{Instrument as _, Span};

use domain::error::{Chain, Error, Result};
use domain::job::Job;

use crate::{Outgoing, QueueUrl, Sqs};
use runtime::clock::Timestamp;
use runtime::trace::{ATTRIBUTE, Trace};

/// Longest wait between two tries of a job whose dependencies are down.
const BACKOFF_MAX: Duration = Duration::from_secs(900);

/// An event of a queue, as a function's runtime reads it. Read in one go: that runtime keeps account of where in the text
/// it is, which is a third of the reading.
#[derive(Debug)]
pub struct Event(pub SqsEvent);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(from)?;
        serde_json::from_str(text.get()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A queue that a function consumes.
#[derive(Clone, Debug)]
pub struct Source {
    /// The queue.
    pub queue: QueueUrl,
    /// Where its jobs go that cannot be understood.
    pub dead_letters: QueueUrl,
}

/// A job as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The job.
    pub job: Job,
    /// It was handed out before: somebody may have done a part of it.
    pub again: bool,
    /// How long it was in the queue before somebody received it, by the queue's clock.
    pub waited: Duration,
    /// When somebody received it first, by the queue's clock, if the queue says so.
    pub first_received: Option<Timestamp>,
    /// Which of the function's sources it came from, by position; none if it came from elsewhere.
    pub source: Option<usize>,
}

/// Works on all records at once (`BatchSize` bounds them) and reports those that have to come back.
///
/// The event source must declare `ReportBatchItemFailures`: without it Lambda ignores the answer
/// and deletes the whole batch.
///
/// A job that fails because a dependency of ours does comes back, later each time, for as long as
/// its queue keeps it: an outage is no dead letter. A job that cannot be understood will not be
/// understood later either, and goes to the dead-letter queue at once.
pub async fn run<F>(
    sqs: &Sqs,
    sources: &[Source],
    event: SqsEvent,
    work: impl Fn(Received) -> F,
) -> SqsBatchResponse
where
    F: Future<Output = Result<()>>,
{
    let done = join_all(event.records.iter().map(async |record| {
        let (source, trace) = (source_of(sources, record), trace_of(record));
        let job = Job::parse(record.body.as_deref().unwrap_or_default()).map(|job| job.following(trace));
        let span = span(record, trace, job.as_ref().ok());
        async {
            let result = match job {
                Ok(job) => {
                    let (again, waited) = (receive_count(record) > 1, waited(record));
                    let first_received = time(record, "ApproximateFirstReceiveTimestamp");
                    work(Received { job, again, waited, first_received, source }).await
                }
                Err(error) => Err(error),
            };
            let Err(error) = result else { return true };
            after_failure(sqs, source.map(|at| &sources[at]), record, trace, &error).await
        }
        .instrument(span)
        .await
    }))
    .await;
    response(event.records.iter().zip(done))
}

/// A record of a batch that is worked on as a whole.
#[derive(Debug)]
pub struct Record<'a> {
    message: &'a SqsMessage,
    trace: Option<Trace>,
    span: Span,
}

impl<'a> Record<'a> {
    /// The id that the queue gave it: the same each time that it is handed out.
    pub fn id(&self) -> &'a str {
        self.message.message_id.as_deref().unwrap_or_default()
    }

    /// When its sender put it into the queue, by the queue's clock, if the queue says so.
    pub fn sent(&self) -> Option<Timestamp> {
        time(self.message, "SentTimestamp")
    }

    /// It was handed out before: somebody may have done a part of what it asks for.
    pub fn again(&self) -> bool {
        receive_count(self.message) > 1
    }

    /// Its text.
    pub fn body(&self) -> &'a str {
        self.message.body.as_deref().unwrap_or_default()
    }

    /// The trace that it belongs to.
    pub const fn trace(&self) -> Option<Trace> {
        self.trace
    }

    /// What its lines in the log belong to.
    pub const fn span(&self) -> &Span {
        &self.span
    }
}

/// How the work on a record ended.
#[derive(Debug)]
pub enum Outcome {
    /// Well.
    Done,
    /// As a job that fails: it comes back, or goes to the dead letters if it cannot be understood.
    Failed(Error),
    /// Whoever sent it has to correct it: a dead letter at once. The text says why.
    Refused(String),
}

/// The records of a batch, for a consumer whose records share work. [`finish_batch`] ends it.
pub fn records(event: &SqsEvent) -> Vec<Record<'_>> {
    let record = |message| {
        let trace = trace_of(message);
        Record { message, trace, span: span(message, trace, None) }
    };
    event.records.iter().map(record).collect()
}

/// Does with each record what its outcome asks for, and reports those that have to come back, as [`run`]
/// does; one without an outcome does.
pub async fn finish_batch(
    sqs: &Sqs,
    sources: &[Source],
    records: Vec<Record<'_>>,
    outcomes: Vec<Outcome>,
) -> SqsBatchResponse {
    let done = join_all(records.iter().zip(outcomes).map(async |(record, outcome)| {
        let source = source_of(sources, record.message).map(|at| &sources[at]);
        let (message, trace) = (record.message, record.trace);
        async {
            match (outcome, source) {
                (Outcome::Done, _) => true,
                (Outcome::Refused(reason), Some(source)) => {
                    let moved = send_to_dlq(sqs, source, message, trace).await;
                    // The sender's fault is no error of ours: those bring old versions back. By its target the local
                    // runner knows that each of these lines is wanted.
                    tracing::warn!(target: "queue::refused", reason, moved, "a message is refused and goes to the dead-letter queue");
                    moved
                }
                (Outcome::Refused(reason), None) => {
                    tracing::error!(reason, "a message was refused that came from a queue unknown here");
                    false
                }
                (Outcome::Failed(error), _) => after_failure(sqs, source, message, trace, &error).await,
            }
        }
        .instrument(record.span.clone())
        .await
    }))
    .await;
    let missing = std::iter::repeat_n(false, records.len() - done.len());
    response(records.iter().map(|record| record.message).zip(done.into_iter().chain(missing)))
}

fn response<'a>(done: impl Iterator<Item = (&'a SqsMessage, bool)>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for (record, _) in done.filter(|(_, done)| !done) {
        response.add_failure(record.message_id.as_deref().unwrap_or_default());
    }
    response
}

fn source_of(sources: &[Source], record: &SqsMessage) -> Option<usize> {
    let name = record.event_source_arn.as_deref().and_then(|arn| arn.rsplit(':').next());
    sources.iter().position(|source| name == Some(source.queue.name()))
}

fn trace_of(record: &SqsMessage) -> Option<Trace> {
    record.attributes.get(ATTRIBUTE).and_then(|text| Trace::parse(text))
}

/// What each line about this record says: one search for a message or a trace finds all of them. At
/// the highest level, or a filter that lets warnings pass would take it from them.
fn span(record: &SqsMessage, trace: Option<Trace>, job: Option<&Job>) -> Span {
    let span = tracing::error_span!(
        "job",
        record = record.message_id.as_deref().unwrap_or_default(),
        trace_id = tracing::field::Empty,
        message_id = tracing::field::Empty,
    );
    if let Some(trace) = job.map_or(trace, Job::trace) {
        span.record("trace_id", tracing::field::display(trace.id()));
    }
    if let Some(message) = job.and_then(Job::message) {
        span.record("message_id", tracing::field::display(message));
    }
    span
}

/// Whether the record is done with all the same.
async fn after_failure(
    sqs: &Sqs,
    source: Option<&Source>,
    record: &SqsMessage,
    trace: Option<Trace>,
    error: &Error,
) -> bool {
    let Some(source) = source else {
        tracing::error!(error = %Chain(error), "a job failed that came from a queue unknown here");
        return false;
    };
    if let Error::Corrupt { .. } = error {
        let moved = send_to_dlq(sqs, source, record, trace).await;
        tracing::error!(error = %Chain(error), moved, "a job goes to the dead-letter queue");
        return moved;
    }
    let wait = match error {
        Error::TooMany { .. } => spread(record, backoff(receive_count(record))),
        _ => backoff(receive_count(record)),
    };
    tracing::warn!(error = %Chain(error), wait_seconds = wait.as_secs(), "a job will be tried again");
    if let Some(handle) = &record.receipt_handle
        && let Err(error) = sqs.change_visibility(&source.queue, handle, wait).await
    {
        // Then the queue's own visibility timeout brings it back.
        tracing::debug!(error = %Chain(&error), "the wait could not be set");
    }
    false
}

/// Puts a record among the dead letters; says whether it is there.
async fn send_to_dlq(sqs: &Sqs, source: &Source, record: &SqsMessage, trace: Option<Trace>) -> bool {
    let body = record.body.clone().unwrap_or_default();
    let group = record.attributes.get("MessageGroupId").cloned().unwrap_or_else(|| "dead".into());
    let letter = Outgoing { body, delay: Duration::ZERO, group, trace };
    sqs.send_one(&source.dead_letters, letter).await.is_ok()
}

fn receive_count(record: &SqsMessage) -> u32 {
    record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

fn waited(record: &SqsMessage) -> Duration {
    let received = time(record, "ApproximateFirstReceiveTimestamp").unwrap_or_default();
    received.since(time(record, "SentTimestamp").unwrap_or(received))
}

/// One of the times that the queue tells with a record, by its own clock.
fn time(record: &SqsMessage, name: &str) -> Option<Timestamp> {
    record.attributes.get(name)?.parse().ok().map(Timestamp::from_ms)
}

/// 2, 4, 8 … seconds, at most a quarter of an hour.
fn backoff(receive_count: u32) -> Duration {
    Duration::from_secs(1 << receive_count.clamp(1, 10)).min(BACKOFF_MAX)
}

/// Half of `wait` to three halves, by the record's id. What is refused for being too much at a time must
/// not come back at one time, or most of it is refused again.
fn spread(record: &SqsMessage, wait: Duration) -> Duration {
    let id = format!("{} {}", record.message_id.as_deref().unwrap_or_default(), receive_count(record));
    let digest = ring::digest::digest(&ring::digest::SHA256, id.as_bytes());
    let share = digest.as_ref()[..4].iter().fold(0, |share, byte| share << 8 | u64::from(*byte));
    Duration::from_secs(wait.as_secs() / 2 + share % (wait.as_secs() + 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn waits_grow_to_a_quarter_of_an_hour() {
        assert_eq!(backoff(1), Duration::from_secs(2));
        assert_eq!(backoff(5), Duration::from_secs(32));
        assert_eq!(backoff(1000), BACKOFF_MAX);
    }

    #[test]
    fn what_was_too_much_at_a_time_comes_back_at_many() {
        let waits = |wait: u64| -> Vec<u64> {
            let mut record = SqsMessage::default();
            (0..1_000)
                .map(|nth| {
                    record.message_id = Some(format!("record-{nth}"));
                    spread(&record, Duration::from_secs(wait)).as_secs()
                })
                .collect()
        };
        assert!(waits(2).iter().all(|wait| (1..=3).contains(wait)));
        let long = waits(900);
        assert!(long.iter().all(|wait| (450..=1_350).contains(wait)));
        assert!(long.iter().collect::<BTreeSet<_>>().len() > 500);
        // A thousand of them are as long as without.
        assert!((850_000..950_000).contains(&long.iter().sum::<u64>()));
    }
}
