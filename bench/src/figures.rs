//! The figures of a run, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use local::Ledger;
use serde::Serialize;

use crate::cost::Cost;
use crate::cpu::ByName;
use crate::flags::{Beside, Order, Pace, Plan, Server, Storage};
use crate::poll::Backlog;
use crate::tally::{Tally, Told};

/// Points of the timeline at most.
const POINTS_MAX: u64 = 200;

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of them took this or less.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Latency {
    fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let rank = |of_100: usize| {
            let at = (micros.len() * of_100).div_ceil(100).max(1) - 1;
            micros.get(at).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
        };
        Self { p50_ms: rank(50), p95_ms: rank(95), p99_ms: rank(99), max_ms: rank(100) }
    }
}

/// What was posted within a part of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Its beginning, in seconds since the run's.
    pub second: f64,
    /// Messages that were posted in it and accepted.
    pub accepted: u64,
    /// From a message's POST to its answer.
    pub accept: Latency,
    /// From a message's POST to its arrival.
    pub post_to_arrival: Latency,
}

/// What one page of a list, or statistics, take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PageCost {
    /// Of what.
    pub list: String,
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// Read request units; only the local stack tells.
    pub read_units: Option<f64>,
    /// Requests to DynamoDB.
    pub requests: Option<f64>,
}

/// Pages that were read between posts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reads {
    /// How many.
    pub count: u64,
    /// What they took.
    pub latency: Latency,
}

/// The figures of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// What was measured, in words.
    pub server: String,
    /// The load, in words.
    pub load: String,
    /// Messages accepted.
    pub accepted: u64,
    /// Messages accepted a second.
    pub accepted_per_second: f64,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries a second, until the last one.
    pub delivered_per_second: f64,
    /// From a message's POST to its answer.
    pub accept: Latency,
    /// From a message's POST to its arrival.
    pub post_to_arrival: Latency,
    /// From a message's answer to its arrival; 0 where it arrived before its answer.
    pub accept_to_arrival: Latency,
    /// Reads between posts, if there were any.
    pub reads: Option<Reads>,
    /// Deliveries of accepted messages that did not arrive.
    pub lost: u64,
    /// Arrivals beyond the first one.
    pub doubled: u64,
    /// Arrivals whose signature does not fit.
    pub wrongly_signed: u64,
    /// Arrivals whose body is not what was posted, or that came to another's endpoint.
    pub altered: u64,
    /// Messages that were not accepted, by what was answered.
    pub errors: BTreeMap<String, u64>,
    /// Milliseconds of CPU for one delivery, by threads; for one accepted message where nothing is delivered.
    pub cpu_ms_per_delivery: BTreeMap<String, f64>,
    /// The same for the functions' own code: what polling their invocations takes. It is a part of the
    /// threads'; only the local stack tells.
    pub own_cpu_ms_per_delivery: BTreeMap<String, f64>,
    /// What a delivery took of DynamoDB and SQS; only the local stack tells.
    pub cost: Option<Cost>,
    /// What was on file and fetched before the run.
    pub backlog: Option<Backlog>,
    /// Deliveries a second once a paused order was resumed, with all messages in it.
    pub resumed_per_second: Option<f64>,
    /// What pages of lists take, after the run.
    pub pages: Vec<PageCost>,
    /// Latency over time.
    pub timeline: Vec<Point>,
}

