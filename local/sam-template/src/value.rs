//! CloudFormation's functions, as far as our template uses them: values, and what they stand for
//! when every parameter has its default.

use std::collections::BTreeMap;

use saphyr::YamlOwned;

use super::TemplateError;
use super::node::{Node, quote, scalar};

/// How deep conditions may name each other: enough for any sane template, and an end for a circle.
const CONDITION_DEPTH_MAX: u32 = 16;
/// The begin of a dynamic reference: a value that CloudFormation fetches when it deploys.
const DYNAMIC: &str = "{{resolve:";
/// What removes a property.
const NO_VALUE: &str = "AWS::NoValue";

/// A value as the template has it, functions not yet applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// What is written down; numbers and booleans as an environment has them.
    Text(String),
    /// `!Ref`: the logical id of a resource, the name of a parameter, or a pseudo parameter such as `AWS::Region`.
    Ref(String),
    /// `!GetAtt`: a resource's logical id and an attribute of it.
    GetAtt(String, String),
    /// `!Sub` and `!Join`: all of them, one behind the other.
    Join(Vec<Value>),
    /// `!If`: one of two, by the name of a condition.
    If(String, Box<Value>, Box<Value>),
    /// Anything else: functions that are not known here, lists, mappings.
    Other,
}

impl Value {
    pub(super) fn read(yaml: &YamlOwned) -> Self {
        let read = match function(yaml) {
            Some(("Ref", argument)) => argument.as_str().map(|name| Self::Ref(name.to_owned())),
            Some(("GetAtt", argument)) => get_att(argument),
            Some(("Sub", argument)) => sub(argument),
            Some(("Join", argument)) => join(argument),
            Some(("If", argument)) => choice(argument),
            Some(_) => None,
            None => scalar(yaml).map(Self::Text),
        };
        read.unwrap_or(Self::Other)
    }
}

/// A function's name and argument: `!GetAtt X` and `Fn::GetAtt: X` are the same.
pub(super) fn function(yaml: &YamlOwned) -> Option<(&str, &YamlOwned)> {
    if let YamlOwned::Tagged(tag, argument) = yaml {
        return Some((tag.suffix.as_str(), argument));
    }
    let mapping = yaml.as_mapping().filter(|mapping| mapping.len() == 1)?;
    let (name, argument) = mapping.iter().next()?;
    match name.as_str()? {
        name @ ("Ref" | "Condition") => Some((name, argument)),
        name => Some((name.strip_prefix("Fn::")?, argument)),
    }
}

/// `X.Arn`, or `[X, Arn]`.
fn get_att(argument: &YamlOwned) -> Option<Value> {
    if let Some(text) = argument.as_str() {
        return dotted(text);
    }
    match argument.as_sequence()?.as_slice() {
        [id, attribute] => Some(Value::GetAtt(id.as_str()?.to_owned(), attribute.as_str()?.to_owned())),
        _ => None,
    }
}

fn dotted(text: &str) -> Option<Value> {
    text.split_once('.').map(|(id, attribute)| Value::GetAtt(id.to_owned(), attribute.to_owned()))
}

/// Text with `${…}` in it, or a list of such text and a mapping of names that only it knows.
fn sub(argument: &YamlOwned) -> Option<Value> {
    let (text, names) = match argument.as_sequence().map(Vec::as_slice) {
        Some([text, names]) => (text.as_str()?, Some(names)),
        Some(_) => return None,
        None => (argument.as_str()?, None),
    };
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(start) = rest.find("${") {
        literal.push_str(&rest[..start]);
        let (name, behind) = rest[start + 2..].split_once('}')?;
        rest = behind;
        if let Some(name) = name.strip_prefix('!') {
            // `${!Name}` is how one writes `${Name}` itself.
            literal.push_str(&format!("${{{name}}}"));
            continue;
        }
        if !literal.is_empty() {
            parts.push(Value::Text(std::mem::take(&mut literal)));
        }
        let own = names.and_then(|names| names.as_mapping_get(name)).map(Value::read);
        parts.push(own.or_else(|| dotted(name)).unwrap_or_else(|| Value::Ref(name.to_owned())));
    }
    literal.push_str(rest);
    if parts.is_empty() {
        return Some(Value::Text(literal));
    }
    if !literal.is_empty() {
        parts.push(Value::Text(literal));
    }
    Some(Value::Join(parts))
}

/// A delimiter and a list.
fn join(argument: &YamlOwned) -> Option<Value> {
    let [delimiter, list] = argument.as_sequence()?.as_slice() else { return None };
    let (delimiter, mut parts) = (delimiter.as_str()?, Vec::new());
    for item in list.as_sequence()? {
        if !parts.is_empty() && !delimiter.is_empty() {
            parts.push(Value::Text(delimiter.to_owned()));
        }
        parts.push(Value::read(item));
    }
    Some(Value::Join(parts))
}

