//! A place in the template that knows its name, so that every complaint about it can say where.

use saphyr::{ScalarOwned, YamlOwned};

use super::TemplateError;
use super::value::{Scope, Value};

/// Longest piece of the template that an error repeats.
const QUOTE_CHARS_MAX: usize = 80;

/// A node of the template and the path to it, such as `DeliverFunction.Events.Retries.Queue`.
pub(super) struct Node<'a> {
    yaml: &'a YamlOwned,
    place: String,
}

impl<'a> Node<'a> {
    /// The whole document.
    pub(super) fn root(yaml: &'a YamlOwned) -> Self {
        Self { yaml, place: String::new() }
    }

    /// The same node under another name: `Resources` and `Properties` tell nobody anything.
    pub(super) fn at(&self, place: &str) -> Self {
        Self { yaml: self.yaml, place: place.to_owned() }
    }

    /// What a function is applied to, which has no name of its own.
    pub(super) fn within(&self, argument: &'a YamlOwned) -> Self {
        Self { yaml: argument, place: self.place.clone() }
    }

    /// The path to it.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The YAML itself.
    pub(super) fn yaml(&self) -> &'a YamlOwned {
        self.yaml
    }

    /// An error about this place.
    pub(super) fn error(&self, problem: &str) -> TemplateError {
        let place = if self.place.is_empty() { "the file" } else { &self.place };
        TemplateError::new(place, problem)
    }

    fn child(&self, name: &str, yaml: &'a YamlOwned) -> Self {
        let place = if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) };
        Self { yaml, place }
    }

    /// The entry of that name, if there is one with anything in it.
    pub(super) fn get(&self, name: &str) -> Result<Option<Self>, TemplateError> {
        if self.yaml.as_mapping().is_none() {
            return Err(self.error("should be a mapping"));
        }
        let value = self.yaml.as_mapping_get(name).filter(|value| !value.is_null());
        Ok(value.map(|value| self.child(name, value)))
    }

    /// The entry of that name.
    pub(super) fn need(&self, name: &str) -> Result<Self, TemplateError> {
        self.get(name)?.ok_or_else(|| self.error(&format!("has no {name}")))
    }

    /// The entry at the end of a path of names, if all of it is there.
    pub(super) fn find(&self, names: &[&str]) -> Result<Option<Self>, TemplateError> {
        let mut node = self.at(&self.place);
        for name in names {
            match node.get(name)? {
                Some(next) => node = next,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// All entries, in the document's order.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Self)>, TemplateError> {
        let mapping = self.yaml.as_mapping().ok_or_else(|| self.error("should be a mapping"))?;
        mapping
            .iter()
            .map(|(name, value)| {
                let name = name.as_str().ok_or_else(|| self.error("has a name that is no text"))?;
                Ok((name, self.child(name, value)))
            })
            .collect()
    }

    /// All items of a list.
    pub(super) fn items(&self) -> Result<Vec<Self>, TemplateError> {
        let list = self.yaml.as_sequence().ok_or_else(|| self.error("should be a list"))?;
        Ok(list.iter().enumerate().map(|(index, item)| self.child(&index.to_string(), item)).collect())
    }

    /// What it holds, as a value.
    pub(super) fn value(&self) -> Value {
        Value::read(self.yaml)
    }

    /// What it holds, as text: written down, or by way of parameters.
    pub(super) fn text(&self, scope: &Scope) -> Result<String, TemplateError> {
        scope
            .resolve(&self.value(), &|_| None)
            .ok_or_else(|| self.error("should be a plain value, or a parameter that has a default"))
    }

    /// What it holds, as a number within limits.
    pub(super) fn number(&self, scope: &Scope, min: u32, max: u32) -> Result<u32, TemplateError> {
        let text = self.text(scope)?;
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| {
            self.error(&format!("should be a number from {min} to {max}, not {}", quote(&text)))
        })
    }

    /// What it holds, as a yes or a no.
    pub(super) fn flag(&self, scope: &Scope) -> Result<bool, TemplateError> {
        let text = self.text(scope)?;
        text.parse().map_err(|_| self.error(&format!("should be true or false, not {}", quote(&text))))
    }

    /// The logical id of the resource whose ARN this is.
    pub(super) fn arn_of(&self) -> Result<String, TemplateError> {
        match self.value() {
            Value::GetAtt(logical_id, attribute) if attribute == "Arn" => Ok(logical_id),
            _ => {
                Err(self
                    .error("should be the ARN of a queue of this template, such as !GetAtt RetriesQueue.Arn"))
            }
        }
    }
}

/// Text of the template as an error repeats it: in quotes, on one line, not too long.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A scalar as it would stand in an environment.
pub(super) fn scalar(yaml: &YamlOwned) -> Option<String> {
    match yaml {
        YamlOwned::Value(ScalarOwned::String(text)) => Some(text.clone()),
        YamlOwned::Value(ScalarOwned::Integer(number)) => Some(number.to_string()),
        YamlOwned::Value(ScalarOwned::Boolean(flag)) => Some(flag.to_string()),
        YamlOwned::Value(ScalarOwned::FloatingPoint(number)) => Some(number.to_string()),
        _ => None,
    }
}
