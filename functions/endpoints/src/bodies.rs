//! An endpoint as it is posted, replaced and changed.

use shared::Error;
use shared::http::{BodyType, Field, Fields, RETRY_POLICY, RequestBody, Rule, Text};
use shared::http_signature::STYLE;
use shared::ids::NAME_LENGTH_MAX;
use shared::limits::CHANNEL_LENGTH_MAX;
use shared::signing::SigningKey;
use shared::store::endpoint_secrets::EndpointHeaders;
use shared::store::endpoints::{Destination, EndpointSettings};
use shared::wire::TEXT_LENGTH_MAX;

use crate::destination::Rules;
use crate::order::{self, FIFO};
use crate::{destination, filter, headers, secret};

const CHANNELS_MAX: usize = 10;
/// Most event types that one endpoint may name: each is looked up when the endpoint is written.
pub const EVENT_TYPES_MAX: usize = 1_000;

/// A new endpoint.
pub struct EndpointIn {
    pub settings: EndpointSettings,
    /// The key that the caller chose.
    pub key: Option<SigningKey>,
    pub headers: EndpointHeaders,
}

impl RequestBody for EndpointIn {
    type With = Rules;
    const TYPE: BodyType = BodyType::of::<Self>(
        "EndpointIn",
        &[
            destination::URL,
            destination::ABOUT[0],
            destination::ABOUT[1],
            destination::ABOUT[2],
            destination::ABOUT[3],
            destination::ABOUT[4],
            destination::ABOUT[5],
            destination::ABOUT[6],
            destination::ABOUT[7],
            destination::ABOUT[8],
            destination::ABOUT[9],
            DESCRIPTION,
            UID,
            EVENT_TYPES,
            CHANNELS,
            filter::ABOUT,
            DISABLED,
            RATE_LIMIT,
            RETRY_POLICY[0],
            RETRY_POLICY[1],
            RETRY_POLICY[2],
            RETRY_POLICY[3],
            RETRY_POLICY[4],
            RETRY_POLICY[5],
            AUTO_ENABLE,
            HEADER_STYLE,
            FIFO[0],
            FIFO[1],
            FIFO[2],
            FIFO[3],
            METADATA,
            SECRET,
            headers::ABOUT,
        ],
    );

    fn read(fields: &mut Fields<'_>, rules: Rules) -> Self {
        let destination = destination::read(fields, &rules, None, false);
        Self::read_to(fields, destination)
    }
}

impl EndpointIn {
    /// What a body says that does not say where messages go: to `destination`.
    pub fn read_to(fields: &mut Fields<'_>, destination: Destination) -> Self {
        let settings = settings_of(fields, destination);
        let (key, headers) = (secret::chosen(fields, &["secret"]), headers::whole(fields, false));
        refuse_if_polled(fields, &settings, "secret", key.is_some());
        if !headers.is_empty()
            && let Err(Error::Conflict(text)) = settings.destination.check_has_headers()
            && !fields.has_violation("headers")
        {
            fields.violation("headers", text);
        }
        Self { settings, key, headers }
    }
}

/// What an endpoint's settings are to be.
pub struct EndpointUpdate(pub EndpointSettings);

impl RequestBody for EndpointUpdate {
    /// The destination before.
    type With = (Option<Destination>, Rules);
    const TYPE: BodyType = BodyType::of::<Self>("EndpointUpdate", SETTINGS);

    fn read(fields: &mut Fields<'_>, (before, rules): Self::With) -> Self {
        let destination = destination::read(fields, &rules, before.as_ref(), false);
        let settings = settings_of(fields, destination);
        refuse_if_waiting(fields, &settings);
        Self(settings)
    }
}

