//! Timers: jobs that come due later than a queue can delay them.

use aws_sdk_dynamodb::types::builders::PutBuilder;

use super::item::{Get as _, Item, Put as _, SCHEMA, n, s};
use super::transaction::create;
use super::{Range, Store, Table, keys};
use domain::error::Result;
use domain::ids::Id;
use domain::job::{Job, Operational};
use runtime::clock::Timestamp;

/// How long a timer outlives its due time. Timers are moved within a minute; one that is still
/// there after this long is past its message's own life.
const KEPT_SECONDS: u64 = 100 * 24 * 3600;

/// A job and when it is due.
#[derive(Clone, Debug)]
pub struct Timer {
    /// When the job is due.
    pub due: Timestamp,
    /// The job's body as it goes into the queue.
    pub job: String,
    /// The queue's fair-queueing group.
    pub group: String,
    /// The item's key.
    key: Item,
}

/// What the sort key of a timer ends with that carries a job as part of a transaction.
const OUTBOX: &str = "outbox";

fn timer_item(key: Item, due: Timestamp, group: &str, job: &str) -> Item {
    key.with("v", n(SCHEMA))
        .with("job", s(job))
        .with("g", s(group))
        .with("due", n(due.ms()))
        .with("ttl", n(due.seconds() + KEPT_SECONDS))
}

impl Store {
    /// Keeps `job` for later, which does something with `subject`, mostly a message; `what` tells apart what can be due
    /// at the same time. Setting the same timer twice sets one.
    ///
    /// # Errors
    /// The store's own.
    pub async fn set_timer(
        &self,
        due: Timestamp,
        subject: impl Id,
        what: impl std::fmt::Display,
        group: &str,
        job: &str,
    ) -> Result<()> {
        let key = keys::timer(due, subject, what);
        self.put_if_absent(timer_item(key, due, group, job), "set a timer").await.map(|_| ())
    }

    /// Keeps a job that tells an operational event, due at once.
    ///
    /// # Errors
    /// The store's own.
    pub async fn enqueue_operational_event(&self, event: Operational) -> Result<()> {
        let (due, key) = (event.message.time(), keys::timer(event.message.time(), event.message, OUTBOX));
        let group = event.org.to_string();
        let item = timer_item(key, due, &group, &Job::from(event).body()?);
        self.put_if_absent(item, "keep an operational event").await.map(|_| ())
    }

    /// A job as part of the transaction that it follows from: whatever happens to its writer, the
    /// timers function finds it.
    pub(super) fn outbox(
        &self,
        subject: impl Id,
        due: Timestamp,
        group: &str,
        job: &Job,
    ) -> Result<PutBuilder> {
        let item = timer_item(keys::timer(due, subject, OUTBOX), due, group, &job.body()?);
        Ok(create(self.table(Table::Log), item))
    }

    /// Up to `limit` timers of one shard that are due until then, the earliest first.
    ///
    /// # Errors
    /// The store's own.
    pub async fn due_timers(&self, shard: u8, until: Timestamp, limit: usize) -> Result<Vec<Timer>> {
        let (from, to) = keys::timers_until(until);
        let range = Range {
            pk: keys::timers_pk(shard),
            from,
            to,
            ascending: true,
            limit,
            strong: true,
            start: None,
            operation: "read due timers",
        };
        let page = self.query(Table::Log, range).await?;
        // A timer that lacks something must not stand in the way of those behind it: what there is of
        // it goes into the queue, whose consumer makes a dead letter of what it cannot understand.
        Ok(page
            .items
            .into_iter()
            .map(|mut item| {
                let due = item.time_opt("due").unwrap_or_default();
                let job = item.text_opt("job").map_or_else(|| format!("{item:?}"), str::to_owned);
                let group = item.text_opt("g").unwrap_or("unknown").to_owned();
                item.retain(|name, _| name == "pk" || name == "sk");
                Timer { due, job, group, key: item }
            })
            .collect())
    }

    /// Removes timers whose jobs are in their queue.
    ///
    /// # Errors
    /// The store's own.
    pub async fn remove_timers(&self, timers: &[Timer]) -> Result<()> {
        let keys = timers.iter().map(|timer| timer.key.clone()).collect();
        self.batch_delete(Table::Log, keys, "remove timers").await
    }
}
