//! Applications: one for each customer of an organisation.

mod integrations;

use axum::Router;
use axum::extract::State;
use futures_util::{StreamExt as _, TryStreamExt as _};
use shared::auth::{Authenticated, Caller, Organisation};
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env};
use shared::http::{
    ApiResult, AppRef, Body, Created, Cursor, Document, Either, Idempotent, Json, ListOut, ListQuery,
    NoContent, Once, Order, Page, Path, Query, QueryParams, RawQuery, Registry,
};
use shared::ids::{AppId, OrgId, Reference};
use shared::store::applications::{ApplicationSettings, Profile};
use shared::store::endpoints::Standing;
use shared::wire::{ApplicationIn, ApplicationOut, ApplicationPatch};
use shared::{Api, Error, Platform, Result};

/// The routes of this function.
///
/// # Errors
/// A setting is missing or makes no sense.
pub fn router(env: &Env<'_>, platform: &Platform) -> Result<Router, ConfigError> {
    Ok(shared::http::finish(operations(Router::new()), Api::connect(env, platform)?))
}

/// Adds this function's operations to `document`.
#[must_use]
pub fn describe(document: Document) -> Document {
    operations(document)
}

fn operations<R: Registry<Api>>(to: R) -> R {
    integrations::operations(of_applications(to))
}

fn of_applications<R: Registry<Api>>(to: R) -> R {
    const TAG: &str = "Application";
    const ALL: &str = "/api/v1/app";
    const ONE: &str = "/api/v1/app/{app_id}";
    to.get(ALL, list, |operation| {
        operation
            .named("v1.application.list", TAG)
            .summary("List applications")
            .returns("A page of applications.")
    })
    .post(ALL, create, |operation| {
        operation
            .named("v1.application.create", TAG)
            .summary("Create an application")
            .returns("The application that has this uid already.")
            .returns("The new application.")
    })
    .get(ONE, read, |operation| {
        operation.named("v1.application.get", TAG).summary("Get an application").returns("The application.")
    })
    .put(ONE, replace, |operation| {
        operation
            .named("v1.application.update", TAG)
            .summary("Replace an application, or create it")
            .text("If the path names a uid that no application has, one is created.")
            .returns("The changed application.")
            .returns("The new application.")
    })
    .patch(ONE, patch, |operation| {
        operation
            .named("v1.application.patch", TAG)
            .summary("Change an application")
            .text("Fields that the body leaves out are unchanged; `null` clears a field.")
            .returns("The changed application.")
    })
    .delete(ONE, delete, |operation| {
        operation
            .named("v1.application.delete", TAG)
            .summary("Delete an application")
            .text("Nothing is delivered to its endpoints any more, and its uid can be used again.")
            .returns("Deleted.")
    })
}

/// Whether an application that has the uid already is the response.
struct GetIfExists(bool);

impl QueryParams for GetIfExists {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        query.flag("get_if_exists", false).map(Self)
    }
}

/// Most applications whose endpoints one request looks at; one that finds too few answers with what it
/// has and an iterator to go on with.
const JOINED_MAX: usize = 500;
/// How many of them it looks at at a time.
const JOINED_AT_ONCE: usize = 16;

/// What a list is asked for.
struct ListParams {
    list: ListQuery<AppId>,
    without_endpoints: bool,
    with_disabled_ones_only: bool,
}

impl QueryParams for ListParams {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        let list = query.list(Order::Ascending)?;
        let without_endpoints = !query.flag("exclude_apps_with_no_endpoints", false)?;
        let with_disabled_ones_only = !query.flag("exclude_apps_with_disabled_endpoints", false)?;
        // Nobody's endpoints are such.
        query.flag("exclude_apps_with_svix_play_endpoints", false)?;
        Ok(Self { list, without_endpoints, with_disabled_ones_only })
    }
}

impl ListParams {
    const fn holds(&self, standing: Standing) -> bool {
        match standing {
            Standing::Works => true,
            Standing::Disabled => self.with_disabled_ones_only,
            Standing::None => self.without_endpoints,
        }
    }
}

async fn create(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Query(GetIfExists(get_if_exists)): Query<GetIfExists>,
    idempotent: Idempotent,
    body: Body<ApplicationIn>,
) -> ApiResult<Once<Either<Json<ApplicationOut>, Created<ApplicationOut>>>> {
    idempotent
        .once(&caller, async || {
            let ApplicationIn(settings) = body.read()?;
            let uid = settings.uid.clone().filter(|_| get_if_exists);
            if let Some(found) = existing(&api, &caller, uid.as_deref()).await? {
                return Ok(Either::First(Json(found.into())));
            }
            match api.store.create_application(&caller, settings).await {
                Ok((_, profile)) => Ok(Either::Second(Created(profile.into()))),
                // Somebody else made it between the look and the write.
                Err(Error::Conflict(text)) => match existing(&api, &caller, uid.as_deref()).await? {
                    Some(found) => Ok(Either::First(Json(found.into()))),
                    None => Err(Error::Conflict(text)),
                },
                Err(error) => Err(error),
            }
        })
        .await
}

