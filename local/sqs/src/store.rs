//! The durable log. Whoever waits for a commit makes it, with everything that others have handed over by then: no other
//! thread has to be woken for it. Who finds somebody at it is served by that one, or by a thread that is there for what
//! came meanwhile and for what nobody waits for. Without a file there is nothing to write and no thread.

mod disk;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Error;
use crate::engine::content::Payload;
use crate::engine::settings::Settings;
use disk::Disk;

/// The most jobs that go into one transaction.
const GROUP: usize = 1_024;
/// How long what nobody waits for is left to the next commit, and how long the thread stays awake for more.
const SOON: Duration = Duration::from_millis(20);
/// A queue as it is stored.
#[derive(Debug)]
pub(crate) struct QueueRow {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) created_ms: u64,
    pub(crate) modified_ms: u64,
    pub(crate) settings: Settings,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A message as it is stored. What is in flight is not: it ends with the process.
#[derive(Debug)]
pub(crate) struct MessageRow {
    pub(crate) seq: u64,
    pub(crate) queue: u64,
    pub(crate) id: String,
    pub(crate) payload: Arc<Payload>,
    pub(crate) sent_ms: u64,
    pub(crate) delayed_until: u64,
    pub(crate) receives: u32,
    pub(crate) receives_before: u32,
    pub(crate) first_receive_ms: Option<u64>,
    pub(crate) receive: u64,
    pub(crate) origin: Option<Arc<str>>,
}

/// One change of the file.
#[derive(Debug)]
pub(crate) enum Write {
    SaveQueue(Box<QueueRow>),
    DropQueue {
        id: u64,
    },
    Purge {
        queue: u64,
        below: u64,
    },
    Insert(Box<MessageRow>),
    Received {
        seq: u64,
        receives: u32,
        first_receive_ms: Option<u64>,
        receive: u64,
    },
    Delete {
        seq: u64,
    },
    /// Into a dead-letter queue.
    Bury {
        seq: u64,
        queue: u64,
        receives_before: u32,
        origin: Arc<str>,
    },
    /// Out of one, as a new message.
    Redrive {
        seq: u64,
        queue: u64,
        id: String,
        sent_ms: u64,
    },
}

/// What the caller learns of a commit. The text is for the log and the answer.
pub(crate) type Outcome = Result<(), Arc<str>>;

struct Job {
    writes: Vec<Write>,
    done: Box<dyn FnOnce(Outcome) + Send>,
}

/// What a file held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Counts the openings, so that receipt numbers never repeat.
    pub(crate) epoch: u64,
    pub(crate) queues: Vec<QueueRow>,
    pub(crate) messages: Vec<MessageRow>,
}

/// The way to the file.
pub(crate) struct Store {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    jobs: Mutex<Jobs>,
    /// Wakes the thread.
    woken: Condvar,
    /// Who has it commits. None without a file.
    writer: Mutex<Option<Writer>>,
    in_memory: bool,
}

#[derive(Default)]
struct Jobs {
    /// In the order of their submission.
    waiting: VecDeque<Job>,
    /// Somebody waits for what the thread has to do.
    urgent: bool,
    /// The thread waits for any job at all.
    asleep: bool,
    closed: bool,
}

impl Store {
    /// Opens the file (`None`: nothing is kept) and starts the thread.
    pub(crate) fn open(path: Option<&Path>) -> Result<(Self, Loaded), Error> {
        let shared = |writer: Option<Writer>| {
            let in_memory = writer.is_none();
            let (jobs, woken) = (Mutex::default(), Condvar::new());
            Arc::new(Shared { jobs, woken, writer: Mutex::new(writer), in_memory })
        };
        let Some(path) = path else {
            return Ok((Self { shared: shared(None), thread: Mutex::default() }, Loaded::default()));
        };
        let (disk, loaded) = Disk::open(path)?;
        let shared = shared(Some(Writer { disk, owed: Vec::new() }));
        let work = shared.clone();
        let thread = std::thread::Builder::new().name("sqs-store".to_owned()).spawn(move || work.work())?;
        Ok((Self { shared, thread: Mutex::new(Some(thread)) }, loaded))
    }

    /// Hands over writes; `done` runs after the commit, in whose [`Store::finish`] or on the thread that is. Jobs are
    /// committed and finished in the order of these calls. Without a `finish` that happens soon, with a file, or never.
    pub(crate) fn submit(&self, writes: Vec<Write>, done: impl FnOnce(Outcome) + Send + 'static) {
        let job = Job { writes, done: Box::new(done) };
        let mut jobs = self.shared.jobs();
        if jobs.closed {
            drop(jobs);
            // On a thread of its own, because the caller holds the lock that `done` may want.
            std::thread::spawn(move || (job.done)(Err(Arc::from("the queue store is closed"))));
            return;
        }
        jobs.waiting.push_back(job);
        if jobs.asleep {
            self.shared.woken.notify_one();
        }
    }

    /// Whether nothing is kept.
    pub(crate) fn in_memory(&self) -> bool {
        self.shared.in_memory
    }

    /// Commits what waits, unless somebody is at it, who then sees to it. Not to be called under the lock that a `done`
    /// may want.
    pub(crate) fn finish(&self) {
        self.shared.finish();
    }

    /// The number of jobs that wait.
    pub(crate) fn pending(&self) -> usize {
        self.shared.jobs().waiting.len()
    }

