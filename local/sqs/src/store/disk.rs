//! The file of the queues: its tables, and how rows get into and out of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Loaded, MessageRow, QueueRow, Write};
use crate::Error;
use crate::checkpoints::Checkpoints;
use crate::engine::content::Payload;

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

/// The file, its connection and the lock that keeps other processes out.
pub(super) struct Disk {
    pub(super) connection: Connection,
    checkpoints: Option<Checkpoints>,
    _lock: File,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<(Self, Loaded), Error> {
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
        let checkpoints = Some(Checkpoints::start(path)?);
        Ok((Self { connection, checkpoints, _lock: lock }, loaded))
    }

    pub(super) fn commit<'a>(&mut self, writes: impl Iterator<Item = &'a Write>) -> rusqlite::Result<()> {
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

impl Drop for Disk {
    fn drop(&mut self) {
        // Who closes the file last moves the rest of the log, and removes it.
        self.checkpoints = None;
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
