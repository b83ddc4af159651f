//! Operational webhooks: an event becomes a message of the application that its organisation has in
//! the management organisation.

use shared::Result;
use shared::operational::management_org;
use shared::queue::{Deliver, FanOut, Job, Operational};
use shared::store::endpoints::Filter;
use shared::store::messages::{LOG_RETENTION_DAYS, NewMessage, Payload};

use crate::{Dispatcher, STEP};

impl Dispatcher {
    /// Stores the message and sends its deliveries. Nobody listens where there is no such application.
    pub(crate) async fn tell(&self, told: Operational) -> Result<()> {
        let org = management_org();
        let Some(id) = self.store.application_id(org, &told.org.to_string()).await? else { return Ok(()) };
        let Some(app) = self.store.find_application(org, id).await? else { return Ok(()) };
        let endpoints = self.store.all_endpoints(app.id).await?;
        let wanting = endpoints.into_iter().filter_map(|endpoint| {
            Filter::from(endpoint.settings).wants(&told.event_type, None).then_some(endpoint.id)
        });
        let wanting = wanting.collect();
        let new = NewMessage {
            app: app.id,
            id: told.message,
            event_type: told.event_type,
            event_id: None,
            channels: None,
            tags: None,
            payload: Payload { json: told.payload.get().to_owned(), raw: None },
            retention_hours: LOG_RETENTION_DAYS * 24,
            endpoints: wanting,
        };
        let stored = self.store.put_message(&new).await?;
        if stored && new.endpoints.len() <= STEP {
            let jobs = new.endpoints.iter().map(|id| Job::Deliver(Deliver::first(&app, &new, *id, false)));
            return self.send(&self.deliveries, &app, jobs).await;
        }
        // A copy of this job stored it, and may have sent a part: what counts is the message that is
        // there, and what it has not been sent to.
        let (from, check, version) = (0, !stored, app.version);
        let job = FanOut { org, app: app.id, version, message: new.id, from, check, trace: None };
        self.send(&self.source.queue, &app, [Job::FanOut(job)]).await
    }
}
