//! The request that hands spans to a collector: OTLP/HTTP with protobuf, one for each batch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use shared::clock::{SharedClock, Timestamp};

use super::otlp;
use super::settings::Collector;
use crate::destination::http::{Guard, HttpSender, network};

/// How long a batch waits for the collector, after its deliveries are recorded. In Lambda what is not sent when an
/// invocation ends is frozen with its instance, so nothing is sent in the background.
const EXPORT_MAX: Duration = Duration::from_secs(1);
/// How long after a failure nothing is sent: a collector that is down costs an instance no more than a tenth of
/// its time.
const PAUSE: Duration = Duration::from_secs(10);
/// Most bytes of a response that are read.
const RESPONSE_MAX: usize = 4 * 1024;

/// Sends spans to a collector.
#[derive(Debug)]
pub struct Exporter {
    transport: Arc<dyn HttpSender>,
    collector: Collector,
    resource: Vec<u8>,
    clock: SharedClock,
    /// Until when nothing is sent.
    paused: Mutex<Option<Timestamp>>,
}

impl Exporter {
    /// Sends over the network, to any address: the collector is the operator's, and often inside.
    pub fn connect(collector: Collector, resource: Vec<u8>, clock: SharedClock) -> Self {
        let anywhere = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network"));
        let transport = Arc::new(network(Guard::new(anywhere.to_vec())));
        Self { transport, collector, resource, clock, paused: Mutex::default() }
    }

    /// Sends spans; they are lost where the collector does not take them in time.
    pub async fn export(&self, spans: &[Vec<u8>]) {
        let count = spans.len();
        let now = self.clock.now();
        if self.paused.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until) {
            tracing::debug!(spans = count, "spans were not exported: the collector failed just before");
            return;
        }
        let sent = tokio::select! {
            biased;
            sent = self.send(spans) => sent,
            () = self.clock.sleep(EXPORT_MAX) => Err(format!("no response within {} s", EXPORT_MAX.as_secs())),
        };
        let paused = match sent {
            Ok(0) => None,
            Ok(rejected) => {
                tracing::warn!(spans = count, rejected, "the collector refused spans");
                None
            }
            Err(reason) => {
                let pause = PAUSE.as_secs();
                tracing::warn!(spans = count, reason, pause_seconds = pause, "spans were not exported");
                Some(self.clock.now().after(PAUSE))
            }
        };
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = paused;
    }

    /// Says how many of them the collector refused, or why it did not take them.
    async fn send(&self, spans: &[Vec<u8>]) -> Result<u64, String> {
        let body = otlp::request(&self.resource, spans);
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.collector.url.clone();
        let headers = request.headers_mut();
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static(shared::AGENT));
        headers.extend(self.collector.headers.clone());
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let answer = self.transport.send(request).await.map_err(|error| error.reason)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the collector answered {status}"));
        }
        let (mut body, mut read) = (answer.into_body(), Vec::new());
        while read.len() < RESPONSE_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            read.extend(frame.into_data().unwrap_or_default());
        }
        // What else a response says does not matter.
        Ok(if status == StatusCode::OK { otlp::rejected(&read) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use http::Response;
    use shared::clock::{Clock, Sleep};

    use super::*;
    use crate::destination::http::{SendError, SendFuture};

    /// A clock that is moved, and on which every wait is over at once.
    #[derive(Debug, Default)]
    struct Steps(AtomicU64);

    impl Clock for Steps {
        fn now(&self) -> Timestamp {
            Timestamp::from_ms(self.0.load(Ordering::Relaxed))
        }
        fn sleep(&self, wait: Duration) -> Sleep {
            self.0.fetch_add(u64::try_from(wait.as_millis()).unwrap(), Ordering::Relaxed);
            Box::pin(std::future::ready(()))
        }
    }

    /// Answers with a status and a body, or never.
    #[derive(Debug)]
    struct Answers(Option<(u16, &'static [u8])>, AtomicUsize);

    impl HttpSender for Answers {
        fn send(&self, request: Request<Full<Bytes>>) -> SendFuture {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert_eq!(request.headers()["content-type"], "application/x-protobuf");
            assert_eq!(request.headers()["x-key"], "k");
            let Some((status, body)) = self.0 else { return Box::pin(std::future::pending()) };
            if status == 0 {
                let error = SendError { reason: "refused".into(), unreached: true };
                return Box::pin(std::future::ready(Err(error)));
            }
            let body = Full::new(Bytes::from_static(body)).map_err(|never| match never {}).boxed_unsync();
            let answer = Response::builder().status(status).body(body).unwrap();
            Box::pin(std::future::ready(Ok(answer)))
        }
    }

    /// How many requests five exports make, four seconds apart.
    async fn requests(answers: Option<(u16, &'static [u8])>) -> usize {
        let clock = Arc::new(Steps::default());
        let transport = Arc::new(Answers(answers, AtomicUsize::new(0)));
        let mut headers = http::HeaderMap::new();
        headers.insert("x-key", HeaderValue::from_static("k"));
        let exporter = Exporter {
            transport: transport.clone(),
            collector: Collector { url: http::Uri::from_static("http://x/v1/traces"), headers },
            resource: otlp::resource("s"),
            clock: clock.clone(),
            paused: Mutex::default(),
        };
        for _ in 0..5 {
            exporter.export(&[Vec::new()]).await;
            clock.0.fetch_add(4_000, Ordering::Relaxed);
        }
        transport.1.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_collector_that_fails_is_left_alone_for_a_while() {
        for works in
            [(200, &[][..]), (200, &[0x0a, 0x02, 0x08, 0x01]), (202, b"what?"), (200, &[0xff; 9_000])]
        {
            assert_eq!(requests(Some(works)).await, 5, "{works:?}");
        }
        for fails in [Some((500, &b"broken"[..])), Some((302, &[])), Some((0, &[])), None] {
            assert_eq!(requests(fails).await, 2, "{fails:?}");
        }
    }
}
