//! Whether a schema is one: the types that JSON Schema's own meta-schemas (drafts 4 to 2020-12) give its
//! keywords, at every place where a schema can stand. Keywords that they do not know may be anything.

use serde_json::{Map, Value};

/// Deepest nesting of schemas, and of the documents that hold them. A request's body is not nested deeper.
pub const DEPTH_MAX: usize = 128;

/// What a keyword's value has to be.
enum Kind {
    Text,
    Flag,
    Number,
    /// A whole number, 0 or more.
    Count,
    List,
    /// Texts that do not repeat.
    Texts,
    Schema,
    /// At least one schema.
    Schemas,
    /// Schemas by name.
    SchemaMap,
    /// A schema, or a list of schemas, as older drafts have `items`.
    SchemaOrSchemas,
    /// Schemas or lists of names, by name, as older drafts have `dependencies`.
    Dependencies,
    /// Lists of names, by name.
    TextsMap,
    /// A number, or a flag as draft 4 has it.
    NumberOrFlag,
    /// The name of a type, or names of types.
    Types,
}

const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];

/// The kind of a keyword's value; none for what is no keyword.
fn kind(keyword: &str) -> Option<Kind> {
    Some(match keyword {
        "$id" | "id" | "$schema" | "$ref" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$comment"
        | "title" | "description" | "format" | "pattern" | "contentEncoding" | "contentMediaType" => {
            Kind::Text
        }
        "readOnly" | "writeOnly" | "deprecated" | "uniqueItems" | "nullable" => Kind::Flag,
        "maximum" | "minimum" | "multipleOf" => Kind::Number,
        "exclusiveMaximum" | "exclusiveMinimum" => Kind::NumberOrFlag,
        "maxLength" | "minLength" | "maxItems" | "minItems" | "maxProperties" | "minProperties"
        | "maxContains" | "minContains" => Kind::Count,
        "enum" | "examples" => Kind::List,
        "required" => Kind::Texts,
        "not"
        | "if"
        | "then"
        | "else"
        | "contains"
        | "propertyNames"
        | "additionalProperties"
        | "additionalItems"
        | "unevaluatedItems"
        | "unevaluatedProperties"
        | "contentSchema" => Kind::Schema,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Kind::Schemas,
        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => Kind::SchemaMap,
        "items" => Kind::SchemaOrSchemas,
        "dependencies" => Kind::Dependencies,
        "dependentRequired" => Kind::TextsMap,
        "type" => Kind::Types,
        _ => return None,
    })
}

/// What is wrong with `schema`, and where: `properties.a.type must be …`.
pub fn broken(schema: &Map<String, Value>) -> Option<String> {
    let mut at = Vec::new();
    let expected = object(schema, &mut at).err()?;
    Some(format!("Not a JSON Schema: {} must be {expected}", at.join(".")))
}

type Checked = Result<(), &'static str>;

fn object<'a>(schema: &'a Map<String, Value>, at: &mut Vec<&'a str>) -> Checked {
    for (keyword, value) in schema {
        let Some(kind) = kind(keyword) else { continue };
        within(keyword, at, |at| check(&kind, value, at))?;
    }
    Ok(())
}

/// Checks what `name` leads to. Where it is broken, `at` keeps the way there.
fn within<'a>(
    name: &'a str,
    at: &mut Vec<&'a str>,
    check: impl FnOnce(&mut Vec<&'a str>) -> Checked,
) -> Checked {
    at.push(name);
    check(at)?;
    at.pop();
    Ok(())
}

