//! Access for an application's own people, audit events, and the health of the service.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use shared::auth::{Organisation, token_id};
use shared::config::{ConfigError, Env, flag};
use shared::http::{
    ApiResult, Body, BodyType, Document, Fields, Idempotent, NoContent, Once, Registry, RequestBody, Text,
};
use shared::limits::TOKEN_LENGTH_MAX;
use shared::{Api, Platform};

mod audit;
mod docs;
mod jwks;
mod portal;

/// Digits of a token's id.
const TOKEN_ID_LENGTH: usize = 64;

/// What this function holds.
#[derive(Clone, Debug)]
struct Auth {
    api: Api,
    /// Where a portal link points; where none is set, to the API's own address.
    portal_url: Option<String>,
    /// Portal links hold a token that opens them once, in place of a bearer token.
    one_time: bool,
    /// A pattern of the roles that endpoints in AWS may name; none where there are no such endpoints.
    destination_roles: Option<Arc<str>>,
    /// The ARN of the role that those have to trust, where it is known.
    deliver_role: Option<Arc<str>>,
}

impl FromRef<Auth> for Api {
    fn from_ref(auth: &Auth) -> Self {
        auth.api.clone()
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
    let one_time = flag(env, "POSTRIDER_PORTAL_ONE_TIME_LINKS", false)?;
    let destination_roles = env.optional("POSTRIDER_DESTINATION_ROLES").map(Arc::from);
    let deliver_role = env.optional("POSTRIDER_DELIVER_ROLE").map(Arc::from);
    let auth =
        Auth { api: Api::connect(env, platform)?, portal_url, one_time, destination_roles, deliver_role };
    Ok(shared::http::finish(operations(Router::new()), auth))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

fn operations<R: Registry<Auth>>(to: R) -> R {
    const TAG: &str = "Authentication";
    let to = portal::operations(to, TAG).post("/api/v1/auth/revoke-token", revoke, |operation| {
        operation
            .named("v1.authentication.revoke-token", TAG)
            .summary("Revoke a token of the organisation, or of one of its applications")
            .text(
                "By the token itself or by its ID, which audit events show: the SHA-256, in hexadecimal digits, of all of it before its last dot. An application's token stays valid for up to five more seconds, an organisation's for a minute.",
            )
            .returns("The token is invalid from now on.")
    });
    let to = health_at(to, "/api/v1/health", ["v1.health.get", "v1.health.head"]);
    let to = health_at(to, "/api/v1/health/ping", ["v1.health.ping", "v1.health.ping-head"]);
    docs::operations(jwks::operations(audit::operations(to)))
}

fn health_at<R: Registry<Auth>>(to: R, path: &'static str, [get, head]: [&'static str; 2]) -> R {
    to.get(path, health, |operation| {
        operation.named(get, "Health").summary("Check whether the service runs").returns("It runs.")
    })
    .head(path, health, |operation| {
        operation.named(head, "Health").summary("Check whether the service runs").returns("It runs.")
    })
}

/// A token that is to be revoked, or its id.
struct RevokeIn {
    token: Option<String>,
    id: Option<String>,
}

impl RequestBody for RevokeIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "TokenRevokeIn",
        &[
            ("token", "The token; either this or its id."),
            ("tokenId", "The token's ID: 64 hexadecimal digits. Whether such a token exists is not checked."),
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self {
            token: fields.text(&["token"], Text::Length(TOKEN_LENGTH_MAX)).value(),
            id: fields.text(&["tokenId"], Text::Name(TOKEN_ID_LENGTH)).value(),
        }
    }
}

impl RevokeIn {
    /// It names one token; `is_valid` is the token that it holds.
    fn check(&self, fields: &mut Fields<'_>, is_valid: impl FnOnce(&str) -> bool) {
        let is_id = |id: &str| {
            id.len() == TOKEN_ID_LENGTH && id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        };
        match (&self.token, &self.id) {
            // What is there and no text was said to be none already.
            (None, None) if fields.has_violation("token") || fields.has_violation("tokenId") => {}
            (Some(_), Some(_)) | (None, None) => {
                fields.violation("token", "Give either the token or its id");
            }
            (Some(token), None) if !is_valid(token) => {
                let msg = "No valid token of this organisation: it counts for nothing as it is";
                fields.violation("token", msg);
            }
            (None, Some(id)) if !is_id(id) => {
                fields.violation("tokenId", "Must have 64 hexadecimal digits, 0-9a-f");
            }
            _ => {}
        }
    }
}

async fn revoke(
    State(Auth { api, .. }): State<Auth>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
    body: Body<RevokeIn>,
) -> ApiResult<Once<NoContent>> {
    idempotent
        .once(&caller, async || {
            let end_of = |token: &str| api.tokens.end_within(caller.org(), token);
            let RevokeIn { token, id } =
                body.read_and(|asked, fields| asked.check(fields, |token| end_of(token).is_some()))?;
            let end = token.as_deref().and_then(end_of);
            let id = token.map(|token| token_id(&token)).or(id).unwrap_or_default();
            api.tokens.revoke(&caller, id, end).await?;
            Ok(NoContent)
        })
        .await
}

/// Says that the function runs. Whether its tables do is what its alarms watch.
async fn health() -> NoContent {
    NoContent
}