/// All settings of a body, of an endpoint whose messages go to `destination`.
fn settings_of(fields: &mut Fields<'_>, destination: Destination) -> EndpointSettings {
    let description = fields.text(&["description"], Text::UpTo(TEXT_LENGTH_MAX)).value();
    let settings = EndpointSettings {
        destination,
        description: description.unwrap_or_default(),
        uid: fields.text(&["uid"], Text::Uid("ep_")).value(),
        event_types: event_types_of(fields).value(),
        channels: channels_of(fields).value(),
        filter: filter::read(fields).value(),
        disabled: fields.or(&["disabled"], false),
        rate_limit: fields.rate_limit().value(),
        retry_policy: fields.retry_policy().value(),
        fifo: order::read(fields, None),
        auto_enable: fields.or(&["autoEnable"], false),
        http_signatures: http_signatures_of(fields).value().unwrap_or(false),
        metadata: fields.metadata().value().unwrap_or_default(),
    };
    refuse_if_polled(fields, &settings, "rateLimit", settings.rate_limit.is_some());
    refuse_if_polled(fields, &settings, "retryPolicy", settings.retry_policy.is_some());
    refuse_if_polled(fields, &settings, "fifo", settings.fifo.is_some());
    order::refuse_if_no_lists(fields, &settings);
    refuse_if_unprobed(fields, &settings);
    refuse_if_no_http(fields, &settings);
    settings
}

/// Refuses to enable an endpoint that waits for its receiver: it has nowhere to send to.
fn refuse_if_waiting(fields: &mut Fields<'_>, settings: &EndpointSettings) {
    if settings.destination.is_waiting() && !settings.disabled && !fields.has_violations() {
        let msg = "Must be true while the endpoint waits for its receiver (AutoConfig): it has no URL yet";
        fields.violation("disabled", msg);
    }
}

/// What a PATCH makes of an endpoint's settings.
pub struct EndpointPatch {
    pub settings: EndpointSettings,
    /// It says itself that the endpoint is to be disabled, whether or not it was before.
    pub off: bool,
}

impl RequestBody for EndpointPatch {
    /// The settings before.
    type With = (EndpointSettings, Rules);
    const TYPE: BodyType = BodyType::of::<Self>("EndpointPatch", SETTINGS);

    fn read(fields: &mut Fields<'_>, (before, rules): Self::With) -> Self {
        let destination = destination::read(fields, &rules, Some(&before.destination), true);
        let disabled: Field<bool> = fields.take(&["disabled"]);
        let off = matches!(disabled, Field::Value(true));
        let settings = EndpointSettings {
            destination,
            description: fields
                .text(&["description"], Text::UpTo(TEXT_LENGTH_MAX))
                .over(Some(before.description))
                .unwrap_or_default(),
            uid: fields.text(&["uid"], Text::Uid("ep_")).over(before.uid),
            event_types: event_types_of(fields).over(before.event_types),
            channels: channels_of(fields).over(before.channels),
            filter: filter::read(fields).over(before.filter),
            disabled: disabled.over(Some(before.disabled)).unwrap_or(false),
            rate_limit: fields.rate_limit().over(before.rate_limit),
            retry_policy: fields.retry_policy().over(before.retry_policy),
            auto_enable: fields.take(&["autoEnable"]).over(Some(before.auto_enable)).unwrap_or(false),
            http_signatures: http_signatures_of(fields).over(Some(before.http_signatures)).unwrap_or(false),
            fifo: order::read(fields, before.fifo),
            metadata: fields.metadata().over(Some(before.metadata)).unwrap_or_default(),
        };
        refuse_if_polled(fields, &settings, "rateLimit", settings.rate_limit.is_some());
        refuse_if_polled(fields, &settings, "retryPolicy", settings.retry_policy.is_some());
        refuse_if_polled(fields, &settings, "fifo", settings.fifo.is_some());
        order::refuse_if_no_lists(fields, &settings);
        refuse_if_unprobed(fields, &settings);
        refuse_if_waiting(fields, &settings);
        refuse_if_no_http(fields, &settings);
        Self { settings, off }
    }
}

/// The style of signatures, beside the installation's.
fn http_signatures_of(fields: &mut Fields<'_>) -> Field<bool> {
    const NAME: &str = "headerStyle";
    let style: Field<String> = fields.take(&[NAME]);
    fields.rule(NAME, Rule::OneOfWords(&[STYLE]));
    let is_one = !matches!(&style, Field::Value(style) if style != STYLE);
    if !is_one {
        fields.violation(NAME, format!("Must be `{STYLE}` or null"));
    }
    style.map(|_| true)
}

