//! Standard output, which Lambda hands to CloudWatch Logs line by line and as it is.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Report, Sink};
use crate::clock::Timestamp;
use crate::config::Env;

/// The stack of what runs in none.
const NO_STACK: &str = "local";
/// For how long an instance adds up what it counts, before it writes a line.
pub const PACE: Duration = Duration::from_secs(10);

/// Writes lines: one after each invocation, until somebody says that it will be told of the end. From then on one
/// each [`PACE`], of all invocations since the last.
///
/// The first invocation after a pause writes at once, so that what is rare is never late. What follows within ten
/// seconds waits for the first invocation that ends after them, or for the end of the process. What waited through
/// a freeze keeps its time: it becomes a line of its own.
#[derive(Debug)]
pub struct Stdout {
    stack: String,
    held: Mutex<Held>,
    /// Takes a line with its end.
    write: fn(&str),
}

/// What was not written yet.
#[derive(Debug, Default)]
struct Held {
    /// Whether anything may be held back.
    finishes: bool,
    /// Of one function: an instance has no other.
    waiting: Option<Report>,
    last_line: Option<Timestamp>,
}

/// The name of the stack that this function belongs to, or `local`. Its log group, which Lambda names, says which:
/// `/postrider/STACK/FUNCTION`.
pub fn stack(env: &Env<'_>) -> String {
    let group = env.optional("AWS_LAMBDA_LOG_GROUP_NAME").unwrap_or_default();
    let stack = group.strip_prefix("/postrider/").and_then(|rest| rest.split_once('/'));
    stack.map_or(NO_STACK, |(stack, _)| stack).to_owned()
}

impl Stdout {
    /// Lines of the stack that this function belongs to.
    pub fn new(env: &Env<'_>) -> Self {
        // One write, so that a line is never in another's midst.
        let write = |line: &str| drop(std::io::stdout().lock().write_all(line.as_bytes()));
        Self { stack: stack(env), held: Mutex::default(), write }
    }

    fn tell(&self, report: &Report) {
        for line in report.lines(&self.stack) {
            (self.write)(&format!("{line}\n"));
        }
    }
}

impl Sink for Stdout {
    fn take(&self, report: Report) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.finishes {
            return self.tell(&report);
        }
        let now = report.at;
        if let Some(earlier) = held.waiting.take_if(|earlier| now.since(earlier.at) >= PACE) {
            self.tell(&earlier);
        }
        match &mut held.waiting {
            Some(waiting) => waiting.add(report),
            None => held.waiting = Some(report),
        }
        let is_due = held.last_line.is_none_or(|last| now.since(last) >= PACE);
        // A line that is full is not held back: another one would have to be written with it.
        if let Some(due) = held.waiting.take_if(|waiting| is_due || waiting.is_full()) {
            self.tell(&due);
            held.last_line = Some(now);
        }
    }

    fn will_finish(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).finishes = true;
    }

    fn finish(&self) {
        let waiting = self.held.lock().unwrap_or_else(PoisonError::into_inner).waiting.take();
        waiting.iter().for_each(|waiting| self.tell(waiting));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::Value;

    use super::*;
    use crate::metrics::Metric;

    thread_local! {
        static WRITTEN: RefCell<Vec<String>> = RefCell::default();
    }

    fn stdout() -> Stdout {
        let write = |line: &str| WRITTEN.with_borrow_mut(|written| written.push(line.to_owned()));
        Stdout { stack: "s".into(), held: Mutex::default(), write }
    }

    /// When what was written since the last time was counted, in seconds, and how many attempts and latencies that is.
    fn written() -> Vec<(u64, u64, usize)> {
        let lines = WRITTEN.with_borrow_mut(std::mem::take);
        let read = lines.iter().map(|line| {
            assert!(line.ends_with("}\n"), "{line}");
            let line: Value = serde_json::from_str(line).unwrap();
            let at = line["_aws"]["Timestamp"].as_u64().unwrap() / 1000;
            let latencies = line["AcceptToFirstAttempt"].as_array().map_or(0, Vec::len);
            (at, line["Delivered"].as_u64().unwrap_or_default(), latencies)
        });
        read.collect()
    }

    /// An invocation that ends at that second.
    fn invoked(stdout: &Stdout, second: u64, delivered: u64, latencies: usize) -> Vec<(u64, u64, usize)> {
        let mut report = Report::new("deliver", Timestamp::from_ms(second * 1000));
        report.count(Metric::Delivered, delivered);
        report.latencies = vec![7; latencies];
        stdout.take(report);
        written()
    }

    #[test]
    fn one_line_in_ten_seconds_says_what_all_invocations_counted() {
        let stdout = stdout();
        stdout.will_finish();
        assert_eq!(invoked(&stdout, 100, 1, 1), [(100, 1, 1)], "the first at once");
        for second in 101..110 {
            assert_eq!(invoked(&stdout, second, 2, 2), []);
        }
        assert_eq!(invoked(&stdout, 110, 2, 2), [(101, 20, 20)]);
        assert_eq!(invoked(&stdout, 112, 1, 0), []);
        stdout.finish();
        assert_eq!(written(), [(112, 1, 0)]);
        stdout.finish();
        assert_eq!(written(), [], "nothing is told twice");
    }

    #[test]
    fn what_waited_through_a_freeze_keeps_its_time() {
        let stdout = stdout();
        stdout.will_finish();
        assert_eq!(invoked(&stdout, 100, 1, 0), [(100, 1, 0)]);
        assert_eq!(invoked(&stdout, 103, 2, 0), []);
        assert_eq!(invoked(&stdout, 500, 4, 0), [(103, 2, 0), (500, 4, 0)]);
    }

    #[test]
    fn full_lines_are_not_held_back() {
        let stdout = stdout();
        stdout.will_finish();
        assert_eq!(invoked(&stdout, 100, 10, 10), [(100, 10, 10)]);
        for second in 101..=103 {
            assert_eq!(invoked(&stdout, second, 30, 30), []);
        }
        assert_eq!(invoked(&stdout, 104, 30, 30), [(101, 120, 100), (101, 0, 20)]);
    }

    #[test]
    fn who_is_not_told_of_the_end_holds_nothing_back() {
        let stdout = stdout();
        for second in 100..103 {
            assert_eq!(invoked(&stdout, second, 1, 1), [(second, 1, 1)]);
        }
    }

    #[test]
    fn the_log_group_says_which_stack() {
        let stack = |group: Option<&str>| {
            let group = group.map(str::to_owned);
            Stdout::new(&Env::new(move |_| group.clone())).stack
        };
        assert_eq!(stack(Some("/postrider/postrider-prod/deliver")), "postrider-prod");
        assert_eq!(
            (stack(Some("/aws/lambda/deliver")), stack(None)),
            (NO_STACK.to_owned(), NO_STACK.to_owned())
        );
    }
}
