//! Event types as requests have them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use shared::clock::Timestamp;
use shared::http::{Field, Fields, RequestBody, Text};
use shared::ids::NAME_LENGTH_MAX;
use shared::store::event_types::EventType;
use shared::wire::TEXT_LENGTH_MAX;
use shared::{Error, Result};

use crate::json_schema;

/// Longest text of all schemas of an event type; an item may have 400 KB.
pub const SCHEMAS_LENGTH_MAX: usize = 256 * 1024;
/// Most feature flags of one event type.
pub const FEATURE_FLAGS_MAX: usize = 32;

/// A new event type, as a body.
pub const EVENT_TYPE_IN: RequestBody = RequestBody {
    name: "EventTypeIn",
    read: |fields| drop(named(fields)),
    optional: false,
    fields: &[
        ("name", "The event type's name, such as `invoice.paid`."),
        DESCRIPTION,
        SCHEMAS,
        FEATURE_FLAGS,
        FEATURE_FLAG,
        GROUP_NAME,
        ARCHIVED,
        DEPRECATED,
    ],
    parts: &[],
};

/// All but the name, as a body.
pub const EVENT_TYPE_UPDATE: RequestBody = RequestBody {
    name: "EventTypeUpdate",
    read: |fields| drop(whole(fields, String::new())),
    optional: false,
    fields: &[DESCRIPTION, SCHEMAS, FEATURE_FLAGS, FEATURE_FLAG, GROUP_NAME, ARCHIVED, DEPRECATED],
    parts: &[],
};

/// A change, as a body.
pub const EVENT_TYPE_PATCH: RequestBody = RequestBody {
    name: "EventTypePatch",
    read: |fields| {
        let nothing = whole(&mut Fields::describing(), String::new());
        drop(changes(fields, nothing));
    },
    optional: false,
    fields: &[DESCRIPTION, SCHEMAS, FEATURE_FLAGS, FEATURE_FLAG, GROUP_NAME, ARCHIVED, DEPRECATED],
    parts: &[],
};

const DESCRIPTION: (&str, &str) = ("description", "What the event means.");
const SCHEMAS: (&str, &str) =
    ("schemas", "JSON schemas of its payloads, by version; at most 256 KiB of text.");
const FEATURE_FLAGS: (&str, &str) =
    ("featureFlags", "Show it only to applications whose token has one of these flags.");
const FEATURE_FLAG: (&str, &str) = ("featureFlag", "A single feature flag; `featureFlags` takes several.");
const GROUP_NAME: (&str, &str) = ("groupName", "Group under which it is shown.");
const ARCHIVED: (&str, &str) = ("archived", "Archived: no longer in use.");
const DEPRECATED: (&str, &str) = ("deprecated", "Deprecated: choose another event type.");

/// Reads a new event type, which names itself.
///
/// # Errors
/// `Invalid` with every broken rule.
pub fn create(body: &[u8]) -> Result<EventType> {
    let mut fields = Fields::parse(body)?;
    let read = named(&mut fields);
    fields.finish()?;
    Ok(read)
}

fn named(fields: &mut Fields<'_>) -> EventType {
    let name = fields.required_text(&["name"], Text::Name(NAME_LENGTH_MAX)).unwrap_or_default();
    whole(fields, name)
}

/// Reads what an event type is to be from now on; the path names it.
///
/// # Errors
/// `Invalid` with every broken rule.
pub fn replace(name: &str, body: &[u8]) -> Result<EventType> {
    let mut fields = Fields::parse(body)?;
    let read = whole(&mut fields, name.to_owned());
    fields.finish()?;
    match Text::Name(NAME_LENGTH_MAX).broken(name) {
        Some(broken) => Err(Error::violation(["path", "event_type_name"], broken, "value_error")),
        None => Ok(read),
    }
}

/// Reads what a PATCH makes of `old`.
///
/// # Errors
/// `Invalid` with every broken rule.
pub fn patch(old: &EventType, body: &[u8]) -> Result<EventType> {
    let mut fields = Fields::parse(body)?;
    let patched = changes(&mut fields, old.clone());
    fields.finish()?;
    Ok(patched)
}

fn changes(fields: &mut Fields<'_>, old: EventType) -> EventType {
    let description = fields.text(&["description"], Text::UpTo(TEXT_LENGTH_MAX));
    fields.not_null("description", &description);
    let archived = fields.take(&["archived"]);
    fields.not_null("archived", &archived);
    let deprecated = fields.take(&["deprecated"]);
    fields.not_null("deprecated", &deprecated);
    EventType {
        description: description.value().unwrap_or(old.description),
        schemas: schemas(fields).over(old.schemas),
        feature_flags: feature_flags(fields).over(Some(old.feature_flags)).unwrap_or_default(),
        group_name: fields.text(&["groupName"], Text::Name(NAME_LENGTH_MAX)).over(old.group_name),
        archived: archived.value().unwrap_or(old.archived),
        deprecated: deprecated.value().unwrap_or(old.deprecated),
        ..old
    }
}

/// Everything but the name.
fn whole(fields: &mut Fields<'_>, name: String) -> EventType {
    // May be empty, but must be there.
    let description = fields.required_text(&["description"], Text::UpTo(TEXT_LENGTH_MAX));
    let never = Timestamp::default(); // the store sets both times
    EventType {
        name,
        description: description.unwrap_or_default(),
        schemas: schemas(fields).value(),
        feature_flags: feature_flags(fields).value().unwrap_or_default(),
        group_name: fields.text(&["groupName"], Text::Name(NAME_LENGTH_MAX)).value(),
        archived: fields.or(&["archived"], false),
        deprecated: fields.or(&["deprecated"], false),
        created_at: never,
        updated_at: never,
    }
}

/// The schemas' JSON text as it was sent; each version's has to be an object.
fn schemas(fields: &mut Fields<'_>) -> Field<String> {
    let raw = fields.raw_as::<BTreeMap<String, Map<String, Value>>>(&["schemas"]);
    if raw.value_ref().is_some_and(|raw| raw.get().len() > SCHEMAS_LENGTH_MAX) {
        let msg = format!("Must have at most {SCHEMAS_LENGTH_MAX} bytes");
        fields.violation("schemas", msg, "value_error");
    }
    if let Field::Value(raw) = &raw
        && let Ok(versions) = serde_json::from_str::<BTreeMap<String, Map<String, Value>>>(raw.get())
        && let Some((version, broken)) =
            versions.iter().find_map(|(version, schema)| Some((version, json_schema::broken(schema)?)))
    {
        fields.violation_at(&["schemas", version], broken, "value_error");
    }
    raw.map(|raw| raw.get().to_owned())
}

/// Several flags, as hosted clients write them, or one, as the others do.
fn feature_flags(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    let several = fields.names(&["featureFlags"], NAME_LENGTH_MAX, 1, FEATURE_FLAGS_MAX);
    let one = fields.text(&["featureFlag"], Text::Name(NAME_LENGTH_MAX));
    if let (Field::Value(flags), Field::Value(flag)) = (&several, &one)
        && flags.first() != Some(flag)
    {
        fields.violation("featureFlag", "Must be the first of `featureFlags`, or left out", "value_error");
    }
    match (several, one) {
        (Field::Value(flags), _) => Field::Value(flags),
        (_, Field::Value(flag)) => Field::Value(vec![flag]),
        (Field::Null, _) | (_, Field::Null) => Field::Null,
        (Field::Absent, Field::Absent) => Field::Absent,
    }
}
