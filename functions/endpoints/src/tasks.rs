//! Sending again: recovery and replays, which run in the background, and how far they are.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Authenticated, Caller, Who};
use shared::clock::Timestamp;
use shared::error::Chain;
use shared::http::{
    ApiResult, Body, BodyType, Fields, ListOut, ListQuery, Order, RawQuery, Text, idempotency_key,
    idempotent, json,
};
use shared::ids::{AppId, EndpointId, NAME_LENGTH_MAX, Reference, TaskId};
use shared::queue::{Job, Outgoing};
use shared::store::applications::Application;
use shared::store::attempts::Status;
use shared::store::tasks::{Progress, Replay, Task, TaskFilter, TaskKind};
use shared::{Error, Result};

use crate::Endpoints;
use crate::bodies::{CHANNEL_LENGTH_MAX, EVENT_TYPES_MAX};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longest window of a recovery, by the contract.
const RECOVER_WINDOW_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// Longest window of a replay: payloads are not kept longer.
const REPLAY_WINDOW_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
const TAG_LENGTH_MAX: usize = 128;

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

/// What a request asks a task to send.
#[derive(Debug)]
pub struct Wanted {
    since: Timestamp,
    until: Timestamp,
    filter: TaskFilter,
}

const SINCE: (&str, &str) = ("since", "Only messages made at that time or later.");
const UNTIL: (&str, &str) = ("until", "Only messages made up to that time; up to now if absent.");

/// A window to recover, as a body.
pub const RECOVER_IN: BodyType = BodyType {
    name: "RecoverIn",
    read: |fields| drop(parse_window(fields, Timestamp::default(), TaskKind::Recover)),
    optional: false,
    fields: &[SINCE, UNTIL],
    parts: &[],
};

/// A window to send what is missing of, as a body.
pub const REPLAY_IN: BodyType = BodyType {
    name: "ReplayIn",
    read: |fields| drop(parse_window(fields, Timestamp::default(), TaskKind::ReplayMissing)),
    optional: false,
    fields: &[SINCE, UNTIL],
    parts: &[],
};

/// What to send again, as a body.
pub const BULK_REPLAY_IN: BodyType = BodyType {
    name: "BulkReplayIn",
    read: |fields| drop(parse_bulk(fields, Timestamp::default())),
    optional: false,
    fields: &[
        SINCE,
        UNTIL,
        (
            "status",
            "Only messages with this delivery status: 0 delivered, 1 waiting for the next attempt, 2 failed, 3 in flight.",
        ),
        (
            "statusCodeClass",
            "Only messages whose last response was in this class: 200 for 200 to 299; 0 for no response.",
        ),
        ("eventTypes", "Only messages of these event types."),
        ("channel", "Only messages with this channel."),
        ("tag", "Only messages with this tag."),
    ],
    parts: &[],
};

/// Reads the window of a task.
fn window(fields: &mut Fields<'_>, now: Timestamp, longest: Duration) -> (Timestamp, Timestamp) {
    let since = fields.required::<Timestamp>(&["since"]);
    let until = fields.optional::<Timestamp>(&["until"]).unwrap_or(now);
    if let Some(since) = since {
        if since > until || since > now {
            fields.violation("since", "Must not lie after `until`, nor in the future", "value_error");
        } else if until.since(since) > longest {
            let days = longest.as_secs() / DAY.as_secs();
            fields.violation("since", format!("The window must span at most {days} days"), "value_error");
        }
    }
    (since.unwrap_or(now), until)
}

/// Reads a request to recover, or to replay what is missing.
fn parse_window(fields: &mut Fields<'_>, now: Timestamp, kind: TaskKind) -> Wanted {
    let longest = if kind == TaskKind::Recover { RECOVER_WINDOW_MAX } else { REPLAY_WINDOW_MAX };
    let (since, until) = window(fields, now, longest);
    Wanted { since, until, filter: TaskFilter::default() }
}

/// Reads a request to replay in bulk.
fn parse_bulk(fields: &mut Fields<'_>, now: Timestamp) -> Wanted {
    let (since, until) = window(fields, now, REPLAY_WINDOW_MAX);
    let status = fields.number(&["status"], 0..=3).value();
    let class = fields.code(&["statusCodeClass"], &[0, 100, 200, 300, 400, 500]).value();
    let event_types = fields.names(&["eventTypes"], NAME_LENGTH_MAX, 0, EVENT_TYPES_MAX).value();
    let filter = TaskFilter {
        event_types: event_types.filter(|types| !types.is_empty()),
        channel: fields.text(&["channel"], Text::Name(CHANNEL_LENGTH_MAX)).value(),
        tag: fields.text(&["tag"], Text::Tag(TAG_LENGTH_MAX)).value(),
        status: status.and_then(|status| Status::from_number(u8::try_from(status).ok()?)),
        code_class: class.and_then(|class| u16::try_from(class / 100).ok()),
    };
    Wanted { since, until, filter }
}

/// What every request that begins a task comes with.
pub struct Asked {
    pub caller: Caller,
    pub app: String,
    pub endpoint: String,
    pub headers: HeaderMap,
    pub uri: Uri,
    pub body: Body,
}

