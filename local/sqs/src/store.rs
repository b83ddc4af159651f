//! The durable log: one thread owns the connection, and commits in groups. Without a file there is
//! nothing to wait for and no thread: whoever waits for a commit finishes it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OptionalExtension, params};

use crate::Error;
use crate::engine::content::Payload;
use crate::engine::settings::Settings;

/// The most jobs that go into one transaction.
const GROUP: usize = 1_024;
/// The version of the tables, in `user_version`.
const FORMAT: i64 = 1;
const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE queues (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
        modified INTEGER NOT NULL, settings TEXT NOT NULL, tags TEXT NOT NULL);
    -- `queue` has no index: whole queues are deleted rarely, messages are inserted all the time. The
    -- long columns come last, so that a scan does not read them.
    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, id TEXT NOT NULL, sent INTEGER NOT NULL,
        delayed_until INTEGER NOT NULL, receives INTEGER NOT NULL, receives_before INTEGER NOT NULL,
        first_receive INTEGER, receive INTEGER NOT NULL, origin TEXT, message_group TEXT, trace TEXT,
        attributes TEXT, body TEXT NOT NULL);
";

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

/// The way to the writer.
pub(crate) struct Store {
    jobs: Mutex<Jobs>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pending: Arc<AtomicUsize>,
}

/// Where jobs go.
enum Jobs {
    /// To the thread that owns the file.
    Thread(Sender<Job>),
    /// Nowhere: they are finished, in order, by [`Store::finish`].
    Memory(VecDeque<Job>),
    Closed,
}

impl Store {
    /// Opens the file (`None`: nothing is kept) and starts the writer.
    pub(crate) fn open(path: Option<&Path>) -> Result<(Self, Loaded), Error> {
        let pending = Arc::new(AtomicUsize::new(0));
        let Some(path) = path else {
            let jobs = Mutex::new(Jobs::Memory(VecDeque::new()));
            return Ok((Self { jobs, thread: Mutex::default(), pending }, Loaded::default()));
        };
        let (disk, loaded) = Disk::open(path)?;
        let (jobs, receiver) = channel();
        let counter = Arc::clone(&pending);
        let thread = std::thread::Builder::new()
            .name("sqs-store".to_owned())
            .spawn(move || write_all(disk, &receiver, &counter))?;
        let store = Self { jobs: Mutex::new(Jobs::Thread(jobs)), thread: Mutex::new(Some(thread)), pending };
        Ok((store, loaded))
    }

    /// Hands over writes; `done` runs after the commit, on the writer's thread, or without a file in
    /// [`Store::finish`]. Jobs are committed and finished in the order of these calls.
    pub(crate) fn submit(&self, writes: Vec<Write>, done: impl FnOnce(Outcome) + Send + 'static) {
        let job = Job { writes, done: Box::new(done) };
        self.pending.fetch_add(1, Ordering::Relaxed);
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match &mut *jobs {
            Jobs::Thread(sender) => sender.send(job).map_err(|error| error.0).err(),
            Jobs::Memory(waiting) => {
                waiting.push_back(job);
                None
            }
            Jobs::Closed => Some(job),
        };
        drop(jobs);
        if let Some(job) = refused {
            self.pending.fetch_sub(1, Ordering::Relaxed);
            // On a thread of its own, because the caller holds the lock that `done` may want.
            std::thread::spawn(move || (job.done)(Err(Arc::from("the queue store is closed"))));
        }
    }

    /// Whether nothing is kept, so that [`Store::finish`] has something to do.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(*self.jobs.lock().unwrap_or_else(PoisonError::into_inner), Jobs::Memory(_))
    }

    /// Finishes what nobody else does: the jobs of a store without a file. Not to be called under the
    /// lock that `done` may want.
    pub(crate) fn finish(&self) {
        loop {
            let job = match &mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
                Jobs::Memory(waiting) => waiting.pop_front(),
                Jobs::Thread(_) | Jobs::Closed => None,
            };
            let Some(job) = job else { return };
            self.pending.fetch_sub(1, Ordering::Relaxed);
            (job.done)(Ok(()));
        }
    }

    /// The number of jobs that wait.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Commits what waits and lets go of the file.
    pub(crate) fn close(&self) {
        self.finish();
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = Jobs::Closed;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the queue store's thread had panicked");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn write_all(disk: Disk, jobs: &Receiver<Job>, pending: &AtomicUsize) {
    let mut writer = Writer { disk, owed: Vec::new() };
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        group.extend(jobs.try_iter().take(GROUP - 1));
        let outcome = writer.commit(&mut group);
        for job in group {
            pending.fetch_sub(1, Ordering::Relaxed);
            (job.done)(outcome.clone());
        }
    }
    if !writer.owed.is_empty() {
        // The last chance for what failed before; a failure is logged.
        let _failed = writer.commit(&mut []);
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

/// The file, its connection and the lock that keeps other processes out.
struct Disk {
    connection: Connection,
    _lock: File,
}

impl Disk {
    fn open(path: &Path) -> Result<(Self, Loaded), Error> {
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = private_file(Path::new(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => {
                return Err(Error::File { path: PathBuf::from(lock_path), source });
            }
        }
        // SQLite gives its side files the permissions of this one.
        drop(private_file(path)?);
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.set_prepared_statement_cache_capacity(32);
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => {
                let transaction = connection.transaction()?;
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "user_version", FORMAT)?;
                transaction.commit()?;
            }
            FORMAT => {}
            found => return Err(Error::Format { path: path.to_owned(), found, expected: FORMAT }),
        }
        let loaded = load(&connection)?;
        Ok((Self { connection, _lock: lock }, loaded))
    }

    fn commit<'a>(&mut self, writes: impl Iterator<Item = &'a Write>) -> rusqlite::Result<()> {
        let mut writes = writes.peekable();
        if writes.peek().is_none() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        for write in writes {
            apply(&transaction, write)?;
        }
        transaction.commit()
    }
}

