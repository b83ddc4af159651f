//! Lists over what is spread across shards: the shards' pages are merged by sort key.

use std::cmp::Reverse;
use std::collections::VecDeque;

use futures_util::future::try_join_all;

use super::item::{Get as _, Item};
use super::keys::SHARDS;
use super::{Range, Store, Table};
use domain::error::{Error, Result};
use domain::ids::{Id, Ksuid};
use domain::page::{Cursor, EXAMINED_MAX, Filling, Page};

pub use domain::page::LogQuery;

impl Store {
    /// One shard's entries within the query's window and behind its cursor, up to its limit: what
    /// goes through everything step by step reads it like this.
    pub(super) async fn read_shard<K: Id>(
        &self,
        pk: String,
        prefix: &str,
        query: &LogQuery<K>,
        operation: &'static str,
    ) -> Result<Vec<Item>> {
        let bound = |ksuid: &Ksuid| format!("{prefix}{}", K::from_ksuid(*ksuid));
        let (mut from, to) = (bound(&query.window.0), bound(&query.window.1));
        let mut skip = None;
        if let Cursor::Behind(key) = &query.list.cursor {
            from = from.max(format!("{prefix}{key}"));
            skip = Some(format!("{prefix}{key}"));
        }
        let (mut items, mut start) = (Vec::new(), None);
        while from <= to && items.len() < query.list.limit {
            let range = Range {
                pk: pk.clone(),
                from: from.clone(),
                to: to.clone(),
                ascending: true,
                limit: query.list.limit + 1,
                strong: true,
                start,
                operation,
            };
            let page = self.query(Table::Log, range).await?;
            items.extend(page.items.into_iter().filter(|item| item.text_opt("sk") != skip.as_deref()));
            start = page.last;
            if start.is_none() {
                break;
            }
        }
        items.truncate(query.list.limit);
        Ok(items)
    }
}

/// Entries that a list merges: a range of sort keys in each shard.
pub(super) struct Source<'a> {
    /// What the sort keys begin with.
    pub prefix: &'static str,
    /// The sort keys between which they are, without the prefix and inclusive.
    pub bounds: (String, String),
    /// By what an entry is ordered, which is in the order of the sort keys.
    pub id_of: &'a (dyn Fn(&Item) -> Result<String> + Sync),
}

impl Source<'static> {
    /// Entries whose sort keys are the prefix and an id, within the query's window and from its cursor on.
    pub(super) fn of_ids<K: Id>(prefix: &'static str, query: &LogQuery<K>) -> Self {
        let bound = |ksuid: &Ksuid| K::from_ksuid(*ksuid).to_string();
        let (mut from, mut to) = (bound(&query.window.0), bound(&query.window.1));
        if let Cursor::Behind(key) | Cursor::Before(key) = &query.list.cursor {
            if query.list.reads_ascending() {
                from = from.max(key.to_string());
            } else {
                to = to.min(key.to_string());
            }
        }
        let id_of = &|item: &Item| {
            let sk = item.text("sk")?;
            Ok(sk.split_once('#').map_or(sk, |(_, id)| id).to_owned())
        };
        Self { prefix, bounds: (from, to), id_of }
    }
}

struct Shard<'a> {
    pk: String,
    /// Which source it is a part of, as a number and itself.
    nth: usize,
    source: &'a Source<'a>,
    buffer: VecDeque<(String, Item)>,
    start: Option<Item>,
    exhausted: bool,
    /// How often it was read.
    reads: u32,
}

impl<'a> Shard<'a> {
    fn new(pk: String, (nth, source): (usize, &'a Source<'a>)) -> Self {
        // DynamoDB refuses bounds that contradict each other.
        let exhausted = source.bounds.0 > source.bounds.1;
        Self { pk, nth, source, buffer: VecDeque::new(), start: None, exhausted, reads: 0 }
    }