async fn begin(
    state: &Endpoints,
    asked: Asked,
    kind: TaskKind,
    parse: impl Fn(&mut Fields<'_>, Timestamp) -> Wanted,
) -> Result<Response> {
    let Asked { caller, app, endpoint, headers, uri, body } = asked;
    let api = &state.api;
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let now = api.clock.now();
        let (app, endpoint) = state.find(&caller, &app, &endpoint).await?;
        let mut fields = Fields::parse(&body.0)?;
        let wanted = parse(&mut fields, now);
        fields.finish()?;
        if endpoint.settings.disabled {
            return Err(Error::Conflict(
                "The endpoint is disabled: enable it before you recover or replay messages.".into(),
            ));
        }
        let task = state.task(&app, endpoint.id, kind, wanted, now);
        api.store.create_task(&caller, &task).await?;
        let job = Outgoing::new(&Job::Task(task.next_step()), Duration::ZERO, task.app)?;
        if let Err(error) = state.sqs.send_one(&state.background, job).await {
            // The task has a timer besides: it begins within a minute.
            tracing::warn!(error = %Chain(&error), task = %task.id, "a task begins later");
        }
        Ok(json(StatusCode::ACCEPTED, &TaskOut::from(task)))
    })
    .await)
}

/// How many messages a task would send.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TaskCountOut")]
pub struct CountOut {
    /// The number that was found.
    count: u64,
    /// There may be more: about ten thousand messages are examined.
    more: bool,
}

async fn count(
    state: &Endpoints,
    (caller, app, endpoint): (Caller, String, String),
    body: &Body,
    kind: TaskKind,
    parse: impl Fn(&mut Fields<'_>, Timestamp) -> Wanted,
) -> ApiResult {
    let now = state.api.clock.now();
    let (app, endpoint) = state.find(&caller, &app, &endpoint).await?;
    let mut fields = Fields::parse(&body.0)?;
    let wanted = parse(&mut fields, now);
    fields.finish()?;
    let task = state.task(&app, endpoint.id, kind, wanted, now);
    let (count, more) = state.api.store.count_chosen(&task, &endpoint).await?;
    Ok(json(StatusCode::OK, &CountOut { count, more }))
}

/// Counts what a recovery would send.
pub async fn count_recover(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> ApiResult {
    let kind = TaskKind::Recover;
    count(&state, (caller, app, endpoint), &body, kind, |fields, now| parse_window(fields, now, kind)).await
}

/// Counts what is missing.
pub async fn count_missing(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> ApiResult {
    let kind = TaskKind::ReplayMissing;
    count(&state, (caller, app, endpoint), &body, kind, |fields, now| parse_window(fields, now, kind)).await
}

/// Counts what a replay in bulk would send.
pub async fn count_bulk(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> ApiResult {
    count(&state, (caller, app, endpoint), &body, TaskKind::BulkReplay, parse_bulk).await
}

impl Endpoints {
    /// A task that begins now.
    fn task(
        &self,
        app: &Application,
        endpoint: EndpointId,
        kind: TaskKind,
        wanted: Wanted,
        now: Timestamp,
    ) -> Task {
        Task {
            org: app.org,
            id: TaskId::new(now, &*self.api.random),
            kind,
            app: app.id,
            endpoint: Some(endpoint),
            since: wanted.since,
            until: wanted.until,
            filter: wanted.filter,
            step: 0,
            progress: Progress::Replay(Replay::default()),
            finished: false,
            updated_at: now,
        }
    }
}

/// Sends again what failed and never succeeded.
pub async fn recover(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let asked = Asked { caller, app, endpoint, headers, uri, body };
    let kind = TaskKind::Recover;
    Ok(begin(&state, asked, kind, |fields, now| parse_window(fields, now, kind)).await?)
}

/// Sends what the endpoint wants and was never sent.
pub async fn replay_missing(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let asked = Asked { caller, app, endpoint, headers, uri, body };
    let kind = TaskKind::ReplayMissing;
    Ok(begin(&state, asked, kind, |fields, now| parse_window(fields, now, kind)).await?)
}

/// Sends again what was sent, whatever became of it.
pub async fn bulk_replay(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let asked = Asked { caller, app, endpoint, headers, uri, body };
    Ok(begin(&state, asked, TaskKind::BulkReplay, parse_bulk).await?)
}

/// Which tasks a list shows.
pub struct Listed {
    query: ListQuery<TaskId>,
    status: Option<StatusOut>,
    kind: Option<Option<TaskKind>>,
}

/// Reads which tasks to list.
pub fn wanted(query: &RawQuery) -> Result<Listed> {
    use StatusOut::{Failed, Finished, Running};
    // The contract knows kinds that are not made here; of those there are none.
    const NONE: Option<TaskKind> = None;
    Ok(Listed {
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

/// Lists an organisation's tasks.
pub async fn list(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    query: RawQuery,
) -> ApiResult {
    let Listed { query, status, kind } = wanted(&query)?;
    let keep = |task: &Task| {
        let stands = if task.finished { StatusOut::Finished } else { StatusOut::Running };
        caller.may_mean(task.app)
            && status.is_none_or(|status| status == stands)
            && kind.is_none_or(|kind| kind == Some(task.kind))
    };
    state.admit(&caller).await?;
    let page = state.api.store.list_tasks(caller.org(), &query, keep).await?;
    Ok(json(StatusCode::OK, &ListOut::new(page, |task| task.id.to_string(), TaskOut::from)))
}

/// One task.
pub async fn read(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(task): Path<String>,
) -> ApiResult {
    const NOT_FOUND: Error = Error::NotFound("Task");
    let id: TaskId = task.parse().map_err(|_| NOT_FOUND)?;
    state.admit(&caller).await?;
    let task = state.api.store.find_task(caller.org(), id).await?;
    let task = task.filter(|task| caller.may_mean(task.app)).ok_or(NOT_FOUND)?;
    Ok(json(StatusCode::OK, &TaskOut::from(task)))
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
