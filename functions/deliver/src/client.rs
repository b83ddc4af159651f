//! The HTTP client of deliveries: connects only where the guard permits, follows nothing, and asks
//! no proxy of the environment.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as PoolingClient;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;

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
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long one address may take while there are others to try.
const ADDRESS_WAIT: Duration = Duration::from_secs(3);

/// Why no connection was made; its text is shown to the endpoint's owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nothing of what the name leads to is public.
    #[error("the address is not public: webhooks are not sent into private networks")]
    NotPublic,
    /// The name leads nowhere.
    #[error("the host name could not be resolved")]
    Name,
    /// Nobody answered.
    #[error("the connection could not be made: {0}")]
    Tcp(String),
}

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
        .wrap_connector(Connector { guard });
    let client = PoolingClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .build(connector);
    Network(client)
}

/// Resolves names and connects, in one step, so that the address that was checked is the one that
/// is used.
#[derive(Clone, Debug)]
pub struct Connector {
    guard: Guard,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let guard = self.guard.clone();
        Box::pin(async move { connect(&guard, &uri).await.map(TokioIo::new) })
    }
}

async fn connect(guard: &Guard, uri: &Uri) -> Result<TcpStream, ConnectError> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let found = tokio::net::lookup_host((host, port)).await.map_err(|_| ConnectError::Name)?;
    let (permitted, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.partition(|address| guard.permits(address.ip()));
    if permitted.is_empty() {
        return Err(if refused.is_empty() { ConnectError::Name } else { ConnectError::NotPublic });
    }
    let mut last = None;
    let tried = permitted.len().min(ADDRESSES_MAX);
    for (nth, address) in permitted.into_iter().take(tried).enumerate() {
        let connecting = TcpStream::connect(address);
        let connected = if nth + 1 == tried {
            connecting.await
        } else {
            let waited = tokio::time::timeout(ADDRESS_WAIT, connecting).await;
            waited.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        };
        match connected {
            Ok(stream) => {
                // A request is one write; waiting for more to fill a packet only costs time.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Some(error.kind()),
        }
    }
    Err(ConnectError::Tcp(last.map_or_else(String::new, |kind| kind.to_string())))
}
