//! Ordered endpoints: the fields of their settings, how they stand, and what people can do about it.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Authenticated, Caller};
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, Body, BodyType, Field, Fields, Idempotent, Json, NoContent, Once, Path, Registry, RequestBody,
    Rule,
};
use shared::ids::MessageId;
use shared::order::{Fifo, Place, Waiting, next_of};
use shared::store::applications::Application;
use shared::store::attempts::{self, Status};
use shared::store::audit::AuditAction;
use shared::store::endpoints::{Endpoint, EndpointSettings};
use shared::store::order::OrderCommand;
use shared::together::{BATCH_SIZE_MAX, BATCH_WAIT_MAX, Batching};
use shared::{Error, Result};

use crate::{EndpointPath, Endpoints};

const TAG: &str = "Ordered delivery";
/// Keys that wait and are shown, those that wait longest first.
const SHOWN_MAX: usize = 20;

/// The fields of an endpoint's settings.
pub const FIFO: [(&str, &str); 4] = [
    (
        "fifo",
        "If true, messages arrive in the order in which they were accepted: each after the one before it has.",
    ),
    (
        "fifoKey",
        "With `fifo`: a JSON pointer to what in a payload names its key, such as `/customer/id`. Messages of different keys do not wait for each other; those in which there is nothing share one key. If absent, all are of one key.",
    ),
    (
        "batchSize",
        "With `fifo`: so many consecutive messages of a key are one webhook, at most and up to 1 MB. From 2 on its body is a list of objects with `id`, `eventType`, `timestamp` and `payload`. Only to URLs and functions of Lambda.",
    ),
    (
        "maxWaitSecs",
        "With `batchSize`: for how many seconds after its first message was accepted a webhook waits while it has fewer.",
    ),
];

/// What a body says of it. `before`: what it is so far, which stays if a PATCH says nothing.
pub fn read(fields: &mut Fields<'_>, before: Option<Fifo>) -> Option<Fifo> {
    let was = before.is_some();
    let fifo = fields.take::<bool>(&["fifo"]).over(Some(was)).unwrap_or(false);
    let stated = fields.take::<String>(&["fifoKey"]);
    if let Some(key) = stated.value_ref() {
        if !Fifo::is_key(key) {
            fields.violation("fifoKey", "Must be a JSON pointer of at most 256 bytes, such as /customer/id");
        } else if !fifo {
            fields.violation("fifoKey", "Means nothing without `fifo`: set that to true, or leave this out");
        }
    }
    let was = before.as_ref().map(|before| before.batching).unwrap_or_default();
    let batching = batching(fields, was, fifo);
    let key = stated.over(before.and_then(|before| before.key));
    fifo.then_some(Fifo { key, batching })
}

/// How many messages one webhook has. What means nothing is refused, but for the values that say so.
fn batching(fields: &mut Fields<'_>, was: Batching, fifo: bool) -> Batching {
    const SIZE: &str = "batchSize";
    const WAIT: &str = "maxWaitSecs";
    let none = Batching::default();
    let size = whole(fields, &[SIZE], 1, BATCH_SIZE_MAX);
    let wait = whole(fields, &[WAIT], 0, BATCH_WAIT_MAX.as_secs() as u16);
    let (stated, waits) = (size.value_ref().copied(), wait.value_ref().copied());
    let size = size.over(Some(was.size)).unwrap_or(none.size);
    if !fifo && stated.is_some_and(|size| size > none.size) {
        fields.violation(SIZE, "Means nothing without `fifo`: set that to true, or leave this out");
    }
    if size == none.size {
        if waits.is_some_and(|wait| wait > none.wait) {
            fields.violation(WAIT, "Means nothing with one message in each webhook: set `batchSize` to 2 or more, or leave this out");
        }
        return none;
    }
    Batching { size, wait: wait.over(Some(was.wait)).unwrap_or(none.wait) }
}

