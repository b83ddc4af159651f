//! What operations and deliveries cost, in DynamoDB's units and SQS's requests, held against the
//! budget in `tests/data/budget.json`: to the unit, so that a change that costs one more fails, and one
//! that saves one has to write that down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use deliver::Deliver;
use http::StatusCode;
use ingest::Ingest;
use local::{Ledger, Settings};
use serde_json::{Value, json};
use shared::Platform;
use shared::auth::DEFAULT_ORG;
use shared::config::Env;
use svix::models::{ApplicationIn, EndpointIn};

use crate::test_stack::{ENDPOINT_VARIABLE, Receiver, Still, TestStack, settings};

const BUDGET: &str = include_str!("../../data/budget.json");

/// Lines of a payload of one kilobyte, and of three.
const ONE_KB: u32 = 9;
const THREE_KB: u32 = 28;

/// JSON as ordinary events are, of about 107 bytes a line.
fn payload(lines: u32) -> Value {
    let lines: Vec<_> = (0..lines)
        .map(|nth| {
            json!({"sku": format!("SKU-{}", nth * 7919 % 10_007), "title": format!("Article number {nth}"),
                   "quantity": nth % 3 + 1, "unitPrice": nth * 113, "currency": "EUR", "taxRate": 19})
        })
        .collect();
    json!({"id": "inv_000184467", "customer": "cus_23rb8YdGqMT0", "lines": lines})
}

#[test]
fn payloads_are_of_the_size_that_the_budget_speaks_of() {
    for (lines, wanted) in [(ONE_KB, 1_000), (THREE_KB, 3_000)] {
        let size = payload(lines).to_string().len();
        assert!((wanted..wanted + 100).contains(&size), "{size} bytes");
    }
}

/// A stack whose queues are worked on by hand, so that each call has its cause.
struct Counted {
    stack: TestStack,
    deliver: Deliver,
    ingest: Ingest,
    clock: Arc<Still>,
    receiver: Receiver,
    app: String,
    costs: BTreeMap<&'static str, Value>,
}

impl Counted {
    async fn start() -> Self {
        let clock = Arc::new(Still::default());
        let platform = Platform { clock: clock.clone(), ..Platform::system() };
        let stack = TestStack::with(Settings { platform, poll: false, ..settings() }).await;
        let of = |function: &str| stack.stack.environment(function).expect("its environment").clone();
        let (variables, platform) = (of("deliver"), stack.stack.platform());
        let env = Env::new(|name| variables.get(name).cloned());
        let deliver = Deliver::connect(&env, platform).expect("it connects");
        let variables = of("ingest");
        let env = Env::new(|name| variables.get(name).cloned());
        let ingest = Ingest::connect(&env, platform).expect("it connects");
        let receiver = Receiver::answering(|webhook| match webhook.path.as_str() {
            "/fails" => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            "/fails-at-length" => (StatusCode::INTERNAL_SERVER_ERROR, "no ".repeat(300)),
            _ => (StatusCode::NO_CONTENT, String::new()),
        })
        .await;
        let app = stack.app().await;
        Self { stack, deliver, ingest, clock, receiver, app, costs: BTreeMap::new() }
    }

    /// Notes what `work` cost under that name.
    async fn cost<T>(&mut self, what: &'static str, work: impl AsyncFnOnce(&mut Self) -> T) -> T {
        let before = self.stack.stack.ledger();
        let made = work(self).await;
        let spent = self.stack.stack.ledger().since(&before);
        assert!(self.costs.insert(what, shown(&spent)).is_none(), "{what} was counted before");
        made
    }

