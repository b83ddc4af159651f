//! Signatures of webhooks as HTTP messages: RFC 9421 with ed25519, over a digest of the body (RFC 9530), by a key of
//! the organisation whose public half anybody can fetch as a JSON Web Key (RFC 7517, RFC 8037).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use runtime::clock::Timestamp;
use runtime::random::{self, Random};

use crate::error::{Error, Result, corrupt};

/// What endpoints call the style in which webhooks carry such a signature.
pub const STYLE: &str = "rfc9421";
/// What tells webhooks' signatures from others' (RFC 9421, 2.3).
const TAG: &str = "webhook";
/// What the signature is called within its headers.
const LABEL: &str = "webhook";
/// For how long copies of the public keys are used without asking: the `max-age` of their response.
pub const PUBLISHED_FOR: Duration = Duration::from_secs(300);
/// How long a new key is published before it signs, so that every copy has it by then. Instances use a key that they
/// have read for up to a minute, and clocks differ.
pub const SIGNS_AFTER: Duration = Duration::from_secs(600);
/// Keys of one organisation that were rotated and are still published.
pub const OLD_KEYS_MAX: usize = 10;

/// A key of an organisation.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpKey {
    /// The private key's seed.
    seed: [u8; 32],
    /// From when on it signs.
    pub from: Timestamp,
    /// When it ends; the newest has no end.
    pub until: Option<Timestamp>,
}

impl std::fmt::Debug for HttpKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpKey")
            .field("from", &self.from)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// 32 bytes as base64url, what a JSON Web Key calls `x`.
    pub x: String,
    /// When it ends.
    pub until: Option<Timestamp>,
}

impl PublicKey {
    /// The key's name: its thumbprint (RFC 7638, with the members of RFC 8037).
    pub fn id(&self) -> String {
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x);
        URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
    }
}

impl HttpKey {
    /// A key of that seed.
    pub const fn new(seed: [u8; 32], from: Timestamp, until: Option<Timestamp>) -> Self {
        Self { seed, from, until }
    }

    /// The seed, to be stored sealed.
    pub const fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    fn pair(&self) -> Result<Ed25519KeyPair> {
        Ed25519KeyPair::from_seed_unchecked(&self.seed).map_err(|e| corrupt("a signing key")(e.to_string()))
    }

    /// The public half.
    ///
    /// # Errors
    /// `Corrupt` if the seed is none.
    pub fn public(&self) -> Result<PublicKey> {
        Ok(PublicKey { x: URL_SAFE_NO_PAD.encode(self.pair()?.public_key()), until: self.until })
    }

    /// The headers that sign a webhook.
    ///
    /// # Errors
    /// `Corrupt` if the seed is none.
    pub fn headers(&self, request: &SignedRequest<'_>) -> Result<[(&'static str, String); 3]> {
        let digest = format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, request.body)));
        let at = request.timestamp.to_string();
        let components = [
            ("@method", request.method),
            ("@target-uri", request.target),
            ("content-digest", digest.as_str()),
            ("content-type", request.content_type.trim()),
            ("webhook-id", request.message),
            ("webhook-timestamp", at.as_str()),
        ];
        let id = self.public()?.id();
        let parameters = format!(r#"created={at};keyid="{id}";alg="ed25519";tag="{TAG}""#);
        let (base, parameters) = base(&components, &parameters);
        let signature = STANDARD.encode(self.pair()?.sign(base.as_bytes()));
        Ok([
            ("content-digest", digest.clone()),
            ("signature-input", format!("{LABEL}={parameters}")),
            ("signature", format!("{LABEL}=:{signature}:")),
        ])
    }
}

/// What of a webhook is signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// `POST`, say.
    pub method: &'a str,
    /// The whole URL, as it is sent to: without user and fragment.
    pub target: &'a str,
    /// The header `content-type`.
    pub content_type: &'a str,
    /// The header `webhook-id`.
    pub message: &'a str,
    /// The header `webhook-timestamp`, in seconds: when the signature is made as well.
    pub timestamp: u64,
    /// The body.
    pub body: &'a [u8],
}

/// The signature base of components that are their own text (RFC 9421, 2.5), and the signature's parameters.
fn base(components: &[(&str, &str)], parameters: &str) -> (String, String) {
    let names: Vec<String> = components.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let parameters = format!("({});{parameters}", names.join(" "));
    let lines = components.iter().map(|(name, value)| format!("\"{name}\": {value}\n"));
    (lines.collect::<String>() + "\"@signature-params\": " + &parameters, parameters)
}

/// An organisation's first key, which signs at once.
pub fn first_key(now: Timestamp, random: &dyn Random) -> HttpKey {
    HttpKey::new(random::bytes(random), now, None)
}

/// The key that signs at that time.
pub fn signing_at(keys: &[HttpKey], at: Timestamp) -> Option<&HttpKey> {
    keys.iter().find(|key| key.from <= at && key.until.is_none_or(|until| until > at))
}

