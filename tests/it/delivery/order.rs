//! Ordered endpoints: what arrives in which order when some of it fails, and what people can do about it.

mod lists;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use http::StatusCode;
use serde_json::{Value, json};
use svix::models::MessageIn;

use crate::test_stack::{Receiver, TestStack, Webhook, settings};

const OK: (StatusCode, String) = (StatusCode::OK, String::new());
const BROKEN: (StatusCode, String) = (StatusCode::INTERNAL_SERVER_ERROR, String::new());

struct Ordered {
    stack: TestStack,
    app: String,
    endpoint: String,
}

impl Ordered {
    async fn with(schedule: &str, url: &str, key: Option<&str>) -> Self {
        Self::of(schedule, json!({ "url": url, "fifo": true, "fifoKey": key })).await
    }

    async fn of(schedule: &str, body: Value) -> Self {
        let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", schedule)).await;
        let app = stack.app().await;
        let path = format!("/api/v1/app/{app}/endpoint");
        let made = stack.request("POST", &path, &stack.token, body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.json());
        let endpoint = made.json()["id"].as_str().expect("an id").to_owned();
        Self { stack, app, endpoint }
    }

    async fn post(&self, key: &str, n: u32) -> String {
        let message = MessageIn::new("a.b".into(), json!({ "k": key, "n": n }));
        self.stack.message(&self.app, message).await
    }

    async fn ask(&self, method: &str, rest: &str, body: Value) -> (u16, Value) {
        let path = format!("/api/v1/app/{}/endpoint/{}{rest}", self.app, self.endpoint);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.stack.request(method, &path, &self.stack.token, body).await;
        let json = if answer.text.is_empty() { Value::Null } else { answer.json() };
        (answer.status.as_u16(), json)
    }

    /// How it stands.
    async fn status(&self) -> Value {
        let (status, answer) = self.ask("GET", "/order", Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

fn said(webhook: &Webhook) -> (String, u64) {
    let body: Value = serde_json::from_slice(&webhook.body).expect("JSON");
    (body["k"].as_str().unwrap_or_default().to_owned(), body["n"].as_u64().expect("a number"))
}

async fn arrive(receiver: &mut Receiver, count: usize) -> Vec<(String, u64)> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(said(&receiver.next().await));
    }
    all
}

fn of(key: &str, all: &[(String, u64)]) -> Vec<u64> {
    all.iter().filter(|(k, _)| k == key).map(|(_, n)| *n).collect()
}

/// INV-54
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_fails_holds_up_itself_alone() {
    let fails = Arc::new(AtomicU32::new(2));
    let left = fails.clone();
    let mut receiver = Receiver::answering(move |webhook| {
        let is_first = said(webhook) == ("a".into(), 1);
        let fails =
            is_first && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails { BROKEN } else { OK }
    })
    .await;
    let ordered = Ordered::with("1,1,1", &receiver.url("/"), Some("/k")).await;
    for (key, n) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("a", 5), ("b", 6)] {
        ordered.post(key, n).await;
    }
    let all = arrive(&mut receiver, 8).await;
    assert_eq!(of("a", &all), [1, 1, 1, 3, 5], "{all:?}");
    assert_eq!(of("b", &all), [2, 4, 6], "{all:?}");
    ordered.stack.jobs_are_done().await;
    assert!(receiver.rest().is_empty());
    let status = ordered.status().await;
    assert_eq!((&status["status"], &status["waitingKeys"]), (&json!("enabled"), &json!(0)), "{status}");
}

