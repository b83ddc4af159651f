//! Access for an application's own people, audit events, and the health of the service.

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::response::IntoResponse as _;
use http::{HeaderMap, StatusCode, Uri, header};
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Bearer, Organisation, Tokens, token_id};
use shared::config::{ConfigError, Env};
use shared::http::{
    ApiResult, Body, Document, Fields, Registry, RequestBody, Text, idempotency_key, idempotent, json,
    reference,
};
use shared::ids::{AppId, NAME_LENGTH_MAX, Reference};
use shared::store::applications::ApplicationSettings;
use shared::wire::ApplicationIn;
use shared::{Api, Error, Platform, Result};

mod audit;
mod docs;

/// Most feature flags of one token: the token travels in a header.
const FEATURE_FLAGS_MAX: usize = 32;
/// How long expired tokens may go on to count.
const EXPIRY_SECONDS_MAX: u64 = 259_200;

/// Longest token that is looked at.
const TOKEN_LENGTH_MAX: usize = 8 * 1024;
/// Digits of a token's id.
const TOKEN_ID_LENGTH: usize = 64;

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
    Ok(shared::http::finish(
        operations(Router::new()),
        Auth { api: Api::connect(env, platform)?, portal_url },
    ))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

fn operations<R: Registry<Auth>>(to: R) -> R {
    const TAG: &str = "Authentication";
    let to = to
        .post("/api/v1/auth/app-portal-access/{app_id}", portal_access, |operation| {
            operation
                .named("v1.authentication.app-portal-access", TAG)
                .summary("Let an application's own people in")
                .text("Makes a token for the application, and a link that holds it. It lasts 28 days.")
                .body(&PORTAL_ACCESS_IN)
                .answers::<PortalAccessOut>(200, "The link and the token.")
        })
        .post("/api/v1/auth/dashboard-access/{app_id}", portal_access, |operation| {
            operation
                .named("v1.authentication.dashboard-access", TAG)
                .summary("Let an application's own people in")
                .text("What portal access was called once.")
                .deprecated()
                .body(&PORTAL_ACCESS_IN)
                .answers::<PortalAccessOut>(200, "The link and the token.")
        })
        .post("/api/v1/auth/logout", logout, |operation| {
            operation
                .named("v1.authentication.logout", TAG)
                .summary("Log an application's token out")
                .text("From now on it is nobody's.")
                .answers_nothing(204, "It is logged out.")
        })
        .post("/api/v1/auth/revoke-token", revoke, |operation| {
            operation
                .named("v1.authentication.revoke-token", TAG)
                .summary("Revoke a token of the organisation, or of one of its applications")
                .text(
                    "It is named by itself or by its id, which audit events show: the SHA-256, in hexadecimal \
                     digits, of all of it before its last dot. An application's token counts for five seconds \
                     more at most, an organisation's for a minute.",
                )
                .body(&REVOKE_IN)
                .answers_nothing(204, "From now on it is nobody's.")
        })
        .post("/api/v1/auth/app/{app_id}/expire-all", expire_all, |operation| {
            operation
                .named("v1.authentication.expire-all", TAG)
                .summary("Expire all tokens of an application")
                .body(&EXPIRE_IN)
                .answers_nothing(204, "They are expired.")
        });
    let to = health_at(to, "/api/v1/health", ["v1.health.get", "v1.health.head"]);
    let to = health_at(to, "/api/v1/health/ping", ["v1.health.ping", "v1.health.ping-head"]);
    docs::operations(audit::operations(to))
}

fn health_at<R: Registry<Auth>>(to: R, path: &'static str, [get, head]: [&'static str; 2]) -> R {
    to.get(path, health, |operation| {
        operation
            .named(get, "Health")
            .summary("Ask whether the service runs")
            .answers_nothing(204, "It does.")
    })
    .head(path, health, |operation| {
        operation
            .named(head, "Health")
            .summary("Ask whether the service runs")
            .answers_nothing(204, "It does.")
    })
}

/// What portal access is asked for.
struct PortalAccess {
    feature_flags: Vec<String>,
    /// Made if it is missing.
    application: Option<ApplicationSettings>,
}

const PORTAL_ACCESS_IN: RequestBody = RequestBody {
    name: "AppPortalAccessIn",
    read: |fields| drop(PortalAccess::read(fields)),
    optional: true,
    fields: &[
        ("featureFlags", "The application sees event types with these feature flags."),
        ("application", "Created if it is missing; its uid has to be the one in the path."),
    ],
    parts: &[("application", &ApplicationIn::BODY)],
};

