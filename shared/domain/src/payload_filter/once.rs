//! JSON in which no object names a field twice. A reader that takes the last one would apply half of a pattern,
//! and nobody would notice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::InvalidPattern;

/// Where the reader is; where it stops, that stays as it is.
#[derive(Default)]
struct Once {
    path: Vec<String>,
    twice: bool,
}

/// The object that a text is.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, InvalidPattern> {
    let mut once = Once::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let read = once.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    match read {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(InvalidPattern { path: Vec::new(), reason: "Must be a JSON object".into() }),
        Err(_) if once.twice => Err(InvalidPattern {
            path: once.path,
            reason: "Is there twice in one object: name it once, with all of its rules".into(),
        }),
        Err(error) => Err(InvalidPattern { path: Vec::new(), reason: error.to_string() }),
    }
}

impl<'de> DeserializeSeed<'de> for &mut Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        self.path.push("0".into());
        while let Some(value) = list.next_element_seed(&mut *self)? {
            values.push(value);
            self.path.pop();
            self.path.push(values.len().to_string());
        }
        self.path.pop();
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.path.push(name.clone());
            if object.contains_key(&name) {
                self.twice = true;
                return Err(A::Error::custom("a field twice"));
            }
            let value = fields.next_value_seed(&mut *self)?;
            self.path.pop();
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_there_twice_is_named() {
        for (text, path) in [
            (r#"{"a":[1],"a":[2]}"#, "a"),
            (r#"{"b":[1],"a":{"c":[1],"d":[1],"c":[1]}}"#, "a.c"),
            (r#"{"$or":[{"a":[1]},{"b":[1],"b":[2]}]}"#, "$or.1.b"),
            (r#"{"a":[1,{"prefix":"x","prefix":"y"}]}"#, "a.1.prefix"),
            (r#"{"a":[1],"\u0061":[2]}"#, "a"),
        ] {
            let InvalidPattern { path: found, reason } = object(text).unwrap_err();
            assert_eq!(found.join("."), path, "{text}");
            assert!(reason.contains("twice"), "{reason}");
        }
    }

    #[test]
    fn other_texts_are_read_as_ever() {
        let text = r#"{"a":[1,-2,2.5,"x",null,true],"b":{"a":[{"numeric":[">",1e3]}],"c":{"a":[1]}}}"#;
        assert_eq!(Value::Object(object(text).unwrap()), serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(object("{}").unwrap(), Map::new());
        for wrong in ["[]", "3", "", "{", r#"{"a":1}x"#, &"[".repeat(1_000)] {
            let error = object(wrong).unwrap_err();
            assert!(error.path.is_empty() && !error.reason.contains("twice"), "{wrong}: {error:?}");
        }
        assert_eq!(Value::Object(object(r#"{"a":18446744073709551615}"#).unwrap()), json!({"a": u64::MAX}));
    }
}
