//! An application as it is written in a request.

use domain::application::ApplicationSettings;
use domain::error::Result;
use domain::limits::TEXT_LENGTH_MAX;

use crate::{BodyType, Fields, Text};

/// An application in a request.
#[derive(Debug)]
pub struct ApplicationIn;

impl ApplicationIn {
    /// A new application, as a body.
    pub const BODY: BodyType = BodyType {
        name: "ApplicationIn",
        read: |fields| drop(Self::fields(fields)),
        optional: false,
        fields: APPLICATION_FIELDS,
        parts: &[],
    };

    /// A change of an application, as a body.
    pub const PATCH: BodyType = BodyType {
        name: "ApplicationPatch",
        read: |fields| drop(Self::changes(fields, ApplicationSettings::default())),
        optional: false,
        fields: APPLICATION_FIELDS,
        parts: &[],
    };

    /// Reads a new application's settings.
    ///
    /// # Errors
    /// `Invalid` with every broken rule.
    pub fn parse(mut fields: Fields<'_>) -> Result<ApplicationSettings> {
        let settings = Self::fields(&mut fields);
        fields.finish()?;
        Ok(settings)
    }

    /// Reads an application that is a part of a request; broken rules stay in `fields`.
    pub fn fields(fields: &mut Fields<'_>) -> ApplicationSettings {
        ApplicationSettings {
            name: fields.required_text(&["name"], Text::Length(TEXT_LENGTH_MAX)).unwrap_or_default(),
            uid: fields.text(&["uid"], Text::Uid("app_")).value(),
            rate_limit: fields.rate_limit().value(),
            metadata: fields.metadata().value().unwrap_or_default(),
        }
    }

    /// Reads what a PATCH changes of `old`.
    ///
    /// # Errors
    /// `Invalid` with every broken rule.
    pub fn patch(mut fields: Fields<'_>, old: ApplicationSettings) -> Result<ApplicationSettings> {
        let settings = Self::changes(&mut fields, old);
        fields.finish()?;
        Ok(settings)
    }

    fn changes(fields: &mut Fields<'_>, old: ApplicationSettings) -> ApplicationSettings {
        let name = fields.text(&["name"], Text::Length(TEXT_LENGTH_MAX));
        fields.not_null("name", &name);
        ApplicationSettings {
            name: name.value().unwrap_or(old.name),
            uid: fields.text(&["uid"], Text::Uid("app_")).over(old.uid),
            rate_limit: fields.rate_limit().over(old.rate_limit),
            metadata: fields.metadata().over(Some(old.metadata)).unwrap_or_default(),
        }
    }
}

const APPLICATION_FIELDS: &[(&str, &str)] = &[
    ("name", "Display name."),
    ("uid", "Your own ID, unique within the organisation. Paths take it instead of the ID."),
    ("rateLimit", "Maximum messages per second to each of its endpoints; further ones wait."),
    ("metadata", "Arbitrary key-value metadata."),
];
