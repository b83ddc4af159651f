//! Applications and messages as requests and answers have them, where several functions do.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::value::RawValue;

use domain::application::{ApplicationSettings, Profile};
use domain::error::{Result, corrupt};
use domain::ids::{AppId, TaskId};
pub use domain::limits::TEXT_LENGTH_MAX;
use domain::message::{Message, NewMessage};
use domain::retry::{Backoff, OwnRetryPolicy};
use domain::task::{Task, TaskKind};
pub use input::{ApplicationIn, ApplicationPatch};
use runtime::clock::Timestamp;

/// An application, as it appears in a response.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationOut {
    id: AppId,
    /// Display name.
    name: String,
    /// The ID that its owner chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// Maximum messages per second to each of its endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u16>,
    /// The same as `rateLimit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u16>,
    /// When failed deliveries are tried again, if not by the installation's schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicyOut>,
    /// Arbitrary key-value metadata.
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Profile> for ApplicationOut {
    fn from(app: Profile) -> Self {
        let ApplicationSettings { name, uid, rate_limit, retry_policy, metadata } = app.settings;
        Self {
            id: app.id,
            name,
            uid,
            rate_limit,
            throttle_rate: rate_limit,
            retry_policy: retry_policy.map(RetryPolicyOut::from),
            metadata,
            created_at: app.created_at,
            updated_at: app.updated_at,
        }
    }
}

/// A task's status.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatusOut {
    /// There is more to do.
    Running,
    /// It is done.
    Finished,
    /// It ended without a result. What cannot be done now is tried again until it can: that is no failure.
    Failed,
}

// Derived, it would be a list of constants with a description each, which clients do not expect.
impl JsonSchema for TaskStatusOut {
    fn schema_name() -> Cow<'static, str> {
        "BackgroundTaskStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The task's status.",
            "enum": ["running", "finished", "failed"],
        })
    }
}

impl From<&Task> for TaskStatusOut {
    fn from(task: &Task) -> Self {
        match task {
            Task { failure: Some(_), .. } => Self::Failed,
            Task { finished: true, .. } => Self::Finished,
            _ => Self::Running,
        }
    }
}

/// What a task does.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub enum TaskKindOut {
    /// It sends again what failed.
    #[serde(rename = "endpoint.recover")]
    Recover,
    /// It sends what was never sent.
    #[serde(rename = "endpoint.replay")]
    ReplayMissing,
    /// It sends again what is asked for.
    #[serde(rename = "endpoint.bulk-replay")]
    BulkReplay,
    /// It takes payloads out, or erases a deleted application.
    #[serde(rename = "application.purge_content")]
    Purge,
    /// It counts applications' messages.
    #[serde(rename = "application.stats")]
    AppStats,
    /// It finds out which event types are in use.
    #[serde(rename = "event-type.aggregate")]
    EventTypeUsage,
}

impl JsonSchema for TaskKindOut {
    fn schema_name() -> Cow<'static, str> {
        "BackgroundTaskType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "What a task does.",
            "enum": [
                "endpoint.recover",
                "endpoint.replay",
                "endpoint.bulk-replay",
                "application.purge_content",
                "application.stats",
                "event-type.aggregate",
            ],
        })
    }
}

impl From<TaskKind> for TaskKindOut {
    fn from(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Recover => Self::Recover,
            TaskKind::ReplayMissing => Self::ReplayMissing,
            TaskKind::BulkReplay => Self::BulkReplay,
            TaskKind::Erase | TaskKind::ExpungeAll => Self::Purge,
            TaskKind::AppStats => Self::AppStats,
            TaskKind::EventTypeUsage => Self::EventTypeUsage,
        }
    }
}

/// A task that was just begun.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BackgroundTaskBegunOut")]
pub struct TaskBegunOut {
    id: TaskId,
    status: TaskStatusOut,
    task: TaskKindOut,
    /// When it last made progress.
    updated_at: Timestamp,
}

impl From<&Task> for TaskBegunOut {
    fn from(task: &Task) -> Self {
        Self { id: task.id, status: task.into(), task: task.kind.into(), updated_at: task.updated_at }
    }
}

/// A retry policy, as it appears in a response; a request takes it back as it is.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicyOut {
    /// The seconds to wait before each retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<Vec<u32>>,
    /// How many attempts there are, with the first; the waits between them double.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u8>,
    /// The wait before the first retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    min_seconds: Option<u32>,
    /// No wait is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_seconds: Option<u32>,
    /// Percent by which a wait is randomly longer or shorter.
    jitter: u8,
}

impl From<OwnRetryPolicy> for RetryPolicyOut {
    fn from(OwnRetryPolicy { backoff, jitter }: OwnRetryPolicy) -> Self {
        match backoff {
            Backoff::Schedule { schedule } => Self { schedule: Some(schedule), jitter, ..Self::default() },
            Backoff::Doubling { attempts, min_seconds, max_seconds } => Self {
                attempts: Some(attempts),
                min_seconds: Some(min_seconds),
                max_seconds: Some(max_seconds),
                jitter,
                ..Self::default()
            },
        }
    }
}

/// A message, as it appears in a response.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageOut {
    id: domain::ids::MessageId,
    event_type: String,
    /// The id that the sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// Endpoints with channels get it only if they have one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    /// Tags that lists can be filtered by.
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    /// The payload; empty if it was not requested, `{"expired": true}` if it was removed.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    payload: Box<RawValue>,
    /// When it was accepted.
    timestamp: Timestamp,
    /// When its first attempts are due, if it was not delivered at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<Timestamp>,
}

/// How much of a message's text an answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// All of it.
    Payload(&'a str),
    /// None, because the caller does not want it.
    Withheld,
    /// None, because it is gone.
    Expired,
}

impl Shown<'_> {
    fn json(&self) -> Result<Box<RawValue>> {
        let text = match self {
            Self::Payload(text) => text,
            Self::Withheld => "{}",
            Self::Expired => r#"{"expired":true}"#,
        };
        RawValue::from_string(text.to_owned()).map_err(corrupt("a payload"))
    }
}

impl MessageOut {
    /// The message's id.
    pub const fn id(&self) -> domain::ids::MessageId {
        self.id
    }

    /// The answer for a message that was just stored.
    ///
    /// # Errors
    /// `Corrupt` if its text is no JSON.
    pub fn accepted(message: &NewMessage, with_content: bool) -> Result<Self> {
        let shown = if with_content { Shown::Payload(&message.payload.json) } else { Shown::Withheld };
        Ok(Self {
            id: message.id,
            event_type: message.labels.event_type.clone(),
            event_id: message.event_id.clone(),
            channels: message.labels.channels.clone(),
            tags: message.labels.tags.clone(),
            payload: shown.json()?,
            timestamp: message.id.time(),
            deliver_at: message.deliver_at,
        })
    }

    /// The answer for `message`.
    ///
    /// # Errors
    /// `Corrupt` if the stored text is no JSON.
    pub fn new(message: &Message, shown: &Shown<'_>) -> Result<Self> {
        Ok(Self {
            id: message.id,
            event_type: message.labels.event_type.clone(),
            event_id: message.event_id.clone(),
            channels: message.labels.channels.clone(),
            tags: message.labels.tags.clone(),
            payload: shown.json()?,
            timestamp: message.id.time(),
            deliver_at: message.deliver_at,
        })
    }
}
