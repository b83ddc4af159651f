//! Tasks: work that continues after its request was answered, and how far it is.
//!
//! A task goes through its messages in steps. Each is a job that sends its page, says here that it is
//! done and where the next page begins, and then queues its successor. A copy of the job of the last
//! step that is done queues that successor again, in case the first died before it could; a copy of
//! an earlier one stops. So a task never stands still, and copies never multiply.

use std::str::FromStr;

use aws_sdk_dynamodb::types::{AttributeValue, Update};

use super::audit::Change;
use super::item::{FromItemOf, Get as _, Item, Put as _, SCHEMA, ToItem, b, n, s, texts};
use super::keys::SHARDS;
use super::transaction::{Guard, Transacted, Transaction, create};
use super::{Store, Table, keys};
use crate::attempts::Status;
use domain::caller::Caller;
use domain::error::{Error, Result, corrupt};
use domain::ids::{AppId, Id as _, Ksuid, MessageId, OrgId, TaskId};
use domain::job::Job;
use domain::operational;
use domain::page::{ListQuery, Page};
use domain::retention::LOG_RETENTION_DAYS;
use runtime::clock::Timestamp;

pub use domain::task::{
    AppUsage, Counting, Erasure, Expunging, Progress, Replay, Stage, Task, TaskDone, TaskFilter, TaskKind,
};

/// How an item says how far its task is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields {
    /// `sh`: a shard, or a number for the stage of an erasure.
    place: u8,
    /// `af`: what was looked at last.
    after: Option<String>,
    /// `c`: what was done.
    done: u64,
    /// `ap`: the last application that is done.
    app: Option<String>,
    /// `ln`: how long the results are.
    length: Option<u64>,
}

fn fields_of(progress: &Progress) -> Fields {
    let text = |id: Option<MessageId>| id.map(|id| id.to_string());
    match progress {
        Progress::Replay(Replay { shard, after, sent: done })
        | Progress::Expunge(Expunging { shard, after, expunged: done }) => {
            Fields { place: *shard, after: text(*after), done: *done, ..Fields::default() }
        }
        Progress::Erase(Erasure { stage, after, erased }) => {
            let place = match stage {
                Stage::Secrets => 0,
                Stage::Messages(shard) => shard + 1,
                Stage::Logs => LOGS,
                Stage::LogsAgain => LOGS_AGAIN,
                Stage::Endpoints => ENDPOINTS,
            };
            let after = after.map(|id| id.to_string());
            Fields { place, after, done: *erased, ..Fields::default() }
        }
        Progress::Count(Counting { done, shard, after, count, length }) => Fields {
            place: *shard,
            after: text(*after),
            done: *count,
            app: done.map(|id| id.to_string()),
            length: Some(*length),
        },
    }
}

const LOGS: u8 = SHARDS + 1;
const LOGS_AGAIN: u8 = SHARDS + 2;
const ENDPOINTS: u8 = SHARDS + 3;

fn progress_of(kind: TaskKind, item: &Item) -> Result<Progress> {
    const WHAT: &str = "a task's progress";
    fn id<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        item: &Item,
        name: &str,
    ) -> Result<Option<T>> {
        item.text_opt(name).map(str::parse).transpose().map_err(corrupt(WHAT))
    }
    let (place, done) = (item.number("sh")?, item.number("c")?);
    Ok(match kind {
        TaskKind::Recover | TaskKind::ReplayMissing | TaskKind::BulkReplay => {
            Progress::Replay(Replay { shard: place, after: id(item, "af")?, sent: done })
        }
        TaskKind::ExpungeAll => {
            Progress::Expunge(Expunging { shard: place, after: id(item, "af")?, expunged: done })
        }
        TaskKind::AppStats | TaskKind::EventTypeUsage => Progress::Count(Counting {
            done: id(item, "ap")?,
            shard: place,
            after: id(item, "af")?,
            count: done,
            length: item.number_opt("ln").unwrap_or_default(),
        }),
        TaskKind::Erase => {
            let stage = match place {
                0 => Stage::Secrets,
                1..LOGS => Stage::Messages(place - 1),
                LOGS => Stage::Logs,
                LOGS_AGAIN => Stage::LogsAgain,
                ENDPOINTS => Stage::Endpoints,
                _ => return Err(corrupt(WHAT)(format!("there is no stage {place}"))),
            };
            Progress::Erase(Erasure { stage, after: id(item, "af")?, erased: done })
        }
    })
}

const ID_LENGTH: usize = 20;

fn apps_to_bytes(apps: &[AppId]) -> AttributeValue {
    b(apps.iter().flat_map(|id| *id.ksuid().bytes()).collect::<Vec<u8>>())
}

fn apps_of_bytes(bytes: &[u8]) -> Vec<AppId> {
    let ids = bytes.as_chunks::<ID_LENGTH>().0.iter();
    ids.map(|bytes| AppId::from_ksuid(Ksuid::from_bytes(*bytes))).collect()
}

