//! Statistics over applications, and payloads that are taken out of several messages at once.

use http::StatusCode;
use serde_json::{Value, json};
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{Answer, Receiver, TestStack, settings};

impl TestStack {
    async fn send_json(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request(method, &format!("/api/v1{path}"), &self.token, body).await
    }

    /// The task that a request began, when it is finished.
    async fn finished(&self, begun: &Answer) -> Value {
        assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
        let begun = begun.json();
        self.idle().await;
        let path = format!("/background-task/{}", begun["id"].as_str().expect("an id"));
        let task = self.send_json("GET", &path, Value::Null).await.json();
        assert_eq!((&task["status"], &task["task"]), (&json!("finished"), &begun["task"]), "{task}");
        task
    }
}

fn message(nth: u32) -> MessageIn {
    MessageIn::new("a.b".into(), json!({"nth": nth}))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_counted_once_per_endpoint_that_they_went_to() {
    let stack = TestStack::start().await;
    let receiver = Receiver::start().await;
    let began = stack.stack.platform().clock.now();
    let named = ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("Acme".into()) };
    let acme = stack.svix.application().create(named, None).await.expect("an application").id;
    let other = stack.app().await;
    for app in [&acme, &acme, &other] {
        stack.endpoint(app, &receiver.url("/")).await;
    }
    // More than a page, so that a task goes on within an application.
    for nth in 0..5 {
        stack.message(&acme, message(nth)).await;
    }
    stack.message(&other, message(9)).await;
    let empty = stack.app().await;
    stack.idle().await;
    let until = stack.stack.platform().clock.now();
    let window = json!({"since": began.to_string(), "until": until.to_string()});
    let count = |app: &str, uid: Value, count: u64| json!({"appId": app, "appUid": uid, "messageDestinations": count});
    let all = stack.send_json("POST", "/stats/usage/app", window.clone()).await;
    assert_eq!(
        (&all.json()["task"], &all.json()["unresolvedAppIds"]),
        (&json!("application.stats"), &json!([]))
    );
    let task = stack.finished(&all).await;
    let mut expected =
        vec![count(&acme, json!("acme"), 10), count(&other, Value::Null, 1), count(&empty, Value::Null, 0)];
    let mut found = task["data"]["appStats"].as_array().expect("counts").clone();
    for counts in [&mut expected, &mut found] {
        counts.sort_by_key(Value::to_string);
    }
    assert_eq!(found, expected);
    let mut some = window.clone();
    some["appIds"] = json!(["acme", "unknown", acme]);
    let some = stack.send_json("POST", "/stats/usage/app", some).await;
    assert_eq!(some.json()["unresolvedAppIds"], json!(["unknown"]));
    let task = stack.finished(&some).await;
    assert_eq!(task["data"]["appStats"], json!([count(&acme, json!("acme"), 10)]));
    // Nothing was sent before.
    let before = json!({"since": began.before(std::time::Duration::from_secs(60)).to_string(),
        "until": began.before(std::time::Duration::from_secs(30)).to_string(), "appIds": ["acme"]});
    let task = stack.finished(&stack.send_json("POST", "/stats/usage/app", before).await).await;
    assert_eq!(task["data"]["appStats"], json!([count(&acme, json!("acme"), 0)]));

    for (field, value) in [
        ("appIds", json!(["unknown"])),
        ("appIds", json!([])),
        ("appIds", json!(["a", "a"])),
        ("since", json!("2020-01-01T00:00:00Z")),
        ("since", json!("2100-01-01T00:00:00Z")),
        ("until", Value::Null),
    ] {
        let mut body = window.clone();
        body[field] = value;
        let refused = stack.send_json("POST", "/stats/usage/app", body.clone()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", field]), "{body}");
    }
    // Customers neither begin such tasks nor see them; lists leave the results out.
    let customer = stack.stack.app_token(None, acme.parse().expect("an id"));
    let refused = stack.request("POST", "/api/v1/stats/usage/app", &customer, window.to_string()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let list = "/api/v1/background-task?task=application.stats&status=finished";
    let listed = stack.request("GET", list, &stack.token, "").await.json()["data"].clone();
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["data"]), (Some(3), &json!({})));
    assert_eq!(stack.request("GET", list, &customer, "").await.json()["data"], json!([]));
    let path = format!("/api/v1/background-task/{}", task["id"].as_str().expect("an id"));
    assert_eq!(stack.request("GET", &path, &customer, "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_goes_on_in_the_next_step_within_an_application_and_behind_it() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let began = stack.stack.platform().clock.now();
    // With so many, one of the eight shards has more than a page of a hundred. None is sent meanwhile.
    let later = began.after(std::time::Duration::from_secs(3_600)).to_string();
    let one = json!({"eventType": "a.b", "payload": {}, "deliverAt": later});
    let batch = json!({ "messages": vec![one; 100] });
    for _ in 0..9 {
        let sent = stack.send_json("POST", &format!("/app/{app}/msg/batch"), batch.clone()).await;
        assert!(sent.status.is_success(), "{}", sent.text);
    }
    for _ in 0..60 {
        stack.app().await;
    }
    let body = json!({"since": began.to_string(), "until": stack.stack.platform().clock.now().to_string()});
    let begun = stack.send_json("POST", "/stats/usage/app", body).await;
    let task = stack.finished(&begun).await;
    let counts = task["data"]["appStats"].as_array().expect("counts");
    assert_eq!(counts.len(), 61);
    assert!(counts.iter().any(|one| one["appId"] == app.as_str() && one["messageDestinations"] == 900));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_types_that_are_in_use_are_found() {
    let stack = TestStack::start().await;
    for name in ["a.b", "c.d", "e.f"] {
        stack.event_type(name).await;
    }
    let (some, all) = (stack.app().await, stack.app().await);
    let to = |types: &[&str]| EndpointIn {
        event_types: Some(types.iter().map(|name| (*name).to_owned()).collect()),
        ..EndpointIn::new("http://127.0.0.1:9/".into())
    };
    stack.endpoint_with(&some, to(&["c.d"])).await;
    stack.endpoint_with(&some, EndpointIn { disabled: Some(true), ..to(&["a.b", "c.d"]) }).await;
    stack.endpoint(&all, "http://127.0.0.1:9/").await;
    let task = stack.finished(&stack.send_json("PUT", "/stats/usage/event-types", Value::Null).await).await;
    assert_eq!(task["task"], "event-type.aggregate");
    let found = task["data"]["event_types"].as_array().expect("applications");
    assert_eq!(found.len(), 2);
    for expected in [
        json!({"appId": some, "explicitlySubscribedEventTypes": ["a.b", "c.d"], "hasCatchAllEndpoint": false}),
        json!({"appId": all, "explicitlySubscribedEventTypes": [], "hasCatchAllEndpoint": true}),
    ] {
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_of_several_messages_are_neither_shown_nor_sent_any_more() {
    // The second attempt is a day away.
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "86400")).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let first = stack.message(&app, MessageIn { event_id: Some("one".into()), ..message(1) }).await;
    let second = stack.message(&app, message(2)).await;
    let third = stack.message(&app, message(3)).await;
    stack.idle().await;
    receiver.rest();
    let bulk = format!("/app/{app}/msg/bulk-expunge");
    const UNKNOWN: &str = "msg_23rb8YdGqMT0qIzpgGwdXfHirMu";
    let ids = json!({"ids": ["one", first, second, UNKNOWN, "msg_no-id", "unknown"]});
    let done = stack.send_json("POST", &bulk, ids).await;
    let (gone, none) = ("expunged", "not-found");
    let expected = json!({"results": {
        "one": gone, (first.as_str()): gone, (second.as_str()): gone, (UNKNOWN): none, "msg_no-id": none, "unknown": none,
    }});
    assert_eq!((done.status, done.json()), (StatusCode::OK, expected));
    let payload = async |id: &str| {
        let found =
            stack.send_json("GET", &format!("/app/{app}/msg/{id}?with_content=true"), Value::Null).await;
        found.json()["payload"].clone()
    };
    assert_eq!(
        (payload("one").await, payload(&second).await),
        (json!({"expired": true}), json!({"expired": true}))
    );
    assert_eq!(payload(&third).await, json!({"nth": 3}));
    // One audit event per message, by its id.
    let events = stack.send_json("GET", "/audit-event?what=message.expunged", Value::Null).await.json();
    let mut subjects: Vec<_> =
        events["data"].as_array().expect("events").iter().map(|one| &one["subject"]).collect();
    subjects.sort_by_key(|subject| subject.to_string());
    let mut expected = [json!(first), json!(second)];
    expected.sort_by_key(Value::to_string);
    assert_eq!(subjects, [&expected[0], &expected[1]]);
    let resend = format!("/app/{app}/msg/{first}/endpoint/{endpoint}/resend");
    assert!(stack.send_json("POST", &resend, Value::Null).await.status.is_client_error());
    assert_eq!(stack.send_json("POST", &bulk, json!({})).await.json(), json!({"results": {}}));
    for ids in
        [json!(["a", "a"]), json!(["a b"]), json!((0..101).map(|nth| nth.to_string()).collect::<Vec<_>>())]
    {
        let refused = stack.send_json("POST", &bulk, json!({ "ids": ids })).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{ids}");
    }
    let customer = stack.stack.app_token(None, app.parse().expect("an id"));
    for path in [&bulk, &format!("/app/{app}/msg/expunge-all-contents")] {
        let refused = stack.request("POST", &format!("/api/v1{path}"), &customer, "{}").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_of_all_messages_are_taken_out_and_retries_of_them_are_not_sent() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "2")).await;
    let mut receiver = Receiver::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, String::new())).await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let mut messages = Vec::new();
    for nth in 0..3 {
        messages.push(stack.message(&app, message(nth)).await);
    }
    for _ in 0..3 {
        receiver.next().await;
    }
    let later = stack.message(&app, message(4));
    let path = format!("/app/{app}/msg/expunge-all-contents");
    let begun = stack.send_json("POST", &path, Value::Null).await;
    let later = later.await;
    let task = stack.finished(&begun).await;
    assert_eq!((&task["task"], &task["data"]["appId"]), (&json!("application.purge_content"), &json!(app)));
    // A message that comes while it works is not one of those.
    let purged = task["data"]["messagesPurged"].as_u64().expect("a number");
    assert!((3..=4).contains(&purged), "{task}");
    for id in &messages {
        let found =
            stack.send_json("GET", &format!("/app/{app}/msg/{id}?with_content=true"), Value::Null).await;
        assert_eq!(found.json()["payload"], json!({"expired": true}));
    }
    let sent: Vec<_> =
        receiver.rest().iter().map(|webhook| webhook.header("webhook-id").to_owned()).collect();
    assert!(sent.iter().all(|id| *id == later), "{sent:?}");
    // Nothing is left to be done twice.
    let again = stack.finished(&stack.send_json("POST", &path, Value::Null).await).await;
    assert_eq!(again["data"]["messagesPurged"], if purged == 4 { 0 } else { 1 });
    let events = stack.send_json("GET", "/audit-event?what=application.messages-expunged", Value::Null).await;
    let events = events.json()["data"].as_array().expect("events").clone();
    assert_eq!((events.len(), &events[0]["subject"]), (2, &json!(app)));
}
