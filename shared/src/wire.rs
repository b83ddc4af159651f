//! Applications and messages as requests and answers have them, where several functions do.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::error::{Result, corrupt};
use crate::http::{Field, Fields, Text};
use crate::ids::AppId;
use crate::store::applications::{Application, ApplicationSettings};
use crate::store::messages::{Message, NewMessage};

/// Longest name and description.
pub const TEXT_LENGTH_MAX: usize = 4096;

/// An application in a request.
#[derive(Debug)]
pub struct ApplicationIn;

impl ApplicationIn {
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
        let name = fields.text(&["name"], Text::Length(TEXT_LENGTH_MAX));
        if matches!(name, Field::Absent | Field::Null) && !fields.has_violation("name") {
            fields.violation("name", "Field required", "missing");
        }
        ApplicationSettings {
            name: name.value().unwrap_or_default(),
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
        let name = fields.text(&["name"], Text::Length(TEXT_LENGTH_MAX));
        if name == Field::Null {
            fields.violation("name", "Must not be null", "type_error");
        }
        let settings = ApplicationSettings {
            name: name.value().unwrap_or(old.name),
            uid: fields.text(&["uid"], Text::Uid("app_")).over(old.uid),
            rate_limit: fields.rate_limit().over(old.rate_limit),
            metadata: fields.metadata().over(Some(old.metadata)).unwrap_or_default(),
        };
        fields.finish()?;
        Ok(settings)
    }
}

/// An application in an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationOut {
    id: AppId,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u16>,
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Application> for ApplicationOut {
    fn from(app: Application) -> Self {
        let ApplicationSettings { name, uid, rate_limit, metadata } = app.settings;
        Self {
            id: app.id,
            name,
            uid,
            rate_limit,
            throttle_rate: rate_limit,
            metadata,
            created_at: app.created_at,
            updated_at: app.updated_at,
        }
    }
}

/// A message in an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageOut {
    id: crate::ids::MessageId,
    event_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    payload: Box<RawValue>,
    timestamp: Timestamp,
}

/// How much of a message's text an answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// All of it.
    Payload(&'a str),
    /// None, because the caller does not want it.
    Withheld,
    /// None, because it is gone.
    Expired,
}

impl Shown<'_> {
    fn json(&self) -> Result<Box<RawValue>> {
        let text = match self {
            Self::Payload(text) => text,
            Self::Withheld => "{}",
            Self::Expired => r#"{"expired":true}"#,
        };
        RawValue::from_string(text.to_owned()).map_err(corrupt("a payload"))
    }
}

impl MessageOut {
    /// The message's id.
    pub const fn id(&self) -> crate::ids::MessageId {
        self.id
    }

    /// The answer for a message that was just stored.
    ///
    /// # Errors
    /// `Corrupt` if its text is no JSON.
    pub fn accepted(message: &NewMessage, with_content: bool) -> Result<Self> {
        let shown = if with_content { Shown::Payload(&message.payload.json) } else { Shown::Withheld };
        Ok(Self {
            id: message.id,
            event_type: message.event_type.clone(),
            event_id: message.event_id.clone(),
            channels: message.channels.clone(),
            tags: message.tags.clone(),
            payload: shown.json()?,
            timestamp: message.id.time(),
        })
    }

    /// The answer for `message`.
    ///
    /// # Errors
    /// `Corrupt` if the stored text is no JSON.
    pub fn new(message: &Message, shown: &Shown<'_>) -> Result<Self> {
        Ok(Self {
            id: message.id,
            event_type: message.event_type.clone(),
            event_id: message.event_id.clone(),
            channels: message.channels.clone(),
            tags: message.tags.clone(),
            payload: shown.json()?,
            timestamp: message.id.time(),
        })
    }
}
