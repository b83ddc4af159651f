//! The keys of tokens, as the environment has them.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use runtime::config::{ConfigError, Env};

/// Most bytes of keys. Lambda takes 4 KB of variables in all, and the others are half a KB to one: a pair of
/// RSA-2048 and the public key of the one before it fit, a pair of RSA-4096 does not.
pub(super) const SECRETS_LENGTH_MAX: usize = 2_800;
/// Shortest secret: RFC 7518 section 3.2 wants as many bits as the hash has.
const SECRET_LENGTH_MIN: usize = 32;

/// What signs and verifies tokens.
pub(super) struct Keys {
    pub(super) algorithm: Algorithm,
    /// The newest first; each of them verifies.
    pub(super) verify: Vec<DecodingKey>,
    /// None where this installation only verifies.
    pub(super) sign: Option<EncodingKey>,
    /// The secrets themselves, where keys are secrets.
    pub(super) secrets: Arc<[String]>,
}

impl Keys {
    /// Reads `POSTRIDER_JWT_SECRET` and `POSTRIDER_JWT_ALGORITHM`: see [`super::Tokens::read`].
    pub(super) fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
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
            });
        }
        let keys = secrets.iter().map(|secret| key_pair(secret, algorithm));
        let mut keys = keys.collect::<Result<Vec<_>, _>>().map_err(|text| ConfigError::new(SECRET, text))?;
        let sign = keys.first_mut().and_then(|(_, sign)| sign.take());
        let verify = keys.into_iter().map(|(verify, _)| verify).collect();
        Ok(Self { algorithm, verify, sign, secrets: Arc::default() })
    }
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
