//! The receiver: verifies every webhook with the library of the specification, and notes that it came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

use crate::payload::Payloads;
use crate::tally::Tally;

/// The longest body that is read.
const BODY_MAX: usize = 1 << 20;
/// The headers of the specification, and what other servers of this API call them.
const HEADERS: [(&str, &str); 3] = [
    ("webhook-id", "svix-id"),
    ("webhook-timestamp", "svix-timestamp"),
    ("webhook-signature", "svix-signature"),
];

/// What arrivals are held against.
pub(crate) struct Receiver {
    pub(crate) tally: Arc<Tally>,
    pub(crate) payloads: Arc<Payloads>,
    /// By application and endpoint, as in [`path`].
    pub(crate) keys: Vec<Webhook>,
    pub(crate) applications: u32,
}

/// A message of a list.
#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// The path of an application's endpoint.
pub(crate) fn path(application: u32, endpoint: u32) -> String {
    format!("/{application}/{endpoint}")
}

fn place(path: &str) -> Option<(u32, u32)> {
    let (application, endpoint) = path.strip_prefix('/')?.split_once('/')?;
    Some((application.parse().ok()?, endpoint.parse().ok()?))
}

impl Receiver {
    /// Serves until it is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // Without it answers may be late, which the figures then show.
            let _late = stream.set_nodelay(true);
            let this = self.clone();
            let service = service_fn(move |request| {
                let this = this.clone();
                async move { Ok::<_, Infallible>(this.answer(request).await) }
            });
            // A connection that breaks is the sender's to mend.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let (parts, body) = request.into_parts();
        let status = match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => self.take(parts.uri.path(), parts.headers, &body.to_bytes()),
            // Cut off: it comes again.
            Err(_) => StatusCode::BAD_REQUEST,
        };
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        response
    }

    /// Notes one webhook. What was not meant for here is refused for good.
    fn take(&self, path: &str, mut headers: HeaderMap, body: &[u8]) -> StatusCode {
        let Some((application, endpoint)) = place(path) else { return StatusCode::NOT_FOUND };
        let place = u64::from(application) * u64::from(self.tally.endpoints) + u64::from(endpoint);
        let key = usize::try_from(place).ok().and_then(|place| self.keys.get(place));
        let Some(key) = key.filter(|_| endpoint < self.tally.endpoints) else { return StatusCode::NOT_FOUND };
        for (name, other) in HEADERS {
            if !headers.contains_key(name)
                && let Some(value) = headers.get(other)
            {
                let value: HeaderValue = value.clone();
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if key.verify(body, &headers).is_err() {
            self.tally.wrongly_signed.fetch_add(1, Ordering::Relaxed);
        } else {
            // An ordered endpoint can get several at once.
            let list = if body.starts_with(b"[") { serde_json::from_slice(body).ok() } else { None };
            let list: Option<Vec<Listed<'_>>> = list;
            let all = list.map(|list| list.iter().map(|one| one.payload.get().as_bytes()).collect());
            for body in all.unwrap_or_else(|| vec![body]) {
                match self.payloads.message(body) {
                    Some(nth) if self.tally.application(nth) % self.applications == application => {
                        self.tally.arrive(nth, endpoint)
                    }
                    _ => _ = self.tally.altered.fetch_add(1, Ordering::Relaxed),
                }
            }
        }
        StatusCode::NO_CONTENT
    }
}

/// Where a receiver listens.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;

    fn receiver() -> Receiver {
        let tally = Arc::new(Tally::new(0, 4, 2, 1));
        (0..4).for_each(|nth| tally.post(nth, Instant::now()));
        let keys = (0..4).map(|nth| Webhook::from_bytes(vec![nth; 32]).unwrap()).collect();
        Receiver { tally, payloads: Arc::new(Payloads::new(64)), keys, applications: 2 }
    }

    fn signed(receiver: &Receiver, key: usize, body: &str, names: impl Fn(&str) -> String) -> HeaderMap {
        let at = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let signature = receiver.keys[key].sign("msg", at.try_into().unwrap(), body.as_bytes()).unwrap();
        [("id", "msg".to_owned()), ("timestamp", at.to_string()), ("signature", signature)]
            .map(|(name, value)| (names(name).parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect()
    }

    #[test]
    fn what_arrives_is_verified_and_noted() {
        let receiver = receiver();
        let body = receiver.payloads.text(3);
        let webhook = |name: &str| format!("webhook-{name}");
        // Message 3 is of application 1; its endpoint 0 has the third key.
        let headers = signed(&receiver, 2, &body, webhook);
        assert_eq!(receiver.take("/1/0", headers.clone(), body.as_bytes()), StatusCode::NO_CONTENT);
        assert_eq!(receiver.tally.delivered(), 1);
        let svix = signed(&receiver, 3, &body, |name| format!("svix-{name}"));
        receiver.take("/1/1", svix, body.as_bytes());
        assert_eq!(receiver.tally.delivered(), 2);
        // With another endpoint's key.
        receiver.take("/1/1", headers, body.as_bytes());
        assert_eq!(receiver.tally.wrongly_signed.load(Ordering::Relaxed), 1);
        // At another application's endpoint, rightly signed for that.
        let astray = signed(&receiver, 0, &body, webhook);
        receiver.take("/0/0", astray, body.as_bytes());
        assert_eq!(receiver.tally.altered.load(Ordering::Relaxed), 1);
        assert_eq!(receiver.take("/2/0", HeaderMap::new(), b""), StatusCode::NOT_FOUND);
        assert_eq!(receiver.take("/0/2", HeaderMap::new(), b""), StatusCode::NOT_FOUND);
        assert_eq!(receiver.take("/x", HeaderMap::new(), b""), StatusCode::NOT_FOUND);
    }
}
