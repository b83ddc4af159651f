//! When a delivery that failed is tried again.

use std::str::FromStr;
use std::time::Duration;

use runtime::clock::Timestamp;
use runtime::config::{ConfigError, Env};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ids::{EndpointId, Id as _, MessageId};

/// The waits of the contract, in seconds: the default of [`RetryPolicy::VARIABLE`].
pub const RETRY_SCHEDULE_DEFAULT: &str = "5,300,1800,7200,18000,36000,36000";
/// Most retries that a policy may have; an attempt's history travels with its job.
const RETRIES_MAX: usize = 32;
/// Percent by which a wait is longer or shorter, where nothing else is said.
pub const JITTER_DEFAULT: u8 = 20;
/// Longest wait between two attempts: payloads live 90 days, and a chain has to end before them.
const WAIT_MAX_SECONDS: u32 = 7 * 24 * 3600;
/// How long an endpoint is left alone that said, or showed, that it has too much to do.
const OVERLOADED_WAIT_MIN: Duration = Duration::from_secs(60);

/// How often a delivery is tried again, and how long it waits before each retry.
///
/// It is written as the waits in seconds with commas between them, such as `5,300,1800`; an empty text is no
/// retry. There is one attempt more than there are waits.
///
/// A wait is up to a fifth (or the policy's own jitter) longer or shorter than its number, so that what failed together does not come back
/// together. Where the receiver's response says when to come back (`Retry-After`), that is honoured from once
/// to twice the wait. A receiver that has too much to do is left alone for a minute at least.
///
/// ```
/// use domain::retry::RetryPolicy;
///
/// let policy: RetryPolicy = "5,300".parse().unwrap();
/// let seconds: Vec<u64> = policy.waits().map(|wait| wait.as_secs()).collect();
/// assert_eq!(seconds, [5, 300]);
/// assert_eq!(RetryPolicy::default().waits().len(), 7);
/// assert!("".parse::<RetryPolicy>().unwrap().waits().next().is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    waits: Vec<Duration>,
    jitter: u8,
}

/// A policy that an application or an endpoint has instead of the installation's, as its owner wrote it.
///
/// ```
/// use domain::retry::{Backoff, OwnRetryPolicy, RetryPolicy};
///
/// let backoff = Backoff::Doubling { attempts: 5, min_seconds: 10, max_seconds: 60 };
/// let policy = RetryPolicy::from(&OwnRetryPolicy { backoff, jitter: 0 });
/// let seconds: Vec<u64> = policy.waits().map(|wait| wait.as_secs()).collect();
/// assert_eq!(seconds, [10, 20, 40, 60]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OwnRetryPolicy {
    /// The waits.
    #[serde(flatten)]
    pub backoff: Backoff,
    /// Percent by which a wait is longer or shorter.
    pub jitter: u8,
}

/// The waits between attempts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Backoff {
    /// These, in seconds.
    Schedule {
        /// One for each retry.
        schedule: Vec<u32>,
    },
    /// Each twice as long as the one before, from the shortest to the longest.
    Doubling {
        /// All attempts, with the first.
        attempts: u8,
        /// The first wait.
        min_seconds: u32,
        /// No wait is longer.
        max_seconds: u32,
    },
}

impl Backoff {
    /// Most attempts of one message, with the first.
    pub const ATTEMPTS_MAX: u8 = 16;
    /// Most seconds from the first attempt to the last, without jitter: a week.
    pub const SECONDS_MAX: u32 = 7 * 24 * 3600;

    /// The waits in seconds.
    pub fn seconds(&self) -> Vec<u32> {
        match self {
            Self::Schedule { schedule } => schedule.clone(),
            Self::Doubling { attempts, min_seconds, max_seconds } => {
                let doubled = |wait: &u32| Some(wait.saturating_mul(2));
                let waits = std::iter::successors(Some(*min_seconds), doubled);
                waits
                    .map(|wait| wait.min(*max_seconds))
                    .take(usize::from(attempts.saturating_sub(1)))
                    .collect()
            }
        }
    }

    /// Whether the last attempt is within [`Backoff::SECONDS_MAX`] of the first.
    pub fn ends_in_time(&self) -> bool {
        let seconds: u64 = self.seconds().into_iter().map(u64::from).sum();
        seconds <= u64::from(Self::SECONDS_MAX)
    }
}

impl From<&OwnRetryPolicy> for Value {
    fn from(OwnRetryPolicy { backoff, jitter }: &OwnRetryPolicy) -> Self {
        match backoff {
            Backoff::Schedule { schedule } => json!({ "schedule": schedule, "jitter": jitter }),
            Backoff::Doubling { attempts, min_seconds, max_seconds } => json!({
                "attempts": attempts, "minSeconds": min_seconds, "maxSeconds": max_seconds, "jitter": jitter,
            }),
        }
    }
}

impl From<&OwnRetryPolicy> for RetryPolicy {
    fn from(own: &OwnRetryPolicy) -> Self {
        let waits = own.backoff.seconds().into_iter().map(|wait| Duration::from_secs(wait.into()));
        Self { waits: waits.collect(), jitter: own.jitter }
    }
}

