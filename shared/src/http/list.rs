//! Lists: limits, iterators and the envelope that every list answers with.

use std::fmt::Display;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

use super::Query;
use crate::error::{Error, Result};

const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 250;
/// What an iterator begins with that leads to the entries before the one it names.
const BACKWARD: char = '-';
/// What an iterator begins with that leads to the entries behind the one it names, where that name
/// itself begins with [`BACKWARD`]: names of event types may.
const FORWARD: char = '~';
/// Most entries that one request looks at: a filter that finds little answers with what it has and
/// an iterator to go on with.
pub const EXAMINED_MAX: usize = 1_000;
/// Most bytes of payloads, or of endpoints' answers, in one page. Lambda answers with at most 6 MB, and
/// text grows where JSON carries it.
pub const TEXTS_LENGTH_MAX: usize = 3 * 1024 * 1024;

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
        let order =
            query.choice("order", &[("ascending", Order::Ascending), ("descending", Order::Descending)])?;
        let limit = query.number("limit", 1, LIMIT_MAX, LIMIT_DEFAULT)?.into();
        let cursor = match query.one("iterator") {
            None => Cursor::Start,
            Some(text) => {
                let key = |key: &str| {
                    key.parse().map_err(|_| {
                        Error::violation(["query", "iterator"], "Not an iterator of this list", "value_error")
                    })
                };
                match text.strip_prefix(BACKWARD) {
                    Some(text) => Cursor::Before(key(text)?),
                    None => Cursor::Behind(key(text.strip_prefix(FORWARD).unwrap_or(text))?),
                }
            }
        };
        Ok(Self { limit, cursor, order: order.unwrap_or(default) })
    }
}

impl<K> ListQuery<K> {
    /// Whether the page is the one before an entry: filled from its end.
    pub fn is_backward(&self) -> bool {
        matches!(self.cursor, Cursor::Before(_))
    }

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
    /// Where to go on when the work of one request was used up before it was known whether the page
    /// is the last. It names what was looked at last, whether or not that is shown.
    pub resume: Option<Cursor<String>>,
}

impl<T> Page<T> {
    /// The page of `query` out of what was read for it: `entries` in the order of reading, up to one
    /// more than the page holds; whether the reading has come to the end; and the last key it looked at.
    pub fn of<K>(query: &ListQuery<K>, mut entries: Vec<T>, ended: bool, last: Option<String>) -> Self {
        let more = entries.len() > query.limit;
        entries.truncate(query.limit);
        let backward = matches!(query.cursor, Cursor::Before(_));
        if backward {
            entries.reverse();
        }
        let resume = last.filter(|_| !more && !ended);
        let resume = resume.map(if backward { Cursor::Before } else { Cursor::Behind });
        Self { entries, done: !more && ended, resume }
    }
}

/// How far the filling of a page has come.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    limit: usize,
    /// Entries that were looked at.
    examined: usize,
    /// Entries that are shown.
    kept: usize,
}

impl Filling {
    /// Nothing was read yet.
    pub fn new<K>(query: &ListQuery<K>) -> Self {
        Self { limit: query.limit, examined: 0, kept: 0 }
    }

    /// An entry was looked at.
    pub fn examined(&mut self, kept: bool) {
        self.examined += 1;
        self.kept += usize::from(kept);
    }

    /// Whether to read on: one entry more than the page holds tells that there is more.
    pub fn goes_on(&self) -> bool {
        self.kept <= self.limit && self.examined < EXAMINED_MAX
    }

    /// How many entries are still to be looked at, as far as those tell that were. What is read beyond
    /// that is paid for and not used.
    pub fn ahead(&self) -> usize {
        let wanted = (self.limit + 1).saturating_sub(self.kept);
        let ahead = wanted * (self.examined + 1) / (self.kept + 1);
        ahead.clamp(1, EXAMINED_MAX.saturating_sub(self.examined).max(1))
    }
}

impl<T> Page<T> {
    /// The same page of what `map` makes of each entry.
    ///
    /// # Errors
    /// The first of `map`'s.
    pub fn try_map<U>(self, map: impl FnMut(T) -> Result<U>) -> Result<Page<U>> {
        let entries = self.entries.into_iter().map(map).collect::<Result<_>>()?;
        Ok(Page { entries, done: self.done, resume: self.resume })
    }

    /// Leaves out, at the far end, what one answer cannot carry; one entry stays in any case.
    #[must_use]
    pub fn fit(mut self, backward: bool, length: impl Fn(&T) -> usize) -> Self {
        if backward {
            self.entries.reverse();
        }
        let mut room = TEXTS_LENGTH_MAX;
        let fitting = self.entries.iter().take_while(|entry| {
            let fits = length(entry) <= room;
            room = room.saturating_sub(length(entry));
            fits
        });
        let fitting = fitting.count().max(1);
        if fitting < self.entries.len() {
            self.entries.truncate(fitting);
            (self.done, self.resume) = (false, None);
        }
        if backward {
            self.entries.reverse();
        }
        self
    }
}

/// A page as it is answered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ListOf{T}")]
pub struct ListOut<T> {
    /// The entries, in the order that was asked for.
    data: Vec<T>,
    /// Gets the next page, also where there is nothing behind this one yet. It is null where the list is empty.
    iterator: Option<String>,
    /// Gets the page before.
    #[serde(rename = "prevIterator", skip_serializing_if = "Option::is_none")]
    prev_iterator: Option<String>,
    /// There is nothing more for now.
    done: bool,
}

