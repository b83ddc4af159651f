//! Operational webhooks: what happens to endpoints and messages, told to the management organisation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::operational::MANAGEMENT_ORG;
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{Ahead, Answer, Receiver, TestStack, sdk, settings};

/// What was told so far, by event type.
async fn told(stack: &TestStack, operator: &mut Receiver) -> Vec<(String, Value)> {
    stack.run_timers().await;
    stack.idle().await;
    let mut told: Vec<(String, Value)> = operator
        .rest()
        .iter()
        .map(|webhook| serde_json::from_slice::<Value>(&webhook.body).expect("JSON"))
        .map(|text| (text["type"].as_str().expect("a type").to_owned(), text["data"].clone()))
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

fn types(told: &[(String, Value)]) -> Vec<&str> {
    told.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_told_what_happens() {
    let settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "0,0,0,0");
    let stack = TestStack::with(settings).await;
    let mut operator = Receiver::start().await;
    let org = shared::auth::DEFAULT_ORG;
    let management = stack.stack.org_token(Some(MANAGEMENT_ORG.parse().expect("an id")));
    let svix = sdk(stack.stack.address(), &management);
    let about_us = ApplicationIn { uid: Some(org.into()), ..ApplicationIn::new("operations".into()) };
    let operations = svix.application().create(about_us, None).await.expect("an application").id;
    let sink = svix.endpoint().create(operations.clone(), EndpointIn::new(operator.url("/")), None).await;
    let sink = sink.expect("an endpoint").id;
    let secret = svix.endpoint().get_secret(operations, sink).await.expect("a secret").key;

    let works = Arc::new(AtomicBool::new(false));
    let does = works.clone();
    let receiver = Receiver::answering(move |webhook| {
        let code = match webhook.path.as_str() {
            "/gone" => StatusCode::GONE,
            _ if does.load(Ordering::SeqCst) => StatusCode::OK,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (code, String::new())
    })
    .await;
    let app = ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("Acme".into()) };
    let app = stack.svix.application().create(app, None).await.expect("an application").id;
    let gone = EndpointIn { uid: Some("gone".into()), ..EndpointIn::new(receiver.url("/gone")) };
    let endpoint = stack.endpoint_with(&app, gone).await;
    stack.run_timers().await;
    let webhook = operator.next().await;
    webhook.verify(&secret);
    let created: Value = serde_json::from_slice(&webhook.body).expect("JSON");
    let data = json!({"appId": app, "appUid": "acme", "endpointId": endpoint.id, "endpointUid": "gone"});
    assert_eq!(created, json!({"type": "endpoint.created", "data": data}));

    // 410 disables.
    stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    let after = told(&stack, &mut operator).await;
    assert_eq!(types(&after), ["endpoint.disabled", "message.attempt.exhausted"]);
    assert_eq!((&after[0].1["endpointId"], after[0].1["failSince"].is_string()), (&json!(endpoint.id), true));
    let shown = stack.svix.endpoint().get(app.clone(), endpoint.id.clone()).await.expect("an endpoint");
    assert_eq!(shown.disabled, Some(true));

    // On again, elsewhere: five failures in a row.
    let path = format!("/api/v1/app/{app}/endpoint/{}", endpoint.id);
    let change = json!({"disabled": false, "url": receiver.url("/fails")}).to_string();
    assert_eq!(stack.request("PATCH", &path, &stack.token, change).await.status, StatusCode::OK);
    assert_eq!(types(&told(&stack, &mut operator).await), ["endpoint.enabled", "endpoint.updated"]);
    let event = MessageIn { event_id: Some("e-1".into()), ..MessageIn::new("a".into(), json!({})) };
    let message = stack.message(&app, event).await;
    stack.idle().await;
    let after = told(&stack, &mut operator).await;
    assert_eq!(types(&after), ["endpoint.failing", "message.attempt.exhausted", "message.attempt.failing"]);
    let attempts = stack.attempts(&app, &message).await;
    assert_eq!(attempts.len(), 5);
    assert_eq!(after[0].1["endpointId"], json!(endpoint.id));
    assert_eq!(after[0].1["reason"], format!("{} answered 500", receiver.address.ip()));
    let mut last = BTreeSet::new();
    for (_, data) in &after[1..] {
        assert_eq!((&data["msgId"], &data["msgEventId"]), (&json!(message), &json!("e-1")));
        // Attempts of the same four milliseconds are listed in any order.
        let attempt = attempts.iter().find(|attempt| data["lastAttempt"]["id"] == attempt.id);
        let attempt = attempt.expect("an attempt of the message");
        assert_eq!(data["lastAttempt"]["responseStatusCode"], 500);
        let told = data["lastAttempt"]["timestamp"].as_str().expect("a time");
        assert_eq!(told.parse(), Ok(attempt.timestamp));
        last.insert(&attempt.id);
    }
    assert_eq!(last.len(), 2, "each speaks of its own attempt");

    // It arrives after all, because somebody sends it again: told once, and no more for what is sent once more.
    works.store(true, Ordering::SeqCst);
    for expected in [&["message.attempt.recovered"][..], &[]] {
        let attempts = stack.svix.message_attempt();
        attempts.resend(app.clone(), message.clone(), endpoint.id.clone(), None).await.expect("it is sent");
        stack.idle().await;
        let after = told(&stack, &mut operator).await;
        assert_eq!(types(&after), expected);
        for (_, data) in after {
            let last = (&data["msgId"], &data["lastAttempt"]["responseStatusCode"]);
            assert_eq!(last, (&json!(message), &json!(200)));
        }
    }
    stack.svix.endpoint().delete(app.clone(), endpoint.id.clone()).await.expect("it goes");
    assert_eq!(types(&told(&stack, &mut operator).await), ["endpoint.deleted"]);
}

/// INV-16
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_message_is_told_at_once_and_in_order() {
    let settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "0,0,0,0");
    let stack = TestStack::with(settings).await;
    let mut operator = Receiver::start().await;
    let management = stack.stack.org_token(Some(MANAGEMENT_ORG.parse().expect("an id")));
    // Its event types are there without being made, and endpoints can name them.
    let one = stack.request("GET", "/api/v1/event-type/message.attempt.failing", &management, "").await;
    assert_eq!((one.status, &one.json()["name"]), (StatusCode::OK, &json!("message.attempt.failing")));
    let all = stack.request("GET", "/api/v1/event-type", &management, "").await.json();
    let names =
        all["data"].as_array().expect("a page").iter().map(|entry| entry["name"].as_str().expect("a name"));
    let wanted = shared::operational::EVENT_TYPES.map(|(name, _)| name);
    assert_eq!(names.collect::<Vec<_>>(), wanted);
    let other = stack.request("GET", "/api/v1/event-type/message.attempt.failing", &stack.token, "").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    let svix = sdk(stack.stack.address(), &management);
    let org = shared::auth::DEFAULT_ORG;
    let about_us = ApplicationIn { uid: Some(org.into()), ..ApplicationIn::new("operations".into()) };
    let operations = svix.application().create(about_us, None).await.expect("an application").id;
    let names = ["message.attempt.exhausted", "message.attempt.failing"].map(str::to_owned).into();
    let sink = EndpointIn { event_types: Some(names), ..EndpointIn::new(operator.url("/")) };
    svix.endpoint().create(operations, sink, None).await.expect("an endpoint");

    let receiver = Receiver::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, String::new())).await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    for nth in 0..5 {
        let message = stack.message(&app, MessageIn::new("a".into(), json!({"nth": nth}))).await;
        // Nobody runs the timers.
        for wanted in ["message.attempt.failing", "message.attempt.exhausted"] {
            let text: Value = serde_json::from_slice(&operator.next().await.body).expect("JSON");
            assert_eq!((&text["type"], &text["data"]["msgId"]), (&json!(wanted), &json!(message)));
        }
    }
    // What is kept for the timers is a copy.
    stack.run_timers().await;
    stack.idle().await;
    assert_eq!(operator.rest().len(), 0);
}

