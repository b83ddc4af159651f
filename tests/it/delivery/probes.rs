//! Endpoints that were disabled because they only failed, and come back by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::{Clock as _, Timestamp};
use svix::models::MessageIn;

use crate::test_stack::{Ahead, Receiver, TestStack, Webhook, settings};

const HOUR: Duration = Duration::from_secs(3_600);
/// After so long an endpoint that fails is disabled.
const FAILS: Duration = Duration::from_secs(122 * 3_600);
const SECRET: &str = "whsec_AgICAgICAgICAgICAgICAgICAgICAgIC";

/// A stack whose clock can be moved, a receiver that answers with a status that can be changed, an endpoint there that
/// comes back, and whoever is told what happens.
struct Probed {
    stack: TestStack,
    clock: Arc<Ahead>,
    status: Arc<AtomicU16>,
    receiver: Receiver,
    operator: Receiver,
    app: String,
    endpoint: String,
}

impl Probed {
    async fn start() -> Self {
        let clock = Arc::new(Ahead::default());
        let mut settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "");
        settings.platform.clock = clock.clone();
        let stack = TestStack::with(settings).await;
        let status = Arc::new(AtomicU16::new(503));
        let answers = status.clone();
        let receiver = Receiver::answering(move |_| {
            let status = StatusCode::from_u16(answers.load(Ordering::Relaxed)).expect("a status");
            (status, String::new())
        })
        .await;
        let operator = Receiver::start().await;
        let sink = json!({"url": operator.url("/"), "eventTypes": ["endpoint.disabled", "endpoint.enabled"]});
        let path = "/api/v1/operational-webhook/endpoint";
        let made = stack.request("POST", path, &stack.token, sink.to_string()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let app = stack.app().await;
        let body = json!({"url": receiver.url("/"), "autoEnable": true, "secret": SECRET}).to_string();
        let made =
            stack.request("POST", &format!("/api/v1/app/{app}/endpoint"), &stack.token, body).await.json();
        assert_eq!(made["autoEnable"], true, "{made}");
        let endpoint = made["id"].as_str().expect("an id").to_owned();
        Self { stack, clock, status, receiver, operator, app, endpoint }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    async fn send(&self, n: u32) -> String {
        let id = self.stack.message(&self.app, MessageIn::new("a.b".into(), json!({ "n": n }))).await;
        self.stack.idle().await;
        id
    }

    /// What arrives once so much time is over, and all that is due then is done.
    async fn after(&mut self, time: Duration) -> Vec<Webhook> {
        self.clock.skip(time);
        self.stack.stack.wake();
        self.stack.run_timers().await;
        self.stack.idle().await;
        self.receiver.rest()
    }

    async fn fails_for_days(&mut self) {
        self.send(0).await;
        self.after(FAILS).await;
        self.send(1).await;
        assert_eq!(self.receiver.rest().len(), 1);
    }

    async fn told(&mut self) -> Vec<Value> {
        self.stack.run_timers().await;
        self.stack.idle().await;
        let told = self.operator.rest();
        told.iter().map(|webhook| serde_json::from_slice(&webhook.body).expect("JSON")).collect()
    }

    async fn shown(&self) -> Value {
        let path = format!("/api/v1/app/{}/endpoint/{}", self.app, self.endpoint);
        self.stack.request("GET", &path, &self.stack.token, "").await.json()
    }

    async fn patch(&self, body: Value) -> (StatusCode, String) {
        let path = format!("/api/v1/app/{}/endpoint/{}", self.app, self.endpoint);
        let answer = self.stack.request("PATCH", &path, &self.stack.token, body.to_string()).await;
        (answer.status, answer.text)
    }

    /// In how many hours the next probe is due, rounded up.
    async fn next_in(&self) -> Option<u64> {
        let next = Timestamp::parse(self.shown().await["nextProbe"].as_str()?).expect("a time");
        Some(next.since(self.clock.now()).as_secs().div_ceil(3_600))
    }
}

fn text(webhook: &Webhook) -> Value {
    serde_json::from_slice(&webhook.body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_only_failed_comes_back_when_it_answers() {
    let mut at = Probed::start().await;
    at.fails_for_days().await;
    let told = at.told().await;
    let [disabled] = told.as_slice() else { panic!("{told:?}") };
    let shown = at.shown().await;
    assert_eq!((&shown["disabled"], &shown["nextProbe"]), (&json!(true), &disabled["data"]["nextProbe"]));
    assert_eq!(disabled["data"]["reason"], "127.0.0.1 answered 503");
    assert_eq!(at.next_in().await, Some(1));
    let from = disabled["data"]["failSince"].clone();

    // Not before its time; then signed as webhooks are, and each pause is twice the one before.
    assert_eq!(at.after(HOUR / 2).await.len(), 0);
    let mut since = Value::Null;
    for (number, pause) in [(1, 2), (2, 4), (3, 8)] {
        let probes = at.after(HOUR * (pause / 2)).await;
        let [probe] = probes.as_slice() else { panic!("{probes:?}") };
        assert!(probe.is_signed_by(SECRET) && probe.header("webhook-id").starts_with("msg_"));
        let body = text(probe);
        assert_eq!(body["type"], "postrider.probe");
        since = body["data"]["missedSince"].clone();
        // The first message that never arrived was made before that was clear.
        assert!(since.is_string() && since.as_str() <= from.as_str());
        let data = json!({"appId": at.app, "endpointId": at.endpoint, "missedSince": since, "probe": number});
        assert_eq!(body["data"], data);
        assert_eq!(at.next_in().await, Some(pause.into()));
    }
    // Neither in the log, nor in the list of messages.
    let path = format!("/api/v1/app/{}/attempt/endpoint/{}", at.app, at.endpoint);
    let log = at.stack.request("GET", &path, &at.stack.token, "").await.json();
    assert_eq!(log["data"].as_array().map(Vec::len), Some(2));
    // What is changed of it meanwhile changes nothing of that.
    assert_eq!(at.patch(json!({"description": "x"})).await.0, StatusCode::OK);
    assert_eq!(at.next_in().await, Some(8));
    at.send(2).await;
    assert_eq!(at.told().await, [] as [Value; 0]);

    // A copy of a job that was done, and one that comes too often, send nothing.
    let org = shared::auth::DEFAULT_ORG;
    let job =
        json!({"job": "probe.v1", "with": {"org": org, "app": at.app, "endpoint": at.endpoint, "due": 1}});
    at.stack.send("RetriesQueue", &job.to_string()).await;
    at.answer(204);
    let probes = at.after(HOUR * 8).await;
    assert_eq!(probes.len(), 1);
    let told = at.told().await;
    let [enabled] = told.as_slice() else { panic!("{told:?}") };
    let reason = "127.0.0.1 answered 204 to a probe";
    let data = json!({"appId": at.app, "endpointId": at.endpoint, "missedSince": since, "reason": reason});
    assert_eq!(*enabled, json!({"type": "endpoint.enabled", "data": data}));
    let shown = at.shown().await;
    assert_eq!((&shown["disabled"], &shown["missedSince"]), (&json!(false), &since));
    assert_eq!(shown["nextProbe"], Value::Null);
    let query = "/api/v1/audit-event?what=endpoint.enabled";
    let audit = at.stack.request("GET", query, &at.stack.token, "").await.json();
    let [event] = audit["data"].as_array().expect("events").as_slice() else { panic!("{audit}") };
    assert_eq!((&event["by"], &event["after"]["missedSince"]), (&json!("postrider"), &since));

    // What it missed is there to be sent: what was given up, and what was never sent.
    let body = json!({ "since": since }).to_string();
    for (operation, n) in [("recover", 2), ("replay-missing", 1)] {
        let path = format!("/api/v1/app/{}/endpoint/{}/{operation}", at.app, at.endpoint);
        let task = at.stack.request("POST", &path, &at.stack.token, body.clone()).await;
        assert_eq!(task.status, StatusCode::ACCEPTED, "{}", task.text);
        for _ in 0..30 {
            at.after(Duration::from_millis(1_100)).await;
        }
        let path = format!("/api/v1/background-task/{}", task.json()["id"].as_str().expect("an id"));
        let task = at.stack.request("GET", &path, &at.stack.token, "").await.json();
        assert_eq!((&task["status"], &task["data"]["messagesSent"]), (&json!("finished"), &json!(n)));
    }

    // It cannot go round: disabled again, it waits twice as long.
    at.answer(500);
    at.fails_for_days().await;
    assert_eq!(at.next_in().await, Some(2));
    // Until a person enables it.
    assert_eq!(at.patch(json!({"disabled": false})).await.0, StatusCode::OK);
    let shown = at.shown().await;
    assert_eq!((&shown["nextProbe"], &shown["missedSince"]), (&Value::Null, &Value::Null));
    assert_eq!(at.after(HOUR * 3).await.len(), 0);
    at.fails_for_days().await;
    assert_eq!(at.next_in().await, Some(1));
    // Who does not want it any more is probed no more.
    assert_eq!(at.patch(json!({"autoEnable": false})).await.0, StatusCode::OK);
    assert_eq!((at.next_in().await, at.after(HOUR * 2).await.len()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_wants_off_no_probe_switches_on() {
    let mut at = Probed::start().await;
    let path = format!("/api/v1/app/{}/endpoint/{}", at.app, at.endpoint);
    let whole = json!({"url": at.receiver.url("/"), "autoEnable": true, "disabled": true});
    for (method, body) in [("PATCH", json!({"disabled": true})), ("PUT", whole)] {
        at.answer(503);
        at.fails_for_days().await;
        assert_eq!(at.next_in().await, Some(1), "{method}");
        let answer = at.stack.request(method, &path, &at.stack.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        at.answer(204);
        assert_eq!((at.next_in().await, at.after(HOUR * 2).await.len()), (None, 0), "{method}");
        let shown = at.shown().await;
        assert_eq!((&shown["disabled"], &shown["autoEnable"]), (&json!(true), &json!(true)), "{method}");
        assert_eq!(at.patch(json!({"disabled": false})).await.0, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_missed_begins_with_the_oldest_message_of_its_outage() {
    let mut at = Probed::start().await;
    let schedule = |waits: &[u32]| json!({"retryPolicy": {"schedule": waits, "jitter": 0}});
    let made = async |at: &Probed, id: &str| {
        let path = format!("/api/v1/app/{}/msg/{id}", at.app);
        at.stack.request("GET", &path, &at.stack.token, "").await.json()["timestamp"].clone()
    };
    // The older message is tried again later: the younger one is given up before it.
    assert_eq!(at.patch(schedule(&[3_600])).await.0, StatusCode::OK);
    let older = at.send(0).await;
    assert_eq!(at.patch(schedule(&[])).await.0, StatusCode::OK);
    at.clock.skip(Duration::from_secs(1));
    at.send(1).await;
    assert_eq!(at.receiver.rest().len(), 2);
    assert_eq!(at.after(HOUR * 2).await.len(), 1);
    at.after(FAILS).await;
    at.send(2).await;
    assert_eq!(at.receiver.rest().len(), 1);
    let probes = at.after(HOUR).await;
    let [probe] = probes.as_slice() else { panic!("{probes:?}") };
    assert_eq!(text(probe)["data"]["missedSince"], made(&at, &older).await);
    at.answer(204);
    assert_eq!(at.after(HOUR * 2).await.len(), 1);
    assert_eq!(at.shown().await["missedSince"], made(&at, &older).await);

    // The next outage has a beginning of its own.
    at.answer(503);
    let first = at.send(3).await;
    at.after(FAILS).await;
    at.send(4).await;
    at.answer(204);
    assert_eq!(at.receiver.rest().len(), 1);
    let probes = at.after(HOUR * 2).await;
    let [probe] = probes.as_slice() else { panic!("{probes:?}") };
    assert_eq!(text(probe)["data"]["missedSince"], made(&at, &first).await);
    assert_eq!(at.shown().await["missedSince"], made(&at, &first).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_more_is_not_probed() {
    let mut at = Probed::start().await;
    at.answer(410);
    at.send(0).await;
    assert_eq!(at.receiver.rest().len(), 1);
    let shown = at.shown().await;
    assert_eq!((&shown["disabled"], &shown["nextProbe"]), (&json!(true), &Value::Null));
    assert_eq!(at.after(HOUR * 2).await.len(), 0);
    // Also when it says so to a probe.
    assert_eq!(at.patch(json!({"disabled": false})).await.0, StatusCode::OK);
    at.answer(503);
    at.fails_for_days().await;
    at.answer(410);
    assert_eq!(at.after(HOUR).await.len(), 1);
    let shown = at.shown().await;
    assert_eq!((&shown["disabled"], &shown["nextProbe"]), (&json!(true), &Value::Null));
    assert_eq!(at.after(HOUR * 48).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_endpoint_with_a_url_comes_back_by_itself() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}/endpoint");
    let body = json!({"destination": {"kind": "polling"}, "autoEnable": true}).to_string();
    let refused = stack.request("POST", &path, &stack.token, body).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    assert!(refused.text.contains("Only an endpoint with a URL is probed"), "{}", refused.text);
}
