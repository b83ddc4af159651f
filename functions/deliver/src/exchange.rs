//! One exchange with an endpoint, from the signature to the end of the answer.

mod spelling;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use shared::Result;
use shared::clock::{SharedClock, Timestamp};
use shared::config::{Delivery, HeaderStyle};
use shared::error::corrupt;
use shared::ids::{AttemptId, MessageId};
use shared::signing;
use shared::store::attempts::{Attempt, ResponseBody, Status, Trigger, keep_headers};
use shared::store::endpoints::Endpoint;
use shared::store::messages::Payload;
use shared::webhook::Webhook;
use url::Url;

use crate::chain::Pace;
use crate::client::{Answer, Body, Transport, Unanswered};

/// Most bytes of an answer that are read and kept.
const RESPONSE_LENGTH_MAX: usize = 20_000;
/// A connection that fails faster than this is tried once more at once.
const FAST_FAILURE: Duration = Duration::from_secs(1);

/// Sends webhooks.
#[derive(Clone, Debug)]
pub struct Exchange {
    transport: Arc<dyn Transport>,
    clock: SharedClock,
}

/// What is sent, and what is noted beside it.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The attempt's id.
    pub id: AttemptId,
    /// The message.
    pub message: MessageId,
    /// Where it goes.
    pub endpoint: &'a Endpoint,
    /// Its text.
    pub payload: &'a Payload,
    /// Its event type, channels and tags.
    pub labels: Labels<'a>,
    /// Why it is sent.
    pub trigger: Trigger,
}

/// What a message carries to be found by.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    pub event_type: &'a str,
    pub channels: Option<&'a [String]>,
    pub tags: Option<&'a [String]>,
}

/// An attempt as it was made, and what the answer says of those to come.
#[derive(Debug)]
pub struct Made {
    /// To be recorded; it names no next attempt yet.
    pub attempt: Attempt,
    /// When to try again.
    pub pace: Pace,
    /// The endpoint does not want this message any more.
    pub aborted: bool,
}

/// What an endpoint asks for besides: the header `webhook-delivery` of its answer, or 410 Gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wish {
    #[default]
    None,
    /// No more attempts of this message.
    AbortMessage,
    /// No more webhooks at all.
    Disable,
}

/// A response, or why there is none.
struct Outcome {
    /// 0 without a response.
    code: u16,
    body: ResponseBody,
    /// Why there is no response, or not all of one.
    error: Option<String>,
    headers: HeaderMap,
    pace: Pace,
    wish: Wish,
}

impl Outcome {
    fn none(reason: impl Into<String>) -> Self {
        Self {
            code: 0,
            body: ResponseBody::Text(String::new()),
            error: Some(reason.into()),
            headers: HeaderMap::new(),
            pace: Pace::default(),
            wish: Wish::None,
        }
    }
}

/// What the answer asks for besides.
fn wish(code: u16, headers: &HeaderMap) -> Wish {
    if code == 410 {
        return Wish::Disable;
    }
    let asked = |wanted: &str| {
        let values = headers.get_all("webhook-delivery").iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    if asked("disable") {
        Wish::Disable
    } else if asked("abort-message") {
        Wish::AbortMessage
    } else {
        Wish::None
    }
}

/// What an answer says about when to try again.
fn pace(code: u16, headers: &HeaderMap, now: Timestamp) -> Pace {
    let asked = headers.get(RETRY_AFTER).filter(|_| code == 429 || code >= 500);
    let asked = asked.and_then(|value| retry_after(value.to_str().ok()?.trim(), now));
    Pace { retry_after: asked, overloaded: matches!(code, 429 | 502 | 504) }
}

/// Seconds, however many digits they have, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is cut to twice the schedule's wait, as all that is too long.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    Timestamp::parse_http_date(text, now).map(|at| at.since(now))
}

impl Exchange {
    /// Sends by `transport`.
    pub fn new(transport: Arc<dyn Transport>, clock: SharedClock) -> Self {
        Self { transport, clock }
    }

