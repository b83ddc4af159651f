//! AutoConfig: a receiver that was given a token says itself where its webhooks go.

use axum::extract::State;
use http::Extensions;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Caller, Organisation, Receiver};
use shared::clock::Timestamp;
use shared::error::corrupt;
use shared::http::{
    ApiResult, AppRef, Body, BodyType, EndpointRef, Fields, Idempotent, Json, Once, Path, Registry,
    RequestBody, Text, own_url,
};
use shared::ids::{EndpointId, Reference};
use shared::signing::{KeyKind, SigningKey};
use shared::store::applications::Application;
use shared::store::auto_config::AutoConfigKey;
use shared::store::endpoints::{Destination, Endpoint, EndpointSettings};
use shared::{Error, Result};

use crate::bodies::EndpointIn;
use crate::destination::Rules;
use crate::{EndpointOut, EndpointPath, Endpoints, TAG, check_leftovers};

/// What people see of an endpoint until its receiver says something else.
const DESCRIPTION: &str = "Waits for its receiver (AutoConfig)";
/// The kinds of sinks.
const SINKS: &[&str] = &["poller", "http"];

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    to.post("/api/v1/app/{app_id}/auto-config", create, |operation| {
        operation
            .named("v1.auto-config.create", TAG)
            .summary("Get a token with which a receiver configures its endpoint")
            .text(
                "Creates an endpoint that waits for its receiver: it has no URL and is disabled until then. If the application has \
                 such an endpoint, or the body names an endpoint, that one gets a new token, and its token until now is invalid. \
                 An endpoint that signs with ed25519 is 409: receivers verify with a shared secret. The token holds the endpoint's signing secret, and is shown only here.",
            )
            .returns("The token.")
    })
    .put("/api/v1/app/{app_id}/endpoint/{endpoint_id}/auto-config", configure, |operation| {
        operation
            .named("v1.auto-config.subscribe", TAG)
            .summary("Configure an endpoint, as its receiver")
            .text(
                "Receivers call it with what `tok` in their token holds, at each start. The endpoint is then what the body says, \
                 as after replacing it. What the body leaves out of `disabled` and `headers` stays, and so do `filter`, `retryPolicy`, \
                 `autoEnable`, `headerStyle` and `fifo`, which official SDKs do not send; `null` clears those five. An endpoint that waited is \
                 enabled. The kind of an endpoint that has a destination does not change.",
            )
            .returns("The endpoint.")
    })
}

/// Which endpoint a token is for.
struct AutoConfigIn(Option<EndpointRef>);

impl RequestBody for AutoConfigIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "AutoConfigIn",
        &[("endpId", "The ID or uid of the endpoint; one that waits for its receiver if absent.")],
    )
    .optional();

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let text = fields.text(&["endpId"], Text::Name(shared::ids::NAME_LENGTH_MAX)).value();
        let reference = text.as_deref().and_then(Reference::<EndpointId>::parse);
        if text.is_some() && reference.is_none() && !fields.has_violation("endpId") {
            fields.violation("endpId", "Not an endpoint's ID");
        }
        Self(reference)
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AutoConfigOut")]
struct AutoConfigOut {
    /// When the endpoint was changed last.
    updated_at: Timestamp,
    /// For the receiver: `auto_v1_` and the base64 of JSON, which the official SDKs read.
    token: String,
    /// The endpoint that it is for.
    endp_id: EndpointId,
}

/// What a receiver says of its endpoint.
struct SubscribeIn {
    endpoint: EndpointIn,
    /// Where the body has it.
    at: &'static [&'static str],
    has: Given,
}

/// Which fields a body has that stay as they are where it has them not.
#[derive(Clone, Copy, Default)]
struct Given {
    disabled: bool,
    headers: bool,
    filter: bool,
    retry_policy: bool,
    auto_enable: bool,
    header_style: bool,
    fifo: bool,
}

impl Given {
    fn of(part: &Fields<'_>) -> Self {
        Self {
            disabled: part.is_given("disabled"),
            headers: part.is_given("headers"),
            filter: part.is_there("filter"),
            retry_policy: part.is_there("retryPolicy"),
            auto_enable: part.is_there("autoEnable"),
            header_style: part.is_there("headerStyle"),
            fifo: ["fifo", "fifoKey", "batchSize", "maxWaitSecs"].iter().any(|name| part.is_there(name)),
        }
    }