/// What a failure says about when to try again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryHint {
    /// How long the endpoint asked to be left alone.
    pub retry_after: Option<Duration>,
    /// It has too much to do.
    pub overloaded: bool,
}

/// What a policy has to be, for whoever wrote one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRetryPolicy;

impl std::fmt::Display for NoRetryPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("up to 32 waits in seconds, at most a week each, such as 5,300,1800 (empty: no retry)")
    }
}

impl std::error::Error for NoRetryPolicy {}

impl RetryPolicy {
    /// The environment variable that holds the installation's.
    pub const VARIABLE: &str = "POSTRIDER_RETRY_SCHEDULE";

    /// Reads [`RetryPolicy::VARIABLE`]; the contract's waits where it is not set.
    ///
    /// # Errors
    /// It is no policy.
    pub fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
        // The one setting whose empty value means something: no retry.
        let Some(text) = env.raw(Self::VARIABLE) else { return Ok(Self::default()) };
        text.parse().map_err(|what: NoRetryPolicy| {
            ConfigError::new(Self::VARIABLE, format!("invalid value {text:?}: expected {what}"))
        })
    }

    /// The wait before each retry, without what is drawn and asked for.
    pub fn waits(&self) -> impl ExactSizeIterator<Item = Duration> + '_ {
        self.waits.iter().copied()
    }

    /// When the attempt after number `number` (from 1) is due, if that one has failed at `now`. None after the
    /// last. It follows from its arguments, nothing is drawn: copies of a job agree.
    pub fn next_due(
        &self,
        (message, endpoint): (MessageId, EndpointId),
        number: u32,
        hint: RetryHint,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let wait = self.waits().nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
        let wait = match hint.retry_after {
            Some(asked) => asked.clamp(wait, wait * 2),
            None => wait.mul_f64(self.factor(jitter(message, endpoint, number))),
        };
        Some(now.after(if hint.overloaded { wait.max(OVERLOADED_WAIT_MIN) } else { wait }))
    }

    /// When a message is tried again that has used the policy up and is not given up: after its longest wait, or `min` if
    /// that is longer. With a jitter, so that it does not meet the same moment of a receiver that fails by turns.
    pub fn held_until(
        &self,
        (message, endpoint): (MessageId, EndpointId),
        number: u32,
        min: Duration,
        now: Timestamp,
    ) -> Timestamp {
        let wait = self.waits().max().unwrap_or_default().max(min);
        let at = f64::from(JITTER_DEFAULT.max(self.jitter)) / 100.0
            * (2.0 * jitter(message, endpoint, number) - 1.0);
        now.after(wait.mul_f64(1.0 + at))
    }

    /// What a wait is multiplied by, where `at`, from 0 to 1, says where in the jitter's range.
    fn factor(&self, at: f64) -> f64 {
        let jitter = f64::from(self.jitter) / 100.0;
        1.0 - jitter + 2.0 * jitter * at
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let waits = [5, 300, 1800, 7200, 18_000, 36_000, 36_000].map(Duration::from_secs);
        Self { waits: waits.to_vec(), jitter: JITTER_DEFAULT }
    }
}

impl FromStr for RetryPolicy {
    type Err = NoRetryPolicy;

    fn from_str(text: &str) -> Result<Self, NoRetryPolicy> {
        if text.is_empty() {
            return Ok(Self { waits: Vec::new(), jitter: JITTER_DEFAULT });
        }
        let waits = text.split(',').map(|wait| wait.trim().parse::<u32>().ok());
        let waits: Vec<u32> = waits.collect::<Option<_>>().ok_or(NoRetryPolicy)?;
        if waits.len() > RETRIES_MAX || waits.iter().any(|wait| *wait > WAIT_MAX_SECONDS) {
            return Err(NoRetryPolicy);
        }
        let waits = waits.into_iter().map(|wait| Duration::from_secs(wait.into())).collect();
        Ok(Self { waits, jitter: JITTER_DEFAULT })
    }
}

