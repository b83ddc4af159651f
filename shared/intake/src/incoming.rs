//! A message as it is posted.

use std::sync::Arc;
use std::time::Duration;

use domain::Result;
use domain::application::ApplicationSettings;
use domain::ids::{AppId, NAME_LENGTH_MAX, Reference};
use domain::labels::Labels;
use domain::limits::{CHANNEL_LENGTH_MAX, TAG_LENGTH_MAX};
use domain::message::Payload;
use input::{ApplicationIn, BodyType, Field, Fields, RequestBody, Text};
use runtime::clock::{DAY, HOUR, Timestamp};

const CHANNELS_MAX: usize = 5;
const RETENTION_DAYS: std::ops::RangeInclusive<u64> = 5..=90;
/// What official SDKs send for a message that says nothing (1.45 and its like).
const RETENTION_DAYS_OF_CLIENTS: u64 = 90;
const RETENTION_HOURS: std::ops::RangeInclusive<u64> = 1..=2160;
const TAGS_MAX: usize = 5;
const CONTENT_TYPE_LENGTH_MAX: usize = 256;
/// A minute, less what a client's clock and its repetitions take.
const DELIVER_SOONEST: Duration = Duration::from_secs(50);
const DELIVER_LATEST: Duration = DAY;

/// A message as it is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageIn {
    /// What it can be found by.
    pub labels: Labels,
    /// The sender's own id for it, unique in the application.
    pub event_id: Option<String>,
    /// Its text.
    pub payload: Payload,
    /// After how many hours the text goes, if the message says so.
    pub retention_hours: Option<u64>,
    /// When to deliver it, if not at once.
    pub deliver_at: Option<Timestamp>,
    /// Made if it is missing.
    pub application: Option<ApplicationSettings>,
}

impl RequestBody for MessageIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "MessageIn",
        &[
            ("eventType", "The event type; it need not exist."),
            ("eventId", "Your own ID, unique within the application. Paths take it instead of the ID."),
            ("channels", "Endpoints with channels get the message only if they have one of these."),
            ("payload", "The payload, sent byte for byte as it is written here."),
            ("transformationsParams", "What is sent instead of the payload."),
            ("transformationsParams.rawPayload", "This payload is sent."),
            ("transformationsParams.headers", "The `content-type` of what is sent; no other header."),
            (
                "deliverAt",
                "When to deliver it: one minute to 24 hours ahead, and before the payload is removed. At once if absent.",
            ),
            ("tags", "Tags that lists can be filtered by."),
            (
                "payloadRetentionPeriod",
                "Days after which the payload is removed: at most as long as this installation keeps payloads, which is the default. 90, which older SDKs send by themselves, means the default.",
            ),
            ("payloadRetentionHours", "The same in hours, instead of days."),
            ("application", "Created if it is missing; its uid has to be the one in the path."),
        ],
    )
    .with_parts(&[("application", &ApplicationIn::TYPE)]);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let mut labels = labels(fields);
        let event_id = fields.text(&["eventId"], Text::Uid("msg_")).value();
        labels.tags = fields.list(&["tags"], Text::Tag(TAG_LENGTH_MAX), 0, TAGS_MAX).value();
        let json = fields.required_raw_object(&["payload", "data"]).map(|raw| raw.get().to_owned());
        let (raw, content_type) = fields.object("transformationsParams").map_or((None, None), |mut part| {
            let raw = part.optional::<String>(&["rawPayload"]);
            let content_type = part.object("headers").and_then(|mut headers| {
                let content_type = content_type(&mut headers);
                part.absorb(headers);
                content_type
            });
            fields.absorb(part);
            (raw, content_type)
        });
        let deliver_at = fields.optional(&["deliverAt"]);
        let retention_hours = retention_hours(fields);
        let application = ApplicationIn::part_of(fields);
        let payload =
            Payload { raw: raw.map(Arc::new), content_type, ..Payload::of(json.unwrap_or_default()) };
        Self { labels, event_id, payload, retention_hours, deliver_at, application }
    }
}

impl MessageIn {
    /// Reads a message that is posted to `app` together with others.
    ///
    /// # Errors
    /// `Invalid` with every broken rule.
    pub fn parse(body: &[u8], app: &Reference<AppId>, now: Timestamp) -> Result<Self> {
        let mut fields = Fields::parse(body)?;
        let message = Self::read(&mut fields, ());
        message.check(&mut fields, app, now);
        fields.finish()?;
        Ok(message)
    }

    /// Holds a message that is posted to `app` to what its path and the time ask of it.
    pub fn check(&self, fields: &mut Fields<'_>, app: &Reference<AppId>, now: Timestamp) {
        self.check_application(fields, app, "Its uid must be the one in the path");
        self.check_delivery(fields, now, now.after(DELIVER_SOONEST));
    }

    /// The application that it would make has to be the one that it is for; `otherwise` is noted.
    pub fn check_application(&self, fields: &mut Fields<'_>, app: &Reference<AppId>, otherwise: &str) {
        if let Some(new) = &self.application
            && !matches!(app, Reference::Uid(uid) if new.uid.as_ref() == Some(uid))
        {
            fields.violation("application", otherwise);
        }
    }

