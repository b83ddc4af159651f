//! Who a request comes from, and what that may mean by what it names.

use crate::capability::{self, Capabilities, Capability};
use crate::error::{Error, Result};
use crate::ids::{AppId, OrgId, Reference};
use crate::token::Expiry;
use runtime::clock::Timestamp;

/// The organisation of the token command, where none is named.
pub const DEFAULT_ORG: &str = "org_23rb8YdGqMT0qIzpgGwdXfHirMu";

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
        /// What its token allows.
        capabilities: Capabilities,
        /// The session that its token belongs to, as whoever asked for the token named it.
        session: Option<String>,
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

    /// Demands a capability that only some requests of an operation need. An organisation has all of them.
    ///
    /// # Errors
    /// `Forbidden` for a customer's token without it.
    pub fn demand(&self, capability: Capability) -> Result<()> {
        match &self.who {
            Who::App { capabilities, .. } => capability::demand(*capabilities, capability),
            Who::Org(_) | Who::Postrider(_) => Ok(()),
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

    /// Whether the caller may see what belongs to `app`, an application of its organisation.
    pub fn may_mean(&self, app: AppId) -> bool {
        !matches!(&self.who, Who::App { app: own, .. } if *own != app)
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

    /// Whether the caller sees what has these feature flags: an organisation does, and a customer that has one of
    /// them, if there are any.
    pub fn sees(&self, flags: &[String]) -> bool {
        match &self.who {
            Who::Org(_) | Who::Postrider(_) => true,
            Who::App { feature_flags, .. } => {
                flags.is_empty() || flags.iter().any(|flag| feature_flags.contains(flag))
            }
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
