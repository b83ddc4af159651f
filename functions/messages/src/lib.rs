//! Messages: the hot path. Accept, store, hand on to the queue; list, get and expunge.
//!
//! What accepts them is [`shared::intake`].

mod batch;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use futures_util::future::{OptionFuture, join};
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Authenticated, Caller, Organisation};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env};
use shared::http::{
    ApiResult, Body, Document, Fields, ListOut, RawQuery, Registry, Text, idempotency_key, idempotent, json,
    reference,
};
use shared::ids::{MessageId, NAME_LENGTH_MAX};
use shared::input::BodyType;
use shared::intake::{Accepted, CHANNEL_LENGTH_MAX, Intake, MessageIn, TAG_LENGTH_MAX, labels};
use shared::store::applications::Application;
use shared::store::audit::What;
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::trace::Trace;
use shared::wire::{MessageOut, Shown};
use shared::{Api, Platform, Result};
use tracing::Instrument as _;

/// What this function holds.
#[derive(Clone, Debug)]
struct Messages {
    api: Api,
    intake: Intake,
}

impl FromRef<Messages> for Api {
    fn from_ref(messages: &Messages) -> Self {
        messages.api.clone()
    }
}

const BATCH: &str = "/api/v1/app/{app_id}/msg/batch";

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let api = Api::connect(env, platform)?;
    let intake = Intake::connect(env, platform, api.store.clone(), "messages")?.limited(env)?;
    let metrics = intake.metrics().clone();
    let state = Messages { api, intake };
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
                "The response is sent once the message is stored and its deliveries are queued. The payload is signed and sent as it was posted, byte for byte.",
            )
            .query(with_content)
            .body(&MessageIn::BODY)
            .answers::<MessageOut>(202, "The message was accepted.")
    })
    .post(BATCH, batch::create, |operation| {
        operation
            .named("v1.message.create-batch", TAG)
            .summary("Send a batch of messages")
            .text(
                "Up to 100 messages and a megabyte. Each is accepted or refused by itself; the response has an entry per message, in their order. With an idempotency key, a repeated request posts only what was refused.",
            )
            .query(with_content)
            .body(&batch::BATCH_IN)
            .answers::<batch::BatchOut>(200, "The result for each message.")
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
            .summary("Expunge a message's payload")
            .text("Its payload is no longer shown or sent.")
            .answers_nothing(204, "It was removed.")
    })
    .post("/api/v1/app/{app_id}/msg/precheck/active", precheck, |operation| {
        operation
            .named("v1.message.precheck", TAG)
            .summary("Check whether a message would reach an endpoint")
            .body(&PRECHECK_IN)
            .answers::<PrecheckOut>(200, "Whether any endpoint would receive it.")
    })
}

fn with_content(query: &RawQuery) -> Result<bool> {
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
    fn read(query: &'a RawQuery, now: Timestamp) -> Result<Self> {
        Ok(Self {
            with_content: with_content(query)?,
            channel: query.text("channel", Text::Name(CHANNEL_LENGTH_MAX))?,
            tag: query.text("tag", Text::Tag(TAG_LENGTH_MAX))?,
            types: query.texts("event_types", Text::Name(NAME_LENGTH_MAX))?,
            list: query.log(now)?,
        })
    }
}

async fn create(
    State(state): State<Messages>,
    Organisation(caller): Organisation,
    Path(app): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let with_content = with_content(&query)?;
    let reference = reference(&app, "Application")?;
    let key = idempotency_key(&headers, &caller, &uri, &*state.api.random)?;
    let message = MessageIn::parse(&body.0, &reference, state.api.clock.now())?;
    let intake = &state.intake;
    let admitted = async {
        let app = intake.application(&caller, &reference, message.application.as_ref()).await?;
        intake.admit(&app).await.map(|()| app)
    };
    // SDKs send a key with each message: claiming it makes nobody wait.
    let claimed = OptionFuture::from(key.map(|key| intake.claim(key)));
    let (app, claimed) = match join(admitted, claimed).await {
        (Ok(app), claimed) => (app, claimed.transpose()?),
        (Err(refused), claimed) => {
            if let Some(Ok(claimed)) = claimed {
                intake.let_go(&claimed).await;
            }
            return Err(refused.into());
        }
    };
    let trace = Trace::of(&headers);
    // In Lambda the runtime's own span says the trace; here, too, where there is no such runtime.
    let span =
        tracing::error_span!("message", trace_id = trace.map(|trace| tracing::field::display(trace.id())));
    let accepted = intake.accept(&app, claimed, message, trace).instrument(span).await?;
    Ok(json(StatusCode::ACCEPTED, &state.answer(&accepted, with_content).await?))
}

