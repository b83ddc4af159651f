//! Event types as requests have them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use shared::clock::Timestamp;
use shared::http::{Field, Fields, Text};
use shared::ids::NAME_LENGTH_MAX;
use shared::store::event_types::EventType;
use shared::wire::TEXT_LENGTH_MAX;
use shared::{Error, Result};

/// Longest text of all schemas of an event type; an item may have 400 KB.
const SCHEMAS_LENGTH_MAX: usize = 256 * 1024;
/// Most feature flags of one event type.
const FEATURE_FLAGS_MAX: usize = 32;

/// Reads a new event type, which names itself.
///
/// # Errors
/// `Invalid` with every broken rule.
pub fn create(body: &[u8]) -> Result<EventType> {
    let mut fields = Fields::parse(body)?;
    let name = fields.required::<String>(&["name"]).unwrap_or_default();
    if !fields.has_violation("name")
        && let Some(broken) = Text::Name(NAME_LENGTH_MAX).broken(&name)
    {
        fields.violation("name", broken, "value_error");
    }
    let read = whole(&mut fields, name);
    fields.finish()?;
    Ok(read)
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
    let old = old.clone();
    let description = description(&mut fields);
    let archived = fields.take(&["archived"]);
    let deprecated = fields.take(&["deprecated"]);
    for (name, is_null) in [
        ("description", description == Field::Null),
        ("archived", archived == Field::Null),
        ("deprecated", deprecated == Field::Null),
    ] {
        if is_null {
            fields.violation(name, "Must not be null", "type_error");
        }
    }
    let patched = EventType {
        description: description.value().unwrap_or(old.description),
        schemas: schemas(&mut fields).over(old.schemas),
        feature_flags: feature_flags(&mut fields).over(Some(old.feature_flags)).unwrap_or_default(),
        group_name: fields.text(&["groupName"], Text::Name(NAME_LENGTH_MAX)).over(old.group_name),
        archived: archived.value().unwrap_or(old.archived),
        deprecated: deprecated.value().unwrap_or(old.deprecated),
        ..old
    };
    fields.finish()?;
    Ok(patched)
}

/// Everything but the name.
fn whole(fields: &mut Fields<'_>, name: String) -> EventType {
    let description = description(fields);
    if matches!(description, Field::Absent | Field::Null) && !fields.has_violation("description") {
        // May be empty, but must be there.
        fields.violation("description", "Field required", "missing");
    }
    let never = Timestamp::default(); // the store sets both times
    EventType {
        name,
        description: description.value().unwrap_or_default(),
        schemas: schemas(fields).value(),
        feature_flags: feature_flags(fields).value().unwrap_or_default(),
        group_name: fields.text(&["groupName"], Text::Name(NAME_LENGTH_MAX)).value(),
        archived: fields.optional(&["archived"]).unwrap_or(false),
        deprecated: fields.optional(&["deprecated"]).unwrap_or(false),
        created_at: never,
        updated_at: never,
    }
}

fn description(fields: &mut Fields<'_>) -> Field<String> {
    let description: Field<String> = fields.take(&["description"]);
    if matches!(&description, Field::Value(text) if text.len() > TEXT_LENGTH_MAX) {
        fields.violation("description", format!("Must have at most {TEXT_LENGTH_MAX} bytes"), "value_error");
    }
    description
}

/// The schemas' JSON text as it was sent; each version's has to be an object.
fn schemas(fields: &mut Fields<'_>) -> Field<String> {
    let raw = fields.raw(&["schemas"]).map(|(_, raw)| raw);
    match (fields.take::<BTreeMap<String, serde_json::Map<String, serde_json::Value>>>(&["schemas"]), raw) {
        (Field::Value(_), Some(raw)) => {
            if raw.get().len() > SCHEMAS_LENGTH_MAX {
                let msg = format!("Must have at most {SCHEMAS_LENGTH_MAX} bytes");
                fields.violation("schemas", msg, "value_error");
            }
            Field::Value(RawValue::get(raw).to_owned())
        }
        (Field::Null, _) => Field::Null,
        _ => Field::Absent,
    }
}

/// Several flags, as hosted clients write them, or one, as the others do.
fn feature_flags(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    let several = fields.names(&["featureFlags"], NAME_LENGTH_MAX, 1, FEATURE_FLAGS_MAX);
    let one = fields.text(&["featureFlag"], Text::Name(NAME_LENGTH_MAX));
    match (several, one) {
        (Field::Value(flags), _) => Field::Value(flags),
        (_, Field::Value(flag)) => Field::Value(vec![flag]),
        (Field::Null, _) | (_, Field::Null) => Field::Null,
        (Field::Absent, Field::Absent) => Field::Absent,
    }
}
