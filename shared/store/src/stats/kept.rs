//! Counts as they are kept: an item for each hour, with a count and perhaps a mark for each of its minutes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{BETWEEN_MAX, Counts, FRESH, HOUR, LARGE, SETTLED, SKEW, minute_of, start_of};
use crate::item::{Get as _, Item};
use domain::error::Result;
use domain::retention::LOG_RETENTION_DAYS;
use runtime::clock::Timestamp;

/// How long an hour's minutes are kept one by one.
const BY_MINUTE: Duration = Duration::from_secs(2 * 3600);

/// A count, and when it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub at: Timestamp,
    pub counts: Counts,
}

impl Counted {
    /// Seconds since the hour began, and the numbers.
    fn text(&self, hour: u64) -> String {
        let Counts { success, fail, pending, sending } = self.counts;
        let after = self.at.since(start_of(hour * HOUR)).as_secs();
        format!("{after},{success},{fail},{pending},{sending}")
    }

    fn parse(text: &str, hour: u64) -> Option<Self> {
        let numbers: Option<Vec<u64>> = text.split(',').map(|number| number.parse().ok()).collect();
        let [after, success, fail, pending, sending] = numbers?[..] else { return None };
        let at = start_of(hour * HOUR).after(Duration::from_secs(after));
        Some(Self { at, counts: Counts { success, pending, fail, sending } })
    }
}

/// What is to be written of an hour.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub set: Vec<(String, String)>,
    pub remove: Vec<String>,
}

/// An hour's counts.
#[derive(Clone, Debug, Default)]
pub struct Hour {
    /// All of it.
    whole: Option<Counted>,
    minutes: BTreeMap<u64, Counted>,
    /// Until when a minute changes.
    marks: BTreeMap<u64, Timestamp>,
}

/// The attribute of a minute's mark.
pub fn mark_name(minute: u64) -> String {
    format!("m{:02}", minute % HOUR)
}

fn count_name(minute: u64) -> String {
    format!("c{:02}", minute % HOUR)
}

/// Counts stay as long as what they count.
pub fn ttl(hour: u64) -> u64 {
    (hour + 1) * 3_600 + (LOG_RETENTION_DAYS + 1) * 86_400
}

impl Hour {
    fn read(hour: u64, item: &Item) -> Result<Self> {
        item.check_schema()?;
        let mut read = Self::default();
        for name in item.keys().filter(|name| name.len() == 3) {
            let Some(minute) = name[1..].parse::<u64>().ok().filter(|nth| *nth < HOUR) else { continue };
            let minute = hour * HOUR + minute;
            match &name[..1] {
                "c" => {
                    let counted = item.text_opt(name).and_then(|text| Counted::parse(text, hour));
                    read.minutes.extend(counted.map(|counted| (minute, counted)));
                }
                "m" => read.marks.extend(item.time_opt(name).map(|until| (minute, until))),
                _ => {}
            }
        }
        read.whole = item.text_opt("h").and_then(|text| Counted::parse(text, hour));
        Ok(read)
    }

    /// Whether a count that was begun at that time saw all that was written of a minute.
    fn holds(&self, minute: u64, at: Timestamp) -> bool {
        let unmarked = self.marks.get(&minute).is_none_or(|until| at > until.after(SKEW));
        unmarked && at >= start_of(minute + 1).after(SETTLED)
    }

    fn whole(&self) -> Option<Counts> {
        let whole = self.whole?;
        self.marks.values().all(|until| whole.at > until.after(SKEW)).then_some(whole.counts)
    }

    /// The count of a minute within reach; none where it has to be counted.
    fn minute(&self, minute: u64, now: Timestamp) -> Option<Counts> {
        match self.minutes.get(&minute) {
            Some(Counted { at, counts }) if self.holds(minute, *at) => Some(*counts),
            Some(Counted { at, counts }) => {
                (counts.total() >= LARGE && now.since(*at) < FRESH).then_some(*counts)
            }
            None if self.whole.is_some() || self.marks.contains_key(&minute) => None,
            None => Some(Counts::default()),
        }
    }
}

/// What is kept of an endpoint's window.
#[derive(Debug, Default)]
pub struct Kept {
    /// Minutes from the first inclusive to the second exclusive were counted; what has no count there has no
    /// deliveries.
    pub reach: Option<(u64, u64)>,
    hours: BTreeMap<u64, Hour>,
}

impl Kept {
    pub fn read(reach: Option<&Item>, hours: &[Item]) -> Result<Self> {
        let mut kept = Self::default();
        if let Some(item) = reach {
            item.check_schema()?;
            kept.reach = Some((item.number("b")?, item.number("f")?));
        }
        for item in hours {
            let hour = item.text("sk")?.trim_start_matches('H').parse().unwrap_or_default();
            kept.hours.insert(hour, Hour::read(hour, item)?);
        }
        Ok(kept)
    }

