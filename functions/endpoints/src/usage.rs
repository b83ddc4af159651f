//! Usage statistics of a whole organisation, which run in the background.

use axum::extract::State;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::{Caller, Organisation};
use shared::clock::{DAY, Timestamp};
use shared::http::{
    Accepted, ApiResult, Body, BodyType, Fields, Idempotent, Once, Registry, RequestBody, Text,
};
use shared::ids::{AppId, NAME_LENGTH_MAX, Reference};
use shared::store::tasks::{Counting, Progress, Task, TaskFilter, TaskKind};
use shared::wire::TaskBegunOut;
use shared::{Error, Result};

use crate::Endpoints;

/// Most applications that a request names.
const APPS_MAX: usize = 100;
/// How many of them are looked up at a time.
const AT_ONCE: usize = 16;

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const TAG: &str = "Statistics";
    to.post("/api/v1/stats/usage/app", count_messages, |operation| {
        operation
            .named("v1.statistics.aggregate-app-stats", TAG)
            .summary("Count applications' messages")
            .text(
                "A background task counts each application's messages, once per endpoint that they were sent to. Its `data` has the counts when it is finished.",
            )
            .returns("The task.")
    })
    .put("/api/v1/stats/usage/event-types", find_event_types, |operation| {
        operation
            .named("v1.statistics.aggregate-event-types", TAG)
            .summary("Find out which event types are in use")
            .text(
                "A background task finds the event types that each application's endpoints are subscribed to. Its `data` has them when it is finished.",
            )
            .returns("The task.")
    })
}

/// Whose messages of which time are counted.
struct AppUsageStatsIn {
    since: Timestamp,
    until: Timestamp,
    apps: Option<Vec<String>>,
}

impl RequestBody for AppUsageStatsIn {
    type With = Timestamp;
    const TYPE: BodyType = BodyType::of::<Self>(
        "AppUsageStatsIn",
        &[
            (
                "since",
                "Only messages made at that time or later, at most 90 days ago, or as long as messages are kept.",
            ),
            ("until", "Only messages made up to that time."),
            (
                "appIds",
                "Only of these applications, by id or uid, up to 100. Of all if absent; the task fails if the result has more than 4 MiB.",
            ),
        ],
    );

    fn read(fields: &mut Fields<'_>, now: Timestamp) -> Self {
        let since = fields.required::<Timestamp>(&["since"]).unwrap_or(now);
        let until = fields.required::<Timestamp>(&["until"]).unwrap_or(now);
        if since > until || since > now {
            fields.violation("since", "Must not lie after `until`, nor in the future");
        }
        let apps = fields.list(&["appIds"], Text::Name(NAME_LENGTH_MAX), 1, APPS_MAX).value();
        Self { since, until, apps }
    }
}

/// A task that counts messages.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AppUsageStatsOut {
    #[serde(flatten)]
    task: TaskBegunOut,
    /// Those of `appIds` that were not found.
    unresolved_app_ids: Vec<String>,
}

async fn count_messages(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
    body: Body<AppUsageStatsIn>,
) -> ApiResult<Once<Accepted<AppUsageStatsOut>>> {
    idempotent
        .once(&caller, async || {
            let now = state.api.clock.now();
            let wanted = body.read_with(now)?;
            let days = state.api.store.retention().message_days();
            if now.since(wanted.since) > DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)) {
                let msg = format!("Must not lie more than {days} days back: messages are kept that long");
                return Err(Error::violation(["body", "since"], msg));
            }
            let (apps, unresolved_app_ids) = match wanted.apps {
                None => (None, Vec::new()),
                Some(names) => {
                    let (found, unknown) = state.resolve(&caller, names).await?;
                    if found.is_empty() {
                        return Err(Error::violation(
                            ["body", "appIds"],
                            "None of these applications exists",
                        ));
                    }
                    (Some(found), unknown)
                }
            };
            let filter = TaskFilter { apps, ..TaskFilter::default() };
            let task = state.usage_task(&caller, TaskKind::AppStats, (wanted.since, wanted.until), filter);
            state.intake.begin_task(&caller, &task).await?;
            Ok(Accepted(AppUsageStatsOut { task: (&task).into(), unresolved_app_ids }))
        })
        .await
}

async fn find_event_types(
    State(state): State<Endpoints>,
    Organisation(caller): Organisation,
) -> ApiResult<Accepted<TaskBegunOut>> {
    let now = state.api.clock.now();
    let task = state.usage_task(&caller, TaskKind::EventTypeUsage, (now, now), TaskFilter::default());
    state.intake.begin_task(&caller, &task).await?;
    Ok(Accepted((&task).into()))
}

impl Endpoints {
    /// The applications of these names, in the order of their ids, and the names that none has.
    async fn resolve(&self, caller: &Caller, names: Vec<String>) -> Result<(Vec<AppId>, Vec<String>)> {
        let found: Vec<(String, Option<AppId>)> = stream::iter(names)
            .map(async |name| {
                let Some(reference) = Reference::parse(&name) else { return Ok((name, None)) };
                match self.api.store.application_for(caller, &reference).await {
                    Ok(app) => Ok((name, Some(app.id))),
                    Err(Error::NotFound(_)) => Ok((name, None)),
                    Err(error) => Err(error),
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let (mut apps, mut unknown) = (Vec::new(), Vec::new());
        for (name, app) in found {
            match app {
                Some(app) => apps.push(app),
                None => unknown.push(name),
            }
        }
        apps.sort_unstable();
        apps.dedup();
        Ok((apps, unknown))
    }

    fn usage_task(
        &self,
        caller: &Caller,
        kind: TaskKind,
        (since, until): (Timestamp, Timestamp),
        filter: TaskFilter,
    ) -> Task {
        let now = self.api.clock.now();
        Task {
            org: caller.org(),
            id: self.api.store.new_id(now),
            kind,
            app: None,
            endpoint: None,
            since,
            until,
            filter,
            step: 0,
            progress: Progress::Count(Counting::default()),
            finished: false,
            failure: None,
            updated_at: now,
        }
    }
}