    /// Commits what waits and lets go of the file.
    pub(crate) fn close(&self) {
        self.finish();
        self.shared.jobs().closed = true;
        self.shared.woken.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the queue store's thread had panicked");
        }
        let writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut writer) = writer
            && !writer.owed.is_empty()
        {
            // The last chance for what failed before; a failure is logged.
            let _failed = writer.commit(&mut []);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits one group. It is finished before the next one can begin, so that the order holds.
    fn commit(&self, writer: &mut Option<Writer>) {
        let mut group: Vec<Job> = {
            let mut jobs = self.jobs();
            let length = jobs.waiting.len().min(GROUP);
            jobs.waiting.drain(..length).collect()
        };
        if group.is_empty() {
            return;
        }
        let outcome = writer.as_mut().map_or(Ok(()), |writer| writer.commit(&mut group));
        for job in group {
            (job.done)(outcome.clone());
        }
    }

    fn finish(&self) {
        match self.writer.try_lock() {
            Ok(mut writer) => self.commit(&mut writer),
            Err(TryLockError::Poisoned(writer)) => self.commit(&mut writer.into_inner()),
            // Whoever has it looks once more when it has let go of it.
            Err(TryLockError::WouldBlock) => return,
        }
        while self.in_memory && !self.jobs().waiting.is_empty() {
            // There is no thread, and somebody may have come to a lock that was held.
            if let Ok(mut writer) = self.writer.try_lock() {
                self.commit(&mut writer);
            } else {
                return;
            }
        }
        let mut jobs = self.jobs();
        if !jobs.waiting.is_empty() {
            jobs.urgent = true;
            self.woken.notify_one();
        }
    }

    /// What the thread does.
    fn work(&self) {
        // Nothing came for a while.
        let mut quiet = true;
        let mut jobs = self.jobs();
        loop {
            if !jobs.urgent && !jobs.closed {
                if quiet && jobs.waiting.is_empty() {
                    jobs.asleep = true;
                    jobs = self.woken.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                    jobs.asleep = false;
                    quiet = false;
                    continue;
                }
                let waited = self.woken.wait_timeout(jobs, SOON).unwrap_or_else(PoisonError::into_inner);
                jobs = waited.0;
                if !waited.1.timed_out() && !jobs.urgent && !jobs.closed {
                    continue;
                }
            }
            let closed = jobs.closed;
            jobs.urgent = false;
            quiet = jobs.waiting.is_empty();
            drop(jobs);
            self.commit(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner));
            jobs = self.jobs();
            if closed && jobs.waiting.is_empty() {
                return;
            }
            // Somebody may wait for what came meanwhile, and found this thread at it.
            jobs.urgent = !jobs.waiting.is_empty();
        }
    }
}

struct Writer {
    disk: Disk,
    /// Changes that are in force in memory and could not be committed. They go before any later one:
    /// otherwise a message could be answered for, in a queue that the file does not know.
    owed: Vec<Write>,
}

impl Writer {
    fn commit(&mut self, group: &mut [Job]) -> Outcome {
        let written = self.disk.commit(self.owed.iter().chain(group.iter().flat_map(|job| &job.writes)));
        match written {
            Ok(()) => {
                self.owed.clear();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the queue store could not commit");
                // A new message is not in force before its commit: it is refused, and forgotten.
                let writes = group.iter_mut().flat_map(|job| job.writes.drain(..));
                self.owed.extend(writes.filter(|write| !matches!(write, Write::Insert(_))));
                Err(Arc::from(error.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(write: Write) -> Job {
        Job { writes: vec![write], done: Box::new(|_| {}) }
    }

    fn message(seq: u64) -> Write {
        Write::Insert(Box::new(MessageRow {
            seq,
            queue: 1,
            id: seq.to_string(),
            payload: Arc::new(Payload::new("x".to_owned(), BTreeMap::new(), None, Some(Arc::from("g")))),
            sent_ms: 5,
            delayed_until: 0,
            receives: 0,
            receives_before: 0,
            first_receive_ms: None,
            receive: 0,
            origin: None,
        }))
    }

    #[test]
    fn what_failed_is_made_up_for_except_new_messages() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("queues.db");
        let (disk, loaded) = Disk::open(&path).expect("opened");
        assert_eq!(loaded.epoch, 1);
        let refuse =
            |disk: &Disk, on: bool| disk.connection.pragma_update(None, "query_only", on).expect("set");
        refuse(&disk, true);
        let mut writer = Writer { disk, owed: Vec::new() };
        let queue = QueueRow {
            id: 1,
            name: "q".to_owned(),
            created_ms: 1,
            modified_ms: 2,
            settings: Settings::default(),
            tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        };
        assert!(writer.commit(&mut [job(Write::SaveQueue(Box::new(queue)))]).is_err());
        assert!(writer.commit(&mut [job(message(1))]).is_err());
        refuse(&writer.disk, false);
        writer.commit(&mut [job(message(2))]).expect("committed");
        assert!(writer.owed.is_empty());
        drop(writer);

        let (_disk, loaded) = Disk::open(&path).expect("opened again");
        assert_eq!(loaded.epoch, 2);
        let [queue] = loaded.queues.as_slice() else { panic!("one queue") };
        assert_eq!((queue.name.as_str(), queue.tags["a"].as_str()), ("q", "b"));
        let [message] = loaded.messages.as_slice() else { panic!("one message") };
        assert_eq!((message.seq, message.payload.group.as_deref()), (2, Some("g")));
    }

    #[test]
    fn a_file_of_another_format_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("queues.db");
        let (disk, _) = Disk::open(&path).expect("opened");
        disk.connection.pragma_update(None, "user_version", 99).expect("set");
        drop(disk);
        assert!(matches!(Disk::open(&path).map(drop), Err(Error::Format { found: 99, .. })));
    }
}
