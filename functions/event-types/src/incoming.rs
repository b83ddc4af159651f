//! Event types as requests have them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use shared::clock::Timestamp;
use shared::http::{BodyType, Field, Fields, RequestBody, Text};
use shared::ids::NAME_LENGTH_MAX;
use shared::limits::FEATURE_FLAGS_MAX;
use shared::store::event_types::EventType;
use shared::wire::TEXT_LENGTH_MAX;
use shared::{Error, Result};

use crate::json_schema;

/// Longest text of all schemas of an event type; an item may have 400 KB.
pub const SCHEMAS_LENGTH_MAX: usize = 256 * 1024;

/// A new event type, which names itself.
pub struct EventTypeIn(pub EventType);

impl RequestBody for EventTypeIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "EventTypeIn",
        &[
            ("name", "The event type's name, such as `invoice.paid`."),
            DESCRIPTION,
            SCHEMAS,
            FEATURE_FLAGS,
            FEATURE_FLAG,
            GROUP_NAME,
            ARCHIVED,
            DEPRECATED,
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let name = fields.required_text(&["name"], Text::Name(NAME_LENGTH_MAX)).unwrap_or_default();
        Self(whole(fields, name))
    }
}

/// What an event type is to be from now on; the path names it.
pub struct EventTypeUpdate(EventType);

impl RequestBody for EventTypeUpdate {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>("EventTypeUpdate", BUT_THE_NAME);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self(whole(fields, String::new()))
    }
}

impl EventTypeUpdate {
    /// The event type of that name.
    ///
    /// # Errors
    /// `Invalid` if it cannot be a name.
    pub fn named(self, name: String) -> Result<EventType> {
        match Text::Name(NAME_LENGTH_MAX).broken(&name) {
            Some(broken) => Err(Error::violation(["path", "event_type_name"], broken)),
            None => Ok(EventType { name, ..self.0 }),
        }
    }
}

/// A change of an event type.
pub struct EventTypePatch {
    description: Field<String>,
    schemas: Field<String>,
    feature_flags: Field<Vec<String>>,
    group_name: Field<String>,
    archived: Field<bool>,
    deprecated: Field<bool>,
}

impl RequestBody for EventTypePatch {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>("EventTypePatch", BUT_THE_NAME);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let description = fields.text(&["description"], Text::UpTo(TEXT_LENGTH_MAX));
        fields.not_null("description", &description);
        let archived = fields.take(&["archived"]);
        fields.not_null("archived", &archived);
        let deprecated = fields.take(&["deprecated"]);
        fields.not_null("deprecated", &deprecated);
        Self {
            description,
            schemas: schemas(fields),
            feature_flags: feature_flags(fields),
            group_name: fields.text(&["groupName"], Text::Name(NAME_LENGTH_MAX)),
            archived,
            deprecated,
        }
    }
}

impl EventTypePatch {
    /// What it makes of `old`.
    pub fn over(self, old: EventType) -> EventType {
        EventType {
            description: self.description.value().unwrap_or(old.description),
            schemas: self.schemas.over(old.schemas),
            feature_flags: self.feature_flags.over(Some(old.feature_flags)).unwrap_or_default(),
            group_name: self.group_name.over(old.group_name),
            archived: self.archived.value().unwrap_or(old.archived),
            deprecated: self.deprecated.value().unwrap_or(old.deprecated),
            ..old
        }
    }
}

const BUT_THE_NAME: &[(&str, &str)] =
    &[DESCRIPTION, SCHEMAS, FEATURE_FLAGS, FEATURE_FLAG, GROUP_NAME, ARCHIVED, DEPRECATED];
const DESCRIPTION: (&str, &str) = ("description", "What the event means.");
const SCHEMAS: (&str, &str) =
    ("schemas", "JSON schemas of its payloads, by version; at most 256 KiB of text.");
const FEATURE_FLAGS: (&str, &str) =
    ("featureFlags", "Show it only to applications whose token has one of these flags.");
const FEATURE_FLAG: (&str, &str) = ("featureFlag", "A single feature flag; `featureFlags` takes several.");
const GROUP_NAME: (&str, &str) = ("groupName", "Group under which it is shown.");
const ARCHIVED: (&str, &str) = ("archived", "Archived: no longer in use.");
const DEPRECATED: (&str, &str) = ("deprecated", "Deprecated: choose another event type.");

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
    fields.no_name_twice("schemas");
    if raw.value_ref().is_some_and(|raw| raw.get().len() > SCHEMAS_LENGTH_MAX) {
        let msg = format!("Must have at most {SCHEMAS_LENGTH_MAX} bytes");
        fields.violation("schemas", msg);
    }
    if let Field::Value(raw) = &raw
        && let Ok(versions) = serde_json::from_str::<BTreeMap<String, Map<String, Value>>>(raw.get())
        && let Some((version, broken)) =
            versions.iter().find_map(|(version, schema)| Some((version, json_schema::broken(schema)?)))
    {
        fields.violation_at(&["schemas", version], broken);
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
        fields.violation("featureFlag", "Must be the first of `featureFlags`, or left out");
    }
    match (several, one) {
        (Field::Value(flags), _) => Field::Value(flags),
        (_, Field::Value(flag)) => Field::Value(vec![flag]),
        (Field::Null, _) | (_, Field::Null) => Field::Null,
        (Field::Absent, Field::Absent) => Field::Absent,
    }
}