/// From 0 to 1. It follows from the attempt instead of being drawn: copies of a job agree.
fn jitter(message: MessageId, endpoint: EndpointId, number: u32) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(number);
    for byte in message.ksuid().bytes().iter().chain(endpoint.ksuid().bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The low bits of such a hash depend on the last bytes only; fold the high ones in.
    let folded = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    folded as f64 / f64::from((1 << 24) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ksuid;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn delivery(nth: u16) -> (MessageId, EndpointId) {
        let mut payload = [0; 15];
        payload[..2].copy_from_slice(&nth.to_be_bytes());
        let endpoint = EndpointId::from_ksuid(Ksuid::new(NOW, [9; 15]));
        (MessageId::from_ksuid(Ksuid::new(NOW, payload)), endpoint)
    }

    fn policy(text: &str) -> RetryPolicy {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_is_the_contracts() {
        assert_eq!(policy(RETRY_SCHEDULE_DEFAULT), RetryPolicy::default());
        assert_eq!(RetryPolicy::read(&Env::new(|_| None)).unwrap(), RetryPolicy::default());
    }

    #[test]
    fn what_is_held_is_tried_about_once_an_hour() {
        let hour = Duration::from_secs(3600);
        for (text, longest) in [("", 3600), ("5,300", 3600), ("5,36000", 36_000)] {
            let waits: Vec<u64> = (1..100)
                .map(|number| policy(text).held_until(delivery(1), number, hour, NOW).since(NOW).as_secs())
                .collect();
            assert!(
                waits.iter().all(|wait| (longest * 8 / 10 - 1..=longest * 12 / 10).contains(wait)),
                "{waits:?}"
            );
            assert!(waits.iter().min() < waits.iter().max());
        }
    }

    #[test]
    fn policies_are_read_or_refused() {
        let read = |text: &'static str| RetryPolicy::read(&Env::new(|_| Some(text.to_owned())));
        assert_eq!(read("1, 1,1").unwrap().waits, vec![Duration::from_secs(1); 3]);
        assert_eq!([read(""), read(" ")].map(|none| none.unwrap().waits().len()), [0, 0]);
        for wrong in ["1,,1", "-1", "1m", "9999999"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.starts_with("POSTRIDER_RETRY_SCHEDULE: ") && !error.contains('\n'), "{error}");
        }
        assert_eq!(vec!["1"; 33].join(",").parse::<RetryPolicy>(), Err(NoRetryPolicy));
    }

    #[test]
    fn waits_are_the_policys_within_a_fifth() {
        let policy = policy("5,300,1800");
        let (mut shortest, mut longest) = (f64::MAX, f64::MIN);
        for nth in 0..500 {
            for (number, wait) in (1..).zip(policy.waits()) {
                let due = policy.next_due(delivery(nth), number, RetryHint::default(), NOW).unwrap();
                assert_eq!(policy.next_due(delivery(nth), number, RetryHint::default(), NOW), Some(due));
                let ratio = due.since(NOW).as_secs_f64() / wait.as_secs_f64();
                (shortest, longest) = (shortest.min(ratio), longest.max(ratio));
            }
            assert_eq!(policy.next_due(delivery(nth), 4, RetryHint::default(), NOW), None);
            assert_eq!(policy.next_due(delivery(nth), 0, RetryHint::default(), NOW), None);
        }
        assert!((0.8..0.82).contains(&shortest) && (1.18..1.2001).contains(&longest), "{shortest} {longest}");
    }

    #[test]
    fn own_policies_are_as_they_were_written() {
        let doubling = |attempts, min_seconds, max_seconds| OwnRetryPolicy {
            backoff: Backoff::Doubling { attempts, min_seconds, max_seconds },
            jitter: 0,
        };
        let seconds = |own: &OwnRetryPolicy| own.backoff.seconds();
        assert_eq!(seconds(&doubling(1, 1, 1)), Vec::<u32>::new());
        assert_eq!(seconds(&doubling(6, 3, 20)), [3, 6, 12, 20, 20]);
        assert_eq!(seconds(&doubling(16, Backoff::SECONDS_MAX, u32::MAX)).len(), 15);
        assert!(!doubling(16, 40_321, 40_321).backoff.ends_in_time());
        assert!(doubling(16, 40_320, 40_320).backoff.ends_in_time());
        let listed = OwnRetryPolicy { backoff: Backoff::Schedule { schedule: vec![1, 600] }, jitter: 50 };
        for (own, text) in [
            (&listed, json!({"schedule": [1, 600], "jitter": 50})),
            (&doubling(6, 3, 20), json!({"attempts": 6, "minSeconds": 3, "maxSeconds": 20, "jitter": 0})),
        ] {
            assert_eq!(Value::from(own), text);
            assert_eq!(&serde_json::from_value::<OwnRetryPolicy>(text).unwrap(), own);
        }
        let due = |own: &OwnRetryPolicy, nth| {
            let due = RetryPolicy::from(own).next_due(delivery(nth), 2, RetryHint::default(), NOW);
            due.unwrap().since(NOW).as_millis()
        };
        assert_eq!(due(&doubling(6, 3, 20), 1), 6_000);
        let waits: Vec<u128> = (0..200).map(|nth| due(&listed, nth)).collect();
        assert!(waits.iter().all(|wait| (300_000..=900_000).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait < 360_000) && waits.iter().any(|wait| *wait > 840_000));
    }

    #[test]
    fn endpoints_may_ask_for_up_to_twice_the_wait_and_get_a_minute_when_overloaded() {
        let wait = |text: &str, retry_after: Option<u64>, overloaded| {
            let hint = RetryHint { retry_after: retry_after.map(Duration::from_secs), overloaded };
            policy(text).next_due(delivery(1), 1, hint, NOW).unwrap().since(NOW).as_secs()
        };
        assert_eq!(wait("300", Some(1), false), 300);
        assert_eq!(wait("300", Some(400), false), 400);
        assert_eq!(wait("300", Some(86_400), false), 600);
        assert_eq!(wait("300", Some(u64::MAX), false), 600);
        assert_eq!(wait("5", None, true), 60);
        assert_eq!(wait("5", Some(8), true), 60);
        assert!((240..=360).contains(&wait("300", None, true)));
    }
}
