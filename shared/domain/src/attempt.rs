//! What became of a message at an endpoint, and each attempt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use runtime::clock::Timestamp;

use crate::ids::{AttemptId, EndpointId, MessageId};
use crate::labels::Labels;

/// Most attempts by hand and by tasks of one message at one endpoint: its delivery state names each.
pub const RESENDS_MAX: usize = 200;

/// How a delivery, or one attempt of it, stands. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Answered 2xx.
    Success = 0,
    /// Another attempt will follow.
    Pending = 1,
    /// Failed; no other attempt will follow.
    Fail = 2,
    /// On its way.
    Sending = 3,
}

impl Status {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Success, Self::Pending, Self::Fail, Self::Sending];

    /// The status of that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Success,
            1 => Self::Pending,
            2 => Self::Fail,
            3 => Self::Sending,
            _ => return None,
        })
    }

    /// The contract's word for it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Pending => "pending",
            Self::Fail => "fail",
            Self::Sending => "sending",
        }
    }
}

/// The status of what a transformation cancelled, for clients that know it: a success to all others. The number and
/// the word are the contract's.
pub const CANCELED: (u8, &str) = (4, "canceled");

/// What the endpoint's transformation made of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    /// There is none, or it failed.
    #[default]
    Untransformed,
    /// What was sent came out of it.
    Transformed,
    /// It said that nothing is to be sent.
    Canceled,
}

/// Why an attempt was made. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By the schedule.
    Scheduled = 0,
    /// By hand.
    Manual = 1,
}

/// What became of a message at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The message.
    pub message: MessageId,
    /// How it stands.
    pub status: Status,
    /// When each attempt of the chain so far was due; there are as many as this state counts.
    pub due: Vec<Timestamp>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// The chain ended before its last attempt was made (endpoint disabled or deleted, text gone).
    pub stopped: bool,
    /// Attempts that were made by hand or by a task, besides the chain's own.
    pub by_hand: Vec<AttemptId>,
    /// One of those succeeded: the message is delivered, however the chain stands.
    pub delivered_by_hand: bool,
    /// A transformation cancelled it: a success without a webhook.
    pub canceled: bool,
    /// The first attempt, where this state says how it ended; else it has an item of its own.
    pub first: Option<FirstAttempt>,
}

/// The first attempt of a delivery as its state has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstAttempt {
    /// All of it.
    Inside(Box<Attempt>),
    /// That it was made; the rest is long and in an item of its own.
    Apart,
}

impl State {
    /// The number of the last attempt.
    pub fn number(&self) -> u32 {
        u32::try_from(self.due.len()).unwrap_or(u32::MAX)
    }

    /// How the delivery stands: its chain, or better where an attempt by hand succeeded.
    pub fn outcome(&self) -> Status {
        if self.delivered_by_hand { Status::Success } else { self.status }
    }

    /// The same as lists show it: a delivery with an attempt to come is on its way.
    pub fn standing(&self) -> Status {
        match self.outcome() {
            Status::Pending => Status::Sending,
            ended => ended,
        }
    }

    /// Whether a transformation ended it without a webhook, and nobody sent it by hand.
    pub fn is_canceled(&self) -> bool {
        self.canceled && !self.delivered_by_hand
    }

    /// When the next attempt is due, if there is to be one.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.next.filter(|_| !self.delivered_by_hand)
    }

    /// The attempt of that id, where it is the first one and this state has all of it.
    pub fn inside(&self, id: AttemptId) -> Option<&Attempt> {
        match &self.first {
            Some(FirstAttempt::Inside(attempt)) if attempt.id == id => Some(attempt),
            _ => None,
        }
    }

    /// The ids of the attempts that were made: the chain's, oldest first, then those by hand.
    pub fn attempts(&self) -> impl Iterator<Item = AttemptId> + '_ {
        let made = self.due.len() - usize::from(self.stopped && !self.due.is_empty());
        let first = self.first.as_ref().map(|_| AttemptId::first(self.message, self.endpoint));
        let others = self.due[..made].iter().zip(1..).skip(usize::from(first.is_some()));
        first
            .into_iter()
            .chain(
                others.map(|(due, number)| AttemptId::scheduled(self.message, self.endpoint, number, *due)),
            )
            .chain(self.by_hand.iter().copied())
    }
}

/// The body of an endpoint's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// Text; empty where there was no response.
    Text(String),
    /// Bytes that are no UTF-8; shown as base64.
    Bytes(Vec<u8>),
}

/// One attempt as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its id; the time inside is when it was due.
    pub id: AttemptId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The message.
    pub message: MessageId,
    /// Where it was POSTed to.
    pub url: String,
    /// How it ended: [`Status::Success`] or [`Status::Fail`].
    pub status: Status,
    /// The HTTP status code, 0 without an answer.
    pub code: u16,
    /// What came back.
    pub response: ResponseBody,
    /// Why there was no response, or not all of one.
    pub error: Option<String>,
    /// The response's headers, as far as they are kept.
    pub response_headers: Vec<(String, String)>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Why it was made.
    pub trigger: Trigger,
    /// When the next attempt of the chain is due.
    pub next: Option<Timestamp>,
    /// The endpoint asked to be disabled.
    pub disables: bool,
    /// What the endpoint's transformation made of it.
    pub passage: Passage,
    /// The message's, to filter by.
    pub labels: Labels,
}

impl Attempt {
    /// Whether it is the first one of a message that was sent at once: its result is in the delivery's state.
    pub fn is_first(&self) -> bool {
        self.id == AttemptId::first(self.message, self.endpoint)
    }

    /// What it failed with, in words: the host, and its status or why there is none.
    pub fn failure(&self) -> String {
        let url = url::Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(url::Url::host_str).unwrap_or("the endpoint");
        match (self.code, self.error.as_deref()) {
            (0, error) => format!("{host}: {}", error.unwrap_or("no response")),
            (code, None) => format!("{host} answered {code}"),
            (code, Some(error)) => format!("{host} answered {code}: {error}"),
        }
    }

    /// The response as text: the body, and why it ends there; or why there is none. Bytes that are no
    /// text are base64.
    pub fn response_text(&self) -> String {
        match (&self.response, &self.error) {
            (ResponseBody::Bytes(bytes), _) => BASE64.encode(bytes),
            (ResponseBody::Text(body), None) => body.clone(),
            (ResponseBody::Text(body), Some(error)) if body.is_empty() => error.clone(),
            (ResponseBody::Text(body), Some(error)) => format!("{body}\n({error})"),
        }
    }
}
