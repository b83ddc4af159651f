//! Endpoints that fail for days, are switched off and come back by themselves, and what their owners are told of it.
//! Runs of their own, of weeks in virtual time, in which faults strike by turns.

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::ids::{EndpointId, MessageId, OrgId};

use crate::random::Dice;
use crate::receivers::Manner;
use crate::seeds::{self, Outcome, wait_for};
use crate::time::{Rest, START_MS, Sim};
use crate::workload::request;
use crate::world::{Bug, World, answer};
use check::{Case, changes, probes, told};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// Every run is at rest by then.
const END: Duration = Duration::from_secs(60 * 24 * 3600);
/// How far apart two instances' clocks can be, and what a request takes that nothing struck.
const SLACK: Duration = Duration::from_secs(60);
/// How late faults make what is due: they strike for twenty minutes at most.
const LATE: Duration = Duration::from_secs(3600);
/// When a message is tried again, in seconds: within the hour.
const SCHEDULES: [&[u64]; 5] = [&[], &[3], &[5, 300], &[5, 300, 1_800], &[1_000, 20]];
/// The longest pause between two probes, in hours, by docs/RETRIES.md.
const PAUSE_MAX: u64 = 24;

/// An endpoint that fails.
#[derive(Clone, Debug)]
struct Patient {
    app: String,
    token: String,
    id: EndpointId,
    receiver: usize,
    auto_enable: bool,
    /// When its server fails, one after the other.
    outages: Vec<(Duration, Duration)>,
    person: Person,
    kept: Arc<Mutex<Kept>>,
}

/// What is known of an endpoint from outside.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// Messages that were accepted.
    sent: BTreeSet<MessageId>,
    /// When a person asked for the endpoint to be switched off …
    asked: Option<Duration>,
    /// … and was told that it is.
    off: Option<Duration>,
}

/// Who else switches the endpoint off, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Person {
    Nobody,
    At(Duration),
    /// At the time of a probe, which succeeds if it is sent.
    WithAProbe,
}

/// How a run went.
#[derive(Debug, Default)]
pub struct Done {
    pub violations: Vec<String>,
    pub counts: Counts,
    pub trace: Vec<String>,
}

/// How much of what is looked at happened.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    messages: usize,
    disabled: usize,
    probes: usize,
    enabled: usize,
    /// Endpoints that a person switched off, and those of them that waited for a probe by then.
    off: usize,
    off_while_probed: usize,
    told: usize,
    faults: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.disabled += other.disabled;
        self.probes += other.probes;
        self.enabled += other.enabled;
        self.off += other.off;
        self.off_while_probed += other.off_while_probed;
        self.told += other.told;
        self.faults += other.faults;
    }

    /// Whether each kind happened at all.
    pub const fn has_all(&self) -> bool {
        self.disabled > 0 && self.probes > 0 && self.enabled > 0 && self.off > 0 && self.off_while_probed > 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages, {} endpoints disabled, {} probes, {} enabled by one, {} switched off by a person ({} of them probed then), \
             {} operational webhooks, {} faults",
            self.messages,
            self.disabled,
            self.probes,
            self.enabled,
            self.off,
            self.off_while_probed,
            self.told,
            self.faults
        )
    }
}

impl Outcome for Done {
    fn violations(&mut self) -> &mut Vec<String> {
        &mut self.violations
    }

    fn trace(&self) -> &[String] {
        &self.trace
    }
}

/// Runs one seed.
pub fn run(seed: u64, bug: Option<Bug>, traced: bool) -> Done {
    seeds::begin(seed, bug, traced, run_in)
}

fn run_in(sim: &Sim, world: &Arc<World>) -> Done {
    let make = {
        let world = world.clone();
        async move {
            world.create().await;
            Ward::new(&world).await
        }
    };
    let ward = wait_for(sim, END, make);
    let open = Arc::new(AtomicUsize::new(0));
    for patient in &ward.patients {
        patient.begin(world, &open);
    }
    world.start();
    sim.spawn(storms(world.clone(), open.clone()));
    let rest = sim.run(END, || open.load(Ordering::Relaxed) == 0 && world.is_at_rest());
    let mut done = Done::default();
    if rest == Rest::Never {
        done.violations.push("the run does not come to rest".into());
    } else {
        let (world, ward) = (world.clone(), ward.clone());
        done.violations = wait_for(sim, END, async move { ward.check(&world).await });
    }
    done.counts = ward.counts(world);
    done.trace = sim.take_trace();
    done
}

