//! Lists over what is spread across shards: the shards' pages are merged by sort key.

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

struct Shard {
    pk: String,
    buffer: VecDeque<Item>,
    start: Option<Item>,
    exhausted: bool,
    /// How often it was read.
    reads: u32,
}

impl Shard {
    fn new(pk: String) -> Self {
        Self { pk, buffer: VecDeque::new(), start: None, exhausted: false, reads: 0 }
    }

    /// How much of it to read next: its share, and a little more because chance spreads unevenly. A
    /// shard that is read again and again has more than its share, and is not read by crumbs.
    fn share(&self, ahead: usize) -> usize {
        let share = ahead.div_ceil(usize::from(SHARDS)) + 2;
        (share << self.reads.saturating_sub(1).min(4)).min(EXAMINED_MAX)
    }
}

impl Store {
    /// Merges the `{prefix}{id}` entries of all shards whose partitions `pk` names. `keep` decides
    /// what is shown and how.
    pub(super) async fn list_shards<K: Id, T>(
        &self,
        pk: impl Fn(u8) -> String,
        prefix: &str,
        query: &LogQuery<K>,
        operation: &'static str,
        mut keep: impl FnMut(&Item) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        let LogQuery { list, window: (oldest, newest) } = query;
        let ascending = list.reads_ascending();
        let bound = |ksuid: &Ksuid| format!("{prefix}{}", K::from_ksuid(*ksuid));
        let (mut from, mut to) = (bound(oldest), bound(newest));
        let skip = match &list.cursor {
            Cursor::Start => None,
            Cursor::Behind(key) | Cursor::Before(key) => {
                let bound = format!("{prefix}{key}");
                if ascending {
                    from = from.max(bound.clone());
                } else {
                    to = to.min(bound.clone());
                }
                Some(bound)
            }
        };
        if from > to {
            return Ok(Page { entries: Vec::new(), done: true, resume: None });
        }
        let mut shards: Vec<Shard> = (0..SHARDS).map(|shard| Shard::new(pk(shard))).collect();
        let now = self.clock.now().seconds();
        let (mut filling, mut entries) = (Filling::new(list), Vec::new());
        let mut last = None;
        while filling.goes_on() {
            let dry = shards.iter_mut().filter(|shard| shard.buffer.is_empty() && !shard.exhausted);
            try_join_all(dry.map(async |shard| {
                let range = Range {
                    pk: shard.pk.clone(),
                    from: from.clone(),
                    to: to.clone(),
                    ascending,
                    limit: shard.share(filling.ahead()),
                    strong: false,
                    start: shard.start.take(),
                    operation,
                };
                let page = self.query(Table::Log, range).await?;
                shard.reads += 1;
                shard.buffer.extend(page.items);
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
                heads.min_by(|a, b| head(a).cmp(head(b)))
            } else {
                heads.max_by(|a, b| head(a).cmp(head(b)))
            };
            let Some(item) = next.and_then(|shard| shard.buffer.pop_front()) else { break };
            let sk = item.text("sk")?;
            if skip.as_deref() == Some(sk) {
                continue;
            }
            last = Some(sk[prefix.len()..].to_owned());
            // TTL removes items some time after they have expired; for readers they are gone at once.
            let shown = if item.number::<u64>("ttl")? > now { keep(&item)? } else { None };
            filling.examined(shown.is_some());
            entries.extend(shown);
        }
        let ended = shards.iter().all(|shard| shard.buffer.is_empty() && shard.exhausted);
        Ok(Page::of(list, entries, ended, last))
    }
}

fn head(shard: &Shard) -> &str {
    shard.buffer.front().and_then(|item| item.text_opt("sk")).unwrap_or_default()
}
