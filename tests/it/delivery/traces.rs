//! A request's trace goes with everything that follows from it, for as long as that takes.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use shared::config::Env;
use shared::telemetry;
use svix::models::MessageIn;

use crate::test_stack::{Ahead, ENDPOINT_VARIABLE, Receiver, TestStack, settings, soon};

const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// What was logged.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// What is logged on this thread from now on, for as long as the guard lives.
    pub fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let filter = "info,deliver::delivered=debug,dynoxide=off".parse().expect("a filter");
        let subscriber = telemetry::json(filter, move || writer.clone());
        // As long as it knows of one subscriber only, tracing lets the thread that comes to a line first
        // decide whether anybody wants it: another test's. So there are always two.
        static ANOTHER: OnceLock<tracing::Dispatch> = OnceLock::new();
        ANOTHER.get_or_init(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default()));
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// All lines.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).expect("text")
    }

    /// The lines that have this text, read.
    pub fn with(&self, text: &str) -> Vec<Value> {
        let lines = self.text();
        let lines = lines.lines().filter(|line| line.contains(text));
        lines.map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}

// On one thread: what is logged on it is what this test reads.
/// INV-40
#[tokio::test]
async fn a_retry_days_later_is_found_by_the_trace_of_its_request() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // other implementations' clocks cannot be moved
    }
    let (lines, _reading) = Lines::of_this_thread();
    let clock = Arc::new(Ahead::default());
    let mut ahead = settings().with("POSTRIDER_RETRY_SCHEDULE", "60,172800");
    (ahead.platform.clock, ahead.poll) = (clock.clone(), false);
    let stack = TestStack::with(ahead).await;
    let mut receiver = Receiver::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, String::new())).await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let sent = stack
        .request_with(
            "POST",
            &format!("/api/v1/app/{app}/msg"),
            &stack.token,
            &[("x-amzn-trace-id", &format!("{HEADER};Lineage=1:5a2b:0"))],
            r#"{"eventType":"a","payload":{}}"#,
        )
        .await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text);
    let message = sent.json()["id"].as_str().expect("an id").to_owned();

    let mut work = async |queue: &str| {
        let event = soon(queue, stack.receive(queue)).await;
        assert_eq!(event.records[0].attributes["AWSTraceHeader"], HEADER, "{queue}");
        let handle = event.records[0].receipt_handle.clone().expect("a handle");
        assert!(stack.deliver(event).await.batch_item_failures.is_empty());
        stack.delete(queue, &handle).await;
        receiver.next().await;
    };
    work("DeliveriesQueue").await;
    clock.skip(Duration::from_secs(90));
    stack.stack.wake();
    // The first retry came by the queue's delay, the second one waits two days as a timer.
    work("RetriesQueue").await;
    clock.skip(Duration::from_secs(172_800 * 6 / 5));
    assert_eq!(stack.run_timers().await, 1);
    work("RetriesQueue").await;

    let failures = lines.with("attempt failed");
    assert_eq!(failures.len(), 3);
    for text in [ROOT, message.as_str()] {
        assert_eq!(lines.with(text).iter().filter(|line| line["message"] == "attempt failed").count(), 3);
    }
    for line in failures {
        let job = line["spans"].as_array().and_then(|spans| spans.last()).expect("a span");
        assert_eq!((&job["trace_id"], &job["message_id"]), (&Value::from(ROOT), &Value::from(&*message)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_trace_is_not_handed_on() {
    let mut settings = settings();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let app = stack.app().await;
    stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let path = format!("/api/v1/app/{app}/msg");
    let headers = [("x-amzn-trace-id", "Root=1-5759e988-\";DROP;Sampled=1")];
    let body = r#"{"eventType":"a","payload":{}}"#;
    let sent = stack.request_with("POST", &path, &stack.token, &headers, body).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text);
    let event = soon("a job", stack.receive("DeliveriesQueue")).await;
    let header = event.records[0].attributes.get("AWSTraceHeader").cloned().unwrap_or_default();
    assert!(!header.contains("DROP"), "{header}");
}

// On one thread: what is logged on it is what this test reads.
#[tokio::test]
async fn each_attempt_is_a_line_that_says_where_to_and_how_it_ended() {
    let (lines, _reading) = Lines::of_this_thread();
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let app = stack.app().await;
    let working = Receiver::start().await;
    let failing = Receiver::answering(|_| (StatusCode::SERVICE_UNAVAILABLE, String::new())).await;
    // Nobody listens there any more.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let refusing = format!("http://{}/hook?secret=x", gone.local_addr().expect("an address"));
    drop(gone);
    let working = stack.endpoint(&app, &working.url("/secret")).await.id;
    let failing = stack.endpoint(&app, &failing.url("/secret")).await.id;
    let refusing = stack.endpoint(&app, &refusing).await.id;
    let message = MessageIn::new("a.b".into(), serde_json::json!({}));
    let message = stack.message(&app, message).await;
    stack.idle().await;

    for (endpoint, text, status, reason) in [
        (working, "delivered", 204, None),
        (failing, "attempt failed", 503, Some("Service Unavailable")),
        (refusing, "attempt failed", 0, Some("refused")),
    ] {
        let found = lines.with(&endpoint);
        let [line] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((&line["message"], &line["status"]), (&text.into(), &status.into()));
        assert_eq!((&line["app"], &line["host"]), (&Value::from(&*app), &"127.0.0.1".into()));
        assert!(line["ms"].is_u64(), "{line}");
        let said = line["reason"].as_str();
        assert!(reason.is_none_or(|reason| said.is_some_and(|said| said.contains(reason))), "{line}");
        let job = line["spans"].as_array().and_then(|spans| spans.last()).expect("a span");
        assert_eq!(job["message_id"], Value::from(&*message));
        assert!(!line.to_string().contains("secret"), "{line}");
    }
    stack.stack.stop().await;
}
