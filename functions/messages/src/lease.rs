//! Polling with leases: what a consumer was given is its own for a while, and given again unless it commits.

use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Poller;
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, AppRef, Body, BodyType, ConsumerName, Fields, Idempotent, Json, NoContent, Once, Path, Query,
    QueryParams, RawQuery, Registry, RequestBody, SinkRef,
};
use shared::polling::{
    CommitRefused, LEASE_DEFAULT, LEASE_MAX, LEASE_MIN, Leases, Position, SETTLED_AFTER, STILL_CHEAP_MAX,
};
use shared::store::applications::Application;
use shared::store::endpoints::Endpoint;
use shared::store::polling::Given;
use shared::{Error, Result};

use crate::poll::{GivenOut, TAG, limit};
use crate::{InjectedBug, Messages};

/// Adds the operations of this module.
pub(crate) fn operations<R: Registry<Messages>>(to: R) -> R {
    const CONSUMER: &str = "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}";
    to.get(CONSUMER, lease, |operation| {
        operation
            .named("v1.message.polling-endpoint.consumer-poll", TAG)
            .summary("Lease an endpoint's next messages")
            .text(
                "They are leased to whoever polled: until the lease runs out or the last of them is committed, other polls of this consumer get 409. What was not committed by then is given again, with the same offsets.",
            )
            .parameter("limit", "Maximum number of messages.")
            .parameter("lease_duration_ms", "How long the messages are leased, in milliseconds.")
            .parameter(
                "starting_position",
                "Where a new consumer begins: where the endpoint was created (`earliest`, the default), or now (`latest`).",
            )
            .returns("Messages with their offsets.")
    })
    .post(
        "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}/commit",
        commit,
        |operation| {
            operation
                .named("v1.message.polling-endpoint.consumer-commit", TAG)
                .summary("Commit an offset of a consumer")
                .text("The message of that offset and all before it are done. An offset can be committed again; commits do not go back.")
                .returns("It is committed.")
        },
    )
}

/// A message, as a lease gives it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollerV2MessageOut")]
struct LeasedOut {
    /// Its number for this consumer: commit it when the message, and all before it, are done.
    offset: u64,
    #[serde(flatten)]
    message: GivenOut,
}

/// What a lease holds.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollerV2PollOut")]
struct LeaseOut {
    data: Vec<LeasedOut>,
    /// There is nothing more for now: poll again in a while.
    done: bool,
}

/// Where a new consumer begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Earliest,
    Latest,
}

struct LeaseQuery {
    limit: usize,
    lease: Duration,
    start: Start,
}

impl QueryParams for LeaseQuery {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        let start = &[("earliest", Start::Earliest), ("latest", Start::Latest)];
        Ok(Self {
            limit: limit(query)?,
            lease: query.milliseconds("lease_duration_ms", (LEASE_MIN, LEASE_MAX), LEASE_DEFAULT)?,
            start: query.choice("starting_position", start)?.unwrap_or(Start::Earliest),
        })
    }
}

/// What a poll found for a lease.
struct Next {
    given: Vec<Given>,
    done: bool,
    /// What to keep is worth a write although there is nothing to lease.
    progress: bool,
}

impl Messages {
    /// What a consumer gets next: what is out and was not committed, or what comes then.
    async fn next(
        &self,
        (app, endpoint): (&Application, &Endpoint),
        leases: &mut Leases,
        limit: usize,
    ) -> Result<Next> {
        while !leases.out.is_empty() {
            let again = &leases.out[..leases.out.len().min(limit)];
            let given = self.api.store.messages_again(app.id, again).await?;
            if !given.is_empty() {
                return Ok(Next { given, done: false, progress: true });
            }
            // They have all left the log meanwhile.
            let gone = again.len();
            leases.skip(gone);
        }
        let before = leases.position.base().time();
        let polled = self.read_on(app, endpoint, leases.position.clone(), limit, |_| true).await?;
        leases.position = polled.position;
        leases.out.extend(polled.given.iter().map(|(message, _)| message.id));
        let gained = leases.position.base().time().since(before);
        let progress = gained > STILL_CHEAP_MAX || (polled.examined >= limit && gained > SETTLED_AFTER);
        Ok(Next { given: polled.given, done: polled.done, progress })
    }
}

