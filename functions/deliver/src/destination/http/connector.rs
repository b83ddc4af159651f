//! Connections: a name is resolved and connected to in one step, so that the address that the guard was
//! asked about is the one that is used.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::guard::Guard;

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

/// What [`Resolve::resolve`] gives.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Finds the addresses behind a name.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// The addresses of `host`, which can be an address itself, each with `port`.
    fn resolve(&self, host: &str, port: u16) -> Resolving;
}

/// The operating system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Resolve for System {
    fn resolve(&self, host: &str, port: u16) -> Resolving {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Resolves, asks the guard, and connects.
#[derive(Clone, Debug)]
pub struct Connector {
    guard: Guard,
    resolver: Arc<dyn Resolve>,
}

impl Connector {
    /// Connects where `guard` permits, to what `resolver` finds.
    pub fn new(guard: Guard, resolver: Arc<dyn Resolve>) -> Self {
        Self { guard, resolver }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<TcpStream, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found = self.resolver.resolve(host, port).await.map_err(|_| ConnectError::Name)?;
        if found.is_empty() {
            return Err(ConnectError::Name);
        }
        let permitted: Vec<SocketAddr> =
            found.into_iter().filter(|address| self.guard.permits(address.ip())).collect();
        if permitted.is_empty() {
            return Err(ConnectError::NotPublic);
        }
        let mut last = None;
        let tried = permitted.len().min(ADDRESSES_MAX);
        for (nth, address) in by_turns(permitted).take(tried).enumerate() {
            let connecting = TcpStream::connect(address);
            let connected = if nth + 1 == tried {
                connecting.await
            } else {
                let waited = tokio::time::timeout(ADDRESS_WAIT, connecting).await;
                waited.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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
}

/// The two families by turns, the first one first: a name with many addresses of a family that leads
/// nowhere from here is reached by the other.
fn by_turns(addresses: Vec<SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    std::iter::from_fn(move || {
        std::mem::swap(&mut first, &mut second);
        second.next().or_else(|| first.next())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use tokio::net::TcpListener;

    use super::*;

    /// Answers each question with the next of its answers.
    #[derive(Debug)]
    struct Answers(Mutex<VecDeque<Vec<SocketAddr>>>);

    impl Resolve for Answers {
        fn resolve(&self, host: &str, _: u16) -> Resolving {
            assert_eq!(host, "customer.example");
            let answer = self.0.lock().unwrap().pop_front().expect("no further question was expected");
            Box::pin(std::future::ready(Ok(answer)))
        }
    }

    /// Permits 127.0.0.1 alone.
    fn connector(answers: &[&[SocketAddr]]) -> Connector {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        let guard = Guard::new(vec!["127.0.0.1/32".parse().unwrap()]);
        Connector::new(guard, Arc::new(Answers(Mutex::new(answers))))
    }

    async fn listen(address: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn connect(connector: &Connector) -> Result<SocketAddr, ConnectError> {
        let uri = Uri::from_static("http://customer.example/");
        Ok(connector.connect(&uri).await?.peer_addr().unwrap())
    }

    fn nobody_came(listener: TcpListener) {
        let listener = listener.into_std().unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    /// INV-27
    #[tokio::test]
    async fn a_name_that_changes_its_mind_is_asked_once_for_each_connection() {
        let (_open, outside) = listen("127.0.0.1").await;
        let (inner, inside) = listen("127.0.0.2").await;
        // What was checked is what is connected to; the next connection is checked again.
        let connector = connector(&[&[outside], &[inside], &[outside]]);
        assert_eq!(connect(&connector).await, Ok(outside));
        assert_eq!(connect(&connector).await, Err(ConnectError::NotPublic));
        assert_eq!(connect(&connector).await, Ok(outside));
        nobody_came(inner);
    }

    #[tokio::test]
    async fn of_mixed_answers_only_the_permitted_ones_are_used() {
        let (_open, outside) = listen("127.0.0.1").await;
        let (inner, inside) = listen("127.0.0.2").await;
        let mapped: SocketAddr = format!("[::ffff:127.0.0.2]:{}", inside.port()).parse().unwrap();
        let nat64: SocketAddr = format!("[64:ff9b::7f00:2]:{}", inside.port()).parse().unwrap();
        let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
        let connector = connector(&[
            &[inside, outside],
            &[outside, inside],
            &[mapped, metadata, nat64, inside, inside, inside, outside],
            &[inside, mapped, nat64, metadata],
            &[],
        ]);
        for _ in 0..3 {
            assert_eq!(connect(&connector).await, Ok(outside));
        }
        assert_eq!(connect(&connector).await, Err(ConnectError::NotPublic));
        assert_eq!(connect(&connector).await, Err(ConnectError::Name));
        nobody_came(inner);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_is_followed_by_the_next() {
        let (_open, outside) = listen("127.0.0.1").await;
        let (closed, dead) = listen("127.0.0.1").await;
        drop(closed);
        let connector = connector(&[&[dead, dead, dead, outside], &[dead]]);
        assert_eq!(connect(&connector).await, Ok(outside));
        assert!(matches!(connect(&connector).await, Err(ConnectError::Tcp(_))));
    }

    #[test]
    fn both_families_get_their_turn() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|a| a.parse().unwrap()).collect() };
        let turns = |list: &[&str]| by_turns(parse(list)).collect::<Vec<_>>();
        let (v6, v4) = (["[2a00::1]:1", "[2a00::2]:1", "[2a00::3]:1"], ["1.1.1.1:1"]);
        assert_eq!(turns(&[v6[0], v6[1], v6[2], v4[0]]), parse(&[v6[0], v4[0], v6[1], v6[2]]));
        assert_eq!(turns(&[v4[0], v6[0], v6[1]]), parse(&[v4[0], v6[0], v6[1]]));
        assert_eq!(turns(&v4), parse(&v4));
    }
}
