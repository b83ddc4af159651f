//! `Idempotency-Key` on any POST: a repeated request gets the first one's answer.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri};
use http_body_util::BodyExt as _;

use crate::auth::Caller;
use crate::clock::Clock;
use crate::error::{Chain, Error, Result};
use crate::random::{self, Random};
use crate::store::Store;
use crate::store::applications::Application;
use crate::store::idempotency::Claim;

/// How long an unanswered request is believed to be running: no function has longer.
pub(crate) const RUNNING_MAX: Duration = Duration::from_secs(30);
/// How long a repeated request waits for the first one's answer.
const WAIT_MAX: Duration = Duration::from_secs(20);
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
    /// The key of a request; none if it has none.
    ///
    /// # Errors
    /// `Invalid` if the header is empty, too long, or no visible ASCII.
    pub fn read(
        headers: &HeaderMap,
        caller: &Caller,
        uri: &Uri,
        random: &dyn Random,
    ) -> Result<Option<Self>> {
        let Some(header) = headers.get("idempotency-key") else { return Ok(None) };
        let key = header.to_str().ok().filter(|key| (1..=KEY_LENGTH_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| {
            let msg = format!("Must have 1 to {KEY_LENGTH_MAX} visible ASCII characters");
            Error::violation(["header", "idempotency-key"], msg, "value_error")
        })?;
        let uri = uri.path_and_query().map_or("", |uri| uri.as_str());
        Ok(Some(Self::scoped(&caller.subject(), key, uri, random)))
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Does `work` once for each key. Two requests at the same time: one works, the other waits for
/// its answer. Only answers of success are kept; after any other the key is free again.
pub async fn idempotent(
    store: &Store,
    clock: &dyn Clock,
    key: Option<IdempotencyKey>,
    work: impl AsyncFnOnce() -> Result<Response>,
) -> Response {
    let Some(key) = key else { return work().await.unwrap_or_else(Error::into_response) };
    match claim(store, clock, &key).await {
        Ok(None) => {}
        Ok(Some((status, body))) => {
            let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::OK);
            return if body.is_empty() { status.into_response() } else { super::json_bytes(status, body) };
        }
        Err(error) => return error.into_response(),
    }
    let response = work().await.unwrap_or_else(Error::into_response);
    if !response.status().is_success() {
        if let Err(error) = store.free_key(&key.hash, &key.owner).await {
            tracing::warn!(error = %Chain(&error), "an idempotency key stays claimed until its request counts as dead");
        }
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        return Response::from_parts(parts, axum::body::Body::empty());
    };
    let body = body.to_bytes();
    if let Err(error) = store.keep_answer(&key.hash, &key.owner, parts.status.as_u16(), &body).await {
        // What was asked for is done: saying otherwise would make the caller do it twice.
        tracing::error!(error = %Chain(&error), "an idempotent answer could not be kept");
    }
    Response::from_parts(parts, body.into())
}

/// None where the key is this request's, otherwise the answer of the earlier one.
async fn claim(store: &Store, clock: &dyn Clock, key: &IdempotencyKey) -> Result<Option<(u16, Vec<u8>)>> {
    let started = clock.now();
    let mut stale: Option<String> = None;
    let mut wait = Duration::from_millis(20);
    loop {
        match store.claim_key(&key.hash, &key.owner, None, stale.as_deref()).await? {
            Claim::Ours => return Ok(None),
            Claim::Earlier(record) => {
                if let Some(answer) = record.answer {
                    return Ok(Some(answer));
                }
                if clock.now().since(record.at) > RUNNING_MAX {
                    stale = Some(record.owner);
                    continue;
                }
            }
        }
        if clock.now().since(started) > WAIT_MAX {
            return Err(Error::Conflict(
                "Another request with this idempotency key is still running.".into(),
            ));
        }
        clock.sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}
