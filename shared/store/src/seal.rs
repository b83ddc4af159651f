//! Sealing: secrets are encrypted inside their items, on top of DynamoDB's own encryption.
//!
//! AES-256-GCM, a random 96-bit nonce for each seal, and the place where the sealed bytes belong
//! as additional data: bytes copied into another item do not open. Layout: version (2), the key's id
//! (4 bytes), nonce (12), ciphertext and tag. Version 1 had no id: every key is tried.
//!
//! There can be several keys: the first seals, all of them open. How to exchange them without a
//! second of downtime is in `docs/ROTATION.md`.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;

use domain::error::{Result, corrupt};
use runtime::config::{ConfigError, Env};
use runtime::random::{self, SharedRandom};

const VERSION: u8 = 2;
/// Without a key's id.
const VERSION_1: u8 = 1;
const VARIABLE: &str = "POSTRIDER_ENCRYPTION_KEY";
const LENGTH_MIN: usize = 32;
const ID_LENGTH: usize = 4;

/// Seals and opens.
#[derive(Clone)]
pub struct Sealer {
    /// The newest first; never empty.
    keys: Arc<[Key]>,
    random: SharedRandom,
}

struct Key {
    id: [u8; ID_LENGTH],
    key: LessSafeKey,
}

/// How many bytes are derived.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Key {
    fn derive(text: &str) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"postrider");
        let derived = salt.extract(text.as_bytes());
        let okm = derived.expand(&[b"seal v1"], &AES_256_GCM).expect("a key is short enough to derive");
        let mut id = [0; ID_LENGTH];
        derived
            .expand(&[b"seal key id"], Length(ID_LENGTH))
            .and_then(|okm| okm.fill(&mut id))
            .expect("an id is short enough to derive");
        Self { id, key: LessSafeKey::new(UnboundKey::from(okm)) }
    }

    fn open(&self, place: &str, nonce: [u8; NONCE_LEN], body: &[u8]) -> Option<Vec<u8>> {
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.key.open_in_place(nonce, Aad::from(place), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// Reads `POSTRIDER_ENCRYPTION_KEY`: any text of 32 characters or more, from which the key is
    /// derived, or a JSON list of them, the newest first.
    ///
    /// # Errors
    /// It is missing, or one of them is too short.
    pub fn read(env: &Env<'_>, random: SharedRandom) -> Result<Self, ConfigError> {
        let what = "a random text of 32 characters or more, or a JSON list of them, the newest first";
        let texts = env.secrets(VARIABLE, what)?;
        if texts.iter().any(|text| text.len() < LENGTH_MIN) {
            return Err(ConfigError::new(VARIABLE, "is too short; it should have 32 characters or more"));
        }
        Ok(Self { keys: texts.iter().map(|text| Key::derive(text)).collect(), random })
    }

    /// Seals `plain` for `place`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let newest = &self.keys[0];
        let nonce: [u8; NONCE_LEN] = random::bytes(&*self.random);
        let mut body = plain.to_vec();
        newest
            .key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut body)
            .expect("what we seal is far below 64 GiB");
        [&[VERSION], newest.id.as_slice(), &nonce, &body].concat()
    }

    /// Opens what was sealed for `place`, by whichever of the keys.
    ///
    /// # Errors
    /// `Corrupt`: changed, moved, or sealed with a key that is no longer there.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let opened = match sealed.split_first() {
            Some((&VERSION_1, rest)) => self.open_with(place, rest, |_| true),
            Some((&VERSION, rest)) => rest
                .split_first_chunk::<ID_LENGTH>()
                .and_then(|(id, rest)| self.open_with(place, rest, |key| key.id == *id)),
            _ => None,
        };
        opened.ok_or_else(|| {
            corrupt("a sealed secret")(
                "it was changed, moved, or sealed with a key that is not in POSTRIDER_ENCRYPTION_KEY",
            )
        })
    }

    fn open_with(&self, place: &str, sealed: &[u8], fits: impl Fn(&Key) -> bool) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().filter(|key| fits(key)).find_map(|key| key.open(place, *nonce, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::random::SystemRandom;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "another, with a comma: 32 characters or more";

    fn read(text: &str) -> Result<Sealer, ConfigError> {
        Sealer::read(&Env::new(|_| Some(text.to_owned())), Arc::new(SystemRandom::new()))
    }

    fn sealer(keys: &[&str]) -> Sealer {
        read(&serde_json::to_string(keys).unwrap()).unwrap()
    }

    /// INV-22
    #[test]
    fn opens_only_in_its_place_and_with_its_key() {
        let ours = read(OLD).unwrap();
        let sealed = ours.seal("EP#1", b"whsec_x");
        assert_eq!(ours.open("EP#1", &sealed).unwrap(), b"whsec_x");
        assert!(ours.open("EP#2", &sealed).is_err());
        assert!(read(NEW).unwrap().open("EP#1", &sealed).is_err());
        for end in 0..sealed.len() {
            assert!(ours.open("EP#1", &sealed[..end]).is_err());
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(ours.open("EP#1", &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn keys_are_exchanged_in_three_steps() {
        let (before, both, turned, after) =
            (sealer(&[OLD]), sealer(&[OLD, NEW]), sealer(&[NEW, OLD]), sealer(&[NEW]));
        let (early, late) = (before.seal("EP#1", b"x"), turned.seal("EP#1", b"x"));
        // While one step is rolled out, instances before and after it open what the others seal.
        for (sealer, opens_early, opens_late) in
            [(&before, true, false), (&both, true, true), (&turned, true, true), (&after, false, true)]
        {
            assert_eq!(sealer.open("EP#1", &early).is_ok(), opens_early);
            assert_eq!(sealer.open("EP#1", &late).is_ok(), opens_late);
        }
        assert!(before.open("EP#1", &both.seal("EP#1", b"x")).is_ok());
        assert!(after.open("EP#1", &turned.seal("EP#1", b"x")).is_ok());
    }

    #[test]
    fn what_was_sealed_by_the_first_version_opens() {
        // Sealed without a key's id, by OLD, for EP#1.
        let sealer = sealer(&[NEW, OLD]);
        let sealed = read(OLD).unwrap().seal("EP#1", b"whsec_x");
        let first: Vec<u8> = [&[VERSION_1], &sealed[1 + ID_LENGTH..]].concat();
        assert_eq!(sealer.open("EP#1", &first).unwrap(), b"whsec_x");
        assert!(sealer.open("EP#2", &first).is_err());
        assert!(read(NEW).unwrap().open("EP#1", &first).is_err());
    }

    #[test]
    fn what_is_no_key_stops_the_start() {
        for (text, problem) in [
            ("short".to_owned(), "is too short"),
            (format!("[\"{OLD}\",\"short\"]"), "is too short"),
            (format!("[\"{OLD}\""), "is no JSON list"),
            ("[]".to_owned(), "is no JSON list"),
            (format!("[[\"{OLD}\"]]"), "is no JSON list"),
            (String::new(), "is not set"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("POSTRIDER_ENCRYPTION_KEY: {problem}")), "{error}");
            assert!(!error.contains(OLD), "{error}");
        }
    }
}
