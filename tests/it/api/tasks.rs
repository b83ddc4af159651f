//! Recovery and replays: what is sent again, once, and how a client follows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value, json};
use svix::models::{EndpointIn, EventTypeIn, MessageIn};

use crate::test_stack::{Receiver, TestStack, settings};

/// A stack without retries, and a receiver that fails until it is told to work.
async fn failing() -> (TestStack, Receiver, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let receiver = Receiver::answering(move |_| {
        let code =
            if answers.load(Ordering::SeqCst) { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        (code, String::new())
    })
    .await;
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    (stack, receiver, works)
}

impl TestStack {
    async fn begin(&self, path: &str, body: Value) -> Value {
        let answer = self.request("POST", path, &self.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        answer.json()
    }

    async fn task(&self, id: &Value) -> Value {
        let path = format!("/api/v1/background-task/{}", id.as_str().expect("an id"));
        self.request("GET", &path, &self.token, "").await.json()
    }
}

fn paths(webhooks: Vec<crate::test_stack::Webhook>) -> Vec<String> {
    let mut ids: Vec<String> =
        webhooks.iter().map(|webhook| webhook.header("webhook-id").to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_sends_what_failed_once_and_says_when_it_is_done() {
    let (stack, mut receiver, works) = failing().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let mut failed = Vec::new();
    for nth in 0..7 {
        failed.push(stack.message(&app, MessageIn::new("a".into(), json!({"nth": nth}))).await);
    }
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 7);
    works.store(true, Ordering::SeqCst);
    stack.message(&app, MessageIn::new("a".into(), json!({"arrives": true}))).await;
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 1);
    let path = format!("/api/v1/app/{app}/endpoint/{}/recover", endpoint.id);
    let task = stack.begin(&path, json!({"since": since()})).await;
    assert_eq!((&task["task"], &task["status"]), (&json!("endpoint.recover"), &json!("running")));
    stack.idle().await;
    failed.sort();
    assert_eq!(paths(receiver.rest()), failed);
    let done = stack.task(&task["id"]).await;
    assert_eq!((&done["status"], &done["data"]["messagesSent"]), (&json!("finished"), &json!(7)));
    let attempts = stack.attempts(&app, &failed[0]).await;
    let seen: Vec<_> = attempts.iter().map(|a| (a.trigger_type as i64, a.status as i64)).collect();
    assert_eq!(seen, [(1, 0), (0, 2)]);
    // The step's other copy, which the timers function finds, sends nothing.
    stack.run_timers().await;
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    // What arrived meanwhile is not sent again.
    stack.begin(&path, json!({"since": since()})).await;
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_send_what_is_missing_and_what_is_asked_for() {
    let (stack, mut receiver, works) = failing().await;
    works.store(true, Ordering::SeqCst);
    let app = stack.app().await;
    let mut messages = Vec::new();
    for nth in 0..4 {
        let channels = (nth % 2 == 0).then(|| ["even".to_owned()].into());
        let message = MessageIn { channels, ..MessageIn::new("a".into(), json!({"nth": nth})) };
        messages.push(stack.message(&app, message).await);
    }
    let since = json!({"since": since()});
    let only_even =
        EndpointIn { channels: Some(["even".to_owned()].into()), ..EndpointIn::new(receiver.url("/even")) };
    let endpoint = stack.endpoint_with(&app, only_even).await;
    let base = format!("/api/v1/app/{app}/endpoint/{}", endpoint.id);
    let task = stack.begin(&format!("{base}/replay-missing"), since.clone()).await;
    stack.idle().await;
    let mut even = vec![messages[0].clone(), messages[2].clone()];
    even.sort();
    assert_eq!(paths(receiver.rest()), even);
    let done = stack.task(&task["id"]).await;
    assert_eq!(
        (&done["status"], &done["data"]["messagesSent"], &done["task"]),
        (&json!("finished"), &json!(2), &json!("endpoint.replay"))
    );
    // The messages know of it, although they were not posted for this endpoint.
    for message in &even {
        let sent = stack.attempts(&app, message).await;
        assert!(sent.iter().any(|attempt| attempt.endpoint_id == endpoint.id), "{sent:?}");
    }
    // What was sent is not missing any more.
    stack.begin(&format!("{base}/replay-missing"), since.clone()).await;
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    let mut bulk = since;
    bulk["statusCodeClass"] = json!(200);
    bulk["status"] = json!(0);
    bulk["channel"] = json!("even");
    let task = stack.begin(&format!("{base}/bulk-replay"), bulk.clone()).await;
    stack.idle().await;
    assert_eq!(paths(receiver.rest()), even);
    assert_eq!(stack.task(&task["id"]).await["data"]["messagesSent"], 2);
    bulk["statusCodeClass"] = json!(500);
    let task = stack.begin(&format!("{base}/bulk-replay"), bulk).await;
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    assert_eq!(stack.task(&task["id"]).await["status"], "finished");
    let list = stack
        .request("GET", "/api/v1/background-task?limit=2&status=finished", &stack.token, "")
        .await
        .json();
    assert_eq!((list["data"].as_array().map(Vec::len), &list["done"]), (Some(2), &json!(false)));
    let rest =
        format!("/api/v1/background-task?iterator={}", list["iterator"].as_str().expect("an iterator"));
    let rest = stack.request("GET", &rest, &stack.token, "").await.json();
    assert_eq!((rest["data"].as_array().map(Vec::len), &rest["done"]), (Some(2), &json!(true)));
    let none =
        stack.request("GET", "/api/v1/background-task?task=endpoint.recover", &stack.token, "").await.json();
    assert_eq!(none["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_follows_its_own_tasks_and_no_others() {
    let (stack, _receiver, works) = failing().await;
    works.store(true, Ordering::SeqCst);
    let (mine, other) = (stack.app().await, stack.app().await);
    let mut tasks = Vec::new();
    for app in [&mine, &other] {
        let endpoint = stack.endpoint(app, "http://127.0.0.1:9/").await.id;
        let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/recover");
        tasks.push(stack.begin(&path, json!({"since": since()})).await["id"].as_str().unwrap().to_owned());
    }
    stack.stack.idle().await;
    let token = stack.stack.app_token(None, mine.parse().unwrap());
    let list = stack.request("GET", "/api/v1/background-task", &token, "").await.json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["data"]["appId"]), (&json!(tasks[0]), &json!(mine)));
    let read =
        async |task: &str| stack.request("GET", &format!("/api/v1/background-task/{task}"), &token, "").await;
    assert_eq!(read(&tasks[0]).await.json()["status"], "finished");
    let refused = read(&tasks[1]).await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (StatusCode::NOT_FOUND, json!("not_found")));
    // The organisation sees both.
    let all = stack.request("GET", "/api/v1/background-task", &stack.token, "").await.json();
    assert_eq!(all["data"].as_array().map(Vec::len), Some(2));
    // A token that was expired with all others reads nothing, although no path names its application.
    let path = format!("/api/v1/auth/app/{mine}/expire-all");
    assert_eq!(stack.request("POST", &path, &stack.token, "{}").await.status, StatusCode::NO_CONTENT);
    assert_eq!(read(&tasks[0]).await.status, StatusCode::UNAUTHORIZED);
    let list = stack.request("GET", "/api/v1/background-task", &token, "").await;
    assert_eq!(list.status, StatusCode::UNAUTHORIZED, "{}", list.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_begins_nothing() {
    let (stack, receiver, _) = failing().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let base = format!("/api/v1/app/{app}/endpoint/{}", endpoint.id);
    for (path, body, loc, msg) in [
        ("recover", json!({}), "since", "Field required"),
        ("recover", json!({"since": "yesterday"}), "since", "Not an RFC 3339 date and time"),
        (
            "recover",
            json!({"since": "2020-01-01T00:00:00Z"}),
            "since",
            "The window must span at most 14 days",
        ),
        (
            "replay-missing",
            json!({"since": "2020-01-01T00:00:00Z"}),
            "since",
            "The window must span at most 90 days",
        ),
        (
            "recover",
            json!({"since": since(), "until": "2020-01-01T00:00:00Z"}),
            "since",
            "Must not lie after `until`, nor in the future",
        ),
        ("bulk-replay", json!({"since": since(), "status": 7}), "status", "Must be from 0 to 3"),
        (
            "bulk-replay",
            json!({"since": since(), "statusCodeClass": 404}),
            "statusCodeClass",
            "Must be 0, 100, 200, 300, 400 or 500",
        ),
        ("send-example", json!({}), "eventType", "Field required"),
        ("send-example", json!({"eventType": "none"}), "eventType", "This event type does not exist: none"),
        (
            "send-example",
            json!({"eventType": "none", "payload": {}}),
            "eventType",
            "This event type does not exist: none",
        ),
        ("send-example", json!({"eventType": "a", "payload": []}), "payload", "Must be a JSON object"),
        (
            "send-example",
            json!({"eventType": "a", "payload": {}, "exampleIndex": 0}),
            "exampleIndex",
            "Must not be given together with payload",
        ),
    ] {
        let answer = stack.request("POST", &format!("{base}/{path}"), &stack.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        let detail = &answer.json()["detail"][0];
        assert_eq!((&detail["loc"], &detail["msg"]), (&json!(["body", loc]), &json!(msg)));
    }
    let tasks = stack.request("GET", "/api/v1/background-task", &stack.token, "").await.json();
    assert_eq!(tasks["data"], json!([]));
    let off = stack.request("PATCH", &base, &stack.token, json!({"disabled": true}).to_string()).await;
    assert_eq!(off.status, StatusCode::OK, "{}", off.text);
    let answer = stack
        .request("POST", &format!("{base}/recover"), &stack.token, json!({"since": since()}).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_is_sent_as_a_message() {
    let (stack, mut receiver, works) = failing().await;
    works.store(true, Ordering::SeqCst);
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let schemas = json!({"1": {"type": "object", "examples": [{"id": "inv_1"}]}});
    let event_type =
        EventTypeIn { schemas: Some(schemas), ..EventTypeIn::new("invoice.paid".into(), "paid".into()) };
    stack.svix.event_type().create(event_type, None).await.expect("an event type");
    stack.event_type("bare").await;
    let path = format!("/api/v1/app/{app}/endpoint/{}/send-example", endpoint.id);
    let answer =
        stack.request("POST", &path, &stack.token, json!({"eventType": "invoice.paid"}).to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["payload"], json!({"id": "inv_1"}));
    let webhook = receiver.next().await;
    webhook.verify(&endpoint.secret);
    assert_eq!(
        (webhook.header("webhook-id"), &webhook.body[..]),
        (answer.json()["id"].as_str().expect("an id"), &br#"{"id":"inv_1"}"#[..])
    );
    let answer = stack.request("POST", &path, &stack.token, json!({"eventType": "bare"}).to_string()).await;
    assert_eq!(
        answer.json()["detail"][0]["msg"],
        "Event type bare has no schema with examples. Add `examples` to its schema."
    );
    // The first SDKs take any other status for a failure.
    let body = json!({"eventType": "invoice.paid"}).to_string();
    let first = [("user-agent", "svix-libs/1.45.1/python")];
    let answer = stack.request_with("POST", &path, &stack.token, &first, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
}

/// A payload of one's own has the endpoint's signature, so that a link needs the right to see the secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_ones_own_is_sent_to_one_endpoint_as_it_is_written() {
    let (stack, mut receiver, works) = failing().await;
    works.store(true, Ordering::SeqCst);
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/one")).await;
    stack.endpoint(&app, &receiver.url("/other")).await;
    stack.event_type("bare").await;
    let path = format!("/api/v1/app/{app}/endpoint/{}/send-example", endpoint.id);
    let link = async |capabilities: Value| {
        let access = format!("/api/v1/auth/app-portal-access/{app}");
        let body = json!({ "capabilities": capabilities }).to_string();
        let answer = stack.request("POST", &access, &stack.token, body).await;
        answer.json()["token"].as_str().expect("a token").to_owned()
    };
    let own = r#"{"eventType":"bare","payload": { "n" : 12345678901234567890, "z":1.0} }"#;
    let sends = link(json!(["ViewBase", "CreateAttempts"])).await;
    let refused = stack.request("POST", &path, &sends, own).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert_eq!(refused.json()["detail"], "This token lacks the capability ViewEndpointSecret.");
    for token in [&stack.token, &link(json!(["ViewBase", "CreateAttempts", "ViewEndpointSecret"])).await] {
        let answer = stack.request("POST", &path, token, own).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let webhook = receiver.next().await;
        webhook.verify(&endpoint.secret);
        assert_eq!(
            (webhook.path.as_str(), &webhook.body[..]),
            ("/one", &br#"{ "n" : 12345678901234567890, "z":1.0}"#[..])
        );
    }
    stack.idle().await;
    assert!(receiver.rest().is_empty());
}

/// An hour ago.
fn since() -> String {
    use shared::clock::Clock as _;
    shared::clock::SystemClock.now().before(std::time::Duration::from_secs(3600)).to_string()
}
