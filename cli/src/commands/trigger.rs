//! `trigger`: an example message of an event type.

use clap::Args;
use http::Method;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::fields::set;
use super::{id, name, read_text};
use crate::Connection;
use crate::client::{Api, encoded};
use crate::connection::{Env, application};
use crate::error::{CliError, Result};
use crate::json::{self, Object};
use crate::output::{Colour, Output, plain, text};

/// The most messages of one command.
const COUNT_MAX: u32 = 10_000;
/// How deep an example follows a schema.
const DEPTH_MAX: usize = 8;

/// `postrider trigger`
#[derive(Debug, Args)]
pub struct Trigger {
    /// The event type, such as invoice.paid.
    #[arg(value_name = "TYPE", value_parser = name)]
    event_type: String,
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP", value_parser = id)]
    app: Option<String>,
    /// A file with the payload; - is standard input [default: the event type's example].
    #[arg(long, value_name = "FILE")]
    payload: Option<String>,
    /// Change a field of the payload, such as customer.id=42.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Channels of the message.
    #[arg(long, value_name = "CHANNEL")]
    channel: Vec<String>,
    /// How many messages.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    count: u32,
    /// Print each message as JSON.
    #[arg(long)]
    json: bool,
}

/// An example by a JSON Schema: its own examples first, else a value for each property.
fn example(schema: &Value, depth: usize) -> Value {
    for given in ["example", "default", "const"] {
        if !schema[given].is_null() {
            return schema[given].clone();
        }
    }
    for list in ["examples", "enum"] {
        if let Some(first) = schema[list].as_array().and_then(|list| list.first()) {
            return first.clone();
        }
    }
    if depth >= DEPTH_MAX {
        return Value::Null;
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(first) = schema[choice].as_array().and_then(|list| list.first()) {
            return example(first, depth + 1);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find_map(|kind| kind.as_str().filter(|kind| *kind != "null")),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => match schema["format"].as_str() {
            Some("date-time") => json!("2026-01-31T12:00:00Z"),
            Some("date") => json!("2026-01-31"),
            Some("email") => json!("jane@example.com"),
            Some("uri" | "url") => json!("https://example.com"),
            Some("uuid") => json!("123e4567-e89b-12d3-a456-426614174000"),
            _ => json!("string"),
        },
        Some("integer") => schema["minimum"].as_i64().map_or_else(|| json!(1), |least| json!(least)),
        Some("number") => schema["minimum"].as_f64().map_or_else(|| json!(1.5), |least| json!(least)),
        Some("boolean") => json!(true),
        Some("array") => json!([example(&schema["items"], depth + 1)]),
        Some("object") | None => {
            let properties = schema["properties"].as_object();
            let fields = properties.into_iter().flatten();
            fields
                .map(|(name, schema)| (name.clone(), example(schema, depth + 1)))
                .collect::<Map<_, _>>()
                .into()
        }
        Some(_) => Value::Null,
    }
}

/// The newest schema of an event type.
fn newest(event_type: &Value) -> Option<&Value> {
    let schemas = event_type["schemas"].as_object()?;
    schemas
        .iter()
        .max_by_key(|(version, _)| version.parse::<u64>().unwrap_or_default())
        .map(|(_, schema)| schema)
}

impl Trigger {
    /// The payload: the file's text as it is, but for the fields that are set.
    async fn payload(&self, api: &Api) -> Result<Box<RawValue>> {
        let payload: Box<RawValue> = match &self.payload {
            Some(path) => {
                let text = read_text("--payload", path)?;
                serde_json::from_str(&text)
                    .map_err(|error| CliError::usage(format!("--payload: {path} is not JSON: {error}")))?
            }
            None => {
                let event_type = api.get(&format!("/event-type/{}", encoded(&self.event_type))).await;
                match event_type.as_ref().ok().and_then(newest) {
                    Some(schema) => json::raw(&example(schema, 0)),
                    None => Object::default().written(),
                }
            }
        };
        let no_object = || CliError::usage("--payload: a payload is a JSON object");
        if self.set.is_empty() {
            // It passes as it is, whatever names it has.
            return if payload.get().starts_with('{') { Ok(payload) } else { Err(no_object()) };
        }
        let Ok(Some(mut object)) = Object::read(payload.get()) else { return Err(no_object()) };
        self.set.iter().try_for_each(|assignment| set(&mut object, assignment, &[]))?;
        Ok(object.written())
    }
}

/// Posts the messages.
pub(crate) async fn run(flags: Trigger, env: Env<'_>, out: &Output) -> Result<()> {
    if !(1..=COUNT_MAX).contains(&flags.count) {
        return Err(CliError::usage(format!("--count: expected 1 to {COUNT_MAX}")));
    }
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.app.as_deref()).await?;
    let mut body = Object::default();
    body.insert("eventType", json::string(&flags.event_type));
    body.insert("payload", flags.payload(&api).await?);
    if !flags.channel.is_empty() {
        body.insert("channels", json::raw(&flags.channel));
    }
    let body = body.text();
    for number in 1..=flags.count {
        let sent = api.give(Method::POST, &format!("/app/{app}/msg"), body.clone()).await?;
        if flags.json {
            out.json_line(&sent.text)?;
        } else if flags.count <= 20 {
            let message: Value = serde_json::from_str(&sent.text).unwrap_or_default();
            let id = plain(&text(&message, "id"));
            out.line(&format!("{}  {}", out.paint(Colour::Bold, &id), plain(&text(&message, "eventType"))))?;
        } else {
            out.progress(&format!("{number} of {} messages posted", flags.count));
        }
    }
    if !flags.json && flags.count > 20 {
        out.progress_done();
        out.line(&format!("{} messages of {} posted", flags.count, flags.event_type))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_follows_the_schema_and_ends() {
        let schema = json!({
            "type": "object",
            "properties": {
                "id": { "type": "string", "examples": ["inv_1"] },
                "paid": { "type": "boolean" },
                "total": { "type": ["null", "integer"], "minimum": 7 },
                "at": { "type": "string", "format": "date-time" },
                "lines": { "type": "array", "items": { "enum": ["a", "b"] } },
                "customer": { "properties": { "email": { "type": "string", "format": "email" } } },
            },
        });
        assert_eq!(
            example(&schema, 0),
            json!({
                "id": "inv_1", "paid": true, "total": 7, "at": "2026-01-31T12:00:00Z", "lines": ["a"],
                "customer": { "email": "jane@example.com" },
            })
        );
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "type": "array", "items": deep });
        }
        assert!(example(&deep, 0).to_string().len() < 100);
        assert_eq!(newest(&json!({"schemas": {"2": {"a": 1}, "10": {"b": 1}}})), Some(&json!({"b": 1})));
    }
}
