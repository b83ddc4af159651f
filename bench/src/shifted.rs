//! A clock that does not say what the machine's does.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use shared::clock::{Clock, Sleep, SystemClock, Timestamp};

/// The machine's clock, behind it or ahead of it.
#[derive(Debug)]
pub(crate) struct Shifted(AtomicI64);

impl Shifted {
    pub(crate) fn behind(time: Duration) -> Self {
        Self(AtomicI64::new(-millis(time)))
    }

    pub(crate) fn catch_up(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(crate) fn run_ahead(&self, time: Duration) {
        self.0.store(millis(time), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(0)
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(SystemClock.now().ms().saturating_add_signed(self.0.load(Ordering::Relaxed)))
    }

    fn sleep(&self, wait: Duration) -> Sleep {
        SystemClock.sleep(wait)
    }
}
