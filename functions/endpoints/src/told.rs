//! Operational webhook endpoints: those that are told what happens in an organisation.
//!
//! They belong to the application that the organisation has in the management organisation, which is where
//! operational events go. It is made at first use, and no list of the organisation itself shows it.

use std::collections::BTreeMap;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Caller, Organisation, Who};
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, Body, BodyType, Created, Descending, Either, EndpointRef, Fields, Idempotent, Json, ListOut,
    NoContent, Once, Page, Path, Query, Registry, RequestBody, Text,
};
use shared::ids::{EndpointId, Reference};
use shared::operational::management_org;
use shared::signing::SigningKey;
use shared::store::applications::{Application, ApplicationSettings};
use shared::store::endpoint_secrets::EndpointHeaders;
use shared::store::endpoints::{Destination, Endpoint, EndpointSettings};
use shared::wire::TEXT_LENGTH_MAX;
use shared::{Error, Result};

use crate::bodies;
use crate::headers::{self, HeadersIn, HeadersOut};
use crate::secret::{self, RotateIn, SecretOut};
use crate::{Endpoints, destination};

const TAG: &str = "Operational Webhook";

/// Which URLs an installation takes: https alone if it is true.
type HttpsOnly = bool;

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const ALL: &str = "/api/v1/operational-webhook/endpoint";
    const ONE: &str = "/api/v1/operational-webhook/endpoint/{endpoint_id}";
    let to = of_secrets(to);
    to.get(ALL, list, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.list", TAG)
            .summary("List the endpoints of operational webhooks")
            .returns("A page of endpoints.")
    })
    .post(ALL, create, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.create", TAG)
            .summary("Create an endpoint of operational webhooks")
            .text("It is sent what happens to the organisation's endpoints, messages and background tasks.")
            .returns("The new endpoint.")
    })
    .get(ONE, read, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.get", TAG)
            .summary("Get an endpoint of operational webhooks")
            .returns("The endpoint.")
    })
    .put(ONE, replace, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.update", TAG)
            .summary("Replace the settings of an endpoint of operational webhooks, or create it")
            .text("If the path names a uid that no endpoint has, one is created. The secret is unchanged.")
            .returns("The changed endpoint.")
            .returns("The new endpoint.")
    })
    .delete(ONE, delete, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.delete", TAG)
            .summary("Delete an endpoint of operational webhooks")
            .returns("Deleted.")
    })
}

fn of_secrets<R: Registry<Endpoints>>(to: R) -> R {
    const SECRET: &str = "/api/v1/operational-webhook/endpoint/{endpoint_id}/secret";
    const ROTATE: &str = "/api/v1/operational-webhook/endpoint/{endpoint_id}/secret/rotate";
    const HEADERS: &str = "/api/v1/operational-webhook/endpoint/{endpoint_id}/headers";
    to.get(SECRET, get_secret, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.get-secret", TAG)
            .summary("Get the signing secret of an endpoint of operational webhooks")
            .returns("The key.")
    })
    .post(ROTATE, rotate_secret, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.rotate-secret", TAG)
            .summary("Rotate the signing secret of an endpoint of operational webhooks")
            .text("The old key stays valid for a while: webhooks carry a signature by each.")
            .returns("Rotated.")
    })
    .get(HEADERS, get_headers, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.get-headers", TAG)
            .summary("Get the headers that operational webhooks carry to an endpoint")
            .returns("The headers; of sensitive ones the names.")
    })
    .put(HEADERS, set_headers, |operation| {
        operation
            .named("v1.operational-webhook.endpoint.set-headers", TAG)
            .summary("Replace the headers that operational webhooks carry to an endpoint")
            .returns("These are the headers now.")
    })
}

const SETTINGS: [(&str, &str); 7] = [
    (
        "url",
        "Where operational webhooks are sent: an http or https URL; an installation can require https. A user and password in it become an `Authorization` header.",
    ),
    bodies::DESCRIPTION,
    ("uid", "Your own ID, unique among these endpoints. Paths take it instead of the ID."),
    (
        "filterTypes",
        "Only these events, such as `endpoint.disabled`, or all that match a pattern such as `message.*`; all if absent or null.",
    ),
    bodies::DISABLED,
    ("rateLimit", "Maximum webhooks per second; further ones wait."),
    bodies::METADATA,
];

/// A new endpoint.
struct ToldIn {
    settings: EndpointSettings,
    key: Option<SigningKey>,
    headers: EndpointHeaders,
}

impl RequestBody for ToldIn {
    type With = HttpsOnly;
    const TYPE: BodyType = BodyType::of::<Self>(
        "OperationalWebhookEndpointIn",
        &[
            SETTINGS[0],
            SETTINGS[1],
            SETTINGS[2],
            SETTINGS[3],
            SETTINGS[4],
            SETTINGS[5],
            SETTINGS[6],
            bodies::SECRET,
            headers::ABOUT,
        ],
    );

