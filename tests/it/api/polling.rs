//! Polling: by iterator, as a consumer, with leases, and with keys that are for nothing else.

mod consumers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::{Clock as _, Timestamp};
use shared::config::Env;
use shared::ids::{AppId, Id as _, Ksuid, MessageId};
use shared::labels::Labels;
use shared::polling::{AHEAD_MAX, SETTLED_AFTER, TAKE_OVER_WITHIN};
use shared::store::Store;
use shared::store::messages::{EventIdClaim, NewMessage, Payload};

use crate::test_stack::{Ahead, Answer, TestStack, settings};

/// A stack, an application, and an endpoint of it that is polled.
struct Fixture {
    stack: TestStack,
    clock: Arc<Ahead>,
    app: String,
    endpoint: String,
}

impl TestStack {
    pub fn store(&self) -> Store {
        let variables = self.stack.environment("messages").expect("its environment");
        let env = Env::new(|name| variables.get(name).cloned());
        self.stack.platform().store(&env).expect("a store")
    }

    /// An endpoint that is polled, with further settings or none.
    pub async fn polling_endpoint(&self, app: &str, settings: Value) -> String {
        let mut body = json!({"destination": {"kind": "polling"}});
        for (name, value) in settings.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let path = format!("/api/v1/app/{app}/endpoint");
        let answer = self.request("POST", &path, &self.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let made = answer.json();
        assert_eq!((&made["destination"], &made["url"]), (&json!({"kind": "polling"}), &json!("")));
        made["id"].as_str().expect("an id").to_owned()
    }
}

impl Fixture {
    async fn start() -> Self {
        Self::with(Value::Null).await
    }

    async fn with(endpoint: Value) -> Self {
        let clock = Arc::new(Ahead::default());
        let mut ahead = settings();
        ahead.platform.clock = clock.clone();
        let stack = TestStack::with(ahead).await;
        let app = stack.app().await;
        let endpoint = stack.polling_endpoint(&app, endpoint).await;
        Self { stack, clock, app, endpoint }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/app/{}/{}", self.app, rest.replace("{ep}", &self.endpoint))
    }

    async fn ask(&self, method: &str, rest: &str, token: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.stack.request(method, &self.path(rest), token, body).await
    }