const TOLD: &str = "/api/v1/operational-webhook/endpoint";

impl TestStack {
    async fn ask_told(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request(method, &format!("{TOLD}{path}"), token, body).await
    }
}

/// INV-19
#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_has_endpoints_of_its_own_for_what_happens() {
    let stack = TestStack::start().await;
    let mut operator = Receiver::start().await;
    let token = stack.token.clone();
    // Nothing is there before the first use, and looking makes nothing.
    let none = stack.ask_told("GET", "", &token, &Value::Null).await;
    assert_eq!((none.status, &none.json()["data"]), (StatusCode::OK, &json!([])));
    for (method, path) in [("GET", "/x"), ("DELETE", "/x"), ("GET", "/x/secret"), ("GET", "/x/headers")] {
        let missing = stack.ask_told(method, path, &token, &Value::Null).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        assert_eq!(missing.json()["detail"], "Endpoint \"x\" not found");
    }
    let management = stack.stack.org_token(Some(MANAGEMENT_ORG.parse().expect("an id")));
    let apps = stack.request("GET", "/api/v1/app", &management, "").await.json();
    assert_eq!(apps["data"], json!([]));

    let body = json!({
        "url": operator.url("/told"), "uid": "told", "description": "On call", "headers": {"x-team": "red"},
        "eventTypes": ["endpoint.created", "message.*"], "throttleRate": 50, "metadata": {"k": "v"},
    });
    let once = [("idempotency-key", "one")];
    let made = stack.request_with("POST", TOLD, &token, &once, body.to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let again = stack.request_with("POST", TOLD, &token, &once, body.to_string()).await;
    assert_eq!((again.status, &again.text), (made.status, &made.text));
    let made = made.json();
    for name in ["url", "uid", "description", "eventTypes", "throttleRate", "metadata"] {
        assert_eq!(made[name], body[name], "{name}");
    }
    let taken = stack.ask_told("POST", "", &token, &body).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{}", taken.text);
    let unknown = json!({"url": operator.url("/"), "eventTypes": ["invoice.paid"]});
    let unknown = stack.ask_told("POST", "", &token, &unknown).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", unknown.text);
    let listed = stack.ask_told("GET", "?limit=1", &token, &Value::Null).await.json();
    assert_eq!((&listed["data"], &listed["done"]), (&json!([made]), &json!(true)));
    let headers = stack.ask_told("GET", "/told/headers", &token, &Value::Null).await.json();
    assert_eq!(headers["headers"], json!({"x-team": "red"}));
    let secret = stack.ask_told("GET", "/told/secret", &token, &Value::Null).await.json();
    let secret = secret["key"].as_str().expect("a key").to_owned();

    // What happens is told there, signed, with its headers.
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let webhook = operator.next().await;
    webhook.verify(&secret);
    assert_eq!((&*webhook.path, webhook.header("x-team")), ("/told", "red"));
    let told: Value = serde_json::from_slice(&webhook.body).expect("JSON");
    assert_eq!((&told["type"], &told["data"]["endpointId"]), (&json!("endpoint.created"), &json!(endpoint)));

    // The application behind it is in no list of the organisation's, and out of its reach.
    let apps = stack.request("GET", "/api/v1/app", &token, "").await.json();
    assert_eq!(apps["data"].as_array().map(Vec::len), Some(1));
    let apps = stack.request("GET", "/api/v1/app", &management, "").await.json();
    let hidden = &apps["data"][0];
    assert_eq!((&hidden["uid"], &apps["data"][1]), (&json!(shared::auth::DEFAULT_ORG), &Value::Null));
    let hidden = hidden["id"].as_str().expect("an id");
    for path in [hidden, shared::auth::DEFAULT_ORG] {
        let answer = stack.request("GET", &format!("/api/v1/app/{path}/endpoint"), &token, "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
    }
    // It is the same that the management organisation sees.
    let path = format!("/api/v1/app/{hidden}/endpoint/told");
    let seen = stack.request("GET", &path, &management, "").await.json();
    assert_eq!(seen["id"], made["id"]);

    // Nobody else has it.
    let other = stack.stack.org_token(Some("org_23rb8YdGqMT0qIzpgGwdXfHirMv".parse().expect("an id")));
    assert_eq!(stack.ask_told("GET", "", &other, &Value::Null).await.json()["data"], json!([]));
    let id = made["id"].as_str().expect("an id");
    let others = json!({"url": "http://127.0.0.1:9/"});
    for (method, path) in
        [("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/secret"), ("POST", "/secret/rotate")]
    {
        let body = if method == "PUT" { &others } else { &Value::Null };
        let answer = stack.ask_told(method, &format!("/{id}{path}"), &other, body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {}", answer.text);
    }
    let customer = stack.stack.app_token(None, app.parse().expect("an id"));
    assert_eq!(stack.ask_told("GET", "", &customer, &Value::Null).await.status, StatusCode::FORBIDDEN);

    // What only the management organisation can set survives a replacement.
    let channels = json!({"channels": ["x"]}).to_string();
    assert_eq!(stack.request("PATCH", &path, &management, channels).await.status, StatusCode::OK);
    let put = json!({"url": operator.url("/v2"), "uid": "told", "disabled": true});
    let put = stack.ask_told("PUT", "/told", &token, &put).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text);
    assert_eq!((&put.json()["disabled"], &put.json()["eventTypes"]), (&json!(true), &Value::Null));
    let seen = stack.request("GET", &path, &management, "").await.json();
    assert_eq!((&seen["channels"], &seen["url"]), (&json!(["x"]), &json!(operator.url("/v2"))));
    let new = stack.ask_told("PUT", "/second", &token, &others).await;
    assert_eq!((new.status, &new.json()["uid"]), (StatusCode::CREATED, &json!("second")));
    let empty = stack.ask_told("PUT", "/second/headers", &token, &json!({"headers": {"y": "1"}})).await;
    assert_eq!((empty.status, empty.text.as_str()), (StatusCode::NO_CONTENT, ""));
    let key = "whsec_AgICAgICAgICAgICAgICAgICAgICAgIC";
    let rotated = stack.ask_told("POST", "/second/secret/rotate", &token, &json!({ "key": key })).await;
    assert_eq!((rotated.status, rotated.text.as_str()), (StatusCode::NO_CONTENT, ""));
    let shown = stack.ask_told("GET", "/second/secret", &token, &Value::Null).await.json();
    assert_eq!(shown["key"], key);
    assert_eq!(stack.ask_told("DELETE", "/told", &token, &Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_eq!(stack.ask_told("GET", "/told", &token, &Value::Null).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_would_be_told_nothing_is_refused() {
    let stack = TestStack::start().await;
    let body = json!({"url": "http://127.0.0.1:9/"});
    let management = stack.stack.org_token(Some(MANAGEMENT_ORG.parse().expect("an id")));
    let itself = stack.ask_told("POST", "", &management, &body).await;
    assert_eq!(itself.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", itself.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_endpoint_is_told_at_once_and_a_day_before_it_is_disabled() {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let clock = Arc::new(Ahead::default());
    let mut settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "");
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let mut operator = Receiver::start().await;
    let sink = json!({"url": operator.url("/"), "eventTypes": ["endpoint.*"]});
    assert_eq!(stack.ask_told("POST", "", &stack.token, &sink).await.status, StatusCode::CREATED);
    let mended = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&mended);
    let receiver = Receiver::answering(move |_| match works.load(Ordering::Relaxed) {
        true => (StatusCode::OK, String::new()),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not now".into()),
    })
    .await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    assert_eq!(types(&told(&stack, &mut operator).await), ["endpoint.created"]);
    let send = async |operator: &mut Receiver| {
        stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
        stack.idle().await;
        told(&stack, operator).await
    };
    let first = send(&mut operator).await;
    assert_eq!(types(&first), ["endpoint.failing"]);
    let data = &first[0].1;
    assert_eq!((&data["appId"], &data["endpointId"]), (&json!(app), &json!(endpoint)));
    assert_eq!(data["reason"], "127.0.0.1 answered 503");
    assert!(data["failSince"].as_str() < data["disabledFrom"].as_str() && data["failSince"].is_string());
    assert_eq!(types(&send(&mut operator).await), Vec::<&str>::new());
    clock.skip(3 * DAY);
    stack.stack.wake();
    assert_eq!(types(&send(&mut operator).await), Vec::<&str>::new());
    // Less than a day is left: once more, with what it is about, and only once.
    clock.skip(DAY + Duration::from_secs(2 * 3_600));
    stack.stack.wake();
    let last = send(&mut operator).await;
    assert_eq!(types(&last), ["endpoint.failing"]);
    for name in ["failSince", "disabledFrom", "reason"] {
        assert_eq!(last[0].1[name], data[name], "{name}");
    }
    assert_eq!(types(&send(&mut operator).await), Vec::<&str>::new());
    // What its owner changes of it does not begin anew.
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    let patched = stack.request("PATCH", &path, &stack.token, json!({"description": "x"}).to_string()).await;
    assert_eq!(patched.status, StatusCode::OK);
    assert_eq!(types(&told(&stack, &mut operator).await), ["endpoint.updated"]);
    assert_eq!(types(&send(&mut operator).await), Vec::<&str>::new());
    // A success ends it, which is told once, and the next failure is told.
    mended.store(true, Ordering::Relaxed);
    let recovered = send(&mut operator).await;
    assert_eq!(types(&recovered), ["endpoint.recovered"]);
    assert_eq!(recovered[0].1["failSince"], data["failSince"]);
    assert_eq!(types(&send(&mut operator).await), Vec::<&str>::new());
    mended.store(false, Ordering::Relaxed);
    let anew = send(&mut operator).await;
    assert_eq!(types(&anew), ["endpoint.failing"]);
    assert_ne!(anew[0].1["failSince"], data["failSince"]);
    clock.skip(5 * DAY + Duration::from_secs(2 * 3_600));
    stack.stack.wake();
    assert_eq!(types(&send(&mut operator).await), ["endpoint.disabled"]);
}

/// With attempts that go on for days, nobody waits for the last one.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_told_to_fail_after_a_day_however_many_attempts_are_to_come() {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let mut operator = Receiver::start().await;
    let sink = json!({"url": operator.url("/"), "eventTypes": ["endpoint.failing"]});
    assert_eq!(stack.ask_told("POST", "", &stack.token, &sink).await.status, StatusCode::CREATED);
    let receiver = Receiver::answering(|_| (StatusCode::BAD_GATEWAY, String::new())).await;
    let app = stack.app().await;
    let policy = json!({"schedule": [1, 72_000, 18_000, 72_000, 72_000], "jitter": 0});
    let body = json!({"url": receiver.url("/"), "retryPolicy": policy}).to_string();
    let made = stack.request("POST", &format!("/api/v1/app/{app}/endpoint"), &stack.token, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    for (seconds, told_then) in [(2, 0), (72_000, 0), (18_000, 1), (72_000, 0)] {
        clock.skip(Duration::from_secs(seconds));
        stack.stack.wake();
        assert_eq!(told(&stack, &mut operator).await.len(), told_then, "{seconds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_task_is_told_once() {
    let stack = TestStack::start().await;
    let (mut operator, mut receiver) = (Receiver::start().await, Receiver::start().await);
    let sink = json!({"url": operator.url("/"), "eventTypes": ["background_task.*"]});
    assert_eq!(stack.ask_told("POST", "", &stack.token, &sink).await.status, StatusCode::CREATED);
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    receiver.next().await;
    let since = stack.stack.platform().clock.now().before(Duration::from_secs(600)).to_string();
    let body = json!({ "since": since }).to_string();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/bulk-replay");
    let task = stack.request("POST", &path, &stack.token, body).await.json();
    receiver.next().await;
    let event: Value = serde_json::from_slice(&operator.next().await.body).expect("JSON");
    let data = json!({"appId": app, "endpointId": endpoint, "messagesSent": 1});
    let data =
        json!({"taskId": task["id"], "task": "endpoint.bulk-replay", "status": "finished", "data": data});
    assert_eq!(event, json!({"type": "background_task.finished", "data": data}));
    let read = format!("/api/v1/background-task/{}", task["id"].as_str().expect("an id"));
    let read = stack.request("GET", &read, &stack.token, "").await.json();
    assert_eq!((&read["status"], &read["data"]), (&event["data"]["status"], &event["data"]["data"]));

    // One that has a result, and one that fails.
    let all = stack.request("PUT", "/api/v1/stats/usage/event-types", &stack.token, "").await.json();
    let event: Value = serde_json::from_slice(&operator.next().await.body).expect("JSON");
    assert_eq!((&event["data"]["taskId"], &event["data"]["data"]), (&all["id"], &json!({})));
    // What is kept for the timers is a copy.
    assert_eq!(told(&stack, &mut operator).await, []);
}

/// Each event type has a schema, which what is sent fits, and that of the organisation that is told has all.
#[tokio::test(flavor = "multi_thread")]
async fn operational_event_types_have_schemas() {
    let stack = TestStack::start().await;
    let management = stack.stack.org_token(Some(MANAGEMENT_ORG.parse().expect("an id")));
    for (name, _) in shared::operational::EVENT_TYPES {
        let path = format!("/api/v1/event-type/{name}");
        let schemas = stack.request("GET", &path, &management, "").await.json()["schemas"].clone();
        let schema = &schemas["1"];
        assert_eq!(schema["properties"]["type"]["const"], name, "{schemas}");
        let required = schema["properties"]["data"]["required"].as_array().expect("a list");
        let properties = &schema["properties"]["data"]["properties"];
        assert!(
            required.len() > 1
                && required.iter().all(|field| properties[field.as_str().unwrap()].is_object())
        );
    }
}
