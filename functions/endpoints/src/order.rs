//! Whether an endpoint's messages are in order, as requests and responses have it.

use schemars::JsonSchema;
use serde::Serialize;
use shared::Result;
use shared::error::Error;
use shared::http::{Field, Fields, Rule};
use shared::order::{Fifo, KEY_LENGTH_MAX, check_pointer};
use shared::store::applications::Application;
use shared::store::endpoints::EndpointSettings;

use crate::Endpoints;

/// How messages can be in order, as `mode` spells it.
const MODES: &[&str] = &["fifo"];
/// Most ordered endpoints of an application: each message claims a place at each of them.
const ORDERED_MAX: usize = 50;

pub const ABOUT: [(&str, &str); 3] = [
    (
        "ordering",
        "Deliver in order: a message is sent after the one before it was delivered or given up. In no order if absent or null. Holds for messages that are posted afterwards.",
    ),
    ("ordering.mode", "`fifo`: in the order in which messages were accepted."),
    (
        "ordering.key",
        "A JSON pointer into the payload, such as `/object/id`: only messages with the same value there wait for each other. Messages without a string, number or boolean there wait for each other as well. All messages of the endpoint are in one order if absent or null.",
    ),
];

/// What a body says of the order.
pub fn read(fields: &mut Fields<'_>) -> Field<Fifo> {
    match fields.part("ordering") {
        Field::Value(mut part) => {
            let fifo = of_part(&mut part);
            fields.absorb(part);
            Field::Value(fifo)
        }
        Field::Null => Field::Null,
        Field::Absent => Field::Absent,
    }
}

fn of_part(part: &mut Fields<'_>) -> Fifo {
    part.required_word(&["mode"], MODES);
    let key: Option<String> = part.optional(&["key"]);
    part.rule("key", Rule::Length(1, KEY_LENGTH_MAX));
    if let Some(Err(broken)) = key.as_deref().map(check_pointer) {
        part.violation("key", broken);
    }
    part.no_others(&["mode", "key"]);
    Fifo { key }
}

/// Whether messages are in order, as responses show it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OrderingOut")]
pub struct OrderingOut {
    /// `fifo`: in the order in which messages were accepted.
    mode: &'static str,
    /// A JSON pointer into the payload: only messages with the same value there wait for each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl From<Fifo> for OrderingOut {
    fn from(fifo: Fifo) -> Self {
        Self { mode: MODES[0], key: fifo.key }
    }
}

impl Endpoints {
    /// Holds an application to so many ordered endpoints.
    pub(crate) async fn check_ordered(
        &self,
        app: &Application,
        before: Option<&Fifo>,
        settings: &EndpointSettings,
    ) -> Result<()> {
        if settings.fifo.is_some() && settings.destination.is_polled() {
            let msg = "Must not be there with destination `polling`, which is read in order anyway";
            return Err(Error::violation(["body", "ordering"], msg));
        }
        if before.is_some() || settings.fifo.is_none() {
            return Ok(());
        }
        let ordered = self.api.store.all_endpoints(app.id).await?;
        if ordered.iter().filter(|endpoint| endpoint.settings.fifo.is_some()).count() < ORDERED_MAX {
            return Ok(());
        }
        let text =
            format!("The application has {ORDERED_MAX} endpoints with `ordering`: it cannot have more.");
        Err(Error::LimitReached(text))
    }
}
