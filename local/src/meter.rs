//! Counts what is asked of DynamoDB and SQS where the SDK hands its requests over, so that its own
//! retries are counted too, whoever serves them: requests, the units that the answers say were
//! consumed, and the 64-KB chunks that SQS charges by. What a function's role does not allow ends here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde::Deserialize;

use crate::asked::Asked;
use crate::invocations::invoked;
use crate::role_policy::RolePolicy;

/// What SQS charges as one request.
const CHUNK: usize = 64 * 1024;
/// Who asked, where no function did: the pollers, and whoever uses the stack's own clients.
const RUNNER: &str = "runner";

/// Who asked which service for what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The function's name, or `runner`.
    pub by: String,
    /// `DynamoDB`, `SQS` or `Lambda`.
    pub service: &'static str,
    /// Such as `PutItem`.
    pub operation: String,
    /// The table, queue or function, without the stack's prefix; empty where there is none.
    pub on: String,
}

/// What calls came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Requests, answered or not.
    pub requests: u64,
    /// Those that the service refused. A write whose condition is not met consumes units in AWS that
    /// the answer does not tell.
    pub refused: u64,
    /// Receives that found nothing.
    pub empty: u64,
    /// Read request units.
    pub read_units: f64,
    /// Write request units.
    pub write_units: f64,
    /// What SQS charges as requests: one for each 64 KB begun.
    pub chunks: u64,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.refused += other.refused;
        self.empty += other.empty;
        self.read_units += other.read_units;
        self.write_units += other.write_units;
        self.chunks += other.chunks;
    }
}

/// All calls so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger(BTreeMap<Call, Spent>);

impl Ledger {
    /// What was spent since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let left = self.0.iter().filter_map(|(call, now)| {
            let was = earlier.0.get(call).copied().unwrap_or_default();
            let spent = Spent {
                requests: now.requests - was.requests,
                refused: now.refused - was.refused,
                empty: now.empty - was.empty,
                read_units: now.read_units - was.read_units,
                write_units: now.write_units - was.write_units,
                chunks: now.chunks - was.chunks,
            };
            (spent.requests > 0).then(|| (call.clone(), spent))
        });
        Self(left.collect())
    }

    /// The calls, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Call, &Spent)> {
        self.0.iter()
    }

    /// What those calls came to that `which` picks.
    pub fn total(&self, which: impl Fn(&Call) -> bool) -> Spent {
        let mut total = Spent::default();
        self.0.iter().filter(|(call, _)| which(call)).for_each(|(_, spent)| total += *spent);
        total
    }
}

#[derive(Debug)]
struct Book {
    ledger: Mutex<Ledger>,
    prefix: String,
}

impl Book {
    fn add(&self, call: Call, spent: Spent) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        *ledger.0.entry(call).or_default() += spent;
    }

    fn short<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.prefix.as_str()).and_then(|name| name.strip_prefix('-')).unwrap_or(name)
    }
}

/// Wraps the SDK's HTTP client.
#[derive(Clone, Debug)]
pub(crate) struct Metered {
    inner: SharedHttpClient,
    by: Arc<str>,
    /// Of a function.
    role: Option<RolePolicy>,
    book: Arc<Book>,
}

impl Metered {
    /// Names of tables and queues lose this prefix.
    pub(crate) fn new(inner: SharedHttpClient, prefix: &str) -> Self {
        let book = Book { ledger: Mutex::default(), prefix: prefix.to_owned() };
        Self { inner, by: RUNNER.into(), role: None, book: Arc::new(book) }
    }

