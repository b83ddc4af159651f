//! Event types out of an OpenAPI document: an entry of its `webhooks` (3.1), or of `x-webhooks` (3.0), is one.
//!
//! A reference leads nowhere but into the document itself, and a schema that refers to itself stays one that
//! does: what it needs goes along in `$defs`, each definition once, so that nothing grows.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::clock::Timestamp;
use shared::http::TEXTS_LENGTH_MAX;
use shared::ids::{NAME_LENGTH_MAX, is_name};
use shared::limits::FEATURE_FLAGS_MAX;
use shared::store::event_types::EventType;
use shared::wire::TEXT_LENGTH_MAX;

use crate::incoming::SCHEMAS_LENGTH_MAX;
use crate::json_schema::{self, DEPTH_MAX};

mod schemas;
mod yaml;

pub use yaml::parse;

/// Most event types of one document: each is a transaction of its own, and a request has half a minute.
const EVENT_TYPES_MAX: usize = 500;
/// Most references of which one leads to the next.
const HOPS_MAX: usize = 16;
/// The version of an event type under which its schema is stored.
const VERSION: &str = "1";

/// What is wrong with a document, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// The keys that lead there.
    pub at: Vec<String>,
    /// What is wrong.
    pub msg: String,
}

impl Broken {
    fn new(at: &[&str], msg: impl Into<String>) -> Self {
        Self { at: at.iter().map(|key| (*key).to_owned()).collect(), msg: msg.into() }
    }
}

/// The event types of a document, by name.
///
/// # Errors
/// The document has none, too many, or one that cannot be read.
pub fn event_types(document: &Map<String, Value>) -> Result<Vec<EventType>, Broken> {
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("3.") {
        return Err(Broken::new(&["openapi"], "Must be a version of OpenAPI 3, such as 3.1.0"));
    }
    let document = Document { whole: document, of_3_0: version.starts_with("3.0") };
    let (mut found, mut total) = (BTreeMap::new(), 0);
    for key in ["webhooks", "x-webhooks"] {
        let Some(webhooks) = document.whole.get(key) else { continue };
        let webhooks = webhooks.as_object().ok_or_else(|| Broken::new(&[key], "Must be an object"))?;
        if webhooks.len() > EVENT_TYPES_MAX {
            return Err(Broken::new(&[key], format!("Must have at most {EVENT_TYPES_MAX} webhooks")));
        }
        for (name, item) in webhooks {
            let read = document.event_type(name, item, &[key, name])?;
            // A definition stands in each schema that needs it, and a dry run answers with all of them.
            total += read.schemas.as_ref().map_or(0, String::len);
            if total > TEXTS_LENGTH_MAX {
                let msg = format!("All schemas together must have at most {TEXTS_LENGTH_MAX} bytes");
                return Err(Broken::new(&[key], msg));
            }
            found.insert(name.as_str(), read);
        }
    }
    if found.is_empty() {
        let msg = "Must have `webhooks` (OpenAPI 3.1) or `x-webhooks` (3.0) with at least one webhook";
        return Err(Broken::new(&[], msg));
    }
    Ok(found.into_values().collect())
}

struct Document<'a> {
    whole: &'a Map<String, Value>,
    of_3_0: bool,
}

