//! The functions' metrics as Prometheus reads them: what CloudWatch does with their lines.
//!
//! Here the lines of all functions are added up; [`crate::scrape`] puts beside them what AWS's services
//! would tell themselves.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use shared::metrics::{DIMENSION, Metric, NAMESPACE, Report, Sink};

/// Upper ends of the classes that latencies are counted in, in seconds.
const LATENCY_BOUNDS: [f64; 13] =
    [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// What the runner is called where CloudWatch has a stack's name.
const STACK_NAME: &str = "local";

/// The name of a metric in Prometheus: unit and kind are its end.
pub(crate) const fn series(metric: Metric) -> &'static str {
    match metric {
        Metric::Accepted => "postrider_accepted_total",
        Metric::Delivered => "postrider_delivered_total",
        Metric::Failed => "postrider_failed_total",
        Metric::Retried => "postrider_retried_total",
        Metric::Disabled => "postrider_disabled_total",
        Metric::AcceptToFirstAttempt => "postrider_accept_to_first_attempt_seconds",
        Metric::TimerLag => "postrider_timer_lag_seconds",
    }
}

const fn help(metric: Metric) -> &'static str {
    match metric {
        Metric::Accepted => "Messages that were accepted.",
        Metric::Delivered => "Attempts that arrived.",
        Metric::Failed => "Attempts that did not arrive.",
        Metric::Retried => "Failed attempts whose successor was queued.",
        Metric::Disabled => "Endpoints that were disabled because they asked for it or failed for too long.",
        Metric::AcceptToFirstAttempt => {
            "From the acceptance of a message to its first attempt at an endpoint."
        }
        Metric::TimerLag => "How late the oldest timer was in the last run of the timers.",
    }
}

/// How often something took how long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// How many fell into each class, and behind the last bound.
    classes: [u64; LATENCY_BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    pub(crate) fn add(&mut self, seconds: f64) {
        let class = LATENCY_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY_BOUNDS.len());
        self.classes[class] += 1;
        self.sum += seconds;
    }
}

/// All values of one metric, by function.
#[derive(Clone, Debug)]
enum Values {
    Counter(BTreeMap<String, f64>),
    Gauge(BTreeMap<String, f64>),
    Histogram(BTreeMap<String, Histogram>),
}

/// What was told so far, of all functions.
#[derive(Debug)]
pub(crate) struct Registry(Mutex<Told>);

#[derive(Debug)]
struct Told {
    all: Vec<(Metric, Values)>,
    /// What each function told since its last line. Writing and reading a line for each invocation was 2 % of the runner's
    /// CPU, so there is one for a hundred deliveries, or when somebody reads.
    waiting: BTreeMap<&'static str, Report>,
}

impl Default for Registry {
    fn default() -> Self {
        let nothing = |metric: Metric| {
            let functions = metric.functions().iter().map(|function| (*function).to_owned());
            match metric.unit() {
                // From the start, so that the first one counts as an increase.
                "Count" => Values::Counter(functions.map(|function| (function, 0.0)).collect()),
                "Milliseconds" => {
                    Values::Histogram(functions.map(|function| (function, Histogram::default())).collect())
                }
                _ => Values::Gauge(BTreeMap::new()),
            }
        };
        let all = Metric::ALL.map(|metric| (metric, nothing(metric))).into();
        Self(Mutex::new(Told { all, waiting: BTreeMap::new() }))
    }
}

impl Sink for Registry {
    fn take(&self, report: Report) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = match told.waiting.entry(report.function) {
            Entry::Vacant(free) if report.is_full() => Some((free.into_key(), report)),
            Entry::Vacant(free) => {
                free.insert(report);
                None
            }
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().add(report);
                waiting.get().is_full().then(|| waiting.remove_entry())
            }
        };
        if let Some((_, report)) = full {
            told.read(&report);
        }
    }
}

impl Registry {
    /// Everything, in Prometheus's text format.
    pub(crate) fn text(&self) -> Text {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for report in std::mem::take(&mut told.waiting).values() {
            told.read(report);
        }
        let mut text = Text::default();
        for (metric, values) in &told.all {
            values.write(&mut text, series(*metric), help(*metric));
        }
        text
    }
}

impl Told {
    fn read(&mut self, report: &Report) {
        for line in report.lines(STACK_NAME) {
            if let Err(problem) = self.add(&line) {
                tracing::error!(problem, line, "a line of metrics is not what CloudWatch would read");
            }
        }
    }

    /// Adds a line, read as CloudWatch reads it: what its directives do not name is no metric.
    fn add(&mut self, line: &str) -> Result<(), String> {
        let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let function = line[DIMENSION].as_str().ok_or("the dimension is missing")?;
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().ok_or("there is no directive")?;
        for directive in directives {
            if directive["Namespace"] != NAMESPACE {
                return Err(format!("the namespace is {}", directive["Namespace"]));
            }
            for definition in directive["Metrics"].as_array().into_iter().flatten() {
                let name = definition["Name"].as_str().unwrap_or_default();
                let known = self.all.iter_mut().find(|(metric, _)| metric.name() == name);
                let (metric, values) = known.ok_or_else(|| format!("the metric {name:?} is unknown"))?;
                if definition["Unit"] != metric.unit() {
                    return Err(format!("the unit of {name} is {}", definition["Unit"]));
                }
                let told = match &line[name] {
                    Value::Array(several) => several.iter().filter_map(Value::as_f64).collect(),
                    one => Vec::from_iter(one.as_f64()),
                };
                if told.is_empty() {
                    return Err(format!("{name} has no value"));
                }
                values.add(function, &told);
            }
        }
        Ok(())
    }
}

