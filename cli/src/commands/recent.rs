//! What is new in a list that is polled.
//!
//! An entry may become visible a moment after one with a later time, such as the attempt at a slow endpoint.
//! So each look begins some time before the newest entry that was seen, and what is known is skipped by its ID.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use runtime::clock::{Clock as _, SystemClock, Timestamp};

use crate::client::Api;
use crate::error::Result;

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
