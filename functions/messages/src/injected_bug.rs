//! Ways to break polling on purpose: the simulation has to find each of them, or it would find nothing. They
//! can only be chosen with the feature `injected-bugs`, which no binary switches on.

use crate::Messages;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedBug {
    /// A position passes messages that may still be stored.
    PassesUnfinishedWrites,
    /// Two polls of a consumer get the same lease.
    LeasesTwice,
}

/// The routes of this function, broken.
///
/// # Errors
/// A setting is missing or makes no sense.
#[cfg(feature = "injected-bugs")]
pub fn broken_router(
    env: &shared::config::Env<'_>,
    platform: &shared::Platform,
    how: InjectedBug,
) -> Result<axum::Router, shared::config::ConfigError> {
    crate::router_of(env, platform, Some(how))
}

impl Messages {
    pub(crate) fn has_bug(&self, how: InjectedBug) -> bool {
        self.bug == Some(how)
    }
}
