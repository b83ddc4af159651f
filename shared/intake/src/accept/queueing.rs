//! Queues the deliveries of what was stored, or parks them as timers.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Result;
use domain::application::Application;
use domain::error::{Chain, unavailable};
use domain::ids::{EndpointId, MessageId};
use domain::job::{Advance, Deliver, FanOut, Job};
use domain::order::Ordered;
use queue::{DEDUP_FREE_WINDOW, Outgoing};
use runtime::clock::Timestamp;
use runtime::trace::Trace;

use super::{DuplicateRisk, ENDPOINTS_AT_ONCE_MAX, Origin, PendingMessage};
use crate::Intake;

/// Jobs that are handed to the queue at a time: twenty requests.
const JOBS_AT_ONCE_MAX: usize = 200;

impl Intake {
    /// Queues the deliveries of messages that were just stored; says for each how it went. What the queue
    /// does not take is parked as timers; it may have taken what it did not acknowledge.
    pub(super) async fn queue(&self, placed: &[PendingMessage<'_>]) -> Vec<Result<()>> {
        let mut queued = self.enter_orders(placed).await;
        // The jobs of all of them, and whose each is.
        let (mut jobs, mut owners) = (Vec::new(), Vec::new());
        for (nth, one) in placed.iter().enumerate() {
            let endpoints = &one.new.endpoints;
            if queued[nth].is_err() {
                continue;
            }
            if one.new.deliver_at.is_some() {
                queued[nth] = self.schedule(one).await;
                continue;
            }
            if endpoints.len() > ENDPOINTS_AT_ONCE_MAX {
                queued[nth] = self.queue_fan_out(one).await;
                continue;
            }
            let (risk, delay) = (one.duplicate_risk, self.delay(one));
            let of_one: Result<Vec<_>> =
                endpoints.iter().map(|endpoint| one.first_job(*endpoint, risk, delay)).collect();
            queued[nth] = of_one.map(|of_one| {
                owners.extend((0..of_one.len()).map(|at| (nth, at)));
                jobs.extend(of_one);
            });
        }
        let mut unsent: BTreeMap<usize, Vec<EndpointId>> = BTreeMap::new();
        for (at, jobs) in jobs.chunks(JOBS_AT_ONCE_MAX).enumerate() {
            let Err(error) = self.sqs.send(&self.deliveries, jobs).await else { continue };
            tracing::warn!(error = %Chain(&error), "deliveries are parked");
            for (nth, endpoint) in error.indexes.iter().map(|index| owners[at * JOBS_AT_ONCE_MAX + index]) {
                unsent.entry(nth).or_default().push(placed[nth].new.endpoints[endpoint]);
            }
        }
        for (nth, endpoints) in unsent {
            queued[nth] = self.park(&placed[nth], &endpoints, placed[nth].free_at()).await;
        }
        queued
    }

    /// Adds messages to the orders of their applications, in the order that they have here. Those that are held back
    /// enter when they are due.
    async fn enter_orders(&self, placed: &[PendingMessage<'_>]) -> Vec<Result<()>> {
        let enters = |one: &PendingMessage<'_>| !one.ordered.is_empty() && one.new.deliver_at.is_none();
        let mut entered = Vec::with_capacity(placed.len());
        for of_app in placed.chunk_by(|a, b| a.app.id == b.app.id) {
            let some: Vec<&PendingMessage<'_>> = of_app.iter().filter(|one| enters(one)).collect();
            let added = match some.first() {
                Some(first) => {
                    let ordered = some
                        .iter()
                        .map(|one| Ordered { message: one.new.id, endpoints: one.ordered.clone() });
                    let ordered: Vec<Ordered> = ordered.collect();
                    self.store.append_to_order(first.app.id, &first.all_ordered, &ordered).await
                }
                None => Ok(()),
            };
            for one in of_app {
                entered.push(match &added {
                    Err(error) if enters(one) => {
                        // Some of it may be there: who comes by finds no message, and passes over it.
                        let failed = Err(unavailable("add to an order")(Chain(error).to_string()));
                        self.undo_unless(failed, one, true).await
                    }
                    _ => Ok(()),
                });
            }
        }
        entered
    }

    /// Keeps a message's deliveries as timers until they are due.
    async fn schedule(&self, one: &PendingMessage<'_>) -> Result<()> {
        let (endpoints, due) = (&one.new.endpoints, one.new.first_due());
        if endpoints.len() > ENDPOINTS_AT_ONCE_MAX {
            let job = outgoing(
                one.app,
                fan_out(one.app, one.new.id, true, one.ordered(), one.trace),
                Duration::ZERO,
            )?;
            let set = self.store.set_timer(due, one.new.id, "fan-out", &job.group, &job.body).await;
            return self.undo_unless(set, one, true).await;
        }
        self.park(one, endpoints, due).await
    }

    /// Keeps as timers what the queue did not take, or is not to take yet, of a message's deliveries.
    async fn park(&self, one: &PendingMessage<'_>, unsent: &[EndpointId], due: Timestamp) -> Result<()> {
        let none_sent = unsent.len() == one.new.endpoints.len();
        for (nth, endpoint) in unsent.iter().enumerate() {
            // The queue may have taken what it did not acknowledge.
            let parked = one.first_job(*endpoint, DuplicateRisk::Elsewhere, Duration::ZERO)?;
            let set = self.store.set_timer(due, one.new.id, endpoint, &parked.group, &parked.body).await;
            self.undo_unless(set, one, none_sent && nth == 0).await?;
        }
        Ok(())
    }

    /// Leaves a message's deliveries to the background function.
    async fn queue_fan_out(&self, one: &PendingMessage<'_>) -> Result<()> {
        let (app, message, trace) = (one.app, one.new.id, one.trace);
        let delay = self.delay(one);
        let job = outgoing(
            app,
            fan_out(app, message, one.duplicate_risk != DuplicateRisk::None, one.ordered(), trace),
            delay,
        )?;
        let Err(error) = self.sqs.send_one(&self.background, job).await else { return Ok(()) };
        tracing::warn!(error = %Chain(&error), message_id = %message, "a fan-out is parked");
        let parked = outgoing(app, fan_out(app, message, true, one.ordered(), trace), Duration::ZERO)?;
        let set = self.store.set_timer(one.free_at(), message, "fan-out", &parked.group, &parked.body).await;
        self.undo_unless(set, one, true).await
    }

    /// How long the jobs of a message have to wait for copies that others may have queued.
    fn delay(&self, one: &PendingMessage<'_>) -> Duration {
        match one.duplicate_risk {
            DuplicateRisk::Elsewhere => one.free_at().since(self.clock.now()),
            DuplicateRisk::Here | DuplicateRisk::None => Duration::ZERO,
        }
    }

    /// Passes a success on. After a failure nothing of the message may be seen if nothing of it is
    /// under way; its caller repeats the request, and the records that it left lead to the same id. A job
    /// comes back by itself, and goes on with what is there.
    async fn undo_unless(
        &self,
        parked: Result<()>,
        one: &PendingMessage<'_>,
        nothing_under_way: bool,
    ) -> Result<()> {
        if parked.is_err()
            && nothing_under_way
            && !matches!(one.origin, Origin::Derived { .. })
            && let Err(error) = self.store.remove_message(one.app.id, one.new.id, one.holder.as_deref()).await
        {
            tracing::warn!(error = %Chain(&error), message_id = %one.new.id, "a message that was not accepted stays visible");
        }
        parked
    }
}

impl PendingMessage<'_> {
    /// From then on also plain copies look before they post.
    fn free_at(&self) -> Timestamp {
        self.new.id.time().after(DEDUP_FREE_WINDOW)
    }

    fn ordered(&self) -> Vec<EndpointId> {
        self.ordered.iter().map(|(endpoint, _)| *endpoint).collect()
    }

    fn first_job(&self, endpoint: EndpointId, risk: DuplicateRisk, delay: Duration) -> Result<Outgoing> {
        let job = if self.ordered.iter().any(|(ordered, _)| *ordered == endpoint) {
            let message = self.new.deliver_at.map(|_| self.new.id);
            Job::Advance(Advance { message, ..Advance::of(self.app.org, self.app.id, endpoint) })
        } else {
            let first = Deliver::first(self.app, &self.new, endpoint, risk != DuplicateRisk::None);
            // What is held back is never plain.
            let beside_plain = risk == DuplicateRisk::Elsewhere && self.new.deliver_at.is_none();
            Job::Deliver(if beside_plain { first.beside_plain_until(self.free_at()) } else { first })
        };
        outgoing(self.app, job.following(self.trace), delay)
    }
}

pub(super) fn fan_out(
    app: &Application,
    message: MessageId,
    check: bool,
    ordered: Vec<EndpointId>,
    trace: Option<Trace>,
) -> Job {
    let (org, id, version) = (app.org, app.id, app.version);
    Job::FanOut(FanOut { org, app: id, version, message, from: 0, check, ordered, trace })
}

pub(super) fn outgoing(app: &Application, job: Job, delay: Duration) -> Result<Outgoing> {
    Outgoing::new(&job, delay, app.id)
}
