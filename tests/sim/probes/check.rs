//! What is looked at when endpoints that failed for days have come to rest.

use std::time::Duration;

use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::ids::{EndpointId, MessageId};

use super::{DAY, HOUR, Kept, LATE, PAUSE_MAX, Patient, SLACK};
use crate::journal::Events;
use crate::time::START_MS;
use crate::world::World;

/// What an owner was told, once for each webhook, by when it was made.
#[derive(Clone, Debug)]
pub(super) struct Told {
    id: MessageId,
    kind: String,
    data: Value,
    pub(super) made: Duration,
    /// When it arrived first.
    at: Duration,
}

impl Told {
    /// Whether it tells this, and that we did it: a person gives no reason.
    pub(super) fn is_ours(&self, kind: &str) -> bool {
        self.kind == kind && self.data["reason"].is_string()
    }

    fn since(&self) -> &str {
        self.data["failSince"].as_str().unwrap_or_default()
    }
}

fn since_start(time: Timestamp) -> Duration {
    Duration::from_millis(time.ms().saturating_sub(START_MS))
}

pub(super) fn told(events: &Events, operator: usize, endpoint: EndpointId) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    for post in events.posts.iter().filter(|post| post.receiver == operator) {
        let id: MessageId = post.message.parse().expect("a message's id");
        let body: Value = serde_json::from_slice(&post.body).expect("JSON");
        let is_of_it = body["data"]["endpointId"] == endpoint.to_string();
        if is_of_it && told.iter().all(|told| told.id != id) {
            let kind = body["type"].as_str().expect("a type").to_owned();
            let made = since_start(id.time());
            told.push(Told { id, kind, data: body["data"].clone(), made, at: post.at });
        }
    }
    told.sort_by_key(|told| told.made);
    told
}

/// A probe, however often it was sent.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    number: u64,
    missed_since: String,
    first: Duration,
    last: Duration,
    /// Whether each time, and whether ever, it was answered with a success.
    always_answered: bool,
    answered: bool,
}

pub(super) fn probes(events: &Events, patient: &Patient) -> Vec<Probe> {
    let mut found: Vec<(&str, Probe)> = Vec::new();
    for post in events.posts.iter().filter(|post| post.receiver == patient.receiver) {
        let body: Value = serde_json::from_slice(&post.body).expect("JSON");
        if body["type"] != "postrider.probe" {
            continue;
        }
        let answered = post.answer.is_some_and(|(_, status)| (200..300).contains(&status));
        match found.iter_mut().find(|(id, _)| *id == post.message) {
            Some((_, probe)) => {
                probe.last = post.at;
                probe.always_answered &= answered;
                probe.answered |= answered;
            }
            None => {
                let number = body["data"]["probe"].as_u64().expect("a number");
                let missed_since = body["data"]["missedSince"].as_str().expect("a time").to_owned();
                let (first, last) = (post.at, post.at);
                let probe = Probe { number, missed_since, first, last, always_answered: answered, answered };
                found.push((post.message.as_str(), probe));
            }
        }
    }
    found.into_iter().map(|(_, probe)| probe).collect()
}

/// What we changed by ourselves, in its order, as the audit log has it.
pub(super) fn changes(world: &World, patient: &Patient) -> Vec<String> {
    let mut found = Vec::new();
    let mut start = Value::Null;
    loop {
        let mut scan = json!({ "TableName": world.config_table });
        if !start.is_null() {
            scan["ExclusiveStartKey"] = start;
        }
        let mut page = world.aws.dynamodb("Scan", &scan);
        for item in page["Items"].as_array().into_iter().flatten() {
            let text = |name: &str| item[name]["S"].as_str().unwrap_or_default();
            if text("by") == "postrider" && text("subject") == patient.id.to_string() {
                let at: u64 = item["at"]["N"].as_str().and_then(|at| at.parse().ok()).expect("a time");
                found.push((at, text("what").to_owned()));
            }
        }
        start = page["LastEvaluatedKey"].take();
        if start.is_null() {
            found.sort();
            return found.into_iter().map(|(_, what)| what).collect();
        }
    }
}

/// One endpoint at the end of a run.
pub(super) struct Case<'a> {
    pub(super) patient: &'a Patient,
    pub(super) kept: Kept,
    pub(super) told: Vec<Told>,
    pub(super) probes: Vec<Probe>,
    pub(super) changes: Vec<String>,
    pub(super) shown: Value,
    pub(super) events: &'a Events,
}

