//! The transformation of an endpoint: code that changes its webhooks before they are sent.

use std::collections::BTreeMap;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::auth::Authenticated;
use shared::clock::Timestamp;
use shared::error::{corrupt, unavailable};
use shared::http::{
    ApiResult, Body, BodyType, Field, Fields, Idempotent, Json, NoContent, Once, Path, Registry, RequestBody,
    Rule, Text,
};
use shared::ids::NAME_LENGTH_MAX;
use shared::limits::CHANNEL_LENGTH_MAX;
use shared::store::endpoints::{Destination, Endpoint};
use shared::store::transformations::Transformation;
use shared::transformation::{
    Batch, CODE_MAX, CODE_MIN, Outcome, Run, VARIABLE_NAME_MAX, VARIABLES_LENGTH_MAX, VARIABLES_MAX, Webhook,
    explained, refusal,
};
use shared::{Error, Result};

use crate::{EndpointPath, Endpoints, TAG};

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const ONE: &str = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation";
    to.get(ONE, get, |operation| {
        operation
            .named("v1.endpoint.transformation.get", TAG)
            .summary("Get an endpoint's transformation")
            .returns("The code, its variables, and whether it is run.")
    })
    .patch(ONE, patch, |operation| {
        operation
            .named("v1.endpoint.transformation.patch", TAG)
            .summary("Change an endpoint's transformation")
            .text("Fields that the body leaves out are unchanged. Code that cannot be read, or declares no `handler`, is refused.")
            .returns("The transformation is changed.")
    })
    .post(
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation/simulate",
        simulate,
        |operation| {
            operation
                .named("v1.endpoint.transformation.simulate", TAG)
                .summary("Try a transformation")
                .text("Nothing is stored and nothing is sent. Code that fails is answered with 422, the error and the line.")
                .returns("What would be sent.")
        },
    )
}

const CODE: (&str, &str) = (
    "code",
    "JavaScript that declares `handler(webhook)`, 10 to 51,200 characters. It may change the webhook's `method`, `url`, `payload`, `headers` and `cancel`, and returns it.",
);
const VARIABLES: (&str, &str) =
    ("variables", "What the code finds in `webhook.env`: texts by name, up to 50 and 16 KiB in all.");

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EndpointTransformationOut")]
struct TransformationOut {
    /// The code; null if there is none.
    code: Option<String>,
    /// Whether webhooks pass the code before they are sent.
    enabled: bool,
    /// What the code finds in `webhook.env`.
    variables: BTreeMap<String, String>,
    /// When it was changed last; null if it never was.
    updated_at: Option<Timestamp>,
}

/// What a PATCH makes of a transformation.
struct TransformationPatch {
    new: Transformation,
    has_new_code: bool,
}

impl RequestBody for TransformationPatch {
    /// The transformation before.
    type With = Transformation;
    const TYPE: BodyType = BodyType::of::<Self>(
        "EndpointTransformationPatch",
        &[
            CODE,
            ("enabled", "Whether webhooks pass the code before they are sent. False without code."),
            VARIABLES,
        ],
    );

    fn read(fields: &mut Fields<'_>, old: Transformation) -> Self {
        let code = read_code(fields);
        let enabled: Field<bool> = fields.take(&["enabled"]);
        fields.not_null("enabled", &enabled);
        let variables = read_variables(fields);
        let has_new_code = matches!(&code, Field::Value(code) if Some(code) != old.code.as_ref());
        let code = match code {
            Field::Absent => old.code,
            Field::Null => None,
            Field::Value(code) => Some(code),
        };
        let enabled = match enabled {
            Field::Value(enabled) => enabled,
            // Without code there is nothing to run.
            _ => old.enabled && code.is_some(),
        };
        if enabled && code.is_none() && !fields.has_violation("code") {
            fields.violation("enabled", "Must not be true without code");
        }
        let variables = match variables {
            Field::Absent => old.variables,
            Field::Null => BTreeMap::new(),
            Field::Value(variables) => variables,
        };
        Self { new: Transformation { code, enabled, variables, ..Transformation::default() }, has_new_code }
    }
}

fn read_code(fields: &mut Fields<'_>) -> Field<String> {
    let code: Field<String> = fields.take(&["code"]);
    fields.rule("code", Rule::Length(CODE_MIN, CODE_MAX));
    if let Field::Value(code) = &code
        && !(CODE_MIN..=CODE_MAX).contains(&code.chars().count())
    {
        fields.violation("code", format!("Must have between {CODE_MIN} and {CODE_MAX} characters"));
    }
    code
}

fn read_variables(fields: &mut Fields<'_>) -> Field<BTreeMap<String, String>> {
    let variables: Field<BTreeMap<String, String>> = fields.take(&["variables"]);
    fields.rule("variables", Rule::BytesInAll(VARIABLES_LENGTH_MAX));
    fields.no_name_twice("variables");
    if let Field::Value(map) = &variables {
        let length: usize = map.iter().map(|(name, value)| name.len() + value.len()).sum();
        if map.len() > VARIABLES_MAX {
            fields.violation("variables", format!("Must have at most {VARIABLES_MAX} entries"));
        } else if length > VARIABLES_LENGTH_MAX {
            fields.violation("variables", format!("Must have at most {VARIABLES_LENGTH_MAX} bytes in all"));
        } else if map.keys().any(|name| name.is_empty() || name.len() > VARIABLE_NAME_MAX) {
            fields.violation("variables", format!("Each name must have 1 to {VARIABLE_NAME_MAX} bytes"));
        }
    }
    variables
}

