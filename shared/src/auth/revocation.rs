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

    /// Whether the token of that id was logged out; a logout elsewhere may take [`TRUSTED`] to be seen.
    pub async fn contain(&self, id: &str, now: Timestamp) -> Result<bool> {
        match self.known.get(&id.to_owned(), now) {
            // That does not change any more.
            Some((_, true)) => return Ok(true),
            Some((at, false)) if now.since(at) < TRUSTED => return Ok(false),
            _ => {}
        }
        let revoked = self.store.is_token_revoked(id).await?;
        self.known.put(id.to_owned(), (now, revoked), now);
        Ok(revoked)
    }

    /// Logs a token out, which would otherwise count until `exp`.
    pub async fn add(&self, id: String, exp: Timestamp, now: Timestamp) -> Result<()> {
        self.store.revoke_token(&id, exp).await?;
        self.known.put(id, (now, true), now);
        Ok(())
    }
}
