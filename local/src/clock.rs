//! The injected clock, as the embedded services read it.

use std::time::Duration;

use shared::clock::SharedClock;

/// The injected clock, as each service wants it.
pub(crate) struct Injected(pub(crate) SharedClock);

impl dynoxide::storage_backend::Clock for Injected {
    fn now_unix_secs(&self) -> u64 {
        self.0.now().seconds()
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.0.now().ms() as f64 / 1000.0
    }
}

impl local_sqs::Clock for Injected {
    fn now_ms(&self) -> u64 {
        self.0.now().ms()
    }

    fn sleep(&self, wait: Duration) -> local_sqs::Sleep {
        self.0.sleep(wait)
    }
}
