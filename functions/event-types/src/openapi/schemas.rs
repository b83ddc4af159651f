//! A schema of a document that stands alone: its references lead to `$defs` of its own.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};

use super::{Broken, DEPTH_MAX, Document};

/// Keywords whose values are data: what looks like a reference in them is none.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// The definitions of one schema: those that are done, and those that were referred to since.
struct Definitions<'a> {
    done: BTreeMap<String, Value>,
    waiting: VecDeque<(String, &'a Value)>,
    /// The name that each reference was given.
    names: BTreeMap<&'a str, String>,
}

impl<'a> Document<'a> {
    pub(super) fn standing_alone(
        &self,
        schema: &'a Value,
        at: &[&str],
    ) -> Result<Map<String, Value>, Broken> {
        let mut definitions =
            Definitions { done: BTreeMap::new(), waiting: VecDeque::new(), names: BTreeMap::new() };
        // What the webhook names is shown first, and not behind a reference.
        let mut root = match schema {
            Value::Bool(true) => Map::new(),
            schema => self.without_references(self.followed(schema, at)?, &mut definitions, at, 0)?,
        };
        // One after the other: a chain of definitions may be as long as the document.
        while let Some((name, definition)) = definitions.waiting.pop_front() {
            let definition = self.rewritten(definition, &mut definitions, at, 0)?;
            definitions.done.insert(name, definition);
        }
        if !definitions.done.is_empty() {
            let own = root.entry("$defs").or_insert_with(|| Map::new().into());
            let own = own.as_object_mut().ok_or_else(|| Broken::new(at, "Its `$defs` must be an object"))?;
            for (name, definition) in definitions.done {
                own.insert(name, definition);
            }
        }
        Ok(root)
    }

    fn rewritten(
        &self,
        value: &'a Value,
        definitions: &mut Definitions<'a>,
        at: &[&str],
        depth: usize,
    ) -> Result<Value, Broken> {
        if depth > DEPTH_MAX {
            return Err(Broken::new(at, format!("Its schema is nested more than {DEPTH_MAX} times")));
        }
        Ok(match value {
            Value::Object(map) => self.without_references(map, definitions, at, depth)?.into(),
            Value::Array(list) => {
                let list = list.iter().map(|value| self.rewritten(value, definitions, at, depth + 1));
                list.collect::<Result<Vec<_>, _>>()?.into()
            }
            value => value.clone(),
        })
    }

    fn without_references(
        &self,
        map: &'a Map<String, Value>,
        definitions: &mut Definitions<'a>,
        at: &[&str],
        depth: usize,
    ) -> Result<Map<String, Value>, Broken> {
        let mut new = Map::new();
        for (key, value) in map {
            let value = match value {
                Value::String(reference) if key == "$ref" => {
                    let name = self.definition(reference, definitions, at)?;
                    format!("#/$defs/{}", name.replace('~', "~0").replace('/', "~1")).into()
                }
                value if DATA.contains(&key.as_str()) => value.clone(),
                value => self.rewritten(value, definitions, at, depth + 1)?,
            };
            new.insert(key.clone(), value);
        }
        if self.of_3_0 {
            nullable_as_type(&mut new);
        }
        Ok(new)
    }

    /// The name by which what `reference` leads to is defined.
    fn definition(
        &self,
        reference: &'a str,
        definitions: &mut Definitions<'a>,
        at: &[&str],
    ) -> Result<String, Broken> {
        if let Some(name) = definitions.names.get(reference) {
            return Ok(name.clone());
        }
        let referred = self.referred(reference, at)?;
        if !referred.is_object() && !referred.is_boolean() {
            return Err(Broken::new(at, format!("Refers to {reference:?}, which is no schema")));
        }
        let whole = reference.trim_start_matches("#/");
        let short = whole.strip_prefix("components/schemas/").filter(|name| !name.contains('/'));
        let name = short.map_or_else(|| whole.replace('/', "."), str::to_owned);
        definitions.names.insert(reference, name.clone());
        definitions.waiting.push_back((name.clone(), referred));
        Ok(name)
    }
}

/// OpenAPI 3.0 says with a keyword of its own what JSON Schema says with a type.
fn nullable_as_type(schema: &mut Map<String, Value>) {
    if schema.get("nullable") == Some(&Value::Bool(true))
        && let Some(Value::String(kind)) = schema.get("type")
    {
        let kinds = vec![Value::from(kind.as_str()), "null".into()];
        schema.insert("type".into(), kinds.into());
        schema.remove("nullable");
    }
}
