//! What stands between the functions and AWS, and decides what becomes of a request.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
    http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::Value;

/// A client that hands each request to `decide`, with the way on through `inner`.
pub fn between<F>(inner: SharedHttpClient, decide: F) -> SharedHttpClient
where
    F: Fn(&SharedHttpConnector, HttpRequest) -> HttpConnectorFuture + Send + Sync + 'static,
{
    let decide = Arc::new(decide);
    http_client_fn(move |settings, components| {
        let inner = inner.http_connector(settings, components);
        SharedHttpConnector::new(Between { inner, decide: decide.clone() })
    })
}

struct Between<F> {
    inner: SharedHttpConnector,
    decide: Arc<F>,
}

impl<F> fmt::Debug for Between<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Between").finish_non_exhaustive()
    }
}

impl<F> HttpConnector for Between<F>
where
    F: Fn(&SharedHttpConnector, HttpRequest) -> HttpConnectorFuture + Send + Sync,
{
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        (self.decide)(&self.inner, request)
    }
}

/// A queue with a clock of its own keeps a delay of minutes for minutes, whatever a test does to its clock.
/// This makes a second of each, so that such a test goes on there as well.
pub fn hurried(inner: SharedHttpClient) -> SharedHttpClient {
    between(inner, |inner, mut request| {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        if target.starts_with("AmazonSQS.")
            && let Some(mut body) = request.body().bytes().and_then(|body| serde_json::from_slice(body).ok())
        {
            hurry(&mut body);
            let body = body.to_string();
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = body.into();
        }
        inner.call(request)
    })
}

/// Makes a second of what is longer, also in the entries of a batch.
fn hurry(body: &mut Value) {
    match body {
        Value::Array(entries) => entries.iter_mut().for_each(hurry),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_u64()) {
                    ("DelaySeconds" | "VisibilityTimeout", Some(2..)) => *value = 1.into(),
                    ("Entries", _) => hurry(value),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
