//! Ordered endpoints: who advances one, and how nobody's wake-up is lost (ADR 0035).
//!
//! One worker at a time holds the lease of an endpoint's place. It lasts longer than an invocation lives, so that nothing
//! is sent by somebody who has lost it. A job that finds the place leased leaves a mark, and whoever meant to end the
//! lease finds it and looks again; the first such job also comes back when the lease has run out, in case its holder
//! died. What waits for a time has a job of its own for the first of those times, which is queued before the lease ends.

mod lanes;
mod list;
mod step;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use shared::Result;
use shared::clock::Timestamp;
use shared::error::{Chain, unavailable};
use shared::ids::{EndpointId, MessageId};
use shared::order::{CLOCKS_DIFFER_MAX, LEASE, Lease, OrderKey, Ordered, Place, next_of};
use shared::payload_filter::PayloadView;
use shared::queue::{Advance, DELAY_MAX, Job, Outgoing};
use shared::random;
use shared::store::applications::Application;
use shared::together::Batching;

use self::lanes::{Begun, PAGE, Work};
use self::step::{Step, Stepped};
use crate::circuit::SLOW_AFTER;
use crate::requeue::Priority;
use crate::{Batch, Deliver, InjectedBug};

/// For how long one job begins attempts: what is left goes to its successor. With the longest delivery after it, it is
/// over within the life of an invocation.
const SLICE: Duration = Duration::from_secs(15);
/// Attempts of one endpoint at a time, each of another key.
const AT_ONCE_MAX: usize = 10;
/// How old what is known of the application may be when an attempt begins.
const FRESH: Duration = Duration::from_secs(1);
/// How soon a job that is to be on time tries again, where the place is leased.
const AGAIN: Duration = Duration::from_secs(5);
/// Turns in which somebody else takes the lease, or ends it, between reading and writing.
const TURNS: usize = 8;

/// What is worked on, and by what right.
#[derive(Debug)]
struct Held<'a> {
    batch: &'a Batch,
    endpoint: EndpointId,
    lease: Lease,
    /// No attempt begins later.
    deadline: Timestamp,
}

/// Does something while others are under way, and keeps what of those ends. Nobody else would look at them: a response would wait, its
/// deadline would pass, and what had arrived would be sent again.
async fn beside<S: Stream + Unpin, T>(
    running: &mut S,
    ended: &mut Vec<S::Item>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        while let Poll::Ready(Some(one)) = running.poll_next_unpin(context) {
            ended.push(one);
        }
        work.as_mut().poll(context)
    })
    .await
}

impl Deliver {
    /// Sends what is due at an ordered endpoint, if nobody else does.
    pub(crate) async fn advance(&self, batch: &Batch, mut job: Advance, priority: Priority) -> Result<()> {
        let now = self.clock.now();
        if let Some(due) = job.due.filter(|due| *due > now) {
            // Its clock is behind the one that the queue went by.
            return self.send_advance(Priority::Low, job, due.since(now)).await;
        }
        let Some(app) = self.application(job.org, job.app, job.endpoint).await? else { return Ok(()) };
        if let Some(message) = job.message.take() {
            self.enter_order(&app, job.endpoint, message).await?;
        }
        if priority == Priority::Normal && app.slow_endpoints.contains(&job.endpoint) {
            return self.send_advance(Priority::Low, job, Duration::ZERO).await;
        }
        for _ in 0..TURNS {
            let Some(place) = self.store.place_in_order(job.endpoint).await? else { return Ok(()) };
            let now = self.clock.now();
            if let Some(lease) = place.lease.as_ref().filter(|lease| lease.holds(now)) {
                if self.has_bug(InjectedBug::OrderLeavesNoMark)
                    || self.leave_mark(&place, lease, &job, now).await?
                {
                    return Ok(());
                }
                continue;
            }
            let endpoint = self.endpoint(&app, job.endpoint).await?;
            // Whoever enables or resumes it has it looked at.
            let Some(endpoint) = endpoint.filter(|endpoint| !place.paused && !endpoint.settings.disabled)
            else {
                return Ok(());
            };
            let batching = endpoint.settings.batching().unwrap_or_default();
            if !place.has_due(now) {
                // What waits for company needs nobody yet: so many messages are looked at without a lease.
                let most = if batching.wait > 0 { PAGE } else { 1 };
                let (entries, _) = self.store.order_after(app.id, place.position, most).await?;
                let only_gathers =
                    || entries.len() < most && lanes::only_gather(&place, &entries, job.endpoint, batching);
                if entries.is_empty() || Work::is_full(&place) || only_gathers() {
                    // A worker that failed may have queued no job for what waits.
                    let is_on_its_way = |next| place.wake == Some(next) && job.due != Some(next);
                    let next = next_of(&place.waiting).filter(|next| !is_on_its_way(*next));
                    let Some(next) = next else { return Ok(()) };
                    return self.wake_at(&job, next).await;
                }
            }
            let token = u128::from_be_bytes(random::bytes(&*self.store.random()));
            let lease = Lease { token: format!("{token:032x}"), until: now.after(LEASE) };
            if !self.store.lease_place(job.endpoint, &place, &lease).await? {
                continue;
            }
            let slice = if priority == Priority::Normal { SLOW_AFTER } else { SLICE };
            let held = Held { batch, endpoint: job.endpoint, lease, deadline: now.after(slice) };
            return Box::pin(self.hold(&held, app, (place, batching), job.due)).await;
        }
        Err(unavailable("advance an ordered endpoint")("others kept changing its place"))
    }

