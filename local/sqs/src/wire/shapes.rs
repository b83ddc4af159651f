//! The JSON shapes, named as the service names them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// A message attribute, as sent, as returned and as stored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Attribute {
    pub(crate) data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) string_value: Option<String>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binary_value: Option<String>,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $kind:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Default, Deserialize)]
            #[serde(rename_all = "PascalCase", default)]
            pub(crate) struct $name { $($(#[$meta])* pub(crate) $field: Option<$kind>),* }
        )*
    };
}

requests! {
    CreateQueue {
        queue_name: String,
        attributes: BTreeMap<String, String>,
        // The only member of the model that starts with a small letter, next to `queueUrls`.
        #[serde(alias = "tags")]
        tags: BTreeMap<String, String>,
    }
    GetQueueUrl { queue_name: String, #[serde(rename = "QueueOwnerAWSAccountId")] owner: String }
    ListQueues { queue_name_prefix: String, max_results: i64, next_token: String }
    /// For the operations that take nothing but a queue.
    OnQueue { queue_url: String }
    GetQueueAttributes { queue_url: String, attribute_names: Vec<String> }
    SetQueueAttributes { queue_url: String, attributes: BTreeMap<String, String> }
    ListSources { queue_url: String, max_results: i64, next_token: String }
    TagQueue { queue_url: String, tags: BTreeMap<String, String> }
    UntagQueue { queue_url: String, tag_keys: Vec<String> }
    /// A send, and (with its `Id`) an entry of a batch of them.
    SendMessage {
        queue_url: String,
        id: String,
        message_body: String,
        delay_seconds: i64,
        message_attributes: BTreeMap<String, Attribute>,
        message_system_attributes: BTreeMap<String, Attribute>,
        message_group_id: String,
        message_deduplication_id: String,
    }
    ReceiveMessage {
        queue_url: String,
        attribute_names: Vec<String>,
        message_system_attribute_names: Vec<String>,
        message_attribute_names: Vec<String>,
        max_number_of_messages: i64,
        visibility_timeout: i64,
        wait_time_seconds: i64,
    }
    /// A delete or a change of visibility, and (with its `Id`) an entry of a batch of them.
    OnReceipt { queue_url: String, id: String, receipt_handle: String, visibility_timeout: i64 }
    StartMove { source_arn: String, destination_arn: String, max_number_of_messages_per_second: i64 }
    ListMoves { source_arn: String, max_results: i64 }
    CancelMove { task_handle: String }
}

/// A batch of sends, deletes or changes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Batch<E> {
    #[serde(default)]
    pub(crate) queue_url: Option<String>,
    #[serde(default = "Vec::new")]
    pub(crate) entries: Vec<E>,
}

/// What every batch entry has.
pub(crate) trait Entry {
    fn id(&self) -> Option<&str>;
}

impl Entry for SendMessage {
    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

impl Entry for OnReceipt {
    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// An answer without content.
#[derive(Serialize)]
pub(crate) struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueueUrl {
    pub(crate) queue_url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueueUrls {
    pub(crate) queue_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Sources {
    #[serde(rename = "queueUrls")]
    pub(crate) queue_urls: Vec<String>,
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueueAttributes {
    pub(crate) attributes: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tags {
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sent {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    pub(crate) md5_of_body: String,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    pub(crate) md5_of_attributes: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
    pub(crate) md5_of_system_attributes: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Received {
    pub(crate) message_id: String,
    pub(crate) receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    pub(crate) md5_of_body: String,
    pub(crate) body: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attributes: BTreeMap<&'static str, String>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    pub(crate) md5_of_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) message_attributes: BTreeMap<String, Attribute>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Messages {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) messages: Vec<Received>,
}

/// The entries of a batch that were done, and those that were not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BatchResult<S> {
    pub(crate) successful: Vec<S>,
    pub(crate) failed: Vec<Failure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Done {
    pub(crate) id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Failure {
    id: String,
    code: &'static str,
    message: String,
    sender_fault: bool,
}

impl Failure {
    pub(crate) fn new(id: String, error: ApiError) -> Self {
        Self { id, code: error.kind.names().1, sender_fault: error.sender_fault(), message: error.message }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaskHandle {
    pub(crate) task_handle: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Cancelled {
    pub(crate) approximate_number_of_messages_moved: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Moves {
    pub(crate) results: Vec<MoveTask>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MoveTask {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_handle: Option<String>,
    pub(crate) status: &'static str,
    pub(crate) source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_number_of_messages_per_second: Option<i64>,
    pub(crate) approximate_number_of_messages_moved: u64,
    pub(crate) approximate_number_of_messages_to_move: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure_reason: Option<&'static str>,
    pub(crate) started_timestamp: u64,
}
