//! Accepting a message: everything between a valid request and its 202.
//!
//! The order of writes is idempotency record (beside reading the application), event id, message,
//! queue. Whatever a crash leaves between two of them is finished by the client's own repetition of its
//! request, under the id that the first record holds.

mod claims;
mod queueing;
mod repair;

use std::time::Duration;

use domain::application::Application;
use domain::error::{Chain, unavailable};
use domain::idempotency::IdempotencyKey;
use domain::ids::{EndpointId, MessageId};
use domain::message::{Message, NewMessage};
use domain::order::OrderKey;
use domain::payload_filter::PayloadView;
use domain::{Error, Result};
use runtime::trace::Trace;
use store::idempotency::Claim;

use crate::Intake;
use crate::incoming::MessageIn;
use crate::targets::Target;
use claims::KeyClaim;

/// With more endpoints than this, the background function sends the jobs.
const ENDPOINTS_AT_ONCE_MAX: usize = 50;
/// What a delivery may take beyond its own deadline.
const MARGIN: Duration = Duration::from_secs(5);

/// A key that was claimed for a message, and what came of that at first.
#[derive(Debug)]
pub struct Claimed {
    key: IdempotencyKey,
    claim: Claim,
}

/// A message on record.
#[derive(Debug)]
pub enum Stored<'a> {
    /// By an earlier request, and looked after.
    Existing(Box<Message>),
    /// By this one.
    New(Box<PendingMessage<'a>>),
}

/// A message that was just stored, and whose deliveries are not queued yet.
#[derive(Debug)]
pub struct PendingMessage<'a> {
    app: &'a Application,
    new: NewMessage,
    /// Those of its endpoints that get it in order, and its key at each.
    ordered: Vec<(EndpointId, OrderKey)>,
    /// All ordered endpoints of the application, where it is for one of them.
    all_ordered: Vec<EndpointId>,
    duplicate_risk: DuplicateRisk,
    origin: Origin,
    /// What it is held by, if another request may have stored it as well.
    holder: Option<String>,
    trace: Option<Trace>,
}

/// A message on record, with its deliveries under way.
#[derive(Debug)]
pub enum Accepted {
    /// An earlier request posted it.
    Existing(Box<Message>),
    /// This one did.
    New(Box<NewMessage>),
}

