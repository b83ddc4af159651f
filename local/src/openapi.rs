//! The OpenAPI document of all functions together, and the table of their operations.

use std::fmt::Write as _;

use serde_json::Value;
use shared::http::Document;

type Describe = fn(Document) -> Document;

/// The functions that answer requests, and their descriptions.
const FUNCTIONS: [(&str, Describe); 6] = [
    ("applications", applications::describe),
    ("attempts", attempts::describe),
    ("auth", auth::describe),
    ("endpoints", endpoints::describe),
    ("event-types", event_types::describe),
    ("messages", messages::describe),
];

/// The document's text, JSON.
///
/// # Errors
/// Everything that the functions' descriptions lack or contradict, one line each.
pub fn openapi() -> Result<String, Vec<String>> {
    let document = FUNCTIONS.iter().fold(Document::default(), |document, (_, describe)| describe(document));
    let written = document.write(env!("CARGO_PKG_VERSION"))?;
    Ok(format!("{written:#}"))
}

/// Every operation: method, path, the function that answers, and the operation's id. One line each.
///
/// # Errors
/// As for [`openapi`].
pub fn routes() -> Result<String, Vec<String>> {
    let mut table = String::new();
    for (function, describe) in FUNCTIONS {
        let written = describe(Document::default()).write(env!("CARGO_PKG_VERSION"))?;
        for (path, methods) in written["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if let Some(id) = operation.get("operationId").and_then(Value::as_str) {
                    let method = method.to_uppercase();
                    let _written = writeln!(table, "{method:<7}{path:<78}{function:<14}{id}");
                }
            }
        }
    }
    Ok(table.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_operation_is_described_whole() {
        let problems = super::openapi().err().unwrap_or_default();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn every_described_operation_is_in_the_table() {
        let document: serde_json::Value = serde_json::from_str(&super::openapi().unwrap()).unwrap();
        let described = document.to_string().matches("\"operationId\":").count();
        let table = super::routes().unwrap();
        assert_eq!(table.lines().count(), described);
        assert!(
            table.lines().any(|line| {
                line.split_whitespace().take(3).eq(["POST", "/api/v1/app/{app_id}/msg", "messages"])
            }),
            "{table}"
        );
    }
}