impl<T> ListOut<T> {
    /// The answer for `page`, whose entries are named by `id` and shown by `show`.
    pub fn new<E>(page: Page<E>, id: impl Fn(&E) -> String, show: impl Fn(E) -> T) -> Self {
        let behind = |id: String| if id.starts_with(BACKWARD) { format!("{FORWARD}{id}") } else { id };
        let before = |id: &dyn Display| format!("{BACKWARD}{id}");
        let last = page.entries.last().map(|entry| behind(id(entry)));
        let first = page.entries.first().map(|entry| before(&id(entry)));
        let (iterator, prev_iterator) = match page.resume {
            Some(Cursor::Behind(id)) => (Some(behind(id)), first),
            // An empty page leads on too, whichever of the two the client follows.
            Some(Cursor::Before(id)) => (last.or_else(|| Some(before(&id))), Some(before(&id))),
            Some(Cursor::Start) | None => (last, first),
        };
        Self { iterator, prev_iterator, done: page.done, data: page.entries.into_iter().map(show).collect() }
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
        for text in
            ["-", "~", "--", "app_", "app_00000000000000000000000000%00", "-~app_000000000000000000000000000"]
        {
            assert!(matches!(read(&format!("iterator={text}")), Err(Error::Invalid(_))), "{text}");
        }
        let back = read("iterator=-app_000000000000000000000000000").unwrap();
        assert!(matches!(back.cursor, Cursor::Before(_)) && !back.reads_ascending());
    }

    fn out(page: Page<&str>) -> String {
        serde_json::to_string(&ListOut::new(page, |e| (*e).to_owned(), |e| e)).unwrap()
    }

    #[test]
    fn what_an_answer_cannot_carry_is_on_the_next_page() {
        let mega = 1024 * 1024;
        let page = |entries: &[usize]| Page { entries: entries.to_vec(), done: true, resume: None };
        let fit = |entries: &[usize], backward| {
            let page = page(entries).fit(backward, |length| *length);
            (page.entries, page.done)
        };
        assert_eq!(fit(&[mega, mega, mega], false), (vec![mega; 3], true));
        assert_eq!(fit(&[1, mega, 2 * mega, 2], false), (vec![1, mega], false));
        assert_eq!(fit(&[1, mega, 2 * mega, 2], true), (vec![2 * mega, 2], false));
        assert_eq!(fit(&[9 * mega, 1], false), (vec![9 * mega], false));
        assert_eq!(fit(&[], true), (vec![], true));
    }

    #[test]
    fn the_envelope() {
        let page = Page { entries: vec!["a", "b"], done: true, resume: None };
        assert_eq!(out(page), r#"{"data":["a","b"],"iterator":"b","prevIterator":"-a","done":true}"#);
        let empty = Page { entries: Vec::new(), done: true, resume: None };
        assert_eq!(out(empty), r#"{"data":[],"iterator":null,"done":true}"#);
        let dashed = Page { entries: vec!["-a"], done: true, resume: None };
        assert_eq!(out(dashed), r#"{"data":["-a"],"iterator":"~-a","prevIterator":"--a","done":true}"#);
    }

    #[test]
    fn unfinished_pages_lead_on_in_their_direction() {
        let of = |iterator: &str, entries: &[&'static str]| {
            let text = format!("limit=2&iterator={iterator}");
            let query = ListQuery::<AppId>::read(&Query::parse(&text), Order::Ascending).unwrap();
            out(Page::of(&query, entries.to_vec(), false, Some("z".into())))
        };
        let at = "app_000000000000000000000000000";
        assert_eq!(of(at, &["a"]), r#"{"data":["a"],"iterator":"z","prevIterator":"-a","done":false}"#);
        assert_eq!(of(at, &[]), r#"{"data":[],"iterator":"z","done":false}"#);
        assert_eq!(
            of(at, &["a", "b", "c"]),
            r#"{"data":["a","b"],"iterator":"b","prevIterator":"-a","done":false}"#
        );
        let at = format!("-{at}");
        assert_eq!(of(&at, &["a"]), r#"{"data":["a"],"iterator":"a","prevIterator":"-z","done":false}"#);
        assert_eq!(of(&at, &[]), r#"{"data":[],"iterator":"-z","prevIterator":"-z","done":false}"#);
        assert_eq!(
            of(&at, &["c", "b", "a"]),
            r#"{"data":["b","c"],"iterator":"c","prevIterator":"-b","done":false}"#
        );
    }

    #[test]
    fn what_is_read_ahead_follows_what_was_found() {
        let query = ListQuery::<AppId>::read(&Query::parse("limit=50"), Order::Ascending).unwrap();
        let mut filling = Filling::new(&query);
        assert_eq!(filling.ahead(), 51);
        for nth in 0..60 {
            filling.examined(nth % 2 == 0);
        }
        assert_eq!(filling.ahead(), 21 * 61 / 31);
        for _ in 60..EXAMINED_MAX - 10 {
            filling.examined(false);
        }
        assert_eq!(filling.ahead(), 10);
        assert!(filling.goes_on());
        for _ in 0..10 {
            filling.examined(false);
        }
        assert!(!filling.goes_on());
    }
}
