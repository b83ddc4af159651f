//! The HTTP client of deliveries: connects only where the guard permits, follows nothing, and asks
//! no proxy of the environment.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as PoolingClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

use crate::connector::{ConnectError, Connector, System};
use crate::guard::Guard;

/// An answer, as it comes in.
pub type Answer = Response<UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>>;

/// What a webhook travels by: the network, or what a simulation puts in its place.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends a request and gives the answer as soon as its head is there. It need not end by itself:
    /// its caller keeps the deadline.
    fn send(&self, request: Request<Full<Bytes>>) -> Carrying;
}

/// What [`Transport::send`] gives.
pub type Carrying = Pin<Box<dyn Future<Output = Result<Answer, Unanswered>> + Send>>;

/// Why there is no answer, in words for the endpoint's owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unanswered {
    /// The words.
    pub reason: String,
    /// The endpoint was not reached at all, and may be the next time.
    pub unreached: bool,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Network(PoolingClient<HttpsConnector<Connector>, Full<Bytes>>);

impl Transport for Network {
    fn send(&self, request: Request<Full<Bytes>>) -> Carrying {
        let answer = self.0.request(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
                Err(error) => Err(unanswered(&error)),
            }
        })
    }
}

/// What our own connector said, if that is the cause, or what lies at the bottom.
fn unanswered(error: &hyper_util::client::legacy::Error) -> Unanswered {
    let mut innermost: &(dyn StdError + 'static) = error;
    while let Some(cause) = innermost.source() {
        if let Some(refusal) = cause.downcast_ref::<ConnectError>() {
            let unreached = error.is_connect() && *refusal != ConnectError::NotPublic;
            return Unanswered { reason: refusal.to_string(), unreached };
        }
        innermost = cause;
    }
    let reason = if error.is_connect() {
        format!("the connection could not be made: {innermost}")
    } else {
        format!("the exchange failed: {innermost}")
    };
    Unanswered { reason, unreached: error.is_connect() }
}

/// How long an idle connection is kept. Lambda freezes an instance between invocations, and what
/// the other side closed meanwhile is noticed only when it is used.
const IDLE_MAX: Duration = Duration::from_secs(10);
const IDLE_PER_HOST_MAX: usize = 16;
/// A network that reaches what `guard` permits.
pub fn network(guard: Guard) -> Network {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions");
    let config = match versions.with_native_roots() {
        Ok(config) => config.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no certificates of authorities were found: deliveries over https will fail");
            ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring supports the default versions")
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth()
        }
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(Connector::new(guard, Arc::new(System)));
    let client = PoolingClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .build(connector);
    Network(client)
}
