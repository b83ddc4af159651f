//! DynamoDB and SQS without sockets: the SDK's requests are handed to the embedded services, with
//! what a network and a busy service can do to them on the way.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database;
use local_sqs::{Engine, Options};
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};

use crate::coverage;
use crate::faults::{Fate, Faults, Service};
use crate::journal::{Journal, Record};
use crate::time::{Sim, SimClock};

/// Both services. Clones are the same.
#[derive(Clone, Debug)]
pub struct Aws(Arc<Inner>);

struct Inner {
    sim: Sim,
    faults: Faults,
    journal: Journal,
    database: Database,
    engine: Engine,
    /// Woken by whatever was done to a queue.
    queues: Notify,
    /// The sort keys of the timers that were written, which begin with their times.
    timers: Mutex<BTreeSet<String>>,
    /// What is broken on purpose: the first copy of an application misses its changes.
    forgets_a_copy: bool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").finish_non_exhaustive()
    }
}

/// What stands for the target of an invocation, whose API has none.
const LAMBDA: &str = "Lambda.Invoke";

/// An answer: status and body.
type Answer = (u16, Vec<u8>);

impl Aws {
    pub fn new(sim: &Sim, faults: &Faults, journal: &Journal, forgets_a_copy: bool) -> Self {
        let clock = Arc::new(SimClock::new(sim));
        // IDs of messages may follow from those of records.
        let options = Options { clock: clock.clone(), seed: Some(0), ..Options::default() };
        Self(Arc::new(Inner {
            sim: sim.clone(),
            faults: faults.clone(),
            journal: journal.clone(),
            database: Database::memory_with_clock(clock).expect("tables in memory"),
            engine: Engine::open(options).expect("queues in memory"),
            queues: Notify::new(),
            timers: Mutex::default(),
            forgets_a_copy,
        }))
    }

    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Completes when something was done to a queue.
    pub async fn queues_changed(&self) {
        self.0.queues.notified().await;
    }

    /// A request to DynamoDB that nothing can happen to.
    pub fn dynamodb(&self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.0.dynamodb(operation, &body.to_string());
        let answer = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    /// A request to SQS that nothing can happen to.
    pub async fn sqs(&self, operation: &str, body: &Value) -> Value {
        let target = format!("AmazonSQS.{operation}");
        let (status, answer) =
            local_sqs::answer_one(&self.0.engine, &target, body.to_string().as_bytes()).await;
        self.0.queues.notify_waiters();
        let answer = serde_json::from_slice(&answer).expect("JSON");
        assert!(status == 200 || operation.starts_with("Delete"), "{operation}: {answer}");
        answer
    }

    /// When the first timer is due, in milliseconds since 1970.
    pub fn first_timer(&self) -> Option<u64> {
        let timers = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner);
        timers.first().and_then(|key| key.split('#').next()?.parse().ok())
    }

    /// Looks which timers there still are.
    pub fn look_at_timers(&self, table: &str) {
        let scan = json!({
            "TableName": table,
            "FilterExpression": "begins_with(pk, :timer)",
            "ExpressionAttributeValues": { ":timer": { "S": "TIMER#" } },
        });
        let found = self.dynamodb("Scan", &scan);
        let keys = found["Items"].as_array().into_iter().flatten();
        let keys = keys.map(|item| item["sk"]["S"].as_str().expect("a key").to_owned()).collect();
        *self.0.timers.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The way to both services for one instance's SDK; faultless for the checks at the end.
    pub fn connector(&self, faulty: bool) -> Connector {
        Connector { aws: self.clone(), faulty }
    }
}

/// Hands requests over. Clones are the same.
#[derive(Clone, Debug)]
pub struct Connector {
    aws: Aws,
    faulty: bool,
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = match request.uri().ends_with("/invocations") {
            true => LAMBDA.to_owned(),
            false => request.headers().get("x-amz-target").unwrap_or_default().to_owned(),
        };
        let body = request.body().bytes().unwrap_or_default().to_vec();
        let (answer, answered) = oneshot::channel();
        let (inner, faulty) = (self.aws.0.clone(), self.faulty);
        let invocation = inner.sim.invocation();
        // What is on its way is on its way, whether or not its sender lives on.
        self.aws.0.sim.spawn(async move { inner.carry(target, body, faulty, invocation, answer).await });
        HttpConnectorFuture::new(async move {
            match answered.await {
                Ok((status, body)) => {
                    let status = status.try_into().map_err(|_| ConnectorError::user("status".into()))?;
                    Ok(HttpResponse::new(status, SdkBody::from(body)))
                }
                Err(_) => Err(ConnectorError::io("the connection was reset".into())),
            }
        })
    }
}

