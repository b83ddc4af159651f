//! Several messages of an ordered endpoint as one webhook: which, and what becomes of each (ADR 0038).
//!
//! Nothing is stored of a list. Those that were tried together have one and the same next attempt in their states, and are a list
//! again by that; those that were tried twice, or refused, go one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use shared::Result;
use shared::clock::Timestamp;
use shared::ids::{AttemptId, EndpointId, MessageId};
use shared::order::HELD_MIN;
use shared::queue::Deliver as DeliverJob;
use shared::store::applications::Application;
use shared::store::attempts::{Attempt, State, Status};
use shared::store::endpoints::Endpoint;
use shared::store::messages::{Message, Payload};
use shared::together::{self, BATCH_LENGTH_MAX, Body};
use shared::transformation::RUNS_MAX;

use super::lanes::Begun;
use super::step::{Step, Stepped, after, next_of};
use crate::destination::{AttemptRequest, Attempted};
use crate::job::AttemptJob;
use crate::spans::Made;
use crate::throttle::limit_of;
use crate::transform::Prepared;
use crate::{Batch, Deliver, InjectedBug};

/// Messages that are read first; how many more at a time follows from how long these are.
const READ_FIRST: usize = 20;
/// Most messages that are read at a time.
const READ_MAX: usize = 100;
/// For how long transformations are run before the list is sent with what there is.
const TRANSFORMING_MAX: Duration = Duration::from_secs(5);
/// Attempts of one list that are recorded at a time.
const RECORDED_AT_ONCE: usize = 16;

/// A message that the lane has next, and how its delivery stands.
#[derive(Debug)]
struct Found {
    message: Message,
    state: Option<State>,
    /// Its first attempt, if that is on record.
    first: Option<Attempt>,
}

/// How the messages of a list stand: all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Not tried yet.
    Fresh,
    /// Tried once, together, and due again then.
    Again(Timestamp),
    /// To be sent alone, or an attempt is on record from which something is still to follow.
    Alone,
}

/// What is to be done about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing any more.
    Over,
    /// Its next attempt is due then.
    Later(Timestamp),
    /// Its next attempt.
    Is(Kind),
}

/// A message of the list.
#[derive(Debug)]
struct Member {
    /// Where in what was begun.
    at: usize,
    message: Message,
    scheduled: DeliverJob,
    payload: Payload,
    prepared: Prepared,
}

/// A list as far as it was put together.
#[derive(Debug, Default)]
struct List {
    kind: Option<Kind>,
    members: Vec<Member>,
    body: Body,
    /// So many of what was begun are in it, or done.
    covered: usize,
    /// No more are added.
    closed: bool,
}

impl Deliver {
    /// Does what is to be done about the next messages of a key: sends as many of them as one webhook has, or what is due of the
    /// first. As with one message, doing it again ends where it would have ended.
    pub(super) async fn step_list(
        &self,
        batch: &Batch,
        app: &Application,
        id: EndpointId,
        begun: &Begun,
    ) -> Result<Stepped> {
        let Some(endpoint) = self.endpoint(app, id).await? else { return Ok(Stepped::one(Step::Stop)) };
        if endpoint.settings.disabled {
            return Ok(Stepped::one(Step::Stop));
        }
        if !endpoint.settings.destination.takes_lists() {
            let Some(message) = begun.messages.first() else { return Ok(Stepped::one(Step::Done)) };
            let step = self.step(batch, app, id, *message, (begun.slot, begun.forced)).await?;
            return Ok(Stepped::one(step));
        }
        let size = endpoint.settings.batching().map_or(1, |batching| usize::from(batching.size));
        // A second's worth at most, where there is a limit.
        let limit = limit_of(app, &endpoint);
        let rate = limit.as_ref().map_or(usize::MAX, |limit| usize::from(limit.per_second.max(1)));
        let most = begun.messages.len().min(size).min(rate);
        let started = self.clock.now();
        let mut list = List::default();
        let mut wanted = if endpoint.transformation.is_some() { RUNS_MAX } else { READ_FIRST };
        while list.covered < most && !list.closed {
            let upto = most.min(list.covered + wanted);
            let found = self.look_up(app, id, &begun.messages[list.covered..upto]).await?;
            if let Some(ended) = self.add(batch, app, &endpoint, (begun, found), &mut list).await? {
                return Ok(ended);
            }
            if endpoint.transformation.is_some() {
                list.closed |= self.clock.now().since(started) >= TRANSFORMING_MAX;
            } else if let Some(each) = list.body.length().checked_div(list.members.len()) {
                let left = BATCH_LENGTH_MAX.saturating_sub(list.body.length()) / each.max(1);
                wanted = (left + 1).clamp(1, READ_MAX);
            }
        }
        let more = list.members.len().saturating_sub(1);
        if let Some(limit) = limit.filter(|_| more > 0) {
            // The first has its slot; those of the others are as many messages later for whoever comes next.
            self.store.reserve_slots(limit, u32::try_from(more).unwrap_or(u32::MAX)).await?;
        }
        self.send_list(batch, app, &endpoint, list).await
    }

