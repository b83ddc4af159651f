//! An installation in a simulation: what the template describes, two instances of every function,
//! and what calls them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use axum::Router;
use axum::body::Body;
use background::Background;
use deliver::{Deliver, InjectedBug};
use ingest::Ingest;
use sam_template::{QueueSource, Template, Value as TemplateValue};
use serde_json::{Value, json};
use shared::Platform;
use shared::clock::{Clock as _, SharedClock};
use shared::config::Env;
use shared::draining::Draining;
use timers::Timers;
use tower::ServiceExt as _;

use crate::aws::Aws;
use crate::faults::Faults;
use crate::journal::Journal;
use crate::random::Dice;
use crate::receivers::Receivers;
use crate::time::{Ended, Sim, SimClock};

/// Instances of each function, and invocations at a time of each queue's consumer.
pub const INSTANCES: usize = 2;
/// How far clocks are stepped.
pub const CLOCK_STEP_MAX_MS: u64 = 20_000;
const TICK: Duration = Duration::from_secs(60);
/// Longer before it is due than the timers function looks ahead, a timer is none of its business.
const TICK_AHEAD_MS: u64 = 200_000;

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| Template::parse(local::TEMPLATE).expect("the template"))
}

/// What is drawn of an installation.
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

#[derive(Clone, Debug)]
pub struct Settings {
    pub schedule: Vec<u64>,
    pub timeout: Duration,
}

impl Settings {
    fn draw(dice: &Dice) -> Self {
        // Waits of seconds, of what a queue can delay, and of what only timers can.
        let schedules: [&[u64]; 6] =
            [&[5, 300, 1800], &[1, 2, 4], &[3], &[2, 1000], &[1000, 30, 5], &[20, 20, 20, 20]];
        Self { schedule: dice.pick(&schedules).to_vec(), timeout: Duration::from_secs(dice.between(2, 15)) }
    }
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
    bug: Option<Bug>,
    /// The product's own randomness.
    random: Dice,
    variables: BTreeMap<String, BTreeMap<String, String>>,
    pub log_table: String,
    pub config_table: String,
    clocks: Mutex<Vec<SimClock>>,
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

