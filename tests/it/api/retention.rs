//! What goes when: messages, their payloads and their attempts, each by its own time.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::Clock as _;
use svix::models::MessageIn;

use crate::test_stack::{Ahead, Receiver, TestStack, settings};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Fixture {
    stack: TestStack,
    clock: Arc<Ahead>,
    app: String,
}

impl Fixture {
    async fn start(retention: &[(&str, &str)]) -> Self {
        let clock = Arc::new(Ahead::default());
        let mut settings = settings();
        settings.platform.clock = clock.clone();
        for (name, days) in retention {
            settings = settings.with(&format!("POSTRIDER_{name}_RETENTION_DAYS"), days);
        }
        let stack = TestStack::with(settings).await;
        let app = stack.app().await;
        Self { stack, clock, app }
    }

    fn skip(&self, days: u32) {
        self.clock.skip(DAY * days);
        self.stack.stack.wake();
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let path = format!("/api/v1/app/{}/{path}", self.app);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.stack.request(method, &path, &self.stack.token, body).await;
        (answer.status, serde_json::from_str(&answer.text).unwrap_or_default())
    }

    /// How many entries a list has.
    async fn listed(&self, path: &str) -> usize {
        let (status, body) = self.ask("GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body["data"].as_array().expect("a list").len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_go_before_their_message_and_nothing_is_sent_twice_for_that() {
    let fixture = Fixture::start(&[("ATTEMPT", "14")]).await;
    let (stack, app) = (&fixture.stack, &fixture.app);
    let mut receiver = Receiver::start().await;
    let endpoint = stack.endpoint(app, &receiver.url("/")).await.id;
    let message = stack.message(app, MessageIn::new("a".into(), json!({ "n": 1 }))).await;
    receiver.next().await;
    stack.idle().await;
    let lists = [
        format!("attempt/msg/{message}"),
        format!("attempt/endpoint/{endpoint}"),
        format!("msg/{message}/endpoint"),
        format!("endpoint/{endpoint}/msg"),
    ];
    for list in &lists {
        assert_eq!(fixture.listed(list).await, 1, "{list}");
    }
    let first = stack.attempts(app, &message).await[0].id.clone();
    let first = format!("msg/{message}/attempt/{first}");
    assert_eq!(fixture.ask("GET", &first, Value::Null).await.0, StatusCode::OK);

    fixture.skip(15);
    assert_eq!(fixture.ask("GET", &first, Value::Null).await.0, StatusCode::NOT_FOUND);
    for list in &lists {
        assert_eq!(fixture.listed(list).await, 0, "{list}");
    }
    let (status, shown) = fixture.ask("GET", &format!("msg/{message}"), Value::Null).await;
    assert_eq!((status, &shown["payload"]), (StatusCode::OK, &json!({ "n": 1 })));

    // Of so old a message nobody knows whether it was sent.
    let now = fixture.clock.now();
    let replay = format!("endpoint/{endpoint}/replay-missing");
    for path in [replay.clone(), format!("{replay}/count")] {
        let (status, refused) = fixture.ask("POST", &path, json!({ "since": now.before(DAY * 16) })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {refused}");
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "since"]), "{refused}");
    }
    let (status, task) = fixture.ask("POST", &replay, json!({ "since": now.before(DAY * 13) })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    stack.idle().await;
    assert!(receiver.rest().is_empty());

    // Sent again by hand, that is on record, and the first attempt is not again.
    let resend = format!("msg/{message}/endpoint/{endpoint}/resend");
    let (status, refused) = fixture.ask("POST", &resend, Value::Null).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{refused}");
    receiver.next().await;
    stack.idle().await;
    for list in &lists {
        assert_eq!(fixture.listed(list).await, 1, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_go_before_their_message_and_messages_by_their_own_time() {
    let fixture = Fixture::start(&[("MESSAGE", "14"), ("PAYLOAD", "2")]).await;
    let (stack, app) = (&fixture.stack, &fixture.app);
    let mut receiver = Receiver::start().await;
    let endpoint = stack.endpoint(app, &receiver.url("/")).await.id;
    let too_long = json!({ "eventType": "a", "payload": {}, "payloadRetentionPeriod": 5 });
    let (status, refused) = fixture.ask("POST", "msg", too_long.clone()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let msg = "This installation keeps payloads for 2 days: leave it out, or set it to at most 2 days";
    assert_eq!(refused["detail"][0]["msg"], msg);
    let (_, batch) = fixture.ask("POST", "msg/batch", json!({ "messages": [too_long] })).await;
    assert_eq!(batch["data"][0]["status"], 422, "{batch}");

    // Official SDKs send 90 of their own accord (1.45): that is nobody's wish.
    for retention in [json!({ "payloadRetentionHours": 24 }), json!({ "payloadRetentionPeriod": 90 })] {
        let mut body = json!({ "eventType": "a", "payload": { "n": 1 } });
        body.as_object_mut().expect("fields").extend(retention.as_object().expect("a field").clone());
        let (status, accepted) = fixture.ask("POST", "msg", body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    }
    let message = stack.message(app, MessageIn::new("a".into(), json!({ "n": 2 }))).await;
    for _ in 0..3 {
        receiver.next().await;
    }
    stack.idle().await;

    fixture.skip(3);
    let (status, shown) = fixture.ask("GET", &format!("msg/{message}"), Value::Null).await;
    assert_eq!((status, &shown["payload"]), (StatusCode::OK, &json!({ "expired": true })));
    assert_eq!(fixture.listed("msg").await, 3);
    assert_eq!(fixture.listed(&format!("attempt/msg/{message}")).await, 1);
    let resend = format!("msg/{message}/endpoint/{endpoint}/resend");
    let (status, refused) = fixture.ask("POST", &resend, Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refused}");

    fixture.skip(12);
    let (status, _) = fixture.ask("GET", &format!("msg/{message}"), Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for list in ["msg".to_owned(), format!("attempt/endpoint/{endpoint}")] {
        assert_eq!(fixture.listed(&list).await, 0, "{list}");
    }
    let now = fixture.clock.now();
    let window = json!({ "since": now.before(DAY * 15), "until": now });
    let path = "/api/v1/stats/usage/app";
    let answer = stack.request("POST", path, &stack.token, window.to_string()).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
    assert!(answer.text.contains("Must not lie more than 14 days back"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_longer_than_its_message_is_refused_at_the_start() {
    for (name, days) in [("ATTEMPT", "60"), ("PAYLOAD", "31")] {
        let name = format!("POSTRIDER_{name}_RETENTION_DAYS");
        let settings = settings().with("POSTRIDER_MESSAGE_RETENTION_DAYS", "30").with(&name, days);
        let Err(refused) = local::Stack::start(settings).await else { panic!("{name}: nothing is refused") };
        assert!(refused.to_string().contains(&name), "{refused}");
    }
}