/// INV-54
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_each_message_waits_for_the_one_before_it() {
    let fails = AtomicU32::new(3);
    let mut receiver = Receiver::answering(move |_| {
        let fails = fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails { BROKEN } else { OK }
    })
    .await;
    let ordered = Ordered::with("1,1,1,1", &receiver.url("/"), None).await;
    for (nth, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        ordered.post(key, nth as u32).await;
    }
    let order: Vec<u64> = arrive(&mut receiver, 7).await.into_iter().map(|(_, n)| n).collect();
    assert_eq!(order, [0, 0, 0, 0, 1, 2, 3]);
    ordered.stack.jobs_are_done().await;
    assert!(receiver.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_skip_retry_pause_and_resume() {
    let works = Arc::new(AtomicBool::new(false));
    let does = works.clone();
    let mut receiver =
        Receiver::answering(move |_| if does.load(Ordering::SeqCst) { OK } else { BROKEN }).await;
    // The first retry is an hour away: what happens before is asked for.
    let ordered = Ordered::with("3600", &receiver.url("/"), Some("/k")).await;
    let (first, second) = (ordered.post("a", 1).await, ordered.post("a", 2).await);
    assert_eq!(arrive(&mut receiver, 1).await, [("a".into(), 1)]);
    ordered.stack.jobs_are_done().await;
    let status = ordered.status().await;
    assert_eq!(status["status"], "retrying", "{status}");
    assert_eq!(status["waiting"][0]["msgId"], json!(first), "{status}");

    let (refused, answer) = ordered.ask("POST", "/order/skip", json!({ "msgId": second })).await;
    assert_eq!(refused, 409, "{answer}");
    let (skipped, answer) = ordered.ask("POST", "/order/skip", json!({ "msgId": first })).await;
    assert_eq!(skipped, 204, "{answer}");
    assert_eq!(arrive(&mut receiver, 1).await, [("a".into(), 2)]);
    ordered.stack.jobs_are_done().await;
    assert_eq!(ordered.status().await["waiting"][0]["msgId"], json!(second));

    works.store(true, Ordering::SeqCst);
    assert_eq!(ordered.ask("POST", "/order/retry", Value::Null).await.0, 204);
    assert_eq!(arrive(&mut receiver, 1).await, [("a".into(), 2)]);

    assert_eq!(ordered.ask("POST", "/order/pause", Value::Null).await.0, 204);
    ordered.post("a", 3).await;
    ordered.post("b", 4).await;
    ordered.stack.jobs_are_done().await;
    assert!(receiver.rest().is_empty());
    assert_eq!(ordered.status().await["status"], "paused");
    assert_eq!(ordered.ask("POST", "/order/resume", Value::Null).await.0, 204);
    let mut both = arrive(&mut receiver, 2).await;
    both.sort();
    assert_eq!(both, [("a".into(), 3), ("b".into(), 4)]);

    let events = ordered.stack.request("GET", "/api/v1/audit-event", &ordered.stack.token, "").await.json();
    let what: Vec<&str> =
        events["data"].as_array().expect("a list").iter().filter_map(|one| one["what"].as_str()).collect();
    for done in ["order-skipped", "order-retried", "order-paused", "order-resumed"] {
        assert!(what.contains(&format!("endpoint.{done}").as_str()), "{what:?}");
    }
    ordered.stack.leaves_jobs();
}

#[tokio::test(flavor = "multi_thread")]
async fn skipping_lets_its_own_key_go_on_and_no_other() {
    let mut receiver = Receiver::answering(|_| BROKEN).await;
    let ordered = Ordered::with("3600", &receiver.url("/"), Some("/k")).await;
    let skipped = ordered.post("a", 1).await;
    ordered.post("a", 2).await;
    ordered.post("b", 3).await;
    let mut first = arrive(&mut receiver, 2).await;
    first.sort();
    assert_eq!(first, [("a".into(), 1), ("b".into(), 3)]);
    ordered.stack.jobs_are_done().await;
    assert_eq!(ordered.ask("POST", "/order/skip", json!({ "msgId": skipped })).await.0, 204);
    assert_eq!(arrive(&mut receiver, 1).await, [("a".into(), 2)]);
    ordered.stack.jobs_are_done().await;
    // Nor does it by being resumed, as it is not paused.
    assert_eq!(ordered.ask("POST", "/order/resume", Value::Null).await.0, 204);
    ordered.stack.jobs_are_done().await;
    assert!(receiver.rest().is_empty());
    let status = ordered.status().await;
    assert_eq!(
        (&status["status"], status["waiting"].as_array().map(Vec::len)),
        (&json!("retrying"), Some(2))
    );
    ordered.stack.leaves_jobs();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_it_is_disabled_arrives_when_it_is_enabled() {
    let mut receiver = Receiver::start().await;
    let ordered = Ordered::with("1", &receiver.url("/"), None).await;
    assert_eq!(ordered.ask("PATCH", "", json!({ "disabled": true })).await.0, 200);
    for n in 0..3 {
        ordered.post("a", n).await;
    }
    ordered.stack.jobs_are_done().await;
    assert!(receiver.rest().is_empty());
    assert_eq!(ordered.status().await["status"], "disabled");
    assert_eq!(ordered.ask("PATCH", "", json!({ "fifo": false })).await.0, 409);
    // At once: nobody runs the timers.
    assert_eq!(ordered.ask("PATCH", "", json!({ "disabled": false })).await.0, 200);
    let order: Vec<u64> = arrive(&mut receiver, 3).await.into_iter().map(|(_, n)| n).collect();
    assert_eq!(order, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_mean_nothing_are_refused() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}/endpoint");
    let url = "https://example.com/";
    let place = |kind: &str| {
        let arn =
            if kind == "s3" { "arn:aws:s3:::orders" } else { "arn:aws:sqs:us-east-1:000000000000:orders" };
        json!({ "kind": kind, "arn": arn, "roleArn": "arn:aws:iam::000000000000:role/postrider", "region": "us-east-1" })
    };
    for (body, field, says) in [
        (json!({ "url": url, "fifo": true, "batchSize": 0 }), "batchSize", "from 1 to 1000"),
        (json!({ "url": url, "fifo": true, "batchSize": 1001 }), "batchSize", "from 1 to 1000"),
        (
            json!({ "url": url, "fifo": true, "batchSize": 2, "maxWaitSecs": 301 }),
            "maxWaitSecs",
            "from 0 to 300",
        ),
        (json!({ "url": url, "fifo": true, "maxWaitSecs": 5 }), "maxWaitSecs", "`batchSize` to 2"),
        (json!({ "url": url, "batchSize": 2 }), "batchSize", "without `fifo`"),
        (json!({ "destination": place("sqs"), "fifo": true, "batchSize": 2 }), "batchSize", "this is `sqs`"),
        (json!({ "destination": place("s3"), "fifo": true, "batchSize": 2 }), "batchSize", "this is `s3`"),
        (json!({ "url": url, "fifoKey": "/a" }), "fifoKey", "without `fifo`"),
        (json!({ "url": url, "fifo": true, "fifoKey": "a.b" }), "fifoKey", "JSON pointer"),
        (json!({ "destination": { "kind": "polling" }, "fifo": true }), "fifo", "polled"),
    ] {
        let answer = stack.request("POST", &path, &stack.token, body.to_string()).await;
        assert_eq!(answer.status, 422, "{body}");
        let detail = answer.json()["detail"][0].clone();
        assert_eq!(detail["loc"], json!(["body", field]), "{detail}");
        assert!(detail["msg"].as_str().is_some_and(|msg| msg.contains(says)), "{detail}");
    }
    let body = json!({ "url": url, "fifo": true, "fifoKey": "/a", "batchSize": 1, "maxWaitSecs": 0 });
    let made = stack.request("POST", &path, &stack.token, body.to_string()).await.json();
    assert_eq!((&made["fifo"], &made["fifoKey"]), (&json!(true), &json!("/a")));
    let one = format!("{path}/{}", made["id"].as_str().expect("an id"));
    let patch = async |body: Value| stack.request("PATCH", &one, &stack.token, body.to_string()).await.json();
    assert_eq!(patch(json!({ "description": "x" })).await["fifoKey"], "/a");
    assert_eq!(patch(json!({ "fifoKey": null })).await.get("fifoKey"), None);
    let lists = patch(json!({ "batchSize": 50, "maxWaitSecs": 7 })).await;
    assert_eq!((&lists["batchSize"], &lists["maxWaitSecs"]), (&json!(50), &json!(7)));
    assert_eq!(patch(json!({ "maxWaitSecs": 0 })).await["batchSize"], 50);
    let refused = patch(json!({ "batchSize": 1, "maxWaitSecs": 9 })).await;
    assert_eq!(refused["detail"][0]["loc"], json!(["body", "maxWaitSecs"]), "{refused}");
    assert_eq!(patch(json!({ "batchSize": null })).await.get("batchSize"), None);
    assert_eq!(patch(json!({ "fifo": false })).await.get("fifo"), None);
    let answer = stack.request("GET", &format!("{one}/order"), &stack.token, "").await;
    assert_eq!(answer.status, 409, "{}", answer.json());
}
