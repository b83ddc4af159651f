//! Deliveries as they stand: the messages of an endpoint, and the endpoints of a message.

use std::collections::HashMap;

use axum::extract::State as Held;
use shared::Result;
use shared::auth::Authenticated;
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, AppRef, Ascending, Cursor, EndpointRef, Json, ListOut, ListQuery, MessageRef, Page, Path,
    Query, QueryParams, RawQuery,
};
use shared::ids::{AppId, EndpointId, MessageId};
use shared::store::Store;
use shared::store::attempts::{State, Status};
use shared::store::endpoints::Endpoint;
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::wire::{MessageOut, Shown};

use crate::Attempts;
use crate::filter::{ExpandedStatuses, Filter};
use crate::out::{EndpointMessageOut, MessageEndpointOut};

/// Most deliveries that one request joins with their messages or endpoints: one that finds too few
/// answers with what it has and an iterator to go on with.
const JOINED_MAX: usize = 1_000;

/// What a list of messages is asked for.
pub struct ListParams {
    with_content: bool,
    filter: Filter,
    list: LogQuery<MessageId>,
}

impl QueryParams for ListParams {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        let with_content = query.flag("with_content", true)?;
        Ok(Self { with_content, filter: Filter::read(query, now)?, list: query.log(now)? })
    }
}

/// `GET …/endpoint/{endpoint_id}/msg`
pub async fn messages(
    Held(held): Held<Attempts>,
    Authenticated(caller): Authenticated,
    Query(ListParams { with_content, filter, list }): Query<ListParams>,
    Path((app, endpoint)): Path<(AppRef, EndpointRef)>,
) -> ApiResult<Json<ListOut<EndpointMessageOut>>> {
    let store = &held.api.store;
    let app = store.application_for(&caller, &app).await?.id;
    let endpoint = store.endpoint_for(app, &endpoint).await?.id;
    let backward = list.list.is_backward();
    let page = messages_of(store, app, endpoint, list, &filter).await?;
    let page = if with_content {
        let page = store.with_payloads(page, backward, |(message, _)| message).await?;
        page.try_map(|((message, state), payload)| {
            let shown = payload.as_ref().map_or(Shown::Expired, |text| Shown::Payload(&text.json));
            Ok(EndpointMessageOut::new(MessageOut::new(&message, &shown)?, &state, filter.statuses))
        })?
    } else {
        page.try_map(|(message, state)| {
            Ok(EndpointMessageOut::new(MessageOut::new(&message, &Shown::Withheld)?, &state, filter.statuses))
        })?
    };
    Ok(Json(ListOut::new(page, |out| out.id().to_string(), |out| out)))
}

/// One page of an endpoint's delivery states with their messages.
async fn messages_of(
    store: &Store,
    app: AppId,
    endpoint: EndpointId,
    mut query: LogQuery<MessageId>,
    filter: &Filter,
) -> Result<Page<(Message, State)>> {
    let asked = query.list.clone();
    let backward = asked.is_backward();
    // One more, to know whether there is more; so that without a filter this is one turn.
    query.list.limit += 1;
    // In the order of reading.
    let mut entries = Vec::new();
    let mut joined = 0;
    loop {
        let mut page = store
            .list_states(endpoint, &query, |state| filter.keeps_status(state.standing(), state.is_canceled()))
            .await?;
        if backward {
            page.entries.reverse();
        }
        let ids: Vec<MessageId> = page.entries.iter().map(|state| state.message).collect();
        let found = store.messages(app, &ids).await?.into_iter().map(|message| (message.id, message));
        let mut found: HashMap<MessageId, Message> = found.collect();
        let codes = if filter.asks_for_code() { store.last_codes(&page.entries).await? } else { Vec::new() };
        for (nth, state) in page.entries.into_iter().enumerate() {
            if filter.asks_for_code() && !filter.keeps_code(codes[nth]) {
                continue;
            }
            // A message that has left the log is left out; the state leaves no later.
            let message = found.remove(&state.message).filter(|message| filter.keeps_message(message));
            entries.extend(message.map(|message| (message, state)));
        }
        joined += ids.len();
        let spent = page.resume.is_some() || joined >= JOINED_MAX;
        match ids.last() {
            Some(last) if !page.done && !spent && entries.len() <= asked.limit => {
                query.list.cursor = if backward { Cursor::Before(*last) } else { Cursor::Behind(*last) };
            }
            last => {
                let last = match page.resume {
                    Some(Cursor::Behind(at) | Cursor::Before(at)) => Some(at),
                    Some(Cursor::Start) | None => last.map(MessageId::to_string),
                };
                return Ok(Page::of(&asked, entries, page.done, last));
            }
        }
    }
}