impl<'a> Document<'a> {
    fn event_type(&self, name: &str, item: &'a Value, at: &[&str]) -> Result<EventType, Broken> {
        if !is_name(name, NAME_LENGTH_MAX) {
            let msg = format!("Must be a name: letters, digits, `-`, `_` and `.`, at most {NAME_LENGTH_MAX}");
            return Err(Broken::new(at, msg));
        }
        let item = self.followed(item, at)?;
        let post = item.get("post").ok_or_else(|| Broken::new(at, "Must have a `post`"))?;
        let post = self.followed(post, at)?;
        let body = post.get("requestBody").map(|body| self.followed(body, at)).transpose()?;
        let of = |key: &str| post.get(key).or_else(|| item.get(key));
        let text = |map: Option<&Map<String, Value>>, key: &str| {
            let text = map.and_then(|map| map.get(key)).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let description = [
            text(Some(post), "description"),
            text(Some(post), "summary"),
            text(Some(item), "description"),
            text(Some(item), "summary"),
            text(body, "description"),
        ];
        let description = description.into_iter().flatten().next().unwrap_or_default();
        if description.chars().count() > TEXT_LENGTH_MAX {
            let msg = format!("Its description must have at most {TEXT_LENGTH_MAX} characters");
            return Err(Broken::new(at, msg));
        }
        let never = Timestamp::default(); // the store sets both times
        Ok(EventType {
            name: name.to_owned(),
            description,
            schemas: self.schemas(body, at)?,
            feature_flags: feature_flags(of("x-svix-feature-flags"), at)?,
            group_name: group_name(of("x-svix-group-name"), at)?,
            archived: false,
            deprecated: post.get("deprecated").and_then(Value::as_bool).unwrap_or(false),
            created_at: never,
            updated_at: never,
        })
    }

    /// The schema of a body's JSON, with the examples that stand beside it.
    fn schemas(&self, body: Option<&'a Map<String, Value>>, at: &[&str]) -> Result<Option<String>, Broken> {
        let content = body.and_then(|body| body.get("content")).and_then(Value::as_object);
        let media = content.and_then(|content| {
            let is_json = |name: &str| name.split(';').next().is_some_and(|name| name.ends_with("json"));
            content
                .get("application/json")
                .or_else(|| content.iter().find(|(name, _)| is_json(name)).map(|(_, it)| it))
        });
        let Some(media) = media.and_then(Value::as_object) else { return Ok(None) };
        let Some(schema) = media.get("schema") else { return Ok(None) };
        let mut schema = self.standing_alone(schema, at)?;
        let mut examples: Vec<Value> = media.get("example").cloned().into_iter().collect();
        for example in media.get("examples").and_then(Value::as_object).into_iter().flat_map(Map::values) {
            examples.extend(self.followed(example, at)?.get("value").cloned());
        }
        if !examples.is_empty() && !schema.contains_key("examples") {
            schema.insert("examples".into(), examples.into());
        }
        if let Some(broken) = json_schema::broken(&schema) {
            return Err(Broken::new(at, broken));
        }
        let text = json!({ VERSION: schema }).to_string();
        if text.len() > SCHEMAS_LENGTH_MAX {
            let msg = format!(
                "Its schema, with all that it refers to, must have at most {SCHEMAS_LENGTH_MAX} bytes"
            );
            return Err(Broken::new(at, msg));
        }
        Ok(Some(text))
    }

    /// What stands there, or what the reference that stands there leads to.
    fn followed(&self, mut value: &'a Value, at: &[&str]) -> Result<&'a Map<String, Value>, Broken> {
        for _ in 0..=HOPS_MAX {
            let map = value.as_object().ok_or_else(|| Broken::new(at, "Must be an object"))?;
            match map.get("$ref") {
                Some(Value::String(reference)) => value = self.referred(reference, at)?,
                _ => return Ok(map),
            }
        }
        Err(Broken::new(
            at,
            format!("Refers in a circle, or more than {HOPS_MAX} times from one to the next"),
        ))
    }

    fn referred(&self, reference: &str, at: &[&str]) -> Result<&'a Value, Broken> {
        let unknown = || Broken::new(at, format!("Refers to {reference:?}, which is not in this document"));
        let mut keys = reference.strip_prefix("#/").ok_or_else(unknown)?.split('/');
        let unescaped = |key: &str| key.replace("~1", "/").replace("~0", "~");
        let first = keys.next().and_then(|key| self.whole.get(&unescaped(key))).ok_or_else(unknown)?;
        let step = |value: &'a Value, key: &str| match value {
            Value::Object(map) => map.get(&unescaped(key)),
            Value::Array(list) => list.get(key.parse::<usize>().ok()?),
            _ => None,
        };
        keys.try_fold(first, step).ok_or_else(unknown)
    }
}

fn feature_flags(flags: Option<&Value>, at: &[&str]) -> Result<Vec<String>, Broken> {
    let broken = || {
        let msg = format!("x-svix-feature-flags must be up to {FEATURE_FLAGS_MAX} names that do not repeat");
        Broken::new(at, msg)
    };
    let Some(flags) = flags.filter(|flags| !flags.is_null()) else { return Ok(Vec::new()) };
    let list = flags.as_array().ok_or_else(broken)?.iter();
    let names: Option<Vec<_>> =
        list.map(|flag| flag.as_str().filter(|flag| is_name(flag, NAME_LENGTH_MAX))).collect();
    let names = names.filter(|names| names.len() <= FEATURE_FLAGS_MAX).ok_or_else(broken)?;
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    if distinct.len() < names.len() {
        return Err(broken());
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn group_name(group: Option<&Value>, at: &[&str]) -> Result<Option<String>, Broken> {
    match group {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if is_name(name, NAME_LENGTH_MAX) => Ok(Some(name.clone())),
        Some(_) => Err(Broken::new(at, "x-svix-group-name must be a name")),
    }
}

#[cfg(test)]
mod tests;
