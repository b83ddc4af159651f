//! Integrations: third parties that act within an application, each by a key of its own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::clock::Timestamp;

use crate::ids::{AppId, Id as _, IntegrationId, Ksuid};

/// What an integration's key begins with.
pub const KEY_PREFIX: &str = "integsk_";
/// Bytes of a key that are drawn.
pub const KEY_SECRET_LENGTH: usize = 24;
/// Most feature flags of an integration, by the contract.
pub const FEATURE_FLAGS_MAX: usize = 25;

/// Bytes of an id.
const ID_LENGTH: usize = 20;

/// An integration as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// For people.
    pub name: String,
    /// Event types with these feature flags are shown to whoever has its key.
    pub feature_flags: Vec<String>,
    /// The digest of the only key that is valid; none before the first one was made.
    pub key: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it, or its key, was changed last.
    pub updated_at: Timestamp,
}

/// An integration's key as its bearer has it: it names the integration, so that checking it is one read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IntegrationKey {
    /// The application that it acts within.
    pub app: AppId,
    /// Whose it is.
    pub integration: IntegrationId,
    /// What nobody can guess.
    pub secret: [u8; KEY_SECRET_LENGTH],
}

impl std::fmt::Debug for IntegrationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntegrationKey").field("integration", &self.integration).finish_non_exhaustive()
    }
}

impl IntegrationKey {
    /// Reads a key; none if the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(KEY_PREFIX)?);
        let bytes: [u8; 2 * ID_LENGTH + KEY_SECRET_LENGTH] = bytes.ok()?.try_into().ok()?;
        let (app, rest) = bytes.split_first_chunk::<ID_LENGTH>()?;
        let (integration, secret) = rest.split_first_chunk::<ID_LENGTH>()?;
        Some(Self {
            app: AppId::from_ksuid(Ksuid::from_bytes(*app)),
            integration: IntegrationId::from_ksuid(Ksuid::from_bytes(*integration)),
            secret: secret.try_into().ok()?,
        })
    }

    /// The key's text.
    pub fn text(&self) -> String {
        let (app, integration) = (self.app.ksuid(), self.integration.ksuid());
        let bytes = [app.bytes().as_slice(), integration.bytes(), &self.secret].concat();
        format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What is stored of it. It is compared instead of the key: how long that takes says nothing of the key.
    pub fn digest(&self) -> Vec<u8> {
        ring::digest::digest(&ring::digest::SHA256, &self.secret).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_never_shown() {
        let id = |byte| Ksuid::new(Timestamp::from_ms(1_800_000_000_000), [byte; 15]);
        let key = IntegrationKey {
            app: AppId::from_ksuid(id(1)),
            integration: IntegrationId::from_ksuid(id(2)),
            secret: [3; KEY_SECRET_LENGTH],
        };
        assert_eq!(IntegrationKey::parse(&key.text()), Some(key));
        for text in ["", "integsk_", "integsk_AAAA", &key.text()[1..], &format!("{}A", key.text())] {
            assert_eq!(IntegrationKey::parse(text), None, "{text}");
        }
        assert!(!format!("{key:?}").contains("secret"));
        assert_ne!(key.digest(), IntegrationKey { secret: [4; KEY_SECRET_LENGTH], ..key }.digest());
    }
}