/// `GET …/msg/{msg_id}/endpoint`
pub async fn destinations(
    Held(held): Held<Attempts>,
    Authenticated(caller): Authenticated,
    Query(Ascending(list)): Query<Ascending<EndpointId>>,
    Path((app, message)): Path<(AppRef, MessageRef)>,
) -> ApiResult<Json<ListOut<MessageEndpointOut>>> {
    let store = &held.api.store;
    let app = store.application_for(&caller, &app).await?.id;
    let message = store.message_for(app, &message).await?;
    let now = held.api.clock.now();
    let due = message.deliver_at.filter(|at| *at > now);
    let page = destinations_of(store, &message, &list, now).await?;
    let show = |(endpoint, state): (Endpoint, Option<State>)| {
        MessageEndpointOut::new(endpoint, state.as_ref(), due, ExpandedStatuses::default())
    };
    Ok(Json(ListOut::new(page, |(endpoint, _)| endpoint.id.to_string(), show)))
}

/// One page of a message's endpoints with their delivery states; of those that were deleted as they were
/// then.
async fn destinations_of(
    store: &Store,
    message: &Message,
    query: &ListQuery<EndpointId>,
    now: Timestamp,
) -> Result<Page<(Endpoint, Option<State>)>> {
    let destinations = store.destinations(message).await?;
    let held_back = message.deliver_at.is_some_and(|at| at > now);
    let may_come = message.first_due() > store.retention().attempts_since(now);
    let ids = in_reading_order(destinations.all().into_iter().collect(), query);
    let (mut entries, mut joined) = (Vec::new(), 0);
    for chunk in ids.chunks(query.limit + 1) {
        if entries.len() > query.limit || joined >= JOINED_MAX {
            break;
        }
        joined += chunk.len();
        let states = store.states(message.id, chunk, false).await?;
        let mut states: HashMap<EndpointId, State> =
            states.into_iter().map(|state| (state.endpoint, state)).collect();
        let mut found = store.endpoints(message.app, chunk).await?;
        let is_missing = |id: &&EndpointId| found.iter().all(|endpoint| endpoint.id != **id);
        let missing: Vec<EndpointId> = chunk.iter().filter(is_missing).copied().collect();
        found.extend(store.deleted_endpoints(message.app, &missing).await?);
        found.sort_by_key(|endpoint| chunk.iter().position(|id| *id == endpoint.id));
        for endpoint in found {
            let own = destinations.own.contains(&endpoint.id);
            // What was sent by hand in vain before its time does not end what is to come.
            let is_to_come = |state: &State| state.number() == 0 && state.outcome() != Status::Success;
            let state = states.remove(&endpoint.id).filter(|state| !(held_back && own && is_to_come(state)));
            // What was sent by hand to an endpoint that it was not for counts once it was made. Without a state the first attempt
            // is to come, unless the message is so old that its attempts have left the log.
            if state.is_some() || (may_come && own) {
                entries.push((endpoint, state));
            }
        }
    }
    let last = ids[..joined].last().map(EndpointId::to_string);
    Ok(Page::of(query, entries, joined == ids.len(), last))
}

/// Those behind the cursor, in the order in which the page is filled. `ids` ascend.
fn in_reading_order(mut ids: Vec<EndpointId>, query: &ListQuery<EndpointId>) -> Vec<EndpointId> {
    let ascending = query.reads_ascending();
    if let Cursor::Behind(at) | Cursor::Before(at) = &query.cursor {
        ids.retain(|id| if ascending { id > at } else { id < at });
    }
    if !ascending {
        ids.reverse();
    }
    ids
}

#[cfg(test)]
mod tests {
    use shared::http::Order;
    use shared::ids::{Id as _, Ksuid};

    use super::*;

    #[test]
    fn endpoints_are_read_from_the_cursor_on() {
        let id = |at: u64| {
            let at = Timestamp::from_ms(1_800_000_000_000 + at * 1000);
            EndpointId::from_ksuid(Ksuid::new(at, [1; 15]))
        };
        let read = |text: String| {
            let query = RawQuery::parse(&text).list(Order::Ascending).unwrap();
            in_reading_order([1, 2, 3, 4].map(id).to_vec(), &query)
        };
        assert_eq!(read(String::new()), [1, 2, 3, 4].map(id));
        assert_eq!(read("order=descending".into()), [4, 3, 2, 1].map(id));
        assert_eq!(read(format!("iterator={}", id(2))), [3, 4].map(id));
        assert_eq!(read(format!("iterator=-{}", id(3))), [2, 1].map(id));
        assert_eq!(read(format!("order=descending&iterator={}", id(2))), [1].map(id));
        assert_eq!(read(format!("order=descending&iterator=-{}", id(2))), [3, 4].map(id));
    }
}
