//! Which payloads an endpoint wants: a JSON pattern in the style of Amazon EventBridge's content filtering.
//!
//! A pattern has the shape of the payload. Where the payload has a value, the pattern has a list of rules, of
//! which one has to hold. All fields of a pattern have to match; fields that it does not name do not matter.
//! Source of the rules' names: EventBridge's user guide, "Comparison operators for use in event patterns".
//!
//! Evaluating one takes time in proportion to pattern and payload: wildcards are searched piece by piece, and
//! nothing is tried twice.

mod once;
mod read;
mod rule;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use rule::Rule;

/// Longest pattern, in bytes of its text without needless space.
pub const LENGTH_MAX: usize = 4_096;
/// Most levels of objects in a pattern.
pub const DEPTH_MAX: usize = 10;
/// Most rules in a pattern, all together.
pub const RULES_MAX: usize = 300;
/// Most wildcards (`*`) in one rule.
pub const WILDCARDS_MAX: usize = 10;

/// A pattern, read and checked.
#[derive(Clone)]
pub struct PayloadFilter {
    text: Arc<str>,
    pattern: Arc<Pattern>,
}

/// What has to hold of an object.
#[derive(Debug, Default)]
struct Pattern {
    fields: Vec<(String, Want)>,
    /// Of each of these lists, one has to match: `$or`.
    either: Vec<Vec<Pattern>>,
}

/// What has to hold of a field.
#[derive(Debug)]
enum Want {
    /// It is an object, or a list with one, that matches.
    Inside(Pattern),
    /// One of these holds.
    One(Vec<Rule>),
}

/// A pattern that is none, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPattern {
    /// The names that lead to the place.
    pub path: Vec<String>,
    /// What is wrong there, in a sentence.
    pub reason: String,
}

/// Why a payload does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The names that lead to the value, with dots between them.
    pub path: String,
    /// What is there, and what would match.
    pub reason: String,
}

impl PayloadFilter {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Where it is none, and why.
    pub fn new(pattern: &Map<String, Value>) -> Result<Self, InvalidPattern> {
        let text = serde_json::to_string(pattern).unwrap_or_default();
        if text.len() > LENGTH_MAX {
            return Err(InvalidPattern {
                path: Vec::new(),
                reason: format!("Must have at most {LENGTH_MAX} bytes without needless space"),
            });
        }
        Ok(Self { pattern: Arc::new(read::pattern(pattern)?), text: text.into() })
    }

    /// Reads one as it was sent, or kept as text.
    ///
    /// # Errors
    /// It is no pattern of this version, or names a field twice in one object.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        Self::new(&once::object(text)?)
    }

    /// The pattern as JSON.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a payload matches. What is no JSON matches no pattern.
    pub fn matches(&self, payload: &PayloadView<'_>) -> bool {
        payload.value().is_some_and(|value| self.pattern.matches(value))
    }

    /// Why a payload does not match: each field that does not, none if it matches.
    pub fn mismatches(&self, payload: &Value) -> Vec<Mismatch> {
        let mut found = Vec::new();
        self.pattern.explain(Some(payload), "", &mut found);
        found
    }
}

impl PartialEq for PayloadFilter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PayloadFilter {}

impl fmt::Debug for PayloadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A payload's JSON, read when the first filter looks at it, and once for all of them.
#[derive(Debug)]
pub struct PayloadView<'a> {
    text: &'a str,
    value: OnceCell<Option<Value>>,
}

impl<'a> PayloadView<'a> {
    /// Of the JSON text of a payload.
    pub const fn new(text: &'a str) -> Self {
        Self { text, value: OnceCell::new() }
    }

    fn value(&self) -> Option<&Value> {
        self.value.get_or_init(|| serde_json::from_str(self.text).ok()).as_ref()
    }

    /// What it has at a JSON pointer (RFC 6901).
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.value()?.pointer(pointer)
    }

    /// Whether it had to be read.
    pub fn was_read(&self) -> bool {
        self.value.get().is_some()
    }
}

impl Pattern {
    fn matches(&self, value: &Value) -> bool {
        let Value::Object(object) = value else { return false };
        self.fields.iter().all(|(name, want)| want.matches(object.get(name)))
            && self.either.iter().all(|either| either.iter().any(|pattern| pattern.matches(value)))
    }

    /// Adds what does not match to `found`.
    fn explain(&self, value: Option<&Value>, at: &str, found: &mut Vec<Mismatch>) {
        let object = match value {
            Some(Value::Object(object)) => Some(object),
            _ => None,
        };
        for (name, want) in &self.fields {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            let value = object.and_then(|object| object.get(name));
            if want.matches(value) {
                continue;
            }
            match want {
                // Where there is one object, the field in it says more.
                Want::Inside(pattern) if !matches!(value, Some(Value::Array(_))) => {
                    pattern.explain(value, &path, found);
                }
                Want::Inside(_) => {
                    found.push(Mismatch { path, reason: "no entry of the list matches".into() })
                }
                Want::One(rules) => {
                    let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
                    let reason = format!("is {}, must be {}", shown(value), rules.join(", or "));
                    found.push(Mismatch { path, reason });
                }
            }
        }
        let here = value.unwrap_or(&Value::Null);
        for either in self.either.iter().filter(|either| !either.iter().any(|pattern| pattern.matches(here)))
        {
            let path = if at.is_empty() { "$or".to_owned() } else { format!("{at}.$or") };
            found.push(Mismatch { path, reason: format!("none of the {} patterns matches", either.len()) });
        }
    }
}

impl Want {
    fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Inside(pattern), Some(Value::Array(list))) => {
                list.iter().any(|entry| pattern.matches(entry))
            }
            // A field that must be absent is absent in an object that is absent.
            (Self::Inside(pattern), None) => pattern.matches(&Value::Object(Map::new())),
            (Self::Inside(pattern), Some(value)) => pattern.matches(value),
            (Self::One(rules), value) => rules.iter().any(|rule| rule.holds(value)),
        }
    }
}

/// A value, shortened for a sentence.
fn shown(value: Option<&Value>) -> String {
    const LENGTH_MAX: usize = 60;
    let Some(value) = value else { return "absent".into() };
    let text = match value {
        Value::Object(_) => return "an object".into(),
        value => value.to_string(),
    };
    match text.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
