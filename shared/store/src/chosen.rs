//! Which messages a task sends again, a page at a time.

use std::collections::HashSet;

use futures_util::future::try_join_all;

use super::Store;
use super::attempts::{RESENDS_MAX, State, Status};
use super::endpoints::{Endpoint, Filter};
use super::keys::SHARDS;
use super::messages::Message;
use super::shards::LogQuery;
use super::tasks::{Replay, Task, TaskFilter, TaskKind};
use domain::error::Result;
use domain::ids::{AppId, AttemptId, EndpointId, Ksuid, MessageId};
use domain::message::Payload;
use domain::page::{Cursor, ListQuery, Order};
use domain::payload_filter::PayloadView;
use runtime::clock::Timestamp;

/// Messages of one page: what BatchGetItem takes at once.
const PAGE: usize = 100;
/// Pages of each shard that are looked at to say how many messages there are.
const COUNTED_PAGES: usize = 13;

/// What a task sends of one page.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// The messages.
    pub messages: Vec<MessageId>,
    /// Those of them that the endpoint is to be noted at as a further destination.
    pub unnoted: Vec<Message>,
    /// Where the next page begins; none at the end of the shard.
    pub last: Option<MessageId>,
}

impl Store {
    /// What a task sends of the page at which it is `at`.
    ///
    /// # Errors
    /// The store's own.
    pub async fn chosen(&self, task: &Task, at: Replay, endpoint: &Endpoint) -> Result<Chosen> {
        match task.kind {
            TaskKind::ReplayMissing => self.never_sent(task, at, endpoint).await,
            TaskKind::Recover
            | TaskKind::BulkReplay
            | TaskKind::Erase
            | TaskKind::ExpungeAll
            | TaskKind::AppStats
            | TaskKind::EventTypeUsage => self.sent_before(task, at, endpoint.id).await,
        }
    }

    /// How many messages a task would send, and whether there are more that were not counted: some ten
    /// thousand are looked at.
    ///
    /// # Errors
    /// The store's own.
    pub async fn count_chosen(&self, task: &Task, endpoint: &Endpoint) -> Result<(u64, bool)> {
        let shards = (0..SHARDS).map(async |shard| {
            let mut at = Replay { shard, ..Replay::default() };
            let mut count = 0;
            for _ in 0..COUNTED_PAGES {
                let Chosen { messages, last, .. } = self.chosen(task, at, endpoint).await?;
                count += messages.len() as u64;
                match last {
                    Some(last) => at.after = Some(last),
                    None => return Ok((count, false)),
                }
            }
            Ok::<_, domain::error::Error>((count, true))
        });
        let counted = try_join_all(shards).await?;
        Ok(counted.into_iter().fold((0, false), |sum, shard| (sum.0 + shard.0, sum.1 || shard.1)))
    }

    /// A page of one shard of an application's messages, of those that a task is about, behind `after`; and
    /// where the next page begins, none at the end of the shard.
    ///
    /// # Errors
    /// The store's own.
    pub async fn task_messages(
        &self,
        task: &Task,
        app: AppId,
        shard: u8,
        after: Option<MessageId>,
    ) -> Result<(Vec<Message>, Option<MessageId>)> {
        let page = self.shard_messages(app, shard, &page_query(task, after)).await?;
        let last = page.last().filter(|_| page.len() == PAGE).map(|message| message.id);
        Ok((page, last))
    }

    /// Those of the step's page of deliveries that the task is about, and where the next page begins;
    /// none at the end of the shard.
    async fn sent_before(&self, task: &Task, at: Replay, endpoint: EndpointId) -> Result<Chosen> {
        let page = self.shard_states(endpoint, at.shard, &page_query(task, at.after)).await?;
        let last = page.last().filter(|_| page.len() == PAGE).map(|state| state.message);
        let chosen: Vec<State> = page.into_iter().filter(|state| fits_state(task, state)).collect();
        let chosen = self.with_code_class(task, chosen).await?;
        let TaskFilter { event_types, channel, tag, .. } = &task.filter;
        let ids: Vec<MessageId> = chosen.into_iter().map(|state| state.message).collect();
        if event_types.is_none() && channel.is_none() && tag.is_none() {
            return Ok(Chosen { messages: ids, unnoted: Vec::new(), last });
        }
        let messages = self.messages(task.in_app()?, &ids).await?;
        let fitting = messages.iter().filter(|message| fits_message(&task.filter, message));
        let messages = fitting.map(|message| message.id).collect();
        Ok(Chosen { messages, unnoted: Vec::new(), last })
    }

