//! How an endpoint's deliveries stand.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Authenticated;
use shared::clock::Timestamp;
use shared::http::{ApiResult, AppRef, Json, Path, Query, QueryParams, RawQuery, Registry};
use shared::limits::FUTURE_MAX;
use shared::store::stats::{Counts, MINUTE_MS, Work};
use shared::{Error, Result};

use crate::{EndpointPath, Endpoints, TAG};

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    const SERIES_SINCE: &str = "Start of the window: a time in the first hour or day; 24 hours before `until` if absent. At most 28 days before it, or 7 days per hour.";
    const SERIES_UNTIL: &str = "End of the window, exclusive; now if absent.";
    const SERIES_BUCKET: &str = "How long a point is: `hour`, which it is if absent, or `day`, in UTC.";
    to.get("/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats", get, |operation| {
        operation
            .named("v1.endpoint.get-stats", TAG)
            .summary("Get an endpoint's delivery statistics")
            .text("By the time of their messages, in a window of at most 28 days.")
            .parameter("since", "Start of the window, inclusive; 28 days before `until` if absent.")
            .parameter("until", "End of the window, exclusive; now if absent.")
            .returns("The counts.")
    })
    .get("/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats/series", endpoint_series, |operation| {
        operation
            .named("v1.endpoint.get-stats-series", TAG)
            .summary("Get an endpoint's delivery statistics per hour or day")
            .text("By the time of their messages. If there is much to count for the first time, retry after a 503: what was counted is kept.")
            .parameter("since", SERIES_SINCE)
            .parameter("until", SERIES_UNTIL)
            .parameter("bucket", SERIES_BUCKET)
            .returns("The counts.")
    })
    .get("/api/v1/app/{app_id}/stats/series", application_series, |operation| {
        operation
            .named("v1.application.get-stats-series", "Application")
            .summary("Get an application's delivery statistics per hour or day")
            .text("The sum over all endpoints that the application has now, for up to 500 endpoints.")
            .parameter("since", SERIES_SINCE)
            .parameter("until", SERIES_UNTIL)
            .parameter("bucket", SERIES_BUCKET)
            .returns("The counts.")
    })
}

/// The longest window, and the one where no beginning is given.
const WINDOW: Duration = Duration::from_secs(28 * 24 * 3600);
/// What counting may take of the function's 29 seconds: others wait as well.
const WORK_MAX: Duration = Duration::from_secs(5);
const HOUR_MS: u64 = 3_600_000;
/// The window of a series where no beginning is given.
const SERIES_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// The longest window of a series by the hour.
const HOURS_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
/// Endpoints whose counts are summed up.
const ENDPOINTS_MAX: usize = 500;
/// Endpoints whose counts are read at a time.
const AT_ONCE: usize = 8;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndpointStats")]
pub struct StatsOut {
    success: u64,
    pending: u64,
    sending: u64,
    fail: u64,
    /// Always 0: what a transformation cancelled is counted as a success.
    canceled: u64,
}

impl From<Counts> for StatsOut {
    fn from(Counts { success, pending, fail, sending }: Counts) -> Self {
        Self { success, pending, sending, fail, canceled: 0 }
    }
}

/// A window that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    since: Timestamp,
    until: Timestamp,
}

impl QueryParams for Window {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        let (since, until) = (query.time("since")?, query.time("until")?);
        let refuse = |name, msg: &str| Err(Error::violation(["query", name], msg));
        if until.is_some_and(|until| until > now.after(FUTURE_MAX)) {
            return refuse("until", "Must not lie more than one hour in the future");
        }
        let until = until.unwrap_or(now);
        let since = match since {
            Some(since) => since,
            // From a whole minute on: a part of one is counted anew each time.
            None => Timestamp::from_ms(until.before(WINDOW).ms().div_ceil(MINUTE_MS) * MINUTE_MS).min(until),
        };
        if since > until {
            return refuse("since", "Must not lie after the end of the window");
        }
        if until.since(since) > WINDOW {
            // As other servers of this API answer, and their clients expect.
            let text = "The query parameter `since` must lie at most 28 days before the end of the window.";
            return Err(Error::BadRequest(text.into()));
        }
        Ok(Self { since, until })
    }
}

pub async fn get(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Query(Window { since, until }): Query<Window>,
    Path(path): Path<EndpointPath>,
) -> ApiResult<Json<StatsOut>> {
    let work = Work::until(state.api.clock.now().after(WORK_MAX));
    let (_, endpoint) = state.find(&caller, &path).await?;
    let counts = state.api.store.endpoint_stats(endpoint.id, since, until, &work).await?;
    Ok(Json(counts.into()))
}

