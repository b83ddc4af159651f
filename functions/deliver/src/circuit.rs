//! Endpoints that hang: their first attempts go to the low-priority queue, so that they hold up nobody else.
//!
//! Each Lambda instance works on one batch at a time, and would learn too late from its own attempts
//! alone. So what one of them learns is noted in the application's item, which the others read anyway.
//! Endpoints that fail at once hold up nobody, and stay in the first queue.

use std::time::Duration;

use shared::cache::Cache;
use shared::clock::{SharedClock, Timestamp};
use shared::error::Chain;
use shared::ids::EndpointId;
use shared::store::Store;
use shared::store::applications::Application;

/// An exchange that takes longer holds its batch up, however it ends.
pub const SLOW_AFTER: Duration = Duration::from_secs(1);
/// How long one instance stands by what it noted: an endpoint about as fast as [`SLOW_AFTER`] must not cost a
/// write each time.
const NOTED: Duration = Duration::from_secs(10);
/// Endpoints that one instance remembers having noted.
const ENDPOINTS_MAX: usize = 1_000;

/// What this instance noted of which endpoint.
#[derive(Debug)]
pub struct Circuits(Cache<EndpointId, (bool, Timestamp)>);

impl Default for Circuits {
    fn default() -> Self {
        Self(Cache::new(ENDPOINTS_MAX))
    }
}

impl Circuits {
    /// Notes that an endpoint hangs, or that it does not any more. An error is logged and no more: the
    /// attempt goes on.
    pub async fn note(
        &self,
        store: &Store,
        clock: &SharedClock,
        app: &Application,
        endpoint: EndpointId,
        hangs: bool,
    ) {
        let now = clock.now();
        if app.slow_endpoints.contains(&endpoint) == hangs || !self.is_news(endpoint, hangs, now) {
            return;
        }
        match store.mark_slow(app, endpoint, hangs).await {
            Ok(()) => {
                tracing::info!(%endpoint, hangs, "an endpoint hangs, or no longer does: its first attempts change queues")
            }
            Err(error) => {
                tracing::warn!(%endpoint, error = %Chain(&error), "a hanging endpoint is not noted")
            }
        }
    }

    /// Whether this may be noted now. That an endpoint hangs is noted at once, the opposite a while later.
    fn is_news(&self, endpoint: EndpointId, hangs: bool, now: Timestamp) -> bool {
        let noted = self.0.get(&endpoint, now).filter(|(_, at)| now.since(*at) < NOTED);
        if noted.is_some_and(|(hung, _)| hung || !hangs) {
            return false;
        }
        self.0.put(endpoint, (hangs, now), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::{Id as _, Ksuid};

    use super::*;

    #[test]
    fn what_hangs_is_noted_at_once_and_that_it_does_not_later() {
        let (circuits, at) = (Circuits::default(), |s: u64| Timestamp::from_ms(s * 1000));
        let [one, other] = [1, 2].map(|seed| EndpointId::from_ksuid(Ksuid::new(at(0), [seed; 15])));
        assert!(circuits.is_news(one, true, at(0)));
        assert!(!circuits.is_news(one, true, at(1)));
        assert!(!circuits.is_news(one, false, at(9)));
        assert!(circuits.is_news(other, true, at(9)));
        assert!(circuits.is_news(one, false, at(10)));
        assert!(!circuits.is_news(one, false, at(11)));
        assert!(circuits.is_news(one, true, at(12)));
    }
}
