//! Messages: the hot path. Accept, store, hand on to the queue; list, get and expunge.

mod accept;
mod incoming;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use shared::auth::{Caller, Tokens};
use shared::config::{ConfigError, Env, delivery_timeout};
use shared::http::{Body, Fields, IdempotencyKey, ListOut, Query, Text, idempotent, json, reference};
use shared::ids::{MessageId, NAME_LENGTH_MAX};
use shared::queue::{QueueUrl, Sqs};
use shared::store::applications::Application;
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::wire::{MessageOut, Shown};
use shared::{Api, Error, Platform, Result};

use incoming::{CHANNEL_LENGTH_MAX, MessageIn, TAG_LENGTH_MAX};
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
}

impl FromRef<Messages> for Tokens {
    fn from_ref(messages: &Messages) -> Self {
        messages.api.tokens.clone()
    }
}

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
    };
    let routes = Router::new()
        .route("/api/v1/app/{app_id}/msg", get(list).post(create))
        .route("/api/v1/app/{app_id}/msg/precheck/active", post(precheck))
        .route("/api/v1/app/{app_id}/msg/{msg_id}", get(read))
        .route("/api/v1/app/{app_id}/msg/{msg_id}/content", delete(expunge));
    Ok(shared::http::finish(routes, state))
}

async fn create(
    State(state): State<Messages>,
    caller: Caller,
    Path(app): Path<String>,
    query: Query,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
    let with_content = query.flag("with_content", true)?;
    let reference = reference(&app, "Application")?;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*state.api.random)?;
    let message = MessageIn::parse(&body.0, &reference)?;
    let app = match state.api.store.application_for(&caller, &reference).await {
        Err(Error::NotFound(what)) => match message.application.clone() {
            Some(new) => match state.api.store.create_application(&caller, new).await {
                // Somebody else made it meanwhile.
                Err(Error::Conflict(_)) => state.api.store.application_for(&caller, &reference).await?,
                made => made?,
            },
            None => return Err(Error::NotFound(what)),
        },
        found => found?,
    };
    let out = state.accept(&app, key, message, with_content).await?;
    Ok(json(StatusCode::ACCEPTED, &out))
}

#[derive(Serialize)]
struct PrecheckOut {
    active: bool,
}

/// Whether a message of that type and those channels would go to any endpoint.
async fn precheck(
    State(state): State<Messages>,
    caller: Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
    let api = &state.api;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let mut fields = Fields::parse(&body.0)?;
        let (event_type, channels) = incoming::labels(&mut fields);
        fields.finish()?;
        let app = api.store.application_for(&caller, &reference(&app, "Application")?).await?;
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
    let with_content = query.flag("with_content", true)?;
    let channel = query.text("channel", Text::Name(CHANNEL_LENGTH_MAX))?;
    let tag = query.text("tag", Text::Tag(TAG_LENGTH_MAX))?;
    let types = query.texts("event_types", Text::Name(NAME_LENGTH_MAX))?;
    let wanted = LogQuery::<MessageId>::read(&query, state.api.clock.now())?;
    let app = store.application_for(&caller, &reference(&app, "Application")?).await?;
    let page = store
        .list_messages(app.id, &wanted, |message| {
            let has_channel = |channel: &str| message.channels.iter().flatten().any(|ours| ours == channel);
            let has_tag = |tag: &str| message.tags.iter().flatten().any(|ours| ours == tag);
            channel.is_none_or(has_channel)
                && tag.is_none_or(has_tag)
                && types.as_ref().is_none_or(|types| types.contains(&message.event_type))
        })
        .await?;
    let page = if with_content {
        store.with_payloads(page, wanted.list.is_backward(), |message| message).await?.try_map(
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
    let with_content = query.flag("with_content", true)?;
    let (_, message) = state.find(&caller, &app, &message).await?;
    Ok(json(StatusCode::OK, &state.show(&message, with_content).await?))
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
    state.api.store.invalidate(&caller, &app, "message.expunged", message.id.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Messages {
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
