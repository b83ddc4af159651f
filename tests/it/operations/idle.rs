//! A runner that nobody uses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::clock::{Clock, Sleep, SystemClock, Timestamp};
use shared::config::Env;
use svix::models::MessageIn;

use crate::delivery::traces::Lines;
use crate::test_stack::{ENDPOINT_VARIABLE, Receiver, TestStack, settings};

/// How often who sleeps looks at the pace.
const LOOK: Duration = Duration::from_millis(10);

/// The machine's clock, some times as fast. A change of pace counts for who sleeps already.
#[derive(Clone, Debug, Default)]
pub struct Fast(Arc<Pace>);

#[derive(Debug)]
struct Pace {
    pace: AtomicU64,
    /// What it showed when its pace was last set, and what the machine's clock showed then.
    set: Mutex<(Timestamp, Timestamp)>,
}

impl Default for Pace {
    fn default() -> Self {
        let now = SystemClock.now();
        Self { pace: AtomicU64::new(1), set: Mutex::new((now, now)) }
    }
}

impl Fast {
    /// The pace, what it shows now, and what the machine's clock shows.
    fn read(&self) -> (u64, Timestamp, Timestamp) {
        let (pace, machine) = (self.0.pace.load(Ordering::Relaxed), SystemClock.now());
        let (shown, then) = *self.0.set.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = u32::try_from(pace).expect("a pace") * machine.since(then);
        (pace, shown.after(passed), machine)
    }

    pub fn set_pace(&self, pace: u64) {
        let (_, shown, machine) = self.read();
        *self.0.set.lock().unwrap_or_else(PoisonError::into_inner) = (shown, machine);
        self.0.pace.store(pace, Ordering::Relaxed);
    }
}

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        self.read().1
    }
    fn sleep(&self, wait: Duration) -> Sleep {
        let clock = self.clone();
        Box::pin(async move {
            let until = clock.now().after(wait);
            loop {
                let (pace, now, _) = clock.read();
                match until.since(now) {
                    Duration::ZERO => return,
                    left => SystemClock.sleep(left.div_f64(pace as f64).min(LOOK)).await,
                }
            }
        })
    }
}

/// How long a message takes from its posting to its arrival.
async fn post_to_arrival(stack: &TestStack, app: &str, receiver: &mut Receiver) -> Duration {
    let posted = SystemClock.now();
    stack.message(app, MessageIn::new("a.b".into(), serde_json::json!({}))).await;
    receiver.next().await;
    SystemClock.now().since(posted)
}

// On one thread: what is logged on it is what this test reads.
#[tokio::test]
async fn an_idle_runner_is_silent_and_its_first_message_is_as_fast_as_any() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // their long polls are short
    }
    let (lines, _reading) = Lines::of_this_thread();
    let clock = Fast::default();
    let mut settings = settings();
    settings.platform.clock = Arc::new(clock.clone());
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    post_to_arrival(&stack, &app, &mut receiver).await;
    let usual = post_to_arrival(&stack, &app, &mut receiver).await;
    stack.idle().await;

    let said = lines.text().len();
    let polls = || stack.stack.ledger().total(|call| call.operation == "ReceiveMessage").requests;
    let before = polls();
    // Longer than three of the longest polls there are, and than the timers' minute.
    clock.set_pace(10);
    clock.sleep(Duration::from_secs(70)).await;
    assert!(polls() - before >= 3, "no queue was polled to the end");
    assert_eq!(&lines.text()[said..], "", "an idle runner has something to say");

    clock.set_pace(1);
    let first = post_to_arrival(&stack, &app, &mut receiver).await;
    // A poll that has failed waits for a second.
    assert!(first < usual + Duration::from_millis(750), "{first:?} after a pause, {usual:?} otherwise");
    stack.stack.stop().await;
}
