//! Lists over a range of one partition.

use std::fmt::Display;

use super::item::{Get as _, Item};
use super::{Range, Store, Table};
use domain::error::Result;
use domain::page::{Cursor, Filling, ListQuery, Page};

impl Store {
    /// Lists the items of a partition whose sort keys begin with `prefix`, by what follows the prefix.
    /// `keep` decides what is shown and how.
    pub(super) async fn list_range<K: Display, T>(
        &self,
        table: Table,
        pk: String,
        prefix: &str,
        query: &ListQuery<K>,
        operation: &'static str,
        keep: impl Fn(&Item) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        let bounds = (prefix.to_owned(), format!("{prefix}~"));
        self.list_between(table, pk, prefix, bounds, query, operation, keep).await
    }

    /// The same of those whose sort keys lie between `bounds`, both inclusive.
    #[expect(clippy::too_many_arguments, reason = "where, which, how and what of a list")]
    pub(super) async fn list_between<K: Display, T>(
        &self,
        table: Table,
        pk: String,
        prefix: &str,
        bounds: (String, String),
        query: &ListQuery<K>,
        operation: &'static str,
        keep: impl Fn(&Item) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        let ascending = query.reads_ascending();
        let (mut from, mut to) = bounds;
        let skip = match &query.cursor {
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
        // DynamoDB refuses bounds that contradict each other.
        if from > to {
            return Ok(Page::of(query, Vec::new(), true, None));
        }
        let (mut filling, mut entries) = (Filling::new(query), Vec::new());
        let (mut start, mut last) = (None, None);
        let mut ended = false;
        while !ended && filling.goes_on() {
            let range = Range {
                pk: pk.clone(),
                from: from.clone(),
                to: to.clone(),
                ascending,
                // One more for the entry that the bounds include.
                limit: filling.ahead() + 1,
                strong: true,
                start,
                operation,
            };
            let page = self.query(table, range).await?;
            ended = page.last.is_none();
            start = page.last;
            for item in &page.items {
                let sk = item.text("sk")?;
                if skip.as_deref() == Some(sk) {
                    continue;
                }
                if !filling.goes_on() {
                    ended = false;
                    break;
                }
                let kept = keep(item)?;
                filling.examined(kept.is_some());
                entries.extend(kept);
                last = Some(sk[prefix.len()..].to_owned());
            }
        }
        Ok(Page::of(query, entries, ended, last))
    }
}
