//! Transformations: what an endpoint's code makes of a webhook before it is signed and sent.
//!
//! The code runs in the function `transform`. The deliveries of one batch are asked for together, in one call; code
//! that took long lately is asked for by itself, and so are large webhooks. An endpoint without code costs nothing here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::value::RawValue;
use shared::Result;
use shared::cache::Cache;
use shared::clock::{SharedClock, Timestamp};
use shared::error::{corrupt, unavailable};
use shared::ids::EndpointId;
use shared::labels::Labels;
use shared::platform::TransformerClient;
use shared::store::Store;
use shared::store::applications::Application;
use shared::store::attempts::Passage;
use shared::store::endpoints::{Destination, Endpoint};
use shared::store::messages::Payload;
use shared::store::transformations::TransformationId;
use shared::transformation::{Batch as Asked, Outcome, RUNS_MAX, Run, Transformation, Transformed, Webhook};
use shared::transformation::{explained, refusal};
use tokio::sync::oneshot;

use crate::{Batch, Deliver};

/// Bytes of code and variables that one instance remembers.
const CODES_WEIGHT_MAX: usize = 16 * 1024 * 1024;
/// Pieces of code that one instance remembers to have taken long.
const SLOW_MAX: usize = 1_000;
/// A call that takes longer holds up the batch; whose code failed in it is asked for by itself for a while.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// A webhook with its code that is larger is asked for by itself: ten below it fit into the 6 MB that Lambda takes, with
/// every character escaped.
const LARGE: usize = 250_000;
/// What the operation is called where it fails.
const OPERATION: &str = "transform a webhook";

/// What is to be sent, after the endpoint's transformation.
#[derive(Debug)]
pub enum Prepared {
    /// The webhook as it is: the endpoint has no transformation.
    AsItIs,
    /// What came out of it.
    Changed(Box<Changed>),
    /// Nothing.
    Canceled,
    /// Nothing, because the code failed or what it made may not be sent: why.
    Failed(String),
}

/// A webhook that came out of a transformation.
#[derive(Debug)]
pub struct Changed {
    /// The endpoint, with the URL and the headers that were made.
    pub endpoint: Endpoint,
    /// The payload that was made.
    pub payload: Payload,
    /// `POST`, `PUT` or `PATCH`.
    pub method: Method,
}

impl Prepared {
    /// Where it goes, with what, and how.
    pub const fn target<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        payload: &'a Payload,
    ) -> (&'a Endpoint, &'a Payload, &'a Method) {
        match self {
            Self::Changed(changed) => (&changed.endpoint, &changed.payload, &changed.method),
            _ => (endpoint, payload, &Method::POST),
        }
    }

    /// What the record of the attempt says of it.
    pub const fn passage(&self) -> Passage {
        match self {
            Self::AsItIs | Self::Failed(_) => Passage::Untransformed,
            Self::Changed(_) => Passage::Transformed,
            Self::Canceled => Passage::Canceled,
        }
    }
}

/// Code as it was read, and what it finds in `env`.
#[derive(Debug)]
struct Code {
    id: TransformationId,
    read: Transformation,
}

fn weight(code: &Arc<Code>) -> usize {
    let variables: usize = code.read.variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    code.read.code.as_deref().map_or(0, str::len) + variables
}

/// What this instance knows of endpoints' code.
#[derive(Debug)]
pub struct Transformations {
    client: TransformerClient,
    codes: Cache<(EndpointId, TransformationId), Arc<Code>>,
    slow: Cache<TransformationId, ()>,
}

/// Whom a webhook is asked for together with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Group {
    All,
    /// Only of the same code, which took long.
    Slow(TransformationId),
    /// Nobody.
    Alone,
}

/// A webhook that waits for its turn.
#[derive(Debug)]
struct Waiting {
    code: Arc<Code>,
    webhook: Webhook,
    give: oneshot::Sender<Ran>,
}

