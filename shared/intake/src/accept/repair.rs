//! Queues what a request that died left without a job.

use std::time::Duration;

use domain::Result;
use domain::application::Application;
use domain::error::unavailable;
use domain::ids::{EndpointId, MessageId};
use domain::job::{Advance, Deliver, Job};
use domain::message::{Message, Payload};
use domain::order::Ordered;
use domain::payload_filter::PayloadView;
use queue::DEDUP_FREE_WINDOW;
use runtime::trace::Trace;

use super::queueing::{fan_out, outgoing};
use super::{ENDPOINTS_AT_ONCE_MAX, MARGIN};
use crate::Intake;
use crate::targets::Target;

/// For how long a repeated request looks after deliveries that were never queued.
const REPAIRED_FOR: Duration = Duration::from_secs(3600);

/// For how long something of the request that drew a message's ID can still take effect, by clocks that differ (ADR 0029):
/// its jobs, and a delete that takes the message back.
const YOUNG: Duration = Duration::from_secs(120);

impl Intake {
    /// Queues what a crash kept from being queued: the deliveries that have no state.
    pub(super) async fn repair(
        &self,
        app: &Application,
        message: &Message,
        trace: Option<Trace>,
    ) -> Result<()> {
        let now = self.clock.now();
        if now.since(message.id.time()) > REPAIRED_FOR {
            return Ok(());
        }
        let is_young = now.since(message.id.time()) <= YOUNG;
        if is_young {
            self.hold(app, message.id).await?;
        }
        let endpoints = self.store.message_endpoints(message).await?;
        let states = self.store.states(message.id, &endpoints, true).await?;
        let begun = |endpoint: &EndpointId| states.iter().any(|s| s.endpoint == *endpoint && s.number() > 0);
        let missing: Vec<EndpointId> = endpoints.into_iter().filter(|endpoint| !begun(endpoint)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        tracing::info!(message_id = %message.id, endpoints = missing.len(), "a repeated request queues deliveries again");
        // They may be in the order, or not: once more does no harm.
        let targets = self.targets.of(&self.store, &*self.clock, app).await?;
        let is_ordered =
            |id: &EndpointId| targets.iter().any(|target| target.endpoint == *id && target.fifo.is_some());
        let ordered: Vec<EndpointId> = missing.iter().copied().filter(is_ordered).collect();
        if message.deliver_at.is_some_and(|at| at > now) {
            return self.schedule_again(app, message, &missing, &ordered, trace).await;
        }
        if !ordered.is_empty() {
            self.enter_order(app, message, &ordered, &targets).await?;
        }
        // The first request's own jobs may be running: wait until they have a state, or are over, and until
        // those that are still in the queue look before they post. From now on: how old the message is, only the clock
        // of that request knows.
        let free_after = (self.delivery_timeout + MARGIN).max(DEDUP_FREE_WINDOW);
        let delay = if is_young { free_after } else { Duration::ZERO };
        if missing.len() > ENDPOINTS_AT_ONCE_MAX {
            let job = fan_out(app, message.id, true, ordered, trace);
            return self.sqs.send_one(&self.background, outgoing(app, job, delay)?).await;
        }
        let payload = self.store.payload(message).await?;
        let job = |endpoint| {
            let job = again(app, message, payload.clone(), endpoint, &ordered, None);
            let delay = if ordered.contains(&endpoint) { Duration::ZERO } else { delay };
            outgoing(app, job.following(trace), delay)
        };
        let jobs: Result<Vec<_>> = missing.into_iter().map(job).collect();
        let sent = self.sqs.send(&self.deliveries, &jobs?).await;
        sent.map_err(unavailable("queue deliveries again"))
    }

    /// Adds a message to the order for those of its endpoints, before the request is told that it is accepted.
    async fn enter_order(
        &self,
        app: &Application,
        message: &Message,
        ordered: &[EndpointId],
        targets: &[Target],
    ) -> Result<()> {
        let payload = self.store.payload(message).await?;
        let view = payload.as_ref().map(|payload| PayloadView::new(&payload.json));
        let all: Vec<&Target> = targets.iter().filter(|target| target.fifo.is_some()).collect();
        let keyed = all.iter().filter(|target| ordered.contains(&target.endpoint)).map(|target| {
            let key = target.fifo.as_ref().zip(view.as_ref()).map(|(fifo, view)| fifo.key_of(view));
            (target.endpoint, key.unwrap_or_default())
        });
        let entered = Ordered { message: message.id, endpoints: keyed.collect() };
        let all: Vec<EndpointId> = all.iter().map(|target| target.endpoint).collect();
        self.store.append_to_order(app.id, &all, &[entered]).await
    }

    /// Sets the timers of a message that is not due yet; those that are set stay as they are.
    async fn schedule_again(
        &self,
        app: &Application,
        message: &Message,
        missing: &[EndpointId],
        ordered: &[EndpointId],
        trace: Option<Trace>,
    ) -> Result<()> {
        let (id, due) = (message.id, message.first_due());
        if missing.len() > ENDPOINTS_AT_ONCE_MAX {
            let job = outgoing(app, fan_out(app, id, true, ordered.to_vec(), trace), Duration::ZERO)?;
            return self.store.set_timer(due, id, "fan-out", &job.group, &job.body).await;
        }
        for endpoint in missing {
            let job = again(app, message, None, *endpoint, ordered, Some(message.id));
            let job = outgoing(app, job.following(trace), Duration::ZERO)?;
            self.store.set_timer(due, id, endpoint, &job.group, &job.body).await?;
        }
        Ok(())
    }
}

/// The job of a delivery that has none, or has one that nobody knows of. In order, the message `enters` then, or has.
fn again(
    app: &Application,
    message: &Message,
    payload: Option<Payload>,
    endpoint: EndpointId,
    ordered: &[EndpointId],
    enters: Option<MessageId>,
) -> Job {
    if ordered.contains(&endpoint) {
        return Job::Advance(Advance { message: enters, ..Advance::of(app.org, app.id, endpoint) });
    }
    let first = Deliver::first_of(app, message, payload, endpoint, true);
    // What was held back was never plain.
    Job::Deliver(match message.deliver_at {
        Some(_) => first,
        None => first.beside_plain_until(message.id.time().after(DEDUP_FREE_WINDOW)),
    })
}
