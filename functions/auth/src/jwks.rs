//! The public keys of an organisation's HTTP message signatures, as a JSON Web Key Set (RFC 7517). Anybody may read
//! them: that is what they are for. An organisation without keys and one that is not there look the same.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use shared::Result;
use shared::auth::DEFAULT_ORG;
use shared::clock::Timestamp;
use shared::error::corrupt;
use shared::http::{ApiResult, Content, Json, Query, QueryParams, RawQuery, Registry, Responses};
use shared::http_signature::{PUBLISHED_FOR, PublicKey};
use shared::ids::OrgId;

use crate::Auth;

pub fn operations<R: Registry<Auth>>(to: R) -> R {
    to.get("/.well-known/jwks.json", read, |operation| {
        operation
            .named("v1.environment.jwks", "Environment")
            .summary("Get the public keys of an organisation's HTTP message signatures")
            .text(
                "A JSON Web Key Set of ed25519 keys, for endpoints whose `headerStyle` is `rfc9421`: the newest first, and rotated ones \
                 until their grace period ends. Empty where there is none. May be cached for five minutes.",
            )
            .parameter("org", "The organisation, `org_…`; the installation's first one if absent.")
            .returns("The keys.")
    })
}

/// Whose keys.
struct Of(OrgId);

impl QueryParams for Of {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        let asked = query.parsed("org", "an organisation's ID, org_ and 27 letters and digits", |text| {
            text.parse().ok()
        })?;
        match asked {
            Some(org) => Ok(Self(org)),
            None => DEFAULT_ORG.parse().map(Self).map_err(corrupt("the default organisation")),
        }
    }
}

/// A JSON Web Key Set.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JwksOut")]
struct Jwks {
    /// The newest first.
    keys: Vec<Jwk>,
}

/// A public key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JwkOut")]
struct Jwk {
    /// Always `OKP`.
    kty: &'static str,
    /// Always `Ed25519`.
    crv: &'static str,
    /// The key's 32 bytes as base64url.
    x: String,
    /// The key's ID: what a signature calls `keyid`.
    kid: String,
    /// Always `EdDSA`.
    alg: &'static str,
    /// Always `sig`.
    #[serde(rename = "use")]
    usage: &'static str,
}

impl From<PublicKey> for Jwk {
    fn from(key: PublicKey) -> Self {
        Self { kid: key.id(), x: key.x, kty: "OKP", crv: "Ed25519", alg: "EdDSA", usage: "sig" }
    }
}

/// The keys, which may be cached.
struct JwksOut(Jwks);

impl IntoResponse for JwksOut {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let cache = format!("public, max-age={}", PUBLISHED_FOR.as_secs());
        if let Ok(cache) = HeaderValue::from_str(&cache) {
            headers.insert(header::CACHE_CONTROL, cache);
        }
        (headers, Json(self.0)).into_response()
    }
}

impl Responses for JwksOut {
    fn declared() -> Vec<(u16, Content)> {
        vec![(200, Content::Json(SchemaGenerator::subschema_for::<Jwks>))]
    }
}

async fn read(State(Auth { api, .. }): State<Auth>, Query(Of(org)): Query<Of>) -> ApiResult<JwksOut> {
    let keys = api.store.published_http_keys(org).await?;
    Ok(JwksOut(Jwks { keys: keys.into_iter().map(Jwk::from).collect() }))
}
