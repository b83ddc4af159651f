//! An example of an event type, sent to one endpoint as a message of its own.

use std::time::Duration;

use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use serde_json::value::RawValue;
use shared::Error;
use shared::auth::Authenticated;
use shared::error::{Chain, corrupt};
use shared::http::{ApiResult, Body, Fields, RequestBody, Text, idempotency_key, idempotent, json};
use shared::ids::{MessageId, NAME_LENGTH_MAX};
use shared::queue::{Deliver, Job, Outgoing};
use shared::store::messages::{LOG_RETENTION_DAYS, NewMessage, Payload};
use shared::trace::Trace;
use shared::wire::MessageOut;

use crate::{Endpoints, first_sdks};

/// More examples than a schema of 256 KB can hold.
const EXAMPLE_INDEX_MAX: u64 = 100_000;

/// Which example to send, as a body.
pub const EXAMPLE_IN: RequestBody = RequestBody {
    name: "EventExampleIn",
    read: |fields| drop(parse(fields)),
    optional: false,
    fields: &[
        ("eventType", "The event type."),
        ("exampleIndex", "Which of the schema's examples, counted from 0."),
    ],
    parts: &[],
};

/// Reads which example is asked for: the event type's name, and which of several.
fn parse(fields: &mut Fields<'_>) -> (String, usize) {
    let name = fields.required_text(&["eventType"], Text::Name(NAME_LENGTH_MAX)).unwrap_or_default();
    let index = fields.number(&["exampleIndex"], 0..=EXAMPLE_INDEX_MAX).value().unwrap_or(0);
    (name, usize::try_from(index).unwrap_or(usize::MAX))
}

/// The `index`th example of the newest schema that has one.
fn example(schemas: &str, index: usize) -> Option<Value> {
    let schemas: serde_json::Map<String, Value> = serde_json::from_str(schemas).ok()?;
    let mut versions: Vec<_> = schemas.into_iter().collect();
    // Versions are numbers as a rule; what is none comes last.
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(version.parse::<u64>().unwrap_or(0)));
    versions.into_iter().find_map(|(_, schema)| {
        let found = match schema.get("examples") {
            Some(Value::Array(examples)) => examples.get(index).cloned(),
            _ => schema.get("example").filter(|_| index == 0).cloned(),
        };
        found.filter(Value::is_object)
    })
}

/// Sends an example.
pub async fn send_example(
    State(state): State<Endpoints>,
    Authenticated(caller): Authenticated,
    Path((app, endpoint)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let api = &state.api;
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    let mut answer = idempotent(&api.store, &*api.clock, key, async || {
        let (app, endpoint) = state.find(&caller, &app, &endpoint).await?;
        let mut fields = Fields::parse(&body.0)?;
        let (name, index) = parse(&mut fields);
        fields.finish()?;
        let found = match api.store.event_type(&caller, &name).await {
            Ok(event_type) => event_type.schemas.and_then(|schemas| example(&schemas, index)),
            Err(Error::NotFound(_)) => {
                let msg = format!("This event type does not exist: {name}");
                return Err(Error::violation(["body", "eventType"], msg, "value_error"));
            }
            Err(error) => return Err(error),
        };
        let Some(found) = found else {
            let msg = "The event type's schema has no such example";
            return Err(Error::violation(["body", "eventType"], msg, "value_error"));
        };
        if endpoint.settings.disabled {
            return Err(Error::Conflict("The endpoint is disabled: enable it before an example is sent.".into()));
        }
        let json_text = RawValue::from_string(found.to_string()).map_err(corrupt("an example"))?;
        let new = NewMessage {
            app: app.id,
            id: MessageId::new(api.clock.now(), &*api.random),
            event_type: name,
            event_id: None,
            channels: None,
            tags: None,
            payload: Payload { json: json_text.get().to_owned(), raw: None },
            retention_hours: LOG_RETENTION_DAYS * 24,
            endpoints: vec![endpoint.id],
        };
        api.store.put_message(&new).await?;
        let job = Job::Deliver(Deliver::first(&app, &new, endpoint.id, false)).following(Trace::of(&headers));
        let job = Outgoing::new(&job, Duration::ZERO, app.id)?;
        if let Err(error) = state.sqs.send_one(&state.deliveries, job).await {
            // Not sent, so not made: the caller repeats it.
            if let Err(error) = api.store.remove_message(app.id, new.id).await {
                tracing::warn!(error = %Chain(&error), message_id = %new.id, "an example that was not sent stays visible");
            }
            return Err(error);
        }
        Ok(json(StatusCode::OK, &MessageOut::accepted(&new, true)?))
    })
    .await;
    if answer.status() == StatusCode::OK && first_sdks::asked(&headers) {
        *answer.status_mut() = StatusCode::ACCEPTED;
    }
    Ok(answer)
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
        assert_eq!(example(&schemas.to_string(), 0), Some(json!({"a": 10})));
        assert_eq!(example(&schemas.to_string(), 1), Some(json!({"a": 2})));
        assert_eq!(example(&schemas.to_string(), 2), None);
        assert_eq!(example(r#"{"1": {"examples": ["no object"]}}"#, 0), None);
    }
}
