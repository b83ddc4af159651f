//! Tasks: work that continues after its request was answered, and how far it is.

use runtime::clock::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::attempt::Status;
use crate::audit::AuditAction;
use crate::error::{Result, corrupt};
use crate::ids::{AppId, EndpointId, MessageId, OrgId, TaskId};
use crate::job::TaskStep;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// What failed and never succeeded.
    Recover,
    /// What was never sent to the endpoint.
    ReplayMissing,
    /// What was sent to it, whatever became of that.
    BulkReplay,
    /// Nothing: it erases what a deleted application left.
    Erase,
    /// Nothing: it takes the payloads out of all of an application's messages.
    ExpungeAll,
    /// Nothing: it counts each application's messages, once per endpoint.
    AppStats,
    /// Nothing: it finds the event types that each application's endpoints name.
    EventTypeUsage,
}

impl TaskKind {
    const ALL: [Self; 7] = [
        Self::Recover,
        Self::ReplayMissing,
        Self::BulkReplay,
        Self::Erase,
        Self::ExpungeAll,
        Self::AppStats,
        Self::EventTypeUsage,
    ];

    /// The contract's word for it, which two kinds may share.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Recover => "endpoint.recover",
            Self::ReplayMissing => "endpoint.replay",
            Self::BulkReplay => "endpoint.bulk-replay",
            Self::Erase | Self::ExpungeAll => "application.purge_content",
            Self::AppStats => "application.stats",
            Self::EventTypeUsage => "event-type.aggregate",
        }
    }

    /// The word for it on the task's item, which is its own.
    pub const fn stored(self) -> &'static str {
        match self {
            Self::ExpungeAll => "application.expunge",
            _ => self.text(),
        }
    }

    /// What an audit event calls its beginning. An erasure follows from a change that has one, and what only
    /// counts changes nothing.
    pub const fn what(self) -> Option<AuditAction> {
        match self {
            Self::Recover => Some(AuditAction::EndpointRecover),
            Self::ReplayMissing => Some(AuditAction::EndpointReplay),
            Self::BulkReplay => Some(AuditAction::EndpointBulkReplay),
            Self::ExpungeAll => Some(AuditAction::MessagesExpunged),
            Self::Erase | Self::AppStats | Self::EventTypeUsage => None,
        }
    }

    /// The kind that an item's word means.
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.stored() == text)
    }
}

/// Which of the messages a task sends; what is not mentioned does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of one of these event types.
    pub event_types: Option<Vec<String>>,
    /// With this channel.
    pub channel: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Whose delivery stands like this.
    pub status: Option<Status>,
    /// Whose last attempt was answered with a code of this class: its first digit, 0 for no answer.
    pub code_class: Option<u16>,
    /// Of these applications, in the order of their ids; of all of the organisation's if absent.
    pub apps: Option<Vec<AppId>>,
}

/// How far a task is, by what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It sends messages again.
    Replay(Replay),
    /// It erases.
    Erase(Erasure),
    /// It takes payloads out.
    Expunge(Expunging),
    /// It goes through applications.
    Count(Counting),
}

/// How far a task is that takes the payloads out of messages, shard by shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expunging {
    /// The shard that the next step looks at.
    pub shard: u8,
    /// The last message within it that was looked at.
    pub after: Option<MessageId>,
    /// How many payloads were taken out.
    pub expunged: u64,
}

/// How far a task is that goes through applications and keeps a result of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// The last application that is done.
    pub done: Option<AppId>,
    /// The shard of the one after it that the next step looks at: one with very many messages takes several steps.
    pub shard: u8,
    /// The last message within that shard that was looked at.
    pub after: Option<MessageId>,
    /// What was counted of that application so far.
    pub count: u64,
    /// How long the results are so far, in bytes.
    pub length: u64,
}

/// What a task found out about one application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppUsage {
    /// The application.
    pub app: AppId,
    /// The owner's own id for it.
    pub uid: Option<String>,
    /// Its messages, each once per endpoint that it goes to.
    pub destinations: u64,
    /// The event types that its endpoints name.
    pub event_types: Vec<String>,
    /// It has an endpoint that wants all event types.
    pub has_catch_all: bool,
}

/// How far a task is that sends messages again. They are in shards, which it goes through one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The shard that the next step looks at.
    pub shard: u8,
    /// The last message within it that was looked at.
    pub after: Option<MessageId>,
    /// How many messages were sent.
    pub sent: u64,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erasure {
    /// What the next step erases.
    pub stage: Stage,
    /// The last endpoint of the stage that is done with.
    pub after: Option<EndpointId>,
    /// How many items were erased.
    pub erased: u64,
}

/// What an erasure erases, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The endpoints' keys and headers.
    #[default]
    Secrets,
    /// A shard's messages.
    Messages(u8),
    /// The endpoints' logs.
    Logs,
    /// What was recorded in them meanwhile.
    LogsAgain,
    /// The endpoints.
    Endpoints,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The organisation.
    pub org: OrgId,
    /// Its id, which holds the time when it was asked for.
    pub id: TaskId,
    /// What it sends again.
    pub kind: TaskKind,
    /// The application; none where it is about the whole organisation.
    pub app: Option<AppId>,
    /// The endpoint; none where it is about the whole application.
    pub endpoint: Option<EndpointId>,
    /// Only messages made at that time or later …
    pub since: Timestamp,
    /// … and not later than this.
    pub until: Timestamp,
    /// Which of them.
    pub filter: TaskFilter,
    /// The last step that is done.
    pub step: u32,
    /// How far it is: where the next step begins.
    pub progress: Progress,
    /// There is nothing left to do.
    pub finished: bool,
    /// Why it ended without a result.
    pub failure: Option<String>,
    /// When it last made progress.
    pub updated_at: Timestamp,
}

impl Task {
    /// Its next step.
    pub const fn next_step(&self) -> TaskStep {
        TaskStep { org: self.org, task: self.id, step: self.step + 1 }
    }

    /// The application that it is about.
    ///
    /// # Errors
    /// `Corrupt` where it is about the whole organisation.
    pub fn in_app(&self) -> Result<AppId> {
        self.app.ok_or_else(|| corrupt("a task")("it is about no application"))
    }

    /// Whose turn its steps take in a fair queue.
    pub fn group(&self) -> String {
        self.app.map_or_else(|| self.org.to_string(), |app| app.to_string())
    }
}

/// What a task has done so far, as responses and operational events have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskDone {
    /// The application; none where the task is about the whole organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<AppId>,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<EndpointId>,
    /// Messages that were sent to the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_sent: Option<u64>,
    /// Items of a deleted application that were erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    items_erased: Option<u64>,
    /// Messages whose payload was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_purged: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<&Task> for TaskDone {
    fn from(task: &Task) -> Self {
        let mut done = Self {
            app_id: task.app,
            endpoint_id: task.endpoint,
            messages_sent: None,
            items_erased: None,
            messages_purged: None,
            error: task.failure.clone(),
        };
        match &task.progress {
            Progress::Replay(replay) => done.messages_sent = Some(replay.sent),
            Progress::Erase(erasure) => done.items_erased = Some(erasure.erased),
            Progress::Expunge(expunging) => done.messages_purged = Some(expunging.expunged),
            Progress::Count(_) => {}
        }
        done
    }
}
