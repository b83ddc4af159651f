//! How an endpoint's deliveries stand, counted by the time of their messages.
//!
//! Nothing is counted while delivering. A minute is counted once, when somebody asks and two minutes after
//! it is over, and kept with its hour; how far that was done is kept, too. A delivery's state that is
//! written later than that (a retry, an attempt by hand, a backlog) marks its minute first, and a minute
//! that was marked after it was counted is counted again. So each request counts what is new, and no request counts
//! more than `STATES_MAX`.

mod kept;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;

use self::kept::Kept;
use super::attempts::{Status, brief_outcome};
use super::item::{Item, SCHEMA, n};
use super::keys::SHARDS;
use super::{Store, Table, keys};
use domain::error::{Error, Result, unavailable};
use domain::ids::{EndpointId, Id as _, Ksuid, MessageId};
use runtime::clock::Timestamp;

/// A minute, of which each is counted by itself, in milliseconds.
pub const MINUTE_MS: u64 = 60_000;
const HOUR: u64 = 60;
/// A state that is written later than this after its message marks its minute.
const LATE: Duration = Duration::from_secs(30);
/// How long after a minute all states are there that no mark tells of: what is not late is written by an
/// invocation that began within [`LATE`] and ends within a minute.
const SETTLED: Duration = Duration::from_secs(120);
/// How long a mark says that states change: longer than any invocation that set it runs.
const MARKED: Duration = Duration::from_secs(120);
/// An instance that has marked a minute so recently need not do so again.
const MARKED_ENOUGH: Duration = Duration::from_secs(50);
/// How far the clocks of two instances may lie apart.
const SKEW: Duration = Duration::from_secs(5);
/// States of one page: small enough that others get their turn between two.
const PAGE: i32 = 1_000;
/// States that one request counts.
const STATES_MAX: usize = 50_000;
/// Minutes between two that are counted again are counted with them where they have so few states.
const BETWEEN_MAX: u64 = 500;
/// A minute that still changes and has so many is not counted anew …
const LARGE: u64 = 5_000;
/// … for so long.
const FRESH: Duration = Duration::from_secs(10);
/// Hours that one request brings into their short form.
const SHORTENED_MAX: usize = 24;
/// Writes at a time.
const AT_ONCE: usize = 16;

/// Minutes that were marked of late, by endpoint.
pub(super) const MARKS_KEPT: usize = 10_000;

/// Numbers of deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Delivered.
    pub success: u64,
    /// Waiting for another attempt.
    pub pending: u64,
    /// Failed for good.
    pub fail: u64,
    /// On their way.
    pub sending: u64,
}

impl Counts {
    fn add(&mut self, status: Status) {
        *match status {
            Status::Success => &mut self.success,
            Status::Pending => &mut self.pending,
            Status::Fail => &mut self.fail,
            Status::Sending => &mut self.sending,
        } += 1;
    }

    /// Adds others to these.
    pub fn merge(&mut self, other: Self) {
        self.success += other.success;
        self.pending += other.pending;
        self.fail += other.fail;
        self.sending += other.sending;
    }

    const fn total(&self) -> u64 {
        self.success + self.pending + self.fail + self.sending
    }
}

/// What one request may still do.
#[derive(Debug)]
pub struct Work {
    states: AtomicUsize,
    deadline: Timestamp,
}

impl Work {
    /// What is left until `deadline`.
    pub const fn until(deadline: Timestamp) -> Self {
        Self { states: AtomicUsize::new(STATES_MAX), deadline }
    }

    fn goes_on(&self, now: Timestamp) -> bool {
        now < self.deadline && self.states.load(Ordering::Relaxed) > 0
    }

    fn spend(&self, states: usize) {
        let spend = |left: usize| Some(left.saturating_sub(states));
        let _ = self.states.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
    }
}

/// States by minute, and which minutes are complete.
#[derive(Debug, Default)]
struct Swept {
    minutes: BTreeMap<u64, Counts>,
    /// Minutes from the first inclusive to the second exclusive.
    complete: (u64, u64),
    at: Timestamp,
}

const UNFINISHED: Error = Error::Unfinished(
    "There is more to count than one request may. What was counted is kept: retry the request.",
);

const fn minute_of(at: Timestamp) -> u64 {
    at.ms() / MINUTE_MS
}

const fn start_of(minute: u64) -> Timestamp {
    Timestamp::from_ms(minute * MINUTE_MS)
}

