//! `Idempotency-Key` on any POST: a repeated request gets the first one's answer.

use std::marker::PhantomData;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::request::Parts;
use http_body_util::BodyExt as _;

use crate::operation::Content;
use crate::{Api, ApiError, ApiResult, Responses};
use domain::caller::Caller;
use domain::error::{Chain, Error, Result};
use domain::idempotency::IdempotencyKey;
use runtime::clock::Clock;
use store::Store;
use store::idempotency::Claim;

/// How long an unanswered request is believed to be running: no function has longer.
pub(crate) const RUNNING_MAX: Duration = Duration::from_secs(30);
/// How long a repeated request waits for the first one's answer.
const WAIT_MAX: Duration = Duration::from_secs(20);
const HEADER: &str = "idempotency-key";

/// The `Idempotency-Key` of a request, and where responses are kept.
#[derive(Debug)]
pub struct Idempotent {
    given: Option<HeaderValue>,
    /// What the key counts for: path and query.
    target: String,
    api: Api,
}

impl<S> FromRequestParts<S> for Idempotent
where
    S: Send + Sync,
    Api: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str()).to_owned();
        Ok(Self { given: parts.headers.get(HEADER).cloned(), target, api: Api::from_ref(state) })
    }
}

impl Idempotent {
    /// The same, for keys that count within `scope` alone.
    #[must_use]
    pub fn within(self, scope: &str) -> Self {
        let path = self.target.split('?').next().unwrap_or_default();
        Self { target: format!("{path}?{scope}"), ..self }
    }

    /// The key, if `caller` sent one.
    ///
    /// # Errors
    /// `Invalid` if it is empty, too long, or no visible ASCII.
    pub fn key(&self, caller: &Caller) -> Result<Option<IdempotencyKey>> {
        let key = |given: &HeaderValue| {
            IdempotencyKey::of_request(given.to_str().ok(), caller, &self.target, &*self.api.random)
        };
        self.given.as_ref().map(key).transpose()
    }

    /// Does `work` once for each key of `caller`; after that, the response is the first one's.
    ///
    /// # Errors
    /// `Invalid` for an invalid key. The errors of `work` are in the response.
    pub async fn once<A: IntoResponse>(
        &self,
        caller: &Caller,
        work: impl AsyncFnOnce() -> Result<A>,
    ) -> ApiResult<Once<A>> {
        let key = self.key(caller)?;
        let response = idempotent(&self.api.store, &*self.api.clock, key, work).await;
        Ok(Once { response, answer: PhantomData })
    }

    /// The response to a request that changes nothing and may be repeated.
    ///
    /// # Errors
    /// `Invalid` for an invalid key.
    pub fn unkept<A: IntoResponse>(&self, caller: &Caller, answer: A) -> ApiResult<Once<A>> {
        self.key(caller)?;
        Ok(Once { response: answer.into_response(), answer: PhantomData })
    }
}

/// An `A`, or the response to an earlier request with the same key.
#[derive(Debug)]
pub struct Once<A> {
    response: Response,
    answer: PhantomData<fn() -> A>,
}

impl<A> Once<A> {
    /// Whether the work was done, by this request or an earlier one.
    pub fn is_success(&self) -> bool {
        self.response.status().is_success()
    }
}

impl<A> IntoResponse for Once<A> {
    fn into_response(self) -> Response {
        self.response
    }
}

impl<A: Responses> Responses for Once<A> {
    fn declared() -> Vec<(u16, Content)> {
        A::declared()
    }
}

/// Does `work` once for each key. Two requests at the same time: one works, the other waits for
/// its answer. Only answers of success are kept; after any other the key is free again.
async fn idempotent<A: IntoResponse>(
    store: &Store,
    clock: &dyn Clock,
    key: Option<IdempotencyKey>,
    work: impl AsyncFnOnce() -> Result<A>,
) -> Response {
    let answer = |done: Result<A>| {
        done.map_or_else(|error| ApiError(error).into_response(), IntoResponse::into_response)
    };
    let Some(key) = key else { return answer(work().await) };
    match claim(store, clock, &key).await {
        Ok(None) => {}
        Ok(Some((status, body))) => {
            input::unknown::unread();
            let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::OK);
            return if body.is_empty() { status.into_response() } else { super::json_bytes(status, body) };
        }
        Err(error) => return ApiError(error).into_response(),
    }
    let response = answer(work().await);
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
            Claim::Acquired => return Ok(None),
            Claim::Existing(record) => {
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
