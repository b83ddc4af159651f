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
use shared::http::{Body, Fields, IdempotencyKey, ListOut, ListQuery, Order, Query, Text, idempotent, json};
use shared::ids::{NAME_LENGTH_MAX, is_name};
use shared::store::event_types::EventType;
use shared::wire::TEXT_LENGTH_MAX;
use shared::{Api, Error, Platform, Result};

/// Longest text of all schemas of an event type; an item may have 400 KB.
const SCHEMAS_LENGTH_MAX: usize = 256 * 1024;

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let routes = Router::new()
        .route("/api/v1/event-type", get(list).post(create))
        .route("/api/v1/event-type/{event_type_name}", get(read));
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
            feature_flag: found.feature_flag,
            archived: found.archived,
            deprecated: found.deprecated,
            created_at: found.created_at,
            updated_at: found.updated_at,
        })
    }
}

fn parse(body: &[u8]) -> Result<EventType> {
    let mut fields = Fields::parse(body)?;
    let name = fields.required::<String>(&["name"]).unwrap_or_default();
    if !fields.has_violation("name")
        && let Some(broken) = Text::Name(NAME_LENGTH_MAX).broken(&name)
    {
        fields.violation("name", broken, "value_error");
    }
    // May be empty, but must be there.
    let description = fields.required::<String>(&["description"]).unwrap_or_default();
    if description.len() > TEXT_LENGTH_MAX {
        fields.violation("description", format!("Must have at most {TEXT_LENGTH_MAX} bytes"), "value_error");
    }
    let schemas = fields.raw(&["schemas"]).map(|(_, raw)| raw.get().to_owned());
    if let Some(schemas) = &schemas {
        let each_is_an_object = fields
            .optional::<std::collections::BTreeMap<String, serde_json::Map<String, serde_json::Value>>>(&[
                "schemas",
            ])
            .is_some();
        if each_is_an_object && schemas.len() > SCHEMAS_LENGTH_MAX {
            let msg = format!("Must have at most {SCHEMAS_LENGTH_MAX} bytes");
            fields.violation("schemas", msg, "value_error");
        }
    }
    let feature_flag = fields.text(&["featureFlag"], Text::Name(NAME_LENGTH_MAX)).value();
    let archived = fields.optional(&["archived"]).unwrap_or(false);
    let deprecated = fields.optional(&["deprecated"]).unwrap_or(false);
    fields.finish()?;
    let never = Timestamp::default(); // the store sets both times
    Ok(EventType {
        name,
        description,
        schemas,
        feature_flag,
        archived,
        deprecated,
        created_at: never,
        updated_at: never,
    })
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
        let made = api.store.create_event_type(&caller, parse(&body.0)?).await?;
        Ok(json(StatusCode::CREATED, &EventTypeOut::new(made, true)?))
    })
    .await)
}

async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Result<Response> {
    let with_archived = query.flag("include_archived", false)?;
    let with_content = query.flag("with_content", false)?;
    let wanted = ListQuery::<String>::read(&query, Order::Ascending)?;
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

async fn read(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Result<Response> {
    if !is_name(&name, NAME_LENGTH_MAX) {
        return Err(Error::NotFound("Event type"));
    }
    let found = api.store.event_type(&caller, &name).await?;
    Ok(json(StatusCode::OK, &EventTypeOut::new(found, true)?))
}
