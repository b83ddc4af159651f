//! An installation in a simulation: two instances of every function, and all that they are given.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use axum::Router;
use axum::body::Body;
use deliver::InjectedBug;
use serde_json::json;
use shared::Platform;
use shared::clock::SharedClock;
use shared::config::Env;
use shared::draining::Draining;
use tower::ServiceExt as _;

use crate::aws::Aws;
use crate::clockwork;
use crate::consumers;
use crate::faults::{Faults, Service};
use crate::installation::{Settings, table, template, url};
use crate::journal::Journal;
use crate::random::Dice;
use crate::receivers::Receivers;
use crate::time::{Ended, Sim, SimClock};

/// Instances of each function, and invocations at a time of each queue's consumer.
pub const INSTANCES: usize = 2;
/// How far clocks are stepped.
pub const CLOCK_STEP_MAX_MS: u64 = 20_000;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The function `deliver`.
    Deliver(InjectedBug),
    /// In what serves pollers.
    Polling(messages::InjectedBug),
    /// In what changes endpoints.
    Endpoints(endpoints::InjectedBug),
    /// Lists of attempts leave out those inside states.
    BlindList,
    /// A change of an application forgets the first of its copies.
    ForgottenCopy,
}

/// A run's installation.
pub struct World {
    pub seed: u64,
    pub sim: Sim,
    pub dice: Dice,
    pub faults: Faults,
    pub journal: Journal,
    pub aws: Aws,
    pub receivers: Receivers,
    pub settings: Settings,
    pub calm: bool,
    pub bug: Option<Bug>,
    /// The product's own randomness.
    random: Dice,
    variables: BTreeMap<String, BTreeMap<String, String>>,
    pub log_table: String,
    pub config_table: String,
    /// Those of its instances.
    pub clocks: Mutex<Vec<SimClock>>,
    /// The instances of the functions that answer clients.
    api: BTreeMap<&'static str, Vec<Mutex<Option<Router>>>>,
    /// Requests and batches under way.
    busy: AtomicUsize,
    longest_wait_ms: AtomicU64,
}

/// An answer to a client.
pub type Answer = (u16, Vec<u8>);

impl World {
    pub fn new(seed: u64, sim: &Sim, bug: Option<Bug>) -> Arc<Self> {
        let dice = Dice::new(seed, "workload");
        let calm = dice.chance(150);
        let faults = Faults::draw(seed, sim, calm);
        let journal = Journal::default();
        let aws = Aws::new(sim, &faults, &journal, bug == Some(Bug::ForgottenCopy));
        let settings = Settings::draw(&dice);
        let mut world = Self {
            seed,
            sim: sim.clone(),
            receivers: Receivers::new(seed, sim, &journal),
            random: Dice::new(seed, "product"),
            variables: BTreeMap::new(),
            log_table: table("LogTable"),
            config_table: table("ConfigTable"),
            clocks: Mutex::default(),
            api: ["messages", "attempts", "endpoints"]
                .map(|name| (name, (0..INSTANCES).map(|_| Mutex::default()).collect()))
                .into(),
            busy: AtomicUsize::new(0),
            longest_wait_ms: AtomicU64::new(0),
            dice,
            faults,
            journal,
            aws,
            settings,
            calm,
            bug,
        };
        for function in &template().functions {
            world.variables.insert(function.name.clone(), world.environment(&function.environment));
        }
        Arc::new(world)
    }

