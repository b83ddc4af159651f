//! Messages: the hot path. Accept, store, hand on to the queue; list, get and expunge.

mod accept;
mod batch;
mod incoming;
mod quota;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Caller, Organisation, Tokens};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env, delivery_timeout};
use shared::http::{
    Body, Document, Fields, IdempotencyKey, ListOut, Query, Registry, Text, idempotent, json, reference,
};
use shared::ids::{AppId, MessageId, NAME_LENGTH_MAX, Reference};
use shared::metrics::Metrics;
use shared::queue::{QueueUrl, Sqs};
use shared::store::applications::Application;
use shared::store::audit::What;
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::trace::Trace;
use shared::wire::{MessageOut, Shown};
use shared::{Api, Error, Platform, Result};
use tracing::Instrument as _;

use incoming::{CHANNEL_LENGTH_MAX, MessageIn, TAG_LENGTH_MAX};
use quota::Quota;
use targets::Targets;

/// What this function holds.
#[derive(Clone, Debug)]
struct Messages {
    api: Api,
    sqs: Sqs,
    deliveries: QueueUrl,
    fan_out: QueueUrl,
    /// How long one delivery can take: repair waits for those that may be running.
    delivery_timeout: Duration,
    targets: Arc<Targets>,
    quota: Arc<Quota>,
    metrics: Arc<Metrics>,
}

impl FromRef<Messages> for Tokens {
    fn from_ref(messages: &Messages) -> Self {
        messages.api.tokens.clone()
    }
}

const BATCH: &str = "/api/v1/app/{app_id}/msg/batch";

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let state = Messages {
        api: platform.api(env)?,
        sqs: platform.sqs(env)?,
        deliveries: QueueUrl::read(env, "POSTRIDER_DELIVERIES_QUEUE")?,
        fan_out: QueueUrl::read(env, "POSTRIDER_FAN_OUT_QUEUE")?,
        delivery_timeout: delivery_timeout(env)?,
        targets: Arc::default(),
        quota: Arc::new(Quota::new(quota::read(env)?)),
        metrics: platform.metrics("messages"),
    };
    let metrics = state.metrics.clone();
    // The path of batches hides a message whose event id is their name.
    let routes = operations(Router::new()).route(BATCH, axum::routing::get(read_called_batch));
    Ok(shared::http::telling(shared::http::finish(routes, state), metrics))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

fn operations<R: Registry<Messages>>(to: R) -> R {
    const TAG: &str = "Message";
    const ALL: &str = "/api/v1/app/{app_id}/msg";
    const ONE: &str = "/api/v1/app/{app_id}/msg/{msg_id}";
    to.get(ALL, list, |operation| {
        operation
            .named("v1.message.list", TAG)
            .summary("List an application's messages")
            .text("Newest first. One list spans at most 90 days; an iterator goes on from there.")
            .query(|query| Wanted::read(query, Timestamp::default()).map(drop))
            .answers::<ListOut<MessageOut>>(200, "A page of messages.")
    })
    .post(ALL, create, |operation| {
        operation
            .named("v1.message.create", TAG)
            .summary("Send a message")
            .text(
                "The answer comes once the message is stored and its deliveries are under way. The payload's text \
                 is sent and signed as it is posted, byte for byte.",
            )
            .query(with_content)
            .body(&MessageIn::BODY)
            .answers::<MessageOut>(202, "The message was accepted.")
    })
    .post(BATCH, batch::create, |operation| {
        operation
            .named("v1.message.create-batch", TAG)
            .summary("Send many messages")
            .text(
                "Up to 100 messages and a megabyte. Each is accepted or refused by itself; the answer has an entry for \
                 each, in their order. With an idempotency key a repeated request sends what was refused, and what \
                 was accepted is not sent again.",
            )
            .query(with_content)
            .body(&batch::BATCH_IN)
            .answers::<batch::BatchOut>(200, "What became of each message.")
    })
    .get(ONE, read, |operation| {
        operation
            .named("v1.message.get", TAG)
            .summary("Get a message")
            .query(with_content)
            .answers::<MessageOut>(200, "The message.")
    })
    .delete("/api/v1/app/{app_id}/msg/{msg_id}/content", expunge, |operation| {
        operation
            .named("v1.message.expunge-content", TAG)
            .summary("Take the payload out of a message")
            .text("It is neither shown nor sent any more.")
            .answers_nothing(204, "It is gone.")
    })
    .post("/api/v1/app/{app_id}/msg/precheck/active", precheck, |operation| {
        operation
            .named("v1.message.precheck", TAG)
            .summary("Ask whether a message would go anywhere")
            .body(&incoming::PRECHECK_IN)
            .answers::<PrecheckOut>(200, "Whether any endpoint wants it.")
    })
}

fn with_content(query: &Query) -> Result<bool> {
    query.flag("with_content", true)
}

/// What a list is asked for.
struct Wanted<'a> {
    with_content: bool,
    channel: Option<&'a str>,
    tag: Option<&'a str>,
    types: Option<Vec<String>>,
    list: LogQuery<MessageId>,
}

impl<'a> Wanted<'a> {
    fn read(query: &'a Query, now: Timestamp) -> Result<Self> {
        Ok(Self {
            with_content: with_content(query)?,
            channel: query.text("channel", Text::Name(CHANNEL_LENGTH_MAX))?,
            tag: query.text("tag", Text::Tag(TAG_LENGTH_MAX))?,
            types: query.texts("event_types", Text::Name(NAME_LENGTH_MAX))?,
            list: LogQuery::read(query, now)?,
        })
    }
}