/// Code, and a webhook to try it on.
struct SimulateIn {
    code: String,
    event_type: String,
    channels: Vec<String>,
    payload: Box<RawValue>,
    variables: BTreeMap<String, String>,
}

impl RequestBody for SimulateIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "EndpointTransformationSimulateIn",
        &[
            CODE,
            ("eventType", "The event type of the message."),
            ("channels", "The channels of the message."),
            ("payload", "The payload of the message."),
            VARIABLES,
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let code = fields.required_text(&["code"], Text::Length(4 * CODE_MAX));
        fields.rule("code", Rule::Length(CODE_MIN, CODE_MAX));
        if let Some(code) = &code
            && !(CODE_MIN..=CODE_MAX).contains(&code.chars().count())
        {
            fields.violation("code", format!("Must have between {CODE_MIN} and {CODE_MAX} characters"));
        }
        let event_type = fields.required_text(&["eventType"], Text::Name(NAME_LENGTH_MAX));
        let channels = fields.names(&["channels"], CHANNEL_LENGTH_MAX, 1, 5).value();
        let payload = fields.required_raw_object(&["payload"]);
        let variables = read_variables(fields).value();
        Self {
            code: code.unwrap_or_default(),
            event_type: event_type.unwrap_or_default(),
            channels: channels.unwrap_or_default(),
            payload: payload.map(ToOwned::to_owned).unwrap_or_default(),
            variables: variables.unwrap_or_default(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EndpointTransformationSimulateOut")]
struct SimulateOut {
    /// Where the webhook would be sent.
    url: String,
    /// The payload that would be sent.
    #[schemars(with = "serde_json::Value")]
    payload: Box<RawValue>,
    /// `POST`, `PUT` or `PATCH`.
    method: String,
    /// Whether nothing would be sent.
    cancel: bool,
    /// The headers that the code adds.
    headers: BTreeMap<String, String>,
}

impl Endpoints {
    /// Runs `code` once, by the function that runs transformations.
    ///
    /// # Errors
    /// `Invalid` where the code fails; `Unavailable` where that function is not reached.
    async fn run(&self, code: String, webhook: Option<Webhook>) -> Result<Outcome> {
        let batch = Batch { codes: vec![code], runs: vec![Run { code: 0, webhook }] };
        match self.transformer.run(&batch).await?.pop() {
            Some(Outcome::Failed { error, line }) => {
                Err(Error::violation(["body", "code"], explained(&error, line)))
            }
            Some(Outcome::Later) | None => {
                Err(unavailable("run a transformation")("the function had no time for it"))
            }
            Some(outcome) => Ok(outcome),
        }
    }
}

/// The URL of an endpoint that a transformation can be used with.
///
/// # Errors
/// `Conflict`: nothing is sent to the endpoint over HTTP.
fn url_of(endpoint: &Endpoint) -> Result<&str> {
    endpoint.settings.destination.check_sent_to()?;
    match &endpoint.settings.destination {
        Destination::Http { url } => Ok(url),
        other => Err(Error::Conflict(format!(
            "Transformations are for endpoints with a URL: this one's destination is {}.",
            other.kind()
        ))),
    }
}

async fn get(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
) -> ApiResult<Json<TransformationOut>> {
    let (app, endpoint) = state.find(&caller, &path).await?;
    let kept = state.api.store.transformation(app.id, endpoint.id).await?;
    let Transformation { code, enabled, variables, updated_at } = kept;
    Ok(Json(TransformationOut { code, enabled, variables, updated_at }))
}

async fn patch(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    body: Body<TransformationPatch>,
) -> ApiResult<NoContent> {
    let store = &state.api.store;
    let changed = store.retry_on_conflict(async || {
        let (app, endpoint) = state.find(&caller, &path).await?;
        let old = store.transformation(app.id, endpoint.id).await?;
        let TransformationPatch { new, has_new_code } = body.read_with(old.clone())?;
        url_of(&endpoint)?;
        if let Some(code) = new.code.as_ref().filter(|_| has_new_code) {
            state.run(code.clone(), None).await?;
        }
        store.set_transformation(&caller, &app, &endpoint, &old, new).await
    });
    changed.await?;
    Ok(NoContent)
}

async fn simulate(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
    body: Body<SimulateIn>,
) -> ApiResult<Once<Json<SimulateOut>>> {
    idempotent
        .once(&caller, async || {
            let (_, endpoint) = state.find(&caller, &path).await?;
            let SimulateIn { code, event_type, channels, payload, variables } = body.read()?;
            let url = url_of(&endpoint)?.to_owned();
            let method = "POST".to_owned();
            let webhook = Webhook {
                method: method.clone(),
                url: url.clone(),
                payload: payload.clone(),
                event_type,
                channels,
                env: variables,
                transformations_params: None,
            };
            let out = match state.run(code, Some(webhook)).await? {
                Outcome::Send(made) => {
                    if let Some(reason) = refusal(&made, &url) {
                        let msg = format!("What the code makes cannot be sent: {reason}");
                        return Err(Error::violation(["body", "code"], msg));
                    }
                    let payload = match made.payload {
                        None => payload,
                        Some(text) => RawValue::from_string(text).map_err(corrupt("a payload"))?,
                    };
                    let (url, method, headers) = (made.url, made.method, made.headers);
                    SimulateOut { url, payload, method, cancel: false, headers }
                }
                _ => SimulateOut { url, payload, method, cancel: true, headers: BTreeMap::new() },
            };
            Ok(Json(out))
        })
        .await
}
