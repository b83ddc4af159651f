//! Back-pressure: a request that posts messages waits a little while deliveries wait for CPU.
//!
//! In the cloud both have machines of their own. Here they share one, and accepting is the cheaper part of
//! a message with several endpoints: without this the queue would grow for as long as somebody posts.

use std::sync::Arc;
use std::time::Duration;

use local_sqs::Engine;
use shared::clock::SharedClock;
use tokio::sync::Semaphore;

/// First attempts that may wait for an invocation before posting slows down.
const BEHIND: usize = 50;
/// How often it is looked whether deliveries have caught up, and how many times at most: a request waits
/// for a second, and is accepted then.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: usize = 100;

/// Where deliveries wait, and for what.
pub(crate) struct Pace {
    pub(crate) engine: Engine,
    /// The queue's name.
    pub(crate) queue: String,
    /// Has no permit left when as many invocations work as the machine can carry. While others wait for
    /// receivers there are some: receivers that hang slow nobody down.
    pub(crate) busy: Arc<Semaphore>,
    pub(crate) clock: SharedClock,
}

impl Pace {
    /// Waits while deliveries wait for the machine.
    pub(crate) async fn admit(&self) {
        for _ in 0..LOOKS {
            if self.busy.available_permits() > 0 || self.waiting() <= BEHIND {
                return;
            }
            self.clock.sleep(LOOK).await;
        }
    }

    fn waiting(&self) -> usize {
        self.engine.counts(&self.queue).map_or(0, |counts| counts.visible)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use shared::clock::{Clock, Sleep, SystemClock, Timestamp};

    use super::*;

    const QUEUE: &str = "first";

    /// Counts who sleeps, and lets nobody wait. At the `nth` sleep an invocation ends.
    #[derive(Debug)]
    struct Counting {
        slept: AtomicUsize,
        nth: usize,
        busy: Arc<Semaphore>,
    }

    impl Clock for Counting {
        fn now(&self) -> Timestamp {
            SystemClock.now()
        }
        fn sleep(&self, _: Duration) -> Sleep {
            if self.slept.fetch_add(1, Ordering::Relaxed) + 1 == self.nth {
                self.busy.add_permits(1);
            }
            Box::pin(std::future::ready(()))
        }
    }

    /// How often a request looks again, while so many jobs wait and so many invocations may begin; at its
    /// third look one of them ends, if `ends`.
    async fn looks(waiting: usize, free: usize, ends: bool) -> usize {
        let engine = Engine::open(local_sqs::Options::default()).unwrap();
        let answer = async |operation: &str, body: serde_json::Value| {
            let body = body.to_string();
            let (status, text) = local_sqs::answer_one(&engine, operation, body.as_bytes()).await;
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&text));
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()
        };
        let queue = answer("CreateQueue", json!({ "QueueName": QUEUE })).await;
        for _ in 0..waiting {
            answer("SendMessage", json!({ "QueueUrl": queue["QueueUrl"], "MessageBody": "x" })).await;
        }
        let busy = Arc::new(Semaphore::new(free));
        let nth = if ends { 3 } else { 0 };
        let clock = Arc::new(Counting { slept: AtomicUsize::new(0), nth, busy: busy.clone() });
        Pace { engine, queue: QUEUE.to_owned(), busy, clock: clock.clone() }.admit().await;
        clock.slept.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn posting_waits_for_deliveries_that_wait_for_the_machine_and_for_a_second_at_most() {
        assert_eq!(looks(BEHIND, 0, false).await, 0, "deliveries keep pace");
        assert_eq!(looks(BEHIND + 1, 1, false).await, 0, "others wait for receivers");
        assert_eq!(looks(BEHIND + 1, 0, true).await, 3);
        assert_eq!(looks(BEHIND + 1, 0, false).await, LOOKS);
    }
}
