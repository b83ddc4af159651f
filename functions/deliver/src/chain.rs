//! What follows an attempt: the next one, and the delivery's state.

use std::sync::Arc;
use std::time::Duration;

use shared::Result;
use shared::clock::Timestamp;
use shared::error::Chain;
use shared::ids::{AttemptId, MessageId};
use shared::operational::{self, AttemptEvent, FAILING_AFTER, OperationalEvents as _, Warning};
use shared::queue::{DELAY_MAX, Deliver as DeliverJob, Job, Outgoing};
use shared::store::applications::Application;
use shared::store::attempts::{Attempt, Passage, State, Status};
use shared::store::endpoints::Endpoint;

use crate::job::AttemptJob;
use crate::mail::Notice;
use crate::{Deliver, InjectedBug};

/// An endpoint that has only failed for so long is disabled, by the contract.
const FAILING_MAX: Duration = Duration::from_secs(5 * 24 * 3600);
/// A success so soon after the failure was noted does not forget it: an endpoint that fails every
/// other time would cost two transactions each. [`FAILING_MAX`] counts from the end of this.
const FAILING_KEPT_MIN: Duration = Duration::from_secs(3600);
/// A message that has failed for so long notes that its endpoint fails, however many attempts are still to come.
const NOTED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// So long before it is disabled, an endpoint's owner is warned once more.
const WARNED_BEFORE: Duration = Duration::from_secs(24 * 3600);

/// Who sees to the attempt after one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// A job of its own.
    Queued,
    /// The endpoint's place in the order, where its key waits.
    InOrder {
        /// How many retries its policy has.
        retries: usize,
        /// It is alone, or the first of its webhook: what the others say of the endpoint it has said.
        leads: bool,
    },
}

impl Successor {
    /// Whether the policy has no attempt after that one, and it is tried again all the same.
    fn uses_up(self, number: u32) -> bool {
        matches!(self, Self::InOrder { retries, .. } if number as usize > retries)
    }

    /// Whether that is the last one of the policy.
    fn just_used_up(self, number: u32) -> bool {
        matches!(self, Self::InOrder { retries, .. } if number as usize == retries + 1)
    }
}

impl Deliver {
    /// What follows an attempt on record. `before`: how the delivery stood before it, if that was read.
    pub(crate) async fn finish(
        &self,
        app: &Application,
        job: &AttemptJob,
        attempt: &Attempt,
        before: Option<&State>,
    ) -> Result<()> {
        match job {
            AttemptJob::Scheduled(job) => self.finish_scheduled(app, job, attempt, Successor::Queued).await,
            AttemptJob::Manual(_) => self.finish_manual(app, attempt, before).await,
        }
    }

    /// Queues the successor of an attempt on record, lets the endpoint's health and operational
    /// webhooks follow from it, and then moves the state: steps two and three. All of it can be done
    /// twice, and is where the job comes back before the state was moved.
    pub(crate) async fn finish_scheduled(
        &self,
        app: &Application,
        job: &DeliverJob,
        attempt: &Attempt,
        successor: Successor,
    ) -> Result<()> {
        let status = match (attempt.status, attempt.next) {
            (Status::Success, _) => Status::Success,
            (_, Some(_)) => Status::Pending,
            (_, None) => Status::Fail,
        };
        let uses_up = successor.uses_up(job.number());
        // What waits at the head of an order is tried for ever: the endpoint fails once the policy is used up.
        let health = if status == Status::Pending && uses_up { Status::Fail } else { status };
        if !matches!(successor, Successor::InOrder { leads: false, .. }) {
            self.update_endpoint_health(app, attempt, health, job.due.first().copied()).await?;
        }
        let mut events = events(status, job.number());
        if status == Status::Pending && successor.just_used_up(job.number()) {
            events.push(AttemptEvent::Exhausted);
        }
        for event in events {
            self.enqueue_attempt_event(app, &job.due, attempt, event).await?;
        }
        let canceled = attempt.passage == Passage::Canceled;
        let state = State { next: attempt.next, canceled, ..state_of(job, status) };
        if self.has_bug(InjectedBug::StateBeforeSuccessor) {
            self.store.advance(&state).await?;
        }
        if status == Status::Fail {
            self.store.note_exhausted(app, attempt, job.number()).await?;
        }
        if let Some(due) = attempt.next {
            if successor == Successor::Queued {
                self.queue_successor(app, job, due).await?;
            }
            self.metrics.retried();
        }
        self.store.advance(&state).await?;
        Ok(())
    }

