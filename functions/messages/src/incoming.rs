//! A message as it is posted.

use shared::Result;
use shared::http::{Fields, Text};
use shared::ids::{AppId, NAME_LENGTH_MAX, Reference};
use shared::store::applications::ApplicationSettings;
use shared::store::messages::Payload;
use shared::wire::ApplicationIn;

const CHANNELS_MAX: usize = 5;
pub const CHANNEL_LENGTH_MAX: usize = 128;
const RETENTION_DAYS: std::ops::RangeInclusive<u64> = 5..=90;
const RETENTION_DAYS_DEFAULT: u64 = 90;
const RETENTION_HOURS: std::ops::RangeInclusive<u64> = 1..=2160;
const TAGS_MAX: usize = 5;
pub const TAG_LENGTH_MAX: usize = 128;

/// A message as it is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageIn {
    pub event_type: String,
    pub event_id: Option<String>,
    pub channels: Option<Vec<String>>,
    pub tags: Option<Vec<String>>,
    pub payload: Payload,
    pub retention_hours: u64,
    /// Made if it is missing.
    pub application: Option<ApplicationSettings>,
}

impl MessageIn {
    /// Reads a body that was posted to `app`.
    pub fn parse(body: &[u8], app: &Reference<AppId>) -> Result<Self> {
        let mut fields = Fields::parse(body)?;
        let (event_type, channels) = labels(&mut fields);
        let event_id = fields.text(&["eventId"], Text::Uid("msg_")).value();
        let tags = fields.list(&["tags"], Text::Tag(TAG_LENGTH_MAX), 0, TAGS_MAX).value();
        let json = match fields.raw(&["payload", "data"]) {
            Some((_, raw)) if raw.get().starts_with('{') => raw.get().to_owned(),
            Some((name, _)) => {
                fields.violation(name, "Must be a JSON object", "type_error");
                String::new()
            }
            None => {
                fields.violation("payload", "Field required", "missing");
                String::new()
            }
        };
        let raw = fields.object("transformationsParams").and_then(|mut part| {
            let raw = part.optional::<String>(&["rawPayload"]);
            fields.absorb(part);
            raw
        });
        let retention_hours = retention_hours(&mut fields);
        let application = fields.object("application").map(|mut part| {
            let settings = ApplicationIn::fields(&mut part);
            fields.absorb(part);
            settings
        });
        if let Some(new) = &application
            && !matches!(app, Reference::Uid(uid) if new.uid.as_ref() == Some(uid))
        {
            fields.violation("application", "Its uid must be the one in the path", "value_error");
        }
        fields.finish()?;
        Ok(Self {
            event_type,
            event_id,
            channels,
            tags,
            payload: Payload { json, raw },
            retention_hours,
            application,
        })
    }
}

/// What decides which endpoints a message goes to: its event type and its channels.
pub fn labels(fields: &mut Fields<'_>) -> (String, Option<Vec<String>>) {
    let event_type = fields.required::<String>(&["eventType"]).unwrap_or_default();
    if !fields.has_violation("eventType")
        && let Some(broken) = Text::Name(NAME_LENGTH_MAX).broken(&event_type)
    {
        fields.violation("eventType", broken, "value_error");
    }
    (event_type, fields.names(&["channels"], CHANNEL_LENGTH_MAX, 1, CHANNELS_MAX).value())
}

/// How long the text is kept: given in days or in hours, not in both.
fn retention_hours(fields: &mut Fields<'_>) -> u64 {
    const DAYS: &str = "payloadRetentionPeriod";
    const HOURS: &str = "payloadRetentionHours";
    let (days, hours) = (fields.optional::<u64>(&[DAYS]), fields.optional::<u64>(&[HOURS]));
    if days.is_some() && hours.is_some() {
        fields.violation(HOURS, format!("Must not be given together with {DAYS}"), "value_error");
    }
    if days.is_some_and(|days| !RETENTION_DAYS.contains(&days)) {
        let msg = format!("Must be from {} to {} days", RETENTION_DAYS.start(), RETENTION_DAYS.end());
        fields.violation(DAYS, msg, "value_error");
    }
    if hours.is_some_and(|hours| !RETENTION_HOURS.contains(&hours)) {
        let msg = format!("Must be from {} to {} hours", RETENTION_HOURS.start(), RETENTION_HOURS.end());
        fields.violation(HOURS, msg, "value_error");
    }
    hours.unwrap_or_else(|| days.unwrap_or(RETENTION_DAYS_DEFAULT).saturating_mul(24))
}

#[cfg(test)]
mod tests {
    use shared::Error;

    use super::*;

    fn parse(body: &str) -> Result<MessageIn> {
        MessageIn::parse(body.as_bytes(), &Reference::Uid("acme".into()))
    }

    fn broken(body: &str) -> Vec<String> {
        match parse(body) {
            Err(Error::Invalid(found)) => found.into_iter().map(|v| v.loc.join(".")).collect(),
            other => panic!("{body} gave {other:?}"),
        }
    }

    #[test]
    fn the_payload_is_kept_byte_for_byte() {
        let body = "{\"eventType\":\"a.b\",\"payload\": { \"b\" : 1.0,\n\t\"a\":\"\\u00e9\" } }";
        let message = parse(body).unwrap();
        assert_eq!(message.payload.sent(), "{ \"b\" : 1.0,\n\t\"a\":\"\\u00e9\" }");
        assert_eq!(message.retention_hours, 90 * 24);
        let message =
            parse(r#"{"eventType":"a","data":{},"transformationsParams":{"rawPayload":"<x/>"}}"#).unwrap();
        assert_eq!((message.payload.json.as_str(), message.payload.sent()), ("{}", "<x/>"));
    }

    #[test]
    fn broken_rules_are_named() {
        assert_eq!(broken("{}"), ["body.eventType", "body.payload"]);
        assert_eq!(broken(r#"{"eventType":"a b","payload":[]}"#), ["body.eventType", "body.payload"]);
        let long = "x".repeat(257);
        assert_eq!(
            broken(&format!(r#"{{"eventType":"a","payload":{{}},"eventId":"{long}"}}"#)),
            ["body.eventId"]
        );
        for (field, value) in [
            ("channels", "[]"),
            ("channels", r#"["a","b","c","d","e","f"]"#),
            ("channels", r#"["a","a"]"#),
            ("payloadRetentionPeriod", "4"),
            ("payloadRetentionPeriod", "91"),
            ("payloadRetentionHours", "0"),
            ("payloadRetentionHours", "2161"),
            ("tags", r#"["a b"]"#),
            ("eventId", r#""msg_x""#),
            ("application", r#"{"name":"x","uid":"other"}"#),
        ] {
            let body = format!(r#"{{"eventType":"a","payload":{{}},"{field}":{value}}}"#);
            assert_eq!(broken(&body), [format!("body.{field}")], "{body}");
        }
    }
}
