//! What is on file before a run: messages that were delivered earlier, stored directly.

use std::time::Duration;

use local::Stack;
use shared::clock::{Clock as _, SystemClock, Timestamp};
use shared::config::Env;
use shared::error::Chain;
use shared::ids::{AppId, AttemptId, EndpointId, MessageId};
use shared::labels::Labels;
use shared::random::SystemRandom;
use shared::store::Store;
use shared::store::attempts::{Attempt, Passage, ResponseBody, Status, Trigger};
use shared::store::messages::{NewMessage, Payload};
use tokio::task::JoinSet;

use crate::Failed;
use crate::payload::Payloads;

/// How many are stored at the same time.
const AT_ONCE: u32 = 16;
/// What lies between two of them: a million are twelve days.
pub(crate) const APART: Duration = Duration::from_secs(1);

/// Stores `count` messages of an application, delivered to an endpoint, the last of them a minute old.
pub(crate) async fn store(
    stack: &Stack,
    app: &str,
    endpoint: &str,
    count: u32,
    payloads: &Payloads,
) -> Result<(), Failed> {
    let failed = |problem: String| Failed::Server(format!("messages could not be stored: {problem}"));
    let variables = stack.environment("deliver").ok_or_else(|| failed("no deliver function".to_owned()))?;
    let env = Env::new(|name| variables.get(name).cloned());
    let store = stack.platform().store(&env).map_err(|error| failed(error.to_string()))?;
    let app: AppId = app.parse().map_err(|_| failed(format!("{app} is no id of ours")))?;
    let endpoint: EndpointId =
        endpoint.parse().map_err(|_| failed(format!("{endpoint} is no id of ours")))?;
    let newest = SystemClock.now();
    let mut storing = JoinSet::new();
    for lane in 0..AT_ONCE {
        let store = store.clone();
        let text = payloads.text(lane);
        storing.spawn(async move {
            let random = SystemRandom::new();
            for nth in (lane..count).step_by(AT_ONCE as usize) {
                let age = Duration::from_secs(60) + APART * (count - nth);
                let at = Timestamp::from_ms(
                    newest.ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(0)),
                );
                one(&store, app, endpoint, MessageId::new(at, &random), text.clone()).await?;
            }
            Ok::<_, shared::Error>(())
        });
    }
    while let Some(stored) = storing.join_next().await {
        stored
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(Chain(&error).to_string()))?;
    }
    Ok(())
}

async fn one(
    store: &Store,
    app: AppId,
    endpoint: EndpointId,
    message: MessageId,
    json: String,
) -> shared::Result<()> {
    let (at, labels) = (message.time(), Labels::of("bench.load"));
    store
        .put_message(&NewMessage {
            app,
            id: message,
            labels: labels.clone(),
            event_id: None,
            payload: Payload::of(json),
            deliver_at: None,
            retention_hours: 24 * 90,
            endpoints: vec![endpoint],
        })
        .await?;
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
        labels,
    };
    store.record_first_attempt(&attempt, true).await.map(drop)
}