    /// Says that somebody wants a place that is leased. `false` if it is leased to somebody else by now, or to nobody.
    async fn leave_mark(&self, place: &Place, lease: &Lease, job: &Advance, now: Timestamp) -> Result<bool> {
        let watches = !place.watched || job.watches.as_ref() == Some(&lease.token);
        let again = Advance::of(job.org, job.app, job.endpoint);
        if watches {
            let wait = lease.until.after(CLOCKS_DIFFER_MAX).since(now) + Duration::from_secs(1);
            let watch = Advance { watches: Some(lease.token.clone()), ..again.clone() };
            self.send_advance(Priority::Low, watch, wait).await?;
        }
        if job.due.is_some() {
            // The holder's clock may be behind, and what is due not yet due for it.
            self.send_advance(Priority::Low, Advance { due: job.due, ..again }, AGAIN).await?;
        }
        if place.awaited && place.watched {
            return Ok(true);
        }
        self.store.await_place(job.endpoint, lease, watches).await
    }

    /// Works until nothing is due or the time is over, sees to what is left, and ends the lease.
    /// `arrived`: this is the job for that time. Its clock may say that it has not come, after all.
    async fn hold(
        &self,
        held: &Held<'_>,
        app: Application,
        (place, batching): (Place, Batching),
        arrived: Option<Timestamp>,
    ) -> Result<()> {
        let (org, id) = (app.org, app.id);
        let job = Advance::of(org, id, held.endpoint);
        // The job for that time is on its way as long as what it is for has not changed.
        let mut woken =
            place.wake.filter(|wake| Some(*wake) == next_of(&place.waiting) && arrived != Some(*wake));
        let mut app = Arc::new(app);
        let mut work = Work::of(place, batching);
        loop {
            let worked = Box::pin(self.send_due(held, &mut app, &mut work)).await;
            let next = next_of(&work.place.waiting);
            match (&worked, next) {
                // The job comes back by itself, and does what this leaves undone.
                (Err(_), Some(next)) if woken != Some(next) && next > self.clock.now() => {
                    woken = self.wake_at(&job, next).await.is_ok().then_some(next);
                }
                (Err(_), _) => {}
                (Ok(false), Some(next)) if woken != Some(next) && !work.is_stopped() => {
                    self.wake_at(&job, next).await?;
                    woken = Some(next);
                }
                (Ok(_), _) => {}
            }
            work.place.wake = woken.filter(|wake| Some(*wake) == next);
            // A successor looks in any case, where there is one: this job, which comes back after a failure, or the one
            // that goes on. That is queued when the lease has ended, or it could be refused for the sake of it.
            let blindly = !matches!(worked, Ok(false));
            if self.store.release_place(held.endpoint, &held.lease, &work.place, blindly).await? || blindly {
                return match worked {
                    Ok(true) => self.send_advance(Priority::Low, job, Duration::ZERO).await,
                    worked => worked.map(drop),
                };
            }
            let is_ours = |place: &Place| place.lease.as_ref().is_some_and(|l| l.token == held.lease.token);
            // Released, and its answer lost; or taken over.
            let there = self.store.place_in_order(held.endpoint).await?;
            if !there.is_some_and(|there| is_ours(&there)) {
                return worked.map(drop);
            }
            self.store.look_again(held.endpoint, &held.lease, work.place.turn).await?;
            // Read anew: who asks for something from now on leaves another mark.
            let seen = self.store.place_in_order(held.endpoint).await?;
            let Some(seen) = seen.filter(|seen| is_ours(seen)) else { return worked.map(drop) };
            if seen.turn == work.place.turn {
                return Err(unavailable("look at an ordered endpoint again")("its place did not change"));
            }
            work.see(&seen);
        }
    }

