//! What a response means for the attempt, and how much of it is read.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use shared::clock::Timestamp;
use shared::retry::RetryHint;
use shared::store::attempts::ResponseBody;

use super::client::Body;
use crate::destination::{AttemptResult, ReceiverDirective};

/// Most bytes of a response's body that are read and kept.
const RESPONSE_LENGTH_MAX: usize = 20_000;

/// What the head of a response says.
pub fn interpret(head: &Parts, now: Timestamp) -> AttemptResult {
    let code = head.status.as_u16();
    AttemptResult {
        success: head.status.is_success(),
        status: Some(code),
        body: ResponseBody::Text(String::new()),
        headers: head.headers.iter().map(text_of).collect(),
        error: None,
        hint: hint(code, &head.headers, now),
        directive: directive(code, &head.headers),
    }
}

/// A header as text. A value is bytes to HTTP.
fn text_of((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// What the answer asks for besides.
fn directive(code: u16, headers: &HeaderMap) -> ReceiverDirective {
    if code == 410 {
        return ReceiverDirective::Disable;
    }
    let asked = |wanted: &str| {
        let values = headers.get_all("webhook-delivery").iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    if asked("disable") {
        ReceiverDirective::Disable
    } else if asked("abort-message") {
        ReceiverDirective::AbortMessage
    } else {
        ReceiverDirective::None
    }
}

/// What an answer says about when to try again.
fn hint(code: u16, headers: &HeaderMap, now: Timestamp) -> RetryHint {
    let asked = headers.get(RETRY_AFTER).filter(|_| code == 429 || code >= 500);
    let asked = asked.and_then(|value| retry_after(value.to_str().ok()?.trim(), now));
    RetryHint { retry_after: asked, overloaded: matches!(code, 429 | 502 | 504) }
}

/// Seconds, however many digits they have, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is cut to twice the schedule's wait, as all that is too long.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    Timestamp::parse_http_date(text, now).map(|at| at.since(now))
}

/// As much of a body as has come.
#[derive(Default)]
pub struct Received {
    bytes: Vec<u8>,
    /// There is more than is kept.
    cut: bool,
}

impl Received {
    /// Reads what is kept of a body. What was read until an error stays.
    pub async fn read(&mut self, mut body: Body) -> std::result::Result<(), String> {
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

impl From<Received> for ResponseBody {
    fn from(Received { bytes, cut }: Received) -> Self {
        readable(bytes, cut)
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
        let hint = |code, value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            let RetryHint { retry_after, overloaded } = hint(code, &headers, now);
            (retry_after.map(|wait| wait.as_secs()), overloaded)
        };
        assert_eq!(hint(503, "120"), (Some(120), false));
        assert_eq!(hint(429, "Sun, 06 Nov 1994 08:50:37 GMT"), (Some(60), true));
        assert_eq!(hint(502, "Sun, 06 Nov 1994 08:00:00 GMT"), (Some(0), true));
        assert_eq!(hint(404, "120"), (None, false));
        assert_eq!(hint(504, "-1"), (None, true));
        assert_eq!(hint(503, "Sunday, 06-Nov-94 08:50:37 GMT"), (Some(60), false));
        assert_eq!(hint(503, "Sun Nov  6 08:50:37 1994"), (Some(60), false));
        assert_eq!(hint(503, "18446744073709551616"), (Some(u64::MAX), false));
        assert_eq!(hint(503, "9999999999999999999999999999999999999999"), (Some(u64::MAX), false));
        assert_eq!(hint(503, ""), (None, false));
    }

    #[test]
    fn endpoints_can_ask_to_be_left_alone() {
        let directive = |code, value: &'static str| {
            let headers = [(HeaderName::from_static("webhook-delivery"), HeaderValue::from_static(value))];
            directive(code, &HeaderMap::from_iter(headers))
        };
        assert_eq!(directive(410, ""), ReceiverDirective::Disable);
        assert_eq!(directive(200, "Disable"), ReceiverDirective::Disable);
        assert_eq!(directive(500, "abort-message"), ReceiverDirective::AbortMessage);
        assert_eq!(directive(500, "please"), ReceiverDirective::None);
    }
}
