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

use crate::house::{Ahead, House, Receiver, settings};

type Item = HashMap<String, AttributeValue>;

/// All of the log.
async fn log(house: &House) -> Vec<Item> {
    let table = house.stack.table("LogTable").expect("the log");
    let out = house.stack.dynamodb().scan().table_name(table).send().await.expect("items");
    assert_eq!(out.last_evaluated_key, None);
    out.items.unwrap_or_default()
}

/// Makes the log what it was.
async fn take_back(house: &House, then: Vec<Item>) {
    let (dynamodb, table) = (house.stack.dynamodb(), house.stack.table("LogTable").expect("the log"));
    for item in log(house).await {
        let key = ["pk", "sk"].map(|name| (name.to_owned(), item[name].clone()));
        dynamodb.delete_item().table_name(table).set_key(Some(key.into())).send().await.expect("deleted");
    }
    for item in then {
        dynamodb.put_item().table_name(table).set_item(Some(item)).send().await.expect("put");
    }
}

/// What Lambda does with the next batch of that queue.
async fn work(house: &House, queue: &str) {
    let event: SqsEvent = house.receive(queue).await;
    let handles: Vec<_> = event.records.iter().filter_map(|record| record.receipt_handle.clone()).collect();
    assert_eq!(house.deliver(event).await.batch_item_failures.len(), 0);
    for handle in handles {
        house.delete(queue, &handle).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_what_was_under_way_goes_on_and_nothing_is_stuck() {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "1200,5");
    settings.platform.clock = clock.clone();
    settings.poll = false;
    let house = House::with(settings).await;
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let mut receiver = Receiver::answering(move |_| {
        let ok = answers.load(Ordering::SeqCst);
        (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, String::new())
    })
    .await;
    let app = house.app().await;
    house.endpoint(&app, &receiver.url("/")).await;
    let before = house.message(&app, MessageIn::new("a".into(), json!({"nth": 1}))).await;
    work(&house, "DeliveriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), before);
    let then = log(&house).await;

    // The retry arrives, a message is accepted and delivered, and another one waits in its queue.
    works.store(true, Ordering::SeqCst);
    clock.skip(Duration::from_secs(1_500));
    assert_eq!(house.run_timers().await, 1);
    work(&house, "RetriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), before);
    let since = house.message(&app, MessageIn::new("a".into(), json!({"nth": 2}))).await;
    work(&house, "DeliveriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), since);
    let waiting = house.message(&app, MessageIn::new("a".into(), json!({"nth": 3}))).await;

    take_back(&house, then).await;

    // The timer is there again: the receiver gets a second copy, under the same id.
    assert_eq!(house.run_timers().await, 1);
    work(&house, "RetriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), before);
    let attempts = house.attempts(&app, &before).await;
    assert_eq!(attempts.iter().map(|attempt| attempt.response_status_code).collect::<Vec<_>>(), [200, 503]);
    // The job in the queue carries its text.
    work(&house, "DeliveriesQueue").await;
    let webhook = receiver.next().await;
    assert_eq!((webhook.header("webhook-id"), &webhook.body[..]), (&*waiting, &br#"{"nth":3}"#[..]));
    // Of messages accepted since, the log knows nothing.
    for message in [since, waiting] {
        let path = format!("/api/v1/app/{app}/msg/{message}");
        assert_eq!(house.request("GET", &path, &house.token, "").await.status, 404);
    }
    // New ones are as ever, and nothing is left over.
    let after = house.message(&app, MessageIn::new("a".into(), json!({"nth": 4}))).await;
    work(&house, "DeliveriesQueue").await;
    assert_eq!(receiver.next().await.header("webhook-id"), after);
    assert_eq!(house.run_timers().await, 0);
    assert_eq!(house.stack.waiting().await, Ok(0));
    assert_eq!(receiver.rest().len(), 0);
}
