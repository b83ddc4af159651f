//! What an endpoint's webhooks are signed with.

use std::time::Duration;

use axum::extract::State;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Authenticated;
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, Body, BodyType, Either, Fields, Idempotent, Json, NoContent, Once, Path, Registry, RequestBody,
};
use shared::signing::{KeyKind, SigningKey};
use shared::store::endpoints::Endpoint;
use shared::{Error, Result};

use crate::{EndpointPath, Endpoints, TAG, first_sdks};

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    to.get("/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret", get, |operation| {
        operation
            .named("v1.endpoint.get-secret", TAG)
            .summary("Get an endpoint's signing secret")
            .returns("The key.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate", rotate, |operation| {
        operation
            .named("v1.endpoint.rotate-secret", TAG)
            .summary("Rotate an endpoint's signing secret")
            .text("The old key stays valid for a while: webhooks carry a signature by each.")
            .returns("The new key.")
            .returns("The same, to SDKs 1.x, which expect no content.")
    })
}

/// How long a key stays valid after a rotation, if nothing else is asked for, and at most.
const GRACE_SECONDS_DEFAULT: u64 = 86_400;
const GRACE_SECONDS_MAX: u64 = 604_800;

/// The new key, if the caller chose one, and how long the old one stays valid.
pub struct RotateIn {
    pub key: Option<SigningKey>,
    pub grace: Duration,
}

impl RequestBody for RotateIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "EndpointSecretRotateIn",
        &[
            ("key", "The new key, in the format of an endpoint's `secret`; generated if absent."),
            (
                "gracePeriodSeconds",
                "Seconds for which the old key stays valid: 86,400 by default; 0 revokes it at once.",
            ),
        ],
    )
    .optional();

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let key = chosen(fields, &["key"]);
        let grace = fields.number(&["gracePeriodSeconds"], 0..=GRACE_SECONDS_MAX).value();
        Self { key, grace: Duration::from_secs(grace.unwrap_or(GRACE_SECONDS_DEFAULT)) }
    }
}

/// Reads a key that the caller chose, where there is one.
pub fn chosen(fields: &mut Fields<'_>, names: &'static [&'static str]) -> Option<SigningKey> {
    let text = fields.optional::<String>(names)?;
    let key = SigningKey::parse(&text);
    if key.is_none() {
        let msg = "Must be whsec_ and the base64 of 24 to 75 bytes, or an ed25519 key as whsk_";
        fields.violation(names[0], msg);
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

/// The key that an endpoint's webhooks are verified with.
pub fn shown(endpoint: &Endpoint, now: Timestamp) -> Result<Json<SecretOut>> {
    let current = endpoint.keys.first().ok_or(Error::NotFound("Secret"))?;
    let until = endpoint.keys.iter().filter_map(|key| key.until).filter(|until| *until > now);
    let previous_keys = until.map(|until| PreviousKeyOut { until }).collect();
    Ok(Json(SecretOut { key: current.key.verifying_text()?, previous_keys }))
}

impl Endpoints {
    /// The key that is wanted, or a new one of the kind that the receiver of `old` verifies already.
    pub fn next_key(&self, old: &Endpoint, wanted: Option<SigningKey>) -> SigningKey {
        let kind = match old.keys.first().map(|current| &current.key) {
            Some(SigningKey::Hmac256(_)) => KeyKind::Hmac256,
            Some(SigningKey::Ed25519(_)) => KeyKind::Ed25519,
            None => self.key_kind,
        };
        wanted.unwrap_or_else(|| SigningKey::generate(kind, &*self.api.random))
    }
}

pub async fn get(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
) -> ApiResult<Json<SecretOut>> {
    let (_, endpoint) = state.find(&caller, &path).await?;
    Ok(shown(&endpoint, state.api.clock.now())?)
}

/// Answers with the new key, which current clients read; the first ones want an empty answer.
pub async fn rotate(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
    headers: HeaderMap,
    body: Body<RotateIn>,
) -> ApiResult<Either<Once<Json<SecretOut>>, NoContent>> {
    let api = &state.api;
    let rotated = idempotent
        .once(&caller, async || {
            let RotateIn { key: wanted, grace } = body.read()?;
            let rotated = api.store.retry_on_conflict(async || {
                let (app, old) = state.find(&caller, &path).await?;
                if old.settings.destination.is_polled() {
                    return Err(Error::Conflict(
                        "This endpoint is polled, so nothing is sent to it: there is nothing to sign.".into(),
                    ));
                }
                let key = state.next_key(&old, wanted.clone());
                api.store.rotate_endpoint_key(&caller, &app, &old, key, grace).await
            });
            shown(&rotated.await?, api.clock.now())
        })
        .await?;
    let is_empty = rotated.is_success() && first_sdks::asked(&headers);
    Ok(if is_empty { Either::Second(NoContent) } else { Either::First(rotated) })
}
