//! What one instance knows of endpoints that hang or fail: their first attempts go to the second
//! lane, so that one that is obviously dead does not hold up the batches of those that are well.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::clock::Timestamp;
use shared::ids::EndpointId;
use shared::store::attempts::{Attempt, Status};

/// An exchange that takes so long holds a batch up, however it ends.
const SLOW: Duration = Duration::from_secs(5);
/// Slow exchanges in a row that open a circuit.
const SLOW_MAX: u32 = 2;
/// Failures in a row that open a circuit.
const FAILED_MAX: u32 = 5;
/// An exchange in flight for so long may be one that hangs …
const PENDING: Duration = Duration::from_secs(1);
/// … and with so many of them to one endpoint, it is one: that need not wait for their deadlines.
const PENDING_MAX: usize = 3;
/// How long a circuit stays open. Then one batch tries the first lane again.
const OPEN: Duration = Duration::from_secs(30);
/// Endpoints that one instance knows this of.
const ENDPOINTS_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, Default)]
struct Circuit {
    slow: u32,
    failed: u32,
    last: Timestamp,
}

impl Circuit {
    fn is_open(&self, now: Timestamp) -> bool {
        (self.slow >= SLOW_MAX || self.failed >= FAILED_MAX) && now.since(self.last) < OPEN
    }
}

/// The circuits of all endpoints that are not simply well.
#[derive(Debug, Default)]
pub struct Circuits {
    known: Mutex<HashMap<EndpointId, Circuit>>,
    /// When each exchange in flight began. No more than there are jobs being worked on.
    pending: Mutex<HashMap<EndpointId, Vec<Timestamp>>>,
}

/// An exchange in flight, until it is dropped.
#[derive(Debug)]
pub struct InFlight<'a> {
    circuits: &'a Circuits,
    endpoint: EndpointId,
    since: Timestamp,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut pending = self.circuits.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(begun) = pending.get_mut(&self.endpoint) else { return };
        if let Some(at) = begun.iter().position(|since| *since == self.since) {
            begun.swap_remove(at);
        }
        if begun.is_empty() {
            pending.remove(&self.endpoint);
        }
    }
}

impl Circuits {
    /// Whether first attempts have to go to the second lane.
    pub fn is_open(&self, endpoint: EndpointId, now: Timestamp) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&endpoint).is_some_and(|circuit| circuit.is_open(now)) {
            return true;
        }
        drop(known);
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let hanging =
            |begun: &Vec<Timestamp>| begun.iter().filter(|since| now.since(**since) > PENDING).count();
        pending.get(&endpoint).is_some_and(|begun| hanging(begun) >= PENDING_MAX)
    }

    /// Notes that an exchange begins.
    pub fn begin(&self, endpoint: EndpointId, now: Timestamp) -> InFlight<'_> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.entry(endpoint).or_default().push(now);
        InFlight { circuits: self, endpoint, since: now }
    }

    /// Learns from an attempt.
    pub fn learn(&self, attempt: &Attempt) {
        let slow = Duration::from_millis(attempt.duration_ms) >= SLOW;
        let failed = attempt.status != Status::Success;
        let mut circuits = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !slow && !failed {
            circuits.remove(&attempt.endpoint);
            return;
        }
        let now = attempt.at.after(Duration::from_millis(attempt.duration_ms));
        if circuits.len() >= ENDPOINTS_MAX && !circuits.contains_key(&attempt.endpoint) {
            circuits.retain(|_, circuit| now.since(circuit.last) < OPEN);
            if circuits.len() >= ENDPOINTS_MAX {
                return; // more endpoints fail at once than this can tell apart: the lanes alone have to do
            }
        }
        let circuit = circuits.entry(attempt.endpoint).or_default();
        circuit.slow = if slow { circuit.slow + 1 } else { 0 };
        circuit.failed = if failed { circuit.failed + 1 } else { 0 };
        circuit.last = circuit.last.max(now);
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::{AttemptId, Id as _, Ksuid, MessageId};
    use shared::store::attempts::{ResponseBody, Trigger};

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn attempt(status: Status, duration_ms: u64) -> Attempt {
        let ksuid = Ksuid::new(NOW, [1; 15]);
        Attempt {
            id: AttemptId::from_ksuid(ksuid),
            endpoint: EndpointId::from_ksuid(ksuid),
            message: MessageId::from_ksuid(ksuid),
            url: String::new(),
            status,
            code: 0,
            response: ResponseBody::Text(String::new()),
            duration_ms,
            at: NOW,
            trigger: Trigger::Scheduled,
            next: None,
            disables: false,
            event_type: String::new(),
            channels: None,
            tags: None,
        }
    }

    fn after(attempts: &[(Status, u64)]) -> bool {
        let circuits = Circuits::default();
        attempts.iter().for_each(|(status, ms)| circuits.learn(&attempt(*status, *ms)));
        circuits.is_open(attempt(Status::Fail, 0).endpoint, NOW.after(Duration::from_secs(20)))
    }

    #[test]
    fn what_hangs_twice_or_fails_five_times_goes_to_the_second_lane() {
        use Status::{Fail, Success};
        assert!(!after(&[(Fail, 15_000)]));
        assert!(after(&[(Fail, 15_000), (Fail, 15_000)]));
        assert!(after(&[(Success, 6_000), (Success, 6_000)]));
        assert!(!after(&[(Fail, 10); 4]));
        assert!(after(&[(Fail, 10); 5]));
        assert!(!after(&[(Fail, 10), (Fail, 10), (Fail, 10), (Fail, 10), (Success, 10), (Fail, 10)]));
        let circuits = Circuits::default();
        let endpoint = attempt(Fail, 0).endpoint;
        let in_flight: Vec<_> = (0..3).map(|_| circuits.begin(endpoint, NOW)).collect();
        assert!(!circuits.is_open(endpoint, NOW.after(Duration::from_millis(900))));
        assert!(circuits.is_open(endpoint, NOW.after(Duration::from_millis(1100))));
        drop(in_flight);
        assert!(!circuits.is_open(endpoint, NOW.after(Duration::from_millis(1100))));
        (0..2).for_each(|_| circuits.learn(&attempt(Fail, 6_000)));
        assert!(!circuits.is_open(attempt(Fail, 0).endpoint, NOW.after(Duration::from_secs(40))));
    }
}
