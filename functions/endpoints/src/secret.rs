//! What an endpoint's webhooks are signed with.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Authenticated;
use shared::clock::Timestamp;
use shared::http::{ApiResult, Body, BodyType, Fields, idempotency_key, idempotent, json};
use shared::signing::{KeyKind, SigningKey};
use shared::store::endpoints::Endpoint;
use shared::{Error, Result};

use crate::{Endpoints, first_sdks};

/// How long a key stays valid after a rotation, if nothing else is asked for, and at most.
const GRACE_SECONDS_DEFAULT: u64 = 86_400;
const GRACE_SECONDS_MAX: u64 = 604_800;

/// A rotation, as a body.
pub const ROTATE_IN: BodyType = BodyType {
    name: "EndpointSecretRotateIn",
    read: |fields| drop(rotation(fields)),
    optional: true,
    fields: &[
        ("key", "The new key, in the format of an endpoint's `secret`; generated if absent."),
        (
            "gracePeriodSeconds",
            "Seconds for which the old key stays valid: 86,400 by default; 0 revokes it at once.",
        ),
    ],
    parts: &[],
};

/// The new key, if the caller chose one, and how long the old one stays valid.
fn rotation(fields: &mut Fields<'_>) -> (Option<SigningKey>, Duration) {
    let key = chosen(fields, &["key"]);
    let grace = fields.number(&["gracePeriodSeconds"], 0..=GRACE_SECONDS_MAX).value();
    (key, Duration::from_secs(grace.unwrap_or(GRACE_SECONDS_DEFAULT)))
}

/// Reads a key that the caller chose, where there is one.
pub fn chosen(fields: &mut Fields<'_>, names: &'static [&'static str]) -> Option<SigningKey> {
    let text = fields.optional::<String>(names)?;
    let key = SigningKey::parse(&text);
    if key.is_none() {
        let msg = "Must be whsec_ and the base64 of 24 to 75 bytes, or an ed25519 key as whsk_";
        fields.violation(names[0], msg, "value_error");
    }
    key
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EndpointSecretOut")]
pub struct SecretOut {
    /// `whsec_` and a symmetric key, or `whpk_` and a public one.
    key: String,
    /// Keys before it that still sign, too, and until when; absent where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    previous_keys: Vec<PreviousKeyOut>,
}

/// A key that was rotated.
#[derive(Serialize, JsonSchema)]
pub struct PreviousKeyOut {
    /// When it stops signing.
    until: Timestamp,
}

fn shown(endpoint: &Endpoint, now: Timestamp) -> Result<Response> {
    let current = endpoint.keys.first().ok_or(Error::NotFound("Secret"))?;
    let until = endpoint.keys.iter().filter_map(|key| key.until).filter(|until| *until > now);
    let previous_keys = until.map(|until| PreviousKeyOut { until }).collect();
    Ok(json(StatusCode::OK, &SecretOut { key: current.key.verifying_text()?, previous_keys }))
}

pub async fn get(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
) -> ApiResult {
    let (_, endpoint) = state.find(&caller, &app, &endpoint).await?;
    Ok(shown(&endpoint, state.api.clock.now())?)
}

/// Answers with the new key, which current clients read; the first ones want an empty answer.
pub async fn rotate(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let api = &state.api;
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    let answer = idempotent(&api.store, &*api.clock, key, async || {
        let mut fields = Fields::parse_optional(&body.0)?;
        let (wanted, grace) = rotation(&mut fields);
        fields.finish()?;
        // Each turn means that somebody else's change came first, so this ends.
        loop {
            let (app, old) = state.find(&caller, &app, &endpoint).await?;
            // A new key is of the kind that the receiver verifies already.
            let kind = match old.keys.first().map(|current| &current.key) {
                Some(SigningKey::Hmac256(_)) => KeyKind::Hmac256,
                Some(SigningKey::Ed25519(_)) => KeyKind::Ed25519,
                None => state.key_kind,
            };
            let key = wanted.clone().unwrap_or_else(|| SigningKey::generate(kind, &*api.random));
            if let Some(new) = api.store.rotate_endpoint_key(&caller, &app, &old, key, grace).await? {
                return shown(&new, api.clock.now());
            }
        }
    })
    .await;
    let empty = answer.status() == StatusCode::OK && first_sdks::asked(&headers);
    Ok(if empty { StatusCode::NO_CONTENT.into_response() } else { answer })
}
