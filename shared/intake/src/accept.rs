//! Accepting a message: everything between a valid request and its 202.
//!
//! The order of writes is idempotency record (beside reading the application), event id, message,
//! queue. Whatever a crash leaves between two of them is finished by the client's own repetition of its
//! request, under the id that the first record holds.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::application::Application;
use domain::error::Chain;
use domain::idempotency::IdempotencyKey;
use domain::ids::{EndpointId, MessageId};
use domain::job::{Deliver, FanOut, Job};
use domain::message::{Message, NewMessage};
use domain::{Error, Result};
use queue::{BLIND_MAX, Outgoing};
use runtime::clock::Timestamp;
use runtime::trace::Trace;
use store::idempotency::Claim;
use store::messages::EventIdClaim;

use crate::Intake;
use crate::incoming::MessageIn;

/// With more endpoints than this, the background function sends the jobs.
const ENDPOINTS_AT_ONCE_MAX: usize = 50;
/// Jobs that are handed to the queue at a time: twenty requests.
const JOBS_AT_ONCE_MAX: usize = 200;
/// How long a request that claimed a key or an event id may take to store its message. Acceptance
/// takes milliseconds; taking over one that still runs is safe, only not free.
const STORING_MAX: Duration = Duration::from_secs(2);
/// For how long a repeated request looks after deliveries that were never queued.
const REPAIRED_FOR: Duration = Duration::from_secs(3600);
/// What a delivery may take beyond its own deadline.
const MARGIN: Duration = Duration::from_secs(5);

/// A key that was claimed for a message, and what came of that at first.
#[derive(Debug)]
pub struct Claimed {
    key: IdempotencyKey,
    id: MessageId,
    claim: Claim,
}

/// A message on record.
#[derive(Debug)]
pub enum Stored<'a> {
    /// By an earlier request, and looked after.
    Before(Box<Message>),
    /// By this one.
    Now(Box<Placed<'a>>),
}

/// A message that was just stored, and whose deliveries are not queued yet.
#[derive(Debug)]
pub struct Placed<'a> {
    app: &'a Application,
    new: NewMessage,
    copies: Copies,
    origin: Origin,
    trace: Option<Trace>,
}

/// A message on record, with its deliveries under way.
#[derive(Debug)]
pub enum Accepted {
    /// An earlier request posted it.
    Before(Box<Message>),
    /// This one did.
    Now(Box<NewMessage>),
}