    /// The messages that are there of those, with the state and the first attempt of each; none for one that is not.
    async fn look_up(
        &self,
        app: &Application,
        endpoint: EndpointId,
        messages: &[MessageId],
    ) -> Result<Vec<Option<Found>>> {
        // A request for several does not take one twice, and an order can have it twice: nobody needs the second.
        let once: BTreeSet<MessageId> = messages.iter().copied().collect();
        let once: Vec<MessageId> = once.into_iter().collect();
        let found = self.store.messages_now(app.id, &once).await?;
        let first = |message: &Message| {
            (message.id, AttemptJob::Scheduled(job_of(app, endpoint, message, None)).id())
        };
        let wanted: Vec<(MessageId, AttemptId)> = found.iter().map(first).collect();
        let known = self.store.deliveries(endpoint, &wanted).await?;
        let found = found.into_iter().zip(known);
        let mut found: BTreeMap<MessageId, Found> =
            found.map(|(message, (state, first))| (message.id, Found { message, state, first })).collect();
        Ok(messages.iter().map(|id| found.remove(id)).collect())
    }

    /// What is to be done about a message. One that is `forced` is tried before it is due.
    async fn standing(
        &self,
        app: &Application,
        endpoint: EndpointId,
        found: Option<&Found>,
        forced: bool,
    ) -> Result<Standing> {
        // Taken back before it was accepted, or expired.
        let Some(Found { message, state, first }) = found else { return Ok(Standing::Over) };
        let Some(state) = state.as_ref().filter(|state| state.number() > 0) else {
            // From one that is on record something is still to follow.
            return Ok(Standing::Is(if first.is_some() { Kind::Alone } else { Kind::Fresh }));
        };
        let Some(next) = next_of(state) else { return Ok(Standing::Over) };
        if next > self.clock.now() && !forced && !state.delivered_by_hand {
            return Ok(Standing::Later(next));
        }
        if state.number() > 1 || first.as_ref().is_none_or(is_refused) {
            return Ok(Standing::Is(Kind::Alone));
        }
        let scheduled = job_of(app, endpoint, message, Some(state));
        let ids = AttemptJob::Scheduled(scheduled).ids_on_record();
        let (_, recorded) = self.store.delivery(endpoint, message.id, &ids).await?;
        Ok(Standing::Is(if recorded.is_some() { Kind::Alone } else { Kind::Again(next) }))
    }