impl Case<'_> {
    pub(super) fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.person(&mut broken);
        self.stands(&mut broken);
        self.all_is_told(&mut broken);
        self.order(&mut broken);
        self.pauses(&mut broken);
        self.missed(&mut broken);
        broken
    }

    /// What a person wants off stays off: nothing that begins later sends there, and no probe enables it.
    fn person(&self, broken: &mut Vec<String>) {
        let Some(off) = self.kept.off else { return };
        if self.shown["disabled"] != true || self.shown["nextProbe"].is_string() {
            broken.push(format!("a person switched it off at {off:?}, and it is {}", self.shown));
        }
        let late = self.events.posts.iter().filter(|post| {
            post.receiver == self.patient.receiver && self.events.invocations[&post.invocation].from > off
        });
        for post in late {
            broken.push(format!(
                "a person switched it off at {off:?}, and {} came at {:?}",
                post.message, post.at
            ));
        }
        for told in
            self.told.iter().filter(|told| told.is_ours("endpoint.enabled") && told.made > off + SLACK)
        {
            broken
                .push(format!("a person switched it off at {off:?}, and at {:?} it was enabled", told.made));
        }
    }

    /// What only failed is back where its owner wants so, and else stays off.
    fn stands(&self, broken: &mut Vec<String>) {
        if self.kept.off.is_some() {
            return;
        }
        let count = |what: &str| self.changes.iter().filter(|change| *change == what).count();
        let (disabled, enabled) = (count("endpoint.disabled"), count("endpoint.enabled"));
        let expected = if self.patient.auto_enable { disabled } else { 0 };
        if enabled != expected {
            broken.push(format!("it was disabled {disabled} times, and enabled {enabled} times"));
        }
        if self.shown["disabled"] != (disabled > enabled) || self.shown["nextProbe"].is_string() {
            broken.push(format!("after {:?} it is {}", self.changes, self.shown));
        }
        let last = self.told.iter().rfind(|told| told.is_ours("endpoint.enabled"));
        if let Some(last) = last
            && self.shown["missedSince"] != last.data["missedSince"]
        {
            broken.push(format!("it shows {}, and was enabled with {}", self.shown, last.data));
        }
        let is_long =
            |(from, to): &(Duration, Duration)| *to - *from > Duration::from_millis(6 * DAY + 6 * HOUR);
        let long = self.patient.outages.iter().filter(|outage| is_long(outage)).count();
        if self.patient.auto_enable && disabled < long || disabled > self.patient.outages.len() {
            broken.push(format!("it failed at {:?} and was disabled {disabled} times", self.patient.outages));
        }
    }

    /// Each change of ours is told once, and that a message was given up as well.
    fn all_is_told(&self, broken: &mut Vec<String>) {
        let ours = self
            .told
            .iter()
            .filter(|told| told.is_ours("endpoint.disabled") || told.is_ours("endpoint.enabled"));
        let ours: Vec<&str> = ours.map(|told| told.kind.as_str()).collect();
        if ours != self.changes {
            broken.push(format!("it was {:?}, and told is {ours:?}", self.changes));
        }
        let is_whole =
            |(_, to): &&(Duration, Duration)| self.kept.asked.is_none_or(|asked| asked > *to + LATE);
        for (from, to) in self.patient.outages.iter().filter(is_whole) {
            let within = |at: Duration| at >= *from && at <= *to + LATE;
            let given_up =
                self.never_arrived().find(|id| within(since_start(id.time())) && self.was_tried(*id));
            let is_told = self.told.iter().any(|told| told.kind == "endpoint.failing" && within(told.made));
            if let (Some(message), false) = (given_up, is_told) {
                broken.push(format!("{message} was given up, and nothing is told of {from:?} to {to:?}"));
            }
        }
    }

    /// Failing, once more before the end, recovered or disabled, and enabled where it comes back: in this order, each
    /// of one outage. Where a person interferes, until then.
    fn order(&self, broken: &mut Vec<String>) {
        enum Is<'a> {
            Well,
            Failing(&'a str, u32),
            Off,
        }
        let until = self.kept.asked.unwrap_or(Duration::MAX).saturating_sub(SLACK);
        let (mut is, mut end) = (Is::Well, 0);
        for told in self.told.iter().filter(|told| told.made < until) {
            is = match (is, told.kind.as_str()) {
                (Is::Well, "endpoint.failing") => Is::Failing(told.since(), 1),
                (Is::Failing(since, 1), "endpoint.failing") if since == told.since() => Is::Failing(since, 2),
                (Is::Failing(since, _), "endpoint.recovered") if since == told.since() => Is::Well,
                (Is::Failing(since, _), "endpoint.disabled")
                    if since == told.since()
                        && told.data["reason"].is_string()
                        && told.data["nextProbe"].is_string() == self.patient.auto_enable =>
                {
                    Is::Off
                }
                (Is::Off, "endpoint.enabled")
                    if self.patient.auto_enable
                        && told.data["reason"].is_string()
                        && told.data["missedSince"].is_string() =>
                {
                    Is::Well
                }
                _ => {
                    let kinds: Vec<_> = self.told.iter().map(|told| (&told.kind, told.made)).collect();
                    return broken.push(format!("what is told has no sense from {} on: {kinds:?}", told.id));
                }
            };
            end += 1;
        }
        if self.kept.off.is_none() && matches!(is, Is::Failing(..)) {
            broken.push(format!("after {end} operational webhooks it fails, and messages arrive"));
        }
        // What was made an hour earlier arrives earlier, whatever struck.
        for (nth, later) in self.told.iter().enumerate() {
            for earlier in &self.told[..nth] {
                if later.made > earlier.made + LATE && later.at < earlier.at {
                    broken.push(format!(
                        "{} {} came before {} {}",
                        later.kind, later.id, earlier.kind, earlier.id
                    ));
                }
            }
        }
    }

    /// Pauses grow from an hour to a day, begin with twice as much each time that a probe enabled it in vain, and nothing
    /// is sent beside them. A probe that was answered is the last one.
    fn pauses(&self, broken: &mut Vec<String>) {
        let mut disabled = self.told.iter().filter(|told| told.is_ours("endpoint.disabled"));
        let (mut round, mut before): (u32, Option<&Probe>) = (0, None);
        for probe in &self.probes {
            let (from, to, pause) = match before {
                Some(last) if probe.number == last.number + 1 => {
                    if last.always_answered {
                        broken.push(format!("it was probed once more after {last:?}: {probe:?}"));
                    }
                    let first = 1 << round.saturating_sub(1);
                    (last.first, last.last, (first << last.number).min(PAUSE_MAX))
                }
                _ if probe.number == 1 => {
                    round += 1;
                    let Some(told) = disabled.next() else {
                        return broken.push(format!("it was not disabled, and probed: {probe:?}"));
                    };
                    let pause = (1 << (round - 1)).min(PAUSE_MAX);
                    if before.is_some_and(|last| !last.answered) {
                        broken
                            .push(format!("a probe that was not answered was the last one before {probe:?}"));
                    }
                    (told.made, told.made, pause)
                }
                _ => return broken.push(format!("a probe follows another that it cannot follow: {probe:?}")),
            };
            let pause = Duration::from_millis(pause * HOUR);
            if probe.first + SLACK < from + pause || probe.first > to + pause + LATE {
                broken.push(format!("a pause of {pause:?} from {from:?} or {to:?} on: {probe:?}"));
            }
            before = Some(probe);
        }
    }

    fn arrived(&self, id: MessageId) -> bool {
        let id = id.to_string();
        let mut posts = self.events.posts.iter().filter(|post| post.receiver == self.patient.receiver);
        posts.any(|post| post.message == id && post.answer.is_some_and(|(_, status)| status < 300))
    }

    fn was_tried(&self, id: MessageId) -> bool {
        let id = id.to_string();
        let mut posts = self.events.posts.iter().filter(|post| post.receiver == self.patient.receiver);
        posts.any(|post| post.message == id)
    }

    fn never_arrived(&self) -> impl Iterator<Item = MessageId> {
        self.kept.sent.iter().copied().filter(|id| !self.arrived(*id))
    }

    /// Since when it says that it missed something: nothing that was given up in this outage is older, and nothing of
    /// an earlier outage is meant.
    fn missed(&self, broken: &mut Vec<String>) {
        for told in self.told.iter().filter(|told| told.is_ours("endpoint.enabled")) {
            let outage = self.patient.outages.iter().rfind(|(from, _)| *from < told.made);
            let Some((from, _)) = outage else {
                broken.push(format!("it was enabled and had not failed: {}", told.data));
                continue;
            };
            let since = told.data["missedSince"].as_str().and_then(Timestamp::parse).expect("a time");
            let begun = from.saturating_sub(LATE);
            let of_it =
                |id: &MessageId| since_start(id.time()) >= begun && since_start(id.time()) < told.made;
            let oldest = self.never_arrived().filter(of_it).map(|id| id.time()).min();
            if oldest.is_some_and(|oldest| since > oldest) || since_start(since) < begun {
                broken.push(format!("it failed from {from:?} on, and missed {oldest:?}: {}", told.data));
            }
            let last = self.probes.iter().rfind(|probe| probe.first < told.made + SLACK);
            if last.is_none_or(|probe| !probe.answered || told.data["missedSince"] != probe.missed_since) {
                broken.push(format!("it was enabled with {} after {last:?}", told.data));
            }
        }
    }
}
