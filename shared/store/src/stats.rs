//! How an endpoint's deliveries stand, counted by the time of their messages.
//!
//! Nothing is counted while delivering. Hours that no retry changes any more are counted once, when
//! somebody asks, and kept with their day; younger ones are counted each time. An hour with a delivery
//! that is still under way is not kept, however old it is.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;

use super::attempts::{State, Status};
use super::item::{FromItemOf as _, Get as _, Item, Put as _, SCHEMA, n};
use super::keys::SHARDS;
use super::messages::LOG_RETENTION_DAYS;
use super::{Range, Store, Table, keys};
use domain::error::{Error, Result};
use domain::ids::{EndpointId, Id as _, Ksuid, MessageId};
use runtime::clock::Timestamp;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// States of one page; a megabyte, which DynamoDB reads at most, has fewer.
const PAGE: usize = 10_000;
/// How far the clocks of two instances may lie apart.
const SKEW: Duration = Duration::from_secs(5);

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

    fn merge(&mut self, other: Self) {
        self.success += other.success;
        self.pending += other.pending;
        self.fail += other.fail;
        self.sending += other.sending;
    }

    const fn is_settled(&self) -> bool {
        self.pending == 0 && self.sending == 0
    }
}

/// What is asked for, and what the answer may take.
#[derive(Clone, Copy, Debug)]
pub struct StatsQuery {
    /// The first moment, inclusive.
    pub since: Timestamp,
    /// The last moment, exclusive.
    pub until: Timestamp,
    /// Messages before that are no longer tried.
    pub settled: Timestamp,
    /// When to give up for this time.
    pub deadline: Timestamp,
}

/// Counts by the hour, and how far they are complete.
#[derive(Debug, Default)]
struct Swept {
    hours: BTreeMap<u64, Counts>,
    until: Timestamp,
}

impl Swept {
    fn hour(&self, hour: u64) -> Counts {
        self.hours.get(&hour).copied().unwrap_or_default()
    }
}

impl Store {
    /// Counts the deliveries of an endpoint.
    ///
    /// # Errors
    /// `Unfinished` where the deadline came first: what was counted is kept, and the next request goes
    /// on from there.
    pub async fn endpoint_stats(&self, endpoint: EndpointId, query: &StatsQuery) -> Result<Counts> {
        let (since, until) = (query.since, query.until);
        let retained = self.clock.now().before(Duration::from_millis(DAY_MS) * LOG_RETENTION_DAYS as u32);
        // Whole days that are settled and that nothing has left yet.
        let first = since.max(retained).ms().div_ceil(DAY_MS);
        let days = first..(query.settled.min(until).ms() / DAY_MS).max(first);
        if days.is_empty() {
            return self.counted(endpoint, since, until, query).await;
        }
        let mut all = self.counted(endpoint, since, Timestamp::from_ms(days.start * DAY_MS), query).await?;
        let mut known = self.kept_days(endpoint, days.clone()).await?;
        for day in days.clone() {
            for counts in self.day(endpoint, day, known.remove(&day).unwrap_or_default(), query).await? {
                all.merge(counts);
            }
        }
        all.merge(self.counted(endpoint, Timestamp::from_ms(days.end * DAY_MS), until, query).await?);
        Ok(all)
    }

    /// Says that a delivery of an old message was changed by hand: its day is counted again. To be
    /// called after the change was written.
    ///
    /// # Errors
    /// The store's own.
    pub async fn forget_stats_hour(&self, endpoint: EndpointId, message: MessageId) -> Result<()> {
        let (now, day) = (self.clock.now(), message.time().ms() / DAY_MS);
        // What is left behind stops a count that began before, and so may not have seen the change.
        let update = "SET v = :v, f = :now, k = :none, #ttl = :ttl REMOVE h";
        let values = vec![(":v", n(SCHEMA)), (":now", n(now.ms())), (":none", n(0)), (":ttl", n(ttl(day)))];
        let condition = "attribute_not_exists(f) OR f < :now";
        self.update_log(keys::stats(endpoint, day), update, condition, values, "forget counts").await?;
        Ok(())
    }

    /// Counts without keeping anything.
    async fn counted(
        &self,
        endpoint: EndpointId,
        from: Timestamp,
        to: Timestamp,
        query: &StatsQuery,
    ) -> Result<Counts> {
        let mut all = Counts::default();
        if from < to {
            let swept = self.sweep(endpoint, from, to, false, query.deadline).await?;
            if swept.until < to {
                return Err(UNFINISHED);
            }
            swept.hours.into_values().for_each(|counts| all.merge(counts));
        }
        Ok(all)
    }

    /// The hours of each day that are kept, from its first.
    async fn kept_days(
        &self,
        endpoint: EndpointId,
        days: std::ops::Range<u64>,
    ) -> Result<BTreeMap<u64, Vec<Counts>>> {
        let wanted = days.map(|day| keys::stats(endpoint, day)).collect();
        let mut found = BTreeMap::new();
        for item in self.batch_get(Table::Log, wanted, true, "read counts").await? {
            item.check_schema()?;
            found.insert(item.text("sk")?.parse().unwrap_or_default(), hours_of(&item));
        }
        Ok(found)
    }

