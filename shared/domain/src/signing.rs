//! Signatures by the Standard Webhooks specification (<https://www.standardwebhooks.com>):
//! `v1` is HMAC-SHA256 with a shared secret, `v1a` is ed25519 with a key pair.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::error::{Result, corrupt};
use runtime::random::{self, Random};

/// The header that every delivery carries, so that no API of ours takes one for a call: an endpoint whose
/// URL is a `send-example` or `bulk-replay` would make messages for ever.
pub const DELIVERY_HEADER: &str = "postrider-delivery";

/// The default kind of a new endpoint's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A shared secret, `whsec_…`.
    Hmac256,
    /// A key pair, `whsk_…` and `whpk_…`.
    Ed25519,
}

/// Length of a generated shared secret; 24 to 75 bytes are allowed.
const SECRET_LENGTH: usize = 24;
const SECRET_LENGTHS: std::ops::RangeInclusive<usize> = 24..=75;

/// What an endpoint's webhooks are signed with.
#[derive(Clone, PartialEq, Eq)]
pub enum SigningKey {
    /// The shared secret's bytes.
    Hmac256(Vec<u8>),
    /// The private key's seed.
    Ed25519([u8; 32]),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// A new key of that kind.
    pub fn generate(kind: KeyKind, random: &dyn Random) -> Self {
        match kind {
            KeyKind::Hmac256 => Self::Hmac256(random::bytes::<SECRET_LENGTH>(random).to_vec()),
            KeyKind::Ed25519 => Self::Ed25519(random::bytes(random)),
        }
    }

    /// Reads a key as its owner writes it: `whsec_` + base64 of 24 to 75 bytes (the prefix may be
    /// left out), or `whsk_` + base64 of a seed (32 bytes) or of seed and public key (64 bytes).
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(text) = text.strip_prefix("whsk_") {
            let bytes = BASE64.decode(text).ok()?;
            let seed: [u8; 32] = bytes.get(..32)?.try_into().ok()?;
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
            let fits = bytes.len() == 32 || bytes.get(32..) == Some(pair.public_key().as_ref());
            return fits.then_some(Self::Ed25519(seed));
        }
        let bytes = BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
        SECRET_LENGTHS.contains(&bytes.len()).then_some(Self::Hmac256(bytes))
    }

    /// The key in full, as it is stored (sealed).
    pub fn private_text(&self) -> String {
        match self {
            Self::Hmac256(bytes) => format!("whsec_{}", BASE64.encode(bytes)),
            Self::Ed25519(seed) => format!("whsk_{}", BASE64.encode(seed)),
        }
    }

    /// What a receiver verifies with: the shared secret, or the public key.
    ///
    /// # Errors
    /// `Corrupt` if the seed is none.
    pub fn verifying_text(&self) -> Result<String> {
        Ok(match self {
            Self::Hmac256(_) => self.private_text(),
            Self::Ed25519(seed) => format!("whpk_{}", BASE64.encode(pair(seed)?.public_key().as_ref())),
        })
    }

    fn sign(&self, signed: &[u8]) -> Result<String> {
        Ok(match self {
            Self::Hmac256(bytes) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, bytes);
                format!("v1,{}", BASE64.encode(ring::hmac::sign(&key, signed)))
            }
            Self::Ed25519(seed) => format!("v1a,{}", BASE64.encode(pair(seed)?.sign(signed))),
        })
    }
}

/// What a receiver verifies with.
pub enum VerifyingKey {
    /// The key that signs, which of a shared secret is the same.
    Signing(SigningKey),
    /// The public half of a key pair.
    Ed25519([u8; 32]),
}

