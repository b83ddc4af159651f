//! What needs somebody: endpoints that fail, and messages that were given up.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::Result;
use shared::auth::{Authenticated, Organisation};
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, AppRef, Ascending, EndpointRef, Json, ListOut, ListQuery, Path, Query, QueryParams, RawQuery,
    Registry, Segment as _,
};
use shared::ids::{AppId, AttemptId, EndpointId, MessageId, Reference};
use shared::store::applications::Profile;
use shared::store::endpoints::Endpoint;
use shared::store::needs::{Failing, FailingKey, ListOf, Undelivered};
use shared::store::shards::LogQuery;

use crate::{Endpoints, TAG};

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const FAILING: &str = "Endpoints at which a message was exhausted and that have not succeeded since; disabled ones as well.";
    const UNDELIVERED: &str =
        "Messages that were exhausted and never delivered since; the latest last attempt comes first.";
    to.get("/api/v1/failing-endpoint", failing_of_all, |operation| {
        operation
            .named("v1.failing-endpoint.list", TAG)
            .summary("List the failing endpoints of all applications")
            .text(FAILING)
            .returns("A page of endpoints.")
    })
    .get("/api/v1/app/{app_id}/failing-endpoint", failing_of_one, |operation| {
        operation
            .named("v1.failing-endpoint.list-by-app", TAG)
            .summary("List an application's failing endpoints")
            .text(FAILING)
            .returns("A page of endpoints.")
    })
    .get("/api/v1/undelivered", undelivered_of_all, |operation| {
        operation
            .named("v1.undelivered.list", "Message Attempt")
            .summary("List the undelivered messages of all applications")
            .text(UNDELIVERED)
            .returns("A page of messages.")
    })
    .get("/api/v1/app/{app_id}/undelivered", undelivered_of_one, |operation| {
        operation
            .named("v1.undelivered.list-by-app", "Message Attempt")
            .summary("List an application's undelivered messages")
            .text(UNDELIVERED)
            .parameter("endpointId", "Only messages to this endpoint.")
            .returns("A page of messages.")
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingEndpointOut {
    /// The application.
    app_id: AppId,
    /// The caller's own ID for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<String>,
    /// Its name.
    app_name: String,
    /// The endpoint.
    endpoint_id: EndpointId,
    /// The owner's own ID for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_uid: Option<String>,
    /// Where webhooks are sent.
    url: String,
    /// Description.
    description: String,
    /// When the first message was exhausted since the last success.
    failing_since: Timestamp,
    /// If true, nothing is delivered to this endpoint.
    disabled: bool,
    /// The HTTP status code of the last attempt that failed for good; absent where there was no response.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    /// Why there was no response.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UndeliveredOut {
    /// The application.
    app_id: AppId,
    /// The endpoint.
    endpoint_id: EndpointId,
    /// The message.
    msg_id: MessageId,
    /// Its event type.
    event_type: String,
    /// Attempts that the schedule made.
    attempts: u32,
    /// When the last of these attempts was made.
    exhausted_at: Timestamp,
    /// The HTTP status code of the last one; 0 without a response.
    response_status_code: u16,
    /// Why there was no response.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<Undelivered> for UndeliveredOut {
    fn from(entry: Undelivered) -> Self {
        Self {
            app_id: entry.app,
            endpoint_id: entry.endpoint,
            msg_id: entry.message,
            event_type: entry.event_type,
            attempts: entry.attempts,
            exhausted_at: entry.at,
            response_status_code: entry.code,
            error: entry.reason,
        }
    }
}

fn shown((note, endpoint, profile): (Failing, Endpoint, Profile)) -> FailingEndpointOut {
    let settings = endpoint.settings;
    FailingEndpointOut {
        app_id: note.key.app,
        app_uid: profile.settings.uid,
        app_name: profile.settings.name,
        endpoint_id: endpoint.id,
        endpoint_uid: settings.uid,
        url: settings.destination.into_address(),
        description: settings.description,
        failing_since: endpoint.failing_since.unwrap_or(note.since),
        disabled: settings.disabled,
        last_status: (note.code > 0).then_some(note.code),
        last_error: note.reason.filter(|reason| !reason.is_empty()),
    }
}

impl Endpoints {
    async fn failing(
        &self,
        of: ListOf,
        query: &ListQuery<FailingKey>,
    ) -> ApiResult<Json<ListOut<FailingEndpointOut>>> {
        let page = self.api.store.list_failing(of, query).await?;
        Ok(Json(ListOut::new(page, |(note, ..)| note.key.to_string(), shown)))
    }

    async fn undelivered(
        &self,
        of: ListOf,
        endpoint: Option<EndpointId>,
        query: &LogQuery<AttemptId>,
    ) -> ApiResult<Json<ListOut<UndeliveredOut>>> {
        let page = self.api.store.list_undelivered(of, endpoint, query).await?;
        Ok(Json(ListOut::new(page, |entry| entry.attempt.to_string(), UndeliveredOut::from)))
    }
}

/// What a list of an application's undelivered messages is asked for.
pub struct ListParams {
    /// The endpoint whose messages alone are meant.
    endpoint: Option<EndpointRef>,
    list: LogQuery<AttemptId>,
}

impl QueryParams for ListParams {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        let endpoint = query.one("endpointId")?;
        let list = query.log(now)?;
        Ok(Self { endpoint: endpoint.map(EndpointRef::read).transpose()?, list })
    }
}

/// `GET /api/v1/failing-endpoint`
pub async fn failing_of_all(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Query(Ascending(query)): Query<Ascending<FailingKey>>,
) -> ApiResult<Json<ListOut<FailingEndpointOut>>> {
    state.failing(ListOf::Organisation(caller.org()), &query).await
}

/// `GET /api/v1/app/{app_id}/failing-endpoint`
pub async fn failing_of_one(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Query(Ascending(query)): Query<Ascending<FailingKey>>,
    Path((app,)): Path<(AppRef,)>,
) -> ApiResult<Json<ListOut<FailingEndpointOut>>> {
    let app = state.api.store.application_for(&caller, &app).await?;
    state.failing(ListOf::Application(app.org, app.id), &query).await
}

/// `GET /api/v1/undelivered`
pub async fn undelivered_of_all(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Query(query): Query<LogQuery<AttemptId>>,
) -> ApiResult<Json<ListOut<UndeliveredOut>>> {
    state.undelivered(ListOf::Organisation(caller.org()), None, &query).await
}

/// `GET /api/v1/app/{app_id}/undelivered`
pub async fn undelivered_of_one(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Query(ListParams { endpoint, list }): Query<ListParams>,
    Path((app,)): Path<(AppRef,)>,
) -> ApiResult<Json<ListOut<UndeliveredOut>>> {
    let app = state.api.store.application_for(&caller, &app).await?;
    let endpoint = match endpoint {
        Some(Reference::Id(id)) => Some(id),
        Some(uid) => Some(state.api.store.endpoint_for(app.id, &uid).await?.id),
        None => None,
    };
    state.undelivered(ListOf::Application(app.org, app.id), endpoint, &list).await
}
