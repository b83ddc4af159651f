//! Messages: the hot path. Accept, store, hand on to the queue; list, get and expunge.
//!
//! What accepts them is [`shared::intake`].

mod batch;
mod expunge;
mod injected_bug;
mod lease;
mod poll;

pub use injected_bug::InjectedBug;
#[cfg(feature = "injected-bugs")]
pub use injected_bug::broken_router;

use axum::Router;
use axum::extract::{FromRef, State};
use futures_util::future::{OptionFuture, join};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Authenticated, Caller, Organisation};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env};
use shared::http::{
    Accepted as AcceptedOut, ApiResult, AppRef, Body, BodyType, Document, Fields, Idempotent, Json, ListOut,
    MessageRef, Once, Path, Query, QueryParams, RawQuery, Registry, RequestBody, Segment as _, Text,
};
use shared::ids::{MessageId, NAME_LENGTH_MAX};
use shared::intake::{Accepted, Intake, MessageIn, labels};
use shared::labels::Labels;
use shared::limits::{CHANNEL_LENGTH_MAX, TAG_LENGTH_MAX};
use shared::store::applications::Application;
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
    bug: Option<InjectedBug>,
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
    router_of(env, platform, None)
}

fn router_of(env: &Env<'_>, platform: &Platform, bug: Option<InjectedBug>) -> Result<Router, ConfigError> {
    let api = Api::connect(env, platform)?;
    let intake = Intake::connect(env, platform, api.store.clone(), "messages")?.limited(env)?.counting();
    let metrics = intake.metrics().clone();
    let state = Messages { api, intake, bug };
    // These paths hide messages whose event id is their name.
    let mut routes = operations(Router::new());
    for path in [BATCH, expunge::SEVERAL, expunge::ALL] {
        let name = path.rsplit('/').next().unwrap_or_default();
        let read_it = async move |state, caller, query, Path((app,)): Path<(AppRef,)>| {
            read(state, caller, query, Path((app, MessageRef::read(name)?))).await
        };
        routes = routes.route(path, axum::routing::get(read_it));
    }
    Ok(shared::http::flush_metrics_layer(shared::http::finish(routes, state), metrics))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

const TAG: &str = "Message";

fn operations<R: Registry<Messages>>(to: R) -> R {
    lease::operations(poll::operations(of_messages(to)))
}

fn of_messages<R: Registry<Messages>>(to: R) -> R {
    const ALL: &str = "/api/v1/app/{app_id}/msg";
    const ONE: &str = "/api/v1/app/{app_id}/msg/{msg_id}";
    expunge::operations(to).get(ALL, list, |operation| {
        operation
            .named("v1.message.list", TAG)
            .summary("List an application's messages")
            .text("Newest first. One list spans at most 90 days; an iterator goes on from there.")
            .returns("A page of messages.")
    })
    .post(ALL, create, |operation| {
        operation
            .named("v1.message.create", TAG)
            .summary("Send a message")
            .text(
                "The response is sent once the message is stored and its deliveries are queued. The payload is signed and sent as it was posted, byte for byte.",
            )
            .returns("The message was accepted.")
    })
    .post(BATCH, batch::create, |operation| {
        operation
            .named("v1.message.create-batch", TAG)
            .summary("Send a batch of messages")
            .text(
                "Up to 100 messages and a megabyte. Each is accepted or refused by itself; the response has an entry per message, in their order. With an idempotency key, a repeated request posts only what was refused.",
            )
            .returns("The result for each message.")
    })
    .get(ONE, read, |operation| {
        operation.named("v1.message.get", TAG).summary("Get a message").returns("The message.")
    })
    .post("/api/v1/app/{app_id}/msg/precheck/active", precheck, |operation| {
        operation
            .named("v1.message.precheck", TAG)
            .summary("Check whether a message would reach an endpoint")
            .returns("Whether any endpoint would receive it.")
    })
}

/// Whether a message is shown with its payload.
struct WithContent(bool);

impl QueryParams for WithContent {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        query.flag("with_content", true).map(Self)
    }
}

/// What a list is asked for.
struct ListParams {
    channel: Option<String>,
    tag: Option<String>,
    types: Option<Vec<String>>,
    list: LogQuery<MessageId>,
}

