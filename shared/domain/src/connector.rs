//! Connectors: what an organisation offers its customers when they make an endpoint. A connector says which event
//! types suit another service, how to set it up, and which code makes webhooks fit it.

use runtime::clock::Timestamp;

use crate::caller::Caller;
use crate::ids::ConnectorId;

/// The kinds that there are, by the contract and by what the newest clients add to it. A kind says what is shown; what is
/// sent depends on the code alone.
pub const KINDS: &[&str] = &[
    CUSTOM,
    "AgenticCommerceProtocol",
    "CloseCRM",
    "CustomerIO",
    "DatadogTracing",
    "Discord",
    "GrafanaCloudTracing",
    "Hubspot",
    "Inngest",
    "Loops",
    "NewRelicTracing",
    "Otel",
    "Resend",
    "Salesforce",
    "Segment",
    "Sendgrid",
    "Slack",
    "Teams",
    "TriggerDev",
    "Windmill",
    "Zapier",
];
/// The kind of what names none.
pub const CUSTOM: &str = "Custom";
/// The only product whose connectors there are: the one that sends webhooks.
pub const PRODUCT: &str = "Dispatch";
/// Most bytes of instructions. With the longest code, whose characters may have four bytes each, the item stays below
/// DynamoDB's 400 KB.
pub const INSTRUCTIONS_LENGTH_MAX: usize = 64 * 1024;
/// Most event types that one connector names.
pub const EVENT_TYPES_MAX: usize = 250;
/// Longest URL of a picture.
pub const LOGO_LENGTH_MAX: usize = 2_048;

/// A connector as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// Its id.
    pub id: ConnectorId,
    /// What its organisation may change.
    pub settings: ConnectorSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When its code was changed last.
    pub transformation_updated_at: Timestamp,
}

/// What an organisation says of a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectorSettings {
    /// Display name.
    pub name: String,
    /// The organisation's own id for it.
    pub uid: Option<String>,
    /// The https URL of its picture.
    pub logo: Option<String>,
    /// What it is for.
    pub description: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// Markdown: how to set it up.
    pub instructions: String,
    /// The only event types that an endpoint made with it may choose; all if none.
    pub allowed_event_types: Option<Vec<String>>,
    /// The code of the transformation that such an endpoint begins with.
    pub transformation: String,
    /// Only customers with one of these flags see it; everybody, if there are none.
    pub feature_flags: Vec<String>,
}

impl Connector {
    /// Whether `caller` may see it.
    pub fn visible_to(&self, caller: &Caller) -> bool {
        caller.sees(&self.settings.feature_flags)
    }

    /// Bytes of its texts as JSON: nearly all that it takes in an answer.
    pub fn length(&self) -> usize {
        let ConnectorSettings { name, description, instructions, transformation, .. } = &self.settings;
        let types = self.settings.allowed_event_types.iter().flatten().map(|name| escaped(name) + 3);
        let texts = [name, description, instructions, transformation].map(|text| escaped(text));
        texts.into_iter().chain(types).sum::<usize>() + REST_LENGTH
    }
}

/// More than a connector has besides its texts: a picture's URL, an ID and flags of the longest.
const REST_LENGTH: usize = 8_192;

/// Bytes of a text inside of JSON, without the quotes around it (RFC 8259 section 7).
fn escaped(text: &str) -> usize {
    let length = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_counts_as_it_is_written() {
        for text in ["", "plain", "\"\\\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}", "é𝄞\u{2028}"] {
            let written = serde_json::to_string(text).unwrap();
            assert_eq!(escaped(text), written.len() - 2, "{written}");
        }
    }
}
