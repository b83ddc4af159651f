//! Keys that an endpoint can be polled with.

use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Authenticated, Caller, token_id};
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, Body, BodyType, Created, Fields, Idempotent, Json, NoContent, Once, Path, Registry,
    RequestBody,
};
use shared::polling::{KEY_LIFE_SECONDS_MAX, OLD_KEY_SECONDS_DEFAULT, OLD_KEY_SECONDS_MAX};
use shared::store::applications::Application;
use shared::store::endpoints::Endpoint;
use shared::store::polling_keys::KeptKey;
use shared::{Error, Result};

use crate::{EndpointPath, Endpoints};

const TAG: &str = "Polling";

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const TOKEN: &str = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/poller/token";
    to.get(TOKEN, get, |operation| {
        operation
            .named("v1.endpoint.get-poller-token", TAG)
            .summary("Get a polling endpoint's current key")
            .text("With it, and nothing else, the endpoint can be polled.")
            .returns("The key.")
    })
    .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/poller/token/rotate", rotate, |operation| {
        operation
            .named("v1.endpoint.rotate-poller-token", TAG)
            .summary("Rotate a polling endpoint's key")
            .text("Creates its first key, too. The old key stays valid for a while.")
            .returns("The new key.")
    })
    .delete(TOKEN, revoke, |operation| {
        operation
            .named("v1.endpoint.revoke-poller-tokens", TAG)
            .summary("Revoke a polling endpoint's keys")
            .text("All of them, at once. Tokens of the application still poll it.")
            .returns("None is valid any more.")
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiTokenOut")]
struct KeyOut {
    /// Names the key without holding it.
    id: String,
    /// The key: a bearer token.
    token: String,
    created_at: Timestamp,
    /// When it expires, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl From<KeptKey> for KeyOut {
    fn from(kept: KeptKey) -> Self {
        let token = kept.key.text();
        let id = format!("key_{}", &token_id(&token)[..27]);
        Self { id, token, created_at: kept.made, expires_at: kept.until() }
    }
}

struct RotateIn {
    life: Option<Duration>,
    grace: Duration,
}

impl RequestBody for RotateIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "RotatePollerTokenIn",
        &[
            ("expiry", "Seconds for which the new key is valid, up to a year; it does not expire if absent."),
            (
                "oldTokenExpiry",
                "Seconds for which the old key stays valid: 300 by default; 0 revokes it at once.",
            ),
        ],
    )
    .optional();

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let life = fields.number(&["expiry"], 1..=KEY_LIFE_SECONDS_MAX).value();
        let grace = fields.number(&["oldTokenExpiry"], 0..=OLD_KEY_SECONDS_MAX).value();
        Self {
            life: life.map(Duration::from_secs),
            grace: Duration::from_secs(grace.unwrap_or(OLD_KEY_SECONDS_DEFAULT)),
        }
    }
}

impl Endpoints {
    /// The endpoint that a path means, which is one that is polled.
    async fn polled(&self, caller: &Caller, path: &EndpointPath) -> Result<(Application, Endpoint)> {
        let (app, endpoint) = self.find(caller, path).await?;
        if endpoint.settings.destination.is_polled() {
            return Ok((app, endpoint));
        }
        let kind = endpoint.settings.destination.kind();
        Err(Error::Conflict(format!(
            "The endpoint has no polling key: its destination is {kind}, not polling."
        )))
    }
}

async fn get(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
) -> ApiResult<Json<KeyOut>> {
    let (app, endpoint) = state.polled(&caller, &path).await?;
    let kept = state.api.store.polling_key(app.id, endpoint.id).await?;
    Ok(Json(kept.ok_or(Error::NotFound("Polling key"))?.into()))
}

async fn rotate(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
    body: Body<RotateIn>,
) -> ApiResult<Once<Created<KeyOut>>> {
    idempotent
        .once(&caller, async || {
            let RotateIn { life, grace } = body.read()?;
            let store = &state.api.store;
            let kept = store.retry_on_conflict(async || {
                let (app, endpoint) = state.polled(&caller, &path).await?;
                store.rotate_polling_key(&caller, &app, &endpoint, life, grace).await
            });
            Ok(Created(kept.await?.into()))
        })
        .await
}

async fn revoke(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
) -> ApiResult<NoContent> {
    let store = &state.api.store;
    let revoked = store.retry_on_conflict(async || {
        let (app, endpoint) = state.polled(&caller, &path).await?;
        store.revoke_polling_keys(&caller, &app, &endpoint).await
    });
    revoked.await?;
    Ok(NoContent)
}