    /// What follows a manual attempt: the state says that it was made. The chain goes its own way.
    async fn finish_manual(
        &self,
        app: &Application,
        attempt: &Attempt,
        before: Option<&State>,
    ) -> Result<()> {
        if let Some(before) = before.filter(|before| recovers(before, attempt.status, attempt.passage)) {
            self.enqueue_attempt_event(app, &before.due, attempt, AttemptEvent::Recovered).await?;
        }
        if attempt.status == Status::Success || attempt.disables {
            self.update_endpoint_health(app, attempt, attempt.status, None).await?;
        }
        self.store.note_by_hand(attempt).await?;
        Ok(())
    }

    /// Whether nothing follows from a first attempt: it succeeded, and says nothing new of its endpoint.
    pub(crate) fn settles(endpoint: &Endpoint, attempt: &Attempt) -> bool {
        attempt.status == Status::Success
            && !attempt.disables
            && !endpoint.failing_since.is_some_and(|since| forgets(attempt, since))
    }

    /// Draws the conclusions about the endpoint: what arrived forgets its failures, a message that is
    /// given up, or has failed for a day, notes one, and an endpoint that asks for it, or has failed for too long, is
    /// disabled. `first_due`: when the first attempt of a chain was.
    async fn update_endpoint_health(
        &self,
        app: &Application,
        attempt: &Attempt,
        status: Status,
        first_due: Option<Timestamp>,
    ) -> Result<()> {
        if attempt.disables {
            tracing::info!(endpoint = %attempt.endpoint, "an endpoint asks to be disabled");
            return self.disable(app, attempt, attempt.at).await;
        }
        // What was not sent says nothing of whoever it was for.
        if attempt.passage == Passage::Canceled {
            return Ok(());
        }
        let failed_for = first_due.map_or(Duration::ZERO, |due| attempt.at.since(due));
        let is_noted = status == Status::Fail || status == Status::Pending && failed_for >= NOTED_AFTER;
        let Some(endpoint) = self.endpoint(app, attempt.endpoint).await? else { return Ok(()) };
        let is_failure = matches!(status, Status::Fail | Status::Pending);
        if is_failure && let Some(since) = endpoint.failing_since {
            self.note_older(app, &endpoint, since, attempt.message.time()).await?;
        }
        let reason = attempt.failure();
        let warning = |since: Timestamp| Warning {
            since,
            disabled_from: since.after(FAILING_MAX + FAILING_KEPT_MIN),
            reason: &reason,
        };
        match (status, endpoint.failing_since) {
            (Status::Success, Some(since)) if forgets(attempt, since) => {
                self.store.forget_failing(app, &endpoint, since).await.map(drop)
            }
            (Status::Fail | Status::Pending, None) if is_noted => {
                let warning = warning(attempt.at);
                let from = attempt.message.time();
                if self.store.note_failing(app, &endpoint, warning, from).await? {
                    self.mail(app, &endpoint, warning, Notice::Failing).await;
                    return Ok(());
                }
                // Another message did, which can be a younger one: this may be the last attempt of this one.
                let noted = self.store.find_endpoint(app.id, endpoint.id).await?;
                match noted.and_then(|noted| noted.failing_since.map(|since| (noted, since))) {
                    Some((noted, since)) => self.note_older(app, &noted, since, from).await,
                    None => Ok(()),
                }
            }
            (Status::Fail, Some(since)) if attempt.at.since(since) >= FAILING_MAX + FAILING_KEPT_MIN => {
                tracing::warn!(endpoint = %endpoint.id, %since, "an endpoint has failed for too long and is disabled");
                self.disable(app, attempt, since).await
            }
            (Status::Fail | Status::Pending, Some(since))
                if !endpoint.failing_warned
                    && attempt.at.since(since) >= FAILING_MAX + FAILING_KEPT_MIN - WARNED_BEFORE =>
            {
                let warning = warning(since);
                if self.store.warn_failing(app, &endpoint, warning, self.mailer.is_some()).await? {
                    self.mail(app, &endpoint, warning, Notice::DisabledSoon).await;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes that an endpoint, failing since then, also failed for a message that was made at `from`, if that is older
    /// than what is known. Other instances find out when their copy of the endpoint is renewed: each writes
    /// what is older than anything that it has seen, and no more.
    async fn note_older(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        since: Timestamp,
        from: Timestamp,
    ) -> Result<()> {
        if from >= endpoint.failing_from.unwrap_or(since) {
            return Ok(());
        }
        self.store.note_failing_from(app, endpoint.id, since, from).await?;
        let noted = Endpoint { failing_from: Some(from), ..endpoint.clone() };
        self.endpoints.put(endpoint.id, app.cache_version(), Arc::new(noted), self.clock.now());
        Ok(())
    }

    /// Sends a warning by mail, where that is on: by whoever noted it, so once.
    async fn mail(&self, app: &Application, endpoint: &Endpoint, warning: Warning<'_>, notice: Notice) {
        if let Some(mailer) = &self.mailer
            && app.org != operational::management_org()
        {
            mailer.warn(&self.store, app, endpoint, warning, notice).await;
        }
    }

    async fn disable(&self, app: &Application, attempt: &Attempt, since: Timestamp) -> Result<()> {
        if self.store.disable_endpoint(app, attempt, since).await? {
            self.metrics.disabled();
        }
        Ok(())
    }

    /// Sends an operational event to those who make a message of it; what the queue does not take is left to
    /// the timers function. A job that dies in between comes back and does so again: it is one message.
    async fn enqueue_attempt_event(
        &self,
        app: &Application,
        due: &[Timestamp],
        attempt: &Attempt,
        event: AttemptEvent,
    ) -> Result<()> {
        if !self.store.is_told(app.org, true).await? {
            return Ok(());
        }
        // Rare enough to read the message for the one thing that the job does not carry.
        let message = self.store.find_message(app.id, attempt.message).await?;
        let event_id = message.as_ref().and_then(|message| message.event_id.as_deref());
        let after =
            if event == AttemptEvent::Failing { None } else { self.failing_message(due, attempt).await? };
        let event = operational::attempt_event(app, attempt, event_id, event, after)?;
        match self.operational_queue.enqueue(&event).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), message_id = %attempt.message, "an operational webhook is sent later");
                self.store.enqueue_operational_event(event).await
            }
        }
    }

