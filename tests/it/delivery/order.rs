//! Endpoints that get their messages in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use svix::models::{EndpointIn, MessageIn};

use crate::test_stack::{Ahead, Receiver, TestStack, settings};

/// A stack whose deliveries are retried every second, for longer than any test takes.
async fn patient() -> TestStack {
    TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", &vec!["1"; 30].join(","))).await
}

async fn ordered(stack: &TestStack, app: &str, url: &str, key: Option<&str>) -> String {
    let body = json!({"url": url, "ordering": {"mode": "fifo", "key": key}});
    let path = format!("/api/v1/app/{app}/endpoint");
    let made = stack.request("POST", &path, &stack.token, body.to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.json()["id"].as_str().expect("an id").to_owned()
}

fn message(key: &str, n: u32) -> MessageIn {
    MessageIn::new("a.b".into(), json!({"key": key, "n": n}))
}

/// What the next webhooks say, as key and number.
async fn next(receiver: &mut Receiver, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let body: Value = serde_json::from_slice(&receiver.next().await.body).expect("JSON");
        seen.push(format!("{}{}", body["key"].as_str().expect("a key"), body["n"]));
    }
    seen
}

/// INV-46
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_fails_holds_up_itself_alone() {
    let stack = patient().await;
    let other_arrived = Arc::new(AtomicBool::new(false));
    let arrived = other_arrived.clone();
    let mut receiver = Receiver::answering(move |webhook| {
        let body: Value = serde_json::from_slice(&webhook.body).expect("JSON");
        if body["key"] == "b" {
            arrived.store(true, Ordering::SeqCst);
        }
        let fails = body["key"] == "a" && body["n"] == 1 && !arrived.load(Ordering::SeqCst);
        (if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, String::new())
    })
    .await;
    let app = stack.app().await;
    ordered(&stack, &app, &receiver.url("/"), Some("/key")).await;
    for n in 1..=4 {
        stack.message(&app, message("a", n)).await;
    }
    // Key a makes progress only after b has arrived.
    assert_eq!(next(&mut receiver, 1).await, ["a1"]);
    stack.message(&app, message("b", 1)).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "a4") {
        seen.extend(next(&mut receiver, 1).await);
    }
    assert!(seen.contains(&"b1".to_owned()), "{seen:?}");
    seen.retain(|one| one != "b1");
    seen.dedup();
    assert_eq!(seen, ["a1", "a2", "a3", "a4"]);
}

/// INV-46
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_all_of_an_endpoint_is_in_order_and_a_batch_within_itself() {
    let stack = patient().await;
    let tries = AtomicU32::new(0);
    let mut receiver = Receiver::answering(move |_| {
        let fails = tries.fetch_add(1, Ordering::SeqCst).is_multiple_of(5);
        (if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, String::new())
    })
    .await;
    let app = stack.app().await;
    ordered(&stack, &app, &receiver.url("/"), None).await;
    let batch = |keys: &str, from: u32| {
        let of = |(nth, key): (usize, char)| {
            let n = from + u32::try_from(nth).expect("few");
            json!({"eventType": "a.b", "payload": {"key": key.to_string(), "n": n}})
        };
        json!({ "messages": keys.chars().enumerate().map(of).collect::<Vec<_>>() }).to_string()
    };
    for (nth, keys) in ["abcab", "bbaca"].into_iter().enumerate() {
        let (path, from) = (format!("/api/v1/app/{app}/msg/batch"), 5 * u32::try_from(nth).expect("few"));
        let answer = stack.request("POST", &path, &stack.token, batch(keys, from)).await;
        assert_eq!(answer.status.as_u16() / 100, 2, "{}", answer.text);
    }
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "a9") {
        seen.extend(next(&mut receiver, 1).await);
    }
    seen.dedup();
    assert_eq!(seen, ["a0", "b1", "c2", "a3", "b4", "b5", "b6", "a7", "c8", "a9"]);
}

