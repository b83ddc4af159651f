//! Polling: an endpoint's owner fetches its messages, from an iterator or as a consumer that keeps one.

use std::collections::BTreeMap;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::auth::{EndpointCaller, Poller};
use shared::clock::Timestamp;
use shared::error::corrupt;
use shared::http::{
    ApiResult, AppRef, Body, BodyType, ConsumerName, Fields, Idempotent, Json, Once, Path, Query,
    QueryParams, RawQuery, Registry, RequestBody, SinkRef, Text,
};
use shared::ids::{MessageId, NAME_LENGTH_MAX};
use shared::limits::{CHANNEL_LENGTH_MAX, FUTURE_MAX};
use shared::payload_filter::PayloadView;
use shared::polling::{Position, Reading};
use shared::store::applications::Application;
use shared::store::endpoints::{Endpoint, Filter};
use shared::store::messages::{Message, Payload};
use shared::store::polling::{Given, Polled};
use shared::{Error, Result};

use crate::{InjectedBug, Messages};

pub(crate) const TAG: &str = "Polling";

/// Adds the operations of this module.
pub(crate) fn operations<R: Registry<Messages>>(to: R) -> R {
    const CONSUMER: &str = "/api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}";
    const ITERATOR: &str =
        "The `iterator` of this endpoint's last response. It counts for this endpoint alone.";
    to.get("/api/v1/app/{app_id}/poller/{sink_id}", poll, |operation| {
        operation
            .named("v1.message.poller.poll", TAG)
            .summary("Poll an endpoint's messages")
            .text(
                "Send the `iterator` of a response with the next request. Without `iterator` and `after` the page is empty, and its iterator begins where the endpoint was created. Every message is given at least once; one that is stored late is given late, after younger ones.",
            )
            .parameter("limit", "Maximum number of messages.")
            .parameter("iterator", ITERATOR)
            .parameter("event_type", "Only messages of this event type.")
            .parameter("after", "Only messages that were posted later than this.")
            .returns("Messages, and where to go on.")
    })
    .get(CONSUMER, consumer_poll, |operation| {
        operation
            .named("v1.message.poller.consumer-poll", TAG)
            .summary("Poll as a consumer whose iterator is kept")
            .text(
                "The last iterator that the consumer used is kept: a request without one goes on from there, and gets again what the last response held. A new consumer begins where the endpoint was created.",
            )
            .parameter("limit", "Maximum number of messages.")
            .parameter("iterator", ITERATOR)
            .returns("Messages, and where to go on.")
    })
    .post("/api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}/seek", seek, |operation| {
        operation
            .named("v1.message.poller.consumer-seek", TAG)
            .summary("Set where a consumer goes on")
            .text("Forward or back: to any time of the last 90 days.")
            .returns("The consumer's iterator from now on.")
    })
}

/// A message, as a poller gets it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PollingEndpointMessageOut")]
pub(crate) struct GivenOut {
    id: MessageId,
    event_type: String,
    /// The id that the sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// The payload as it was posted; `{"expired": true}` if it was expunged or has expired.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    payload: Box<RawValue>,
    /// What webhooks have as their body instead of the payload, if the sender said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_payload: Option<String>,
    /// The `content-type` of that, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    /// When it was accepted.
    timestamp: Timestamp,
    /// When its webhooks are due, if they are delayed. Pollers get it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<Timestamp>,
}

