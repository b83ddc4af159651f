//! The delivery log: attempts by endpoint, by message, and one by one; how deliveries stand; and what
//! can be done about them by hand.

mod attempted;
mod by_message;
mod filter;
mod headers;
mod out;
mod resend;

use std::collections::HashMap;

use axum::Router;
use axum::extract::{FromRef, State};
use shared::auth::{Authenticated, Caller};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env, HeaderStyle};
use shared::http::{
    ApiResult, AppRef, Document, EndpointRef, Json, ListOut, MessageRef, NoContent, Page, Path, Query,
    QueryParams, RawQuery, Registry, Segment as _,
};
use shared::ids::{AttemptId, EndpointId, MessageId, Reference};
use shared::queue::{Queue, QueueUrl, Sqs};
use shared::store::attempts::{Attempt, ResponseBody};
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::{Api, Error, Platform, Result};

use filter::{ExpandedStatuses, Filter};
use out::AttemptOut;

/// What this function holds.
#[derive(Clone, Debug)]
struct Attempts {
    api: Api,
    sqs: Sqs,
    deliveries: QueueUrl,
    style: HeaderStyle,
}

impl FromRef<Attempts> for Api {
    fn from_ref(attempts: &Attempts) -> Self {
        attempts.api.clone()
    }
}

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let state = Attempts {
        api: Api::connect(env, platform)?,
        sqs: platform.sqs(env)?,
        deliveries: Queue::Deliveries.url(env)?,
        style: HeaderStyle::read(env)?,
    };
    Ok(shared::http::finish(operations(Router::new()), state))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

fn operations<R: Registry<Attempts>>(to: R) -> R {
    const TAG: &str = "Message Attempt";
    const SPAN: &str = "Newest first. One list spans at most 90 days; an iterator goes on from there.";
    const MADE: &str = "\
Newest first by the time at which they were due. `before` and `after` are compared with their `timestamp`, when they \
were made; one that was made more than an hour after it was due is found only by an `after` that is as much earlier. \
One list spans at most 90 days; an iterator goes on from there.";
    const SINCE: &str = "Only attempts that were made then or later.";
    let to = to
        .get("/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}", list_by_endpoint, |operation| {
            operation
                .named("v1.message-attempt.list-by-endpoint", TAG)
                .summary("List attempts to deliver to an endpoint")
                .text(MADE)
                .parameter("after", SINCE)
                .returns("A page of attempts.")
        })
        .get("/api/v1/app/{app_id}/attempt/msg/{msg_id}", list_by_message, |operation| {
            operation
                .named("v1.message-attempt.list-by-msg", TAG)
                .summary("List attempts to deliver a message")
                .text(MADE)
                .parameter("endpoint_id", "Only attempts to deliver to this endpoint.")
                .parameter("after", SINCE)
                .returns("A page of attempts.")
        })
        .get("/api/v1/app/{app_id}/msg/{msg_id}/attempt", list_by_message, |operation| {
            operation
                .named("v1.message-attempt.list", TAG)
                .summary("List attempts to deliver a message")
                .text("Deprecated path of older clients.")
                .deprecated()
                .parameter("endpoint_id", "Only attempts to deliver to this endpoint.")
                .parameter("after", SINCE)
                .returns("A page of attempts.")
        })
        .get(
            "/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/attempt",
            list_at_endpoint,
            |operation| {
                operation
                    .named("v1.message-attempt.list-by-msg-and-endpoint", TAG)
                    .summary("List attempts to deliver a message to an endpoint")
                    .text("Deprecated path of older clients.")
                    .deprecated()
                    .parameter("after", SINCE)
                    .returns("A page of attempts.")
            },
        );
    to.get("/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg", attempted::messages, |operation| {
        operation
            .named("v1.message-attempt.list-attempted-messages", TAG)
            .summary("List an endpoint's messages and their delivery status")
            .text(SPAN)
            .returns("A page of messages.")
    })
    .get("/api/v1/app/{app_id}/msg/{msg_id}/endpoint", attempted::destinations, |operation| {
        operation
            .named("v1.message-attempt.list-attempted-destinations", TAG)
            .summary("List a message's endpoints and its delivery status")
            .returns("A page of endpoints.")
    })
    .get("/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", read, |operation| {
        operation.named("v1.message-attempt.get", TAG).summary("Get an attempt").returns("The attempt.")
    })
    .get("/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/headers", headers::read, |operation| {
        operation
            .named("v1.message-attempt.get-headers", TAG)
            .summary("Get the headers of an attempt")
            .text(headers::ABOUT)
            .returns("Its headers, and the response's.")
    })
    .delete("/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", expunge, |operation| {
        operation
            .named("v1.message-attempt.expunge-content", TAG)
            .summary("Expunge an attempt's response")
            .returns("It was removed.")
    })
    .post("/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend", resend::resend, |operation| {
        operation
            .named("v1.message-attempt.resend", TAG)
            .summary("Resend a message to an endpoint")
            .text("One attempt, which is not retried; to any endpoint of the application that is not disabled.")
            .returns("Accepted; it is queued for delivery.")
    })
}

/// What a list of attempts is asked for.
struct ListParams {
    with_content: bool,
    filter: Filter,
    list: LogQuery<AttemptId>,
}

impl QueryParams for ListParams {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        let (list, made) = query.attempts(now)?;
        let mut filter = Filter::read(query, now)?;
        filter.made = made;
        Ok(Self { with_content: query.flag("with_content", true)?, filter, list })
    }
}

/// Whether each attempt is shown with its message.
struct WithMessage(bool);

