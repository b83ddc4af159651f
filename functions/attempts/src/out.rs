//! The shapes of this function's answers.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use shared::Result;
use shared::clock::Timestamp;
use shared::ids::{AttemptId, EndpointId, MessageId};
use shared::store::attempts::{Attempt, CANCELED, Passage, State, Status, Trigger};
use shared::store::endpoints::Endpoint;
use shared::store::messages::Message;
use shared::wire::{MessageOut, Shown};

use crate::filter::ExpandedStatuses;

/// Every status that there is, as a number and as a word.
fn statuses() -> [(u8, &'static str); 5] {
    let [success, pending, fail, sending] = Status::ALL.map(|status| (status as u8, status.text()));
    [success, pending, fail, sending, CANCELED]
}

macro_rules! values {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:literal of $values:expr,)*) => {$(
        $(#[doc = $doc])*
        struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $kind, "enum": $values, "description": concat!($($doc),*).trim() })
            }
        }
    )*};
}

values! {
    /// 0 success, 1 pending, 2 failed, 3 sending, and with `expanded_statuses` 4 cancelled by the endpoint's transformation. An attempt is never 1 or 3, a delivery is 3 until it ends.
    StatusNumber: "integer" of statuses().map(|(number, _)| number),
    /// Its status, as a word.
    StatusText: "string" of statuses().map(|(_, text)| text),
    /// What triggered it: 0 the schedule, 1 a manual resend.
    TriggerNumber: "integer" of [Trigger::Scheduled, Trigger::Manual].map(|trigger| trigger as u8),
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "MessageAttemptOut")]
pub struct AttemptOut {
    id: AttemptId,
    endpoint_id: EndpointId,
    msg_id: MessageId,
    /// Where it was sent.
    url: String,
    /// The response's body, up to 20,000 bytes, and in parentheses why it ends early; or why there was no
    /// response. What is no text is base64.
    response: String,
    /// The response's status code; 0 without a response.
    response_status_code: u16,
    /// Milliseconds until the response.
    response_duration_ms: u64,
    #[schemars(with = "StatusNumber")]
    status: u8,
    #[schemars(with = "StatusText")]
    status_text: &'static str,
    #[schemars(with = "TriggerNumber")]
    trigger_type: u8,
    timestamp: Timestamp,
    /// The message, if `with_msg` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<MessageOut>,
}

impl AttemptOut {
    pub fn new(attempt: Attempt, with_content: bool, statuses: ExpandedStatuses) -> Self {
        let (status, status_text) = statuses.shown(attempt.status, attempt.passage == Passage::Canceled);
        let response = if with_content { attempt.response_text() } else { String::new() };
        Self {
            id: attempt.id,
            endpoint_id: attempt.endpoint,
            msg_id: attempt.message,
            url: attempt.url,
            response,
            response_status_code: attempt.code,
            response_duration_ms: attempt.duration_ms,
            status,
            status_text,
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
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct StandingOut {
    #[schemars(with = "StatusNumber")]
    status: u8,
    #[schemars(with = "StatusText")]
    status_text: &'static str,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<Timestamp>,
}

impl StandingOut {
    /// Without a state the first attempt is on its way, or will be at `due`.
    fn new(state: Option<&State>, due: Option<Timestamp>, statuses: ExpandedStatuses) -> Self {
        let canceled = state.is_some_and(State::is_canceled);
        let (status, status_text) = statuses.shown(state.map_or(Status::Sending, State::standing), canceled);
        Self { status, status_text, next_attempt: state.map_or(due, State::next_attempt) }
    }
}

/// A message and its delivery status at one endpoint.
#[derive(Serialize, JsonSchema)]
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

    pub fn new(message: MessageOut, state: &State, statuses: ExpandedStatuses) -> Self {
        Self { message, standing: StandingOut::new(Some(state), None, statuses) }
    }
}

/// An endpoint and the delivery status of one message.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageEndpointOut {
    id: EndpointId,
    /// Where webhooks are sent.
    url: String,
    /// Always 1; older clients expect a number here.
    version: u32,
    /// Description.
    description: String,
    /// The ID that its owner chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// The same as `eventTypes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_types: Option<Vec<String>>,
    /// Only these are delivered; all if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<String>>,
    /// Only messages with one of these are delivered; all if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    /// If true, nothing is delivered to this endpoint.
    disabled: bool,
    /// Maximum messages per second; further ones wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u16>,
    /// The same as `rateLimit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u16>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(flatten)]
    standing: StandingOut,
}

impl MessageEndpointOut {
    pub fn new(
        endpoint: Endpoint,
        state: Option<&State>,
        due: Option<Timestamp>,
        statuses: ExpandedStatuses,
    ) -> Self {
        let settings = endpoint.settings;
        Self {
            id: endpoint.id,
            url: settings.destination.into_address(),
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
            standing: StandingOut::new(state, due, statuses),
        }
    }
}