impl GivenOut {
    pub(crate) fn new((message, payload): Given) -> Result<Self> {
        let (text, raw, content_type) = match payload {
            Some(payload) => ((*payload.json).clone(), payload.raw, payload.content_type),
            None => (r#"{"expired":true}"#.to_owned(), None, None),
        };
        let Message { id, labels, event_id, deliver_at, .. } = message;
        Ok(Self {
            id,
            event_type: labels.event_type,
            event_id,
            payload: RawValue::from_string(text).map_err(corrupt("a payload"))?,
            raw_payload: raw.map(|raw| (*raw).clone()),
            headers: content_type.map(|kind| BTreeMap::from([("content-type".to_owned(), kind)])),
            channels: labels.channels,
            tags: labels.tags,
            timestamp: id.time(),
            deliver_at,
        })
    }
}

/// What a poll found.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollingEndpointOut")]
pub(crate) struct PollOut {
    data: Vec<GivenOut>,
    /// Where to go on.
    iterator: String,
    /// There is nothing more for now: poll again in a while.
    done: bool,
}

/// How a poll may be narrowed.
#[derive(Default)]
struct Narrowing {
    event_type: Option<String>,
    channel: Option<String>,
    after: Option<Timestamp>,
}

/// What a poll is asked for.
struct PollQuery {
    limit: usize,
    iterator: Option<String>,
    narrowing: Narrowing,
}

pub(crate) fn limit(query: &RawQuery) -> Result<usize> {
    query.number("limit", 1, 250, 50).map(usize::from)
}

impl QueryParams for PollQuery {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        Ok(Self {
            limit: limit(query)?,
            iterator: query.one("iterator")?.map(str::to_owned),
            narrowing: Narrowing {
                event_type: query.text("event_type", Text::Name(NAME_LENGTH_MAX))?.map(str::to_owned),
                channel: query.text("channel", Text::Name(CHANNEL_LENGTH_MAX))?.map(str::to_owned),
                after: not_ahead(query.time("after")?, now)?,
            },
        })
    }
}

fn not_ahead(after: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>> {
    match after {
        Some(after) if after > now.after(FUTURE_MAX) => {
            Err(Error::violation(["query", "after"], "Must not lie in the future"))
        }
        after => Ok(after),
    }
}

/// What a consumer's poll is asked for.
struct ConsumerQuery {
    limit: usize,
    iterator: Option<String>,
}

impl QueryParams for ConsumerQuery {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        Ok(Self { limit: limit(query)?, iterator: query.one("iterator")?.map(str::to_owned) })
    }
}

impl Messages {
    /// The endpoint that a poller means, which is one that is polled.
    pub(crate) async fn polled(
        &self,
        poller: &EndpointCaller,
        app: &AppRef,
        SinkRef(endpoint): &SinkRef,
    ) -> Result<(Application, Endpoint)> {
        let store = &self.api.store;
        let app = store.application_for(&poller.caller, app).await?;
        let endpoint = store.endpoint_for(app.id, endpoint).await?;
        poller.check(endpoint.id)?;
        let destination = &endpoint.settings.destination;
        if !destination.is_polled() {
            return Err(Error::Conflict(format!(
                "Messages of this endpoint are sent, since its destination is {}: create an endpoint whose destination is polling.",
                destination.kind()
            )));
        }
        if endpoint.settings.disabled {
            return Err(Error::Conflict("The endpoint is disabled: enable it to poll it.".into()));
        }
        Ok((app, endpoint))
    }

    /// Reads what the endpoint wants, from a position on.
    pub(crate) async fn read_on(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        position: Position,
        limit: usize,
        also: impl Fn(&Message) -> bool,
    ) -> Result<Polled> {
        let now = self.api.clock.now();
        let reading = if self.has_bug(InjectedBug::PassesUnfinishedWrites) {
            Reading::settled_before(position, now)
        } else {
            Reading::new(position, now)
        };
        let filter = Filter::from(endpoint.settings.clone());
        let wanted = |message: &Message| filter.may_want(&message.labels) && also(message);
        // What is gone matches no pattern.
        let fits = |message: &Message, payload: Option<&Payload>| {
            !filter.looks_at_payloads()
                || payload
                    .is_some_and(|payload| filter.wants(&message.labels, &PayloadView::new(&payload.json)))
        };
        self.api.store.poll_messages(app.id, reading, limit, wanted, fits).await
    }

