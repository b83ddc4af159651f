//! What is on file before a run: messages that were delivered earlier, stored directly.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use local::Stack;
use shared::clock::{Clock as _, SystemClock};
use shared::config::Env;
use shared::error::Chain;
use shared::ids::{AppId, AttemptId, EndpointId, MessageId};
use shared::labels::Labels;
use shared::random::SystemRandom;
use shared::store::attempts::{Attempt, Passage, ResponseBody, Status, Trigger};
use shared::store::messages::{NewMessage, Payload};
use tokio::task::JoinSet;

use crate::Failed;
use crate::payload::Payloads;

/// How many tasks store.
const AT_ONCE: u32 = 4;
/// Messages that each hands over together.
const TOGETHER: usize = 100;
/// How often the progress line changes.
const PROGRESS: Duration = Duration::from_secs(1);
/// What lies between two of them: a million are twelve days.
pub(crate) const APART: Duration = Duration::from_secs(1);

/// Stores `count` messages of an application, delivered to an endpoint, the last of them a minute old. `shown`: a line
/// says how far it is.
pub(crate) async fn store(
    stack: &Stack,
    app: &str,
    endpoint: &str,
    count: u32,
    payloads: &Payloads,
    shown: bool,
) -> Result<(), Failed> {
    let failed = |problem: String| Failed::Server(format!("messages could not be stored: {problem}"));
    let variables = stack.environment("deliver").ok_or_else(|| failed("no deliver function".to_owned()))?;
    let env = Env::new(|name| variables.get(name).cloned());
    let store = stack.platform().store(&env).map_err(|error| failed(error.to_string()))?;
    let app: AppId = app.parse().map_err(|_| failed(format!("{app} is no id of ours")))?;
    let endpoint: EndpointId =
        endpoint.parse().map_err(|_| failed(format!("{endpoint} is no id of ours")))?;
    let newest = SystemClock.now();
    let done = Arc::new(AtomicU32::new(0));
    let mut storing = JoinSet::new();
    for lane in 0..AT_ONCE {
        let (store, done) = (store.clone(), done.clone());
        let text = payloads.text(lane);
        storing.spawn(async move {
            let random = SystemRandom::new();
            let mut its = (lane..count).step_by(AT_ONCE as usize).peekable();
            while its.peek().is_some() {
                let some: Vec<_> = its
                    .by_ref()
                    .take(TOGETHER)
                    .map(|nth| {
                        let age = Duration::from_secs(60) + APART * (count - nth);
                        one(app, endpoint, MessageId::new(newest.before(age), &random), text.clone())
                    })
                    .collect();
                let number = u32::try_from(some.len()).unwrap_or(0);
                store.put_delivered(some).await?;
                done.fetch_add(number, Ordering::Relaxed);
            }
            Ok::<_, shared::Error>(())
        });
    }
    let all_stored = async {
        while let Some(stored) = storing.join_next().await {
            stored
                .map_err(|error| failed(error.to_string()))?
                .map_err(|error| failed(Chain(&error).to_string()))?;
        }
        Ok(())
    };
    let shown = shown && count > 0;
    let stored = tokio::select! {
        stored = all_stored => stored,
        never = show(&done, count), if shown => match never {},
    };
    if shown {
        say(&done, count, "\n");
    }
    stored
}

/// Says how many are stored, again and again.
async fn show(done: &AtomicU32, count: u32) -> Infallible {
    loop {
        tokio::time::sleep(PROGRESS).await;
        say(done, count, "");
    }
}

fn say(done: &AtomicU32, count: u32, end: &str) {
    let stored = done.load(Ordering::Relaxed);
    // Nobody may be reading.
    let _closed = write!(std::io::stderr().lock(), "\r{stored} of {count} messages are on file {end}");
}

/// A message, and the attempt that delivered it at once.
fn one(app: AppId, endpoint: EndpointId, message: MessageId, json: String) -> (NewMessage, Attempt) {
    let (at, labels) = (message.time(), Labels::of("bench.load"));
    let attempt = Attempt {
        id: AttemptId::first(message, endpoint),
        endpoint,
        message,
        url: "http://127.0.0.1:9/".to_owned(),
        status: Status::Success,
        code: 204,
        response: ResponseBody::Text(String::new()),
        error: None,
        response_headers: Vec::new(),
        duration_ms: 3,
        at,
        trigger: Trigger::Scheduled,
        next: None,
        disables: false,
        passage: Passage::Untransformed,
        labels: labels.clone(),
    };
    let message = NewMessage {
        app,
        id: message,
        labels,
        event_id: None,
        payload: Payload::of(json),
        deliver_at: None,
        retention_hours: 24 * 90,
        endpoints: vec![endpoint],
    };
    (message, attempt)
}