    /// Takes over the counts of minutes of one hour, and says what of them is to be written.
    pub fn take(
        &mut self,
        number: u64,
        (from, to): (u64, u64),
        found: &BTreeMap<u64, Counts>,
        at: Timestamp,
    ) -> Option<Update> {
        let known = self.hours.contains_key(&number);
        if !known && found.is_empty() {
            return None;
        }
        let hour = self.hours.entry(number).or_default();
        let (mut update, mut whole) = (Update::default(), Counts::default());
        let all = to - from == HOUR && (from..to).all(|minute| hour.holds(minute, at));
        for minute in from..to {
            let counted = Counted { at, counts: found.get(&minute).copied().unwrap_or_default() };
            whole.merge(counted.counts);
            let nothing = counted.counts.total() == 0;
            // Where there is nothing, and nobody said that there was, there is nothing to write.
            let idle = nothing
                && !hour.marks.contains_key(&minute)
                && !hour.minutes.contains_key(&minute)
                && hour.whole.is_none();
            hour.minutes.insert(minute, counted);
            let lasts = hour.holds(minute, at) || counted.counts.total() >= LARGE;
            if !idle && lasts {
                update.set.push((count_name(minute), counted.text(number)));
            }
        }
        if all && at >= start_of((number + 1) * HOUR).after(BY_MINUTE) {
            let counted = Counted { at, counts: whole };
            // Minutes that are written stand beside it, and are right, too.
            update = Update { set: vec![("h".to_owned(), counted.text(number))], ..Update::default() };
            hour.whole = Some(counted);
        }
        (!update.set.is_empty()).then_some(update)
    }

    /// Ranges of minutes of the window that have to be counted.
    pub fn stale(&self, (from, to): (u64, u64), now: Timestamp) -> Vec<(u64, u64)> {
        let (low, high) = self.reach.unwrap_or((to, to));
        let mut minutes = Vec::new();
        for (number, hour) in &self.hours {
            let (first, last) = ((number * HOUR).max(from), ((number + 1) * HOUR).min(to).min(high));
            if first >= last || (last - first == HOUR && hour.whole().is_some()) {
                continue;
            }
            // Before the reach there is only what was marked.
            let wanted = (first..last).filter(|minute| {
                *minute >= low || hour.marks.contains_key(minute) || hour.minutes.contains_key(minute)
            });
            minutes.extend(wanted.filter(|minute| hour.minute(*minute, now).is_none()));
        }
        let fresh = |minute: &u64| {
            self.hours
                .get(&(minute / HOUR))
                .is_some_and(|hour| hour.minutes.contains_key(minute) && hour.minute(*minute, now).is_some())
        };
        minutes.extend((high.max(from)..to).filter(|minute| !fresh(minute)));
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for minute in minutes {
            match ranges.last_mut() {
                Some((_, end)) if self.between(*end, minute, now) <= BETWEEN_MAX => *end = minute + 1,
                _ => ranges.push((minute, minute + 1)),
            }
        }
        ranges
    }

    /// How many states there are in minutes that need not be counted; very many where that is not known.
    fn between(&self, from: u64, to: u64, now: Timestamp) -> u64 {
        if to - from > HOUR {
            return u64::MAX;
        }
        let count = |minute: u64| match self.hours.get(&(minute / HOUR)) {
            Some(hour) => hour.minute(minute, now).map(|counts| counts.total()),
            None => Some(0),
        };
        (from..to).map(count).try_fold(0_u64, |sum, count| Some(sum + count?)).unwrap_or(u64::MAX)
    }

    /// Hours of whose minutes none is needed any more, with their sum in their place.
    pub fn shortened(&mut self, now: Timestamp) -> Vec<(u64, Update)> {
        let Some((low, high)) = self.reach else { return Vec::new() };
        let over = minute_of(now.before(BY_MINUTE));
        let mut updates = Vec::new();
        for (number, hour) in &mut self.hours {
            let (first, last) = (number * HOUR, (number + 1) * HOUR);
            if first < low || last > high.min(over) || hour.whole.is_some() || hour.minutes.is_empty() {
                continue;
            }
            let holds = |(minute, counted): (&u64, &Counted)| hour.holds(*minute, counted.at);
            let counted = hour.marks.keys().all(|minute| hour.minutes.contains_key(minute));
            let Some(at) = hour.minutes.values().map(|counted| counted.at).min() else { continue };
            if !counted
                || !hour.minutes.iter().all(holds)
                || !hour.marks.values().all(|until| at > until.after(SKEW))
            {
                continue;
            }
            let mut counts = Counts::default();
            hour.minutes.values().for_each(|counted| counts.merge(counted.counts));
            let whole = Counted { at, counts };
            let remove = hour.minutes.keys().map(|minute| count_name(*minute)).collect();
            updates.push((*number, Update { set: vec![("h".to_owned(), whole.text(*number))], remove }));
            hour.whole = Some(whole);
        }
        updates
    }

    /// The window's counts by hour.
    pub fn by_hour(&self, (from, to): (u64, u64)) -> BTreeMap<u64, Counts> {
        let mut all = BTreeMap::new();
        for (number, hour) in &self.hours {
            let (first, last) = ((number * HOUR).max(from), ((number + 1) * HOUR).min(to));
            let mut sum = Counts::default();
            match hour.whole() {
                _ if first >= last => continue,
                Some(whole) if last - first == HOUR => sum = whole,
                _ => {
                    for minute in first..last {
                        sum.merge(
                            hour.minutes.get(&minute).map(|counted| counted.counts).unwrap_or_default(),
                        );
                    }
                }
            }
            if sum.total() > 0 {
                all.insert(*number, sum);
            }
        }
        all
    }
}
