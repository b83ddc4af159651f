//! Connectors as requests have them.

use shared::connector::{CUSTOM, EVENT_TYPES_MAX, INSTRUCTIONS_LENGTH_MAX, KINDS, LOGO_LENGTH_MAX, PRODUCT};
use shared::http::{BodyType, Field, Fields, RequestBody, Rule, Text};
use shared::ids::NAME_LENGTH_MAX;
use shared::limits::FEATURE_FLAGS_MAX;
use shared::store::connectors::ConnectorSettings;
use shared::transformation::{CODE_MAX, CODE_MIN};
use shared::wire::TEXT_LENGTH_MAX;

use crate::theme::is_link;

const NAME: (&str, &str) = ("name", "Display name.");
const LOGO: (&str, &str) = ("logo", "Where its picture is: an https URL.");
const DESCRIPTION: (&str, &str) = ("description", "What it is for.");
const KIND: (&str, &str) = (
    "kind",
    "The service that it is for, which decides what is shown; what is sent depends on `transformation` alone.",
);
const INSTRUCTIONS: (&str, &str) = ("instructions", "Markdown: how to set it up. Up to 64 KiB.");
const EVENT_TYPES: (&str, &str) = (
    "allowedEventTypes",
    "The only event types that an endpoint made with it may choose; all if absent or null. They need not exist yet.",
);
const TRANSFORMATION: (&str, &str) = (
    "transformation",
    "The code that such an endpoint's transformation begins with: JavaScript that declares `handler(webhook)`, 10 to 51,200 characters. Code that cannot be read, or declares no `handler`, is refused.",
);
const FEATURE_FLAGS: (&str, &str) =
    ("featureFlags", "Show it only to applications whose token has one of these flags.");

/// A new connector.
pub struct ConnectorIn(pub ConnectorSettings);

impl RequestBody for ConnectorIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "ConnectorIn",
        &[
            NAME,
            ("uid", "Your own ID, unique within the organisation. Paths take it instead of the ID."),
            LOGO,
            DESCRIPTION,
            KIND,
            INSTRUCTIONS,
            EVENT_TYPES,
            TRANSFORMATION,
            FEATURE_FLAGS,
            ("productType", "Must be `Dispatch`, which sends webhooks: there are no streams here."),
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let name = fields.required_text(&["name"], Text::UpTo(TEXT_LENGTH_MAX)).unwrap_or_default();
        let uid = fields.text(&["uid"], Text::Uid("trtmpl_")).value();
        let product: Field<String> = fields.take(&["productType"]);
        fields.rule("productType", Rule::OneOfWords(&[PRODUCT]));
        if product.value_ref().is_some_and(|product| product != PRODUCT) {
            fields.violation(
                "productType",
                "Must be `Dispatch`, which sends webhooks: there are no streams here",
            );
        }
        Self(ConnectorSettings { name, uid, ..whole(fields) })
    }
}

/// What a connector is to be from now on; the path names it.
pub struct ConnectorUpsertIn(pub ConnectorSettings);

impl RequestBody for ConnectorUpsertIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "ConnectorUpsertIn",
        &[NAME, LOGO, DESCRIPTION, KIND, INSTRUCTIONS, EVENT_TYPES, TRANSFORMATION, FEATURE_FLAGS],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let name = fields.text(&["name"], Text::UpTo(TEXT_LENGTH_MAX)).value().unwrap_or_default();
        Self(ConnectorSettings { name, ..whole(fields) })
    }
}

/// What of a connector is to change.
pub struct ConnectorPatch {
    name: Field<String>,
    logo: Field<String>,
    description: Field<String>,
    kind: Field<String>,
    instructions: Field<String>,
    allowed_event_types: Field<Vec<String>>,
    transformation: Field<String>,
    feature_flags: Field<Vec<String>>,
}