impl QueryParams for WithMessage {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        query.flag("with_msg", false).map(Self)
    }
}

/// What a list of a message's attempts is asked for.
struct ListParamsOfMessage {
    endpoint: Option<EndpointRef>,
    wanted: ListParams,
}

impl QueryParams for ListParamsOfMessage {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        let endpoint = query.one("endpoint_id")?;
        let wanted = ListParams::read(query, now)?;
        Ok(Self { endpoint: endpoint.map(EndpointRef::read).transpose()?, wanted })
    }
}

impl Attempts {
    /// The attempts of a message, of all its endpoints or of one of them.
    async fn list_by_message(
        &self,
        caller: &Caller,
        (app, message, endpoint): (AppRef, MessageRef, Option<EndpointRef>),
        ListParams { with_content, filter, list }: ListParams,
    ) -> ApiResult<Json<ListOut<AttemptOut>>> {
        let app = self.api.store.application_for(caller, &app).await?.id;
        let message = self.api.store.message_for(app, &message).await?;
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
        let page = by_message::list(&self.api.store, message.id, &endpoints, &list, &filter).await?;
        let page = fit(page, with_content, list.list.is_backward());
        let show = |attempt| AttemptOut::new(attempt, with_content, filter.statuses);
        Ok(Json(ListOut::new(page, |attempt| attempt.id.to_string(), show)))
    }

    /// The attempt that a path means, its message, and whether the delivery's state holds it.
    async fn attempt(
        &self,
        caller: &Caller,
        (app, message, id): (AppRef, MessageRef, AttemptId),
    ) -> Result<(Message, Attempt, bool)> {
        const NOT_FOUND: Error = Error::NotFound("Attempt");
        let app = self.api.store.application_for(caller, &app).await?.id;
        let message = self.api.store.message_for(app, &message).await?;
        let endpoints = self.api.store.destinations(&message).await?.all();
        // The id tells which endpoint it is of, so this is one read.
        let endpoint = endpoints.into_iter().find(|endpoint| id.is_of(message.id, *endpoint));
        let (state, found) = self.api.store.delivery(endpoint.ok_or(NOT_FOUND)?, message.id, &[id]).await?;
        let found = found.filter(|attempt| self.api.store.is_kept(attempt)).ok_or(NOT_FOUND)?;
        Ok((message, found, state.is_some_and(|state| state.inside(id).is_some())))
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
    Authenticated(caller): Authenticated,
    Query((WithMessage(with_message), wanted)): Query<(WithMessage, ListParams)>,
    Path((app, endpoint)): Path<(AppRef, EndpointRef)>,
) -> ApiResult<Json<ListOut<AttemptOut>>> {
    let store = &state.api.store;
    let ListParams { with_content, filter, list } = wanted;
    let app = store.application_for(&caller, &app).await?.id;
    let endpoint = store.endpoint_for(app, &endpoint).await?;
    let page = store.list_attempts(endpoint.id, &list, |attempt| filter.keeps(attempt)).await?;
    let page = fit(page, with_content, list.list.is_backward());
    let mut messages = HashMap::new();
    if with_message {
        let mut ids: Vec<MessageId> = page.entries.iter().map(|attempt| attempt.message).collect();
        ids.sort();
        ids.dedup();
        messages.extend(store.messages(app, &ids).await?.into_iter().map(|message| (message.id, message)));
    }
    let page = page.try_map(|attempt| {
        let (id, message) = (attempt.id, messages.get(&attempt.message));
        Ok((id, AttemptOut::new(attempt, with_content, filter.statuses).of_message(message)?))
    })?;
    Ok(Json(ListOut::new(page, |(id, _)| id.to_string(), |(_, out)| out)))
}

async fn list_by_message(
    State(state): State<Attempts>,
    Authenticated(caller): Authenticated,
    Query(ListParamsOfMessage { endpoint, wanted }): Query<ListParamsOfMessage>,
    Path((app, message)): Path<(AppRef, MessageRef)>,
) -> ApiResult<Json<ListOut<AttemptOut>>> {
    state.list_by_message(&caller, (app, message, endpoint), wanted).await
}

async fn list_at_endpoint(
    State(state): State<Attempts>,
    Authenticated(caller): Authenticated,
    Query(wanted): Query<ListParams>,
    Path((app, message, endpoint)): Path<(AppRef, MessageRef, EndpointRef)>,
) -> ApiResult<Json<ListOut<AttemptOut>>> {
    state.list_by_message(&caller, (app, message, Some(endpoint)), wanted).await
}

async fn read(
    State(state): State<Attempts>,
    Authenticated(caller): Authenticated,
    Query(statuses): Query<ExpandedStatuses>,
    Path(path): Path<(AppRef, MessageRef, AttemptId)>,
) -> ApiResult<Json<AttemptOut>> {
    let (_, found, _) = state.attempt(&caller, path).await?;
    Ok(Json(AttemptOut::new(found, true, statuses)))
}

/// Takes the text of an endpoint's answer out of the log. Whoever may read it may.
async fn expunge(
    State(state): State<Attempts>,
    Authenticated(caller): Authenticated,
    Path(path): Path<(AppRef, MessageRef, AttemptId)>,
) -> ApiResult<NoContent> {
    let (message, found, inside) = state.attempt(&caller, path).await?;
    let store = &state.api.store;
    if store.expunge_attempt(&caller, message.app, &found, inside).await? {
        Ok(NoContent)
    } else {
        Err(Error::NotFound("Attempt").into())
    }
}
