//! What needs somebody: failing endpoints and undelivered messages, and that both go when they work again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::Clock as _;
use svix::models::MessageIn;

use crate::test_stack::{Ahead, Receiver, TestStack, settings};

async fn list(stack: &TestStack, path: &str) -> Value {
    let answer = stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

fn field(page: &Value, name: &str) -> Vec<String> {
    let entries = page["data"].as_array().expect("a page").iter();
    entries.map(|entry| entry[name].as_str().expect("a text").to_owned()).collect()
}

/// INV-8
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_listed_until_it_arrives() {
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let receiver = Receiver::answering(move |_| {
        let works = answers.load(Ordering::SeqCst);
        (if works { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, String::new())
    })
    .await;
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let (app, other) = (stack.app().await, stack.app().await);
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let nowhere = stack.endpoint(&other, "http://127.0.0.1:9/").await.id;
    for path in ["/undelivered", "/failing-endpoint"] {
        assert_eq!(list(&stack, path).await, json!({"data": [], "iterator": null, "done": true}));
    }
    let mut messages = Vec::new();
    for nth in 0..3 {
        messages.push(stack.message(&app, MessageIn::new("a.b".into(), json!({"nth": nth}))).await);
        stack.idle().await;
    }
    let elsewhere = stack.message(&other, MessageIn::new("a.b".into(), json!({}))).await;
    stack.idle().await;
    messages.reverse();

    let all = list(&stack, "/undelivered").await;
    assert_eq!(field(&all, "msgId"), [vec![elsewhere.clone()], messages.clone()].concat());
    let (there, here) = (&all["data"][0], &all["data"][1]);
    assert_eq!((&there["endpointId"], &there["responseStatusCode"]), (&json!(nowhere), &json!(0)));
    assert!(there["error"].as_str().is_some_and(|reason| !reason.is_empty()), "{there}");
    assert!(here["exhaustedAt"].is_string());
    let shown = ["appId", "endpointId", "eventType", "attempts", "responseStatusCode", "error"]
        .map(|name| &here[name]);
    assert_eq!(json!(shown), json!([app, endpoint, "a.b", 1, 500, null]));
    // A page at a time, and of one application or endpoint.
    let of_app = format!("/app/{app}/undelivered");
    let first = list(&stack, &format!("{of_app}?limit=2")).await;
    assert_eq!((field(&first, "msgId"), &first["done"]), (messages[..2].to_vec(), &json!(false)));
    let rest =
        list(&stack, &format!("{of_app}?limit=2&iterator={}", first["iterator"].as_str().expect("one")))
            .await;
    assert_eq!((field(&rest, "msgId"), &rest["done"]), (messages[2..].to_vec(), &json!(true)));
    for (id, many) in [(&endpoint, 3), (&nowhere, 0)] {
        assert_eq!(
            list(&stack, &format!("{of_app}?endpointId={id}")).await["data"].as_array().map(Vec::len),
            Some(many)
        );
    }
    let failing = list(&stack, "/failing-endpoint").await;
    let mut ids = field(&failing, "endpointId");
    ids.sort();
    let mut both = vec![endpoint.clone(), nowhere.clone()];
    both.sort();
    assert_eq!(ids, both);
    let of_app_failing = format!("/app/{app}/failing-endpoint");
    let one = list(&stack, &of_app_failing).await["data"][0].clone();
    let shown = ["appId", "endpointId", "url", "disabled", "lastStatus"].map(|name| &one[name]);
    assert_eq!(json!(shown), json!([app, endpoint, receiver.url("/"), false, 500]));
    assert!(one["failingSince"].is_string() && one["appName"].is_string(), "{one}");

    // They arrive: one by hand, the others by a recovery.
    works.store(true, Ordering::SeqCst);
    let resend = format!("/api/v1/app/{app}/msg/{}/endpoint/{endpoint}/resend", messages[0]);
    assert_eq!(stack.request("POST", &resend, &stack.token, "").await.status, StatusCode::ACCEPTED);
    stack.idle().await;
    assert_eq!(field(&list(&stack, &of_app).await, "msgId"), messages[1..].to_vec());
    let recover = format!("/api/v1/app/{app}/endpoint/{endpoint}/recover");
    let since = json!({"since": here["exhaustedAt"].as_str().map(|at| format!("{}T00:00:00Z", &at[..10]))});
    let begun = stack.request("POST", &recover, &stack.token, since.to_string()).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    stack.idle().await;
    assert_eq!(list(&stack, &of_app).await["data"], json!([]));
    assert_eq!(field(&list(&stack, "/undelivered").await, "msgId"), [elsewhere]);
    // What was not true any more was removed by whoever looked.
    let before = stack.stack.ledger();
    list(&stack, &of_app).await;
    let spent = stack.stack.ledger().since(&before).total(|call| call.on == "log");
    assert_eq!(spent.write_units, 0.0);

    // Whoever switches an endpoint off and on begins anew.
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    for (disabled, listed) in [(true, 1), (false, 0)] {
        let patch = json!({ "disabled": disabled }).to_string();
        assert_eq!(stack.request("PATCH", &path, &stack.token, patch).await.status, StatusCode::OK);
        let page = list(&stack, &of_app_failing).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(listed), "{page}");
        assert!(listed == 0 || page["data"][0]["disabled"] == true);
    }
    assert_eq!(field(&list(&stack, "/failing-endpoint").await, "endpointId"), [nowhere]);
    // An erased application is nowhere.
    let delete = format!("/api/v1/app/{other}");
    assert_eq!(stack.request("DELETE", &delete, &stack.token, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(list(&stack, "/failing-endpoint").await["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pause_stopped_is_listed_until_it_arrives_or_its_endpoint_is_deleted() {
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let receiver = Receiver::answering(move |_| {
        let works = answers.load(Ordering::SeqCst);
        (if works { StatusCode::OK } else { StatusCode::BAD_GATEWAY }, String::new())
    })
    .await;
    let clock = Arc::new(Ahead::default());
    let mut settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "1200,1200");
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let app = stack.app().await;
    let paused = stack.endpoint(&app, &receiver.url("/a")).await.id;
    let deleted = stack.endpoint(&app, &receiver.url("/b")).await.id;
    let gone = stack.endpoint(&app, &receiver.url("/c")).await.id;
    let since = clock.now();
    let message = stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    stack.jobs_are_done().await;
    let change = async |method: &str, endpoint: &str, body: &str| {
        let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
        assert!(stack.request(method, &path, &stack.token, body.to_owned()).await.status.is_success());
    };
    let [off, on] = [r#"{"disabled":true}"#, r#"{"disabled":false}"#];
    change("PATCH", &paused, off).await;
    change("PATCH", &deleted, off).await;
    change("DELETE", &gone, "").await;
    let of_app = format!("/app/{app}/undelivered");
    assert_eq!(list(&stack, &of_app).await["data"], json!([]), "a retry is to come");
    clock.skip(Duration::from_secs(1_500));
    // The runner's own minute may come first.
    stack.run_timers().await;
    stack.jobs_are_done().await;
    // Where nothing will be sent any more, nothing is said to be under way.
    let destinations = list(&stack, &format!("/app/{app}/msg/{message}/endpoint")).await;
    for to in destinations["data"].as_array().expect("a page") {
        assert_eq!((&to["status"], to.get("nextAttempt")), (&json!(2), None), "{to}");
    }

    let listed = list(&stack, &of_app).await;
    let mut endpoints = field(&listed, "endpointId");
    endpoints.sort();
    let mut both = vec![paused.clone(), deleted.clone()];
    both.sort();
    assert_eq!((endpoints, field(&listed, "msgId")), (both, vec![message.clone(), message.clone()]));
    let shown = ["attempts", "responseStatusCode", "eventType"].map(|name| &listed["data"][0][name]);
    assert_eq!(json!(shown), json!([1, 502, "a.b"]));
    // Nothing was sent, and whoever paused it did so: that is no failure of the endpoint.
    assert_eq!(list(&stack, "/failing-endpoint").await["data"], json!([]));

    // To what is deleted nothing can be sent any more, also in the list of all.
    change("DELETE", &deleted, "").await;
    for path in [of_app.as_str(), "/undelivered"] {
        assert_eq!(field(&list(&stack, path).await, "endpointId"), std::slice::from_ref(&paused), "{path}");
    }
    works.store(true, Ordering::SeqCst);
    change("PATCH", &paused, on).await;
    let recover = format!("/api/v1/app/{app}/endpoint/{paused}/recover");
    let begun = stack.request("POST", &recover, &stack.token, json!({ "since": since }).to_string()).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    stack.idle().await;
    assert_eq!(list(&stack, &of_app).await["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_is_counted_before() {
    let receiver = Receiver::answering(|webhook| match webhook.path.as_str() {
        "/fails" => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        _ => (StatusCode::OK, String::new()),
    })
    .await;
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let app = stack.app().await;
    let fails = stack.endpoint(&app, &receiver.url("/fails")).await.id;
    let mut since = String::new();
    for nth in 0..7 {
        let id = stack.message(&app, MessageIn::new(format!("a.{}", nth % 2), json!({"nth": nth}))).await;
        if nth == 0 {
            let shown = stack.svix.message().get(app.clone(), id, None).await.expect("a message");
            since = shown.timestamp.to_rfc3339();
        }
    }
    stack.idle().await;
    let new = stack.endpoint(&app, &receiver.url("/works")).await.id;
    let count = async |endpoint: &str, what: &str, body: Value| {
        let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/{what}/count");
        let answer = stack.request("POST", &path, &stack.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    };
    let of = |count: u64| json!({"count": count, "more": false});
    let all = json!({ "since": since });
    assert_eq!(count(&fails, "recover", all.clone()).await, of(7));
    assert_eq!(count(&new, "recover", all.clone()).await, of(0));
    assert_eq!(count(&fails, "replay-missing", all.clone()).await, of(0));
    assert_eq!(count(&new, "replay-missing", all.clone()).await, of(7));
    let some = json!({"since": since, "eventTypes": ["a.1"], "status": 2});
    assert_eq!(count(&fails, "bulk-replay", some).await, of(3));
    // Nothing was sent, and what makes no sense is refused as by the operation itself.
    stack.idle().await;
    let path = format!("/api/v1/app/{app}/endpoint/{fails}/recover/count");
    let refused = stack.request("POST", &path, &stack.token, "{}").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_look_of_the_portal_is_the_organisations() {
    let stack = TestStack::start().await;
    const PATH: &str = "/api/v1/environment/settings";
    let look = json!({"displayName": "Acme", "logoUrl": "https://acme.example/logo.svg", "primaryColorLight": "4f46e5",
                      "primaryColorDark": "A0A0FF", "fontFamily": "Inter, sans-serif", "darkMode": "auto"});
    assert_eq!(stack.request("GET", PATH, &stack.token, "").await.json(), json!({}));
    let put = stack.request("PUT", PATH, &stack.token, look.to_string()).await;
    assert_eq!((put.status, put.json()), (StatusCode::OK, look.clone()));
    let app = stack.app().await;
    let access = format!("/api/v1/auth/app-portal-access/{app}");
    let customer = stack.request("POST", &access, &stack.token, "{}").await.json();
    let customer = customer["token"].as_str().expect("a token").to_owned();
    assert_eq!(stack.request("GET", PATH, &customer, "").await.json(), look);
    assert_eq!(stack.request("PUT", PATH, &customer, look.to_string()).await.status, StatusCode::FORBIDDEN);
    for (name, value) in [
        ("logoUrl", "http://acme.example/logo.svg"),
        ("logoUrl", "javascript:alert(1)"),
        ("primaryColorLight", "#4f46e5"),
        ("primaryColorDark", "red"),
        ("fontFamily", "x; } body { display: none"),
        ("darkMode", "maybe"),
        ("displayName", ""),
    ] {
        let answer = stack.request("PUT", PATH, &stack.token, json!({ name: value }).to_string()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name} {value}: {}", answer.text);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", name]));
    }
    // What a body does not name is as the page has it.
    assert_eq!(stack.request("PUT", PATH, &stack.token, "{}").await.json(), json!({}));
}
