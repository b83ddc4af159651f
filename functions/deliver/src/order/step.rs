//! One message of an ordered endpoint: what is to be done about it now.

use shared::Result;
use shared::clock::Timestamp;
use shared::ids::EndpointId;
use shared::order::HELD_MIN;
use shared::queue::Deliver as DeliverJob;
use shared::store::applications::Application;
use shared::store::attempts::{Attempt, State, Status};

use super::lanes::Begun;
use crate::chain::Successor;
use crate::destination::Attempted;
use crate::job::AttemptJob;
use crate::{Batch, Deliver};

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
        Begun { message, slot, forced, .. }: Begun,
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
        let in_order = Successor::InOrder { retries: policy.waits().len() };
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
        let settled = attempt.is_first() && Self::settles(&endpoint, &attempt);
        self.record(&attempt, settled).await?;
        self.count(app.id, &attempt);
        if let Some(due) = job.first_due() {
            self.metrics.first_attempt_after(attempt.at.since(due));
        }
        if !settled {
            self.finish_scheduled(app, &scheduled, &attempt, in_order).await?;
        }
        Ok(after(&attempt))
    }
}

/// What follows from an attempt.
fn after(attempt: &Attempt) -> Step {
    match attempt.next {
        Some(next) if attempt.disables => Step::LaterAndStop { next, slot: None },
        Some(next) => Step::Later { next, slot: None },
        None => Step::Done,
    }
}

/// When a delivery's next attempt is due; none if it is over.
fn next_of(state: &State) -> Option<Timestamp> {
    match state.status {
        Status::Pending | Status::Sending => state.next,
        Status::Success | Status::Fail => None,
    }
}
