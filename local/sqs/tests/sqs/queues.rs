//! The operations on queues.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::{MessageSystemAttributeName as System, QueueAttributeName as Name};

use crate::support::{ARN, Server, attribute, code, policy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_are_created_found_listed_and_deleted() {
    let server = Server::start().await;
    let client = &server.client;
    let url = server.queue("first", &[(Name::VisibilityTimeout, "45")]).await;
    assert_eq!(url, format!("http://{}/000000000000/first", server.address));
    assert_eq!(server.queue("first", &[(Name::VisibilityTimeout, "45")]).await, url);
    assert_eq!(server.queue("first", &[]).await, url);
    let different = client.create_queue().queue_name("first").attributes(Name::VisibilityTimeout, "46");
    let error = different.send().await.expect_err("another value").into_service_error();
    assert!(error.is_queue_name_exists(), "{error:?}");

    let found = client.get_queue_url().queue_name("first").send().await.expect("found");
    assert_eq!(found.queue_url(), Some(url.as_str()));
    for name in ["second", "third", "other"] {
        server.queue(name, &[]).await;
    }
    let all = client.list_queues().send().await.expect("listed");
    assert_eq!((all.queue_urls().len(), all.next_token()), (4, None));
    let some = client.list_queues().queue_name_prefix("t").send().await.expect("listed");
    assert_eq!(some.queue_urls().len(), 1);
    let mut pages = client.list_queues().max_results(3).into_paginator().send();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        sizes.push(page.expect("a page").queue_urls().len());
    }
    assert_eq!(sizes, [3, 1]);
    assert_eq!(code(client.list_queues().max_results(0).send().await), "InvalidParameterValue");

    client.delete_queue().queue_url(&url).send().await.expect("deleted");
    let error = client.get_queue_url().queue_name("first").send().await.expect_err("gone");
    assert!(error.into_service_error().is_queue_does_not_exist());
    let error = client.delete_queue().queue_url(&url).send().await.expect_err("gone");
    assert!(error.into_service_error().is_queue_does_not_exist());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_attributes_are_checked() {
    let server = Server::start().await;
    let client = &server.client;
    for name in ["", "a b", "a.b", &"x".repeat(81)] {
        let result = client.create_queue().queue_name(name).send().await;
        assert_eq!(code(result), "InvalidParameterValue", "{name:?}");
    }
    let fifo = client.create_queue().queue_name("x.fifo").attributes(Name::FifoQueue, "true").send().await;
    assert!(fifo.expect_err("no").into_service_error().is_unsupported_operation());
    let create =
        |name: Name, value: &str| client.create_queue().queue_name("x").attributes(name, value).send();
    assert_eq!(code(create(Name::DelaySeconds, "901").await), "InvalidAttributeValue");
    assert_eq!(code(create(Name::MaximumMessageSize, "1048577").await), "InvalidAttributeValue");
    assert_eq!(code(create(Name::from("Nonsense"), "1").await), "InvalidAttributeName");
    assert_eq!(code(create(Name::RedrivePolicy, &policy("none", 1)).await), "InvalidParameterValue");

    let url = server.queue("x", &[]).await;
    let set = |name: Name, value: &str| {
        client.set_queue_attributes().queue_url(&url).attributes(name, value).send()
    };
    assert_eq!(code(set(Name::VisibilityTimeout, "-1").await), "InvalidAttributeValue");
    assert_eq!(code(set(Name::QueueArn, "x").await), "InvalidAttributeName");
    let get = client.get_queue_attributes().queue_url(&url).attribute_names(Name::from("Nonsense"));
    assert!(get.send().await.expect_err("no").into_service_error().is_invalid_attribute_name());

    set(Name::DelaySeconds, "7").await.expect("set");
    set(Name::Policy, "{}").await.expect("set");
    server.queue("dead", &[]).await;
    set(Name::RedrivePolicy, &policy("dead", 5)).await.expect("set");
    let all = client.get_queue_attributes().queue_url(&url).attribute_names(Name::All).send().await;
    let all = all.expect("read").attributes.expect("some");
    let expected = [
        (Name::QueueArn, format!("{ARN}x")),
        (Name::VisibilityTimeout, "30".to_owned()),
        (Name::DelaySeconds, "7".to_owned()),
        (Name::MessageRetentionPeriod, "345600".to_owned()),
        (Name::MaximumMessageSize, "1048576".to_owned()),
        (Name::ReceiveMessageWaitTimeSeconds, "0".to_owned()),
        (Name::ApproximateNumberOfMessages, "0".to_owned()),
        (Name::ApproximateNumberOfMessagesNotVisible, "0".to_owned()),
        (Name::ApproximateNumberOfMessagesDelayed, "0".to_owned()),
        (Name::SqsManagedSseEnabled, "true".to_owned()),
        (Name::Policy, "{}".to_owned()),
        (Name::RedrivePolicy, policy("dead", 5)),
    ];
    for (name, value) in expected {
        assert_eq!(all.get(&name), Some(&value), "{name:?}");
    }
    assert!(all.contains_key(&Name::CreatedTimestamp) && all.contains_key(&Name::LastModifiedTimestamp));
    let none = client.get_queue_attributes().queue_url(&url).send().await.expect("read");
    assert!(none.attributes.unwrap_or_default().is_empty());
    set(Name::RedrivePolicy, "").await.expect("removed");
    assert_eq!(server.attribute(&url, Name::RedrivePolicy).await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_kept_and_limited() {
    let server = Server::start().await;
    let client = &server.client;
    let created = client.create_queue().queue_name("q").tags("team", "a").send().await.expect("created");
    let url = created.queue_url.expect("its URL");
    client.tag_queue().queue_url(&url).tags("team", "b").tags("stage", "dev").send().await.expect("tagged");
    let tags = client.list_queue_tags().queue_url(&url).send().await.expect("listed").tags;
    let expected = [("team", "b"), ("stage", "dev")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(tags, Some(HashMap::from(expected)));
    client.untag_queue().queue_url(&url).tag_keys("team").send().await.expect("untagged");
    let many = (0..50).map(|n| (n.to_string(), String::new())).collect();
    let result = client.tag_queue().queue_url(&url).set_tags(Some(many)).send().await;
    assert_eq!(code(result), "InvalidParameterValue");
    let tags = client.list_queue_tags().queue_url(&url).send().await.expect("listed").tags;
    assert_eq!(tags.map(|tags| tags.len()), Some(1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_leaves_nothing() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    for n in 0..3 {
        server.send(&url, &n.to_string()).await;
    }
    server.client.purge_queue().queue_url(&url).send().await.expect("purged");
    assert!(server.receive(&url).await.is_empty());
    assert_eq!(server.attribute(&url, Name::ApproximateNumberOfMessages).await.as_deref(), Some("0"));
    server.send(&url, "after").await;
    assert_eq!(server.receive(&url).await.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_knows_when_there_is_no_queue() {
    let server = Server::start().await;
    let (client, url) = (&server.client, "http://localhost/000000000000/none");
    macro_rules! missing {
        ($($request:expr),* $(,)?) => {$(
            let error = $request.send().await.expect_err("no queue").into_service_error();
            assert!(error.is_queue_does_not_exist(), "{error:?}");
        )*};
    }
    missing!(
        client.send_message().queue_url(url).message_body("x"),
        client.receive_message().queue_url(url),
        client.delete_message().queue_url(url).receipt_handle("x"),
        client.change_message_visibility().queue_url(url).receipt_handle("x").visibility_timeout(1),
        client.get_queue_attributes().queue_url(url),
        client.set_queue_attributes().queue_url(url).attributes(Name::DelaySeconds, "1"),
        client.purge_queue().queue_url(url),
        client.list_dead_letter_source_queues().queue_url(url),
        client.list_queue_tags().queue_url(url),
        client.tag_queue().queue_url(url).tags("a", "b"),
        client.untag_queue().queue_url(url).tag_keys("a"),
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_moved_listed_and_moved_back() {
    let server = Server::start().await;
    let client = &server.client;
    let dead = server.queue("dead", &[]).await;
    let url =
        server.queue("q", &[(Name::RedrivePolicy, &policy("dead", 1)), (Name::VisibilityTimeout, "0")]).await;
    server.queue("q2", &[(Name::RedrivePolicy, &policy("dead", 1))]).await;
    let sources = client.list_dead_letter_source_queues().queue_url(&dead).send().await.expect("listed");
    assert_eq!(sources.queue_urls().len(), 2);
    assert_eq!(sources.queue_urls()[0], url);
    let page = client.list_dead_letter_source_queues().queue_url(&dead).max_results(1).send().await;
    assert!(page.expect("listed").next_token().is_some());

    let id = server.send(&url, "poison").await;
    assert_eq!(server.receive(&url).await.len(), 1);
    assert!(server.receive(&url).await.is_empty());
    let buried = server.receive(&dead).await;
    assert_eq!((buried.len(), buried[0].message_id()), (1, Some(id.as_str())));
    let origin = attribute(&buried[0], System::DeadLetterQueueSourceArn);
    assert_eq!(origin, Some(format!("{ARN}q").as_str()));
    let handle = buried[0].receipt_handle().expect("its handle");
    let change = client.change_message_visibility().queue_url(&dead).receipt_handle(handle);
    change.visibility_timeout(0).send().await.expect("visible again");

    let start = || client.start_message_move_task().source_arn(format!("{ARN}dead"));
    assert_eq!(
        code(client.start_message_move_task().source_arn(format!("{ARN}q")).send().await),
        "InvalidParameterValue"
    );
    let unknown = client.start_message_move_task().source_arn(format!("{ARN}none")).send().await;
    assert!(unknown.expect_err("no").into_service_error().is_resource_not_found_exception());
    assert_eq!(code(start().destination_arn(format!("{ARN}none")).send().await), "ResourceNotFoundException");
    assert_eq!(code(start().max_number_of_messages_per_second(501).send().await), "InvalidParameterValue");

    start().send().await.expect("started").task_handle.expect("its handle");
    let list = || client.list_message_move_tasks().source_arn(format!("{ARN}dead")).max_results(10);
    let task = loop {
        let tasks = list().send().await.expect("listed").results.expect("some");
        if tasks[0].status() != Some("RUNNING") {
            break tasks[0].clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((task.status(), task.approximate_number_of_messages_moved()), (Some("COMPLETED"), 1));
    assert_eq!(task.approximate_number_of_messages_to_move(), Some(1));
    let back = server.receive(&url).await;
    assert_eq!(back.len(), 1);
    assert_eq!(attribute(&back[0], System::ApproximateReceiveCount), Some("1"));
    assert_ne!(back[0].message_id(), Some(id.as_str()), "it counts as a new message");

    for n in 0..5 {
        server.send(&dead, &n.to_string()).await;
    }
    let slow = start().destination_arn(format!("{ARN}q2")).max_number_of_messages_per_second(1);
    let handle = slow.send().await.expect("started").task_handle.expect("its handle");
    assert!(start().send().await.expect_err("one at a time").into_service_error().is_unsupported_operation());
    let cancelled = client.cancel_message_move_task().task_handle(&handle).send().await.expect("cancelled");
    assert!(cancelled.approximate_number_of_messages_moved() < 5);
    let again = client.cancel_message_move_task().task_handle(&handle).send().await;
    assert!(again.expect_err("over").into_service_error().is_unsupported_operation());
    let unknown = client.cancel_message_move_task().task_handle("none").send().await;
    assert!(unknown.expect_err("no").into_service_error().is_resource_not_found_exception());
    server.stop().await;
}
