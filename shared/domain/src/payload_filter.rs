//! Which payloads an endpoint wants: a JSON pattern in the style of Amazon EventBridge's content filtering.
//!
//! A pattern has the shape of the payload. Where the payload has a value, the pattern has a list of rules, of
//! which one has to hold. All fields of a pattern have to match; fields that it does not name do not matter.
//! Source of the rules' names: EventBridge's user guide, "Comparison operators for use in event patterns".
//!
//! Evaluating one takes time in proportion to pattern and payload: wildcards are searched piece by piece, and
//! nothing is tried twice.

mod read;
mod rule;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::json::{Json, Unreadable};
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
    /// Reads one as it was sent, or kept as text.
    ///
    /// # Errors
    /// It is no pattern of this version, or names a field twice in one object: a reader that takes the last one would
    /// apply half of a pattern, and nobody would notice.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |path, reason: &str| InvalidPattern { path, reason: reason.to_owned() };
        let pattern = Json::parse_once(text).map_err(|unreadable| match unreadable {
            Unreadable::Twice(path) => {
                invalid(path, "Is there twice in one object: name it once, with all of its rules")
            }
            Unreadable::Malformed => invalid(Vec::new(), "Must be JSON"),
        })?;
        let Json::Object(fields) = &pattern else {
            return Err(invalid(Vec::new(), "Must be a JSON object"));
        };
        let text = pattern.to_string();
        if text.len() > LENGTH_MAX {
            let reason = format!("Must have at most {LENGTH_MAX} bytes without needless space");
            return Err(invalid(Vec::new(), &reason));
        }
        Ok(Self { pattern: Arc::new(read::pattern(fields)?), text: text.into() })
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
    pub fn mismatches(&self, payload: &PayloadView<'_>) -> Vec<Mismatch> {
        let mut found = Vec::new();
        self.pattern.explain(payload.value(), "", &mut found);
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
    value: OnceCell<Option<Json>>,
}

impl<'a> PayloadView<'a> {
    /// Of the JSON text of a payload.
    pub const fn new(text: &'a str) -> Self {
        Self { text, value: OnceCell::new() }
    }

    fn value(&self) -> Option<&Json> {
        self.value.get_or_init(|| Json::parse(self.text)).as_ref()
    }

    /// What it has at a JSON pointer (RFC 6901).
    pub fn at(&self, pointer: &str) -> Option<&Json> {
        self.value()?.pointer(pointer)
    }

    /// Whether it had to be read.
    pub fn was_read(&self) -> bool {
        self.value.get().is_some()
    }
}

impl Pattern {
    fn matches(&self, value: &Json) -> bool {
        let Json::Object(object) = value else { return false };
        self.fields.iter().all(|(name, want)| want.matches(object.get(name)))
            && self.either.iter().all(|either| either.iter().any(|pattern| pattern.matches(value)))
    }

    /// Adds what does not match to `found`.
    fn explain(&self, value: Option<&Json>, at: &str, found: &mut Vec<Mismatch>) {
        let object = match value {
            Some(Json::Object(object)) => Some(object),
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
                Want::Inside(pattern) if !matches!(value, Some(Json::List(_))) => {
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
        let here = value.unwrap_or(&Json::Null);
        for either in self.either.iter().filter(|either| !either.iter().any(|pattern| pattern.matches(here)))
        {
            let path = if at.is_empty() { "$or".to_owned() } else { format!("{at}.$or") };
            found.push(Mismatch { path, reason: format!("none of the {} patterns matches", either.len()) });
        }
    }
}

impl Want {
    fn matches(&self, value: Option<&Json>) -> bool {
        match (self, value) {
            (Self::Inside(pattern), Some(Json::List(list))) => {
                list.iter().any(|entry| pattern.matches(entry))
            }
            // A field that must be absent is absent in an object that is absent.
            (Self::Inside(pattern), None) => pattern.matches(&Json::Object(BTreeMap::new())),
            (Self::Inside(pattern), Some(value)) => pattern.matches(value),
            (Self::One(rules), value) => rules.iter().any(|rule| rule.holds(value)),
        }
    }
}

/// A value, shortened for a sentence.
fn shown(value: Option<&Json>) -> String {
    const LENGTH_MAX: usize = 60;
    let Some(value) = value else { return "absent".into() };
    let text = match value {
        Json::Object(_) => return "an object".into(),
        value => value.to_string(),
    };
    match text.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
