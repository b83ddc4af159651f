//! Where webhooks go. Each kind of destination has an implementation of [`Sender`], which alone knows the
//! protocol; what it gives back is the same for all of them.

pub mod aws;
pub mod http;

use std::sync::Arc;
use std::time::Duration;

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
use shared::together::{Body, Member, webhook_id};

use self::aws::lines::{Lines, OnTheWay};
use self::aws::{Aws, OwnAws};
use self::http::{Http, HttpSender};
use crate::transform::Prepared;

/// A webhook that is sent now.
#[derive(Clone, Copy, Debug)]
pub struct Webhook<'a> {
    /// What identifies it: the message's ID, or that of a list.
    pub id: &'a str,
    /// The attempt.
    pub attempt: AttemptId,
    /// Why it is made.
    pub trigger: Trigger,
    /// The message; of a list the first.
    pub message: MessageId,
    /// Its event type; empty for a list, in which each message says its own.
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

impl AttemptRequest<'_> {
    /// Where it goes, with what, and how, after the endpoint's transformation.
    pub const fn target(&self) -> (&Endpoint, &Payload, &Method) {
        self.prepared.target(self.endpoint, self.payload)
    }

    /// As a part of a list.
    pub fn member(&self) -> Member<'_> {
        let (_, payload, _) = self.target();
        Member { id: self.message, event_type: &self.labels.event_type, payload }
    }

    /// The webhook.
    const fn webhook<'a>(
        &'a self,
        id: &'a str,
        event_type: &'a str,
        payload: &'a Payload,
        at: Timestamp,
    ) -> Webhook<'a> {
        let (endpoint, _, method) = self.target();
        Webhook {
            id,
            attempt: self.id,
            trigger: self.trigger,
            message: self.message,
            event_type,
            endpoint,
            payload,
            at,
            method,
            traceparent: self.traceparent,
            http_key: self.http_key,
        }
    }

    /// The attempt that was made at `at`, and took so long.
    fn attempted(&self, at: Timestamp, took: Duration, result: AttemptResult) -> Attempted {
        let (endpoint, ..) = self.target();
        let mut attempt = Attempt {
            id: self.id,
            endpoint: endpoint.id,
            message: self.message,
            url: endpoint.settings.destination.address().to_owned(),
            status: if result.success { Status::Success } else { Status::Fail },
            code: result.status.unwrap_or(0),
            response: result.body,
            error: result.error,
            response_headers: Vec::new(),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            at,
            trigger: self.trigger,
            next: None,
            disables: result.directive == ReceiverDirective::Disable,
            passage: self.prepared.passage(),
            labels: self.labels.clone(),
        };
        keep_headers(
            &mut attempt,
            result.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let aborted = result.directive == ReceiverDirective::AbortMessage;
        Attempted { attempt, hint: result.hint, aborted }
    }
}

impl Destinations {
    /// Sends over HTTP by `transport`, to places in AWS as `aws`.
    pub fn new(transport: Arc<dyn HttpSender>, clock: SharedClock, settings: &Delivery, aws: OwnAws) -> Self {
        let http = Http::new(transport.clone(), clock.clone(), settings);
        Self { http, aws: Aws::new(transport, clock.clone(), settings, aws), clock }
    }

    /// Makes one attempt.
    pub async fn attempt(&self, mut request: AttemptRequest<'_>) -> Result<Attempted> {
        let at = self.clock.now();
        let id = webhook_id(&[request.message]);
        let on_the_way = request.on_the_way.take();
        let (endpoint, own, _) = request.target();
        // Who gets lists gets one of a single message, too.
        let list = endpoint.settings.batching().map(|_| {
            let mut body = Body::default();
            body.add(request.member());
            body.finish()
        });
        let payload = list.as_ref().unwrap_or(own);
        let webhook = request.webhook(&id, &request.labels.event_type, payload, at);
        let result = match (request.prepared, &endpoint.settings.destination) {
            (Prepared::Canceled, _) => AttemptResult::canceled(),
            (Prepared::Failed(reason), _) => AttemptResult::failed(reason),
            (_, Destination::Aws(place)) if place.json_lines => {
                let alone = Lines::default();
                let on_the_way = on_the_way.unwrap_or_else(|| alone.announce());
                self.aws.send_line(place, webhook, on_the_way).await?
            }
            _ => self.send(webhook).await?,
        };
        Ok(request.attempted(at, self.clock.now().since(at), result))
    }

    /// Makes an attempt of each of several messages by one webhook, whose body is the list of them. They go to where the
    /// first goes, and its result is theirs.
    pub async fn attempt_list(
        &self,
        requests: &[AttemptRequest<'_>],
        list: &Payload,
    ) -> Result<Vec<Attempted>> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let at = self.clock.now();
        let messages: Vec<MessageId> = requests.iter().map(|request| request.message).collect();
        let id = webhook_id(&messages);
        let event_type = if requests.len() == 1 { first.labels.event_type.as_str() } else { "" };
        let result = self.send(first.webhook(&id, event_type, list, at)).await?;
        let took = self.clock.now().since(at);
        Ok(requests.iter().map(|request| request.attempted(at, took, result.clone())).collect())
    }

    /// Sends a webhook by itself.
    async fn send(&self, webhook: Webhook<'_>) -> Result<AttemptResult> {
        match &webhook.endpoint.settings.destination {
            Destination::Http { url } => self.http.send(url, webhook).await,
            Destination::Aws(place) => self.aws.send(place, webhook).await,
            // It was sent to when its job was queued.
            Destination::Polling => {
                Ok(AttemptResult::failed("the endpoint is polled now: nothing is sent to it"))
            }
        }
    }
}