    /// Sends what is due. Whether more is, after the deadline; what is left of lanes waits, and is due at once.
    async fn send_due(&self, held: &Held<'_>, app: &mut Arc<Application>, work: &mut Work) -> Result<bool> {
        let mut running = FuturesUnordered::new();
        let (mut failed, mut read) = (None, None);
        loop {
            let now = self.clock.now();
            // Whoever ends the process waits for what has begun.
            let ends = self.draining.begun().now_or_never().is_some();
            let is_open = now < held.deadline && !ends && !work.is_stopped() && failed.is_none();
            if is_open {
                let is_fresh = read.is_some_and(|read| now >= read && now.since(read) < FRESH);
                let prepared = async {
                    if !is_fresh {
                        self.look_at(held, app, work).await?;
                    }
                    if work.is_stopped() {
                        Ok(())
                    } else {
                        work.fill(&self.store, app.id, held.endpoint, now).await
                    }
                };
                let mut ended = Vec::new();
                let prepared = beside(&mut running, &mut ended, prepared).await;
                let has_ended = !ended.is_empty();
                for (key, stepped) in ended {
                    failed = self.end(work, key, stepped).err().or(failed);
                }
                match prepared {
                    Ok(()) if failed.is_some() => {}
                    Ok(()) => {
                        if !is_fresh {
                            read = Some(now);
                        }
                        while running.len() < AT_ONCE_MAX
                            && !work.is_stopped()
                            && let Some(begun) = work.begin()
                        {
                            let app = app.clone();
                            running.push(async move {
                                (begun.key, self.step_on(held.batch, &app, held.endpoint, &begun).await)
                            });
                        }
                    }
                    Err(error) => failed = Some(error),
                }
                // What ended meanwhile may leave something to be begun.
                if has_ended && running.is_empty() {
                    continue;
                }
            }
            match running.next().await {
                Some((key, stepped)) => failed = self.end(work, key, stepped).err().or(failed),
                None => break,
            }
        }
        let more = work.settle(self.clock.now());
        failed.map_or(Ok(more), Err)
    }

    /// What was begun for a key has ended so, or failed.
    fn end(&self, work: &mut Work, key: OrderKey, stepped: Result<Stepped>) -> Result<()> {
        match stepped {
            Ok(stepped) => {
                let goes_on =
                    self.has_bug(InjectedBug::OrderGoesOn) && matches!(stepped.step, Step::Later { .. });
                work.end(key, if goes_on { Stepped::one(Step::Done) } else { stepped });
                Ok(())
            }
            Err(error) => {
                work.interrupt(key);
                Err(error)
            }
        }
    }

    /// Does what is to be done about the messages at the head of a lane.
    async fn step_on(
        &self,
        batch: &Batch,
        app: &Application,
        endpoint: EndpointId,
        begun: &Begun,
    ) -> Result<Stepped> {
        match begun.messages.as_slice() {
            [message] if !begun.listed => {
                let step = self.step(batch, app, endpoint, *message, (begun.slot, begun.forced)).await?;
                Ok(Stepped::one(step))
            }
            _ => Box::pin(self.step_list(batch, app, endpoint, begun)).await,
        }
    }

