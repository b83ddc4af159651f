//! AutoConfig: a receiver says itself where its webhooks go. Its owner gives it a token, which holds all that it needs:
//! where the API is, which endpoint it is, what to verify webhooks with, and a key that configures this endpoint alone.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

use crate::ids::{AppId, EndpointId, Id, Ksuid, OrgId};

/// What a token begins with.
pub const TOKEN_PREFIX: &str = "auto_v1_";
/// What the key inside it begins with.
pub const KEY_PREFIX: &str = "sk_auto_";
/// Bytes of a key that are drawn.
pub const KEY_SECRET_LENGTH: usize = 24;

/// Bytes of an id.
const ID_LENGTH: usize = 20;

/// A key as its bearer has it: it names its endpoint, so that checking it is one read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AutoConfigKey {
    /// The organisation of the endpoint's application.
    pub org: OrgId,
    /// The endpoint's application.
    pub app: AppId,
    /// The one endpoint that it configures.
    pub endpoint: EndpointId,
    /// What nobody can guess.
    pub secret: [u8; KEY_SECRET_LENGTH],
}

impl std::fmt::Debug for AutoConfigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AutoConfigKey").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The id in the first bytes, and the rest.
fn id<I: Id>(bytes: &[u8]) -> Option<(I, &[u8])> {
    let (id, rest) = bytes.split_first_chunk::<ID_LENGTH>()?;
    Some((I::from_ksuid(Ksuid::from_bytes(*id)), rest))
}

impl AutoConfigKey {
    fn bytes(&self) -> Vec<u8> {
        let ids = [self.org.ksuid(), self.app.ksuid(), self.endpoint.ksuid()];
        ids.iter().flat_map(|id| *id.bytes()).chain(self.secret).collect()
    }

    /// Reads a key; none if the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(KEY_PREFIX)?).ok()?;
        let (org, rest) = id(&bytes)?;
        let (app, rest) = id(rest)?;
        let (endpoint, secret) = id(rest)?;
        Some(Self { org, app, endpoint, secret: secret.try_into().ok()? })
    }

    /// The key's text.
    pub fn text(&self) -> String {
        format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.bytes()))
    }

    /// What is stored of it, which covers the ids as well: none of them can be exchanged. It is compared instead of the
    /// key: how long that takes says nothing of the key.
    pub fn digest(&self) -> Vec<u8> {
        digest(&SHA256, &self.bytes()).as_ref().to_vec()
    }

    /// The token for the receiver: with the API's own address, and what webhooks are verified with.
    pub fn token(&self, server: &str, verifying: &str) -> String {
        let text = serde_json::json!({
            "aid": self.app.to_string(), "eid": self.endpoint.to_string(), "surl": server, "esec": verifying,
            "tok": self.text(),
        });
        format!("{TOKEN_PREFIX}{}", STANDARD.encode(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::clock::Timestamp;

    #[test]
    fn a_key_is_read_as_it_is_written_and_never_shown() {
        let id = |byte| Ksuid::new(Timestamp::from_ms(1_800_000_000_000), [byte; 15]);
        let key = AutoConfigKey {
            org: OrgId::from_ksuid(id(1)),
            app: AppId::from_ksuid(id(2)),
            endpoint: EndpointId::from_ksuid(id(3)),
            secret: [4; KEY_SECRET_LENGTH],
        };
        assert_eq!(AutoConfigKey::parse(&key.text()), Some(key));
        for text in ["", "sk_auto_", "sk_auto_AAAA", &key.text()[1..], &format!("{}A", key.text())] {
            assert_eq!(AutoConfigKey::parse(text), None, "{text}");
        }
        assert!(!format!("{key:?}").contains("secret"));
        // Whoever exchanges an id has another key.
        assert_ne!(key.digest(), AutoConfigKey { org: OrgId::from_ksuid(id(5)), ..key }.digest());
        let token = key.token("https://example.com", "whsec_x");
        let text = STANDARD.decode(token.strip_prefix(TOKEN_PREFIX).unwrap()).unwrap();
        let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&text["surl"], &text["esec"]), (&"https://example.com".into(), &"whsec_x".into()));
        assert_eq!(text["tok"].as_str(), Some(&*key.text()));
    }
}
