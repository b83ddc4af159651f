//! Endpoints: where an application's messages go.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::auth::{Authenticated, Caller};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env, flag};
use shared::http::{
    ApiResult, AppRef, Body, Created, Descending, Document, Either, EndpointRef, Idempotent, Json, ListOut,
    NoContent, Once, Path, Query, Registry,
};
use shared::http_signature::STYLE;
use shared::ids::{EndpointId, Reference};
use shared::intake::Intake;
use shared::platform::TransformerClient;
use shared::queue::{OperationalQueue, Queue};
use shared::signing::{KeyKind, SigningKey};
use shared::store::applications::Application;
use shared::store::endpoint_secrets::EndpointHeaders;
use shared::store::endpoints::{Destination, Endpoint, EndpointSettings, is_type_pattern};
use shared::wire::RetryPolicyOut;
use shared::{Api, Error, Platform, Result};

mod auto_config;
mod bodies;
mod destination;
mod example;
mod filter;
mod first_sdks;
mod headers;
mod injected_bug;
mod needs;
mod order;
mod polling_keys;
mod replays;
mod secret;
mod stats;
mod tasks;
mod told;
mod transformation;
mod url_rule;
mod usage;

pub use injected_bug::InjectedBug;
#[cfg(feature = "injected-bugs")]
pub use injected_bug::broken_router;

use destination::{DestinationOut, Rules};

use bodies::{EndpointIn, EndpointPatch, EndpointUpdate};

/// What the path of an endpoint names.
type EndpointPath = (AppRef, EndpointRef);

/// What this function holds.
#[derive(Clone, Debug)]
struct Endpoints {
    api: Api,
    /// Accepts examples, and begins tasks.
    intake: Intake,
    /// Which destinations it takes.
    rules: Rules,
    key_kind: KeyKind,
    /// Checks and tries transformations.
    transformer: TransformerClient,
    /// None but in the simulation's own tests.
    bug: Option<InjectedBug>,
}

impl FromRef<Endpoints> for Api {
    fn from_ref(endpoints: &Endpoints) -> Self {
        endpoints.api.clone()
    }
}

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    router_of(env, platform, None)
}

