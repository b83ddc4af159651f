//! Fields of the kinds that bodies have: texts, numbers, words, lists, and objects as they were sent, each with its rule.

use std::collections::{BTreeMap, BTreeSet};

use domain::error::ViolationKind;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Fields;
use crate::object;
use crate::schema::{Note, Rule, Shape, Shaped};
use crate::{Field, Text};

impl<'a> Fields<'a> {
    /// A text, which must be there, checked against `rule`.
    pub fn required_text(&mut self, names: &'static [&'static str], rule: Text) -> Option<String> {
        let before = self.violations.len();
        let value = self.text(names, rule).value();
        self.must_be_there(names[0], value.is_none() && self.violations.len() == before);
        value
    }

    /// A whole number within `range`.
    pub fn number(
        &mut self,
        names: &'static [&'static str],
        range: std::ops::RangeInclusive<u64>,
    ) -> Field<u64> {
        let number: Field<u64> = self.take(names);
        let (min, max) = (*range.start(), *range.end());
        self.rule(names[0], Rule::Range(min.cast_signed(), max.cast_signed()));
        if number.value_ref().is_some_and(|number| !range.contains(number)) {
            self.violation(names[0], format!("Must be from {min} to {max}"));
        }
        number
    }

    /// One of these numbers.
    pub fn code(&mut self, names: &'static [&'static str], choice: &'static [u64]) -> Field<u64> {
        let number: Field<u64> = self.take(names);
        self.rule(names[0], Rule::OneOf(choice));
        if number.value_ref().is_some_and(|number| !choice.contains(number)) {
            let words: Vec<String> = choice.iter().map(u64::to_string).collect();
            self.violation(names[0], format!("Must be {}", crate::either(&words)));
        }
        number
    }

    /// The text of a JSON object, as it was sent.
    pub fn raw_object(&mut self, names: &'static [&'static str]) -> Field<&'a RawValue> {
        if let Some(notes) = &mut self.notes {
            notes.push(Note::new(names, Shape::Object));
            return Field::Absent;
        }
        match self.raw(names) {
            Some((_, raw)) if raw.get().starts_with('{') => Field::Value(raw),
            Some((name, _)) => {
                self.violation_of(ViolationKind::TypeError, &[name], "Must be a JSON object");
                Field::Absent
            }
            None if names.iter().any(|name| self.values.contains_key(*name)) => Field::Null,
            None => Field::Absent,
        }
    }

    /// The text of a field that can be read as `T`, as it was sent.
    pub fn raw_as<T: DeserializeOwned + Shaped>(
        &mut self,
        names: &'static [&'static str],
    ) -> Field<&'a RawValue> {
        let raw = names.first().and_then(|name| self.values.get(*name).copied());
        match (self.take::<T>(names), raw) {
            (Field::Value(_), Some(raw)) => Field::Value(raw),
            (Field::Null, _) => Field::Null,
            _ => Field::Absent,
        }
    }

    /// The text of a JSON object, as it was sent; it must be there.
    pub fn required_raw_object(&mut self, names: &'static [&'static str]) -> Option<&'a RawValue> {
        let before = self.violations.len();
        let value = self.raw_object(names).value();
        self.must_be_there(names[0], value.is_none() && self.violations.len() == before);
        value
    }

    /// A text, checked against `rule`.
    pub fn text(&mut self, names: &'static [&'static str], rule: Text) -> Field<String> {
        let field: Field<String> = self.take(names);
        if let Some(note) = self.note(names[0]) {
            note.rules = rule.rules();
        }
        if let Field::Value(text) = &field
            && let Some(broken) = rule.broken(text)
        {
            self.violation(names[0], broken);
        }
        field
    }

    /// A list of names without repetition, of `min` to `max` entries.
    pub fn names(
        &mut self,
        names: &'static [&'static str],
        length: usize,
        min: usize,
        max: usize,
    ) -> Field<Vec<String>> {
        self.list(names, Text::Name(length), min, max)
    }

    /// A list of texts without repetition, each checked against `rule`, of `min` to `max` entries.
    pub fn list(
        &mut self,
        names: &'static [&'static str],
        rule: Text,
        min: usize,
        max: usize,
    ) -> Field<Vec<String>> {
        let field: Field<Vec<String>> = self.take(names);
        if let Some(note) = self.note(names[0]) {
            note.rules = vec![Rule::Each(rule), Rule::Entries(min, max), Rule::Unique];
        }
        if let Field::Value(list) = &field {
            let unique: BTreeSet<_> = list.iter().collect();
            if unique.len() != list.len() {
                self.violation(names[0], "Entries must not repeat");
            } else if list.len() < min || list.len() > max {
                self.violation(names[0], format!("Must have between {min} and {max} entries"));
            } else if let Some(broken) = list.iter().find_map(|entry| rule.broken(entry)) {
                self.violation(names[0], broken);
            }
        }
        field
    }

    /// Refuses an object of which a name is there twice: a reader that takes the last value would ignore what else is said.
    pub fn no_name_twice(&mut self, field: &'static str) {
        for name in self.raw(&[field]).map(|(_, raw)| object::repeated(raw)).unwrap_or_default() {
            self.violation_at(&[field, &name], "Must not be there twice");
        }
    }

    /// A map of texts, at most 4096 bytes in all.
    pub fn metadata(&mut self) -> Field<BTreeMap<String, String>> {
        const LENGTH_MAX: usize = 4096;
        let field: Field<BTreeMap<String, String>> = self.take(&["metadata"]);
        self.rule("metadata", Rule::BytesInAll(LENGTH_MAX));
        self.no_name_twice("metadata");
        // The store has no attribute without a name.
        if let Field::Value(map) = &field
            && map.contains_key("")
        {
            self.violation("metadata", "Each name must have at least one character");
        }
        if let Field::Value(map) = &field
            && map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > LENGTH_MAX
        {
            self.violation("metadata", format!("Must have at most {LENGTH_MAX} bytes in all"));
        }
        field
    }

    /// Messages per second, 1 to 65,535, in either spelling.
    pub fn rate_limit(&mut self) -> Field<u16> {
        let field: Field<u16> = self.take(&["rateLimit", "throttleRate"]);
        self.rule("rateLimit", Rule::Range(1, i64::from(u16::MAX)));
        if field == Field::Value(0) {
            self.violation("rateLimit", "Must be 1 or more");
        }
        field
    }

    /// One of these words, which must be there.
    pub fn required_word(
        &mut self,
        names: &'static [&'static str],
        choice: &'static [&'static str],
    ) -> Option<String> {
        let word = self.required::<String>(names);
        self.rule(names[0], Rule::OneOfWords(choice));
        let words: Vec<String> = choice.iter().map(|word| format!("`{word}`")).collect();
        let valid = word.as_deref().is_none_or(|word| choice.contains(&word));
        if !valid {
            self.violation(names[0], format!("Must be {}", crate::either(&words)));
        }
        word.filter(|_| valid)
    }

    /// One of these words.
    pub fn word(&mut self, names: &'static [&'static str], choice: &'static [&'static str]) -> Field<String> {
        let word: Field<String> = self.take(names);
        self.rule(names[0], Rule::OneOfWords(choice));
        match &word {
            Field::Value(given) if !choice.contains(&given.as_str()) => {
                let words: Vec<String> = choice.iter().map(|word| format!("`{word}`")).collect();
                self.violation(names[0], format!("Must be {}", crate::either(&words)));
                Field::Absent
            }
            _ => word,
        }
    }
}