impl Intake {
    /// Claims a key for the message of that ID, which is going to be stored, or finds out who has it. What else the
    /// request has to know can be read meanwhile; one that is refused then lets go of its key again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn claim(&self, key: IdempotencyKey, id: MessageId) -> Result<Claimed> {
        let claim = self.store.claim_key(&key.hash, &key.owner, Some(id), None).await?;
        Ok(Claimed { key, claim })
    }

    /// Lets go of the key of a request that is refused, if it is still its own: who repeats it is not to wait
    /// for a message that never comes.
    pub async fn release_key(&self, Claimed { key, claim, .. }: &Claimed) {
        if *claim == Claim::Acquired
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
        (id, claimed): (MessageId, Option<Claimed>),
        message: MessageIn,
        trace: Option<Trace>,
    ) -> Result<Accepted> {
        let stored = self.store(app, (id, claimed), message, trace).await?;
        let accepted = self.queue_one(stored).await?;
        if let Accepted::New(new) = &accepted {
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
        (id, claimed): (MessageId, Option<Claimed>),
        message: MessageIn,
        endpoint: EndpointId,
        trace: Option<Trace>,
    ) -> Result<Accepted> {
        let stored = self.store_for(app, (id, claimed), message, Some(endpoint), trace).await?;
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
        let targets = self.targets.of(&self.store, &*self.clock, app).await?;
        let stored = if self.is_too_old(id) && targets.iter().any(Target::is_polled) {
            self.store_late(app, id, message, None).await?
        } else {
            self.place(app, (id, Origin::Derived { again }), message, None, None).await?
        };
        self.queue_one(stored).await
    }

    /// Stores the message of that id, which follows from a queue's record that may come twice; once for it. `again` says
    /// that the record was handed out before. One that has waited for longer than IDs are taken over gets another ID:
    /// what counts by a message's time (positions, statistics, retention) has gone on.
    ///
    /// # Errors
    /// The store's own.
    pub async fn store_record<'a>(
        &self,
        app: &'a Application,
        id: MessageId,
        message: MessageIn,
        again: bool,
        trace: Option<Trace>,
    ) -> Result<Stored<'a>> {
        if self.is_too_old(id) {
            return self.store_late(app, id, message, trace).await;
        }
        self.place(app, (id, Origin::Derived { again }), message, None, trace).await
    }

    async fn queue_one(&self, stored: Stored<'_>) -> Result<Accepted> {
        match stored {
            Stored::Existing(message) => Ok(Accepted::Existing(message)),
            Stored::New(placed) => {
                self.queue(std::slice::from_ref(&*placed)).await.into_iter().collect::<Result<()>>()?;
                Ok(Accepted::New(Box::new(placed.new)))
            }
        }
    }

    /// Queues the deliveries of those that were stored, all together, and counts what is accepted then.
    pub async fn queue_stored(&self, outcomes: Vec<Result<Stored<'_>>>) -> Vec<Result<Accepted>> {
        let mut placed = Vec::with_capacity(outcomes.len());
        let known: Vec<Option<Result<Accepted>>> = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(Stored::New(new)) => {
                    placed.push(*new);
                    None
                }
                Ok(Stored::Existing(message)) => Some(Ok(Accepted::Existing(message))),
                Err(error) => Some(Err(error)),
            })
            .collect();
        let queued = self.queue(&placed).await;
        let mut accepted = placed.into_iter().zip(queued).map(|(placed, queued)| {
            queued.map(|()| {
                self.count(&placed.new);
                Accepted::New(Box::new(placed.new))
            })
        });
        known.into_iter().filter_map(|known| known.or_else(|| accepted.next())).collect()
    }

    fn count(&self, new: &NewMessage) {
        self.metrics.accepted();
        tracing::debug!(message_id = %new.id, endpoints = new.endpoints.len(), "a message was accepted");
    }

    /// Stores a message; once for each key, which is claimed for the ID that it comes with, and event id.
    ///
    /// # Errors
    /// `Conflict` if another message has its event id, or something else its key; the store's own.
    pub async fn store<'a>(
        &self,
        app: &'a Application,
        (id, claimed): (MessageId, Option<Claimed>),
        message: MessageIn,
        trace: Option<Trace>,
    ) -> Result<Stored<'a>> {
        self.store_for(app, (id, claimed), message, None, trace).await
    }

    /// The same for `only` this endpoint, or for all that want it.
    async fn store_for<'a>(
        &self,
        app: &'a Application,
        (drawn, claimed): (MessageId, Option<Claimed>),
        message: MessageIn,
        only: Option<EndpointId>,
        trace: Option<Trace>,
    ) -> Result<Stored<'a>> {
        let (mut id, mut origin, mut key) = (drawn, Origin::Drawn, None);
        if let Some(Claimed { key: ours, claim }) = claimed {
            match self.resolve_claim(app, &ours, drawn, claim).await? {
                KeyClaim::Acquired => {}
                KeyClaim::Abandoned(first) => (id, origin) = (first, Origin::TakenOver),
                KeyClaim::Completed(message) => return self.again(app, message, trace).await,
            }
            key = Some(ours);
        }
        if let Some(event_id) = &message.event_id {
            match self.claim_event_id(app, event_id, id).await? {
                KeyClaim::Acquired => {}
                KeyClaim::Abandoned(first) => {
                    (id, origin) = (first, Origin::TakenOver);
                    if let Some(key) = &key {
                        // The key has to stand for the message that there will be.
                        self.store.move_key(&key.hash, &key.owner, id).await?;
                    }
                }
                KeyClaim::Completed(message) => {
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
        let (mut endpoints, mut ordered, mut all_ordered) = (Vec::new(), Vec::new(), Vec::new());
        let polled = match only {
            // Whether anybody polls need not be known: keeping to the time costs nothing. What is sent to one
            // endpoint, whatever that wants, is in no order.
            Some(endpoint) => {
                endpoints.push(endpoint);
                true
            }
            None => {
                let targets = self.targets.of(&self.store, &*self.clock, app).await?;
                let payload = PayloadView::new(&message.payload.json);
                // Pollers come for it themselves.
                for target in targets.iter().filter(|target| !target.is_polled()) {
                    if target.wants(&message.labels, &payload) {
                        endpoints.push(target.endpoint);
                        let key = target.fifo.as_ref().map(|fifo| (target.endpoint, fifo.key_of(&payload)));
                        ordered.extend(key);
                    }
                }
                if !ordered.is_empty() {
                    let all = targets.iter().filter(|target| target.fifo.is_some());
                    all_ordered.extend(all.map(|target| target.endpoint));
                }
                targets.iter().any(Target::is_polled)
            }
        };
        let new = NewMessage {
            app: app.id,
            id,
            labels: message.labels,
            event_id: message.event_id,
            payload: message.payload,
            retention_hours: message.retention_hours.unwrap_or(24 * self.store.retention().payload_days()),
            deliver_at: message.deliver_at,
            endpoints,
        };
        let stored = if polled {
            self.store.put_message_in_time(&new).await?
        } else {
            self.store.put_message(&new).await?
        };
        let comes_again = matches!(origin, Origin::Derived { again: true });
        if !stored && (comes_again || !self.is_stored(&new).await?) {
            // Two took the same id over; the other one was faster, or it was voided. Or a job came again, and what it
            // asks for is done, but for what is missing.
            let voided = || unavailable("store a message")("another request began anew, under another ID");
            let stored = self.store.find_message(app.id, id).await?.ok_or_else(voided)?;
            return self.again(app, Box::new(stored), trace).await;
        }
        let holder = match origin {
            // Who drew the ID may be about to take the message back.
            Origin::TakenOver => Some(self.hold(app, id).await?),
            Origin::Drawn | Origin::Derived { .. } => None,
        };
        let duplicate_risk = match (origin, stored) {
            (Origin::TakenOver | Origin::Derived { again: true }, _)
            | (Origin::Derived { again: false }, false) => DuplicateRisk::Elsewhere,
            (Origin::Drawn, false) => DuplicateRisk::Here,
            (Origin::Drawn | Origin::Derived { again: false }, true) => DuplicateRisk::None,
        };
        Ok(Stored::New(Box::new(PendingMessage {
            app,
            new,
            ordered,
            all_ordered,
            duplicate_risk,
            origin,
            holder,
            trace,
        })))
    }

    /// Stores the message of an event or a record that comes so late that pollers may have passed its ID, or that its
    /// time would be of the past: under another one, once for the ID that follows from where it comes from.
    async fn store_late<'a>(
        &self,
        app: &'a Application,
        late: MessageId,
        message: MessageIn,
        trace: Option<Trace>,
    ) -> Result<Stored<'a>> {
        if let Some(message) = self.store.void_message(app.id, late).await? {
            return self.again(app, Box::new(message), trace).await;
        }
        let id = self.next_id();
        // No event ID that somebody chose has a colon.
        match self.claim_event_id(app, &format!("late:{late}"), id).await? {
            KeyClaim::Acquired => self.place(app, (id, Origin::Drawn), message, None, trace).await,
            KeyClaim::Abandoned(first) => {
                self.place(app, (first, Origin::TakenOver), message, None, trace).await
            }
            KeyClaim::Completed(message) => self.again(app, message, trace).await,
        }
    }

    /// Whether what is stored under this id is this message: the SDK repeats a put whose answer was
    /// lost, and the first had taken effect.
    async fn is_stored(&self, new: &NewMessage) -> Result<bool> {
        let Some(stored) = self.store.find_message(new.app, new.id).await? else { return Ok(false) };
        let same_endpoints = self.store.message_endpoints(&stored).await? == new.endpoints;
        Ok(same_endpoints && self.store.payload(&stored).await?.as_ref() == Some(&new.payload))
    }

    /// Holds a message that an earlier request drew the ID of, which could take it back otherwise; says by what.
    ///
    /// # Errors
    /// `Unavailable` if it has just been taken back.
    async fn hold(&self, app: &Application, id: MessageId) -> Result<String> {
        let holder = self.next_id().to_string();
        if self.store.hold_message(app.id, id, &holder).await? {
            return Ok(holder);
        }
        Err(unavailable("store a message")("the request that stored it first has taken it back"))
    }

    /// What an earlier request stored.
    async fn again(
        &self,
        app: &Application,
        message: Box<Message>,
        trace: Option<Trace>,
    ) -> Result<Stored<'static>> {
        self.repair(app, &message, trace).await?;
        Ok(Stored::Existing(message))
    }
}

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
enum DuplicateRisk {
    /// Nobody else knows its id.
    None,
    /// By this request itself, if at all.
    Here,
    /// By another request that drew its id and may still run.
    Elsewhere,
}
