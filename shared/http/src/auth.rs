//! Who is calling: JSON Web Tokens, verified by each function for itself.

mod extract;
mod keys;
mod revocation;

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use domain::error::{Error, Result};
use domain::ids::{AppId, OrgId};
use runtime::cache::Cache;
use runtime::clock::{SharedClock, Timestamp};
use runtime::config::{ConfigError, Env};
use store::Store;

use domain::caller::{Caller, Who};
use domain::capability::Capabilities;
use domain::integration::{IntegrationKey, KEY_PREFIX};
use domain::limits::TOKEN_LENGTH_MAX;
pub use extract::{Authenticated, Bearer, EndpointCaller, Organisation, Poller, Receiver};
use keys::Keys;
use revocation::Revocations;

/// How long an organisation's token lasts: 10 years.
pub const ORG_TOKEN_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long an application's token lasts that the token command makes.
pub const APP_TOKEN_LIFE: Duration = Duration::from_secs(28 * 24 * 3600);
/// How far `iat` and `nbf` may lie ahead: a minute of difference between two clocks is nobody's fault.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// Longer than any token lasts.
const FOR_GOOD: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Verified tokens that one instance remembers.
const VERIFIED_MAX: usize = 1_000;

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: Option<String>,
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feature_flags: Option<Vec<String>>,
    /// Absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<String>>,
    /// The session that the token belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(default, deserialize_with = "seconds")]
    iat: Option<u64>,
    /// `iat` in milliseconds: a token may be made in the second in which the older ones were expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat_ms: Option<u64>,
    #[serde(default, deserialize_with = "seconds")]
    nbf: Option<u64>,
    #[serde(default, deserialize_with = "seconds")]
    exp: Option<u64>,
}

/// A `NumericDate`, which may have a fraction (RFC 7519, section 2), in whole seconds.
fn seconds<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(from)? else { return Ok(None) };
    let fraction = |seconds: f64| (0.0..1e15).contains(&seconds).then_some(seconds as u64);
    let seconds = number.as_u64().or_else(|| number.as_f64().and_then(fraction));
    seconds.map(Some).ok_or_else(|| serde::de::Error::custom("no point in time"))
}

/// What a new token of an application says besides whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppAccess {
    /// Names of event types' feature flags.
    pub feature_flags: Vec<String>,
    /// What it allows.
    pub capabilities: Capabilities,
    /// The session that it belongs to.
    pub session: Option<String>,
    /// How long it lasts.
    pub life: Duration,
}

impl Default for AppAccess {
    fn default() -> Self {
        Self {
            feature_flags: Vec::new(),
            capabilities: Capabilities::ALL,
            session: None,
            life: APP_TOKEN_LIFE,
        }
    }
}

/// Verifies tokens, and makes them.
#[derive(Clone)]
pub struct Tokens {
    algorithm: Algorithm,
    /// Any of them, the newest first.
    verify: Arc<[DecodingKey]>,
    sign: Option<EncodingKey>,
    /// Only of a symmetric algorithm: to tell who sent a secret instead of a token.
    secrets: Arc<[String]>,
    /// Whose the tokens are that were verified lately, and until when: nearly every request brings the
    /// one that came before it. Found by all of the token, its signature included.
    verified: Arc<Cache<String, (Caller, Timestamp)>>,
    clock: SharedClock,
    revocations: Option<Arc<Revocations>>,
    /// How long the tokens last that are made; None for what each kind does.
    life: Option<Duration>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads `POSTRIDER_JWT_SECRET` (the secret; for RS… and EdDSA a PEM public key, and behind it a
    /// PEM private key if this installation makes tokens; or a JSON list of those, the newest first:
    /// the first signs, all of them verify) and `POSTRIDER_JWT_ALGORITHM`.
    ///
    /// # Errors
    /// They are missing, too short, or no keys.
    pub fn read(env: &Env<'_>, clock: SharedClock) -> Result<Self, ConfigError> {
        let Keys { algorithm, verify, sign, secrets } = Keys::read(env)?;
        Ok(Self {
            algorithm,
            verify: verify.into(),
            sign,
            secrets,
            verified: Arc::new(Cache::new(VERIFIED_MAX)),
            clock,
            revocations: None,
            life: None,
        })
    }

    /// A token for everything in `org`.
    ///
    /// # Errors
    /// This installation has no key to sign with.
    pub fn for_org(&self, org: OrgId) -> Result<String> {
        self.make(org.to_string(), None, None, ORG_TOKEN_LIFE)
    }

    /// A token for one application.
    ///
    /// # Errors
    /// This installation has no key to sign with.
    pub fn for_app(&self, org: OrgId, app: AppId, access: AppAccess) -> Result<String> {
        let life = access.life;
        self.make(app.to_string(), Some(org.to_string()), Some(access), life)
    }

    fn make(
        &self,
        sub: String,
        org: Option<String>,
        access: Option<AppAccess>,
        life: Duration,
    ) -> Result<String> {
        let Some(key) = &self.sign else {
            return Err(Error::Forbidden("This installation only verifies tokens: it holds no private key."));
        };
        let now = self.clock.now();
        let restricted = access.as_ref().filter(|access| access.capabilities != Capabilities::ALL);
        let names =
            |access: &AppAccess| access.capabilities.iter().map(|one| one.name().to_owned()).collect();
        let capabilities = restricted.map(names);
        let (flags, sid) = access.map(|access| (access.feature_flags, access.session)).unwrap_or_default();
        let claims = Claims {
            iss: Some("postrider".into()),
            sub,
            org,
            feature_flags: (!flags.is_empty()).then_some(flags),
            capabilities,
            sid,
            iat: Some(now.seconds()),
            iat_ms: Some(now.ms()),
            nbf: Some(now.seconds()),
            exp: Some(now.after(self.life.unwrap_or(life)).seconds()),
        };
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, key)
            .map_err(domain::error::corrupt("a token"))
    }