    /// Makes one attempt. How it ends is in the record, whatever the endpoint does; an error is ours.
    pub async fn attempt(&self, settings: &Delivery, sending: Sending<'_>) -> Result<Made> {
        let Sending { id, endpoint, payload, labels, trigger, .. } = sending;
        let started = self.clock.now();
        let message = sending.message.to_string();
        let keys = endpoint.valid_keys(started);
        let signature = signing::signatures(keys, &message, started.seconds(), payload.sent().as_bytes())?;
        let outcome =
            match request(settings.header_style, endpoint, payload, &message, started.seconds(), &signature)?
            {
                Ok(mut request) => {
                    let names = endpoint.headers.iter().map(|(name, _)| name);
                    if let Some(spelling) = spelling::spelled(names).await {
                        request.extensions_mut().extend(spelling);
                    }
                    self.exchange(request, settings.timeout).await
                }
                Err(reason) => Outcome::none(reason),
            };
        let ended = self.clock.now();
        let success = (200..300).contains(&outcome.code);
        let mut attempt = Attempt {
            id,
            endpoint: endpoint.id,
            message: sending.message,
            url: endpoint.settings.url.clone(),
            status: if success { Status::Success } else { Status::Fail },
            code: outcome.code,
            response: outcome.body,
            error: outcome.error,
            response_headers: Vec::new(),
            duration_ms: u64::try_from(ended.since(started).as_millis()).unwrap_or(u64::MAX),
            at: started,
            trigger,
            next: None,
            disables: outcome.wish == Wish::Disable,
            event_type: labels.event_type.to_owned(),
            channels: labels.channels.map(<[String]>::to_vec),
            tags: labels.tags.map(<[String]>::to_vec),
        };
        let headers: Vec<_> = outcome.headers.iter().map(text_of).collect();
        keep_headers(&mut attempt, headers.iter().map(|(name, value)| (*name, value.as_ref())));
        Ok(Made { attempt, pace: outcome.pace, aborted: outcome.wish == Wish::AbortMessage })
    }

    /// The deadline is over everything: resolving, connecting, the second try, and the body.
    async fn exchange(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Outcome {
        let mut deadline = self.clock.sleep(timeout);
        let response = tokio::select! {
            answered = self.send(request) => match answered {
                Ok(response) => response,
                Err(error) => return Outcome::none(error.reason),
            },
            () = &mut deadline => {
                let reason = format!("no answer within {} seconds", timeout.as_secs());
                return Outcome { pace: Pace { overloaded: true, ..Pace::default() }, ..Outcome::none(reason) };
            }
        };
        // From here on the head counts, whatever becomes of the body: the receiver has decided.
        let (head, stream) = response.into_parts();
        let (code, headers) = (head.status.as_u16(), head.headers);
        let wish = wish(code, &headers);
        let mut pace = pace(code, &headers, self.clock.now());
        let mut body = Received::default();
        let error = tokio::select! {
            read = body.read(stream) => read.err(),
            () = deadline => {
                pace.overloaded = true;
                Some(format!("the response was not complete within {} seconds", timeout.as_secs()))
            }
        };
        Outcome { code, body: readable(body.bytes, body.cut), error, headers, pace, wish }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> std::result::Result<Answer, Unanswered> {
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

/// A header as text. A value is bytes to HTTP.
fn text_of<'a>((name, value): (&'a HeaderName, &'a HeaderValue)) -> (&'a str, Cow<'a, str>) {
    (name.as_str(), String::from_utf8_lossy(value.as_bytes()))
}

/// As much of a body as has come.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    /// There is more than is kept.
    cut: bool,
}

impl Received {
    /// Reads what is kept of a body. What was read until an error stays.
    async fn read(&mut self, mut body: Body) -> std::result::Result<(), String> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| "the response ended before it was complete")?;
            let Ok(data) = frame.into_data() else { continue };
            let room = RESPONSE_LENGTH_MAX - self.bytes.len();
            self.bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                // Dropping the body closes the connection: the rest is neither read nor awaited.
                self.cut = true;
                break;
            }
        }
        Ok(())
    }
}

