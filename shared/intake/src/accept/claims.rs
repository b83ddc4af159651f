//! Whose a message is that several requests ask for: by idempotency key, or by event id.

use std::time::Duration;

use domain::application::Application;
use domain::error::unavailable;
use domain::idempotency::IdempotencyKey;
use domain::ids::MessageId;
use domain::message::Message;
use domain::polling::TAKE_OVER_WITHIN;
use domain::{Error, Result};
use runtime::clock::Timestamp;
use store::idempotency::Claim;
use store::messages::EventIdClaim;

use crate::Intake;

/// How long a request that claimed a key or an event id may take to store its message. Acceptance
/// takes milliseconds; taking over one that still runs is safe, only not free.
const STORING_MAX: Duration = Duration::from_secs(2);
/// For how long a request waits for what others claimed before it: several may have died one after the other.
const RESOLVING_MAX: Duration = STORING_MAX.saturating_mul(5);
/// How often a request that waits for another looks.
const FIRST_LOOK: Duration = Duration::from_millis(25);
const LOOK_MAX: Duration = Duration::from_millis(400);

/// How it stands with something that only one request can have.
pub(super) enum KeyClaim {
    /// This one has it.
    Acquired,
    /// An earlier one had it, and died before it stored the message of this id.
    Abandoned(MessageId),
    /// An earlier one has it, and stored this.
    Completed(Box<Message>),
}

impl Intake {
    /// Whose a key is in the end that was claimed for the message `id`. From a request that died it is taken
    /// over, with the id that it drew while that is young: should it live after all, it cannot let go of it any more.
    pub(super) async fn resolve_claim(
        &self,
        app: &Application,
        key: &IdempotencyKey,
        id: MessageId,
        mut claim: Claim,
    ) -> Result<KeyClaim> {
        let (mut wait, give_up) = (FIRST_LOOK, self.clock.now().after(RESOLVING_MAX));
        loop {
            let Claim::Existing(record) = claim else { return Ok(KeyClaim::Acquired) };
            let first =
                record.message.ok_or(Error::Conflict("This idempotency key is in use elsewhere.".into()))?;
            claim = match self.outcome(app, first, record.at).await? {
                Some(KeyClaim::Abandoned(_)) => {
                    let stale = Some(record.owner.as_str());
                    let renewed = self.is_too_old(first);
                    if renewed && let Some(message) = self.store.void_message(app.id, first).await? {
                        return Ok(KeyClaim::Completed(Box::new(message)));
                    }
                    let ours = if renewed { id } else { first };
                    match self.store.claim_key(&key.hash, &key.owner, Some(ours), stale).await? {
                        Claim::Acquired if renewed => return Ok(KeyClaim::Acquired),
                        Claim::Acquired => return Ok(KeyClaim::Abandoned(first)),
                        // Somebody else was faster.
                        earlier => earlier,
                    }
                }
                Some(outcome) => return Ok(outcome),
                None => {
                    self.wait_for_the_claimant(&mut wait, give_up).await?;
                    self.store.claim_key(&key.hash, &key.owner, Some(id), None).await?
                }
            };
        }
    }

    pub(super) async fn claim_event_id(
        &self,
        app: &Application,
        event_id: &str,
        id: MessageId,
    ) -> Result<KeyClaim> {
        let (mut wait, give_up) = (FIRST_LOOK, self.clock.now().after(RESOLVING_MAX));
        let mut stale = None;
        loop {
            let first = match self.store.claim_event_id(app.id, event_id, id, stale).await? {
                EventIdClaim::Ours => return Ok(KeyClaim::Acquired),
                EventIdClaim::Taken(first) => first,
            };
            match self.outcome(app, first, first.time()).await? {
                Some(KeyClaim::Abandoned(_)) if self.is_too_old(first) => {
                    if let Some(message) = self.store.void_message(app.id, first).await? {
                        return Ok(KeyClaim::Completed(Box::new(message)));
                    }
                    stale = Some(first);
                }
                Some(outcome) => return Ok(outcome),
                None => self.wait_for_the_claimant(&mut wait, give_up).await?,
            }
        }
    }

    /// Whether the ID of a request that died is too old to be taken over: pollers may have passed it before
    /// its message is stored (ADR 0029). Then it is voided, and the message gets a new one.
    pub(super) fn is_too_old(&self, id: MessageId) -> bool {
        self.clock.now().since(id.time()) > TAKE_OVER_WITHIN
    }

    /// Waits before the next look at what another request claimed, twice as long each time.
    ///
    /// # Errors
    /// `Unavailable` once it is `give_up`: requests that die one after the other do not hold this one for ever.
    async fn wait_for_the_claimant(&self, wait: &mut Duration, give_up: Timestamp) -> Result<()> {
        if self.clock.now() >= give_up {
            return Err(unavailable("store a message")("other requests for it began and did not end"));
        }
        self.clock.sleep(*wait).await;
        *wait = (*wait * 2).min(LOOK_MAX);
        Ok(())
    }

    /// What became of the request that claimed something for `first`; none while it may be running.
    async fn outcome(
        &self,
        app: &Application,
        first: MessageId,
        claimed_at: Timestamp,
    ) -> Result<Option<KeyClaim>> {
        if let Some(message) = self.store.find_message(app.id, first).await? {
            return Ok(Some(KeyClaim::Completed(Box::new(message))));
        }
        let over = self.clock.now().since(claimed_at) >= STORING_MAX;
        Ok(over.then_some(KeyClaim::Abandoned(first)))
    }
}
