//! One run, and many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::copies;
use crate::coverage::Coverage;
use crate::links;
use crate::pollers;
use crate::promises;
use crate::replays::{self, Replay};
use crate::seeds::{self, Outcome, wait_for};
use crate::time::{Rest, Sim};
use crate::workload;
use crate::world::{Bug, World};

/// No chain takes this long.
const END: Duration = Duration::from_secs(3 * 24 * 3600);

/// How a run went.
#[derive(Debug, Default)]
pub struct Done {
    pub violations: Vec<String>,
    pub messages: u64,
    pub queued: u64,
    pub attempts: u64,
    pub resent: u64,
    pub replayed: u64,
    pub disabled: u64,
    /// Sessions of the portal that acted.
    pub portals: u64,
    pub posts: u64,
    pub faults: BTreeMap<&'static str, u64>,
    pub coverage: Coverage,
    pub longest_wait_ms: u64,
    pub trace: Vec<String>,
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
            let made = workload::customers(&world).await;
            copies::start(&world, &made).await;
            made
        }
    };
    let customers = wait_for(sim, END, make);
    let (book, open) = workload::start(world, &customers);
    let pollers = pollers::start(world, &customers, &book.wishes(), &open);
    let links = links::start(world, &customers, &open);
    if world.dice.chance(250) {
        workload::disable(world, &customers, &open);
    }
    world.start();
    let mut rest =
        sim.run(END, || *open.lock().unwrap_or_else(PoisonError::into_inner) == 0 && world.is_at_rest());
    let mut done = Done::default();
    let mut replay = None;
    if rest == Rest::Done {
        let (begun_in, customers) = (world.clone(), customers.clone());
        replay = wait_for(sim, END, async move { replays::begin(&begun_in, &customers).await });
        rest = sim.run(END, || world.is_at_rest());
    }
    done.replayed = replay.as_ref().map_or(0, Replay::len);
    if rest == Rest::Never {
        done.violations.push("the run does not come to rest".into());
    } else {
        let (world, wishes, links) = (world.clone(), book.wishes(), links.clone());
        done.violations = wait_for(sim, END, async move {
            let mut violations = promises::check(&world, &customers, &wishes, &pollers, &links).await;
            if let Some(replay) = replay {
                violations.extend(replay.check(&world).await);
            }
            violations
        });
    }
    done.longest_wait_ms = world.longest_wait_ms();
    done.trace = sim.take_trace();
    done.messages = book.wishes().iter().filter(|wish| !wish.accepted.is_empty()).count() as u64;
    done.queued = book.wishes().iter().filter(|wish| wish.queued).count() as u64;
    done.resent = book.wishes().iter().map(|wish| wish.resent.len() as u64).sum();
    done.portals = u64::from(links.acted());
    let mut events = world.journal.lock();
    done.coverage = std::mem::take(&mut events.coverage);
    done.disabled = events.disabled.len() as u64;
    (done.attempts, done.posts) = (events.records.len() as u64, events.posts.len() as u64);
    done.faults = world.faults.counts();
    done
}

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Report {
    pub seeds: u64,
    pub messages: u64,
    pub queued: u64,
    pub attempts: u64,
    pub resent: u64,
    pub replayed: u64,
    pub disabled: u64,
    pub portals: u64,
    pub posts: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// Which fault met which step.
    pub coverage: Coverage,
    /// How long a healthy endpoint waited at most where only receivers had faults.
    pub longest_wait_ms: u64,
    pub violations: BTreeMap<u64, Vec<String>>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds, {} messages accepted, {} queued, {} sent again, {} by tasks, {} endpoints disabled, {} portals opened, {} attempts on record, \
             {} webhooks received, {} violations",
            self.seeds,
            self.messages,
            self.queued,
            self.resent,
            self.replayed,
            self.disabled,
            self.portals,
            self.attempts,
            self.posts,
            self.violations.len()
        )?;
        writeln!(f, "longest wait of a healthy endpoint without other faults: {} ms", self.longest_wait_ms)?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {count:>8} {kind}")?;
        }
        Ok(())
    }
}

impl Report {
    fn add(&mut self, seed: u64, done: Done) {
        self.seeds += 1;
        self.messages += done.messages;
        self.queued += done.queued;
        self.attempts += done.attempts;
        self.posts += done.posts;
        self.resent += done.resent;
        self.replayed += done.replayed;
        self.disabled += done.disabled;
        self.portals += done.portals;
        self.longest_wait_ms = self.longest_wait_ms.max(done.longest_wait_ms);
        for (kind, count) in done.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.coverage.add(done.coverage);
        if !done.violations.is_empty() {
            self.violations.insert(seed, done.violations);
        }
    }
}

/// Runs many seeds, on all cores: first those that failed once, then all others of the range.
pub fn run_all(first: &BTreeSet<u64>, range: RangeInclusive<u64>) -> Report {
    let mut report = Report::default();
    let seeds = first.iter().copied().chain(range.filter(|seed| !first.contains(seed)));
    seeds::on_all_cores(seeds, run, |seed, done| report.add(seed, done));
    report
}
