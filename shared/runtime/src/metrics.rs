//! What the business wants to know: counted in the functions, added up by instance, and written every ten seconds at most.
//!
//! What an invocation counted is a [`Report`], given to a [`Sink`] at its end. In Lambda, [`Stdout`] adds the reports of
//! ten seconds up and writes them as one line in CloudWatch's embedded metric format: JSON on standard output, of which CloudWatch
//! Logs makes metrics, without a request and without a permission. The lines obey no log filter. The local runner
//! reads the same lines for its `/metrics`.

mod report;
mod stdout;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;

pub use report::Report;
pub use stdout::{PACE, Stdout, stack};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Postrider";
/// The first of their dimensions, the stack's name: two stacks in one account and region do not add up.
pub const STACK: &str = "Stack";
/// The other one. Its values are the functions' names: what costs money here is each
/// combination of metric and dimensions, so nothing that grows with the customers may be one.
pub const DIMENSION: &str = "Function";
/// Most values of one metric in one line, by the format's definition.
const VALUES_MAX: usize = 100;
/// Most latencies that wait for the end of an invocation. Ten times what any batch holds; more are
/// lost, should invocations die one after the other.
const LATENCIES_MAX: usize = 1_000;

/// What is counted and measured. Alarms and dashboards name these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Messages that were posted, or put into the queue, and stored, with their deliveries under way. A repeated request counts
    /// no second time.
    Accepted,
    /// Attempts that arrived.
    Delivered,
    /// Attempts that did not.
    Failed,
    /// Failed attempts whose successor was queued.
    Retried,
    /// Endpoints that were switched off because they asked for it, or failed for too long.
    Disabled,
    /// From a message's acceptance to the begin of its first attempt at an endpoint.
    AcceptToFirstAttempt,
    /// How late the oldest timer was that a run of the timers found due; 0 if none was.
    TimerLag,
}

impl Metric {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Delivered,
        Self::Failed,
        Self::Retried,
        Self::Disabled,
        Self::AcceptToFirstAttempt,
        Self::TimerLag,
    ];

    /// Its name in CloudWatch.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Delivered => "Delivered",
            Self::Failed => "Failed",
            Self::Retried => "Retried",
            Self::Disabled => "Disabled",
            Self::AcceptToFirstAttempt => "AcceptToFirstAttempt",
            Self::TimerLag => "TimerLag",
        }
    }

    /// Its unit, as CloudWatch calls it.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Accepted | Self::Delivered | Self::Failed | Self::Retried | Self::Disabled => "Count",
            Self::AcceptToFirstAttempt => "Milliseconds",
            Self::TimerLag => "Seconds",
        }
    }

    /// The functions that tell it.
    pub const fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Accepted => &["messages", "ingest"],
            Self::TimerLag => &["timers"],
            _ => &["deliver"],
        }
    }
}

/// Takes what functions counted.
pub trait Sink: Send + Sync + fmt::Debug {
    /// Takes what one invocation counted. What cannot be written is lost: metrics fail no invocation.
    fn take(&self, report: Report);

    /// Says that [`Sink::finish`] will be called before the process ends, so that from now on something may be held back.
    fn will_finish(&self) {}

    /// Tells what was held back. The process is about to end.
    fn finish(&self) {}
}

/// A sink that functions share.
pub type SharedSink = Arc<dyn Sink>;

/// The metrics of one function since its last report. Counting is an addition.
#[derive(Debug)]
pub struct Metrics {
    function: &'static str,
    clock: SharedClock,
    sink: SharedSink,
    accepted: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    disabled: AtomicU64,
    latencies: Mutex<Vec<u64>>,
    timer_lag: Mutex<Option<Duration>>,
}

impl Metrics {
    /// Nothing counted yet. `function` is the name of the function's folder.
    pub fn new(function: &'static str, clock: SharedClock, sink: SharedSink) -> Self {
        Self {
            function,
            clock,
            sink,
            accepted: AtomicU64::default(),
            delivered: AtomicU64::default(),
            failed: AtomicU64::default(),
            retried: AtomicU64::default(),
            disabled: AtomicU64::default(),
            // Once, not for every message.
            latencies: Mutex::new(Vec::with_capacity(VALUES_MAX)),
            timer_lag: Mutex::default(),
        }
    }

    /// A message was accepted.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt arrived.
    pub fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt failed.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A failed attempt's successor was queued.
    pub fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// An endpoint was disabled.
    pub fn disabled(&self) {
        self.disabled.fetch_add(1, Ordering::Relaxed);
    }

