//! The delivery of messages: sign, POST, record, and schedule what comes next.
//!
//! The order after a POST is attempt, successor, state. So a state that counts *n* attempts says
//! that attempt *n + 1*, if there is to be one, is queued; a copy of a job that finds such a state
//! stops, and one that finds the attempt without the state finishes what is left to do. A first attempt
//! that succeeds has no successor: it and the state are one write.

mod chain;
mod circuit;
mod destination;
mod http_keys;
mod injected_bug;
mod job;
mod mail;
mod order;
mod probe;
mod requeue;
mod spans;
mod throttle;
mod transform;

pub use destination::http::{Answer, Guard, HttpSender, SendError, SendFuture};
pub use injected_bug::InjectedBug;

use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use shared::batch::{self, Received, Source};
use shared::cache::VersionedCache;
use shared::clock::SharedClock;
use shared::config::{ConfigError, Delivery, Env};
use shared::draining::Draining;
use shared::error::{corrupt, unavailable};
use shared::ids::{AppId, EndpointId, OrgId};
use shared::labels::Labels;
use shared::metrics::Metrics;
use shared::queue::{Job, OperationalQueue, Queue, Sqs};
use shared::retry::RetryPolicy;
use shared::store::Store;
use shared::store::applications::Application;
use shared::store::attempts::{Attempt, Status};
use shared::store::endpoints::Endpoint;
use shared::store::messages::Payload;
use shared::{Platform, Result};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use circuit::{Circuits, SLOW_AFTER};
use destination::aws::OwnAws;
use destination::aws::lines::{Lines, OnTheWay};
use destination::http::network;
use destination::{AttemptRequest, Attempted, Destinations};
use http_keys::HttpKeys;
use job::AttemptJob;
use mail::Mailer;
use requeue::Priority;
use spans::{Collected, Made, Spans};
use throttle::Slots;
use transform::{Gathered, Prepared, Transformations};

/// Endpoints that one instance remembers.
const ENDPOINTS_MAX: usize = 10_000;
/// Deliveries to one endpoint at the same time within one batch.
const PER_ENDPOINT_MAX: usize = 5;
/// What was in the queue for longer looks before it posts, as does what is older than [`shared::queue::DEDUP_FREE_WINDOW`]: that
/// compares its sender's clock with the queue's, and this is the queue's own.
const QUEUED_MAX: Duration = Duration::from_secs(5);
/// How long after an attempt was recorded the copy of the job that recorded it may still be busy.
const FINISHING_MAX: Duration = Duration::from_secs(5);

/// What this function holds.
#[derive(Debug)]
pub struct Deliver {
    store: Store,
    sqs: Sqs,
    clock: SharedClock,
    retries: RetryPolicy,
    sources: [Source; 2],
    destinations: Destinations,
    /// Who warns by mail, where that is on.
    mailer: Option<Mailer>,
    /// Who sends operational webhooks.
    operational_queue: OperationalQueue,
    endpoints: VersionedCache<EndpointId, Arc<Endpoint>>,
    circuits: Circuits,
    transformations: Transformations,
    http_keys: HttpKeys,
    spans: Spans,
    metrics: Arc<Metrics>,
    draining: Draining,
    /// None but in the simulation's own tests.
    bug: Option<InjectedBug>,
}

/// What the jobs of one batch share.
#[derive(Debug, Default)]
struct Batch {
    applications: Mutex<HashMap<AppId, Arc<OnceCell<Option<Application>>>>>,
    turns: Mutex<HashMap<EndpointId, Arc<Semaphore>>>,
    slots: Slots,
    transformations: Gathered,
    lines: Lines,
    spans: Collected,
}