async fn create(
    State(state): State<Messages>,
    Organisation(caller): Organisation,
    Path(app): Path<String>,
    query: Query,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    let with_content = with_content(&query)?;
    let reference = reference(&app, "Application")?;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*state.api.random)?;
    let message = MessageIn::parse(&body.0, &reference)?;
    let app = match state.application_for(&caller, &reference).await {
        Err(Error::NotFound(what)) => match message.application.clone() {
            Some(new) => match state.api.store.create_application(&caller, new).await {
                // Somebody else made it meanwhile.
                Err(Error::Conflict(_)) => state.application_for(&caller, &reference).await?,
                made => made?.0,
            },
            None => return Err(Error::NotFound(what)),
        },
        found => found?,
    };
    state.quota.pass(&state.api.store, &*state.api.clock, app.id).await?;
    let trace = Trace::of(&headers);
    // In Lambda the runtime's own span says the trace; here, too, where there is no such runtime.
    let span =
        tracing::error_span!("message", trace_id = trace.map(|trace| tracing::field::display(trace.id())));
    let out = state.accept(&app, key, message, with_content, trace).instrument(span).await?;
    Ok(json(StatusCode::ACCEPTED, &out))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MessagePrecheckOut")]
struct PrecheckOut {
    /// At least one endpoint wants it.
    active: bool,
}

/// Whether a message of that type and those channels would go to any endpoint.
async fn precheck(
    State(state): State<Messages>,
    Organisation(caller): Organisation,
    Path(app): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    let api = &state.api;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let mut fields = Fields::parse(&body.0)?;
        let (event_type, channels) = incoming::labels(&mut fields);
        fields.finish()?;
        let app = state.application_for(&caller, &reference(&app, "Application")?).await?;
        let targets = state.targets.of(&api.store, &*api.clock, &app).await?;
        let active = targets.iter().any(|(_, settings)| settings.wants(&event_type, channels.as_deref()));
        Ok(json(StatusCode::OK, &PrecheckOut { active }))
    })
    .await)
}

async fn list(
    State(state): State<Messages>,
    caller: Caller,
    Path(app): Path<String>,
    query: Query,
) -> Result<Response> {
    let store = &state.api.store;
    let Wanted { with_content, channel, tag, types, list } = Wanted::read(&query, state.api.clock.now())?;
    let app = store.application_for(&caller, &reference(&app, "Application")?).await?;
    let page = store
        .list_messages(app.id, &list, |message| {
            let has_channel = |channel: &str| message.channels.iter().flatten().any(|ours| ours == channel);
            let has_tag = |tag: &str| message.tags.iter().flatten().any(|ours| ours == tag);
            channel.is_none_or(has_channel)
                && tag.is_none_or(has_tag)
                && types.as_ref().is_none_or(|types| types.contains(&message.event_type))
        })
        .await?;
    let page = if with_content {
        store.with_payloads(page, list.list.is_backward(), |message| message).await?.try_map(
            |(message, payload)| {
                let shown = payload.as_ref().map_or(Shown::Expired, |text| Shown::Payload(&text.json));
                MessageOut::new(&message, &shown)
            },
        )?
    } else {
        page.try_map(|message| MessageOut::new(&message, &Shown::Withheld))?
    };
    Ok(json(StatusCode::OK, &ListOut::new(page, |out| out.id().to_string(), |out| out)))
}

async fn read(
    State(state): State<Messages>,
    caller: Caller,
    Path((app, message)): Path<(String, String)>,
    query: Query,
) -> Result<Response> {
    let with_content = with_content(&query)?;
    let (_, message) = state.find(&caller, &app, &message).await?;
    Ok(json(StatusCode::OK, &state.show(&message, with_content).await?))
}

/// The message whose event id is `batch`.
async fn read_called_batch(
    state: State<Messages>,
    caller: Caller,
    Path(app): Path<String>,
    query: Query,
) -> Result<Response> {
    read(state, caller, Path((app, "batch".to_owned())), query).await
}

/// Takes the text out of a message: it is neither shown nor sent any more. Whoever may read it may.
async fn expunge(
    State(state): State<Messages>,
    caller: Caller,
    Path((app, message)): Path<(String, String)>,
) -> Result<StatusCode> {
    let (app, message) = state.find(&caller, &app, &message).await?;
    state.api.store.expunge_message(&message).await?;
    // Jobs on their way carry the text. From now on they read the message instead.
    state.api.store.invalidate(&caller, &app, What::MessageExpunged, message.id.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Messages {
    /// An application that a message is for: its endpoints will be wanted, too.
    async fn application_for(&self, caller: &Caller, reference: &Reference<AppId>) -> Result<Application> {
        self.targets.application_for(&self.api.store, &*self.api.clock, caller, reference).await
    }

    async fn find(&self, caller: &Caller, app: &str, message: &str) -> Result<(Application, Message)> {
        let wanted = reference(message, "Message")?;
        let app = self.api.store.application_for(caller, &reference(app, "Application")?).await?;
        let message = self.api.store.message_for(app.id, &wanted).await?;
        Ok((app, message))
    }

    async fn show(&self, message: &Message, with_content: bool) -> Result<MessageOut> {
        if !with_content {
            return MessageOut::new(message, &Shown::Withheld);
        }
        match self.api.store.payload(message).await? {
            Some(payload) => MessageOut::new(message, &Shown::Payload(&payload.json)),
            None => MessageOut::new(message, &Shown::Expired),
        }
    }
}
