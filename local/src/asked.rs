//! What a request of the SDK asks of DynamoDB or SQS, read once for whoever looks at it on its way.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A request, as far as its target and its body say what it is about.
pub(crate) struct Asked<'a> {
    /// `DynamoDB` or `SQS`.
    pub(crate) service: &'static str,
    /// Such as `PutItem`.
    pub(crate) operation: &'a str,
    pub(crate) body: Body<'a>,
}

/// Of a request's body, what names tables and queues, and what SQS counts the bytes of.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Body<'a> {
    #[serde(borrow)]
    pub(crate) table_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) queue_url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) request_items: Option<BTreeMap<Cow<'a, str>, IgnoredAny>>,
    #[serde(borrow, default)]
    pub(crate) transact_items: Vec<BTreeMap<Cow<'a, str>, Part<'a>>>,
    #[serde(borrow)]
    message_body: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    entries: Vec<Entry<'a>>,
}

/// A part of a transaction.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Part<'a> {
    #[serde(borrow)]
    pub(crate) table_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default, rename = "MessageBody")]
    body: Cow<'a, str>,
}

impl<'a> Asked<'a> {
    /// What the request asks, or `None` if it cannot be understood.
    pub(crate) fn of(request: &'a HttpRequest) -> Option<Self> {
        Self::read(request.headers().get("x-amz-target")?, request.body().bytes()?)
    }

    pub(crate) fn read(target: &'a str, body: &'a [u8]) -> Option<Self> {
        let (service, operation) = target.split_once('.')?;
        let service = if service == "AmazonSQS" { "SQS" } else { "DynamoDB" };
        Some(Self { service, operation, body: serde_json::from_slice(body).ok()? })
    }

    /// The table's name or the queue's.
    pub(crate) fn on(&self) -> &str {
        let queue = self.body.queue_url.as_deref().and_then(|url| url.rsplit('/').next());
        self.body.table_name.as_deref().or(queue).unwrap_or_default()
    }

    /// Bytes of the messages that it brings to SQS.
    pub(crate) fn bytes_sent(&self) -> usize {
        let entries: usize = self.body.entries.iter().map(|entry| entry.body.len()).sum();
        entries + self.body.message_body.as_deref().map_or(0, str::len)
    }
}
