//! The contract's lists over plain maps.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::clock::Timestamp;
use shared::ids::{AttemptId, MessageId};

use super::dice::Dice;
use super::{DAY, HOUR, MINUTE, START, WINDOW};

/// How many entries one request may look at.
const EXAMINED: usize = 1_000;

/// An entry as the model has it.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// In milliseconds; 0 where the list knows no time.
    pub time: u64,
    /// The second at which it is gone.
    pub ends: Option<u64>,
    pub event_type: String,
    pub channels: Vec<String>,
    pub tags: Vec<String>,
    pub status: u64,
    pub code: u64,
    pub endpoint: String,
    pub archived: bool,
    /// When an attempt was made, in milliseconds; its time is when it was due.
    pub made: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Applications,
    Endpoints,
    EventTypes,
    Messages,
    ByEndpoint,
    ByMessage,
}

/// One list: where it is, and all that is in it.
pub struct List {
    pub kind: Kind,
    pub path: String,
    pub rows: BTreeMap<String, Row>,
    /// The latest time at which what it belongs to is still there.
    pub until: u64,
}

impl List {
    pub fn in_log(&self) -> bool {
        matches!(self.kind, Kind::Messages | Kind::ByEndpoint | Kind::ByMessage)
    }

    pub fn of_attempts(&self) -> bool {
        matches!(self.kind, Kind::ByEndpoint | Kind::ByMessage)
    }

    pub fn time_of(&self, id: &str) -> u64 {
        let at = match self.kind {
            Kind::Messages => id.parse::<MessageId>().expect("an id").time(),
            Kind::ByEndpoint | Kind::ByMessage => id.parse::<AttemptId>().expect("an id").time(),
            _ => return 0,
        };
        at.ms()
    }

    /// An iterator of a client's own making.
    pub fn any_id(&self, dice: &mut Dice) -> String {
        if !dice.one_in(3) {
            let ids: Vec<&String> = self.rows.keys().collect();
            return (*dice.pick(&ids)).clone();
        }
        let at = START + dice.below(230 * DAY);
        let ksuid = match dice.below(8) {
            0 => "0".repeat(27),
            1 => "aWgEPTl1tmebfsQzFP4bxwgy80V".to_owned(),
            _ => dice.ksuid(at).to_string(),
        };
        match self.kind {
            Kind::Applications => format!("app_{ksuid}"),
            Kind::Endpoints => format!("ep_{ksuid}"),
            Kind::EventTypes => {
                (*dice.pick(&["-", "--", "-x", ".-", "0", "A", "_", "a", "type.5", "zz"])).into()
            }
            Kind::Messages => format!("msg_{ksuid}"),
            Kind::ByEndpoint | Kind::ByMessage => format!("atmpt_{ksuid}"),
        }
    }
}

/// What is asked of a list.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub limit: Option<usize>,
    pub order: Option<&'static str>,
    pub before: Option<u64>,
    pub after: Option<u64>,
    pub channel: Option<String>,
    pub tag: Option<String>,
    pub event_types: Vec<String>,
    pub spelling: u64,
    pub status: Option<u64>,
    pub class: Option<u64>,
    pub endpoint: Option<String>,
    pub archived: bool,
}

impl Ask {
    pub fn roll(dice: &mut Dice, list: &List, now: u64) -> Self {
        let limit = match dice.below(6) {
            0 => None,
            1 => Some(1 + dice.below(3) as usize),
            2 => Some(250),
            _ => Some(1 + dice.below(250) as usize),
        };
        let mut ask = Self { limit, ..Self::default() };
        if !list.in_log() {
            ask.order = *dice.pick(&[None, Some("ascending"), Some("descending")]);
            ask.archived = dice.one_in(2);
            return ask;
        }
        if dice.one_in(4) {
            // It has no say in these lists.
            ask.order = Some("ascending");
        }
        let rows: Vec<&Row> = list.rows.values().collect();
        let time = |dice: &mut Dice| match dice.below(4) {
            // Next to an entry, on it, and anywhere.
            0 => dice.pick(&rows).time.saturating_add_signed(dice.below(9) as i64 - 4),
            1 if list.of_attempts() => dice.pick(&rows).made.saturating_add_signed(dice.below(3) as i64 - 1),
            1 => dice.pick(&rows).time.saturating_add_signed(dice.below(9) as i64 - 4),
            2 => START + dice.below(215 * DAY),
            _ => now - dice.below(WINDOW),
        };
        if dice.one_in(3) {
            ask.before = Some(time(dice));
        }
        if dice.one_in(3) {
            ask.after = Some(time(dice));
        }
        if dice.one_in(4) {
            ask.channel = Some((*dice.pick(&["often", "seldom", "once", "never"])).to_owned());
        }
        if dice.one_in(4) {
            let types = ["type.0", "type.1", "type.2", "rare", "none"];
            ask.event_types = (0..=dice.below(3)).map(|_| (*dice.pick(&types)).to_owned()).collect();
            ask.spelling = dice.below(3);
        }
        ask.tag = dice.one_in(5).then(|| "fifth".to_owned());
        if list.kind != Kind::Messages {
            ask.status = dice.one_in(4).then(|| dice.below(4));
            ask.class = dice.one_in(4).then(|| dice.below(6) * 100);
        }
        if list.kind == Kind::ByMessage && dice.one_in(4) {
            ask.endpoint = Some(dice.pick(&rows).endpoint.clone());
        }
        ask
    }