    /// Creates the tables and queues of the template.
    pub async fn create(&self) {
        for described in &template().tables {
            let keys = std::iter::once((&described.hash_key, "HASH"))
                .chain(described.range_key.as_ref().map(|name| (name, "RANGE")));
            let attributes = described.attributes.iter();
            let request = json!({
                "TableName": table(&described.logical_id),
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": keys.map(|(name, kind)| json!({ "AttributeName": name, "KeyType": kind }))
                    .collect::<Vec<_>>(),
                "AttributeDefinitions": attributes
                    .map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind }))
                    .collect::<Vec<_>>(),
            });
            self.aws.dynamodb("CreateTable", &request);
        }
        let (sources, dead): (Vec<_>, Vec<_>) =
            template().queues.iter().partition(|queue| queue.dead_letter.is_some());
        for queue in dead.into_iter().chain(sources) {
            let mut attributes = queue.attributes.clone();
            if let Some((dead, times)) = &queue.dead_letter {
                let policy = json!({ "deadLetterTargetArn": arn(dead), "maxReceiveCount": times });
                attributes.insert("RedrivePolicy".into(), policy.to_string());
            }
            let request = json!({ "QueueName": queue.logical_id, "Attributes": attributes });
            self.aws.sqs("CreateQueue", &request).await;
        }
    }

    fn environment(&self, of: &BTreeMap<String, TemplateValue>) -> BTreeMap<String, String> {
        let schedule: Vec<String> = self.settings.schedule.iter().map(u64::to_string).collect();
        let own = BTreeMap::from([
            ("POSTRIDER_JWT_SECRET", "a secret of the simulation, long enough".to_owned()),
            ("POSTRIDER_ENCRYPTION_KEY", "another secret of the simulation, long enough".to_owned()),
            ("POSTRIDER_RETRY_SCHEDULE", schedule.join(",")),
            ("POSTRIDER_DESTINATION_ROLES", "arn:aws:iam::*:role/postrider*".to_owned()),
            ("POSTRIDER_DELIVERY_TIMEOUT", self.settings.timeout.as_secs().to_string()),
        ]);
        let lookup = |value: &TemplateValue| match value {
            TemplateValue::Ref(id) if template().queue(id).is_some() => Some(url(id)),
            TemplateValue::Ref(id) if template().tables.iter().any(|table| table.logical_id == *id) => {
                Some(table(id))
            }
            TemplateValue::Ref(name) if name.ends_with(".Alias") => Some("transform".to_owned()),
            TemplateValue::GetAtt(id, attribute) if attribute == "Arn" => Some(arn(id)),
            _ => None,
        };
        let lambda = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let services = ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_LAMBDA"]
            .map(|name| (name.to_owned(), "http://in.process".to_owned()));
        let named = of.iter().filter_map(|(name, value)| {
            let value = own.get(name.as_str()).cloned().or_else(|| template().resolve(value, lookup));
            Some((name.clone(), value?))
        });
        lambda.into_iter().chain(services).chain(named).collect()
    }

    /// Connects one instance of a function, with a clock of its own.
    fn connect<T>(&self, function: &str, faulty: bool, with: impl FnOnce(&Env<'_>, &Platform) -> T) -> T {
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
        while self.faults.is_down(crate::faults::Service::Sqs) {
            self.sim.sleep(Duration::from_secs(1)).await;
        }
        let request = json!({ "QueueUrl": url("IngestQueue"), "MessageBody": body });
        self.aws.sqs("SendMessage", &request).await;
    }

    fn timeout(&self, function: &str) -> Duration {
        let function = template().function(function).expect("a function of the template");
        Duration::from_secs(function.timeout_seconds.into())
    }

    async fn invoke<F: Future>(&self, name: &'static str, timeout: Duration, work: F) -> Ended<F::Output> {
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
        for name in ["deliver", "background", "ingest"] {
            let function = template().function(name).expect("a function of the template");
            for source in &function.queues {
                for _ in 0..INSTANCES {
                    let consumer =
                        Consumer { world: self.clone(), function: name, source: source.clone(), code: None };
                    self.sim.spawn(consumer.run());
                }
            }
        }
        self.sim.spawn(keep_time(self.clone()));
        if self.faults.rates.clock_step > 0 {
            self.sim.spawn(step_clocks(self.clone()));
        }
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

fn table(logical_id: &str) -> String {
    logical_id.to_owned()
}

fn url(logical_id: &str) -> String {
    format!("http://sqs/000000000000/{logical_id}")
}

fn arn(logical_id: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{logical_id}")
}

/// Metrics are not what the simulation is about.
#[derive(Debug)]
struct Unread;

impl shared::metrics::Sink for Unread {
    fn take(&self, _: shared::metrics::Report) {}
}

/// Ticks the timers function, twice at a time: schedules can fire twice.
async fn keep_time(world: Arc<World>) {
    let mut instances: [Option<Timers>; INSTANCES] = [None, None];
    loop {
        world.sim.sleep(TICK.mul_f64(0.9 + world.dice.below(200) as f64 / 1000.0)).await;
        let now = SimClock::new(&world.sim).ms();
        if world.aws.first_timer().is_none_or(|due| due > now + TICK_AHEAD_MS) {
            continue;
        }
        let both = world.faults.strikes(world.faults.rates.duplicate, "tick twice");
        let timeout = world.timeout("timers");
        let ticks = instances.iter_mut().take(if both { 2 } else { 1 }).map(async |instance| {
            let timers = instance
                .get_or_insert_with(|| world.connect("timers", true, Timers::connect).expect("it connects"));
            let deadline = SimClock::new(&world.sim).now().after(timeout);
            let ended = world.invoke("timers", timeout, timers.handle(deadline)).await;
            if ended_badly(&ended) {
                *instance = None;
            }
        });
        futures_util::future::join_all(ticks).await;
        instances.rotate_left(world.dice.below(INSTANCES));
        world.aws.look_at_timers(&world.log_table);
    }
}

fn ended_badly<T>(ended: &Ended<T>) -> bool {
    matches!(ended, Ended::Crashed | Ended::TimedOut)
}

/// Steps clocks as a time service does that corrects itself.
async fn step_clocks(world: Arc<World>) {
    loop {
        world.sim.sleep(world.dice.millis(1_000, 60_000)).await;
        let clocks = world.clocks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for clock in clocks {
            if world.faults.strikes(world.faults.rates.clock_step, "clock step") {
                let step = world.dice.between(0, 2 * CLOCK_STEP_MAX_MS) as i64;
                clock.set_offset(step - CLOCK_STEP_MAX_MS as i64);
            }
        }
        if world.sim.now() > world.faults.until() {
            for clock in world.clocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                clock.set_offset(0);
            }
            return;
        }
    }
}

/// The code of a queue's consumer.
enum Code {
    Deliver(Box<Deliver>),
    Background(Box<Background>),
    Ingest(Box<Ingest>),
}

impl Code {
    async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        match self {
            Self::Deliver(function) => function.handle(event).await,
            Self::Background(function) => function.handle(event).await,
            Self::Ingest(function) => function.handle(event).await,
        }
    }
}