    /// Reads again whether anything is to be sent: an expunge, a pause, the end of the endpoint count at once.
    async fn look_at(&self, held: &Held<'_>, app: &mut Arc<Application>, work: &mut Work) -> Result<()> {
        let Some(now) = self.store.find_application(app.org, app.id).await? else {
            work.stop();
            return Ok(());
        };
        *app = Arc::new(now);
        let endpoint = self.endpoint(app, held.endpoint).await?;
        let place = self.store.place_in_order(held.endpoint).await?;
        work.batching =
            endpoint.as_ref().and_then(|endpoint| endpoint.settings.batching()).unwrap_or_default();
        if endpoint.is_none_or(|endpoint| endpoint.settings.disabled)
            || place.is_none_or(|place| place.paused)
        {
            work.stop();
        }
        Ok(())
    }

    /// Adds a message that was held back to the order.
    async fn enter_order(&self, app: &Application, endpoint: EndpointId, id: MessageId) -> Result<()> {
        let Some(message) = self.store.find_message(app.id, id).await? else { return Ok(()) };
        let all = self.store.all_endpoints(app.id).await?;
        let Some(own) = all.iter().find(|one| one.id == endpoint) else { return Ok(()) };
        let key = match (&own.settings.fifo, self.store.payload(&message).await?) {
            (Some(fifo), Some(payload)) => fifo.key_of(&PayloadView::new(&payload.json)),
            _ => Default::default(),
        };
        let ordered: Vec<EndpointId> =
            all.iter().filter(|one| one.settings.fifo.is_some()).map(|one| one.id).collect();
        let entered = Ordered { message: id, endpoints: vec![(endpoint, key)] };
        self.store.append_to_order(app.id, &ordered, &[entered]).await
    }

    /// Queues the job for a time at which a key goes on.
    async fn wake_at(&self, job: &Advance, next: Timestamp) -> Result<()> {
        let timed = Advance { due: Some(next), ..Advance::of(job.org, job.app, job.endpoint) };
        self.send_advance(Priority::Low, timed, next.since(self.clock.now())).await
    }

    /// Queues a job for an ordered endpoint; what the queue does not take, or not for so long, is a timer.
    async fn send_advance(&self, priority: Priority, job: Advance, wait: Duration) -> Result<()> {
        let source = &self.sources[usize::from(priority == Priority::Low)];
        let (endpoint, group) = (job.endpoint, job.app.to_string());
        let outgoing = Outgoing::new(&Job::Advance(job), wait, &group)?;
        let body = outgoing.body.clone();
        if wait <= DELAY_MAX {
            match self.sqs.send_one(&source.queue, outgoing).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), %endpoint, "an ordered endpoint is woken by a timer");
                }
            }
        }
        // A name of its own: a timer of the same time may be on its way into the queue, and about to be removed.
        let own = u64::from_be_bytes(random::bytes(&*self.store.random()));
        let what = format!("advance#{own:016x}");
        self.store.set_timer(self.clock.now().after(wait), endpoint, what, &group, &body).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What is done here waits for what is under way, so that it would never end if nobody looked at that.
    #[tokio::test]
    async fn what_is_under_way_goes_on_while_something_else_is_done() {
        let told = Cell::new(false);
        let mut running = FuturesUnordered::new();
        running.push(async {
            told.set(true);
            7
        });
        let mut looked = 0;
        let hears = poll_fn(|context| {
            looked += 1;
            context.waker().wake_by_ref();
            if told.get() || looked > 100 { Poll::Ready(told.get()) } else { Poll::Pending }
        });
        let mut ended = Vec::new();
        assert!(beside(&mut running, &mut ended, hears).await);
        assert_eq!(ended, [7]);
        // And with nothing under way it is just done.
        assert_eq!(beside(&mut running, &mut ended, async { 8 }).await, 8);
        assert_eq!(ended, [7]);
    }
}
