//! Rate limits of endpoints and applications, across all instances of this function.
//!
//! Each delivery of a limited endpoint takes the next free slot of its limit: one number in DynamoDB
//! that only grows. A slot within the next second is used at once, a later one by putting the job
//! back with a delay. So nothing polls, nothing is dropped, what waits does not come back all at the
//! same time, and new messages and retries take turns in the order in which they came.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::Result;
use shared::clock::Timestamp;
use shared::error::unavailable;
use shared::store::Store;
use shared::store::applications::Application;
use shared::store::endpoints::Endpoint;
use shared::store::throttles::{Limit, Limited};
use tokio::sync::oneshot;

/// How much earlier than its slot a delivery may be made. SQS delays by whole seconds.
const EARLY_MAX: Duration = Duration::from_secs(1);
/// A delivery that comes so much later than its slot takes another: after an outage the slots of all
/// that waited lie in the past, and using them would be the flood that the limit is there against.
const LATE_MAX: Duration = Duration::from_secs(5);

/// The limit that a delivery to `endpoint` is under: the endpoint's own, else the application's,
/// which all its endpoints without one of their own share.
pub fn limit_of(app: &Application, endpoint: &Endpoint) -> Option<Limit> {
    match (endpoint.settings.rate_limit, app.rate_limit) {
        (Some(rate), _) => Some(Limit { of: Limited::Endpoint(endpoint.id), per_second: rate }),
        (None, Some(rate)) => Some(Limit { of: Limited::Application(app.id), per_second: rate }),
        (None, None) => None,
    }
}

/// When a delivery is to be made that took a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Now,
    /// Then.
    At(Timestamp),
}

/// Whether a slot can be used now, has to be waited for, or was missed.
pub fn turn(slot: Timestamp, now: Timestamp) -> Option<Turn> {
    if now.since(slot) > LATE_MAX {
        None
    } else if slot.since(now) <= EARLY_MAX {
        Some(Turn::Now)
    } else {
        Some(Turn::At(slot))
    }
}

/// What the deliveries of one batch reserve together: one write for all that are under one limit.
#[derive(Debug, Default)]
pub struct Slots {
    waiting: Mutex<HashMap<Limited, Vec<oneshot::Sender<Timestamp>>>>,
}

impl Slots {
    /// Takes the next free slot of `limit`.
    pub async fn take(&self, store: &Store, limit: Limit) -> Result<Timestamp> {
        let (give, given) = oneshot::channel();
        let leads = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = waiting.entry(limit.of).or_default();
            queue.push(give);
            queue.len() == 1
        };
        if leads {
            // The others of the batch get as far as this while their reads are in flight together.
            tokio::task::yield_now().await;
            let takers = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.remove(&limit.of).unwrap_or_default()
            };
            let count = u32::try_from(takers.len()).unwrap_or(u32::MAX);
            let slots = store.reserve_slots(limit, count).await?;
            for (taker, slot) in takers.into_iter().zip(slots) {
                // Nobody waits any more where an invocation ended early; its slot is lost.
                let _ = taker.send(slot);
            }
        }
        // The leader's failure is everybody's.
        given.await.map_err(unavailable("reserve a slot"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_waited_for_or_missed() {
        let at = |seconds: u64| Timestamp::from_ms(1_800_000_000_000 + seconds * 1000);
        assert_eq!(turn(at(10), at(10)), Some(Turn::Now));
        assert_eq!(turn(at(10), at(9)), Some(Turn::Now));
        assert_eq!(turn(at(10), at(15)), Some(Turn::Now));
        assert_eq!(turn(at(10), at(8)), Some(Turn::At(at(10))));
        assert_eq!(turn(at(10), at(16)), None);
    }
}
