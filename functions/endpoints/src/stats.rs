//! How an endpoint's deliveries stand.

use std::time::Duration;

use axum::extract::{Path, State};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Authenticated;
use shared::clock::Timestamp;
use shared::http::{ApiResult, Query, json};
use shared::store::stats::{Counts, StatsQuery};
use shared::{Error, Result};

use crate::Endpoints;

/// The longest window, and the one where no beginning is given.
const WINDOW: Duration = Duration::from_secs(28 * 24 * 3600);
/// As for lists.
const FUTURE_MAX: Duration = Duration::from_secs(3600);
/// What counting may take of the function's 29 seconds: a query that begins just before may need 12.
const WORK_MAX: Duration = Duration::from_secs(14);

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndpointStats")]
pub struct StatsOut {
    success: u64,
    pending: u64,
    sending: u64,
    fail: u64,
    /// Nothing is canceled here.
    canceled: u64,
}

impl From<Counts> for StatsOut {
    fn from(Counts { success, pending, fail, sending }: Counts) -> Self {
        Self { success, pending, sending, fail, canceled: 0 }
    }
}

/// The window that a query asks for.
pub fn window(query: &Query, now: Timestamp) -> Result<(Timestamp, Timestamp)> {
    let (since, until) = (query.time("since")?, query.time("until")?);
    let refuse = |name, msg: &str| Err(Error::violation(["query", name], msg, "value_error"));
    if until.is_some_and(|until| until > now.after(FUTURE_MAX)) {
        return refuse("until", "Must not lie more than one hour in the future");
    }
    let until = until.unwrap_or(now);
    let since = since.unwrap_or_else(|| until.before(WINDOW));
    if since > until {
        return refuse("since", "Must not lie after the end of the window");
    }
    if until.since(since) > WINDOW {
        // As other servers of this API answer, and their clients expect.
        let text = "The query parameter `since` must lie at most 28 days before the end of the window.";
        return Err(Error::BadRequest(text.into()));
    }
    Ok((since, until))
}

pub async fn get(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    query: Query,
) -> ApiResult {
    let now = state.api.clock.now();
    let (since, until) = window(&query, now)?;
    let (_, endpoint) = state.find(&caller, &app, &endpoint).await?;
    let query =
        StatsQuery { since, until, settled: now.before(state.retry_horizon), deadline: now.after(WORK_MAX) };
    let counts = state.api.store.endpoint_stats(endpoint.id, &query).await?;
    Ok(json(StatusCode::OK, &StatsOut::from(counts)))
}
