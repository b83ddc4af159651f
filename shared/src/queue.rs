//! Jobs, and the queues they travel in.
//!
//! A job's body is JSON with its kind and version in `job`, so that jobs written by an earlier
//! version are still understood after a deployment.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::{SharedClock, Timestamp, millis, millis_list};
use crate::config::{ConfigError, Env};
use crate::error::{Error, Result, Source, corrupt, unavailable};
use crate::ids::{AppId, AttemptId, EndpointId, MessageId, OrgId};
use crate::store::messages::Payload;

/// Longest delay that SQS offers.
pub const DELAY_MAX: Duration = Duration::from_secs(900);
/// Most entries of one batch, by its definition.
const BATCH_MAX: usize = 10;
/// Most bytes of one batch: what every implementation of SQS takes. AWS takes four times that and
/// charges by 64 KB, so larger batches save nothing.
const BATCH_LENGTH_MAX: usize = 256 * 1024;
/// Largest payload that travels inside its job. SQS charges by 64 KB; with more than this the job
/// reads the message instead.
const PAYLOAD_LENGTH_MAX: usize = 48 * 1024;
/// Longest body with a payload in it: what SQS charges as one request.
const BODY_LENGTH_MAX: usize = 64 * 1024;

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

/// One delivery attempt to be made.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The organisation.
    pub org: OrgId,
    /// The application.
    pub app: AppId,
    /// The application's version when the job was written.
    pub version: u64,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The message.
    pub message: MessageId,
    /// Its event type.
    pub event_type: String,
    /// Its channels.
    pub channels: Option<Vec<String>>,
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// When each attempt so far was due, and at the end when this one is. Never empty.
    pub due: Vec<Timestamp>,
    /// Another copy of this job may exist or have existed: read before posting.
    pub check: bool,
    /// The text, where it is small; otherwise the message holds it.
    pub payload: Option<Payload>,
    /// From when on the text must not be sent.
    pub payload_until: Timestamp,
}

impl Deliver {
    /// The number of this attempt, from 1.
    pub fn number(&self) -> u32 {
        u32::try_from(self.due.len()).unwrap_or(u32::MAX)
    }

    /// When this attempt is due.
    pub fn due(&self) -> Timestamp {
        self.due.last().copied().unwrap_or_default()
    }
}

/// One attempt that somebody, or a task, asked for: made once, not retried, whatever filters say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// The organisation.
    pub org: OrgId,
    /// The application.
    pub app: AppId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The message.
    pub message: MessageId,
    /// The id that the attempt gets.
    pub attempt: AttemptId,
}

/// A message to be sent on to its endpoints, from one of them on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanOut {
    /// The organisation.
    pub org: OrgId,
    /// The application.
    pub app: AppId,
    /// The application's version when the job was written.
    pub version: u64,
    /// The message.
    pub message: MessageId,
    /// How many of its endpoints were served by jobs before this one.
    pub from: usize,
    /// Another copy of this job may exist or have existed.
    pub check: bool,
}

/// What a queue carries.
#[derive(Clone, Debug)]
pub enum Job {
    /// To `deliver`.
    Deliver(Deliver),
    /// To `deliver`.
    Resend(Resend),
    /// To `fan-out`.
    FanOut(FanOut),
}

const DELIVER_V1: &str = "deliver.v1";
const RESEND_V1: &str = "resend.v1";
const FAN_OUT_V1: &str = "fan-out.v1";

#[derive(Serialize, Deserialize)]
struct DeliverV1 {
    org: OrgId,
    app: AppId,
    version: u64,
    endpoint: EndpointId,
    message: MessageId,
    event_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    #[serde(with = "millis_list")]
    due: Vec<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    check: bool,
    #[serde(with = "millis")]
    payload_until: Timestamp,
    /// As text within text it would grow; as JSON within JSON it stays as it was posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
}

#[derive(Serialize)]
struct Tagged<T> {
    job: &'static str,
    // `flatten` would send the raw JSON through serde's buffer, which cannot hold it.
    with: T,
}

