//! Deleting an application: everything of it goes, and a task says when it has gone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use svix::models::{EndpointIn, MessageIn};

use crate::test_stack::{Ahead, Receiver, TestStack, settings};

impl TestStack {
    /// Whether all that a queue holds waits for its delay to end.
    pub async fn only_delayed(&self, queue: &str) -> bool {
        use aws_sdk_sqs::types::QueueAttributeName as Name;
        let url = &self.stack.queue(queue).expect("a queue of the template").url;
        let asked = self.stack.sqs().get_queue_attributes().queue_url(url).attribute_names(Name::All);
        let counts = asked.send().await.expect("counts").attributes.unwrap_or_default();
        let count = |name: Name| counts.get(&name).map_or("0", String::as_str) != "0";
        count(Name::ApproximateNumberOfMessagesDelayed)
            && !count(Name::ApproximateNumberOfMessages)
            && !count(Name::ApproximateNumberOfMessagesNotVisible)
    }

    /// The keys of all items of both tables that have to do with one of `ids`.
    async fn traces(&self, ids: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for table in ["ConfigTable", "LogTable"] {
            let name = self.stack.table(table).expect("a table of the template");
            let mut pages = self.stack.dynamodb().scan().table_name(name).into_paginator().send();
            while let Some(page) = pages.next().await {
                for item in page.expect("a page").items() {
                    let text = format!("{item:?}");
                    if ids.iter().any(|id| text.contains(id)) {
                        found.push(format!(
                            "{} {}",
                            item["pk"].as_s().expect("text"),
                            item["sk"].as_s().expect("text")
                        ));
                    }
                }
            }
        }
        found
    }
}

/// INV-25
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_deleted_application_is_left() {
    let clock = Arc::new(Ahead::default());
    let mut ahead = settings().with("POSTRIDER_RETRY_SCHEDULE", "");
    ahead.platform.clock = clock.clone();
    let stack = TestStack::with(ahead).await;
    let receiver = Receiver::start().await;
    let (app, kept) = (stack.app().await, stack.app().await);
    let mut ids = vec![app.clone()];
    for nth in 0..3 {
        let settings = EndpointIn {
            uid: Some(format!("uid-{nth}")),
            headers: Some([("x-secret".to_owned(), "s".to_owned())].into()),
            throttle_rate: (nth == 0).then_some(1000),
            ..EndpointIn::new(receiver.url("/"))
        };
        ids.push(stack.endpoint_with(&app, settings).await.id);
    }
    let survivor = stack.endpoint(&kept, &receiver.url("/")).await.id;
    let noise: String =
        (0..80_000).map(|n| format!("{:08x}", n * 2_654_435_761_u64 % 4_294_967_291)).collect();
    for nth in 0..150 {
        let payload = if nth == 0 { json!({"noise": noise}) } else { json!({"nth": nth}) };
        let message = MessageIn {
            event_id: Some(format!("event-{nth}")),
            payload_retention_period: (nth == 1).then_some(5),
            ..MessageIn::new("a".into(), payload)
        };
        ids.push(stack.message(&app, message).await);
    }
    stack.message(&kept, MessageIn::new("a".into(), json!({"stays": true}))).await;
    stack.idle().await;
    let before = stack.traces(&ids).await;
    assert!(before.len() > 150 * (2 + 3), "{}", before.len());
    assert!(
        before.iter().any(|key| key.contains("#PAY#") || key.contains(" PAY#")),
        "large payloads have parts"
    );

    stack.svix.application().delete(app.clone()).await.expect("it goes");
    stack.run_timers().await;
    let list = "/api/v1/background-task?task=application.purge_content";
    // Another implementation's queue keeps time by itself: there the second look takes its two minutes.
    let erased = async {
        loop {
            let tasks = stack.request("GET", list, &stack.token, "").await.json();
            assert_eq!(tasks["data"][0]["data"]["appId"], json!(app));
            if tasks["data"][0]["status"] == "finished" {
                assert!(tasks["data"][0]["data"]["itemsErased"].as_u64() > Some(500), "{tasks}");
                return;
            }
            // The second look at the logs waits for what was under way. Time is skipped only while nothing
            // else is: it would end the visibility timeout of a step that is being worked on, and what
            // two copies of a step erase, one of them counts.
            if stack.only_delayed("BackgroundQueue").await {
                clock.skip(Duration::from_secs(130));
                stack.stack.wake();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), erased).await.expect("the erasure ends");
    // What was done to it is on record, and so is the task; its secrets, messages and log are gone.
    let left = stack.traces(&ids).await;
    let allowed = ["AUDIT#", "TASKS#", "THROTTLE#", "IDEM#"];
    let forgotten: Vec<_> =
        left.iter().filter(|key| !allowed.iter().any(|start| key.starts_with(start))).collect();
    assert_eq!(forgotten, Vec::<&String>::new());
    assert!(!stack.traces(&[survivor]).await.is_empty());
    assert_eq!(stack.svix.message().list(kept, None).await.expect("messages").data.len(), 1);
}
