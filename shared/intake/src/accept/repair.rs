//! Queues what a request that died left without a job.

use std::time::Duration;

use domain::Result;
use domain::application::Application;
use domain::error::unavailable;
use domain::ids::EndpointId;
use domain::job::{Deliver, Job};
use domain::message::Message;
use queue::DEDUP_FREE_WINDOW;
use runtime::trace::Trace;

use super::queueing::{fan_out, outgoing};
use super::{ENDPOINTS_AT_ONCE_MAX, MARGIN};
use crate::Intake;

/// For how long a repeated request looks after deliveries that were never queued.
const REPAIRED_FOR: Duration = Duration::from_secs(3600);

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
        let endpoints = self.store.message_endpoints(message).await?;
        let states = self.store.states(message.id, &endpoints, true).await?;
        let begun = |endpoint: &EndpointId| states.iter().any(|s| s.endpoint == *endpoint && s.number() > 0);
        let missing: Vec<EndpointId> = endpoints.into_iter().filter(|endpoint| !begun(endpoint)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        tracing::info!(message_id = %message.id, endpoints = missing.len(), "a repeated request queues deliveries again");
        if message.deliver_at.is_some_and(|at| at > now) {
            return self.schedule_again(app, message, &missing, trace).await;
        }
        // The first request's own jobs may be running: wait until they have a state, or are over, and until
        // those that are still in the queue look before they post.
        let free_at = message.id.time().after((self.delivery_timeout + MARGIN).max(DEDUP_FREE_WINDOW));
        let delay = free_at.since(now);
        if missing.len() > ENDPOINTS_AT_ONCE_MAX {
            let job = fan_out(app, message.id, true, trace);
            return self.sqs.send_one(&self.background, outgoing(app, job, delay)?).await;
        }
        let payload = self.store.payload(message).await?;
        let job = |endpoint| {
            let job = Job::Deliver(Deliver::first_of(app, message, payload.clone(), endpoint, true));
            outgoing(app, job.following(trace), delay)
        };
        let jobs: Result<Vec<_>> = missing.into_iter().map(job).collect();
        let sent = self.sqs.send(&self.deliveries, &jobs?).await;
        sent.map_err(unavailable("queue deliveries again"))
    }

    /// Sets the timers of a message that is not due yet; those that are set stay as they are.
    async fn schedule_again(
        &self,
        app: &Application,
        message: &Message,
        missing: &[EndpointId],
        trace: Option<Trace>,
    ) -> Result<()> {
        let (id, due) = (message.id, message.first_due());
        if missing.len() > ENDPOINTS_AT_ONCE_MAX {
            let job = outgoing(app, fan_out(app, id, true, trace), Duration::ZERO)?;
            return self.store.set_timer(due, id, "fan-out", &job.group, &job.body).await;
        }
        for endpoint in missing {
            let job = Job::Deliver(Deliver::first_of(app, message, None, *endpoint, true));
            let job = outgoing(app, job.following(trace), Duration::ZERO)?;
            self.store.set_timer(due, id, endpoint, &job.group, &job.body).await?;
        }
        Ok(())
    }
}
