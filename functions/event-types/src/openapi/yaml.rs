//! A document's text: JSON, or YAML as far as it says the same as JSON.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

use super::DEPTH_MAX;

/// Most values of a document.
const VALUES_MAX: usize = 200_000;

/// Reads a document's text.
///
/// # Errors
/// A sentence that says what is wrong, and in which line.
pub fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) if text.trim_start().starts_with('{') && !error.is_syntax() => {
            return Err(format!("Not JSON: {error}"));
        }
        Err(_) => yaml(text)?,
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err("Must be an object".to_owned()),
    }
}

/// What is not closed yet.
enum Open {
    List(Vec<Value>),
    /// The key that waits for its value.
    Map(Map<String, Value>, Option<String>),
}

fn yaml(text: &str) -> Result<Value, String> {
    let (mut open, mut values, mut whole) = (Vec::<Open>::new(), 0, None);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("Neither JSON nor YAML: {error}"))?;
        let refused = |msg: &str| Err(format!("Line {}: {msg}", span.start.line()));
        values += 1;
        if values > VALUES_MAX {
            return Err(format!("Must have at most {VALUES_MAX} values"));
        }
        let value = match event {
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= DEPTH_MAX => {
                return Err(format!("Must not be nested more than {DEPTH_MAX} times"));
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => list.into(),
                Some(Open::Map(map, _)) => map.into(),
                None => return refused("an end without a begin"),
            },
            Event::Scalar(text, style, _, tag) => {
                let is_key = matches!(open.last(), Some(Open::Map(_, None)));
                let is_text =
                    is_key || style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                if is_text { Value::String(text.into_owned()) } else { plain(&text) }
            }
            Event::Alias(_) => {
                return refused("aliases are not read: write it out, or refer to it with `$ref`");
            }
            Event::DocumentStart(_) if whole.is_some() => return refused("a second document"),
            _ => continue,
        };
        match open.last_mut() {
            None => whole = Some(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(map, key)) => match (key.take(), value) {
                (None, Value::String(name)) if map.contains_key(&name) => {
                    return refused(&format!("{name:?} stands twice"));
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => return refused("a key that is no text"),
                (Some(name), value) => drop(map.insert(name, value)),
            },
        }
    }
    whole.ok_or_else(|| "Must not be empty".to_owned())
}

/// A scalar without quotes, by YAML's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        if let Ok(whole) = text.parse::<i64>() {
            return whole.into();
        }
        if digits.chars().all(|one| one.is_ascii_digit() || matches!(one, '.' | 'e' | 'E' | '-' | '+'))
            && let Some(number) = text.parse().ok().and_then(Number::from_f64)
        {
            return number.into();
        }
    }
    text.into()
}