impl Figures {
    pub(crate) fn new(
        plan: &Plan,
        tally: &Tally,
        took: Duration,
        [used, own]: [&ByName; 2],
        spent: Option<&Ledger>,
        pages: Vec<PageCost>,
    ) -> Self {
        let told: Vec<Told> = tally.each().collect();
        let began = told.iter().map(|told| told.posted).min().unwrap_or(0);
        let arrivals =
            || told.iter().flat_map(|told| told.arrived.iter().flatten().map(move |took| (told, *took)));
        let delivered = arrivals().count() as u64;
        let rate = |count: u64, end: Option<u64>| {
            let micros = end.unwrap_or(began).saturating_sub(began).max(1);
            count as f64 / (micros as f64 / 1e6)
        };
        let answered = told.iter().map(|told| told.posted + u64::from(told.answered)).max();
        let arrived = arrivals().map(|(told, took)| told.posted + u64::from(took)).max();
        let done = if plan.endpoints == 0 { told.len() as u64 } else { delivered };
        let cpu_ms = |used: &Duration| used.as_secs_f64() * 1e3 / done.max(1) as f64;
        let reads = tally.reads();
        Self {
            server: server(plan),
            load: load(plan),
            accepted: told.len() as u64,
            accepted_per_second: rate(told.len() as u64, answered),
            delivered,
            delivered_per_second: rate(delivered, arrived),
            accept: Latency::of(told.iter().map(|told| told.answered).collect()),
            post_to_arrival: Latency::of(arrivals().map(|(_, took)| took).collect()),
            accept_to_arrival: Latency::of(
                arrivals().map(|(told, took)| took.saturating_sub(told.answered)).collect(),
            ),
            reads: (!reads.is_empty())
                .then(|| Reads { count: reads.len() as u64, latency: Latency::of(reads) }),
            lost: told.iter().flat_map(|told| &told.arrived).filter(|took| took.is_none()).count() as u64,
            doubled: tally.doubled.load(Ordering::Relaxed),
            wrongly_signed: tally.wrongly_signed.load(Ordering::Relaxed),
            altered: tally.altered.load(Ordering::Relaxed),
            errors: tally.errors(),
            cpu_ms_per_delivery: used.iter().map(|(name, used)| (name.clone(), cpu_ms(used))).collect(),
            own_cpu_ms_per_delivery: own.iter().map(|(name, used)| (name.clone(), cpu_ms(used))).collect(),
            cost: spent.map(|spent| Cost::new(spent, done)),
            backlog: None,
            resumed_per_second: None,
            pages,
            timeline: timeline(&told, began, took),
        }
    }

    /// Every message was accepted, arrived, and was signed rightly.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.wrongly_signed == 0 && self.altered == 0 && self.errors.is_empty()
    }

    /// All of it, as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn timeline(told: &[Told], began: u64, took: Duration) -> Vec<Point> {
    // Whole parts of a second up to a second, then whole seconds.
    let wanted = u64::try_from(took.as_micros()).unwrap_or(u64::MAX) / POINTS_MAX;
    let width = match wanted {
        0..100_000 => 100_000,
        100_000..1_000_000 => 1_000_000,
        _ => wanted.div_ceil(1_000_000) * 1_000_000,
    };
    let mut parts: BTreeMap<u64, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
    for told in told {
        let part = parts.entry((told.posted - began) / width).or_default();
        part.0.push(told.answered);
        part.1.extend(told.arrived.iter().flatten());
    }
    let point = |(at, (answered, arrived)): (u64, (Vec<u32>, Vec<u32>))| Point {
        second: (at * width) as f64 / 1e6,
        accepted: answered.len() as u64,
        accept: Latency::of(answered),
        post_to_arrival: Latency::of(arrived),
    };
    parts.into_iter().map(point).collect()
}

pub(crate) fn server(plan: &Plan) -> String {
    match &plan.server {
        Server::At { url, .. } => url.clone(),
        Server::Own { storage, sockets } => {
            let kept = if *storage == Storage::Memory { "in memory" } else { "in files" };
            let reached = if *sockets { "over sockets" } else { "inside the process" };
            format!("local stack, tables and queues {kept} and reached {reached}")
        }
    }
}