    /// These, making tokens that last that long.
    #[must_use]
    pub fn lasting(self, life: Duration) -> Self {
        Self { life: Some(life), ..self }
    }

    /// These, asking `store` which tokens were logged out or revoked.
    #[must_use]
    pub fn with_revocations(self, store: Store) -> Self {
        Self { revocations: Some(Arc::new(Revocations::new(store))), ..self }
    }

    /// Who bears `token`, if it was not logged out or revoked.
    ///
    /// # Errors
    /// As [`Tokens::verify`]; the store's own.
    pub async fn admit(&self, token: &str) -> Result<Caller> {
        if token.starts_with(KEY_PREFIX) {
            return self.integration(token).await;
        }
        let caller = self.known(token)?;
        if let (Some(revocations), Some(id)) = (&self.revocations, &caller.token_id)
            && revocations.contain(&caller, id, self.clock.now()).await?
        {
            return Err(Error::Unauthenticated("The token was logged out or revoked."));
        }
        if let Some(revocations) = &self.revocations
            && revocations.is_session_ended(&caller, self.clock.now()).await?
        {
            return Err(Error::Unauthenticated("The session has ended."));
        }
        Ok(caller)
    }

    /// Who bears the key of an integration. It is looked up each time: a new key ends it at once.
    async fn integration(&self, token: &str) -> Result<Caller> {
        const INVALID: Error =
            Error::Unauthenticated("The integration's key is invalid, or was replaced by another.");
        let key = IntegrationKey::parse(token).ok_or(INVALID)?;
        let Some(revocations) = &self.revocations else { return Err(INVALID) };
        let (org, feature_flags) = revocations.integration_of(&key).await?.ok_or(INVALID)?;
        let who = Who::App {
            org,
            app: key.app,
            feature_flags,
            // Whoever expires an application's tokens does not mean the keys of its integrations.
            made: self.clock.now(),
            capabilities: Capabilities::ALL,
            session: None,
        };
        Ok(Caller { token_id: Some(token_id(token)), ..Caller::from(who) })
    }

    /// Who bears `token`, as it was verified now or within the last minute.
    fn known(&self, token: &str) -> Result<Caller> {
        let now = self.clock.now();
        if let Some((caller, exp)) = self.verified.get(token, now)
            && exp > now
        {
            return Ok(caller);
        }
        let (caller, exp) = self.claims(token)?;
        let caller = Caller { token_id: Some(token_id(token)), ..caller };
        self.verified.put(token.to_owned(), (caller.clone(), exp), now);
        Ok(caller)
    }

