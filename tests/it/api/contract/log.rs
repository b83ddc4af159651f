//! The delivery log as clients read it.

use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::{Clock as _, SystemClock};
use shared::ids::{AttemptId, EndpointId, Id as _, MessageId};
use svix::models::MessageIn;

use crate::test_stack::{Receiver, TestStack, settings};

async fn get(stack: &TestStack, path: &str) -> Value {
    let answer = stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

fn ids(page: &Value) -> Vec<String> {
    let entries = page["data"].as_array().expect("data").iter();
    entries.map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_newest_first_whatever_is_asked_for() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(stack.message(&app, MessageIn::new("a".into(), json!({}))).await);
        receiver.next().await;
    }
    stack.idle().await;
    messages.reverse();
    for path in [
        format!("/app/{app}/msg"),
        format!("/app/{app}/endpoint/{endpoint}/msg"),
        format!("/app/{app}/attempt/endpoint/{endpoint}"),
    ] {
        let all = ids(&get(&stack, &path).await);
        assert_eq!(all.len(), 5, "{path}");
        if path.ends_with("msg") {
            assert_eq!(all, messages, "{path}");
        }
        let after = SystemClock.now().before(Duration::from_secs(3600));
        let after = &format!("after={after}");
        let first = get(&stack, &format!("{path}?{after}&limit=2")).await;
        assert_eq!(ids(&first), all[..2], "{path}");
        let on = first["iterator"].as_str().expect("an iterator");
        // With or without `after`, it goes on where the page ended.
        for after in [after.as_str(), ""] {
            let second = get(&stack, &format!("{path}?{after}&limit=2&iterator={on}")).await;
            assert_eq!(ids(&second), all[2..4], "{path} {after}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_from_the_last_timestamp_misses_no_attempt() {
    let mut settings = settings();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let list = format!("/app/{app}/attempt/endpoint/{endpoint}");
    let mut events = Vec::new();
    for _ in 0..2 {
        stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
        events.push(stack.receive("DeliveriesQueue").await);
    }
    // Deliveries lag behind: the message that was posted first is delivered last.
    stack.deliver(events.pop().expect("an event")).await;
    let first = get(&stack, &list).await;
    let last = first["data"][0]["timestamp"].as_str().expect("a timestamp").to_owned();
    stack.deliver(events.pop().expect("an event")).await;
    let second = get(&stack, &format!("{list}?after={last}")).await;
    assert_eq!(second["data"].as_array().expect("data").len(), 2, "the one of that moment, and the late one");
    let before = get(&stack, &format!("{list}?before={last}")).await;
    assert_eq!(ids(&before), Vec::<String>::new());
    // By message, too.
    let late = ids(&second).into_iter().find(|id| !ids(&first).contains(id)).expect("the late one");
    let entry = second["data"].as_array().expect("data").iter().find(|entry| entry["id"] == late.as_str());
    let entry = entry.expect("it is there");
    let (message, at) =
        (entry["msgId"].as_str().expect("an id"), entry["timestamp"].as_str().expect("a time"));
    let by_message = format!("/app/{app}/attempt/msg/{message}");
    assert_eq!(ids(&get(&stack, &format!("{by_message}?after={at}")).await), [late]);
    assert_eq!(ids(&get(&stack, &format!("{by_message}?before={at}")).await), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_with_a_retry_to_come_is_sending() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "3600")).await;
    let mut receiver = Receiver::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, "not today".into())).await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let message = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    receiver.next().await;
    stack.idle().await;
    let list = format!("/app/{app}/endpoint/{endpoint}/msg");
    for (status, found) in [("0", 0), ("1", 0), ("2", 0), ("3", 1)] {
        let page = get(&stack, &format!("{list}?status={status}")).await;
        assert_eq!(ids(&page).len(), found, "{status}");
    }
    let one = &get(&stack, &list).await["data"][0];
    assert_eq!((&one["status"], &one["statusText"]), (&json!(3), &json!("sending")));
    assert!(one["nextAttempt"].is_string());
    let one = &get(&stack, &format!("/app/{app}/msg/{message}/endpoint")).await["data"][0];
    assert_eq!((&one["status"], &one["statusText"]), (&json!(3), &json!("sending")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_endpoint_is_still_a_destination() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let body = json!({"url": receiver.url("/"), "uid": "main", "description": "d", "channels": ["x"],
                      "rateLimit": 500, "headers": {"x-secret": "hidden"}, "metadata": {"k": "hidden"}});
    let path = format!("/api/v1/app/{app}/endpoint");
    let deleted = stack.request("POST", &path, &stack.token, body.to_string()).await.json();
    let kept = stack.endpoint(&app, &receiver.url("/")).await.id;
    let message = MessageIn { channels: Some(["x".into()].into()), ..MessageIn::new("a".into(), json!({})) };
    let message = stack.message(&app, message).await;
    receiver.next().await;
    receiver.next().await;
    stack.idle().await;
    let list = format!("/app/{app}/msg/{message}/endpoint");
    let before = get(&stack, &list).await;
    let id = deleted["id"].as_str().expect("an id");
    stack.svix.endpoint().delete(app.clone(), id.into()).await.expect("it is deleted");
    let after = get(&stack, &list).await;
    assert_eq!(ids(&after), ids(&before));
    assert_eq!(ids(&after).len(), 2);
    let entry = |page: &Value| {
        let mut found = page["data"].as_array().expect("data").iter().find(|one| one["id"] == id).cloned();
        let found = found.as_mut().and_then(Value::as_object_mut).expect("it is listed");
        (found.remove("disabled"), found.remove("updatedAt"), found.clone())
    };
    let ((_, _, before), (disabled, _, after)) = (entry(&before), entry(&after));
    assert_eq!((before, disabled), (after, Some(json!(true))));
    assert!(kept != id);
    // Its uid is free, and it is nothing that a path can name.
    let gone = stack.request("GET", &format!("{path}/{id}"), &stack.token, "").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expunged_answer_says_so() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::answering(|_| (StatusCode::OK, "a secret".into())).await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let message = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    receiver.next().await;
    stack.idle().await;
    let attempt = stack.attempts(&app, &message).await.remove(0);
    assert_eq!(attempt.response, "a secret");
    let path = format!("/app/{app}/msg/{message}/attempt/{}", attempt.id);
    let gone = stack.request("DELETE", &format!("/api/v1{path}/content"), &stack.token, "").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(get(&stack, &path).await["response"], "EXPUNGED");
    assert_eq!(stack.attempts(&app, &message).await[0].response, "EXPUNGED");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_limit_holds_for_all_ways_of_sending_again() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let mut messages = Vec::new();
    for _ in 0..2 {
        messages.push(stack.message(&app, MessageIn::new("a".into(), json!({}))).await);
        receiver.next().await;
    }
    stack.idle().await;

    // As if the first had been sent again 200 times.
    let (message, at) = (messages[0].parse::<MessageId>().unwrap(), endpoint.parse::<EndpointId>().unwrap());
    let random = shared::random::SystemRandom::new();
    let ids = (0..200).map(|_| AttemptId::by_hand(message, at, message.time(), &random));
    let ids = ids.map(|id| Blob::new(id.ksuid().bytes().to_vec())).collect();
    let update = stack.stack.dynamodb().update_item().table_name(stack.stack.table("LogTable").unwrap());
    update
        .key("pk", AttributeValue::S(format!("EP#{at}#{:x}", shared::store::keys::shard(message))))
        .key("sk", AttributeValue::S(format!("MSG#{message}")))
        .update_expression("ADD ma :ids")
        .expression_attribute_values(":ids", AttributeValue::Bs(ids))
        .send()
        .await
        .unwrap();
    let path = format!("/api/v1/app/{app}/msg/{message}/endpoint/{endpoint}/resend");
    let refused = stack.request("POST", &path, &stack.token, "").await;
    assert_eq!((refused.status, refused.text.contains("200 times")), (StatusCode::CONFLICT, true));
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/bulk-replay");
    let since = message.time().before(Duration::from_secs(60));
    let task = stack.request("POST", &path, &stack.token, json!({"since": since}).to_string()).await;
    assert_eq!(task.status, StatusCode::ACCEPTED, "{}", task.text);
    let webhook = receiver.next().await;
    assert_eq!(webhook.header("webhook-id"), messages[1]);
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
}