    /// Lets stay what the body does not have of `before`, as far as the new destination takes it: one that waited may
    /// become a polling endpoint.
    fn keep(self, before: &EndpointSettings, settings: &mut EndpointSettings) {
        if !self.filter {
            settings.filter = before.filter.clone();
        }
        if settings.destination.is_polled() {
            return;
        }
        if !self.retry_policy {
            settings.retry_policy = before.retry_policy.clone();
        }
        if !self.fifo {
            settings.fifo = before.fifo.clone();
            if let Some(fifo) = settings.fifo.as_mut().filter(|_| !settings.destination.takes_lists()) {
                fifo.batching = Default::default();
            }
        }
        if matches!(settings.destination, Destination::Http { .. }) {
            settings.auto_enable |= !self.auto_enable && before.auto_enable;
            settings.http_signatures |= !self.header_style && before.http_signatures;
        }
    }
}

/// A field of a body that holds an endpoint.
fn read_endpoint(mut part: Fields<'_>, fields: &mut Fields<'_>, rules: Rules, is_polled: bool) -> Read {
    let has = Given::of(&part);
    let endpoint = if is_polled {
        for name in ["url", "destination"] {
            if part.is_given(name) {
                part.violation(name, "A poller's messages are sent nowhere: leave it out");
            }
        }
        EndpointIn::read_to(&mut part, Destination::Polling)
    } else {
        EndpointIn::read(&mut part, rules)
    };
    fields.absorb(part);
    Read { endpoint, has }
}

/// What such a field says.
struct Read {
    endpoint: EndpointIn,
    has: Given,
}

impl RequestBody for SubscribeIn {
    type With = Rules;
    const TYPE: BodyType = BodyType::of::<Self>(
        "AutoConfigSubscribeIn",
        &[
            (
                "endpoint",
                "An endpoint that is sent webhooks. Its `secret` is in the token and cannot be another.",
            ),
            ("sink", "The same, or a polling endpoint. Either this or `endpoint`."),
            ("sink.type", "`http`, or `poller` for a polling endpoint, whose key is the `tok` of the token."),
            ("sink.config", "The endpoint; of a poller without `url`."),
        ],
    )
    .with_parts(&[("endpoint", &EndpointIn::TYPE), ("sink.config", &EndpointIn::TYPE)]);

    fn read(fields: &mut Fields<'_>, rules: Rules) -> Self {
        let endpoint = fields.part("endpoint").value();
        let endpoint = endpoint.map(|part| read_endpoint(part, fields, rules.clone(), false));
        let sink = fields.part("sink").value().map(|mut part| {
            let kind = part.required_word(&["type"], SINKS);
            let is_polled = kind.as_deref() == Some("poller");
            let config = part.required_object("config");
            let config = config.map(|config| read_endpoint(config, &mut part, rules.clone(), is_polled));
            fields.absorb(part);
            config
        });
        let (read, at): (_, &[_]) = match (endpoint, sink) {
            (Some(endpoint), None) => (Some(endpoint), &["endpoint"]),
            (None, Some(sink)) => (sink, &["sink", "config"]),
            (endpoint, _) => {
                if !fields.has_violations() {
                    fields.violation("endpoint", "Send either endpoint or sink");
                }
                (endpoint, &["endpoint"])
            }
        };
        let Read { endpoint, has } = read.unwrap_or_default();
        Self { endpoint, at, has }
    }
}

impl Default for Read {
    fn default() -> Self {
        let endpoint = EndpointIn {
            settings: EndpointSettings::default(),
            key: None,
            headers: shared::store::endpoint_secrets::EndpointHeaders::default(),
        };
        Self { endpoint, has: Given::default() }
    }
}

impl SubscribeIn {
    /// The violation of a rule by a field of the endpoint.
    fn violation(&self, field: &'static str, msg: &str) -> Error {
        self.placed(Error::violation(["body", field], msg))
    }

    /// The same error, whose places are those of this body.
    fn placed(&self, error: Error) -> Error {
        let Error::Invalid(mut all) = error else { return error };
        for violation in &mut all {
            let at = violation.loc.len().min(1);
            violation.loc.splice(at..at, self.at.iter().map(|part| (*part).to_owned()));
        }
        Error::Invalid(all)
    }
}

impl Endpoints {
    /// An endpoint of the application that waits for its receiver; the oldest, if there are several.
    async fn waiting(&self, app: &Application) -> Result<Option<Endpoint>> {
        let mut all = self.api.store.all_endpoints(app.id).await?;
        all.retain(|endpoint| endpoint.auto_config.is_some() && endpoint.settings.destination.is_waiting());
        Ok(all.into_iter().min_by_key(|endpoint| endpoint.id))
    }