/// A condition's name and two values.
fn choice(argument: &YamlOwned) -> Option<Value> {
    let [condition, yes, no] = argument.as_sequence()?.as_slice() else { return None };
    Some(Value::If(condition.as_str()?.to_owned(), Value::read(yes).into(), Value::read(no).into()))
}

/// What values are resolved against: the parameters' defaults and what follows from them.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    parameters: BTreeMap<String, String>,
    /// Those whose outcome the parameters' defaults decide.
    conditions: BTreeMap<String, bool>,
}

impl Scope {
    pub(super) fn read(root: &Node<'_>) -> Result<Self, TemplateError> {
        let mut scope = Self::default();
        if let Some(parameters) = root.get("Parameters")? {
            for (name, parameter) in parameters.entries()? {
                // The default of such a one names a parameter in Systems Manager.
                let elsewhere = parameter.need("Type")?.text(&scope)?.starts_with("AWS::SSM::");
                if let Some(default) = parameter.get("Default")?.filter(|_| !elsewhere) {
                    let text =
                        scalar(default.yaml()).ok_or_else(|| default.error("should be a plain value"))?;
                    scope.parameters.insert(name.to_owned(), text);
                }
            }
        }
        if let Some(conditions) = root.get("Conditions")? {
            for (name, condition) in conditions.entries()? {
                if let Some(outcome) = scope.decide(condition.yaml(), conditions.yaml(), 0) {
                    scope.conditions.insert(name.to_owned(), outcome);
                }
            }
        }
        Ok(scope)
    }

    /// Whether a resource is there: it may have a condition.
    pub(super) fn exists(&self, resource: &Node<'_>) -> Result<bool, TemplateError> {
        let Some(condition) = resource.get("Condition")? else { return Ok(true) };
        let name = condition.text(self)?;
        let outcome = self.conditions.get(&name).copied();
        outcome.ok_or_else(|| {
            condition.error(&format!("is {}, which the parameters' defaults do not decide", quote(&name)))
        })
    }

    /// Whether a property of this value is as if it were not there.
    pub(super) fn absent(&self, value: &Value) -> bool {
        match value {
            Value::Ref(name) => name == NO_VALUE,
            Value::If(condition, yes, no) => match self.conditions.get(condition) {
                Some(outcome) => self.absent(if *outcome { yes } else { no }),
                None => false,
            },
            _ => false,
        }
    }

    /// See [`super::Template::resolve`].
    pub(super) fn resolve(&self, value: &Value, lookup: &dyn Fn(&Value) -> Option<String>) -> Option<String> {
        match value {
            Value::Text(text) => (!text.contains(DYNAMIC)).then(|| text.clone()),
            Value::Ref(name) if name == NO_VALUE => None,
            Value::Ref(name) => self.parameters.get(name).cloned().or_else(|| lookup(value)),
            Value::GetAtt(..) => lookup(value),
            Value::Join(parts) => parts.iter().map(|part| self.resolve(part, lookup)).collect(),
            Value::If(condition, yes, no) => {
                let value = if *self.conditions.get(condition)? { yes } else { no };
                self.resolve(value, lookup)
            }
            Value::Other => None,
        }
    }

    /// The outcome of a condition, unless it depends on more than parameters.
    fn decide(&self, condition: &YamlOwned, all: &YamlOwned, depth: u32) -> Option<bool> {
        if depth > CONDITION_DEPTH_MAX {
            return None;
        }
        let (name, argument) = function(condition)?;
        if name == "Condition" {
            return self.decide(all.as_mapping_get(argument.as_str()?)?, all, depth + 1);
        }
        let arguments = argument.as_sequence()?.as_slice();
        if name == "Equals" {
            let [left, right] = arguments else { return None };
            let text = |yaml| self.resolve(&Value::read(yaml), &|_| None);
            return Some(text(left)? == text(right)?);
        }
        let outcomes: Vec<_> =
            arguments.iter().map(|argument| self.decide(argument, all, depth + 1)).collect();
        // One that is false decides an `And`, whatever the others are; likewise one that is true an `Or`.
        let decided_by = |decisive: bool| match outcomes.contains(&Some(decisive)) {
            true => Some(decisive),
            false if outcomes.contains(&None) => None,
            false => Some(!decisive),
        };
        match (name, outcomes.as_slice()) {
            ("Not", [outcome]) => outcome.map(|outcome| !outcome),
            ("And", [_, ..]) => decided_by(false),
            ("Or", [_, ..]) => decided_by(true),
            _ => None,
        }
    }
}
