//! Where an endpoint's messages go, as requests and responses have it.
//!
//! `destination` says it for every kind; `url` alone is an HTTP endpoint, as it always was.

use schemars::JsonSchema;
use serde::Serialize;
use shared::error::ViolationKind;
use shared::http::{Field, Fields, Rule};
use shared::store::endpoints::Destination;

use crate::bodies::HttpsOnly;
use crate::url_rule;

/// The kinds, as `kind` spells them.
const KINDS: &[&str] = &["http", "polling"];

pub const URL: (&str, &str) = (
    "url",
    "Where webhooks are sent: an http or https URL; an installation can require https. A user and password in it become an `Authorization` header. Required unless `destination` says where.",
);
pub const ABOUT: [(&str, &str); 3] = [
    ("destination", "Where messages go, if not to `url`."),
    ("destination.kind", "The kind of place; `polling` if its owner fetches messages."),
    ("destination.url", "`http`: the same as `url`."),
];

/// What a body says of the destination. `before`: what it is so far, which stays if `url` repeats its address, as
/// clients do that know only URLs, or if a PATCH (`partial`) says nothing.
pub fn read(
    fields: &mut Fields<'_>,
    https_only: HttpsOnly,
    before: Option<&Destination>,
    partial: bool,
) -> Destination {
    let url: Field<String> = fields.take(&["url"]);
    describe_url(fields);
    let part = fields.part("destination");
    if partial {
        fields.not_null("url", &url);
        fields.not_null("destination", &part);
    }
    let stated = part.value().map(|mut part| {
        let destination = of_part(&mut part, https_only);
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

/// None if it is broken.
fn of_part(part: &mut Fields<'_>, https_only: HttpsOnly) -> Option<Destination> {
    let kind = part.required_word(&["kind"], KINDS);
    let url: Option<String> = part.optional(&["url"]);
    describe_url(part);
    let url = match kind.as_deref()? {
        "http" => {
            part.no_others(&["kind", "url"]);
            let Some(url) = url else {
                if !part.has_violation("url") {
                    part.violation_of(ViolationKind::Missing, &["url"], "Field required");
                }
                return None;
            };
            connected(part, url, https_only)
        }
        "polling" => {
            part.no_others(&["kind"]);
            return (!part.has_violations()).then_some(Destination::Polling);
        }
        _ => return None,
    };
    (!part.has_violations()).then_some(Destination::Http { url })
}

/// A URL as it is connected to.
fn connected(fields: &mut Fields<'_>, url: String, https_only: bool) -> String {
    url_rule::read(&url, https_only).unwrap_or_else(|broken| {
        fields.violation("url", broken);
        url
    })
}

fn describe_url(fields: &mut Fields<'_>) {
    fields.rule("url", Rule::Format("uri"));
    fields.rule("url", Rule::Length(1, url_rule::LENGTH_MAX));
}

/// A destination as responses show it; a request takes it back as it is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DestinationOut")]
#[serde(rename_all = "camelCase")]
pub struct DestinationOut {
    /// The kind of place: `http`; `polling` if its owner fetches messages.
    kind: &'static str,
    /// `http`: where webhooks are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl From<&Destination> for DestinationOut {
    fn from(destination: &Destination) -> Self {
        let kind = destination.kind();
        match destination {
            Destination::Http { url } => Self { kind, url: Some(url.clone()) },
            Destination::Polling => Self { kind, url: None },
        }
    }
}
