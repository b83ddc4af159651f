//! A clock for what is on file: endpoints have to be older than what was delivered to them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared::clock::{Clock, Sleep, SystemClock, Timestamp};

/// The machine's clock, and behind it until it is told to catch up.
#[derive(Debug)]
pub(crate) struct Behind(AtomicU64);

impl Behind {
    pub(crate) fn by(time: Duration) -> Self {
        Self(AtomicU64::new(u64::try_from(time.as_millis()).unwrap_or(0)))
    }

    pub(crate) fn catch_up(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        SystemClock.now().before(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }

    fn sleep(&self, wait: Duration) -> Sleep {
        SystemClock.sleep(wait)
    }
}
