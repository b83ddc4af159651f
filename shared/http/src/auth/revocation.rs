//! Tokens that were logged out or revoked, wherever that was.

use std::time::Duration;

use domain::caller::{Caller, Who};
use domain::error::Result;
use domain::ids::{AppId, OrgId};
use domain::integration::IntegrationKey;
use runtime::cache::Cache;
use runtime::clock::Timestamp;
use store::Store;
use store::tokens::Expiry;

/// How long an instance believes that an application's token was not logged out.
const TRUSTED: Duration = Duration::from_secs(5);
/// And that an organisation's was not revoked: it comes with every message, so it is looked up no more
/// often than a cache is filled anew.
const TRUSTED_ORGANISATION: Duration = Duration::from_secs(60);
/// Tokens that one instance remembers.
const TOKENS_MAX: usize = 10_000;

/// What is known of tokens: when it was looked up, and whether they counted no longer by then.
pub struct Revocations {
    store: Store,
    known: Cache<String, (Timestamp, bool)>,
    /// When sessions end, by application and name.
    sessions: Cache<(AppId, String), (Timestamp, Vec<Expiry>)>,
}

impl Revocations {
    pub fn new(store: Store) -> Self {
        Self { store, known: Cache::new(TOKENS_MAX), sessions: Cache::new(TOKENS_MAX) }
    }

    /// Whether the token of that id, which is `caller`'s, no longer counts. What was done elsewhere may
    /// take [`TRUSTED`] or [`TRUSTED_ORGANISATION`] to be seen.
    pub async fn contain(&self, caller: &Caller, id: &str, now: Timestamp) -> Result<bool> {
        let trusted = match caller.who {
            Who::Org(_) | Who::Postrider(_) => TRUSTED_ORGANISATION,
            Who::App { .. } => TRUSTED,
        };
        match self.known.get(id, now) {
            // That does not change any more.
            Some((_, true)) => return Ok(true),
            Some((at, false)) if now.since(at) < trusted => return Ok(false),
            _ => {}
        }
        let revoked = self.store.is_token_revoked(caller.org(), id).await?;
        self.known.put(id.to_owned(), (now, revoked), now);
        Ok(revoked)
    }

    /// Whether the session of `caller`'s token was ended. What was done elsewhere may take [`TRUSTED`] to be
    /// seen.
    pub async fn is_session_ended(&self, caller: &Caller, now: Timestamp) -> Result<bool> {
        let Who::App { app, made, session: Some(session), .. } = &caller.who else { return Ok(false) };
        let key = (*app, session.clone());
        let ends = match self.sessions.get(&key, now) {
            Some((at, ends)) if now.since(at) < TRUSTED => ends,
            _ => {
                let ends = self.store.session_expiries(*app, session).await?;
                self.sessions.put(key, (now, ends.clone()), now);
                ends
            }
        };
        Ok(Expiry::ended(&ends, *made, now))
    }

    /// The organisation and the feature flags of whoever has that key, if it is valid.
    pub async fn integration_of(&self, key: &IntegrationKey) -> Result<Option<(OrgId, Vec<String>)>> {
        self.store.integration_of(key).await
    }

    /// Logs a token out, which would otherwise count until `exp`.
    pub async fn log_out(&self, org: OrgId, id: String, exp: Timestamp, now: Timestamp) -> Result<()> {
        self.store.log_token_out(org, &id, exp).await?;
        self.known.put(id, (now, true), now);
        Ok(())
    }

    /// Revokes the token of that id on behalf of `by`, until when it would end by itself.
    pub async fn revoke(&self, by: &Caller, id: String, until: Timestamp, now: Timestamp) -> Result<()> {
        self.store.revoke_token(by, &id, until).await?;
        self.known.put(id, (now, true), now);
        Ok(())
    }
}
