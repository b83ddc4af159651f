//! Connectors: what an organisation offers its customers when they make an endpoint.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Authenticated, Caller, Organisation};
use shared::clock::Timestamp;
use shared::connector::PRODUCT;
use shared::error::{Violation, ViolationKind, unavailable};
use shared::http::{
    ApiResult, Body, ConnectorRef, Created, Cursor, Either, Idempotent, Json, ListOut, ListQuery, NoContent,
    Once, Order, Page, Path, Query, QueryParams, RawQuery, Registry,
};
use shared::ids::{ConnectorId, OrgId, Reference};
use shared::store::Store;
use shared::store::connectors::{Connector, ConnectorSettings};
use shared::transformation::{Batch, Outcome, RUNS_MAX, Run, explained};
use shared::{Api, Error, Result};

use crate::EventTypes;
use crate::connector_in::{ConnectorIn, ConnectorPatch, ConnectorUpsertIn};

const TAG: &str = "Connector";
/// How many are read at once: each may have 350 KB.
const PAGE: usize = 10;
/// How long one request begins checks of code: the last may take four and a half seconds, and an invocation has 29.
const CHECKS_MAX: Duration = Duration::from_secs(20);
/// Most connectors that one request looks through.
const LISTED_MAX: usize = 10_000;

/// Adds the operations of this module.
pub fn operations<R: Registry<EventTypes>>(to: R) -> R {
    const ALL: &str = "/api/v1/connector";
    const ONE: &str = "/api/v1/connector/{connector_id}";
    to.get(ALL, list, |operation| {
        operation
            .named("v1.connector.list", TAG)
            .summary("List connectors")
            .text("Applications see those without feature flags, and those with a flag of their token.")
            .returns("A page of connectors.")
    })
    .post(ALL, create, |operation| {
        operation
            .named("v1.connector.create", TAG)
            .summary("Create a connector")
            .text("The portal offers it to customers who make an endpoint.")
            .returns("The new connector.")
    })
    .get(ONE, read, |operation| {
        operation.named("v1.connector.get", TAG).summary("Get a connector").returns("The connector.")
    })
    .put(ONE, replace, |operation| {
        operation
            .named("v1.connector.upsert", TAG)
            .summary("Replace a connector, or create it")
            .text(
                "If the path names a uid that no connector has, one is created. Endpoints that were made with it stay as they are.",
            )
            .returns("The changed connector.")
            .returns("The new connector.")
    })
    .patch(ONE, patch, |operation| {
        operation
            .named("v1.connector.patch", TAG)
            .summary("Change a connector")
            .text("Fields that the body leaves out are unchanged; `null` clears a field.")
            .returns("The changed connector.")
    })
    .delete(ONE, delete, |operation| {
        operation
            .named("v1.connector.delete", TAG)
            .summary("Delete a connector")
            .text("Endpoints that were made with it stay as they are.")
            .returns("Deleted.")
    })
}

/// A connector as responses show it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorOut {
    id: ConnectorId,
    /// The organisation.
    org_id: OrgId,
    /// The ID that its organisation chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// The service that it is for.
    kind: String,
    /// Display name.
    name: String,
    /// Where its picture is.
    #[serde(skip_serializing_if = "Option::is_none")]
    logo: Option<String>,
    /// What it is for.
    description: String,
    /// Markdown: how to set it up.
    instructions: String,
    /// The only event types that an endpoint made with it may choose; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_event_types: Option<Vec<String>>,
    /// The code that such an endpoint's transformation begins with.
    transformation: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// When the code was changed last.
    transformation_updated_at: Timestamp,
    /// Applications see it only if their token has one of these flags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    feature_flags: Vec<String>,
    /// Always `Dispatch`.
    product_type: &'static str,
}

impl ConnectorOut {
    /// A connector of `org`.
    pub fn new(org: OrgId, found: Connector) -> Self {
        let Connector { id, settings, created_at, updated_at, transformation_updated_at } = found;
        Self {
            id,
            org_id: org,
            uid: settings.uid,
            kind: settings.kind,
            name: settings.name,
            logo: settings.logo,
            description: settings.description,
            instructions: settings.instructions,
            allowed_event_types: settings.allowed_event_types,
            transformation: settings.transformation,
            created_at,
            updated_at,
            transformation_updated_at,
            feature_flags: settings.feature_flags,
            product_type: PRODUCT,
        }
    }
}

