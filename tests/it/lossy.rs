//! Writes whose answers are lost: the SDK repeats them, and finds what it wrote itself.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorFuture};
use aws_smithy_runtime_api::client::result::ConnectorError;
use http::StatusCode;

use crate::between::between;
use crate::house::{House, Receiver, settings};

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
    let house = House::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = house.app().await;
    house.endpoint(&app, &receiver.url("/")).await;
    let path = format!("/api/v1/app/{app}/msg");
    let before = lost.load(Ordering::Relaxed);
    let body = r#"{"eventType":"a","payload":{},"eventId":"e-1"}"#;
    let answer = house.request_with("POST", &path, &house.token, &[("idempotency-key", "k")], body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    receiver.next().await;
    house.stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let attempts = house.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 1);
    // Key, event id, message, attempt and state.
    assert_eq!(lost.load(Ordering::Relaxed) - before, 5);
    // A repaired job would have waited for the first one's deadline of 25 seconds.
    let waited = attempts[0].timestamp.timestamp_millis() - made_at_ms(&id);
    assert!(waited < 20_000, "{waited} ms");
}

/// When a message was made, in milliseconds.
fn made_at_ms(id: &str) -> i64 {
    let id: shared::ids::MessageId = id.parse().expect("an id");
    i64::try_from(id.time().ms()).expect("a time")
}
