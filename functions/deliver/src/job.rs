//! The two kinds of attempts, and what differs between them.

use shared::clock::Timestamp;
use shared::ids::{AppId, AttemptId, EndpointId, MessageId, OrgId};
use shared::queue::{DEDUP_FREE_WINDOW, Deliver as DeliverJob, Job, Resend};
use shared::retry::{RetryHint, RetryPolicy};
use shared::store::attempts::{State, Trigger};
use shared::trace::Trace;

/// An attempt that is to be made.
#[derive(Clone, Debug)]
pub enum AttemptJob {
    /// By the schedule, as a link of a chain.
    Scheduled(DeliverJob),
    /// Asked for by hand or by a task: made once and not retried.
    Manual(Resend),
}

/// The same field of both.
macro_rules! both {
    ($($name:ident: $kind:ty,)*) => {$(
        pub const fn $name(&self) -> $kind {
            match self {
                Self::Scheduled(job) => job.$name,
                Self::Manual(job) => job.$name,
            }
        }
    )*};
}

impl AttemptJob {
    both! {
        org: OrgId,
        app: AppId,
        message: MessageId,
        endpoint: EndpointId,
        slot: Option<Timestamp>,
        trace: Option<Trace>,
    }

    /// The attempt's id: of a chain's it follows from the job, so that copies agree.
    pub fn id(&self) -> AttemptId {
        match self {
            Self::Scheduled(job) if is_first(job) => AttemptId::first(job.message, job.endpoint),
            Self::Scheduled(job) => AttemptId::scheduled(job.message, job.endpoint, job.number(), job.due()),
            Self::Manual(job) => job.attempt,
        }
    }

    /// The ids under which it can be on record: the version before gave first attempts another one.
    pub fn ids_on_record(&self) -> Vec<AttemptId> {
        match self {
            Self::Scheduled(job) if is_first(job) => {
                vec![self.id(), AttemptId::scheduled(job.message, job.endpoint, 1, job.due())]
            }
            _ => vec![self.id()],
        }
    }

    /// Why it is made.
    pub const fn trigger(&self) -> Trigger {
        match self {
            Self::Scheduled(_) => Trigger::Scheduled,
            Self::Manual(_) => Trigger::Manual,
        }
    }

    /// Whether it reads what was done before it posts. A plain first attempt does not; whatever may have a
    /// copy does.
    pub fn checks_before_send(&self, now: Timestamp) -> bool {
        match self {
            Self::Scheduled(job) => job.check || job.number() > 1 || now.since(job.due()) > DEDUP_FREE_WINDOW,
            Self::Manual(_) => true,
        }
    }

    /// Whether the delivery went past this attempt.
    pub fn is_past(&self, state: Option<&State>) -> bool {
        match self {
            Self::Scheduled(job) => state.is_some_and(|state| state.number() >= job.number()),
            Self::Manual(_) => false,
        }
    }

    /// Whether the message was delivered by another attempt. Whoever sends by hand wants it again.
    pub fn is_needless(&self, state: Option<&State>) -> bool {
        matches!(self, Self::Scheduled(_)) && state.is_some_and(|state| state.delivered_by_hand)
    }

    /// When the first attempt of a chain was due; none for any other.
    pub fn first_due(&self) -> Option<Timestamp> {
        match self {
            Self::Scheduled(job) if job.number() == 1 => Some(job.due()),
            _ => None,
        }
    }

    /// When the attempt after this one is due, if that fails. None where nothing is left to send by then:
    /// the message is exhausted now, while people can see why.
    pub fn next_due(&self, policy: &RetryPolicy, hint: RetryHint, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Scheduled(job) => policy
                .next_due((job.message, job.endpoint), job.number(), hint, now)
                .filter(|due| *due < job.payload_until),
            Self::Manual(_) => None,
        }
    }

    /// As it goes back into a queue: with a copy for as long as this one is not deleted, so that it has to
    /// look first.
    pub fn put_back(self, slot: Option<Timestamp>) -> Self {
        match self {
            Self::Scheduled(job) => {
                Self::Scheduled(DeliverJob { check: true, slot: slot.or(job.slot), ..job })
            }
            Self::Manual(job) => Self::Manual(Resend { slot: slot.or(job.slot), ..job }),
        }
    }

    /// As a timer keeps it: without the payload that costs one unit.
    pub fn without_payload(self) -> Self {
        match self {
            Self::Scheduled(job) => Self::Scheduled(DeliverJob { payload: None, ..job }),
            manual => manual,
        }
    }

    /// What tells its timer from others of the message.
    pub fn timer_name(&self) -> String {
        match self {
            Self::Scheduled(job) => job.endpoint.to_string(),
            Self::Manual(job) => job.attempt.to_string(),
        }
    }
}

/// Whether it is the first attempt of a message that is sent at once. One that was held back is listed by
/// when it was due, so that its id cannot follow from its message's.
fn is_first(job: &DeliverJob) -> bool {
    job.number() == 1 && job.due() == job.message.time()
}

impl From<AttemptJob> for Job {
    fn from(job: AttemptJob) -> Self {
        match job {
            AttemptJob::Scheduled(job) => Self::Deliver(job),
            AttemptJob::Manual(job) => Self::Resend(job),
        }
    }
}
