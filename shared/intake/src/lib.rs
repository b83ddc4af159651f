//! What accepts messages, by whichever way they come: requests, or a queue.

mod accept;
mod incoming;
mod quota;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use aws::Platform;
use domain::application::{Application, ApplicationSettings};
use domain::caller::Caller;
use domain::error::Chain;
use domain::ids::{AppId, EndpointId, MessageId, Reference};
use domain::labels::Labels;
use domain::message::Message;
use domain::task::Task;
use domain::{Error, Result};
use queue::{Advance, Job, Outgoing, Queue, QueueUrl, Sqs};
use runtime::clock::SharedClock;
use runtime::config::{ConfigError, Env, delivery_timeout};
use runtime::metrics::Metrics;
use store::Store;

pub use accept::{Accepted, Claimed, PendingMessage, Stored};
pub use incoming::{MessageIn, labels};
use quota::Quota;
use targets::Targets;

/// Accepts messages of whoever may send them: that is for its holder to know.
#[derive(Clone, Debug)]
pub struct Intake {
    store: Store,
    clock: SharedClock,
    sqs: Sqs,
    deliveries: QueueUrl,
    background: QueueUrl,
    /// How long one delivery can take: repair waits for those that may be running.
    delivery_timeout: Duration,
    targets: Arc<Targets>,
    quota: Arc<Quota>,
    /// Whether it counts how often applications are read.
    counting: bool,
    metrics: Arc<Metrics>,
}

impl Intake {
    /// Reads the settings, with no limit of messages. `function` is the folder of the function that holds it.
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
            sqs: platform.sqs(env)?,
            deliveries: Queue::Deliveries.url(env)?,
            background: Queue::Background.url(env)?,
            delivery_timeout: delivery_timeout(env)?,
            targets: Arc::default(),
            quota: Arc::new(Quota::new(None)),
            counting: false,
            metrics: platform.metrics(function),
        })
    }

    /// This, with the limit of messages that the settings say.
    ///
    /// # Errors
    /// It is no number.
    pub fn limited(self, env: &Env<'_>) -> Result<Self, ConfigError> {
        Ok(Self { quota: Arc::new(Quota::new(quota::read(env)?)), ..self })
    }

    /// This, counting how often each application is read, so that it has the copies that it needs.
    #[must_use]
    pub fn counting(self) -> Self {
        Self { counting: true, ..self }
    }

    /// The queue service.
    pub const fn sqs(&self) -> &Sqs {
        &self.sqs
    }

    /// What counts.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The ID of a message that is about to be stored: messages are listed in the order in which one instance draws their IDs.
    pub fn next_id(&self) -> MessageId {
        self.store.new_id(self.clock.now())
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
        let found = find().await;
        if let (Ok(app), true) = (&found, self.counting) {
            self.store.note_reading(app).await;
        }
        match (found, new) {
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

    /// Whether a message with those labels would go to any endpoint of `app`, which was just
    /// read.
    ///
    /// # Errors
    /// The store's own.
    pub async fn is_wanted(&self, app: &Application, labels: &Labels) -> Result<bool> {
        let targets = self.targets.of(&self.store, &*self.clock, app).await?;
        Ok(targets.iter().any(|target| target.may_want(labels)))
    }

    /// Begins a task, and queues its first step.
    ///
    /// # Errors
    /// The store's own.
    pub async fn begin_task(&self, by: &Caller, task: &Task) -> Result<()> {
        self.store.create_task(by, task).await?;
        let job = Outgoing::new(&Job::Task(task.next_step()), Duration::ZERO, task.group())?;
        if let Err(error) = self.sqs.send_one(&self.background, job).await {
            // The task has a timer besides: it begins within a minute.
            tracing::warn!(error = %Chain(&error), task = %task.id, "a task begins later");
        }
        Ok(())
    }

    /// Has an ordered endpoint's place looked at now. What is to be done there has a timer, too: it may fail.
    pub async fn advance(&self, app: &Application, endpoint: EndpointId) {
        let sent = async {
            let job = Job::Advance(Advance::of(app.org, app.id, endpoint));
            self.sqs.send_one(&self.deliveries, Outgoing::new(&job, Duration::ZERO, app.id)?).await
        };
        if let Err(error) = sent.await {
            tracing::warn!(error = %Chain(&error), %endpoint, "an ordered endpoint goes on later");
        }
    }

    /// Lets one message of an application pass.
    ///
    /// # Errors
    /// `Invalid` if its payload is to be kept for longer than this installation keeps any; `TooMany` if the application
    /// has posted as many within this second as it may; the store's own.
    pub async fn admit(&self, app: &Application, message: &MessageIn) -> Result<()> {
        let days = self.store.retention().payload_days();
        if message.retention_hours.is_some_and(|hours| hours > 24 * days) {
            let msg = format!(
                "This installation keeps payloads for {days} days: leave it out, or set it to at most {days} days"
            );
            return Err(Error::violation(["body", "payloadRetentionPeriod"], msg));
        }
        self.quota.pass(&self.store, &*self.clock, app.id).await
    }

    /// Whether what is on record is what `posted` asks for. A text that is gone is not compared.
    ///
    /// # Errors
    /// The store's own.
    pub async fn is_same(&self, stored: &Message, posted: &MessageIn) -> Result<bool> {
        let same = (&stored.labels, &stored.event_id) == (&posted.labels, &posted.event_id);
        Ok(same && self.store.payload(stored).await?.is_none_or(|payload| payload == posted.payload))
    }
}
