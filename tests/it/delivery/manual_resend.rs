//! What is done about deliveries by hand: messages sent again, texts taken out of the log.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use http::{Method, Request, StatusCode};
use serde_json::json;
use shared::ids::{AttemptId, EndpointId, Id as _, MessageId};
use svix::api::{MessageAttemptResendOptions, MessageGetOptions};
use svix::error::Error;
use svix::models::{
    EndpointIn, EndpointPatch, MessageAttemptTriggerType, MessageIn, MessagePrecheckIn, MessageStatus,
};
use tower::ServiceExt as _;

use crate::api::log::names;
use crate::test_stack::{Receiver, TestStack, sdk, settings};

/// A stack whose queues the test works on by itself.
async fn quiet() -> TestStack {
    let mut settings = settings();
    settings.poll = false;
    TestStack::with(settings).await
}

/// Works on the one job of that queue.
async fn work(stack: &TestStack, queue: &str) {
    let event = stack.receive(queue).await;
    assert_eq!(event.records.len(), 1, "{queue}");
    let handle = event.records[0].receipt_handle.clone().expect("a handle");
    assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
    stack.delete(queue, &handle).await;
}

async fn resend(stack: &TestStack, app: &str, message: &str, endpoint: &str) -> svix::error::Result<()> {
    stack.svix.message_attempt().resend(app.into(), message.into(), endpoint.into(), None).await.map(drop)
}

