//! Operational webhooks: what happens to endpoints and messages, told to the management organisation.

use http::StatusCode;
use serde_json::{Value, json};
use shared::operational::MANAGEMENT_ORG;
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{Receiver, TestStack, sdk, settings};

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
    let settings =
        settings().with("POSTRIDER_OPERATIONAL_WEBHOOKS", "true").with("POSTRIDER_RETRY_SCHEDULE", "0,0,0,0");
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

    let receiver = Receiver::answering(|webhook| {
        let code = match webhook.path.as_str() {
            "/gone" => StatusCode::GONE,
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
    assert_eq!(types(&after), ["message.attempt.exhausted", "message.attempt.failing"]);
    let attempts = stack.attempts(&app, &message).await;
    assert_eq!(attempts.len(), 5);
    for ((_, data), attempt) in after.iter().zip([&attempts[0], &attempts[1]]) {
        let last = json!({"id": attempt.id, "responseStatusCode": 500, "timestamp": attempt.timestamp});
        assert_eq!((&data["msgId"], &data["msgEventId"]), (&json!(message), &json!("e-1")));
        assert_eq!(
            (&data["lastAttempt"]["id"], &data["lastAttempt"]["responseStatusCode"]),
            (&last["id"], &last["responseStatusCode"])
        );
    }
    stack.svix.endpoint().delete(app.clone(), endpoint.id.clone()).await.expect("it goes");
    assert_eq!(types(&told(&stack, &mut operator).await), ["endpoint.deleted"]);
}

/// INV-16
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_message_is_told_at_once_and_in_order() {
    let settings =
        settings().with("POSTRIDER_OPERATIONAL_WEBHOOKS", "true").with("POSTRIDER_RETRY_SCHEDULE", "0,0,0,0");
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