    /// How much of it to read next: its share, and a little more because chance spreads unevenly. A
    /// shard that is read again and again has more than its share, and is not read by crumbs.
    fn share(&self, ahead: usize) -> usize {
        let share = ahead.div_ceil(usize::from(SHARDS)) + 2;
        (share << self.reads.saturating_sub(1).min(4)).min(EXAMINED_MAX)
    }

    fn head(&self) -> &str {
        self.buffer.front().map_or("", |(id, _)| id)
    }
}

impl Store {
    /// Lists the `{prefix}{id}` entries of all shards whose partitions `pk` names. `keep` decides
    /// what is shown and how.
    pub(super) async fn list_shards<K: Id, T>(
        &self,
        pk: impl Fn(u8) -> String,
        prefix: &'static str,
        query: &LogQuery<K>,
        operation: &'static str,
        keep: impl FnMut(&Item) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        self.merge_shards(pk, &[Source::of_ids(prefix, query)], query, operation, keep).await
    }

    /// Merges the entries of all sources in all shards. Of entries with the same id the one of the earlier
    /// source is shown, if `keep` shows it.
    pub(super) async fn merge_shards<K: Id, T>(
        &self,
        pk: impl Fn(u8) -> String,
        sources: &[Source<'_>],
        query: &LogQuery<K>,
        operation: &'static str,
        mut keep: impl FnMut(&Item) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        let list = &query.list;
        let ascending = list.reads_ascending();
        let cursor = match &list.cursor {
            Cursor::Start => None,
            Cursor::Behind(key) | Cursor::Before(key) => Some(key.to_string()),
        };
        let all = (0..SHARDS).flat_map(|shard| sources.iter().enumerate().map(move |source| (shard, source)));
        let mut shards: Vec<Shard<'_>> = all.map(|(shard, source)| Shard::new(pk(shard), source)).collect();
        let now = self.clock.now().seconds();
        let (mut filling, mut entries) = (Filling::new(list), Vec::new());
        let (mut last, mut last_shown) = (None, None);
        while filling.goes_on() {
            let dry = shards.iter_mut().filter(|shard| shard.buffer.is_empty() && !shard.exhausted);
            try_join_all(dry.map(async |shard| {
                let Source { prefix, bounds: (from, to), id_of } = shard.source;
                let range = Range {
                    pk: shard.pk.clone(),
                    from: format!("{prefix}{from}"),
                    to: format!("{prefix}{to}"),
                    ascending,
                    limit: shard.share(filling.ahead()),
                    strong: false,
                    start: shard.start.take(),
                    operation,
                };
                let page = self.query(Table::Log, range).await?;
                shard.reads += 1;
                for item in page.items {
                    shard.buffer.push_back((id_of(&item)?, item));
                }
                shard.exhausted = page.last.is_none();
                shard.start = page.last;
                Ok::<_, Error>(())
            }))
            .await?;
            if shards.iter().any(|shard| shard.buffer.is_empty() && !shard.exhausted) {
                continue; // a page may be empty although there is more
            }
            let heads = shards.iter_mut().filter(|shard| !shard.buffer.is_empty());
            let next = if ascending {
                heads.min_by(|a, b| (a.head(), a.nth).cmp(&(b.head(), b.nth)))
            } else {
                heads.max_by(|a, b| (a.head(), Reverse(a.nth)).cmp(&(b.head(), Reverse(b.nth))))
            };
            let Some((id, item)) = next.and_then(|shard| shard.buffer.pop_front()) else { break };
            let behind = cursor.as_ref().is_none_or(|at| if ascending { id > *at } else { id < *at });
            if !behind || last_shown.as_ref() == Some(&id) {
                continue;
            }
            last = Some(id.clone());
            // TTL removes items some time after they have expired; for readers they are gone at once.
            let shown = if item.number::<u64>("ttl")? > now { keep(&item)? } else { None };
            filling.examined(shown.is_some());
            if shown.is_some() {
                last_shown = Some(id);
            }
            entries.extend(shown);
        }
        let ended = shards.iter().all(|shard| shard.buffer.is_empty() && shard.exhausted);
        Ok(Page::of(list, entries, ended, last))
    }
}
