//! JSON that is passed on as it is: numbers, escapes and the order of fields. A payload is stored, signed and sent byte
//! for byte as posted, so a command must not write it anew.

use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

/// One field: its name as it is written, as it is read, and its value as it is written.
#[derive(Clone, Debug)]
struct Field {
    written: Box<RawValue>,
    name: String,
    value: Box<RawValue>,
}

/// An object whose fields keep their order and their text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object(Vec<Field>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some((written, value)) = map.next_entry::<Box<RawValue>, Box<RawValue>>()? {
                    let name = serde_json::from_str(written.get()).map_err(serde::de::Error::custom)?;
                    fields.push(Field { written, name, value });
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A text as a JSON string.
pub(crate) fn string(text: &str) -> Box<RawValue> {
    raw(text)
}

/// A value as JSON.
pub(crate) fn raw(value: &(impl serde::Serialize + ?Sized)) -> Box<RawValue> {
    // Texts, lists and `Value`s can all be written.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A value that is JSON as it stands, or none.
pub(crate) fn parsed(text: &str) -> Option<Box<RawValue>> {
    serde_json::from_str(text).ok()
}

impl Object {
    /// Reads a text; none if it holds something else than an object.
    ///
    /// # Errors
    /// It is not JSON.
    pub(crate) fn read(text: &str) -> Result<Option<Self>, serde_json::Error> {
        let value: &RawValue = serde_json::from_str(text)?;
        if value.get().starts_with('{') { serde_json::from_str(text).map(Some) } else { Ok(None) }
    }

    /// The value of a field: of the last one where several have the name, as servers read it.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|field| field.name == name).map(|field| &*field.value)
    }

    /// The fields' names and values.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|field| (field.name.as_str(), &*field.value))
    }

    /// Sets a field: where it stands, or at the end.
    pub(crate) fn insert(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().rev().find(|field| field.name == name) {
            Some(field) => field.value = value,
            None => self.0.push(Field { written: string(name), name: name.to_owned(), value }),
        }
    }

    /// Sets a field of an object in it, making objects on the way.
    ///
    /// # Errors
    /// Something on the way is not an object: its name.
    pub(crate) fn set(&mut self, path: &[&str], value: Box<RawValue>) -> Result<(), String> {
        let [name, rest @ ..] = path else { return Ok(()) };
        if rest.is_empty() {
            self.insert(name, value);
            return Ok(());
        }
        let mut inner = match self.get(name) {
            None => Self::default(),
            Some(there) => serde_json::from_str(there.get()).map_err(|_| (*name).to_owned())?,
        };
        inner.set(rest, value)?;
        self.insert(name, inner.written());
        Ok(())
    }

    /// The object's text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("{");
        for (nth, field) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            let _infallible = write!(text, "{comma}{}:{}", field.written.get(), field.value.get());
        }
        text + "}"
    }

    /// The object as a value of another one.
    pub(crate) fn written(&self) -> Box<RawValue> {
        RawValue::from_string(self.text()).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }
}

/// JSON on one line: in JSON, a line break stands between values and in no string.
pub(crate) fn one_line(text: &str) -> String {
    text.trim().replace(['\n', '\r'], " ")
}

/// JSON on one line with its control characters, which a terminal would obey, escaped: they stand in strings alone.
pub(crate) fn escaped(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if c.is_control() && c != '\t' {
            let _infallible = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON for a person: a line for each value. Nothing but the space between the values changes, and control characters,
/// which a terminal would obey, are escaped.
pub(crate) fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = text.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = rest.next() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            if c.is_control() {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            } else {
                out.push(c);
            }
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                match rest.next_if(|c| matches!(c, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays_as_it_is_written() {
        let text =
            r#"{"z":1.10,"a":12345678901234567890123,"\u0061b":"\u00e9\/","n":{ "y" : 1e2,"x":[1 ,2]}}"#;
        let mut object = Object::read(text).unwrap().unwrap();
        assert_eq!(object.text(), text);
        assert_eq!(object.get("ab").unwrap().get(), r#""\u00e9\/""#);
        object.set(&["a"], parsed("7.0").unwrap()).unwrap();
        object.set(&["n", "y"], string("\"")).unwrap();
        object.set(&["o", "p"], parsed("null").unwrap()).unwrap();
        assert_eq!(
            object.text(),
            r#"{"z":1.10,"a":7.0,"\u0061b":"\u00e9\/","n":{"y":"\"","x":[1 ,2]},"o":{"p":null}}"#
        );
        assert_eq!(object.set(&["z", "b"], parsed("1").unwrap()), Err("z".to_owned()));
        assert!(Object::read("[1]").unwrap().is_none() && Object::read("{").is_err());
    }

    #[test]
    fn only_the_space_between_values_changes() {
        let text = "{\"b\":1.10,\n\"a\" : [ ],\"c\":[{},\"x\\\"{,:\u{9b}\u{7f}\"]}";
        assert_eq!(
            pretty(text),
            "{\n  \"b\": 1.10,\n  \"a\": [],\n  \"c\": [\n    {},\n    \"x\\\"{,:\\u009b\\u007f\"\n  ]\n}"
        );
        assert_eq!(escaped("{\"a\":\"\u{9b}2J\"}"), "{\"a\":\"\\u009b2J\"}");
        assert_eq!(one_line("{\"a\":\r\n1}\n"), "{\"a\":  1}");
    }
}
