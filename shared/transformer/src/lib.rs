//! Runs customers' code, which makes another webhook out of a webhook, in QuickJS.
//!
//! The interpreter is given no module, no file, no network and no environment, and ends with the run. It is to
//! be linked by a function that has no rights and no secret, and by nothing else (docs/adr/0031-transformations.md).

mod batch;
mod engine;
mod worker;

pub use batch::run_batch;
pub use domain::transformation::{Batch, CODE_MAX, OUTPUT_MAX, Outcome, RUNS_MAX, Run, Transformed, Webhook};
pub use engine::{HEAP_MAX, RUN_MAX, STACK_MAX, check, transform};
pub use worker::{ANSWER_MAX, Program, Worker, serve};