    /// The hours of a settled day: those that are kept, and the others counted now and kept.
    async fn day(
        &self,
        endpoint: EndpointId,
        day: u64,
        mut kept: Vec<Counts>,
        query: &StatsQuery,
    ) -> Result<Vec<Counts>> {
        if kept.len() == 24 {
            return Ok(kept);
        }
        let started = self.clock.now();
        let first = day * 24 + kept.len() as u64;
        let (from, to) = (Timestamp::from_ms(first * HOUR_MS), Timestamp::from_ms((day + 1) * DAY_MS));
        let swept = self.sweep(endpoint, from, to, true, query.deadline).await?;
        let complete = swept.until.ms() / HOUR_MS;
        let mut settled = kept.clone();
        settled.extend((first..complete).map(|hour| swept.hour(hour)).take_while(Counts::is_settled));
        if settled.len() > kept.len() {
            self.keep_day(endpoint, day, &settled, started).await?;
        }
        if swept.until < to {
            return Err(UNFINISHED);
        }
        kept.extend((first..complete).map(|hour| swept.hour(hour)));
        Ok(kept)
    }

    async fn keep_day(
        &self,
        endpoint: EndpointId,
        day: u64,
        hours: &[Counts],
        started: Timestamp,
    ) -> Result<()> {
        let pair = |counts: &Counts| AttributeValue::L(vec![n(counts.success), n(counts.fail)]);
        let item = keys::stats(endpoint, day)
            .with("v", n(SCHEMA))
            .with("k", n(hours.len()))
            .with("h", AttributeValue::L(hours.iter().map(pair).collect()))
            .with("ttl", n(ttl(day)));
        let condition = "(attribute_not_exists(f) OR f < :before) AND (attribute_not_exists(k) OR k < :k)";
        let values = [(":before", n(started.before(SKEW).ms())), (":k", n(hours.len()))];
        // Refused: somebody else has counted as far, or a delivery was changed meanwhile.
        self.put_log(item, condition, values, "keep counts").await.map(drop)
    }

    /// Counts the states of all shards, oldest first, until the deadline.
    async fn sweep(
        &self,
        endpoint: EndpointId,
        from: Timestamp,
        to: Timestamp,
        strong: bool,
        deadline: Timestamp,
    ) -> Result<Swept> {
        let shards = (0..SHARDS).map(|shard| self.sweep_shard(endpoint, shard, (from, to), strong, deadline));
        let mut all = Swept { until: to, ..Swept::default() };
        for swept in try_join_all(shards).await? {
            all.until = all.until.min(swept.until);
            for (hour, counts) in swept.hours {
                all.hours.entry(hour).or_default().merge(counts);
            }
        }
        Ok(all)
    }

    async fn sweep_shard(
        &self,
        endpoint: EndpointId,
        shard: u8,
        (from, to): (Timestamp, Timestamp),
        strong: bool,
        deadline: Timestamp,
    ) -> Result<Swept> {
        let bound = |at: Timestamp| format!("MSG#{}", MessageId::from_ksuid(Ksuid::new(at, [0; 15])));
        let mut swept = Swept { until: from, ..Swept::default() };
        let mut start = None;
        loop {
            if self.clock.now() >= deadline {
                return Ok(swept);
            }
            let range = Range {
                pk: keys::log_pk(endpoint, shard),
                from: bound(from),
                to: bound(to),
                ascending: true,
                limit: PAGE,
                strong,
                start,
                operation: "count deliveries",
            };
            let page = self.query(Table::Log, range).await?;
            for item in &page.items {
                let state = State::from_item(endpoint, item)?;
                let at = state.message.time();
                if at >= from && at < to {
                    swept.hours.entry(at.ms() / HOUR_MS).or_default().add(state.outcome());
                }
                swept.until = swept.until.max(at);
            }
            start = page.last;
            if start.is_none() {
                return Ok(Swept { until: to, ..swept });
            }
        }
    }
}

const UNFINISHED: Error = Error::Unfinished(
    "There is more to count than one request may take. What was counted is kept: send it again.",
);

fn hours_of(item: &Item) -> Vec<Counts> {
    let list = item.get("h").and_then(|list| list.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
    let read = list.iter().map_while(|pair| {
        let [success, fail] = pair.as_l().ok()?.as_slice() else { return None };
        let number = |value: &AttributeValue| value.as_n().ok()?.parse().ok();
        Some(Counts { success: number(success)?, fail: number(fail)?, ..Counts::default() })
    });
    read.take(24).collect()
}

/// A day's counts stay as long as what they count.
fn ttl(day: u64) -> u64 {
    (day + 1 + LOG_RETENTION_DAYS) * DAY_MS / 1000
}
