//! Many messages in one request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::config::Env;

use crate::test_stack::{Answer, ENDPOINT_VARIABLE, Receiver, Still, TestStack, settings};

impl TestStack {
    async fn post_batch(&self, app: &str, key: Option<&str>, messages: &[Value]) -> Answer {
        let headers: Vec<(&str, &str)> = key.iter().map(|key| ("idempotency-key", *key)).collect();
        let body = json!({ "messages": messages }).to_string();
        self.request_with("POST", &format!("/api/v1/app/{app}/msg/batch"), &self.token, &headers, body).await
    }
}

fn message(nth: usize) -> Value {
    json!({ "eventType": "a.b", "payload": { "nth": nth } })
}

fn statuses(answer: &Answer) -> Vec<u64> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["status"].as_u64().expect("one"))
        .collect()
}

fn ids(answer: &Answer) -> Vec<String> {
    let data = answer.json();
    let of = |one: &Value| one["message"]["id"].as_str().map(str::to_owned);
    data["data"].as_array().expect("a list").iter().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_accepted_delivered_once_and_costs_less() {
    // On a busy machine a receiver that is slow to answer would cost more.
    let clock = Arc::new(Still::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    // What is read within a second of a change is not kept.
    clock.skip(Duration::from_secs(2));
    // So that the endpoints are cached, as they are in a function that runs.
    stack.post_batch(&app, None, &[message(1_000)]).await;
    receiver.next().await;
    stack.idle().await;
    let (sent, used) = (stack.sends(), stack.stack.usage());
    let messages: Vec<Value> = (0..100).map(message).collect();
    let answer = stack.post_batch(&app, Some("one"), &messages).await;
    assert_eq!(statuses(&answer), vec![202; 100]);
    let accepted = ids(&answer);
    // The clock stands still: whichever was stored first, they are listed in the order of the request.
    assert!(accepted.is_sorted(), "{accepted:?}");
    let listed = stack.request("GET", &format!("/api/v1/app/{app}/msg?limit=100"), &stack.token, "").await;
    let listed = listed.json()["data"].as_array().expect("a list").clone();
    assert!(listed.iter().rev().map(|one| one["id"].as_str().expect("one")).eq(&accepted));
    let mut arrived = BTreeSet::new();
    for _ in 0..100 {
        let webhook = receiver.next().await;
        let body: Value = serde_json::from_slice(&webhook.body).expect("JSON");
        arrived.insert((webhook.header("webhook-id").to_owned(), body["nth"].as_u64().expect("one")));
    }
    let expected = accepted.iter().zip(0..).map(|(id, nth)| (id.clone(), nth)).collect();
    assert_eq!(arrived, expected, "each once, under the id in its place");
    stack.idle().await;
    // Ten jobs a request; two writes a message and one for its key. By themselves it would be 100 sends.
    assert_eq!(stack.sends() - sent, 10);
    let writes = stack.stack.usage().write_units - used.write_units;
    // Other implementations count units in their own ways.
    if Env::process().optional(ENDPOINT_VARIABLE).is_none() {
        assert!((writes - 300.0).abs() < 1.0, "{writes}");
    }
    // The same request again: the same messages, and nothing more arrives.
    let again = stack.post_batch(&app, Some("one"), &messages).await;
    assert_eq!(ids(&again), accepted);
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_of_a_batch_refuses_nothing_else_and_can_be_sent_again() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let with = |name: &str, value: Value| {
        let mut message = message(0);
        message[name] = value;
        message
    };
    let messages = [
        message(0),
        json!({ "eventType": "a b", "payload": {} }),
        with("eventId", json!("first")),
        with("eventId", json!("first")),
        json!(7),
        with("application", json!({ "name": "x", "uid": "x" })),
        message(6),
    ];
    let answer = stack.post_batch(&app, Some("two"), &messages).await;
    let mut found = statuses(&answer);
    // Whichever of the two is first has the event id.
    found[2..4].sort_unstable();
    assert_eq!(found, [202, 422, 202, 409, 422, 422, 202]);
    let data = answer.json()["data"].clone();
    assert_eq!(data[1]["error"]["detail"][0]["loc"], json!(["body", "eventType"]));
    assert_eq!(data[5]["error"]["detail"][0]["loc"], json!(["body", "application"]));
    assert!(data[1].get("message").is_none() && data[0].get("error").is_none(), "{data}");
    let mut corrected = messages.clone();
    corrected[1] = message(1);
    corrected[4] = message(4);
    let again = stack.post_batch(&app, Some("two"), &corrected).await;
    let mut found = statuses(&again);
    found[2..4].sort_unstable();
    assert_eq!(found, [202, 202, 202, 409, 202, 422, 202]);
    assert_eq!((ids(&again)[0].clone(), ids(&again).len()), (ids(&answer)[0].clone(), 5));
    stack.idle().await;
    let arrived: BTreeSet<String> =
        receiver.rest().iter().map(|webhook| webhook.header("webhook-id").to_owned()).collect();
    assert_eq!(arrived, ids(&again).into_iter().collect(), "each of them once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_none_is_refused_whole() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}/msg/batch");
    for body in ["{}", r#"{"messages":[]}"#, r#"{"messages":{}}"#, "[]", "x"] {
        let answer = stack.request("POST", &path, &stack.token, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
    }
    let many: Vec<Value> = (0..101).map(message).collect();
    assert_eq!(stack.post_batch(&app, None, &many).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    // Where batches are posted, the message of that event id is still read.
    assert_eq!(stack.request("GET", &path, &stack.token, "").await.status, StatusCode::NOT_FOUND);
    let large = json!({ "eventType": "a", "payload": { "x": "x".repeat(600 * 1024) } });
    let answer = stack.post_batch(&app, None, &[large.clone(), large]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let nowhere = stack.post_batch("nowhere", None, &[message(0)]).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    let customer = stack.stack.app_token(None, app.parse().expect("an id"));
    let body = json!({ "messages": [message(0)] }).to_string();
    let theirs = stack.request("POST", &path, &customer, body).await;
    assert_eq!(theirs.status, StatusCode::FORBIDDEN, "{}", theirs.text);
    let list = stack.request("GET", &format!("/api/v1/app/{app}/msg"), &stack.token, "").await.json();
    assert_eq!(list["data"], json!([]));
    let called = json!({ "eventType": "a", "payload": {}, "eventId": "batch" }).to_string();
    let posted = stack.request("POST", &format!("/api/v1/app/{app}/msg"), &stack.token, called).await.json();
    let found = stack.request("GET", &path, &stack.token, "").await.json();
    assert_eq!(found["id"], posted["id"]);
}
