//! An application as it is written in a request.

use std::collections::BTreeMap;

use domain::application::ApplicationSettings;
use domain::email;
use domain::limits::TEXT_LENGTH_MAX;

use crate::{BodyType, Field, Fields, RETRY_POLICY, RequestBody, Text};

/// An application in a request.
#[derive(Debug)]
pub struct ApplicationIn(pub ApplicationSettings);

impl RequestBody for ApplicationIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>("ApplicationIn", APPLICATION_FIELDS);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self(ApplicationSettings {
            name: fields.required_text(&["name"], Text::Length(TEXT_LENGTH_MAX)).unwrap_or_default(),
            uid: fields.text(&["uid"], Text::Uid("app_")).value(),
            rate_limit: fields.rate_limit().value(),
            retry_policy: fields.retry_policy().value(),
            metadata: read_metadata(fields).value().unwrap_or_default(),
        })
    }
}

/// The owner's notes, one of which means something here: who is warned by mail.
fn read_metadata(fields: &mut Fields<'_>) -> Field<BTreeMap<String, String>> {
    let field = fields.metadata();
    if let Field::Value(map) = &field
        && map.get(email::METADATA_NAME).is_some_and(|address| !email::is_address(address))
    {
        let text =
            "Must be an email address, such as ops@example.com: warnings of failing endpoints are sent there";
        fields.violation_at(&["metadata", email::METADATA_NAME], text);
    }
    field
}

impl ApplicationIn {
    /// Reads the field `application` of another body, where it is there.
    pub fn part_of(fields: &mut Fields<'_>) -> Option<ApplicationSettings> {
        let mut part = fields.object("application")?;
        let Self(settings) = Self::read(&mut part, ());
        fields.absorb(part);
        Some(settings)
    }
}

/// What a PATCH makes of an application's settings.
#[derive(Debug)]
pub struct ApplicationPatch(pub ApplicationSettings);

impl RequestBody for ApplicationPatch {
    /// The settings before.
    type With = ApplicationSettings;
    const TYPE: BodyType = BodyType::of::<Self>("ApplicationPatch", APPLICATION_FIELDS);

    fn read(fields: &mut Fields<'_>, before: ApplicationSettings) -> Self {
        let name = fields.text(&["name"], Text::Length(TEXT_LENGTH_MAX));
        fields.not_null("name", &name);
        Self(ApplicationSettings {
            name: name.value().unwrap_or(before.name),
            uid: fields.text(&["uid"], Text::Uid("app_")).over(before.uid),
            rate_limit: fields.rate_limit().over(before.rate_limit),
            retry_policy: fields.retry_policy().over(before.retry_policy),
            metadata: read_metadata(fields).over(Some(before.metadata)).unwrap_or_default(),
        })
    }
}

const APPLICATION_FIELDS: &[(&str, &str)] = &[
    ("name", "Display name."),
    ("uid", "Your own ID, unique within the organisation. Paths take it instead of the ID."),
    (
        "rateLimit",
        "Messages per second to its endpoints; further ones wait. It holds over any longer time; within one second up to twice as many can arrive.",
    ),
    RETRY_POLICY[0],
    RETRY_POLICY[1],
    RETRY_POLICY[2],
    RETRY_POLICY[3],
    RETRY_POLICY[4],
    RETRY_POLICY[5],
    (
        "metadata",
        "Arbitrary key-value metadata. `postrider.email`, if it is there, is the address that is warned of failing endpoints where the installation sends mail.",
    ),
];
