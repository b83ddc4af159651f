//! What is new in a list that is polled.
//!
//! An entry may become visible a moment after one with a later time, such as the attempt at a slow endpoint.
//! So each look begins some time before the newest entry that was seen, and what is known is skipped by its ID.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use runtime::clock::{Clock as _, SystemClock, Timestamp};

use crate::client::{Api, sentence};
use crate::error::{CliError, Result};
use crate::output::Output;

/// Looks that may fail in a row before the command ends.
const FAILURES_MAX: u32 = 30;

/// Where a list is read from, and what of it was seen.
#[derive(Debug)]
pub(super) struct Recent {
    /// Nothing before this is wanted.
    begin: Timestamp,
    overlap: Duration,
    newest: Timestamp,
    seen: BTreeMap<String, Timestamp>,
}

impl Recent {
    /// Of a list whose entries become visible within `overlap` of their time.
    pub(super) fn new(begin: Timestamp, overlap: Duration) -> Self {
        Self { begin, overlap, newest: begin, seen: BTreeMap::new() }
    }

    /// Where the next look begins.
    pub(super) fn from(&self) -> Timestamp {
        self.newest.before(self.overlap).max(self.begin)
    }

    /// Whether an entry was noted before.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.seen.contains_key(id)
    }

    /// Notes an entry of this look; says whether it is new.
    pub(super) fn is_new(&mut self, id: &str, at: Option<Timestamp>) -> bool {
        let at = at.unwrap_or(self.newest);
        self.newest = self.newest.max(at);
        self.seen.insert(id.to_owned(), at).is_none()
    }

    /// Forgets what the next look does not return any more.
    pub(super) fn looked(&mut self) {
        let from = self.from();
        self.seen.retain(|_, at| *at >= from);
    }
}

/// The patience of a command that looks again and again: a server that restarts is waited for, one that refuses will go on
/// refusing.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    failures: u32,
}

impl Waiting {
    /// Judges a look; none if it failed and the next one may succeed.
    ///
    /// # Errors
    /// It failed for good.
    pub(super) fn after<T>(&mut self, looked: Result<T>, out: &Output) -> Result<Option<T>> {
        match looked {
            Ok(found) => {
                self.failures = 0;
                Ok(Some(found))
            }
            Err(CliError::Unreachable(problem)) if self.failures < FAILURES_MAX => {
                if self.failures == 0 {
                    out.note(&format!("{} Trying again …", sentence(&problem)));
                }
                self.failures += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The second that it is by the server's clock: the times of messages are the server's. This machine's clock counts
/// only for a server that does not say: one that is a moment ahead, or is set back, would hide what is posted then.
pub(super) async fn now(api: &Api) -> Result<Timestamp> {
    let health = api.send(Method::GET, "/health", None).await?;
    let ours = SystemClock.now();
    let date = health.headers.get("date").and_then(|date| date.to_str().ok());
    Ok(date.and_then(|date| Timestamp::parse_http_date(date, ours)).unwrap_or(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_restarts_is_waited_for_and_not_for_ever() {
        let (out, mut waiting) = (Output::standard(&|_| None), Waiting::default());
        let gone = || Err::<(), _>(CliError::Unreachable("gone".into()));
        for _ in 0..2 {
            for _ in 0..FAILURES_MAX {
                assert_eq!(waiting.after(gone(), &out), Ok(None));
            }
            assert_eq!(waiting.after(Ok(()), &out), Ok(Some(())));
        }
        assert!(waiting.after::<()>(Err(CliError::Refused("no".into())), &out).is_err());
        for _ in 0..FAILURES_MAX {
            assert_eq!(waiting.after(gone(), &out), Ok(None));
        }
        assert_eq!(waiting.after(gone(), &out), Err(CliError::Unreachable("gone".into())));
    }

    #[test]
    fn what_becomes_visible_late_is_new_once_and_nothing_is_kept_for_ever() {
        let at = |seconds: u64| Timestamp::from_ms((1_000 + seconds) * 1_000);
        let mut recent = Recent::new(at(0), Duration::from_secs(30));
        assert_eq!(recent.from(), at(0));
        assert!(recent.is_new("b", Some(at(40))));
        recent.looked();
        assert_eq!(recent.from(), at(10));
        assert!(recent.is_new("a", Some(at(20))) && !recent.is_new("b", Some(at(40))));
        recent.looked();
        assert!(!recent.is_new("a", Some(at(20))));
        assert!(recent.is_new("c", Some(at(60))));
        recent.looked();
        assert_eq!(recent.seen.keys().collect::<Vec<_>>(), ["b", "c"]);
    }
}
