//! Attempts as spans: receivers see which (`traceparent`), and a collector gets them (OTLP). OpenTelemetry's own
//! messages read what is exported in `tests/examples/spans.py`; here a few lines do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use http::StatusCode;
use serde_json::json;
use shared::traceparent::TraceParent;
use svix::models::{EndpointHeadersIn, MessageIn};

use super::traces::Lines;
use crate::test_stack::{Receiver, TestStack, Webhook, settings};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Posts a message, as a caller that traces does.
async fn post(stack: &TestStack, app: &str, traceparent: Option<&str>, payload: &str) -> String {
    let path = format!("/api/v1/app/{app}/msg");
    let headers: Vec<_> = traceparent.iter().map(|text| ("traceparent", *text)).collect();
    let body = format!(r#"{{"eventType":"invoice.paid","payload":{payload}}}"#);
    let sent = stack.request_with("POST", &path, &stack.token, &headers, body).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text);
    sent.json()["id"].as_str().expect("an id").to_owned()
}

fn place(webhook: &Webhook) -> TraceParent {
    let text = webhook.header("traceparent");
    TraceParent::parse(text).unwrap_or_else(|| panic!("{text}"))
}

/// A field of a protobuf message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A protobuf message: numbers and values of its fields.
struct Message(Vec<(u64, Field)>);

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a number ends");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return value;
        }
    }
}

impl Message {
    fn read(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        let take = |bytes: &mut &[u8], length: usize| {
            let (taken, rest) = bytes.split_at_checked(length).expect("a value ends");
            *bytes = rest;
            taken.to_vec()
        };
        let fixed = |bytes: Vec<u8>| bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = match tag & 7 {
                0 => Field::Number(varint(&mut bytes)),
                1 => Field::Number(fixed(take(&mut bytes, 8))),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).expect("a length");
                    Field::Bytes(take(&mut bytes, length))
                }
                5 => Field::Number(fixed(take(&mut bytes, 4))),
                other => panic!("wire type {other}"),
            };
            fields.push((tag >> 3, value));
        }
        Self(fields)
    }

    fn all(&self, field: u64) -> impl Iterator<Item = &Field> {
        self.0.iter().filter(move |(number, _)| *number == field).map(|(_, value)| value)
    }

    fn bytes(&self, field: u64) -> &[u8] {
        match self.all(field).next() {
            Some(Field::Bytes(bytes)) => bytes,
            None => &[],
            other => panic!("{field}: {other:?}"),
        }
    }

    fn text(&self, field: u64) -> String {
        String::from_utf8(self.bytes(field).to_vec()).expect("text")
    }

    fn number(&self, field: u64) -> u64 {
        match self.all(field).next() {
            Some(Field::Number(number)) => *number,
            None => 0,
            other => panic!("{field}: {other:?}"),
        }
    }

    fn messages(&self, field: u64) -> Vec<Self> {
        let read = |value: &Field| match value {
            Field::Bytes(bytes) => Self::read(bytes),
            other => panic!("{field}: {other:?}"),
        };
        self.all(field).map(read).collect()
    }

    /// The attributes in that field.
    fn attributes(&self, field: u64) -> BTreeMap<String, String> {
        let pairs = self.messages(field);
        let shown = |pair: &Self| {
            let [value] = pair.messages(2).try_into().unwrap_or_else(|_| panic!("{}", pair.text(1)));
            let text = value.text(1);
            (pair.text(1), if text.is_empty() { value.number(3).to_string() } else { text })
        };
        let named: BTreeMap<String, String> = pairs.iter().map(shown).collect();
        assert_eq!(named.len(), pairs.len(), "an attribute is there twice");
        named
    }
}

/// What the spans of one request are of, and the spans.
fn exported(request: &Webhook) -> (BTreeMap<String, String>, Vec<Message>) {
    assert_eq!(
        (request.path.as_str(), request.header("content-type")),
        ("/v1/traces", "application/x-protobuf")
    );
    let [of_resource] = Message::read(&request.body).messages(1).try_into().ok().expect("one resource");
    let [resource] = of_resource.messages(1).try_into().ok().expect("a resource");
    let [of_scope] = of_resource.messages(2).try_into().ok().expect("one scope");
    (resource.attributes(1), of_scope.messages(2))
}

