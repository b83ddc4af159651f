//! Lists: limits, iterators and the envelope that every list answers with.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use domain::error::{Error, Result};
use domain::ids::{Id, Ksuid};
use domain::limits::FUTURE_MAX;
use domain::page::{Cursor, ListQuery, LogQuery, Made, Order, Page};
use runtime::clock::{DAY, Timestamp};

use super::{QueryParams, RawQuery};

const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 250;
/// What an iterator begins with that leads to the entries before the one it names.
const BACKWARD: char = '-';
/// What an iterator begins with that leads to the entries behind the one it names, where that name
/// itself begins with [`BACKWARD`]: names of event types may.
const FORWARD: char = '~';
/// How far a list of messages or attempts reaches from where it starts.
const WINDOW: Duration = DAY.saturating_mul(90);

/// How much later than it was due an attempt may have been made for a list by times to find it. Lists
/// are in the order of ids, which hold when attempts were due.
const LAG_MAX: Duration = Duration::from_secs(3600);
/// How much earlier than it was due, by another machine's clock.
const SKEW_MAX: Duration = Duration::from_secs(60);

impl RawQuery {
    /// Reads `limit`, `iterator` and `order`.
    ///
    /// # Errors
    /// `BadRequest` for what cannot be parsed; `Invalid` for a limit out of range and an iterator
    /// that belongs to another list.
    pub fn list<K: FromStr>(&self, default: Order) -> Result<ListQuery<K>> {
        let order =
            self.choice("order", &[("ascending", Order::Ascending), ("descending", Order::Descending)])?;
        let limit = self.number("limit", 1, LIMIT_MAX, LIMIT_DEFAULT)?.into();
        let cursor = match self.one("iterator")? {
            None => Cursor::Start,
            Some(text) => {
                let key = |key: &str| {
                    key.parse()
                        .map_err(|_| Error::violation(["query", "iterator"], "Not an iterator of this list"))
                };
                match text.strip_prefix(BACKWARD) {
                    Some(text) => Cursor::Before(key(text)?),
                    None => Cursor::Behind(key(text.strip_prefix(FORWARD).unwrap_or(text))?),
                }
            }
        };
        Ok(ListQuery { limit, cursor, order: order.unwrap_or(default) })
    }

    /// Reads `limit`, `iterator`, `before` and `after`, which are compared with the time in the id.
    ///
    /// # Errors
    /// `BadRequest` and `Invalid` as [`RawQuery::list`] has them; `Invalid` for times far in the future.
    pub fn log<K: Id>(&self, now: Timestamp) -> Result<LogQuery<K>> {
        let Made { after, before } = self.times(now)?;
        // Ids hold four milliseconds. The window's own bounds are inclusive, the client's are not.
        let after = after.map(|after| Timestamp::from_ms((after.ms() / 4 + 1) * 4));
        let before = before.map(|at| Timestamp::from_ms((at.ms().div_ceil(4) * 4).saturating_sub(4)));
        self.log_between(after, before, now)
    }

    /// Reads the same of a list of attempts, whose times are compared with when they were made.
    ///
    /// # Errors
    /// As [`RawQuery::log`].
    pub fn attempts<K: Id>(&self, now: Timestamp) -> Result<(LogQuery<K>, Made)> {
        let made = self.times(now)?;
        let after = made.after.map(|after| after.before(LAG_MAX));
        let before = made.before.map(|before| before.after(SKEW_MAX));
        Ok((self.log_between(after, before, now)?, made))
    }

    fn times(&self, now: Timestamp) -> Result<Made> {
        let (before, after) = (self.time("before")?, self.time("after")?);
        for (name, time) in [("before", before), ("after", after)] {
            if time.is_some_and(|time| time > now.after(FUTURE_MAX)) {
                let msg = "Must not lie more than one hour in the future";
                return Err(Error::violation(["query", name], msg));
            }
        }
        Ok(Made { after, before })
    }