/// Runs the seeds from 1 on, on all cores: what they did, and what they broke.
pub fn run_all(count: u64) -> (Counts, BTreeMap<u64, Vec<String>>) {
    let (mut counts, mut broken) = (Counts::default(), BTreeMap::new());
    seeds::on_all_cores(1..=count, run, |seed, done| {
        counts.add(&done.counts);
        if !done.violations.is_empty() {
            broken.insert(seed, done.violations);
        }
    });
    (counts, broken)
}

/// Lets faults strike by turns for as long as something happens: the whole of a run is too long for them.
async fn storms(world: Arc<World>, open: Arc<AtomicUsize>) {
    let dice = Dice::new(world.seed, "storms");
    while open.load(Ordering::Relaxed) > 0 {
        let storm = dice.millis(60 * SECOND, 20 * 60 * SECOND);
        world.faults.strike_for(storm);
        world.sim.sleep(storm + dice.millis(60 * SECOND, 30 * 60 * SECOND)).await;
    }
}

/// The endpoints of a run, and the server that is told what happens to them.
#[derive(Clone, Debug)]
struct Ward {
    patients: Vec<Patient>,
    operator: usize,
}

impl Ward {
    /// Makes them, before anything goes wrong.
    async fn new(world: &Arc<World>) -> Self {
        let dice = Dice::new(world.seed, "patients");
        let (applications, endpoints) = (world.undisturbed("applications"), world.undisturbed("endpoints"));
        let org = OrgId::new(Timestamp::from_ms(START_MS), &dice);
        let token = world.tokens().for_org(org).expect("a token");
        let ask = async |router: &axum::Router, path: &str, body: Value| -> Value {
            let request = request("POST", path, &token, None, body.to_string());
            let (status, answer) = answer(router.clone(), request).await;
            let answer = serde_json::from_slice(&answer).expect("JSON");
            assert!(status < 300, "{path}: {status} {answer}");
            answer
        };
        let (operator, url) = world.receivers.add(Manner::Healthy);
        let types = ["failing", "recovered", "disabled", "enabled"].map(|event| format!("endpoint.{event}"));
        let sink = json!({ "url": url, "filterTypes": types });
        ask(&endpoints, "/api/v1/operational-webhook/endpoint", sink).await;
        let mut patients = Vec::new();
        for _ in 0..dice.between(1, 2) {
            let app = ask(&applications, "/api/v1/app", json!({ "name": "patient" })).await;
            let app = app["id"].as_str().expect("an id").to_owned();
            let (receiver, url) = world.receivers.add(Manner::Healthy);
            let auto_enable = dice.chance(850);
            let policy = json!({ "schedule": dice.pick(&SCHEDULES) });
            let body = json!({ "url": url, "autoEnable": auto_enable, "retryPolicy": policy });
            let made = ask(&endpoints, &format!("/api/v1/app/{app}/endpoint"), body).await;
            let outages = outages(&dice);
            let person = match dice.below(10) {
                0 | 1 => Person::At(dice.millis(0, outages[0].1.as_millis() as u64 + DAY)),
                2..=4 => Person::WithAProbe,
                _ => Person::Nobody,
            };
            let id = made["id"].as_str().expect("an id").parse().expect("an id");
            let token = token.clone();
            let kept = Arc::default();
            patients.push(Patient { app, token, id, receiver, auto_enable, outages, person, kept });
        }
        Self { patients, operator }
    }