/// Refuses signatures of HTTP messages where none are sent.
fn refuse_if_no_http(fields: &mut Fields<'_>, settings: &EndpointSettings) {
    const NAME: &str = "headerStyle";
    let is_http = matches!(settings.destination, Destination::Http { .. });
    if settings.http_signatures && !is_http && !fields.has_violation(NAME) {
        fields.violation(NAME, "Only webhooks to a URL are HTTP messages of ours: leave it out");
    }
}

/// Refuses a field that is about what is sent, where nothing is.
fn refuse_if_polled(fields: &mut Fields<'_>, settings: &EndpointSettings, name: &'static str, is_set: bool) {
    if is_set && settings.destination.is_polled() && !fields.has_violation(name) {
        fields.violation(name, "Nothing is sent to an endpoint that is polled: leave it out");
    }
}

/// Refuses to bring an endpoint back by itself where nothing can be asked whether it works.
fn refuse_if_unprobed(fields: &mut Fields<'_>, settings: &EndpointSettings) {
    let has_url = matches!(settings.destination, Destination::Http { .. });
    if settings.auto_enable && !has_url && !fields.has_violation("autoEnable") {
        fields.violation("autoEnable", "Only an endpoint with a URL is probed: leave it out");
    }
}

const SETTINGS: &[(&str, &str)] = &[
    destination::URL,
    destination::ABOUT[0],
    destination::ABOUT[1],
    destination::ABOUT[2],
    destination::ABOUT[3],
    destination::ABOUT[4],
    destination::ABOUT[5],
    destination::ABOUT[6],
    destination::ABOUT[7],
    destination::ABOUT[8],
    destination::ABOUT[9],
    DESCRIPTION,
    UID,
    EVENT_TYPES,
    CHANNELS,
    filter::ABOUT,
    DISABLED,
    RATE_LIMIT,
    RETRY_POLICY[0],
    RETRY_POLICY[1],
    RETRY_POLICY[2],
    RETRY_POLICY[3],
    RETRY_POLICY[4],
    RETRY_POLICY[5],
    AUTO_ENABLE,
    HEADER_STYLE,
    FIFO[0],
    FIFO[1],
    FIFO[2],
    FIFO[3],
    METADATA,
];
pub const DESCRIPTION: (&str, &str) = ("description", "Description.");
const UID: (&str, &str) =
    ("uid", "Your own ID, unique within the application. Paths take it instead of the ID.");
const EVENT_TYPES: (&str, &str) = (
    "filterTypes",
    "Only messages of these event types, which must exist, or of all that match a pattern with a `*` at the end of a segment, such as `invoice.*`; all if absent or null.",
);
const CHANNELS: (&str, &str) = ("channels", "Only messages that have one of these; all if absent or null.");
pub const DISABLED: (&str, &str) = ("disabled", "If true, nothing is delivered to this endpoint.");
const RATE_LIMIT: (&str, &str) = (
    "rateLimit",
    "Messages per second, instead of the application's limit; further ones wait. It holds over any longer time; within one second up to twice as many can arrive.",
);
const AUTO_ENABLE: (&str, &str) = (
    "autoEnable",
    "If true, an endpoint that was disabled because it only failed is sent a probe (event type `postrider.probe`) after 1 hour, 2 hours, and so on up to every 24 hours, and is enabled when it answers 2xx. It counts from the next time that the endpoint is disabled. Only for endpoints with a URL.",
);
const HEADER_STYLE: (&str, &str) = (
    "headerStyle",
    "`rfc9421`: webhooks also carry an HTTP message signature (RFC 9421) by a key of the organisation; the installation's headers alone if absent or null.",
);
pub const SECRET: (&str, &str) = (
    "secret",
    "`whsec_` and the base64 of 24 to 75 bytes, or an ed25519 key as `whsk_…`; generated if absent.",
);
pub const METADATA: (&str, &str) = ("metadata", "Arbitrary key-value metadata.");

/// Names of event types, and patterns of names.
pub fn event_types_of(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    fields.list(&["filterTypes", "eventTypes"], Text::NamePattern(NAME_LENGTH_MAX), 1, EVENT_TYPES_MAX)
}

fn channels_of(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    fields.names(&["channels"], CHANNEL_LENGTH_MAX, 1, CHANNELS_MAX)
}
