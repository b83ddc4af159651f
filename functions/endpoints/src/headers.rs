//! The headers that an endpoint's webhooks carry besides ours.

use std::collections::BTreeMap;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Authenticated;
use shared::error::ViolationKind;
use shared::header_rules::{HEADERS_MAX, LENGTH_MAX, broken_name, broken_value};
use shared::http::{
    ApiResult, Body, BodyType, Field, Fields, Json, NoContent, Path, Registry, RequestBody, Rule,
};
use shared::store::endpoint_secrets::EndpointHeaders;
use shared::webhook::is_sensitive;

use crate::{EndpointPath, Endpoints, TAG};

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const HEADERS: &str = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers";
    to.get(HEADERS, get, |operation| {
        operation
            .named("v1.endpoint.get-headers", TAG)
            .summary("Get the headers that an endpoint's webhooks carry")
            .returns("The headers; of sensitive ones the names.")
    })
    .put(HEADERS, replace, |operation| {
        operation
            .named("v1.endpoint.update-headers", TAG)
            .summary("Replace an endpoint's headers")
            .returns("These are the headers now.")
    })
    .patch(HEADERS, patch, |operation| {
        operation
            .named("v1.endpoint.patch-headers", TAG)
            .summary("Change some of an endpoint's headers")
            .returns("The headers are changed.")
    })
}

/// A whole set of headers.
pub struct HeadersIn(pub EndpointHeaders);

impl RequestBody for HeadersIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>("EndpointHeadersIn", &[ABOUT]);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self(whole(fields, true))
    }
}

/// What a PATCH makes of the headers: null removes one, and so does `deleteHeaders`.
pub struct HeadersPatch(EndpointHeaders);

impl RequestBody for HeadersPatch {
    /// The headers before.
    type With = EndpointHeaders;
    const TYPE: BodyType = BodyType::of::<Self>(
        "EndpointHeadersPatchIn",
        &[
            ("headers", "Values by name; `null` removes one. Others are unchanged."),
            ("deleteHeaders", "Names of headers to remove."),
        ],
    );

    fn read(fields: &mut Fields<'_>, mut headers: EndpointHeaders) -> Self {
        for name in fields.optional::<Vec<String>>(&["deleteHeaders"]).unwrap_or_default() {
            headers.remove(&name);
        }
        for (name, value) in read(fields, true).unwrap_or_default() {
            match value {
                Field::Value(value) => headers.set(name, value),
                Field::Null => headers.remove(&name),
                Field::Absent => {}
            }
        }
        check_size(fields, &headers);
        Self(headers)
    }
}

/// What `headers` is.
pub const ABOUT: (&str, &str) = (
    "headers",
    "Values by name, at most 50 and 32 KiB in all. Names of connection, webhook and infrastructure headers are refused.",
);

/// Reads what `headers` of a body says of each header: a value, or null.
fn read(fields: &mut Fields<'_>, required: bool) -> Option<Vec<(String, Field<String>)>> {
    let mut part = if required { fields.required_object("headers") } else { fields.object("headers") }?;
    let found = part.each::<String>();
    let mut spellings: BTreeMap<String, &str> = BTreeMap::new();
    for (name, value) in &found {
        if let Some(other) = spellings.insert(name.to_ascii_lowercase(), name) {
            part.violation_at(&[name], format!("Is the same header as {other}"));
        } else if let Some(broken) = broken_name(name) {
            part.violation_at(&[name], broken);
        } else if let Field::Value(value) = value
            && let Some(broken) = broken_value(value)
        {
            part.violation_at(&[name], broken);
        }
    }
    fields.absorb(part);
    Some(found)
}

fn check_size(fields: &mut Fields<'_>, headers: &EndpointHeaders) {
    if headers.len() > HEADERS_MAX {
        fields.violation("headers", format!("Must have at most {HEADERS_MAX} entries"));
    } else if headers.length() > LENGTH_MAX {
        fields.violation("headers", format!("Must have at most {LENGTH_MAX} bytes in all"));
    }
}

/// Reads a whole set of headers, where there is one.
pub fn whole(fields: &mut Fields<'_>, required: bool) -> EndpointHeaders {
    let mut headers = EndpointHeaders::default();
    let found = read(fields, required).unwrap_or_default();
    fields.rule("headers", Rule::NoNulls);
    for (name, value) in found {
        match value {
            Field::Value(value) => headers.set(name, value),
            Field::Null => {
                fields.violation_of(ViolationKind::TypeError, &["headers", &name], "Must not be null")
            }
            Field::Absent => {}
        }
    }
    check_size(fields, &headers);
    headers
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndpointHeadersOut")]
pub struct HeadersOut {
    /// Values by name.
    headers: BTreeMap<String, String>,
    /// Names of headers whose values are not shown.
    sensitive: Vec<String>,
}

impl HeadersOut {
    /// Those of `all` that may be shown, and the names of the others.
    pub fn new(all: &EndpointHeaders) -> Self {
        let (sensitive, shown): (Vec<_>, Vec<_>) = all.iter().partition(|(name, _)| is_sensitive(name));
        Self {
            headers: shown.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            sensitive: sensitive.into_iter().map(|(name, _)| name.to_owned()).collect(),
        }
    }
}

pub async fn get(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
) -> ApiResult<Json<HeadersOut>> {
    let (_, endpoint) = state.find(&caller, &path).await?;
    Ok(Json(HeadersOut::new(&endpoint.headers)))
}

pub async fn replace(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    body: Body<HeadersIn>,
) -> ApiResult<NoContent> {
    let replaced = state.api.store.retry_on_conflict(async || {
        let (app, old) = state.find(&caller, &path).await?;
        old.settings.destination.check_has_headers()?;
        let HeadersIn(headers) = body.read()?;
        state.api.store.set_endpoint_headers(&caller, &app, &old, headers).await
    });
    replaced.await?;
    Ok(NoContent)
}

pub async fn patch(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    body: Body<HeadersPatch>,
) -> ApiResult<NoContent> {
    let changed = state.api.store.retry_on_conflict(async || {
        let (app, old) = state.find(&caller, &path).await?;
        old.settings.destination.check_has_headers()?;
        let HeadersPatch(headers) = body.read_with(old.headers.clone())?;
        state.api.store.set_endpoint_headers(&caller, &app, &old, headers).await
    });
    changed.await?;
    Ok(NoContent)
}
