//! Thousands of small installations in virtual time, each with its own faults, and the promises
//! checked at the end of each (`docs/TESTING.md`, "The simulation").
//!
//! `POSTRIDER_SIM_SEEDS=5000` runs more seeds (`POSTRIDER_SIM_FROM=2001` not from the first on), `POSTRIDER_SIM_SEED=7`
//! one of them with all that happened in it.

mod aws;
mod clockwork;
mod consumers;
mod copies;
mod coverage;
mod faults;
mod installation;
mod journal;
mod kept;
mod links;
mod orders;
mod pollers;
mod probes;
mod promises;
mod random;
mod receivers;
mod replays;
mod run;
mod seeds;
mod time;
mod workload;
mod world;

use deliver::InjectedBug;
use shared::config::Env;

use run::{run, run_all};
use world::Bug;

// The SDK allocates some hundreds of times a request.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that `cargo test` runs, and within which what is broken on purpose has to be found. One of some
/// forty meets the rarest of those.
const SEEDS_DEFAULT: u64 = 300;

/// From so many seeds on, every fault has to have met every step …
const SEEDS_THOROUGH: u64 = 2_000;
/// … that was taken so often: the rarest fault strikes some one in a thousand, and what hangs on a single strike is
/// lost with the next change of the workload.
const TAKEN_OFTEN: u64 = 2_500;

fn number(name: &str) -> Option<u64> {
    Env::process().optional(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// INV-1, INV-12, INV-14, INV-54
#[test]
fn the_promises_hold_in_every_run() {
    if let Some(seed) = number("POSTRIDER_SIM_SEED") {
        return seeds::show_one(seed, run);
    }
    let count = number("POSTRIDER_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let from = number("POSTRIDER_SIM_FROM").unwrap_or(1);
    let report = run_all(&kept::seeds(), from..=count);
    show(&report.to_string());
    show(&report.coverage.to_string());
    kept::keep(report.violations.keys().copied());
    assert!(
        report.violations.is_empty(),
        "\n{}",
        seeds::describe(report.violations.iter().take(10), "the_promises")
    );
    let empty =
        if count < from + SEEDS_THOROUGH - 1 { Vec::new() } else { report.coverage.empty(TAKEN_OFTEN) };
    assert!(empty.is_empty(), "no fault met these:\n  {}", empty.join("\n  "));
}

/// INV-53
#[test]
fn endpoints_come_back_and_their_owners_are_told() {
    if let Some(seed) = number("POSTRIDER_SIM_SEED") {
        return seeds::show_one(seed, probes::run);
    }
    let count = number("POSTRIDER_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let (counts, broken) = probes::run_all(count);
    show(&format!("{count} seeds, {counts}, {} violations", broken.len()));
    assert!(broken.is_empty(), "\n{}", seeds::describe(broken.iter().take(10), "endpoints_come_back"));
    assert!(count < SEEDS_DEFAULT || counts.has_all(), "{counts}");
}

/// INV-41
#[test]
fn a_seed_is_one_course_of_events() {
    for seed in [3, 5, 8, 13] {
        let (first, second) = (run(seed, None, true), run(seed, None, true));
        assert!(first.trace.len() > 50, "seed {seed} does little");
        for (nth, (a, b)) in first.trace.iter().zip(&second.trace).enumerate() {
            assert_eq!(a, b, "seed {seed}, line {nth}");
        }
        assert_eq!(first.trace.len(), second.trace.len());
    }
    let [first, second] = [(); 2].map(|()| probes::run(2, None, true).trace);
    assert!(first.len() > 50 && first == second, "a run of probes is two courses of events");
}

/// INV-11
#[test]
fn what_is_broken_on_purpose_is_found() {
    let in_deliver = [
        InjectedBug::ForkedChain,
        InjectedBug::FailureIgnoresClaim,
        InjectedBug::StateBeforeSuccessor,
        InjectedBug::AckBeforeRecord,
        InjectedBug::OrderLeavesNoMark,
        InjectedBug::OrderGoesOn,
        InjectedBug::OrderPassesTail,
    ];
    let others = [
        Bug::BlindList,
        Bug::ForgottenCopy,
        Bug::Polling(messages::InjectedBug::PassesUnfinishedWrites),
        Bug::Polling(messages::InjectedBug::LeasesTwice),
    ];
    for bug in in_deliver.map(Bug::Deliver).into_iter().chain(others) {
        seeds::find(bug, SEEDS_DEFAULT, run);
    }
}

/// INV-11
#[test]
fn what_is_broken_on_purpose_in_probes_is_found() {
    let bug = Bug::Endpoints(endpoints::InjectedBug::ProbesWhatAPersonDisabled);
    seeds::find(bug, SEEDS_DEFAULT, probes::run);
}

#[expect(clippy::print_stdout, reason = "what a run found is read by people")]
fn show(line: &str) {
    println!("{line}");
}