    async fn new_auto_config(
        &self,
        caller: &Caller,
        app: &AppRef,
        wanted: Option<EndpointRef>,
    ) -> Result<(Endpoint, AutoConfigKey)> {
        let store = &self.api.store;
        store
            .retry_on_conflict(async || {
                let app = store.application_for(caller, app).await?;
                let old = match &wanted {
                    Some(reference) => Some(store.endpoint_for(app.id, reference).await?),
                    None => self.waiting(&app).await?,
                };
                match old {
                    Some(old) => {
                        check_verifiable(&old)?;
                        store.rotate_auto_config_key(caller, &app, &old).await
                    }
                    None => {
                        // Receivers verify with a shared secret: the SDKs' AutoConfig knows no other.
                        let key = SigningKey::generate(KeyKind::Hmac256, &*self.api.random);
                        store
                            .create_waiting_endpoint(caller, &app, DESCRIPTION.to_owned(), key)
                            .await
                            .map(Some)
                    }
                }
            })
            .await
    }
}

/// Refuses an endpoint whose receiver could not verify anything with its token: the SDKs' AutoConfig knows shared secrets
/// alone. Who polls verifies nothing.
fn check_verifiable(endpoint: &Endpoint) -> Result<()> {
    let is_shared = endpoint.keys.first().is_none_or(|own| matches!(own.key, SigningKey::Hmac256(_)));
    if is_shared || endpoint.settings.destination.is_polled() {
        return Ok(());
    }
    Err(Error::Conflict(
        "The endpoint signs with ed25519, and AutoConfig's receivers verify with a shared secret: rotate its secret to a `whsec_…` key first, or use another endpoint."
            .into(),
    ))
}

async fn create(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    Path((app,)): Path<(AppRef,)>,
    extensions: Extensions,
    idempotent: Idempotent,
    body: Body<AutoConfigIn>,
) -> ApiResult<Once<Json<AutoConfigOut>>> {
    idempotent
        .once(&caller, async || {
            let AutoConfigIn(wanted) = body.read()?;
            // Never by what a header says: whoever has the token gives its key away there.
            let server = own_url(&extensions)
                .ok_or_else(|| corrupt("an AutoConfig token")("the request does not say where the API is"))?;
            let (endpoint, key) = state.new_auto_config(&caller, &app, wanted).await?;
            let current = endpoint.keys.first().ok_or(Error::NotFound("Secret"))?;
            let token = key.token(server.trim_end_matches('/'), &current.key.verifying_text()?);
            Ok(Json(AutoConfigOut { updated_at: endpoint.updated_at, token, endp_id: endpoint.id }))
        })
        .await
}

async fn configure(
    State(state): State<Endpoints>,
    Receiver(receiver): Receiver,
    Path(path): Path<EndpointPath>,
    body: Body<SubscribeIn>,
) -> ApiResult<Json<EndpointOut>> {
    let (store, caller) = (&state.api.store, &receiver.caller);
    let configured = store.retry_on_conflict(async || {
        let (app, old) = state.find(caller, &path).await?;
        receiver.check(old.id)?;
        let wanted = body.read_with(state.rules.of(app.id))?;
        let (before, mut settings) = (&old.settings, wanted.endpoint.settings.clone());
        let is_waiting = before.destination.is_waiting();
        let (had, has) = (before.destination.kind(), settings.destination.kind());
        if !is_waiting && had != has {
            return Err(Error::Conflict(format!(
                "The endpoint's destination is {had} already, and AutoConfig does not make it {has}: create another endpoint for that."
            )));
        }
        if wanted.endpoint.key.as_ref().is_some_and(|key| old.keys.first().is_none_or(|own| own.key != *key)) {
            return Err(wanted.violation("secret", "The endpoint has another secret, which is in the token: leave it out"));
        }
        wanted.has.keep(before, &mut settings);
        if !wanted.has.disabled {
            settings.disabled = !is_waiting && before.disabled;
        }
        let headers = if wanted.has.headers { wanted.endpoint.headers.clone() } else { old.headers.clone() };
        check_leftovers(&Endpoint { headers: headers.clone(), ..old.clone() }, &settings)?;
        if settings.event_types != before.event_types {
            state.check_event_types(caller, &settings).await.map_err(|error| wanted.placed(error))?;
        }
        state.ensure_http_key(caller, &settings, before.http_signatures).await?;
        store.configure_endpoint(caller, &app, &old, settings, headers).await
    });
    Ok(Json(configured.await?.into()))
}