/// How a run ended, and whether its call took long.
#[derive(Debug)]
struct Ran {
    outcome: Outcome,
    slow: bool,
}

/// The webhooks of one batch of jobs that are asked for together.
#[derive(Debug, Default)]
pub struct Gathered {
    waiting: Mutex<HashMap<Group, Vec<Waiting>>>,
}

impl Gathered {
    /// Adds one; says whether it is the first, who asks for all.
    fn add(&self, group: &Group, waiting: Waiting) -> bool {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let group = all.entry(group.clone()).or_default();
        group.push(waiting);
        group.len() == 1
    }

    fn take(&self, group: &Group) -> Vec<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(group).unwrap_or_default()
    }
}

impl Transformations {
    /// Asks by `client`.
    pub fn new(client: TransformerClient) -> Self {
        let codes = Cache::weighing(CODES_WEIGHT_MAX, weight);
        Self { client, codes, slow: Cache::new(SLOW_MAX) }
    }

    /// The code of an endpoint that has some; none if it has none any more, since the endpoint was read.
    async fn code(
        &self,
        store: &Store,
        endpoint: &Endpoint,
        id: &TransformationId,
        now: Timestamp,
    ) -> Result<Option<Arc<Code>>> {
        let key = (endpoint.id, id.clone());
        if let Some(code) = self.codes.get(&key, now) {
            return Ok(Some(code));
        }
        let read = store.transformation(endpoint.app, endpoint.id).await?;
        let Some(id) = read.active() else {
            // Of an endpoint that was deleted nothing is sent: its job comes back and finds that.
            let is_gone = read.updated_at.is_none();
            return if is_gone { Err(unavailable(OPERATION)("its code is gone")) } else { Ok(None) };
        };
        let code = Arc::new(Code { id: id.clone(), read });
        self.codes.put((endpoint.id, id), code.clone(), now);
        Ok(Some(code))
    }

    /// Runs code on a webhook, together with the others of the batch that are there.
    async fn run(
        &self,
        gathered: &Gathered,
        clock: &SharedClock,
        code: Arc<Code>,
        webhook: Webhook,
    ) -> Result<Ran> {
        let length = webhook.payload.get().len()
            + webhook.transformations_params.as_ref().map_or(0, |params| params.get().len())
            + weight(&code);
        let group = match self.slow.get(&code.id, clock.now()) {
            _ if length > LARGE => Group::Alone,
            Some(()) => Group::Slow(code.id.clone()),
            None => Group::All,
        };
        let (give, given) = oneshot::channel();
        let waiting = Waiting { code, webhook, give };
        if group == Group::Alone {
            self.ask(clock, vec![waiting]).await?;
        } else if gathered.add(&group, waiting) {
            // The others of the batch get as far as this while their reads are in flight together.
            tokio::task::yield_now().await;
            let mut all = gathered.take(&group);
            while !all.is_empty() {
                let rest = all.split_off(all.len().min(RUNS_MAX));
                self.ask(clock, std::mem::replace(&mut all, rest)).await?;
            }
        }
        // The failure of who asks is everybody's.
        given.await.map_err(unavailable(OPERATION))
    }

    /// One call.
    async fn ask(&self, clock: &SharedClock, all: Vec<Waiting>) -> Result<()> {
        let mut codes: Vec<Arc<Code>> = Vec::new();
        let mut asked = Asked { codes: Vec::new(), runs: Vec::new() };
        let (mut takers, mut ids) = (Vec::new(), Vec::new());
        for Waiting { code, webhook, give } in all {
            let at = codes.iter().position(|other| other.id == code.id).unwrap_or_else(|| {
                asked.codes.push(code.read.code.clone().unwrap_or_default());
                codes.push(code.clone());
                codes.len() - 1
            });
            asked.runs.push(Run { code: at, webhook: Some(webhook) });
            takers.push(give);
            ids.push(code.id.clone());
        }
        let begun = clock.now();
        let outcomes = self.client.run(&asked).await?;
        let now = clock.now();
        let long = now.since(begun) > SLOW_AFTER;
        for ((give, id), outcome) in takers.into_iter().zip(ids).zip(outcomes) {
            let slow = long && matches!(outcome, Outcome::Failed { .. });
            if slow {
                self.slow.put(id, (), now);
            }
            // Nobody waits any more where an invocation ended early.
            let _ = give.send(Ran { outcome, slow });
        }
        Ok(())
    }
}

