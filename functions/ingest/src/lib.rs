//! Messages that producers in the same account put into a queue, accepted as those that are posted.
//!
//! Who may put something there is IAM's to say, so a record names its organisation itself. Its sender sees
//! no answer: what cannot be accepted is a dead letter with a line in the log that says why, and what
//! cannot be accepted yet comes back.

mod queued;
mod refusal;

use std::collections::BTreeMap;
use std::slice;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use shared::auth::{Caller, Who};
use shared::batch::{self, Outcome, Record, Source};
use shared::clock::SharedClock;
use shared::config::{ConfigError, Env};
use shared::error::{Chain, corrupt, unavailable};
use shared::idempotency::IdempotencyKey;
use shared::ids::{AppId, MessageId, OrgId, Reference};
use shared::intake::{Intake, Stored};
use shared::queue::Queue;
use shared::random::SharedRandom;
use shared::store::applications::{Application, ApplicationSettings};
use shared::{Error, Platform, Result};
use tracing::Instrument as _;

use queued::Queued;

/// What this function holds.
#[derive(Clone, Debug)]
pub struct Ingest {
    intake: Intake,
    random: SharedRandom,
    clock: SharedClock,
    source: Source,
}

/// The applications that a batch is for, by organisation and as its records name them.
type Applications = BTreeMap<(OrgId, Reference<AppId>), Result<Application>>;

impl Ingest {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect(env: &Env<'_>, platform: &Platform) -> Result<Self, ConfigError> {
        Ok(Self {
            intake: Intake::connect(env, platform, platform.store(env)?, "ingest")?.limited(env)?,
            random: platform.random.clone(),
            clock: platform.clock.clone(),
            source: Queue::Ingest.source(env)?,
        })
    }

    /// Works on a batch.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let records = batch::records(&event);
        // Boxed, or its type would be deeper than the compiler goes.
        let outcomes = self.accept(&records).boxed().await;
        let source = slice::from_ref(&self.source);
        let response = batch::finish_batch(self.intake.sqs(), source, records, outcomes).await;
        self.intake.metrics().flush();
        response
    }

    /// Accepts messages: reads their applications, each once, stores all of them at the same time, and
    /// queues their deliveries together.
    async fn accept(&self, records: &[Record<'_>]) -> Vec<Outcome> {
        let queued: Vec<Result<Queued>> =
            records.iter().map(|record| Queued::parse(record.body(), self.clock.now())).collect();
        let apps = self.applications(records, &queued).await;
        let stored = join_all(records.iter().zip(queued).map(|(record, queued)| {
            let stored = async { self.store(&apps, record, queued?).await };
            stored.instrument(record.span().clone())
        }));
        let accepted = self.intake.queue_stored(stored.await).await;
        accepted
            .into_iter()
            .map(|accepted| accepted.map_or_else(refusal::outcome, |_| Outcome::Done))
            .collect()
    }

    async fn applications(&self, records: &[Record<'_>], queued: &[Result<Queued>]) -> Applications {
        let mut wanted: BTreeMap<_, (&Record<'_>, Option<&ApplicationSettings>)> = BTreeMap::new();
        for (record, queued) in records.iter().zip(queued) {
            let Ok(queued) = queued else { continue };
            let (_, new) = wanted.entry((queued.org, &queued.app)).or_insert((record, None));
            *new = new.or(queued.message.application.as_ref());
        }
        let read = wanted.into_iter().map(async |((org, app), (record, new))| {
            let request_id = Some(record.id().to_owned());
            let caller = Caller { who: Who::Org(org), token_id: None, request_id };
            let found = self.intake.application(&caller, app, new).await;
            ((org, app.clone()), found)
        });
        join_all(read).await.into_iter().collect()
    }

    /// Stores one message, once for its key, however often its record comes.
    async fn store<'a>(
        &self,
        apps: &'a Applications,
        record: &Record<'_>,
        queued: Queued,
    ) -> Result<Stored<'a>> {
        let Queued { org, app, key, message } = queued;
        let app = match apps.get(&(org, app)) {
            Some(Ok(app)) => app,
            Some(Err(error)) => return Err(of_all(error)),
            None => return Err(Error::NotFound("Application")),
        };
        self.intake.admit(app, &message).await?;
        // With neither, the record is the message, and no other record is: its ID takes the place of a key.
        if let (None, None, Some(sent)) = (&key, &message.event_id, record.sent()) {
            let id = MessageId::for_record(app.id, record.id(), sent);
            return self.intake.store_record(app, id, message, record.again(), record.trace()).await;
        }
        let key = IdempotencyKey::of_record(app, key.as_deref(), record.id(), &*self.random);
        let id = self.intake.next_id();
        let claimed = self.intake.claim(key, id).await?;
        let stored = self.intake.store(app, (id, Some(claimed)), message, record.trace()).await?;
        // A request would get the first one's answer and could see the difference; here it would be lost.
        if let Stored::Existing(earlier) = &stored
            && !self.intake.is_same(earlier, &Queued::parse(record.body(), self.clock.now())?.message).await?
        {
            return Err(Error::Conflict("Another message was sent with this idempotencyKey.".into()));
        }
        Ok(stored)
    }
}

/// The error of what several records share, for one of them.
fn of_all(error: &Error) -> Error {
    match error {
        Error::NotFound(what) => Error::NotFound(what),
        Error::Corrupt { what, .. } => corrupt(what)(Chain(error).to_string()),
        error => unavailable("read the application")(Chain(error).to_string()),
    }
}
