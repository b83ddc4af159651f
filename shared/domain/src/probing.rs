//! How an endpoint comes back that was disabled because it only failed: it is probed, with growing pauses.

use std::time::Duration;

use runtime::clock::Timestamp;
use serde_json::json;

use crate::endpoint::Endpoint;
use crate::ids::{AttemptId, EndpointId, Id as _, MessageId};
use crate::retention::Retention;

/// The event type of a probe. No event type of an organisation is asked for it.
pub const EVENT_TYPE: &str = "postrider.probe";
/// The pause before the first probe, in hours.
const FIRST_PAUSE: u32 = 1;
/// The longest pause between two probes, in hours.
const PAUSE_MAX: u32 = 24;

/// What is known of an endpoint that was disabled because it only failed, and that may come back by itself. It stays
/// until a person enables or disables the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// When the first message was made that never arrived: what it missed is from then on.
    pub since: Timestamp,
    /// The pause before the first probe, in hours: doubled each time that it is disabled after a probe enabled it.
    pub first_pause: u32,
    /// Probes that were made since it was disabled.
    pub made: u32,
    /// When the next one is due; none once one enabled it, and where no more are made.
    pub next: Option<Timestamp>,
}

impl Probing {
    /// What is noted of an endpoint that is disabled now, and has missed messages since then. `before`: what was noted
    /// the last time, if only a probe has enabled it since.
    pub fn begin(before: Option<&Self>, since: Timestamp, now: Timestamp) -> Self {
        let first_pause = before.map_or(FIRST_PAUSE, |before| (before.first_pause * 2).min(PAUSE_MAX));
        Self { since, first_pause, made: 0, next: Some(now.after(hours(first_pause))) }
    }

    /// The same after a probe that failed; `gone`: its answer was that no more are wanted. An endpoint that has failed
    /// for longer than messages are kept is not probed any more: of what it missed first nothing is left.
    #[must_use]
    pub fn after_failure(&self, gone: bool, kept: &Retention, now: Timestamp) -> Self {
        let made = self.made + 1;
        let pause = self.first_pause.checked_shl(made.min(8)).unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
        let goes_on = !gone && now < kept.messages_until(self.since);
        Self { made, next: goes_on.then(|| now.after(hours(pause))), ..*self }
    }

    /// The same after a probe that succeeded.
    #[must_use]
    pub const fn after_success(&self) -> Self {
        Self { made: self.made + 1, next: None, ..*self }
    }
}

const fn hours(hours: u32) -> Duration {
    Duration::from_secs(hours as u64 * 3600)
}

/// The id of the message that a probe is, which follows from when it is due: copies of its job are one message.
pub fn message(endpoint: EndpointId, due: Timestamp) -> MessageId {
    MessageId::for_event(EVENT_TYPE, AttemptId::from_ksuid(endpoint.ksuid()), due)
}

/// What a probe carries.
pub fn payload(endpoint: &Endpoint, probing: &Probing, now: Timestamp) -> String {
    json!({
        "type": EVENT_TYPE,
        "timestamp": now.to_string(),
        "data": {
            "appId": endpoint.app.to_string(),
            "endpointId": endpoint.id.to_string(),
            "missedSince": probing.since.to_string(),
            "probe": probing.made + 1,
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::Env;

    fn pauses(first: Probing, now: Timestamp, kept: &Retention) -> Vec<u64> {
        let (mut probing, mut at, mut pauses) = (first, now, Vec::new());
        while let Some(next) = probing.next {
            pauses.push(next.since(at).as_secs() / 3600);
            at = next;
            probing = probing.after_failure(false, kept, at);
        }
        pauses
    }

    #[test]
    fn pauses_grow_to_a_day_and_end() {
        let since = Timestamp::from_ms(0);
        let now = since.after(hours(5 * 24));
        let first = Probing::begin(None, since, now);
        let of_first = pauses(first, now, &Retention::default());
        assert_eq!(of_first[..7], [1, 2, 4, 8, 16, 24, 24]);
        assert_eq!(of_first.len(), 89, "one a day, about, for 85 days");
        assert_eq!(first.after_failure(true, &Retention::default(), now).next, None);
        let days = |name: &str| (name == "POSTRIDER_MESSAGE_RETENTION_DAYS").then(|| "30".to_owned());
        let month = Retention::read(&Env::new(days)).unwrap();
        assert_eq!(pauses(first, now, &month).len(), 29, "for 25 days");
    }

    #[test]
    fn each_return_doubles_the_first_pause_up_to_a_day() {
        let now = Timestamp::from_ms(9);
        let mut probing = Probing::begin(None, now, now);
        let mut first = Vec::new();
        for _ in 0..7 {
            first.push(probing.first_pause);
            probing = probing.after_failure(false, &Retention::default(), now).after_success();
            assert_eq!((probing.next, probing.made), (None, 2));
            probing = Probing::begin(Some(&probing), now, now);
        }
        assert_eq!(first, [1, 2, 4, 8, 16, 24, 24]);
    }
}
