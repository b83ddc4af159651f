//! Messages: the hot path. Accept, store, hand on to the queue; list and get.

mod accept;
mod incoming;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::future::try_join_all;
use http::{HeaderMap, StatusCode, Uri};
use shared::auth::{Caller, Tokens};
use shared::config::{ConfigError, Env, delivery_timeout};
use shared::http::{Body, IdempotencyKey, ListOut, Page, Query, json, reference};
use shared::ids::{MessageId, Reference};
use shared::queue::{QueueUrl, Sqs};
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::wire::{MessageOut, Shown};
use shared::{Api, Error, Platform, Result};

use incoming::MessageIn;
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
        .route("/api/v1/app/{app_id}/msg/{msg_id}", get(read));
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

async fn list(
    State(state): State<Messages>,
    caller: Caller,
    Path(app): Path<String>,
    query: Query,
) -> Result<Response> {
    let with_content = query.flag("with_content", true)?;
    let (channel, tag) = (query.one("channel"), query.one("tag"));
    let types = query.many("event_types");
    let wanted = LogQuery::<MessageId>::read(&query, state.api.clock.now())?;
    let app = state.api.store.application_for(&caller, &reference(&app, "Application")?).await?;
    let page = state
        .api
        .store
        .list_messages(app.id, &wanted, |message| {
            let has_channel = |channel: &str| message.channels.iter().flatten().any(|ours| ours == channel);
            let has_tag = |tag: &str| message.tags.iter().flatten().any(|ours| ours == tag);
            channel.is_none_or(has_channel)
                && tag.is_none_or(has_tag)
                && types.as_ref().is_none_or(|types| types.contains(&message.event_type))
        })
        .await?;
    let shown = page.entries.iter().map(|message| state.show(message, with_content));
    let entries = page.entries.iter().map(|message| message.id).zip(try_join_all(shown).await?).collect();
    let page = Page { entries, done: page.done, resume: page.resume };
    Ok(json(StatusCode::OK, &ListOut::new(page, |(id, _)| id.to_string(), |(_, out)| out)))
}

async fn read(
    State(state): State<Messages>,
    caller: Caller,
    Path((app, message)): Path<(String, String)>,
    query: Query,
) -> Result<Response> {
    const NOT_FOUND: Error = Error::NotFound("Message");
    let with_content = query.flag("with_content", true)?;
    let app = state.api.store.application_for(&caller, &reference(&app, "Application")?).await?;
    let id = match reference::<MessageId>(&message, "Message")? {
        Reference::Id(id) => id,
        Reference::Uid(event_id) => {
            state.api.store.message_of_event_id(app.id, &event_id).await?.ok_or(NOT_FOUND)?
        }
    };
    let message = state.api.store.find_message(app.id, id).await?.ok_or(NOT_FOUND)?;
    Ok(json(StatusCode::OK, &state.show(&message, with_content).await?))
}

impl Messages {
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
