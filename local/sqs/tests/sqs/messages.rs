//! Sending, receiving, deleting.

use std::time::Duration;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry as Change, DeleteMessageBatchRequestEntry as Delete,
    MessageAttributeValue, MessageSystemAttributeName as System, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, QueueAttributeName as Name, SendMessageBatchRequestEntry as Entry,
};

use crate::support::{Server, attribute, bodies, code};

fn entry(id: &str, body: &str) -> Entry {
    Entry::builder().id(id).message_body(body).build().expect("an entry")
}

fn text(kind: &str, value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type(kind).string_value(value).build().expect("a value")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_through_unchanged() {
    let server = Server::start().await;
    let (client, url) = (&server.client, server.queue("q", &[]).await);
    let binary = MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new([0, 255]));
    let trace = MessageSystemAttributeValue::builder().data_type("String").string_value("Root=1-2");
    let body = "hello \u{1f600}\n\"quoted\"";
    let sent = client
        .send_message()
        .queue_url(&url)
        .message_body(body)
        .message_attributes("app.name", text("String.custom", "x"))
        .message_attributes("app.count", text("Number", "-1.5e3"))
        .message_attributes("raw", binary.build().expect("a value"))
        .message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            trace.build().expect("one"),
        )
        .message_group_id("tenant-1")
        .send()
        .await
        .expect("sent");
    assert!(sent.md5_of_message_attributes().is_some() && sent.md5_of_message_system_attributes().is_some());

    let messages = server.receive(&url).await;
    let [message] = messages.as_slice() else { panic!("one message") };
    assert_eq!((message.message_id(), message.body()), (sent.message_id(), Some(body)));
    assert_eq!(message.md5_of_body(), sent.md5_of_message_body());
    assert_eq!(message.md5_of_message_attributes(), sent.md5_of_message_attributes());
    assert_eq!(attribute(message, System::AwsTraceHeader), Some("Root=1-2"));
    assert_eq!(attribute(message, System::MessageGroupId), Some("tenant-1"));
    assert_eq!(attribute(message, System::ApproximateReceiveCount), Some("1"));
    for name in [System::SentTimestamp, System::ApproximateFirstReceiveTimestamp, System::SenderId] {
        assert!(attribute(message, name.clone()).is_some(), "{name:?}");
    }
    let attributes = message.message_attributes().expect("its attributes");
    assert_eq!(attributes.len(), 3);
    assert_eq!(attributes["raw"].binary_value(), Some(&Blob::new([0, 255])));
    assert_eq!(attributes["app.name"], text("String.custom", "x"));

    // Only what is asked for: here some attributes, and next time none.
    let again = || async {
        let url = server.queue("q2", &[(Name::VisibilityTimeout, "0")]).await;
        client.receive_message().queue_url(url)
    };
    let url = server.queue("q2", &[(Name::VisibilityTimeout, "0")]).await;
    let request = client.send_message().queue_url(&url).message_body("x");
    let request = request.message_attributes("app.a", text("String", "1"));
    request.message_attributes("b", text("String", "2")).send().await.expect("sent");
    let some =
        again().await.message_attribute_names("app.*").message_system_attribute_names(System::SenderId);
    let some = some.send().await.expect("received").messages.expect("one");
    assert_eq!(some[0].message_attributes().map(|all| all.len()), Some(1));
    assert_eq!(some[0].attributes().map(|all| all.len()), Some(1));
    let none = again().await.send().await.expect("received").messages.expect("one");
    assert!(none[0].message_attributes().is_none() && none[0].attributes().is_none());
    assert!(none[0].md5_of_message_attributes().is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_sends_are_refused() {
    let server = Server::start().await;
    let (client, url) = (&server.client, server.queue("q", &[]).await);
    let send = || client.send_message().queue_url(&url);
    assert_eq!(code(send().send().await), "MissingParameter");
    assert_eq!(code(send().message_body("").send().await), "MissingParameter");
    let error = send().message_body("a\u{1}").send().await.expect_err("refused").into_service_error();
    assert!(error.is_invalid_message_contents());
    assert_eq!(code(send().message_body("x").delay_seconds(901).send().await), "InvalidParameterValue");
    assert_eq!(code(send().message_body("x").delay_seconds(-1).send().await), "InvalidParameterValue");
    assert_eq!(
        code(send().message_body("x").message_deduplication_id("a").send().await),
        "InvalidParameterValue"
    );
    let long = "x".repeat(1_048_577);
    assert_eq!(code(send().message_body(&long).send().await), "InvalidParameterValue");
    send().message_body(&long[1..]).send().await.expect("one mebibyte is fine");
    let over = send().message_body(&long[8..]).message_attributes("a", text("String", "bc"));
    assert_eq!(code(over.send().await), "InvalidParameterValue");
    let small = server.queue("small", &[(Name::MaximumMessageSize, "1024")]).await;
    let result = client.send_message().queue_url(&small).message_body(&long[..1_025]).send().await;
    assert_eq!(code(result), "InvalidParameterValue");
    assert_eq!(code(client.send_message().message_body("x").send().await), "MissingParameter");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_fail_in_part_or_as_a_whole() {
    let server = Server::start().await;
    let (client, url) = (&server.client, server.queue("q", &[]).await);
    let batch = || client.send_message_batch().queue_url(&url);
    let error = |entries: Vec<Entry>| async {
        batch().set_entries(Some(entries)).send().await.expect_err("refused").into_service_error()
    };
    assert!(error(vec![]).await.is_empty_batch_request());
    let eleven = (0..11).map(|n| entry(&n.to_string(), "x")).collect();
    assert!(error(eleven).await.is_too_many_entries_in_batch_request());
    assert!(error(vec![entry("a", "x"), entry("a", "y")]).await.is_batch_entry_ids_not_distinct());
    assert!(error(vec![entry("a b", "x")]).await.is_invalid_batch_entry_id());
    let half = "x".repeat(524_289);
    assert!(error(vec![entry("a", &half), entry("b", &half)]).await.is_batch_request_too_long());
    assert_eq!(server.attribute(&url, Name::ApproximateNumberOfMessages).await.as_deref(), Some("0"));

    let late = Entry::builder().id("late").message_body("x").delay_seconds(1_000).build().expect("an entry");
    let result = batch().entries(entry("good", "x")).entries(entry("bad", "\u{0}")).entries(late);
    let result = result.send().await.expect("in part");
    assert_eq!(result.successful().len(), 1);
    assert_eq!(result.successful()[0].id(), "good");
    let failed: Vec<_> = result.failed().iter().map(|f| (f.id(), f.code(), f.sender_fault())).collect();
    assert_eq!(failed, [("bad", "InvalidMessageContents", true), ("late", "InvalidParameterValue", true)]);
    assert!(result.failed().iter().all(|failure| failure.message().is_some()));

    let received = server.receive(&url).await;
    let handle = received[0].receipt_handle().expect("its handle");
    let change = |id: &str, handle: &str, seconds| {
        Change::builder().id(id).receipt_handle(handle).visibility_timeout(seconds).build().expect("an entry")
    };
    let entries = vec![change("a", handle, 60), change("b", "nonsense", 60), change("c", handle, 43_201)];
    let request = client.change_message_visibility_batch().queue_url(&url).set_entries(Some(entries));
    let changed = request.send().await.expect("in part");
    assert_eq!(changed.successful()[0].id(), "a");
    let failed: Vec<_> = changed.failed().iter().map(|f| (f.id(), f.code())).collect();
    assert_eq!(failed, [("b", "ReceiptHandleIsInvalid"), ("c", "InvalidParameterValue")]);
    let delete =
        |id: &str, handle: &str| Delete::builder().id(id).receipt_handle(handle).build().expect("one");
    let entries = vec![delete("a", handle), delete("b", "nonsense")];
    let request = client.delete_message_batch().queue_url(&url).set_entries(Some(entries));
    let deleted = request.send().await.expect("in part");
    assert_eq!((deleted.successful()[0].id(), deleted.failed()[0].code()), ("a", "ReceiptHandleIsInvalid"));
    let empty = client.delete_message_batch().queue_url(&url).set_entries(Some(vec![])).send().await;
    assert!(empty.expect_err("empty").into_service_error().is_empty_batch_request());
    let empty = client.change_message_visibility_batch().queue_url(&url).set_entries(Some(vec![]));
    assert!(empty.send().await.expect_err("empty").into_service_error().is_empty_batch_request());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_receives_are_refused() {
    let server = Server::start().await;
    let (client, url) = (&server.client, server.queue("q", &[]).await);
    let receive = || client.receive_message().queue_url(&url);
    for bad in [
        receive().max_number_of_messages(0),
        receive().max_number_of_messages(11),
        receive().wait_time_seconds(21),
        receive().wait_time_seconds(-1),
        receive().visibility_timeout(43_201),
    ] {
        assert_eq!(code(bad.send().await), "InvalidParameterValue");
    }
    let unknown = receive().message_system_attribute_names(System::from("Nonsense"));
    assert_eq!(code(unknown.send().await), "InvalidAttributeName");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_work_for_their_receive() {
    let server = Server::start().await;
    let (client, url) = (&server.client, server.queue("q", &[]).await);
    let delete = |handle: &str| client.delete_message().queue_url(&url).receipt_handle(handle).send();
    let change = |handle: &str, seconds| {
        let request = client.change_message_visibility().queue_url(&url).receipt_handle(handle);
        request.visibility_timeout(seconds).send()
    };
    let error = delete("nonsense").await.expect_err("malformed").into_service_error();
    assert!(error.is_receipt_handle_is_invalid());
    let error = change("nonsense", 1).await.expect_err("malformed").into_service_error();
    assert!(error.is_receipt_handle_is_invalid());

    server.send(&url, "x").await;
    let old = server.receive(&url).await.remove(0).receipt_handle.expect("its handle");
    assert!(server.receive(&url).await.is_empty());
    assert_eq!(
        server.attribute(&url, Name::ApproximateNumberOfMessagesNotVisible).await.as_deref(),
        Some("1")
    );
    assert_eq!(code(change(&old, 43_201).await), "InvalidParameterValue");
    change(&old, 0).await.expect("visible again");
    let error = change(&old, 10).await.expect_err("not in flight").into_service_error();
    assert!(error.is_message_not_inflight());
    let again = server.receive(&url).await.remove(0);
    assert_eq!(attribute(&again, System::ApproximateReceiveCount), Some("2"));
    let new = again.receipt_handle().expect("its handle");
    assert_ne!(new, old);
    delete(&old).await.expect("accepted, and nothing happens");
    assert_eq!(code(change(&old, 10).await), "InvalidParameterValue");
    change(new, 0).await.expect("still there");
    let last = server.receive(&url).await.remove(0).receipt_handle.expect("its handle");
    delete(&last).await.expect("deleted");
    delete(&last).await.expect("again");
    assert_eq!(code(change(&last, 10).await), "InvalidParameterValue");
    assert_eq!(server.engine.counts("q"), Some(local_sqs::Counts::default()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_is_woken_by_sends_and_by_time() {
    let server = Server::start().await;
    let (client, url) = (&server.client, server.queue("q", &[]).await);
    let poll = || client.receive_message().queue_url(&url).wait_time_seconds(20).visibility_timeout(1).send();
    let soon = |poll| tokio::time::timeout(Duration::from_secs(10), poll);
    let waiting = tokio::spawn(poll());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    server.send(&url, "now").await;
    let first = soon(waiting).await.expect("soon").expect("no panic").expect("received").messages;
    assert_eq!(bodies(&first.expect("one")), ["now"]);
    // Its visibility timeout ends after a second.
    let second = soon(tokio::spawn(poll())).await.expect("soon").expect("no panic").expect("received");
    let second = second.messages.expect("one").remove(0);
    let handle = second.receipt_handle().expect("its handle");
    client.delete_message().queue_url(&url).receipt_handle(handle).send().await.expect("deleted");
    let waiting = tokio::spawn(poll());
    client.send_message().queue_url(&url).message_body("late").delay_seconds(1).send().await.expect("sent");
    let third = soon(waiting).await.expect("soon").expect("no panic").expect("received").messages;
    assert_eq!(bodies(&third.expect("one")), ["late"]);

    // An empty answer comes after the time asked for, and a stop ends what still waits.
    client.purge_queue().queue_url(&url).send().await.expect("purged");
    let short = client.receive_message().queue_url(&url).wait_time_seconds(1).send().await.expect("answered");
    assert!(short.messages().is_empty());
    let waiting = tokio::spawn(poll());
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::timeout(Duration::from_secs(4), server.stop()).await.expect("it does not wait for polls");
    assert!(waiting.await.expect("no panic").expect("answered").messages().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noisy_group_does_not_delay_a_quiet_one() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    for n in 0..30 {
        server.send_to_group(&url, "noisy", &n.to_string()).await;
    }
    server.send_to_group(&url, "quiet", "hello").await;
    server.send(&url, "no group").await;
    let first = server.receive(&url).await;
    assert_eq!(&bodies(&first)[..4], ["0", "hello", "no group", "1"]);
    server.stop().await;
}
