//! Messages that producers put into a queue: with AWS's own SDK, as they would.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_sqs::types::{
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use serde_json::{Value, json};
use shared::auth::DEFAULT_ORG;
use shared::clock::{Clock as _, Timestamp};
use shared::config::Env;
use shared::ids::MessageId;
use svix::models::EndpointIn;

use crate::delivery::traces::Lines;
use crate::faults::outage::Outage;
use crate::test_stack::{Ahead, ENDPOINT_VARIABLE, Receiver, Still, TestStack, settings, soon};

const QUEUE: &str = "IngestQueue";
const DEAD: &str = "IngestDeadQueue";

/// A body that is as it should be.
fn body(app: &str, nth: usize) -> Value {
    json!({"orgId": DEFAULT_ORG, "appId": app, "message": {"eventType": "a.b", "payload": {"nth": nth}}})
}

fn with(mut body: Value, path: &str, value: Value) -> Value {
    *body.pointer_mut(path).unwrap_or_else(|| panic!("there is no {path}")) = value;
    body
}

impl TestStack {
    /// Puts bodies into the queue, ten a request.
    pub async fn put(&self, bodies: &[Value]) {
        let url = &self.stack.queue(QUEUE).expect("a queue of the template").url;
        for bodies in bodies.chunks(10) {
            let entries = bodies.iter().enumerate().map(|(nth, body)| {
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(nth.to_string())
                    .message_body(body.to_string());
                entry.build().expect("id and body are set")
            });
            let send = self.stack.sqs().send_message_batch().queue_url(url);
            let sent = send.set_entries(Some(entries.collect())).send().await.expect("they are sent");
            assert_eq!(sent.failed().len(), 0);
        }
    }

    /// How many messages of that queue could be received now.
    async fn count(&self, queue: &str) -> usize {
        let url = &self.stack.queue(queue).expect("a queue of the template").url;
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let asked = self.stack.sqs().get_queue_attributes().queue_url(url).attribute_names(name.clone());
        let out = asked.send().await.expect("attributes").attributes.expect("attributes");
        out[&name].parse().expect("a number")
    }

    /// What Lambda and the function do with the next batch.
    async fn ingest_next(&self) -> usize {
        let event = self.receive(QUEUE).await;
        let handles: Vec<_> =
            event.records.iter().filter_map(|record| record.receipt_handle.clone()).collect();
        assert_eq!(self.ingest(event).await.batch_item_failures.len(), 0);
        for handle in &handles {
            self.delete(QUEUE, handle).await;
        }
        handles.len()
    }

    async fn messages(&self, app: &str) -> usize {
        self.svix.message().list(app.into(), None).await.expect("messages").data.len()
    }
}

/// INV-18
#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_arrives_byte_for_byte_and_is_in_the_log() {
    const PAYLOAD: &str = "{ \"b\" : 1.0,\n\t\"a\":\"\\u00e9 \u{20ac}\" }";
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint_with(&app, EndpointIn::new(receiver.url("/"))).await;
    stack
        .send(
            QUEUE,
            &format!(
                r#"{{"orgId": "{DEFAULT_ORG}", "appId": "{app}", "message": {{"eventType": "a.b", "eventId": "e-1",
                   "tags": ["t"], "payload": {PAYLOAD}}}}}"#
            ),
        )
        .await;
    let webhook = receiver.next().await;
    assert_eq!(webhook.body, PAYLOAD);
    webhook.verify(&endpoint.secret);
    stack.idle().await;
    let path = format!("/api/v1/app/{app}/msg/e-1");
    let message = stack.request("GET", &path, &stack.token, "").await.json();
    assert_eq!(message["id"], webhook.header("webhook-id"));
    assert_eq!((&message["eventType"], &message["tags"]), (&json!("a.b"), &json!(["t"])));
    assert_eq!(receiver.rest().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_for_several_applications_shares_what_it_can_and_keeps_its_traces() {
    const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let clock = Arc::new(Still::default());
    let mut settings = settings();
    (settings.platform.clock, settings.poll) = (clock.clone(), false);
    let stack = TestStack::with(settings).await;
    let mut apps = Vec::new();
    for _ in 0..3 {
        let app = stack.app().await;
        stack.endpoint(&app, "http://127.0.0.1:9/").await;
        apps.push(app);
    }
    // What is read within a second of a change is not kept.
    clock.skip(Duration::from_secs(2));
    let url = &stack.stack.queue(QUEUE).expect("a queue of the template").url;
    let trace = MessageSystemAttributeValue::builder().data_type("String").string_value(TRACE).build();
    let traced = SendMessageBatchRequestEntry::builder()
        .id("traced")
        .message_body(body(&apps[0], 0).to_string())
        .message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            trace.expect("the type is set"),
        );
    let others = (1..10).map(|nth| {
        let body = body(&apps[nth % 3], nth).to_string();
        SendMessageBatchRequestEntry::builder().id(nth.to_string()).message_body(body)
    });
    let entries = std::iter::once(traced).chain(others).map(|entry| entry.build().expect("it is complete"));
    let send = stack.stack.sqs().send_message_batch().queue_url(url);
    send.set_entries(Some(entries.collect())).send().await.expect("they are sent");

    let sends = stack.sends();
    let before = stack.stack.ledger();
    assert_eq!(stack.ingest_next().await, 10);
    // The jobs of all three go in one request, and each application is read once.
    assert_eq!(stack.sends() - sends, 1);
    let spent = stack.stack.ledger().since(&before);
    assert_eq!(spent.total(|call| call.service == "DynamoDB" && call.on == "config").requests, 3);
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // the other implementation drops traces of a batch
    }
    let jobs = stack.receive("DeliveriesQueue").await;
    let (traced, others): (Vec<_>, Vec<_>) =
        jobs.records.iter().partition(|job| job.attributes.contains_key("AWSTraceHeader"));
    assert_eq!((traced.len(), others.len()), (1, 9));
    assert_eq!(traced[0].attributes["AWSTraceHeader"], TRACE);
    let job: Value = serde_json::from_str(traced[0].body.as_deref().expect("a body")).expect("JSON");
    assert_eq!((&job["with"]["trace"], &job["with"]["payload"]["nth"]), (&json!(TRACE), &json!(0)));
}

