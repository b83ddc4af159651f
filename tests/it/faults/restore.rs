//! The log goes back to an earlier point in time in the midst of deliveries, as in the drill of
//! docs/OPERATIONS.md: what was under way then goes on, what came since is at least not sent wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_dynamodb::types::AttributeValue;
use http::StatusCode;
use serde_json::json;
use svix::models::MessageIn;

use crate::test_stack::{Ahead, Receiver, TestStack, settings};

type Item = HashMap<String, AttributeValue>;

/// All of the log.
async fn log(stack: &TestStack) -> Vec<Item> {
    let table = stack.stack.table("LogTable").expect("the log");
    let out = stack.stack.dynamodb().scan().table_name(table).send().await.expect("items");
    assert_eq!(out.last_evaluated_key, None);
    out.items.unwrap_or_default()
}

/// Makes the log what it was.
async fn take_back(stack: &TestStack, then: Vec<Item>) {
    let (dynamodb, table) = (stack.stack.dynamodb(), stack.stack.table("LogTable").expect("the log"));
    for item in log(stack).await {
        let key = ["pk", "sk"].map(|name| (name.to_owned(), item[name].clone()));
        dynamodb.delete_item().table_name(table).set_key(Some(key.into())).send().await.expect("deleted");
    }
    for item in then {
        dynamodb.put_item().table_name(table).set_item(Some(item)).send().await.expect("put");
    }
}

/// What Lambda does with the next batch of that queue.
async fn work(stack: &TestStack, queue: &str) {
    let event: SqsEvent = stack.receive(queue).await;
    let handles: Vec<_> = event.records.iter().filter_map(|record| record.receipt_handle.clone()).collect();
    assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
    for handle in handles {
        stack.delete(queue, &handle).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_what_was_under_way_goes_on_and_nothing_is_stuck() {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "1200,5");
    settings.platform.clock = clock.clone();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let mut receiver = Receiver::answering(move |_| {
        let ok = answers.load(Ordering::SeqCst);
        (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, String::new())
    })
    .await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let before = stack.message(&app, MessageIn::new("a".into(), json!({"nth": 1}))).await;
    work(&stack, "DeliveriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), before);
    let then = log(&stack).await;

    // The retry arrives, a message is accepted and delivered, and another one waits in its queue.
    works.store(true, Ordering::SeqCst);
    clock.skip(Duration::from_secs(1_500));
    assert_eq!(stack.run_timers().await, 1);
    work(&stack, "RetriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), before);
    let since = stack.message(&app, MessageIn::new("a".into(), json!({"nth": 2}))).await;
    work(&stack, "DeliveriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), since);
    let waiting = stack.message(&app, MessageIn::new("a".into(), json!({"nth": 3}))).await;

    take_back(&stack, then).await;

    // The timer is there again: the receiver gets a second copy, under the same id.
    assert_eq!(stack.run_timers().await, 1);
    work(&stack, "RetriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), before);
    let attempts = stack.attempts(&app, &before).await;
    assert_eq!(attempts.iter().map(|attempt| attempt.response_status_code).collect::<Vec<_>>(), [200, 503]);
    // The job in the queue carries its text.
    work(&stack, "DeliveriesQueue").await;
    let webhook = receiver.next().await;
    assert_eq!((webhook.header("webhook-id"), &webhook.body[..]), (&*waiting, &br#"{"nth":3}"#[..]));
    // Of messages accepted since, the log knows nothing.
    for message in [since, waiting] {
        let path = format!("/api/v1/app/{app}/msg/{message}");
        assert_eq!(stack.request("GET", &path, &stack.token, "").await.status, 404);
    }
    // New ones are as ever, and nothing is left over.
    let after = stack.message(&app, MessageIn::new("a".into(), json!({"nth": 4}))).await;
    work(&stack, "DeliveriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), after);
    assert_eq!(stack.run_timers().await, 0);
    assert_eq!(stack.stack.waiting().await, Ok(0));
    assert_eq!(receiver.rest().len(), 0);
}
