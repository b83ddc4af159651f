//! Requests that wait for a busy server instead of giving up: for commands of thousands of requests.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::client::{Api, Response, is_busy};
use crate::error::{CliError, Result};

/// Requests for one thing, the first one included.
const TRIES_MAX: u32 = 8;
/// The first pause; each one is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause, whatever the server asks for.
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// What the server says in the end.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It did it; null for a response without content.
    Done(Value),
    /// It will not do it, however often it is asked.
    Refused(StatusCode, CliError),
}

impl Answer {
    /// The value, or none for a 404.
    pub(crate) fn found(self) -> Result<Option<Value>> {
        match self {
            Self::Done(value) => Ok(Some(value)),
            Self::Refused(StatusCode::NOT_FOUND, _) => Ok(None),
            Self::Refused(_, error) => Err(error),
        }
    }
}

/// How long to wait after a response that asks for patience.
fn asked(response: &Response) -> Option<Duration> {
    response.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

impl Api {
    /// A request that is repeated while the server is busy (429, 502, 503, 504) or does not respond. Only for
    /// what is idempotent.
    pub(crate) async fn patiently(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        for nth in 0.. {
            let (problem, asked) = match self.send(method.clone(), path, body.map(Value::to_string)).await {
                Ok(response) if response.status.is_success() => {
                    return match &response.body[..] {
                        [] => Ok(Answer::Done(Value::Null)),
                        text => serde_json::from_slice(text).map(Answer::Done).map_err(|_| self.stranger()),
                    };
                }
                Ok(response) if is_busy(response.status) => (self.refused(&response), asked(&response)),
                Ok(response) => return Ok(Answer::Refused(response.status, self.refused(&response))),
                Err(problem @ CliError::Unreachable(_)) => (problem, None),
                Err(error) => return Err(error),
            };
            if nth + 1 == TRIES_MAX {
                return Err(problem);
            }
            tokio::time::sleep(asked.unwrap_or(PAUSE * 2_u32.pow(nth)).clamp(PAUSE, PAUSE_MAX)).await;
        }
        unreachable!("the loop returns")
    }

    /// The same for a `GET`; what is refused is an error.
    pub(crate) async fn read(&self, path: &str) -> Result<Value> {
        match self.patiently(Method::GET, path, None).await? {
            Answer::Done(value) => Ok(value),
            Answer::Refused(_, error) => Err(error),
        }
    }
}
