//! One message of an ordered endpoint: what is to be done about it now.

use shared::Result;
use shared::clock::Timestamp;
use shared::ids::{EndpointId, MessageId};
use shared::order::HELD_MIN;
use shared::queue::Deliver as DeliverJob;
use shared::store::applications::Application;
use shared::store::attempts::{Attempt, State, Status};
use shared::store::endpoints::Endpoint;

use crate::chain::Successor;
use crate::destination::Attempted;
use crate::job::AttemptJob;
use crate::{Batch, Deliver};

/// What became of the messages at the head of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// So many of them are done.
    pub done: usize,
    /// What becomes of the one after these, or of the last of them.
    pub step: Step,
    /// They had been tried before, and those behind them may have been, too.
    pub tried: bool,
}

impl Stepped {
    /// What became of one message.
    pub const fn one(step: Step) -> Self {
        Self::behind(0, step, false)
    }

    /// What became of the one behind `done` others.
    pub const fn behind(done: usize, step: Step, tried: bool) -> Self {
        Self { done: if matches!(step, Step::Done) { done + 1 } else { done }, step, tried }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its key goes on.
    Done,
    /// Its key waits for it until then.
    Later {
        /// When it is tried again.
        next: Timestamp,
        /// The slot of a rate limit that it has taken.
        slot: Option<Timestamp>,
    },
    /// The same, and the endpoint wants nothing more.
    LaterAndStop {
        /// When it is tried again, should the endpoint be enabled.
        next: Timestamp,
        /// The slot of a rate limit that it has taken.
        slot: Option<Timestamp>,
    },
    /// Nothing is sent to the endpoint.
    Stop,
}

impl Deliver {
    /// Does what is to be done about a message: its next attempt, if that is due, or what is left of the last. The
    /// delivery's state says where it is, so that doing it again ends where it would have ended.
    pub(super) async fn step(
        &self,
        batch: &Batch,
        app: &Application,
        id: EndpointId,
        message: MessageId,
        (slot, forced): (Option<Timestamp>, bool),
    ) -> Result<Step> {
        let Some(endpoint) = self.endpoint(app, id).await? else { return Ok(Step::Stop) };
        if endpoint.settings.disabled {
            return Ok(Step::Stop);
        }
        // Taken back before it was accepted, or expired.
        let Some(message) = self.store.find_message(app.id, message).await? else { return Ok(Step::Done) };
        let mut job = DeliverJob { slot, ..DeliverJob::first_of(app, &message, None, id, true) };
        let ids = AttemptJob::Scheduled(job.clone()).ids_on_record();
        let (state, mut recorded) = self.store.delivery(id, message.id, &ids).await?;
        if let Some(state) = state.as_ref().filter(|state| state.number() > 0) {
            let Some(next) = next_of(state) else { return Ok(Step::Done) };
            if next > self.clock.now() && !forced && !state.delivered_by_hand {
                return Ok(Step::Later { next, slot });
            }
            job.due.clone_from(&state.due);
            job.due.push(next);
            let ids = AttemptJob::Scheduled(job.clone()).ids_on_record();
            recorded = self.store.delivery(id, message.id, &ids).await?.1;
        }
        let policy = self.retries(app, &endpoint);
        let in_order = Successor::InOrder { retries: policy.waits().len(), leads: true };
        let scheduled = job.clone();
        let job = AttemptJob::Scheduled(job);
        if let Some(attempt) = recorded {
            if attempt.is_first() && state.as_ref().is_none_or(|state| state.first.is_none()) {
                // A long one, whose result was not claimed yet.
                self.record(&attempt, false).await?;
            }
            self.finish_scheduled(app, &scheduled, &attempt, in_order).await?;
            return Ok(after(&attempt));
        }
        if job.is_needless(state.as_ref()) {
            self.abandon(&job, "a resend delivered it").await?;
            return Ok(Step::Done);
        }
        let Some(payload) = self.store.payload(&message).await? else {
            self.abandon(&job, "the payload is gone").await?;
            return Ok(Step::Done);
        };
        if endpoint.settings.destination.is_polled() {
            self.abandon(&job, "the endpoint is polled now").await?;
            return Ok(Step::Done);
        }
        if let Some(slot) = self.slot_to_wait_for(batch, app, &endpoint, job.slot()).await? {
            return Ok(Step::Later { next: slot, slot: Some(slot) });
        }
        let prepared = self.transformed(batch, app, &endpoint, &payload, &message.labels).await?;
        // Of lines in S3, an object holds one: the next one of a key has to wait for it.
        let content = (&payload, message.labels.clone());
        let made = self.make(batch, app, &endpoint, &job, content, (&prepared, None)).await?;
        let Attempted { mut attempt, hint, aborted } = made;
        let now = self.clock.now();
        // Also where the endpoint is disabled by it: the message waits for as long as the endpoint is.
        if attempt.status != Status::Success && !aborted {
            let of = (message.id, id);
            let held = || Some(policy.held_until(of, scheduled.number(), HELD_MIN, now));
            let held = || held().filter(|due| *due < message.payload_until);
            attempt.next = job.next_due(&policy, hint, now).or_else(held);
        }
        self.keep(app, &endpoint, (&scheduled, &attempt), true).await?;
        Ok(after(&attempt))
    }

    /// Records an attempt that was made in order, and what follows from it. `leads`: it is alone, or the first of its
    /// webhook.
    pub(super) async fn keep(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        (scheduled, attempt): (&DeliverJob, &Attempt),
        leads: bool,
    ) -> Result<()> {
        let over = if leads {
            Self::settles(endpoint, attempt)
        } else {
            attempt.status == Status::Success && !attempt.disables
        };
        let settled = attempt.is_first() && over;
        self.record(attempt, settled).await?;
        self.count(app.id, attempt);
        if scheduled.number() == 1 {
            self.metrics.first_attempt_after(attempt.at.since(scheduled.due()));
        }
        if !settled {
            let retries = self.retries(app, endpoint).waits().len();
            let in_order = Successor::InOrder { retries, leads };
            self.finish_scheduled(app, scheduled, attempt, in_order).await?;
        }
        Ok(())
    }
}

/// What follows from an attempt.
pub(super) fn after(attempt: &Attempt) -> Step {
    match attempt.next {
        Some(next) if attempt.disables => Step::LaterAndStop { next, slot: None },
        Some(next) => Step::Later { next, slot: None },
        None => Step::Done,
    }
}

/// When a delivery's next attempt is due; none if it is over.
pub(super) fn next_of(state: &State) -> Option<Timestamp> {
    match state.status {
        Status::Pending | Status::Sending => state.next,
        Status::Success | Status::Fail => None,
    }
}
