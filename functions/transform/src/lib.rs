//! Runs customers' code, which makes another webhook out of a webhook.
//!
//! It has no rights and no secret, and links nothing that could make use of some: no SDK, no store. The code runs in
//! a child process without an environment ([`Worker`]), one webhook after the other.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::transformation::{Batch, Outcome};
use runtime::clock::SharedClock;
use transformer::Worker;

/// The argument that makes this program the child process.
const CHILD: &str = "transformer-process";
/// How long after its begin an invocation still begins another run. The last one may take three seconds
/// ([`transformer::ANSWER_MAX`]), and who asks waits for four and a half.
const BEGIN_MAX: Duration = Duration::from_secs(1);
/// From then on an answer takes no further webhook in: the largest of them is 2 MB as JSON inside JSON, and Lambda
/// gives back 6 MB.
const FULL: usize = 3_900_000;
/// Processes that are kept while nothing runs. An instance in the cloud has one.
const IDLE_MAX: usize = 2;

/// How a program is started that calls [`transformer::serve`]. Clones are the same.
#[derive(Clone)]
pub struct Program(Arc<dyn Fn() -> Command + Send + Sync>);

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

impl Program {
    /// By the commands that `make` gives.
    pub fn new(make: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// This program once more: its `main` has to ask [`is_child`] first.
    ///
    /// # Errors
    /// The program does not know where it is.
    pub fn own() -> io::Result<Self> {
        std::env::current_exe().map(Self::of)
    }

    /// The program at `path`, whose `main` asks [`is_child`] first.
    pub fn of(path: PathBuf) -> Self {
        Self::new(move || {
            let mut command = Command::new(&path);
            command.arg(CHILD);
            command
        })
    }
}

/// What this function holds. Clones are the same.
#[derive(Clone, Debug)]
pub struct Transform {
    program: Program,
    clock: SharedClock,
    idle: Arc<Mutex<Vec<Worker>>>,
}

/// Whether this process was started as the child. Asked before anything else is done.
pub fn is_child() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == CHILD)
}

impl Transform {
    /// Code will run in processes that `program` starts.
    pub fn new(program: Program, clock: SharedClock) -> Self {
        Self { program, clock, idle: Arc::default() }
    }

    /// Runs a batch; the outcomes are in its order.
    ///
    /// # Errors
    /// No process can be started.
    pub async fn handle(&self, batch: Batch) -> io::Result<Vec<Outcome>> {
        let this = self.clone();
        let run = tokio::task::spawn_blocking(move || this.run(&batch));
        run.await.map_err(io::Error::other)?
    }

    fn run(&self, batch: &Batch) -> io::Result<Vec<Outcome>> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.clock.now();
        let program = self.program.clone();
        let kept = idle().pop();
        let mut worker = kept.unwrap_or_else(|| Worker::new(Box::new(move || (program.0)())));
        let outcomes = worker.run_while(batch, |so_far| {
            self.clock.now().since(begun) < BEGIN_MAX && so_far.iter().map(length).sum::<usize>() < FULL
        });
        let mut idle = idle();
        if outcomes.is_ok() && idle.len() < IDLE_MAX {
            idle.push(worker);
        }
        outcomes
    }
}

/// About how many bytes of an answer an outcome takes: quotes are escaped in it.
fn length(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Send(sent) => {
            let headers: usize = sent.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
            2 * (sent.url.len() + headers + sent.payload.as_deref().map_or(0, str::len)) + 100
        }
        _ => 1_000,
    }
}
