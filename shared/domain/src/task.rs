//! Tasks: work in the background that sends messages to an endpoint again, and how far it is.

use runtime::clock::Timestamp;

use crate::attempt::Status;
use crate::audit::AuditAction;
use crate::ids::{AppId, EndpointId, MessageId, OrgId, TaskId};
use crate::job::TaskStep;

/// What a task does: which messages it sends again.
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
}

impl TaskKind {
    const ALL: [Self; 4] = [Self::Recover, Self::ReplayMissing, Self::BulkReplay, Self::Erase];

    /// The contract's word for it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Recover => "endpoint.recover",
            Self::ReplayMissing => "endpoint.replay",
            Self::BulkReplay => "endpoint.bulk-replay",
            Self::Erase => "application.purge_content",
        }
    }

    /// What an audit event calls its beginning. An erasure follows from a change that has one.
    pub const fn what(self) -> Option<AuditAction> {
        match self {
            Self::Recover => Some(AuditAction::EndpointRecover),
            Self::ReplayMissing => Some(AuditAction::EndpointReplay),
            Self::BulkReplay => Some(AuditAction::EndpointBulkReplay),
            Self::Erase => None,
        }
    }

    /// The kind that the contract's word means.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
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
}

/// How far a task is, by what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It sends messages again.
    Replay(Replay),
    /// It erases.
    Erase(Erasure),
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
    /// The application.
    pub app: AppId,
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
    /// When it last made progress.
    pub updated_at: Timestamp,
}

impl Task {
    /// Its next step.
    pub const fn next_step(&self) -> TaskStep {
        TaskStep { org: self.org, task: self.id, step: self.step + 1 }
    }
}
