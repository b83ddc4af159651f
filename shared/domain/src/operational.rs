//! Operational webhooks: what happens to endpoints and messages, told to whoever runs the installation.
//!
//! They are ordinary messages. They go to the endpoints of one application of the management
//! organisation: the one whose uid is the id of the organisation that the event is about.

use std::pin::Pin;

use serde::Serialize;
use serde_json::{Value, json};

use crate::application::Application;
use crate::attempt::Attempt;
use crate::endpoint::Endpoint;
use crate::error::{Result, corrupt};
use crate::ids::{AppId, AttemptId, EndpointId, MessageId, OrgId, TaskId};
use crate::job::{Job, Operational};
use crate::task::{Task, TaskDone};
use runtime::clock::Timestamp;

/// The organisation whose applications get operational webhooks, by the contract.
pub const MANAGEMENT_ORG: &str = "org_00000000000SvixManagement00";
/// The failed attempt after which a message counts as failing, by the contract.
pub const FAILING_AFTER: u32 = 4;

/// The management organisation.
pub fn management_org() -> OrgId {
    MANAGEMENT_ORG.parse().expect("the contract's own id is one")
}

/// The event types that operational webhooks have, and what each tells. The management organisation has
/// them without making them.
pub const EVENT_TYPES: [(&str, &str); 11] = [
    ("background_task.finished", "A background task ended, with or without a result."),
    ("endpoint.created", "An endpoint was created."),
    ("endpoint.deleted", "An endpoint was deleted."),
    (
        "endpoint.disabled",
        "An endpoint was disabled: by its owner, by its own answer, or after it had failed for days.",
    ),
    ("endpoint.enabled", "An endpoint was enabled again."),
    (
        "endpoint.failing",
        "A message to an endpoint that had worked was given up, or had failed for 24 hours; once more a day before such an endpoint is disabled.",
    ),
    (
        "endpoint.recovered",
        "A message arrived at an endpoint that was failing, an hour or more after that was noted.",
    ),
    ("endpoint.updated", "An endpoint's settings, headers or keys were changed."),
    ("message.attempt.exhausted", "The last attempt to deliver a message failed."),
    ("message.attempt.failing", "A message could not be delivered four times; more attempts may follow."),
    ("message.attempt.recovered", "A message that was failing arrived."),
];

/// The event type that came last: an organisation that has it has all.
pub const NEWEST_EVENT_TYPE: &str = "endpoint.recovered";

/// The JSON Schema of what an operational webhook of that event type carries, as an event type keeps schemas: by
/// version.
pub fn schemas(event_type: &str) -> String {
    const TEXT: &str = "string";
    let (required, properties): (&[&str], Vec<(&str, Value)>) = match event_type.rsplit_once('.') {
        Some(("endpoint", event)) => {
            let mut properties = vec![
                ("appId", json!({ "type": TEXT })),
                ("appUid", json!({ "type": TEXT })),
                ("endpointId", json!({ "type": TEXT })),
                ("endpointUid", json!({ "type": TEXT })),
            ];
            let time = || json!({ "type": TEXT, "format": "date-time" });
            match event {
                "failing" => properties.extend([
                    ("failSince", time()),
                    ("disabledFrom", time()),
                    ("reason", json!({ "type": TEXT })),
                ]),
                "disabled" => properties.extend([
                    ("failSince", time()),
                    ("nextProbe", time()),
                    ("reason", json!({ "type": TEXT })),
                ]),
                "enabled" => {
                    properties.extend([("missedSince", time()), ("reason", json!({ "type": TEXT }))]);
                }
                "recovered" => properties.push(("failSince", time())),
                _ => {}
            }
            (&["appId", "endpointId"], properties)
        }
        Some(("message.attempt", _)) => (
            &["appId", "endpointId", "msgId", "lastAttempt"],
            vec![
                ("appId", json!({ "type": TEXT })),
                ("appUid", json!({ "type": TEXT })),
                ("endpointId", json!({ "type": TEXT })),
                ("msgId", json!({ "type": TEXT })),
                ("msgEventId", json!({ "type": TEXT })),
                (
                    "lastAttempt",
                    json!({
                        "type": "object",
                        "required": ["id", "responseStatusCode", "timestamp"],
                        "properties": {
                            "id": { "type": TEXT },
                            "responseStatusCode": { "type": "integer" },
                            "timestamp": { "type": TEXT, "format": "date-time" },
                        },
                    }),
                ),
            ],
        ),
        _ => (
            &["taskId", "task", "status", "data"],
            vec![
                ("taskId", json!({ "type": TEXT })),
                ("task", json!({ "type": TEXT })),
                ("status", json!({ "type": TEXT, "enum": ["finished", "failed"] })),
                ("data", json!({ "type": "object" })),
            ],
        ),
    };
    let properties: serde_json::Map<String, Value> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let data = json!({ "type": "object", "required": required, "properties": properties });
    let of_type = json!({ "const": event_type });
    let schema = json!({
        "type": "object",
        "required": ["type", "data"],
        "properties": { "type": of_type, "data": data },
    });
    json!({ "1": schema }).to_string()
}