impl Intake {
    /// Claims a key for a message that is going to be stored, or finds out who has it. What else the request
    /// has to know can be read meanwhile; one that is refused then lets go of its key again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn claim(&self, key: IdempotencyKey) -> Result<Claimed> {
        let id = MessageId::new(self.clock.now(), &*self.random);
        let claim = self.store.claim_key(&key.hash, &key.owner, Some(id), None).await?;
        Ok(Claimed { key, id, claim })
    }

    /// Lets go of the key of a request that is refused, if it is still its own: who repeats it is not to wait
    /// for a message that never comes.
    pub async fn let_go(&self, Claimed { key, claim, .. }: &Claimed) {
        if *claim == Claim::Ours
            && let Err(error) = self.store.free_key(&key.hash, &key.owner).await
        {
            tracing::warn!(error = %Chain(&error), "an idempotency key stays claimed until its request counts as dead");
        }
    }

    /// Stores a message and queues its deliveries; once for each key and event id.
    ///
    /// # Errors
    /// As [`Intake::store`]; `Unavailable` if its deliveries could not be queued.
    pub async fn accept(
        &self,
        app: &Application,
        claimed: Option<Claimed>,
        message: MessageIn,
        trace: Option<Trace>,
    ) -> Result<Accepted> {
        let stored = self.store(app, claimed, message, trace).await?;
        let accepted = self.queue_one(stored).await?;
        if let Accepted::Now(new) = &accepted {
            self.count(new);
        }
        Ok(accepted)
    }

    /// Stores a message for one endpoint, whatever that wants, and queues its delivery; once for each key.
    ///
    /// # Errors
    /// As [`Intake::accept`].
    pub async fn accept_for(
        &self,
        app: &Application,
        claimed: Option<Claimed>,
        message: MessageIn,
        endpoint: EndpointId,
        trace: Option<Trace>,
    ) -> Result<Accepted> {
        let stored = self.store_for(app, claimed, message, Some(endpoint), trace).await?;
        self.queue_one(stored).await
    }

    /// Stores the message of that id, which follows from a job that may come twice, and queues its
    /// deliveries. `again` says that the job was handed out before.
    ///
    /// # Errors
    /// The store's own; `Unavailable` if its deliveries could not be queued.
    pub async fn accept_event(
        &self,
        app: &Application,
        id: MessageId,
        message: MessageIn,
        again: bool,
    ) -> Result<Accepted> {
        let stored = self.place(app, (id, Origin::Derived { again }), message, None, None).await?;
        self.queue_one(stored).await
    }

    async fn queue_one(&self, stored: Stored<'_>) -> Result<Accepted> {
        match stored {
            Stored::Before(message) => Ok(Accepted::Before(message)),
            Stored::Now(placed) => {
                self.queue(std::slice::from_ref(&*placed)).await.into_iter().collect::<Result<()>>()?;
                Ok(Accepted::Now(Box::new(placed.new)))
            }
        }
    }

    /// Queues the deliveries of those that were stored, all together, and counts what is accepted then.
    pub async fn queue_stored(&self, outcomes: Vec<Result<Stored<'_>>>) -> Vec<Result<Accepted>> {
        let mut placed = Vec::with_capacity(outcomes.len());
        let known: Vec<Option<Result<Accepted>>> = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(Stored::Now(new)) => {
                    placed.push(*new);
                    None
                }
                Ok(Stored::Before(message)) => Some(Ok(Accepted::Before(message))),
                Err(error) => Some(Err(error)),
            })
            .collect();
        let queued = self.queue(&placed).await;
        let mut accepted = placed.into_iter().zip(queued).map(|(placed, queued)| {
            queued.map(|()| {
                self.count(&placed.new);
                Accepted::Now(Box::new(placed.new))
            })
        });
        known.into_iter().filter_map(|known| known.or_else(|| accepted.next())).collect()
    }

    fn count(&self, new: &NewMessage) {
        self.metrics.accepted();
        tracing::debug!(message_id = %new.id, endpoints = new.endpoints.len(), "a message was accepted");
    }

    /// Stores a message; once for each key and event id.
    ///
    /// # Errors
    /// `Conflict` if another message has its event id, or something else its key; the store's own.
    pub async fn store<'a>(
        &self,
        app: &'a Application,
        claimed: Option<Claimed>,
        message: MessageIn,
        trace: Option<Trace>,
    ) -> Result<Stored<'a>> {
        self.store_for(app, claimed, message, None, trace).await
    }

    /// The same for `only` this endpoint, or for all that want it.
    async fn store_for<'a>(
        &self,
        app: &'a Application,
        claimed: Option<Claimed>,
        message: MessageIn,
        only: Option<EndpointId>,
        trace: Option<Trace>,
    ) -> Result<Stored<'a>> {
        let (mut id, mut origin, mut key) = (None, Origin::Drawn, None);
        if let Some(Claimed { key: ours, id: drawn, claim }) = claimed {
            id = Some(drawn);
            match self.settle(app, &ours, drawn, claim).await? {
                Key::Ours => {}
                Key::Unfinished(first) => (id, origin) = (Some(first), Origin::TakenOver),
                Key::Done(message) => return self.again(app, message, trace).await,
            }
            key = Some(ours);
        }
        let mut id = id.unwrap_or_else(|| MessageId::new(self.clock.now(), &*self.random));
        if let Some(event_id) = &message.event_id {
            match self.claim_event_id(app, event_id, id).await? {
                Key::Ours => {}
                Key::Unfinished(first) => {
                    (id, origin) = (first, Origin::TakenOver);
                    if let Some(key) = &key {
                        // The key has to stand for the message that there will be.
                        self.store.claim_key(&key.hash, &key.owner, Some(id), None).await?;
                    }
                }
                Key::Done(message) => {
                    self.repair(app, &message, trace).await?;
                    if let Some(key) = &key {
                        self.store.free_key(&key.hash, &key.owner).await?;
                    }
                    return Err(Error::Conflict("A message with this eventId exists already.".into()));
                }
            }
        }
        self.place(app, (id, origin), message, only, trace).await
    }

    /// Stores a message under an id, whose origin tells whether others may store it, too.
    async fn place<'a>(
        &self,
        app: &'a Application,
        (id, origin): (MessageId, Origin),
        message: MessageIn,
        only: Option<EndpointId>,
        trace: Option<Trace>,
    ) -> Result<Stored<'a>> {
        let endpoints = match only {
            Some(endpoint) => vec![endpoint],
            None => {
                let targets = self.targets.of(&self.store, &*self.clock, app).await?;
                let wanting = targets
                    .iter()
                    .filter(|(_, filter)| filter.wants(&message.labels))
                    .map(|(endpoint, _)| *endpoint);
                wanting.collect()
            }
        };
        let new = NewMessage {
            app: app.id,
            id,
            labels: message.labels,
            event_id: message.event_id,
            payload: message.payload,
            retention_hours: message.retention_hours,
            deliver_at: message.deliver_at,
            endpoints,
        };
        let stored = self.store.put_message(&new).await?;
        if !stored && !self.is_stored(&new).await? {
            // Two took the same id over; the other one was faster.
            let stored = self.store.find_message(app.id, id).await?.ok_or(Error::NotFound("Message"))?;
            return self.again(app, Box::new(stored), trace).await;
        }
        let copies = match (origin, stored) {
            (Origin::TakenOver | Origin::Derived { again: true }, _)
            | (Origin::Derived { again: false }, false) => Copies::Elsewhere,
            (Origin::Drawn, false) => Copies::Here,
            (Origin::Drawn | Origin::Derived { again: false }, true) => Copies::None,
        };
        Ok(Stored::Now(Box::new(Placed { app, new, copies, origin, trace })))
    }

    /// Whether what is stored under this id is this message: the SDK repeats a put whose answer was
    /// lost, and the first had taken effect.
    async fn is_stored(&self, new: &NewMessage) -> Result<bool> {
        let Some(stored) = self.store.find_message(new.app, new.id).await? else { return Ok(false) };
        let same_endpoints = self.store.message_endpoints(&stored).await? == new.endpoints;
        Ok(same_endpoints && self.store.payload(&stored).await?.as_ref() == Some(&new.payload))
    }

    /// What an earlier request stored.
    async fn again(
        &self,
        app: &Application,
        message: Box<Message>,
        trace: Option<Trace>,
    ) -> Result<Stored<'static>> {
        self.repair(app, &message, trace).await?;
        Ok(Stored::Before(message))
    }

    /// Whose a key is in the end that was claimed for the message `id`. From a request that died it is taken
    /// over, with the id that it drew: should it live after all, it cannot let go of it any more.
    async fn settle(
        &self,
        app: &Application,
        key: &IdempotencyKey,
        id: MessageId,
        mut claim: Claim,
    ) -> Result<Key> {
        let mut wait = FIRST_LOOK;
        loop {
            let Claim::Earlier(record) = claim else { return Ok(Key::Ours) };
            let first =
                record.message.ok_or(Error::Conflict("This idempotency key is in use elsewhere.".into()))?;
            claim = match self.outcome(app, first, record.at).await? {
                Some(Key::Unfinished(_)) => {
                    let stale = Some(record.owner.as_str());
                    match self.store.claim_key(&key.hash, &key.owner, Some(first), stale).await? {
                        Claim::Ours => return Ok(Key::Unfinished(first)),
                        // Somebody else was faster.
                        earlier => earlier,
                    }
                }
                Some(outcome) => return Ok(outcome),
                None => {
                    self.clock.sleep(wait).await;
                    wait = (wait * 2).min(LOOK_MAX);
                    self.store.claim_key(&key.hash, &key.owner, Some(id), None).await?
                }
            };
        }
    }

    async fn claim_event_id(&self, app: &Application, event_id: &str, id: MessageId) -> Result<Key> {
        let mut wait = FIRST_LOOK;
        loop {
            let first = match self.store.claim_event_id(app.id, event_id, id).await? {
                EventIdClaim::Ours => return Ok(Key::Ours),
                EventIdClaim::Taken(first) => first,
            };
            if let Some(outcome) = self.outcome(app, first, first.time()).await? {
                return Ok(outcome);
            }
            self.clock.sleep(wait).await;
            wait = (wait * 2).min(LOOK_MAX);
        }
    }

    /// What became of the request that claimed something for `first`; none while it may be running.
    async fn outcome(
        &self,
        app: &Application,
        first: MessageId,
        claimed_at: Timestamp,
    ) -> Result<Option<Key>> {
        if let Some(message) = self.store.find_message(app.id, first).await? {
            return Ok(Some(Key::Done(Box::new(message))));
        }
        let over = self.clock.now().since(claimed_at) >= STORING_MAX;
        Ok(over.then_some(Key::Unfinished(first)))
    }

    /// Queues what a crash kept from being queued: the deliveries that have no state.
    async fn repair(&self, app: &Application, message: &Message, trace: Option<Trace>) -> Result<()> {
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
        let free_at = message.id.time().after((self.delivery_timeout + MARGIN).max(BLIND_MAX));
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
        sent.map_err(domain::error::unavailable("queue deliveries again"))
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

    /// Queues the deliveries of messages that were just stored; says for each how it went. What the queue
    /// does not take is parked as timers; it may have taken what it did not acknowledge.
    async fn queue(&self, placed: &[Placed<'_>]) -> Vec<Result<()>> {
        let mut queued: Vec<Result<()>> = Vec::with_capacity(placed.len());
        // The jobs of all of them, and whose each is.
        let (mut jobs, mut owners) = (Vec::new(), Vec::new());
        for (nth, one) in placed.iter().enumerate() {
            let endpoints = &one.new.endpoints;
            if one.new.deliver_at.is_some() {
                queued.push(self.schedule(one).await);
                continue;
            }
            if endpoints.len() > ENDPOINTS_AT_ONCE_MAX {
                queued.push(self.queue_fan_out(one).await);
                continue;
            }
            let (check, delay) = (one.copies != Copies::None, self.delay(one));
            let of_one: Result<Vec<_>> =
                endpoints.iter().map(|endpoint| one.first_job(*endpoint, check, delay)).collect();
            queued.push(of_one.map(|of_one| {
                owners.extend((0..of_one.len()).map(|at| (nth, at)));
                jobs.extend(of_one);
            }));
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

    /// Keeps a message's deliveries as timers until they are due.
    async fn schedule(&self, one: &Placed<'_>) -> Result<()> {
        let (endpoints, due) = (&one.new.endpoints, one.new.first_due());
        if endpoints.len() > ENDPOINTS_AT_ONCE_MAX {
            let job = outgoing(one.app, fan_out(one.app, one.new.id, true, one.trace), Duration::ZERO)?;
            let set = self.store.set_timer(due, one.new.id, "fan-out", &job.group, &job.body).await;
            return self.undo_unless(set, one, true).await;
        }
        self.park(one, endpoints, due).await
    }

    /// Keeps as timers what the queue did not take, or is not to take yet, of a message's deliveries.
    async fn park(&self, one: &Placed<'_>, unsent: &[EndpointId], due: Timestamp) -> Result<()> {
        let none_sent = unsent.len() == one.new.endpoints.len();
        for (nth, endpoint) in unsent.iter().enumerate() {
            // The queue may have taken what it did not acknowledge.
            let parked = one.first_job(*endpoint, true, Duration::ZERO)?;
            let set = self.store.set_timer(due, one.new.id, endpoint, &parked.group, &parked.body).await;
            self.undo_unless(set, one, none_sent && nth == 0).await?;
        }
        Ok(())
    }

    /// Leaves a message's deliveries to the background function.
    async fn queue_fan_out(&self, one: &Placed<'_>) -> Result<()> {
        let (app, message, trace) = (one.app, one.new.id, one.trace);
        let delay = self.delay(one);
        let job = outgoing(app, fan_out(app, message, one.copies != Copies::None, trace), delay)?;
        let Err(error) = self.sqs.send_one(&self.background, job).await else { return Ok(()) };
        tracing::warn!(error = %Chain(&error), message_id = %message, "a fan-out is parked");
        let parked = outgoing(app, fan_out(app, message, true, trace), Duration::ZERO)?;
        let set = self.store.set_timer(one.free_at(), message, "fan-out", &parked.group, &parked.body).await;
        self.undo_unless(set, one, true).await
    }

    /// How long the jobs of a message have to wait for copies that others may have queued.
    fn delay(&self, one: &Placed<'_>) -> Duration {
        match one.copies {
            Copies::Elsewhere => one.free_at().since(self.clock.now()),
            Copies::Here | Copies::None => Duration::ZERO,
        }
    }

    /// Passes a success on. After a failure nothing of the message may be seen if nothing of it is
    /// under way; its caller repeats the request, and the records that it left lead to the same id. A job
    /// comes back by itself, and goes on with what is there.
    async fn undo_unless(&self, parked: Result<()>, one: &Placed<'_>, nothing_under_way: bool) -> Result<()> {
        if parked.is_err()
            && nothing_under_way
            && !matches!(one.origin, Origin::Derived { .. })
            && let Err(error) = self.store.remove_message(one.app.id, one.new.id).await
        {
            tracing::warn!(error = %Chain(&error), message_id = %one.new.id, "a message that was not accepted stays visible");
        }
        parked
    }
}

impl Placed<'_> {
    /// From then on also plain copies look before they post.
    fn free_at(&self) -> Timestamp {
        self.new.id.time().after(BLIND_MAX)
    }

    fn first_job(&self, endpoint: EndpointId, check: bool, delay: Duration) -> Result<Outgoing> {
        let job = Job::Deliver(Deliver::first(self.app, &self.new, endpoint, check));
        outgoing(self.app, job.following(self.trace), delay)
    }
}

/// How often a request that waits for another looks.
const FIRST_LOOK: Duration = Duration::from_millis(25);
const LOOK_MAX: Duration = Duration::from_millis(400);

/// Where a message's id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// This request drew it.
    Drawn,
    /// Another request drew it, and may have queued its deliveries.
    TakenOver,
    /// It follows from a job, of which there may be another copy.
    Derived {
        /// The job was handed out before.
        again: bool,
    },
}

/// Whether a message's jobs may be queued already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    /// Nobody else knows its id.
    None,
    /// By this request itself, if at all.
    Here,
    /// By another request that drew its id and may still run.
    Elsewhere,
}

/// How it stands with something that only one request can have.
enum Key {
    /// This one has it.
    Ours,
    /// An earlier one had it, and died before it stored the message of this id.
    Unfinished(MessageId),
    /// An earlier one has it, and stored this.
    Done(Box<Message>),
}

fn fan_out(app: &Application, message: MessageId, check: bool, trace: Option<Trace>) -> Job {
    Job::FanOut(FanOut { org: app.org, app: app.id, version: app.version, message, from: 0, check, trace })
}

fn outgoing(app: &Application, job: Job, delay: Duration) -> Result<Outgoing> {
    Outgoing::new(&job, delay, app.id)
}