/// What a list is asked for.
struct ListParams {
    list: ListQuery<ConnectorId>,
    /// Connectors of streams, of which there are none.
    of_streams: bool,
}

impl QueryParams for ListParams {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        let product = query.choice("product_type", &[(PRODUCT, false), ("Stream", true)])?;
        Ok(Self { list: query.list(Order::Ascending)?, of_streams: product.unwrap_or(false) })
    }
}

/// One piece of code that is to be checked, and where the request has it.
struct Code {
    at: Vec<String>,
    text: String,
}

impl Code {
    fn broken(self, error: &str, line: Option<u32>) -> Violation {
        Violation { loc: self.at, msg: explained(error, line), kind: ViolationKind::ValueError }
    }
}

/// What is known of several codes.
#[derive(Default)]
struct Checks {
    /// Those that have yet to be looked at.
    left: VecDeque<Code>,
    broken: Vec<Violation>,
}

impl Checks {
    /// The next that are asked about at once; none once all is known. What is broken is reported before the function
    /// is asked again for what it had no time for.
    fn next(&self, had_time: bool) -> Option<Batch> {
        if self.left.is_empty() || !had_time && !self.broken.is_empty() {
            return None;
        }
        let codes: Vec<String> = self.left.iter().take(RUNS_MAX).map(|code| code.text.clone()).collect();
        let runs = (0..codes.len()).map(|code| Run { code, webhook: None }).collect();
        Some(Batch { codes, runs })
    }

    /// Takes the outcomes of a batch: what is for later is asked about again. Whether there was time for all.
    ///
    /// # Errors
    /// `Unavailable`: there was time for none.
    fn take(&mut self, outcomes: Vec<Outcome>) -> Result<bool> {
        let asked = self.left.len();
        let mut later = VecDeque::new();
        for outcome in outcomes {
            let Some(code) = self.left.pop_front() else { break };
            match outcome {
                Outcome::Failed { error, line } => self.broken.push(code.broken(&error, line)),
                Outcome::Later => later.push_back(code),
                Outcome::Checked | Outcome::Send(_) | Outcome::Cancel => {}
            }
        }
        let had_time = later.is_empty();
        later.append(&mut self.left);
        self.left = later;
        if self.left.len() == asked {
            return Err(unavailable("check a connector's code")("the function had no time for it"));
        }
        Ok(had_time)
    }
}

/// What an import makes of one connector.
pub struct Change {
    /// The connector that it changes; a new one if there is none.
    id: Option<ConnectorId>,
    wanted: ConnectorSettings,
}

impl EventTypes {
    /// Runs each once, without calling its `handler`.
    ///
    /// # Errors
    /// `Invalid` where one cannot be run; `LimitReached` where it takes too long to run all of them; `Unavailable` where
    /// the function that runs code is not reached.
    async fn check(&self, codes: Vec<Code>) -> Result<()> {
        let mut checks = Checks { left: codes.into(), broken: Vec::new() };
        let (begun, mut had_time) = (self.api.clock.now(), true);
        while let Some(batch) = checks.next(had_time) {
            if self.api.clock.now().since(begun) > CHECKS_MAX && checks.broken.is_empty() {
                let msg =
                    "The code of these connectors takes too long to check: import fewer by one request.";
                return Err(Error::LimitReached(msg.to_owned()));
            }
            had_time = checks.take(self.transformer.run(&batch).await?)?;
        }
        if checks.broken.is_empty() { Ok(()) } else { Err(Error::Invalid(checks.broken)) }
    }

    /// Checks the code of a body that is to be kept, unless it is `old`.
    async fn check_new(&self, code: &str, old: Option<&Connector>) -> Result<()> {
        if old.is_some_and(|old| old.settings.transformation == code) {
            return Ok(());
        }
        let at = ["body", "transformation"].map(str::to_owned).into();
        self.check(vec![Code { at, text: code.to_owned() }]).await
    }

