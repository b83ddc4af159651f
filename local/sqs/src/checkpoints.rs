//! Moves what was written from the write-ahead log of a SQLite file into the file, apart from whoever writes.
//!
//! SQLite does that within the commit that makes the log a thousand pages long, and waits for the disk twice: some
//! hundred requests later one waited for ten milliseconds. A checkpoint that is done beside (`PASSIVE`) lets writers go on, and
//! once all of the log is moved they begin it anew, so that it never comes to be so long.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::Error;

/// How often there is something to move while somebody writes: some hundred pages.
const EVERY: Duration = Duration::from_millis(100);
/// How often it is looked while nobody does.
const IDLE: Duration = Duration::from_secs(1);

/// A thread that does it for one file, until this is dropped.
#[derive(Debug)]
pub struct Checkpoints {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Begins with the file at `path`, which is there and has such a log.
    ///
    /// # Errors
    /// It cannot be opened once more, or there is no thread to be had.
    pub fn start(path: &Path) -> Result<Self, Error> {
        let connection = Connection::open(path)?;
        // The log reaches the disk before the file does: a loss of power costs the last moments, and no more.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let (stop, stopped) = channel::<()>();
        let work = move || {
            let (mut wait, mut last) = (EVERY, None);
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let version = version(&connection);
                if version == last {
                    wait = IDLE;
                    continue;
                }
                checkpoint(&connection);
                (wait, last) = (EVERY, version);
            }
        };
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(work)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that moves what was written has panicked");
        }
    }
}

/// Another number after each commit of others.
fn version(connection: &Connection) -> Option<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0)).ok()
}

/// Moves what can be moved without waiting for anybody; how many pages of the log are in the file then.
fn checkpoint(connection: &Connection) -> i64 {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2)).unwrap_or_else(|error| {
        // SQLite does it at a commit then.
        tracing::debug!(%error, "what was written could not be moved");
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_moved_and_the_log_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tables");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch("CREATE TABLE t (v BLOB)").unwrap();
        let log = folder.path().join("tables-wal");
        let mover = Connection::open(&path).unwrap();
        for _ in 0..50 {
            writer.execute("INSERT INTO t VALUES (randomblob(100000))", []).unwrap();
            assert!(checkpoint(&mover) > 0);
        }
        // Five megabytes were written.
        assert!(std::fs::metadata(&log).unwrap().len() < 500_000);
        assert!(std::fs::metadata(&path).unwrap().len() > 5_000_000);
        let count: i64 = writer.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 50);
        let running = Checkpoints::start(&path).unwrap();
        drop(running);
    }
}
