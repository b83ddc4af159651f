//! What accepts messages, by whichever way they come: requests, or a queue.

use std::sync::Arc;
use std::time::Duration;

use shared::auth::Caller;
use shared::clock::SharedClock;
use shared::config::{ConfigError, Env, delivery_timeout};
use shared::ids::{AppId, Reference};
use shared::metrics::Metrics;
use shared::queue::{QueueUrl, Sqs};
use shared::random::SharedRandom;
use shared::store::Store;
use shared::store::applications::{Application, ApplicationSettings};
use shared::store::messages::Message;
use shared::{Error, Platform, Result};

pub use crate::accept::{Accepted, Claimed, Placed, Stored};
pub use crate::incoming::MessageIn;
use crate::quota::{self, Quota};
use crate::targets::Targets;

/// Accepts messages of whoever may send them: that is for its holder to know.
#[derive(Clone, Debug)]
pub struct Intake {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) sqs: Sqs,
    pub(crate) deliveries: QueueUrl,
    pub(crate) fan_out: QueueUrl,
    /// How long one delivery can take: repair waits for those that may be running.
    pub(crate) delivery_timeout: Duration,
    pub(crate) targets: Arc<Targets>,
    quota: Arc<Quota>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Intake {
    /// Reads the settings. `function` is the folder of the function that holds it.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect(
        env: &Env<'_>,
        platform: &Platform,
        store: Store,
        function: &'static str,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            store,
            clock: platform.clock.clone(),
            random: platform.random.clone(),
            sqs: platform.sqs(env)?,
            deliveries: QueueUrl::read(env, "POSTRIDER_DELIVERIES_QUEUE")?,
            fan_out: QueueUrl::read(env, "POSTRIDER_FAN_OUT_QUEUE")?,
            delivery_timeout: delivery_timeout(env)?,
            targets: Arc::default(),
            quota: Arc::new(Quota::new(quota::read(env)?)),
            metrics: platform.metrics(function),
        })
    }

    /// The queue service.
    pub const fn sqs(&self) -> &Sqs {
        &self.sqs
    }

    /// What counts.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The application that messages are for, which is made if it is missing and a message says how.
    ///
    /// # Errors
    /// `NotFound`; the store's own.
    pub async fn application(
        &self,
        caller: &Caller,
        reference: &Reference<AppId>,
        new: Option<&ApplicationSettings>,
    ) -> Result<Application> {
        let find = || self.targets.application_for(&self.store, &*self.clock, caller, reference);
        match (find().await, new) {
            (Err(Error::NotFound(_)), Some(new)) => {
                match self.store.create_application(caller, new.clone()).await {
                    // Somebody else made it meanwhile.
                    Err(Error::Conflict(_)) => find().await,
                    made => made.map(|(app, _)| app),
                }
            }
            (found, _) => found,
        }
    }

    /// Lets one message of an application pass.
    ///
    /// # Errors
    /// `TooMany` if the application has posted as many within this second as it may; the store's own.
    pub async fn admit(&self, app: &Application) -> Result<()> {
        self.quota.pass(&self.store, &*self.clock, app.id).await
    }

    /// Whether what is on record is what `posted` asks for. A text that is gone is not compared.
    ///
    /// # Errors
    /// The store's own.
    pub async fn is_same(&self, stored: &Message, posted: &MessageIn) -> Result<bool> {
        let labels = (&stored.event_type, &stored.event_id, &stored.channels, &stored.tags)
            == (&posted.event_type, &posted.event_id, &posted.channels, &posted.tags);
        Ok(labels && self.store.payload(stored).await?.is_none_or(|payload| payload == posted.payload))
    }
}
