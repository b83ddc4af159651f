//! Jobs: what a queue carries.
//!
//! A job's body is JSON with its kind and version in `job`, so that jobs written by an earlier
//! version are still understood after a deployment.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::application::Application;
use crate::error::{Result, corrupt};
use crate::ids::{AppId, AttemptId, EndpointId, MessageId, OrgId, TaskId};
use crate::labels::Labels;
use crate::message::{Message, NewMessage, Payload};
use crate::order::CLOCKS_DIFFER_MAX;
use runtime::clock::{Timestamp, millis, millis_list, millis_opt};
use runtime::trace::{self, Trace};

/// Largest payload that travels inside its job. SQS charges by 64 KB; with more than this the job
/// reads the message instead.
const PAYLOAD_LENGTH_MAX: usize = 48 * 1024;
/// Longest body with a payload in it: what SQS charges as one request.
const BODY_LENGTH_MAX: usize = 64 * 1024;

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
    /// What the message can be found by.
    pub labels: Labels,
    /// When each attempt so far was due, and at the end when this one is. Never empty.
    pub due: Vec<Timestamp>,
    /// Another copy of this job may exist or have existed: read before posting.
    pub check: bool,
    /// Until then, by the queue's clock, that copy may be posted without a look at what this one did.
    pub not_before: Option<Timestamp>,
    /// The text, where it is small; otherwise the message holds it.
    pub payload: Option<Payload>,
    /// From when on the text must not be sent.
    pub payload_until: Timestamp,
    /// The slot of its rate limit that this attempt has taken.
    pub slot: Option<Timestamp>,
    /// The trace of the request that it follows from.
    pub trace: Option<Trace>,
}

impl Deliver {
    /// The first attempt of a message that was just stored.
    pub fn first(app: &Application, new: &NewMessage, endpoint: EndpointId, check: bool) -> Self {
        Self {
            org: app.org,
            app: app.id,
            version: app.version,
            endpoint,
            message: new.id,
            labels: new.labels.clone(),
            due: vec![new.first_due()],
            check,
            not_before: None,
            payload: Some(new.payload.clone()),
            payload_until: new.payload_until(),
            slot: None,
            trace: None,
        }
    }

    /// The first attempt of a message that was read, with its text if that is to travel along.
    pub fn first_of(
        app: &Application,
        message: &Message,
        payload: Option<Payload>,
        endpoint: EndpointId,
        check: bool,
    ) -> Self {
        Self {
            org: app.org,
            app: app.id,
            version: app.version,
            endpoint,
            message: message.id,
            labels: message.labels.clone(),
            due: vec![message.first_due()],
            check,
            not_before: None,
            payload,
            payload_until: message.payload_until,
            slot: None,
            trace: None,
        }
    }

    /// The number of this attempt, from 1.
    pub fn number(&self) -> u32 {
        u32::try_from(self.due.len()).unwrap_or(u32::MAX)
    }

    /// The same beside a plain copy, which may be posted without a look until then.
    #[must_use]
    pub fn beside_plain_until(self, until: Timestamp) -> Self {
        Self { check: true, not_before: Some(until), ..self }
    }

