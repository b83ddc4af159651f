//! Who calls, as an argument of a handler.

use axum::extract::{FromRef, FromRequestParts, MatchedPath};
use domain::caller::{Caller, Who};
use domain::capability;
use domain::error::{Error, Result};
use domain::signing::DELIVERY_HEADER;
use http::HeaderMap;
use http::request::Parts;

use crate::{Api, ApiError, ApiResult};

/// A caller with a token of whichever kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated(pub Caller);

impl<S> FromRequestParts<S> for Authenticated
where
    S: Send + Sync,
    Api: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let caller = Api::from_ref(state).tokens.admit(bearer(&parts.headers)?).await?;
        if let Who::App { capabilities, .. } = &caller.who {
            let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
            capability::check(*capabilities, parts.method.as_str(), path)?;
        }
        Ok(Self(Caller { request_id: crate::request_id(&parts.extensions), ..caller }))
    }
}

/// The token of a request, which nobody has verified yet.
#[derive(Clone)]
pub struct Bearer(pub String);

impl Bearer {
    /// The token of a request with these headers.
    ///
    /// # Errors
    /// `Unauthenticated` where there is none.
    pub fn read(headers: &HeaderMap) -> Result<Self> {
        bearer(headers).map(|token| Self(token.to_owned()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        Ok(Self(bearer(&parts.headers)?.to_owned()))
    }
}

/// The token of a request.
///
/// # Errors
/// `Unauthenticated` where there is none; `Forbidden` where the request is a delivery of ours.
fn bearer(headers: &HeaderMap) -> Result<&str> {
    if headers.contains_key(DELIVERY_HEADER) {
        return Err(Error::Forbidden(
            "This request is a webhook that Postrider delivers: an endpoint's URL cannot be an operation of this API.",
        ));
    }
    let mut all = headers.get_all(http::header::AUTHORIZATION).iter();
    let Some(header) = all.next() else {
        return Err(Error::Unauthenticated("No token: send `Authorization: Bearer <token>`."));
    };
    // API Gateway joins them with a comma, and then none of them is read: the same here.
    if all.next().is_some() {
        return Err(Error::Unauthenticated("There are several Authorization headers: send one."));
    }
    let token = header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()));
    token.ok_or(Error::Unauthenticated("The Authorization header is not `Bearer <token>`."))
}

/// A caller that acts for a whole organisation; a handler that takes it refuses all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation(pub Caller);

impl<S> FromRequestParts<S> for Organisation
where
    S: Send + Sync,
    Api: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, state).await?;
        caller.organisation_only()?;
        Ok(Self(caller))
    }
}
