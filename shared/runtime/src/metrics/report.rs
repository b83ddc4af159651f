//! What was counted, and the lines that CloudWatch makes metrics of.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{DIMENSION, Metric, NAMESPACE, STACK, VALUES_MAX};
use crate::clock::Timestamp;

/// What a function counted, in one invocation or in several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The function's name, by its folder.
    pub function: &'static str,
    /// When the first of it was told.
    pub at: Timestamp,
    /// Counts that are not 0, each once and in the order of [`Metric::ALL`].
    counts: Vec<(Metric, u64)>,
    /// [`Metric::TimerLag`], of whoever looked at timers.
    pub(super) timer_lag: Option<Duration>,
    /// Each [`Metric::AcceptToFirstAttempt`], in milliseconds.
    pub(super) latencies: Vec<u64>,
}

impl Report {
    pub(super) const fn new(function: &'static str, at: Timestamp) -> Self {
        Self { function, at, counts: Vec::new(), timer_lag: None, latencies: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.timer_lag.is_none() && self.latencies.is_empty()
    }

    pub(super) fn count(&mut self, metric: Metric, more: u64) {
        if more == 0 {
            return;
        }
        let place = |metric: Metric| Metric::ALL.iter().position(|known| *known == metric);
        match self.counts.binary_search_by_key(&place(metric), |(counted, _)| place(*counted)) {
            Ok(at) => self.counts[at].1 += more,
            Err(at) => self.counts.insert(at, (metric, more)),
        }
    }

    /// Whether it needs a line of its own: what came after it would need another one, or has another lag, which is that of one
    /// run of the timers.
    pub fn is_full(&self) -> bool {
        self.latencies.len() >= VALUES_MAX || self.timer_lag.is_some()
    }

    /// Adds what the same function counted later: counts add up, each latency stays, and the largest lag counts.
    pub fn add(&mut self, mut later: Self) {
        for (metric, more) in later.counts {
            self.count(metric, more);
        }
        self.timer_lag = self.timer_lag.max(later.timer_lag);
        self.latencies.append(&mut later.latencies);
    }

    /// Lines in the embedded metric format for the stack of that name, without their ends: one, and one more for each further
    /// hundred latencies.
    pub fn lines(&self, stack: &str) -> Vec<String> {
        let mut values: Vec<(Metric, Value)> =
            self.counts.iter().map(|(metric, count)| (*metric, json!(count))).collect();
        if let Some(lag) = self.timer_lag {
            values.push((Metric::TimerLag, json!(lag.as_secs_f64())));
        }
        let mut lines = Vec::new();
        for part in self.latencies.chunks(VALUES_MAX) {
            values.push((Metric::AcceptToFirstAttempt, json!(part)));
            lines.push(self.line(stack, std::mem::take(&mut values)));
        }
        if !values.is_empty() {
            lines.push(self.line(stack, values));
        }
        lines
    }

    fn line(&self, stack: &str, values: Vec<(Metric, Value)>) -> String {
        let metrics: Vec<Value> = values
            .iter()
            .map(|(metric, _)| json!({ "Name": metric.name(), "Unit": metric.unit() }))
            .collect();
        let directive =
            json!({ "Namespace": NAMESPACE, "Dimensions": [[STACK, DIMENSION]], "Metrics": metrics });
        let mut line = Map::new();
        line.insert("_aws".into(), json!({ "Timestamp": self.at.ms(), "CloudWatchMetrics": [directive] }));
        line.insert(STACK.into(), stack.into());
        line.insert(DIMENSION.into(), self.function.into());
        line.extend(values.into_iter().map(|(metric, value)| (metric.name().to_owned(), value)));
        Value::Object(line).to_string()
    }
}
