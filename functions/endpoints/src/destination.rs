//! Where an endpoint's messages go, as requests and responses have it.
//!
//! `destination` says it for every kind; `url` alone is an HTTP endpoint, as it always was.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use shared::aws_place::{AwsPlace, AwsPlaceIn, AwsService, FORMATS, external_id};
use shared::error::ViolationKind;
use shared::http::{Field, Fields, Rule};
use shared::ids::AppId;
use shared::store::endpoints::Destination;

use crate::url_rule;

/// The kinds, as `kind` spells them.
const KINDS: &[&str] = &["http", "polling", "sqs", "sns", "eventbridge", "s3", "lambda"];
/// The fields of a place in AWS.
const AWS_FIELDS: &[&str] =
    &["kind", "arn", "roleArn", "region", "fifoKey", "keyTemplate", "format", "externalId"];

pub const URL: (&str, &str) = (
    "url",
    "Where webhooks are sent: an http or https URL; an installation can require https. A user and password in it become an `Authorization` header. Required unless `destination` says where.",
);
pub const ABOUT: [(&str, &str); 10] = [
    ("destination", "Where messages go, if not to `url`."),
    (
        "destination.kind",
        "The kind of place: `http`; `polling` if its owner fetches messages; or a place in AWS.",
    ),
    ("destination.url", "`http`: the same as `url`."),
    ("destination.arn", "A place in AWS: its ARN, of a queue, topic, event bus, bucket or function."),
    (
        "destination.roleArn",
        "A place in AWS: the role that may send there. It has to trust this installation, and demand the `externalId` of the response.",
    ),
    ("destination.region", "`s3`: the bucket's region."),
    (
        "destination.fifoKey",
        "FIFO queues and topics: a JSON pointer to what in a payload names the message's group; the application's ID if absent.",
    ),
    (
        "destination.keyTemplate",
        "`s3`: what objects are called; names in braces are `{application}`, `{endpoint}`, `{message}`, `{eventType}`, `{year}`, `{month}`, `{day}` and `{hour}`. `{eventType}/{year}/{month}/{day}/{message}.json` if absent, and `{year}/{month}/{day}/{message}.jsonl` for lines.",
    ),
    (
        "destination.format",
        "`s3`: what an object holds. `object`, or if absent: one message, byte for byte. `jsonl`: a line of JSON for each of up to ten messages that are delivered together.",
    ),
    (
        "destination.externalId",
        "Made by Postrider for each application: leave it out, or repeat it as it was shown.",
    ),
];

/// What an installation takes, and whose endpoint it is.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// URLs have to be https.
    pub https_only: bool,
    /// A pattern of the roles that may be taken on; none where there are no places in AWS.
    pub roles: Option<Arc<str>>,
    /// The endpoint's application.
    pub app: Option<AppId>,
}

impl Rules {
    /// The same for an endpoint of `app`.
    pub fn of(&self, app: AppId) -> Self {
        Self { app: Some(app), ..self.clone() }
    }
}

/// What a body says of the destination. `before`: what it is so far, which stays if `url` repeats its address, as
/// clients do that know only URLs, or if a PATCH (`partial`) says nothing.
pub fn read(
    fields: &mut Fields<'_>,
    rules: &Rules,
    before: Option<&Destination>,
    partial: bool,
) -> Destination {
    let https_only = rules.https_only;
    let url: Field<String> = fields.take(&["url"]);
    describe_url(fields);
    let part = fields.part("destination");
    if partial {
        fields.not_null("url", &url);
        fields.not_null("destination", &part);
    }
    let stated = part.value().map(|mut part| {
        let destination = of_part(&mut part, rules, before);
        fields.absorb(part);
        destination
    });
    match (url.value(), stated) {
        (_, Some(None)) => Destination::default(),
        (None, Some(Some(destination))) => destination,
        (Some(url), Some(Some(destination))) => {
            let same = url == destination.address()
                || matches!(destination, Destination::Http { .. })
                    && url_rule::read(&url, https_only).as_deref() == Ok(destination.address());
            if !same {
                fields.violation("url", "Must not differ from `destination`; leave one of them out");
            }
            destination
        }
        (Some(url), None) => match before.filter(|before| before.address() == url) {
            Some(before) => before.clone(),
            None => Destination::Http { url: connected(fields, url, https_only) },
        },
        (None, None) => {
            if !partial && !fields.has_violation("url") && !fields.has_violation("destination") {
                fields.violation_of(ViolationKind::Missing, &["url"], "Field required");
            }
            before.cloned().unwrap_or_default()
        }
    }
}

