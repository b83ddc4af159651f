//! The deliveries of messages with very many endpoints, a step at a time.

use std::time::Duration;

use shared::Result;
use shared::ids::EndpointId;
use shared::queue::{Advance, DEDUP_FREE_WINDOW, Deliver, FanOut, Job};

use crate::Background;

/// How many deliveries one job queues before it hands the rest to its successor: far below what
/// the function's time allows, so that a crash repeats little.
const STEP: usize = 500;
/// Largest payload that is put into each of very many jobs.
const PAYLOAD_LENGTH_MAX: usize = 4 * 1024;

impl Background {
    /// Sends a step of a message's deliveries.
    pub(crate) async fn fan_out(&self, job: FanOut, again: bool) -> Result<()> {
        // A message that was taken back, or whose application was deleted, goes nowhere.
        let Some(app) = self.store.find_application(job.org, job.app).await? else { return Ok(()) };
        let Some(message) = self.store.find_message(job.app, job.message).await? else { return Ok(()) };
        let Some(payload) = self.store.payload(&message).await? else { return Ok(()) };
        let endpoints = self.store.message_endpoints(&message).await?;
        let check = job.check || again;
        let inline = payload.length() <= PAYLOAD_LENGTH_MAX;
        let payload = inline.then_some(payload);
        // Plain copies may be on their way: these are not seen before all of those look.
        let free_at = message.id.time().after(DEDUP_FREE_WINDOW);
        let beside_plain = check && message.deliver_at.is_none();
        let delay = if check { free_at.since(self.clock.now()) } else { Duration::ZERO };
        // What was held back, or may not have got so far, enters the order now.
        let enters = (job.check || message.deliver_at.is_some()).then_some(message.id);
        let job_for = |endpoint: EndpointId| {
            if job.ordered.contains(&endpoint) {
                let advance = Advance::of(app.org, app.id, endpoint);
                return Job::Advance(Advance { message: enters, ..advance });
            }
            let first = Deliver::first_of(&app, &message, payload.clone(), endpoint, check);
            Job::Deliver(if beside_plain { first.beside_plain_until(free_at) } else { first })
        };
        let step = endpoints.iter().skip(job.from).take(STEP);
        let step = step.map(|endpoint| job_for(*endpoint).following(job.trace));
        self.send_in(delay, &self.deliveries, &app, step).await?;
        let next = job.from + STEP;
        if next < endpoints.len() {
            let job = Job::FanOut(FanOut { from: next, check, ..job });
            self.send(&self.source.queue, &app, [job]).await?;
        }
        Ok(())
    }
}