    /// For how long it has to leave the field to a plain copy of it, if it was received then, by the queue's clock. Clocks
    /// that differ by more than they can have nothing to say.
    pub fn yields_for(&self, received: Timestamp) -> Option<Duration> {
        let wait = self.not_before?.since(received);
        (!wait.is_zero() && wait <= CLOCKS_DIFFER_MAX).then_some(wait)
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
    /// The slot of its rate limit that it has taken.
    #[serde(default, with = "millis_opt", skip_serializing_if = "Option::is_none")]
    pub slot: Option<Timestamp>,
    /// The trace of the request that it follows from.
    #[serde(default, deserialize_with = "trace::lenient", skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// An ordered endpoint whose place in the order is to be looked at: what is due there is sent (ADR 0035).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// The organisation.
    pub org: OrgId,
    /// The application.
    pub app: AppId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// A message that is to be added to the order first: it was held back until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// Not before: a key waits until then.
    #[serde(default, with = "millis_opt", skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The lease that has to be over, in case its holder is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watches: Option<String>,
    /// The trace of the request that it follows from.
    #[serde(default, deserialize_with = "trace::lenient", skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

impl Advance {
    /// Of that endpoint, at once.
    pub const fn of(org: OrgId, app: AppId, endpoint: EndpointId) -> Self {
        Self { org, app, endpoint, message: None, due: None, watches: None, trace: None }
    }
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
    /// Those of its endpoints that get it in order, and not by this job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ordered: Vec<EndpointId>,
    /// The trace of the request that it follows from.
    #[serde(default, deserialize_with = "trace::lenient", skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// Something that happened here, told as a message to whoever runs this installation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operational {
    /// The organisation that it happened in.
    pub org: OrgId,
    /// The id of the message that tells it: however often this job is worked on, it is one message.
    pub message: MessageId,
    /// Such as `endpoint.disabled`.
    pub event_type: String,
    /// The message's text, an object.
    pub payload: Box<RawValue>,
    /// The message that has to be sent before it: what is told of one delivery is told in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<MessageId>,
}

/// A look whether an endpoint works again that was disabled because it only failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The organisation.
    pub org: OrgId,
    /// The application.
    pub app: AppId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When it is due, by which the endpoint knows it.
    #[serde(with = "millis")]
    pub due: Timestamp,
}

/// A step of a task: one page of what the task goes through. Where the page begins is on the task's item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStep {
    /// The organisation.
    pub org: OrgId,
    /// The task.
    pub task: TaskId,
    /// The number of this step, from 1.
    pub step: u32,
}

/// Which consumer a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueName {
    /// `deliver`.
    Deliveries,
    /// `background`.
    Background,
}

/// What a queue carries.
#[derive(Clone, Debug)]
pub enum Job {
    /// To `deliver`.
    Deliver(Deliver),
    /// To `deliver`.
    Resend(Resend),
    /// To `deliver`.
    Advance(Advance),
    /// To `deliver`.
    Probe(Probe),
    /// To `background`.
    FanOut(FanOut),
    /// To `background`.
    Operational(Operational),
    /// To `background`.
    Task(TaskStep),
}

const DELIVER_V1: &str = "deliver.v1";
const RESEND_V1: &str = "resend.v1";
const ADVANCE_V1: &str = "advance.v1";
const FAN_OUT_V1: &str = "fan-out.v1";
const OPERATIONAL_V1: &str = "operational.v1";
const TASK_V1: &str = "task.v1";
const PROBE_V1: &str = "probe.v1";

#[derive(Serialize, Deserialize)]
struct DeliverV1<'a> {
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
    #[serde(default, with = "millis_opt", skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    #[serde(with = "millis")]
    payload_until: Timestamp,
    #[serde(default, with = "millis_opt", skip_serializing_if = "Option::is_none")]
    slot: Option<Timestamp>,
    #[serde(default, deserialize_with = "trace::lenient", skip_serializing_if = "Option::is_none")]
    trace: Option<Trace>,
    /// As text within text it would grow; as JSON within JSON it stays as it was posted.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    raw: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

#[derive(Serialize)]
struct Tagged<T> {
    job: &'static str,
    // `flatten` would send the raw JSON through serde's buffer, which cannot hold it.
    with: T,
}

impl Job {
    /// Which consumer this is for.
    pub const fn queue_name(&self) -> QueueName {
        match self {
            Self::Deliver(_) | Self::Resend(_) | Self::Advance(_) | Self::Probe(_) => QueueName::Deliveries,
            Self::FanOut(_) | Self::Operational(_) | Self::Task(_) => QueueName::Background,
        }
    }

