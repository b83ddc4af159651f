//! Counts the requests to SQS where the SDK hands them over, so that its own retries are counted too,
//! whoever serves them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// How many requests were made to SQS, by kind; a batch is one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqsRequests {
    /// `SendMessage` and `SendMessageBatch`.
    pub send: u64,
    /// `ReceiveMessage`, those that found nothing among them.
    pub receive: u64,
    /// `DeleteMessage` and `DeleteMessageBatch`.
    pub delete: u64,
    /// `ChangeMessageVisibility` and `ChangeMessageVisibilityBatch`.
    pub change: u64,
}

#[derive(Debug, Default)]
struct Counters {
    send: AtomicU64,
    receive: AtomicU64,
    delete: AtomicU64,
    change: AtomicU64,
}

impl Counters {
    fn count(&self, target: &str) {
        let counter = match target {
            "AmazonSQS.SendMessage" | "AmazonSQS.SendMessageBatch" => &self.send,
            "AmazonSQS.ReceiveMessage" => &self.receive,
            "AmazonSQS.DeleteMessage" | "AmazonSQS.DeleteMessageBatch" => &self.delete,
            "AmazonSQS.ChangeMessageVisibility" | "AmazonSQS.ChangeMessageVisibilityBatch" => &self.change,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Wraps the SDK's HTTP client.
#[derive(Clone, Debug)]
pub(crate) struct Metered {
    inner: SharedHttpClient,
    counters: Arc<Counters>,
}

impl Metered {
    pub(crate) fn new(inner: SharedHttpClient) -> Self {
        Self { inner, counters: Arc::default() }
    }

    pub(crate) fn counts(&self) -> SqsRequests {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { send, receive, delete, change } = &*self.counters;
        SqsRequests { send: read(send), receive: read(receive), delete: read(delete), change: read(change) }
    }
}

impl HttpClient for Metered {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector { inner, counters: self.counters.clone() })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    counters: Arc<Counters>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if let Some(target) = request.headers().get("x-amz-target") {
            self.counters.count(target);
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_kind() {
        let metered = Metered::new(shared::Platform::system().http);
        for target in ["AmazonSQS.SendMessageBatch", "AmazonSQS.ReceiveMessage", "DynamoDB_20120810.GetItem"]
        {
            metered.counters.count(target);
        }
        assert_eq!(metered.counts(), SqsRequests { send: 1, receive: 1, delete: 0, change: 0 });
    }
}