    /// The message that said that this delivery is failing, if one did.
    async fn failing_message(&self, due: &[Timestamp], attempt: &Attempt) -> Result<Option<MessageId>> {
        let Some(due) = FAILING_AFTER.checked_sub(1).and_then(|at| due.get(at as usize)) else {
            return Ok(None);
        };
        let (message, endpoint) = (attempt.message, attempt.endpoint);
        let id = AttemptId::scheduled(message, endpoint, FAILING_AFTER, *due);
        let at = if id == attempt.id {
            Some(attempt.at)
        } else {
            let made = self.store.attempts(message, &[(endpoint, id)]).await?;
            made.first().map(|made| made.at)
        };
        Ok(at.map(|at| operational::failing_message(id, at)))
    }

    /// Ends without an attempt. A chain ends with it; a manual attempt was no part of one.
    pub(crate) async fn abandon(&self, job: &AttemptJob, why: &'static str) -> Result<()> {
        tracing::info!(message_id = %job.message(), endpoint = %job.endpoint(), why, "a delivery stops");
        if let AttemptJob::Scheduled(job) = job {
            let state = State { next: None, stopped: true, ..state_of(job, Status::Fail) };
            Box::pin(self.store.advance(&state)).await?;
        }
        Ok(())
    }

    /// Ends at a disabled endpoint. What failed there before is listed as undelivered: nothing follows by itself.
    pub(crate) async fn stop_at_disabled(&self, app: &Application, job: &AttemptJob) -> Result<()> {
        if let AttemptJob::Scheduled(job) = job
            && job.number() > 1
        {
            let mut before = job.clone();
            before.due.pop();
            let number = before.number();
            let ids = AttemptJob::Scheduled(before).ids_on_record();
            let (_, last) = Box::pin(self.store.delivery(job.endpoint, job.message, &ids)).await?;
            if let Some(last) = last {
                Box::pin(self.store.note_undelivered(app, &last, number)).await?;
            }
        }
        self.abandon(job, "the endpoint is disabled").await
    }

