//! The key by which an organisation's webhooks are signed as HTTP messages.

use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Organisation;
use shared::clock::Timestamp;
use shared::http::{ApiResult, Body, BodyType, Fields, Idempotent, Json, Once, Registry, RequestBody};
use shared::http_signature::HttpKey;
use shared::{Api, Result};

use crate::EventTypes;

/// How long the old keys stay published after a rotation, if nothing else is asked for, and at most.
const GRACE_SECONDS_DEFAULT: u64 = 86_400;
const GRACE_SECONDS_MAX: u64 = 604_800;

/// Adds the operations of this module.
pub fn operations<R: Registry<EventTypes>>(to: R, tag: &'static str) -> R {
    to.post("/api/v1/environment/signing-key/rotate", rotate, |operation| {
        operation
            .named("v1.environment.rotate-signing-key", tag)
            .summary("Rotate the organisation's key for HTTP message signatures")
            .text(
                "It signs the webhooks of endpoints whose `headerStyle` is `rfc9421`. The new key is published at \
                 `/.well-known/jwks.json` at once and signs after ten minutes, when every copy has it; the old ones stay published \
                 for the grace period. With less than ten minutes of it, the new key signs within a minute.",
            )
            .returns("The keys that are published now, the newest first.")
    })
}

/// How long the old keys stay published.
struct RotateIn(Duration);

impl RequestBody for RotateIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "SigningKeyRotateIn",
        &[(
            "gracePeriodSeconds",
            "Seconds for which the old keys stay published: 86,400 by default; 0 withdraws them at once.",
        )],
    )
    .optional();

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let grace = fields.number(&["gracePeriodSeconds"], 0..=GRACE_SECONDS_MAX).value();
        Self(Duration::from_secs(grace.unwrap_or(GRACE_SECONDS_DEFAULT)))
    }
}

#[derive(Serialize, JsonSchema)]
struct SigningKeysOut {
    /// The newest first.
    keys: Vec<SigningKeyOut>,
}

#[derive(Serialize, JsonSchema)]
struct SigningKeyOut {
    /// The key's ID, its thumbprint (RFC 7638): what signatures call `keyid`.
    kid: String,
    /// When it signs, or began to.
    from: Timestamp,
    /// Until when it is published; absent for the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl SigningKeysOut {
    fn new(keys: &[HttpKey]) -> Result<Self> {
        let shown =
            |key: &HttpKey| Ok(SigningKeyOut { kid: key.public()?.id(), from: key.from, until: key.until });
        Ok(Self { keys: keys.iter().map(shown).collect::<Result<_>>()? })
    }
}

async fn rotate(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
    body: Body<RotateIn>,
) -> ApiResult<Once<Json<SigningKeysOut>>> {
    idempotent
        .once(&caller, async || {
            let RotateIn(grace) = body.read()?;
            Ok(Json(SigningKeysOut::new(&api.store.rotate_http_key(&caller, grace).await?)?))
        })
        .await
}