impl Inner {
    async fn carry(
        self: Arc<Self>,
        target: String,
        body: Vec<u8>,
        faulty: bool,
        invocation: u64,
        answer: oneshot::Sender<Answer>,
    ) {
        let (service, operation) = match target.split_once('.') {
            Some(("AmazonSQS", operation)) => (Service::Sqs, operation),
            Some(("Lambda", operation)) => (Service::Lambda, operation),
            Some((_, operation)) => (Service::DynamoDb, operation),
            None => panic!("{target} is no operation"),
        };
        if !faulty {
            let served = self.serve(service, operation, body, invocation).await;
            let _gone = answer.send(served);
            return;
        }
        let dice = self.faults.dice();
        let (there, back) = (dice.millis(1, 12), dice.millis(0, 8));
        let reset = dice.chance(300);
        self.sim.sleep(there).await;
        let fate = self.faults.fate(service);
        if fate != Fate::Served {
            self.journal.strike(invocation, self.sim.now());
        }
        self.journal.step(invocation, fate, |function| coverage::step(function, service, operation, &body));
        self.sim.trace(|| format!("{invocation}: {operation} {fate:?}"));
        match fate {
            Fate::Throttled => {
                self.sim.sleep(back).await;
                let _gone = answer.send(left_over(operation, &body).unwrap_or_else(|| throttled(service)));
            }
            Fate::Down => {
                self.sim.sleep(back).await;
                if !reset {
                    let _gone = answer.send(internal(service));
                }
            }
            Fate::LostRequest => self.hold(answer, reset).await,
            Fate::LostAnswer => {
                self.serve(service, operation, body, invocation).await;
                self.hold(answer, reset).await;
            }
            Fate::Late(wait) => {
                self.sim.sleep(wait).await;
                let served = self.serve(service, operation, body, invocation).await;
                let _gone = answer.send(served);
            }
            Fate::Served => {
                // Its sender died before: it may have been sent all the same.
                if answer.is_closed() && dice.chance(500) {
                    return;
                }
                let served = self.serve(service, operation, body, invocation).await;
                self.sim.sleep(back).await;
                let _gone = answer.send(served);
            }
        }
    }

    /// No answer: the connection breaks, or stays open until the sender gives up.
    async fn hold(&self, answer: oneshot::Sender<Answer>, reset: bool) {
        if !reset {
            let mut answer = answer;
            answer.closed().await;
        }
    }

    async fn serve(&self, service: Service, operation: &str, body: Vec<u8>, invocation: u64) -> Answer {
        let answer = match service {
            Service::Sqs => self.sqs(operation, body).await,
            // In this process: the machine's time has no part in a run.
            Service::Lambda => {
                let clock: shared::clock::SharedClock = Arc::new(SimClock::new(&self.sim));
                let batch = serde_json::from_slice(&body).expect("a batch");
                (200, serde_json::to_vec(&transformer::run_batch(&clock, &batch)).expect("JSON"))
            }
            Service::DynamoDb => {
                let mut body = String::from_utf8(body).expect("text");
                if self.forgets_a_copy && operation == "TransactWriteItems" {
                    body = without_first_copy(&body);
                }
                let answer = self.dynamodb(operation, &body);
                if answer.0 == 200 && ["PutItem", "UpdateItem", "TransactWriteItems"].contains(&operation) {
                    self.note(&body, invocation);
                }
                answer
            }
        };
        if answer.0 != 200 {
            let error: Value = serde_json::from_slice(&answer.1).unwrap_or_default();
            self.sim.trace(|| format!("{invocation}: {operation} is refused: {}", error["__type"]));
        }
        answer
    }