    fn read(fields: &mut Fields<'_>, https_only: HttpsOnly) -> Self {
        let ToldUpdate(settings) = ToldUpdate::read(fields, https_only);
        Self { settings, key: secret::chosen(fields, &["secret"]), headers: headers::whole(fields, false) }
    }
}

/// What an endpoint's settings are to be.
struct ToldUpdate(EndpointSettings);

impl RequestBody for ToldUpdate {
    type With = HttpsOnly;
    const TYPE: BodyType = BodyType::of::<Self>("OperationalWebhookEndpointUpdate", &SETTINGS);

    fn read(fields: &mut Fields<'_>, https_only: HttpsOnly) -> Self {
        let url = fields.required::<String>(&["url"]);
        destination::describe_url(fields);
        let url = url.map(|url| destination::connected(fields, url, https_only)).unwrap_or_default();
        let description = fields.text(&["description"], Text::UpTo(TEXT_LENGTH_MAX)).value();
        Self(EndpointSettings {
            destination: Destination::Http { url },
            description: description.unwrap_or_default(),
            uid: fields.text(&["uid"], Text::Uid("ep_")).value(),
            event_types: bodies::event_types_of(fields).value(),
            disabled: fields.or(&["disabled"], false),
            rate_limit: fields.rate_limit().value(),
            metadata: fields.metadata().value().unwrap_or_default(),
            ..EndpointSettings::default()
        })
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OperationalWebhookEndpointOut")]
struct ToldOut {
    id: EndpointId,
    /// Where operational webhooks are sent.
    url: String,
    /// Description.
    description: String,
    /// The ID that its owner chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// The same as `eventTypes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_types: Option<Vec<String>>,
    /// Only these are sent; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<String>>,
    /// If true, nothing is sent to this endpoint.
    disabled: bool,
    /// Maximum webhooks per second; further ones wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u16>,
    /// The same as `rateLimit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u16>,
    /// Arbitrary key-value metadata.
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Endpoint> for ToldOut {
    fn from(endpoint: Endpoint) -> Self {
        let settings = endpoint.settings;
        Self {
            id: endpoint.id,
            url: settings.destination.into_address(),
            description: settings.description,
            uid: settings.uid,
            filter_types: settings.event_types.clone(),
            event_types: settings.event_types,
            disabled: settings.disabled,
            rate_limit: settings.rate_limit,
            throttle_rate: settings.rate_limit,
            metadata: settings.metadata,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

/// Whoever acts within the management organisation on behalf of another one.
fn operator() -> Caller {
    Caller::from(Who::Postrider(management_org()))
}

impl Endpoints {
    /// The application that the caller's organisation has in the management organisation; none before its first use.
    async fn told(&self, caller: &Caller) -> Result<Option<Application>> {
        let reference = Reference::Uid(caller.org().to_string());
        match self.api.store.application_for(&operator(), &reference).await {
            Ok(app) => Ok(Some(app)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same, which is made if it is missing.
    async fn make_told(&self, caller: &Caller) -> Result<Application> {
        if caller.org() == management_org() {
            let msg = "The management organisation is sent no events of its own: create an endpoint of the application whose uid is the other organisation's ID";
            return Err(Error::violation(["body"], msg));
        }
        if let Some(app) = self.told(caller).await? {
            return Ok(app);
        }
        let settings = ApplicationSettings {
            name: "Operational webhooks".to_owned(),
            uid: Some(caller.org().to_string()),
            ..ApplicationSettings::default()
        };
        match self.api.store.create_application(&operator(), settings).await {
            Ok((app, _)) => Ok(app),
            // Somebody else made it meanwhile.
            Err(Error::Conflict(text)) => self.told(caller).await?.ok_or(Error::Conflict(text)),
            Err(error) => Err(error),
        }
    }

    async fn find_told(&self, caller: &Caller, endpoint: &EndpointRef) -> Result<(Application, Endpoint)> {
        let app = self.told(caller).await?.ok_or(Error::NotFound("Endpoint"))?;
        let endpoint = self.api.store.endpoint_for(app.id, endpoint).await?;
        Ok((app, endpoint))
    }

    async fn create_told(&self, caller: &Caller, app: &Application, new: ToldIn) -> Result<Endpoint> {
        let ToldIn { settings, key, headers } = new;
        self.check_event_types(&operator(), &settings).await?;
        let key = key.unwrap_or_else(|| SigningKey::generate(self.key_kind, &*self.api.random));
        self.api.store.create_endpoint(caller, app, settings, key, headers).await
    }
}

async fn list(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Query(Descending(query)): Query<Descending<EndpointId>>,
) -> ApiResult<Json<ListOut<ToldOut>>> {
    let page = match state.told(&caller).await? {
        Some(app) => state.api.store.list_endpoints(app.id, &query).await?,
        None => Page { entries: Vec::new(), done: true, resume: None },
    };
    Ok(Json(ListOut::new(page, |endpoint| endpoint.id.to_string(), ToldOut::from)))
}

async fn create(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
    body: Body<ToldIn>,
) -> ApiResult<Once<Created<ToldOut>>> {
    idempotent
        .once(&caller, async || {
            let new = body.read_with(state.rules.https_only)?;
            let app = state.make_told(&caller).await?;
            Ok(Created(state.create_told(&caller, &app, new).await?.into()))
        })
        .await
}

async fn read(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Path((endpoint,)): Path<(EndpointRef,)>,
) -> ApiResult<Json<ToldOut>> {
    let (_, endpoint) = state.find_told(&caller, &endpoint).await?;
    Ok(Json(endpoint.into()))
}

async fn replace(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Path((wanted,)): Path<(EndpointRef,)>,
    body: Body<ToldUpdate>,
) -> ApiResult<Either<Json<ToldOut>, Created<ToldOut>>> {
    let ToldUpdate(settings) = body.read_with(state.rules.https_only)?;
    let settings = EndpointSettings { uid: wanted.uid_of_put(settings.uid.as_ref()), ..settings };
    let replaced = state.api.store.retry_on_conflict(async || {
        let settings = settings.clone();
        let (app, old) = match (state.find_told(&caller, &wanted).await, &wanted) {
            (Ok(found), _) => found,
            (Err(Error::NotFound(_)), Reference::Uid(_)) => {
                let app = state.make_told(&caller).await?;
                let new = ToldIn { settings, key: None, headers: EndpointHeaders::default() };
                let made = state.create_told(&caller, &app, new).await?;
                return Ok(Some(Either::Second(Created(made.into()))));
            }
            (Err(error), _) => return Err(error),
        };
        state.check_event_types(&operator(), &settings).await?;
        // What only the management organisation can set is not replaced.
        let EndpointSettings { channels, filter, retry_policy, auto_enable, http_signatures, .. } =
            old.settings.clone();
        let settings =
            EndpointSettings { channels, filter, retry_policy, auto_enable, http_signatures, ..settings };
        let off = settings.disabled;
        let new = state.api.store.update_endpoint(&caller, &app, &old, settings, off).await?;
        Ok(new.map(|new| Either::First(Json(new.into()))))
    });
    Ok(replaced.await?)
}

async fn delete(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Path((endpoint,)): Path<(EndpointRef,)>,
) -> ApiResult<NoContent> {
    let deleted = state.api.store.retry_on_conflict(async || {
        let (app, endpoint) = state.find_told(&caller, &endpoint).await?;
        let deleted = state.api.store.delete_endpoint(&caller, &app, &endpoint).await?;
        Ok(deleted.then_some(NoContent))
    });
    Ok(deleted.await?)
}

async fn get_secret(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Path((endpoint,)): Path<(EndpointRef,)>,
) -> ApiResult<Json<SecretOut>> {
    let (_, endpoint) = state.find_told(&caller, &endpoint).await?;
    Ok(secret::shown(&endpoint, state.api.clock.now())?)
}

async fn rotate_secret(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Path((endpoint,)): Path<(EndpointRef,)>,
    idempotent: Idempotent,
    body: Body<RotateIn>,
) -> ApiResult<Once<NoContent>> {
    idempotent
        .once(&caller, async || {
            let RotateIn { key, grace } = body.read()?;
            let rotated = state.api.store.retry_on_conflict(async || {
                let (app, old) = state.find_told(&caller, &endpoint).await?;
                let key = state.next_key(&old, key.clone());
                state.api.store.rotate_endpoint_key(&caller, &app, &old, key, grace).await
            });
            rotated.await?;
            Ok(NoContent)
        })
        .await
}

async fn get_headers(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Path((endpoint,)): Path<(EndpointRef,)>,
) -> ApiResult<Json<HeadersOut>> {
    let (_, endpoint) = state.find_told(&caller, &endpoint).await?;
    Ok(Json(HeadersOut::new(&endpoint.headers)))
}

async fn set_headers(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Path((endpoint,)): Path<(EndpointRef,)>,
    body: Body<HeadersIn>,
) -> ApiResult<NoContent> {
    let changed = state.api.store.retry_on_conflict(async || {
        let (app, old) = state.find_told(&caller, &endpoint).await?;
        let HeadersIn(headers) = body.read()?;
        state.api.store.set_endpoint_headers(&caller, &app, &old, headers).await
    });
    changed.await?;
    Ok(NoContent)
}