    /// The trace of the request that it follows from. A task and an operational event have many, or none, and a probe none.
    pub const fn trace(&self) -> Option<Trace> {
        match self {
            Self::Deliver(job) => job.trace,
            Self::Resend(job) => job.trace,
            Self::Advance(job) => job.trace,
            Self::FanOut(job) => job.trace,
            Self::Operational(_) | Self::Task(_) | Self::Probe(_) => None,
        }
    }

    /// This job as a part of `trace`, unless it says itself what it follows from.
    #[must_use]
    pub fn following(mut self, trace: Option<Trace>) -> Self {
        match &mut self {
            Self::Deliver(Deliver { trace: own, .. })
            | Self::Resend(Resend { trace: own, .. })
            | Self::Advance(Advance { trace: own, .. })
            | Self::FanOut(FanOut { trace: own, .. }) => *own = own.or(trace),
            Self::Operational(_) | Self::Task(_) | Self::Probe(_) => {}
        }
        self
    }

    /// The message that it is about.
    pub const fn message(&self) -> Option<MessageId> {
        match self {
            Self::Deliver(job) => Some(job.message),
            Self::Resend(job) => Some(job.message),
            Self::Advance(job) => job.message,
            Self::FanOut(job) => Some(job.message),
            Self::Operational(job) => Some(job.message),
            Self::Task(_) | Self::Probe(_) => None,
        }
    }

