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

/// Writes the events to `out`, the oldest first, and says how many there were.
///
/// # Errors
/// The API refuses or does not answer, or `out` cannot be written. One line, which says how to go on.
pub async fn export(export: &Export, out: &mut impl Write) -> Result<usize, String> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| format!("no certificates of authorities were found: {error}"))?
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
            let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
            let answer = client.request(request).await.map_err(|error| {
                let reason = Chain(&error).to_string();
                let reason = reason.rsplit(": ").next().unwrap_or(&reason);
                format!("cannot reach {} (--url): {reason}. Is Postrider running there?", export.url)
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|error| format!("the response ended early: {error}"))?.to_bytes();
            let page = serde_json::from_slice::<Value>(&body).unwrap_or_default();
            match (status, page["detail"].as_str()) {
                (StatusCode::OK, _) if page["data"].is_array() => Ok(page),
                (_, Some(detail)) => Err(format!("{status}: {detail}")),
                (_, None) => Err(format!("{status}, which is no response of Postrider's")),
            }
        };
        let page = tokio::time::timeout(PATIENCE, page).await;
        let page = page.unwrap_or_else(|_| Err(format!("no response within {} s", PATIENCE.as_secs())));
        let page = page.map_err(|error| match &behind {
            Some(behind) => format!("{error} (after {count} events; go on with --behind {behind})"),
            None => error,
        })?;
        for event in page["data"].as_array().into_iter().flatten() {
            writeln!(out, "{event}").map_err(|error| format!("the events cannot be written: {error}"))?;
            count += 1;
        }
        if page["done"] == true {
            return out.flush().map(|()| count).map_err(|error| error.to_string());
        }
        behind = page["iterator"].as_str().map(str::to_owned);
    }
}
