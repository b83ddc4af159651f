//! Webhooks as HTTP requests: build, sign, send, interpret.

mod client;
mod connection;
mod connector;
mod failure;
mod guard;
mod header_case;
mod lookups;
mod request;
mod response;

pub use client::{Answer, HttpSender, SendError, SendFuture, network};
pub use guard::Guard;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use shared::Result;
use shared::clock::SharedClock;
use shared::config::{Delivery, HeaderStyle};
use shared::retry::RetryHint;

use super::{AttemptResult, Sender, Webhook};

/// A connection that fails faster than this is tried once more at once.
const FAST_FAILURE: Duration = Duration::from_secs(1);

/// Posts webhooks to URLs.
#[derive(Clone, Debug)]
pub struct Http {
    transport: Arc<dyn HttpSender>,
    clock: SharedClock,
    style: HeaderStyle,
    timeout: Duration,
}

impl Http {
    /// Sends by `transport`.
    pub fn new(transport: Arc<dyn HttpSender>, clock: SharedClock, settings: &Delivery) -> Self {
        Self { transport, clock, style: settings.header_style, timeout: settings.timeout }
    }

    /// The deadline is over everything: resolving, connecting, the second try, and the body.
    pub(crate) async fn exchange(&self, request: Request<Full<Bytes>>) -> AttemptResult {
        let seconds = self.timeout.as_secs();
        let mut deadline = self.clock.sleep(self.timeout);
        let answer = tokio::select! {
            answered = self.send_once_or_twice(request) => match answered {
                Ok(answer) => answer,
                Err(error) => return AttemptResult::failed(error.reason),
            },
            () = &mut deadline => {
                let hint = RetryHint { overloaded: true, ..RetryHint::default() };
                let reason = format!("no response within {seconds} seconds");
                return AttemptResult { hint, ..AttemptResult::failed(reason) };
            }
        };
        // From here on the head counts, whatever becomes of the body: the receiver has decided.
        let (head, stream) = answer.into_parts();
        let mut result = response::interpret(&head, self.clock.now());
        let mut body = response::Received::default();
        result.error = tokio::select! {
            read = body.read(stream) => read.err(),
            () = deadline => {
                result.hint.overloaded = true;
                Some(format!("the response was not complete within {seconds} seconds"))
            }
        };
        result.body = body.into();
        result
    }

    async fn send_once_or_twice(&self, request: Request<Full<Bytes>>) -> Result<Answer, SendError> {
        let started = self.clock.now();
        let answered = self.transport.send(request.clone()).await;
        match answered {
            Err(error) if error.unreached && self.clock.now().since(started) < FAST_FAILURE => {
                self.transport.send(request).await
            }
            answered => answered,
        }
    }
}

impl Sender for Http {
    type Address = str;

    async fn send(&self, url: &str, webhook: Webhook<'_>) -> Result<AttemptResult> {
        let mut request = match request::build(url, self.style, webhook)? {
            Ok(request) => request,
            Err(reason) => return Ok(AttemptResult::failed(reason)),
        };
        let names = webhook.endpoint.headers.iter().map(|(name, _)| name);
        if let Some(spelling) = header_case::spelled(names).await {
            request.extensions_mut().extend(spelling);
        }
        Ok(self.exchange(request).await)
    }
}
