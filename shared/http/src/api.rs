//! What every HTTP function holds.

use aws::Platform;
use runtime::clock::SharedClock;
use runtime::config::{ConfigError, Env};
use runtime::random::SharedRandom;
use store::Store;

use crate::auth::Tokens;

/// What every HTTP function holds.
#[derive(Clone, Debug)]
pub struct Api {
    /// Verifies callers.
    pub tokens: Tokens,
    /// The two tables.
    pub store: Store,
    /// Tells the time.
    pub clock: SharedClock,
    /// Draws keys and ids.
    pub random: SharedRandom,
}

impl Api {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect(env: &Env<'_>, platform: &Platform) -> Result<Self, ConfigError> {
        let store = platform.store(env)?;
        Ok(Self {
            tokens: Tokens::read(env, platform.clock.clone())?.with_revocations(store.clone()),
            store,
            clock: platform.clock.clone(),
            random: platform.random.clone(),
        })
    }
}
