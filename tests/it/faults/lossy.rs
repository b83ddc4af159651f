//! Writes whose answers are lost: the SDK repeats them, and finds what it wrote itself.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorFuture, SharedHttpClient};
use aws_smithy_runtime_api::client::result::ConnectorError;
use http::StatusCode;
use svix::models::EventTypeIn;

use crate::api::sdk_interceptor::between;
use crate::test_stack::{Ahead, Receiver, TestStack, settings};

/// INV-4
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_double_nothing_and_delay_nothing() {
    let mut settings = settings().with("POSTRIDER_DELIVERY_TIMEOUT", "25");
    let lost = Arc::new(AtomicUsize::new(0));
    // In between is where sockets are.
    settings.sockets = true;
    let (seen, counter) = (Mutex::new(HashSet::new()), lost.clone());
    settings.platform.http = between(settings.platform.http.clone(), move |inner, request| {
        let is_write = |target: &str| target.ends_with(".PutItem") || target.ends_with(".UpdateItem");
        let writes = request.headers().get("x-amz-target").is_some_and(is_write);
        let body = request.body().bytes().unwrap_or_default().to_vec();
        // The first answer to each single put is kept back.
        let first = writes && seen.lock().expect("no panic").insert(body);
        let (answer, lost) = (inner.call(request), counter.clone());
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if first {
                lost.fetch_add(1, Ordering::Relaxed);
                return Err(ConnectorError::timeout("the answer was lost".into()));
            }
            Ok(answer)
        })
    });
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let path = format!("/api/v1/app/{app}/msg");
    let before = lost.load(Ordering::Relaxed);
    let body = r#"{"eventType":"a","payload":{},"eventId":"e-1"}"#;
    let answer = stack.request_with("POST", &path, &stack.token, &[("idempotency-key", "k")], body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    receiver.next().await;
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 1);
    // Key, event id, message, and the delivery with its attempt.
    assert_eq!(lost.load(Ordering::Relaxed) - before, 4);
    // A repaired job would have waited for the first one's deadline of 25 seconds.
    let waited = attempts[0].timestamp.timestamp_millis() - made_at_ms(&id);
    assert!(waited < 20_000, "{waited} ms");
}

/// Lets every answer of SQS to a batch be lost while `on`; the batch itself is taken.
fn losing_batches(inner: SharedHttpClient, on: Arc<AtomicBool>) -> SharedHttpClient {
    between(inner, move |inner, request| {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let loses = target.ends_with(".SendMessageBatch") && on.load(Ordering::SeqCst);
        let answer = inner.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if loses { Err(ConnectorError::timeout("the answer was lost".into())) } else { Ok(answer) }
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_whose_queue_gives_no_answer_is_parked_and_sent_once() {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.sockets = true;
    settings.platform.clock = clock.clone();
    let on = Arc::new(AtomicBool::new(false));
    settings.platform.http = losing_batches(settings.platform.http.clone(), on.clone());
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let schemas = serde_json::json!({"1": {"examples": [{"a": 1}]}});
    let event_type = EventTypeIn { schemas: Some(schemas), ..EventTypeIn::new("a".into(), "x".into()) };
    stack.svix.event_type().create(event_type, None).await.expect("an event type");
    on.store(true, Ordering::SeqCst);
    let path = format!("/api/v1/app/{app}/endpoint/{}/send-example", endpoint.id);
    let key = [("idempotency-key", "k")];
    let answer = stack.request_with("POST", &path, &stack.token, &key, r#"{"eventType":"a"}"#).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    on.store(false, Ordering::SeqCst);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    // The job that was taken, and neither of its copies nor the timer, which come later and look.
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    let again = stack.request_with("POST", &path, &stack.token, &key, r#"{"eventType":"a"}"#).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, answer.json()));
    clock.skip(Duration::from_secs(60));
    assert_eq!(stack.run_timers().await, 1, "the example is parked");
    stack.stack.wake();
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    assert_eq!(stack.attempts(&app, &id).await.len(), 1);
}

/// When a message was made, in milliseconds.
fn made_at_ms(id: &str) -> i64 {
    let id: shared::ids::MessageId = id.parse().expect("an id");
    i64::try_from(id.time().ms()).expect("a time")
}
