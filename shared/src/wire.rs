//! Applications and messages as requests and answers have them, where several functions do.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::error::{Result, corrupt};
use crate::http::{Fields, RequestBody, Text};
use crate::ids::AppId;
use crate::store::applications::{ApplicationSettings, Profile};
use crate::store::messages::{Message, NewMessage};

/// Longest name and description.
pub const TEXT_LENGTH_MAX: usize = 4096;

/// An application in a request.
#[derive(Debug)]
pub struct ApplicationIn;

impl ApplicationIn {
    /// A new application, as a body.
    pub const BODY: RequestBody = RequestBody {
        name: "ApplicationIn",
        read: |fields| drop(Self::fields(fields)),
        optional: false,
        fields: APPLICATION_FIELDS,
        parts: &[],
    };

    /// A change of an application, as a body.
    pub const PATCH: RequestBody = RequestBody {
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
    ("name", "What people call it."),
    (
        "uid",
        "An id of the caller's own choice, unique in the organisation. Paths take it in place of the id.",
    ),
    ("rateLimit", "Most messages per second to each of its endpoints; what is more waits."),
    ("metadata", "What else the caller wants to keep of it."),
];

/// An application in an answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationOut {
    id: AppId,
    /// What people call it.
    name: String,
    /// The id that its owner chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// Most messages per second to each of its endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u16>,
    /// The same as `rateLimit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u16>,
    /// What its owner keeps of it.
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Profile> for ApplicationOut {
    fn from(app: Profile) -> Self {
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
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageOut {
    id: crate::ids::MessageId,
    event_type: String,
    /// The id that the sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// Endpoints with channels get it only if they have one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    /// Free words that lists can be filtered by.
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    /// What was sent; empty where it was not asked for, `{"expired": true}` where it is gone.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    payload: Box<RawValue>,
    /// When it was accepted.
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
