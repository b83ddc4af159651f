//! Applications: one for each customer of an organisation.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode, Uri};
use shared::auth::Caller;
use shared::config::{ConfigError, Env};
use shared::http::{
    Body, Fields, IdempotencyKey, ListOut, ListQuery, Order, Query, idempotent, json, reference,
};
use shared::ids::{AppId, Reference};
use shared::store::applications::Application;
use shared::wire::{ApplicationIn, ApplicationOut};
use shared::{Api, Error, Platform, Result};

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    let routes = Router::new()
        .route("/api/v1/app", get(list).post(create))
        .route("/api/v1/app/{app_id}", get(read).put(replace).patch(patch).delete(delete));
    Ok(shared::http::finish(routes, platform.api(env)?))
}

async fn create(
    State(api): State<Api>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
    let key = IdempotencyKey::read(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let get_if_exists = query.flag("get_if_exists", false)?;
        let settings = ApplicationIn::parse(Fields::parse(&body.0)?)?;
        let uid = settings.uid.clone().filter(|_| get_if_exists);
        if let Some(found) = existing(&api, &caller, uid.as_deref()).await? {
            return Ok(json(StatusCode::OK, &ApplicationOut::from(found)));
        }
        match api.store.create_application(&caller, settings).await {
            Ok(app) => Ok(json(StatusCode::CREATED, &ApplicationOut::from(app))),
            // Somebody else made it between the look and the write.
            Err(Error::Conflict(text)) => match existing(&api, &caller, uid.as_deref()).await? {
                Some(found) => Ok(json(StatusCode::OK, &ApplicationOut::from(found))),
                None => Err(Error::Conflict(text)),
            },
            Err(error) => Err(error),
        }
    })
    .await)
}

async fn existing(api: &Api, caller: &Caller, uid: Option<&str>) -> Result<Option<Application>> {
    let Some(uid) = uid else { return Ok(None) };
    match api.store.application_id(caller.org(), uid).await? {
        Some(id) => api.store.find_application(caller.org(), id).await,
        None => Ok(None),
    }
}

async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Result<Response> {
    let org = caller.organisation_only()?;
    let query = ListQuery::<AppId>::read(&query, Order::Ascending)?;
    let page = api.store.list_applications(org, &query).await?;
    Ok(json(StatusCode::OK, &ListOut::new(page, |app| app.id.to_string(), ApplicationOut::from)))
}

async fn read(State(api): State<Api>, caller: Caller, Path(app): Path<String>) -> Result<Response> {
    let app = api.store.application_for(&caller, &reference(&app, "Application")?).await?;
    Ok(json(StatusCode::OK, &ApplicationOut::from(app)))
}

async fn replace(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<String>,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
    let settings = ApplicationIn::parse(Fields::parse(&body.0)?)?;
    let reference = reference(&app, "Application")?;
    loop {
        let old = match (api.store.application_for(&caller, &reference).await, &reference) {
            (Ok(old), _) => old,
            // Named by a uid that nothing has yet: this makes it. The body may give another uid.
            (Err(Error::NotFound(_)), Reference::Uid(uid)) => {
                let uid = settings.uid.clone().or_else(|| Some(uid.clone()));
                let app = api.store.create_application(
                    &caller,
                    shared::store::applications::ApplicationSettings { uid, ..settings },
                );
                return Ok(json(StatusCode::CREATED, &ApplicationOut::from(app.await?)));
            }
            (Err(error), _) => return Err(error),
        };
        if let Some(new) = api.store.update_application(&caller, &old, settings.clone()).await? {
            return Ok(json(StatusCode::OK, &ApplicationOut::from(new)));
        }
    }
}

async fn patch(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<String>,
    body: Body,
) -> Result<Response> {
    caller.organisation_only()?;
    let reference = reference(&app, "Application")?;
    // Each turn means that somebody else's change came first, so this ends.
    loop {
        let old = api.store.application_for(&caller, &reference).await?;
        let settings = ApplicationIn::patch(Fields::parse(&body.0)?, old.settings.clone())?;
        if let Some(new) = api.store.update_application(&caller, &old, settings).await? {
            return Ok(json(StatusCode::OK, &ApplicationOut::from(new)));
        }
    }
}

async fn delete(State(api): State<Api>, caller: Caller, Path(app): Path<String>) -> Result<StatusCode> {
    caller.organisation_only()?;
    let app = api.store.application_for(&caller, &reference(&app, "Application")?).await?;
    api.store.delete_application(&caller, &app).await?;
    Ok(StatusCode::NO_CONTENT)
}