    async fn get(&self, rest: &str) -> Value {
        let answer = self.ask("GET", rest, &self.stack.token, Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{rest}: {}", answer.text);
        answer.json()
    }

    async fn refused(&self, method: &str, rest: &str, body: Value) -> (u16, String) {
        let answer = self.ask(method, rest, &self.stack.token, body).await;
        (answer.status.as_u16(), answer.text)
    }

    async fn post(&self, message: Value) -> String {
        // Ids count four milliseconds; those of one such time are in no order.
        self.clock.skip(Duration::from_millis(4));
        let answer = self.ask("POST", "msg", &self.stack.token, message).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    async fn posted(&self, nth: usize) -> String {
        self.post(json!({"eventType": "a", "payload": {"nth": nth}})).await
    }

    fn id_before(&self, time: Duration) -> MessageId {
        let payload = shared::random::bytes(&*self.stack.stack.platform().random);
        MessageId::from_ksuid(Ksuid::new(self.clock.now().before(time), payload))
    }

    /// A message that is stored so long after its ID was drawn.
    async fn stored_late(&self, late: Duration) -> String {
        let id = self.id_before(late);
        let new = NewMessage {
            app: self.app.parse().expect("an id"),
            id,
            labels: Labels::of("a"),
            event_id: None,
            payload: Payload::of("{}"),
            retention_hours: 24 * 90,
            deliver_at: None,
            endpoints: Vec::new(),
        };
        assert!(self.stack.store().put_message_in_time(&new).await.expect("it is stored"));
        id.to_string()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().expect("messages").iter().map(|one| one["id"].as_str().expect("an id")).collect()
}

fn iterator(page: &Value) -> &str {
    page["iterator"].as_str().expect("an iterator")
}

/// INV-46
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_polled_from_where_it_was_created() {
    let fixture = Fixture::start().await;
    let begin = fixture.get("poller/{ep}").await;
    assert_eq!((ids(&begin).len(), &begin["done"]), (0, &json!(false)));
    let sent = fixture.stack.sends();
    let before = fixture.stack.stack.ledger();
    let mut posted = Vec::new();
    for nth in 0..5 {
        posted.push(fixture.posted(nth).await);
    }
    // Nothing is sent, and a message costs what it costs without a poller.
    assert_eq!(fixture.stack.sends(), sent);
    let spent = fixture.stack.stack.ledger().since(&before).total(|call| call.on == "log");
    assert_eq!((spent.write_units, spent.read_units), (5.0, 0.0));
    let before = fixture.stack.stack.ledger();
    let page = fixture.get(&format!("poller/{{ep}}?limit=3&iterator={}", iterator(&begin))).await;
    assert_eq!((ids(&page), &page["done"]), (vec![&*posted[0], &posted[1], &posted[2]], &json!(false)));
    let first = &page["data"][0];
    assert_eq!((&first["payload"], &first["eventType"]), (&json!({"nth": 0}), &json!("a")));
    assert!(Timestamp::parse(first["timestamp"].as_str().expect("a time")).is_some());
    let page = fixture.get(&format!("poller/{{ep}}?iterator={}", iterator(&page))).await;
    assert_eq!((ids(&page), &page["done"]), (vec![&*posted[3], &posted[4]], &json!(true)));
    let spent = fixture.stack.stack.ledger().since(&before).total(|call| call.on == "log");
    // Each poll asks each of the eight shards once, strongly, and writes nothing.
    assert_eq!((spent.requests, spent.read_units, spent.write_units), (16, 16.0, 0.0));
    let at = iterator(&page).to_owned();
    assert_eq!(ids(&fixture.get(&format!("poller/{{ep}}?iterator={at}")).await), Vec::<&str>::new());
    let last = fixture.posted(5).await;
    assert_eq!(ids(&fixture.get(&format!("poller/{{ep}}?iterator={at}")).await), [&*last]);
    // Without an iterator, from a time on.
    let since = fixture.now().before(Duration::from_secs(60));
    assert_eq!(ids(&fixture.get(&format!("poller/{{ep}}?after={since}")).await).len(), 6);
    let later = fixture.now().after(Duration::from_secs(60));
    assert_eq!(ids(&fixture.get(&format!("poller/{{ep}}?after={later}")).await).len(), 0);
    assert_eq!(ids(&fixture.get(&format!("poller/{{ep}}?after={later}&iterator={at}")).await).len(), 0);
}

/// INV-46
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_late_is_given_late() {
    let fixture = Fixture::start().await;
    fixture.clock.skip(Duration::from_secs(600));
    let begin = fixture.get("poller/{ep}").await;
    let young = fixture.posted(0).await;
    let page = fixture.get(&format!("poller/{{ep}}?iterator={}", iterator(&begin))).await;
    assert_eq!(ids(&page), [&*young]);
    let late = fixture.stored_late(Duration::from_secs(50)).await;
    let page = fixture.get(&format!("poller/{{ep}}?iterator={}", iterator(&page))).await;
    assert_eq!(ids(&page), [&*late]);
    // What is given ahead makes the iterator longer, and what has settled makes it short again.
    let long = iterator(&page).len();
    fixture.clock.skip(SETTLED_AFTER + Duration::from_secs(1));
    let page = fixture.get(&format!("poller/{{ep}}?iterator={}", iterator(&page))).await;
    assert_eq!(ids(&page), Vec::<&str>::new());
    assert!(iterator(&page).len() < long);
    // Nothing is stored under an ID that is older than that.
    let app: AppId = fixture.app.parse().expect("an id");
    let new = NewMessage {
        app,
        id: fixture.id_before(Duration::from_secs(61)),
        labels: Labels::of("a"),
        event_id: None,
        payload: Payload::of("{}"),
        retention_hours: 1,
        deliver_at: None,
        endpoints: Vec::new(),
    };
    assert!(fixture.stack.store().put_message_in_time(&new).await.is_err());
}

/// INV-46
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_died_long_ago_leaves_its_id_to_nobody() {
    let fixture = Fixture::start().await;
    let (store, app): (_, AppId) = (fixture.stack.store(), fixture.app.parse().expect("an id"));
    let claim = async |event_id: &str, age: Duration| {
        let id = fixture.id_before(age);
        let claimed = store.claim_event_id(app, event_id, id, None).await.expect("a claim");
        assert_eq!(claimed, EventIdClaim::Ours);
        id
    };
    let young = claim("young", TAKE_OVER_WITHIN / 2).await;
    let old = claim("old", TAKE_OVER_WITHIN * 4).await;
    let post = async |event_id: &str| {
        let answer = fixture
            .ask(
                "POST",
                "msg",
                &fixture.stack.token,
                json!({"eventType": "a", "eventId": event_id, "payload": {}}),
            )
            .await;
        (answer.status.as_u16(), answer.json()["id"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(post("young").await, (202, young.to_string()));
    let (status, id) = post("old").await;
    assert!(status == 202 && id != old.to_string(), "{status} {id}");
    assert_eq!(post("old").await.0, 409);
    // Should the other one live after all, it stores nothing.
    let message =
        store.find_message(app, id.parse().expect("an id")).await.expect("it answers").expect("it is there");
    let late = NewMessage {
        app,
        id: old,
        labels: message.labels,
        event_id: Some("old".into()),
        payload: Payload::of("{}"),
        retention_hours: 24,
        deliver_at: None,
        endpoints: Vec::new(),
    };
    assert!(!store.put_message(&late).await.expect("it answers"));
    assert!(store.find_message(app, old).await.expect("it answers").is_none());
    assert!(store.void_message(app, old).await.expect("it answers").is_none());
    let listed = fixture.get("msg").await;
    assert_eq!(
        ids(&listed).into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&*young.to_string(), &*id])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_be_given_ahead_comes_once_it_has_settled() {
    let fixture = Fixture::start().await;
    let begin = fixture.get("poller/{ep}").await;
    let count = AHEAD_MAX + 20;
    let bodies: Vec<Value> =
        (0..count).map(|nth| json!({"eventType": "a", "payload": {"nth": nth}})).collect();
    for bodies in bodies.chunks(100) {
        let answer =
            fixture.ask("POST", "msg/batch", &fixture.stack.token, json!({"messages": bodies})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let (mut at, mut found) = (iterator(&begin).to_owned(), BTreeSet::new());
    let mut poll = async |at: &mut String| {
        let page = fixture.get(&format!("poller/{{ep}}?limit=250&iterator={at}")).await;
        for id in ids(&page) {
            assert!(found.insert(id.to_owned()), "{id} came twice");
        }
        iterator(&page).clone_into(at);
        assert!(at.len() < 5_000);
        (found.len(), page["done"].clone())
    };
    assert_eq!(poll(&mut at).await, (250, json!(false)));
    // There is more, but not now.
    assert_eq!(poll(&mut at).await, (AHEAD_MAX, json!(true)));
    assert_eq!(poll(&mut at).await, (AHEAD_MAX, json!(true)));
    fixture.clock.skip(SETTLED_AFTER + Duration::from_secs(1));
    assert_eq!(poll(&mut at).await, (count, json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poller_gets_what_its_endpoint_wants() {
    let endpoint = json!({"channels": ["x"]});
    let fixture = Fixture::with(endpoint).await;
    let begin = fixture.get("poller/{ep}").await;
    let at = iterator(&begin);
    fixture.posted(0).await;
    let message = |kind: &str, channels: &[&str]| json!({"eventType": kind, "payload": {}, "channels": channels, "tags": ["t"], "eventId": kind});
    let a = fixture.post(message("a", &["x"])).await;
    let b = fixture.post(message("b", &["x", "y"])).await;
    fixture.post(message("c", &["y"])).await;
    let page = fixture.get(&format!("poller/{{ep}}?iterator={at}")).await;
    assert_eq!(ids(&page), [&*a, &b]);
    let shown = &page["data"][1];
    assert_eq!(
        (&shown["channels"], &shown["tags"], &shown["eventId"]),
        (&json!(["x", "y"]), &json!(["t"]), &json!("b"))
    );
    assert_eq!(ids(&fixture.get(&format!("poller/{{ep}}?iterator={at}&event_type=b")).await), [&*b]);
    assert_eq!(ids(&fixture.get(&format!("poller/{{ep}}?iterator={at}&channel=y")).await), [&*b]);
    // It counts as an endpoint that wants a message.
    let precheck = async |channel: &str| {
        let body = json!({"eventType": "a", "channels": [channel]});
        fixture.ask("POST", "msg/precheck/active", &fixture.stack.token, body).await.json()["active"].clone()
    };
    assert_eq!((precheck("x").await, precheck("y").await), (json!(true), json!(false)));
    // What is gone is said to be gone; what webhooks have instead of the payload is there, and so is a delay.
    let expunged =
        fixture.ask("DELETE", &format!("msg/{a}/content"), &fixture.stack.token, Value::Null).await;
    assert_eq!(expunged.status, StatusCode::NO_CONTENT);
    let later = fixture.now().after(Duration::from_secs(3600));
    let raw = json!({
        "eventType": "raw", "payload": {}, "channels": ["x"], "deliverAt": later.to_string(),
        "transformationsParams": {"rawPayload": "<a/>", "headers": {"content-type": "text/xml"}},
    });
    fixture.post(raw).await;
    let page = fixture.get(&format!("poller/{{ep}}?iterator={at}")).await;
    assert_eq!(page["data"][0]["payload"], json!({"expired": true}));
    let raw = &page["data"][2];
    assert_eq!((&raw["rawPayload"], &raw["headers"]), (&json!("<a/>"), &json!({"content-type": "text/xml"})));
    assert_eq!(raw["deliverAt"], later.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_polls_are_told_what_to_do() {
    let fixture = Fixture::start().await;
    let other = fixture.stack.polling_endpoint(&fixture.app, Value::Null).await;
    let elsewhere = fixture.get(&format!("poller/{other}")).await;
    let own = fixture.get("poller/{ep}").await;
    let mut changed = iterator(&own).to_owned();
    let last = if changed.ends_with('A') { "B" } else { "A" };
    changed.replace_range(changed.len() - 1.., last);
    for wrong in [iterator(&elsewhere), &changed, "msg_23rb8YdGqMT0qIzpgGwdXfHirMu", "x", "-"] {
        for path in ["poller/{ep}", "poller/{ep}/consumer/c"] {
            let (status, text) =
                fixture.refused("GET", &format!("{path}?iterator={wrong}"), Value::Null).await;
            assert!(status == 422 && text.contains("begin with `after`"), "{wrong}: {status} {text}");
        }
    }
    let http = fixture.stack.endpoint(&fixture.app, "http://127.0.0.1:9/").await.id;
    for path in [format!("poller/{http}"), format!("polling-endpoint/{http}/consumer/c")] {
        let (status, text) = fixture.refused("GET", &path, Value::Null).await;
        assert!(status == 409 && text.contains("its destination is http"), "{status} {text}");
    }
    let too_long = "c".repeat(129);
    for (path, expected) in [
        ("poller/{ep}?limit=251", 422),
        ("poller/{ep}?limit=x", 400),
        ("poller/{ep}?after=yesterday", 400),
        ("poller/nothing", 404),
        ("poller/{ep}/consumer/a b", 422),
        (&format!("poller/{{ep}}/consumer/{too_long}"), 422),
        ("polling-endpoint/{ep}/consumer/c?lease_duration_ms=999", 422),
        ("polling-endpoint/{ep}/consumer/c?lease_duration_ms=3600001", 422),
        ("polling-endpoint/{ep}/consumer/c?lease_duration_ms=x", 400),
        ("polling-endpoint/{ep}/consumer/c?starting_position=first", 400),
    ] {
        let (status, text) = fixture.refused("GET", &path.replace(' ', "%20"), Value::Null).await;
        assert_eq!(status, expected, "{path}: {text}");
    }
    // What is about sending means nothing to it.
    let key = format!("whsec_{}", "QUFB".repeat(8));
    for (name, value) in [
        ("rateLimit", json!(5)),
        ("retryPolicy", json!({"attempts": 2})),
        ("headers", json!({"a": "b"})),
        ("secret", json!(key)),
    ] {
        let body = json!({"destination": {"kind": "polling"}, name: value});
        let (status, text) = fixture.refused("POST", "endpoint", body).await;
        assert!(status == 422 && text.contains("is polled"), "{name}: {status} {text}");
    }
    let (status, _) =
        fixture.refused("POST", "endpoint", json!({"destination": {"kind": "polling", "url": "x"}})).await;
    assert_eq!(status, 422);
    assert_eq!(fixture.refused("PATCH", "endpoint/{ep}", json!({"rateLimit": 5})).await.0, 422);
    // Nothing is sent to it.
    let message = fixture.posted(0).await;
    let since = json!({"since": fixture.now().before(Duration::from_secs(60)).to_string()});
    fixture.stack.event_type("a").await;
    for (path, body) in [
        (format!("msg/{message}/endpoint/{{ep}}/resend"), Value::Null),
        ("endpoint/{ep}/recover".into(), since.clone()),
        ("endpoint/{ep}/replay-missing".into(), since.clone()),
        ("endpoint/{ep}/bulk-replay".into(), since),
    ] {
        let (status, text) = fixture.refused("POST", &path, body).await;
        assert!(status == 409 && text.contains("is polled"), "{path}: {status} {text}");
    }
    let headers = json!({"headers": {"X-A": "1"}});
    for (method, path, body) in [
        ("PUT", "endpoint/{ep}/headers", headers.clone()),
        ("PATCH", "endpoint/{ep}/headers", headers),
        ("POST", "endpoint/{ep}/secret/rotate", json!({})),
    ] {
        let (status, text) = fixture.refused(method, path, body).await;
        assert!(status == 409 && text.contains("nothing is sent to it"), "{path}: {status} {text}");
    }
    let disable = json!({"disabled": true});
    let answer = fixture.ask("PATCH", "endpoint/{ep}", &fixture.stack.token, disable).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    for path in ["poller/{ep}", "poller/{ep}/consumer/c", "polling-endpoint/{ep}/consumer/c"] {
        let (status, text) = fixture.refused("GET", path, Value::Null).await;
        assert!(status == 409 && text.contains("enable it"), "{status} {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iterator_older_than_the_log_is_refused() {
    let fixture = Fixture::start().await;
    let begin = fixture.get("poller/{ep}").await;
    fixture.clock.skip(Duration::from_secs(91 * 24 * 3600));
    let path = format!("poller/{{ep}}?iterator={}", iterator(&begin));
    let (status, text) = fixture.refused("GET", &path, Value::Null).await;
    assert!(status == 422 && text.contains("90 days"), "{status} {text}");
}
