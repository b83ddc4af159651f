//! What docs/OPERATIONS.md tells the engineer on call to do with dead letters, and what a deployment must
//! not do to jobs that wait.

use std::path::Path;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;
use shared::config::Env;
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{ENDPOINT_VARIABLE, Receiver, TestStack, settings, soon};

const LOST: &str = "a key that somebody took out too early";
const LEFT: &str = "the key that was left in the configuration";

/// The installation of that folder, with these keys.
async fn stack(folder: &Path, keys: &[&str], poll: bool) -> TestStack {
    let mut settings = settings().with("POSTRIDER_ENCRYPTION_KEY", &json!(keys).to_string());
    settings.data = Some(folder.to_owned());
    settings.poll = poll;
    TestStack::with(settings).await
}

/// How many messages are in that queue.
async fn letters(stack: &TestStack, queue: &str) -> String {
    let url = &stack.stack.queue(queue).expect("a queue of the template").url;
    let name = QueueAttributeName::ApproximateNumberOfMessages;
    let out =
        stack.stack.sqs().get_queue_attributes().queue_url(url).attribute_names(name.clone()).send().await;
    out.expect("attributes").attributes.expect("attributes")[&name].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_delivered_once_their_cause_is_repaired() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        // The other implementation of SQS knows no move tasks.
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut receiver = Receiver::start().await;
    let first = stack(folder.path(), &[LOST], false).await;
    let app = first.svix.application().create(ApplicationIn::new("x".into()), None).await.expect("made").id;
    let endpoint = first.endpoint_with(&app, EndpointIn::new(receiver.url("/"))).await;
    let mut accepted = Vec::new();
    for nth in 0..3 {
        accepted.push(first.message(&app, MessageIn::new("a".into(), json!({"nth": nth}))).await);
    }
    first.stack.stop().await;

    // Without the key nobody can sign: no receiver has failed, so there is no retry.
    let broken = stack(folder.path(), &[LEFT], true).await;
    broken.leaves_dead_letters();
    broken.idle().await;
    assert_eq!(letters(&broken, "DeliveriesDeadQueue").await, "3");
    assert_eq!(receiver.rest().len(), 0);
    broken.stack.stop().await;

    let repaired = stack(folder.path(), &[LEFT, LOST], true).await;
    let arn = |queue: &str| repaired.stack.queue(queue).expect("a queue of the template").arn.clone();
    let sqs = repaired.stack.sqs();
    sqs.start_message_move_task()
        .source_arn(arn("DeliveriesDeadQueue"))
        .destination_arn(arn("DeliveriesQueue"))
        .max_number_of_messages_per_second(50)
        .send()
        .await
        .expect("the task starts");
    let mut arrived = Vec::new();
    for _ in &accepted {
        let webhook = receiver.next().await;
        webhook.verify(&endpoint.secret);
        arrived.push(webhook.header("webhook-id").to_owned());
    }
    arrived.sort();
    accepted.sort();
    assert_eq!(arrived, accepted);
    soon("the end of the task", async {
        loop {
            let tasks = sqs.list_message_move_tasks().source_arn(arn("DeliveriesDeadQueue")).send().await;
            if tasks.expect("tasks").results()[0].status() == Some("COMPLETED") {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    repaired.idle().await;
    assert_eq!(letters(&repaired, "DeliveriesDeadQueue").await, "0");
    assert_eq!(receiver.rest().len(), 0);
    for message in &accepted {
        assert_eq!(repaired.attempts(&app, message).await.len(), 1);
    }
}

/// INV-6
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_an_earlier_version_wrote_are_done_by_this_one() {
    let mut settings = settings();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let org = shared::auth::DEFAULT_ORG.to_string();
    let message = stack.message(&app, MessageIn::new("a".into(), json!({"x": 1}))).await;
    let event = stack.receive("DeliveriesQueue").await;
    let (now, record) = (stack.stack.platform().clock.now().ms(), &event.records[0]);
    stack.delete("DeliveriesQueue", record.receipt_handle.as_deref().expect("a handle")).await;
    // To the letter as the first versions wrote them, without what jobs have learned since: tags, slots.
    // A repaired first attempt, and the message for all its endpoints.
    let deliver = format!(
        r#"{{"job":"deliver.v1","with":{{"org":"{org}","app":"{app}","version":2,"endpoint":"{}","message":"{message}","event_type":"a","due":[{}],"check":true,"payload_until":{},"payload":{{"x": 1}}}}}}"#,
        endpoint.id,
        now - 20_000,
        now + 3_600_000,
    );
    stack.send("DeliveriesQueue", &deliver).await;
    let event = stack.receive("DeliveriesQueue").await;
    assert_eq!(event.records[0].body.as_ref(), Some(&deliver));
    assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
    let webhook = receiver.next().await;
    webhook.verify(&endpoint.secret);
    assert_eq!((webhook.header("webhook-id"), &webhook.body[..]), (&*message, &br#"{"x": 1}"#[..]));
    assert_eq!(stack.attempts(&app, &message).await.len(), 1);

    let second = stack.message(&app, MessageIn::new("a".into(), json!({"x": 2}))).await;
    let event = stack.receive("DeliveriesQueue").await;
    stack.delete("DeliveriesQueue", event.records[0].receipt_handle.as_deref().expect("a handle")).await;
    let fan_out = format!(
        r#"{{"job":"fan-out.v1","with":{{"org":"{org}","app":"{app}","version":2,"message":"{second}","from":0,"check":false}}}}"#
    );
    stack.send("BackgroundQueue", &fan_out).await;
    let variables = stack.stack.environment("background").expect("its environment");
    let env = Env::new(|name| variables.get(name).cloned());
    let dispatcher = background::Background::connect(&env, stack.stack.platform()).expect("it connects");
    let done = dispatcher.handle(stack.receive("BackgroundQueue").await).await;
    assert_eq!(done.batch_item_failures.len(), 0);
    assert_eq!(stack.deliver(stack.receive("DeliveriesQueue").await).await.batch_item_failures.len(), 0);
    assert_eq!(receiver.next().await.header("webhook-id"), second);
}
