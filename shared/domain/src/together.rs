//! Several messages of an ordered endpoint as one webhook: what its body is, and what identifies it (ADR 0038).

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::ids::{Id as _, Ksuid, MessageId};
use crate::message::Payload;

/// Most messages of one webhook.
pub const BATCH_SIZE_MAX: u16 = 1_000;
/// Longest time that a webhook waits for further messages.
pub const BATCH_WAIT_MAX: Duration = Duration::from_secs(300);
/// Longest body of a webhook of several messages, in bytes: what web servers take as they come (nginx: 1 MiB). A message that is
/// longer is sent alone.
pub const BATCH_LENGTH_MAX: usize = 1_000_000;

/// How many messages one webhook has, and how long it waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Messages of one webhook at most. From 2 on, its body is a list.
    pub size: u16,
    /// Seconds from the acceptance of its first message for which it waits while it has fewer.
    pub wait: u16,
}

impl Default for Batching {
    fn default() -> Self {
        Self { size: 1, wait: 0 }
    }
}

impl Batching {
    /// Whether bodies are lists of messages.
    pub const fn is_on(self) -> bool {
        self.size > 1
    }
}

/// A message in such a body.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The message.
    pub id: MessageId,
    /// Its event type.
    pub event_type: &'a str,
    /// What would be sent if it were alone.
    pub payload: &'a Payload,
}

/// The body of a webhook of several messages, while it is written: a list of objects, whose payloads are in there byte for
/// byte.
#[derive(Debug)]
pub struct Body(String);

impl Default for Body {
    fn default() -> Self {
        Self("[".to_owned())
    }
}

impl Body {
    /// Adds a message, unless the body has one and would be longer than [`BATCH_LENGTH_MAX`] then. Whether it is in there.
    pub fn add(&mut self, member: Member<'_>) -> bool {
        let before = self.0.len();
        if before > 1 {
            self.0.push(',');
        }
        member.write(&mut self.0);
        let fits = before == 1 || self.0.len() < BATCH_LENGTH_MAX;
        if !fits {
            self.0.truncate(before);
        }
        fits
    }

    /// How long it is so far.
    pub const fn length(&self) -> usize {
        self.0.len()
    }

    /// The whole, as what is signed and sent.
    pub fn finish(mut self) -> Payload {
        self.0.push(']');
        Payload::of(self.0)
    }
}

impl Member<'_> {
    fn write(&self, to: &mut String) {
        let Payload { json, raw, content_type } = self.payload;
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let (id, event_type) = (self.id, text(self.event_type));
        let _written = write!(
            to,
            "{{\"id\":\"{id}\",\"eventType\":{event_type},\"timestamp\":\"{}\",\"payload\":",
            id.time()
        );
        // A transformation's may be empty, which no list can hold.
        let is_json = serde_json::from_str::<&RawValue>(json).is_ok();
        to.push_str(if is_json { json } else { "null" });
        if let Some(raw) = raw {
            let _written = write!(to, ",\"rawPayload\":{}", text(raw));
        }
        if let Some(kind) = content_type {
            let _written = write!(to, ",\"headers\":{{\"content-type\":{}}}", text(kind));
        }
        to.push('}');
    }
}

/// What identifies a webhook of these messages, the first one first: of one the message's own ID, of several an ID that is
/// the same whenever they come together, and another one with any other message.
pub fn webhook_id(messages: &[MessageId]) -> String {
    if let [one] = messages {
        return one.to_string();
    }
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    messages.iter().for_each(|message| digest.update(message.ksuid().bytes()));
    let mut payload = [0; Ksuid::PAYLOAD_LENGTH];
    payload.copy_from_slice(&digest.finish().as_ref()[..Ksuid::PAYLOAD_LENGTH]);
    let at = messages.first().map(MessageId::time).unwrap_or_default();
    let id = MessageId::from_ksuid(Ksuid::new(at, payload)).to_string();
    id.replacen("msg_", "batch_", 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runtime::clock::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn message(nth: u8) -> MessageId {
        MessageId::from_ksuid(Ksuid::new(Timestamp::from_ms(1_800_000_000_000), [nth; 15]))
    }

    #[test]
    fn a_body_has_each_payload_as_it_is() {
        let posted = Payload::of("{\"big\": 12345678901234567890.10,\n \"e\":\"\\u00e9\"}");
        let raw = Payload {
            json: Arc::new("{}".into()),
            raw: Some(Arc::new("<a \"b\"/>\n".into())),
            content_type: Some("application/xml".into()),
        };
        let mut body = Body::default();
        for (nth, payload) in [(1, &posted), (2, &raw), (3, &Payload::of(""))] {
            assert!(body.add(Member { id: message(nth), event_type: "a.b", payload }));
        }
        let body = body.finish();
        assert!(body.sent().contains(&*posted.json), "{}", body.sent());
        let read: Value = serde_json::from_str(body.sent()).expect("JSON");
        let accepted = message(1).time().to_string();
        assert_eq!(read[0]["id"], message(1).to_string());
        assert_eq!((&read[0]["eventType"], &read[0]["timestamp"]), (&json!("a.b"), &json!(accepted)));
        assert_eq!(read[1]["rawPayload"], "<a \"b\"/>\n");
        assert_eq!(read[1]["headers"], json!({"content-type": "application/xml"}));
        assert_eq!(read[2]["payload"], Value::Null);
        assert_eq!((read.as_array().map(Vec::len), body.content_type), (Some(3), None));
    }

    #[test]
    fn a_body_is_bounded_and_what_is_longer_is_alone() {
        let (long, short) = (Payload::of(format!("\"{}\"", "x".repeat(BATCH_LENGTH_MAX))), Payload::of("1"));
        let half = Payload::of(format!("\"{}\"", "x".repeat(BATCH_LENGTH_MAX / 2 - 60)));
        let member = |nth, payload| Member { id: message(nth), event_type: "a", payload };
        let mut body = Body::default();
        assert!(body.add(member(1, &long)));
        assert!(!body.add(member(2, &short)));
        assert!(serde_json::from_str::<Value>(body.finish().sent()).is_ok());
        let mut body = Body::default();
        assert!(body.add(member(1, &half)) && !body.add(member(2, &half)) && body.add(member(3, &short)));
        assert!(body.finish().sent().len() <= BATCH_LENGTH_MAX);
    }

    #[test]
    fn the_same_messages_have_the_same_id_and_others_another() {
        let [a, b, c] = [1, 2, 3].map(message);
        assert_eq!(webhook_id(&[a]), a.to_string());
        let both = webhook_id(&[a, b]);
        assert!(both.starts_with("batch_") && both.len() == "batch_".len() + 27, "{both}");
        assert_eq!(both, webhook_id(&[a, b]));
        for others in [&[a, b, c][..], &[b, a], &[a, c], &[a]] {
            assert_ne!(both, webhook_id(others));
        }
    }
}