impl Deliver {
    /// What the endpoint's transformation makes of a webhook.
    ///
    /// # Errors
    /// The code cannot be read, or the function that runs it is not reached: that is no failure of the
    /// receiver's, and the job comes back.
    pub(crate) async fn transformed(
        &self,
        batch: &Batch,
        app: &Application,
        endpoint: &Endpoint,
        payload: &Payload,
        labels: &Labels,
    ) -> Result<Prepared> {
        let Some(id) = &endpoint.transformation else { return Ok(Prepared::AsItIs) };
        let Destination::Http { url } = &endpoint.settings.destination else { return Ok(Prepared::AsItIs) };
        let all = &self.transformations;
        let Some(code) = all.code(&self.store, endpoint, id, self.clock.now()).await? else {
            return Ok(Prepared::AsItIs);
        };
        let webhook = webhook(url, payload, labels, &code.read)?;
        let Ran { outcome, slow } = all.run(&batch.transformations, &self.clock, code, webhook).await?;
        if slow {
            // As for a receiver that hangs: its first attempts go where they hold up nobody else.
            self.circuits.note(&self.store, &self.clock, app, endpoint.id, true).await;
        }
        match outcome {
            Outcome::Send(made) => prepared(endpoint, payload, url, made),
            Outcome::Cancel => Ok(Prepared::Canceled),
            Outcome::Failed { error, line } => {
                Ok(Prepared::Failed(format!("the transformation failed: {}", explained(&error, line))))
            }
            Outcome::Later => Err(unavailable(OPERATION)("those before it took all the time")),
            Outcome::Checked => Err(corrupt("a transformation's outcome")("nothing was run")),
        }
    }
}

/// What `handler` is called with.
fn webhook(url: &str, payload: &Payload, labels: &Labels, code: &Transformation) -> Result<Webhook> {
    let json = |text: String| RawValue::from_string(text).map_err(corrupt("a payload"));
    let params = payload.raw.as_ref().map(|raw| {
        let headers = payload.content_type.as_ref().map(|kind| serde_json::json!({ "content-type": kind }));
        json(serde_json::json!({ "rawPayload": raw.as_str(), "headers": headers }).to_string())
    });
    Ok(Webhook {
        method: Method::POST.as_str().to_owned(),
        url: url.to_owned(),
        payload: json(payload.json.as_str().to_owned())?,
        event_type: labels.event_type.clone(),
        channels: labels.channels.clone().unwrap_or_default(),
        env: code.variables.clone(),
        transformations_params: params.transpose()?,
    })
}

/// The webhook that a transformation made, if it may be sent.
fn prepared(endpoint: &Endpoint, payload: &Payload, url: &str, made: Transformed) -> Result<Prepared> {
    if let Some(reason) = refusal(&made, url) {
        return Ok(Prepared::Failed(format!("the transformation made what cannot be sent: {reason}")));
    }
    let mut endpoint = endpoint.clone();
    endpoint.settings.destination = Destination::Http { url: made.url };
    for (name, value) in made.headers {
        endpoint.headers.set(name, value);
    }
    Ok(Prepared::Changed(Box::new(Changed {
        endpoint,
        payload: made.payload.map_or_else(|| payload.clone(), Payload::of),
        method: Method::from_bytes(made.method.as_bytes()).map_err(corrupt("a method"))?,
    })))
}