impl Job {
    /// The body of this job. SQS refuses some characters that JSON allows; a payload with one of
    /// them, or a large one, is left out and read from the message.
    ///
    /// # Errors
    /// `Corrupt` if the payload is no JSON.
    pub fn body(&self) -> Result<String> {
        const WHAT: &str = "a job";
        match self {
            Self::FanOut(job) => {
                serde_json::to_string(&Tagged { job: FAN_OUT_V1, with: job }).map_err(corrupt(WHAT))
            }
            Self::Resend(job) => {
                serde_json::to_string(&Tagged { job: RESEND_V1, with: job }).map_err(corrupt(WHAT))
            }
            Self::Deliver(job) => {
                let inline = job.payload.as_ref().filter(|payload| {
                    payload.json.len() + payload.raw.as_deref().map_or(0, str::len) <= PAYLOAD_LENGTH_MAX
                        && payload.json.chars().all(is_sqs_character)
                });
                let json = inline.map(|payload| RawValue::from_string(payload.json.clone()));
                let with = DeliverV1 {
                    org: job.org,
                    app: job.app,
                    version: job.version,
                    endpoint: job.endpoint,
                    message: job.message,
                    event_type: job.event_type.clone(),
                    channels: job.channels.clone(),
                    tags: job.tags.clone(),
                    due: job.due.clone(),
                    check: job.check,
                    payload_until: job.payload_until,
                    payload: json.transpose().map_err(corrupt(WHAT))?,
                    raw: inline.and_then(|payload| payload.raw.clone()),
                };
                let body =
                    serde_json::to_string(&Tagged { job: DELIVER_V1, with: &with }).map_err(corrupt(WHAT))?;
                // A raw text is a JSON string here: escapes make it longer, and only control characters
                // are escaped.
                if body.len() <= BODY_LENGTH_MAX && body.chars().all(is_sqs_character) {
                    return Ok(body);
                }
                let with = DeliverV1 { payload: None, raw: None, ..with };
                serde_json::to_string(&Tagged { job: DELIVER_V1, with }).map_err(corrupt(WHAT))
            }
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// `Corrupt`: it is not one of ours, or of a version that is not known here.
    pub fn parse(body: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            job: String,
            #[serde(borrow)]
            with: &'a RawValue,
        }
        const WHAT: &str = "a job";
        let envelope: Envelope<'_> = serde_json::from_str(body).map_err(corrupt(WHAT))?;
        match envelope.job.as_str() {
            DELIVER_V1 => {
                let job: DeliverV1 = serde_json::from_str(envelope.with.get()).map_err(corrupt(WHAT))?;
                if job.due.is_empty() {
                    return Err(corrupt(WHAT)("it is not said when the attempt is due"));
                }
                let raw = job.raw;
                let payload =
                    job.payload.map(|json| Payload { json: String::from(Box::<str>::from(json)), raw });
                Ok(Self::Deliver(Deliver {
                    org: job.org,
                    app: job.app,
                    version: job.version,
                    endpoint: job.endpoint,
                    message: job.message,
                    event_type: job.event_type,
                    channels: job.channels,
                    tags: job.tags,
                    due: job.due,
                    check: job.check,
                    payload,
                    payload_until: job.payload_until,
                }))
            }
            RESEND_V1 => serde_json::from_str(envelope.with.get()).map(Self::Resend).map_err(corrupt(WHAT)),
            FAN_OUT_V1 => serde_json::from_str(envelope.with.get()).map(Self::FanOut).map_err(corrupt(WHAT)),
            other => Err(corrupt(WHAT)(format!("its kind {other:?} is not known here"))),
        }
    }
}

/// The characters that SQS takes, by SendMessage's definition.
const fn is_sqs_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
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

#[cfg(test)]
mod tests {
    use super::*;

    const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";

    fn job(json: &str, raw: Option<&str>) -> Deliver {
        Deliver {
            org: format!("org_{K}").parse().unwrap(),
            app: format!("app_{K}").parse().unwrap(),
            version: 3,
            endpoint: format!("ep_{K}").parse().unwrap(),
            message: format!("msg_{K}").parse().unwrap(),
            event_type: "a.b".into(),
            channels: None,
            tags: None,
            due: vec![Timestamp::from_ms(5)],
            check: false,
            payload: Some(Payload { json: json.into(), raw: raw.map(str::to_owned) }),
            payload_until: Timestamp::from_ms(9),
        }
    }

    fn round_trip(job: Deliver) -> Option<Payload> {
        let Job::Deliver(read) = Job::parse(&Job::Deliver(job.clone()).body().unwrap()).unwrap() else {
            panic!()
        };
        assert_eq!((read.app, read.due.clone(), read.version), (job.app, job.due, job.version));
        read.payload
    }

    #[test]
    fn payloads_travel_byte_for_byte() {
        for json in ["{}", "{ \"a\" :\t1.0 ,\n \"b\":\"\\u00e9é\" }", "{\"n\":12345678901234567890.10e0}"] {
            let payload = round_trip(job(json, None)).unwrap();
            assert_eq!(payload.sent(), json);
        }
        let payload = round_trip(job("{}", Some("<a>\u{7}\"</a>"))).unwrap();
        assert_eq!(payload.sent(), "<a>\u{7}\"</a>");
    }

    #[test]
    fn what_sqs_refuses_stays_behind() {
        assert_eq!(round_trip(job("{\"a\":\"\u{ffff}\"}", None)), None);
        assert_eq!(round_trip(job("{}", Some("\u{fffe}"))), None);
        assert_eq!(round_trip(job("{}", Some(&"\u{1}".repeat(40_000)))), None);
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(PAYLOAD_LENGTH_MAX));
        assert_eq!(round_trip(job(&large, None)), None);
    }

    #[test]
    fn jobs_of_the_first_version_are_understood() {
        let body = format!(
            "{{\"job\":\"deliver.v1\",\"with\":{{\"org\":\"org_{K}\",\"app\":\"app_{K}\",\"version\":1,\"endpoint\":\"ep_{K}\",\
             \"message\":\"msg_{K}\",\"event_type\":\"a\",\"due\":[1],\"payload_until\":2,\"payload\":{{\"x\":1}}}}}}"
        );
        assert!(matches!(Job::parse(&body), Ok(Job::Deliver(job)) if job.number() == 1));
        let body = format!(
            "{{\"job\":\"fan-out.v1\",\"with\":{{\"org\":\"org_{K}\",\"app\":\"app_{K}\",\"version\":1,\
             \"message\":\"msg_{K}\",\"from\":0,\"check\":false}}}}"
        );
        assert!(matches!(Job::parse(&body), Ok(Job::FanOut(job)) if job.from == 0));
    }

    #[test]
    fn what_is_no_job_of_ours_is_corrupt() {
        for body in ["", "{}", "{\"job\":\"deliver.v9\",\"with\":{}}", "{\"job\":\"deliver.v1\",\"with\":{}}"]
        {
            assert!(matches!(Job::parse(body), Err(Error::Corrupt { .. })), "{body}");
        }
    }
}