    async fn page(
        &self,
        (app, endpoint): (&Application, &Endpoint),
        position: Position,
        limit: usize,
        narrowing: &Narrowing,
    ) -> Result<PollOut> {
        let Narrowing { event_type, channel, after } = narrowing;
        let position = match after {
            Some(after) => position.max(Position::behind(*after)),
            None => position,
        };
        let also = |message: &Message| {
            event_type.as_ref().is_none_or(|name| *name == message.labels.event_type)
                && channel.as_ref().is_none_or(|channel| message.labels.has_channel(channel))
        };
        let Polled { given, position, done, .. } = self.read_on(app, endpoint, position, limit, also).await?;
        Ok(PollOut {
            data: given.into_iter().map(GivenOut::new).collect::<Result<_>>()?,
            iterator: self.api.store.seal_iterator(app.id, endpoint.id, &position),
            done,
        })
    }
}

async fn poll(
    State(state): State<Messages>,
    Poller(poller): Poller,
    Query(PollQuery { limit, iterator, narrowing }): Query<PollQuery>,
    Path((app, sink)): Path<(AppRef, SinkRef)>,
) -> ApiResult<Json<PollOut>> {
    let (app, endpoint) = state.polled(&poller, &app, &sink).await?;
    let store = &state.api.store;
    let created = Position::since_creation(endpoint.created_at);
    let position = match (&iterator, narrowing.after) {
        (Some(iterator), _) => store.open_iterator(app.id, endpoint.id, iterator)?,
        (None, Some(after)) => Position::behind(after),
        (None, None) => {
            let iterator = store.seal_iterator(app.id, endpoint.id, &created);
            return Ok(Json(PollOut { data: Vec::new(), iterator, done: false }));
        }
    };
    Ok(Json(state.page((&app, &endpoint), position, limit, &narrowing).await?))
}

async fn consumer_poll(
    State(state): State<Messages>,
    Poller(poller): Poller,
    Query(ConsumerQuery { limit, iterator }): Query<ConsumerQuery>,
    Path((app, sink, ConsumerName(consumer))): Path<(AppRef, SinkRef, ConsumerName)>,
) -> ApiResult<Json<PollOut>> {
    let (app, endpoint) = state.polled(&poller, &app, &sink).await?;
    let store = &state.api.store;
    let position = match iterator {
        Some(iterator) => {
            let position = store.open_iterator(app.id, endpoint.id, &iterator)?;
            store.keep_consumer(endpoint.id, &consumer, &position).await?;
            position
        }
        None => {
            let kept = store.consumer(endpoint.id, &consumer).await?;
            kept.unwrap_or_else(|| Position::since_creation(endpoint.created_at))
        }
    };
    Ok(Json(state.page((&app, &endpoint), position, limit, &Narrowing::default()).await?))
}

/// Where a consumer is to go on.
struct SeekIn {
    after: Timestamp,
}

impl RequestBody for SeekIn {
    /// The time.
    type With = Timestamp;
    const TYPE: BodyType = BodyType::of::<Self>(
        "PollingEndpointConsumerSeekIn",
        &[("after", "The consumer gets what was posted later than this.")],
    );

    fn read(fields: &mut Fields<'_>, now: Timestamp) -> Self {
        let after = fields.required::<Timestamp>(&["after"]);
        if after.is_some_and(|after| after > now.after(FUTURE_MAX)) {
            fields.violation("after", "Must not lie in the future");
        }
        Self { after: after.unwrap_or(now) }
    }
}

/// Where a consumer goes on.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollingEndpointConsumerSeekOut")]
struct SeekOut {
    /// The consumer's iterator.
    iterator: String,
}

async fn seek(
    State(state): State<Messages>,
    Poller(poller): Poller,
    Path((app, sink, ConsumerName(consumer))): Path<(AppRef, SinkRef, ConsumerName)>,
    idempotent: Idempotent,
    body: Body<SeekIn>,
) -> ApiResult<Once<Json<SeekOut>>> {
    idempotent
        .once(&poller.caller, async || {
            let (app, endpoint) = state.polled(&poller, &app, &sink).await?;
            let position = Position::behind(body.read_with(state.api.clock.now())?.after);
            let store = &state.api.store;
            store.keep_consumer(endpoint.id, &consumer, &position).await?;
            Ok(Json(SeekOut { iterator: store.seal_iterator(app.id, endpoint.id, &position) }))
        })
        .await
}
