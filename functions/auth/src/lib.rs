//! Access for an application's own people, and the health of the service.

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, Uri, header};
use serde::Serialize;
use shared::auth::{Caller, Tokens, bearer};
use shared::config::{ConfigError, Env};
use shared::http::{Body, Fields, IdempotencyKey, idempotent, json, reference};
use shared::ids::{AppId, NAME_LENGTH_MAX, Reference};
use shared::wire::ApplicationIn;
use shared::{Api, Error, Platform, Result};

/// Most feature flags of one token: the token travels in a header.
const FEATURE_FLAGS_MAX: usize = 32;
/// How long expired tokens may go on to count.
const EXPIRY_SECONDS_MAX: u32 = 259_200;

/// What this function holds.
#[derive(Clone, Debug)]
struct Auth {
    api: Api,
    /// Where a portal link points; where none is set, to where the request came.
    portal_url: Option<String>,
}

impl FromRef<Auth> for Tokens {
    fn from_ref(auth: &Auth) -> Self {
        auth.api.tokens.clone()
    }
}

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let portal_url = env.optional("POSTRIDER_PORTAL_URL");
    if portal_url.as_deref().is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
        return Err(ConfigError::new("POSTRIDER_PORTAL_URL", "should be an http or https URL"));
    }
    let routes = Router::new()
        .route("/api/v1/auth/app-portal-access/{app_id}", post(portal_access))
        // What it was called once.
        .route("/api/v1/auth/dashboard-access/{app_id}", post(portal_access))
        .route("/api/v1/auth/logout", post(logout))
        .route("/api/v1/auth/app/{app_id}/expire-all", post(expire_all))
        .route("/api/v1/health", get(health).head(health))
        .route("/api/v1/health/ping", get(health).head(health));
    Ok(shared::http::finish(routes, Auth { api: platform.api(env)?, portal_url }))
}

#[derive(Serialize)]
struct PortalAccessOut {
    url: String,
    token: String,
}

async fn portal_access(
    State(Auth { api, portal_url }): State<Auth>,
    caller: Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    let org = caller.organisation_only()?;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let reference: Reference<AppId> = reference(&app, "Application")?;
        let mut fields = Fields::parse_optional(&body.0)?;
        let flags = fields.names(&["featureFlags"], NAME_LENGTH_MAX, 0, FEATURE_FLAGS_MAX).value();
        let new = fields.object("application").map(|mut part| {
            let settings = ApplicationIn::fields(&mut part);
            fields.absorb(part);
            settings
        });
        if let Some(new) = &new
            && !matches!(&reference, Reference::Uid(uid) if new.uid.as_ref() == Some(uid))
        {
            fields.violation("application", "Its uid must be the one in the path", "value_error");
        }
        fields.finish()?;
        let app = match (api.store.application_for(&caller, &reference).await, new) {
            (Err(Error::NotFound(_)), Some(new)) => match api.store.create_application(&caller, new).await {
                Err(Error::Conflict(_)) => api.store.application_for(&caller, &reference).await?,
                made => made?,
            },
            (found, _) => found?,
        };
        let token = api.tokens.for_app(org, app.id, flags.unwrap_or_default())?;
        let base = portal_url.clone().unwrap_or_else(|| own_address(&headers));
        // The fragment stays in the browser: it reaches no server's log.
        let url = format!("{}/login#key={token}", base.trim_end_matches('/'));
        Ok(json(StatusCode::OK, &PortalAccessOut { url, token }))
    })
    .await)
}

/// A repetition finds the token logged out already, and is answered as the first was.
async fn logout(State(Auth { api, .. }): State<Auth>, headers: HeaderMap) -> Result<StatusCode> {
    api.tokens.log_out(bearer(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn expire_all(
    State(Auth { api, .. }): State<Auth>,
    caller: Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let mut fields = Fields::parse_optional(&body.0)?;
        let grace = fields.optional::<u32>(&["expiry"]).unwrap_or(0);
        if grace > EXPIRY_SECONDS_MAX {
            let msg = format!("Must be from 0 to {EXPIRY_SECONDS_MAX}");
            fields.violation("expiry", msg, "value_error");
        }
        if fields.optional::<Vec<String>>(&["sessionIds"]).is_some_and(|ids| !ids.is_empty()) {
            // Expiring all of them instead would be more than was asked for.
            let msg = "Tokens have no session ids here: leave this out to expire all of them";
            fields.violation("sessionIds", msg, "value_error");
        }
        fields.finish()?;
        let reference: Reference<AppId> = reference(&app, "Application")?;
        // Each turn means that somebody else's change came first, so this ends.
        loop {
            let app = api.store.application_for(&caller, &reference).await?;
            if api.store.expire_tokens(&caller, &app, Duration::from_secs(grace.into())).await? {
                return Ok(StatusCode::NO_CONTENT.into_response());
            }
        }
    })
    .await)
}

/// The address that the client used, as far as the request tells.
fn own_address(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = text("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or("http");
    format!("{scheme}://{}", text(header::HOST.as_str()).unwrap_or("localhost"))
}

/// Says that the function runs. Whether its tables do is what its alarms watch.
async fn health() -> StatusCode {
    StatusCode::NO_CONTENT
}
