//! Rate limits: what they are on, and how many deliveries a second they let pass.

use crate::ids::{AppId, EndpointId};

/// What a limit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limited {
    /// One endpoint.
    Endpoint(EndpointId),
    /// All endpoints of an application that have no limit of their own.
    Application(AppId),
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint(id) => id.fmt(f),
            Self::Application(id) => id.fmt(f),
        }
    }
}

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it is on.
    pub of: Limited,
    /// Deliveries per second; zero counts as one.
    pub per_second: u16,
}