/// Opens or creates a file that only its owner can read: messages are nobody else's.
fn private_file(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(failed)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(failed)?;
    Ok(file)
}

/// SQLite's integers are signed. Sequences and times stay far below the edge; a receive number is
/// an epoch and a counter, and so does it.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        connection.prepare_cached(sql)?.execute(values).map(drop)
    };
    match write {
        Write::SaveQueue(row) => run(
            "INSERT INTO queues VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET
             modified = excluded.modified, settings = excluded.settings, tags = excluded.tags",
            params![
                int(row.id),
                row.name,
                int(row.created_ms),
                int(row.modified_ms),
                json(&row.settings)?,
                json(&row.tags)?
            ],
        ),
        Write::DropQueue { id } => {
            run("DELETE FROM messages WHERE queue = ?1", params![int(*id)])?;
            run("DELETE FROM queues WHERE id = ?1", params![int(*id)])
        }
        Write::Purge { queue, below } => {
            run("DELETE FROM messages WHERE queue = ?1 AND seq < ?2", params![int(*queue), int(*below)])
        }
        Write::Insert(row) => insert(connection, row),
        Write::Received { seq, receives, first_receive_ms, receive } => run(
            "UPDATE messages SET receives = ?2, first_receive = ?3, receive = ?4 WHERE seq = ?1",
            params![int(*seq), receives, first_receive_ms.map(int), int(*receive)],
        ),
        Write::Delete { seq } => run("DELETE FROM messages WHERE seq = ?1", params![int(*seq)]),
        Write::Bury { seq, queue, receives_before, origin } => run(
            "UPDATE messages SET queue = ?2, receives_before = ?3, origin = ?4 WHERE seq = ?1",
            params![int(*seq), int(*queue), receives_before, &**origin],
        ),
        Write::Redrive { seq, queue, id, sent_ms } => run(
            "UPDATE messages SET queue = ?2, id = ?3, sent = ?4, delayed_until = 0, receives = 0,
             receives_before = 0, first_receive = NULL, origin = NULL WHERE seq = ?1",
            params![int(*seq), int(*queue), id, int(*sent_ms)],
        ),
    }
}

fn insert(connection: &Connection, row: &MessageRow) -> rusqlite::Result<()> {
    let payload = &row.payload;
    let attributes = if payload.attributes.is_empty() { None } else { Some(json(&payload.attributes)?) };
    connection
        .prepare_cached("INSERT INTO messages VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)")?
        .execute(params![
            int(row.seq),
            int(row.queue),
            row.id,
            int(row.sent_ms),
            int(row.delayed_until),
            row.receives,
            row.receives_before,
            row.first_receive_ms.map(int),
            int(row.receive),
            row.origin.as_deref(),
            payload.group.as_deref(),
            payload.trace,
            attributes,
            payload.body,
        ])
        .map(drop)
}

fn load(connection: &Connection) -> Result<Loaded, Error> {
    let epoch: Option<i64> = connection
        .query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get(0))
        .optional()?;
    let epoch = epoch.unwrap_or(0) + 1;
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?1)", [epoch])?;

    let mut queues = Vec::new();
    let mut statement =
        connection.prepare("SELECT id, name, created, modified, settings, tags FROM queues")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        queues.push(QueueRow {
            id: number(row, 0)?,
            name: row.get(1)?,
            created_ms: number(row, 2)?,
            modified_ms: number(row, 3)?,
            settings: read_json(&row.get::<_, String>(4)?)?,
            tags: read_json(&row.get::<_, String>(5)?)?,
        });
    }

    let mut messages = Vec::new();
    let mut statement = connection.prepare("SELECT * FROM messages ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let attributes = match row.get::<_, Option<String>>(12)? {
            Some(text) => read_json(&text)?,
            None => BTreeMap::new(),
        };
        let text = |column| row.get::<_, Option<String>>(column);
        let payload = Payload::new(row.get(13)?, attributes, text(11)?, text(10)?.map(Arc::from));
        messages.push(MessageRow {
            seq: number(row, 0)?,
            queue: number(row, 1)?,
            id: row.get(2)?,
            payload: Arc::new(payload),
            sent_ms: number(row, 3)?,
            delayed_until: number(row, 4)?,
            receives: row.get(5)?,
            receives_before: row.get(6)?,
            first_receive_ms: row.get::<_, Option<i64>>(7)?.map(i64::unsigned_abs),
            receive: number(row, 8)?,
            origin: text(9)?.map(Arc::from),
        });
    }
    Ok(Loaded { epoch: epoch.unsigned_abs(), queues, messages })
}

fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|value| u64::try_from(value).unwrap_or(0))
}

fn read_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt(error.to_string()))
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
