//! The templates as JSON, functions and all.

use std::collections::BTreeMap;

use serde_json::Value;

/// All templates of this repository, by their paths.
pub fn templates() -> [(&'static str, &'static str); 9] {
    [
        ("template.yaml", local::TEMPLATE),
        ("infra/edge.yaml", include_str!("../../../infra/edge.yaml")),
        ("infra/errors.yaml", include_str!("../../../infra/errors.yaml")),
        ("infra/github.yaml", include_str!("../../../infra/github.yaml")),
        ("infra/key.yaml", include_str!("../../../infra/key.yaml")),
        ("infra/monitoring.yaml", include_str!("../../../infra/monitoring.yaml")),
        ("infra/network.yaml", include_str!("../../../infra/network.yaml")),
        ("infra/objectives.yaml", include_str!("../../../infra/objectives.yaml")),
        ("infra/queries.yaml", include_str!("../../../infra/queries.yaml")),
    ]
}

/// One of them, read.
pub fn read(path: &str) -> Value {
    let (_, text) = templates().into_iter().find(|(name, _)| *name == path).expect("a template");
    sam_template::json(text).expect("a template")
}

/// Its resources of this type, by their logical ids.
pub fn resources(template: &Value, kind: &str) -> BTreeMap<String, Value> {
    let all = template["Resources"].as_object().expect("resources");
    all.iter()
        .filter(|(_, resource)| resource["Type"] == kind)
        .map(|(id, resource)| (id.clone(), resource["Properties"].clone()))
        .collect()
}

/// The names of a mapping.
pub fn names(mapping: &Value) -> Vec<String> {
    mapping.as_object().map(|mapping| mapping.keys().cloned().collect()).unwrap_or_default()
}

/// The items of a list, or what is there instead of one.
pub fn items(list: &Value) -> Vec<Value> {
    match list {
        Value::Null => Vec::new(),
        Value::Array(items) => items.clone(),
        other => vec![other.clone()],
    }
}
