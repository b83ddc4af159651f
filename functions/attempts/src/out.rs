//! The shapes of this function's answers.

use base64::Engine as _;
use serde::Serialize;
use shared::Result;
use shared::clock::Timestamp;
use shared::ids::{AttemptId, EndpointId, MessageId};
use shared::store::attempts::{Attempt, ResponseBody, State, Status};
use shared::store::endpoints::Endpoint;
use shared::store::messages::Message;
use shared::wire::{MessageOut, Shown};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptOut {
    id: AttemptId,
    endpoint_id: EndpointId,
    msg_id: MessageId,
    url: String,
    response: String,
    response_status_code: u16,
    response_duration_ms: u64,
    status: u8,
    status_text: &'static str,
    trigger_type: u8,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<MessageOut>,
}

impl AttemptOut {
    pub fn new(attempt: Attempt, with_content: bool) -> Self {
        let response = match attempt.response {
            _ if !with_content => String::new(),
            ResponseBody::Text(text) => text,
            ResponseBody::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes),
        };
        Self {
            id: attempt.id,
            endpoint_id: attempt.endpoint,
            msg_id: attempt.message,
            url: attempt.url,
            response,
            response_status_code: attempt.code,
            response_duration_ms: attempt.duration_ms,
            status: attempt.status as u8,
            status_text: attempt.status.text(),
            trigger_type: attempt.trigger as u8,
            timestamp: attempt.at,
            msg: None,
        }
    }

    /// The same with its message, whose text is never shown here.
    pub fn of_message(self, message: Option<&Message>) -> Result<Self> {
        let msg = message.map(|message| MessageOut::new(message, &Shown::Withheld)).transpose()?;
        Ok(Self { msg, ..self })
    }
}

/// How a delivery stands, as a part of other shapes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StandingOut {
    status: u8,
    status_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<Timestamp>,
}

impl StandingOut {
    /// Without a state the first attempt is on its way.
    fn new(state: Option<&State>) -> Self {
        let status = state.map_or(Status::Sending, State::outcome);
        Self {
            status: status as u8,
            status_text: status.text(),
            next_attempt: state.and_then(State::next_attempt),
        }
    }
}

/// A message, and how its delivery to one endpoint stands.
#[derive(Serialize)]
pub struct EndpointMessageOut {
    #[serde(flatten)]
    message: MessageOut,
    #[serde(flatten)]
    standing: StandingOut,
}

impl EndpointMessageOut {
    pub fn id(&self) -> MessageId {
        self.message.id()
    }

    pub fn new(message: MessageOut, state: &State) -> Self {
        Self { message, standing: StandingOut::new(Some(state)) }
    }
}

/// An endpoint, and how the delivery of one message to it stands.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageEndpointOut {
    id: EndpointId,
    url: String,
    version: u32,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u16>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(flatten)]
    standing: StandingOut,
}

impl MessageEndpointOut {
    pub fn new(endpoint: Endpoint, state: Option<&State>) -> Self {
        let settings = endpoint.settings;
        Self {
            id: endpoint.id,
            url: settings.url,
            // SDKs 1.x fail without a number here; it has meant nothing for years.
            version: 1,
            description: settings.description,
            uid: settings.uid,
            filter_types: settings.event_types.clone(),
            event_types: settings.event_types,
            channels: settings.channels,
            disabled: settings.disabled,
            rate_limit: settings.rate_limit,
            throttle_rate: settings.rate_limit,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
            standing: StandingOut::new(state),
        }
    }
}
