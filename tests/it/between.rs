//! What stands between the functions and AWS, and decides what becomes of a request.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
    http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

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
