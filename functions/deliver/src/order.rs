//! Ordered delivery: who waits for whom, and who goes on after whom.
//!
//! A delivery that is in order waits for those before it in its lane. It is then noted in the state of the
//! nearest that has not ended, on condition that this has not ended, and its job is done with. The job that
//! ends a delivery queues those that wait for it, after the state was moved: nothing is added to an ended
//! state, so none is missed; a job that dies in between comes back and does so.
//!
//! A request can die after its message has claimed a place and before its delivery is queued, so who waits for
//! a delivery that has not begun queues that as well, a while later. (docs/adr/0035-ordered-delivery.md)

use std::time::Duration;

use shared::Result;
use shared::ids::{EndpointId, MessageId};
use shared::queue::{Deliver as DeliverJob, Job, Outgoing};
use shared::store::applications::Application;
use shared::store::order::{Standing, Waiting};

use crate::job::AttemptJob;
use crate::{Deliver, InjectedBug};

/// How many of the messages before a delivery are looked at together. Each of those has waited for the ones
/// before it, so more are looked at only where all of these were taken back.
const LOOKED_AT: usize = 4;
/// After this time a delivery that has not begun is queued once more by one that waits for it. Its own job is
/// worked on by then, or marks that it waits, so this copy nearly always ends at once.
const QUEUED_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Deliver {
    /// Whether a delivery has to wait for another one. If so, it is noted there, and its job is done with.
    pub(crate) async fn waits(&self, app: &Application, job: &AttemptJob) -> Result<bool> {
        let AttemptJob::Scheduled(job) = job else { return Ok(false) };
        // A retry has waited already.
        let after = job.after.as_deref().filter(|_| job.number() == 1).unwrap_or_default();
        for (at, group) in after.chunks(LOOKED_AT).enumerate() {
            let standings = self.store.standings(job.endpoint, group).await?;
            let mut any_ended = false;
            for (nth, first) in group.iter().enumerate() {
                let found = standings.iter().find(|(message, _)| message == first);
                let standing = found.map(|(_, standing)| standing.clone()).unwrap_or_default();
                if standing.ended || (standing.begun && self.has_bug(InjectedBug::LaneHeldByTwo)) {
                    any_ended = true;
                    continue;
                }
                let before_it = &after[at * LOOKED_AT + nth + 1..];
                match self.wait_for(app, job, *first, &standing, before_it).await? {
                    Wait::Noted => return Ok(true),
                    Wait::Ended => any_ended = true,
                    Wait::TakenBack => {}
                }
            }
            if any_ended {
                break;
            }
        }
        Ok(false)
    }

    /// Lets a delivery wait for that of the message `first`, which is behind those of `before_it`.
    async fn wait_for(
        &self,
        app: &Application,
        job: &DeliverJob,
        first: MessageId,
        standing: &Standing,
        before_it: &[MessageId],
    ) -> Result<Wait> {
        if standing.waiting.iter().any(|waiting| waiting.message == job.message) {
            return Ok(Wait::Noted);
        }
        if !standing.begun {
            if self.has_bug(InjectedBug::UnbegunIsPassed) {
                return Ok(Wait::TakenBack);
            }
            // Messages are stored before they claim a place.
            let Some(message) = self.store.find_message(app.id, first).await? else {
                return Ok(Wait::TakenBack);
            };
            // Before it is noted: where the note is there, this was done.
            let again = DeliverJob::first_of(app, &message, None, job.endpoint, true);
            let again = Job::Deliver(again.placed(Some(before_it.to_vec())));
            let again = Outgoing::new(&again, QUEUED_AGAIN_AFTER, app.id)?;
            self.sqs.send_one(&self.sources[0].queue, again).await?;
        }
        let waiting = Waiting { message: job.message, trace: job.trace };
        Ok(if self.store.wait_for(job.endpoint, first, waiting).await? { Wait::Noted } else { Wait::Ended })
    }

    /// Queues what waits for the delivery of `job`, if that has ended.
    pub(crate) async fn wake_next(&self, app: &Application, job: &AttemptJob) -> Result<()> {
        if job.is_ordered() { self.wake(app, job.endpoint(), job.message()).await } else { Ok(()) }
    }

    /// Queues what waits for a delivery, if that has ended.
    pub(crate) async fn wake(
        &self,
        app: &Application,
        endpoint: EndpointId,
        message: MessageId,
    ) -> Result<()> {
        let standing = self.store.standing(endpoint, message).await?;
        if !standing.ended {
            return Ok(());
        }
        self.queue_waiting(app, endpoint, standing.waiting, &[]).await
    }

    /// Queues what waits for the delivery of a message that was taken back: that is not delivered, and must
    /// not be said to have ended, as its client may post it again. What waited for it is behind those before it.
    pub(crate) async fn pass_over(&self, app: &Application, job: &AttemptJob) -> Result<()> {
        let AttemptJob::Scheduled(job) = job else { return Ok(()) };
        let standing = self.store.standing(job.endpoint, job.message).await?;
        let before_it = job.after.as_deref().unwrap_or_default();
        self.queue_waiting(app, job.endpoint, standing.waiting, before_it).await
    }

    async fn queue_waiting(
        &self,
        app: &Application,
        endpoint: EndpointId,
        waiting: Vec<Waiting>,
        after: &[MessageId],
    ) -> Result<()> {
        for Waiting { message, trace } in waiting {
            let Some(message) = self.store.find_message(app.id, message).await? else { continue };
            let payload = self.store.payload(&message).await?;
            let next = DeliverJob::first_of(app, &message, payload, endpoint, true);
            let next = Job::Deliver(next.placed(Some(after.to_vec()))).following(trace);
            self.sqs.send_one(&self.sources[0].queue, Outgoing::new(&next, Duration::ZERO, app.id)?).await?;
        }
        Ok(())
    }
}

/// How it went to wait for a delivery.
enum Wait {
    /// It is noted there.
    Noted,
    /// It has ended meanwhile.
    Ended,
    /// Its message is not there any more.
    TakenBack,
}
