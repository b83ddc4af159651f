//! Operational webhooks: an event becomes a message of the application that its organisation has in
//! the management organisation.

use shared::auth::{Caller, Who};
use shared::ids::Reference;
use shared::intake::MessageIn;
use shared::operational::management_org;
use shared::queue::Operational;
use shared::store::messages::{LOG_RETENTION_DAYS, Payload};
use shared::{Error, Result};

use crate::Dispatcher;

impl Dispatcher {
    /// Accepts the message that tells an event. Nobody listens where there is no such application.
    pub(crate) async fn tell(&self, told: Operational, again: bool) -> Result<()> {
        let caller = Caller::from(Who::Postrider(management_org()));
        let reference = Reference::Uid(told.org.to_string());
        let app = match self.intake.application(&caller, &reference, None).await {
            Ok(app) => app,
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let message = MessageIn {
            event_type: told.event_type,
            event_id: None,
            channels: None,
            tags: None,
            payload: Payload::of(told.payload.get()),
            deliver_at: None,
            retention_hours: LOG_RETENTION_DAYS * 24,
            application: None,
        };
        self.intake.accept_event(&app, told.message, message, again).await.map(drop)
    }
}
