//! What a request may say of its fields, as the code that reads them finds out: see
//! [`Fields::describing`](super::Fields::describing).
//!
//! Reading notes shapes and rules in constant data, so that the functions carry next to nothing of
//! it; the JSON schemas are made where the document is.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Text;
use runtime::clock::Timestamp;

/// The kind of JSON value that a type is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// A string with an RFC 3339 date and time.
    Time,
    /// `true` or `false`.
    Flag,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// An array of these.
    List(&'static Shape),
    /// An object whose values are these.
    Map(&'static Shape),
    /// This, or `null`.
    OrNull(&'static Shape),
    /// An object of any content.
    Object,
    /// Anything.
    Any,
}

/// Types that a field can be read as.
pub trait Shaped {
    /// What they are read from.
    const SHAPE: Shape;
}

macro_rules! shaped {
    ($($type:ty: $shape:expr,)*) => {$(
        impl Shaped for $type {
            const SHAPE: Shape = $shape;
        }
    )*};
}

shaped! {
    String: Shape::Text,
    Timestamp: Shape::Time,
    bool: Shape::Flag,
    u8: Shape::Integer(0, u8::MAX as i64),
    u16: Shape::Integer(0, u16::MAX as i64),
    u32: Shape::Integer(0, u32::MAX as i64),
    u64: Shape::Integer(0, i64::MAX),
    i64: Shape::Integer(i64::MIN, i64::MAX),
    Map<String, Value>: Shape::Object,
    Value: Shape::Any,
    Box<RawValue>: Shape::Any,
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}

impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: Shape = Shape::OrNull(&T::SHAPE);
}

impl<T: Shaped> Shaped for BTreeMap<String, T> {
    const SHAPE: Shape = Shape::Map(&T::SHAPE);
}

/// A rule that a value is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A text of this many bytes, from and to.
    Length(usize, usize),
    /// A text that matches this regular expression.
    Pattern(&'static str),
    /// A text that does not begin with this.
    NotBeginning(&'static str),
    /// A text that is no dot segment of a path.
    NotDots,
    /// A text in this format of JSON Schema.
    Format(&'static str),
    /// A number from the first to the second.
    Range(i64, i64),
    /// One of these numbers.
    OneOf(&'static [u64]),
    /// One of these texts.
    OneOfWords(&'static [&'static str]),
    /// A list of this many entries, from and to.
    Entries(usize, usize),
    /// A list without repetition.
    Unique,
    /// A list whose entries are held to this.
    Each(Text),
    /// A list of numbers from the first to the second.
    EachRange(i64, i64),
    /// A map none of whose values is null.
    NoNulls,
    /// A map of at most this many bytes in all.
    BytesInAll(usize),
}

/// The rule of names, as a regular expression.
pub const NAME_PATTERN: &str = "^[a-zA-Z0-9\\-_.]+$";
/// The rule of names, and of patterns of names.
pub const NAME_PATTERN_PATTERN: &str = "^[a-zA-Z0-9\\-_.*]+$";
/// The rule of tags.
pub const TAG_PATTERN: &str = r"^[a-zA-Z0-9\-_./\\#]+$";

/// What was noted of one field while it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Its name, and its other spellings.
    pub names: Vec<&'static str>,
    /// What it is read as.
    pub shape: Shape,
    /// It has to be there.
    pub required: bool,
    /// It may be null.
    pub nullable: bool,
    /// What it is held to.
    pub rules: Vec<Rule>,
    /// What its absence means.
    pub default: Option<Value>,
    /// The fields of an object that is read field by field.
    pub parts: Option<Vec<Note>>,
}

impl Note {
    /// A field that may be null and is held to nothing else yet.
    pub fn new(names: &[&'static str], shape: Shape) -> Self {
        let names = names.to_vec();
        let (rules, default, parts) = (Vec::new(), None, None);
        Self { names, shape, required: false, nullable: true, rules, default, parts }
    }

    /// Its schema, and sentences about rules that a schema cannot express.
    pub fn schema(&self) -> (Map<String, Value>, Vec<String>) {
        let mut schema = of_shape(self.shape);
        let mut words = Vec::new();
        for rule in &self.rules {
            of_rule(*rule, &mut schema, &mut words);
        }
        if self.nullable && !schema.is_empty() {
            schema.insert("nullable".into(), json!(true));
            // An `enum` has to name null, or it is none of its values.
            if let Some(Value::Array(choice)) = schema.get_mut("enum") {
                choice.push(Value::Null);
            }
        }
        if let Some(default) = &self.default {
            schema.insert("default".into(), default.clone());
        }
        (schema, words)
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The schema of a shape alone.
pub fn of_shape(shape: Shape) -> Map<String, Value> {
    object(match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Time => json!({ "type": "string", "format": "date-time" }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Integer(min, max) => {
            let mut schema = object(json!({ "type": "integer" }));
            if max > i64::from(i32::MAX) {
                schema.insert("format".into(), json!("int64"));
            }
            if min > i64::MIN {
                schema.insert("minimum".into(), json!(min));
            }
            if max < i64::MAX {
                schema.insert("maximum".into(), json!(max));
            }
            Value::Object(schema)
        }
        Shape::List(entry) => json!({ "type": "array", "items": of_shape(*entry) }),
        Shape::Map(value) => json!({ "type": "object", "additionalProperties": of_shape(*value) }),
        Shape::OrNull(value) => {
            let mut schema = of_shape(*value);
            schema.insert("nullable".into(), json!(true));
            Value::Object(schema)
        }
        Shape::Object => json!({ "type": "object", "additionalProperties": true }),
        Shape::Any => json!({}),
    })
}

fn set(schema: &mut Map<String, Value>, name: &str, value: Value) {
    schema.insert(name.to_owned(), value);
}

fn of_rule(rule: Rule, schema: &mut Map<String, Value>, words: &mut Vec<String>) {
    match rule {
        Rule::Length(min, max) => {
            if min > 0 {
                set(schema, "minLength", json!(min));
            }
            set(schema, "maxLength", json!(max));
        }
        Rule::Pattern(pattern) => set(schema, "pattern", json!(pattern)),
        Rule::NotBeginning(prefix) => words.push(format!("It must not begin with `{prefix}`.")),
        Rule::NotDots => words.push("It must not be `.` or `..`.".into()),
        Rule::Format(format) => set(schema, "format", json!(format)),
        Rule::Range(min, max) => {
            set(schema, "minimum", json!(min));
            set(schema, "maximum", json!(max));
        }
        Rule::OneOfWords(choice) => set(schema, "enum", json!(choice)),
        Rule::OneOf(choice) => set(schema, "enum", json!(choice)),
        Rule::Entries(min, max) => {
            if min > 0 {
                set(schema, "minItems", json!(min));
            }
            set(schema, "maxItems", json!(max));
        }
        Rule::Unique => set(schema, "uniqueItems", json!(true)),
        Rule::Each(text) => {
            let mut entry = of_shape(Shape::Text);
            text.rules().into_iter().for_each(|rule| of_rule(rule, &mut entry, words));
            schema.insert("items".into(), entry.into());
        }
        Rule::EachRange(min, max) => {
            if let Some(Value::Object(entry)) = schema.get_mut("items") {
                set(entry, "minimum", json!(min));
                set(entry, "maximum", json!(max));
            }
        }
        Rule::NoNulls => {
            if let Some(Value::Object(values)) = schema.get_mut("additionalProperties") {
                values.remove("nullable");
            }
        }
        Rule::BytesInAll(max) => words.push(format!("It has at most {max} bytes in all.")),
    }
}