    /// Logs an application's token out: from now on it is nobody's. Doing so again is no error.
    ///
    /// # Errors
    /// As [`Tokens::verify`]; `Forbidden` for an organisation's token; the store's own.
    pub async fn log_out(&self, token: &str) -> Result<()> {
        let (caller, exp) = self.claims(token)?;
        if !matches!(caller.who, Who::App { .. }) {
            let text = "Only an application's token can be logged out; an organisation's is revoked.";
            return Err(Error::Forbidden(text));
        }
        match &self.revocations {
            Some(revocations) => {
                revocations.log_out(caller.org(), token_id(token), exp, self.clock.now()).await
            }
            None => Ok(()),
        }
    }

    /// Until when `token` would count that is one of `org`'s, or of one of its applications; none if
    /// it is not.
    pub fn end_within(&self, org: OrgId, token: &str) -> Option<Timestamp> {
        self.claims(token).ok().filter(|(caller, _)| caller.org() == org).map(|(_, exp)| exp)
    }

    /// Revokes a token of `by`'s organisation, or of one of its applications: from now on it is nobody's.
    /// `until` is when it would end; where that is not known, it is revoked for good. Doing so again is
    /// no error.
    ///
    /// # Errors
    /// The store's own.
    pub async fn revoke(&self, by: &Caller, id: String, until: Option<Timestamp>) -> Result<()> {
        let now = self.clock.now();
        match &self.revocations {
            Some(revocations) => {
                let until = until.unwrap_or_else(|| now.after(FOR_GOOD));
                revocations.revoke(by, id, until, now).await
            }
            None => Ok(()),
        }
    }

    /// Who bears `token`.
    ///
    /// # Errors
    /// `Unauthenticated` for a token that is not ours, not yet or no longer valid, or no token.
    pub fn verify(&self, token: &str) -> Result<Caller> {
        self.claims(token).map(|(caller, _)| caller)
    }

    /// Who bears `token`, and until when.
    fn claims(&self, token: &str) -> Result<(Caller, Timestamp)> {
        const INVALID: Error = Error::Unauthenticated("Invalid token");
        if self.secrets.iter().any(|secret| secret == token) {
            return Err(Error::Unauthenticated(
                "The signing secret itself was sent as a token: make a token with it instead.",
            ));
        }
        if token.len() > TOKEN_LENGTH_MAX || is_critical(token) {
            return Err(INVALID);
        }
        let mut rules = Validation::new(self.algorithm);
        // The library would ask the machine's clock; the injected one is asked below.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let mut read = self.verify.iter().map(|key| jsonwebtoken::decode::<Claims>(token, key, &rules));
        let Some(claims) = read.find_map(|read| read.ok()).map(|token| token.claims) else {
            return Err(INVALID);
        };
        let now = self.clock.now();
        let exp = Timestamp::from_ms(claims.exp.ok_or(INVALID)?.saturating_mul(1000));
        if exp <= now {
            return Err(Error::Unauthenticated("The token has expired."));
        }
        let ahead = |at: Option<u64>| at.is_some_and(|at| at > now.after(CLOCK_SKEW_MAX).seconds());
        if ahead(claims.nbf) || ahead(claims.iat) {
            return Err(Error::Unauthenticated("The token is not valid yet."));
        }
        // A token that does not say when it was made is older than all that do.
        let made = claims.iat_ms.or(claims.iat.map(|iat| iat.saturating_mul(1000))).unwrap_or_default();
        let who = match (
            claims.sub.parse::<OrgId>(),
            claims.sub.parse::<AppId>(),
            claims.org.map(|o| o.parse::<OrgId>()),
        ) {
            (Ok(org), _, _) => Who::Org(org),
            (_, Ok(app), Some(Ok(org))) => Who::App {
                org,
                app,
                feature_flags: claims.feature_flags.unwrap_or_default(),
                made: Timestamp::from_ms(made),
                capabilities: claims.capabilities.map_or(Capabilities::ALL, |names| {
                    Capabilities::of_claim(names.iter().map(String::as_str))
                }),
                session: claims.sid,
            },
            _ => return Err(INVALID),
        };
        Ok((who.into(), exp))
    }
}

/// Whether a token's header has `crit`: extensions that whoever reads it must understand, and we understand
/// none (RFC 7515, section 4.1.11).
fn is_critical(token: &str) -> bool {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
    header.get("crit").is_some()
}

/// Names a token without holding it: a digest of what is signed in it, in hexadecimal digits. Not of the
/// signature, which may have several spellings.
pub fn token_id(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    let digest = ring::digest::digest(&ring::digest::SHA256, signed.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
