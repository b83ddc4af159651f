//! What the calculator's months are made of: units and bytes of each step, measured.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use deliver::Deliver;
use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::config::Env;
use shared::metrics::{Report, Sink};

use crate::test_stack::{ENDPOINT_VARIABLE, Receiver, Still, TestStack, settings, soon};

/// JSON of about a kilobyte, as ordinary events are.
fn kilobyte() -> serde_json::Value {
    let lines: Vec<_> = (0..9)
        .map(|nth| {
            json!({"sku": format!("SKU-{}", nth * 7919 % 10_007), "title": format!("Article number {nth}"),
                   "quantity": nth % 3 + 1, "unitPrice": nth * 113, "currency": "EUR", "taxRate": 19})
        })
        .collect();
    json!({"id": "inv_000184467", "customer": "cus_23rb8YdGqMT0", "lines": lines})
}

/// The lines of one instance's metrics.
#[derive(Debug, Default)]
struct Lines(Mutex<Vec<String>>);

impl Sink for Lines {
    fn take(&self, report: Report) {
        self.0.lock().expect("no panic").extend(report.lines("local"));
    }
}

/// An installation in which nothing happens by itself, and what was used so far.
struct Counted {
    stack: TestStack,
    clock: Arc<Still>,
    deliver: Deliver,
    lines: Arc<Lines>,
    works: Arc<AtomicBool>,
    app: String,
    used: [f64; 4],
    measured: BTreeMap<String, BTreeMap<&'static str, f64>>,
}

impl Counted {
    async fn start() -> (Self, Receiver) {
        // Five past eight: what is counted by the hour is counted within one, however long the test takes.
        let clock = Arc::new(Still::at(Timestamp::from_ms(1_768_464_300_000)));
        let mut ahead = settings().with("POSTRIDER_RETRY_SCHEDULE", "60,1800");
        (ahead.platform.clock, ahead.poll) = (clock.clone(), false);
        let stack = TestStack::with(ahead).await;
        let works = Arc::new(AtomicBool::new(true));
        let answers = works.clone();
        let receiver = Receiver::answering(move |_| match answers.load(Ordering::Relaxed) {
            true => (StatusCode::NO_CONTENT, String::new()),
            false => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        })
        .await;
        let app = stack.app().await;
        stack.endpoint(&app, &receiver.url("/")).await;
        let lines = Arc::new(Lines::default());
        let platform = shared::Platform { metrics: lines.clone(), ..stack.stack.platform().clone() };
        let variables = stack.stack.environment("deliver").expect("its environment").clone();
        let deliver = Deliver::connect(&Env::new(|name| variables.get(name).cloned()), &platform);
        let deliver = deliver.expect("it connects");
        let (used, measured) = ([0.0; 4], BTreeMap::new());
        (Self { stack, clock, deliver, lines, works, app, used, measured }, receiver)
    }

    /// Lets time pass. A change is settled after a second, and no cache outlives a minute.
    fn skip(&self, seconds: u64) {
        self.clock.skip(Duration::from_secs(seconds));
        self.stack.stack.wake();
    }

    async fn post(&self, key: Option<&str>) {
        let body = json!({ "eventType": "invoice.paid", "payload": kilobyte() });
        self.post_body(key, &body).await;
    }