/// The first minute that begins at that time or later.
const fn minute_from(at: Timestamp) -> u64 {
    at.ms().div_ceil(MINUTE_MS)
}

impl Store {
    /// Counts the deliveries of an endpoint, of messages from `since` inclusive to `until` exclusive.
    ///
    /// # Errors
    /// `Unfinished` where that was more work than is left: what was counted is kept, and the next request
    /// goes on from there.
    pub async fn endpoint_stats(
        &self,
        endpoint: EndpointId,
        since: Timestamp,
        until: Timestamp,
        work: &Work,
    ) -> Result<Counts> {
        let since = since.max(self.retention.attempts_since(self.clock.now()));
        // Nothing is made in the future, so the minute that is under way is a whole one.
        let now = self.clock.now();
        let until = if until >= now { start_of(minute_from(now.after(SKEW))) } else { until };
        let (first, last) = (minute_from(since), minute_of(until));
        if first >= last {
            return self.between(endpoint, since, until, work).await;
        }
        let mut all = self.between(endpoint, since, start_of(first), work).await?;
        all.merge(self.between(endpoint, start_of(last), until, work).await?);
        for (_, counts) in self.endpoint_hours(endpoint, (start_of(first), start_of(last)), work).await? {
            all.merge(counts);
        }
        Ok(all)
    }

    /// The same by the hour of the messages, numbered from 1970; of whole minutes, and without hours that
    /// have none.
    ///
    /// # Errors
    /// As [`Store::endpoint_stats`].
    pub async fn endpoint_hours(
        &self,
        endpoint: EndpointId,
        (since, until): (Timestamp, Timestamp),
        work: &Work,
    ) -> Result<BTreeMap<u64, Counts>> {
        let now = self.clock.now();
        let retained = self.retention.attempts_since(now);
        let window = (minute_of(since).max(minute_from(retained)), minute_from(until.min(now.after(SKEW))));
        if window.0 >= window.1 {
            return Ok(BTreeMap::new());
        }
        let mut kept = self.kept_counts(endpoint, window).await?;
        self.extend_reach(endpoint, &mut kept, window, work).await?;
        self.count_again(endpoint, &mut kept, window, work).await?;
        self.shorten(endpoint, &mut kept, now).await?;
        Ok(kept.by_hour(window))
    }

    /// Says that the delivery of a message that is not young is about to change: what was counted of its
    /// minute until then holds no longer. To be called before the change is written.
    ///
    /// # Errors
    /// The store's own.
    pub async fn mark_counts(&self, endpoint: EndpointId, message: MessageId) -> Result<()> {
        let now = self.clock.now();
        if now.since(message.time()) <= LATE {
            return Ok(());
        }
        let minute = minute_of(message.time());
        if self.marked.get(&(endpoint, minute), now).is_some_and(|at| now.since(at) < MARKED_ENOUGH) {
            return Ok(());
        }
        let name = kept::mark_name(minute);
        let update = format!("SET v = :v, {name} = :until, #ttl = :ttl");
        let condition = format!("attribute_not_exists({name}) OR {name} < :until");
        let values = vec![
            (":v", n(SCHEMA)),
            (":until", n(now.after(MARKED).ms())),
            (":ttl", n(kept::ttl(minute / HOUR))),
        ];
        let key = keys::stats(endpoint, minute / HOUR);
        self.update_log(key, &update, &condition, values, "mark counts").await?;
        self.marked.put((endpoint, minute), now, now);
        Ok(())
    }

    /// Counts between two moments of one minute, and keeps nothing.
    async fn between(
        &self,
        endpoint: EndpointId,
        from: Timestamp,
        to: Timestamp,
        work: &Work,
    ) -> Result<Counts> {
        let mut all = Counts::default();
        if from < to {
            let minutes = (minute_of(from), minute_from(to));
            let swept = self.sweep(endpoint, (from, to), true, work).await?;
            if swept.complete.1 < minutes.1 {
                return Err(UNFINISHED);
            }
            swept.minutes.into_values().for_each(|counts| all.merge(counts));
        }
        Ok(all)
    }

