//! Event types: the names that an organisation's messages carry.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use serde_json::value::RawValue;
use shared::auth::Caller;
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env};
use shared::error::corrupt;
use shared::http::{Body, IdempotencyKey, ListOut, ListQuery, Order, Query, idempotent, json};
use shared::ids::{NAME_LENGTH_MAX, Name, is_name};
use shared::store::event_types::EventType;
use shared::{Api, Error, Platform, Result};

mod incoming;

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let routes = Router::new()
        .route("/api/v1/event-type", get(list).post(create))
        .route("/api/v1/event-type/{event_type_name}", get(read).put(replace).patch(patch).delete(delete));
    Ok(shared::http::finish(routes, platform.api(env)?))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventTypeOut {
    name: String,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schemas: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature_flag: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    feature_flags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_name: Option<String>,
    archived: bool,
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
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let made = api.store.create_event_type(&caller, incoming::create(&body.0)?).await?;
        Ok(json(StatusCode::CREATED, &EventTypeOut::new(made, true)?))
    })
    .await)
}

async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Result<Response> {
    let with_archived = query.flag("include_archived", false)?;
    let with_content = query.flag("with_content", false)?;
    let wanted = ListQuery::<Name>::read(&query, Order::Ascending)?;
    let page = api
        .store
        .list_event_types(caller.org(), &wanted, |found| {
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

async fn read(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Result<Response> {
    let found = find(&api, &caller, &name).await?;
    Ok(json(StatusCode::OK, &EventTypeOut::new(found, true)?))
}

async fn replace(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
    let wanted = incoming::replace(&name, &body.0)?;
    // Each turn means that somebody else's change came first, so this ends.
    loop {
        let old = match find(&api, &caller, &name).await {
            Ok(old) => Some(old),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let status = if old.is_some() { StatusCode::OK } else { StatusCode::CREATED };
        if let Some(new) = api.store.put_event_type(&caller, old.as_ref(), wanted.clone()).await? {
            return Ok(json(status, &EventTypeOut::new(new, true)?));
        }
    }
}

async fn patch(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
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
    caller: Caller,
    Path(name): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    caller.organisation_only()?;
    let expunge = query.flag("expunge", false)?;
    // As in `replace`.
    loop {
        let old = find(&api, &caller, &name).await?;
        if expunge {
            api.store.expunge_event_type(&caller, &old.name).await?;
            return Ok(StatusCode::NO_CONTENT);
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
