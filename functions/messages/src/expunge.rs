//! Taking payloads out of messages: of one, of several, of all.

use std::collections::BTreeMap;

use axum::extract::State;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;
use shared::Error;
use shared::auth::{Authenticated, Organisation};
use shared::clock::Timestamp;
use shared::http::{
    Accepted, ApiResult, AppRef, Body, BodyType, Fields, Idempotent, Json, MessageRef, NoContent, Once, Path,
    Registry, RequestBody, Text,
};
use shared::ids::{NAME_LENGTH_MAX, Reference};
use shared::store::audit::AuditAction;
use shared::store::tasks::{Expunging, Progress, Task, TaskFilter, TaskKind};
use shared::wire::TaskBegunOut;

use crate::{Messages, TAG};

/// The path of what takes the payloads out of several messages.
pub(crate) const SEVERAL: &str = "/api/v1/app/{app_id}/msg/bulk-expunge";
/// And out of all.
pub(crate) const ALL: &str = "/api/v1/app/{app_id}/msg/expunge-all-contents";

/// Most messages of one request.
const IDS_MAX: usize = 100;
/// How many of them are worked on at the same time.
const AT_ONCE: usize = 16;

/// Adds the operations of this module.
pub(crate) fn operations<R: Registry<Messages>>(to: R) -> R {
    to.delete("/api/v1/app/{app_id}/msg/{msg_id}/content", expunge, |operation| {
        operation
            .named("v1.message.expunge-content", TAG)
            .summary("Expunge a message's payload")
            .text("Its payload is no longer shown or sent.")
            .returns("It was removed.")
    })
    .post(SEVERAL, expunge_several, |operation| {
        operation
            .named("v1.message.bulk-expunge-content", TAG)
            .summary("Expunge the payloads of several messages")
            .text("They are no longer shown or sent once the response is there.")
            .returns("What became of each message.")
    })
    .post(ALL, expunge_all, |operation| {
        operation
            .named("v1.message.expunge-all-contents", TAG)
            .summary("Expunge the payloads of all messages")
            .text(
                "A background task removes the payloads of all messages that the application has by now. Its `data` says how many, as `messagesPurged`.",
            )
            .returns("The task.")
    })
}

/// Takes the text out of a message: it is neither shown nor sent any more. Whoever may read it may.
async fn expunge(
    State(state): State<Messages>,
    Authenticated(caller): Authenticated,
    Path(path): Path<(AppRef, MessageRef)>,
) -> ApiResult<NoContent> {
    let (app, message) = state.find(&caller, &path).await?;
    state.api.store.expunge_message(&message).await?;
    // Jobs in flight carry the text. From now on they read the message instead.
    state.api.store.invalidate(&caller, &app, AuditAction::MessageExpunged, message.id.to_string()).await?;
    Ok(NoContent)
}

/// The messages to take the payloads out of.
struct BulkExpungeIn(Vec<String>);

impl RequestBody for BulkExpungeIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "BulkExpungeContentsIn",
        &[("ids", "The messages' ids or `eventId`s, up to 100.")],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self(fields.list(&["ids"], Text::Name(NAME_LENGTH_MAX), 0, IDS_MAX).value().unwrap_or_default())
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkExpungeContentsOut")]
struct BulkExpungeOut {
    /// What became of each, by the id that the request has.
    results: BTreeMap<String, ExpungeStatus>,
}

/// What became of a message.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "BulkExpungeStatus")]
enum ExpungeStatus {
    Expunged,
    NotFound,
}

async fn expunge_several(
    State(state): State<Messages>,
    Organisation(caller): Organisation,
    Path((app,)): Path<(AppRef,)>,
    idempotent: Idempotent,
    body: Body<BulkExpungeIn>,
) -> ApiResult<Once<Json<BulkExpungeOut>>> {
    let store = &state.api.store;
    idempotent
        .once(&caller, async || {
            let BulkExpungeIn(ids) = body.read()?;
            let app = store.application_for(&caller, &app).await?;
            let done: Vec<_> = stream::iter(ids)
                .map(async |id| {
                    let Some(reference) = Reference::parse(&id) else { return Ok((id, None)) };
                    match store.message_for(app.id, &reference).await {
                        Ok(message) => {
                            store.expunge_message(&message).await?;
                            Ok((id, Some(message.id.to_string())))
                        }
                        Err(Error::NotFound(_)) => Ok((id, None)),
                        Err(error) => Err(error),
                    }
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            let mut expunged: Vec<String> = done.iter().filter_map(|(_, message)| message.clone()).collect();
            expunged.sort_unstable();
            expunged.dedup();
            store.invalidate_each(&caller, &app, AuditAction::MessageExpunged, &expunged).await?;
            let status = |message: Option<_>| match message {
                Some(_) => ExpungeStatus::Expunged,
                None => ExpungeStatus::NotFound,
            };
            let results = done.into_iter().map(|(id, message)| (id, status(message))).collect();
            Ok(Json(BulkExpungeOut { results }))
        })
        .await
}

async fn expunge_all(
    State(state): State<Messages>,
    Organisation(caller): Organisation,
    Path((app,)): Path<(AppRef,)>,
    idempotent: Idempotent,
) -> ApiResult<Once<Accepted<TaskBegunOut>>> {
    let api = &state.api;
    idempotent
        .once(&caller, async || {
            let app = api.store.application_for(&caller, &app).await?;
            let now = api.clock.now();
            let task = Task {
                org: app.org,
                id: api.store.new_id(now),
                kind: TaskKind::ExpungeAll,
                app: Some(app.id),
                endpoint: None,
                since: Timestamp::default(),
                until: now,
                filter: TaskFilter::default(),
                step: 0,
                progress: Progress::Expunge(Expunging::default()),
                finished: false,
                failure: None,
                updated_at: now,
            };
            state.intake.begin_task(&caller, &task).await?;
            Ok(Accepted((&task).into()))
        })
        .await
}