    /// Counts each minute of the window that was never counted and is over for long enough, so that what
    /// is counted stays without a gap: first what came since, then what lies before.
    async fn extend_reach(
        &self,
        endpoint: EndpointId,
        kept: &mut Kept,
        window: (u64, u64),
        work: &Work,
    ) -> Result<()> {
        let now = self.clock.now();
        let settled = minute_of(now.before(SETTLED));
        // Before it was made nothing was sent to it; what is older and was sent later is marked.
        let made = minute_of(endpoint.ksuid().time().before(SETTLED));
        let first = window.0.max(made);
        let (low, high) = kept.reach.unwrap_or((first.min(settled), first.min(settled)));
        kept.reach = Some((low, high));
        let mut complete = true;
        if high < settled.min(window.1) {
            let swept = self.sweep(endpoint, (start_of(high), start_of(settled)), true, work).await?;
            complete = swept.complete.1 >= settled;
            self.keep_reach(endpoint, kept, &swept).await?;
        }
        if complete && first < low {
            let swept = self.sweep(endpoint, (start_of(first), start_of(low)), false, work).await?;
            complete = swept.complete.0 <= first;
            self.keep_reach(endpoint, kept, &swept).await?;
        }
        if complete { Ok(()) } else { Err(UNFINISHED) }
    }

    async fn keep_reach(&self, endpoint: EndpointId, kept: &mut Kept, swept: &Swept) -> Result<()> {
        let (from, to) = swept.complete;
        if from >= to {
            return Ok(());
        }
        self.keep_minutes(endpoint, kept, swept).await?;
        let (low, high) = kept.reach.unwrap_or(swept.complete);
        let reach = (low.min(from), high.max(to));
        kept.reach = Some(reach);
        // Of two that count at once each keeps a reach without a gap, and what one does not know of is
        // counted once more.
        let values = vec![
            (":v", n(SCHEMA)),
            (":b", n(reach.0)),
            (":f", n(reach.1)),
            (":ttl", n(kept::ttl(reach.1 / HOUR))),
        ];
        let condition = "attribute_not_exists(f) OR f < :f OR b > :b";
        let update = "SET v = :v, b = :b, f = :f, #ttl = :ttl";
        self.update_log(keys::stats_reach(endpoint), update, condition, values, "keep how far was counted")
            .await?;
        Ok(())
    }

    /// Counts what was marked since it was counted, and the minutes at the end that are not over for long
    /// enough.
    async fn count_again(
        &self,
        endpoint: EndpointId,
        kept: &mut Kept,
        window: (u64, u64),
        work: &Work,
    ) -> Result<()> {
        let now = self.clock.now();
        for (from, to) in kept.stale(window, now) {
            let swept = self.sweep(endpoint, (start_of(from), start_of(to)), true, work).await?;
            self.keep_minutes(endpoint, kept, &swept).await?;
            if swept.complete.1 < to {
                return Err(UNFINISHED);
            }
        }
        Ok(())
    }

