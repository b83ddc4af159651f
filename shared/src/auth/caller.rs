//! Who a request comes from, and what that may mean by what it names.

use axum::extract::{FromRef, FromRequestParts};
use http::HeaderMap;
use http::request::Parts;

use super::Tokens;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{AppId, OrgId, Reference};
use crate::store::tokens::Expiry;

/// Who a caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The company's backend: may do everything within its organisation.
    Org(OrgId),
    /// One customer of it: may see and change its own endpoints and log.
    App {
        /// The organisation that the application belongs to.
        org: OrgId,
        /// The only application that may be named.
        app: AppId,
        /// Names of event types' feature flags that this customer has.
        feature_flags: Vec<String>,
        /// When its token was made.
        made: Timestamp,
    },
    /// Postrider itself, on behalf of that organisation. No token says so.
    Postrider(OrgId),
}

/// The caller, as its token proves, and what names its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub who: Who,
    /// Names its token without holding it; Postrider itself has none.
    pub token_id: Option<String>,
    /// The request in API Gateway's logs, or the attempt that made Postrider do something.
    pub request_id: Option<String>,
}

impl From<Who> for Caller {
    fn from(who: Who) -> Self {
        Self { who, token_id: None, request_id: None }
    }
}

impl Caller {
    /// The organisation, whoever within it calls.
    pub const fn org(&self) -> OrgId {
        match &self.who {
            Who::Org(org) | Who::App { org, .. } | Who::Postrider(org) => *org,
        }
    }

    /// The organisation, if the caller acts for all of it.
    ///
    /// # Errors
    /// `Forbidden` for a customer's token.
    pub fn organisation_only(&self) -> Result<OrgId> {
        match &self.who {
            Who::Org(org) | Who::Postrider(org) => Ok(*org),
            Who::App { .. } => Err(Error::Forbidden("An organisation's token is needed for this operation.")),
        }
    }

    /// What the caller may mean by the application in a path. A customer's token can only mean its
    /// own application; where the path gives a uid, the caller's application must turn out to have it.
    ///
    /// # Errors
    /// `NotFound` where the path names another application than the token's.
    pub fn narrow(&self, reference: Reference<AppId>) -> Result<Reference<AppId>> {
        match (&self.who, &reference) {
            (Who::App { app, .. }, Reference::Id(named)) if app != named => {
                Err(Error::NotFound("Application"))
            }
            (Who::App { app, .. }, Reference::Uid(_)) => Ok(Reference::Id(*app)),
            _ => Ok(reference),
        }
    }

    /// Whether the caller's token was made after what was expired.
    ///
    /// # Errors
    /// `Unauthenticated` for a customer's token that was expired with all others.
    pub fn still_admitted(&self, expiries: &[Expiry], now: Timestamp) -> Result<()> {
        match &self.who {
            Who::App { made, .. } if Expiry::ended(expiries, *made, now) => {
                Err(Error::Unauthenticated("The token has expired."))
            }
            _ => Ok(()),
        }
    }

    /// Names the caller in audit events and in the scope of idempotency keys.
    pub fn subject(&self) -> String {
        match &self.who {
            Who::Org(org) => org.to_string(),
            Who::App { app, .. } => app.to_string(),
            Who::Postrider(_) => "postrider".to_owned(),
        }
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Tokens: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let caller = Tokens::from_ref(state).admit(bearer(&parts.headers)?).await?;
        Ok(Caller { request_id: crate::http::request_id(&parts.extensions), ..caller })
    }
}

/// The token of a request, which nobody has verified yet.
#[derive(Clone)]
pub struct Bearer(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        bearer(&parts.headers).map(|token| Self(token.to_owned()))
    }
}

/// The token of a request.
///
/// # Errors
/// `Unauthenticated` where there is none.
fn bearer(headers: &HeaderMap) -> Result<&str> {
    let Some(header) = headers.get(http::header::AUTHORIZATION) else {
        return Err(Error::Unauthenticated("No token: send `Authorization: Bearer <token>`."));
    };
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
    Tokens: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.organisation_only()?;
        Ok(Self(caller))
    }
}