impl PortalAccess {
    fn read(fields: &mut Fields<'_>) -> Self {
        let flags = fields.names(&["featureFlags"], NAME_LENGTH_MAX, 0, FEATURE_FLAGS_MAX);
        let application = fields.object("application").map(|mut part| {
            let settings = ApplicationIn::fields(&mut part);
            fields.absorb(part);
            settings
        });
        Self { feature_flags: flags.value().unwrap_or_default(), application }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AppPortalAccessOut")]
struct PortalAccessOut {
    /// Leads to the portal, with the token in its fragment.
    url: String,
    token: String,
}

async fn portal_access(
    State(Auth { api, portal_url }): State<Auth>,
    Organisation(caller): Organisation,
    Path(app): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let reference: Reference<AppId> = reference(&app, "Application")?;
        let mut fields = Fields::parse_optional(&body.0)?;
        let PortalAccess { feature_flags, application: new } = PortalAccess::read(&mut fields);
        if let Some(new) = &new
            && !matches!(&reference, Reference::Uid(uid) if new.uid.as_ref() == Some(uid))
        {
            fields.violation("application", "Its uid must be the one in the path", "value_error");
        }
        fields.finish()?;
        let app = match (api.store.application_for(&caller, &reference).await, new) {
            (Err(Error::NotFound(_)), Some(new)) => match api.store.create_application(&caller, new).await {
                Err(Error::Conflict(_)) => api.store.application_for(&caller, &reference).await?,
                made => made?.0,
            },
            (found, _) => found?,
        };
        let token = api.tokens.for_app(caller.org(), app.id, feature_flags)?;
        let base = portal_url.clone().unwrap_or_else(|| own_address(&headers));
        // The fragment stays in the browser: it reaches no server's log.
        let url = format!("{}/login#key={token}", base.trim_end_matches('/'));
        Ok(json(StatusCode::OK, &PortalAccessOut { url, token }))
    })
    .await)
}

/// A repetition finds the token logged out already, and is answered as the first was.
async fn logout(State(Auth { api, .. }): State<Auth>, Bearer(token): Bearer) -> ApiResult<StatusCode> {
    api.tokens.log_out(&token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A token that is to be revoked, as a body.
const REVOKE_IN: RequestBody = RequestBody {
    name: "TokenRevokeIn",
    read: |fields| {
        revoked(fields);
    },
    optional: false,
    fields: &[
        ("token", "The token; either this or its id."),
        (
            "tokenId",
            "The token's id: 64 hexadecimal digits. It is not checked whether there is such a token.",
        ),
    ],
    parts: &[],
};

/// The token, or its id.
fn revoked(fields: &mut Fields<'_>) -> (Option<String>, Option<String>) {
    let token = fields.text(&["token"], Text::Length(TOKEN_LENGTH_MAX)).value();
    let id = fields.text(&["tokenId"], Text::Name(TOKEN_ID_LENGTH)).value();
    (token, id)
}

async fn revoke(
    State(Auth { api, .. }): State<Auth>,
    Organisation(caller): Organisation,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let mut fields = Fields::parse(&body.0)?;
        let (token, id) = revoked(&mut fields);
        let end = token.as_ref().and_then(|token| api.tokens.end_within(caller.org(), token));
        let is_id = |id: &str| {
            id.len() == TOKEN_ID_LENGTH && id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        };
        match (&token, &id) {
            // What is there and no text was said to be none already.
            (None, None) if fields.has_violation("token") || fields.has_violation("tokenId") => {}
            (Some(_), Some(_)) | (None, None) => {
                fields.violation("token", "Give either the token or its id", "value_error");
            }
            (Some(_), None) if end.is_none() => {
                let msg = "No valid token of this organisation: it counts for nothing as it is";
                fields.violation("token", msg, "value_error");
            }
            (None, Some(id)) if !is_id(id) => {
                fields.violation("tokenId", "Must have 64 hexadecimal digits, 0-9a-f", "value_error");
            }
            _ => {}
        }
        fields.finish()?;
        let id = token.map(|token| token_id(&token)).or(id).unwrap_or_default();
        api.tokens.revoke(&caller, id, end).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await)
}

/// An end of all tokens, as a body.
const EXPIRE_IN: RequestBody = RequestBody {
    name: "ApplicationTokenExpireIn",
    read: |fields| {
        expiry(fields);
    },
    optional: true,
    fields: &[
        ("expiry", "Seconds for which they go on to count; 0 if nothing is said."),
        ("sessionIds", "Has to be empty: tokens have no session ids here."),
    ],
    parts: &[],
};

/// How long expired tokens go on to count.
fn expiry(fields: &mut Fields<'_>) -> Duration {
    let grace = fields.number(&["expiry"], 0..=EXPIRY_SECONDS_MAX).value().unwrap_or(0);
    if fields.optional::<Vec<String>>(&["sessionIds"]).is_some_and(|ids| !ids.is_empty()) {
        // Expiring all of them instead would be more than was asked for.
        let msg = "Tokens have no session ids here: leave this out to expire all of them";
        fields.violation("sessionIds", msg, "value_error");
    }
    Duration::from_secs(grace)
}

async fn expire_all(
    State(Auth { api, .. }): State<Auth>,
    Organisation(caller): Organisation,
    Path(app): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let mut fields = Fields::parse_optional(&body.0)?;
        let grace = expiry(&mut fields);
        fields.finish()?;
        let reference: Reference<AppId> = reference(&app, "Application")?;
        // Each turn means that somebody else's change came first, so this ends.
        loop {
            let app = api.store.application_for(&caller, &reference).await?;
            if api.store.expire_tokens(&caller, &app, grace).await? {
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