fn load(plan: &Plan) -> String {
    let pace = match plan.pace {
        Pace::Rate(rate) => format!("{rate} a second"),
        Pace::Posters(posters) => format!("flat out with {posters} posters"),
    };
    let with = match (plan.idempotency_key, plan.event_id) {
        (false, false) => "",
        (true, false) => ", each with an idempotency key",
        (false, true) => ", each with an eventId",
        (true, true) => ", each with an idempotency key and an eventId",
    };
    let together =
        if plan.together > 1 { format!(", {} in a request", plan.together) } else { String::new() };
    let reads =
        if plan.reads > 0 { format!(", {} reads after each request", plan.reads) } else { String::new() };
    let Beside { receivers, rate, takes, here } = plan.beside;
    let beside = match (receivers, here) {
        (0, _) => String::new(),
        (_, true) => format!(", beside {receivers} in each that take {takes:?}"),
        (_, false) => format!(", beside {receivers} that take {takes:?} and get {rate} a second"),
    };
    let fetched =
        plan.poll.map(|every| format!(", fetched by a worker each, which waits {every:?} for more"));
    let fetched = fetched.unwrap_or_default();
    let mut order = match &plan.order {
        None => String::new(),
        Some(Order::All) => ", in order".to_owned(),
        Some(Order::By(pointer)) => format!(", in order of each {pointer}"),
    };
    if plan.batch > 1 {
        order.push_str(&format!(", up to {} in a webhook", plan.batch));
    }
    format!(
        "{} messages of {} bytes{with}{together}{reads}, {pace}; applications: {}, endpoints of each: {}{}{}{beside}{fetched}{order}",
        plan.messages,
        plan.size,
        plan.applications,
        plan.endpoints,
        if plan.others > 0 { format!(" and {} that want none", plan.others) } else { String::new() },
        if plan.stored > 0 { format!(", messages on file: {}", plan.stored) } else { String::new() }
    )
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ms, p95_ms, p99_ms, max_ms } = self;
        write!(f, "{p50_ms:>9.2} {p95_ms:>9.2} {p99_ms:>9.2} {max_ms:>9.2}")
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.server)?;
        writeln!(f, "{}", self.load)?;
        writeln!(f)?;
        writeln!(f, "accepted   {:>8}   {:>8.0} a second", self.accepted, self.accepted_per_second)?;
        // Where nobody is delivered to.
        let alone = self.delivered + self.lost == 0;
        if !alone {
            writeln!(f, "delivered  {:>8}   {:>8.0} a second", self.delivered, self.delivered_per_second)?;
        }
        writeln!(f, "milliseconds             p50       p95       p99       max")?;
        writeln!(f, "POST to answer     {}", self.accept)?;
        if !alone {
            writeln!(f, "POST to arrival    {}", self.post_to_arrival)?;
            writeln!(f, "answer to arrival  {}", self.accept_to_arrival)?;
        }
        if let Some(Reads { count, latency }) = self.reads {
            writeln!(f, "{:<18} {latency}", format!("{count} reads"))?;
        }
        writeln!(
            f,
            "lost {}, doubled {}, wrongly signed {}, altered {}, errors {}",
            self.lost,
            self.doubled,
            self.wrongly_signed,
            self.altered,
            self.errors.values().sum::<u64>()
        )?;
        for (error, count) in &self.errors {
            writeln!(f, "  {count} × {error}")?;
        }
        let of = if alone { "message" } else { "delivery" };
        for (by, used) in
            [("threads", &self.cpu_ms_per_delivery), ("functions' own code", &self.own_cpu_ms_per_delivery)]
        {
            let each = used.iter().filter(|(_, ms)| **ms >= 0.001);
            let each: Vec<String> = each.map(|(name, ms)| format!("{name} {ms:.3}")).collect();
            let all: f64 = used.values().sum();
            if !each.is_empty() {
                writeln!(f, "CPU ms for one {of}, by {by}: {}; all {all:.3}", each.join(", "))?;
            }
        }
        if let Some(cost) = &self.cost {
            write!(f, "for one {of}: ")?;
            cost.fmt(f)?;
        }
        if let Some(Backlog { messages, requests, seconds, out_of_order, slowest_ms }) = self.backlog {
            let rate = messages as f64 / seconds.max(1e-6);
            writeln!(
                f,
                "backlog: {messages} messages fetched in {seconds:.1} s, {rate:.0} a second, by {requests} requests, \
                 {out_of_order} out of order; the longest turn {slowest_ms:.0} ms"
            )?;
        }
        if let Some(rate) = self.resumed_per_second {
            writeln!(f, "once resumed, with all of them accepted: {rate:.0} deliveries a second")?;
        }
        for PageCost { list, p50_ms, read_units, requests } in &self.pages {
            write!(f, "{list}: p50 {p50_ms:.2} ms")?;
            if let (Some(units), Some(requests)) = (read_units, requests) {
                write!(f, ", {units:.1} RRU, {requests:.1} DynamoDB requests")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let latency = Latency::of((1..=100).map(|ms| ms * 1_000).rev().collect());
        assert_eq!(latency, Latency { p50_ms: 50.0, p95_ms: 95.0, p99_ms: 99.0, max_ms: 100.0 });
        assert_eq!(Latency::of(vec![2_500]).p50_ms, 2.5);
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn the_timeline_has_a_bounded_number_of_points() {
        let told: Vec<Told> = (0..3_000_u64)
            .map(|at| Told { posted: 7 + at * 1_000_000, answered: 1_000, arrived: vec![Some(2_000)] })
            .collect();
        let points = timeline(&told, 7, Duration::from_secs(3_000));
        assert_eq!(points.len(), 200);
        assert_eq!((points[1].second, points[1].accepted), (15.0, 15));
        assert_eq!(points[1].post_to_arrival.p99_ms, 2.0);
    }
}