/// Whether it is an event type that `org` has without making it.
pub fn is_event_type(org: OrgId, name: &str) -> bool {
    org == management_org() && EVENT_TYPES.iter().any(|(known, _)| *known == name)
}

/// Sends what is told on its way at once. What it cannot send is kept elsewhere, or is sent from there
/// within a minute.
pub trait OperationalEvents: std::fmt::Debug + Send + Sync {
    /// Sends it, or says why it could not.
    fn enqueue<'a>(&'a self, event: &'a Operational)
    -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
}

/// What happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointEvent<'a> {
    /// It was made.
    Created,
    /// Its settings, headers or keys were changed.
    Updated,
    /// It was deleted.
    Deleted,
    /// It was switched off: by its owner or, having failed, by us.
    Disabled(Option<Disabled<'a>>),
    /// It was switched on again: by its owner or, as it answered a probe, by us.
    Enabled(Option<Enabled<'a>>),
    /// Nothing arrives there any more.
    Failing(Warning<'a>),
    /// Having failed since then, it works again.
    Recovered(Timestamp),
}

/// Why we switched an endpoint off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disabled<'a> {
    /// Nothing has arrived since then.
    pub since: Timestamp,
    /// What the last attempt ended with, in words.
    pub reason: &'a str,
    /// When it is probed, if it may come back by itself.
    pub next_probe: Option<Timestamp>,
}

/// Why we switched an endpoint on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enabled<'a> {
    /// When the first message was made that never arrived: from then on they can be recovered and replayed.
    pub missed_since: Timestamp,
    /// How it answered the probe, in words.
    pub reason: &'a str,
}

/// What is told of an endpoint before it is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning<'a> {
    /// The first message was given up then, and none has arrived since.
    pub since: Timestamp,
    /// It is disabled if it still only fails then.
    pub disabled_from: Timestamp,
    /// What the last attempt failed with, in words.
    pub reason: &'a str,
}

impl EndpointEvent<'_> {
    const fn event_type(self) -> &'static str {
        match self {
            Self::Created => "endpoint.created",
            Self::Updated => "endpoint.updated",
            Self::Deleted => "endpoint.deleted",
            Self::Disabled(_) => "endpoint.disabled",
            Self::Enabled(_) => "endpoint.enabled",
            Self::Failing(_) => "endpoint.failing",
            Self::Recovered(_) => "endpoint.recovered",
        }
    }
}

/// What became of a message at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEvent {
    /// It failed for the fourth time.
    Failing,
    /// The last attempt failed.
    Exhausted,
    /// It arrived after all.
    Recovered,
}

impl AttemptEvent {
    const fn event_type(self) -> &'static str {
        match self {
            Self::Failing => "message.attempt.failing",
            Self::Exhausted => "message.attempt.exhausted",
            Self::Recovered => "message.attempt.recovered",
        }
    }
}

