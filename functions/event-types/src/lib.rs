//! Event types: the names that an organisation's messages carry.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::auth::{Authenticated, Caller, Organisation};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env};
use shared::error::corrupt;
use shared::http::{
    ApiResult, Body, Document, ListOut, ListQuery, Order, Query, Registry, idempotency_key, idempotent, json,
};
use shared::ids::{NAME_LENGTH_MAX, Name, is_name};
use shared::store::event_types::EventType;
use shared::{Api, Error, Platform, Result};

mod import;
mod incoming;
mod json_schema;
mod openapi;

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    Ok(shared::http::finish(operations(Router::new()), Api::connect(env, platform)?))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

fn operations<R: Registry<Api>>(to: R) -> R {
    const TAG: &str = "Event Type";
    const ALL: &str = "/api/v1/event-type";
    const ONE: &str = "/api/v1/event-type/{event_type_name}";
    to.get(ALL, list, |operation| {
        operation
            .named("v1.event-type.list", TAG)
            .summary("List event types")
            .query(Wanted::read)
            .answers::<ListOut<EventTypeOut>>(200, "A page of event types.")
    })
    .post(ALL, create, |operation| {
        operation
            .named("v1.event-type.create", TAG)
            .summary("Create an event type")
            .body(&incoming::EVENT_TYPE_IN)
            .answers::<EventTypeOut>(201, "The new event type.")
    })
    .post("/api/v1/event-type/import/openapi", import::import, |operation| {
        operation
            .named("v1.event-type.import-openapi", TAG)
            .summary("Make event types of an OpenAPI document")
            .text(
                "Nothing is deleted. An archived event type that the document has comes back. A schema keeps what \
                 it refers to as `$defs`; a reference that leads out of the document is refused.",
            )
            .body(&import::IMPORT_IN)
            .answers::<import::EventTypeImportOpenApiOut>(200, "What changed, or would change.")
    })
    .get(ONE, read, |operation| {
        operation
            .named("v1.event-type.get", TAG)
            .summary("Get an event type")
            .answers::<EventTypeOut>(200, "The event type.")
    })
    .put(ONE, replace, |operation| {
        operation
            .named("v1.event-type.update", TAG)
            .summary("Replace an event type, or create it")
            .body(&incoming::EVENT_TYPE_UPDATE)
            .answers::<EventTypeOut>(200, "The changed event type.")
            .answers::<EventTypeOut>(201, "The new event type.")
    })
    .patch(ONE, patch, |operation| {
        operation
            .named("v1.event-type.patch", TAG)
            .summary("Change an event type")
            .text("Fields that the body leaves out are unchanged; `null` clears a field.")
            .body(&incoming::EVENT_TYPE_PATCH)
            .answers::<EventTypeOut>(200, "The changed event type.")
    })
    .delete(ONE, delete, |operation| {
        operation
            .named("v1.event-type.delete", TAG)
            .summary("Archive an event type, or remove it")
            .text("Endpoints and messages may still name it. Creating it again restores an archived one.")
            .query(expunge)
            .parameter("expunge", "Remove it altogether instead of archiving it.")
            .answers_nothing(204, "Archived, or deleted if `expunge` is true.")
    })
}

/// What a list is asked for.
struct Wanted {
    with_archived: bool,
    with_content: bool,
    list: ListQuery<Name>,
}

impl Wanted {
    fn read(query: &Query) -> Result<Self> {
        Ok(Self {
            with_archived: query.flag("include_archived", false)?,
            with_content: query.flag("with_content", false)?,
            list: query.list(Order::Ascending)?,
        })
    }
}

