//! Faults: processes that die, jobs that come twice, requests that end half-way.

use http::StatusCode;
use local::Settings;
use serde_json::json;
use shared::clock::Timestamp;
use shared::ids::{AttemptId, EndpointId, MessageId};
use shared::labels::Labels;
use shared::store::attempts::{Attempt, Passage, ResponseBody, Status, Trigger};
use svix::models::MessageIn;
use tower::ServiceExt as _;

use crate::child::Child;
use crate::test_stack::{Receiver, TestStack, sdk, settings};

/// INV-10, INV-12, INV-13
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_comes_twice_is_one_webhook_and_one_attempt() {
    let mut settings = settings();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    for round in 1..=3 {
        // Taken, worked on, and never deleted: the queue hands it out again.
        let event = stack.receive("DeliveriesQueue").await;
        assert_eq!(event.records.len(), 1, "round {round}");
        assert_eq!(event.records[0].attributes["ApproximateReceiveCount"], round.to_string());
        let handle = event.records[0].receipt_handle.clone().unwrap();
        let answer = stack.deliver(event).await;
        assert_eq!(answer.batch_item_failures.len(), 0);
        stack.make_visible("DeliveriesQueue", &handle).await;
    }
    receiver.next().await;
    assert_eq!(receiver.rest().len(), 0);
    assert_eq!(stack.attempts(&app, &id).await.len(), 1);
}

/// A first attempt that version 0.1 made, whose job this version takes up: it finishes what was begun.
/// INV-10
#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_of_the_version_before_is_not_made_again() {
    let stack = TestStack::with(Settings { poll: false, ..settings() }).await;
    let receiver = &mut Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    let (message, at): (MessageId, EndpointId) = (id.parse().unwrap(), endpoint.parse().unwrap());
    let made = AttemptId::scheduled(message, at, 1, message.time());
    let attempt = Attempt {
        id: made,
        endpoint: at,
        message,
        url: receiver.url("/"),
        status: Status::Success,
        code: 204,
        response: ResponseBody::Text("taken".into()),
        error: None,
        response_headers: Vec::new(),
        duration_ms: 5,
        // Whoever made it has had the time to finish.
        at: Timestamp::from_ms(message.time().ms() - 60_000),
        trigger: Trigger::Scheduled,
        next: None,
        disables: false,
        passage: Passage::Untransformed,
        labels: Labels::of("a"),
    };
    let variables = stack.stack.environment("deliver").expect("its environment");
    let env = shared::config::Env::new(|name| variables.get(name).cloned());
    let store = stack.stack.platform().store(&env).expect("it connects");
    assert!(store.record_attempt(&attempt).await.unwrap().is_none());
    for _ in 0..2 {
        let event = stack.receive("DeliveriesQueue").await;
        let record = &event.records[0];
        let handle = record.receipt_handle.clone().unwrap();
        if record.attributes["ApproximateReceiveCount"] == "2" {
            assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
        }
        stack.make_visible("DeliveriesQueue", &handle).await;
    }
    assert_eq!(receiver.rest().len(), 0);
    let attempts = stack.svix.message_attempt();
    let listed = attempts.list_by_endpoint(app.clone(), endpoint, None).await.unwrap().data;
    for found in [&stack.attempts(&app, &id).await, &listed] {
        assert_eq!(found.iter().map(|attempt| &attempt.id).collect::<Vec<_>>(), [&made.to_string()]);
    }
    assert_eq!(attempts.get(app, id, made.to_string(), None).await.unwrap().response, "taken");
}

