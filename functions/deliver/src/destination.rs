//! Where webhooks go. Each kind of destination has an implementation of [`Sender`], which alone knows the
//! protocol; what it gives back is the same for all of them.

pub mod aws;
pub mod http;

use std::sync::Arc;

use ::http::Method;
use shared::Result;
use shared::clock::{SharedClock, Timestamp};
use shared::config::Delivery;
use shared::http_signature::HttpKey;
use shared::ids::{AttemptId, MessageId};
use shared::labels::Labels;
use shared::retry::RetryHint;
use shared::store::attempts::{Attempt, ResponseBody, Status, Trigger, keep_headers};
use shared::store::endpoints::{Destination, Endpoint};
use shared::store::messages::Payload;

use self::aws::lines::{Lines, OnTheWay};
use self::aws::{Aws, OwnAws};
use self::http::{Http, HttpSender};
use crate::transform::Prepared;

/// A webhook that is sent now.
#[derive(Clone, Copy, Debug)]
pub struct Webhook<'a> {
    /// The attempt.
    pub attempt: AttemptId,
    /// Why it is made.
    pub trigger: Trigger,
    /// The message.
    pub message: MessageId,
    /// Its event type.
    pub event_type: &'a str,
    /// The endpoint, whose keys sign it.
    pub endpoint: &'a Endpoint,
    /// What is sent.
    pub payload: &'a Payload,
    /// When: it is signed with the rest.
    pub at: Timestamp,
    /// The method of the request, where the protocol has one.
    pub method: &'a Method,
    /// The place in a trace, where webhooks say one.
    pub traceparent: Option<&'a str>,
    /// What signs it as an HTTP message, where its owner asked for that.
    pub http_key: Option<&'a HttpKey>,
}

/// How sending a webhook ended.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// The destination has taken it.
    pub success: bool,
    /// The status of the response, where the protocol has one and a response came.
    pub status: Option<u16>,
    /// What came back.
    pub body: ResponseBody,
    /// The headers of the response, where the protocol has some.
    pub headers: Vec<(String, String)>,
    /// Why there is no response, or not all of one.
    pub error: Option<String>,
    /// When to try again.
    pub hint: RetryHint,
    /// What the receiver asks for besides.
    pub directive: ReceiverDirective,
}

impl AttemptResult {
    /// The endpoint's transformation said that nothing is to be sent.
    fn canceled() -> Self {
        let text = "the endpoint's transformation cancelled the webhook: nothing was sent";
        Self { success: true, ..Self::failed(text) }
    }

    /// There was no response.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self {
            success: false,
            status: None,
            body: ResponseBody::Text(String::new()),
            headers: Vec::new(),
            error: Some(reason.into()),
            hint: RetryHint::default(),
            directive: ReceiverDirective::None,
        }
    }
}

/// What a receiver asks for besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiverDirective {
    /// Nothing.
    #[default]
    None,
    /// No more attempts of this message.
    AbortMessage,
    /// No more webhooks at all.
    Disable,
}

/// Sends webhooks to one kind of destination.
pub trait Sender {
    /// Where to, as the endpoint's settings have it.
    type Address: ?Sized;

    /// Sends a webhook. How that ends is in the result, whatever the destination does; an error is ours.
    fn send(
        &self,
        address: &Self::Address,
        webhook: Webhook<'_>,
    ) -> impl Future<Output = Result<AttemptResult>> + Send;
}

/// What an attempt is to be made of.
#[derive(Debug)]
pub struct AttemptRequest<'a> {
    /// The attempt's id.
    pub id: AttemptId,
    /// The message.
    pub message: MessageId,
    /// Where it goes.
    pub endpoint: &'a Endpoint,
    /// What is sent.
    pub payload: &'a Payload,
    /// What the message can be found by.
    pub labels: Labels,
    /// Why it is sent.
    pub trigger: Trigger,
    /// What the endpoint's transformation made of it.
    pub prepared: &'a Prepared,
    /// The header `traceparent`, if webhooks carry one.
    pub traceparent: Option<&'a str>,
    /// What signs it as an HTTP message, if its owner asked for that.
    pub http_key: Option<&'a HttpKey>,
    /// The batch's lines, of an endpoint that takes some; none if it goes by itself.
    pub on_the_way: Option<OnTheWay<'a>>,
}

/// An attempt as it was made, and what the response says of those to come.
#[derive(Debug)]
pub struct Attempted {
    /// To be recorded; it names no next attempt yet.
    pub attempt: Attempt,
    /// When to try again.
    pub hint: RetryHint,
    /// The endpoint does not want this message any more.
    pub aborted: bool,
}

/// A sender for each kind of destination.
#[derive(Clone, Debug)]
pub struct Destinations {
    http: Http,
    aws: Aws,
    clock: SharedClock,
}

impl Destinations {
    /// Sends over HTTP by `transport`, to places in AWS as `aws`.
    pub fn new(transport: Arc<dyn HttpSender>, clock: SharedClock, settings: &Delivery, aws: OwnAws) -> Self {
        let http = Http::new(transport.clone(), clock.clone(), settings);
        Self { http, aws: Aws::new(transport, clock.clone(), settings, aws), clock }
    }

    /// Makes one attempt.
    pub async fn attempt(&self, request: AttemptRequest<'_>) -> Result<Attempted> {
        let AttemptRequest {
            id,
            message,
            endpoint,
            payload,
            labels,
            trigger,
            prepared,
            traceparent,
            http_key,
            on_the_way,
        } = request;
        let at = self.clock.now();
        let event_type = labels.event_type.as_str();
        let (endpoint, payload, method) = match prepared {
            Prepared::Changed(changed) => (&changed.endpoint, &changed.payload, &changed.method),
            _ => (endpoint, payload, &Method::POST),
        };
        let webhook = Webhook {
            attempt: id,
            trigger,
            message,
            event_type,
            endpoint,
            payload,
            at,
            method,
            traceparent,
            http_key,
        };
        let result = match (prepared, &endpoint.settings.destination) {
            (Prepared::Canceled, _) => AttemptResult::canceled(),
            (Prepared::Failed(reason), _) => AttemptResult::failed(reason),
            (_, Destination::Http { url }) => self.http.send(url, webhook).await?,
            (_, Destination::Aws(place)) if place.json_lines => {
                let alone = Lines::default();
                let on_the_way = on_the_way.unwrap_or_else(|| alone.announce());
                self.aws.send_line(place, webhook, on_the_way).await?
            }
            (_, Destination::Aws(place)) => self.aws.send(place, webhook).await?,
            // It was sent to when its job was queued.
            (_, Destination::Polling) => {
                AttemptResult::failed("the endpoint is polled now: nothing is sent to it")
            }
        };
        let took = self.clock.now().since(at);
        let mut attempt = Attempt {
            id,
            endpoint: endpoint.id,
            message,
            url: endpoint.settings.destination.address().to_owned(),
            status: if result.success { Status::Success } else { Status::Fail },
            code: result.status.unwrap_or(0),
            response: result.body,
            error: result.error,
            response_headers: Vec::new(),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            at,
            trigger,
            next: None,
            disables: result.directive == ReceiverDirective::Disable,
            passage: prepared.passage(),
            labels,
        };
        keep_headers(
            &mut attempt,
            result.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let aborted = result.directive == ReceiverDirective::AbortMessage;
        Ok(Attempted { attempt, hint: result.hint, aborted })
    }
}
