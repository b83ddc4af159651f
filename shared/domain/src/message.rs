//! Messages: what was posted, kept byte for byte, and the endpoints that it goes to.

use std::sync::Arc;

use runtime::clock::{HOUR, Timestamp};

use crate::ids::{AppId, EndpointId, MessageId};
use crate::labels::Labels;

/// A message's text as it was posted.
///
/// Its clones share the text. Between posting and sending it is copied twice: out of the request's body, and
/// out of the body of the job. What is stored and what is queued is written from it besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The JSON text of the payload.
    pub json: Arc<String>,
    /// What is sent instead of it.
    pub raw: Option<Arc<String>>,
    /// The type of what is sent, if it is not JSON.
    pub content_type: Option<String>,
}

impl Payload {
    /// A payload that is sent as it is.
    pub fn of(json: impl Into<String>) -> Self {
        Self { json: Arc::new(json.into()), raw: None, content_type: None }
    }

    /// The text that is signed and sent.
    pub const fn sent(&self) -> &Arc<String> {
        match &self.raw {
            Some(raw) => raw,
            None => &self.json,
        }
    }

    /// How long the texts are together.
    pub fn length(&self) -> usize {
        self.json.len() + self.raw.as_ref().map_or(0, |raw| raw.len())
    }
}

/// A message to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its application.
    pub app: AppId,
    /// Its id, which holds its time.
    pub id: MessageId,
    /// What it can be found by.
    pub labels: Labels,
    /// The caller's own id for it, unique in the application.
    pub event_id: Option<String>,
    /// Its text.
    pub payload: Payload,
    /// After how many hours the text goes.
    pub retention_hours: u64,
    /// When its first attempts are due, if not at once.
    pub deliver_at: Option<Timestamp>,
    /// The endpoints that it goes to.
    pub endpoints: Vec<EndpointId>,
}

impl NewMessage {
    /// When its first attempts are due.
    pub fn first_due(&self) -> Timestamp {
        self.deliver_at.unwrap_or_else(|| self.id.time())
    }

    /// From when on the text is gone.
    pub fn payload_until(&self) -> Timestamp {
        self.id.time().after(HOUR * u32::try_from(self.retention_hours).unwrap_or(u32::MAX))
    }
}

/// A message as stored.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its application.
    pub app: AppId,
    /// Its id, which holds its time.
    pub id: MessageId,
    /// What it can be found by.
    pub labels: Labels,
    /// The caller's own id for it.
    pub event_id: Option<String>,
    /// From when on the text is not shown and not sent, whether or not it is still stored.
    pub payload_until: Timestamp,
    /// When its first attempts were, or are, due, if not at once.
    pub deliver_at: Option<Timestamp>,
    /// Where its text and the list of its endpoints are.
    pub stored: PayloadLocation,
}

impl Message {
    /// Whether it is no message, but keeps its ID from being one: whoever had that ID died before it was stored.
    pub const fn is_void(&self) -> bool {
        self.labels.event_type.is_empty()
    }

    /// When its first attempts are due.
    pub fn first_due(&self) -> Timestamp {
        self.deliver_at.unwrap_or_else(|| self.id.time())
    }
}

/// How a text is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    #[default]
    Plain,
    /// By DEFLATE (RFC 1951).
    Deflated,
    /// By the store's own code for short texts.
    Short,
}

/// Where a message's text is kept, and the list of the endpoints that it goes to.
#[derive(Clone, Debug, Default)]
pub struct PayloadLocation {
    /// The text, where it is in the message's own item.
    pub inline: Option<Vec<u8>>,
    /// How many parts the text has otherwise.
    pub parts: usize,
    /// What tells those parts from others.
    pub parts_tag: String,
    /// How the text is stored.
    pub packing: Packing,
    /// Where the JSON ends and the raw text begins.
    pub json_length: Option<usize>,
    /// The type of what is sent, if it is not JSON.
    pub content_type: Option<String>,
    /// The endpoints, where they are in the message's own item.
    pub endpoints: Vec<EndpointId>,
    /// How many parts the list of endpoints has otherwise.
    pub endpoint_parts: usize,
    /// What tells those parts from others.
    pub endpoint_tag: String,
}