fn whole(fields: &mut Fields<'_>, names: &'static [&'static str], min: u16, max: u16) -> Field<u16> {
    let given = fields.take::<u64>(names);
    fields.rule(names[0], Rule::Range(min.into(), max.into()));
    let fits = |given: u64| u16::try_from(given).ok().filter(|given| (min..=max).contains(given));
    match given {
        Field::Absent => Field::Absent,
        Field::Null => Field::Null,
        Field::Value(given) => fits(given).map_or_else(
            || {
                fields.violation(names[0], format!("Must be a whole number from {min} to {max}"));
                Field::Absent
            },
            Field::Value,
        ),
    }
}

/// Refuses webhooks of several messages where there are none.
pub fn refuse_if_no_lists(fields: &mut Fields<'_>, settings: &EndpointSettings) {
    const NAME: &str = "batchSize";
    let destination = &settings.destination;
    if settings.batching().is_some() && !destination.takes_lists() && !fields.has_violation(NAME) {
        let kind = destination.kind();
        let msg = format!(
            "Only a URL or a function of Lambda gets several messages at once, and this is `{kind}`: only 1 is possible"
        );
        fields.violation(NAME, msg);
    }
}

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const ORDER: &str = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/order";
    to.get(ORDER, status, |operation| {
        operation
            .named("v1.endpoint.get-order", TAG)
            .summary("Get how an ordered endpoint stands")
            .text("Whether it is sent to, which keys wait, and which message holds each of them up.")
            .returns("How it stands.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/order/pause", pause, |operation| {
        operation
            .named("v1.endpoint.pause-order", TAG)
            .summary("Pause an ordered endpoint")
            .text("Nothing is sent to it until it is resumed; what is accepted meanwhile waits in its place. Attempts that have begun end.")
            .returns("It is paused.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/order/resume", resume, |operation| {
        operation
            .named("v1.endpoint.resume-order", TAG)
            .summary("Resume an ordered endpoint")
            .text("It goes on where it was paused.")
            .returns("It is resumed.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/order/retry", retry, |operation| {
        operation
            .named("v1.endpoint.retry-order", TAG)
            .summary("Retry what holds up an ordered endpoint")
            .text("The message at the head of each key that waits is tried at once, and not when its next attempt is due.")
            .returns("It is tried.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/order/skip", skip, |operation| {
        operation
            .named("v1.endpoint.skip-order", TAG)
            .summary("Skip a message that holds up an ordered endpoint")
            .text("The message is given up, and its key goes on with the next.")
            .returns("It is skipped.")
    })
}

/// A key that waits.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OrderKeyOut")]
struct KeyOut {
    /// Names the key without saying it: a hash of what the payload has.
    key: String,
    /// The message that it waits for.
    msg_id: MessageId,
    /// When that is tried next.
    next_attempt: Timestamp,
}

/// How an ordered endpoint stands.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OrderOut")]
struct OrderOut {
    /// `enabled`, `paused`, `disabled`, or `retrying` if a key waits for a message that failed.
    status: &'static str,
    /// Why nothing is sent, or a key waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// When the first of the keys that wait goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<Timestamp>,
    /// How many keys wait.
    waiting_keys: usize,
    /// The keys that wait longest, at most 20.
    waiting: Vec<KeyOut>,
}

struct SkipIn {
    message: Option<MessageId>,
}

impl RequestBody for SkipIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "SkipOrderIn",
        &[("msgId", "The message, which has to be one that a key waits for.")],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let text = fields.required::<String>(&["msgId"]);
        let message = text.as_deref().and_then(|text| text.parse().ok());
        if text.is_some() && message.is_none() {
            fields.violation("msgId", "Must be the ID of a message");
        }
        Self { message }
    }
}

impl Endpoints {
    /// The endpoint that a path means, which is an ordered one, and its place.
    async fn ordered(&self, caller: &Caller, path: &EndpointPath) -> Result<(Application, Endpoint, Place)> {
        let (app, endpoint) = self.find(caller, path).await?;
        let place = match &endpoint.settings.fifo {
            Some(_) => self.api.store.place_in_order(endpoint.id).await?,
            None => None,
        };
        let none = || Error::Conflict("The endpoint is in no order: set `fifo` to true first.".into());
        let place = place.ok_or_else(none)?;
        Ok((app, endpoint, place))
    }

    async fn command(
        &self,
        caller: &Caller,
        path: &EndpointPath,
        command: OrderCommand,
        what: AuditAction,
    ) -> Result<NoContent> {
        let (app, endpoint, place) = self.ordered(caller, path).await?;
        // It is as it is to be. What waits is tried at once by `retry`, for which other rights are needed.
        if command == OrderCommand::Resume && !place.paused {
            return Ok(NoContent);
        }
        self.api.store.command_place(caller, &app, endpoint.id, command, what).await?;
        if command != OrderCommand::Pause {
            self.intake.advance(&app, endpoint.id).await;
        }
        Ok(NoContent)
    }
}

async fn status(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
) -> ApiResult<Json<OrderOut>> {
    let (app, endpoint, place) = state.ordered(&caller, &path).await?;
    let (status, reason) = match (&endpoint.settings, &place) {
        (settings, _) if settings.disabled => ("disabled", Some("The endpoint is disabled: enable it.")),
        (_, place) if place.paused => ("paused", Some("Somebody paused it: resume it.")),
        (_, place) if place.waiting.is_empty() => ("enabled", None),
        (_, place) if place.waiting.values().all(Waiting::gathers) => {
            ("enabled", Some("Messages wait for others that are sent with them."))
        }
        _ => {
            ("retrying", Some("A message was not taken, or waits for the rate limit: its key waits for it."))
        }
    };
    let heads = state.api.store.heads_of_order(app.id, endpoint.id, &place.waiting, SHOWN_MAX).await?;
    // What is due at once has no time.
    let now = state.api.clock.now();
    let shown = heads.into_iter().filter_map(|(key, msg_id)| {
        let next_attempt = place.waiting.get(&key)?.next.max(now);
        Some(KeyOut { key: key.to_string(), msg_id, next_attempt })
    });
    Ok(Json(OrderOut {
        status,
        reason,
        next_attempt: next_of(&place.waiting).map(|next| next.max(now)),
        waiting_keys: place.waiting.len(),
        waiting: shown.collect(),
    }))
}

async fn pause(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
) -> ApiResult<Once<NoContent>> {
    let what = AuditAction::OrderPaused;
    idempotent
        .once(&caller, async || Ok(state.command(&caller, &path, OrderCommand::Pause, what).await?))
        .await
}

async fn resume(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
) -> ApiResult<Once<NoContent>> {
    let what = AuditAction::OrderResumed;
    idempotent
        .once(&caller, async || Ok(state.command(&caller, &path, OrderCommand::Resume, what).await?))
        .await
}

async fn retry(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
) -> ApiResult<Once<NoContent>> {
    let what = AuditAction::OrderRetried;
    idempotent
        .once(&caller, async || Ok(state.command(&caller, &path, OrderCommand::Retry, what).await?))
        .await
}

async fn skip(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
    body: Body<SkipIn>,
) -> ApiResult<Once<NoContent>> {
    idempotent
        .once(&caller, async || {
            let SkipIn { message } = body.read()?;
            let (_, endpoint, _) = state.ordered(&caller, &path).await?;
            let store = &state.api.store;
            store
                .retry_on_conflict(async || {
                    let states = match message {
                        Some(message) => store.states(message, &[endpoint.id], true).await?,
                        None => Vec::new(),
                    };
                    // What never failed, or has arrived, holds nothing up.
                    let holds =
                        |state: &attempts::State| state.status == Status::Pending && state.number() > 0;
                    let held = states.into_iter().find(holds).ok_or_else(|| {
                        let text = "No key waits for this message, or it was not tried yet: only what failed is skipped.";
                        Error::Conflict(text.into())
                    })?;
                    Ok(store.skip_in_order(&held).await?.then_some(()))
                })
                .await?;
            state.command(&caller, &path, OrderCommand::Look, AuditAction::OrderSkipped).await
        })
        .await
}