    async fn post_body(&self, key: Option<&str>, body: &Value) {
        // Without an SDK: it would send a key of its own.
        let headers: Vec<_> = key.iter().map(|key| ("idempotency-key", *key)).collect();
        let (path, token) = (format!("/api/v1/app/{}/msg", self.app), &self.stack.token);
        let answer = self.stack.request_with("POST", &path, token, &headers, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    }

    async fn work(&self, queue: &str, works: bool) {
        self.works.store(works, Ordering::Relaxed);
        let event = soon(queue, self.stack.receive(queue)).await;
        let [record] = event.records.as_slice() else { panic!("{} jobs", event.records.len()) };
        let handle = record.receipt_handle.clone().expect("a handle");
        assert!(self.deliver.handle(event).await.batch_item_failures.is_empty());
        self.stack.delete(queue, &handle).await;
    }

    /// Fills the caches again.
    async fn warm(&mut self) {
        self.post(None).await;
        self.work("DeliveriesQueue", true).await;
        self.count("").await;
    }

    /// Writes down what was used since the last time.
    async fn count(&mut self, what: &str) {
        let (usage, sends) = (self.stack.stack.usage(), self.stack.sends());
        let stored = stored_bytes(&self.stack, "").await;
        let used = [usage.write_units, usage.read_units, sends as f64, stored];
        let names = ["write_units", "read_units", "sqs_sends", "stored_bytes"];
        let since = names.into_iter().zip(used.iter().zip(self.used).map(|(now, then)| now - then));
        self.measured.insert(what.to_owned(), since.collect());
        // Looking at the table was work, too.
        let usage = self.stack.stack.usage();
        self.used = [usage.write_units, usage.read_units, used[2], stored];
    }
}

/// What DynamoDB charges for the storage of the log, by its rules; of items whose sort key begins so.
async fn stored_bytes(stack: &TestStack, prefix: &str) -> f64 {
    fn size(value: &AttributeValue) -> usize {
        match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
            AttributeValue::B(bytes) => bytes.as_ref().len(),
            AttributeValue::L(list) => 3 + list.iter().map(|value| 1 + size(value)).sum::<usize>(),
            _ => 1,
        }
    }
    let table = stack.stack.table("LogTable").expect("the table");
    let scanned = stack.stack.dynamodb().scan().table_name(table).send().await.expect("a small table");
    let items =
        scanned.items().iter().filter(|item| item["sk"].as_s().is_ok_and(|sk| sk.starts_with(prefix)));
    items
        .map(|item| 100 + item.iter().map(|(name, value)| name.len() + size(value)).sum::<usize>())
        .sum::<usize>() as f64
}

/// The calculator's units are the measured ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_calculator_counts_with_what_is_measured() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // other implementations count units in their own ways
    }
    let (mut counted, _receiver) = Counted::start().await;
    counted.skip(10);
    counted.warm().await;

    counted.post(None).await;
    counted.count("accept").await;
    counted.work("DeliveriesQueue", true).await;
    counted.count("attempt").await;
    counted.post(Some("key")).await;
    counted.count("accept_with_key").await;
    counted.work("DeliveriesQueue", true).await;

    let short = json!({ "eventType": "invoice.paid", "payload": kilobyte(), "payloadRetentionPeriod": 7 });
    counted.count("").await;
    counted.post_body(None, &short).await;
    counted.count("accept_with_own_payload").await;
    let own_payload = stored_bytes(&counted.stack, "PAY#").await;
    counted.work("DeliveriesQueue", true).await;

    counted.warm().await;
    counted.post(None).await;
    counted.count("").await;
    counted.work("DeliveriesQueue", false).await;
    counted.count("attempt_that_queues_a_retry").await;
    counted.skip(90);
    counted.warm().await;
    counted.work("RetriesQueue", true).await;
    counted.count("retry").await;
    counted.post(None).await;
    counted.work("DeliveriesQueue", false).await;
    counted.skip(90);
    counted.warm().await;
    counted.work("RetriesQueue", false).await;
    counted.count("retry_that_sets_a_timer").await;
    assert_eq!(counted.stack.run_timers().await, 0);
    counted.count("timers_run").await;
    counted.skip(1800 * 6 / 5);
    assert_eq!(counted.stack.run_timers().await, 1);
    counted.count("timers_run_that_moves_one").await;
    counted.warm().await;
    counted.work("RetriesQueue", true).await;
    counted.count("retry_from_a_timer").await;

    let units: Value = serde_json::from_str(include_str!("../../../local/data/units.json")).expect("JSON");
    counted.measured.remove("");
    let shown = serde_json::to_string_pretty(&counted.measured).expect("JSON");
    assert_eq!(units["measured"].as_object().expect("an object").len(), counted.measured.len(), "{shown}");
    for (what, measured) in &counted.measured {
        for (unit, value) in measured {
            let told =
                units["measured"][what][unit].as_f64().unwrap_or_else(|| panic!("{what}.{unit}: {shown}"));
            // Ids and times are a few bytes longer or shorter each time.
            let tolerance = if *unit == "stored_bytes" { 16.0 } else { 0.0 };
            assert!((told - value).abs() <= tolerance, "{what}.{unit} is {value}: {shown}");
        }
    }
    let told = units["own_payload_bytes"].as_f64().expect("a number");
    assert!((told - own_payload).abs() <= 16.0, "own_payload_bytes is {own_payload}");
    let told = units["metrics_line_bytes"].as_f64().expect("a number");
    let lines = counted.lines.0.lock().expect("no panic");
    let longest = lines.iter().map(String::len).max().expect("lines") as f64;
    assert!((longest - 20.0..=longest).contains(&told), "{longest}");
}