    async fn queue_successor(&self, app: &Application, job: &DeliverJob, due: Timestamp) -> Result<()> {
        let wait = due.since(self.clock.now());
        let mut next =
            DeliverJob { version: app.version, check: false, not_before: None, slot: None, ..job.clone() };
        if app.version != job.version {
            next.payload = None; // read from the message from now on
        }
        next.due.push(due);
        let group = job.app.to_string();
        if wait <= DELAY_MAX {
            let outgoing = Outgoing::new(&Job::Deliver(next.clone()), wait, &group)?;
            match self.sqs.send_one(&self.sources[1].queue, outgoing).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), message_id = %job.message, "a retry is parked");
                    // The queue may have taken what it did not acknowledge.
                    next.check = true;
                }
            }
        }
        // A timer is written for each retry: without the text it costs one unit.
        next.payload = None;
        let body = Job::Deliver(next).body()?;
        self.store.set_timer(due, job.message, job.endpoint, &group, &body).await
    }
}

/// Whether a manual attempt delivers what was told to fail, or to be given up: the first one that does.
fn recovers(before: &State, status: Status, passage: Passage) -> bool {
    // Of one that was stopped, the last was not made.
    let made = before.number() - u32::from(before.stopped && before.number() > 0);
    let exhausted = before.status == Status::Fail && made > 0 && !before.stopped;
    let told = made >= FAILING_AFTER || exhausted;
    status == Status::Success && passage != Passage::Canceled && before.outcome() != Status::Success && told
}

/// Whether a success makes its endpoint forget that it fails since then.
fn forgets(success: &Attempt, since: Timestamp) -> bool {
    success.passage != Passage::Canceled && success.at.since(since) > FAILING_KEPT_MIN
}

/// The state of a delivery after the attempt of `job`.
fn state_of(job: &DeliverJob, status: Status) -> State {
    State {
        endpoint: job.endpoint,
        message: job.message,
        status,
        due: job.due.clone(),
        next: None,
        stopped: false,
        by_hand: Vec::new(),
        delivered_by_hand: false,
        canceled: false,
        first: None,
    }
}

/// What attempt number `number`, after which the delivery stands like this, tells the operator.
fn events(status: Status, number: u32) -> Vec<AttemptEvent> {
    let mut events = Vec::new();
    match status {
        Status::Success if number > FAILING_AFTER => events.push(AttemptEvent::Recovered),
        Status::Success => {}
        Status::Pending | Status::Fail | Status::Sending => {
            if number == FAILING_AFTER {
                events.push(AttemptEvent::Failing);
            }
            if status == Status::Fail {
                events.push(AttemptEvent::Exhausted);
            }
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use shared::ids::{EndpointId, Id as _, Ksuid};

    use super::*;

    #[test]
    fn what_was_told_to_fail_or_to_be_given_up_recovers_once() {
        let id = Ksuid::new(Timestamp::from_ms(1_800_000_000_000), [7; 15]);
        let (message, endpoint) = (MessageId::from_ksuid(id), EndpointId::from_ksuid(id));
        let state = |status, number: usize, stopped| State {
            due: vec![Timestamp::from_ms(1_800_000_000_000); number],
            stopped,
            ..State {
                endpoint,
                message,
                status,
                due: Vec::new(),
                next: None,
                stopped: false,
                by_hand: Vec::new(),
                delivered_by_hand: false,
                canceled: false,
                first: None,
            }
        };
        let told = |before: &State| recovers(before, Status::Success, Passage::default());
        for (status, number, stopped, expected) in [
            (Status::Fail, 1, false, true),
            (Status::Pending, 3, false, false),
            (Status::Pending, 4, false, true),
            // The fourth was not made: the endpoint was disabled, or the message was skipped.
            (Status::Fail, 4, true, false),
            (Status::Fail, 5, true, true),
            (Status::Fail, 0, false, false),
            (Status::Success, 5, false, false),
        ] {
            let before = state(status, number, stopped);
            assert_eq!(told(&before), expected, "{status:?} {number} {stopped}");
            assert!(!told(&State { delivered_by_hand: true, ..before.clone() }));
            assert!(!recovers(&before, Status::Fail, Passage::default()));
            assert!(!recovers(&before, Status::Success, Passage::Canceled));
        }
    }

    #[test]
    fn the_fourth_failure_the_last_one_and_a_late_success_are_told() {
        use AttemptEvent::{Exhausted, Failing, Recovered};
        assert_eq!(events(Status::Pending, 3), []);
        assert_eq!(events(Status::Pending, 4), [Failing]);
        assert_eq!(events(Status::Pending, 5), []);
        assert_eq!(events(Status::Fail, 4), [Failing, Exhausted]);
        assert_eq!(events(Status::Fail, 1), [Exhausted]);
        assert_eq!(events(Status::Success, 4), []);
        assert_eq!(events(Status::Success, 5), [Recovered]);
    }
}