    /// It is delivered between `soonest` and a day from now, while there is a text to deliver.
    pub fn check_delivery(&self, fields: &mut Fields<'_>, now: Timestamp, soonest: Timestamp) {
        let Some(at) = self.deliver_at else { return };
        if !(soonest..=now.after(DELIVER_LATEST)).contains(&at) {
            fields.violation("deliverAt", "Must be one minute to 24 hours in the future");
        } else if self
            .retention_hours
            .is_some_and(|hours| at >= now.after(HOUR * u32::try_from(hours).unwrap_or(u32::MAX)))
        {
            fields.violation("deliverAt", "Must be before the payload is removed");
        }
    }
}

/// What decides which endpoints a message goes to: its event type and its channels.
pub fn labels(fields: &mut Fields<'_>) -> Labels {
    let event_type = fields.required_text(&["eventType"], Text::Name(NAME_LENGTH_MAX)).unwrap_or_default();
    let channels = fields.names(&["channels"], CHANNEL_LENGTH_MAX, 1, CHANNELS_MAX).value();
    Labels { event_type, channels, tags: None }
}

/// The one header that a message can have of its own.
fn content_type(headers: &mut Fields<'_>) -> Option<String> {
    let mut found = None;
    for (name, value) in headers.each::<String>() {
        let Field::Value(value) = value else { continue };
        if !name.eq_ignore_ascii_case("content-type") {
            let msg = "Only content-type can be set by a message; other headers are set on the endpoint";
            headers.violation(&name, msg);
        } else if !is_content_type(&value) {
            headers.violation(&name, "Must be a media type, such as text/plain");
        } else if found.replace(value).is_some() {
            headers.violation(&name, "Must not be there twice");
        }
    }
    found
}

/// Whether a text is a media type, perhaps with parameters (RFC 9110 section 8.3.1).
fn is_content_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_visible = text.bytes().all(|c| c == b' ' || c.is_ascii_graphic());
    let is_media = essence.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    text.len() <= CONTENT_TYPE_LENGTH_MAX && is_visible && is_media
}

/// How long the text is kept: given in days or in hours, not in both.
fn retention_hours(fields: &mut Fields<'_>) -> Option<u64> {
    let days = fields.number(&["payloadRetentionPeriod"], RETENTION_DAYS).value();
    let hours = fields.number(&["payloadRetentionHours"], RETENTION_HOURS).value();
    if days.is_some() && hours.is_some() {
        let msg = "Must not be given together with payloadRetentionPeriod";
        fields.violation("payloadRetentionHours", msg);
    }
    let days = days.filter(|days| *days != RETENTION_DAYS_OF_CLIENTS);
    hours.or(days.map(|days| days.saturating_mul(24)))
}

#[cfg(test)]
mod tests {
    use domain::Error;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn parse(body: &str) -> Result<MessageIn> {
        MessageIn::parse(body.as_bytes(), &Reference::Uid("acme".into()), NOW)
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
        assert_eq!(message.payload.sent().as_str(), "{ \"b\" : 1.0,\n\t\"a\":\"\\u00e9\" }");
        assert_eq!(message.retention_hours, None);
        for (days, hours) in [(90, None), (89, Some(2_136))] {
            let body = format!(r#"{{"eventType":"a","payload":{{}},"payloadRetentionPeriod":{days}}}"#);
            assert_eq!(parse(&body).unwrap().retention_hours, hours, "{days}");
        }
        let message =
            parse(r#"{"eventType":"a","data":{},"transformationsParams":{"rawPayload":"<x/>"}}"#).unwrap();
        assert_eq!((message.payload.json.as_str(), message.payload.sent().as_str()), ("{}", "<x/>"));
    }

    #[test]
    fn a_message_has_a_type_of_its_own() {
        let of = |headers: &str| {
            let body =
                r#"{"eventType":"a","payload":{},"transformationsParams":{"rawPayload":"x","headers":"#;
            parse(&format!("{body}{headers}}}}}"))
        };
        let payload = of(r#"{"Content-Type":"text/xml; charset=utf-8"}"#).unwrap().payload;
        assert_eq!(payload.content_type.as_deref(), Some("text/xml; charset=utf-8"));
        for bad in [
            r#"{"content-type":"text"}"#,
            r#"{"content-type":"a/b\r\nx: y"}"#,
            r#"{"content-type":"/"}"#,
            r#"{"content-type":"a/b","Content-Type":"a/b"}"#,
            r#"{"x-own":"1"}"#,
        ] {
            assert!(matches!(of(bad), Err(Error::Invalid(_))), "{bad}");
        }
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
            ("deliverAt", r#""2027-01-15T08:00:40Z""#),
            ("deliverAt", r#""2027-01-16T08:00:01Z""#),
            ("deliverAt", r#""2026-01-15T08:00:00Z""#),
            ("deliverAt", r#""soon""#),
            ("application", r#"{"name":"x","uid":"other"}"#),
        ] {
            let body = format!(r#"{{"eventType":"a","payload":{{}},"{field}":{value}}}"#);
            assert_eq!(broken(&body), [format!("body.{field}")], "{body}");
        }
    }
}