/// INV-46
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_or_resent_lets_the_next_go() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "1,600000")).await;
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let mut receiver = Receiver::answering(move |webhook| {
        let body: Value = serde_json::from_slice(&webhook.body).expect("JSON");
        let status = match (body["key"].as_str(), is_well.load(Ordering::SeqCst)) {
            (Some("gone"), _) => StatusCode::BAD_REQUEST,
            (Some("down"), false) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::OK,
        };
        (status, String::new())
    })
    .await;
    let app = stack.app().await;
    let endpoint = ordered(&stack, &app, &receiver.url("/"), Some("/key")).await;
    let first = stack.message(&app, message("down", 1)).await;
    stack.message(&app, message("down", 2)).await;
    assert_eq!(next(&mut receiver, 2).await, ["down1", "down1"]);
    // The next retry is days away.
    well.store(true, Ordering::SeqCst);
    stack.svix.message_attempt().resend(app.clone(), first, endpoint, None).await.expect("it is resent");
    assert_eq!(next(&mut receiver, 2).await, ["down1", "down2"]);
    // An endpoint that does not want a message says so, and the next one goes.
    let mut refusing = Receiver::answering(|webhook| {
        let gone = String::from_utf8_lossy(&webhook.body).contains("gone");
        (if gone { StatusCode::BAD_REQUEST } else { StatusCode::OK }, String::new())
    })
    .await;
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "1")).await;
    let app = stack.app().await;
    ordered(&stack, &app, &refusing.url("/"), None).await;
    stack.message(&app, message("gone", 1)).await;
    stack.message(&app, message("here", 2)).await;
    assert_eq!(next(&mut refusing, 3).await, ["gone1", "gone1", "here2"]);
}

/// INV-46
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_job_was_lost_is_delivered_before_the_next() {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.poll = false;
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    ordered(&stack, &app, &receiver.url("/"), None).await;
    let work = async || {
        let event = stack.receive("DeliveriesQueue").await;
        let handles: Vec<String> =
            event.records.iter().map(|record| record.receipt_handle.clone().expect("a handle")).collect();
        assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
        for handle in &handles {
            stack.delete("DeliveriesQueue", handle).await;
        }
    };
    stack.message(&app, message("a", 1)).await;
    let lost = stack.receive("DeliveriesQueue").await;
    let handle = lost.records[0].receipt_handle.clone().expect("a handle");
    stack.delete("DeliveriesQueue", &handle).await;
    for n in [2, 3] {
        stack.message(&app, message("a", n)).await;
        work().await;
    }
    assert_eq!(receiver.rest().len(), 0);
    // A minute later those that wait have queued what is before them once more.
    clock.skip(Duration::from_secs(61));
    stack.stack.wake();
    for _ in 0..3 {
        work().await;
    }
    assert_eq!(next(&mut receiver, 3).await, ["a1", "a2", "a3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_makes_no_sense_is_refused() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let all = format!("/api/v1/app/{app}/endpoint");
    let url = "https://example.com/hooks";
    let post = async |ordering: &Value| {
        let body = json!({"url": url, "ordering": ordering});
        stack.request("POST", &all, &stack.token, body.to_string()).await
    };
    for (ordering, place) in [
        (json!({}), "mode"),
        (json!({"mode": "lifo"}), "mode"),
        (json!({"mode": "fifo", "key": "object.id"}), "key"),
        (json!({"mode": "fifo", "key": ""}), "key"),
        (json!({"mode": "fifo", "key": "/a~2"}), "key"),
        (json!({"mode": "fifo", "key": 1}), "key"),
        (json!({"mode": "fifo", "batchSize": 10}), "batchSize"),
        (json!({"mode": "fifo", "maxWaitSecs": 10}), "maxWaitSecs"),
        (json!("fifo"), "ordering"),
    ] {
        let answer = post(&ordering).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{ordering}");
        let loc = answer.json()["detail"][0]["loc"].clone();
        assert_eq!(loc.as_array().and_then(|loc| loc.last()), Some(&json!(place)), "{ordering}");
    }
    let fifo = json!({"mode": "fifo", "key": "/object/id"});
    let made = post(&fifo).await.json();
    assert_eq!(made["ordering"], fifo);
    let one = format!("{all}/{}", made["id"].as_str().expect("an id"));
    let patch = async |body: Value| {
        let answer = stack.request("PATCH", &one, &stack.token, body.to_string()).await;
        (answer.status.as_u16(), answer.json()["ordering"].clone())
    };
    assert_eq!(patch(json!({"description": "d"})).await, (200, fifo.clone()));
    assert_eq!(patch(json!({"ordering": {"mode": "fifo"}})).await, (200, json!({"mode": "fifo"})));
    assert_eq!(patch(json!({"ordering": null})).await, (200, Value::Null));
    // What a GET shows can be put back as it is.
    assert_eq!(patch(json!({"ordering": fifo})).await.1, fifo);
    let shown = stack.request("GET", &one, &stack.token, "").await.json();
    let put = stack.request("PUT", &one, &stack.token, shown.to_string()).await;
    assert_eq!((put.status, &put.json()["ordering"]), (StatusCode::OK, &fifo));
    for _ in 1..50 {
        assert_eq!(post(&fifo).await.status, StatusCode::CREATED);
    }
    assert_eq!(post(&fifo).await.status.as_u16() / 100, 4);
    // One that has it may change it, and others can be made.
    assert_eq!(patch(json!({"ordering": {"mode": "fifo"}})).await.0, 200);
    stack.endpoint_with(&app, EndpointIn::new(url.into())).await;
}
