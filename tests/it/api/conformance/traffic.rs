//! What is sent: messages, their attempts, replays, and what is erased.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use svix::api::{
    BackgroundTaskListOptions, MessageAttemptListByEndpointOptions, MessageAttemptListByMsgOptions,
    MessageCreateOptions, MessageGetOptions, MessageListOptions, MessagePollerConsumerPollOptions,
    MessagePollerPollOptions,
};
use svix::models::{
    BackgroundTaskStatus, BackgroundTaskType, BulkReplayIn, EndpointIn, EndpointOut, EventExampleIn,
    MessageAttemptTriggerType, MessageIn, MessageOut, MessageStatus, PollingEndpointConsumerSeekIn,
    PollingEndpointOut, RecoverIn, ReplayIn, StatusCodeClass,
};

use super::resources::{KEY, OLD_KEY};
use super::{Walk, invalid, refused, walk};
use crate::test_stack::soon;

fn message(nth: u32) -> MessageIn {
    MessageIn::new("invoice.paid".into(), json!({"nth": nth}))
}

/// Until the SDK says that the task is done.
pub(super) async fn finished(walk: &mut Walk, id: &str, task: BackgroundTaskType) {
    let done = async {
        loop {
            let found = walk!(walk, background_task.get(id.to_owned())).unwrap();
            assert_eq!((&*found.id, found.task), (id, task));
            if found.status == BackgroundTaskStatus::Finished {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the task", done).await;
    let options = BackgroundTaskListOptions { task: Some(task), ..Default::default() };
    let listed = walk!(walk, background_task.list(Some(options))).unwrap();
    assert!(listed.data.iter().any(|found| found.id == id));
}

pub(super) async fn traffic(walk: &mut Walk, app: &str, endpoint: &EndpointOut) {
    let made = messages(walk, app).await;
    attempts(walk, app, endpoint, &made).await;
    replays(walk, app, endpoint, &made).await;
}

/// An endpoint that is polled, which this SDK cannot make: its `EndpointIn` wants a URL.
pub(super) async fn polling(walk: &mut Walk) {
    let app = walk.stack.app().await;
    let sink = walk.stack.polling_endpoint(&app, serde_json::Value::Null).await;
    let poller = walk.stack.svix.message().poller();
    let poll = async |iterator: Option<String>, limit| {
        let options = MessagePollerPollOptions { iterator, limit, ..Default::default() };
        poller.poll(app.clone(), sink.clone(), Some(options)).await
    };
    let begin = poll(None, None).await.unwrap();
    assert!(begin.data.is_empty() && !begin.done);
    let mut posted = Vec::new();
    for nth in 0..3 {
        posted.push(walk.stack.message(&app, message(nth)).await);
    }
    let ids = |page: &PollingEndpointOut| page.data.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    let page = poll(Some(begin.iterator), Some(2)).await.unwrap();
    assert_eq!((ids(&page), page.done), (posted[..2].to_vec(), false));
    assert_eq!(page.data[1].payload, json!({"nth": 1}));
    let page = poll(Some(page.iterator), None).await.unwrap();
    assert_eq!((ids(&page), page.done), (posted[2..].to_vec(), true));
    invalid(poll(Some("invented".into()), None).await, ["query", "iterator"]);
    let consume = async |iterator: Option<String>, limit| {
        let options = MessagePollerConsumerPollOptions { iterator, limit };
        poller.consumer_poll(app.clone(), sink.clone(), "worker".into(), Some(options)).await.unwrap()
    };
    let first = consume(None, Some(1)).await;
    assert_eq!(ids(&first), posted[..1]);
    assert_eq!(ids(&consume(Some(first.iterator), None).await), posted[1..]);
    assert_eq!(ids(&consume(None, None).await), posted[1..]);
    let back: PollingEndpointConsumerSeekIn =
        serde_json::from_value(json!({"after": "2026-01-01T00:00:00Z"})).unwrap();
    poller.consumer_seek(app.clone(), sink.clone(), "worker".into(), back, None).await.unwrap();
    assert_eq!(ids(&consume(None, None).await), posted);
    for name in ["message_poller.poll", "message_poller.consumer_poll", "message_poller.consumer_seek"] {
        walk.walked.insert(name);
    }
}

async fn messages(walk: &mut Walk, app: &str) -> MessageOut {
    let app = || app.to_owned();
    let set = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    let given = MessageIn {
        event_id: Some("event-1".into()),
        channels: set(&["north", "south"]),
        tags: set(&["red"]),
        ..message(1)
    };
    let options = MessageCreateOptions { with_content: Some(true), ..Default::default() };
    let made = walk!(walk, message.create(app(), given.clone(), Some(options))).unwrap();
    assert_eq!((&*made.event_type, made.event_id.as_deref()), ("invoice.paid", Some("event-1")));
    assert_eq!((&made.channels, &made.tags, &made.payload), (&given.channels, &given.tags, &given.payload));
    let webhook = walk.receiver.next().await;
    assert_eq!((&*webhook.path, &*webhook.body), ("/books", &br#"{"nth":1}"#[..]));
    assert_eq!(webhook.header("webhook-id"), made.id);
    assert_eq!((webhook.header("x-more"), webhook.header("authorization")), ("1", "Bearer hidden"));
    for key in [OLD_KEY, KEY] {
        webhook.verify(key);
    }
    refused(walk!(walk, message.create(app(), given, None)), 409, "conflict");
    let bad = MessageIn { event_type: "in voice".into(), ..message(1) };
    invalid(walk!(walk, message.create(app(), bad, None)), ["body", "eventType"]);

    let options = || Some(MessageGetOptions { with_content: Some(true) });
    for name in [made.id.clone(), "event-1".into()] {
        assert_eq!(walk!(walk, message.get(app(), name, options())).unwrap(), made);
    }
    let without = walk!(walk, message.get(app(), made.id.clone(), None)).unwrap();
    assert_eq!(without.payload, json!({}), "this SDK leaves contents out unless it is asked for them");
    let mut keyed = Vec::new();
    for key in ["once", "once", "twice"] {
        let options = MessageCreateOptions { idempotency_key: Some(key.into()), ..Default::default() };
        keyed.push(walk!(walk, message.create(app(), message(2), Some(options))).unwrap().id);
    }
    assert_eq!((keyed[0] == keyed[1], keyed[0] == keyed[2]), (true, false));
    let listed = |options| (app(), Some(MessageListOptions { with_content: Some(true), ..options }));
    for options in [
        MessageListOptions { channel: Some("south".into()), ..Default::default() },
        MessageListOptions { tag: Some("red".into()), ..Default::default() },
    ] {
        let (app, options) = listed(options);
        assert_eq!(walk!(walk, message.list(app, options)).unwrap().data, std::slice::from_ref(&made));
    }
    let (app, options) = listed(MessageListOptions { limit: Some(251), ..Default::default() });
    invalid(walk!(walk, message.list(app, options)), ["query", "limit"]);
    made
}

async fn attempts(walk: &mut Walk, app: &str, endpoint: &EndpointOut, made: &MessageOut) {
    let (app, msg, ep) = (|| app.to_owned(), || made.id.clone(), || endpoint.id.clone());
    walk.stack.idle().await;
    let with_content =
        || Some(MessageAttemptListByMsgOptions { with_content: Some(true), ..Default::default() });
    let found = walk!(walk, message_attempt.list_by_msg(app(), msg(), with_content())).unwrap().data;
    let [attempt] = &found[..] else { panic!("{found:?}") };
    assert_eq!((attempt.status, attempt.response_status_code), (MessageStatus::Success, 200));
    assert_eq!(
        (&*attempt.response, &attempt.url, &attempt.endpoint_id),
        ("thanks", &endpoint.url, &endpoint.id)
    );
    let shown = walk!(walk, message_attempt.get(app(), msg(), attempt.id.clone(), None)).unwrap();
    assert_eq!((&shown.id, shown.timestamp), (&attempt.id, attempt.timestamp));

    walk!(walk, message_attempt.resend(app(), msg(), ep(), None)).unwrap();
    let webhook = walk.receiver.next().await;
    webhook.verify(KEY);
    assert_eq!(webhook.header("webhook-id"), made.id);
    walk.stack.idle().await;
    let found = walk!(walk, message_attempt.list_by_msg(app(), msg(), with_content())).unwrap().data;
    let triggers: BTreeSet<_> = found.iter().map(|attempt| attempt.trigger_type).collect();
    assert_eq!(
        triggers.into_iter().collect::<Vec<_>>(),
        [MessageAttemptTriggerType::Scheduled, MessageAttemptTriggerType::Manual]
    );

    let stats = walk!(walk, endpoint.get_stats(app(), ep(), None)).unwrap();
    assert_eq!((stats.success, stats.fail, stats.pending, stats.sending), (1, 0, 0, 0));

    let id = found[0].id.clone();
    walk!(walk, message_attempt.expunge_content(app(), msg(), id.clone())).unwrap();
    let left = walk!(walk, message_attempt.get(app(), msg(), id, None)).unwrap();
    assert!(!left.response.contains("thanks") && left.response_status_code == 200, "{left:?}");
}

async fn replays(walk: &mut Walk, app: &str, books: &EndpointOut, made: &MessageOut) {
    let app = || app.to_owned();
    let since = made.timestamp;
    let busy = EndpointIn::new(walk.receiver.url("/busy"));
    let busy = walk!(walk, endpoint.create(app(), busy, None)).unwrap().id;
    let broken = EndpointIn::new(walk.receiver.url("/broken"));
    let broken = walk!(walk, endpoint.create(app(), broken, None)).unwrap().id;
    let failing = walk!(walk, message.create(app(), message(3), None)).unwrap().id;
    // One to each, and the second try at /broken.
    for _ in 0..3 {
        assert_eq!(walk.receiver.next().await.header("webhook-id"), failing);
    }
    let failed = || MessageAttemptListByEndpointOptions {
        status: Some(MessageStatus::Fail),
        status_code_class: Some(StatusCodeClass::Code5xx),
        ..Default::default()
    };
    let both_failed = async {
        loop {
            let listed = walk!(walk, message_attempt.list_by_endpoint(app(), broken.clone(), Some(failed())));
            if listed.unwrap().data.len() == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("two attempts", both_failed).await;
    // The state of the delivery follows its last attempt.
    let given_up = async {
        loop {
            let listed = walk!(walk, message_attempt.list_attempted_messages(app(), broken.clone(), None));
            let listed = listed.unwrap().data;
            if listed[0].status != MessageStatus::Sending {
                return listed;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let attempted = soon("a delivery that is given up", given_up).await;
    assert_eq!((attempted.len(), &attempted[0].id, attempted[0].status), (1, &failing, MessageStatus::Fail));
    let to =
        walk!(walk, message_attempt.list_attempted_destinations(app(), failing.clone(), None)).unwrap().data;
    assert_eq!(to.len(), 2, "not the endpoint with a channel");
    for destination in to {
        let expected = if destination.id == busy { MessageStatus::Sending } else { MessageStatus::Fail };
        assert_eq!(
            (destination.status, destination.next_attempt.is_some()),
            (expected, destination.id == busy)
        );
    }

    walk.mended.store(true, Ordering::Relaxed);
    let task = walk!(walk, endpoint.recover(app(), broken.clone(), RecoverIn::new(since), None)).unwrap();
    assert_eq!(walk.receiver.next().await.header("webhook-id"), failing);
    finished(walk, &task.id, BackgroundTaskType::EndpointRecover).await;
    let too_long = serde_json::from_value(json!({"since": "2020-01-01T00:00:00Z"})).unwrap();
    invalid(walk!(walk, endpoint.recover(app(), broken.clone(), too_long, None)), ["body", "since"]);

    let late = EndpointIn::new(walk.receiver.url("/late"));
    let late = walk!(walk, endpoint.create(app(), late, None)).unwrap().id;
    let task = walk!(walk, endpoint.replay_missing(app(), late.clone(), ReplayIn::new(since), None)).unwrap();
    let mut missing: BTreeSet<_> =
        walk!(walk, message.list(app(), None)).unwrap().data.into_iter().map(|found| found.id).collect();
    while !missing.is_empty() {
        let webhook = walk.receiver.next().await;
        assert!(webhook.path == "/late" && missing.remove(webhook.header("webhook-id")), "{webhook:?}");
    }
    finished(walk, &task.id, BackgroundTaskType::EndpointReplay).await;
    let again = BulkReplayIn { tag: Some("red".into()), ..BulkReplayIn::new(since) };
    let task = walk!(walk, endpoint.bulk_replay(app(), late.clone(), again, None)).unwrap();
    assert_eq!(walk.receiver.next().await.header("webhook-id"), made.id);
    finished(walk, &task.id, BackgroundTaskType::EndpointBulkReplay).await;
    walk!(walk, endpoint.delete(app(), late)).unwrap();

    let example = EventExampleIn::new("invoice.paid".into());
    let example = walk!(walk, endpoint.send_example(app(), books.id.clone(), example, None)).unwrap();
    let webhook = walk.receiver.next().await;
    webhook.verify(KEY);
    assert_eq!((webhook.header("webhook-id"), &*webhook.body), (&*example.id, &br#"{"id":"inv_1"}"#[..]));
    let without = EventExampleIn::new("beta.thing".into());
    invalid(
        walk!(walk, endpoint.send_example(app(), books.id.clone(), without, None)),
        ["body", "eventType"],
    );

    walk!(walk, message.expunge_content(app(), made.id.clone())).unwrap();
    let options = Some(MessageGetOptions { with_content: Some(true) });
    let left = walk!(walk, message.get(app(), made.id.clone(), options)).unwrap();
    assert_eq!(left.payload, json!({"expired": true}));
}
