//! Tasks: messages that are sent again, a page at a time.
//!
//! A step sends the resends of its page, says that it is done, and then queues its successor. The ids
//! of the resends follow from the task: a step that is worked on twice sends nothing twice.

use std::collections::HashSet;
use std::time::Duration;

use shared::Result;
use shared::clock::Timestamp;
use shared::error::{corrupt, unavailable};
use shared::ids::{AttemptId, EndpointId, Ksuid, MessageId};
use shared::page::{Cursor, ListQuery, Order};
use shared::queue::{Job, Outgoing, Resend, TaskStep};
use shared::store::attempts::{RESENDS_MAX, State, Status};
use shared::store::endpoints::{Endpoint, Filter};
use shared::store::keys::SHARDS;
use shared::store::messages::Message;
use shared::store::shards::LogQuery;
use shared::store::tasks::{Task, TaskFilter, TaskKind};

use crate::Dispatcher;

/// Messages that one step looks at: what BatchGetItem takes at once.
const PAGE: usize = 100;
/// How long a step waits for the one before it: with [`PAGE`], what bounds a task's rate.
const PACE: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// Works on one step of a task.
    pub(crate) async fn step(&self, job: TaskStep) -> Result<()> {
        let Some(task) = self.store.find_task(job.org, job.task).await? else { return Ok(()) };
        if task.finished || task.step > job.step {
            return Ok(());
        }
        if task.step == job.step {
            // The copy that did this step may have died before it queued the next one.
            return self.queue_next(&task, Duration::ZERO).await;
        }
        let Some(endpoint) = task.endpoint else { return self.erase(task).await };
        let app = self.store.find_application(task.org, task.app).await?;
        let endpoint = self.store.find_endpoint(task.app, endpoint).await?;
        let endpoint = endpoint.filter(|endpoint| !endpoint.settings.disabled);
        let (Some(app), Some(endpoint)) = (app, endpoint) else {
            let ended = Task { step: job.step, finished: true, ..task };
            return self.store.advance_task(&ended).await.map(drop);
        };
        let (chosen, last) = match task.kind {
            TaskKind::ReplayMissing => self.never_sent(&task, &endpoint).await?,
            TaskKind::Recover | TaskKind::BulkReplay | TaskKind::Erase => {
                self.sent_before(&task, endpoint.id).await?
            }
        };
        let resends = chosen.iter().map(|message| {
            let (org, app, endpoint) = (task.org, task.app, endpoint.id);
            let attempt = AttemptId::of_task(task.id, *message, endpoint);
            Job::Resend(Resend { org, app, endpoint, message: *message, attempt, slot: None, trace: None })
        });
        self.send(&self.retries, &app, resends).await?;
        let (shard, after) = match last {
            Some(last) => (task.shard, Some(last.to_string())),
            None => (task.shard + 1, None),
        };
        let (finished, sent) = (shard >= SHARDS, task.sent + chosen.len() as u64);
        let task = Task { step: job.step, shard, after, sent, finished, ..task };
        // Also where a copy was faster, or where it was this one and its answer was lost: a second
        // successor finds that it is one.
        self.store.advance_task(&task).await?;
        if !finished {
            // An empty page costs no endpoint anything: the next one need not wait.
            return self.queue_next(&task, if chosen.is_empty() { Duration::ZERO } else { PACE }).await;
        }
        Ok(())
    }

    pub(crate) async fn queue_next(&self, task: &Task, delay: Duration) -> Result<()> {
        let job = Outgoing::new(&Job::Task(task.next_step()), delay, task.app)?;
        self.sqs.send(&self.source.queue, &[job]).await.map_err(unavailable("queue a task's next step"))
    }

    /// Those of the step's page of deliveries that the task is about, and where the next page begins;
    /// none at the end of the shard.
    async fn sent_before(
        &self,
        task: &Task,
        endpoint: EndpointId,
    ) -> Result<(Vec<MessageId>, Option<MessageId>)> {
        let page = self.store.shard_states(endpoint, task.shard, &page_query(task)?).await?;
        let last = page.last().filter(|_| page.len() == PAGE).map(|state| state.message);
        let chosen: Vec<State> = page.into_iter().filter(|state| fits_state(task, state)).collect();
        let chosen = self.with_code_class(task, chosen).await?;
        let TaskFilter { event_types, channel, tag, .. } = &task.filter;
        let ids: Vec<MessageId> = chosen.into_iter().map(|state| state.message).collect();
        if event_types.is_none() && channel.is_none() && tag.is_none() {
            return Ok((ids, last));
        }
        let messages = self.store.messages(task.app, &ids).await?;
        let fitting = messages.iter().filter(|message| fits_message(&task.filter, message));
        Ok((fitting.map(|message| message.id).collect(), last))
    }

    /// Those whose last attempt was answered with a code of the class that the task asks for.
    async fn with_code_class(&self, task: &Task, states: Vec<State>) -> Result<Vec<State>> {
        let Some(class) = task.filter.code_class else { return Ok(states) };
        let mut kept = Vec::new();
        for state in states {
            let Some(last) = state.attempts().last() else { continue };
            let attempt = self.store.attempts(state.message, &[(state.endpoint, last)]).await?.pop();
            if attempt.is_some_and(|attempt| attempt.code / 100 == class) {
                kept.push(state);
            }
        }
        Ok(kept)
    }

    /// Those of the step's page of messages that the endpoint wants and was never sent.
    async fn never_sent(
        &self,
        task: &Task,
        endpoint: &Endpoint,
    ) -> Result<(Vec<MessageId>, Option<MessageId>)> {
        let page = self.store.shard_messages(task.app, task.shard, &page_query(task)?).await?;
        let last = page.last().filter(|_| page.len() == PAGE).map(|message| message.id);
        let filter = Filter::from(endpoint.settings.clone());
        let wanted: Vec<MessageId> = page
            .iter()
            .filter(|message| filter.wants(&message.event_type, message.channels.as_deref()))
            .map(|message| message.id)
            .collect();
        let states = self.store.states_at(endpoint.id, &wanted).await?;
        let known: HashSet<MessageId> = states.into_iter().map(|state| state.message).collect();
        let missing: Vec<MessageId> = wanted.into_iter().filter(|id| !known.contains(id)).collect();
        for message in page.iter().filter(|message| missing.contains(&message.id)) {
            self.store.note_destination(message, endpoint.id).await?;
        }
        Ok((missing, last))
    }
}

