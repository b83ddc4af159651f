//! The endpoints' owners: servers that work, fail, hang, flap and dawdle.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use deliver::{Answer, HttpSender, SendError, SendFuture};
use futures_util::stream;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::clock::Timestamp;

use crate::journal::{Journal, Post};
use crate::random::Dice;
use crate::time::{START_MS, Sim};

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Healthy,
    /// Fails so often for each message before it works.
    FailsFirst(u32),
    /// Works and fails by turns of this length.
    Flaps(Duration),
    /// Never answers.
    Hangs,
    /// Answers after up to this long.
    Late(Duration),
    /// Always answers this.
    Always(u16),
    /// Has too much to do every other time, and says when to come again.
    Busy,
    /// Cannot be reached every other time.
    Unreachable,
    /// Breaks off in the middle of its answer every other time.
    BreaksOff,
}

impl Manner {
    pub fn draw(dice: &Dice, timeout: Duration) -> Self {
        match dice.below(14) {
            0..=3 => Self::Healthy,
            4 | 5 => Self::FailsFirst(1 + dice.below(3) as u32),
            6 => Self::Flaps(dice.millis(20_000, 1_000_000)),
            7 => Self::Hangs,
            8 | 9 => Self::Late(timeout * 2),
            10 => Self::Always(*dice.pick(&[301, 400, 404, 410, 500, 503])),
            11 => Self::Busy,
            12 => Self::Unreachable,
            _ => Self::BreaksOff,
        }
    }

    /// Whether exchanges can take until the deadline.
    pub fn is_slow(self) -> bool {
        matches!(self, Self::Hangs | Self::Late(_))
    }

    /// Whether every exchange ends well and soon.
    pub fn is_healthy(self) -> bool {
        self == Self::Healthy
    }
}

/// All servers, by the number in their host's name. Clones are the same.
#[derive(Clone, Debug)]
pub struct Receivers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sim: Sim,
    journal: Journal,
    dice: Dice,
    manners: Mutex<Vec<Manner>>,
    tries: Mutex<BTreeMap<(usize, String), u32>>,
}

impl Receivers {
    pub fn new(seed: u64, sim: &Sim, journal: &Journal) -> Self {
        Self(Arc::new(Inner {
            sim: sim.clone(),
            journal: journal.clone(),
            dice: Dice::new(seed, "receivers"),
            manners: Mutex::default(),
            tries: Mutex::default(),
        }))
    }

    /// A server more: its number and its URL.
    pub fn add(&self, manner: Manner) -> (usize, String) {
        let mut manners = self.0.manners.lock().unwrap_or_else(PoisonError::into_inner);
        manners.push(manner);
        let number = manners.len() - 1;
        (number, format!("https://r{number}.example.com/hook"))
    }

    /// Changes how a server behaves from now on.
    pub fn set(&self, number: usize, manner: Manner) {
        self.0.manners.lock().unwrap_or_else(PoisonError::into_inner)[number] = manner;
    }

    pub fn manner(&self, number: usize) -> Manner {
        self.0.manners.lock().unwrap_or_else(PoisonError::into_inner)[number]
    }
}

/// The ARN of the queue that the server of this number is, for those who send to it in AWS.
pub fn queue_arn(number: usize) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:r{number}")
}

/// A role that may send there.
pub const ROLE: &str = "arn:aws:iam::000000000000:role/postrider";

/// The number of the queue that is sent to, and the message as a webhook: what it carries are its headers.
fn queued(body: &Bytes) -> (usize, HeaderMap, Bytes) {
    let asked: Value = serde_json::from_slice(body).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let url = text(&asked["QueueUrl"]);
    let (_, number) = url.rsplit_once("/r").expect("a queue of ours");
    let attributes = asked["MessageAttributes"].as_object().expect("attributes");
    let headers = attributes.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, text(&value["StringValue"]).parse().expect("a value"))
    });
    (number.parse().expect("a number"), headers.collect(), Bytes::from(text(&asked["MessageBody"])))
}

/// The messages of a list, and the payload of each byte for byte; none of a webhook that is a message.
fn listed(body: &Bytes) -> Option<Vec<(String, Bytes)>> {
    let list: Vec<BTreeMap<String, &RawValue>> = serde_json::from_slice(body).ok()?;
    let read = |one: BTreeMap<String, &RawValue>| {
        let id = serde_json::from_str(one["id"].get()).expect("a text");
        (id, Bytes::copy_from_slice(one["payload"].get().as_bytes()))
    };
    Some(list.into_iter().map(read).collect())
}