/// INV-40
#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_on_to_receivers_and_to_the_collector() {
    let mut collector = Receiver::answering(|_| (StatusCode::OK, String::new())).await;
    let traced = settings()
        .with("POSTRIDER_TRACEPARENT", "true")
        .with("POSTRIDER_OTLP_URL", &collector.url(""))
        .with("POSTRIDER_OTLP_HEADERS", "x-key=of%20the%20operator");
    let stack = TestStack::with(traced).await;
    let calls = AtomicU32::new(0);
    let mut receiver = Receiver::answering(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "hidden in a response".into()),
        _ => (StatusCode::OK, String::new()),
    })
    .await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/hidden-path?token=hidden-query")).await;
    let message = post(&stack, &app, Some(CALLER), r#"{"of":"hidden payload"}"#).await;

    let caller = TraceParent::parse(CALLER).expect("a trace");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let webhook = receiver.next().await;
        webhook.verify(&endpoint.secret);
        let place = place(&webhook);
        assert_eq!((place.trace, place.sampled), (caller.trace, true));
        seen.push(place);
    }
    assert_ne!(seen[0].span, seen[1].span);
    stack.idle().await;
    for (nth, seen) in seen.iter().enumerate() {
        let request = collector.next().await;
        assert_eq!(request.header("x-key"), "of the operator");
        let text = String::from_utf8_lossy(&request.body).into_owned();
        assert!(!text.contains("hidden") && !text.contains("operator"), "{text}");
        let (resource, spans) = exported(&request);
        assert_eq!((&*resource["service.name"], &*resource["service.namespace"]), ("postrider", "local"));
        let [span] = spans.as_slice() else { panic!("{} spans", spans.len()) };
        // What the receiver saw, and what the caller said.
        assert_eq!(span.bytes(1), seen.trace.to_be_bytes());
        assert_eq!(span.bytes(2), seen.span.to_be_bytes());
        assert_eq!(span.bytes(4), caller.span.to_be_bytes());
        // Name, kind (a client) and flags: sampled, and its parent is elsewhere.
        assert_eq!((&*span.text(5), span.number(6), span.number(16)), ("POST", 3, 0x301));
        assert!(span.number(7) > 1_600_000_000_000_000_000 && span.number(8) >= span.number(7));
        let failed = nth == 0;
        let status: Vec<u64> = span.messages(15).iter().map(|status| status.number(3)).collect();
        assert_eq!(status, if failed { vec![2] } else { vec![] });
        let found = span.attributes(9);
        let url = format!("http://{}/REDACTED", receiver.address);
        let port = receiver.address.port().to_string();
        let number = (nth + 1).to_string();
        for (name, value) in [
            ("http.request.method", Some("POST")),
            ("http.response.status_code", Some(if failed { "503" } else { "200" })),
            ("http.request.resend_count", (!failed).then_some("1")),
            ("error.type", failed.then_some("503")),
            ("server.address", Some("127.0.0.1")),
            ("server.port", Some(&port)),
            ("url.full", Some(&url)),
            ("messaging.message.id", Some(&message)),
            ("cloudevents.event_id", Some(&message)),
            ("cloudevents.event_type", Some("invoice.paid")),
            ("postrider.application.id", Some(&app)),
            ("postrider.endpoint.id", Some(&endpoint.id)),
            ("postrider.attempt.number", Some(&number)),
            ("postrider.attempt.trigger", Some("scheduled")),
            ("postrider.destination.kind", Some("http")),
        ] {
            assert_eq!(found.get(name).map(String::as_str), value, "{name}");
        }
        let attempts = stack.attempts(&app, &message).await;
        assert!(attempts.iter().any(|attempt| attempt.id == found["postrider.attempt.id"]));
    }
    assert!(collector.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_caller_a_message_is_a_trace_of_its_own() {
    let mut collector = Receiver::answering(|_| (StatusCode::OK, String::new())).await;
    let traced = settings()
        .with("POSTRIDER_TRACEPARENT", "true")
        .with("POSTRIDER_OTLP_URL", &collector.url("/v1/traces"));
    let stack = TestStack::with(traced).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    for path in ["/a", "/b"] {
        stack.endpoint(&app, &receiver.url(path)).await;
    }
    // What the specification calls invalid is ignored.
    for invalid in [None, Some("00-0-0-01"), Some("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    {
        post(&stack, &app, invalid, "{}").await;
        let (one, other) = (place(&receiver.next().await), place(&receiver.next().await));
        assert_eq!(one.trace, other.trace);
        assert!(one.span != other.span && one.sampled && other.sampled);
        stack.idle().await;
        let spans: Vec<_> = collector.rest().iter().flat_map(|request| exported(request).1).collect();
        assert_eq!(spans.len(), 2);
        for span in spans {
            assert_eq!(span.bytes(1), one.trace.to_be_bytes());
            assert!(span.bytes(4).is_empty());
        }
    }
    // What its caller does not sample goes on, and is not exported.
    post(&stack, &app, Some(&format!("{}00", &CALLER[..53])), "{}").await;
    for _ in 0..2 {
        let place = place(&receiver.next().await);
        assert_eq!((place.trace, place.sampled), (TraceParent::parse(CALLER).expect("one").trace, false));
    }
    stack.idle().await;
    assert!(collector.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transformation_did_not_make_is_no_span() {
    let mut collector = Receiver::answering(|_| (StatusCode::OK, String::new())).await;
    let traced =
        settings().with("POSTRIDER_OTLP_URL", &collector.url("")).with("POSTRIDER_RETRY_SCHEDULE", "");
    let stack = TestStack::with(traced).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/transformation");
    for (code, sent) in [
        ("const handler = () => { throw new Error('no') }", 0),
        ("const handler = (w) => ({ ...w, cancel: true })", 0),
        ("const handler = (w) => w", 1),
    ] {
        let body = json!({"code": code, "enabled": true}).to_string();
        assert_eq!(stack.request("PATCH", &path, &stack.token, body).await.status, StatusCode::NO_CONTENT);
        let id = post(&stack, &app, None, "{}").await;
        stack.idle().await;
        assert_eq!(stack.attempts(&app, &id).await.len(), 1, "{code}");
        assert_eq!((receiver.rest().len(), collector.rest().len()), (sent, sent), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traceparent_is_sent_where_it_is_set_and_an_endpoints_own_one_stays() {
    let off = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = off.app().await;
    off.endpoint(&app, &receiver.url("/")).await;
    post(&off, &app, Some(CALLER), "{}").await;
    assert!(!receiver.next().await.headers.contains_key("traceparent"));
    off.idle().await;

    let stack = TestStack::with(settings().with("POSTRIDER_TRACEPARENT", "true")).await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let headers = BTreeMap::from([("Traceparent".to_owned(), "its own".to_owned())]);
    let set = EndpointHeadersIn { headers };
    stack.svix.endpoint().set_headers(app.clone(), endpoint.id.clone(), set).await.expect("headers");
    post(&stack, &app, Some(CALLER), "{}").await;
    let webhook = receiver.next().await;
    webhook.verify(&endpoint.secret);
    assert_eq!(webhook.headers.get_all("traceparent").iter().collect::<Vec<_>>(), ["its own"]);
}

// On one thread: what is logged on it is what this test reads.
#[tokio::test]
async fn a_collector_that_fails_or_hangs_costs_a_line_and_no_delivery() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let broken = Receiver::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, "broken".into())).await;
    for (url, reason) in [
        (format!("http://{}/v1/traces", silent.local_addr().expect("an address")), "no response within 1 s"),
        (broken.url("/v1/traces"), "the collector answered 500 Internal Server Error"),
    ] {
        let (lines, _reading) = Lines::of_this_thread();
        let stack = TestStack::with(settings().with("POSTRIDER_OTLP_URL", &url)).await;
        let mut receiver = Receiver::start().await;
        let app = stack.app().await;
        stack.endpoint(&app, &receiver.url("/")).await;
        let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
        assert!(!receiver.next().await.headers.contains_key("traceparent"));
        stack.idle().await;
        let attempts = stack.attempts(&app, &id).await;
        assert_eq!((attempts.len(), attempts[0].response_status_code), (1, 204));
        let [line] = lines.with("spans were not exported").try_into().expect("one line");
        assert_eq!(
            (&line["spans"], &line["reason"], &line["level"]),
            (&json!(1), &json!(reason), &json!("WARN"))
        );
        stack.stack.stop().await;
    }
}
