//! Ways to break this function on purpose: the simulation has to find each of them, or it would find nothing. They
//! can only be chosen with the feature `injected-bugs`, which no binary switches on.

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedBug {
    /// What a person switches off that was disabled because it failed is probed on, and comes back.
    ProbesWhatAPersonDisabled,
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