/// The page of messages that a step looks at, oldest first.
fn page_query(task: &Task) -> Result<LogQuery<MessageId>> {
    let after = task.after.as_deref().map(str::parse).transpose().map_err(corrupt("a task"))?;
    let cursor = after.map_or(Cursor::Start, Cursor::Behind);
    let floor = |at: Timestamp| Ksuid::new(at, [0; 15]);
    Ok(LogQuery {
        list: ListQuery { limit: PAGE, cursor, order: Order::Ascending },
        window: (floor(task.since), Ksuid::new(task.until, [0xff; 15])),
    })
}

fn fits_state(task: &Task, state: &State) -> bool {
    // What `resend` refuses, no task does.
    if state.by_hand.len() >= RESENDS_MAX {
        return false;
    }
    match task.kind {
        TaskKind::Recover => state.outcome() == Status::Fail,
        _ => task.filter.status.is_none_or(|status| state.outcome() == status),
    }
}

fn fits_message(filter: &TaskFilter, message: &Message) -> bool {
    let has = |list: &Option<Vec<String>>, wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| list.iter().flatten().any(|entry| entry == wanted))
    };
    filter.event_types.as_ref().is_none_or(|types| types.contains(&message.event_type))
        && has(&message.channels, &filter.channel)
        && has(&message.tags, &filter.tag)
}