impl RequestBody for ConnectorPatch {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "ConnectorPatch",
        &[NAME, LOGO, DESCRIPTION, KIND, INSTRUCTIONS, EVENT_TYPES, TRANSFORMATION, FEATURE_FLAGS],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let name = fields.text(&["name"], Text::UpTo(TEXT_LENGTH_MAX));
        fields.not_null("name", &name);
        let description = fields.text(&["description"], Text::UpTo(TEXT_LENGTH_MAX));
        fields.not_null("description", &description);
        let kind = fields.word(&["kind"], KINDS);
        fields.not_null("kind", &kind);
        let instructions = fields.text(&["instructions"], Text::UpTo(INSTRUCTIONS_LENGTH_MAX));
        fields.not_null("instructions", &instructions);
        let transformation: Field<String> = fields.take(&["transformation"]);
        fields.not_null("transformation", &transformation);
        check_length(fields, transformation.value_ref());
        Self {
            name,
            logo: logo(fields),
            description,
            kind,
            instructions,
            allowed_event_types: event_types(fields),
            transformation,
            feature_flags: feature_flags(fields),
        }
    }
}

impl ConnectorPatch {
    /// What it makes of `old`.
    pub fn over(self, old: ConnectorSettings) -> ConnectorSettings {
        ConnectorSettings {
            name: self.name.value().unwrap_or(old.name),
            uid: old.uid,
            logo: self.logo.over(old.logo),
            description: self.description.value().unwrap_or(old.description),
            kind: self.kind.value().unwrap_or(old.kind),
            instructions: self.instructions.value().unwrap_or(old.instructions),
            allowed_event_types: self.allowed_event_types.over(old.allowed_event_types),
            transformation: self.transformation.value().unwrap_or(old.transformation),
            feature_flags: self.feature_flags.over(Some(old.feature_flags)).unwrap_or_default(),
        }
    }
}

/// Everything but name and uid.
fn whole(fields: &mut Fields<'_>) -> ConnectorSettings {
    let transformation: Option<String> = fields.required(&["transformation"]);
    check_length(fields, transformation.as_ref());
    let description = fields.text(&["description"], Text::UpTo(TEXT_LENGTH_MAX)).value();
    let instructions = fields.text(&["instructions"], Text::UpTo(INSTRUCTIONS_LENGTH_MAX)).value();
    ConnectorSettings {
        name: String::new(),
        uid: None,
        logo: logo(fields).value(),
        description: description.unwrap_or_default(),
        kind: fields.word(&["kind"], KINDS).value().unwrap_or_else(|| CUSTOM.to_owned()),
        instructions: instructions.unwrap_or_default(),
        allowed_event_types: event_types(fields).value(),
        transformation: transformation.unwrap_or_default(),
        feature_flags: feature_flags(fields).value().unwrap_or_default(),
    }
}

/// The same length as code of an endpoint may have.
fn check_length(fields: &mut Fields<'_>, code: Option<&String>) {
    fields.rule("transformation", Rule::Length(CODE_MIN, CODE_MAX));
    if code.is_some_and(|code| !(CODE_MIN..=CODE_MAX).contains(&code.chars().count())) {
        let msg = format!("Must have between {CODE_MIN} and {CODE_MAX} characters");
        fields.violation("transformation", msg);
    }
}

fn logo(fields: &mut Fields<'_>) -> Field<String> {
    let logo = fields.text(&["logo"], Text::Length(LOGO_LENGTH_MAX));
    fields.rule("logo", Rule::Format("uri"));
    if logo.value_ref().is_some_and(|url| !is_link(url)) && !fields.has_violation("logo") {
        fields.violation("logo", "Must be an https URL");
    }
    logo
}

fn event_types(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    fields.names(&["allowedEventTypes"], NAME_LENGTH_MAX, 1, EVENT_TYPES_MAX)
}

fn feature_flags(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    fields.names(&["featureFlags"], NAME_LENGTH_MAX, 0, FEATURE_FLAGS_MAX)
}