fn check<'a>(kind: &Kind, value: &'a Value, at: &mut Vec<&'a str>) -> Checked {
    match (kind, value) {
        (Kind::Text, value) => must(value.is_string(), "a string"),
        (Kind::Flag, value) => must(value.is_boolean(), "true or false"),
        (Kind::Number, value) => must(value.is_number(), "a number"),
        (Kind::NumberOrFlag, value) => must(value.is_number() || value.is_boolean(), "a number"),
        // `1.0` is a whole number too.
        (Kind::Count, value) => {
            must(value.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0), "a non-negative integer")
        }
        (Kind::List, value) => must(value.is_array(), "an array"),
        (Kind::Texts, value) => must(are_names(value), "an array of strings without repetition"),
        (Kind::Types, Value::String(name)) => must(TYPES.contains(&name.as_str()), "the name of a JSON type"),
        (Kind::Types, value) => {
            let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
            let known = value.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(known));
            must(known && are_names(value), "the name of a JSON type, or an array of them")
        }
        (Kind::Schema, value) => schema(value, at),
        (Kind::Schemas, Value::Array(list)) if !list.is_empty() => {
            list.iter().try_for_each(|one| schema(one, at))
        }
        (Kind::Schemas, _) => Err("a non-empty array of schemas"),
        (Kind::SchemaOrSchemas, Value::Array(list)) => list.iter().try_for_each(|one| schema(one, at)),
        (Kind::SchemaOrSchemas, value) => schema(value, at),
        (Kind::SchemaMap | Kind::Dependencies | Kind::TextsMap, Value::Object(map)) => {
            map.iter().try_for_each(|(name, value)| {
                within(name, at, |at| match kind {
                    Kind::TextsMap => must(are_names(value), "an array of strings without repetition"),
                    Kind::Dependencies if value.is_array() => {
                        must(are_names(value), "a schema, or an array of strings without repetition")
                    }
                    _ => schema(value, at),
                })
            })
        }
        (Kind::SchemaMap | Kind::Dependencies | Kind::TextsMap, _) => Err("an object"),
    }
}

fn schema<'a>(value: &'a Value, at: &mut Vec<&'a str>) -> Checked {
    match value {
        Value::Bool(_) => Ok(()),
        Value::Object(_) if at.len() > DEPTH_MAX => Err("nested less deeply"),
        Value::Object(map) => object(map, at),
        _ => Err("a schema: an object, true or false"),
    }
}

fn must(holds: bool, expected: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(expected) }
}

fn are_names(value: &Value) -> bool {
    let Some(list) = value.as_array() else { return false };
    let mut seen = std::collections::BTreeSet::new();
    list.iter().all(|name| name.as_str().is_some_and(|name| seen.insert(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: Value) -> Option<String> {
        let Value::Object(map) = schema else { panic!("no object") };
        broken(&map)
    }

    #[test]
    fn schemas_of_all_drafts_pass() {
        for good in [
            json!({}),
            json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": true}, "required": ["a"]}),
            json!({"items": [{"type": "string"}, {}], "additionalItems": false}),
            json!({"items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"exclusiveMinimum": 0}}}),
            json!({"maximum": 5, "exclusiveMaximum": true}),
            json!({"dependencies": {"a": ["b"], "c": {"minProperties": 2}}, "dependentRequired": {"a": ["b"]}}),
            json!({"examples": [{"a": 1}], "example": 7, "x-own": {"type": 15}, "default": {"type": 15}}),
            json!({"properties": {"type": {"type": "string"}, "readOnly": {"type": "boolean"}}, "minLength": 1.0}),
            json!({"enum": [{"type": 15}], "const": {"required": 1}, "nullable": true}),
        ] {
            assert_eq!(of(good.clone()), None, "{good}");
        }
    }

    #[test]
    fn what_is_none_says_where() {
        for (bad, at) in [
            (json!({"readOnly": 15}), "readOnly"),
            (json!({"type": "text"}), "type"),
            (json!({"type": []}), "type"),
            (json!({"type": ["string", "string"]}), "type"),
            (json!({"properties": []}), "properties"),
            (json!({"properties": {"a": 7}}), "properties.a"),
            (json!({"properties": {"a": {"items": {"minLength": -1}}}}), "properties.a.items.minLength"),
            (json!({"required": true}), "required"),
            (json!({"required": ["a", "a"]}), "required"),
            (json!({"allOf": []}), "allOf"),
            (json!({"anyOf": [{"maxItems": 1.5}]}), "anyOf.maxItems"),
            (json!({"$defs": {"x": {"pattern": 1}}}), "$defs.x.pattern"),
            (json!({"examples": {"a": 1}}), "examples"),
        ] {
            let broken = of(bad.clone()).unwrap_or_else(|| panic!("{bad} passed"));
            assert!(broken.starts_with(&format!("Not a JSON Schema: {at} must be ")), "{broken}");
        }
    }
}