/// The status and text of an SDK's error.
fn refusal<T: std::fmt::Debug>(answer: svix::error::Result<T>) -> (u16, String) {
    match answer {
        Err(Error::Http(error)) => {
            (error.status.as_u16(), error.payload.map(|p| p.detail).unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

async fn destinations(stack: &TestStack, app: &str, message: &str) -> Vec<(String, MessageStatus)> {
    let list =
        stack.svix.message_attempt().list_attempted_destinations(app.into(), message.into(), None).await;
    list.expect("destinations").data.into_iter().map(|to| (to.id, to.status)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_again_is_one_attempt_more_and_ends_what_was_pending() {
    let stack = quiet().await;
    let well = std::sync::Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let mut receiver = Receiver::answering(move |_| match is_well.load(Ordering::SeqCst) {
        true => (StatusCode::OK, "thanks".into()),
        false => (StatusCode::INTERNAL_SERVER_ERROR, "broken".into()),
    })
    .await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let message =
        MessageIn { event_id: Some("order-1".into()), ..MessageIn::new("a".into(), json!({"n": 1})) };
    let id = stack.message(&app, message).await;
    assert_eq!(destinations(&stack, &app, &id).await, [(endpoint.id.clone(), MessageStatus::Sending)]);
    work(&stack, "DeliveriesQueue").await;
    receiver.next().await;
    assert_eq!(destinations(&stack, &app, &id).await, [(endpoint.id.clone(), MessageStatus::Sending)]);

    // By its own customer, by event id, twice with one key: one webhook.
    well.store(true, Ordering::SeqCst);
    let customer = sdk(stack.stack.address(), &stack.stack.app_token(None, app.parse().unwrap()));
    for _ in 0..2 {
        let options = MessageAttemptResendOptions { idempotency_key: Some("k".into()) };
        let log = customer.message_attempt();
        log.resend(app.clone(), "order-1".into(), endpoint.id.clone(), Some(options)).await.unwrap();
    }
    work(&stack, "DeliveriesQueue").await;
    let webhook = receiver.next().await;
    assert_eq!((webhook.header("webhook-id"), &*webhook.body), (id.as_str(), &br#"{"n":1}"#[..]));
    webhook.verify(&endpoint.secret);
    assert_eq!(destinations(&stack, &app, &id).await, [(endpoint.id.clone(), MessageStatus::Success)]);

    // It is seen by message, by endpoint, and by itself.
    let by_message = stack.attempts(&app, &id).await;
    let seen: Vec<_> = by_message.iter().map(|attempt| (attempt.status, attempt.trigger_type)).collect();
    let (manual, scheduled) = (MessageAttemptTriggerType::Manual, MessageAttemptTriggerType::Scheduled);
    assert_eq!(seen, [(MessageStatus::Success, manual), (MessageStatus::Fail, scheduled)]);
    let log = stack.svix.message_attempt();
    let by_endpoint = log.list_by_endpoint(app.clone(), endpoint.id.clone(), None).await.unwrap().data;
    assert_eq!(
        by_endpoint.iter().map(|attempt| &attempt.id).collect::<Vec<_>>(),
        by_message.iter().map(|attempt| &attempt.id).collect::<Vec<_>>()
    );
    let one = log.get(app.clone(), id.clone(), by_message[0].id.clone(), None).await.unwrap();
    assert_eq!((one.response.as_str(), one.trigger_type), ("thanks", manual));
    let listed = log.list_attempted_messages(app.clone(), endpoint.id.clone(), None).await.unwrap().data;
    assert_eq!((listed.len(), listed[0].status, listed[0].next_attempt), (1, MessageStatus::Success, None));

    // The retry that was queued finds nothing left to do.
    work(&stack, "RetriesQueue").await;
    assert_eq!(receiver.rest().len(), 0);
    assert_eq!(stack.attempts(&app, &id).await.len(), 2);
    assert_eq!(stack.stack.waiting().await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_sent_to_an_endpoint_that_it_was_not_for() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let elsewhere = EndpointIn { channels: names(&["x"]), ..EndpointIn::new(receiver.url("/other")) };
    let elsewhere = stack.endpoint_with(&app, elsewhere).await.id;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    assert_eq!(destinations(&stack, &app, &id).await, []);
    resend(&stack, &app, &id, &elsewhere).await.unwrap();
    assert_eq!(receiver.next().await.path, "/other");
    stack.idle().await;
    assert_eq!(destinations(&stack, &app, &id).await, [(elsewhere.clone(), MessageStatus::Success)]);
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!((attempts.len(), &attempts[0].endpoint_id), (1, &elsewhere));
    let one = stack.svix.message_attempt().get(app.clone(), id.clone(), attempts[0].id.clone(), None).await;
    assert_eq!(one.unwrap().id, attempts[0].id);
    // Also when the endpoint is gone.
    stack.svix.endpoint().delete(app.clone(), elsewhere.clone()).await.unwrap();
    assert_eq!(stack.attempts(&app, &id).await.len(), 1);
    assert_eq!(destinations(&stack, &app, &id).await, [(elsewhere, MessageStatus::Success)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_again_is_refused_in_plain_words() {
    let stack = quiet().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    work(&stack, "DeliveriesQueue").await;

    let nothing = "23rb8YdGqMT0qIzpgGwdXfHirMu";
    assert_eq!(refusal(resend(&stack, &app, &format!("msg_{nothing}"), &endpoint).await).0, 404);
    assert_eq!(refusal(resend(&stack, &app, &id, &format!("ep_{nothing}")).await).0, 404);
    assert_eq!(refusal(resend(&stack, &format!("app_{nothing}"), &id, &endpoint).await).0, 404);

    let disabled = EndpointPatch { disabled: Some(true), ..EndpointPatch::default() };
    stack.svix.endpoint().patch(app.clone(), endpoint.clone(), disabled).await.unwrap();
    let (status, text) = refusal(resend(&stack, &app, &id, &endpoint).await);
    assert_eq!(
        (status, text.as_str()),
        (409, "The endpoint is disabled: enable it, then send the message again.")
    );
    let enabled = EndpointPatch { disabled: Some(false), ..EndpointPatch::default() };
    stack.svix.endpoint().patch(app.clone(), endpoint.clone(), enabled).await.unwrap();

    // Without its queue the function says so, and nothing has happened.
    let mut variables = stack.stack.environment("attempts").expect("its environment").clone();
    variables.insert("AWS_ENDPOINT_URL_SQS".into(), "http://127.0.0.1:9".into());
    let env = shared::config::Env::new(|name| variables.get(name).cloned());
    let router = attempts::router(&env, stack.stack.platform()).expect("it connects");
    let path = format!("/api/v1/app/{app}/msg/{id}/endpoint/{endpoint}/resend");
    let request = Request::builder().method(Method::POST).uri(&path);
    let request = request.header("authorization", format!("Bearer {}", stack.token));
    let request = request.header("idempotency-key", "k").body(axum::body::Body::empty()).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(stack.attempts(&app, &id).await.len(), 1);
    // Its key is free again.
    let again = stack.request_with("POST", &path, &stack.token, &[("idempotency-key", "k")], "").await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::ACCEPTED, "{}"));
    work(&stack, "DeliveriesQueue").await;
    assert_eq!(stack.attempts(&app, &id).await.len(), 2);

    // As if it had been done 200 times.
    let (message, at) = (id.parse::<MessageId>().unwrap(), endpoint.parse::<EndpointId>().unwrap());
    let random = shared::random::SystemRandom::new();
    let ids = (1..200).map(|_| AttemptId::by_hand(message, at, message.time(), &random));
    let ids = ids.map(|id| Blob::new(id.ksuid().bytes().to_vec())).collect();
    let table = stack.stack.table("LogTable").unwrap();
    let update = stack.stack.dynamodb().update_item().table_name(table);
    let pk = format!("EP#{at}#{:x}", shared::store::keys::shard(message));
    update
        .key("pk", AttributeValue::S(pk))
        .key("sk", AttributeValue::S(format!("MSG#{message}")))
        .update_expression("ADD ma :ids")
        .expression_attribute_values(":ids", AttributeValue::Bs(ids))
        .send()
        .await
        .unwrap();
    let (status, text) = refusal(resend(&stack, &app, &id, &endpoint).await);
    assert_eq!((status, text.contains("200 times")), (409, true), "{text}");

    stack.svix.message().expunge_content(app.clone(), id.clone()).await.unwrap();
    let (status, text) = refusal(resend(&stack, &app, &id, &endpoint).await);
    assert_eq!((status, text.contains("deleted or has expired")), (409, true), "{text}");
}

/// INV-24
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_out_is_neither_shown_nor_sent() {
    let stack = quiet().await;
    let mut receiver =
        Receiver::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, "a secret of the receiver's".into()))
            .await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let message =
        MessageIn { event_id: Some("order-1".into()), ..MessageIn::new("a".into(), json!({"n": 1})) };
    let id = stack.message(&app, message).await;
    work(&stack, "DeliveriesQueue").await;
    receiver.next().await;

    // Its retry, which carries the text, is on its way.
    stack.svix.message().expunge_content(app.clone(), "order-1".into()).await.unwrap();
    work(&stack, "RetriesQueue").await;
    assert_eq!(receiver.rest().len(), 0);
    assert_eq!(stack.stack.waiting().await, Ok(0));
    assert_eq!(destinations(&stack, &app, &id).await, [(endpoint.clone(), MessageStatus::Fail)]);
    // The same before its first attempt, and for a text of several items.
    let large: String =
        (0..90_000u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let large: String = large.chars().take(900_000).collect();
    let large = stack.message(&app, MessageIn::new("a".into(), json!({"n": large}))).await;
    for message in [stack.message(&app, MessageIn::new("a".into(), json!({"n": 2}))).await, large] {
        // By its own customer.
        let customer = sdk(stack.stack.address(), &stack.stack.app_token(None, app.parse().unwrap()));
        customer.message().expunge_content(app.clone(), message.clone()).await.unwrap();
        // Twice is once.
        customer.message().expunge_content(app.clone(), message.clone()).await.unwrap();
        let options = MessageGetOptions { with_content: Some(true) };
        let read = stack.svix.message().get(app.clone(), message, Some(options)).await.unwrap();
        assert_eq!(read.payload, json!({"expired": true}));
    }
    let mut left = 2;
    while left > 0 {
        let event = stack.receive("DeliveriesQueue").await;
        left -= event.records.len();
        assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
    }
    assert_eq!(receiver.rest().len(), 0);
    for path in [format!("/app/{app}/msg"), format!("/app/{app}/endpoint/{endpoint}/msg")] {
        let list = stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await.json();
        let data = list["data"].as_array().unwrap().clone();
        assert_eq!(data.len(), 3);
        assert!(data.iter().all(|message| message["payload"] == json!({"expired": true})), "{list}");
    }
    // Nothing of the texts is in the tables.
    let log = stack
        .stack
        .dynamodb()
        .scan()
        .table_name(stack.stack.table("LogTable").unwrap())
        .send()
        .await
        .unwrap();
    let sk = |item: &std::collections::HashMap<String, AttributeValue>| item["sk"].as_s().unwrap().clone();
    assert_eq!(log.items().iter().filter(|item| sk(item).starts_with("PAY#")).count(), 0);
    assert!(log.items().iter().all(|item| !sk(item).starts_with("MSG#") || !item.contains_key("p")));

    // An attempt keeps everything but the answer's text.
    let before = stack.attempts(&app, &id).await.remove(0);
    assert_eq!(before.response, "a secret of the receiver's");
    let attempts = stack.svix.message_attempt();
    attempts.expunge_content(app.clone(), "order-1".into(), before.id.clone()).await.unwrap();
    let after = attempts.get(app.clone(), id.clone(), before.id.clone(), None).await.unwrap();
    assert_eq!(after, svix::models::MessageAttemptOut { response: "EXPUNGED".into(), ..before.clone() });
    let unknown = "atmpt_23rb8YdGqMT0qIzpgGwdXfHirMu".to_owned();
    assert_eq!(refusal(attempts.expunge_content(app.clone(), id.clone(), unknown).await).0, 404);

    // Who did it is on record.
    let config = stack.stack.table("ConfigTable").unwrap();
    let audit = stack.stack.dynamodb().scan().table_name(config).send().await.unwrap();
    let events = |what: &str| {
        let of = |item: &&std::collections::HashMap<String, AttributeValue>| {
            item.get("what").is_some_and(|found| found.as_s().unwrap() == what)
        };
        audit
            .items()
            .iter()
            .filter(of)
            .map(|item| item["subject"].as_s().unwrap().clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(events("attempt.expunged"), [before.id]);
    assert_eq!(events("message.expunged").iter().filter(|subject| **subject == id).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_can_ask_whether_anybody_listens() {
    let stack = quiet().await;
    let app = stack.app().await;
    let asks = async |event_type: &str, channel: Option<&str>| {
        let question = MessagePrecheckIn {
            channels: channel.and_then(|channel| names(&[channel])),
            ..MessagePrecheckIn::new(event_type.into())
        };
        stack.svix.message().precheck(app.clone(), question, None).await.unwrap().active
    };
    assert!(!asks("a.b", None).await);
    let endpoint = EndpointIn { channels: names(&["x"]), ..EndpointIn::new("http://127.0.0.1:9/".into()) };
    stack.endpoint_with(&app, endpoint).await;
    assert_eq!((asks("a.b", None).await, asks("a.b", Some("x")).await), (false, true));
    let path = format!("/api/v1/app/{app}/msg/precheck/active");
    let answer = stack.request("POST", &path, &stack.token, r#"{"channels":[]}"#).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let loc: Vec<_> =
        answer.json()["detail"].as_array().unwrap().iter().map(|rule| rule["loc"][1].clone()).collect();
    assert_eq!(loc, ["eventType", "channels"]);
}
