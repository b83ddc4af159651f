//! The filter of an endpoint, as requests and responses have it, and an operation that tries one.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::auth::Authenticated;
use shared::error::ViolationKind;
use shared::http::{
    ApiResult, AppRef, Body, BodyType, Field, Fields, Idempotent, Json, Once, Path, Registry, RequestBody,
};
use shared::payload_filter::{InvalidPattern, PayloadFilter, PayloadView};

use crate::{Endpoints, TAG};

pub const ABOUT: (&str, &str) = (
    "filter",
    "Only messages whose payload matches this pattern; all if absent or null. It has the shape of the payload, with a list of rules where that has a value: `{\"customer\": {\"plan\": [\"gold\", {\"prefix\": \"plat\"}]}}`. Rules: a value, or `prefix`, `suffix`, `anything-but`, `numeric`, `exists`, `equals-ignore-case`, `cidr`, `wildcard`; `$or` for one of several patterns. At most 4,096 bytes.",
);

/// The filter that a body sets.
pub fn read(fields: &mut Fields<'_>) -> Field<PayloadFilter> {
    let stated = fields.raw_object(&["filter"]);
    match stated {
        Field::Absent => Field::Absent,
        Field::Null => Field::Null,
        Field::Value(raw) => match pattern(raw) {
            Ok(filter) => Field::Value(filter),
            Err(InvalidPattern { path, reason }) => {
                let path: Vec<&str> =
                    std::iter::once("filter").chain(path.iter().map(String::as_str)).collect();
                fields.violation_of(ViolationKind::ValueError, &path, reason);
                Field::Absent
            }
        },
    }
}

fn pattern(raw: &RawValue) -> Result<PayloadFilter, InvalidPattern> {
    PayloadFilter::parse(raw.get())
}

/// A filter as responses have it.
pub fn shown(filter: &PayloadFilter) -> Box<RawValue> {
    RawValue::from_string(filter.text().to_owned()).unwrap_or_default()
}

pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    to.post("/api/v1/app/{app_id}/endpoint/filter/test", test, |operation| {
        operation
            .named("v1.endpoint.filter.test", TAG)
            .summary("Try a filter on a payload")
            .text("Nothing is stored and nothing is sent.")
            .returns("Whether the payload matches, and why not.")
    })
}

/// A filter and a payload to try it on.
struct FilterTestIn {
    filter: Option<PayloadFilter>,
    payload: Box<RawValue>,
}

impl RequestBody for FilterTestIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "FilterTestIn",
        &[
            (
                "filter",
                "The pattern, as `filter` of an endpoint has it; absent or null: every payload matches.",
            ),
            ("payload", "The payload of a message."),
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let filter = read(fields).value();
        let payload = fields.required_raw_object(&["payload"]).map(ToOwned::to_owned);
        Self { filter, payload: payload.unwrap_or_default() }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct FilterTestOut {
    /// Whether an endpoint with this filter gets a message with this payload.
    matches: bool,
    /// Each field that does not match.
    mismatches: Vec<MismatchOut>,
}

#[derive(Serialize, JsonSchema)]
struct MismatchOut {
    /// The names that lead to the field, with dots between them.
    path: String,
    /// What is there, and what would match.
    reason: String,
}

async fn test(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app,)): Path<(AppRef,)>,
    idempotent: Idempotent,
    body: Body<FilterTestIn>,
) -> ApiResult<Once<Json<FilterTestOut>>> {
    idempotent
        .once(&caller, async || {
            state.api.store.application_for(&caller, &app).await?;
            let FilterTestIn { filter, payload } = body.read()?;
            let found =
                filter.map(|filter| filter.mismatches(&PayloadView::new(payload.get()))).unwrap_or_default();
            let mismatches = found
                .into_iter()
                .map(|mismatch| MismatchOut { path: mismatch.path, reason: mismatch.reason })
                .collect::<Vec<_>>();
            Ok(Json(FilterTestOut { matches: mismatches.is_empty(), mismatches }))
        })
        .await
}