/// What a message would be, as a body.
const PRECHECK_IN: BodyType = BodyType {
    name: "MessagePrecheckIn",
    read: |fields| drop(labels(fields)),
    optional: false,
    fields: &[
        ("eventType", "The event type that it would have."),
        ("channels", "The channels that it would have."),
    ],
    parts: &[],
};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MessagePrecheckOut")]
struct PrecheckOut {
    /// At least one endpoint would receive it.
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
) -> ApiResult {
    let api = &state.api;
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let mut fields = Fields::parse(&body.0)?;
        let labels = labels(&mut fields);
        fields.finish()?;
        let app = state.intake.application(&caller, &reference(&app, "Application")?, None).await?;
        let active = state.intake.is_wanted(&app, &labels).await?;
        Ok(json(StatusCode::OK, &PrecheckOut { active }))
    })
    .await)
}

async fn list(
    State(state): State<Messages>,
    Authenticated(caller): Authenticated,
    Path(app): Path<String>,
    query: RawQuery,
) -> ApiResult {
    let store = &state.api.store;
    let Wanted { with_content, channel, tag, types, list } = Wanted::read(&query, state.api.clock.now())?;
    let app = store.application_for(&caller, &reference(&app, "Application")?).await?;
    let page = store
        .list_messages(app.id, &list, |message| {
            let labels = &message.labels;
            channel.is_none_or(|channel| labels.has_channel(channel))
                && tag.is_none_or(|tag| labels.has_tag(tag))
                && types.as_ref().is_none_or(|types| types.contains(&labels.event_type))
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
    Authenticated(caller): Authenticated,
    Path((app, message)): Path<(String, String)>,
    query: RawQuery,
) -> ApiResult {
    let with_content = with_content(&query)?;
    let (_, message) = state.find(&caller, &app, &message).await?;
    Ok(json(StatusCode::OK, &state.show(&message, with_content).await?))
}

/// The message whose event id is `batch`.
async fn read_called_batch(
    state: State<Messages>,
    caller: Authenticated,
    Path(app): Path<String>,
    query: RawQuery,
) -> ApiResult {
    read(state, caller, Path((app, "batch".to_owned())), query).await
}

/// Takes the text out of a message: it is neither shown nor sent any more. Whoever may read it may.
async fn expunge(
    State(state): State<Messages>,
    Authenticated(caller): Authenticated,
    Path((app, message)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let (app, message) = state.find(&caller, &app, &message).await?;
    state.api.store.expunge_message(&message).await?;
    // Jobs on their way carry the text. From now on they read the message instead.
    state.api.store.invalidate(&caller, &app, What::MessageExpunged, message.id.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Messages {
    async fn find(&self, caller: &Caller, app: &str, message: &str) -> Result<(Application, Message)> {
        let wanted = reference(message, "Message")?;
        let app = self.api.store.application_for(caller, &reference(app, "Application")?).await?;
        let message = self.api.store.message_for(app.id, &wanted).await?;
        Ok((app, message))
    }

    /// The answer to whoever posted a message.
    async fn answer(&self, accepted: &Accepted, with_content: bool) -> Result<MessageOut> {
        match accepted {
            Accepted::Before(message) => self.show(message, with_content).await,
            Accepted::Now(new) => MessageOut::accepted(new, with_content),
        }
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