impl VerifyingKey {
    /// Reads a signing key, or the public half of one: `whpk_` + base64 of 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("whpk_") {
            Some(public) => BASE64.decode(public).ok()?.try_into().ok().map(Self::Ed25519),
            None => SigningKey::parse(text).map(Self::Signing),
        }
    }

    /// Whether one of a signature header's signatures is this key's. Others may be of keys that are being rotated.
    pub fn verifies(&self, header: &str, message_id: &str, timestamp_seconds: u64, body: &[u8]) -> bool {
        let mut signed = format!("{message_id}.{timestamp_seconds}.").into_bytes();
        signed.extend_from_slice(body);
        let given = header.split(' ').filter_map(|one| one.split_once(','));
        given.filter_map(|(version, given)| Some((version, BASE64.decode(given).ok()?))).any(
            |(version, given)| match (self, version) {
                (Self::Signing(SigningKey::Hmac256(secret)), "v1") => {
                    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                    ring::hmac::verify(&key, &signed, &given).is_ok()
                }
                (Self::Signing(SigningKey::Ed25519(seed)), "v1a") => {
                    pair(seed).is_ok_and(|pair| ed25519(pair.public_key().as_ref(), &signed, &given))
                }
                (Self::Ed25519(public), "v1a") => ed25519(public, &signed, &given),
                _ => false,
            },
        )
    }
}

fn ed25519(public: &[u8], signed: &[u8], given: &[u8]) -> bool {
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
    key.verify(signed, given).is_ok()
}

fn pair(seed: &[u8; 32]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|e| corrupt("a signing key")(e.to_string()))
}

/// The value of the signature header: one signature for each of `keys`, in their order.
///
/// # Errors
/// `Corrupt` if one of the keys is none.
pub fn signatures<'a>(
    keys: impl IntoIterator<Item = &'a SigningKey>,
    message_id: &str,
    timestamp_seconds: u64,
    body: &[u8],
) -> Result<String> {
    let mut signed = format!("{message_id}.{timestamp_seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let signatures: Result<Vec<_>> = keys.into_iter().map(|key| key.sign(&signed)).collect();
    Ok(signatures?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::random::SystemRandom;

    #[test]
    fn the_specifications_own_example() {
        // From the specification's reference libraries: secret, id, timestamp, body, signature.
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let value =
            signatures([&key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(value.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn several_keys_sign_in_order_and_both_kinds_verify() {
        let (a, b) = (
            SigningKey::generate(KeyKind::Hmac256, &SystemRandom::new()),
            SigningKey::generate(KeyKind::Ed25519, &SystemRandom::new()),
        );
        let value = signatures([&a, &b], "msg_x", 1, b"{}").unwrap();
        let (first, second) = value.split_once(' ').unwrap();
        assert!(first.starts_with("v1,") && second.starts_with("v1a,"));
        let public = BASE64.decode(b.verifying_text().unwrap().strip_prefix("whpk_").unwrap()).unwrap();
        let verifier = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
        verifier.verify(b"msg_x.1.{}", &BASE64.decode(&second[4..]).unwrap()).unwrap();
    }

    #[test]
    fn a_receiver_verifies_with_what_it_has() {
        for kind in [KeyKind::Hmac256, KeyKind::Ed25519] {
            let key = SigningKey::generate(kind, &SystemRandom::new());
            let other = SigningKey::generate(kind, &SystemRandom::new());
            let header = signatures([&other, &key], "msg_x", 1, b"{}").unwrap();
            for text in [key.private_text(), key.verifying_text().unwrap()] {
                let key = VerifyingKey::parse(&text).unwrap();
                assert!(key.verifies(&header, "msg_x", 1, b"{}"));
                for (header, id, at, body) in [
                    (&header[..], "msg_y", 1, b"{}"),
                    (&header, "msg_x", 2, b"{}"),
                    (&header, "msg_x", 1, b"[]"),
                    ("", "msg_x", 1, b"{}"),
                    ("v1,AAAA v1a,!", "msg_x", 1, b"{}"),
                ] {
                    assert!(!key.verifies(header, id, at, body), "{header} {id} {at}");
                }
            }
        }
        assert!(VerifyingKey::parse("whpk_c2hvcnQ=").is_none());
    }

    #[test]
    fn keys_are_read_as_written() {
        for kind in [KeyKind::Hmac256, KeyKind::Ed25519] {
            let key = SigningKey::generate(kind, &SystemRandom::new());
            assert_eq!(SigningKey::parse(&key.private_text()), Some(key));
        }
        assert_eq!(SigningKey::parse("whsec_c2hvcnQ="), None);
        assert_eq!(SigningKey::parse("whsec_!"), None);
        assert_eq!(SigningKey::parse("whsk_c2hvcnQ="), None);
    }
}
