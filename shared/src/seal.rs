//! Sealing: secrets are encrypted inside their items, on top of DynamoDB's own encryption.
//!
//! AES-256-GCM, a random 96-bit nonce for each seal, and the place where the sealed bytes belong
//! as additional data: bytes copied into another item do not open. Layout: version (1), nonce (12),
//! ciphertext and tag.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;

use crate::config::{ConfigError, Env};
use crate::error::{Error, Result, corrupt};
use crate::random::{self, SharedRandom};

const VERSION: u8 = 1;
const VARIABLE: &str = "POSTRIDER_ENCRYPTION_KEY";

/// Seals and opens.
#[derive(Clone)]
pub struct Sealer {
    key: std::sync::Arc<LessSafeKey>,
    random: SharedRandom,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// Reads `POSTRIDER_ENCRYPTION_KEY`: any text of 32 characters or more; the key is derived from it.
    ///
    /// # Errors
    /// It is missing or too short.
    pub fn read(env: &Env<'_>, random: SharedRandom) -> Result<Self, ConfigError> {
        let text = env.required(VARIABLE, "a random text of 32 characters or more")?;
        if text.len() < 32 {
            return Err(ConfigError::new(VARIABLE, "is too short; it should have 32 characters or more"));
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"postrider");
        let derived = salt.extract(text.as_bytes());
        let okm = derived.expand(&[b"seal v1"], &AES_256_GCM).expect("a key is short enough to derive");
        Ok(Self { key: std::sync::Arc::new(LessSafeKey::new(UnboundKey::from(okm))), random })
    }

    /// Seals `plain` for `place`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random::bytes(&*self.random);
        let mut body = plain.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut body)
            .expect("what we seal is far below 64 GiB");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend(nonce);
        sealed.extend(body);
        sealed
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// `Corrupt`: changed, moved, or sealed with another key.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let broken = || {
            corrupt("a sealed secret")(
                "it was changed, moved, or sealed with another POSTRIDER_ENCRYPTION_KEY",
            )
        };
        let Some((&VERSION, rest)) = sealed.split_first() else { return Err(broken()) };
        let Some((nonce, body)) = rest.split_first_chunk::<NONCE_LEN>() else { return Err(broken()) };
        let mut body = body.to_vec();
        let plain = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut body)
            .map_err(|_| broken())?;
        Ok::<_, Error>(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn opens_only_in_its_place_and_with_its_key() {
        let sealer = |key: &'static str| {
            Sealer::read(&Env::new(move |_| Some(key.to_owned())), Arc::new(SystemRandom::new())).unwrap()
        };
        let ours = sealer("0123456789abcdef0123456789abcdef");
        let sealed = ours.seal("EP#1", b"whsec_x");
        assert_eq!(ours.open("EP#1", &sealed).unwrap(), b"whsec_x");
        assert!(ours.open("EP#2", &sealed).is_err());
        assert!(sealer("another key of 32 characters or more").open("EP#1", &sealed).is_err());
        assert!(ours.open("EP#1", &sealed[..10]).is_err());
        assert!(Sealer::read(&Env::new(|_| Some("short".into())), Arc::new(SystemRandom::new())).is_err());
    }
}
