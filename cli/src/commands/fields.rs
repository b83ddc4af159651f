//! The fields of the bodies that commands send, so that a misspelt one is refused and a text stays a text. A test
//! compares them with the API's OpenAPI document.

use serde_json::value::RawValue;

use crate::error::{CliError, Result};
use crate::json::{self, Object};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A text, which may look like a number.
    Text,
    /// Texts by names of the caller's.
    Texts,
    /// Fields of its own.
    Fields(Known),
    /// Any other JSON.
    Json,
}

use Holds::{Fields, Json, Text, Texts};

/// Fields that the API knows.
pub(super) type Known = &'static [(&'static str, Holds)];

const RETRY_POLICY: Known =
    &[("attempts", Json), ("jitter", Json), ("maxSeconds", Json), ("minSeconds", Json), ("schedule", Json)];

const DESTINATION: Known = &[
    ("arn", Text),
    ("externalId", Text),
    ("fifoKey", Text),
    ("format", Text),
    ("keyTemplate", Text),
    ("kind", Text),
    ("region", Text),
    ("roleArn", Text),
    ("url", Text),
];

/// Of an application, to create or change it.
pub(super) const APPLICATION: Known = &[
    ("metadata", Texts),
    ("name", Text),
    ("rateLimit", Json),
    ("retryPolicy", Fields(RETRY_POLICY)),
    ("throttleRate", Json),
    ("uid", Text),
];

/// Of a new endpoint.
pub(super) const NEW_ENDPOINT: Known = &[
    ("autoEnable", Json),
    ("batchSize", Json),
    ("channels", Json),
    ("description", Text),
    ("destination", Fields(DESTINATION)),
    ("disabled", Json),
    ("eventTypes", Json),
    ("fifo", Json),
    ("fifoKey", Text),
    ("filter", Json),
    ("filterTypes", Json),
    ("headerStyle", Text),
    ("headers", Texts),
    ("maxWaitSecs", Json),
    ("metadata", Texts),
    ("rateLimit", Json),
    ("retryPolicy", Fields(RETRY_POLICY)),
    ("secret", Text),
    ("throttleRate", Json),
    ("uid", Text),
    ("url", Text),
];

/// Of an endpoint that is changed: headers and secret have operations of their own.
pub(super) const ENDPOINT: Known = &[
    ("autoEnable", Json),
    ("batchSize", Json),
    ("channels", Json),
    ("description", Text),
    ("destination", Fields(DESTINATION)),
    ("disabled", Json),
    ("eventTypes", Json),
    ("fifo", Json),
    ("fifoKey", Text),
    ("filter", Json),
    ("filterTypes", Json),
    ("headerStyle", Text),
    ("maxWaitSecs", Json),
    ("metadata", Texts),
    ("rateLimit", Json),
    ("retryPolicy", Fields(RETRY_POLICY)),
    ("throttleRate", Json),
    ("uid", Text),
    ("url", Text),
];

/// Of a new event type.
pub(super) const NEW_EVENT_TYPE: Known = &[
    ("archived", Json),
    ("deprecated", Json),
    ("description", Text),
    ("featureFlag", Text),
    ("featureFlags", Json),
    ("groupName", Text),
    ("name", Text),
    ("schemas", Json),
];

/// Of an event type that is changed: its name stays.
pub(super) const EVENT_TYPE: Known = &[
    ("archived", Json),
    ("deprecated", Json),
    ("description", Text),
    ("featureFlag", Text),
    ("featureFlags", Json),
    ("groupName", Text),
    ("schemas", Json),
];

/// Of a message.
pub(super) const MESSAGE: Known = &[
    ("application", Fields(APPLICATION)),
    ("channels", Json),
    ("data", Json),
    ("deliverAt", Text),
    ("eventId", Text),
    ("eventType", Text),
    ("payload", Json),
    ("payloadRetentionHours", Json),
    ("payloadRetentionPeriod", Json),
    ("tags", Json),
    ("transformationsParams", Fields(&[("headers", Texts), ("rawPayload", Text)])),
];

/// What the field at a path holds; JSON where nothing is known of it.
fn holds(known: Known, path: &[&str]) -> Holds {
    let [name, rest @ ..] = path else { return Json };
    match known.iter().find(|(one, _)| one == name) {
        Some((_, Fields(inner))) if !rest.is_empty() => holds(inner, rest),
        Some((_, Texts)) if rest.len() == 1 => Text,
        Some((_, holds)) if rest.is_empty() => *holds,
        _ => Json,
    }
}

/// `invoice.lines.0=…` into the object, making objects on the way. A value that is JSON is taken as JSON; for a text,
/// only one in quotes and null.
pub(super) fn set(object: &mut Object, assignment: &str, known: Known) -> Result<()> {
    let Some((path, value)) = assignment.split_once('=') else {
        return Err(CliError::usage(format!("{assignment:?} is not name=value")));
    };
    let names: Vec<&str> = path.split('.').collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err(CliError::usage(format!("{assignment:?} has no name")));
    }
    let is_text = holds(known, &names) == Text;
    let is_taken = |value: &RawValue| !is_text || value.get().starts_with('"') || value.get() == "null";
    let value = json::parsed(value).filter(|value| is_taken(value)).unwrap_or_else(|| json::string(value));
    object.set(&names, value).map_err(|name| CliError::usage(format!("{path}: {name} is not an object")))
}