/// None if it is broken. A URL that is the one `before` stays, as responses show it: also none, of an endpoint that waits
/// for its receiver.
fn of_part(part: &mut Fields<'_>, rules: &Rules, before: Option<&Destination>) -> Option<Destination> {
    let kind = part.required_word(&["kind"], KINDS);
    let url: Option<String> = part.optional(&["url"]);
    describe_url(part);
    let arn: Option<String> = part.optional(&["arn"]);
    let role_arn: Option<String> = part.optional(&["roleArn"]);
    let place = AwsPlaceIn {
        arn: arn.clone().unwrap_or_default(),
        role_arn: role_arn.clone().unwrap_or_default(),
        region: part.optional(&["region"]),
        fifo_key: part.optional(&["fifoKey"]),
        key_template: part.optional(&["keyTemplate"]),
        format: part.word(&["format"], FORMATS).value(),
    };
    let given_id: Option<String> = part.optional(&["externalId"]);
    let url = match kind.as_deref()? {
        "http" => {
            part.no_others(&["kind", "url"]);
            let Some(url) = url else {
                missing(part, "url");
                return None;
            };
            match before {
                Some(Destination::Http { url: before }) if *before == url => url,
                _ => connected(part, url, rules.https_only),
            }
        }
        "polling" => {
            part.no_others(&["kind"]);
            return (!part.has_violations()).then_some(Destination::Polling);
        }
        kind => {
            let service = AwsService::of_kind(kind)?;
            part.no_others(AWS_FIELDS);
            for (name, value) in [("arn", &arn), ("roleArn", &role_arn)] {
                if value.is_none() {
                    missing(part, name);
                }
            }
            let expected = rules.app.map(external_id);
            if given_id.is_some() && given_id != expected {
                let text = "Is made by Postrider for each application, and is not this one: leave it out";
                part.violation("externalId", text);
            }
            return if part.has_violations() { None } else { place_of(part, service, place, rules) };
        }
    };
    (!part.has_violations()).then_some(Destination::Http { url })
}

/// A place in AWS; none if it is broken.
fn place_of(
    part: &mut Fields<'_>,
    service: AwsService,
    place: AwsPlaceIn,
    rules: &Rules,
) -> Option<Destination> {
    let Some(roles) = &rules.roles else {
        let text = "This installation sends to no places in AWS: the stack's parameter DestinationRoles says which roles it may take on";
        part.violation("kind", text);
        return None;
    };
    match AwsPlace::read(service, place, roles) {
        Ok(place) => Some(Destination::Aws(Box::new(place))),
        Err(broken) => {
            for (name, text) in broken {
                part.violation(name, text);
            }
            None
        }
    }
}

fn missing(part: &mut Fields<'_>, name: &str) {
    if !part.has_violation(name) {
        part.violation_of(ViolationKind::Missing, &[name], "Field required");
    }
}

/// A URL as it is connected to.
pub fn connected(fields: &mut Fields<'_>, url: String, https_only: bool) -> String {
    url_rule::read(&url, https_only).unwrap_or_else(|broken| {
        fields.violation("url", broken);
        url
    })
}

/// While describing: what a URL is.
pub fn describe_url(fields: &mut Fields<'_>) {
    fields.rule("url", Rule::Format("uri"));
    fields.rule("url", Rule::Length(1, url_rule::LENGTH_MAX));
}

/// A destination as responses show it; a request takes it back as it is.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "DestinationOut")]
#[serde(rename_all = "camelCase")]
pub struct DestinationOut {
    /// The kind of place: `http`; `polling` if its owner fetches messages; `sqs`, `sns`, `eventbridge`, `s3` or
    /// `lambda`.
    kind: &'static str,
    /// `http`: where webhooks are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// A place in AWS: its ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    arn: Option<String>,
    /// A place in AWS: the role that may send there.
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<String>,
    /// A place in AWS: what the role's trust policy has to demand as `sts:ExternalId`. The same for all endpoints of
    /// an application.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    /// A place in AWS: its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// FIFO queues and topics: a JSON pointer to what names a message's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    fifo_key: Option<String>,
    /// `s3`: what objects are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_template: Option<String>,
    /// `s3`: `jsonl` if each object holds lines of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
}

impl DestinationOut {
    /// The destination of an endpoint of `app`.
    pub fn new(destination: &Destination, app: AppId) -> Self {
        let kind = destination.kind();
        match destination {
            Destination::Http { url } => Self { kind, url: Some(url.clone()), ..Self::default() },
            Destination::Polling => Self { kind, ..Self::default() },
            Destination::Aws(place) => Self {
                kind,
                url: None,
                arn: Some(place.arn.clone()),
                role_arn: Some(place.role_arn.clone()),
                external_id: Some(external_id(app)),
                region: Some(place.region.clone()),
                fifo_key: place.fifo_key.clone(),
                key_template: place.key_template.clone(),
                format: place.format(),
            },
        }
    }
}