    /// What has to change for `wanted` to be there: a connector of that uid or, without a uid, of that name. Nothing
    /// is changed yet, but all code was checked.
    ///
    /// # Errors
    /// As [`EventTypes::check`]; the store's own.
    pub async fn plan(&self, caller: &Caller, wanted: Vec<ConnectorSettings>) -> Result<Vec<Change>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut left: VecDeque<(usize, ConnectorSettings)> = wanted.into_iter().enumerate().collect();
        let (mut changes, mut codes) = (Vec::new(), Vec::new());
        let code = |nth: usize, wanted: &ConnectorSettings| Code {
            at: vec!["body".into(), "connectors".into(), nth.to_string(), "transformation".into()],
            text: wanted.transformation.clone(),
        };
        each(&self.api.store, caller.org(), |old| {
            let is_it = |wanted: &ConnectorSettings| {
                wanted.uid == old.settings.uid && (wanted.uid.is_some() || wanted.name == old.settings.name)
            };
            let at = left.iter().position(|(_, wanted)| is_it(wanted));
            let Some((nth, wanted)) = at.and_then(|at| left.remove(at)) else { return Ok(()) };
            if wanted.transformation != old.settings.transformation {
                codes.push(code(nth, &wanted));
            }
            if wanted != old.settings {
                changes.push(Change { id: Some(old.id), wanted });
            }
            Ok(())
        })
        .await?;
        codes.extend(left.iter().map(|(nth, wanted)| code(*nth, wanted)));
        changes.extend(left.into_iter().map(|(_, wanted)| Change { id: None, wanted }));
        self.check(codes).await?;
        Ok(changes)
    }

    /// Makes the changes of a plan.
    ///
    /// # Errors
    /// `Conflict` where somebody else took a uid meanwhile; the store's own.
    pub async fn carry_out(&self, caller: &Caller, changes: Vec<Change>) -> Result<()> {
        let store = &self.api.store;
        for Change { id, wanted } in changes {
            let changed = store.retry_on_conflict(async || {
                let old = match id {
                    Some(id) => store.connector_for(caller, &Reference::Id(id)).await,
                    None => Err(Error::NotFound("Connector")),
                };
                match old {
                    Ok(old) => store.update_connector(caller, &old, wanted.clone()).await,
                    Err(Error::NotFound(_)) => store.create_connector(caller, wanted.clone()).await.map(Some),
                    Err(error) => Err(error),
                }
            });
            changed.await?;
        }
        Ok(())
    }
}

/// Shows every connector of an organisation to `look`, the oldest first.
///
/// # Errors
/// `LimitReached` if there are too many for one request; those of `look`.
pub async fn each(store: &Store, org: OrgId, mut look: impl FnMut(Connector) -> Result<()>) -> Result<()> {
    let mut seen = 0;
    let mut query = ListQuery { limit: PAGE, cursor: Cursor::Start, order: Order::Ascending };
    loop {
        let page = store.list_connectors(org, &query, |_| true).await?;
        seen += page.entries.len();
        let last = page.entries.last().map(|last| last.id);
        page.entries.into_iter().try_for_each(&mut look)?;
        match last {
            Some(last) if !page.done => query.cursor = Cursor::Behind(last),
            _ => return Ok(()),
        }
        if seen > LISTED_MAX {
            let msg = format!("One request looks through at most {LISTED_MAX} connectors.");
            return Err(Error::LimitReached(msg));
        }
    }
}

async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Query(ListParams { list, of_streams }): Query<ListParams>,
) -> ApiResult<Json<ListOut<ConnectorOut>>> {
    let page = if of_streams {
        Page::of(&list, Vec::new(), true, None)
    } else {
        let visible = |found: &Connector| found.visible_to(&caller);
        let page = api.store.list_connectors(caller.org(), &list, visible).await?;
        page.fit(list.is_backward(), Connector::length)
    };
    Ok(Json(ListOut::new(page, |found| found.id.to_string(), |found| ConnectorOut::new(caller.org(), found))))
}

async fn create(
    State(state): State<EventTypes>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
    body: Body<ConnectorIn>,
) -> ApiResult<Once<Created<ConnectorOut>>> {
    idempotent
        .once(&caller, async || {
            let ConnectorIn(settings) = body.read()?;
            state.check_new(&settings.transformation, None).await?;
            let made = state.api.store.create_connector(&caller, settings).await?;
            Ok(Created(ConnectorOut::new(caller.org(), made)))
        })
        .await
}

async fn read(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path((reference,)): Path<(ConnectorRef,)>,
) -> ApiResult<Json<ConnectorOut>> {
    let found = api.store.connector_for(&caller, &reference).await?;
    Ok(Json(ConnectorOut::new(caller.org(), found)))
}