    /// Adds those of the next messages to the list that belong to it. What became of the first, if that is not sent in one.
    async fn add(
        &self,
        batch: &Batch,
        app: &Application,
        endpoint: &Endpoint,
        (begun, found): (&Begun, Vec<Option<Found>>),
        list: &mut List,
    ) -> Result<Option<Stepped>> {
        let (mut standings, alone) = (Vec::with_capacity(found.len()), (begun.slot, begun.forced));
        for one in &found {
            standings.push(self.standing(app, endpoint.id, one.as_ref(), begun.forced));
        }
        let standings = try_join_all(standings).await?;
        // None of one that is done.
        let mut next: Vec<Option<Member>> = Vec::with_capacity(found.len());
        for (found, standing) in found.into_iter().zip(standings) {
            let is_first = list.kind.is_none();
            let Some(found) = found.filter(|found| standing != Standing::Over && !list.has(found.message.id))
            else {
                next.push(None);
                continue;
            };
            match standing {
                Standing::Later(at) if is_first => {
                    list.covered += next.len();
                    return Ok(Some(list.ended(Step::Later { next: at, slot: begun.slot })));
                }
                Standing::Is(Kind::Alone) if is_first => {
                    list.kind = Some(Kind::Alone);
                    list.covered += next.len();
                    let step = self.step(batch, app, endpoint.id, found.message.id, alone).await?;
                    return Ok(Some(list.ended(step)));
                }
                Standing::Is(kind) if is_first || list.kind == Some(kind) => list.kind = Some(kind),
                _ => {
                    list.closed = true;
                    break;
                }
            }
            next.push(self.member(app, endpoint.id, found).await?);
        }
        if list.members.is_empty()
            && let Some(first) = next.iter().position(Option::is_some)
            && let Some(slot) = self.slot_to_wait_for(batch, app, endpoint, begun.slot).await?
        {
            list.covered += first;
            return Ok(Some(list.ended(Step::Later { next: slot, slot: Some(slot) })));
        }
        let mut runs = Vec::with_capacity(next.len());
        for Member { message, payload, .. } in next.iter().flatten() {
            runs.push(self.transformed(batch, app, endpoint, payload, &message.labels));
        }
        let prepared = try_join_all(runs).await?;
        for (member, prepared) in next.iter_mut().flatten().zip(prepared) {
            member.prepared = prepared;
        }
        for member in next {
            let Some(mut member) = member else {
                list.covered += 1;
                continue;
            };
            member.at = list.covered;
            match &member.prepared {
                Prepared::Canceled => self.cancel(batch, app, endpoint, &member).await?,
                // Its own failure, and not the list's.
                Prepared::Failed(_) if list.members.is_empty() => {
                    let step = self.step(batch, app, endpoint.id, member.message.id, alone).await?;
                    return Ok(Some(list.ended(step)));
                }
                Prepared::Failed(_) => {
                    list.closed = true;
                    return Ok(None);
                }
                Prepared::AsItIs | Prepared::Changed(_) => {
                    if !list.members.first().is_none_or(|first| first.goes_with(&member, endpoint))
                        || !list.body.add(member.in_list(endpoint))
                    {
                        list.closed = true;
                        return Ok(None);
                    }
                    list.members.push(member);
                }
            }
            list.covered += 1;
        }
        Ok(None)
    }

    /// A message as a member of a list; none, and its delivery ends, if there is nothing to send.
    async fn member(&self, app: &Application, endpoint: EndpointId, found: Found) -> Result<Option<Member>> {
        let Found { message, state, .. } = found;
        let scheduled = job_of(app, endpoint, &message, state.as_ref());
        let job = AttemptJob::Scheduled(scheduled.clone());
        if job.is_needless(state.as_ref()) {
            self.abandon(&job, "a resend delivered it").await?;
            return Ok(None);
        }
        let Some(payload) = self.store.payload(&message).await? else {
            self.abandon(&job, "the payload is gone").await?;
            return Ok(None);
        };
        Ok(Some(Member { at: 0, message, scheduled, payload, prepared: Prepared::AsItIs }))
    }

    /// Records that a transformation wants nothing sent of a message.
    async fn cancel(
        &self,
        batch: &Batch,
        app: &Application,
        endpoint: &Endpoint,
        member: &Member,
    ) -> Result<()> {
        let Member { message, scheduled, payload, prepared, .. } = member;
        let job = AttemptJob::Scheduled(scheduled.clone());
        let content = (payload, message.labels.clone());
        let made = self.make(batch, app, endpoint, &job, content, (prepared, None)).await?;
        self.keep(app, endpoint, (scheduled, &made.attempt), true).await
    }