async fn lease(
    State(state): State<Messages>,
    Poller(poller): Poller,
    Query(LeaseQuery { limit, lease, start }): Query<LeaseQuery>,
    Path((app, sink, ConsumerName(consumer))): Path<(AppRef, SinkRef, ConsumerName)>,
) -> ApiResult<Json<LeaseOut>> {
    let (app, endpoint) = state.polled(&poller, &app, &sink).await?;
    let (store, now) = (&state.api.store, state.api.clock.now());
    let (mut leases, was) = match store.leases(endpoint.id, &consumer).await? {
        Some((leases, version)) => (leases, Some(version)),
        None => {
            let begin = match start {
                Start::Earliest => Position::since_creation(endpoint.created_at),
                Start::Latest => Position::at(now),
            };
            (Leases::new(begin), None)
        }
    };
    let careless = state.has_bug(InjectedBug::LeasesTwice);
    if leases.is_held(now) && !careless {
        return Err(Error::Conflict(format!(
            "Messages of this consumer are leased until {}: commit their last offset, wait until then, or poll as another consumer.",
            leases.until
        ))
        .into());
    }
    let Next { given, done, progress } = state.next((&app, &endpoint), &mut leases, limit).await?;
    if given.is_empty() && !progress && was.is_some() {
        return Ok(Json(LeaseOut { data: Vec::new(), done }));
    }
    leases.until = now.after(lease);
    if !store.keep_leases(endpoint.id, &consumer, &leases, was).await? && !careless {
        return Err(Error::Conflict(
            "Another poll or commit of this consumer was faster: poll again, or poll as another consumer."
                .into(),
        )
        .into());
    }
    let mut data = Vec::with_capacity(given.len());
    for given in given {
        let Some((offset, _)) = leases.offsets().find(|(_, id)| *id == given.0.id) else { continue };
        data.push(LeasedOut { offset, message: GivenOut::new(given)? });
    }
    Ok(Json(LeaseOut { data, done }))
}

/// What is done.
struct CommitIn {
    offset: u64,
}

impl RequestBody for CommitIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "PollerV2CommitIn",
        &[("offset", "The offset of the last message that is done; all before it are done, too.")],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self { offset: fields.required(&["offset"]).unwrap_or(0) }
    }
}

async fn commit(
    State(state): State<Messages>,
    Poller(poller): Poller,
    Path((app, sink, ConsumerName(consumer))): Path<(AppRef, SinkRef, ConsumerName)>,
    idempotent: Idempotent,
    body: Body<CommitIn>,
) -> ApiResult<Once<NoContent>> {
    idempotent
        .once(&poller.caller, async || {
            let (_, endpoint) = state.polled(&poller, &app, &sink).await?;
            let CommitIn { offset } = body.read()?;
            let store = &state.api.store;
            store
                .retry_on_conflict(async || {
                    let Some((mut leases, version)) = store.leases(endpoint.id, &consumer).await? else {
                        return Err(Error::Conflict(
                            "This consumer has not polled yet: there is nothing to commit.".into(),
                        ));
                    };
                    let before = leases.committed;
                    leases.commit(offset).map_err(|refusal| match refusal {
                        CommitRefused::Backwards(done) => {
                            refused(format!("Offset {done} is committed, and commits do not go back"))
                        }
                        CommitRefused::Ahead(last) => {
                            refused(format!("Must be at most {last}, the last offset that was given"))
                        }
                    })?;
                    if leases.committed == before {
                        return Ok(Some(()));
                    }
                    let kept = store.keep_leases(endpoint.id, &consumer, &leases, Some(version)).await?;
                    Ok(kept.then_some(()))
                })
                .await?;
            Ok(NoContent)
        })
        .await
}

fn refused(msg: impl Into<String>) -> Error {
    Error::violation(["body", "offset"], msg)
}
