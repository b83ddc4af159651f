//! Exports the audit events of an organisation, wherever it is installed: one JSON object a line.

use std::io::Write;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use shared::error::Chain;

/// Events of one request: the most that the API gives.
const PAGE: u16 = 250;
/// What one request may take: an HTTP API gives up after 30 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lambda answers with 6 MB at most.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Which events are wanted, and from where.
#[derive(Clone, Debug)]
pub struct Export {
    /// The API's address, such as `https://webhooks.example.com`.
    pub url: String,
    /// An organisation's token.
    pub token: String,
    /// Only events after this time.
    pub after: Option<String>,
    /// Only events behind this one.
    pub behind: Option<String>,
}

/// Why not all events were written. One line, which says how to go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The API refused.
    #[error("{0}")]
    Refused(String),
    /// The API cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// There is nothing to make requests with, or they cannot be made.
    #[error("{0}")]
    Usage(String),
    /// The events cannot be written.
    #[error("the events cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl ExportError {
    /// The exit code that scripts see, as of the commands against a server; 0 where the reader went away, as `head`
    /// does.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Refused(_) => 1,
            Self::Usage(_) | Self::Output(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }

    /// The same, with how to go on.
    fn and(self, more: &str) -> Self {
        match self {
            Self::Refused(text) => Self::Refused(text + more),
            Self::Unreachable(text) => Self::Unreachable(text + more),
            other => other,
        }
    }
}

/// Writes the events to `out`, the oldest first, and says how many there were.
///
/// # Errors
/// The API refuses or does not answer, or `out` cannot be written.
pub async fn export(export: &Export, out: &mut impl Write) -> Result<usize, ExportError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| ExportError::Usage(format!("no certificates of authorities were found: {error}")))?
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let (mut behind, mut count) = (export.behind.clone(), 0);
    loop {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("order", "ascending").append_pair("limit", &PAGE.to_string());
        for (name, value) in [("after", &export.after), ("iterator", &behind)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let uri = format!("{}/api/v1/audit-event?{}", export.url.trim_end_matches('/'), query.finish());
        let page = async {
            let request = Request::get(&uri).header("authorization", format!("Bearer {}", export.token));
            let request = request.body(Empty::new()).map_err(|error| {
                ExportError::Usage(format!("the URL or the token cannot be sent: {error}"))
            })?;
            let answer = client.request(request).await.map_err(|error| {
                let reason = Chain(&error).to_string();
                let reason = reason.rsplit(": ").next().unwrap_or(&reason);
                ExportError::Unreachable(format!(
                    "cannot reach {} (--url): {reason}. Is Postrider running there?",
                    export.url
                ))
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let body =
                body.map_err(|error| ExportError::Unreachable(format!("the response ended early: {error}")))?;
            let body = body.to_bytes();
            let page = serde_json::from_slice::<Value>(&body).unwrap_or_default();
            match (status, page["detail"].as_str()) {
                (StatusCode::OK, _) if page["data"].is_array() => Ok(page),
                (_, Some(detail)) => Err(ExportError::Refused(format!("{status}: {detail}"))),
                (_, None) => {
                    Err(ExportError::Refused(format!("{status}, which is no response of Postrider's")))
                }
            }
        };
        let page = tokio::time::timeout(PATIENCE, page).await;
        let page = page.unwrap_or_else(|_| {
            Err(ExportError::Unreachable(format!("no response within {} s", PATIENCE.as_secs())))
        });
        let page = page.map_err(|error| match &behind {
            Some(behind) => error.and(&format!(" (after {count} events; go on with --behind {behind})")),
            None => error,
        })?;
        for event in page["data"].as_array().into_iter().flatten() {
            writeln!(out, "{event}")?;
            count += 1;
        }
        if page["done"] == true {
            out.flush()?;
            return Ok(count);
        }
        behind = page["iterator"].as_str().map(str::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_other_commands() {
        let output = |kind: std::io::ErrorKind| ExportError::Output(kind.into());
        for (error, code) in [
            (output(std::io::ErrorKind::BrokenPipe), 0),
            (ExportError::Refused("401".into()), 1),
            (ExportError::Usage("no".into()), 2),
            (output(std::io::ErrorKind::StorageFull), 2),
            (ExportError::Unreachable("gone".into()).and(" (go on)"), 3),
        ] {
            assert_eq!(error.code(), code, "{error}");
        }
    }
}