    /// Sends a list, and records an attempt of each of its messages.
    async fn send_list(
        &self,
        batch: &Batch,
        app: &Application,
        endpoint: &Endpoint,
        list: List,
    ) -> Result<Stepped> {
        let tried = list.is_tried();
        let List { members, body, covered, .. } = list;
        let Some(first) = members.first() else {
            return Ok(Stepped { done: covered, step: Step::Done, tried });
        };
        let body = body.finish();
        let jobs: Vec<AttemptJob> =
            members.iter().map(|member| AttemptJob::Scheduled(member.scheduled.clone())).collect();
        let http_key = self.http_key(app, endpoint).await?;
        let traceparent = self.spans.header(self.spans.of(&jobs[0]));
        let requests: Vec<AttemptRequest<'_>> = members
            .iter()
            .zip(&jobs)
            .map(|(member, job)| AttemptRequest {
                id: job.id(),
                message: member.message.id,
                endpoint,
                payload: &member.payload,
                labels: member.message.labels.clone(),
                trigger: job.trigger(),
                prepared: &member.prepared,
                traceparent: traceparent.as_deref(),
                http_key: http_key.as_ref(),
                on_the_way: None,
            })
            .collect();
        let made = self.watched(app, endpoint.id, self.destinations.attempt_list(&requests, &body)).await?;
        let now = self.clock.now();
        // When it is tried again follows from the first, so that all of them are again one list.
        let (policy, of) = (self.retries(app, endpoint), (first.message.id, endpoint.id));
        let number = first.scheduled.number();
        let mut attempts = Vec::with_capacity(made.len());
        for (Attempted { mut attempt, hint, aborted }, member) in made.into_iter().zip(&members) {
            if attempt.status != Status::Success && !aborted {
                let held = policy.held_until(of, number, HELD_MIN, now);
                let due = [policy.next_due(of, number, hint, now), Some(held)];
                attempt.next = due.into_iter().flatten().find(|at| *at < member.message.payload_until);
                if self.has_bug(InjectedBug::OrderPassesTail) && !attempts.is_empty() {
                    (attempt.status, attempt.next) = (Status::Success, None);
                }
            }
            attempts.push(attempt);
        }
        for ((attempt, member), job) in attempts.iter().zip(&members).zip(&jobs) {
            let made = Made { job, app, endpoint, prepared: &member.prepared, attempt };
            self.spans.collect(&batch.spans, self.spans.of(job), made);
        }
        let mut kept = members.iter().map(|member| &member.scheduled).zip(&attempts);
        if let Some(first) = kept.next() {
            self.keep(app, endpoint, first, true).await?;
        }
        let mut recording = FuturesUnordered::new();
        for one in kept {
            if recording.len() >= RECORDED_AT_ONCE {
                recording.try_next().await?;
            }
            recording.push(self.keep(app, endpoint, one, false));
        }
        while recording.try_next().await?.is_some() {}
        let waits = members.iter().zip(&attempts).find(|(_, attempt)| attempt.next.is_some());
        Ok(match waits {
            Some((member, attempt)) => Stepped { done: member.at, step: after(attempt), tried: true },
            None => Stepped { done: covered, step: Step::Done, tried },
        })
    }
}

impl List {
    /// Whether its messages had been tried before.
    const fn is_tried(&self) -> bool {
        matches!(self.kind, Some(Kind::Again(_) | Kind::Alone))
    }

    /// What became of it where what comes next is not sent in a list.
    const fn ended(&self, step: Step) -> Stepped {
        Stepped::behind(self.covered, step, self.is_tried())
    }

    /// An order can have a message twice.
    fn has(&self, message: MessageId) -> bool {
        self.members.iter().any(|member| member.message.id == message)
    }
}

impl Member {
    /// Whether both go to the same place in the same way, whatever a transformation made of them.
    fn goes_with(&self, other: &Self, endpoint: &Endpoint) -> bool {
        let way = |member: &Self| {
            let (to, _, method) = member.prepared.target(endpoint, &member.payload);
            (to.settings.destination.clone(), to.headers.clone(), method.clone())
        };
        // Without a transformation they do.
        matches!((&self.prepared, &other.prepared), (Prepared::AsItIs, Prepared::AsItIs))
            || way(self) == way(other)
    }

    fn in_list<'a>(&'a self, endpoint: &'a Endpoint) -> together::Member<'a> {
        let (_, payload, _) = self.prepared.target(endpoint, &self.payload);
        together::Member { id: self.message.id, event_type: &self.message.labels.event_type, payload }
    }
}

/// The job of a message's next attempt.
fn job_of(app: &Application, endpoint: EndpointId, message: &Message, state: Option<&State>) -> DeliverJob {
    let mut job = DeliverJob::first_of(app, message, None, endpoint, true);
    if let Some(state) = state.filter(|state| state.number() > 0) {
        job.due.clone_from(&state.due);
        job.due.extend(next_of(state));
    }
    job
}

/// Whether a receiver says that it does not want what it got: it would say so again, and of all that is in a list. What it takes
/// of it shows when they come one by one.
const fn is_refused(attempt: &Attempt) -> bool {
    matches!(attempt.code, 400 | 409 | 413 | 422)
}