fn expunge(query: &Query) -> Result<bool> {
    query.flag("expunge", false)
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct EventTypeOut {
    name: String,
    /// What the event means.
    description: String,
    /// JSON schemas of its payloads, by version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Map<String, serde_json::Value>>>")]
    schemas: Option<Box<RawValue>>,
    /// The first of `featureFlags`.
    #[serde(skip_serializing_if = "Option::is_none")]
    feature_flag: Option<String>,
    /// Applications see it only if their token has one of these flags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    feature_flags: Vec<String>,
    /// Group under which it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_name: Option<String>,
    /// Archived: no longer in use.
    archived: bool,
    /// Deprecated: choose another event type.
    deprecated: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl EventTypeOut {
    fn new(found: EventType, with_content: bool) -> Result<Self> {
        let schemas = found.schemas.filter(|_| with_content);
        Ok(Self {
            name: found.name,
            description: found.description,
            schemas: schemas.map(RawValue::from_string).transpose().map_err(corrupt("a schema"))?,
            feature_flag: found.feature_flags.first().cloned(),
            feature_flags: found.feature_flags,
            group_name: found.group_name,
            archived: found.archived,
            deprecated: found.deprecated,
            created_at: found.created_at,
            updated_at: found.updated_at,
        })
    }
}

async fn create(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let made = api.store.create_event_type(&caller, incoming::create(&body.0)?).await?;
        Ok(json(StatusCode::CREATED, &EventTypeOut::new(made, true)?))
    })
    .await)
}

async fn list(State(api): State<Api>, Authenticated(caller): Authenticated, query: Query) -> ApiResult {
    let Wanted { with_archived, with_content, list } = Wanted::read(&query)?;
    let page = api
        .store
        .list_event_types(caller.org(), &list, |found| {
            (with_archived || !found.archived) && found.visible_to(&caller)
        })
        .await?;
    let (names, shown): (Vec<String>, Vec<Result<EventTypeOut>>) = page
        .entries
        .into_iter()
        .map(|found| (found.name.clone(), EventTypeOut::new(found, with_content)))
        .unzip();
    let shown = shown.into_iter().collect::<Result<Vec<_>>>()?;
    let entries = names.into_iter().zip(shown).collect();
    let page = shared::http::Page { entries, done: page.done, resume: page.resume };
    Ok(json(StatusCode::OK, &ListOut::new(page, |(name, _)| name.clone(), |(_, out)| out)))
}

/// The event type of a path; what cannot be a name is nothing's.
async fn find(api: &Api, caller: &Caller, name: &str) -> Result<EventType> {
    if !is_name(name, NAME_LENGTH_MAX) {
        return Err(Error::NotFound("Event type"));
    }
    api.store.event_type(caller, name).await
}

async fn read(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> ApiResult {
    let found = find(&api, &caller, &name).await?;
    Ok(json(StatusCode::OK, &EventTypeOut::new(found, true)?))
}

async fn replace(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path(name): Path<String>,
    body: Body,
) -> ApiResult {
    let wanted = incoming::replace(&name, &body.0)?;
    // Each turn means that somebody else's change came first, so this ends.
    loop {
        let old = match find(&api, &caller, &name).await {
            Ok(old) => Some(old),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let status = if old.is_some() { StatusCode::OK } else { StatusCode::CREATED };
        if let Some(new) = api.store.put_event_type(&caller, old.as_ref(), wanted.clone()).await? {
            return Ok(json(status, &EventTypeOut::new(new, true)?));
        }
    }
}

async fn patch(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path(name): Path<String>,
    body: Body,
) -> ApiResult {
    // As in `replace`.
    loop {
        let old = find(&api, &caller, &name).await?;
        let wanted = incoming::patch(&old, &body.0)?;
        if let Some(new) = api.store.put_event_type(&caller, Some(&old), wanted).await? {
            return Ok(json(StatusCode::OK, &EventTypeOut::new(new, true)?));
        }
    }
}

async fn delete(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path(name): Path<String>,
    query: Query,
) -> ApiResult<StatusCode> {
    let expunge = expunge(&query)?;
    // As in `replace`.
    loop {
        let old = find(&api, &caller, &name).await?;
        if expunge {
            if api.store.expunge_event_type(&caller, &old).await? {
                return Ok(StatusCode::NO_CONTENT);
            }
            continue;
        }
        if old.archived {
            return Ok(StatusCode::NO_CONTENT);
        }
        let archived = EventType { archived: true, ..old.clone() };
        if api.store.put_event_type(&caller, Some(&old), archived).await?.is_some() {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
}
