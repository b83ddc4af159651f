//! Tasks in the background: what they do, and how far they are.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Authenticated, Caller, Who};
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, Json, ListOut, ListQuery, Order, Path, Query, QueryParams, RawQuery, Registry,
};
use shared::ids::{AppId, EndpointId, Reference, TaskId};
use shared::store::tasks::{Progress, Task, TaskKind};
use shared::{Error, Result};

use crate::Endpoints;

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    to.get("/api/v1/background-task", list, |operation| {
        operation
            .named("v1.background-task.list", "Background Task")
            .summary("List tasks")
            .text("An application's token sees its own application's.")
            .parameter("status", "Only tasks with this status.")
            .parameter(
                "task",
                "Only tasks of this kind; some kinds are known for compatibility and never occur.",
            )
            .returns("A page of tasks.")
    })
    .get("/api/v1/background-task/{task_id}", read, |operation| {
        operation
            .named("v1.background-task.get", "Background Task")
            .summary("Get a task")
            .returns("The task.")
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskOut {
    id: TaskId,
    status: StatusOut,
    task: KindOut,
    /// What it has done so far.
    data: TaskData,
    /// When it last made progress.
    updated_at: Timestamp,
}

/// The task's status.
#[derive(Clone, Copy, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "BackgroundTaskStatus")]
pub enum StatusOut {
    Running,
    Finished,
    // None fails: what cannot be done now is tried again until it can.
    Failed,
}

/// What a task does.
#[derive(Clone, Copy, Serialize, JsonSchema, PartialEq, Eq)]
#[schemars(rename = "BackgroundTaskType")]
pub enum KindOut {
    #[serde(rename = "endpoint.recover")]
    Recover,
    #[serde(rename = "endpoint.replay")]
    ReplayMissing,
    #[serde(rename = "endpoint.bulk-replay")]
    BulkReplay,
    #[serde(rename = "application.purge_content")]
    Erase,
}

/// What a task has done so far.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskData {
    /// The application.
    app_id: AppId,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<EndpointId>,
    /// Messages that were sent to the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_sent: Option<u64>,
    /// Items of a deleted application that were erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    items_erased: Option<u64>,
}

impl From<Task> for TaskOut {
    fn from(task: Task) -> Self {
        let (messages_sent, items_erased) = match task.progress {
            Progress::Replay(replay) => (Some(replay.sent), None),
            Progress::Erase(erasure) => (None, Some(erasure.erased)),
        };
        Self {
            id: task.id,
            status: if task.finished { StatusOut::Finished } else { StatusOut::Running },
            task: match task.kind {
                TaskKind::Recover => KindOut::Recover,
                TaskKind::ReplayMissing => KindOut::ReplayMissing,
                TaskKind::BulkReplay => KindOut::BulkReplay,
                TaskKind::Erase => KindOut::Erase,
            },
            data: TaskData { app_id: task.app, endpoint_id: task.endpoint, messages_sent, items_erased },
            updated_at: task.updated_at,
        }
    }
}

/// Which tasks a list shows.
pub struct Listed {
    query: ListQuery<TaskId>,
    status: Option<StatusOut>,
    kind: Option<Option<TaskKind>>,
}

impl QueryParams for Listed {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        use StatusOut::{Failed, Finished, Running};
        // The contract knows kinds that are not made here; of those there are none.
        const NONE: Option<TaskKind> = None;
        Ok(Self {
            status: query
                .choice("status", &[("running", Running), ("finished", Finished), ("failed", Failed)])?,
            kind: query.choice(
                "task",
                &[
                    ("endpoint.recover", Some(TaskKind::Recover)),
                    ("endpoint.replay", Some(TaskKind::ReplayMissing)),
                    ("endpoint.bulk-replay", Some(TaskKind::BulkReplay)),
                    ("application.purge_content", Some(TaskKind::Erase)),
                    ("application.stats", NONE),
                    ("message.broadcast", NONE),
                    ("sdk.generate", NONE),
                    ("event-type.aggregate", NONE),
                ],
            )?,
            query: query.list(Order::Descending)?,
        })
    }
}

/// Lists an organisation's tasks.
pub async fn list(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Query(Listed { query, status, kind }): Query<Listed>,
) -> ApiResult<Json<ListOut<TaskOut>>> {
    let keep = |task: &Task| {
        let stands = if task.finished { StatusOut::Finished } else { StatusOut::Running };
        caller.may_mean(task.app)
            && status.is_none_or(|status| status == stands)
            && kind.is_none_or(|kind| kind == Some(task.kind))
    };
    state.admit(&caller).await?;
    let page = state.api.store.list_tasks(caller.org(), &query, keep).await?;
    Ok(Json(ListOut::new(page, |task| task.id.to_string(), TaskOut::from)))
}

/// One task.
pub async fn read(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((id,)): Path<(TaskId,)>,
) -> ApiResult<Json<TaskOut>> {
    state.admit(&caller).await?;
    let task = state.api.store.find_task(caller.org(), id).await?;
    let task = task.filter(|task| caller.may_mean(task.app)).ok_or(Error::NotFound("Task"))?;
    Ok(Json(task.into()))
}

impl Endpoints {
    /// Refuses an application's token that ended with others: no application in the path is read, which
    /// would tell.
    async fn admit(&self, caller: &Caller) -> Result<()> {
        if let Who::App { app, .. } = &caller.who {
            self.api.store.application_for(caller, &Reference::Id(*app)).await?;
        }
        Ok(())
    }
}