/// INV-2
#[tokio::test(flavor = "multi_thread")]
async fn a_fan_out_that_ended_half_way_is_finished_by_the_clients_repetition() {
    let mut settings = settings().with("POSTRIDER_DELIVERY_TIMEOUT", "1");
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    for nth in 0..4 {
        stack.endpoint(&app, &receiver.url(&format!("/{nth}"))).await;
    }
    let path = format!("/api/v1/app/{app}/msg");
    let (key, body) = ([("idempotency-key", "k")], r#"{"eventType":"a","payload":{}}"#);
    let first = stack.request_with("POST", &path, &stack.token, &key, body).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    // Of its four jobs one is delivered; the others, and the answer, a crash has swallowed.
    let mut event = stack.receive("DeliveriesQueue").await;
    while event.records.len() < 4 {
        event.records.extend(stack.receive("DeliveriesQueue").await.records);
    }
    for record in event.records.split_off(1) {
        stack.delete("DeliveriesQueue", record.receipt_handle.as_deref().unwrap()).await;
    }
    let handle = event.records[0].receipt_handle.clone().unwrap();
    assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
    stack.delete("DeliveriesQueue", &handle).await;
    let served = receiver.next().await.path;

    let second = stack.request_with("POST", &path, &stack.token, &key, body).await;
    assert_eq!((second.status, second.text), (first.status, first.text));
    let mut paths = vec![served];
    while paths.len() < 4 {
        let event = stack.receive("DeliveriesQueue").await;
        let handles: Vec<_> =
            event.records.iter().filter_map(|record| record.receipt_handle.clone()).collect();
        stack.deliver(event).await;
        for handle in handles {
            stack.delete("DeliveriesQueue", &handle).await;
            paths.push(receiver.next().await.path);
        }
    }
    paths.sort();
    assert_eq!(paths, ["/0", "/1", "/2", "/3"]);
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
}

/// INV-5
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_makes_no_sense_is_a_dead_letter_at_once() {
    let stack = TestStack::start().await;
    stack.leaves_dead_letters();
    stack.send("DeliveriesQueue", "{\"job\":\"of another age\",\"with\":{}}").await;
    stack.idle().await;
    let dead = stack.receive("DeliveriesDeadQueue").await;
    assert_eq!(dead.records[0].body.as_deref(), Some("{\"job\":\"of another age\",\"with\":{}}"));
}

/// The messages function, connected as the stack's own is but for one setting.
fn messages_with(stack: &TestStack, name: &str, value: &str) -> axum::Router {
    let mut variables = stack.stack.environment("messages").expect("its environment").clone();
    variables.insert(name.to_owned(), value.to_owned());
    let env = shared::config::Env::new(|name| variables.get(name).cloned());
    messages::router(&env, stack.stack.platform()).expect("it connects")
}

fn post(stack: &TestStack, app: &str) -> http::Request<axum::body::Body> {
    http::Request::post(format!("/api/v1/app/{app}/msg"))
        .header("authorization", format!("Bearer {}", stack.token))
        .body(r#"{"eventType":"a","payload":{"x":1}}"#.into())
        .expect("a request")
}

/// INV-1
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_down_delays_messages_and_loses_none() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    // Nobody listens at this port.
    let without_queue = messages_with(&stack, "AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9");
    let answer = without_queue.oneshot(post(&stack, &app)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(receiver.rest().len(), 0);
    assert_eq!(stack.run_timers().await, 1);
    assert_eq!(receiver.next().await.body, r#"{"x":1}"#);
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);

    let without_tables = messages_with(&stack, "AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9");
    let answer = without_tables.oneshot(post(&stack, &app)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(stack.svix.message().list(app, None).await.unwrap().data.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_beyond_what_a_queue_can_delay_are_timers() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "1200,1")).await;
    let app = stack.app().await;
    stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    assert_eq!(stack.attempts(&app, &id).await.len(), 1);
    // Nothing is due for a quarter of an hour and more.
    assert_eq!(stack.run_timers().await, 0);
    let items = stack
        .stack
        .dynamodb()
        .scan()
        .table_name(stack.stack.table("LogTable").unwrap())
        .send()
        .await
        .unwrap();
    let timers: Vec<_> =
        items.items().iter().filter(|item| item["pk"].as_s().unwrap().starts_with("TIMER#")).collect();
    assert_eq!(timers.len(), 1);
    // A minute of the schedule later than the timer: as if the clock had come there.
    let mut timer = timers[0].clone();
    let key = std::collections::HashMap::from([
        ("pk".into(), timer["pk"].clone()),
        ("sk".into(), timer["sk"].clone()),
    ]);
    stack
        .stack
        .dynamodb()
        .delete_item()
        .table_name(stack.stack.table("LogTable").unwrap())
        .set_key(Some(key))
        .send()
        .await
        .unwrap();
    let due = timer["due"].as_n().unwrap().clone();
    let past = "1000000000000";
    let sk = timer["sk"].as_s().unwrap().replacen(&due, past, 1);
    timer.insert("sk".into(), aws_sdk_dynamodb::types::AttributeValue::S(sk));
    timer.insert("due".into(), aws_sdk_dynamodb::types::AttributeValue::N(past.into()));
    stack
        .stack
        .dynamodb()
        .put_item()
        .table_name(stack.stack.table("LogTable").unwrap())
        .set_item(Some(timer))
        .send()
        .await
        .unwrap();
    assert_eq!(stack.run_timers().await, 1);
    assert_eq!(stack.run_timers().await, 0);
    stack.idle().await;
    // The second attempt, and the third a second later.
    assert_eq!(stack.attempts(&app, &id).await.len(), 3);
}

/// INV-1
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_loses_nothing() {
    const MESSAGES: usize = 40;
    let folder = tempfile::tempdir().expect("a folder");
    let mut receiver = Receiver::start().await;
    let (first, address) = Child::start(folder.path(), &[]).await;
    let token = { local::Stack::start(settings()).await.unwrap().org_token(None) };
    let svix = sdk(address, &token);
    let app = svix.application().create(svix::models::ApplicationIn::new("x".into()), None).await.unwrap().id;
    let endpoint = svix::models::EndpointIn::new(receiver.url("/"));
    svix.endpoint().create(app.clone(), endpoint, None).await.unwrap();
    let mut accepted = std::collections::BTreeSet::new();
    for nth in 0..MESSAGES {
        let message = MessageIn::new("a".into(), json!({"nth": nth}));
        accepted.insert(svix.message().create(app.clone(), message, None).await.unwrap().id);
    }
    drop(first); // SIGKILL, with most of them on their way

    let (_second, address) = Child::start(folder.path(), &[]).await;
    let mut arrived = std::collections::BTreeSet::new();
    while arrived.len() < MESSAGES {
        arrived.insert(receiver.next().await.header("webhook-id").to_owned());
    }
    assert_eq!(arrived, accepted);
    let svix = sdk(address, &token);
    assert_eq!(svix.message().list(app, None).await.unwrap().data.len(), MESSAGES);
}