    /// Takes over what was swept, and writes down what will not change without a mark.
    async fn keep_minutes(&self, endpoint: EndpointId, kept: &mut Kept, swept: &Swept) -> Result<()> {
        let mut writes = Vec::new();
        let (from, to) = swept.complete;
        let mut at = from;
        while at < to {
            let hour = at / HOUR;
            let end = to.min((hour + 1) * HOUR);
            let found = swept.minutes.range(at..end).map(|(minute, counts)| (*minute, *counts)).collect();
            if let Some(update) = kept.take(hour, (at, end), &found, swept.at) {
                writes.push((hour, update));
            }
            at = end;
        }
        for some in writes.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|(hour, update)| self.write_hour(endpoint, *hour, update))).await?;
        }
        Ok(())
    }

    async fn write_hour(&self, endpoint: EndpointId, hour: u64, update: &kept::Update) -> Result<()> {
        let mut values = vec![(":v".to_owned(), n(SCHEMA)), (":ttl".to_owned(), n(kept::ttl(hour)))];
        let mut text = "SET v = :v, #ttl = :ttl".to_owned();
        for (nth, (name, value)) in update.set.iter().enumerate() {
            text.push_str(&format!(", {name} = :a{nth}"));
            values.push((format!(":a{nth}"), AttributeValue::S(value.clone())));
        }
        if !update.remove.is_empty() {
            text.push_str(&format!(" REMOVE {}", update.remove.join(", ")));
        }
        // No condition but the shape's: each count says when it was made, which a mark is compared with.
        let sent = Box::pin(
            self.client
                .update_item()
                .table_name(self.table(Table::Log))
                .set_key(Some(keys::stats(endpoint, hour)))
                .update_expression(text)
                .condition_expression("attribute_not_exists(v) OR v <= :v")
                .expression_attribute_names("#ttl", "ttl")
                .set_expression_attribute_values(Some(values.into_iter().collect()))
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send(),
        )
        .await;
        sent.map(drop).map_err(unavailable("keep counts"))
    }

    /// Puts the sum in place of the minutes of hours that have been over for long.
    async fn shorten(&self, endpoint: EndpointId, kept: &mut Kept, now: Timestamp) -> Result<()> {
        let updates: Vec<_> = kept.shortened(now).into_iter().take(SHORTENED_MAX).collect();
        for some in updates.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|(hour, update)| self.write_hour(endpoint, *hour, update))).await?;
        }
        Ok(())
    }

    async fn kept_counts(&self, endpoint: EndpointId, (from, to): (u64, u64)) -> Result<Kept> {
        let reach = self.get(Table::Log, keys::stats_reach(endpoint), false, "read how far was counted");
        let hours = async {
            let (mut items, mut start) = (Vec::new(), None);
            loop {
                let range = crate::Range {
                    pk: keys::stats_pk(endpoint),
                    from: keys::stats_sk(from / HOUR),
                    to: keys::stats_sk(to.div_ceil(HOUR)),
                    ascending: true,
                    limit: 1_000,
                    strong: false,
                    start,
                    operation: "read counts",
                };
                let page = self.query(Table::Log, range).await?;
                items.extend(page.items);
                start = page.last;
                if start.is_none() {
                    return Ok::<_, Error>(items);
                }
            }
        };
        let (reach, hours) = futures_util::future::try_join(reach, hours).await?;
        Kept::read(reach.as_ref(), &hours)
    }

    /// Counts the states of all shards from the oldest, or from the newest, while there is work left.
    async fn sweep(
        &self,
        endpoint: EndpointId,
        (from, to): (Timestamp, Timestamp),
        ascending: bool,
        work: &Work,
    ) -> Result<Swept> {
        let at = self.clock.now();
        let shards = (0..SHARDS).map(|shard| self.sweep_shard(endpoint, shard, (from, to), ascending, work));
        let mut all = Swept { complete: (minute_of(from), minute_from(to)), at, ..Swept::default() };
        for swept in try_join_all(shards).await? {
            all.complete = (all.complete.0.max(swept.complete.0), all.complete.1.min(swept.complete.1));
            for (minute, counts) in swept.minutes {
                all.minutes.entry(minute).or_default().merge(counts);
            }
        }
        Ok(all)
    }

    async fn sweep_shard(
        &self,
        endpoint: EndpointId,
        shard: u8,
        (from, to): (Timestamp, Timestamp),
        ascending: bool,
        work: &Work,
    ) -> Result<Swept> {
        let bound = |at: Timestamp| {
            AttributeValue::S(format!("MSG#{}", MessageId::from_ksuid(Ksuid::new(at, [0; 15]))))
        };
        let whole = (minute_of(from), minute_from(to));
        let mut swept = Swept { complete: whole, ..Swept::default() };
        let mut reached = if ascending { from } else { to };
        let mut start: Option<Item> = None;
        loop {
            if !work.goes_on(self.clock.now()) {
                swept.complete = if ascending {
                    (whole.0, minute_of(reached))
                } else {
                    (minute_from(reached.after(Duration::from_millis(1))), whole.1)
                };
                return Ok(swept);
            }
            let page = Box::pin(
                self.client
                    .query()
                    .table_name(self.table(Table::Log))
                    .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                    .expression_attribute_values(":pk", AttributeValue::S(keys::log_pk(endpoint, shard)))
                    .expression_attribute_values(":from", bound(from))
                    .expression_attribute_values(":to", bound(to))
                    .projection_expression("sk, s, ms")
                    .scan_index_forward(ascending)
                    .limit(PAGE)
                    .set_exclusive_start_key(start)
                    .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                    .send(),
            )
            .await
            .map_err(unavailable("count deliveries"))?;
            let items = page.items.unwrap_or_default();
            work.spend(items.len());
            for item in &items {
                let (message, status) = brief_outcome(item)?;
                reached = message.time();
                if reached >= from && reached < to {
                    swept.minutes.entry(minute_of(reached)).or_default().add(status);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(swept);
            }
        }
    }
}
