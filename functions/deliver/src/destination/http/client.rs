//! The HTTP client of deliveries: connects only where the guard permits, follows nothing, and asks
//! no proxy of the environment.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as PoolingClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::connection::{History, Noted, Tracking};
use super::connector::{Connector, System};
use super::failure::cause;
use super::guard::Guard;
use super::lookups::Lookups;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// An answer, as it comes in.
pub type Answer = Response<Body>;

/// What a webhook travels by: the network, or what a simulation puts in its place.
pub trait HttpSender: Send + Sync + fmt::Debug {
    /// Sends a request and gives the answer as soon as its head is there. It need not end by itself:
    /// its caller keeps the deadline.
    fn send(&self, request: Request<Full<Bytes>>) -> SendFuture;
}

/// What [`HttpSender::send`] gives.
pub type SendFuture = Pin<Box<dyn Future<Output = Result<Answer, SendError>> + Send>>;

/// Why there is no answer, in words for the endpoint's owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// The words.
    pub reason: String,
    /// The endpoint was not reached at all, and may be the next time.
    pub unreached: bool,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Network {
    kept: Client,
    /// Opens a connection for each request, with the same TLS sessions.
    fresh: Client,
}

type Client = PoolingClient<Tracking<HttpsConnector<Connector>>, Full<Bytes>>;

impl HttpSender for Network {
    fn send(&self, request: Request<Full<Bytes>>) -> SendFuture {
        let network = self.clone();
        Box::pin(async move {
            let error = match network.kept.request(request.clone()).await {
                Ok(answer) => return Ok(noted(answer)),
                Err(error) => error,
            };
            if !is_untouched(&error) {
                return Err(SendError::from(&error));
            }
            // Once, and by a connection that nobody can have closed while it was idle.
            match network.fresh.request(request).await {
                Ok(answer) => Ok(noted(answer)),
                Err(error) => Err(SendError { unreached: false, ..SendError::from(&error) }),
            }
        })
    }
}

/// The answer, whose end will be noted in its connection's history.
fn noted(answer: Response<Incoming>) -> Answer {
    let history = answer.extensions().get::<History>().cloned();
    answer.map(|body| Noted::new(body, history).boxed_unsync())
}

/// Whether a request may be sent again at once. Either the receiver says that it did not process it
/// (HTTP/2: RFC 9113, 8.7), or the connection was a kept one and died without one byte of an answer, as one
/// does that the receiver closes while it is idle (RFC 9112, 9.3.1). In the second case the receiver may
/// have seen the request.
fn is_untouched(error: &hyper_util::client::legacy::Error) -> bool {
    if let Some(error) = cause::<h2::Error>(error) {
        return match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) => error.is_remote() && error.is_reset(),
            // Only for streams beyond the last one that the receiver names does this become an error.
            Some(h2::Reason::NO_ERROR) => error.is_remote() && error.is_go_away(),
            _ => false,
        };
    }
    let Some(connection) = error.connect_info() else { return false };
    let mut extras = Extensions::new();
    connection.get_extras(&mut extras);
    let Some(history) = extras.get::<History>() else { return false };
    // Other exchanges on an HTTP/2 connection are read all the time; a head arrives as a whole.
    history.is_kept() && (connection.is_negotiated_h2() || history.is_silent())
}

/// How long an idle connection is kept. Lambda freezes an instance between invocations, and what
/// the other side closed meanwhile is noticed only when it is used.
const IDLE_MAX: Duration = Duration::from_secs(10);
const IDLE_PER_HOST_MAX: usize = 16;
/// Most headers of an answer (HTTP/1.1).
const HEADERS_MAX: usize = 1_000;
/// Most bytes of an answer's head.
const HEAD_LENGTH_MAX: u32 = 256 * 1024;

/// A network that reaches what `guard` permits, and trusts the authorities that the system does.
pub fn network(guard: Guard) -> Network {
    let config = match tls().with_native_roots() {
        Ok(config) => config.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no certificates of authorities were found: deliveries over https will fail");
            tls().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    };
    network_by(guard, config)
}

fn tls() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
}

fn network_by(guard: Guard, config: ClientConfig) -> Network {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(Connector::new(guard, Arc::new(Lookups::of(Arc::new(System)))));
    let mut builder = PoolingClient::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .http1_max_headers(HEADERS_MAX)
        .http1_max_buf_size(HEAD_LENGTH_MAX as usize)
        .http2_max_header_list_size(HEAD_LENGTH_MAX);
    let client = |idle| builder.clone().pool_max_idle_per_host(idle).build(Tracking(connector.clone()));
    Network { kept: client(IDLE_PER_HOST_MAX), fresh: client(0) }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
