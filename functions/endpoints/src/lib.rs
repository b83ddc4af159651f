//! Endpoints: where an application's messages go.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use shared::auth::{Caller, Tokens};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env, flag};
use shared::http::{
    Body, Field, Fields, IdempotencyKey, ListOut, ListQuery, Order, Query, Text, idempotent, json, reference,
};
use shared::ids::{EndpointId, NAME_LENGTH_MAX, Reference};
use shared::signing::{KeyKind, SigningKey};
use shared::store::applications::Application;
use shared::store::endpoint_secrets::EndpointHeaders;
use shared::store::endpoints::{Endpoint, EndpointSettings};
use shared::wire::TEXT_LENGTH_MAX;
use shared::{Api, Error, Platform, Result};

mod headers;
mod secret;
mod url_rule;

const CHANNELS_MAX: usize = 10;
const CHANNEL_LENGTH_MAX: usize = 128;
/// Most event types that one endpoint may name: each is looked up when the endpoint is written.
const EVENT_TYPES_MAX: usize = 1_000;

/// What this function holds.
#[derive(Clone, Debug)]
struct Endpoints {
    api: Api,
    https_only: bool,
    key_kind: KeyKind,
}

impl FromRef<Endpoints> for Tokens {
    fn from_ref(endpoints: &Endpoints) -> Self {
        endpoints.api.tokens.clone()
    }
}

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let key_kind =
        env.parsed("POSTRIDER_SIGNATURE", "hmac256 or ed25519", KeyKind::Hmac256, |text| match text {
            "hmac256" => Some(KeyKind::Hmac256),
            "ed25519" => Some(KeyKind::Ed25519),
            _ => None,
        })?;
    let state =
        Endpoints { api: platform.api(env)?, https_only: flag(env, "POSTRIDER_HTTPS_ONLY", true)?, key_kind };
    let routes = Router::new()
        .route("/api/v1/app/{app_id}/endpoint", get(list).post(create))
        .route(
            "/api/v1/app/{app_id}/endpoint/{endpoint_id}",
            get(read).put(replace).patch(patch).delete(delete),
        )
        .route("/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret", get(secret::get))
        .route("/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate", post(secret::rotate))
        .route(
            "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers",
            get(headers::get).put(headers::replace).patch(headers::patch),
        );
    Ok(shared::http::finish(routes, state))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointOut {
    id: EndpointId,
    url: String,
    version: u32,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u16>,
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Endpoint> for EndpointOut {
    fn from(endpoint: Endpoint) -> Self {
        let settings = endpoint.settings;
        Self {
            id: endpoint.id,
            url: settings.url,
            // Old clients want a number here; it has meant nothing for years.
            version: 1,
            description: settings.description,
            uid: settings.uid,
            filter_types: settings.event_types.clone(),
            event_types: settings.event_types,
            channels: settings.channels,
            disabled: settings.disabled,
            rate_limit: settings.rate_limit,
            throttle_rate: settings.rate_limit,
            metadata: settings.metadata,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

/// The fields that creating and replacing have in common.
fn settings_of(fields: &mut Fields<'_>, https_only: bool) -> EndpointSettings {
    let url = fields.required::<String>(&["url"]).unwrap_or_default();
    check_url(fields, &url, https_only);
    EndpointSettings {
        url,
        description: description_of(fields).value().unwrap_or_default(),
        uid: fields.text(&["uid"], Text::Uid("ep_")).value(),
        event_types: event_types_of(fields, 1).value(),
        channels: fields.names(&["channels"], CHANNEL_LENGTH_MAX, 1, CHANNELS_MAX).value(),
        disabled: fields.optional(&["disabled"]).unwrap_or(false),
        rate_limit: fields.rate_limit().value(),
        metadata: fields.metadata().value().unwrap_or_default(),
    }
}

fn check_url(fields: &mut Fields<'_>, url: &str, https_only: bool) {
    if !fields.has_violation("url")
        && let Some(broken) = url_rule::broken(url, https_only)
    {
        fields.violation("url", broken, "value_error");
    }
}

fn description_of(fields: &mut Fields<'_>) -> Field<String> {
    let description: Field<String> = fields.take(&["description"]);
    if matches!(&description, Field::Value(text) if text.len() > TEXT_LENGTH_MAX) {
        fields.violation("description", format!("Must have at most {TEXT_LENGTH_MAX} bytes"), "value_error");
    }
    description
}

fn event_types_of(fields: &mut Fields<'_>, min: usize) -> Field<Vec<String>> {
    fields.names(&["filterTypes", "eventTypes"], NAME_LENGTH_MAX, min, EVENT_TYPES_MAX)
}

impl Endpoints {
    async fn application(&self, caller: &Caller, app: &str) -> Result<Application> {
        self.api.store.application_for(caller, &reference(app, "Application")?).await
    }

    async fn find(&self, caller: &Caller, app: &str, endpoint: &str) -> Result<(Application, Endpoint)> {
        let wanted = reference(endpoint, "Endpoint")?;
        let app = self.application(caller, app).await?;
        let endpoint = self.api.store.endpoint_for(app.id, &wanted).await?;
        Ok((app, endpoint))
    }

    /// Every event type that an endpoint names must exist when it is written.
    async fn check_event_types(&self, caller: &Caller, settings: &EndpointSettings) -> Result<()> {
        let Some(names) = &settings.event_types else { return Ok(()) };
        let unknown = self.api.store.unknown_event_types(caller, names).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        let msg = format!("These event types do not exist: {}", unknown.join(", "));
        Err(Error::violation(["body", "eventTypes"], msg, "value_error"))
    }

    async fn make(
        &self,
        caller: &Caller,
        app: &Application,
        settings: EndpointSettings,
        key: Option<SigningKey>,
        headers: EndpointHeaders,
    ) -> Result<Endpoint> {
        self.check_event_types(caller, &settings).await?;
        let key = key.unwrap_or_else(|| SigningKey::generate(self.key_kind, &*self.api.random));
        self.api.store.create_endpoint(caller, app, settings, key, headers).await
    }
}

async fn create(
    State(state): State<Endpoints>,
    caller: Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    let api = &state.api;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let app = state.application(&caller, &app).await?;
        let mut fields = Fields::parse(&body.0)?;
        let settings = settings_of(&mut fields, state.https_only);
        let key = secret::chosen(&mut fields, "secret");
        let headers = headers::whole(&mut fields);
        fields.finish()?;
        let made = state.make(&caller, &app, settings, key, headers).await?;
        Ok(json(StatusCode::CREATED, &EndpointOut::from(made)))
    })
    .await)
}

async fn list(
    State(state): State<Endpoints>,
    caller: Caller,
    Path(app): Path<String>,
    query: Query,
) -> Result<Response> {
    let query = ListQuery::<EndpointId>::read(&query, Order::Descending)?;
    let app = state.application(&caller, &app).await?;
    let page = state.api.store.list_endpoints(app.id, &query).await?;
    Ok(json(StatusCode::OK, &ListOut::new(page, |endpoint| endpoint.id.to_string(), EndpointOut::from)))
}

async fn read(
    State(state): State<Endpoints>,
    caller: Caller,
    Path((app, endpoint)): Path<(String, String)>,
) -> Result<Response> {
    let (_, endpoint) = state.find(&caller, &app, &endpoint).await?;
    Ok(json(StatusCode::OK, &EndpointOut::from(endpoint)))
}

async fn replace(
    State(state): State<Endpoints>,
    caller: Caller,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> Result<Response> {
    let app = state.application(&caller, &app).await?;
    let mut fields = Fields::parse(&body.0)?;
    let settings = settings_of(&mut fields, state.https_only);
    fields.finish()?;
    let wanted = reference(&endpoint, "Endpoint")?;
    loop {
        let old = match (state.api.store.endpoint_for(app.id, &wanted).await, &wanted) {
            (Ok(old), _) => old,
            (Err(Error::NotFound(_)), Reference::Uid(uid)) => {
                let uid = settings.uid.clone().or_else(|| Some(uid.clone()));
                let settings = EndpointSettings { uid, ..settings };
                let made = state.make(&caller, &app, settings, None, EndpointHeaders::default()).await?;
                return Ok(json(StatusCode::CREATED, &EndpointOut::from(made)));
            }
            (Err(error), _) => return Err(error),
        };
        state.check_event_types(&caller, &settings).await?;
        if let Some(new) = state.api.store.update_endpoint(&caller, &app, &old, settings.clone()).await? {
            return Ok(json(StatusCode::OK, &EndpointOut::from(new)));
        }
    }
}

async fn patch(
    State(state): State<Endpoints>,
    caller: Caller,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> Result<Response> {
    // Each turn means that somebody else's change came first, so this ends.
    loop {
        let (app, old) = state.find(&caller, &app, &endpoint).await?;
        let mut fields = Fields::parse(&body.0)?;
        let before = old.settings.clone();
        let url: Field<String> = fields.take(&["url"]);
        match &url {
            Field::Value(url) => check_url(&mut fields, url, state.https_only),
            Field::Null => fields.violation("url", "Must not be null", "type_error"),
            Field::Absent => {}
        }
        let settings = EndpointSettings {
            url: url.value().unwrap_or(before.url),
            description: description_of(&mut fields).over(Some(before.description)).unwrap_or_default(),
            uid: fields.text(&["uid"], Text::Uid("ep_")).over(before.uid),
            event_types: event_types_of(&mut fields, 1).over(before.event_types),
            channels: fields.names(&["channels"], CHANNEL_LENGTH_MAX, 1, CHANNELS_MAX).over(before.channels),
            disabled: fields.take(&["disabled"]).over(Some(before.disabled)).unwrap_or(false),
            rate_limit: fields.rate_limit().over(before.rate_limit),
            metadata: fields.metadata().over(Some(before.metadata)).unwrap_or_default(),
        };
        fields.finish()?;
        if settings.event_types != old.settings.event_types {
            state.check_event_types(&caller, &settings).await?;
        }
        if let Some(new) = state.api.store.update_endpoint(&caller, &app, &old, settings).await? {
            return Ok(json(StatusCode::OK, &EndpointOut::from(new)));
        }
    }
}

async fn delete(
    State(state): State<Endpoints>,
    caller: Caller,
    Path((app, endpoint)): Path<(String, String)>,
) -> Result<StatusCode> {
    let (app, endpoint) = state.find(&caller, &app, &endpoint).await?;
    state.api.store.delete_endpoint(&caller, &app, &endpoint).await?;
    Ok(StatusCode::NO_CONTENT)
}
