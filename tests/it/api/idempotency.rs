//! Idempotency keys: whose they are, what they stand for, and for how long.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::config::Env;
use shared::store::idempotency::Claim;
use svix::models::EventTypeIn;

use crate::test_stack::{Ahead, Answer, Receiver, TestStack, settings};

const KEY: [(&str, &str); 1] = [("idempotency-key", "one")];

impl TestStack {
    async fn post(&self, path: &str, token: &str, body: &str) -> Answer {
        self.request_with("POST", &format!("/api/v1{path}"), token, &KEY, body.to_owned()).await
    }

    async fn ids(&self, path: &str) -> usize {
        let list = self.request("GET", &format!("/api/v1{path}?limit=250"), &self.token, "").await.json();
        list["data"].as_array().expect("a list").len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_caller_and_to_one_uri() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/app/{app}/endpoint");
    let body = r#"{"url":"http://127.0.0.1:9/"}"#;
    let customer = stack.stack.app_token(None, app.parse().expect("an id"));
    let ours = stack.post(&path, &stack.token, body).await;
    let theirs = stack.post(&path, &customer, body).await;
    assert_eq!((ours.status, theirs.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_ne!(ours.text, theirs.text);
    assert_eq!(stack.ids(&path).await, 2);
    // Each is answered again as before; a query is a part of the URI, and so is the path.
    assert_eq!(stack.post(&path, &customer, body).await.text, theirs.text);
    assert_eq!(stack.post(&path, &stack.token, "{}").await.text, ours.text);
    let elsewhere = stack.post(&format!("{path}?x=1"), &stack.token, body).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED, "{}", elsewhere.text);
    assert_eq!(stack.ids(&path).await, 3);
    // Another organisation cannot even tell that the key was used.
    let strangers = stack.stack.org_token(Some("org_23rb8YdGqMT0qIzpgGwdXfHirMv".parse().expect("an id")));
    let mine = stack.post("/app", &stack.token, r#"{"name":"a"}"#).await;
    let other = stack.post("/app", &strangers, r#"{"name":"a"}"#).await;
    assert_eq!((mine.status, other.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_ne!(mine.json()["id"], other.json()["id"]);
}

/// INV-33
#[tokio::test(flavor = "multi_thread")]
async fn only_successes_are_kept_and_not_longer_than_twelve_hours() {
    let clock = Arc::new(Ahead::default());
    let mut ahead = settings();
    ahead.platform.clock = clock.clone();
    let stack = TestStack::with(ahead).await;
    let app = stack.app().await;
    let posts = [
        (format!("/app/{app}/endpoint"), r#"{"url":"x"}"#, r#"{"url":"http://127.0.0.1:9/"}"#),
        (format!("/app/{app}/msg"), r#"{"eventType":"a"}"#, r#"{"eventType":"a","payload":{}}"#),
        ("/app".to_owned(), "{}", r#"{"name":"x"}"#),
    ];
    let mut first = Vec::new();
    for (path, wrong, right) in &posts {
        let refused = stack.post(path, &stack.token, wrong).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        let made = stack.post(path, &stack.token, right).await;
        assert!(made.status.is_success(), "{path}: {}", made.text);
        let again = stack.post(path, &stack.token, right).await;
        assert_eq!((again.status, &again.text), (made.status, &made.text), "{path}");
        first.push(made.json()["id"].clone());
    }
    clock.skip(Duration::from_secs(12 * 3600 - 60));
    for ((path, _, right), first) in posts.iter().zip(&first) {
        assert_eq!(&stack.post(path, &stack.token, right).await.json()["id"], first, "{path}");
    }
    clock.skip(Duration::from_secs(120));
    for ((path, _, right), first) in posts.iter().zip(&first) {
        let anew = stack.post(path, &stack.token, right).await;
        assert!(anew.status.is_success(), "{path}: {}", anew.text);
        assert_ne!(&anew.json()["id"], first, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_lets_go_of_its_key() {
    let stack = TestStack::start().await;
    let body = r#"{"eventType":"a","payload":{}}"#;
    let refused = stack.post("/app/acme/msg", &stack.token, body).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let made = stack.post("/app", &stack.token, r#"{"name":"Acme","uid":"acme"}"#).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let before = stack.stack.ledger();
    let accepted = stack.post("/app/acme/msg", &stack.token, body).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text);
    // It finds no earlier request, for whose message it would have to look.
    let spent = stack.stack.ledger().since(&before).total(|call| call.by == "messages" && call.on == "log");
    assert_eq!((spent.read_units, spent.write_units), (0.0, 2.0));
    assert_eq!(stack.post("/app/acme/msg", &stack.token, body).await.text, accepted.text);
}

/// INV-15
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_taken_over_cannot_be_let_go_by_who_had_it() {
    let stack = TestStack::start().await;
    let variables = stack.stack.environment("messages").expect("its environment");
    let env = Env::new(|name| variables.get(name).cloned());
    let store = stack.stack.platform().store(&env).expect("a store");
    let message = Some("msg_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().expect("an id"));
    let claim = async |owner, stale| store.claim_key("k", owner, message, stale).await.expect("a claim");
    assert_eq!(claim("slow", None).await, Claim::Acquired);
    assert_eq!(claim("repeated", Some("slow")).await, Claim::Acquired);
    store.free_key("k", "slow").await.expect("nothing is done");
    let Claim::Existing(record) = claim("third", None).await else { panic!("the key was free") };
    assert_eq!((record.owner.as_str(), record.message), ("repeated", message));
    store.free_key("k", "repeated").await.expect("it is let go");
    assert_eq!(claim("third", None).await, Claim::Acquired);
}

/// INV-15: the SDK sends a put again that was not answered, and the first may take effect much later.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_comes_late_changes_nothing() {
    let stack = TestStack::start().await;
    let variables = stack.stack.environment("messages").expect("its environment");
    let env = Env::new(|name| variables.get(name).cloned());
    let store = stack.stack.platform().store(&env).expect("a store");
    let drawn = "msg_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().expect("an id");
    let first = "msg_23rb8YdGqMT0qIzpgGwdXfHirMv".parse().expect("an id");
    let claim =
        async |owner, message, stale| store.claim_key("k", owner, message, stale).await.expect("a claim");
    let message = async || {
        let Claim::Existing(record) = claim("another", None, None).await else { panic!("the key was free") };
        (record.owner, record.message)
    };
    assert_eq!(claim("dead", Some(first), None).await, Claim::Acquired);
    // It takes over what another began, and its own first put takes effect after that.
    assert_eq!(claim("ours", Some(first), Some("dead")).await, Claim::Acquired);
    assert!(matches!(claim("ours", Some(drawn), None).await, Claim::Existing(_)));
    assert_eq!(message().await, ("ours".to_owned(), Some(first)));
    // What is repeated as it was is no harm.
    assert_eq!(claim("ours", Some(first), Some("dead")).await, Claim::Acquired);
    store.move_key("k", "ours", drawn).await.expect("it is moved");
    assert_eq!(message().await, ("ours".to_owned(), Some(drawn)));
    store.move_key("k", "dead", first).await.expect("nothing is done");
    assert_eq!(message().await, ("ours".to_owned(), Some(drawn)));
    store.keep_answer("k", "ours", 202, b"{}").await.expect("an answer");
    let Claim::Existing(record) = claim("ours", Some(drawn), None).await else {
        panic!("the answer is gone")
    };
    assert_eq!(record.answer, Some((202, b"{}".to_vec())));
}

/// INV-15: whoever is told that a message is accepted can rely on it, whatever an earlier request does at last.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_request_holds_is_not_taken_back() {
    let stack = TestStack::start().await;
    let variables = stack.stack.environment("messages").expect("its environment");
    let env = Env::new(|name| variables.get(name).cloned());
    let store = stack.stack.platform().store(&env).expect("a store");
    let app: shared::ids::AppId = stack.app().await.parse().expect("an id");
    let path = format!("/api/v1/app/{app}/msg");
    let posted = stack.request("POST", &path, &stack.token, r#"{"eventType":"a","payload":{}}"#);
    let id = posted.await.json()["id"].as_str().expect("an id").parse().expect("an id");
    let there = async || store.find_message(app, id).await.expect("it answers").is_some();
    assert!(store.hold_message(app, id, "second").await.expect("it answers"));
    store.remove_message(app, id, None).await.expect("nothing is done");
    assert!(store.hold_message(app, id, "third").await.expect("it answers"));
    store.remove_message(app, id, Some("second")).await.expect("nothing is done");
    assert!(there().await);
    store.remove_message(app, id, Some("third")).await.expect("it is removed");
    assert!(!there().await);
    assert!(!store.hold_message(app, id, "fourth").await.expect("it answers"));
}

/// INV-15
#[tokio::test(flavor = "multi_thread")]
async fn each_post_is_done_once() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let schemas = json!({"1": {"examples": [{"a": 1}]}});
    let with_example = EventTypeIn { schemas: Some(schemas), ..EventTypeIn::new("a".into(), "x".into()) };
    stack.svix.event_type().create(with_example, None).await.expect("an event type");
    let messages = format!("/api/v1/app/{app}/msg");
    let message = stack.request("POST", &messages, &stack.token, r#"{"eventType":"a","payload":{}}"#);
    let message = message.await.json()["id"].as_str().expect("an id").to_owned();
    stack.idle().await;
    receiver.rest();
    let since = r#"{"since":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z"}"#;
    let now = stack.stack.platform().clock.now();
    let window = json!({"since": now.to_string(), "until": now.to_string()}).to_string();
    let spec = r#"{"specRaw":"{openapi: 3.1.0, webhooks: {new: {post: {}}}}"}"#;
    let simulate = r#"{"code":"const handler = (w) => w","eventType":"a","payload":{}}"#;
    let base = format!("/app/{app}/endpoint/{endpoint}");
    let polled = stack.polling_endpoint(&app, Value::Null).await;
    let leases = format!("/app/{app}/polling-endpoint/{polled}/consumer/c");
    stack.request("GET", &format!("/api/v1{leases}"), &stack.token, "").await;
    let ordered = json!({ "url": receiver.url("/"), "fifo": true }).to_string();
    let ordered = stack.request("POST", &format!("/api/v1/app/{app}/endpoint"), &stack.token, ordered).await;
    let ordered = ordered.json()["id"].as_str().expect("an id").to_owned();
    for (path, body, arrives) in [
        (format!("/app/{app}/endpoint/{ordered}/order/pause"), "", 0),
        (format!("/app/{app}/endpoint/{ordered}/order/resume"), "", 0),
        (format!("/app/{app}/endpoint/{ordered}/order/retry"), "", 0),
        (format!("{base}/send-example"), r#"{"eventType":"a"}"#, 1),
        (format!("{base}/secret/rotate"), "{}", 0),
        (format!("{base}/transformation/simulate"), simulate, 0),
        (format!("{base}/recover"), since, 0),
        (format!("{base}/replay-missing"), since, 0),
        (format!("{base}/bulk-replay"), since, 0),
        (format!("/app/{app}/msg/{message}/endpoint/{endpoint}/resend"), "", 1),
        (format!("/auth/app-portal-access/{app}"), "{}", 0),
        ("/event-type/import/openapi".to_owned(), spec, 0),
        ("/environment/import".to_owned(), r#"{"eventTypes":[{"name":"imported","description":""}]}"#, 0),
        (format!("/app/{app}/auto-config"), "", 0),
        ("/connector".to_owned(), r#"{"name":"c","transformation":"const handler = (w) => w"}"#, 0),
        ("/environment/signing-key/rotate".to_owned(), "{}", 0),
        (format!("/app/{app}/endpoint/{polled}/poller/token/rotate"), "{}", 0),
        (format!("/app/{app}/poller/{polled}/consumer/c/seek"), r#"{"after":"2026-01-01T00:00:00Z"}"#, 0),
        (format!("{leases}/commit"), r#"{"offset":0}"#, 0),
        ("/stats/usage/app".to_owned(), &window, 0),
        (format!("/app/{app}/msg/bulk-expunge"), r#"{"ids":["none"]}"#, 0),
        (format!("/app/{app}/msg/expunge-all-contents"), "", 0),
        (format!("/auth/dashboard-access/{app}"), "", 0),
    ] {
        let answers =
            futures_util::future::join_all((0..4).map(|_| stack.post(&path, &stack.token, body))).await;
        let later = stack.post(&path, &stack.token, body).await;
        for answer in answers.iter().chain([&later]) {
            assert!(answer.status.is_success(), "{path}: {}", answer.text);
            let texts: [Value; 2] =
                [answer, &answers[0]].map(|a| if a.text.is_empty() { json!(null) } else { a.json() });
            assert_eq!((answer.status, &texts[0]), (answers[0].status, &texts[1]), "{path}");
        }
        stack.idle().await;
        assert_eq!(receiver.rest().len(), arrives, "{path}");
    }
    let tasks = stack.request("GET", "/api/v1/background-task", &stack.token, "").await.json();
    assert_eq!(tasks["data"].as_array().map(Vec::len), Some(5));
}
