//! A template as JSON, functions and all: for rules about what [`Template`](crate::Template) does not read.

use saphyr::{ScalarOwned, YamlOwned};
use serde_json::{Map, Value, json};

use super::node::Node;
use super::value::function;
use super::{TemplateError, load};

/// The whole of a template: `!Ref X` is `{"Ref": "X"}`, `!If […]` is `{"Fn::If": […]}`, and `!GetAtt X.Arn` is
/// `{"Fn::GetAtt": ["X", "Arn"]}`.
///
/// # Errors
/// It is too long, no YAML, or has a name that is no text.
pub fn json(text: &str) -> Result<Value, TemplateError> {
    value(&Node::root(&load(text)?))
}

fn value(node: &Node<'_>) -> Result<Value, TemplateError> {
    if let YamlOwned::Tagged(_, argument) = node.yaml()
        && let Some((name, _)) = function(node.yaml())
    {
        let argument = match (name, value(&node.within(argument))?) {
            ("GetAtt", Value::String(text)) => match text.split_once('.') {
                Some((id, attribute)) => json!([id, attribute]),
                None => json!(text),
            },
            (_, argument) => argument,
        };
        let name = match name {
            "Ref" | "Condition" => name.to_owned(),
            name => format!("Fn::{name}"),
        };
        return Ok(json!({ name: argument }));
    }
    Ok(match node.yaml() {
        YamlOwned::Mapping(_) => {
            let entries = node.entries()?.into_iter();
            let entries = entries.map(|(name, entry)| Ok((name.to_owned(), value(&entry)?)));
            Value::Object(entries.collect::<Result<Map<_, _>, _>>()?)
        }
        YamlOwned::Sequence(_) => node.items()?.iter().map(value).collect::<Result<_, _>>()?,
        YamlOwned::Value(ScalarOwned::String(text)) => json!(text),
        YamlOwned::Value(ScalarOwned::Integer(number)) => json!(number),
        YamlOwned::Value(ScalarOwned::Boolean(flag)) => json!(flag),
        YamlOwned::Value(ScalarOwned::FloatingPoint(number)) => json!(number.into_inner()),
        _ => Value::Null,
    })
}