impl Values {
    fn add(&mut self, function: &str, told: &[f64]) {
        match self {
            Self::Counter(counts) => {
                *counts.entry(function.to_owned()).or_default() += told.iter().sum::<f64>()
            }
            Self::Gauge(values) => {
                values.insert(function.to_owned(), told.iter().copied().fold(0.0, f64::max));
            }
            Self::Histogram(histograms) => {
                let histogram = histograms.entry(function.to_owned()).or_default();
                told.iter().for_each(|ms| histogram.add(ms / 1000.0));
            }
        }
    }

    fn write(&self, text: &mut Text, name: &str, help: &str) {
        match self {
            Self::Counter(counts) => {
                text.head(name, "counter", help);
                counts
                    .iter()
                    .for_each(|(function, count)| text.value(name, &[("function", function)], *count));
            }
            Self::Gauge(values) => {
                text.head(name, "gauge", help);
                values
                    .iter()
                    .for_each(|(function, value)| text.value(name, &[("function", function)], *value));
            }
            Self::Histogram(histograms) => {
                text.head(name, "histogram", help);
                for (function, histogram) in histograms {
                    text.histogram(name, &[("function", function)], histogram);
                }
            }
        }
    }
}

/// Prometheus's text format.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// What Prometheus asks its sources to call it.
    pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a metric.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _infallible = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A value of the metric that was begun last. Labels are names of this repository and need no escape.
    pub(crate) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _infallible = writeln!(self.0, "{name}{labels} {value}");
    }

    /// The classes of a histogram with these labels, each with those below it, their sum and their count.
    pub(crate) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let (bucket, mut count) = (format!("{name}_bucket"), 0);
        let bounds = LATENCY_BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, class) in bounds.zip(histogram.classes) {
            count += class;
            self.value(&bucket, &[labels, &[("le", &bound)]].concat(), count as f64);
        }
        self.value(&format!("{name}_sum"), labels, histogram.sum);
        self.value(&format!("{name}_count"), labels, count as f64);
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use shared::clock::SystemClock;
    use shared::metrics::Metrics;

    use super::*;

    /// What waits for its line is counted as soon as somebody reads, and once.
    #[test]
    fn what_waits_is_there_for_who_reads_and_counts_once() {
        let registry = Arc::new(Registry::default());
        let metrics = Metrics::new("deliver", Arc::new(SystemClock), registry.clone());
        for sent in 1..=250 {
            metrics.delivered();
            metrics.first_attempt_after(Duration::from_millis(30));
            metrics.flush();
            if sent % 99 == 0 || sent == 250 {
                let text = registry.text().into_string();
                for series in ["delivered_total", "accept_to_first_attempt_seconds_count"] {
                    let line = format!("postrider_{series}{{function=\"deliver\"}} {sent}");
                    assert!(text.lines().any(|found| found == line), "{line}\n{text}");
                }
            }
        }
    }

    #[test]
    fn what_functions_tell_is_added_up() {
        let registry = Arc::new(Registry::default());
        let instances = [(); 2].map(|()| Metrics::new("deliver", Arc::new(SystemClock), registry.clone()));
        let timers = Metrics::new("timers", Arc::new(SystemClock), registry.clone());
        for metrics in &instances {
            metrics.delivered();
            metrics.first_attempt_after(Duration::from_millis(30));
            metrics.first_attempt_after(Duration::from_secs(7_200));
            metrics.flush();
        }
        for lag in [90, 2] {
            timers.timer_lag(Duration::from_secs(lag));
            timers.flush();
        }
        let text = registry.text().into_string();
        for line in [
            "# TYPE postrider_delivered_total counter",
            "postrider_delivered_total{function=\"deliver\"} 2",
            "postrider_accepted_total{function=\"messages\"} 0",
            "postrider_timer_lag_seconds{function=\"timers\"} 2",
            "postrider_accept_to_first_attempt_seconds_bucket{function=\"deliver\",le=\"0.025\"} 0",
            "postrider_accept_to_first_attempt_seconds_bucket{function=\"deliver\",le=\"0.05\"} 2",
            "postrider_accept_to_first_attempt_seconds_bucket{function=\"deliver\",le=\"1800\"} 2",
            "postrider_accept_to_first_attempt_seconds_bucket{function=\"deliver\",le=\"+Inf\"} 4",
            "postrider_accept_to_first_attempt_seconds_sum{function=\"deliver\"} 14400.06",
            "postrider_accept_to_first_attempt_seconds_count{function=\"deliver\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_line_that_cloudwatch_would_not_read_is_refused() {
        let line = |namespace: &str, name: &str, unit: &str, value: &str| {
            format!(
                r#"{{"Function":"deliver","_aws":{{"Timestamp":1,"CloudWatchMetrics":[{{"Namespace":"{namespace}",
                "Dimensions":[["Function"]],"Metrics":[{{"Name":"{name}","Unit":"{unit}"}}]}}]}},"{name}":{value}}}"#
            )
        };
        let add = |line: &str| Registry::default().0.into_inner().unwrap().add(line).is_ok();
        assert!(add(&line("Postrider", "Failed", "Count", "1")));
        assert!(!add(&line("Other", "Failed", "Count", "1")));
        assert!(!add(&line("Postrider", "Fialed", "Count", "1")));
        assert!(!add(&line("Postrider", "Failed", "Seconds", "1")));
        assert!(!add(&line("Postrider", "Failed", "Count", "[]")));
        assert!(!add("{}"));
    }
}
