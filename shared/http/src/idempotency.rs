//! `Idempotency-Key` on any POST: a repeated request gets the first one's answer.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri};
use http_body_util::BodyExt as _;

use crate::ApiError;
use domain::caller::Caller;
use domain::error::{Chain, Error, Result};
use domain::idempotency::IdempotencyKey;
use runtime::clock::Clock;
use runtime::random::Random;
use store::Store;
use store::idempotency::Claim;

/// How long an unanswered request is believed to be running: no function has longer.
pub(crate) const RUNNING_MAX: Duration = Duration::from_secs(30);
/// How long a repeated request waits for the first one's answer.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// The idempotency key of a request; none if it has none.
///
/// # Errors
/// `Invalid` if the header is empty, too long, or no visible ASCII.
pub fn idempotency_key(
    headers: &HeaderMap,
    caller: &Caller,
    uri: &Uri,
    random: &dyn Random,
) -> Result<Option<IdempotencyKey>> {
    let Some(header) = headers.get("idempotency-key") else { return Ok(None) };
    let target = uri.path_and_query().map_or("", |uri| uri.as_str());
    IdempotencyKey::of_request(header.to_str().ok(), caller, target, random).map(Some)
}

/// Does `work` once for each key. Two requests at the same time: one works, the other waits for
/// its answer. Only answers of success are kept; after any other the key is free again.
pub async fn idempotent(
    store: &Store,
    clock: &dyn Clock,
    key: Option<IdempotencyKey>,
    work: impl AsyncFnOnce() -> Result<Response>,
) -> Response {
    let Some(key) = key else { return work().await.unwrap_or_else(|error| ApiError(error).into_response()) };
    match claim(store, clock, &key).await {
        Ok(None) => {}
        Ok(Some((status, body))) => {
            input::unknown::unread();
            let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::OK);
            return if body.is_empty() { status.into_response() } else { super::json_bytes(status, body) };
        }
        Err(error) => return ApiError(error).into_response(),
    }
    let response = work().await.unwrap_or_else(|error| ApiError(error).into_response());
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
