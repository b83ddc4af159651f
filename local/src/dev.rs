//! A receiver of webhooks for the first minutes: the portal sends a test message to it and shows it arrive.
//!
//! It is the runner's own, below `/dev`, and there only while the API listens on a loopback address or a setting asks for it:
//! no function knows it. It keeps the last requests in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Serialize;
use serde_json::json;
use shared::Error;
use shared::clock::{SharedClock, Timestamp};
use shared::http::{ApiError, RawQuery};

/// What the receiver's paths begin with.
pub(crate) const PREFIX: &str = "/dev/";
const CONFIG: &str = "/dev/config.json";
const RECEIVER: &str = "/dev/receiver";
const REQUESTS: &str = "/dev/receiver/requests";
/// Most requests that are kept.
const KEPT_MAX: usize = 100;
/// Most bytes of their bodies together.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest body of a webhook.
const BODY_MAX: usize = 2 * 1024 * 1024;
/// What is answered if the endpoint's URL asks for nothing else.
const STATUS_DEFAULT: u16 = 204;
const ID_HEADERS: [&str; 2] = ["webhook-id", "svix-id"];

/// A request that the receiver got.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    received_at: Timestamp,
    /// What it was answered with.
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Received {
    fn is_of(&self, message: &str) -> bool {
        self.headers.iter().any(|(name, value)| ID_HEADERS.contains(&name.as_str()) && value == message)
    }
}

/// The receiver, and what it has received: the oldest first.
pub(crate) struct Dev {
    url: String,
    clock: SharedClock,
    kept: Mutex<VecDeque<Received>>,
}

impl Dev {
    /// A receiver below this URL, that of the API.
    pub(crate) fn new(url: String, clock: SharedClock) -> Self {
        Self { url, clock, kept: Mutex::default() }
    }

    /// Answers a request whose path begins with [`PREFIX`].
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response {
        let answer = match (request.method().clone(), request.uri().path()) {
            (Method::GET, CONFIG) => {
                let receiver = format!("{}{RECEIVER}", self.url);
                Ok(shared::http::json(
                    StatusCode::OK,
                    &json!({ "receiver": receiver, "serverUrl": self.url }),
                ))
            }
            (Method::GET, REQUESTS) => self.list(request.uri().query().unwrap_or_default()),
            (Method::POST, RECEIVER) => self.receive(request).await,
            (_, CONFIG | REQUESTS | RECEIVER) => Err(Error::MethodNotAllowed),
            _ => Err(Error::NotFound("Path")),
        };
        answer.unwrap_or_else(|error| ApiError(error).into_response())
    }

    /// The newest first; those of one message, if the query names it.
    fn list(&self, query: &str) -> shared::Result<Response> {
        let query = RawQuery::parse(query);
        let id = query.one("id")?;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<_> =
            kept.iter().rev().filter(|one| id.is_none_or(|message| one.is_of(message))).collect();
        Ok(shared::http::json(StatusCode::OK, &json!({ "data": found })))
    }

    /// Keeps a webhook. The endpoint's URL may ask for another answer, to see what a failure comes to:
    /// `/dev/receiver?status=500`.
    async fn receive(&self, request: Request<Body>) -> shared::Result<Response> {
        let (head, body) = request.into_parts();
        let status = RawQuery::parse(head.uri.query().unwrap_or_default()).number(
            "status",
            200,
            599,
            STATUS_DEFAULT,
        )?;
        let body = axum::body::to_bytes(body, BODY_MAX).await.map_err(|_| Error::TooLarge(BODY_MAX))?;
        let received = Received {
            received_at: self.clock.now(),
            status,
            headers: texts(&head.headers),
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(received);
        while kept.len() > KEPT_MAX || kept.iter().map(|one| one.body.len()).sum::<usize>() > KEPT_BYTES_MAX {
            kept.pop_front();
        }
        // What is not among the registered ones is a status all the same.
        Ok(StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT).into_response())
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