    /// A first attempt began so long after its message was accepted.
    pub fn first_attempt_after(&self, latency: Duration) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        if latencies.len() < LATENCIES_MAX {
            latencies.push(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// The oldest of the timers that were looked at is so late; the largest of several counts.
    pub fn timer_lag(&self, lag: Duration) {
        let mut largest = self.timer_lag.lock().unwrap_or_else(PoisonError::into_inner);
        *largest = Some(largest.unwrap_or_default().max(lag));
    }

    /// Tells what was counted since the last time, if anything was. To be called at the end of each
    /// invocation: what Lambda freezes behind it is told by the next one.
    pub fn flush(&self) {
        let mut report = Report::new(self.function, self.clock.now());
        for (metric, counter) in [
            (Metric::Accepted, &self.accepted),
            (Metric::Delivered, &self.delivered),
            (Metric::Failed, &self.failed),
            (Metric::Retried, &self.retried),
            (Metric::Disabled, &self.disabled),
        ] {
            report.count(metric, counter.swap(0, Ordering::Relaxed));
        }
        report.timer_lag = self.timer_lag.lock().unwrap_or_else(PoisonError::into_inner).take();
        report.latencies.append(&mut self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        if !report.is_empty() {
            self.sink.take(report);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::clock::{Clock, Sleep, Timestamp};

    #[derive(Debug)]
    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_ms(1_800_000_000_000)
        }
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(std::future::ready(()))
        }
    }

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Sink for Kept {
        fn take(&self, report: Report) {
            self.0.lock().unwrap().extend(report.lines("local"));
        }
    }

    fn emitted(function: &'static str, count: impl FnOnce(&Metrics)) -> Vec<String> {
        let kept = Arc::new(Kept::default());
        let metrics = Metrics::new(function, Arc::new(Noon), kept.clone());
        count(&metrics);
        metrics.flush();
        metrics.flush();
        std::mem::take(&mut *kept.0.lock().unwrap())
    }

    #[test]
    fn one_line_has_what_an_invocation_counted() {
        let lines = emitted("deliver", |metrics| {
            (0..3).for_each(|_| metrics.delivered());
            metrics.failed();
            metrics.retried();
            metrics.first_attempt_after(Duration::from_micros(41_900));
            metrics.first_attempt_after(Duration::from_millis(7));
        });
        assert_eq!(
            lines,
            [concat!(
                r#"{"AcceptToFirstAttempt":[41,7],"Delivered":3,"Failed":1,"Function":"deliver","Retried":1,"Stack":"local","#,
                r#""_aws":{"CloudWatchMetrics":[{"Dimensions":[["Stack","Function"]],"Metrics":["#,
                r#"{"Name":"Delivered","Unit":"Count"},{"Name":"Failed","Unit":"Count"},"#,
                r#"{"Name":"Retried","Unit":"Count"},{"Name":"AcceptToFirstAttempt","Unit":"Milliseconds"}],"#,
                r#""Namespace":"Postrider"}],"Timestamp":1800000000000}}"#
            )]
        );
    }

    #[test]
    fn an_invocation_that_counted_nothing_says_nothing() {
        assert_eq!(emitted("messages", |_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_lag_of_nothing_is_told_and_the_largest_counts() {
        let lag = |lags: &[u64]| {
            let lines =
                emitted("timers", |m| lags.iter().for_each(|ms| m.timer_lag(Duration::from_millis(*ms))));
            let line: Value = serde_json::from_str(&lines[0]).unwrap();
            line["TimerLag"].as_f64().unwrap()
        };
        assert_eq!((lag(&[0]), lag(&[0, 61_500, 7])), (0.0, 61.5));
    }

    #[test]
    fn a_line_has_at_most_a_hundred_values_and_what_waits_is_bounded() {
        let lines = emitted("deliver", |metrics| {
            metrics.delivered();
            (0..5_000).for_each(|ms| metrics.first_attempt_after(Duration::from_millis(ms)));
        });
        let read: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let values = |line: &Value| line["AcceptToFirstAttempt"].as_array().map_or(0, Vec::len);
        assert_eq!(read.iter().map(values).collect::<Vec<_>>(), [VALUES_MAX; LATENCIES_MAX / VALUES_MAX]);
        assert_eq!(read.iter().filter(|line| line["Delivered"] == 1).count(), 1);
    }
}
