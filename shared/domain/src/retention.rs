//! How long what was done stays on record, each kind of it for its own time.
//!
//! Idempotency keys have theirs beside them: twelve hours, by the contract.

use std::time::Duration;

use runtime::clock::{DAY, Timestamp};
use runtime::config::{ConfigError, Env};

/// The longest time, in days, that messages, deliveries and attempts are kept, and the default; by the contract.
pub const LOG_RETENTION_DAYS: u64 = 90;
/// The shortest one. A chain of attempts ends within a week and its jitter, and what it looks at has to be there.
const LOG_DAYS_MIN: u64 = 14;
/// Payloads may go earlier, but not before a message that is due in a day is sent.
const PAYLOAD_DAYS_MIN: u64 = 2;

/// How long messages, payloads and attempts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    message_days: u64,
    payload_days: u64,
    attempt_days: u64,
}

impl Default for Retention {
    fn default() -> Self {
        let days = LOG_RETENTION_DAYS;
        Self { message_days: days, payload_days: days, attempt_days: days }
    }
}

impl Retention {
    /// Reads `POSTRIDER_MESSAGE_RETENTION_DAYS`, and `POSTRIDER_PAYLOAD_…` and `POSTRIDER_ATTEMPT_RETENTION_DAYS`, of which 0
    /// is as long as the messages.
    ///
    /// # Errors
    /// One of them is no number of days that can be kept, or is longer than the messages.
    pub fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
        const MESSAGES: &str = "POSTRIDER_MESSAGE_RETENTION_DAYS";
        let what = format!("days from {LOG_DAYS_MIN} to {LOG_RETENTION_DAYS}");
        let message_days = env.parsed(MESSAGES, &what, LOG_RETENTION_DAYS, |text| {
            text.parse().ok().filter(|days| (LOG_DAYS_MIN..=LOG_RETENTION_DAYS).contains(days))
        })?;
        let within = |name: &str, least: u64| {
            let what =
                format!("days from {least} to {message_days} ({MESSAGES}), or 0 for as long as messages");
            env.parsed(name, &what, message_days, |text| match text.parse() {
                Ok(0) => Some(message_days),
                given => given.ok().filter(|days| (least..=message_days).contains(days)),
            })
        };
        let payload_days = within("POSTRIDER_PAYLOAD_RETENTION_DAYS", PAYLOAD_DAYS_MIN)?;
        let attempt_days = within("POSTRIDER_ATTEMPT_RETENTION_DAYS", LOG_DAYS_MIN)?;
        Ok(Self { message_days, payload_days, attempt_days })
    }

    /// Days that a message is kept.
    pub const fn message_days(&self) -> u64 {
        self.message_days
    }

    /// Days that its payload is kept at most, which is also for how long where nothing else is said.
    pub const fn payload_days(&self) -> u64 {
        self.payload_days
    }

    /// Days that an attempt is kept, and how a delivery stands.
    pub const fn attempt_days(&self) -> u64 {
        self.attempt_days
    }

    /// When what belongs to a message of that time leaves the log.
    pub fn messages_until(&self, made: Timestamp) -> Timestamp {
        made.after(days(self.message_days))
    }

    /// When an attempt leaves the log that was made `at` that time, of a message that was made then: not after
    /// its message. How a delivery stands leaves at the same time after its last change.
    pub fn attempts_until(&self, made: Timestamp, at: Timestamp) -> Timestamp {
        // Two clocks may differ: it is not made before its message.
        at.max(made).after(days(self.attempt_days)).min(self.messages_until(made))
    }

    /// Since when each attempt of each message is still there: of older messages, some may have gone.
    pub fn attempts_since(&self, now: Timestamp) -> Timestamp {
        now.before(days(self.attempt_days))
    }
}

fn days(days: u64) -> Duration {
    DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str, payload: &str, attempt: &str) -> Result<Retention, String> {
        let values = [message, payload, attempt].map(str::to_owned);
        let env = Env::new(move |name| match name {
            "POSTRIDER_MESSAGE_RETENTION_DAYS" => Some(values[0].clone()),
            "POSTRIDER_PAYLOAD_RETENTION_DAYS" => Some(values[1].clone()),
            "POSTRIDER_ATTEMPT_RETENTION_DAYS" => Some(values[2].clone()),
            _ => None,
        });
        Retention::read(&env).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_is_kept_for_ninety_days_where_nothing_is_said() {
        assert_eq!(read("", "", ""), Ok(Retention::default()));
        assert_eq!(read("90", "0", "0"), Ok(Retention::default()));
        let month = read("30", "0", "0").unwrap();
        assert_eq!((month.message_days(), month.payload_days(), month.attempt_days()), (30, 30, 30));
        let apart = read("60", "2", "14").unwrap();
        assert_eq!((apart.message_days(), apart.payload_days(), apart.attempt_days()), (60, 2, 14));
    }

    #[test]
    fn nonsense_is_refused_with_its_name() {
        for (given, named) in [
            (("13", "", ""), "POSTRIDER_MESSAGE_RETENTION_DAYS: "),
            (("91", "", ""), "POSTRIDER_MESSAGE_RETENTION_DAYS: "),
            (("0", "", ""), "POSTRIDER_MESSAGE_RETENTION_DAYS: "),
            (("30", "60", ""), "POSTRIDER_PAYLOAD_RETENTION_DAYS: "),
            (("", "1", ""), "POSTRIDER_PAYLOAD_RETENTION_DAYS: "),
            (("30", "", "31"), "POSTRIDER_ATTEMPT_RETENTION_DAYS: "),
            (("", "", "13"), "POSTRIDER_ATTEMPT_RETENTION_DAYS: "),
            (("", "", "soon"), "POSTRIDER_ATTEMPT_RETENTION_DAYS: "),
        ] {
            let refused = read(given.0, given.1, given.2).unwrap_err();
            assert!(refused.starts_with(named), "{given:?}: {refused}");
        }
    }

    #[test]
    fn attempts_leave_the_log_by_their_own_time_and_not_after_their_message() {
        let kept = read("30", "", "14").unwrap();
        let at = |day: u64| Timestamp::from_ms(1_800_000_000_000).after(days(day));
        assert_eq!(kept.messages_until(at(0)), at(30));
        assert_eq!(kept.attempts_until(at(0), at(0)), at(14));
        assert_eq!(kept.attempts_until(at(0), at(6)), at(20));
        assert_eq!(kept.attempts_until(at(0), at(20)), at(30));
        assert_eq!(kept.attempts_until(at(1), at(0)), at(15));
    }
}