/// How long a point of a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "StatsBucket")]
pub enum Bucket {
    Hour,
    Day,
}

impl Bucket {
    const fn hours(self) -> u64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
        }
    }
}

/// A series that is asked for: buckets from the first inclusive to the second exclusive.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    bucket: Bucket,
    first: u64,
    last: u64,
}

/// Whole buckets, the first one that with `since` in it.
impl QueryParams for Series {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        let bucket = query.choice("bucket", &[("hour", Bucket::Hour), ("day", Bucket::Day)])?;
        let bucket = bucket.unwrap_or(Bucket::Hour);
        let (since, until) = (query.time("since")?, query.time("until")?);
        let refuse = |name, msg: &str| Err(Error::violation(["query", name], msg));
        if until.is_some_and(|until| until > now.after(FUTURE_MAX)) {
            return refuse("until", "Must not lie more than one hour in the future");
        }
        let until = until.unwrap_or(now);
        let since = since.unwrap_or_else(|| until.before(SERIES_WINDOW));
        if since > until {
            return refuse("since", "Must not lie behind the end of the window");
        }
        if until.since(since) > WINDOW {
            return refuse("since", "Must lie at most 28 days before the end of the window");
        }
        if bucket == Bucket::Hour && until.since(since) > HOURS_WINDOW {
            return refuse(
                "since",
                "Must lie at most 7 days before the end of the window where `bucket` is `hour`",
            );
        }
        let length = bucket.hours() * HOUR_MS;
        Ok(Self {
            bucket,
            first: since.ms() / length,
            last: until.ms().div_ceil(length).max(since.ms() / length + 1),
        })
    }
}

impl Series {
    fn bounds(&self) -> (Timestamp, Timestamp) {
        let at = |nth| Timestamp::from_ms(nth * self.bucket.hours() * HOUR_MS);
        (at(self.first), at(self.last))
    }

    fn out(&self, hours: &BTreeMap<u64, Counts>) -> SeriesOut {
        let (since, until) = self.bounds();
        let length = self.bucket.hours();
        let point = |nth: u64| {
            let mut sum = Counts::default();
            hours.range(nth * length..(nth + 1) * length).for_each(|(_, counts)| sum.merge(*counts));
            let Counts { success, pending, fail, sending } = sum;
            Point { at: Timestamp::from_ms(nth * length * HOUR_MS), success, fail, pending, sending }
        };
        SeriesOut { since, until, bucket: self.bucket, points: (self.first..self.last).map(point).collect() }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StatsSeriesOut")]
pub struct SeriesOut {
    /// When the first point begins.
    since: Timestamp,
    /// When the last point ends.
    until: Timestamp,
    bucket: Bucket,
    /// One point per hour or day of the window, also where nothing was sent; days begin at midnight UTC.
    points: Vec<Point>,
}

/// Delivery statistics of one hour's or day's messages.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StatsPoint")]
struct Point {
    /// When the hour or the day begins.
    at: Timestamp,
    success: u64,
    fail: u64,
    pending: u64,
    sending: u64,
}

/// The series of an endpoint.
pub async fn endpoint_series(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Query(series): Query<Series>,
    Path(path): Path<EndpointPath>,
) -> ApiResult<Json<SeriesOut>> {
    let work = Work::until(state.api.clock.now().after(WORK_MAX));
    let (_, endpoint) = state.find(&caller, &path).await?;
    let hours = state.api.store.endpoint_hours(endpoint.id, series.bounds(), &work).await?;
    Ok(Json(series.out(&hours)))
}

/// The series of an application: the sum of its endpoints'.
pub async fn application_series(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Query(series): Query<Series>,
    Path((app,)): Path<(AppRef,)>,
) -> ApiResult<Json<SeriesOut>> {
    let work = Work::until(state.api.clock.now().after(WORK_MAX));
    let app = state.api.store.application_for(&caller, &app).await?;
    let endpoints = state.api.store.all_endpoints(app.id).await?;
    if endpoints.len() > ENDPOINTS_MAX {
        return Err(Error::LimitReached(
            "The statistics of an application are summed up for up to 500 endpoints: ask for those of each endpoint.".into(),
        )
        .into());
    }
    let mut all: BTreeMap<u64, Counts> = BTreeMap::new();
    for some in endpoints.chunks(AT_ONCE) {
        let each =
            some.iter().map(|endpoint| state.api.store.endpoint_hours(endpoint.id, series.bounds(), &work));
        for (hour, counts) in try_join_all(each).await?.into_iter().flatten() {
            all.entry(hour).or_default().merge(counts);
        }
    }
    Ok(Json(series.out(&all)))
}
