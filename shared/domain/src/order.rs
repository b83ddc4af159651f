//! Ordered delivery: which messages of an endpoint wait for each other (docs/adr/0035-ordered-delivery.md).
//!
//! The messages of one lane are delivered one after the other, in the order in which they were accepted. A
//! lane is an endpoint, or one key within it.

use std::fmt;

use serde_json::Value;

use crate::ids::{EndpointId, MessageId};

/// Longest JSON pointer of an endpoint, in bytes.
pub const KEY_LENGTH_MAX: usize = 256;
/// How many of the messages before it a delivery knows by name. Those that were taken back do not count
/// against the order, so more than one is needed.
pub const PREDECESSORS_MAX: usize = 8;

/// That an endpoint gets its messages in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fifo {
    /// A JSON pointer (RFC 6901) into the payload: messages with the same value there are in order, others do
    /// not wait for each other. Without it all messages of the endpoint are in order.
    pub key: Option<String>,
}

/// What is wrong with a JSON pointer as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It is empty, or does not begin with a slash.
    #[error("Must be a JSON pointer (RFC 6901) that begins with `/`, such as `/object/id`")]
    NoSlash,
    /// A tilde that is followed by neither 0 nor 1.
    #[error("Must be a JSON pointer (RFC 6901): `~` is written `~0` there, and `/` within a name `~1`")]
    Tilde,
    /// It is too long.
    #[error("Must have at most {KEY_LENGTH_MAX} bytes")]
    TooLong,
}

/// Checks a JSON pointer that is to be a key.
///
/// # Errors
/// What is wrong with it.
pub fn check_pointer(text: &str) -> Result<(), PointerError> {
    if text.len() > KEY_LENGTH_MAX {
        return Err(PointerError::TooLong);
    }
    if !text.starts_with('/') {
        return Err(PointerError::NoSlash);
    }
    let escapes = text.split('~').skip(1);
    if escapes.into_iter().all(|rest| rest.starts_with(['0', '1'])) {
        Ok(())
    } else {
        Err(PointerError::Tilde)
    }
}

/// A lane of an endpoint: a digest of the key's value, so that its length is bounded and no value is in a key
/// of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane([u8; 16]);

impl Lane {
    /// The first byte, which spreads lanes over partitions.
    pub const fn spread(self) -> u8 {
        self.0[0]
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Fifo {
    /// The lane of a message with this JSON text. Strings, numbers and booleans are keys. Messages with
    /// anything else where the pointer leads, or with nothing, are in order among themselves.
    pub fn lane(&self, json: &str) -> Lane {
        let found = self.key.as_ref().and_then(|pointer| {
            let payload: Value = serde_json::from_str(json).ok()?;
            match payload.pointer(pointer)? {
                value @ (Value::String(_) | Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            }
        });
        // As JSON, so that the text "1" and the number 1 are two keys; a key is never the empty text.
        let digest = ring::digest::digest(&ring::digest::SHA256, found.unwrap_or_default().as_bytes());
        let mut lane = [0; 16];
        lane.copy_from_slice(&digest.as_ref()[..16]);
        Lane(lane)
    }
}

/// A message's place in the order of an endpoint: the messages that claimed theirs before it in the same
/// lane, the nearest first, up to [`PREDECESSORS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The messages before it.
    pub after: Vec<MessageId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers() {
        for right in ["/a", "/object/id", "/a~0b/c~1d", "/0/é", "/"] {
            assert_eq!(check_pointer(right), Ok(()), "{right}");
        }
        assert_eq!(check_pointer(""), Err(PointerError::NoSlash));
        assert_eq!(check_pointer("object.id"), Err(PointerError::NoSlash));
        assert_eq!(check_pointer("/a~"), Err(PointerError::Tilde));
        assert_eq!(check_pointer("/a~2"), Err(PointerError::Tilde));
        assert_eq!(check_pointer(&format!("/{}", "a".repeat(KEY_LENGTH_MAX))), Err(PointerError::TooLong));
    }

    #[test]
    fn messages_with_one_key_are_in_one_lane() {
        let fifo = Fifo { key: Some("/object/id".into()) };
        let lane = |json: &str| fifo.lane(json);
        let one = lane(r#"{"object":{"id":"1"}}"#);
        assert_eq!(one, lane(r#"{"n":2,"object":{"id":"1","more":true}}"#));
        assert_ne!(one, lane(r#"{"object":{"id":"2"}}"#));
        // Another type is another key.
        assert_ne!(one, lane(r#"{"object":{"id":1}}"#));
        // What has no key is in order among itself.
        let none = lane("{}");
        for json in
            [r#"{"object":null}"#, r#"{"object":{"id":null}}"#, r#"{"object":{"id":[1]}}"#, "[]", "not JSON"]
        {
            assert_eq!(none, lane(json), "{json}");
        }
        assert_ne!(none, lane(r#"{"object":{"id":""}}"#));
        // Without a pointer there is one lane.
        assert_eq!(Fifo::default().lane("{}"), Fifo::default().lane(r#"{"object":{"id":"1"}}"#));
    }
}