/// Refuses names that the API does not know: it would ignore them.
pub(super) fn check(object: &Object, known: Known, of: &str) -> Result<()> {
    unknown(object, known, "").map_or(Ok(()), |(path, known)| {
        let name = path.rsplit('.').next().unwrap_or_default();
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let hint = match names.iter().find(|one| is_near(name, one)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("expected one of {}", names.join(", ")),
        };
        let payload = if of == "a message" { ". Fields of the payload are written payload.NAME" } else { "" };
        Err(CliError::usage(format!("{path:?} is not a field of {of}; {hint}{payload}")))
    })
}

/// The path of the first field that is not known, and what is known there.
fn unknown(object: &Object, known: Known, before: &str) -> Option<(String, Known)> {
    for (name, value) in object.fields() {
        let path = format!("{before}{name}");
        match known.iter().find(|(one, _)| *one == name) {
            None => return Some((path, known)),
            Some((_, Fields(inner))) => {
                let nested = Object::read(value.get()).ok().flatten();
                let found = nested.and_then(|nested| unknown(&nested, inner, &format!("{path}.")));
                if found.is_some() {
                    return found;
                }
            }
            Some(_) => {}
        }
    }
    None
}

/// Whether a name may be a misspelt other one: at most two letters are wrong, missing or too many.
fn is_near(name: &str, other: &str) -> bool {
    let (a, b) = (name.to_lowercase().replace(['_', '-'], ""), other.to_lowercase());
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut last = i;
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = last + usize::from(x != y);
            last = row[j + 1];
            row[j + 1] = replaced.min(last + 1).min(row[j] + 1);
        }
    }
    row.last().is_some_and(|distance| *distance <= 2 && *distance * 2 < b.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// What the document says of a schema's fields, in the words of this file.
    fn compared(schemas: &Value, schema: &Value, known: Known, at: &str) {
        let schema = match schema["allOf"][0]["$ref"].as_str() {
            Some(link) => &schemas[link.rsplit('/').next().unwrap()],
            None => schema,
        };
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(
            properties.keys().map(String::as_str).collect::<Vec<_>>(),
            known.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            "{at}"
        );
        for ((name, holds), property) in known.iter().zip(properties.values()) {
            let at = format!("{at}.{name}");
            match holds {
                Fields(inner) => compared(schemas, property, inner, &at),
                Texts => assert_eq!(property["additionalProperties"]["type"], "string", "{at}"),
                Text => assert_eq!(property["type"], "string", "{at}"),
                Json => {
                    assert!(property["type"] != "string" && property["properties"].is_null(), "{at}");
                    assert_ne!(property["additionalProperties"]["type"], "string", "{at}");
                }
            }
        }
    }

    #[test]
    fn the_fields_are_those_of_the_api() {
        let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
        let schemas = &document["components"]["schemas"];
        for (name, known) in [
            ("ApplicationIn", APPLICATION),
            ("ApplicationPatch", APPLICATION),
            ("EndpointIn", NEW_ENDPOINT),
            ("EndpointPatch", ENDPOINT),
            ("EventTypeIn", NEW_EVENT_TYPE),
            ("EventTypePatch", EVENT_TYPE),
            ("MessageIn", MESSAGE),
        ] {
            compared(schemas, &schemas[name], known, name);
        }
    }

    fn body(assignments: &[&str], known: Known) -> Result<String> {
        let mut object = Object::default();
        assignments.iter().try_for_each(|one| set(&mut object, one, known))?;
        check(&object, known, "an endpoint").map(|()| object.text())
    }

    #[test]
    fn a_text_stays_a_text_and_other_values_are_json() {
        let assignments = [
            "url=http://a?b=c",
            "disabled=true",
            "metadata.plan=7",
            "rateLimit=1",
            "uid=42",
            "description=null",
        ];
        assert_eq!(
            body(&assignments, ENDPOINT).unwrap(),
            r#"{"url":"http://a?b=c","disabled":true,"metadata":{"plan":"7"},"rateLimit":1,"uid":"42","description":null}"#
        );
        assert_eq!(
            body(&["uid=\"1\"", "retryPolicy.attempts=2"], ENDPOINT).unwrap(),
            r#"{"uid":"1","retryPolicy":{"attempts":2}}"#
        );
        assert_eq!(
            body(&["payload.n=1.10", "payload.t=a"], MESSAGE).unwrap(),
            r#"{"payload":{"n":1.10,"t":"a"}}"#
        );
        for wrong in ["x", "=1", "uid.=1", ".uid=1"] {
            assert!(body(&[wrong], ENDPOINT).is_err(), "{wrong}");
        }
        let error = body(&["disabled=1", "disabled.x=1"], ENDPOINT).unwrap_err().to_string();
        assert_eq!(error, "disabled.x: disabled is not an object");
    }

    #[test]
    fn a_misspelt_field_is_refused_with_the_right_one() {
        for (wrong, says) in [
            ("ratelimit=5", "did you mean rateLimit?"),
            ("rate_limit=5", "did you mean rateLimit?"),
            ("disbled=true", "did you mean disabled?"),
            (
                "retryPolicy.atempts=2",
                "\"retryPolicy.atempts\" is not a field of an endpoint; did you mean attempts?",
            ),
            ("colour=red", "expected one of autoEnable, "),
        ] {
            let error = body(&[wrong], ENDPOINT).unwrap_err();
            assert!(matches!(&error, CliError::Usage(text) if text.contains(says)), "{error}");
        }
        let error = check(&Object::read(r#"{"id":1}"#).unwrap().unwrap(), MESSAGE, "a message").unwrap_err();
        assert!(error.to_string().contains("payload.NAME"), "{error}");
        assert_eq!(
            check(&Object::read(r#"{"payload":{"id":1}}"#).unwrap().unwrap(), MESSAGE, "a message"),
            Ok(())
        );
    }
}
