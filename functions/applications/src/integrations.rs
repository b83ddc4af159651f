//! Integrations: third parties that act within an application, each by a key of its own.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Caller, Organisation};
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, AppRef, Ascending, Body, BodyType, Created, Fields, Idempotent, Json, ListOut, NoContent,
    Once, Path, Query, Registry, RequestBody, Text,
};
use shared::ids::{IntegrationId, NAME_LENGTH_MAX};
use shared::store::applications::Application;
use shared::store::integrations::{FEATURE_FLAGS_MAX, Integration};
use shared::wire::TEXT_LENGTH_MAX;
use shared::{Api, Result};

const TAG: &str = "Integration";

/// What the path of an integration names.
type IntegrationPath = (AppRef, IntegrationId);

/// Adds the operations of this module.
pub fn operations<R: Registry<Api>>(to: R) -> R {
    const ALL: &str = "/api/v1/app/{app_id}/integration";
    const ONE: &str = "/api/v1/app/{app_id}/integration/{integ_id}";
    to.get(ALL, list, |operation| {
        operation
            .named("v1.integration.list", TAG)
            .summary("List an application's integrations")
            .returns("A page of integrations.")
    })
    .post(ALL, create, |operation| {
        operation
            .named("v1.integration.create", TAG)
            .summary("Create an integration")
            .text("It has no key until one is created by rotation.")
            .returns("The new integration.")
    })
    .get(ONE, read, |operation| {
        operation.named("v1.integration.get", TAG).summary("Get an integration").returns("The integration.")
    })
    .put(ONE, replace, |operation| {
        operation
            .named("v1.integration.update", TAG)
            .summary("Replace an integration's name and feature flags")
            .text("Its key stays valid.")
            .returns("The changed integration.")
    })
    .delete(ONE, delete, |operation| {
        operation
            .named("v1.integration.delete", TAG)
            .summary("Delete an integration")
            .text("Its key is invalid from now on.")
            .returns("Deleted.")
    })
    .post("/api/v1/app/{app_id}/integration/{integ_id}/key/rotate", rotate, |operation| {
        operation
            .named("v1.integration.rotate-key", TAG)
            .summary("Create an integration's key, or replace it")
            .text(
                "The key is a bearer token of the application with all capabilities, and does not expire. The one before it is \
                 invalid from now on. It is shown only here.",
            )
            .returns("The new key.")
    })
}

/// What an integration is to be.
struct IntegrationIn {
    name: String,
    feature_flags: Vec<String>,
}

fn read_body(fields: &mut Fields<'_>) -> IntegrationIn {
    let flags = fields.names(&["featureFlags"], NAME_LENGTH_MAX, 0, FEATURE_FLAGS_MAX);
    IntegrationIn {
        name: fields.required_text(&["name"], Text::Length(TEXT_LENGTH_MAX)).unwrap_or_default(),
        feature_flags: flags.value().unwrap_or_default(),
    }
}

const FIELDS: &[(&str, &str)] = &[
    ("name", "Display name."),
    ("featureFlags", "Whoever has its key sees event types with these feature flags."),
];

impl RequestBody for IntegrationIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>("IntegrationIn", FIELDS);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        read_body(fields)
    }
}

/// The same, of one that is there.
struct IntegrationUpdate(IntegrationIn);

impl RequestBody for IntegrationUpdate {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>("IntegrationUpdate", FIELDS);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self(read_body(fields))
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct IntegrationOut {
    id: IntegrationId,
    /// Display name.
    name: String,
    /// Whoever has its key sees event types with these feature flags.
    feature_flags: Vec<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Integration> for IntegrationOut {
    fn from(found: Integration) -> Self {
        let Integration { id, name, feature_flags, key: _, created_at, updated_at } = found;
        Self { id, name, feature_flags, created_at, updated_at }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IntegrationKeyOut")]
struct KeyOut {
    /// The key: a bearer token.
    key: String,
}

async fn find(api: &Api, caller: &Caller, (app, id): &IntegrationPath) -> Result<(Application, Integration)> {
    let app = api.store.application_for(caller, app).await?;
    let found = api.store.integration(app.id, *id).await?;
    Ok((app, found))
}

async fn list(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Query(Ascending(query)): Query<Ascending<IntegrationId>>,
    Path((app,)): Path<(AppRef,)>,
) -> ApiResult<Json<ListOut<IntegrationOut>>> {
    let app = api.store.application_for(&caller, &app).await?;
    let page = api.store.list_integrations(app.id, &query).await?;
    Ok(Json(ListOut::new(page, |found| found.id.to_string(), IntegrationOut::from)))
}

async fn create(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path((app,)): Path<(AppRef,)>,
    idempotent: Idempotent,
    body: Body<IntegrationIn>,
) -> ApiResult<Once<Created<IntegrationOut>>> {
    idempotent
        .once(&caller, async || {
            let app = api.store.application_for(&caller, &app).await?;
            let IntegrationIn { name, feature_flags } = body.read()?;
            Ok(Created(api.store.create_integration(&caller, &app, name, feature_flags).await?.into()))
        })
        .await
}

async fn read(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path(path): Path<IntegrationPath>,
) -> ApiResult<Json<IntegrationOut>> {
    let (_, found) = find(&api, &caller, &path).await?;
    Ok(Json(found.into()))
}

async fn replace(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path(path): Path<IntegrationPath>,
    body: Body<IntegrationUpdate>,
) -> ApiResult<Json<IntegrationOut>> {
    let replaced = api.store.retry_on_conflict(async || {
        let (app, old) = find(&api, &caller, &path).await?;
        let IntegrationUpdate(IntegrationIn { name, feature_flags }) = body.read()?;
        api.store.update_integration(&caller, &app, &old, name, feature_flags).await
    });
    Ok(Json(replaced.await?.into()))
}

async fn delete(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path(path): Path<IntegrationPath>,
) -> ApiResult<NoContent> {
    let deleted = api.store.retry_on_conflict(async || {
        let (app, old) = find(&api, &caller, &path).await?;
        let deleted = api.store.delete_integration(&caller, &app, &old).await?;
        Ok(deleted.then_some(NoContent))
    });
    Ok(deleted.await?)
}

async fn rotate(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path(path): Path<IntegrationPath>,
    idempotent: Idempotent,
) -> ApiResult<Once<Json<KeyOut>>> {
    idempotent
        .once(&caller, async || {
            let rotated = api.store.retry_on_conflict(async || {
                let (app, old) = find(&api, &caller, &path).await?;
                api.store.rotate_integration_key(&caller, &app, &old).await
            });
            Ok(Json(KeyOut { key: rotated.await?.text() }))
        })
        .await
}