    fn counts(&self, world: &World) -> Counts {
        let events = world.journal.lock();
        let mut counts = Counts { faults: world.faults.counts().values().sum(), ..Counts::default() };
        for patient in &self.patients {
            let told = told(&events, self.operator, patient.id);
            let by_us = |kind: &str| told.iter().filter(|told| told.is_ours(kind)).count();
            let probes = probes(&events, patient);
            let kept = patient.kept();
            counts.messages += kept.sent.len();
            counts.disabled += by_us("endpoint.disabled");
            counts.enabled += by_us("endpoint.enabled");
            counts.probes += probes.len();
            counts.told += told.len();
            if let Some(off) = kept.off {
                counts.off += 1;
                let before = told.iter().rfind(|told| told.made + SLACK < kept.asked.unwrap_or(off));
                let waits = before.is_some_and(|told| told.is_ours("endpoint.disabled"));
                counts.off_while_probed += usize::from(waits && patient.auto_enable);
            }
        }
        counts
    }

    async fn check(&self, world: &World) -> Vec<String> {
        let mut broken = Vec::new();
        if world.dead_letters() > 0 {
            broken.push(format!("{} jobs are dead letters", world.dead_letters()));
        }
        let events = world.journal.lock().clone();
        let endpoints = world.undisturbed("endpoints");
        for patient in &self.patients {
            let request = request("GET", &patient.path(), &patient.token, None, String::new());
            let (status, shown) = answer(endpoints.clone(), request).await;
            assert_eq!(status, 200, "an endpoint can be read");
            let case = Case {
                patient,
                kept: patient.kept(),
                told: told(&events, self.operator, patient.id),
                probes: probes(&events, patient),
                changes: changes(world, patient),
                shown: serde_json::from_slice(&shown).expect("JSON"),
                events: &events,
            };
            broken.extend(case.check().into_iter().map(|problem| format!("{}: {problem}", patient.id)));
        }
        broken
    }
}

/// When a server fails: for so short that nothing is switched off, or for long, perhaps once more.
fn outages(dice: &Dice) -> Vec<(Duration, Duration)> {
    let from = dice.millis(0, 3 * HOUR);
    if dice.chance(150) {
        return vec![(from, from + dice.millis(DAY, 3 * DAY))];
    }
    let to = from + dice.millis(5 * DAY + 6 * HOUR, 7 * DAY);
    let mut outages = vec![(from, to)];
    if dice.chance(300) {
        // By then a probe has enabled it.
        let from = to + dice.millis(30 * HOUR, 40 * HOUR);
        outages.push((from, from + dice.millis(5 * DAY + 6 * HOUR, 7 * DAY)));
    }
    outages
}

