//! A batch in this process.

use domain::transformation::{Batch, Outcome, RUNS_MAX};
use runtime::clock::SharedClock;

use crate::engine::run;

/// Transforms all webhooks in this process, one after the other; the outcomes are in their order. What one run
/// does cannot reach another, but for a call that the interpreter does not interrupt: [`Worker`](crate::Worker)
/// ends that, too.
pub fn run_batch(clock: &SharedClock, batch: &Batch) -> Vec<Outcome> {
    let outcomes = batch.runs.iter().enumerate().map(|(at, asked)| match batch.codes.get(asked.code) {
        _ if at >= RUNS_MAX => too_many(),
        Some(code) => run(clock, code, asked.webhook.as_ref()),
        None => no_code(asked.code),
    });
    outcomes.collect()
}

pub(crate) fn too_many() -> Outcome {
    Outcome::failed(format!("more than {RUNS_MAX} webhooks in one batch"))
}

pub(crate) fn no_code(number: usize) -> Outcome {
    Outcome::failed(format!("the batch has no code number {number}"))
}