/// Text if it is text; a character that was cut at the limit does not make it something else.
fn readable(bytes: Vec<u8>, cut: bool) -> ResponseBody {
    match String::from_utf8(bytes) {
        Ok(text) => ResponseBody::Text(text),
        Err(error) => {
            let (valid, broken) =
                (error.utf8_error().valid_up_to(), error.utf8_error().error_len().is_some());
            let mut bytes = error.into_bytes();
            if cut && !broken {
                bytes.truncate(valid);
                return ResponseBody::Text(String::from_utf8(bytes).unwrap_or_default());
            }
            ResponseBody::Bytes(bytes)
        }
    }
}

/// The request; or, where the endpoint's URL cannot be used, why.
fn request(
    style: HeaderStyle,
    endpoint: &Endpoint,
    payload: &Payload,
    message: &str,
    timestamp: u64,
    signature: &str,
) -> Result<std::result::Result<Request<Full<Bytes>>, String>> {
    let Ok(url) = Url::parse(&endpoint.settings.url) else {
        return Ok(Err("the endpoint's URL is not one".into()));
    };
    let webhook = Webhook {
        style,
        url: &url,
        headers: &endpoint.headers,
        content_type: payload.content_type.as_deref(),
        empty: payload.sent().is_empty(),
        message,
        timestamp,
        signature: Some(signature),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in webhook.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(corrupt("a header"))?;
        headers.insert(name, HeaderValue::from_str(&value).map_err(corrupt("a header"))?);
    }
    let mut to = url.clone();
    let _ = to.set_username("").and_then(|()| to.set_password(None));
    to.set_fragment(None);
    let Ok(uri) = to.as_str().parse::<Uri>() else {
        return Ok(Err("the endpoint's URL cannot be sent to".into()));
    };
    let mut request =
        Request::post(uri).body(Full::from(payload.sent().to_owned())).map_err(corrupt("a request"))?;
    *request.headers_mut() = headers;
    Ok(Ok(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_as_what_they_are() {
        assert_eq!(readable(b"ok".to_vec(), false), ResponseBody::Text("ok".into()));
        assert_eq!(readable(vec![0xff, 0], false), ResponseBody::Bytes(vec![0xff, 0]));
        assert_eq!(readable("aé".as_bytes()[..2].to_vec(), true), ResponseBody::Text("a".into()));
        assert_eq!(readable("aé".as_bytes()[..2].to_vec(), false), ResponseBody::Bytes(b"a\xc3".to_vec()));
    }

    #[test]
    fn answers_pace_the_next_attempt() {
        let now = Timestamp::parse("1994-11-06T08:49:37Z").unwrap();
        let pace = |code, value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            let Pace { retry_after, overloaded } = pace(code, &headers, now);
            (retry_after.map(|wait| wait.as_secs()), overloaded)
        };
        assert_eq!(pace(503, "120"), (Some(120), false));
        assert_eq!(pace(429, "Sun, 06 Nov 1994 08:50:37 GMT"), (Some(60), true));
        assert_eq!(pace(502, "Sun, 06 Nov 1994 08:00:00 GMT"), (Some(0), true));
        assert_eq!(pace(404, "120"), (None, false));
        assert_eq!(pace(504, "-1"), (None, true));
        assert_eq!(pace(503, "Sunday, 06-Nov-94 08:50:37 GMT"), (Some(60), false));
        assert_eq!(pace(503, "Sun Nov  6 08:50:37 1994"), (Some(60), false));
        assert_eq!(pace(503, "18446744073709551616"), (Some(u64::MAX), false));
        assert_eq!(pace(503, "9999999999999999999999999999999999999999"), (Some(u64::MAX), false));
        assert_eq!(pace(503, ""), (None, false));
    }

    #[test]
    fn endpoints_can_ask_to_be_left_alone() {
        let wish = |code, value: &'static str| {
            let headers = [(HeaderName::from_static("webhook-delivery"), HeaderValue::from_static(value))];
            wish(code, &HeaderMap::from_iter(headers))
        };
        assert_eq!(wish(410, ""), Wish::Disable);
        assert_eq!(wish(200, "Disable"), Wish::Disable);
        assert_eq!(wish(500, "abort-message"), Wish::AbortMessage);
        assert_eq!(wish(500, "please"), Wish::None);
    }
}
