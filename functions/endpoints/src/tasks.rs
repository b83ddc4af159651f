//! Tasks in the background: what they do, and how far they are.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Authenticated, Caller, Who};
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, Json, ListOut, ListQuery, Order, Path, Query, QueryParams, RawQuery, Registry,
};
use shared::ids::{AppId, Reference, TaskId};
use shared::store::tasks::{AppUsage, Progress, Task, TaskDone, TaskKind};
use shared::wire::{TaskKindOut, TaskStatusOut};
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
    status: TaskStatusOut,
    task: TaskKindOut,
    /// What it has done so far.
    data: TaskData,
    /// When it last made progress.
    updated_at: Timestamp,
}

/// What a task has done so far.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskData {
    #[serde(flatten)]
    done: TaskDone,
    /// Of `application.stats`, once it is finished: each application. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_stats: Option<Vec<AppStatsOut>>,
    /// Of `event-type.aggregate`, once it is finished: each application. Lists leave it out.
    #[serde(rename = "event_types", skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<EventTypeUsageOut>>,
}

/// How many messages were sent for one application.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AppUsageStats")]
struct AppStatsOut {
    /// The application.
    app_id: AppId,
    /// The ID that its owner chose.
    app_uid: Option<String>,
    /// Its messages, each once per endpoint that it was sent to.
    message_destinations: u64,
}

/// Which event types an application's endpoints are subscribed to.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EventTypeUsage")]
struct EventTypeUsageOut {
    /// The application.
    app_id: AppId,
    /// The event types that its endpoints name, disabled endpoints included.
    explicitly_subscribed_event_types: Vec<String>,
    /// It has an endpoint that is subscribed to all event types.
    has_catch_all_endpoint: bool,
}

impl From<Task> for TaskOut {
    fn from(task: Task) -> Self {
        let data = TaskData { done: (&task).into(), app_stats: None, event_types: None };
        Self {
            id: task.id,
            status: (&task).into(),
            task: task.kind.into(),
            data,
            updated_at: task.updated_at,
        }
    }
}

impl TaskOut {
    /// This, with what the task found out.
    fn with_results(mut self, kind: TaskKind, results: Vec<AppUsage>) -> Self {
        if kind == TaskKind::EventTypeUsage {
            let usage = |found: AppUsage| EventTypeUsageOut {
                app_id: found.app,
                explicitly_subscribed_event_types: found.event_types,
                has_catch_all_endpoint: found.has_catch_all,
            };
            self.data.event_types = Some(results.into_iter().map(usage).collect());
        } else {
            let stats = |found: AppUsage| AppStatsOut {
                app_id: found.app,
                app_uid: found.uid,
                message_destinations: found.destinations,
            };
            self.data.app_stats = Some(results.into_iter().map(stats).collect());
        }
        self
    }
}

/// Which tasks a list shows.
pub struct Listed {
    query: ListQuery<TaskId>,
    status: Option<TaskStatusOut>,
    kind: Option<Option<TaskKindOut>>,
}

impl QueryParams for Listed {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        use TaskStatusOut::{Failed, Finished, Running};
        // The contract knows kinds that are not made here; of those there are none.
        const NONE: Option<TaskKindOut> = None;
        Ok(Self {
            status: query
                .choice("status", &[("running", Running), ("finished", Finished), ("failed", Failed)])?,
            kind: query.choice(
                "task",
                &[
                    ("endpoint.recover", Some(TaskKindOut::Recover)),
                    ("endpoint.replay", Some(TaskKindOut::ReplayMissing)),
                    ("endpoint.bulk-replay", Some(TaskKindOut::BulkReplay)),
                    ("application.purge_content", Some(TaskKindOut::Purge)),
                    ("application.stats", Some(TaskKindOut::AppStats)),
                    ("message.broadcast", NONE),
                    ("sdk.generate", NONE),
                    ("event-type.aggregate", Some(TaskKindOut::EventTypeUsage)),
                ],
            )?,
            query: query.list(Order::Descending)?,
        })
    }
}

/// Whether a caller may see a task: an application's token sees its own application's.
fn may_see(caller: &Caller, task: &Task) -> bool {
    task.app.map_or_else(|| caller.organisation_only().is_ok(), |app| caller.may_mean(app))
}

/// Lists an organisation's tasks.
pub async fn list(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Query(Listed { query, status, kind }): Query<Listed>,
) -> ApiResult<Json<ListOut<TaskOut>>> {
    let keep = |task: &Task| {
        may_see(&caller, task)
            && status.is_none_or(|status| status == task.into())
            && kind.is_none_or(|kind| kind == Some(task.kind.into()))
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
    let task = task.filter(|task| may_see(&caller, task)).ok_or(Error::NotFound("Task"))?;
    let has_results = matches!(task.progress, Progress::Count(_)) && task.finished && task.failure.is_none();
    let (id, kind, out) = (task.id, task.kind, TaskOut::from(task));
    if !has_results {
        return Ok(Json(out));
    }
    Ok(Json(out.with_results(kind, state.api.store.task_results(id).await?)))
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
