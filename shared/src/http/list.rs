//! Lists: limits, iterators and the envelope that every list answers with.

use std::str::FromStr;

use serde::Serialize;

use super::Query;
use crate::error::{Error, Result};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 250;

/// In which direction a list shows its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest (or first by name) first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Where a page begins, seen in the list's own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor<K> {
    /// At the beginning.
    Start,
    /// Behind this entry.
    Behind(K),
    /// With the entries just before this one.
    Before(K),
}

/// What a client asks of a list.
#[derive(Clone, Debug)]
pub struct ListQuery<K> {
    /// Most entries of a page, 1 to 250.
    pub limit: usize,
    /// Where the page begins.
    pub cursor: Cursor<K>,
    /// The order of entries.
    pub order: Order,
}

impl<K: FromStr> ListQuery<K> {
    /// Reads `limit`, `iterator` and `order`.
    ///
    /// # Errors
    /// `BadRequest` for what cannot be parsed; `Invalid` for a limit out of range and an iterator
    /// that belongs to another list.
    pub fn read(query: &Query, default: Order) -> Result<Self> {
        let limit =
            query.parsed("limit", "a number from 1 to 250", |t| t.parse().ok())?.unwrap_or(LIMIT_DEFAULT);
        if limit == 0 || limit > LIMIT_MAX {
            let msg = format!("Must be from 1 to {LIMIT_MAX}");
            return Err(Error::violation(["query", "limit"], msg, "value_error"));
        }
        let cursor = match query.one("iterator") {
            None => Cursor::Start,
            Some(text) => {
                let key = text.strip_prefix('-').unwrap_or(text);
                let key = key.parse().map_err(|_| {
                    Error::violation(["query", "iterator"], "Not an iterator of this list", "value_error")
                })?;
                if text.starts_with('-') { Cursor::Before(key) } else { Cursor::Behind(key) }
            }
        };
        let order = query.parsed("order", "ascending or descending", |text| match text {
            "ascending" => Some(Order::Ascending),
            "descending" => Some(Order::Descending),
            _ => None,
        })?;
        Ok(Self { limit, cursor, order: order.unwrap_or(default) })
    }
}

impl<K> ListQuery<K> {
    /// Whether the store has to be read in ascending order of keys for this page.
    pub fn reads_ascending(&self) -> bool {
        (self.order == Order::Ascending) != matches!(self.cursor, Cursor::Before(_))
    }
}

/// One page as it was read: entries in the list's order, and whether there is more beyond them.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Nothing more lies beyond in the direction of reading.
    pub done: bool,
    /// Where to go on when the work of one request was used up before the page was full.
    pub resume: Option<String>,
}

/// A page as it is answered.
#[derive(Clone, Debug, Serialize)]
pub struct ListOut<T> {
    data: Vec<T>,
    iterator: Option<String>,
    #[serde(rename = "prevIterator", skip_serializing_if = "Option::is_none")]
    prev_iterator: Option<String>,
    done: bool,
}

impl<T> ListOut<T> {
    /// The answer for `page`, whose entries are named by `id` and shown by `show`.
    pub fn new<E>(page: Page<E>, id: impl Fn(&E) -> String, show: impl Fn(E) -> T) -> Self {
        let last = page.entries.last().map(&id);
        let first = page.entries.first().map(&id);
        Self {
            iterator: page.resume.or(last),
            prev_iterator: first.map(|id| format!("-{id}")),
            done: page.done,
            data: page.entries.into_iter().map(show).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AppId;

    #[test]
    fn limits_and_iterators() {
        let read = |text: &str| ListQuery::<AppId>::read(&Query::parse(text), Order::Ascending);
        assert_eq!(read("").unwrap().limit, 50);
        assert!(matches!(read("limit=251"), Err(Error::Invalid(_))));
        assert!(matches!(read("limit=0"), Err(Error::Invalid(_))));
        assert!(matches!(read("limit=x"), Err(Error::BadRequest(_))));
        assert!(matches!(read("order=up"), Err(Error::BadRequest(_))));
        assert!(matches!(read("iterator=msg_000000000000000000000000000"), Err(Error::Invalid(_))));
        let back = read("iterator=-app_000000000000000000000000000").unwrap();
        assert!(matches!(back.cursor, Cursor::Before(_)) && !back.reads_ascending());
    }

    #[test]
    fn the_envelope() {
        let page = Page { entries: vec!["a", "b"], done: true, resume: None };
        let out = ListOut::new(page, |e| (*e).to_owned(), |e| e);
        assert_eq!(
            serde_json::to_string(&out).unwrap(),
            r#"{"data":["a","b"],"iterator":"b","prevIterator":"-a","done":true}"#
        );
        let empty = ListOut::new(
            Page { entries: Vec::<&str>::new(), done: true, resume: None },
            |e| (*e).into(),
            |e| e,
        );
        assert_eq!(serde_json::to_string(&empty).unwrap(), r#"{"data":[],"iterator":null,"done":true}"#);
    }
}
