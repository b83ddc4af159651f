//! The delivery log: attempts by endpoint, by message, and one by one; how deliveries stand; and what
//! can be done about them by hand.

mod attempted;
mod by_message;
mod filter;
mod out;
mod resend;

use std::collections::HashMap;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use http::StatusCode;
use shared::auth::{Caller, Tokens};
use shared::config::{ConfigError, Env};
use shared::http::{ListOut, Page, Query, json, reference};
use shared::ids::{AppId, AttemptId, EndpointId, MessageId, Reference};
use shared::queue::{QueueUrl, Sqs};
use shared::store::applications::Application;
use shared::store::attempts::{Attempt, ResponseBody};
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::{Api, Error, Platform, Result};

use filter::Filter;
use out::AttemptOut;

/// What this function holds.
#[derive(Clone, Debug)]
struct Attempts {
    api: Api,
    sqs: Sqs,
    deliveries: QueueUrl,
}

impl FromRef<Attempts> for Tokens {
    fn from_ref(attempts: &Attempts) -> Self {
        attempts.api.tokens.clone()
    }
}

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let state = Attempts {
        api: platform.api(env)?,
        sqs: platform.sqs(env)?,
        deliveries: QueueUrl::read(env, "POSTRIDER_DELIVERIES_QUEUE")?,
    };
    let routes = Router::new()
        .route("/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}", get(list_by_endpoint))
        .route("/api/v1/app/{app_id}/attempt/msg/{msg_id}", get(list_by_message))
        .route("/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg", get(attempted::messages))
        // What old SDKs ask for the attempts of a message.
        .route("/api/v1/app/{app_id}/msg/{msg_id}/attempt", get(list_by_message))
        .route("/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", get(read))
        .route("/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", delete(expunge))
        .route("/api/v1/app/{app_id}/msg/{msg_id}/endpoint", get(attempted::destinations))
        .route("/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/attempt", get(list_at_endpoint))
        .route("/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend", post(resend::resend));
    Ok(shared::http::finish(routes, state))
}

impl Attempts {
    async fn application(&self, caller: &Caller, app: &str) -> Result<Application> {
        self.api.store.application_for(caller, &reference(app, "Application")?).await
    }

    /// The message that a path means, by id or by event id.
    async fn message(&self, app: AppId, message: &str) -> Result<Message> {
        self.api.store.message_for(app, &reference(message, "Message")?).await
    }

    /// The attempts of a message, of all its endpoints or of one of them.
    async fn list_by_message(
        &self,
        caller: &Caller,
        (app, message, endpoint): (&str, &str, Option<&str>),
        query: &Query,
    ) -> Result<Response> {
        let with_content = query.flag("with_content", true)?;
        let filter = Filter::read(query)?;
        let wanted = LogQuery::<AttemptId>::read(query, self.api.clock.now())?;
        let endpoint = endpoint.map(|endpoint| reference::<EndpointId>(endpoint, "Endpoint")).transpose()?;
        let app = self.application(caller, app).await?.id;
        let message = self.message(app, message).await?;
        let mut endpoints = self.api.store.destinations(&message).await?.all();
        if let Some(endpoint) = endpoint {
            let id = match endpoint {
                // Also one that was deleted: its attempts are still there.
                Reference::Id(id) if endpoints.contains(&id) => id,
                other => self.api.store.endpoint_for(app, &other).await?.id,
            };
            endpoints.retain(|endpoint| *endpoint == id);
        }
        let endpoints: Vec<EndpointId> = endpoints.into_iter().collect();
        let page = by_message::list(&self.api.store, message.id, &endpoints, &wanted, &filter).await?;
        let page = fit(page, with_content, wanted.list.is_backward());
        let show = |attempt| AttemptOut::new(attempt, with_content);
        Ok(json(StatusCode::OK, &ListOut::new(page, |attempt| attempt.id.to_string(), show)))
    }

