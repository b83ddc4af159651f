//! An embedded, durable queue server that speaks the SQS protocol (AWS JSON 1.0), for local
//! development: an official AWS SDK talks to it over a loopback socket.
//!
//! * [`Engine::open`] opens (or creates) the queues, on a file or in memory.
//! * [`serve`] answers the protocol on a listener until its shutdown future ends; [`answer_one`]
//!   answers one request without a socket.
//!
//! # How it works
//!
//! Every decision is taken in memory, under one lock, by plain structures ordered by time and by
//! message group. SQLite is the durable log behind them, if there is a file: whoever waits for a commit makes it, for all the
//! writes that wait by then in one transaction, and then answers them all. A message becomes
//! visible, and its sender gets an answer, only after the commit: what was answered survives
//! `kill -9` (the write-ahead log is not synced at each commit, so a power cut may lose the last
//! moments).
//!
//! # What differs from the service
//!
//! * FIFO queues are refused.
//! * All bodies are held in memory, beside the file.
//! * A purge ends before its answer and a deleted name can be used again at once, so
//!   `PurgeQueueInProgress` and `QueueDeletedRecently` never happen.
//! * Counts are exact, and a message is never received twice without a visibility timeout between.
//! * One process owns the file. When it opens again, messages that were in flight are visible at
//!   once (their consumers died with the process) and keep their receive counts.
//! * Message move tasks are not remembered across a restart.
//! * Policies, encryption keys and credentials are stored or ignored, never enforced.

mod checkpoints;
mod engine;
mod server;
mod store;
mod wire;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use checkpoints::Checkpoints;
pub use engine::{Counts, Engine};
pub use server::{answer_in_process, answer_one, serve};

/// What [`Clock::sleep`] returns.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Where the engine reads the time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Completes when `wait` has passed, on a clock that may run faster than the machine's.
    fn sleep(&self, wait: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(wait))
    }
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the engine reads the real time")]
    fn now_ms(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What an [`Engine`] is opened with.
#[derive(Clone)]
pub struct Options {
    /// The database file; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// The region named in queue ARNs.
    pub region: String,
    /// The account named in queue ARNs and URLs.
    pub account: String,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// What message IDs follow from, so that a run can be repeated; `None`: the system's randomness.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: None,
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            clock: Arc::new(SystemClock),
            seed: None,
        }
    }
}

/// Why the engine could not open, or could not go on serving. Each is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process (or another engine of this one) has the file open.
    #[error("the queue file {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The file was written by a version that this one does not know.
    #[error("the queue file {} has format {found}; this version reads format {expected}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: i64,
        /// The format wanted.
        expected: i64,
    },
    /// The file could not be read or created.
    #[error("cannot open the queue file {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("the queue store failed: {0}")]
    Store(#[from] rusqlite::Error),
    /// A stored row makes no sense.
    #[error("the queue file holds a row that cannot be read: {0}")]
    Corrupt(String),
    /// The listener failed, or a thread could not start.
    #[error("the queue server failed: {0}")]
    Io(#[from] std::io::Error),
}
