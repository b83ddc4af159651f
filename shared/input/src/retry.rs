//! A retry policy as it is written in a request.

use domain::retry::{Backoff, JITTER_DEFAULT, OwnRetryPolicy};

use crate::{Field, Fields, Rule};

/// What its fields mean, for the types of body that have one.
pub const RETRY_POLICY: [(&str, &str); 6] = [
    (
        "retryPolicy",
        "When failed deliveries are tried again: either `schedule`, or `attempts`, `minSeconds` and `maxSeconds`. At most 16 attempts within 7 days.",
    ),
    ("retryPolicy.schedule", "The seconds to wait before each retry; an empty list is no retry."),
    ("retryPolicy.attempts", "How many attempts there are, with the first; the waits between them double."),
    ("retryPolicy.minSeconds", "With `attempts`: the wait before the first retry."),
    ("retryPolicy.maxSeconds", "With `attempts`: no wait is longer."),
    ("retryPolicy.jitter", "Percent by which a wait is randomly longer or shorter."),
];

const DEFAULTS: (u64, u64) = (5, 36_000);
const JITTER_MAX: u64 = 50;
const WAIT_RULE: std::ops::RangeInclusive<u64> = 1..=Backoff::SECONDS_MAX as u64;

impl Fields<'_> {
    /// A retry policy of an application or an endpoint.
    pub fn retry_policy(&mut self) -> Field<OwnRetryPolicy> {
        match self.part("retryPolicy") {
            Field::Absent => Field::Absent,
            Field::Null => Field::Null,
            Field::Value(mut part) => {
                let policy = read(&mut part);
                self.absorb(part);
                policy.map_or(Field::Absent, Field::Value)
            }
        }
    }
}

