//! JSON objects taken apart one level at a time, with the names that are there twice.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Deepest nesting of a body. A list shows a payload four levels deeper than it was posted, and the
/// parsers of many clients, serde_json among them, end before 128 levels.
pub(super) const DEPTH_MAX: usize = 124;
/// Most names that are said to be there twice.
const REPEATED_MAX: usize = 20;

/// Whether `json` is nested deeper than [`DEPTH_MAX`]; of what is no JSON, whatever it looks like.
pub(super) fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    json.iter().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    })
}

/// The fields of an object.
#[derive(Debug, Default)]
pub(super) struct Object<'a> {
    /// Their values; of a name that is there twice the last.
    pub(super) values: BTreeMap<Cow<'a, str>, &'a RawValue>,
    /// The names that are there twice.
    pub(super) repeated: BTreeSet<String>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut object = Object::default();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    if object.values.contains_key(&name) && object.repeated.len() < REPEATED_MAX {
                        object.repeated.insert(name.to_string());
                    }
                    object.values.insert(name, value);
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The names that are there twice in an object; none in what is no object.
pub(super) fn repeated(json: &RawValue) -> BTreeSet<String> {
    serde_json::from_str::<Object<'_>>(json.get()).unwrap_or_default().repeated
}

/// Whether two texts say the same value.
pub(super) fn is_same(one: &RawValue, other: &RawValue) -> bool {
    let value = |json: &RawValue| serde_json::from_str::<Value>(json.get()).ok();
    one.get() == other.get() || value(one).is_some_and(|one| Some(one) == value(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_what_is_open_and_no_text() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(nested(DEPTH_MAX).as_bytes()));
        assert!(is_too_deep(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(!is_too_deep(format!("[{}]", "[],{},".repeat(1_000)).as_bytes()));
        let text = "[".repeat(1_000);
        assert!(!is_too_deep(format!(r#"["\\\"{text}", "{text}\\"]"#).as_bytes()));
        assert!(is_too_deep(format!(r#"["\\"{text}"#).as_bytes()));
    }
}