/// The keys after a rotation, the newest first. Those until now stay published for `grace`, and none for longer than an
/// earlier rotation left it: without `grace` the new one is alone. Where that is long enough, it signs once every copy
/// of the public keys has it, and at once otherwise.
///
/// # Errors
/// `LimitReached` where too many old keys would be published.
pub fn rotated(
    keys: &[HttpKey],
    grace: Duration,
    now: Timestamp,
    random: &dyn Random,
) -> Result<Vec<HttpKey>> {
    let end = now.after(grace);
    let old = keys
        .iter()
        .map(|old| HttpKey { until: Some(old.until.map_or(end, |until| until.min(end))), ..old.clone() });
    let old: Vec<_> = old.filter(|old| old.until.is_some_and(|until| until > now)).collect();
    if old.len() > OLD_KEYS_MAX {
        return Err(Error::LimitReached(format!(
            "{OLD_KEYS_MAX} old keys are still published: wait until one of them ends, or rotate with gracePeriodSeconds 0."
        )));
    }
    let waits = grace >= SIGNS_AFTER && signing_at(&old, now).is_some();
    let from = if waits { now.after(SIGNS_AFTER) } else { now };
    let mut keys = vec![HttpKey::new(random::bytes(random), from, None)];
    keys.extend(old);
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::random::SystemRandom;

    fn key(seed: &str) -> HttpKey {
        let seed = URL_SAFE_NO_PAD.decode(seed).unwrap().try_into().unwrap();
        HttpKey::new(seed, Timestamp::default(), None)
    }

    /// `test-key-ed25519` (RFC 9421, B.1.4).
    const RFC_9421: [&str; 2] =
        ["n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU", "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"];

    #[test]
    fn the_specifications_own_signature() {
        // RFC 9421, B.2.6.
        let components = [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ];
        let (base, parameters) = base(&components, r#"created=1618884473;keyid="test-key-ed25519""#);
        assert_eq!(
            parameters,
            r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#
        );
        let key = key(RFC_9421[0]);
        assert_eq!(key.public().unwrap().x, RFC_9421[1]);
        assert_eq!(
            STANDARD.encode(key.pair().unwrap().sign(base.as_bytes())),
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
        );
    }

    #[test]
    fn the_specifications_own_thumbprint() {
        // RFC 8037, A.1 to A.3.
        let public = key("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").public().unwrap();
        assert_eq!(public.x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(public.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_webhook_is_signed_with_its_body() {
        // The body and the digest of RFC 9530, B.1 (with its line's end).
        let request = SignedRequest {
            method: "POST",
            target: "https://example.com/foo?x=1",
            content_type: " application/json",
            message: "msg_1",
            timestamp: 7,
            body: b"{\"hello\": \"world\"}\n",
        };
        let [digest, input, signature] = key(RFC_9421[0]).headers(&request).unwrap();
        assert_eq!(
            digest,
            ("content-digest", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:".into())
        );
        let id = key(RFC_9421[0]).public().unwrap().id();
        let components =
            r#"("@method" "@target-uri" "content-digest" "content-type" "webhook-id" "webhook-timestamp")"#;
        assert_eq!(
            input.1,
            format!(r#"webhook={components};created=7;keyid="{id}";alg="ed25519";tag="webhook""#)
        );
        assert!(signature.1.starts_with("webhook=:") && signature.1.ends_with("==:"), "{signature:?}");
    }

    #[test]
    fn a_new_key_is_published_before_it_signs() {
        let at = |seconds| Timestamp::default().after(Duration::from_secs(seconds));
        let random = &SystemRandom::new();
        let day = Duration::from_secs(86_400);
        let first = vec![first_key(at(1_000), random)];
        assert_eq!(signing_at(&first, at(999)), None);
        let second = rotated(&first, day, at(2_000), random).unwrap();
        assert_eq!((second[0].from, second[0].until), (at(2_600), None));
        assert_eq!((second[1].seed(), second[1].until), (first[0].seed(), Some(at(2_000 + 86_400))));
        assert_eq!(signing_at(&second, at(2_599)), Some(&second[1]));
        assert_eq!(signing_at(&second, at(2_600)), Some(&second[0]));
        // Again, before the second one signs: the first goes on for as long as it may.
        let third = rotated(&second, day, at(2_100), random).unwrap();
        assert_eq!(signing_at(&third, at(2_599)), Some(&third[2]));
        assert_eq!(signing_at(&third, at(2_600)), Some(&third[1]));
        assert_eq!(signing_at(&third, at(2_700)), Some(&third[0]));
        // A leak: nothing old is left, and the new one signs at once.
        let leaked = rotated(&third, Duration::ZERO, at(90_000), random).unwrap();
        assert_eq!((leaked[0].from, signing_at(&leaked, at(90_000))), (at(90_000), Some(&leaked[0])));
        // Also while a rotation before is within its day: its key may be the one that leaked.
        let leaked = rotated(&third, Duration::ZERO, at(2_200), random).unwrap();
        assert_eq!((leaked.len(), signing_at(&leaked, at(2_200))), (1, Some(&leaked[0])));
        // A shorter day is one for all of them, and a longer one for none that has its end.
        let hour = Duration::from_secs(3_600);
        let ends = |keys: &[HttpKey]| keys.iter().map(|key| key.until).collect::<Vec<_>>();
        let shorter = rotated(&second, hour, at(2_100), random).unwrap();
        assert_eq!(ends(&shorter), [None, Some(at(5_700)), Some(at(5_700))]);
        let longer = rotated(&second, day * 2, at(2_100), random).unwrap();
        assert_eq!(ends(&longer), [None, Some(at(2_100 + 2 * 86_400)), Some(at(2_000 + 86_400))]);
        let mut many = first;
        for _ in 0..OLD_KEYS_MAX {
            many = rotated(&many, day, at(2_000), random).unwrap();
        }
        assert!(matches!(rotated(&many, day, at(2_000), random), Err(Error::LimitReached(_))));
    }
}