impl Patient {
    fn kept(&self) -> Kept {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn path(&self) -> String {
        format!("/api/v1/app/{}/endpoint/{}", self.app, self.id)
    }

    /// Messages are sent for so long that one arrives after a probe enabled it.
    fn end(&self) -> Duration {
        self.outages.last().expect("there is one").1 + Duration::from_millis(30 * HOUR)
    }

    /// Starts what happens to it. `open` counts what is not over.
    fn begin(&self, world: &Arc<World>, open: &Arc<AtomicUsize>) {
        let dice = Dice::new(world.seed, &format!("patient {}", self.receiver));
        let spawn = |work: Pin<Box<dyn Future<Output = ()> + Send>>| {
            open.fetch_add(1, Ordering::Relaxed);
            let open = open.clone();
            world.sim.spawn(async move {
                work.await;
                open.fetch_sub(1, Ordering::Relaxed);
            });
        };
        let fails =
            *dice.pick(&[Manner::Always(503), Manner::Always(500), Manner::Always(404), Manner::Hangs]);
        spawn(Box::pin(self.clone().fail(world.clone(), fails)));
        // Several at once where it begins to fail: which of them is given up first is open.
        let mut times = Vec::new();
        for (from, _) in &self.outages {
            let burst = *from + dice.millis(0, 600 * SECOND);
            times.extend((0..dice.between(1, 4)).map(|_| burst + dice.millis(0, 2 * SECOND)));
        }
        let mut at = dice.millis(0, 6 * HOUR);
        while at < self.end() {
            times.push(at);
            at += dice.millis(8 * HOUR, 20 * HOUR);
        }
        times.push(self.end());
        for (nth, at) in times.into_iter().enumerate() {
            spawn(Box::pin(self.clone().post(world.clone(), at, nth)));
        }
        match self.person {
            Person::Nobody => {}
            Person::At(at) => {
                let (patient, world) = (self.clone(), world.clone());
                spawn(Box::pin(async move {
                    world.sim.sleep(at).await;
                    patient.switch_off(&world).await;
                }));
            }
            Person::WithAProbe => {
                let wait = dice.between(0, 9 * SECOND);
                spawn(Box::pin(self.clone().switch_off_with_a_probe(world.clone(), wait)));
            }
        }
    }

    /// Its server.
    async fn fail(self, world: Arc<World>, how: Manner) {
        for (from, to) in self.outages {
            world.sim.sleep(from.saturating_sub(world.sim.now())).await;
            world.receivers.set(self.receiver, how);
            world.sim.trace(|| format!("server {} fails: {how:?}", self.receiver));
            world.sim.sleep(to.saturating_sub(world.sim.now())).await;
            world.receivers.set(self.receiver, Manner::Healthy);
            world.sim.trace(|| format!("server {} works again", self.receiver));
        }
    }

    /// A message of its customer, until it is accepted.
    async fn post(self, world: Arc<World>, at: Duration, nth: usize) {
        world.sim.sleep(at).await;
        let (path, key) = (format!("/api/v1/app/{}/msg", self.app), format!("{}-{nth}", self.id));
        let body = json!({ "eventType": "thing.happened", "payload": { "n": nth } }).to_string();
        loop {
            let request = request("POST", &path, &self.token, Some(&key), body.clone());
            match world.ask("messages", request).await {
                Some((202, body)) => {
                    let body: Value = serde_json::from_slice(&body).expect("JSON");
                    let id = body["id"].as_str().expect("an id").parse().expect("an id");
                    let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.sent.insert(id);
                    return;
                }
                Some((status, body)) if status != 503 && status != 409 => {
                    panic!("message {nth}: {status} {}", String::from_utf8_lossy(&body))
                }
                _ => world.sim.sleep(world.dice.millis(500, 20 * SECOND)).await,
            }
        }
    }

    /// A person switches it off, until it is said that it is.
    async fn switch_off(&self, world: &Arc<World>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).asked = Some(world.sim.now());
        loop {
            let body = json!({ "disabled": true }).to_string();
            let request = request("PATCH", &self.path(), &self.token, None, body);
            match world.ask("endpoints", request).await {
                Some((200, _)) => break,
                Some((status, body)) if status != 503 && status != 409 => {
                    panic!("PATCH: {status} {}", String::from_utf8_lossy(&body))
                }
                _ => world.sim.sleep(world.dice.millis(500, 20 * SECOND)).await,
            }
        }
        world.sim.trace(|| format!("a person switched {} off", self.id));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.off = Some(world.sim.now());
    }

    /// A person does so just when a probe is due that would be answered.
    async fn switch_off_with_a_probe(self, world: Arc<World>, wait: u64) {
        let endpoints = world.undisturbed("endpoints");
        // It is not disabled earlier.
        world.sim.sleep(self.outages[0].0 + Duration::from_millis(5 * DAY)).await;
        while world.sim.now() < self.end() {
            world.sim.sleep(Duration::from_millis(HOUR / 2)).await;
            let request = request("GET", &self.path(), &self.token, None, String::new());
            let (_, shown) = answer(endpoints.clone(), request).await;
            let shown: Value = serde_json::from_slice(&shown).expect("JSON");
            let Some(next) = shown["nextProbe"].as_str().and_then(Timestamp::parse) else { continue };
            let due = Duration::from_millis(next.ms() - START_MS);
            world.receivers.set(self.receiver, Manner::Healthy);
            let before = Duration::from_secs(3);
            let at = (due + Duration::from_millis(wait)).saturating_sub(before);
            world.sim.sleep(at.saturating_sub(world.sim.now())).await;
            return self.switch_off(&world).await;
        }
    }
}
