//! The OpenAPI document of all functions together.

use shared::http::Document;

/// The document's text, JSON.
///
/// # Errors
/// Everything that the functions' descriptions lack or contradict, one line each.
pub fn openapi() -> Result<String, Vec<String>> {
    let describe: [fn(Document) -> Document; 6] = [
        applications::describe,
        attempts::describe,
        auth::describe,
        endpoints::describe,
        event_types::describe,
        messages::describe,
    ];
    let document = describe.into_iter().fold(Document::default(), |document, describe| describe(document));
    let written = document.write(env!("CARGO_PKG_VERSION"))?;
    Ok(format!("{written:#}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_operation_is_described_whole() {
        let problems = super::openapi().err().unwrap_or_default();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
