//! Applications: one for each customer of an organisation.

use std::collections::BTreeMap;

use runtime::cache::Version;
use runtime::clock::Timestamp;

use crate::copies::Copies;
use crate::ids::{AppId, EndpointId, OrgId};
use crate::retry::OwnRetryPolicy;
use crate::token::Expiry;

/// What every message and every delivery has to know of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The organisation that it belongs to.
    pub org: OrgId,
    /// Its id.
    pub id: AppId,
    /// The owner's own id for it.
    pub uid: Option<String>,
    /// Messages per second that its endpoints take.
    pub rate_limit: Option<u16>,
    /// When its failed deliveries are tried again, instead of the installation's schedule.
    pub retry_policy: Option<OwnRetryPolicy>,
    /// Raised by each change of its endpoints: tells whether a cache of them still holds.
    pub version: u64,
    /// When `version` was raised last.
    pub version_at: Timestamp,
    /// Its endpoints that are known to hang. Changing them raises no version.
    pub slow_endpoints: Vec<EndpointId>,
    /// The ends of tokens that it has had.
    pub expiries: Vec<Expiry>,
    /// The copies of it that readers are spread over.
    pub copies: Copies,
}

impl Application {
    /// The version that what is cached of its endpoints belongs to.
    pub const fn cache_version(&self) -> Version {
        Version { number: self.version, raised_at: self.version_at }
    }
}

/// What people know of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The application's id.
    pub id: AppId,
    /// What its owner may change.
    pub settings: ApplicationSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings were changed last.
    pub updated_at: Timestamp,
}

/// What the owner of an application may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationSettings {
    /// For people.
    pub name: String,
    /// The owner's own id for it.
    pub uid: Option<String>,
    /// Messages per second that its endpoints take.
    pub rate_limit: Option<u16>,
    /// When its failed deliveries are tried again, instead of the installation's schedule.
    pub retry_policy: Option<OwnRetryPolicy>,
    /// The owner's notes.
    pub metadata: BTreeMap<String, String>,
}

/// Most endpoints that one application may have: what one fan-out and one cached list must carry.
pub const ENDPOINTS_MAX: u32 = 10_000;