    /// What writes are about that the simulation has to know.
    fn note(&self, body: &str, invocation: u64) {
        let puts = || {
            let mut request: Value = serde_json::from_str(body).expect("JSON");
            match request["TransactItems"].take() {
                Value::Array(writes) => writes.into_iter().map(|mut write| write["Put"].take()).collect(),
                _ => vec![request],
            }
        };
        if body.contains("TIMER#") {
            let puts = puts();
            let is_timer =
                |put: &&Value| put["Item"]["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("TIMER#"));
            for put in puts.iter().filter(is_timer) {
                let key = put["Item"]["sk"]["S"].as_str().expect("a key").to_owned();
                self.timers.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
            }
        } else if body.contains("\"ATT#") {
            for put in puts() {
                // Notes of what was given up have such keys as well.
                let text = |name: &str| put["Item"][name]["S"].as_str().unwrap_or_default();
                if !text("pk").is_empty() {
                    self.recorded(text("pk"), text("sk"), text("m"), invocation);
                }
            }
        } else if body.contains("\"#fs\"") {
            let update: Value = serde_json::from_str(body).expect("JSON");
            let text = |name: &str| update["Key"][name]["S"].as_str().expect("text");
            // One without details, a number, was recorded by the put before it.
            if update["ExpressionAttributeValues"][":fs"]["B"].is_string() {
                self.recorded(text("pk"), text("sk"), &text("sk")["MSG#".len()..], invocation);
            }
        }
    }

    fn recorded(&self, pk: &str, sk: &str, message: &str, invocation: u64) {
        let endpoint = pk.split('#').nth(1).expect("an endpoint").to_owned();
        let record = Record { endpoint, message: message.to_owned(), invocation, at: self.sim.now() };
        self.sim.trace(|| format!("{invocation}: recorded {sk}"));
        self.journal.lock().records.push(record);
    }

    fn dynamodb(&self, operation: &str, body: &str) -> Answer {
        local_dynamodb::answer(&self.database, operation, body.as_bytes())
            .unwrap_or_else(|| panic!("DynamoDB's {operation} is not known here"))
    }

    async fn sqs(&self, operation: &str, mut body: Vec<u8>) -> Answer {
        let mut refused = Vec::new();
        if operation == "SendMessageBatch" {
            let mut request: Value = serde_json::from_slice(&body).expect("JSON");
            if let Some(entries) = request["Entries"].as_array_mut() {
                entries.retain_mut(|entry| {
                    if self.faults.strikes(self.faults.rates.delayed_job, "delayed job") {
                        let delay = entry["DelaySeconds"].as_u64().unwrap_or(0);
                        let more = self.faults.dice().between(1, 40);
                        entry["DelaySeconds"] = json!((delay + more).min(900));
                    }
                    let strikes = self.faults.strikes(self.faults.rates.refused_entry, "refused job");
                    if strikes {
                        refused.push(json!({
                            "Id": entry["Id"], "SenderFault": false, "Code": "InternalError", "Message": "again",
                        }));
                    }
                    !strikes
                });
                if entries.is_empty() {
                    return (200, json!({ "Successful": [], "Failed": refused }).to_string().into_bytes());
                }
            }
            body = request.to_string().into_bytes();
        }
        let target = format!("AmazonSQS.{operation}");
        let (status, mut answer) = local_sqs::answer_one(&self.engine, &target, &body).await;
        self.queues.notify_waiters();
        if !refused.is_empty() && status == 200 {
            let mut both: Value = serde_json::from_slice(&answer).expect("JSON");
            both["Failed"] = json!(refused);
            answer = both.to_string().into_bytes();
        }
        (status, answer)
    }
}

/// A transaction without what it does to the first copy of an application whose version it raises.
fn without_first_copy(body: &str) -> String {
    let mut request: Value = serde_json::from_str(body).expect("JSON");
    let writes = request["TransactItems"].as_array_mut().expect("writes");
    let raises = |write: &Value| {
        write["Update"]["UpdateExpression"].as_str().is_some_and(|text| text.contains("#version + "))
    };
    if writes.iter().any(raises) {
        writes.retain(|write| {
            let pk = write["Update"]["Key"]["pk"]["S"].as_str().unwrap_or_default();
            !(pk.starts_with("APP#") && pk.ends_with("#1"))
        });
    }
    request.to_string()
}

fn error(status: u16, kind: &str) -> Answer {
    (status, json!({ "__type": kind, "message": "on purpose" }).to_string().into_bytes())
}

/// What a batch is answered that was throttled: all of it is to be asked for again.
fn left_over(operation: &str, body: &[u8]) -> Option<Answer> {
    let left = match operation {
        "BatchGetItem" => "UnprocessedKeys",
        "BatchWriteItem" => "UnprocessedItems",
        _ => return None,
    };
    let mut request: Value = serde_json::from_slice(body).expect("JSON");
    Some((200, json!({ "Responses": {}, left: request["RequestItems"].take() }).to_string().into_bytes()))
}

fn throttled(service: Service) -> Answer {
    match service {
        Service::DynamoDb => {
            error(400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")
        }
        Service::Sqs => error(403, "com.amazonaws.sqs#RequestThrottled"),
        Service::Lambda => error(429, "TooManyRequestsException"),
    }
}

fn internal(service: Service) -> Answer {
    match service {
        Service::DynamoDb => error(500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
        Service::Sqs => error(503, "com.amazonaws.sqs#ServiceUnavailable"),
        Service::Lambda => error(500, "ServiceException"),
    }
}
