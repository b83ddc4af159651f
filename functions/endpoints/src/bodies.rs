//! An endpoint as it is posted, replaced and changed.

use shared::http::{BodyType, Field, Fields, Rule, Text};
use shared::ids::NAME_LENGTH_MAX;
use shared::store::endpoints::{Destination, EndpointSettings};
use shared::wire::TEXT_LENGTH_MAX;

use crate::{headers, secret, url_rule};

const CHANNELS_MAX: usize = 10;
pub const CHANNEL_LENGTH_MAX: usize = 128;
/// Most event types that one endpoint may name: each is looked up when the endpoint is written.
pub const EVENT_TYPES_MAX: usize = 1_000;

/// A new endpoint, as a body.
pub const ENDPOINT_IN: BodyType = BodyType {
    name: "EndpointIn",
    read: |fields| {
        settings_of(fields, true);
        secret::chosen(fields, &["secret"]);
        headers::whole(fields, false);
    },
    optional: false,
    fields: &[
        URL,
        DESCRIPTION,
        UID,
        EVENT_TYPES,
        CHANNELS,
        DISABLED,
        RATE_LIMIT,
        METADATA,
        (
            "secret",
            "`whsec_` and the base64 of 24 to 75 bytes, or an ed25519 key as `whsk_…`; generated if absent.",
        ),
        headers::ABOUT,
    ],
    parts: &[],
};

/// An endpoint's settings, as a body.
pub const ENDPOINT_UPDATE: BodyType = BodyType {
    name: "EndpointUpdate",
    read: |fields| drop(settings_of(fields, true)),
    optional: false,
    fields: SETTINGS,
    parts: &[],
};

/// A change of an endpoint's settings, as a body.
pub const ENDPOINT_PATCH: BodyType = BodyType {
    name: "EndpointPatch",
    read: |fields| drop(changes(fields, EndpointSettings::default(), true)),
    optional: false,
    fields: SETTINGS,
    parts: &[],
};

const SETTINGS: &[(&str, &str)] =
    &[URL, DESCRIPTION, UID, EVENT_TYPES, CHANNELS, DISABLED, RATE_LIMIT, METADATA];
const URL: (&str, &str) = (
    "url",
    "Where webhooks are sent: an http or https URL; an installation can require https. A user and password in it become an `Authorization` header.",
);
const DESCRIPTION: (&str, &str) = ("description", "Description.");
const UID: (&str, &str) =
    ("uid", "Your own ID, unique within the application. Paths take it instead of the ID.");
const EVENT_TYPES: (&str, &str) =
    ("filterTypes", "Only messages of these event types, which must exist; all if absent or null.");
const CHANNELS: (&str, &str) = ("channels", "Only messages that have one of these; all if absent or null.");
const DISABLED: (&str, &str) = ("disabled", "If true, nothing is delivered to this endpoint.");
const RATE_LIMIT: (&str, &str) =
    ("rateLimit", "Maximum messages per second, instead of the application's limit; further ones wait.");
const METADATA: (&str, &str) = ("metadata", "Arbitrary key-value metadata.");

/// The fields that creating and replacing have in common.
pub fn settings_of(fields: &mut Fields<'_>, https_only: bool) -> EndpointSettings {
    let url = fields.required::<String>(&["url"]);
    describe_url(fields);
    let url = url.map(|url| connected(fields, url, https_only));
    EndpointSettings {
        destination: Destination::Http { url: url.unwrap_or_default() },
        description: fields.text(&["description"], Text::UpTo(TEXT_LENGTH_MAX)).value().unwrap_or_default(),
        uid: fields.text(&["uid"], Text::Uid("ep_")).value(),
        event_types: event_types_of(fields).value(),
        channels: channels_of(fields).value(),
        disabled: fields.or(&["disabled"], false),
        rate_limit: fields.rate_limit().value(),
        metadata: fields.metadata().value().unwrap_or_default(),
    }
}

/// The fields of a PATCH over what is `before`.
pub fn changes(fields: &mut Fields<'_>, before: EndpointSettings, https_only: bool) -> EndpointSettings {
    let url: Field<String> = fields.take(&["url"]);
    fields.not_null("url", &url);
    describe_url(fields);
    let url = url.map(|url| connected(fields, url, https_only));
    EndpointSettings {
        destination: url.value().map_or(before.destination, |url| Destination::Http { url }),
        description: fields
            .text(&["description"], Text::UpTo(TEXT_LENGTH_MAX))
            .over(Some(before.description))
            .unwrap_or_default(),
        uid: fields.text(&["uid"], Text::Uid("ep_")).over(before.uid),
        event_types: event_types_of(fields).over(before.event_types),
        channels: channels_of(fields).over(before.channels),
        disabled: fields.take(&["disabled"]).over(Some(before.disabled)).unwrap_or(false),
        rate_limit: fields.rate_limit().over(before.rate_limit),
        metadata: fields.metadata().over(Some(before.metadata)).unwrap_or_default(),
    }
}

/// A URL as it is connected to.
fn connected(fields: &mut Fields<'_>, url: String, https_only: bool) -> String {
    url_rule::read(&url, https_only).unwrap_or_else(|broken| {
        fields.violation("url", broken, "value_error");
        url
    })
}

fn describe_url(fields: &mut Fields<'_>) {
    fields.rule("url", Rule::Format("uri"));
    fields.rule("url", Rule::Length(1, url_rule::LENGTH_MAX));
}

fn event_types_of(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    fields.names(&["filterTypes", "eventTypes"], NAME_LENGTH_MAX, 1, EVENT_TYPES_MAX)
}

fn channels_of(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    fields.names(&["channels"], CHANNEL_LENGTH_MAX, 1, CHANNELS_MAX)
}
