//! The delivery log: attempts by endpoint, by message, and one by one.

mod by_message;
mod filter;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use http::StatusCode;
use serde::Serialize;
use shared::auth::Caller;
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env};
use shared::http::{ListOut, Query, json, reference};
use shared::ids::{AppId, AttemptId, EndpointId, MessageId, Reference};
use shared::store::attempts::{Attempt, ResponseBody};
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::{Api, Error, Platform, Result};

use filter::Filter;

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let routes = Router::new()
        .route("/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}", get(list_by_endpoint))
        .route("/api/v1/app/{app_id}/attempt/msg/{msg_id}", get(list_by_message))
        .route("/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", get(read));
    Ok(shared::http::finish(routes, platform.api(env)?))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptOut {
    id: AttemptId,
    endpoint_id: EndpointId,
    msg_id: MessageId,
    url: String,
    response: String,
    response_status_code: u16,
    response_duration_ms: u64,
    status: u8,
    status_text: &'static str,
    trigger_type: u8,
    timestamp: Timestamp,
}

impl AttemptOut {
    fn new(attempt: Attempt, with_content: bool) -> Self {
        let response = match attempt.response {
            _ if !with_content => String::new(),
            ResponseBody::Text(text) => text,
            ResponseBody::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes),
        };
        Self {
            id: attempt.id,
            endpoint_id: attempt.endpoint,
            msg_id: attempt.message,
            url: attempt.url,
            response,
            response_status_code: attempt.code,
            response_duration_ms: attempt.duration_ms,
            status: attempt.status as u8,
            status_text: attempt.status.text(),
            trigger_type: attempt.trigger as u8,
            timestamp: attempt.at,
        }
    }
}

async fn application_of(api: &Api, caller: &Caller, app: &str) -> Result<AppId> {
    Ok(api.store.application_for(caller, &reference(app, "Application")?).await?.id)
}

/// The message that a path means, by id or by event id.
async fn message_of(api: &Api, app: AppId, message: &str) -> Result<Message> {
    const NOT_FOUND: Error = Error::NotFound("Message");
    let id = match reference::<MessageId>(message, "Message")? {
        Reference::Id(id) => id,
        Reference::Uid(event_id) => api.store.message_of_event_id(app, &event_id).await?.ok_or(NOT_FOUND)?,
    };
    api.store.find_message(app, id).await?.ok_or(NOT_FOUND)
}

async fn list_by_endpoint(
    State(api): State<Api>,
    caller: Caller,
    Path((app, endpoint)): Path<(String, String)>,
    query: Query,
) -> Result<Response> {
    let with_content = query.flag("with_content", true)?;
    let filter = Filter::read(&query)?;
    let wanted = LogQuery::<AttemptId>::read(&query, api.clock.now())?;
    let endpoint = reference(&endpoint, "Endpoint")?;
    let app = application_of(&api, &caller, &app).await?;
    let endpoint = api.store.endpoint_for(app, &endpoint).await?;
    let page = api.store.list_attempts(endpoint.id, &wanted, |attempt| filter.keeps(attempt)).await?;
    let show = |attempt| AttemptOut::new(attempt, with_content);
    Ok(json(StatusCode::OK, &ListOut::new(page, |attempt| attempt.id.to_string(), show)))
}

async fn list_by_message(
    State(api): State<Api>,
    caller: Caller,
    Path((app, message)): Path<(String, String)>,
    query: Query,
) -> Result<Response> {
    let with_content = query.flag("with_content", true)?;
    let filter = Filter::read(&query)?;
    let wanted = LogQuery::<AttemptId>::read(&query, api.clock.now())?;
    let app = application_of(&api, &caller, &app).await?;
    let message = message_of(&api, app, &message).await?;
    let endpoints = match query.one("endpoint_id") {
        None => api.store.message_endpoints(&message).await?,
        Some(endpoint) => vec![api.store.endpoint_for(app, &reference(endpoint, "Endpoint")?).await?.id],
    };
    let page = by_message::list(&api.store, message.id, &endpoints, &wanted, &filter).await?;
    let show = |attempt| AttemptOut::new(attempt, with_content);
    Ok(json(StatusCode::OK, &ListOut::new(page, |attempt| attempt.id.to_string(), show)))
}

async fn read(
    State(api): State<Api>,
    caller: Caller,
    Path((app, message, attempt)): Path<(String, String, String)>,
) -> Result<Response> {
    const NOT_FOUND: Error = Error::NotFound("Attempt");
    let id: AttemptId = attempt.parse().map_err(|_| NOT_FOUND)?;
    let app = application_of(&api, &caller, &app).await?;
    let message = message_of(&api, app, &message).await?;
    let endpoints = api.store.message_endpoints(&message).await?;
    // The id tells which endpoint it is of, so this is one read.
    let endpoint = endpoints.into_iter().find(|endpoint| id.is_of(message.id, *endpoint)).ok_or(NOT_FOUND)?;
    let found = api.store.attempts(message.id, &[(endpoint, id)]).await?.pop().ok_or(NOT_FOUND)?;
    Ok(json(StatusCode::OK, &AttemptOut::new(found, true)))
}