impl HttpSender for Receivers {
    fn send(&self, request: Request<Full<Bytes>>) -> SendFuture {
        let inner = self.0.clone();
        let invocation = inner.sim.invocation();
        Box::pin(async move { inner.receive(request, invocation).await })
    }
}

impl Inner {
    /// What STS answers: every role trusts us, and for a quarter of an hour.
    fn credentials(&self) -> Answer {
        let until = Timestamp::from_ms(START_MS).after(self.sim.now() + Duration::from_secs(900));
        let text = format!(
            "<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey>\
             <SessionToken>c</SessionToken><Expiration>{until}</Expiration></Credentials>"
        );
        let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
        Response::new(body.boxed_unsync())
    }

    async fn receive(&self, request: Request<Full<Bytes>>, invocation: u64) -> Result<Answer, SendError> {
        let host = request.uri().host().expect("a host").to_owned();
        self.sim.sleep(self.dice.millis(1, 30)).await;
        let (mut head, body) = request.into_parts();
        let mut body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let receiver: usize = match host.split('.').next() {
            Some("sts") => return Ok(self.credentials()),
            // As functions are told where SQS is.
            Some("in") => {
                let queue;
                (queue, head.headers, body) = queued(&body);
                queue
            }
            name => name.expect("a name")[1..].parse().expect("a number"),
        };
        let manner = self.manners.lock().unwrap_or_else(PoisonError::into_inner)[receiver];
        let message = head.headers["webhook-id"].to_str().expect("text").to_owned();
        let nth = {
            let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = tries.entry((receiver, message.clone())).or_default();
            *nth += 1;
            *nth
        };
        let other_time = self.dice.chance(500);
        if manner == Manner::Unreachable && other_time {
            return Err(SendError { reason: "nobody listens".into(), unreached: true });
        }
        let at = self.sim.now();
        self.sim.trace(|| format!("{invocation}: POST to {receiver} ({manner:?}), its {nth}. for {message}"));
        let posts =
            {
                let mut events = self.journal.lock();
                let first = events.posts.len();
                let post = Post {
                    receiver,
                    message: message.clone(),
                    request: first,
                    webhook: message,
                    whole: body.clone(),
                    listed: None,
                    headers: head.headers,
                    body,
                    invocation,
                    at,
                    answer: None,
                };
                match listed(&post.whole) {
                    None => events.posts.push(post),
                    Some(list) => {
                        let count = list.len();
                        events.posts.extend(list.into_iter().enumerate().map(|(nth, (message, body))| {
                            Post { message, body, listed: Some((nth, count)), ..post.clone() }
                        }));
                    }
                }
                first..events.posts.len()
            };
        let (wait, status) = match manner {
            Manner::Healthy | Manner::Unreachable => (self.dice.millis(1, 150), 204),
            Manner::FailsFirst(times) => (self.dice.millis(1, 500), if nth > times { 200 } else { 500 }),
            Manner::Flaps(turn) => {
                let works = (at.as_millis() / turn.as_millis()) % 2 == 1;
                (self.dice.millis(1, 100), if works { 200 } else { 503 })
            }
            Manner::Hangs => (Duration::MAX, 200),
            Manner::Late(most) => (most.mul_f64(self.dice.below(1000) as f64 / 1000.0), 200),
            Manner::Always(status) => (self.dice.millis(1, 100), status),
            Manner::Busy => (self.dice.millis(1, 100), if other_time { 429 } else { 201 }),
            Manner::BreaksOff => (self.dice.millis(1, 100), 200),
        };
        if wait == Duration::MAX {
            std::future::pending::<()>().await;
        }
        self.sim.sleep(wait).await;
        // The head of a response counts, whatever becomes of its body.
        for post in &mut self.journal.lock().posts[posts] {
            post.answer = Some((self.sim.now(), status));
        }
        if manner == Manner::BreaksOff && other_time {
            let broken = stream::iter([
                Ok(Frame::data(Bytes::from_static(b"half of"))),
                Err(Box::from("the connection was reset")),
            ]);
            return Ok(Response::new(StreamBody::new(broken).boxed_unsync()));
        }
        let mut answer = Response::builder().status(status);
        if status == 429 {
            answer = answer.header(RETRY_AFTER, self.dice.between(1, 90).to_string());
        }
        let body = Full::new(Bytes::from_static(b"thanks")).map_err(|never: Infallible| match never {});
        Ok(answer.body(body.boxed_unsync()).expect("an answer"))
    }
}
