//! The way from one function to another: requests of Lambda's `Invoke` are handed over inside the process.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use crate::functions::{Handler, Invoker};

/// Where functions are told that Lambda is. Nothing listens there: what is sent to it never leaves the process.
pub(crate) const ADDRESS: &str = "http://lambda.localhost";

/// A function that others invoke.
pub(crate) struct Invoked {
    pub(crate) invoker: Invoker,
    pub(crate) code: Handler<Vec<u8>, Result<Vec<u8>, String>>,
}

/// The functions that others invoke, by their logical ids, once they are connected. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<OnceLock<BTreeMap<String, Invoked>>>);

impl Registry {
    /// Called once.
    pub(crate) fn fill(&self, functions: BTreeMap<String, Invoked>) {
        let _filled = self.0.set(functions);
    }
}

/// The function that a request invokes, by its logical id.
pub(crate) fn invoked(request: &HttpRequest) -> Option<&str> {
    let (_, path) = request.uri().split_once("/2015-03-31/functions/")?;
    path.strip_suffix("/invocations")
}

/// Hands invocations over, and everything else on.
#[derive(Clone)]
pub(crate) struct Invocations {
    pub(crate) inner: SharedHttpClient,
    pub(crate) registry: Registry,
}

impl std::fmt::Debug for Invocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocations").finish_non_exhaustive()
    }
}

impl HttpClient for Invocations {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector { inner, registry: self.registry.clone() })
    }
}

struct Connector {
    inner: SharedHttpConnector,
    registry: Registry,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

fn answer(status: u16, body: Vec<u8>) -> Result<HttpResponse, ConnectorError> {
    let status = status.try_into().map_err(|_| ConnectorError::user("no status".into()))?;
    Ok(HttpResponse::new(status, SdkBody::from(body)))
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(name) = invoked(&request).filter(|_| request.uri().starts_with(ADDRESS)) else {
            return self.inner.call(request);
        };
        let (name, registry) = (name.to_owned(), self.registry.clone());
        HttpConnectorFuture::new(async move {
            let Some(function) = registry.0.get().and_then(|functions| functions.get(&name)) else {
                return answer(404, br#"{"Message":"there is no such function"}"#.to_vec());
            };
            let event = request.body().bytes().unwrap_or_default().to_vec();
            let _begun = function.invoker.progress.begin(1);
            let ended = function.invoker.invoke((function.code)(event)).await;
            let error = match ended {
                Ok(Ok(body)) => return answer(200, body),
                Ok(Err(error)) => error,
                Err(unanswered) => unanswered.to_string(),
            };
            tracing::error!(function = name, error, "an invocation ended badly");
            let mut response =
                answer(200, serde_json::json!({ "errorMessage": error }).to_string().into_bytes())?;
            response.headers_mut().insert("x-amz-function-error", "Unhandled");
            Ok(response)
        })
    }
}