    pub fn query(&self, list: &List, iterator: Option<&str>) -> String {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        pairs.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        pairs.extend(self.order.map(|order| ("order", order.to_owned())));
        pairs.extend(self.before.map(|at| ("before", Timestamp::from_ms(at).to_string())));
        pairs.extend(self.after.map(|at| ("after", Timestamp::from_ms(at).to_string())));
        pairs.extend(self.channel.as_ref().map(|channel| ("channel", channel.clone())));
        pairs.extend(self.tag.as_ref().map(|tag| ("tag", tag.clone())));
        pairs.extend(self.status.map(|status| ("status", status.to_string())));
        pairs.extend(self.class.map(|class| ("status_code_class", class.to_string())));
        pairs.extend(self.endpoint.as_ref().map(|endpoint| ("endpoint_id", endpoint.clone())));
        match self.spelling {
            0 => pairs.extend(self.event_types.iter().map(|name| ("event_types", name.clone()))),
            1 => pairs.extend(self.event_types.iter().map(|name| ("event_types[]", name.clone()))),
            _ => pairs.push(("event_types", self.event_types.join(","))),
        }
        if list.kind == Kind::EventTypes {
            pairs.push(("include_archived", self.archived.to_string()));
        }
        pairs.extend(iterator.map(|iterator| ("iterator", iterator.to_owned())));
        pairs.push(("with_content", "false".to_owned()));
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }

    pub fn keeps(&self, list: &List, row: &Row, now: u64) -> bool {
        row.ends.is_none_or(|ends| ends > now / 1000)
            && (list.kind != Kind::EventTypes || self.archived || !row.archived)
            && (!list.of_attempts()
                || self.after.is_none_or(|after| row.made >= after)
                    && self.before.is_none_or(|before| row.made < before))
            && self.channel.as_ref().is_none_or(|channel| row.channels.contains(channel))
            && self.tag.as_ref().is_none_or(|tag| row.tags.contains(tag))
            && (self.event_types.is_empty() || self.event_types.contains(&row.event_type))
            && self.status.is_none_or(|status| row.status == status)
            && self.class.is_none_or(|class| (class..class + 100).contains(&row.code))
            && self.endpoint.as_ref().is_none_or(|endpoint| row.endpoint == *endpoint)
    }
}

/// What the contract says about a page.
pub struct Page<'a> {
    /// Everything from the cursor on in the order of reading, and whether it is shown.
    beyond: Vec<(&'a str, bool)>,
    limit: usize,
    backward: bool,
}

