//! Tokens that were logged out, wherever that was.

use std::time::Duration;

use crate::cache::Cache;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;

/// How long an instance believes that a token was not logged out.
const TRUSTED: Duration = Duration::from_secs(5);
/// Tokens that one instance remembers.
const TOKENS_MAX: usize = 10_000;

/// What is known of tokens: when it was looked up, and whether they were logged out by then.
pub struct Revocations {
    store: Store,
    known: Cache<String, (Timestamp, bool)>,
}

impl Revocations {
    pub fn new(store: Store) -> Self {
        Self { store, known: Cache::new(TOKENS_MAX) }
    }

    /// Whether `token` was logged out; a logout elsewhere may take [`TRUSTED`] to be seen.
    pub async fn contain(&self, token: &str, now: Timestamp) -> Result<bool> {
        let hash = hash(token);
        match self.known.get(&hash, now) {
            // That does not change any more.
            Some((_, true)) => return Ok(true),
            Some((at, false)) if now.since(at) < TRUSTED => return Ok(false),
            _ => {}
        }
        let revoked = self.store.is_token_revoked(&hash).await?;
        self.known.put(hash, (now, revoked), now);
        Ok(revoked)
    }

    /// Logs `token` out, which would otherwise count until `exp`.
    pub async fn add(&self, token: &str, exp: Timestamp, now: Timestamp) -> Result<()> {
        let hash = hash(token);
        self.store.revoke_token(&hash, exp).await?;
        self.known.put(hash, (now, true), now);
        Ok(())
    }
}

/// Names a token without holding it. Of what is signed, not of the signature: that may have several
/// spellings.
fn hash(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    let digest = ring::digest::digest(&ring::digest::SHA256, signed.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_what_is_signed() {
        assert_eq!(hash("a.b.c"), hash("a.b.d"));
        assert_ne!(hash("a.b.c"), hash("a.c.c"));
        assert_eq!(hash("a.b.c").len(), 64);
    }
}
