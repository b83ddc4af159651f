//! An optional limit of accepted messages a second for each application, so that one customer cannot
//! spend what the account can do.
//!
//! All instances share one count a second in DynamoDB. Each takes a tenth of the limit at a time and
//! gives it out itself: ten writes a second at the most, however many messages come.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::ids::AppId;
use domain::{Error, Result};
use runtime::clock::Clock;
use runtime::config::{ConfigError, Env};
use store::Store;

/// Shares of a second's limit.
const SHARES: u32 = 10;
/// Applications whose share one instance holds.
const APPLICATIONS_MAX: usize = 10_000;

/// Reads `POSTRIDER_MESSAGE_QUOTA`: messages a second and application; 0, or nothing, is no limit.
///
/// # Errors
/// It is no whole number of up to a million.
pub fn read(env: &Env<'_>) -> Result<Option<u32>, ConfigError> {
    let what = "messages per second and application, at most 1000000 (0: no limit)";
    let limit = env.parsed("POSTRIDER_MESSAGE_QUOTA", what, 0, |text| {
        text.parse().ok().filter(|limit| *limit <= 1_000_000)
    })?;
    Ok((limit > 0).then_some(limit))
}

/// A share of what an application may post within one second.
#[derive(Clone, Copy, Debug)]
struct Share {
    second: u64,
    left: u32,
}

/// The limit, and the shares that this instance holds.
#[derive(Debug)]
pub struct Quota {
    per_second: Option<u32>,
    shares: Mutex<HashMap<AppId, Share>>,
}

impl Quota {
    /// A limit; none means that there is no limit.
    pub fn new(per_second: Option<u32>) -> Self {
        Self { per_second, shares: Mutex::default() }
    }

    /// Lets one message pass.
    ///
    /// # Errors
    /// `TooMany` if the application has posted as many within this second as it may.
    pub async fn pass(&self, store: &Store, clock: &dyn Clock, app: AppId) -> Result<()> {
        let Some(limit) = self.per_second else { return Ok(()) };
        let now = clock.now();
        if self.use_share(app, now.seconds()) {
            return Ok(());
        }
        // A whole share, or the last single ones of the second.
        for count in [limit.div_ceil(SHARES), 1] {
            if store.take_quota(app, now, count, limit).await? {
                self.keep_share(app, Share { second: now.seconds(), left: count - 1 });
                return Ok(());
            }
        }
        Err(Error::TooMany { retry_after: Duration::from_secs(1) })
    }

    fn use_share(&self, app: AppId, second: u64) -> bool {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        match shares.get_mut(&app) {
            Some(share) if share.second == second && share.left > 0 => {
                share.left -= 1;
                true
            }
            _ => false,
        }
    }

    fn keep_share(&self, app: AppId, taken: Share) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() >= APPLICATIONS_MAX {
            shares.retain(|_, share| share.second >= taken.second);
        }
        let share = shares.entry(app).or_insert(Share { second: taken.second, left: 0 });
        // Two requests of one moment may both have taken a share.
        let held = if share.second == taken.second { share.left } else { 0 };
        *share = Share { second: taken.second, left: held.saturating_add(taken.left) };
    }
}