    /// The query for ids of these times, both inclusive.
    fn log_between<K: Id>(
        &self,
        after: Option<Timestamp>,
        before: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<LogQuery<K>> {
        let mut list: ListQuery<K> = self.list(Order::Descending)?;
        // These lists have one order, whatever is asked for.
        list.order = Order::Descending;
        let at = match &list.cursor {
            Cursor::Start => None,
            Cursor::Behind(id) | Cursor::Before(id) => Some(id.ksuid().time()),
        };
        let latest = now.after(FUTURE_MAX);
        let (mut from, mut to) = match (&list.cursor, at.or(before), after) {
            (Cursor::Before(id), ..) => (id.ksuid().time(), id.ksuid().time().after(WINDOW)),
            (_, Some(start), _) => (start.before(WINDOW), start),
            (_, None, Some(after)) => (after, after.after(WINDOW).min(latest)),
            (_, None, None) => (now.before(WINDOW), latest),
        };
        from = from.max(after.unwrap_or_default());
        to = to.min(before.unwrap_or(to));
        Ok(LogQuery { list, window: (Ksuid::new(from, [0; 15]), Ksuid::new(to, [0xff; 15])) })
    }
}

/// A list that ascends if nothing else is asked for.
#[derive(Clone, Debug)]
pub struct Ascending<K>(pub ListQuery<K>);

impl<K: FromStr> QueryParams for Ascending<K> {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        query.list(Order::Ascending).map(Self)
    }
}

/// A list that descends if nothing else is asked for.
#[derive(Clone, Debug)]
pub struct Descending<K>(pub ListQuery<K>);

impl<K: FromStr> QueryParams for Descending<K> {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        query.list(Order::Descending).map(Self)
    }
}

impl<K: Id> QueryParams for LogQuery<K> {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        query.log(now)
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ListOf{T}")]
pub struct ListOut<T> {
    /// The entries, in the order that was asked for.
    data: Vec<T>,
    /// Gets the next page, even if nothing follows yet. It is null if the list is empty.
    iterator: Option<String>,
    /// Gets the page before.
    #[serde(rename = "prevIterator", skip_serializing_if = "Option::is_none")]
    prev_iterator: Option<String>,
    /// There are no more entries for now.
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
    use domain::ids::{AppId, MessageId};
    use domain::page::{EXAMINED_MAX, Filling};

    #[test]
    fn limits_and_iterators() {
        let read = |text: &str| RawQuery::parse(text).list::<AppId>(Order::Ascending);
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
            let query = RawQuery::parse(&text).list::<AppId>(Order::Ascending).unwrap();
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
        let query = RawQuery::parse("limit=50").list::<AppId>(Order::Ascending).unwrap();
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

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn read_log(text: &str) -> Result<LogQuery<MessageId>> {
        RawQuery::parse(text).log(NOW)
    }

    #[test]
    fn windows_are_the_contracts() {
        let days = |query: &str| {
            let (from, to) = read_log(query).unwrap().window;
            (NOW.since(from.time()).as_secs() / 86_400, NOW.since(to.time()).as_secs() / 86_400)
        };
        assert_eq!(days(""), (90, 0));
        let before = NOW.before(DAY * 30);
        assert_eq!(days(&format!("before={before}")), (120, 30));
        let after = NOW.before(DAY * 200);
        let query = read_log(&format!("after={after}")).unwrap();
        assert!(!query.list.reads_ascending());
        // After is exclusive, so the window ends a moment later than 90 days above it.
        assert_eq!(days(&format!("after={after}")), (199, 109));
        let id = MessageId::from_ksuid(Ksuid::new(NOW.before(DAY * 10), [7; 15]));
        assert_eq!(days(&format!("iterator={id}")), (100, 10));
        assert!(matches!(read_log(&format!("before={}", NOW.after(DAY))), Err(Error::Invalid(_))));
    }

    #[test]
    fn attempts_are_looked_for_where_they_were_due() {
        let query = format!("after={}&before={}", NOW.before(DAY), NOW);
        let (query, made) = RawQuery::parse(&query).attempts::<MessageId>(NOW).unwrap();
        assert_eq!(query.window.0.time(), NOW.before(DAY + LAG_MAX));
        assert_eq!(query.window.1.time(), NOW.after(SKEW_MAX));
        let shown = [NOW.before(DAY + LAG_MAX), NOW.before(DAY), NOW].map(|at| made.holds(at));
        assert_eq!(shown, [false, true, false]);
    }

    #[test]
    fn bounds_are_exclusive() {
        let (from, to) =
            read_log(&format!("after={NOW}&before={}", NOW.after(Duration::from_millis(8)))).unwrap().window;
        assert_eq!(from.time(), NOW.after(Duration::from_millis(4)));
        assert_eq!(to.time(), NOW.after(Duration::from_millis(4)));
    }
}
