//! The AWS JSON 1.0 protocol: errors, and the shapes of requests and answers.

pub(crate) mod error;
pub(crate) mod shapes;

use serde::de::DeserializeOwned;

use error::{ApiError, Kind};

/// Reads a request body, which is a JSON object. An empty body counts as one without members.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let invalid = |text: &dyn std::fmt::Display| {
        ApiError::new(Kind::Serialization, format!("The request is not valid: {text}"))
    };
    let body = match body.trim_ascii_start() {
        [] => b"{}",
        body => body,
    };
    // Serde would also take an array for a structure.
    if !body.starts_with(b"{") {
        return Err(invalid(&"a JSON object is expected"));
    }
    serde_json::from_slice(body).map_err(|error| invalid(&error))
}
