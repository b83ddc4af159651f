//! Recovery and replays, which run in the background: beginning one, and counting what it would send.

use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Authenticated;
use shared::clock::{DAY, Timestamp};
use shared::http::{
    Accepted, ApiResult, Body, BodyType, Fields, Idempotent, Json, Once, Path, Registry, RequestBody, Text,
};
use shared::ids::{EndpointId, NAME_LENGTH_MAX};
use shared::limits::{CHANNEL_LENGTH_MAX, TAG_LENGTH_MAX};
use shared::store::applications::Application;
use shared::store::attempts::Status;
use shared::store::tasks::{Progress, Replay, Task, TaskFilter, TaskKind};
use shared::{Error, Result};

use crate::bodies::EVENT_TYPES_MAX;
use crate::tasks::TaskOut;
use crate::{EndpointPath, Endpoints, TAG};

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const COUNT: &str = "Nothing is sent. The body is that of the operation itself. About ten thousand messages are examined; `more` says that there may be more.";
    to.post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover", begin::<RecoverIn>, |operation| {
        operation
            .named("v1.endpoint.recover", TAG)
            .summary("Recover failed messages")
            .text(
                "Every message of the window that was exhausted and never delivered is sent once more, in the background. The response names the task.",
            )
            .returns("The task.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing", begin::<ReplayIn>, |operation| {
        operation
            .named("v1.endpoint.replay-missing", TAG)
            .summary("Replay missing messages")
            .text("Every message of the window that matches the endpoint and was never attempted there.")
            .returns("The task.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/bulk-replay", begin::<BulkReplayIn>, |operation| {
        operation
            .named("v1.endpoint.bulk-replay", TAG)
            .summary("Bulk replay")
            .text("Delivered or not, unless the request says which messages are meant.")
            .returns("The task.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover/count", count::<RecoverIn>, |operation| {
        operation
            .named("v1.endpoint.count-recover", TAG)
            .summary("Count what a recovery would send")
            .text(COUNT)
            .returns("The number.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing/count", count::<ReplayIn>, |operation| {
        operation
            .named("v1.endpoint.count-replay-missing", TAG)
            .summary("Count what replaying missing messages would send")
            .text(COUNT)
            .returns("The number.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/bulk-replay/count", count::<BulkReplayIn>, |operation| {
        operation
            .named("v1.endpoint.count-bulk-replay", TAG)
            .summary("Count what a bulk replay would send")
            .text(COUNT)
            .returns("The number.")
    })
}

/// Longest window of a recovery, by the contract.
const RECOVER_WINDOW_MAX: Duration = DAY.saturating_mul(14);
/// Longest window of a replay: payloads are not kept longer.
const REPLAY_WINDOW_MAX: Duration = DAY.saturating_mul(90);

/// What a request asks a task to send.
#[derive(Debug)]
pub struct TaskRequest {
    since: Timestamp,
    until: Timestamp,
    filter: TaskFilter,
}

const SINCE: (&str, &str) = ("since", "Only messages made at that time or later.");
const UNTIL: (&str, &str) = ("until", "Only messages made up to that time; up to now if absent.");

/// A request that begins a task, or counts what one would send. It depends on the time.
pub trait TaskIn: RequestBody<With = Timestamp> + Send + 'static {
    /// The kind of the task.
    const KIND: TaskKind;

    /// What it asks for.
    fn request(self) -> TaskRequest;
}

/// A window to recover.
pub struct RecoverIn(TaskRequest);

impl RequestBody for RecoverIn {
    type With = Timestamp;
    const TYPE: BodyType = BodyType::of::<Self>("RecoverIn", &[SINCE, UNTIL]);

    fn read(fields: &mut Fields<'_>, now: Timestamp) -> Self {
        Self(window(fields, now, RECOVER_WINDOW_MAX))
    }
}

impl TaskIn for RecoverIn {
    const KIND: TaskKind = TaskKind::Recover;

    fn request(self) -> TaskRequest {
        self.0
    }
}

/// A window to send what is missing of.
pub struct ReplayIn(TaskRequest);

impl RequestBody for ReplayIn {
    type With = Timestamp;
    const TYPE: BodyType = BodyType::of::<Self>("ReplayIn", &[SINCE, UNTIL]);

    fn read(fields: &mut Fields<'_>, now: Timestamp) -> Self {
        Self(window(fields, now, REPLAY_WINDOW_MAX))
    }
}

impl TaskIn for ReplayIn {
    const KIND: TaskKind = TaskKind::ReplayMissing;

    fn request(self) -> TaskRequest {
        self.0
    }
}

/// What to send again.
pub struct BulkReplayIn(TaskRequest);

impl RequestBody for BulkReplayIn {
    type With = Timestamp;
    const TYPE: BodyType = BodyType::of::<Self>(
        "BulkReplayIn",
        &[
            SINCE,
            UNTIL,
            (
                "status",
                "Only messages with this delivery status: 0 delivered, 1 those of 3 that wait for a retry, 2 failed, 3 not ended, as lists show it.",
            ),
            (
                "statusCodeClass",
                "Only messages whose last response was in this class: 200 for 200 to 299; 0 for no response.",
            ),
            ("eventTypes", "Only messages of these event types."),
            ("channel", "Only messages with this channel."),
            ("tag", "Only messages with this tag."),
        ],
    );

    fn read(fields: &mut Fields<'_>, now: Timestamp) -> Self {
        let request = window(fields, now, REPLAY_WINDOW_MAX);
        let status = fields.number(&["status"], 0..=3).value();
        let class = fields.code(&["statusCodeClass"], &[0, 100, 200, 300, 400, 500]).value();
        let event_types = fields.names(&["eventTypes"], NAME_LENGTH_MAX, 0, EVENT_TYPES_MAX).value();
        let filter = TaskFilter {
            event_types: event_types.filter(|types| !types.is_empty()),
            channel: fields.text(&["channel"], Text::Name(CHANNEL_LENGTH_MAX)).value(),
            tag: fields.text(&["tag"], Text::Tag(TAG_LENGTH_MAX)).value(),
            status: status.and_then(|status| Status::from_number(u8::try_from(status).ok()?)),
            code_class: class.and_then(|class| u16::try_from(class / 100).ok()),
            apps: None,
        };
        Self(TaskRequest { filter, ..request })
    }
}

impl TaskIn for BulkReplayIn {
    const KIND: TaskKind = TaskKind::BulkReplay;

    fn request(self) -> TaskRequest {
        self.0
    }
}

/// Reads the window of a task.
fn window(fields: &mut Fields<'_>, now: Timestamp, longest: Duration) -> TaskRequest {
    let since = fields.required::<Timestamp>(&["since"]);
    let until = fields.optional::<Timestamp>(&["until"]).unwrap_or(now);
    if let Some(since) = since {
        if since > until || since > now {
            fields.violation("since", "Must not lie after `until`, nor in the future");
        } else if until.since(since) > longest {
            let days = longest.as_secs() / DAY.as_secs();
            fields.violation("since", format!("The window must span at most {days} days"));
        }
    }
    TaskRequest { since: since.unwrap_or(now), until, filter: TaskFilter::default() }
}

/// Begins a task.
pub async fn begin<T: TaskIn>(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
    body: Body<T>,
) -> ApiResult<Once<Accepted<TaskOut>>> {
    let api = &state.api;
    idempotent
        .once(&caller, async || {
            let now = api.clock.now();
            let (app, endpoint) = state.find(&caller, &path).await?;
            let request = body.read_with(now)?.request();
            endpoint.settings.destination.check_sent_to()?;
            if endpoint.settings.disabled {
                return Err(Error::Conflict(
                    "The endpoint is disabled: enable it before you recover or replay messages.".into(),
                ));
            }
            let task = state.task(&app, endpoint.id, T::KIND, request, now)?;
            state.intake.begin_task(&caller, &task).await?;
            Ok(Accepted(task.into()))
        })
        .await
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

/// Counts what a task would send.
pub async fn count<T: TaskIn>(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    body: Body<T>,
) -> ApiResult<Json<CountOut>> {
    let now = state.api.clock.now();
    let (app, endpoint) = state.find(&caller, &path).await?;
    let request = body.read_with(now)?.request();
    let task = state.task(&app, endpoint.id, T::KIND, request, now)?;
    let (count, more) = state.api.store.count_chosen(&task, &endpoint).await?;
    Ok(Json(CountOut { count, more }))
}

impl Endpoints {
    /// A task that begins now.
    ///
    /// # Errors
    /// `Invalid` if it is to find what was never sent among messages whose attempts have left the log.
    fn task(
        &self,
        app: &Application,
        endpoint: EndpointId,
        kind: TaskKind,
        request: TaskRequest,
        now: Timestamp,
    ) -> Result<Task> {
        let retention = self.api.store.retention();
        let (days, kept) = (retention.attempt_days(), retention.attempts_since(now));
        if kind == TaskKind::ReplayMissing && days < retention.message_days() && request.since < kept {
            let msg = format!(
                "Must not lie more than {days} days back: attempts are kept that long, and of older messages nobody knows whether they were sent"
            );
            return Err(Error::violation(["body", "since"], msg));
        }
        Ok(Task {
            org: app.org,
            id: self.api.store.new_id(now),
            kind,
            app: Some(app.id),
            endpoint: Some(endpoint),
            since: request.since,
            until: request.until,
            filter: request.filter,
            step: 0,
            progress: Progress::Replay(Replay::default()),
            finished: false,
            failure: None,
            updated_at: now,
        })
    }
}
