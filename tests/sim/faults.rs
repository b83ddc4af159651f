//! What goes wrong in a run. Each run draws its own mixture: some kinds often, most not at all, so
//! that rare combinations come up as well as storms.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::random::Dice;
use crate::time::Sim;

/// How often each kind happens, of a thousand opportunities.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    pub crash: u64,
    pub throttle: u64,
    pub lost_request: u64,
    pub lost_answer: u64,
    pub late: u64,
    pub refused_entry: u64,
    pub duplicate: u64,
    pub delayed_job: u64,
    pub lost_delete: u64,
    pub clock_step: u64,
    pub impatient_client: u64,
    pub outage: u64,
}

/// A service that can be down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    DynamoDb,
    Sqs,
    /// The function that runs transformations, and the way to it.
    Lambda,
}

/// What becomes of one request to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Served,
    Throttled,
    Down,
    /// It never arrives, and nobody says so.
    LostRequest,
    /// It takes effect, and nobody says so.
    LostAnswer,
    /// It takes effect after this long, by when its sender may have given up.
    Late(Duration),
}

/// The faults of one run. Clones are the same.
#[derive(Clone, Debug)]
pub struct Faults {
    pub rates: Rates,
    until: Arc<Mutex<Duration>>,
    down: Arc<Mutex<Vec<(Service, Duration, Duration)>>>,
    dice: Dice,
    /// Of their own, so that the rest of a seed's course does not depend on them.
    outages: Dice,
    sim: Sim,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Faults {
    /// Those of a seed. A `calm` run has none but the receivers' own.
    pub fn draw(seed: u64, sim: &Sim, calm: bool) -> Self {
        let (dice, outages) = (Dice::new(seed, "faults"), Dice::new(seed, "outages"));
        let until = Duration::from_secs(dice.between(60, 1800));
        let mut rates = Rates::default();
        let mut down = Vec::new();
        if !calm {
            let rate = |of: &[u64]| *dice.pick(of);
            rates = Rates {
                crash: rate(&[0, 0, 60, 150, 350]),
                throttle: rate(&[0, 0, 5, 50, 250]),
                lost_request: rate(&[0, 0, 0, 5, 20]),
                lost_answer: rate(&[0, 0, 5, 20, 60]),
                late: rate(&[0, 0, 0, 5, 20]),
                refused_entry: rate(&[0, 0, 0, 30, 100]),
                duplicate: rate(&[0, 0, 100, 300, 500]),
                delayed_job: rate(&[0, 0, 50, 300]),
                lost_delete: rate(&[0, 0, 20, 100]),
                clock_step: rate(&[0, 0, 0, 100, 500]),
                impatient_client: rate(&[0, 0, 100, 300]),
                outage: *outages.pick(&[0, 0, 2, 10]),
            };
            for service in [Service::DynamoDb, Service::Sqs] {
                for _ in 0..*dice.pick(&[0, 0, 0, 1, 2]) {
                    let from = Duration::from_secs(dice.below(until.as_secs() as usize) as u64 / 3);
                    down.push((service, from, from + dice.millis(500, 180_000)));
                }
            }
        }
        let until = Arc::new(Mutex::new(until));
        let down = Arc::new(Mutex::new(down));
        Self { rates, until, down, dice, outages, sim: sim.clone(), counts: Arc::default() }
    }

    /// When nothing strikes any more.
    pub fn until(&self) -> Duration {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets faults strike for that long from now on.
    pub fn strike_for(&self, time: Duration) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = self.sim.now() + time;
    }

    pub fn dice(&self) -> &Dice {
        &self.dice
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self, kind: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        self.sim.trace(|| format!("fault: {kind}"));
    }

    /// Whether a fault of that rate happens now; counted where it does.
    pub fn strikes(&self, rate: u64, kind: &'static str) -> bool {
        let strikes = rate > 0 && self.sim.now() < self.until() && self.dice.chance(rate);
        if strikes {
            self.count(kind);
        }
        strikes
    }

    pub fn is_down(&self, service: Service) -> bool {
        let now = self.sim.now();
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.iter().any(|(down, from, to)| *down == service && *from <= now && now < *to)
    }

    /// A service goes down with whatever request comes, and not only at a time: in the midst of an invocation,
    /// too.
    fn may_go_down(&self, service: Service) {
        let now = self.sim.now();
        if self.rates.outage > 0 && now < self.until() && self.outages.chance(self.rates.outage) {
            let until = now + self.outages.millis(500, 60_000);
            self.down.lock().unwrap_or_else(PoisonError::into_inner).push((service, now, until));
            self.count("outage that begins with a request");
        }
    }

    pub fn fate(&self, service: Service) -> Fate {
        self.may_go_down(service);
        if self.is_down(service) {
            self.count(match service {
                Service::DynamoDb => "DynamoDB down",
                Service::Sqs => "SQS down",
                Service::Lambda => "Lambda down",
            });
            return Fate::Down;
        }
        let rates = &self.rates;
        if self.strikes(rates.throttle, "throttled request") {
            Fate::Throttled
        } else if self.strikes(rates.lost_request, "lost request") {
            Fate::LostRequest
        } else if self.strikes(rates.lost_answer, "lost answer") {
            Fate::LostAnswer
        } else if self.strikes(rates.late, "late effect") {
            Fate::Late(self.dice.millis(1_000, 20_000))
        } else {
            Fate::Served
        }
    }

    /// After how many polls an invocation crashes, if it does.
    pub fn fuse(&self) -> Option<u32> {
        let doomed =
            self.rates.crash > 0 && self.sim.now() < self.until() && self.dice.chance(self.rates.crash);
        // Where an invocation ends is told by no number of polls: small ones are as likely as large ones.
        doomed.then(|| 1 + self.dice.below(1 << self.dice.between(2, 6)) as u32)
    }
}