impl ToItem for Task {
    fn to_item(&self) -> Item {
        let (filter, at) = (&self.filter, fields_of(&self.progress));
        keys::task(self.org, self.id)
            .with("v", n(SCHEMA))
            .with("k", s(self.kind.stored()))
            .with_some("a", self.app.map(|id| s(id.to_string())))
            .with_some("e", self.endpoint.map(|id| s(id.to_string())))
            .with("si", n(self.since.ms()))
            .with("un", n(self.until.ms()))
            .with_some("et", texts(filter.event_types.as_deref()))
            .with_some("ch", filter.channel.as_ref().map(s))
            .with_some("tg", filter.tag.as_ref().map(s))
            .with_some("s", filter.status.map(|status| n(status as u8)))
            .with_some("cc", filter.code_class.map(n))
            .with_some("as", filter.apps.as_deref().map(apps_to_bytes))
            .with("n", n(self.step))
            .with("sh", n(at.place))
            .with_some("af", at.after.map(s))
            .with("c", n(at.done))
            .with_some("ap", at.app.map(s))
            .with_some("ln", at.length.map(n))
            .with("f", AttributeValue::Bool(self.finished))
            .with_some("er", self.failure.as_ref().map(s))
            .with("up", n(self.updated_at.ms()))
            .with("ttl", n(self.id.time().seconds() + LOG_RETENTION_DAYS * 86_400))
    }
}

impl FromItemOf<OrgId> for Task {
    fn from_item(org: OrgId, item: &Item) -> Result<Self> {
        item.check_schema()?;
        const WHAT: &str = "a task";
        let kind = TaskKind::from_stored(item.text("k")?);
        let kind = kind.ok_or_else(|| corrupt(WHAT)("its kind is unknown"))?;
        Ok(Self {
            org,
            id: item.text("sk")?.strip_prefix("TASK#").unwrap_or_default().parse().map_err(corrupt(WHAT))?,
            kind,
            app: item.text_opt("a").map(str::parse).transpose().map_err(corrupt(WHAT))?,
            endpoint: item.text_opt("e").map(str::parse).transpose().map_err(corrupt(WHAT))?,
            since: item.time("si")?,
            until: item.time("un")?,
            filter: TaskFilter {
                event_types: item.texts("et"),
                channel: item.text_opt("ch").map(str::to_owned),
                tag: item.text_opt("tg").map(str::to_owned),
                status: item.number_opt("s").and_then(Status::from_number),
                code_class: item.number_opt("cc"),
                apps: item.bytes("as").map(apps_of_bytes),
            },
            step: item.number("n")?,
            progress: progress_of(kind, item)?,
            finished: item.get("f").and_then(|flag| flag.as_bool().ok()).copied().unwrap_or(false),
            failure: item.text_opt("er").map(str::to_owned),
            updated_at: item.time("up")?,
        })
    }
}