/// One instance of a queue's consumer, and the poller that feeds it.
struct Consumer {
    world: Arc<World>,
    function: &'static str,
    source: QueueSource,
    code: Option<Code>,
}

impl Consumer {
    fn connect(&self) -> Code {
        let world = &self.world;
        match self.function {
            "deliver" => Code::Deliver(Box::new(world.connect("deliver", true, |env, platform| {
                let transport = Arc::new(world.receivers.clone());
                let deliver = Deliver::connect_by(transport, env, platform).expect("it connects");
                match world.bug {
                    Some(Bug::Deliver(bug)) => deliver.with_bug(bug),
                    _ => deliver,
                }
            }))),
            "ingest" => {
                Code::Ingest(Box::new(world.connect("ingest", true, Ingest::connect).expect("it connects")))
            }
            _ => Code::Background(Box::new(
                world.connect("background", true, Background::connect).expect("it connects"),
            )),
        }
    }

    async fn run(mut self) {
        let world = self.world.clone();
        loop {
            self.something_to_do().await;
            let most = world.dice.between(1, u64::from(self.source.batch_size.min(10)));
            let received = self.receive(most).await;
            if received.is_empty() {
                continue;
            }
            self.work(received).await;
            world.sim.sleep(world.dice.millis(0, 20)).await;
        }
    }

    /// Completes when the queue shows a message, and is up.
    async fn something_to_do(&self) {
        let (sim, engine) = (&self.world.sim, self.world.aws.engine());
        loop {
            let changed = std::pin::pin!(self.world.aws.queues_changed());
            let visible = engine.counts(&self.source.queue).expect("a queue").visible;
            if visible > 0 {
                if !self.world.faults.is_down(crate::faults::Service::Sqs) {
                    return;
                }
                sim.sleep(Duration::from_secs(1)).await;
                continue;
            }
            match engine.next_due(&self.source.queue) {
                None => changed.await,
                Some(due) => {
                    let wait = due.saturating_sub(SimClock::new(sim).ms()).max(1);
                    let sleep = std::pin::pin!(sim.sleep(Duration::from_millis(wait)));
                    futures_util::future::select(changed, sleep).await;
                }
            }
        }
    }

    async fn receive(&self, most: u64) -> Vec<Value> {
        let request = json!({
            "QueueUrl": url(&self.source.queue),
            "MaxNumberOfMessages": most,
            "WaitTimeSeconds": 0,
            "MessageSystemAttributeNames": ["All"],
        });
        match self.world.aws.sqs("ReceiveMessage", &request).await["Messages"].take() {
            Value::Array(messages) => messages,
            _ => Vec::new(),
        }
    }

    /// One invocation. What it has done leaves the queue, unless something goes wrong with that.
    async fn work(&mut self, received: Vec<Value>) {
        let world = self.world.clone();
        let (rates, dice) = (&world.faults.rates, world.faults.dice());
        for message in &received {
            if world.faults.strikes(rates.duplicate, "job handed out twice") {
                // Often at once, so that the two run at the same time.
                let again = if dice.chance(600) { 0 } else { dice.between(1, 20) };
                self.change(message, again).await;
            }
        }
        let event = event(&received, &arn(&self.source.queue));
        let code = match self.code.take() {
            Some(code) => code,
            None => self.connect(),
        };
        let ended = world.invoke(self.function, world.timeout(self.function), code.handle(event)).await;
        let Ended::Answered(answer) = ended else { return };
        self.code = Some(code);
        for message in &received {
            let id = message["MessageId"].as_str().unwrap_or_default();
            if answer.batch_item_failures.iter().any(|failed| failed.item_identifier == id) {
                continue;
            }
            if world.faults.strikes(rates.lost_delete, "lost delete") {
                // The queue's visibility timeout brings it back; so that runs stay short, soon.
                let again = dice.between(1, 60);
                self.change(message, again).await;
                continue;
            }
            let request = json!({
                "QueueUrl": url(&self.source.queue),
                "ReceiptHandle": message["ReceiptHandle"],
            });
            world.aws.sqs("DeleteMessage", &request).await;
        }
    }

    async fn change(&self, message: &Value, seconds: u64) {
        let request = json!({
            "QueueUrl": url(&self.source.queue),
            "ReceiptHandle": message["ReceiptHandle"],
            "VisibilityTimeout": seconds,
        });
        let target = "AmazonSQS.ChangeMessageVisibility";
        // It fails where another receive has the message now.
        local_sqs::answer_one(self.world.aws.engine(), target, request.to_string().as_bytes()).await;
    }
}

/// The event that Lambda makes of a batch.
fn event(received: &[Value], arn: &str) -> SqsEvent {
    let records: Vec<Value> = received
        .iter()
        .map(|message| {
            json!({
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).expect("an event")
}