    async fn post(&self, payload: &Value, key: Option<&str>, event_id: Option<&str>) {
        // Not by an SDK, which sends a key with every POST.
        let mut body = json!({"eventType": "invoice.paid", "payload": payload});
        if let Some(event_id) = event_id {
            body["eventId"] = json!(event_id);
        }
        let (path, key) = (format!("/api/v1/app/{}/msg", self.app), key.map(|key| ("idempotency-key", key)));
        let headers: Vec<_> = key.into_iter().collect();
        let answer =
            self.stack.request_with("POST", &path, &self.stack.token, &headers, body.to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }

    /// What Lambda and the function do with the next batch.
    async fn work_off(&mut self) {
        self.work_off_from("DeliveriesQueue").await;
    }

    async fn work_off_from(&mut self, queue: &str) {
        let event: SqsEvent = self.stack.receive(queue).await;
        self.done(queue, event, async |at, event| at.deliver.handle(event).await).await;
    }

    /// What a producer sends, and what Lambda and the function do with it.
    async fn ingest(&self, messages: usize) {
        self.ingest_after(messages, Duration::ZERO).await;
    }

    /// The same of what waits in the queue first.
    async fn ingest_after(&self, messages: usize, wait: Duration) {
        let body = json!({"orgId": DEFAULT_ORG, "appId": self.app,
                          "message": {"eventType": "invoice.paid", "payload": payload(ONE_KB)}});
        self.stack.put(&vec![body; messages]).await;
        self.clock.skip(wait);
        let event: SqsEvent = self.stack.receive("IngestQueue").await;
        assert_eq!(event.records.len(), messages);
        self.done("IngestQueue", event, async |at, event| at.ingest.handle(event).await).await;
    }

    async fn done(
        &self,
        queue: &str,
        event: SqsEvent,
        work: impl AsyncFnOnce(&Self, SqsEvent) -> SqsBatchResponse,
    ) {
        let handles: Vec<String> =
            event.records.iter().map(|record| record.receipt_handle.clone().expect("a handle")).collect();
        assert!(work(self, event).await.batch_item_failures.is_empty());
        let url = &self.stack.stack.queue(queue).expect("a queue of the template").url;
        let entries = handles.iter().enumerate().map(|(nth, handle)| {
            aws_sdk_sqs::types::DeleteMessageBatchRequestEntry::builder()
                .id(nth.to_string())
                .receipt_handle(handle)
                .build()
                .expect("id and handle are set")
        });
        let delete = self.stack.stack.sqs().delete_message_batch().queue_url(url);
        delete.set_entries(Some(entries.collect())).send().await.expect("they are deleted");
    }

    /// A message, delivered, that is not counted; behind it caches hold.
    async fn warm_up(&mut self) {
        self.clock.skip(Duration::from_secs(2));
        self.post(&payload(ONE_KB), None, None).await;
        self.work_off().await;
    }
}

/// What was spent, by table, as the budget has it. Which function asked is not in it: here they are
/// asked one at a time.
fn shown(spent: &Ledger) -> Value {
    let mut shown = json!({});
    for table in ["config", "log"] {
        let of = spent.total(|call| call.service == "DynamoDB" && call.on == table);
        if of.requests > 0 {
            shown[table] =
                json!({"requests": of.requests, "read_units": of.read_units, "write_units": of.write_units});
        }
    }
    let sqs = spent.total(|call| call.service == "SQS");
    if sqs.requests > 0 {
        shown["sqs"] = json!({"requests": sqs.requests, "chunks": sqs.chunks});
    }
    let lambda = spent.total(|call| call.service == "Lambda");
    if lambda.requests > 0 {
        shown["lambda"] = json!({"requests": lambda.requests});
    }
    let untold =
        spent.total(|call| call.service == "DynamoDB" && !["config", "log"].contains(&call.on.as_str()));
    assert_eq!(untold.requests, 0, "requests whose table is not known: {spent:?}");
    shown
}

fn units(cost: &Value, kind: &str) -> f64 {
    ["config", "log"].iter().filter_map(|table| cost[table][kind].as_f64()).sum()
}

/// INV-13, INV-31
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the counts are shown")]
async fn every_operation_costs_what_the_budget_says() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // other implementations count units in their own ways
    }
    let mut at = Counted::start().await;
    // Each for itself, on the heap: together they are more than a test's stack holds.
    Box::pin(costs_of_successes(&mut at)).await;
    Box::pin(costs_of_failures(&mut at)).await;
    Box::pin(costs_of_order(&mut at)).await;

    let measured = json!(at.costs);
    println!("{measured:#}");
    let budget: Value = serde_json::from_str(BUDGET).expect("the budget is JSON");
    for (what, cost) in &at.costs {
        assert_eq!(*cost, budget[what], "{what}: now, and in the budget (tests/data/budget.json)");
    }
    assert_eq!(budget.as_object().map(serde_json::Map::len), Some(at.costs.len()), "the budget has more");
    at.stack.stack.stop().await;
}