impl Store {
    /// Begins a task: its first step is a timer that is due, written with it. Whoever sends the step
    /// at once saves the minute until timers are looked at; the copy finds that it is one.
    ///
    /// # Errors
    /// The store's own.
    pub async fn create_task(&self, by: &Caller, task: &Task) -> Result<()> {
        let subject = task.endpoint.map_or_else(|| task.group(), |endpoint| endpoint.to_string());
        let mut tx = Transaction::new("begin a task");
        self.begin_task(&mut tx, task)?;
        if let Some(what) = task.kind.what() {
            let change = Change { app: task.app, ..Change::new(by, what, subject) };
            tx.add(Guard::Fresh, self.audit(change.to(task)))?;
        }
        match self.transact(tx).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(_) => Err(Error::Conflict("A task with this id exists already.".into())),
        }
    }

    /// Begins a task as part of the transaction that it follows from.
    fn begin_task(&self, tx: &mut Transaction, task: &Task) -> Result<()> {
        let step = Job::Task(task.next_step());
        tx.add(Guard::Absent, create(self.table(Table::Log), task.to_item()))?;
        tx.add(Guard::Fresh, self.outbox(task.id, task.id.time(), &task.group(), &step)?)
    }

    /// Begins the erasure of an application in the transaction that deletes it.
    pub(super) fn begin_erasure(&self, tx: &mut Transaction, org: OrgId, app: AppId) -> Result<()> {
        let now = self.clock.now();
        let task = Task {
            org,
            id: self.new_id(now),
            kind: TaskKind::Erase,
            app: Some(app),
            endpoint: None,
            since: Timestamp::default(),
            until: now,
            filter: TaskFilter::default(),
            step: 0,
            progress: Progress::Erase(Erasure::default()),
            finished: false,
            failure: None,
            updated_at: now,
        };
        self.begin_task(tx, &task)
    }

    /// Reads a task strongly.
    ///
    /// # Errors
    /// The store's own.
    pub async fn find_task(&self, org: OrgId, id: TaskId) -> Result<Option<Task>> {
        let item = self.get(Table::Log, keys::task(org, id), true, "read a task").await?;
        let item = item.filter(|item| item.number_opt::<u64>("ttl") > Some(self.clock.now().seconds()));
        item.map(|item| Task::from_item(org, &item)).transpose()
    }

    /// Says how far a task is after its step `task.step`; `false` where that is known already. That a task has
    /// ended is told, once: in the transaction that says so here.
    ///
    /// # Errors
    /// The store's own.
    pub async fn advance_task(&self, task: &Task) -> Result<bool> {
        let mut update = "SET n = :n, sh = :sh, c = :c, f = :f, up = :up".to_owned();
        let at = fields_of(&task.progress);
        let mut values = vec![
            (":n", n(task.step)),
            (":sh", n(at.place)),
            (":c", n(at.done)),
            (":f", AttributeValue::Bool(task.finished)),
            (":up", n(self.clock.now().ms())),
        ];
        let more = [
            (", ap = :ap", ":ap", at.app.map(s)),
            (", ln = :ln", ":ln", at.length.map(n)),
            (", er = :er", ":er", task.failure.as_ref().map(s)),
            (", af = :af", ":af", at.after.map(s)),
        ];
        let is_at_start = more[3].2.is_none();
        for (set, name, value) in more {
            if let Some(value) = value {
                update.push_str(set);
                values.push((name, value));
            }
        }
        if is_at_start {
            update.push_str(" REMOVE af");
        }
        let condition = "attribute_exists(pk) AND n < :n";
        if !task.finished || !self.is_told(task.org, false).await? {
            let key = keys::task(task.org, task.id);
            return self.update_log(key, &update, condition, values, "note a task's step").await;
        }
        let message = self.new_id(self.clock.now());
        let events = [operational::task_event(task, message)?];
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value));
        let update = Update::builder()
            .table_name(self.table(Table::Log))
            .set_key(Some(keys::task(task.org, task.id)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values.collect()));
        let mut tx = Transaction::new("note a task's end");
        tx.add(Guard::Unchanged, update)?;
        self.write_operational_events(&mut tx, &events)?;
        let done = self.transact(tx).await? == Transacted::Done;
        if done {
            self.enqueue_operational_events(&events).await;
        }
        Ok(done)
    }

    /// Lists an organisation's tasks by id, which is by age. `keep` decides which are shown.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_tasks(
        &self,
        org: OrgId,
        query: &ListQuery<TaskId>,
        keep: impl Fn(&Task) -> bool,
    ) -> Result<Page<Task>> {
        let now = self.clock.now().seconds();
        self.list_range(Table::Log, keys::tasks_pk(org), "TASK#", query, "list tasks", |item| {
            let expired = item.number_opt::<u64>("ttl").is_some_and(|ttl| ttl <= now);
            let task = Task::from_item(org, item)?;
            Ok((!expired && keep(&task)).then_some(task))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks outlive a deployment: an item keeps its form.
    #[test]
    fn progress_is_the_numbers_that_items_have_always_had() {
        let item = |fields: &Fields| {
            Item::default()
                .with("sh", n(fields.place))
                .with_some("af", fields.after.as_ref().map(s))
                .with("c", n(fields.done))
                .with_some("ap", fields.app.as_ref().map(s))
                .with_some("ln", fields.length.map(n))
        };
        let stages =
            [(0, Stage::Secrets), (1, Stage::Messages(0)), (8, Stage::Messages(7)), (9, Stage::Logs)];
        for (number, stage) in stages.into_iter().chain([(10, Stage::LogsAgain), (11, Stage::Endpoints)]) {
            let progress = Progress::Erase(Erasure { stage, after: None, erased: 5 });
            let fields = Fields { place: number, done: 5, ..Fields::default() };
            assert_eq!(fields_of(&progress), fields);
            assert_eq!(progress_of(TaskKind::Erase, &item(&fields)).unwrap(), progress);
        }
        assert!(progress_of(TaskKind::Erase, &item(&Fields { place: 12, ..Fields::default() })).is_err());

        let after = "msg_23rb8YdGqMT0qIzpgGwdXfHirMu";
        let message = Some(after.parse().unwrap());
        let fields = Fields { place: 3, after: Some(after.to_owned()), done: 7, ..Fields::default() };
        for (kind, progress) in [
            (TaskKind::Recover, Progress::Replay(Replay { shard: 3, after: message, sent: 7 })),
            (TaskKind::ExpungeAll, Progress::Expunge(Expunging { shard: 3, after: message, expunged: 7 })),
        ] {
            assert_eq!(fields_of(&progress), fields);
            assert_eq!(progress_of(kind, &item(&fields)).unwrap(), progress);
        }
        assert!(progress_of(TaskKind::Erase, &item(&fields)).is_err());

        let app = "app_23rb8YdGqMT0qIzpgGwdXfHirMu";
        let fields = Fields { app: Some(app.to_owned()), length: Some(9), ..fields };
        let done = app.parse().unwrap();
        let progress =
            Progress::Count(Counting { done: Some(done), shard: 3, after: message, count: 7, length: 9 });
        assert_eq!(fields_of(&progress), fields);
        assert_eq!(progress_of(TaskKind::AppStats, &item(&fields)).unwrap(), progress);
        assert_eq!(apps_of_bytes(apps_to_bytes(&[done]).as_b().unwrap().as_ref()), [done]);
    }
}
