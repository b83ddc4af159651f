//! Event types, the names that an organisation's messages carry, and the rest of what an organisation sets for all of
//! its applications.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{FromRef, State};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::auth::{Authenticated, Caller, Organisation};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env};
use shared::error::corrupt;
use shared::http::{
    ApiResult, Body, Created, Document, Either, Idempotent, Json, ListOut, ListQuery, NoContent, Once, Order,
    Path, Query, QueryParams, RawQuery, Registry, Segment,
};
use shared::ids::{NAME_LENGTH_MAX, Name, is_name};
use shared::platform::TransformerClient;
use shared::store::event_types::EventType;
use shared::{Api, Error, Platform, Result};

use incoming::{EventTypeIn, EventTypePatch, EventTypeUpdate};

mod connector_in;
mod connectors;
mod environment;
mod import;
mod incoming;
mod json_schema;
mod openapi;
mod signing_key;
mod theme;

/// What this function holds.
#[derive(Clone, Debug)]
struct EventTypes {
    api: Api,
    /// Checks the code of connectors.
    transformer: TransformerClient,
}

impl FromRef<EventTypes> for Api {
    fn from_ref(state: &EventTypes) -> Self {
        state.api.clone()
    }
}

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let state = EventTypes { api: Api::connect(env, platform)?, transformer: platform.transformer(env)? };
    Ok(shared::http::finish(operations(Router::new()), state))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

fn operations<R: Registry<EventTypes>>(to: R) -> R {
    environment::operations(connectors::operations(of_event_types(to)))
}

fn of_event_types<R: Registry<EventTypes>>(to: R) -> R {
    const TAG: &str = "Event Type";
    const ALL: &str = "/api/v1/event-type";
    const ONE: &str = "/api/v1/event-type/{event_type_name}";
    to.get(ALL, list, |operation| {
        operation
            .named("v1.event-type.list", TAG)
            .summary("List event types")
            .returns("A page of event types.")
    })
    .post(ALL, create, |operation| {
        operation
            .named("v1.event-type.create", TAG)
            .summary("Create an event type")
            .returns("The new event type.")
    })
    .post("/api/v1/event-type/import/openapi", import::import, |operation| {
        operation
            .named("v1.event-type.import-openapi", TAG)
            .summary("Make event types of an OpenAPI document")
            .text(
                "Nothing is deleted. An archived event type that the document has comes back. A schema keeps what \
                 it refers to as `$defs`; a reference that leads out of the document is refused.",
            )
            .returns("What changed, or would change.")
    })
    .get(ONE, read, |operation| {
        operation.named("v1.event-type.get", TAG).summary("Get an event type").returns("The event type.")
    })
    .put(ONE, replace, |operation| {
        operation
            .named("v1.event-type.update", TAG)
            .summary("Replace an event type, or create it")
            .returns("The changed event type.")
            .returns("The new event type.")
    })
    .patch(ONE, patch, |operation| {
        operation
            .named("v1.event-type.patch", TAG)
            .summary("Change an event type")
            .text("Fields that the body leaves out are unchanged; `null` clears a field.")
            .returns("The changed event type.")
    })
    .delete(ONE, delete, |operation| {
        operation
            .named("v1.event-type.delete", TAG)
            .summary("Archive an event type, or remove it")
            .text("Endpoints and messages may still name it. Creating it again restores an archived one.")
            .parameter("expunge", "Remove it altogether instead of archiving it.")
            .returns("Archived, or deleted if `expunge` is true.")
    })
}

/// What a list is asked for.
struct ListParams {
    with_archived: bool,
    with_content: bool,
    list: ListQuery<Name>,
}

impl QueryParams for ListParams {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        Ok(Self {
            with_archived: query.flag("include_archived", false)?,
            with_content: query.flag("with_content", false)?,
            list: query.list(Order::Ascending)?,
        })
    }
}

/// Whether an event type is removed altogether.
struct Expunge(bool);

impl QueryParams for Expunge {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        query.flag("expunge", false).map(Self)
    }
}

/// An event type's name in a path, which may be none at all.
struct PathName(String);

impl Segment for PathName {
    const NAME: &'static str = "event_type_name";

    fn read(segment: &str) -> Result<Self> {
        Ok(Self(segment.to_owned()))
    }
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
    idempotent: Idempotent,
    body: Body<EventTypeIn>,
) -> ApiResult<Once<Created<EventTypeOut>>> {
    idempotent
        .once(&caller, async || {
            let made = api.store.create_event_type(&caller, body.read()?.0).await?;
            Ok(Created(EventTypeOut::new(made, true)?))
        })
        .await
}

async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Query(ListParams { with_archived, with_content, list }): Query<ListParams>,
) -> ApiResult<Json<ListOut<EventTypeOut>>> {
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
    Ok(Json(ListOut::new(page, |(name, _)| name.clone(), |(_, out)| out)))
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
    Path((name,)): Path<(PathName,)>,
) -> ApiResult<Json<EventTypeOut>> {
    Ok(Json(EventTypeOut::new(find(&api, &caller, &name.0).await?, true)?))
}

async fn replace(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path((PathName(name),)): Path<(PathName,)>,
    body: Body<EventTypeUpdate>,
) -> ApiResult<Either<Json<EventTypeOut>, Created<EventTypeOut>>> {
    let wanted = body.read()?.named(name)?;
    let replaced = api.store.retry_on_conflict(async || {
        let old = match api.store.event_type(&caller, &wanted.name).await {
            Ok(old) => Some(old),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let new = api.store.put_event_type(&caller, old.as_ref(), wanted.clone()).await?;
        Ok(new.map(|new| (old.is_some(), new)))
    });
    let (was_there, new) = replaced.await?;
    let out = EventTypeOut::new(new, true)?;
    Ok(if was_there { Either::First(Json(out)) } else { Either::Second(Created(out)) })
}

async fn patch(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path((name,)): Path<(PathName,)>,
    body: Body<EventTypePatch>,
) -> ApiResult<Json<EventTypeOut>> {
    let patched = api.store.retry_on_conflict(async || {
        let old = find(&api, &caller, &name.0).await?;
        let wanted = body.read()?.over(old.clone());
        api.store.put_event_type(&caller, Some(&old), wanted).await
    });
    Ok(Json(EventTypeOut::new(patched.await?, true)?))
}

async fn delete(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path((name,)): Path<(PathName,)>,
    Query(Expunge(expunge)): Query<Expunge>,
) -> ApiResult<NoContent> {
    let deleted = api.store.retry_on_conflict(async || {
        let old = find(&api, &caller, &name.0).await?;
        let deleted = if expunge {
            api.store.expunge_event_type(&caller, &old).await?
        } else if old.archived {
            true
        } else {
            let archived = EventType { archived: true, ..old.clone() };
            api.store.put_event_type(&caller, Some(&old), archived).await?.is_some()
        };
        Ok(deleted.then_some(NoContent))
    });
    Ok(deleted.await?)
}