    /// Connects one instance of a function, with a clock of its own.
    pub fn connect<T>(&self, function: &str, faulty: bool, with: impl FnOnce(&Env<'_>, &Platform) -> T) -> T {
        static INSTANCE: AtomicU64 = AtomicU64::new(0);
        // The SDK shares its budget of retries among clients of one region and process. Each instance
        // is a process of its own, so each gets a region of its own.
        let region = format!("sim-{}", INSTANCE.fetch_add(1, Ordering::Relaxed));
        let clock = SimClock::new(&self.sim);
        let platform = Platform {
            clock: Arc::new(clock.clone()),
            random: Arc::new(self.random.clone()),
            http: SharedHttpClient::new(self.aws.connector(faulty)),
            consumption: false,
            metrics: Arc::new(Unread),
            draining: Draining::default(),
        };
        if faulty {
            self.clocks.lock().unwrap_or_else(PoisonError::into_inner).push(clock);
        }
        let variables = &self.variables[function];
        let env = Env::new(|name| match name {
            "AWS_REGION" => Some(region.clone()),
            name => variables.get(name).cloned(),
        });
        with(&env, &platform)
    }

    /// The API as somebody would reach it whom nothing happens to.
    pub fn undisturbed(&self, function: &str) -> Router {
        self.router(function, false)
    }

    fn router(&self, function: &str, faulty: bool) -> Router {
        self.connect(function, faulty, |env, platform| {
            let router = match function {
                "applications" => applications::router(env, platform),
                "auth" => auth::router(env, platform),
                "endpoints" => match self.bug {
                    Some(Bug::Endpoints(bug)) => endpoints::broken_router(env, platform, bug),
                    _ => endpoints::router(env, platform),
                },
                "messages" => match self.bug {
                    Some(Bug::Polling(bug)) => messages::broken_router(env, platform, bug),
                    _ => messages::router(env, platform),
                },
                "attempts" => attempts::router(env, platform),
                other => panic!("{other} is not used here"),
            };
            router.expect("it connects")
        })
    }

    /// The store as the functions have it, for the checks at the end.
    pub fn store(&self) -> shared::store::Store {
        let store = self.connect("deliver", false, |env, platform| platform.store(env)).expect("it connects");
        if self.bug == Some(Bug::BlindList) { store.blind_to_first_attempts() } else { store }
    }

    /// Makes tokens. They were made an hour ago: no clock is so far off that they are not valid yet.
    pub fn tokens(&self) -> shared::auth::Tokens {
        let clock = SimClock::new(&self.sim);
        clock.set_offset(-3_600_000);
        let clock: SharedClock = Arc::new(clock);
        self.connect("messages", false, |env, _| shared::auth::Tokens::read(env, clock)).expect("a secret")
    }

    /// A request to one of the instances of a function. None if nobody answers.
    pub async fn ask(
        self: &Arc<Self>,
        function: &'static str,
        request: http::Request<Body>,
    ) -> Option<Answer> {
        let slots = &self.api[function];
        let slot = &slots[self.dice.below(slots.len())];
        let router = {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.get_or_insert_with(|| self.router(function, true)).clone()
        };
        match self.invoke(function, self.timeout(function), answer(router, request)).await {
            Ended::Answered(answer) => Some(answer),
            Ended::Crashed | Ended::TimedOut => {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
                None
            }
        }
    }

    /// Puts a message into the queue of producers, once that is up.
    pub async fn queue(&self, body: &str) {
        while self.faults.is_down(Service::Sqs) {
            self.sim.sleep(Duration::from_secs(1)).await;
        }
        let request = json!({ "QueueUrl": url("IngestQueue"), "MessageBody": body });
        self.aws.sqs("SendMessage", &request).await;
    }

    /// How long a function may take, by the template.
    pub fn timeout(&self, function: &str) -> Duration {
        let function = template().function(function).expect("a function of the template");
        Duration::from_secs(function.timeout_seconds.into())
    }

    /// One invocation of a function, which may crash or take too long.
    pub async fn invoke<F: Future>(
        &self,
        name: &'static str,
        timeout: Duration,
        work: F,
    ) -> Ended<F::Output> {
        let number = self.sim.number();
        self.sim.trace(|| format!("{number}: {name} begins"));
        self.journal.begin(number, name, self.sim.now());
        self.busy.fetch_add(1, Ordering::Relaxed);
        let ended = self.sim.invoke(number, timeout, self.faults.fuse(), work).await;
        self.busy.fetch_sub(1, Ordering::Relaxed);
        let how = match &ended {
            Ended::Answered(_) => "ends",
            Ended::Crashed => {
                self.faults.count("crash");
                self.journal.crash(number);
                "crashes"
            }
            Ended::TimedOut => {
                self.faults.count("invocation over its time");
                "takes too long"
            }
        };
        self.sim.trace(|| format!("{number}: {name} {how}"));
        self.journal.end(number, self.sim.now(), how != "ends");
        ended
    }

    /// Nothing is under way, nothing waits.
    pub fn is_at_rest(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
            && template().queues.iter().filter(|queue| queue.dead_letter.is_some()).all(|queue| {
                let counts = self.aws.engine().counts(&queue.logical_id).expect("a queue");
                counts.visible + counts.in_flight + counts.delayed == 0
            })
            && self.aws.first_timer().is_none()
    }

    /// Notes how long a healthy endpoint waited.
    pub fn longest_wait(&self, wait: Duration) {
        self.longest_wait_ms.fetch_max(wait.as_millis() as u64, Ordering::Relaxed);
    }

    pub fn longest_wait_ms(&self) -> u64 {
        self.longest_wait_ms.load(Ordering::Relaxed)
    }

    /// Messages in the dead-letter queues.
    pub fn dead_letters(&self) -> usize {
        let dead = template().queues.iter().filter(|queue| queue.dead_letter.is_none());
        dead.map(|queue| self.aws.engine().counts(&queue.logical_id).map_or(0, |counts| counts.visible)).sum()
    }

    /// Starts what calls the functions.
    pub fn start(self: &Arc<Self>) {
        consumers::start(self);
        clockwork::start(self);
    }
}

/// Hands one request to a router.
pub async fn answer(router: Router, request: http::Request<Body>) -> Answer {
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a whole answer");
    (status, body.to_vec())
}

/// Metrics are not what the simulation is about.
#[derive(Debug)]
struct Unread;

impl shared::metrics::Sink for Unread {
    fn take(&self, _: shared::metrics::Report) {}
}