/// What is asked for, and what arrives.
async fn costs_of_successes(at: &mut Counted) {
    let url = at.receiver.url("/");
    at.cost("application.create", async |at| at.stack.app().await).await;
    at.cost("endpoint.create", async |at| {
        at.stack.endpoint_with(&at.app.clone(), EndpointIn::new(url.clone())).await
    })
    .await;
    at.warm_up().await;

    at.cost("message.create", async |at| at.post(&payload(ONE_KB), None, None).await).await;
    at.cost("deliver", Counted::work_off).await;
    at.cost("message.create, with an idempotency key", async |at| {
        at.post(&payload(ONE_KB), Some("k"), None).await
    })
    .await;
    at.work_off().await;
    at.cost("message.create, with an eventId", async |at| at.post(&payload(ONE_KB), None, Some("e")).await)
        .await;
    at.work_off().await;
    at.cost("message.create, 3 kB", async |at| at.post(&payload(THREE_KB), None, None).await).await;
    at.cost("deliver, 3 kB", Counted::work_off).await;

    // Ten messages, ten jobs in one batch: what a batch shares.
    at.cost("message.create, 10 of them", async |at| {
        for _ in 0..10 {
            at.post(&payload(ONE_KB), None, None).await;
        }
    })
    .await;
    at.cost("deliver, a batch of 10", Counted::work_off).await;
    let ten = vec![json!({"eventType": "invoice.paid", "payload": payload(ONE_KB)}); 10];
    let (path, body) = (format!("/api/v1/app/{}/msg/batch", at.app), json!({ "messages": ten }).to_string());
    at.cost("message.create-batch, 10 messages", async |at| {
        at.stack.request("POST", &path, &at.stack.token, body.clone()).await;
    })
    .await;
    at.work_off().await;

    // The endpoints are in the other function's cache; not yet in this one's.
    at.ingest(1).await;
    at.work_off().await;
    at.cost("ingest, 1 record", async |at| at.ingest(1).await).await;
    at.work_off().await;
    at.cost("ingest, 10 records of one application", async |at| at.ingest(10).await).await;
    at.work_off().await;
    at.cost("ingest, 1 record that waited", async |at| at.ingest_after(1, Duration::from_secs(31)).await)
        .await;
    at.work_off().await;

    // What comes once in a while: nothing is cached any more, but who the caller is.
    at.clock.skip(Duration::from_secs(61));
    let elsewhere = at.stack.app().await;
    at.stack.svix.message().list(elsewhere, None).await.expect("a page");
    at.cost("message.create, nothing cached", async |at| at.post(&payload(ONE_KB), None, None).await).await;
    at.cost("deliver, nothing cached", Counted::work_off).await;
    let named = ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("Acme".into()) };
    let named = at.stack.svix.application().create(named, None).await.expect("an application").id;
    let unnamed = std::mem::replace(&mut at.app, "acme".to_owned());
    at.stack.endpoint(&named, &url).await;
    at.warm_up().await;
    at.cost("message.create, by uid", async |at| at.post(&payload(ONE_KB), None, None).await).await;
    at.work_off().await;
    at.app = unnamed;

    let app = at.app.clone();
    // Which shards a page of some messages is in is up to their ids; that all of them are asked is not.
    let empty = at.stack.app().await;
    at.cost("message.list, an empty page", async |at| {
        at.stack.svix.message().list(empty.clone(), None).await.expect("a page")
    })
    .await;
    let unused = at.stack.endpoint(&empty, &url).await.id;
    at.cost("attempt.list-by-endpoint, an empty page", async |at| {
        let attempts = at.stack.svix.message_attempt();
        attempts.list_by_endpoint(empty.clone(), unused.clone(), None).await.expect("a page")
    })
    .await;
    let page = at.stack.svix.message().list(at.app.clone(), None).await.expect("a page");
    let first = page.data[0].id.clone();
    at.cost("message.get", async |at| {
        at.stack.svix.message().get(at.app.clone(), first.clone(), None).await.expect("a message")
    })
    .await;
    at.cost("attempt.list-by-msg, one attempt", async |at| {
        at.stack.svix.message_attempt().list_by_msg(app.clone(), first.clone(), None).await.expect("attempts")
    })
    .await;

    // Two more endpoints: a job and a write each.
    for _ in 0..2 {
        at.stack.endpoint(&app, &at.receiver.url("/")).await;
    }
    at.warm_up().await;
    at.cost("message.create, 3 endpoints", async |at| at.post(&payload(ONE_KB), None, None).await).await;
    at.cost("deliver, 3 endpoints", Counted::work_off).await;

    // A filter costs nothing, whether it matches or not; what nobody wants is stored and no more.
    at.app = at.stack.app().await;
    for filter in [json!({"nobody": ["has this"]}), json!({"lines": {"quantity": [{"numeric": [">", 9]}]}})] {
        let path = format!("/api/v1/app/{}/endpoint", at.app);
        let body = json!({"url": at.receiver.url("/"), "filter": filter}).to_string();
        let made = at.stack.request("POST", &path, &at.stack.token, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    at.clock.skip(Duration::from_secs(2));
    at.post(&payload(ONE_KB), None, None).await;
    at.cost("message.create, that no filter matches", async |at| at.post(&payload(ONE_KB), None, None).await)
        .await;

    // A transformation: ten webhooks of one endpoint pass its code in one call, once it was read.
    at.app = at.stack.app().await;
    let endpoint = at.stack.endpoint(&at.app, &at.receiver.url("/")).await.id;
    let path = format!("/api/v1/app/{}/endpoint/{endpoint}/transformation", at.app);
    let code = json!({"code": "const handler = (webhook) => webhook", "enabled": true}).to_string();
    assert_eq!(at.stack.request("PATCH", &path, &at.stack.token, code).await.status, 204);
    at.warm_up().await;
    for _ in 0..10 {
        at.post(&payload(ONE_KB), None, None).await;
    }
    at.cost("deliver, a batch of 10 through a transformation", Counted::work_off).await;
}

/// What an endpoint costs that fails.
async fn costs_of_failures(at: &mut Counted) {
    // An endpoint that fails: what each attempt costs that is not the last one.
    at.app = at.stack.app().await;
    at.stack.endpoint(&at.app, &at.receiver.url("/fails")).await;
    at.warm_up().await;
    at.post(&payload(ONE_KB), None, None).await;
    at.cost("deliver, a first attempt that fails", Counted::work_off).await;
    at.clock.skip(Duration::from_secs(5));
    at.stack.stack.wake();
    at.cost("deliver, 2 retries that fail", async |at| at.work_off_from("RetriesQueue").await).await;
    // The last one, of an endpoint that is known to fail: nobody is told what happens here.
    let retries = async |at: &mut Counted, rounds: u32| {
        for _ in 0..rounds {
            at.clock.skip(Duration::from_secs(5));
            at.stack.stack.wake();
            at.work_off_from("RetriesQueue").await;
        }
    };
    retries(at, 2).await;
    at.post(&payload(ONE_KB), None, None).await;
    at.work_off().await;
    retries(at, 2).await;
    at.cost("deliver, a last attempt that fails", async |at| retries(at, 1).await).await;
    // A day before it is disabled: whether somebody is to be warned was asked a moment ago, and is not again.
    at.clock.skip(Duration::from_secs((4 * 24 + 2) * 3_600));
    at.stack.stack.wake();
    at.warm_up().await;
    at.post(&payload(ONE_KB), None, None).await;
    at.cost("deliver, a first attempt that fails on the endpoint's last day", Counted::work_off).await;
    // With a response that its state has no room for.
    at.app = at.stack.app().await;
    at.stack.endpoint(&at.app, &at.receiver.url("/fails-at-length")).await;
    at.warm_up().await;
    at.post(&payload(ONE_KB), None, None).await;
    at.cost("deliver, a first attempt that fails at length", Counted::work_off).await;
}

/// An ordered endpoint: an entry more, and a lease, which is shared by all that is sent while it is held.
async fn costs_of_order(at: &mut Counted) {
    at.app = at.stack.app().await;
    let path = format!("/api/v1/app/{}/endpoint", at.app);
    let body = json!({"url": at.receiver.url("/"), "fifo": true, "fifoKey": "/customer"}).to_string();
    assert_eq!(at.stack.request("POST", &path, &at.stack.token, body).await.status, 201);
    at.warm_up().await;
    at.cost("message.create, an ordered endpoint", async |at| at.post(&payload(ONE_KB), None, None).await)
        .await;
    at.cost("deliver, in order", Counted::work_off).await;
    // Ten of one key, one by one and at once.
    for (size, what) in [(1, "deliver, 10 in order"), (10, "deliver, 10 in order at once")] {
        at.app = at.stack.app().await;
        let path = format!("/api/v1/app/{}/endpoint", at.app);
        let body = json!({"url": at.receiver.url("/"), "fifo": true, "batchSize": size}).to_string();
        let made = at.stack.request("POST", &path, &at.stack.token, body).await;
        let order = format!("{path}/{}/order", made.json()["id"].as_str().expect("an id"));
        at.warm_up().await;
        // One job finds all of them.
        at.stack.request("POST", &format!("{order}/pause"), &at.stack.token, "").await;
        let ten = vec![json!({"eventType": "invoice.paid", "payload": payload(ONE_KB)}); 10];
        let path = format!("/api/v1/app/{}/msg/batch", at.app);
        let made = at.stack.request("POST", &path, &at.stack.token, json!({ "messages": ten }).to_string());
        assert_eq!(made.await.status, 200);
        at.work_off().await;
        at.stack.request("POST", &format!("{order}/resume"), &at.stack.token, "").await;
        at.cost(what, Counted::work_off).await;
    }
}

/// The budget may be rewritten; what it must not go beyond is the design's.
/// INV-31
#[test]
fn the_budget_keeps_within_the_design() {
    let budget: Value = serde_json::from_str(BUDGET).expect("the budget is JSON");
    let both = |create: &str, deliver: &str, kind: &str| {
        units(&budget[create], kind) + units(&budget[deliver], kind)
    };
    let writes = |create, deliver| both(create, deliver, "write_units");
    let base = writes("message.create", "deliver");
    assert!(base <= 2.0, "{base} write units");
    assert!(writes("message.create, with an idempotency key", "deliver") <= base + 1.0);
    assert!(writes("message.create, with an eventId", "deliver") <= base + 1.0);
    assert!(writes("message.create, 3 endpoints", "deliver, 3 endpoints") <= base + 2.0);
    assert!(writes("message.create, 3 kB", "deliver, 3 kB") <= base + 1.0);
    for reads in [
        both("message.create", "deliver", "read_units"),
        both("message.create, nothing cached", "deliver, nothing cached", "read_units"),
        both("message.create, by uid", "deliver", "read_units"),
    ] {
        assert!(reads <= 2.0, "{reads} read units");
    }
    let ten = |what: &str, kind: &str| units(&budget[what], kind);
    for kind in ["write_units", "read_units"] {
        assert!(ten("deliver, 10 in order at once", kind) <= ten("deliver, 10 in order", kind), "{kind}");
    }
    // What a client waits for, one after the other: application, message, queue. Beside the first its key is
    // claimed, see `hot_path`.
    let waited = |what: &str| {
        let of = |service: &str| budget[what][service]["requests"].as_u64().unwrap_or_default();
        of("config") + of("log") + of("sqs")
    };
    assert!(waited("message.create") <= 3, "{} round trips", waited("message.create"));
    assert!(waited("message.create, with an idempotency key") <= 4);
    // A record is its message's key; ten share the read of the application and the send of their jobs.
    let of_ten = |kind: &str| units(&budget["ingest, 10 records of one application"], kind);
    assert!((of_ten("write_units"), of_ten("read_units")) <= (10.0, 1.0));
    let requests = |what: &str| budget[what]["sqs"]["chunks"].as_f64().unwrap_or_default();
    assert!(requests("message.create") + requests("deliver") <= 4.0);
    let amortised = (requests("message.create, 10 of them") + requests("deliver, a batch of 10")) / 10.0;
    assert!(amortised <= 2.5, "{amortised} SQS requests a message");
}