async fn replace(
    State(state): State<EventTypes>,
    Organisation(caller): Organisation,
    Path((reference,)): Path<(ConnectorRef,)>,
    body: Body<ConnectorUpsertIn>,
) -> ApiResult<Either<Json<ConnectorOut>, Created<ConnectorOut>>> {
    let ConnectorUpsertIn(settings) = body.read()?;
    let (store, org) = (&state.api.store, caller.org());
    let replaced = store.retry_on_conflict(async || {
        let old = match (store.connector_for(&caller, &reference).await, &reference) {
            (Ok(old), _) => old,
            // Named by a uid that nothing has yet: this makes it.
            (Err(Error::NotFound(_)), Reference::Uid(uid)) => {
                state.check_new(&settings.transformation, None).await?;
                let settings = ConnectorSettings { uid: Some(uid.clone()), ..settings.clone() };
                return match store.create_connector(&caller, settings).await {
                    // Somebody else made it between the look and the write.
                    Err(Error::Conflict(_)) => Ok(None),
                    made => Ok(Some(Either::Second(Created(ConnectorOut::new(org, made?))))),
                };
            }
            (Err(error), _) => return Err(error),
        };
        state.check_new(&settings.transformation, Some(&old)).await?;
        let new = store.update_connector(&caller, &old, settings.clone()).await?;
        Ok(new.map(|new| Either::First(Json(ConnectorOut::new(org, new)))))
    });
    Ok(replaced.await?)
}

async fn patch(
    State(state): State<EventTypes>,
    Organisation(caller): Organisation,
    Path((reference,)): Path<(ConnectorRef,)>,
    body: Body<ConnectorPatch>,
) -> ApiResult<Json<ConnectorOut>> {
    let store = &state.api.store;
    let patched = store.retry_on_conflict(async || {
        let old = store.connector_for(&caller, &reference).await?;
        let settings = body.read()?.over(old.settings.clone());
        state.check_new(&settings.transformation, Some(&old)).await?;
        store.update_connector(&caller, &old, settings).await
    });
    Ok(Json(ConnectorOut::new(caller.org(), patched.await?)))
}

async fn delete(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    Path((reference,)): Path<(ConnectorRef,)>,
) -> ApiResult<NoContent> {
    let deleted = api.store.retry_on_conflict(async || {
        let old = api.store.connector_for(&caller, &reference).await?;
        let deleted = api.store.delete_connector(&caller, &old).await?;
        Ok(deleted.then_some(NoContent))
    });
    Ok(deleted.await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(count: usize) -> Checks {
        let code = |nth: usize| Code { at: vec![nth.to_string()], text: nth.to_string() };
        Checks { left: (0..count).map(code).collect(), ..Checks::default() }
    }

    fn asked(checks: &Checks, had_time: bool) -> Vec<String> {
        checks.next(had_time).map(|batch| batch.codes).unwrap_or_default()
    }

    #[test]
    fn what_there_was_no_time_for_is_asked_again() {
        let mut checks = checks(12);
        assert_eq!(asked(&checks, true).len(), RUNS_MAX);
        // Each time there is time for four.
        let slow = |batch: &[String]| -> Vec<Outcome> {
            let outcome = |nth: usize| if nth < 4 { Outcome::Checked } else { Outcome::Later };
            (0..batch.len()).map(outcome).collect()
        };
        assert!(!checks.take(slow(&asked(&checks, true))).unwrap());
        assert_eq!(asked(&checks, false), ["4", "5", "6", "7", "8", "9", "10", "11"]);
        assert!(!checks.take(slow(&asked(&checks, false))).unwrap());
        assert_eq!(asked(&checks, false), ["8", "9", "10", "11"]);
        assert!(checks.take(slow(&asked(&checks, false))).unwrap());
        assert!(asked(&checks, true).is_empty() && checks.broken.is_empty());
    }

    #[test]
    fn what_is_broken_is_said_before_anything_is_asked_again() {
        let mut checks = checks(12);
        let mut outcomes = vec![Outcome::failed("no handler"), Outcome::Checked];
        outcomes.resize_with(RUNS_MAX, || Outcome::Later);
        let had_time = checks.take(outcomes).unwrap();
        assert!(asked(&checks, had_time).is_empty());
        assert_eq!(checks.broken.len(), 1);
        assert_eq!(
            (checks.broken[0].loc.as_slice(), checks.broken[0].msg.as_str()),
            (&["0".to_owned()][..], "no handler")
        );
        // Where there was time for all, the others are looked at, too.
        assert_eq!(asked(&checks, true).len(), RUNS_MAX);
        // A function that never has time is not asked for ever.
        let none = (0..RUNS_MAX).map(|_| Outcome::Later).collect();
        assert!(matches!(checks.take(none), Err(Error::Unavailable { .. })));
    }
}
