//! Who calls, as an argument of a handler.

use axum::extract::{FromRef, FromRequestParts, MatchedPath};
use domain::auto_config::{self, AutoConfigKey};
use domain::caller::{Caller, Who};
use domain::capability::{self, Capabilities};
use domain::error::{Error, Result};
use domain::ids::{AppId, EndpointId, OrgId};
use domain::polling::{KEY_PREFIX, PollingKey};
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
        let token = bearer(&parts.headers)?;
        if token.starts_with(KEY_PREFIX) {
            return Err(Error::Unauthenticated(
                "A polling key (sk_poll_…) is for polling its endpoint alone.",
            )
            .into());
        }
        if token.starts_with(auto_config::KEY_PREFIX) {
            return Err(Error::Unauthenticated(
                "An AutoConfig key (sk_auto_…) is for configuring and polling its endpoint alone.",
            )
            .into());
        }
        if token.starts_with(auto_config::TOKEN_PREFIX) {
            return Err(Error::Unauthenticated(
                "This is an AutoConfig token: the bearer token is the `tok` inside of it.",
            )
            .into());
        }
        let caller = Api::from_ref(state).tokens.admit(token).await?;
        if let Who::App { capabilities, .. } = &caller.who {
            let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
            capability::check(*capabilities, parts.method.as_str(), path)?;
        }
        Ok(Self(Caller { request_id: crate::request_id(&parts.extensions), ..caller }))
    }
}

/// Whoever has a key of one endpoint: within its application, and without any capability.
fn key_caller(parts: &Parts, api: &Api, token: &str, org: OrgId, app: AppId) -> Caller {
    let who = Who::App {
        org,
        app,
        feature_flags: Vec::new(),
        // Whoever expires an application's tokens does not mean the keys of its endpoints.
        made: api.clock.now(),
        capabilities: Capabilities::of_claim([]),
        session: None,
    };
    Caller { who, token_id: Some(super::token_id(token)), request_id: crate::request_id(&parts.extensions) }
}

/// Whoever acts on an endpoint, with a token or with a key of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointCaller {
    /// Who calls.
    pub caller: Caller,
    /// The one endpoint that the caller's key is for; none for a token.
    pub endpoint: Option<EndpointId>,
}

impl EndpointCaller {
    /// Refuses a key of another endpoint, in the way that one refuses what is not there.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn check(&self, endpoint: EndpointId) -> Result<()> {
        match self.endpoint {
            Some(own) if own != endpoint => Err(Error::NotFound("Endpoint")),
            _ => Ok(()),
        }
    }
}

/// A caller that may configure an endpoint: with a token of whichever kind, or with the AutoConfig key of that endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver(pub EndpointCaller);

impl<S> FromRequestParts<S> for Receiver
where
    S: Send + Sync,
    Api: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let token = bearer(&parts.headers)?;
        if !token.starts_with(auto_config::KEY_PREFIX) {
            let Authenticated(caller) = Authenticated::from_request_parts(parts, state).await?;
            return Ok(Self(EndpointCaller { caller, endpoint: None }));
        }
        const INVALID: Error =
            Error::Unauthenticated("The AutoConfig key is invalid, or was replaced by another.");
        let api = Api::from_ref(state);
        let key = AutoConfigKey::parse(token).ok_or(INVALID)?;
        if !api.store.is_auto_config_key(&key).await? {
            return Err(INVALID.into());
        }
        let caller = key_caller(parts, &api, token, key.org, key.app);
        Ok(Self(EndpointCaller { caller, endpoint: Some(key.endpoint) }))
    }
}

/// A caller that may poll an endpoint: with a token of whichever kind, or with a key of that endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poller(pub EndpointCaller);

impl<S> FromRequestParts<S> for Poller
where
    S: Send + Sync,
    Api: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let token = bearer(&parts.headers)?;
        if !token.starts_with(KEY_PREFIX) {
            // A receiver that made its endpoint a polling one polls it with the key that it has.
            return Receiver::from_request_parts(parts, state).await.map(|Receiver(caller)| Self(caller));
        }
        const INVALID: Error =
            Error::Unauthenticated("The polling key is invalid, has expired or was revoked.");
        let api = Api::from_ref(state);
        let key = PollingKey::parse(token).ok_or(INVALID)?;
        let org = api.store.polling_key_owner(&key).await?.ok_or(INVALID)?;
        let caller = key_caller(parts, &api, token, org, key.app);
        Ok(Self(EndpointCaller { caller, endpoint: Some(key.endpoint) }))
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
