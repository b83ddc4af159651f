//! Operational webhooks: an event becomes a message of the application that its organisation has in
//! the management organisation.

use std::time::Duration;

use shared::auth::{Caller, Who};
use shared::ids::{MessageId, Reference};
use shared::intake::MessageIn;
use shared::labels::Labels;
use shared::operational::management_org;
use shared::queue::{Job, Operational, Outgoing};
use shared::store::applications::Application;
use shared::store::messages::Payload;
use shared::{Error, Result};

use crate::Background;

/// How long after what it tells a message is held back for the one before it.
const WAITING_MAX: Duration = Duration::from_secs(10);
/// How long it waits until it looks again.
const TURN: Duration = Duration::from_secs(1);

impl Background {
    /// Whether a message was sent to each of its endpoints, with whatever success.
    async fn was_tried(&self, app: &Application, id: MessageId) -> Result<bool> {
        let Some(message) = self.store.find_message(app.id, id).await? else { return Ok(false) };
        let endpoints = self.store.message_endpoints(&message).await?;
        Ok(self.store.states(id, &endpoints, true).await?.len() == endpoints.len())
    }

    /// Accepts the message that tells an event. Nobody listens where there is no such application.
    pub(crate) async fn send_operational(&self, event: Operational, again: bool) -> Result<()> {
        let caller = Caller::from(Who::Postrider(management_org()));
        let reference = Reference::Uid(event.org.to_string());
        let app = match self.intake.application(&caller, &reference, None).await {
            Ok(app) => app,
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let late = self.clock.now().since(event.message.time()) > WAITING_MAX;
        if let Some(before) = event.after.filter(|_| !late)
            && !self.was_tried(&app, before).await?
        {
            let job = Outgoing::new(&Job::from(event), TURN, app.id)?;
            return self.sqs.send_one(&self.source.queue, job).await;
        }
        let message = MessageIn {
            labels: Labels::of(event.event_type),
            event_id: None,
            payload: Payload::of(event.payload.get()),
            deliver_at: None,
            retention_hours: None,
            application: None,
        };
        self.intake.accept_event(&app, event.message, message, again).await.map(drop)
    }
}
