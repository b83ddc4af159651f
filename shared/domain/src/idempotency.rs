//! Idempotency keys: which requests are one.

use runtime::hex;
use runtime::random::{self, Random};

use crate::application::Application;
use crate::caller::Caller;
use crate::error::{Error, Result};

/// Longest key.
pub const KEY_LENGTH_MAX: usize = 256;

/// A key, in the scope of its caller and of the full path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Names the record.
    pub hash: String,
    /// Distinguishes this request from others with the same key.
    pub owner: String,
}

impl IdempotencyKey {
    /// The key of a request to `target`, its path and query; `given` is what the caller wrote as its key,
    /// none if that is no text.
    ///
    /// # Errors
    /// `Invalid` if it is empty, too long, or no text.
    pub fn of_request(
        given: Option<&str>,
        caller: &Caller,
        target: &str,
        random: &dyn Random,
    ) -> Result<Self> {
        let key = given.filter(|key| (1..=KEY_LENGTH_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| {
            let msg = format!("Must have 1 to {KEY_LENGTH_MAX} visible ASCII characters");
            Error::violation(["header", "idempotency-key"], msg)
        })?;
        Ok(Self::scoped(&caller.subject(), key, target, random))
    }

    /// The key of a message that came by a queue: the one that its sender gave it, or else the id of its
    /// record, which is the same however often the queue hands it out. No request has the same key, as
    /// its path begins with a slash.
    pub fn of_record(app: &Application, given: Option<&str>, record: &str, random: &dyn Random) -> Self {
        let place = if given.is_some() { "queue" } else { "record" };
        let place = format!("{place} {}", app.id);
        Self::scoped(&app.org.to_string(), given.unwrap_or(record), &place, random)
    }

    fn scoped(subject: &str, key: &str, place: &str, random: &dyn Random) -> Self {
        // Lengths keep the parts apart.
        let scope = format!("{}:{subject}{}:{key}{}:{place}", subject.len(), key.len(), place.len());
        let digest = ring::digest::digest(&ring::digest::SHA256, scope.as_bytes());
        Self { hash: hex(&digest.as_ref()[..20]), owner: hex(&random::bytes::<8>(random)) }
    }

    /// The key of one part of a request that does several things, each by itself.
    #[must_use]
    pub fn of_part(&self, part: usize) -> Self {
        let scope = format!("{}:{part}", self.hash);
        let digest = ring::digest::digest(&ring::digest::SHA256, scope.as_bytes());
        Self { hash: hex(&digest.as_ref()[..20]), owner: self.owner.clone() }
    }
}