fn router_of(env: &Env<'_>, platform: &Platform, bug: Option<InjectedBug>) -> Result<Router, ConfigError> {
    let key_kind =
        env.parsed("POSTRIDER_SIGNATURE", "hmac256 or ed25519", KeyKind::Hmac256, |text| match text {
            "hmac256" => Some(KeyKind::Hmac256),
            "ed25519" => Some(KeyKind::Ed25519),
            _ => None,
        })?;
    let mut api = Api::connect(env, platform)?;
    let sqs = platform.sqs(env)?;
    let background = Queue::Background.url(env)?;
    api.store = api.store.with_operational_events(Arc::new(OperationalQueue { sqs, queue: background }));
    let state = Endpoints {
        intake: Intake::connect(env, platform, api.store.clone(), "endpoints")?.limited(env)?,
        api,
        rules: Rules {
            https_only: flag(env, "POSTRIDER_HTTPS_ONLY", true)?,
            roles: env.optional("POSTRIDER_DESTINATION_ROLES").map(Arc::from),
            app: None,
        },
        key_kind,
        transformer: platform.transformer(env)?,
        bug,
    };
    Ok(shared::http::finish(operations(Router::new()), state))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

const TAG: &str = "Endpoint";

fn operations<R: Registry<Endpoints>>(to: R) -> R {
    let to = usage::operations(tasks::operations(replays::operations(to)));
    let to = stats::operations(needs::operations(to));
    let to = order::operations(told::operations(polling_keys::operations(transformation::operations(
        filter::operations(to),
    ))));
    let to = auto_config::operations(to);
    of_endpoints(example::operations(headers::operations(secret::operations(to))))
}

fn of_endpoints<R: Registry<Endpoints>>(to: R) -> R {
    const ALL: &str = "/api/v1/app/{app_id}/endpoint";
    const ONE: &str = "/api/v1/app/{app_id}/endpoint/{endpoint_id}";
    to.get(ALL, list, |operation| {
        operation
            .named("v1.endpoint.list", TAG)
            .summary("List an application's endpoints")
            .returns("A page of endpoints.")
    })
    .post(ALL, create, |operation| {
        operation.named("v1.endpoint.create", TAG).summary("Create an endpoint").returns("The new endpoint.")
    })
    .get(ONE, read, |operation| {
        operation.named("v1.endpoint.get", TAG).summary("Get an endpoint").returns("The endpoint.")
    })
    .put(ONE, replace, |operation| {
        operation
            .named("v1.endpoint.update", TAG)
            .summary("Replace an endpoint's settings, or create it")
            .text("If the path names a uid that no endpoint has, one is created. The secret is unchanged.")
            .returns("The changed endpoint.")
            .returns("The new endpoint.")
    })
    .patch(ONE, patch, |operation| {
        operation
            .named("v1.endpoint.patch", TAG)
            .summary("Change an endpoint")
            .text("Fields that the body leaves out are unchanged; `null` clears a field.")
            .returns("The changed endpoint.")
    })
    .delete(ONE, delete, |operation| {
        operation
            .named("v1.endpoint.delete", TAG)
            .summary("Delete an endpoint")
            .text("Nothing is delivered to it any more, and its uid can be used again.")
            .returns("Deleted.")
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct EndpointOut {
    id: EndpointId,
    /// Where messages go.
    destination: DestinationOut,
    /// Where webhooks are sent: the URL, or what names the place for other kinds of destinations. Empty while the
    /// endpoint waits for its receiver (AutoConfig).
    url: String,
    /// Always 1; older clients expect a number here.
    version: u32,
    /// Description.
    description: String,
    /// The ID that its owner chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// The same as `eventTypes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_types: Option<Vec<String>>,
    /// Only these are delivered; all if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<String>>,
    /// Only messages with one of these are delivered; all if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    /// Only messages whose payload matches this pattern are delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    filter: Option<Box<RawValue>>,
    /// If true, nothing is delivered to this endpoint.
    disabled: bool,
    /// Maximum messages per second; further ones wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u16>,
    /// The same as `rateLimit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u16>,
    /// When failed deliveries are tried again, if not by the application's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicyOut>,
    /// If true, it is probed once it was disabled because it only failed, and enabled when it answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    auto_enable: bool,
    /// When it is probed next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_probe: Option<Timestamp>,
    /// A probe enabled it, and messages made from then on never arrived: they can be recovered and replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    missed_since: Option<Timestamp>,
    /// `rfc9421`: webhooks also carry an HTTP message signature by a key of the organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    header_style: Option<&'static str>,
    /// If true, messages arrive in the order in which they were accepted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fifo: bool,
    /// With `fifo`: where a payload names its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    fifo_key: Option<String>,
    /// Most messages of one webhook, where that is not 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u16>,
    /// For how many seconds a webhook waits for further messages, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_wait_secs: Option<u16>,
    /// Arbitrary key-value metadata.
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Endpoint> for EndpointOut {
    fn from(endpoint: Endpoint) -> Self {
        let settings = endpoint.settings;
        let (disabled, probing) = (settings.disabled, endpoint.probing);
        let batching = settings.batching();
        Self {
            id: endpoint.id,
            destination: DestinationOut::new(&settings.destination, endpoint.app),
            url: settings.destination.into_address(),
            // Old clients want a number here; it has meant nothing for years.
            version: 1,
            description: settings.description,
            uid: settings.uid,
            filter_types: settings.event_types.clone(),
            event_types: settings.event_types,
            channels: settings.channels,
            filter: settings.filter.as_ref().map(filter::shown),
            disabled: settings.disabled,
            rate_limit: settings.rate_limit,
            throttle_rate: settings.rate_limit,
            retry_policy: settings.retry_policy.map(RetryPolicyOut::from),
            auto_enable: settings.auto_enable,
            next_probe: probing.and_then(|probing| probing.next),
            missed_since: probing.filter(|_| !disabled).map(|probing| probing.since),
            header_style: settings.http_signatures.then_some(STYLE),
            fifo: settings.fifo.is_some(),
            fifo_key: settings.fifo.and_then(|fifo| fifo.key),
            batch_size: batching.map(|batching| batching.size),
            max_wait_secs: batching.map(|batching| batching.wait).filter(|wait| *wait > 0),
            metadata: settings.metadata,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

impl Endpoints {
    async fn find(&self, caller: &Caller, (app, endpoint): &EndpointPath) -> Result<(Application, Endpoint)> {
        let app = self.api.store.application_for(caller, app).await?;
        let endpoint = self.api.store.endpoint_for(app.id, endpoint).await?;
        Ok((app, endpoint))
    }

    /// Has an ordered endpoint go on that was just enabled, sooner than its timer.
    async fn wake_if_enabled(&self, app: &Application, old: &Endpoint, new: &Endpoint) {
        if old.settings.disabled && !new.settings.disabled && new.settings.fifo.is_some() {
            self.intake.advance(app, new.id).await;
        }
    }

    /// Every event type that an endpoint names must exist when it is written.
    async fn check_event_types(&self, caller: &Caller, settings: &EndpointSettings) -> Result<()> {
        let Some(names) = &settings.event_types else { return Ok(()) };
        // A pattern may be of types that come later.
        let names: Vec<String> = names.iter().filter(|name| !is_type_pattern(name)).cloned().collect();
        let unknown = self.api.store.unknown_event_types(caller, &names).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        let msg = format!("These event types do not exist: {}", unknown.join(", "));
        Err(Error::violation(["body", "filterTypes"], msg))
    }

    /// The organisation has a key before the first of its endpoints is to be signed for by it.
    async fn ensure_http_key(
        &self,
        caller: &Caller,
        settings: &EndpointSettings,
        had_one: bool,
    ) -> Result<()> {
        if settings.http_signatures && !had_one {
            self.api.store.ensure_http_key(caller).await
        } else {
            Ok(())
        }
    }

    async fn make(
        &self,
        caller: &Caller,
        app: &Application,
        settings: EndpointSettings,
        key: Option<SigningKey>,
        headers: EndpointHeaders,
    ) -> Result<Endpoint> {
        self.check_event_types(caller, &settings).await?;
        self.ensure_http_key(caller, &settings, false).await?;
        let key = key.unwrap_or_else(|| SigningKey::generate(self.key_kind, &*self.api.random));
        self.api.store.create_endpoint(caller, app, settings, key, headers).await
    }
}

/// Refuses to move an endpoint with headers, or with a transformation, to where there are none: they would be
/// ignored.
fn check_leftovers(old: &Endpoint, new: &EndpointSettings) -> Result<()> {
    if old.settings.destination.kind() == new.destination.kind() {
        return Ok(());
    }
    if old.transformation.is_some() && !matches!(new.destination, Destination::Http { .. }) {
        return Err(Error::Conflict(
            "The endpoint has a transformation, and those are for endpoints with a URL: disable it first."
                .into(),
        ));
    }
    if old.headers.is_empty() {
        return Ok(());
    }
    new.destination.check_has_headers().map_err(|_| {
        Error::Conflict(
            "The endpoint has headers, which mean nothing at the new destination: remove them first.".into(),
        )
    })
}

async fn create(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app,)): Path<(AppRef,)>,
    idempotent: Idempotent,
    body: Body<EndpointIn>,
) -> ApiResult<Once<Created<EndpointOut>>> {
    idempotent
        .once(&caller, async || {
            let app = state.api.store.application_for(&caller, &app).await?;
            let EndpointIn { settings, key, headers } = body.read_with(state.rules.of(app.id))?;
            Ok(Created(state.make(&caller, &app, settings, key, headers).await?.into()))
        })
        .await
}

async fn list(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Query(Descending(query)): Query<Descending<EndpointId>>,
    Path((app,)): Path<(AppRef,)>,
) -> ApiResult<Json<ListOut<EndpointOut>>> {
    let app = state.api.store.application_for(&caller, &app).await?;
    let page = state.api.store.list_endpoints(app.id, &query).await?;
    Ok(Json(ListOut::new(page, |endpoint| endpoint.id.to_string(), EndpointOut::from)))
}

async fn read(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
) -> ApiResult<Json<EndpointOut>> {
    let (_, endpoint) = state.find(&caller, &path).await?;
    Ok(Json(endpoint.into()))
}

async fn replace(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, wanted)): Path<EndpointPath>,
    body: Body<EndpointUpdate>,
) -> ApiResult<Either<Json<EndpointOut>, Created<EndpointOut>>> {
    let app = state.api.store.application_for(&caller, &app).await?;
    let replaced = state.api.store.retry_on_conflict(async || {
        let read = |before| {
            body.read_with((before, state.rules.of(app.id))).map(|EndpointUpdate(settings)| {
                EndpointSettings { uid: wanted.uid_of_put(settings.uid.as_ref()), ..settings }
            })
        };
        let old = match (state.api.store.endpoint_for(app.id, &wanted).await, &wanted) {
            (Ok(old), _) => old,
            (Err(Error::NotFound(_)), Reference::Uid(_)) => {
                let settings = read(None)?;
                let made = state.make(&caller, &app, settings, None, EndpointHeaders::default()).await?;
                return Ok(Some(Either::Second(Created(made.into()))));
            }
            (Err(error), _) => return Err(error),
        };
        let settings = read(Some(old.settings.destination.clone()))?;
        check_leftovers(&old, &settings)?;
        state.check_event_types(&caller, &settings).await?;
        state.ensure_http_key(&caller, &settings, old.settings.http_signatures).await?;
        let off = settings.disabled;
        let new = state.api.store.update_endpoint(&caller, &app, &old, settings, off).await?;
        if let Some(new) = &new {
            state.wake_if_enabled(&app, &old, new).await;
        }
        Ok(new.map(|new| Either::First(Json(new.into()))))
    });
    Ok(replaced.await?)
}

async fn patch(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    body: Body<EndpointPatch>,
) -> ApiResult<Json<EndpointOut>> {
    let patched = state.api.store.retry_on_conflict(async || {
        let (app, old) = state.find(&caller, &path).await?;
        let EndpointPatch { settings, off } =
            body.read_with((old.settings.clone(), state.rules.of(app.id)))?;
        check_leftovers(&old, &settings)?;
        if settings.event_types != old.settings.event_types {
            state.check_event_types(&caller, &settings).await?;
        }
        state.ensure_http_key(&caller, &settings, old.settings.http_signatures).await?;
        let off = off && state.bug != Some(InjectedBug::ProbesWhatAPersonDisabled);
        let new = state.api.store.update_endpoint(&caller, &app, &old, settings, off).await?;
        if let Some(new) = &new {
            state.wake_if_enabled(&app, &old, new).await;
        }
        Ok(new)
    });
    Ok(Json(patched.await?.into()))
}

async fn delete(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
) -> ApiResult<NoContent> {
    let deleted = state.api.store.retry_on_conflict(async || {
        let (app, endpoint) = state.find(&caller, &path).await?;
        let deleted = state.api.store.delete_endpoint(&caller, &app, &endpoint).await?;
        Ok(deleted.then_some(NoContent))
    });
    Ok(deleted.await?)
}
