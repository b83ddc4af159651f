//! An application as it is written in a request.

use domain::application::ApplicationSettings;
use domain::limits::TEXT_LENGTH_MAX;

use crate::{BodyType, Fields, RETRY_POLICY, RequestBody, Text};

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
            metadata: fields.metadata().value().unwrap_or_default(),
        })
    }
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
            metadata: fields.metadata().over(Some(before.metadata)).unwrap_or_default(),
        })
    }
}

const APPLICATION_FIELDS: &[(&str, &str)] = &[
    ("name", "Display name."),
    ("uid", "Your own ID, unique within the organisation. Paths take it instead of the ID."),
    ("rateLimit", "Maximum messages per second to each of its endpoints; further ones wait."),
    RETRY_POLICY[0],
    RETRY_POLICY[1],
    RETRY_POLICY[2],
    RETRY_POLICY[3],
    RETRY_POLICY[4],
    RETRY_POLICY[5],
    ("metadata", "Arbitrary key-value metadata."),
];