impl Batch {
    fn turns(&self, endpoint: &Endpoint) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Lines are one request, however many they are, and wait for each other.
        let lines = endpoint.settings.destination.takes_lines();
        let at_once = if lines { Semaphore::MAX_PERMITS } else { PER_ENDPOINT_MAX };
        turns.entry(endpoint.id).or_insert_with(|| Arc::new(Semaphore::new(at_once))).clone()
    }

    /// The application, read strongly and once for the whole batch by `read`: its version tells whether
    /// what is cached still holds.
    async fn application(
        &self,
        app: AppId,
        read: impl Future<Output = Result<Option<Application>>>,
    ) -> Result<Option<Application>> {
        let cell = {
            let mut applications = self.applications.lock().unwrap_or_else(PoisonError::into_inner);
            applications.entry(app).or_default().clone()
        };
        cell.get_or_try_init(|| read).await.cloned()
    }
}

impl Deliver {
    /// Reads the settings; sends over the network, to public addresses and to what they allow.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect(env: &Env<'_>, platform: &Platform) -> Result<Self, ConfigError> {
        let settings = Delivery::read(env)?;
        let guard = Guard::new(settings.allowed_subnets);
        Self::connect_by(Arc::new(network(guard)), env, platform)
    }

    /// Reads the settings; sends by `transport`.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn connect_by(
        transport: Arc<dyn HttpSender>,
        env: &Env<'_>,
        platform: &Platform,
    ) -> Result<Self, ConfigError> {
        let settings = Delivery::read(env)?;
        let sqs = platform.sqs(env)?;
        let queue = Queue::Background.url(env)?;
        let operational_queue = OperationalQueue { sqs: sqs.clone(), queue };
        let (clock, aws) = (platform.clock.clone(), OwnAws::read(env)?);
        let mailer = Mailer::read(env, transport.clone(), clock.clone(), &settings, aws.clone())?;
        Ok(Self {
            mailer,
            store: platform.store(env)?.with_operational_events(Arc::new(operational_queue.clone())),
            operational_queue,
            sqs,
            clock: platform.clock.clone(),
            destinations: Destinations::new(transport, clock, &settings, aws),
            retries: RetryPolicy::read(env)?,
            sources: [Queue::Deliveries.source(env)?, Queue::Retries.source(env)?],
            endpoints: VersionedCache::new(ENDPOINTS_MAX),
            circuits: Circuits::default(),
            transformations: Transformations::new(platform.transformer(env)?),
            http_keys: HttpKeys::default(),
            spans: Spans::read(env, platform.clock.clone())?,
            metrics: platform.metrics("deliver"),
            draining: platform.draining.clone(),
            bug: None,
        })
    }

    /// Works on a batch, all its jobs at once.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let batch = Batch::default();
        let answer =
            batch::run(&self.sqs, &self.sources, event, |received| self.work(&batch, received)).await;
        self.metrics.flush();
        // Before the invocation ends, or the request would be frozen with the instance.
        self.spans.export(batch.spans).await;
        answer
    }

    async fn work(&self, batch: &Batch, received: Received) -> Result<()> {
        let priority = Priority::of(received.source);
        let on_the_way = batch.lines.announce();
        let job = match received.job {
            Job::Deliver(job) => {
                let yields = received.first_received.and_then(|received| job.yields_for(received));
                if let Some(wait) = yields {
                    drop(on_the_way);
                    return Box::pin(self.yield_for(wait, priority, job)).await;
                }
                AttemptJob::Scheduled(job)
            }
            Job::Resend(job) => AttemptJob::Manual(job),
            Job::Probe(job) => {
                drop(on_the_way);
                return Box::pin(self.probe(job)).await;
            }
            Job::Advance(job) => {
                drop(on_the_way);
                // Rare, and large: other jobs do not make room for it.
                return Box::pin(self.advance(batch, job, priority)).await;
            }
            Job::FanOut(_) | Job::Operational(_) | Job::Task(_) => {
                return Err(corrupt("a job")("it belongs into another queue"));
            }
        };
        let check_before_send = received.again
            || received.waited > QUEUED_MAX
            || received.first_received.is_some_and(|received| job.checks_before_send(received));
        // Large, and moved with the job that waits for it, unless it has a place of its own.
        Box::pin(self.attempt(batch, job, priority, check_before_send, received.again, on_the_way)).await
    }

    /// One attempt, which waits for its receiver most of the time: requests to tables are boxes of their own, so that it holds
    /// no room for them meanwhile.
    ///
    /// `check_before_send`: the job may have a copy, and looks at what was done. `again`: it came back, perhaps
    /// because an attempt could not be recorded, and tries that before it posts once more. `on_the_way`: those that
    /// write lines wait for it, until it is known to write none.
    async fn attempt<'a>(
        &self,
        batch: &'a Batch,
        job: AttemptJob,
        priority: Priority,
        check_before_send: bool,
        again: bool,
        on_the_way: OnTheWay<'a>,
    ) -> Result<()> {
        // Of a deleted application nothing is sent any more, and nobody reads its log.
        let read = self.application(job.org(), job.app(), job.endpoint());
        let Some(app) = batch.application(job.app(), read).await? else { return Ok(()) };
        let (id, message) = (job.id(), job.message());
        let mut before = None;
        if check_before_send || job.checks_before_send(self.clock.now()) {
            let (state, recorded) =
                Box::pin(self.store.delivery(job.endpoint(), message, &job.ids_on_record())).await?;
            if job.is_past(state.as_ref()) {
                return Ok(());
            }
            if let Some(attempt) = recorded {
                self.wait_for_a_copy(&attempt)?;
                if attempt.is_first() && state.as_ref().is_none_or(|state| state.first.is_none()) {
                    // A long one, whose result was not claimed yet.
                    self.record(&attempt, false).await?;
                }
                return Box::pin(self.finish(&app, &job, &attempt, state.as_ref())).await;
            }
            if job.is_needless(state.as_ref()) {
                return self.abandon(&job, "a resend delivered it").await;
            }
            before = state;
        }
        let Some(endpoint) = self.endpoint(&app, job.endpoint()).await? else {
            return self.abandon(&job, "the endpoint is deleted").await;
        };
        if endpoint.settings.disabled {
            return Box::pin(self.stop_at_disabled(&app, &job)).await;
        }
        let on_the_way = endpoint.settings.destination.takes_lines().then_some(on_the_way);
        let is_known_to_hang = priority == Priority::Normal && app.slow_endpoints.contains(&endpoint.id);
        // Before it waits for its turn: so all of a batch are transformed in one call.
        let transformed = if endpoint.transformation.is_some() && !is_known_to_hang {
            let Some((payload, labels)) = self.content(&app, &job).await? else {
                return self.abandon(&job, "the payload is gone").await;
            };
            let prepared = Box::pin(self.transformed(batch, &app, &endpoint, &payload, &labels)).await?;
            Some((payload, labels, prepared))
        } else {
            None
        };
        let Some(_turn) = self.turn(batch, &app, &endpoint, priority).await? else {
            return self.to_low_priority(job).await;
        };
        if let Some(slot) = self.slot_to_wait_for(batch, &app, &endpoint, job.slot()).await? {
            return self.put_back(priority, job, slot).await;
        }
        let (payload, labels, prepared) = match transformed {
            Some(transformed) => transformed,
            None => match self.content(&app, &job).await? {
                Some((payload, labels)) => (payload, labels, Prepared::AsItIs),
                None => return self.abandon(&job, "the payload is gone").await,
            },
        };
        if again {
            Box::pin(self.store.probe_log(endpoint.id, message, id)).await?;
        }
        let endpoint = &endpoint;
        let made =
            self.make(batch, &app, endpoint, &job, (&payload, labels), (&prepared, on_the_way)).await?;
        let Attempted { mut attempt, hint, aborted } = made;
        if attempt.status != Status::Success && !aborted && !attempt.disables {
            attempt.next = job.next_due(&self.retries(&app, endpoint), hint, self.clock.now());
        }
        let settled = attempt.is_first() && Self::settles(endpoint, &attempt);
        match self.record(&attempt, settled).await {
            Err(_) if self.has_bug(InjectedBug::AckBeforeRecord) => return Ok(()),
            recorded => recorded?,
        }
        self.count(app.id, &attempt);
        if let Some(due) = job.first_due() {
            self.metrics.first_attempt_after(attempt.at.since(due));
        }
        if settled { Ok(()) } else { Box::pin(self.finish(&app, &job, &attempt, before.as_ref())).await }
    }

    /// Sends what was prepared.
    async fn make(
        &self,
        batch: &Batch,
        app: &Application,
        endpoint: &Endpoint,
        job: &AttemptJob,
        (payload, labels): (&Payload, Labels),
        (prepared, on_the_way): (&Prepared, Option<OnTheWay<'_>>),
    ) -> Result<Attempted> {
        let (id, message, trigger) = (job.id(), job.message(), job.trigger());
        let span = self.spans.of(job);
        let traceparent = self.spans.header(span);
        let traceparent = traceparent.as_deref();
        let http_key = self.http_key(app, endpoint).await?;
        let http_key = http_key.as_ref();
        let request = AttemptRequest {
            id,
            message,
            endpoint,
            payload,
            labels,
            trigger,
            prepared,
            traceparent,
            http_key,
            on_the_way,
        };
        let attempted = self.watched(app, endpoint.id, self.destinations.attempt(request)).await?;
        let made = Made { job, app, endpoint, prepared, attempt: &attempted.attempt };
        self.spans.collect(&batch.spans, span, made);
        Ok(attempted)
    }

    /// The policy of an endpoint: its own, its application's or the installation's.
    fn retries<'a>(&'a self, app: &Application, endpoint: &Endpoint) -> Cow<'a, RetryPolicy> {
        let own = endpoint.settings.retry_policy.as_ref().or(app.retry_policy.as_ref());
        own.map_or(Cow::Borrowed(&self.retries), |own| Cow::Owned(RetryPolicy::from(own)))
    }

    /// Waits until it is this delivery's turn: one batch does not flood one endpoint. None if it has to
    /// go to the low-priority queue, because the endpoint is known to hang, or those before it do.
    async fn turn(
        &self,
        batch: &Batch,
        app: &Application,
        endpoint: &Endpoint,
        priority: Priority,
    ) -> Result<Option<OwnedSemaphorePermit>> {
        if priority == Priority::Normal && app.slow_endpoints.contains(&endpoint.id) {
            return Ok(None);
        }
        tokio::select! {
            biased;
            // The job goes back into its queue: whoever ends the process waits for one delivery, not for two.
            () = self.draining.begun() => Err(unavailable("begin a delivery")("the process is shutting down")),
            turn = batch.turns(endpoint).acquire_owned() => turn.map(Some).map_err(unavailable("wait for a turn")),
            () = self.clock.sleep(SLOW_AFTER), if priority == Priority::Normal => Ok(None),
        }
    }

    /// Posts, and notes for all instances whether the endpoint hangs.
    async fn watched<T>(
        &self,
        app: &Application,
        endpoint: EndpointId,
        posts: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let note = |hangs| self.circuits.note(&self.store, &self.clock, app, endpoint, hangs);
        let mut attempt = pin!(posts);
        let made = tokio::select! {
            biased;
            made = &mut attempt => {
                note(false).await;
                made
            }
            () = self.clock.sleep(SLOW_AFTER) => tokio::join!(attempt, note(true)).0,
        };
        made
    }

    /// Puts an attempt on record; of one that settles its delivery the state as well.
    async fn record(&self, attempt: &Attempt, settled: bool) -> Result<()> {
        let counts = if attempt.is_first() {
            Box::pin(self.store.record_first_attempt(attempt, settled)).await?
        } else {
            // Also where it meets itself: the SDK repeats a put whose answer was lost.
            Box::pin(self.store.record_attempt(attempt)).await?.is_none_or(|first| first == *attempt)
        };
        let goes_on = self.has_bug(InjectedBug::ForkedChain)
            || attempt.is_first()
                && attempt.status == Status::Fail
                && self.has_bug(InjectedBug::FailureIgnoresClaim);
        // A copy was faster, and what counts is its outcome. It is about to finish; should it
        // die before that, this job comes back and does.
        if counts || goes_on { Ok(()) } else { Err(busy()) }
    }

    /// Counts an attempt, and logs it in one line: where to, and how it ended.
    fn count(&self, app: AppId, attempt: &Attempt) {
        let Attempt { id, endpoint, code, duration_ms, .. } = attempt;
        // Neither the path nor the query: they can hold secrets.
        let url = url::Url::parse(&attempt.url).ok();
        let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
        if attempt.status == Status::Success {
            self.metrics.delivered();
            tracing::debug!(
                target: "deliver::delivered",
                %app, %endpoint, attempt = %id, host, status = code, ms = duration_ms,
                "delivered"
            );
        } else {
            self.metrics.failed();
            let reason = match (&attempt.error, attempt.code) {
                (Some(reason), _) => reason.as_str(),
                (None, code) => {
                    let status = http::StatusCode::from_u16(code).ok();
                    status.and_then(|status| status.canonical_reason()).unwrap_or("not a success")
                }
            };
            let next = attempt.next.map(tracing::field::display);
            tracing::info!(
                %app, %endpoint, attempt = %id, host, status = code, reason, ms = duration_ms, next,
                "attempt failed"
            );
        }
    }

    /// An attempt on record belongs to a copy of this job, which may be about to finish it.
    fn wait_for_a_copy(&self, attempt: &Attempt) -> Result<()> {
        let ended = attempt.at.after(Duration::from_millis(attempt.duration_ms));
        if self.clock.now().since(ended) < FINISHING_MAX { Err(busy()) } else { Ok(()) }
    }

    /// The application, and into the cache what of its endpoints comes with it where `endpoint` is not there.
    async fn application(&self, org: OrgId, app: AppId, endpoint: EndpointId) -> Result<Option<Application>> {
        let found = self.application_along(org, app, endpoint).await?;
        if let Some(app) = &found {
            Box::pin(self.store.note_reading(app)).await;
        }
        Ok(found)
    }

    async fn application_along(
        &self,
        org: OrgId,
        app: AppId,
        endpoint: EndpointId,
    ) -> Result<Option<Application>> {
        let now = self.clock.now();
        if self.endpoints.contains(&endpoint, now) {
            return Box::pin(self.store.find_application(org, app)).await;
        }
        let found = Box::pin(self.store.find_application_and_endpoints(org, app)).await?;
        let Some((app, endpoints, _)) = found else { return Ok(None) };
        for endpoint in endpoints {
            self.endpoints.put(endpoint.id, app.cache_version(), Arc::new(endpoint), now);
        }
        Ok(Some(app))
    }

    /// The endpoint; from the cache if that is as new as the application's version.
    async fn endpoint(&self, app: &Application, id: EndpointId) -> Result<Option<Arc<Endpoint>>> {
        let now = self.clock.now();
        if let Some(endpoint) = self.endpoints.get(&id, app.cache_version(), now) {
            return Ok(Some(endpoint));
        }
        let Some(endpoint) = Box::pin(self.store.find_endpoint(app.id, id)).await? else {
            self.endpoints.remove(&id);
            return Ok(None);
        };
        let endpoint = Arc::new(endpoint);
        self.endpoints.put(id, app.cache_version(), endpoint.clone(), now);
        Ok(Some(endpoint))
    }

    /// What is sent, and what it is found by; none if the payload is gone. What travels inside the job of a
    /// scheduled attempt holds as long as nothing was changed in the application: an expunge raises its version.
    async fn content(&self, app: &Application, job: &AttemptJob) -> Result<Option<(Payload, Labels)>> {
        if let AttemptJob::Scheduled(job) = job {
            if job.payload_until <= self.clock.now() {
                return Ok(None);
            }
            if let Some(payload) = &job.payload
                && app.version == job.version
            {
                return Ok(Some((payload.clone(), job.labels.clone())));
            }
        }
        let found = Box::pin(self.store.find_message(job.app(), job.message())).await?;
        let Some(message) = found else { return Ok(None) };
        let Some(payload) = Box::pin(self.store.payload(&message)).await? else { return Ok(None) };
        Ok(Some((payload, message.labels)))
    }
}

/// This job waits for the copy of it that is running.
fn busy() -> shared::Error {
    unavailable("finish a delivery")("another copy of the job is doing so")
}

#[cfg(test)]
#[path = "size_tests.rs"]
mod tests;
