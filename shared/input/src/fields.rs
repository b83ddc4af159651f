//! JSON objects, taken apart field by field, so that an answer lists
//! every broken rule with its place, and so that absent, null and a value stay apart.

mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::object::{self, Object};
use super::schema::{Note, Rule, Shape, Shaped};
use super::{Field, unknown};
use domain::error::{Error, Result, Violation, ViolationKind};

/// The fields of one JSON object, and the rules that were found broken so far.
///
/// The same code that reads a body describes it: given [`Fields::describing`], it finds every field
/// absent, no rule broken, and leaves a note of each field that it asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    at: Vec<String>,
    values: BTreeMap<Cow<'a, str>, &'a RawValue>,
    /// The names that were asked for.
    asked: Vec<&'static str>,
    violations: Vec<Violation>,
    /// Only while describing.
    notes: Option<Vec<Note>>,
}

impl<'a> Fields<'a> {
    /// The fields of a body. Unknown ones are ignored, and named in the answer.
    ///
    /// # Errors
    /// `Invalid` if it is no JSON object, or nested too deeply.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        let at = vec!["body".to_owned()];
        if object::is_too_deep(body) {
            let msg = format!("Must not be nested more than {} levels deep", object::DEPTH_MAX);
            return Err(Error::Invalid(vec![Violation { loc: at, msg, kind: ViolationKind::ValueError }]));
        }
        match serde_json::from_slice(body) {
            Ok(object) => Ok(Self::of(at, object)),
            Err(error) => Err(not_an_object(at, body, &error)),
        }
    }

    fn of(at: Vec<String>, object: Object<'a>) -> Self {
        let mut fields =
            Self { at, values: object.values, asked: Vec::new(), violations: Vec::new(), notes: None };
        for name in object.repeated {
            fields.violation(&name, "Must not be there twice");
        }
        fields
    }

    /// No body, but notes of what is asked for.
    pub fn describing() -> Self {
        let (at, values, asked) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { at, values, asked, violations: Vec::new(), notes: Some(Vec::new()) }
    }

    /// What was noted.
    pub fn into_notes(self) -> Vec<Note> {
        self.notes.unwrap_or_default()
    }

    /// While describing: the note of the field `name`, in whichever of its spellings.
    fn note(&mut self, name: &str) -> Option<&mut Note> {
        self.notes.as_mut()?.iter_mut().rev().find(|note| note.names.contains(&name))
    }

    /// While describing: notes a rule that the caller holds the field `name` to by itself.
    pub fn rule(&mut self, name: &str, rule: Rule) {
        if let Some(note) = self.note(name) {
            note.rules.push(rule);
        }
    }

    /// The fields of a body that may be missing altogether.
    ///
    /// # Errors
    /// `Invalid` if there is a body and it is no JSON object.
    pub fn parse_optional(body: &'a [u8]) -> Result<Self> {
        Self::parse(if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body })
    }

    /// Notes that the field `name` breaks a rule; without a name, the object itself.
    pub fn violation(&mut self, name: &str, msg: impl Display) {
        let path: &[&str] = if name.is_empty() { &[] } else { &[name] };
        self.violation_of(ViolationKind::ValueError, path, msg);
    }

    /// Notes that what `path` leads to breaks a rule.
    pub fn violation_at(&mut self, path: &[&str], msg: impl Display) {
        self.violation_of(ViolationKind::ValueError, path, msg);
    }

    /// Notes what is wrong with what `path` leads to.
    pub fn violation_of(&mut self, kind: ViolationKind, path: &[&str], msg: impl Display) {
        if self.notes.is_some() {
            return;
        }
        let loc = self.at.iter().cloned().chain(path.iter().map(|part| (*part).to_owned())).collect();
        self.violations.push(Violation { loc, msg: msg.to_string(), kind });
    }

    /// Whether a rule about the field `name` was found broken.
    pub fn has_violation(&self, name: &str) -> bool {
        self.violations.iter().any(|violation| violation.loc.last().is_some_and(|last| last == name))
    }

    /// The JSON text of the first of `names` that is there and not null. The others may not contradict it.
    fn raw(&mut self, names: &[&'static str]) -> Option<(&'static str, &'a RawValue)> {
        self.asked.extend(names);
        let there = |name: &&'static str| {
            let value = self.values.get(*name).filter(|value| value.get() != "null")?;
            Some((*name, *value))
        };
        let mut found = names.iter().filter_map(there);
        let first = found.next()?;
        let second = found.find(|second| !object::is_same(first.1, second.1));
        if let Some((name, _)) = second {
            let msg = format!("Must not differ from `{}`, which is another name of it", first.0);
            self.violation(name, msg);
        }
        Some(first)
    }

    /// The field of that name; of several spellings the first that has a value.
    pub fn take<T: DeserializeOwned + Shaped>(&mut self, names: &'static [&'static str]) -> Field<T> {
        if let Some(notes) = &mut self.notes {
            notes.push(Note::new(names, T::SHAPE));
            return Field::Absent;
        }
        let Some((name, value)) = self.raw(names) else {
            let is_null = names.iter().any(|name| self.values.contains_key(*name));
            return if is_null { Field::Null } else { Field::Absent };
        };
        match serde_json::from_str(value.get()) {
            Ok(value) => Field::Value(value),
            Err(error) => {
                self.violation_of(ViolationKind::TypeError, &[name], reason(&error));
                Field::Absent
            }
        }
    }

    /// The field, if it is there and not null.
    pub fn optional<T: DeserializeOwned + Shaped>(&mut self, names: &'static [&'static str]) -> Option<T> {
        self.take(names).value()
    }

    /// The field, or `default` where it is absent or null.
    pub fn or<T>(&mut self, names: &'static [&'static str], default: T) -> T
    where
        T: DeserializeOwned + Shaped + Clone + Into<serde_json::Value>,
    {
        let value = self.optional(names);
        if let Some(note) = self.note(names[0]) {
            note.default = Some(default.clone().into());
        }
        value.unwrap_or(default)
    }

    /// The field, which must be there.
    pub fn required<T: DeserializeOwned + Shaped>(&mut self, names: &'static [&'static str]) -> Option<T> {
        let before = self.violations.len();
        let value = self.optional(names);
        self.must_be_there(names[0], value.is_none() && self.violations.len() == before);
        value
    }

    fn must_be_there(&mut self, name: &str, is_missing: bool) {
        if let Some(note) = self.note(name) {
            (note.required, note.nullable) = (true, false);
        } else if is_missing {
            self.violation_of(ViolationKind::Missing, &[name], "Field required");
        }
    }

    /// Holds a field that may be absent to not being null.
    pub fn not_null<T>(&mut self, name: &str, field: &Field<T>) {
        if let Some(note) = self.note(name) {
            note.nullable = false;
        } else if matches!(field, Field::Null) {
            self.violation_of(ViolationKind::TypeError, &[name], "Must not be null");
        }
    }

    /// The fields of the object in the field `name`, which must be there.
    pub fn required_object(&mut self, name: &'static str) -> Option<Fields<'a>> {
        let before = self.violations.len();
        let part = self.object(name);
        let is_missing = part.is_none() && self.violations.len() == before;
        self.must_be_there(name, is_missing);
        part
    }

    /// The fields of the object in the field `name`.
    pub fn object(&mut self, name: &'static str) -> Option<Fields<'a>> {
        let mut at = self.at.clone();
        at.push(name.to_owned());
        if let Some(notes) = &mut self.notes {
            notes.push(Note::new(&[name], Shape::Object));
            return Some(Fields { at, ..Self::describing() });
        }
        let (_, raw) = self.raw(&[name])?;
        match serde_json::from_str(raw.get()) {
            Ok(object) => Some(Fields::of(at, object)),
            Err(error) => {
                self.violation_of(ViolationKind::TypeError, &[name], reason(&error));
                None
            }
        }
    }

    /// The fields of each object in the list in the field `name`.
    pub fn objects(&mut self, name: &'static str) -> Field<Vec<Fields<'a>>> {
        let mut at = self.at.clone();
        at.push(name.to_owned());
        if let Some(notes) = &mut self.notes {
            notes.push(Note::new(&[name], Shape::List(&Shape::Object)));
            return Field::Value(vec![Fields { at, ..Self::describing() }]);
        }
        let Some((_, raw)) = self.raw(&[name]) else {
            return if self.values.contains_key(name) { Field::Null } else { Field::Absent };
        };
        match serde_json::from_str::<Vec<Object<'a>>>(raw.get()) {
            Ok(objects) => {
                let part = |(nth, object): (usize, Object<'a>)| {
                    let at = at.iter().cloned().chain([nth.to_string()]).collect();
                    Fields::of(at, object)
                };
                Field::Value(objects.into_iter().enumerate().map(part).collect())
            }
            Err(error) => {
                self.violation_of(ViolationKind::TypeError, &[name], reason(&error));
                Field::Absent
            }
        }
    }

    /// Fields that mean nothing here, and that a response shows: it can be sent back as it is.
    pub fn ignore(&mut self, names: &[&'static str]) {
        self.asked.extend(names);
    }

    /// The fields of the object in the field `name`, which may be null.
    pub fn part(&mut self, name: &'static str) -> Field<Fields<'a>> {
        let is_null = self.values.get(name).is_some_and(|raw| raw.get() == "null");
        match self.object(name) {
            Some(part) => Field::Value(part),
            None if is_null => Field::Null,
            None => Field::Absent,
        }
    }

    /// Whether the field has a value, whatever it is. It is not noted: whoever reads it notes it.
    pub fn is_given(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|raw| raw.get() != "null")
    }

    /// Whether the field is there and was not read yet, `null` or not.
    pub fn is_there(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether any rule was found broken so far.
    pub fn has_violations(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Every field with its name, of an object whose names are data.
    pub fn each<T: DeserializeOwned + Shaped>(&mut self) -> Vec<(String, Field<T>)> {
        if let Some(notes) = &mut self.notes {
            // It has no name: it is what the object itself is.
            notes.push(Note::new(&[], <BTreeMap<String, Option<T>>>::SHAPE));
        }
        let mut found = Vec::with_capacity(self.values.len());
        for (name, raw) in std::mem::take(&mut self.values) {
            let field = match serde_json::from_str::<Option<T>>(raw.get()) {
                Ok(value) => value.map_or(Field::Null, Field::Value),
                Err(error) => {
                    self.violation_of(ViolationKind::TypeError, &[&name], reason(&error));
                    Field::Absent
                }
            };
            found.push((name.into_owned(), field));
        }
        found
    }

    /// Holds the object to having no fields but these.
    pub fn no_others(&mut self, names: &[&str]) {
        let others: Vec<String> =
            self.values.keys().filter(|name| !names.contains(&&***name)).map(ToString::to_string).collect();
        for name in others {
            self.violation(&name, "There is no such field");
        }
    }

    /// Holds the object to having no values but of the fields that were asked for.
    pub fn no_unknown(&mut self) {
        let unknown =
            self.values.iter().filter(|(name, raw)| raw.get() != "null" && !self.asked.contains(&&***name));
        let unknown: Vec<String> = unknown.map(|(name, _)| name.to_string()).collect();
        for name in unknown {
            self.violation(&name, "There is no such field");
        }
    }

    /// Takes over what was found broken in a part.
    pub fn absorb(&mut self, part: Fields<'_>) {
        part.note_unknown();
        if let (Some(name), Some(parts)) = (part.at.last(), part.notes)
            && let Some(note) = self.note(name)
        {
            match parts.as_slice() {
                [whole] if whole.names.is_empty() => note.shape = whole.shape,
                _ => note.parts = Some(parts),
            }
        }
        self.violations.extend(part.violations);
    }

    /// Notes the fields that nobody asked for.
    fn note_unknown(&self) {
        for name in self.values.keys().filter(|name| !self.asked.contains(&&***name)) {
            let at = self.at.iter().skip(1).map(String::as_str).chain([&**name]);
            unknown::unknown(at.collect::<Vec<_>>().join("."));
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `Invalid` with everything that was found broken.
    pub fn finish(self) -> Result<()> {
        self.note_unknown();
        if self.violations.is_empty() { Ok(()) } else { Err(Error::Invalid(self.violations)) }
    }
}

fn not_an_object(loc: Vec<String>, body: &[u8], error: &serde_json::Error) -> Error {
    let (msg, kind) = if body.iter().all(u8::is_ascii_whitespace) {
        ("The request body is empty; expected a JSON object".to_owned(), ViolationKind::JsonInvalid)
    } else if error.is_data() {
        ("A JSON object is expected".to_owned(), ViolationKind::TypeError)
    } else {
        let (line, column) = (error.line(), error.column());
        (
            format!("The request body is not valid JSON (line {line}, column {column})"),
            ViolationKind::JsonInvalid,
        )
    };
    Error::Invalid(vec![Violation { loc, msg, kind }])
}

/// serde's text without the position, which counts from the field's own beginning.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Text;

    fn violations(fields: Fields<'_>) -> Vec<(String, String)> {
        let Err(Error::Invalid(found)) = fields.finish() else { return Vec::new() };
        found.into_iter().map(|v| (v.loc.join("."), v.msg)).collect()
    }

    #[test]
    fn every_broken_rule_is_listed_with_its_place() {
        let mut fields = Fields::parse(br#"{"name": 1, "uid": "app_x", "inner": {"rateLimit": 0}}"#).unwrap();
        assert_eq!(fields.required::<String>(&["name"]), None);
        assert_eq!(fields.required::<String>(&["url"]), None);
        fields.text(&["uid"], Text::Uid("app_"));
        let mut inner = fields.object("inner").unwrap();
        inner.rate_limit();
        fields.absorb(inner);
        let found = violations(fields);
        assert_eq!(found[0], ("body.name".into(), "Invalid type: integer `1`, expected a string".into()));
        assert_eq!(found[1], ("body.url".into(), "Field required".into()));
        assert_eq!(found[2], ("body.uid".into(), "A uid must not begin with app_".into()));
        assert_eq!(found[3], ("body.inner.rateLimit".into(), "Must be 1 or more".into()));
    }

    #[test]
    fn absent_null_and_value_stay_apart_in_both_spellings() {
        let mut fields = Fields::parse(br#"{"filterTypes": null, "eventTypes": ["a"], "n": null}"#).unwrap();
        assert_eq!(fields.take(&["filterTypes", "eventTypes"]), Field::Value(vec!["a".to_owned()]));
        assert_eq!(fields.take::<u8>(&["n"]), Field::Null);
        assert_eq!(fields.take::<u8>(&["m"]), Field::Absent);
        assert_eq!(Field::Absent.over(Some(1)), Some(1));
        assert_eq!(Field::Null.over(Some(1)), None);
    }

    #[test]
    fn nothing_is_said_twice() {
        let mut fields = Fields::parse(
            br#"{"a": 1, "a": 1, "b": {"c": 1, "c": 2}, "metadata": {"k": "1", "k": "2"},
                 "rateLimit": 1, "throttleRate": 2, "x": [1, 2], "y": [1,2]}"#,
        )
        .unwrap();
        let inner = fields.object("b").unwrap();
        fields.absorb(inner);
        fields.metadata();
        fields.rate_limit();
        assert_eq!(fields.take(&["x", "y"]), Field::Value(vec![1_u8, 2]));
        let found = violations(fields);
        let at: Vec<&str> = found.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(at, ["body.a", "body.b.c", "body.metadata.k", "body.throttleRate"]);
    }

    #[test]
    fn what_is_no_object_says_so() {
        for (body, msg) in [
            ("[1]", "A JSON object is expected"),
            ("{", "The request body is not valid JSON (line 1, column 1)"),
            (" ", "The request body is empty"),
        ] {
            let Err(Error::Invalid(found)) = Fields::parse(body.as_bytes()) else {
                panic!("{body} was accepted")
            };
            assert!(found[0].msg.starts_with(msg), "{found:?}");
            assert_eq!(found[0].loc, ["body"]);
        }
        assert!(Fields::parse_optional(b" ").is_ok());
    }
}
