//! One run, and many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::copies;
use crate::coverage::Coverage;
use crate::links;
use crate::pollers;
use crate::promises;
use crate::replays::{self, Replay};
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

/// Runs one seed.
pub fn run(seed: u64, bug: Option<Bug>, traced: bool) -> Done {
    // Timers of tokio are not used for anything that is waited for, but some want to be made.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    // The SDK's own jitter.
    fastrand::seed(seed);
    let sim = Sim::new(seed, traced);
    let world = World::new(seed, &sim, bug);
    let customers = Arc::new(Mutex::new(Vec::new()));
    let made = {
        let (world, customers) = (world.clone(), customers.clone());
        async move {
            world.create().await;
            let made = workload::customers(&world).await;
            copies::start(&world, &made).await;
            *customers.lock().unwrap_or_else(PoisonError::into_inner) = made;
        }
    };
    let wait_for = |sim: &Sim, work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let over = Arc::new(AtomicU64::new(0));
        let tell = over.clone();
        sim.spawn(async move {
            work.await;
            tell.store(1, Ordering::Relaxed);
        });
        let rest = sim.run(END, || over.load(Ordering::Relaxed) == 1);
        assert_eq!(rest, Rest::Done, "nothing goes wrong here");
    };
    wait_for(&sim, Box::pin(made));
    let customers = customers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (book, open) = workload::start(&world, &customers);
    let pollers = pollers::start(&world, &customers, &book.wishes(), &open);
    let links = links::start(&world, &customers, &open);
    if world.dice.chance(250) {
        workload::disable(&world, &customers, &open);
    }
    world.start();
    let mut rest =
        sim.run(END, || *open.lock().unwrap_or_else(PoisonError::into_inner) == 0 && world.is_at_rest());
    let mut done = Done::default();
    let replay = Arc::new(Mutex::new(None));
    if rest == Rest::Done {
        let begin = {
            let (world, customers, replay) = (world.clone(), customers.clone(), replay.clone());
            async move {
                let begun = replays::begin(&world, &customers).await;
                *replay.lock().unwrap_or_else(PoisonError::into_inner) = begun;
            }
        };
        wait_for(&sim, Box::pin(begin));
        rest = sim.run(END, || world.is_at_rest());
    }
    let replay = replay.lock().unwrap_or_else(PoisonError::into_inner).take();
    done.replayed = replay.as_ref().map_or(0, Replay::len);
    if rest == Rest::Never {
        done.violations.push("the run does not come to rest".into());
    } else {
        let found = Arc::new(Mutex::new(Vec::new()));
        let check = {
            let (world, found) = (world.clone(), found.clone());
            let (wishes, links) = (book.wishes(), links.clone());
            async move {
                let mut violations = promises::check(&world, &customers, &wishes, &pollers, &links).await;
                if let Some(replay) = replay {
                    violations.extend(replay.check(&world).await);
                }
                *found.lock().unwrap_or_else(PoisonError::into_inner) = violations;
            }
        };
        wait_for(&sim, Box::pin(check));
        done.violations.append(&mut found.lock().unwrap_or_else(PoisonError::into_inner));
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

/// Runs many seeds, on all cores: first those that failed once, then all others of the range.
pub fn run_all(first: &BTreeSet<u64>, range: RangeInclusive<u64>) -> Report {
    let seeds = Mutex::new(first.iter().copied().chain(range.filter(|seed| !first.contains(seed))));
    let report = Mutex::new(Report::default());
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                        return;
                    };
                    let done =
                        catch_unwind(AssertUnwindSafe(|| run(seed, None, false))).unwrap_or_else(|_| Done {
                            violations: vec!["the run panicked".into()],
                            ..Done::default()
                        });
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    report.seeds += 1;
                    report.messages += done.messages;
                    report.queued += done.queued;
                    report.attempts += done.attempts;
                    report.posts += done.posts;
                    report.resent += done.resent;
                    report.replayed += done.replayed;
                    report.disabled += done.disabled;
                    report.portals += done.portals;
                    report.longest_wait_ms = report.longest_wait_ms.max(done.longest_wait_ms);
                    for (kind, count) in done.faults {
                        *report.faults.entry(kind).or_default() += count;
                    }
                    report.coverage.add(done.coverage);
                    if !done.violations.is_empty() {
                        report.violations.insert(seed, done.violations);
                    }
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}