/// INV-7
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_twice_is_one_webhook() {
    let mut settings = settings();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    stack.put(&[body(&app, 1)]).await;
    for round in 1..=3 {
        // Accepted, and never deleted: the queue hands it out again.
        let event = stack.receive(QUEUE).await;
        assert_eq!(event.records[0].attributes["ApproximateReceiveCount"], round.to_string());
        let handle = event.records[0].receipt_handle.clone().expect("a handle");
        assert_eq!(stack.ingest(event).await.batch_item_failures.len(), 0);
        if round == 1 {
            let event = stack.receive("DeliveriesQueue").await;
            let job = event.records[0].receipt_handle.clone().expect("a handle");
            assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
            stack.delete("DeliveriesQueue", &job).await;
        }
        stack.make_visible(QUEUE, &handle).await;
    }
    receiver.next().await;
    assert_eq!(stack.messages(&app).await, 1);
    // A delivery that has a state is not queued again.
    assert_eq!((stack.count("DeliveriesQueue").await, stack.count(DEAD).await), (0, 0));
    assert_eq!(receiver.rest().len(), 0);
}

/// INV-7
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_waited_is_one_message_with_the_time_of_its_acceptance() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // other implementations' clocks cannot be moved
    }
    let clock = Arc::new(Still::default());
    let mut settings = settings();
    (settings.platform.clock, settings.poll) = (clock.clone(), false);
    let stack = TestStack::with(settings).await;
    let app = stack.app().await;
    stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let sent = clock.now();
    // One is accepted at once and comes again much later, the other one waits from the beginning.
    for (nth, first) in [(1, Duration::from_secs(1)), (2, Duration::from_secs(45))] {
        stack.put(&[body(&app, nth)]).await;
        clock.skip(first);
        for wait in [Duration::ZERO, Duration::from_secs(3_600)] {
            clock.skip(wait);
            let event = stack.receive(QUEUE).await;
            let handle = event.records[0].receipt_handle.clone().expect("a handle");
            assert_eq!(stack.ingest(event).await.batch_item_failures.len(), 0);
            stack.make_visible(QUEUE, &handle).await;
        }
        let event = stack.receive(QUEUE).await;
        stack.delete(QUEUE, event.records[0].receipt_handle.as_deref().expect("a handle")).await;
    }
    let path = format!("/api/v1/app/{app}/msg");
    let listed = stack.request("GET", &path, &stack.token, "").await.json();
    let mut times: Vec<Timestamp> = listed["data"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| {
            message["id"].as_str().and_then(|id| id.parse::<MessageId>().ok()).expect("an id").time()
        })
        .collect();
    times.sort_unstable();
    // The first has the time at which it was put into the queue, the second that at which it was taken out.
    let after = [Duration::ZERO, Duration::from_secs(1 + 3_600 + 45)];
    assert_eq!(times.len(), 2);
    for (time, after) in times.iter().zip(after) {
        assert!(time.since(sent.after(after)) < Duration::from_millis(1_100), "{times:?}");
    }
    assert_eq!(stack.count(DEAD).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_stand_for_one_message_of_an_application_and_for_no_requests() {
    let stack = TestStack::start().await;
    stack.leaves_dead_letters();
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let keyed = |app: &str, nth: usize| {
        let mut body = body(app, nth);
        body["idempotencyKey"] = json!("k");
        body
    };
    stack.put(&[keyed(&app, 1)]).await;
    receiver.next().await;
    stack.idle().await;
    // Sent again, by another record; under the same key by a request, and for another application.
    let other = stack.app().await;
    stack.put(&[keyed(&app, 1), keyed(&other, 2)]).await;
    let posted = json!({"eventType": "a.b", "payload": {"nth": 3}}).to_string();
    let path = format!("/api/v1/app/{app}/msg");
    let headers = [("idempotency-key", "k")];
    let answer = stack.request_with("POST", &path, &stack.token, &headers, posted).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    stack.idle().await;
    assert_eq!((stack.messages(&app).await, stack.messages(&other).await), (2, 1));
    assert_eq!((receiver.rest().len(), stack.count(DEAD).await), (1, 0));
    // Another message under that key would be lost without a word.
    let another = keyed(&app, 4);
    stack.put(std::slice::from_ref(&another)).await;
    stack.idle().await;
    let dead = stack.receive(DEAD).await;
    assert_eq!(dead.records[0].body.as_deref(), Some(&*another.to_string()));
    assert_eq!((stack.messages(&app).await, receiver.rest().len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_made_where_a_message_says_how() {
    let stack = TestStack::start().await;
    let new = json!({"name": "Acme", "uid": "acme"});
    let mut makes = body("acme", 1);
    makes["message"]["application"] = new;
    stack.put(&[makes]).await;
    soon("the application", async {
        while stack.svix.application().get("acme".into()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stack.idle().await;
    stack.put(&[body("acme", 2)]).await;
    stack.idle().await;
    assert_eq!((stack.messages("acme").await, stack.count(DEAD).await), (2, 0));
    let events = stack.request("GET", "/api/v1/audit-event", &stack.token, "").await.json();
    assert_eq!(events["data"].as_array().map(Vec::len), Some(1), "{events}");
}

// On one thread: what is logged on it is what this test reads.
/// INV-7
#[tokio::test]
async fn what_makes_no_sense_is_a_dead_letter_with_a_reason_beside_what_arrives() {
    let (lines, _reading) = Lines::of_this_thread();
    let mut settings = settings();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    stack.leaves_dead_letters();
    let app = stack.app().await;
    stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let of_another_org = {
        let org =
            shared::ids::OrgId::new(stack.stack.platform().clock.now(), &*stack.stack.platform().random);
        with(body(&app, 0), "/orgId", json!(org.to_string()))
    };
    let mut event_id = body(&app, 1);
    event_id["message"]["eventId"] = json!("taken");
    stack.put(&[event_id]).await;
    assert_eq!(stack.ingest_next().await, 1);
    let mut taken = body(&app, 2);
    taken["message"]["eventId"] = json!("taken");
    let mut unknown = body(&app, 0);
    unknown["idempotencykey"] = json!("k");
    let mut without_app = body(&app, 0);
    without_app.as_object_mut().expect("an object").remove("appId");
    let makes_another = {
        let mut body = body("acme", 0);
        body["message"]["application"] = json!({"name": "x", "uid": "other"});
        body
    };
    let bad = [
        (Value::from("no object"), "body: A JSON object is expected"),
        (without_app, "body.appId: Field required"),
        (body("nowhere", 0), "Application not found"),
        (of_another_org, "Application not found"),
        (with(body(&app, 0), "/message/eventType", json!("a b")), "body.message.eventType: "),
        (
            with(body(&app, 0), "/message/payload", json!("a secret")),
            "body.message.payload: Must be a JSON object",
        ),
        (unknown, "body.idempotencykey: There is no such field"),
        (makes_another, "body.message.application: "),
        (taken, "A message with this eventId exists already."),
    ];
    // In one batch with one that is good, the last ones in another.
    let mut bodies = vec![body(&app, 7)];
    bodies.extend(bad.iter().map(|(body, _)| body.clone()));
    stack.put(&bodies).await;
    stack.send(QUEUE, "{ no JSON").await;
    let mut done = 0;
    while done < bodies.len() + 1 {
        done += stack.ingest_next().await;
    }
    assert_eq!(stack.messages(&app).await, 2);
    let mut dead = BTreeSet::new();
    while dead.len() < bad.len() + 1 {
        for record in stack.receive(DEAD).await.records {
            dead.insert(record.body.expect("a body"));
        }
    }
    let mut expected: BTreeSet<String> = bad.iter().map(|(body, _)| body.to_string()).collect();
    expected.insert("{ no JSON".into());
    assert_eq!(dead, expected);
    let refused = lines.with("a message is refused");
    assert_eq!(refused.len(), bad.len() + 1);
    for (body, reason) in &bad {
        let found =
            refused.iter().any(|line| line["reason"].as_str().is_some_and(|text| text.starts_with(reason)));
        assert!(found, "{body}: no line says {reason:?} in {refused:#?}");
    }
    for line in &refused {
        assert_eq!((&line["level"], &line["moved"]), (&json!("WARN"), &json!(true)), "{line}");
        assert!(!line.to_string().contains("secret"), "{line}");
        let record = line["spans"].as_array().and_then(|spans| spans.last()).expect("a span");
        assert!(record["record"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_the_queue_takes_is_refused_to_its_sender() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let of_length = |length: usize| with(body(&app, 0), "/message/payload", json!({"x": "x".repeat(length)}));
    let url = &stack.stack.queue(QUEUE).expect("a queue of the template").url;
    let send = async |length: usize| {
        let body = of_length(length).to_string();
        stack.stack.sqs().send_message().queue_url(url).message_body(body).send().await
    };
    assert!(send(262_144).await.is_err());
    send(200_000).await.expect("it is sent");
    stack.idle().await;
    assert_eq!((stack.messages(&app).await, stack.count(DEAD).await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dynamodb_for_a_while_nothing_is_lost_or_doubled() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // other implementations' clocks cannot be moved
    }
    const MESSAGES: usize = 12;
    let clock = Arc::new(Ahead::default());
    let mut ahead = settings();
    // In between is where sockets are.
    ahead.sockets = true;
    let outage = Outage::default();
    ahead.platform.http = outage.before(ahead.platform.http.clone());
    ahead.platform.clock = clock.clone();
    let stack = TestStack::with(ahead).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    outage.down.store(true, Ordering::SeqCst);
    let bodies: Vec<Value> = (0..MESSAGES).map(|nth| body(&app, nth)).collect();
    stack.put(&bodies).await;
    for _ in 0..4 {
        let before = outage.refused.load(Ordering::SeqCst);
        soon("a batch that fails", async {
            while outage.refused.load(Ordering::SeqCst) < before + 2 {
                clock.skip(Duration::from_secs(1));
                stack.stack.wake();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        clock.skip(Duration::from_secs(300));
    }
    assert_eq!(receiver.rest().len(), 0);
    outage.down.store(false, Ordering::SeqCst);
    // A clock that leaps hides nothing in the queue of deliveries for long: a webhook may come twice, and
    // says by its id that it does. A message that was accepted twice would have two.
    let mut arrived = BTreeSet::new();
    soon("all of them", async {
        while arrived.len() < MESSAGES {
            clock.skip(Duration::from_secs(60));
            stack.stack.wake();
            arrived.extend(receiver.rest().iter().map(|webhook| webhook.header("webhook-id").to_owned()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    stack.idle().await;
    arrived.extend(receiver.rest().iter().map(|webhook| webhook.header("webhook-id").to_owned()));
    assert_eq!((arrived.len(), stack.messages(&app).await, stack.count(DEAD).await), (MESSAGES, MESSAGES, 0));
}

/// INV-7
#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_quota_waits_and_is_not_lost() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // other implementations' clocks cannot be moved
    }
    const MESSAGES: usize = 25;
    let clock = Arc::new(Ahead::default());
    let mut ahead = settings().with("POSTRIDER_MESSAGE_QUOTA", "3");
    ahead.platform.clock = clock.clone();
    let stack = TestStack::with(ahead).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let bodies: Vec<Value> = (0..MESSAGES).map(|nth| body(&app, nth)).collect();
    stack.put(&bodies).await;
    let mut arrived = BTreeSet::new();
    soon("all of them", async {
        while arrived.len() < MESSAGES {
            clock.skip(Duration::from_secs(1));
            stack.stack.wake();
            arrived.extend(
                receiver.rest().iter().map(|webhook| String::from_utf8_lossy(&webhook.body).into_owned()),
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    stack.idle().await;
    assert_eq!((stack.messages(&app).await, stack.count(DEAD).await), (MESSAGES, 0));
    assert_eq!(receiver.rest().len(), 0);
}