    /// Those whose last attempt was answered with a code of the class that the task asks for.
    async fn with_code_class(&self, task: &Task, states: Vec<State>) -> Result<Vec<State>> {
        let Some(class) = task.filter.code_class else { return Ok(states) };
        let codes = self.last_codes(&states).await?;
        let fits = |(state, code): &(State, Option<u16>)| {
            is_sent_by(task, state) || code.is_some_and(|code| code / 100 == class)
        };
        Ok(states.into_iter().zip(codes).filter(fits).map(|(state, _)| state).collect())
    }

    /// Those of the step's page of messages that the endpoint wants and was never sent.
    async fn never_sent(&self, task: &Task, at: Replay, endpoint: &Endpoint) -> Result<Chosen> {
        let page = self.shard_messages(task.in_app()?, at.shard, &page_query(task, at.after)).await?;
        let last = page.last().filter(|_| page.len() == PAGE).map(|message| message.id);
        let filter = Filter::from(endpoint.settings.clone());
        // What is to come later has not been missed: its first attempt is a timer. And whether an older message was sent,
        // nobody knows any more.
        let now = self.clock.now();
        let known_since = self.retention.attempts_since(now);
        let mut wanted: Vec<MessageId> = page
            .iter()
            .filter(|message| {
                message.deliver_at.is_none_or(|at| at <= now) && message.id.time() > known_since
            })
            .filter(|message| !message.is_void() && filter.may_want(&message.labels))
            .map(|message| message.id)
            .collect();
        let states = self.states_at(endpoint.id, &wanted).await?;
        let known = states.into_iter().filter(|state| !is_sent_by(task, state));
        let known: HashSet<MessageId> = known.map(|state| state.message).collect();
        wanted.retain(|id| !known.contains(id));
        let missing =
            if filter.looks_at_payloads() { self.matching(&page, wanted, &filter).await? } else { wanted };
        let unnoted = page.into_iter().filter(|message| missing.contains(&message.id)).collect();
        Ok(Chosen { messages: missing, unnoted, last })
    }

    /// Those of the messages whose payload the filter lets through. One without a payload has nothing to send.
    async fn matching(
        &self,
        page: &[Message],
        ids: Vec<MessageId>,
        filter: &Filter,
    ) -> Result<Vec<MessageId>> {
        let mut matching = Vec::new();
        for message in page.iter().filter(|message| ids.contains(&message.id)) {
            let payload = self.payload(message).await?;
            let matches = |payload: Payload| filter.wants(&message.labels, &PayloadView::new(&payload.json));
            if payload.is_some_and(matches) {
                matching.push(message.id);
            }
        }
        Ok(matching)
    }
}

/// The page of messages that a step looks at, oldest first.
fn page_query(task: &Task, after: Option<MessageId>) -> LogQuery<MessageId> {
    let cursor = after.map_or(Cursor::Start, Cursor::Behind);
    let floor = |at: Timestamp| Ksuid::new(at, [0; 15]);
    LogQuery {
        list: ListQuery { limit: PAGE, cursor, order: Order::Ascending },
        window: (floor(task.since), Ksuid::new(task.until, [0xff; 15])),
    }
}

/// Whether the task has sent it, and whoever worked on the step did not live to say so. It counts, whatever became of it; sending
/// it again does nothing, as its attempt is there.
fn is_sent_by(task: &Task, state: &State) -> bool {
    state.by_hand.contains(&AttemptId::of_task(task.id, state.message, state.endpoint))
}

fn fits_state(task: &Task, state: &State) -> bool {
    if is_sent_by(task, state) {
        return true;
    }
    // What `resend` refuses, no task does.
    if state.by_hand.len() >= RESENDS_MAX {
        return false;
    }
    match task.kind {
        TaskKind::Recover => state.outcome() == Status::Fail,
        // What lists show as sending may wait for a retry.
        _ => task.filter.status.is_none_or(|status| {
            state.outcome() == status || (status == Status::Sending && state.outcome() == Status::Pending)
        }),
    }
}

fn fits_message(filter: &TaskFilter, Message { labels, .. }: &Message) -> bool {
    filter.event_types.as_ref().is_none_or(|types| types.contains(&labels.event_type))
        && filter.channel.as_ref().is_none_or(|channel| labels.has_channel(channel))
        && filter.tag.as_ref().is_none_or(|tag| labels.has_tag(tag))
}
