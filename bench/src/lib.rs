//! The load generator: posts messages to a server of this API, receives what it delivers, verifies
//! every signature, and says how many a second went through and how long each of them took.
//!
//! `cargo run --profile bench-local -p bench -- --help`
//!
//! Without `--url` it starts the whole local stack in its own process, on threads with names, so that
//! the CPU of the functions can be told from that of the embedded services and of the load itself.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

mod beside;
mod client;
mod compare;
mod cost;
mod cpu;
mod figures;
mod flags;
mod grow;
mod load;
mod payload;
mod plot;
mod poll;
mod receiver;
mod run;
mod shifted;
mod tally;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

pub use compare::{Comparison, Ratio, compare};
pub use cost::{Cost, CostOf};
pub use figures::{Figures, Latency, PageCost, Point, Reads};
pub use flags::{Against, Beside, Flags, Order, Pace, Plan, Server, Storage};
pub use poll::Backlog;
pub use run::{Failed, run};

/// The exit code where the command line makes no sense.
const EXIT_USAGE: u8 = 2;

/// Does what the command line says. The exit code says whether every message was accepted, arrived and
/// was signed rightly.
pub fn main() -> ExitCode {
    let plan = match Flags::parse().plan() {
        Ok(plan) => plan,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Some(against) = &plan.against {
        return match compare(&plan, against) {
            Ok(comparison) => {
                let shown = if plan.json { comparison.json() } else { comparison.to_string() };
                let _closed = writeln!(std::io::stdout().lock(), "{}", shown.trim_end());
                if comparison.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        };
    }
    let figures = match run(&plan) {
        Ok(figures) => figures,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let shown = if plan.json { figures.json() } else { figures.to_string() };
    // A reader that has gone away is no reason to fail.
    let _closed = writeln!(std::io::stdout().lock(), "{}", shown.trim_end());
    if let Some(path) = &plan.plot
        && let Err(error) = std::fs::write(path, plot::svg(&figures))
    {
        complain(&format!("--plot: {} cannot be written: {error}", path.display()));
        return ExitCode::FAILURE;
    }
    if figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}