#[derive(Serialize)]
struct Text<D> {
    r#type: &'static str,
    data: D,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointData<'a> {
    app_id: AppId,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<&'a str>,
    endpoint_id: EndpointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_probe: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptData<'a> {
    app_id: AppId,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<&'a str>,
    endpoint_id: EndpointId,
    msg_id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_event_id: Option<&'a str>,
    last_attempt: LastAttempt,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastAttempt {
    id: AttemptId,
    response_status_code: u16,
    timestamp: Timestamp,
}

/// Tells what happened to an endpoint, in the message of id `message`.
///
/// # Errors
/// None in practice: the text can always be written.
pub fn endpoint_event(
    app: &Application,
    endpoint: &Endpoint,
    event: EndpointEvent<'_>,
    message: MessageId,
) -> Result<Operational> {
    let mut data = EndpointData {
        app_id: app.id,
        app_uid: app.uid.as_deref(),
        endpoint_id: endpoint.id,
        endpoint_uid: endpoint.settings.uid.as_deref(),
        fail_since: None,
        disabled_from: None,
        next_probe: None,
        missed_since: None,
        reason: None,
    };
    match event {
        EndpointEvent::Failing(warning) => {
            data.fail_since = Some(warning.since);
            data.disabled_from = Some(warning.disabled_from);
            data.reason = Some(warning.reason);
        }
        EndpointEvent::Recovered(since) => data.fail_since = Some(since),
        // Where its owner switched it off, it is since now.
        EndpointEvent::Disabled(None) => data.fail_since = Some(message.time()),
        EndpointEvent::Disabled(Some(why)) => {
            data.fail_since = Some(why.since);
            data.next_probe = why.next_probe;
            data.reason = Some(why.reason);
        }
        EndpointEvent::Enabled(Some(why)) => {
            data.missed_since = Some(why.missed_since);
            data.reason = Some(why.reason);
        }
        EndpointEvent::Enabled(None)
        | EndpointEvent::Created
        | EndpointEvent::Updated
        | EndpointEvent::Deleted => {}
    }
    build_event(app.org, event.event_type(), message, data)
}

/// Tells what became of a message at an endpoint. The id of the message that tells it follows from
/// the attempt: however often it is told, it is one message.
///
/// # Errors
/// None in practice: the text can always be written.
pub fn attempt_event(
    app: &Application,
    attempt: &Attempt,
    event_id: Option<&str>,
    event: AttemptEvent,
    after: Option<MessageId>,
) -> Result<Operational> {
    let data = AttemptData {
        app_id: app.id,
        app_uid: app.uid.as_deref(),
        endpoint_id: attempt.endpoint,
        msg_id: attempt.message,
        msg_event_id: event_id,
        last_attempt: LastAttempt {
            id: attempt.id,
            response_status_code: attempt.code,
            timestamp: attempt.at,
        },
    };
    let message = MessageId::for_event(event.event_type(), attempt.id, attempt.at);
    Ok(Operational { after, ..build_event(app.org, event.event_type(), message, data)? })
}

/// The id of the message that tells that a delivery is failing, after its attempt number [`FAILING_AFTER`],
/// which was made then.
pub fn failing_message(attempt: AttemptId, at: Timestamp) -> MessageId {
    MessageId::for_event(AttemptEvent::Failing.event_type(), attempt, at)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskData {
    task_id: TaskId,
    task: &'static str,
    status: &'static str,
    /// Without the results of statistics: those can be longer than a message.
    data: TaskDone,
}

/// Tells that a task has ended, in the message of id `message`.
///
/// # Errors
/// None in practice: the text can always be written.
pub fn task_event(task: &Task, message: MessageId) -> Result<Operational> {
    let data = TaskData {
        task_id: task.id,
        task: task.kind.text(),
        status: if task.failure.is_some() { "failed" } else { "finished" },
        data: task.into(),
    };
    build_event(task.org, "background_task.finished", message, data)
}

fn build_event(
    org: OrgId,
    event_type: &'static str,
    message: MessageId,
    data: impl Serialize,
) -> Result<Operational> {
    let payload = serde_json::value::to_raw_value(&Text { r#type: event_type, data });
    let payload = payload.map_err(corrupt("an operational event"))?;
    Ok(Operational { org, message, event_type: event_type.to_owned(), payload, after: None })
}

impl From<Operational> for Job {
    fn from(event: Operational) -> Self {
        Self::Operational(event)
    }
}
