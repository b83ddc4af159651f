//! Pages of lists: where they begin, what they hold, and when they are full.

use runtime::clock::Timestamp;

use crate::error::Result;
use crate::ids::Ksuid;

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

/// The times between which attempts that are shown were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The first moment that counts.
    pub after: Option<Timestamp>,
    /// The first one that does not any more.
    pub before: Option<Timestamp>,
}

impl Made {
    /// Whether an attempt that was made at that time is shown: `after` is inclusive, so that who goes on
    /// from the last timestamp misses none.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.after.is_none_or(|after| at >= after) && self.before.is_none_or(|before| at < before)
    }
}

/// What a client asks of a list of messages or attempts.
#[derive(Clone, Debug)]
pub struct LogQuery<K> {
    /// Limit, iterator and order.
    pub list: ListQuery<K>,
    /// The oldest and the newest id that may be shown, inclusive.
    pub window: (Ksuid, Ksuid),
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
