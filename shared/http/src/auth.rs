//! Who is calling: JSON Web Tokens, verified by each function for itself.

mod extract;
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
pub use extract::{Authenticated, Bearer, Organisation};
use revocation::Revocations;

/// How long an organisation's token lasts: 10 years.
pub const ORG_TOKEN_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long an application's token lasts that the token command makes.
pub const APP_TOKEN_LIFE: Duration = Duration::from_secs(28 * 24 * 3600);
/// How far `iat` and `nbf` may lie ahead: a minute of difference between two clocks is nobody's fault.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// Longer than any token lasts.
const FOR_GOOD: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Most bytes of keys. Lambda takes 4 KB of variables in all, and the others are half a KB to one: a pair of
/// RSA-2048 and the public key of the one before it fit, a pair of RSA-4096 does not.
const SECRETS_LENGTH_MAX: usize = 2_800;
/// Shortest secret: RFC 7518 section 3.2 wants as many bits as the hash has.
const SECRET_LENGTH_MIN: usize = 32;
/// Longest token that is looked at.
const TOKEN_LENGTH_MAX: usize = 8 * 1024;
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
        const SECRET: &str = "POSTRIDER_JWT_SECRET";
        let algorithm = env.parsed(
            "POSTRIDER_JWT_ALGORITHM",
            "HS256, HS384, HS512, RS256, RS384, RS512 or EdDSA",
            Algorithm::HS256,
            |text| match text {
                "HS256" => Some(Algorithm::HS256),
                "HS384" => Some(Algorithm::HS384),
                "HS512" => Some(Algorithm::HS512),
                "RS256" => Some(Algorithm::RS256),
                "RS384" => Some(Algorithm::RS384),
                "RS512" => Some(Algorithm::RS512),
                "EdDSA" => Some(Algorithm::EdDSA),
                _ => None,
            },
        )?;
        let what = "the secret that signs tokens, of 32 characters or more, or a JSON list of them";
        let secrets = env.secrets(SECRET, what)?;
        let length: usize = secrets.iter().map(String::len).sum();
        if length > SECRETS_LENGTH_MAX {
            return Err(ConfigError::new(
                SECRET,
                format!(
                    "has {length} bytes of keys, of {SECRETS_LENGTH_MAX} that fit beside a function's other variables (4 KB in \
                     all); use EdDSA, whose pairs have 240, or leave the private keys of older pairs out"
                ),
            ));
        }
        if matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            if secrets.iter().any(|secret| secret.len() < SECRET_LENGTH_MIN) {
                return Err(ConfigError::new(SECRET, "is too short; it should have 32 characters or more"));
            }
            return Ok(Self {
                algorithm,
                verify: secrets.iter().map(|secret| DecodingKey::from_secret(secret.as_bytes())).collect(),
                sign: secrets.first().map(|secret| EncodingKey::from_secret(secret.as_bytes())),
                secrets: secrets.into(),
                verified: Arc::new(Cache::new(VERIFIED_MAX)),
                clock,
                revocations: None,
                life: None,
            });
        }
        let keys = secrets.iter().map(|secret| key_pair(secret, algorithm));
        let mut keys = keys.collect::<Result<Vec<_>, _>>().map_err(|text| ConfigError::new(SECRET, text))?;
        let sign = keys.first_mut().and_then(|(_, sign)| sign.take());
        let verify = keys.into_iter().map(|(verify, _)| verify).collect();
        Ok(Self {
            algorithm,
            verify,
            sign,
            secrets: Arc::default(),
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

/// The public key in a text of PEM blocks, and the private one if there is one; or what is wrong.
fn key_pair(
    text: &str,
    algorithm: Algorithm,
) -> std::result::Result<(DecodingKey, Option<EncodingKey>), &'static str> {
    let wrong = |_| "is not a PEM key that fits POSTRIDER_JWT_ALGORITHM";
    // One line in an environment file often spells its line ends.
    let text = text.replace("\\n", "\n");
    let (public, private) = split_pem(&text);
    let public = public.ok_or("should hold a PEM public key for this POSTRIDER_JWT_ALGORITHM")?.as_bytes();
    let private = private.map(str::as_bytes);
    let (verify, sign) = if algorithm == Algorithm::EdDSA {
        (DecodingKey::from_ed_pem(public), private.map(EncodingKey::from_ed_pem))
    } else {
        (DecodingKey::from_rsa_pem(public), private.map(EncodingKey::from_rsa_pem))
    };
    Ok((verify.map_err(wrong)?, sign.transpose().map_err(wrong)?))
}

/// The first public and the first private key in a text of PEM blocks.
fn split_pem(text: &str) -> (Option<&str>, Option<&str>) {
    let (mut public, mut private) = (None, None);
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        let Some(end) = rest[start..].find("-----END ").map(|at| start + at) else { break };
        let end = rest[end..].find('\n').map_or(rest.len(), |at| end + at + 1);
        let block = &rest[start..end];
        let slot = if block.starts_with("-----BEGIN PUBLIC") || block.starts_with("-----BEGIN RSA PUBLIC") {
            &mut public
        } else {
            &mut private
        };
        slot.get_or_insert(block);
        rest = &rest[end..];
    }
    (public, private)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use domain::caller::DEFAULT_ORG;
    use domain::ids::Reference;
    use runtime::clock::{Clock, Sleep};

    #[derive(Debug)]
    struct At(u64);
    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_ms(self.0 * 1000)
        }
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(std::future::ready(()))
        }
    }

    const SECRET: &str = "a secret of more than 32 characters";

    fn tokens(secret: &'static str, now: u64) -> Tokens {
        let env = Env::new(move |name| (name == "POSTRIDER_JWT_SECRET").then(|| secret.to_owned()));
        Tokens::read(&env, Arc::new(At(now))).unwrap()
    }

    #[test]
    fn tokens_name_their_bearer() {
        let at = tokens(SECRET, 1_800_000_000);
        let (org, app) = (DEFAULT_ORG.parse().unwrap(), "app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().unwrap());
        assert_eq!(at.verify(&at.for_org(org).unwrap()).unwrap().who, Who::Org(org));
        let flags = vec!["beta".to_owned()];
        let access = AppAccess { feature_flags: flags.clone(), ..AppAccess::default() };
        let token = at.for_app(org, app, access).unwrap();
        assert_eq!(
            at.verify(&token).unwrap().who,
            Who::App {
                org,
                app,
                feature_flags: flags,
                made: at.clock.now(),
                capabilities: Capabilities::ALL,
                session: None,
            }
        );
    }

    #[test]
    fn secrets_are_exchanged_in_three_steps() {
        const NEW: &str = "another, with a comma, of more than 32 characters";
        let org = DEFAULT_ORG.parse().unwrap();
        let list = |secrets: &[&str]| serde_json::to_string(secrets).unwrap().leak();
        let of = |text| tokens(text, 1_800_000_000);
        let (both, turned) = (of(list(&[SECRET, NEW])), of(list(&[NEW, SECRET])));
        let (before, after) = (of(SECRET), of(NEW));
        let (early, late) = (before.for_org(org).unwrap(), turned.for_org(org).unwrap());
        for (tokens, takes_early, takes_late) in
            [(&before, true, false), (&both, true, true), (&turned, true, true), (&after, false, true)]
        {
            assert_eq!(tokens.verify(&early).is_ok(), takes_early);
            assert_eq!(tokens.verify(&late).is_ok(), takes_late);
        }
        assert!(before.verify(&both.for_org(org).unwrap()).is_ok());
        for secret in [SECRET, NEW] {
            let error = both.verify(secret).unwrap_err().to_string();
            assert!(error.starts_with("The signing secret itself"), "{error}");
        }
    }

    #[test]
    fn others_tokens_are_refused() {
        let (ours, later) = (tokens(SECRET, 1_800_000_000), tokens(SECRET, 1_800_000_000 + 29 * 86_400));
        let theirs = tokens("another secret of more than 32 characters", 1_800_000_000);
        let org = DEFAULT_ORG.parse().unwrap();
        let app = "app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().unwrap();
        let message = |result: Result<Caller>| result.unwrap_err().to_string();
        assert_eq!(message(ours.verify(&theirs.for_org(org).unwrap())), "Invalid token");
        assert_eq!(
            message(later.verify(&ours.for_app(org, app, AppAccess::default()).unwrap())),
            "The token has expired."
        );
        assert_eq!(message(ours.verify("x.y.z")), "Invalid token");
        assert!(message(ours.verify(SECRET)).starts_with("The signing secret itself"));
        // `alg: none`, unsigned
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcmdfMjNyYjhZZEdxTVQwcUl6cGdHd2RYZkhpck11IiwiZXhwIjo5OTk5OTk5OTk5fQ.";
        assert_eq!(message(ours.verify(none)), "Invalid token");
    }

    #[test]
    fn a_token_that_is_known_ends_when_it_does_and_is_known_by_all_of_it() {
        #[derive(Debug, Default)]
        struct Passing(std::sync::atomic::AtomicU64);
        impl Clock for Passing {
            fn now(&self) -> Timestamp {
                Timestamp::from_ms(1_800_000_000_000 + self.0.load(std::sync::atomic::Ordering::Relaxed))
            }
            fn sleep(&self, _: Duration) -> Sleep {
                Box::pin(std::future::ready(()))
            }
        }
        let clock = Arc::new(Passing::default());
        let env = Env::new(|name| (name == "POSTRIDER_JWT_SECRET").then(|| SECRET.to_owned()));
        let tokens = Tokens::read(&env, clock.clone()).unwrap().lasting(Duration::from_secs(30));
        let token = tokens.for_org(DEFAULT_ORG.parse().unwrap()).unwrap();
        let first = tokens.known(&token).unwrap();
        assert_eq!(first.token_id.as_deref(), Some(token_id(&token).as_str()));
        assert_eq!(tokens.known(&token).unwrap(), first);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
        for other in [forged.as_str(), signed, &token[..token.len() - 1]] {
            assert!(tokens.known(other).is_err(), "{other}");
        }
        clock.0.store(30_000, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(tokens.known(&token).unwrap_err().to_string(), "The token has expired.");
    }

    /// A token with these parts, signed with [`SECRET`].
    fn signed(header: &str, claims: &str) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
        format!("{text}.{}", BASE64.encode(ring::hmac::sign(&key, text.as_bytes())))
    }

    #[test]
    fn dates_may_have_fractions_and_none_may_lie_ahead() {
        const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
        let at = tokens(SECRET, 1_800_000_000);
        let verified = |claims: &str| {
            let claims = format!(r#"{{"sub":"{DEFAULT_ORG}",{claims}}}"#);
            at.verify(&signed(HEADER, &claims)).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(verified(r#""exp":1800003600.25"#), Ok(()));
        assert_eq!(verified(r#""exp":1800003600,"iat":1799999999.9,"nbf":1799999999.9"#), Ok(()));
        assert_eq!(verified(r#""exp":1800003600,"iat":1800000050"#), Ok(()), "a clock that is a little off");
        assert_eq!(
            verified(r#""exp":1800003600,"iat":1800000061"#),
            Err("The token is not valid yet.".into())
        );
        assert_eq!(
            verified(r#""exp":1800003600,"nbf":1800000061"#),
            Err("The token is not valid yet.".into())
        );
        assert_eq!(verified(r#""exp":1799999999.5"#), Err("The token has expired.".into()));
        for none in [r#""iat":1"#, r#""exp":"soon""#, r#""exp":-1"#, r#""exp":null"#, r#""exp":1e300"#] {
            assert_eq!(verified(none), Err("Invalid token".into()), "{none}");
        }
    }

    #[test]
    fn extensions_that_have_to_be_understood_are_refused() {
        let at = tokens(SECRET, 1_800_000_000);
        let claims = format!(r#"{{"sub":"{DEFAULT_ORG}","exp":1800003600}}"#);
        assert!(at.verify(&signed(r#"{"alg":"HS256"}"#, &claims)).is_ok());
        let critical = signed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &claims);
        assert_eq!(at.verify(&critical).unwrap_err().to_string(), "Invalid token");
    }

    #[test]
    fn a_customer_means_its_own_application() {
        let org = DEFAULT_ORG.parse().unwrap();
        let app: AppId = "app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().unwrap();
        let other: AppId = "app_23rb8YdGqMT0qIzpgGwdXfHirMv".parse().unwrap();
        let caller: Caller = Who::App {
            org,
            app,
            feature_flags: vec![],
            made: Timestamp::default(),
            capabilities: Capabilities::ALL,
            session: None,
        }
        .into();
        assert_eq!(caller.narrow(Reference::Id(app)).unwrap(), Reference::Id(app));
        assert!(matches!(caller.narrow(Reference::Id(other)), Err(Error::NotFound(_))));
        assert!(matches!(caller.organisation_only(), Err(Error::Forbidden(_))));
    }

    #[test]
    fn a_tokens_id_is_of_what_is_signed() {
        assert_eq!(token_id("a.b.c"), token_id("a.b.d"));
        assert_ne!(token_id("a.b.c"), token_id("a.c.c"));
        // As `printf %s a.b | sha256sum` has it.
        assert!(token_id("a.b.c").starts_with("2e7336dc8eba"), "{}", token_id("a.b.c"));
    }

    #[test]
    fn short_secrets_stop_the_start() {
        let env = Env::new(|name| (name == "POSTRIDER_JWT_SECRET").then(|| "short".to_owned()));
        let error = Tokens::read(&env, Arc::new(At(0))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "POSTRIDER_JWT_SECRET: is too short; it should have 32 characters or more"
        );
    }

    #[test]
    fn keys_that_lambda_has_no_room_for_stop_the_start() {
        let env =
            Env::new(|name| (name == "POSTRIDER_JWT_SECRET").then(|| "x".repeat(SECRETS_LENGTH_MAX + 1)));
        let error = Tokens::read(&env, Arc::new(At(0))).unwrap_err().to_string();
        assert!(error.contains("has 2801 bytes of keys") && error.contains("use EdDSA"), "{error}");
    }
}
