//! Who changed what: the audit events of an organisation, for itself.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::Result;
use shared::auth::Organisation;
use shared::clock::Timestamp;
use shared::http::{ApiResult, Json, ListOut, Order, Query, QueryParams, RawQuery, Registry, Text};
use shared::ids::{AppId, AuditId, NAME_LENGTH_MAX};
use shared::store::audit::{AuditAction, AuditEvent, AuditQuery};

use crate::Auth;

pub fn operations<R: Registry<Auth>>(to: R) -> R {
    to.get("/api/v1/audit-event", list, |operation| {
        operation
            .named("v1.audit-event.list", "Audit Event")
            .summary("List audit events")
            .text(
                "Every change of configuration leaves one, written in the same transaction and immutable. They hold no secret: keys and headers are named without values, URLs are shown without password and query values.",
            )
            .parameter("app_id", "Only changes of or in the application with this ID; it may be deleted.")
            .returns("A page of audit events, newest first.")
    })
}

/// Which events a list shows.
struct ListParams(AuditQuery);

impl QueryParams for ListParams {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        Ok(Self(AuditQuery {
            list: query.list(Order::Descending)?,
            before: query.time("before")?,
            after: query.time("after")?,
            app: query.parsed("app_id", "an application's id, app_…", |text| text.parse().ok())?,
            subject: query.text("subject", Text::Tag(NAME_LENGTH_MAX))?.map(str::to_owned),
            by: query.text("by", Text::Tag(NAME_LENGTH_MAX))?.map(str::to_owned),
            what: query.choice("what", AuditAction::ALL)?,
        }))
    }
}

/// An audit event, as it appears in a response.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AuditEventOut {
    id: AuditId,
    timestamp: Timestamp,
    /// What was done, such as `endpoint.updated`.
    what: String,
    /// The ID or name of what was changed.
    subject: String,
    /// The application that was changed, or that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<AppId>,
    /// Who did it: the organisation, an application by its own token, or `postrider` itself.
    by: String,
    /// The token's ID: the SHA-256 of all of it before its signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    /// The request's `apigw-requestid`; for a change by Postrider itself, the attempt that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// The changed fields before the change; absent if it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Map<String, Value>>,
    /// The changed fields after the change; absent if it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Map<String, Value>>,
    /// Whether a value in `before` or `after` was too long: its length is shown instead.
    trimmed: bool,
}

impl From<AuditEvent> for AuditEventOut {
    fn from(event: AuditEvent) -> Self {
        let AuditEvent { id, at, what, subject, app, by, token_id, request_id, before, after, trimmed } =
            event;
        let (timestamp, app_id) = (at, app);
        Self { id, timestamp, what, subject, app_id, by, token_id, request_id, before, after, trimmed }
    }
}

async fn list(
    State(Auth { api, .. }): State<Auth>,
    Organisation(caller): Organisation,
    Query(ListParams(query)): Query<ListParams>,
) -> ApiResult<Json<ListOut<AuditEventOut>>> {
    let page = api.store.list_audit_events(caller.org(), &query).await?;
    let length = |facts: &Map<String, Value>| serde_json::to_string(facts).map_or(0, |text| text.len());
    let page = page.fit(query.list.is_backward(), |event| {
        [&event.before, &event.after].into_iter().flatten().map(length).sum()
    });
    Ok(Json(ListOut::new(page, |event| event.id.to_string(), AuditEventOut::from)))
}
