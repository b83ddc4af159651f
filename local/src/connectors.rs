//! The way of a request, put together once for a function and not for each of its requests.
//!
//! The SDK asks its HTTP client for a connector with every request; ours is several layers, each of which would make one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// A client that remembers its connectors by their timeouts, which is what the SDK's own does. Clients of one function
/// share everything else that a connector is made of.
#[derive(Debug)]
pub(crate) struct Remembered {
    inner: SharedHttpClient,
    made: Mutex<Vec<(Timeouts, SharedHttpConnector)>>,
}

/// Until a connection is there, and until the first byte of a response is.
type Timeouts = [Option<Duration>; 2];

impl Remembered {
    pub(crate) fn client(inner: impl HttpClient + 'static) -> SharedHttpClient {
        SharedHttpClient::new(Self { inner: SharedHttpClient::new(inner), made: Mutex::default() })
    }
}

impl HttpClient for Remembered {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeouts = [settings.connect_timeout(), settings.read_timeout()];
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = made.iter().find(|(known, _)| *known == timeouts) {
            return connector.clone();
        }
        let connector = self.inner.http_connector(settings, components);
        made.push((timeouts, connector.clone()));
        connector
    }
}
