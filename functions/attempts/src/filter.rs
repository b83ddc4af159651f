//! Which attempts a list shows.

use shared::Result;
use shared::http::Query;
use shared::store::attempts::{Attempt, Status};

/// What the query asks for; what it does not mention does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    status: Option<Status>,
    /// The first digit of the status code, 0 for no answer.
    code_class: Option<u16>,
    channel: Option<String>,
    tag: Option<String>,
    event_types: Option<Vec<String>>,
}

impl Filter {
    /// Reads `status`, `status_code_class`, `channel`, `tag` and `event_types`.
    pub fn read(query: &Query) -> Result<Self> {
        let class = |text: &str| match text {
            "0" | "100" | "200" | "300" | "400" | "500" => text.parse::<u16>().ok().map(|class| class / 100),
            _ => None,
        };
        Ok(Self {
            status: query.parsed("status", "0, 1, 2 or 3", |text| Status::from_number(text.parse().ok()?))?,
            code_class: query.parsed("status_code_class", "0, 100, 200, 300, 400 or 500", class)?,
            channel: query.one("channel").map(str::to_owned),
            tag: query.one("tag").map(str::to_owned),
            event_types: query.many("event_types"),
        })
    }

    /// Whether `attempt` is shown.
    pub fn keeps(&self, attempt: &Attempt) -> bool {
        self.status.is_none_or(|status| attempt.status == status)
            && self.code_class.is_none_or(|class| attempt.code / 100 == class)
            && self
                .channel
                .as_ref()
                .is_none_or(|wanted| attempt.channels.iter().flatten().any(|c| c == wanted))
            && self.tag.as_ref().is_none_or(|wanted| attempt.tags.iter().flatten().any(|tag| tag == wanted))
            && self.event_types.as_ref().is_none_or(|wanted| wanted.contains(&attempt.event_type))
    }
}
