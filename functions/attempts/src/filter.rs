//! Which attempts, and which attempted messages, a list shows.

use shared::Result;
use shared::clock::Timestamp;
use shared::http::{QueryParams, RawQuery, Text};
use shared::ids::NAME_LENGTH_MAX;
use shared::labels::Labels;
use shared::limits::{CHANNEL_LENGTH_MAX, TAG_LENGTH_MAX};
use shared::page::Made;
use shared::store::attempts::{Attempt, CANCELED, Passage, Status};
use shared::store::messages::Message;

/// Whether the caller knows the status of what a transformation cancelled. To all others it is a success. The list of
/// a message's endpoints has no such parameter.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpandedStatuses(bool);

impl QueryParams for ExpandedStatuses {
    fn read(query: &RawQuery, _: Timestamp) -> Result<Self> {
        query.flag("expanded_statuses", false).map(Self)
    }
}

impl ExpandedStatuses {
    /// Number and word of a status.
    pub const fn shown(self, status: Status, canceled: bool) -> (u8, &'static str) {
        if self.0 && canceled { CANCELED } else { (status as u8, status.text()) }
    }
}

/// What the query asks for; what it does not mention does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Its number, as the caller knows it.
    status: Option<u8>,
    /// How statuses are shown.
    pub statuses: ExpandedStatuses,
    /// The first digit of the status code, 0 for no answer.
    code_class: Option<u16>,
    channel: Option<String>,
    tag: Option<String>,
    event_types: Option<Vec<String>>,
    /// When attempts were made.
    pub made: Made,
}

impl QueryParams for Filter {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        Ok(Self {
            statuses: ExpandedStatuses::read(query, now)?,
            status: query.code("status", &[0, 1, 2, 3, 4].map(|number| (number, number as u8)))?,
            code_class: query
                .code("status_code_class", &[0, 1, 2, 3, 4, 5].map(|class| (class * 100, class)))?,
            channel: query.text("channel", Text::Name(CHANNEL_LENGTH_MAX))?.map(str::to_owned),
            tag: query.text("tag", Text::Tag(TAG_LENGTH_MAX))?.map(str::to_owned),
            event_types: query.texts("event_types", Text::Name(NAME_LENGTH_MAX))?,
            made: Made::default(),
        })
    }
}

impl Filter {
    /// Whether `attempt` is shown.
    pub fn keeps(&self, attempt: &Attempt) -> bool {
        self.made.holds(attempt.at)
            && self.keeps_status(attempt.status, attempt.passage == Passage::Canceled)
            && self.keeps_code(Some(attempt.code))
            && self.keeps_labels(&attempt.labels)
    }

    /// Whether it matters which status code was answered.
    pub const fn asks_for_code(&self) -> bool {
        self.code_class.is_some()
    }

    /// Whether a delivery is shown whose last attempt was answered with this; none of which there is no attempt.
    pub fn keeps_code(&self, code: Option<u16>) -> bool {
        self.code_class.is_none_or(|class| code.is_some_and(|code| code / 100 == class))
    }

    /// Whether a delivery that stands so is shown.
    pub fn keeps_status(&self, status: Status, canceled: bool) -> bool {
        self.status.is_none_or(|wanted| self.statuses.shown(status, canceled).0 == wanted)
    }

    /// Whether a delivery of `message` is shown, as far as the message decides.
    pub fn keeps_message(&self, message: &Message) -> bool {
        self.keeps_labels(&message.labels)
    }

    fn keeps_labels(&self, labels: &Labels) -> bool {
        self.channel.as_ref().is_none_or(|wanted| labels.has_channel(wanted))
            && self.tag.as_ref().is_none_or(|wanted| labels.has_tag(wanted))
            && self.event_types.as_ref().is_none_or(|wanted| wanted.contains(&labels.event_type))
    }
}