pub fn model<'a>(list: &'a List, ask: &Ask, iterator: Option<&str>, now: u64) -> Page<'a> {
    let cursor = iterator.map(|text| match text.strip_prefix('-') {
        Some(id) => (true, id),
        None => (false, text.strip_prefix('~').unwrap_or(text)),
    });
    let backward = cursor.is_some_and(|(backward, _)| backward);
    let list_ascends = match list.kind {
        Kind::Applications | Kind::EventTypes => ask.order != Some("descending"),
        Kind::Endpoints => ask.order == Some("ascending"),
        _ => false,
    };
    // Attempts are found by when they were made, and lie where they were due.
    let (after, before) = if list.of_attempts() {
        (ask.after.map(|after| after.saturating_sub(HOUR)), ask.before.map(|before| before + MINUTE))
    } else {
        (ask.after.map(|after| (after / 4 + 1) * 4), ask.before.map(|before| before - 1))
    };
    let reads_up = list_ascends != backward;
    let (oldest, newest) = if !list.in_log() {
        (0, u64::MAX)
    } else if let Some((_, id)) = cursor {
        let at = list.time_of(id);
        if reads_up { (at, at + WINDOW) } else { (at.saturating_sub(WINDOW), at) }
    } else if let Some(before) = before {
        (before - WINDOW, before)
    } else if let Some(after) = after {
        (after, (after + WINDOW).min(now + HOUR))
    } else {
        (now - WINDOW, now + HOUR)
    };
    let fits = |id: &str, row: &Row| {
        // The time in an id has four milliseconds.
        (oldest / 4 * 4..=newest).contains(&row.time)
            && before.is_none_or(|before| row.time <= before)
            && after.is_none_or(|after| row.time >= after / 4 * 4)
            && cursor.is_none_or(|(_, at)| if reads_up { id > at } else { id < at })
    };
    let mut beyond: Vec<(&str, bool)> = list
        .rows
        .iter()
        .filter(|(id, row)| fits(id, row))
        .map(|(id, row)| (id.as_str(), ask.keeps(list, row, now)))
        .collect();
    if !reads_up {
        beyond.reverse();
    }
    // An endpoint that is asked for is looked up by itself.
    if let Some(endpoint) = &ask.endpoint {
        beyond.retain(|(id, _)| list.rows[*id].endpoint == *endpoint);
    }
    Page { beyond, limit: ask.limit.unwrap_or(50), backward }
}

impl Page<'_> {
    /// What is wrong with `answer`, if anything is; whether the answer was cut short to bound its work.
    pub fn check(&self, answer: &Value) -> Result<bool, String> {
        let data = answer["data"].as_array().ok_or("no data")?;
        let name = |entry: &Value| {
            let id = entry["id"].as_str().or(entry["name"].as_str());
            id.expect("an id or a name").to_owned()
        };
        let mut found: Vec<String> = data.iter().map(name).collect();
        let behind = |id: &String| if id.starts_with('-') { format!("~{id}") } else { id.clone() };
        let (last, first) = (found.last().map(behind), found.first().map(|id| format!("-{id}")));
        if self.backward {
            found.reverse();
        }
        let (iterator, prev) = (answer["iterator"].as_str(), answer["prevIterator"].as_str());
        let done = answer["done"].as_bool().ok_or("no done")?;

        // What has to be looked at to fill the page and to know whether it is the last.
        let shown = self.beyond.iter().enumerate().filter(|(_, (_, shown))| *shown);
        let needed = shown.clone().nth(self.limit).map_or(self.beyond.len(), |(at, _)| at + 1);
        let expected: Vec<&str> = shown.map(|(_, (id, _))| *id).collect();
        let whole = &expected[..expected.len().min(self.limit)];
        let exact = found == whole
            && done == (expected.len() <= self.limit)
            && iterator == last.as_deref()
            && prev == first.as_deref();
        if exact {
            return Ok(false);
        }
        if needed < EXAMINED {
            return Err(format!(
                "{} entries of {} expected, first difference {:?}; done {done}, {} match in all",
                found.len(),
                whole.len(),
                found.iter().zip(whole).enumerate().find(|(_, (a, b))| a != *b),
                expected.len()
            ));
        }
        // The work is bounded: everything that was looked at is here, and an iterator to go on with.
        let resume = if self.backward { prev.and_then(|prev| prev.strip_prefix('-')) } else { iterator };
        let resume = resume.ok_or("neither whole nor to be gone on with")?;
        let at = self.beyond.iter().position(|(id, _)| *id == resume).ok_or("goes on nowhere")?;
        let examined = &self.beyond[..=at];
        let part: Vec<&str> = examined.iter().filter(|(_, shown)| *shown).map(|(id, _)| *id).collect();
        let other =
            if self.backward { iterator == last.as_deref().or(prev) } else { prev == first.as_deref() };
        if done || found != part || examined.len() < EXAMINED / 2 || !other {
            return Err(format!(
                "a part of {} entries (model {}), {} looked at, done {done}, {iterator:?} {prev:?}",
                found.len(),
                part.len(),
                examined.len()
            ));
        }
        Ok(true)
    }
}