    /// The same, for the requests of one function, as far as its role allows them.
    pub(crate) fn of(&self, role: RolePolicy) -> Self {
        Self { by: role.function.clone(), role: Some(role), ..self.clone() }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.book.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl HttpClient for Metered {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        let (by, role, book) = (self.by.clone(), self.role.clone(), self.book.clone());
        SharedHttpConnector::new(Connector { inner, by, role, book })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    by: Arc<str>,
    role: Option<RolePolicy>,
    book: Arc<Book>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let asked = Asked::of(&request);
        if let Some(refusal) = self.role.as_ref().and_then(|role| role.refusal(&request, asked.as_ref())) {
            return HttpConnectorFuture::ready(Ok(refusal));
        }
        if let Some(function) = invoked(&request) {
            let (service, operation) = ("Lambda", "Invoke".to_owned());
            let call = Call { by: self.by.to_string(), service, operation, on: function.to_owned() };
            self.book.add(call, Spent { requests: 1, ..Spent::default() });
            return self.inner.call(request);
        }
        let Some(asked) = asked else { return self.inner.call(request) };
        let (service, sent) = (asked.service, asked.bytes_sent());
        let call = Call {
            by: self.by.to_string(),
            service,
            operation: asked.operation.to_owned(),
            on: self.book.short(asked.on()).to_owned(),
        };
        let (answer, book) = (self.inner.call(request), self.book.clone());
        // Counted also where the answer is never asked for.
        let mut counting = Counting { book, call, spent: Spent { requests: 1, ..Spent::default() } };
        if service == "SQS" {
            counting.spent.chunks = chunks(sent);
        }
        HttpConnectorFuture::new(async move {
            let mut response = answer.await?;
            if response.body().bytes().is_none() {
                let body = ByteStream::new(std::mem::replace(response.body_mut(), SdkBody::taken()));
                let body = body.collect().await.map_err(|error| ConnectorError::io(error.into()))?;
                *response.body_mut() = SdkBody::from(body.into_bytes());
            }
            let success = response.status().is_success();
            counting.learn(success, response.body().bytes().unwrap_or_default());
            drop(counting);
            Ok(response)
        })
    }
}

/// Goes into the ledger when it is dropped.
struct Counting {
    book: Arc<Book>,
    call: Call,
    spent: Spent,
}

impl Counting {
    fn learn(&mut self, success: bool, body: &[u8]) {
        if !success {
            self.spent.refused += 1;
            return;
        }
        match self.call.operation.as_str() {
            "ReceiveMessage" => {
                let received: Received<'_> = serde_json::from_slice(body).unwrap_or_default();
                self.spent.empty = u64::from(received.messages.is_empty());
                self.spent.chunks = chunks(received.messages.iter().map(|message| message.body.len()).sum());
            }
            operation if self.call.service == "DynamoDB" => {
                let reads =
                    matches!(operation, "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems");
                let Consumed { capacity: Some(capacity) } = serde_json::from_slice(body).unwrap_or_default()
                else {
                    return;
                };
                let units = |each: &Capacity<'_>| match reads {
                    true => Spent { read_units: each.units, ..Spent::default() },
                    false => Spent { write_units: each.units, ..Spent::default() },
                };
                match capacity {
                    OneOrMore::One(one) => self.spent += units(&one),
                    OneOrMore::More(all) => {
                        // A batch goes to one table here; what another one gave is added to its own.
                        for (nth, each) in all.iter().enumerate() {
                            let on = self.book.short(&each.table_name).to_owned();
                            if nth == 0 {
                                self.call.on = on;
                                self.spent += units(each);
                            } else {
                                self.book.add(Call { on, ..self.call.clone() }, units(each));
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.book.add(self.call.clone(), self.spent);
    }
}

fn chunks(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(CHUNK).max(1)).unwrap_or(u64::MAX)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Received<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    #[serde(borrow, default)]
    body: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Consumed<'a> {
    #[serde(borrow, rename = "ConsumedCapacity")]
    capacity: Option<OneOrMore<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<'a> {
    One(#[serde(borrow)] Capacity<'a>),
    More(#[serde(borrow)] Vec<Capacity<'a>>),
}

#[derive(Deserialize)]
struct Capacity<'a> {
    #[serde(borrow, default, rename = "TableName")]
    table_name: Cow<'a, str>,
    #[serde(default, rename = "CapacityUnits")]
    units: f64,
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

    use super::*;

    #[derive(Clone, Debug)]
    struct Fixed(u16, &'static str);

    impl HttpConnector for Fixed {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let status = self.0.try_into().unwrap();
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(self.1))))
        }
    }

    async fn count(target: &str, asked: &str, answer: Fixed) -> (Call, Spent) {
        let meter = Metered::new(shared::Platform::system().http, "p");
        let inner = SharedHttpConnector::new(answer.clone());
        let connector = Connector { inner, by: "deliver".into(), role: None, book: meter.book.clone() };
        let mut request = HttpRequest::new(SdkBody::from(asked));
        request.headers_mut().insert("x-amz-target", target.to_owned());
        let response = connector.call(request).await.unwrap();
        assert_eq!(response.body().bytes(), Some(answer.1.as_bytes()));
        let ledger = meter.ledger();
        let (call, spent) = ledger.iter().next().unwrap();
        assert_eq!(call.by, "deliver");
        (call.clone(), *spent)
    }

    #[tokio::test]
    async fn units_are_those_of_the_answer_by_table() {
        let answer = Fixed(200, r#"{"ConsumedCapacity":{"TableName":"p-log","CapacityUnits":2.0}}"#);
        let (call, spent) = count("DynamoDB_20120810.PutItem", r#"{"TableName":"p-log"}"#, answer).await;
        assert_eq!((call.service, call.operation.as_str(), call.on.as_str()), ("DynamoDB", "PutItem", "log"));
        assert_eq!(spent, Spent { requests: 1, write_units: 2.0, ..Spent::default() });

        let answer = Fixed(200, r#"{"ConsumedCapacity":[{"TableName":"p-config","CapacityUnits":0.5}]}"#);
        let (call, spent) = count("DynamoDB_20120810.BatchGetItem", r#"{"RequestItems":{}}"#, answer).await;
        assert_eq!((call.on.as_str(), spent.read_units), ("config", 0.5));

        let answer = Fixed(400, r#"{"__type":"ConditionalCheckFailedException"}"#);
        let (_, spent) = count("DynamoDB_20120810.PutItem", r#"{"TableName":"p-log"}"#, answer).await;
        assert_eq!(spent, Spent { requests: 1, refused: 1, ..Spent::default() });
    }

    #[tokio::test]
    async fn chunks_are_of_what_travels_in_bodies() {
        let send = "AmazonSQS.SendMessageBatch";
        let entry = |length: usize| format!(r#"{{"MessageBody":"{}"}}"#, "x".repeat(length));
        let asked = |lengths: &[usize]| {
            let entries: Vec<String> = lengths.iter().map(|length| entry(*length)).collect();
            format!(r#"{{"QueueUrl":"http://h/0/p-deliveries","Entries":[{}]}}"#, entries.join(","))
        };
        let (call, spent) = count(send, &asked(&[CHUNK / 2, CHUNK / 2]), Fixed(200, "{}")).await;
        assert_eq!((call.service, call.on.as_str(), spent.chunks), ("SQS", "deliveries", 1));
        let (_, spent) = count(send, &asked(&[CHUNK, 1]), Fixed(200, "{}")).await;
        assert_eq!((spent.requests, spent.chunks), (1, 2));

        let receive = "AmazonSQS.ReceiveMessage";
        let (_, spent) = count(receive, "{}", Fixed(200, "{}")).await;
        assert_eq!((spent.empty, spent.chunks), (1, 1));
        let answer = Fixed(200, r#"{"Messages":[{"Body":"a \"quoted\" one"}]}"#);
        let (_, spent) = count(receive, "{}", answer).await;
        assert_eq!((spent.empty, spent.chunks), (0, 1));
    }
}
