//! An example of an event type, sent to one endpoint as a message of its own.

use axum::extract::State;
use http::HeaderMap;
use shared::auth::{Authenticated, Caller, Capability};
use shared::http::{
    Accepted as AcceptedOut, ApiResult, Body, BodyType, Either, Fields, Idempotent, Json, Path, Registry,
    RequestBody, Text,
};
use shared::ids::NAME_LENGTH_MAX;
use shared::intake::{Accepted, MessageIn};
use shared::json::Json as Exact;
use shared::labels::Labels;
use shared::store::messages::Payload;
use shared::trace::Trace;
use shared::wire::{MessageOut, Shown};
use shared::{Api, Error, Result};

use crate::{EndpointPath, Endpoints, TAG, first_sdks};

/// Adds the operations of this module.
pub fn operations<R: Registry<Endpoints>>(to: R) -> R {
    to.post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example", send_example, |operation| {
        operation
            .named("v1.endpoint.send-example", TAG)
            .summary("Send an example of an event type")
            .text("The example comes from the newest schema of the event type that has one; `payload` is sent instead of it. It is an ordinary message, to this endpoint alone.")
            .returns("The message.")
            .returns("The same, to SDKs 1.x, which expect this status.")
    })
}

/// An event type that portals offer to test an endpoint with.
const PING: &str = "svix.ping";
/// More examples than a schema of 256 KB can hold.
const EXAMPLE_INDEX_MAX: u64 = 100_000;

/// What to send.
pub struct ExampleIn {
    /// The event type's name.
    name: String,
    /// Which of its examples.
    index: usize,
    /// What is sent instead of an example, as it was written.
    payload: Option<String>,
}

impl RequestBody for ExampleIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "EventExampleIn",
        &[
            ("eventType", "The event type."),
            ("exampleIndex", "Which of the schema's examples, counted from 0."),
            (
                "payload",
                "Sent instead of an example, byte for byte as it is written here. An application's token needs the capability ViewEndpointSecret for it as well: such a message has the endpoint's signature.",
            ),
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let name = fields.required_text(&["eventType"], Text::Name(NAME_LENGTH_MAX)).unwrap_or_default();
        let index = fields.number(&["exampleIndex"], 0..=EXAMPLE_INDEX_MAX).value();
        let payload = fields.raw_object(&["payload"]).value().map(|raw| raw.get().to_owned());
        if index.is_some() && payload.is_some() {
            fields.violation("exampleIndex", "Must not be given together with payload");
        }
        Self { name, index: usize::try_from(index.unwrap_or(0)).unwrap_or(usize::MAX), payload }
    }
}

/// What is sent for [`PING`] where the organisation has not declared it.
fn ping(index: usize) -> Option<String> {
    (index == 0).then(|| serde_json::json!({ "type": PING, "success": true }).to_string())
}

/// The `index`th example of the newest schema that has one, its numbers as they were written.
fn example(schemas: &str, index: usize) -> Option<String> {
    let Exact::Object(schemas) = Exact::parse(schemas)? else { return None };
    let mut versions: Vec<_> = schemas.into_iter().collect();
    // Versions are numbers as a rule; what is none comes last.
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(version.parse::<u64>().unwrap_or(0)));
    versions.into_iter().find_map(|(_, schema)| {
        let found = match (schema.pointer("/examples"), schema.pointer("/example")) {
            (Some(Exact::List(examples)), _) => examples.get(index),
            (_, example) => example.filter(|_| index == 0),
        };
        found.filter(|found| matches!(found, Exact::Object(_))).map(ToString::to_string)
    })
}

/// The message that shows what an event type looks like.
async fn message(
    api: &Api,
    caller: &Caller,
    ExampleIn { name, index, payload }: ExampleIn,
) -> Result<MessageIn> {
    if payload.is_some() {
        // A receiver trusts what has its endpoint's signature: any payload, from those who could sign it themselves.
        caller.demand(Capability::ViewEndpointSecret)?;
    }
    let found = match api.store.event_type(caller, &name).await {
        Ok(event_type) => payload.or_else(|| event_type.schemas.and_then(|schemas| example(&schemas, index))),
        Err(Error::NotFound(_)) if name == PING => payload.or_else(|| ping(index)),
        Err(Error::NotFound(_)) => {
            let msg = format!("This event type does not exist: {name}");
            return Err(Error::violation(["body", "eventType"], msg));
        }
        Err(error) => return Err(error),
    };
    let Some(found) = found else {
        let msg = match index {
            0 => format!("Event type {name} has no schema with examples. Add `examples` to its schema."),
            _ => format!(
                "Event type {name} has no example {index}. Add it to `examples` of its schema, or change `exampleIndex`."
            ),
        };
        return Err(Error::violation(["body", "eventType"], msg));
    };
    Ok(MessageIn {
        labels: Labels::of(name),
        event_id: None,
        payload: Payload::of(found),
        retention_hours: None,
        deliver_at: None,
        application: None,
    })
}

/// Sends an example, accepted as every other message is.
pub async fn send_example(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path(path): Path<EndpointPath>,
    idempotent: Idempotent,
    headers: HeaderMap,
    body: Body<ExampleIn>,
) -> ApiResult<Either<Json<MessageOut>, AcceptedOut<MessageOut>>> {
    let (api, intake) = (&state.api, &state.intake);
    let id = intake.next_id();
    let claimed = match idempotent.key(&caller)? {
        Some(key) => Some(intake.claim(key, id).await?),
        None => None,
    };
    let wanted = async {
        let (app, endpoint) = state.find(&caller, &path).await?;
        let message = message(api, &caller, body.read()?).await?;
        endpoint.settings.destination.check_sent_to()?;
        if endpoint.settings.disabled {
            let text = "The endpoint is disabled: enable it before an example is sent.";
            return Err(Error::Conflict(text.into()));
        }
        intake.admit(&app, &message).await?;
        Ok((app, endpoint.id, message))
    };
    let (app, endpoint, message) = match wanted.await {
        Ok(wanted) => wanted,
        Err(refused) => {
            if let Some(claimed) = &claimed {
                intake.release_key(claimed).await;
            }
            return Err(refused.into());
        }
    };
    let out = match intake.accept_for(&app, (id, claimed), message, endpoint, Trace::of(&headers)).await? {
        Accepted::New(new) => MessageOut::accepted(&new, true)?,
        Accepted::Existing(earlier) => match api.store.payload(&earlier).await? {
            Some(payload) => MessageOut::new(&earlier, &Shown::Payload(&payload.json))?,
            None => MessageOut::new(&earlier, &Shown::Expired)?,
        },
    };
    Ok(if first_sdks::asked(&headers) { Either::Second(AcceptedOut(out)) } else { Either::First(Json(out)) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_schema_with_an_example_gives_it() {
        let schemas = json!({
            "1": {"examples": [{"a": 1}, {"a": 2}]},
            "2": {"type": "object"},
            "10": {"example": {"a": 10}},
        });
        assert_eq!(example(&schemas.to_string(), 0), Some(r#"{"a":10}"#.into()));
        assert_eq!(example(&schemas.to_string(), 1), Some(r#"{"a":2}"#.into()));
        assert_eq!(example(&schemas.to_string(), 2), None);
        assert_eq!(example(r#"{"1": {"examples": ["no object"]}}"#, 0), None);
        let long = r#"{"1": {"example": {"n": 12345678901234567890123}}}"#;
        assert_eq!(example(long, 0).as_deref(), Some(r#"{"n":12345678901234567890123}"#));
    }
}