/// None if it is broken.
fn read(part: &mut Fields<'_>) -> Option<OwnRetryPolicy> {
    let schedule: Field<Vec<u32>> = part.take(&["schedule"]);
    part.rule("schedule", Rule::Entries(0, usize::from(Backoff::ATTEMPTS_MAX) - 1));
    part.rule("schedule", Rule::EachRange(1, Backoff::SECONDS_MAX.into()));
    let attempts = part.number(&["attempts"], 1..=Backoff::ATTEMPTS_MAX.into()).value();
    let min = part.number(&["minSeconds"], WAIT_RULE).value();
    let max = part.number(&["maxSeconds"], WAIT_RULE).value();
    let jitter = part.number(&["jitter"], 0..=JITTER_MAX).value().unwrap_or(JITTER_DEFAULT.into());
    part.no_others(&["schedule", "attempts", "minSeconds", "maxSeconds", "jitter"]);
    if part.has_violations() {
        return None;
    }
    let backoff = match (schedule.value(), attempts) {
        (Some(schedule), None) => {
            if min.or(max).is_some() {
                part.violation("schedule", "Must not be given together with minSeconds or maxSeconds");
            } else if schedule.len() >= usize::from(Backoff::ATTEMPTS_MAX) {
                let most = Backoff::ATTEMPTS_MAX - 1;
                part.violation("schedule", format!("Must have at most {most} entries"));
            } else if schedule.contains(&0) {
                part.violation("schedule", "Each wait must be 1 second or more");
            }
            Backoff::Schedule { schedule }
        }
        (None, Some(attempts)) => {
            let min_seconds = min.unwrap_or_else(|| DEFAULTS.0.min(max.unwrap_or(DEFAULTS.0)));
            let max_seconds = max.unwrap_or_else(|| DEFAULTS.1.max(min_seconds));
            if max_seconds < min_seconds {
                part.violation("maxSeconds", "Must not be less than minSeconds");
            }
            Backoff::Doubling {
                attempts: u8::try_from(attempts).ok()?,
                min_seconds: u32::try_from(min_seconds).ok()?,
                max_seconds: u32::try_from(max_seconds).ok()?,
            }
        }
        _ => {
            part.violation("", "Must have either schedule or attempts");
            return None;
        }
    };
    if !part.has_violations() && !backoff.ends_in_time() {
        part.violation("", "The waits must be 7 days (604,800 seconds) or less in all");
    }
    let jitter = u8::try_from(jitter).ok()?;
    (!part.has_violations()).then_some(OwnRetryPolicy { backoff, jitter })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::error::Error;

    fn policy(body: &str) -> Result<Field<OwnRetryPolicy>, String> {
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        let policy = fields.retry_policy();
        match fields.finish() {
            Ok(()) => Ok(policy),
            Err(Error::Invalid(found)) => Err(format!("{}: {}", found[0].loc.join("."), found[0].msg)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn policies_are_read() {
        assert_eq!(policy("{}"), Ok(Field::Absent));
        assert_eq!(policy(r#"{"retryPolicy": null}"#), Ok(Field::Null));
        let listed = |schedule: &[u32], jitter| {
            let backoff = Backoff::Schedule { schedule: schedule.to_vec() };
            Ok(Field::Value(OwnRetryPolicy { backoff, jitter }))
        };
        assert_eq!(policy(r#"{"retryPolicy": {"schedule": []}}"#), listed(&[], 20));
        assert_eq!(
            policy(r#"{"retryPolicy": {"schedule": [1, 604799], "jitter": 0}}"#),
            listed(&[1, 604_799], 0)
        );
        let doubling = |attempts, min_seconds, max_seconds| {
            let backoff = Backoff::Doubling { attempts, min_seconds, max_seconds };
            Ok(Field::Value(OwnRetryPolicy { backoff, jitter: 20 }))
        };
        assert_eq!(policy(r#"{"retryPolicy": {"attempts": 3}}"#), doubling(3, 5, 36_000));
        assert_eq!(policy(r#"{"retryPolicy": {"attempts": 3, "maxSeconds": 2}}"#), doubling(3, 2, 2));
        assert_eq!(
            policy(r#"{"retryPolicy": {"attempts": 3, "minSeconds": 40000}}"#),
            doubling(3, 40_000, 40_000)
        );
    }

    #[test]
    fn broken_policies_are_refused() {
        let many = vec!["1"; 16].join(",");
        for (part, said) in [
            ("{}", ": Must have either schedule or attempts"),
            (r#"{"schedule": [1], "attempts": 2}"#, ": Must have either schedule or attempts"),
            (r#"{"schedule": [1], "minSeconds": 2}"#, ".schedule: Must not be given together with"),
            (r#"{"schedule": [0]}"#, ".schedule: Each wait must be 1 second or more"),
            (r#"{"schedule": [302400, 302401]}"#, ": The waits must be 7 days"),
            (&format!(r#"{{"schedule": [{many}]}}"#), ".schedule: Must have at most 15 entries"),
            (r#"{"schedule": "5,300"}"#, ".schedule: Invalid type"),
            (r#"{"schedule": [-1]}"#, ".schedule: Invalid value"),
            (r#"{"attempts": 0}"#, ".attempts: Must be from 1 to 16"),
            (r#"{"attempts": 17}"#, ".attempts: Must be from 1 to 16"),
            (r#"{"attempts": 9, "minSeconds": 86400, "maxSeconds": 86400}"#, ": The waits must be 7 days"),
            (
                r#"{"attempts": 9, "minSeconds": 9, "maxSeconds": 8}"#,
                ".maxSeconds: Must not be less than minSeconds",
            ),
            (r#"{"attempts": 2, "jitter": 51}"#, ".jitter: Must be from 0 to 50"),
            (r#"{"attempts": 2, "delay": 5}"#, ".delay: There is no such field"),
            ("[5, 300]", ": Invalid type: sequence"),
        ] {
            let found = policy(&format!(r#"{{"retryPolicy": {part}}}"#)).unwrap_err();
            assert!(found.starts_with(&format!("body.retryPolicy{said}")), "{part}: {found}");
        }
    }
}