    /// The body of this job. SQS refuses some characters that JSON allows; a payload with one of
    /// them, or a large one, is left out and read from the message.
    ///
    /// # Errors
    /// `Corrupt` if the payload is no JSON.
    pub fn body(&self) -> Result<String> {
        const WHAT: &str = "a job";
        fn text<T: Serialize>(job: &'static str, with: T) -> Result<String> {
            serde_json::to_string(&Tagged { job, with }).map_err(corrupt(WHAT))
        }
        match self {
            Self::FanOut(job) => text(FAN_OUT_V1, job),
            Self::Resend(job) => text(RESEND_V1, job),
            Self::Advance(job) => text(ADVANCE_V1, job),
            Self::Operational(job) => text(OPERATIONAL_V1, job),
            Self::Task(job) => text(TASK_V1, job),
            Self::Probe(job) => text(PROBE_V1, job),
            Self::Deliver(job) => {
                let inline = job.payload.as_ref().filter(|payload| payload.length() <= PAYLOAD_LENGTH_MAX);
                let json = inline.map(|payload| serde_json::from_str(&payload.json));
                let with = DeliverV1 {
                    org: job.org,
                    app: job.app,
                    version: job.version,
                    endpoint: job.endpoint,
                    message: job.message,
                    event_type: job.labels.event_type.clone(),
                    channels: job.labels.channels.clone(),
                    tags: job.labels.tags.clone(),
                    due: job.due.clone(),
                    check: job.check,
                    not_before: job.not_before,
                    payload_until: job.payload_until,
                    slot: job.slot,
                    trace: job.trace,
                    payload: json.transpose().map_err(corrupt(WHAT))?,
                    raw: inline
                        .and_then(|payload| payload.raw.as_ref().map(|raw| Cow::Borrowed(raw.as_str()))),
                    content_type: inline.and_then(|payload| payload.content_type.clone()),
                };
                let body = text(DELIVER_V1, &with)?;
                // A raw text is a JSON string here: escapes make it longer, and only control characters
                // are escaped.
                if body.len() <= BODY_LENGTH_MAX && is_for_sqs(&body) {
                    return Ok(body);
                }
                let with = DeliverV1 { payload: None, raw: None, content_type: None, ..with };
                text(DELIVER_V1, with)
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
        fn read<'de, T: Deserialize<'de>>(with: &'de RawValue) -> Result<T> {
            serde_json::from_str(with.get()).map_err(corrupt(WHAT))
        }
        let with = envelope.with;
        match envelope.job.as_str() {
            DELIVER_V1 => {
                let job: DeliverV1<'_> = read(with)?;
                if job.due.is_empty() {
                    return Err(corrupt(WHAT)("it is not said when the attempt is due"));
                }
                let (raw, content_type) = (job.raw.map(|raw| Arc::new(raw.into_owned())), job.content_type);
                let payload =
                    job.payload.map(|json| Payload { raw, content_type, ..Payload::of(json.get()) });
                Ok(Self::Deliver(Deliver {
                    org: job.org,
                    app: job.app,
                    version: job.version,
                    endpoint: job.endpoint,
                    message: job.message,
                    labels: Labels { event_type: job.event_type, channels: job.channels, tags: job.tags },
                    due: job.due,
                    check: job.check,
                    not_before: job.not_before,
                    payload,
                    payload_until: job.payload_until,
                    slot: job.slot,
                    trace: job.trace,
                }))
            }
            RESEND_V1 => read(with).map(Self::Resend),
            ADVANCE_V1 => read(with).map(Self::Advance),
            FAN_OUT_V1 => read(with).map(Self::FanOut),
            OPERATIONAL_V1 => read(with).map(Self::Operational),
            TASK_V1 => read(with).map(Self::Task),
            PROBE_V1 => read(with).map(Self::Probe),
            other => Err(corrupt(WHAT)(format!("its kind {other:?} is not known here"))),
        }
    }
}

/// The characters that SQS takes, by SendMessage's definition.
const fn is_sqs_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// Whether SQS takes all characters of a text. Most texts are ASCII, whose bytes need not be decoded.
fn is_for_sqs(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && is_sqs_character(char::from(byte)))
        || text.chars().all(is_sqs_character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";

    fn job(json: &str, raw: Option<&str>) -> Deliver {
        Deliver {
            org: format!("org_{K}").parse().unwrap(),
            app: format!("app_{K}").parse().unwrap(),
            version: 3,
            endpoint: format!("ep_{K}").parse().unwrap(),
            message: format!("msg_{K}").parse().unwrap(),
            labels: Labels::of("a.b"),
            due: vec![Timestamp::from_ms(5)],
            check: false,
            not_before: None,
            payload: Some(Payload { raw: raw.map(|raw| Arc::new(raw.to_owned())), ..Payload::of(json) }),
            payload_until: Timestamp::from_ms(9),
            slot: None,
            trace: None,
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
            assert_eq!(payload.sent().as_str(), json);
        }
        let payload = round_trip(job("{}", Some("<a>\u{7}\"</a>"))).unwrap();
        assert_eq!(payload.sent().as_str(), "<a>\u{7}\"</a>");
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
    fn a_job_keeps_the_trace_that_it_follows_from() {
        let trace =
            |nth: u32| Trace::parse(&format!("Root=1-0000000{nth}-bd862e3fe1be46a994272793;Sampled=1"));
        let parsed = |job: Job| Job::parse(&job.body().unwrap()).unwrap().trace();
        let plain = Job::Deliver(job("{}", None));
        assert_eq!(parsed(plain.clone()), None);
        let followed = plain.following(trace(1));
        assert_eq!(parsed(followed.clone()), trace(1));
        assert_eq!(parsed(followed.following(trace(2))), trace(1));
        // What cannot be read is no reason not to deliver.
        let body = Job::Deliver(job("{}", None)).following(trace(1)).body().unwrap();
        assert!(
            matches!(Job::parse(&body.replace("Root=1", "Root=9")), Ok(Job::Deliver(job)) if job.trace.is_none())
        );
    }

    #[test]
    fn what_is_no_job_of_ours_is_corrupt() {
        for body in ["", "{}", "{\"job\":\"deliver.v9\",\"with\":{}}", "{\"job\":\"deliver.v1\",\"with\":{}}"]
        {
            assert!(matches!(Job::parse(body), Err(Error::Corrupt { .. })), "{body}");
        }
    }
}