async fn existing(api: &Api, caller: &Caller, uid: Option<&str>) -> Result<Option<Profile>> {
    let Some(uid) = uid else { return Ok(None) };
    match api.store.application_for(caller, &Reference::Uid(uid.to_owned())).await {
        Ok(app) => api.store.profile(&app).await.map(Some),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn list(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Query(wanted): Query<ListParams>,
) -> ApiResult<Json<ListOut<ApplicationOut>>> {
    let page = page(&api, caller.org(), &wanted).await?;
    Ok(Json(ListOut::new(page, |profile| profile.id.to_string(), ApplicationOut::from)))
}

/// One page of applications, of those whose endpoints stand as they are to.
async fn page(api: &Api, org: OrgId, wanted: &ListParams) -> Result<Page<Profile>> {
    let asked = &wanted.list;
    if wanted.without_endpoints && wanted.with_disabled_ones_only {
        return api.store.list_applications(org, asked).await;
    }
    let backward = asked.is_backward();
    let (mut query, mut entries, mut joined) = (asked.clone(), Vec::new(), 0);
    loop {
        let mut page = api.store.list_applications(org, &query).await?;
        if backward {
            page.entries.reverse();
        }
        let looked_at: Vec<(Profile, Standing)> = futures_util::stream::iter(page.entries)
            .map(async |profile| {
                let standing = api.store.endpoints_standing(profile.id).await?;
                Ok::<_, Error>((profile, standing))
            })
            .buffered(JOINED_AT_ONCE)
            .try_collect()
            .await?;
        joined += looked_at.len();
        let last = looked_at.last().map(|(profile, _)| profile.id);
        entries.extend(
            looked_at.into_iter().filter(|(_, standing)| wanted.holds(*standing)).map(|(app, _)| app),
        );
        match last {
            Some(last) if !page.done && joined < JOINED_MAX && entries.len() <= asked.limit => {
                query.cursor = if backward { Cursor::Before(last) } else { Cursor::Behind(last) };
            }
            last => return Ok(Page::of(asked, entries, page.done, last.map(|id| id.to_string()))),
        }
    }
}

async fn read(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path((app,)): Path<(AppRef,)>,
) -> ApiResult<Json<ApplicationOut>> {
    let app = api.store.application_for(&caller, &app).await?;
    Ok(Json(api.store.profile(&app).await?.into()))
}

async fn replace(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path((reference,)): Path<(AppRef,)>,
    body: Body<ApplicationIn>,
) -> ApiResult<Either<Json<ApplicationOut>, Created<ApplicationOut>>> {
    let ApplicationIn(settings) = body.read()?;
    let settings = ApplicationSettings { uid: reference.uid_of_put(settings.uid.as_ref()), ..settings };
    let replaced = api.store.retry_on_conflict(async || {
        let app = match (api.store.application_for(&caller, &reference).await, &reference) {
            (Ok(app), _) => app,
            // Named by a uid that nothing has yet: this makes it. The body may give another uid.
            (Err(Error::NotFound(_)), Reference::Uid(_)) => {
                let (_, profile) = api.store.create_application(&caller, settings.clone()).await?;
                return Ok(Some(Either::Second(Created(profile.into()))));
            }
            (Err(error), _) => return Err(error),
        };
        let old = api.store.profile(&app).await?;
        let new = api.store.update_application(&caller, &app, &old, settings.clone()).await?;
        Ok(new.map(|new| Either::First(Json(new.into()))))
    });
    Ok(replaced.await?)
}

async fn patch(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path((reference,)): Path<(AppRef,)>,
    body: Body<ApplicationPatch>,
) -> ApiResult<Json<ApplicationOut>> {
    let patched = api.store.retry_on_conflict(async || {
        let app = api.store.application_for(&caller, &reference).await?;
        let old = api.store.profile(&app).await?;
        let ApplicationPatch(settings) = body.read_with(old.settings.clone())?;
        api.store.update_application(&caller, &app, &old, settings).await
    });
    Ok(Json(patched.await?.into()))
}

async fn delete(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path((reference,)): Path<(AppRef,)>,
) -> ApiResult<NoContent> {
    let deleted = api.store.retry_on_conflict(async || {
        let app = api.store.application_for(&caller, &reference).await?;
        let profile = api.store.profile(&app).await?;
        let deleted = api.store.delete_application(&caller, &app, &profile).await?;
        Ok(deleted.then_some(NoContent))
    });
    Ok(deleted.await?)
}