impl QueryParams for ListParams {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        Ok(Self {
            channel: query.text("channel", Text::Name(CHANNEL_LENGTH_MAX))?.map(str::to_owned),
            tag: query.text("tag", Text::Tag(TAG_LENGTH_MAX))?.map(str::to_owned),
            types: query.texts("event_types", Text::Name(NAME_LENGTH_MAX))?,
            list: query.log(now)?,
        })
    }
}

async fn create(
    State(state): State<Messages>,
    Organisation(caller): Organisation,
    Query(WithContent(with_content)): Query<WithContent>,
    Path((reference,)): Path<(AppRef,)>,
    idempotent: Idempotent,
    headers: HeaderMap,
    body: Body<MessageIn>,
) -> ApiResult<AcceptedOut<MessageOut>> {
    let key = idempotent.key(&caller)?;
    let now = state.api.clock.now();
    let message = body.read_and(|message, fields| message.check(fields, &reference, now))?;
    let intake = &state.intake;
    let admitted = async {
        let app = intake.application(&caller, &reference, message.application.as_ref()).await?;
        intake.admit(&app, &message).await.map(|()| app)
    };
    let id = intake.next_id();
    // SDKs send a key with each message: claiming it makes nobody wait.
    let claimed = OptionFuture::from(key.map(|key| intake.claim(key, id)));
    let (app, claimed) = match join(admitted, claimed).await {
        (Ok(app), claimed) => (app, claimed.transpose()?),
        (Err(refused), claimed) => {
            if let Some(Ok(claimed)) = claimed {
                intake.release_key(&claimed).await;
            }
            return Err(refused.into());
        }
    };
    let trace = Trace::of(&headers);
    // In Lambda the runtime's own span says the trace; here, too, where there is no such runtime.
    let span =
        tracing::error_span!("message", trace_id = trace.map(|trace| tracing::field::display(trace.id())));
    let accepted = intake.accept(&app, (id, claimed), message, trace).instrument(span).await?;
    Ok(AcceptedOut(state.answer(&accepted, with_content).await?))
}

/// What a message would have.
struct PrecheckIn(Labels);

impl RequestBody for PrecheckIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "MessagePrecheckIn",
        &[
            ("eventType", "The event type that it would have."),
            ("channels", "The channels that it would have."),
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self(labels(fields))
    }
}

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
    Path((app,)): Path<(AppRef,)>,
    idempotent: Idempotent,
    body: Body<PrecheckIn>,
) -> ApiResult<Once<Json<PrecheckOut>>> {
    idempotent
        .once(&caller, async || {
            let PrecheckIn(labels) = body.read()?;
            let app = state.intake.application(&caller, &app, None).await?;
            let active = state.intake.is_wanted(&app, &labels).await?;
            Ok(Json(PrecheckOut { active }))
        })
        .await
}

async fn list(
    State(state): State<Messages>,
    Authenticated(caller): Authenticated,
    Query((WithContent(with_content), wanted)): Query<(WithContent, ListParams)>,
    Path((app,)): Path<(AppRef,)>,
) -> ApiResult<Json<ListOut<MessageOut>>> {
    let store = &state.api.store;
    let ListParams { channel, tag, types, list } = wanted;
    let app = store.application_for(&caller, &app).await?;
    let page = store
        .list_messages(app.id, &list, |message| {
            let labels = &message.labels;
            channel.as_ref().is_none_or(|channel| labels.has_channel(channel))
                && tag.as_ref().is_none_or(|tag| labels.has_tag(tag))
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
    Ok(Json(ListOut::new(page, |out| out.id().to_string(), |out| out)))
}

async fn read(
    State(state): State<Messages>,
    Authenticated(caller): Authenticated,
    Query(WithContent(with_content)): Query<WithContent>,
    Path(path): Path<(AppRef, MessageRef)>,
) -> ApiResult<Json<MessageOut>> {
    let (_, message) = state.find(&caller, &path).await?;
    Ok(Json(state.show(&message, with_content).await?))
}

impl Messages {
    async fn find(
        &self,
        caller: &Caller,
        (app, message): &(AppRef, MessageRef),
    ) -> Result<(Application, Message)> {
        let app = self.api.store.application_for(caller, app).await?;
        let message = self.api.store.message_for(app.id, message).await?;
        Ok((app, message))
    }

    /// The answer to whoever posted a message.
    async fn answer(&self, accepted: &Accepted, with_content: bool) -> Result<MessageOut> {
        match accepted {
            Accepted::Existing(message) => self.show(message, with_content).await,
            Accepted::New(new) => MessageOut::accepted(new, with_content),
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