    /// The attempt that a path means.
    async fn attempt(&self, caller: &Caller, app: &str, message: &str, attempt: &str) -> Result<Attempt> {
        const NOT_FOUND: Error = Error::NotFound("Attempt");
        let id: AttemptId = attempt.parse().map_err(|_| NOT_FOUND)?;
        let app = self.application(caller, app).await?.id;
        let message = self.message(app, message).await?;
        let endpoints = self.api.store.destinations(&message).await?.all();
        // The id tells which endpoint it is of, so this is one read.
        let endpoint = endpoints.into_iter().find(|endpoint| id.is_of(message.id, *endpoint));
        let (_, found) = self.api.store.delivery(endpoint.ok_or(NOT_FOUND)?, message.id, id).await?;
        found.ok_or(NOT_FOUND)
    }
}

/// What one answer can carry of a page.
fn fit(page: Page<Attempt>, with_content: bool, backward: bool) -> Page<Attempt> {
    page.fit(backward, |attempt| match &attempt.response {
        _ if !with_content => 0,
        ResponseBody::Text(text) => text.len(),
        ResponseBody::Bytes(bytes) => bytes.len() * 4 / 3,
    })
}

async fn list_by_endpoint(
    State(state): State<Attempts>,
    caller: Caller,
    Path((app, endpoint)): Path<(String, String)>,
    query: Query,
) -> Result<Response> {
    let store = &state.api.store;
    let with_content = query.flag("with_content", true)?;
    let with_message = query.flag("with_msg", false)?;
    let filter = Filter::read(&query)?;
    let wanted = LogQuery::<AttemptId>::read(&query, state.api.clock.now())?;
    let endpoint = reference(&endpoint, "Endpoint")?;
    let app = state.application(&caller, &app).await?.id;
    let endpoint = store.endpoint_for(app, &endpoint).await?;
    let page = store.list_attempts(endpoint.id, &wanted, |attempt| filter.keeps(attempt)).await?;
    let page = fit(page, with_content, wanted.list.is_backward());
    let mut messages = HashMap::new();
    if with_message {
        let mut ids: Vec<MessageId> = page.entries.iter().map(|attempt| attempt.message).collect();
        ids.sort();
        ids.dedup();
        messages.extend(store.messages(app, &ids).await?.into_iter().map(|message| (message.id, message)));
    }
    let page = page.try_map(|attempt| {
        let (id, message) = (attempt.id, messages.get(&attempt.message));
        Ok((id, AttemptOut::new(attempt, with_content).of_message(message)?))
    })?;
    Ok(json(StatusCode::OK, &ListOut::new(page, |(id, _)| id.to_string(), |(_, out)| out)))
}

async fn list_by_message(
    State(state): State<Attempts>,
    caller: Caller,
    Path((app, message)): Path<(String, String)>,
    query: Query,
) -> Result<Response> {
    state.list_by_message(&caller, (&app, &message, query.one("endpoint_id")), &query).await
}

async fn list_at_endpoint(
    State(state): State<Attempts>,
    caller: Caller,
    Path((app, message, endpoint)): Path<(String, String, String)>,
    query: Query,
) -> Result<Response> {
    state.list_by_message(&caller, (&app, &message, Some(&endpoint)), &query).await
}

async fn read(
    State(state): State<Attempts>,
    caller: Caller,
    Path((app, message, attempt)): Path<(String, String, String)>,
    query: Query,
) -> Result<Response> {
    query.flag("expanded_statuses", false)?;
    let found = state.attempt(&caller, &app, &message, &attempt).await?;
    Ok(json(StatusCode::OK, &AttemptOut::new(found, true)))
}

/// Takes the text of an endpoint's answer out of the log. Whoever may read it may.
async fn expunge(
    State(state): State<Attempts>,
    caller: Caller,
    Path((app, message, attempt)): Path<(String, String, String)>,
) -> Result<StatusCode> {
    let found = state.attempt(&caller, &app, &message, &attempt).await?;
    let store = &state.api.store;
    if store.expunge_attempt(&caller, found.endpoint, found.message, found.id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::NotFound("Attempt"))
    }
}
