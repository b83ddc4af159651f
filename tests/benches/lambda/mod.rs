//! Plays Lambda for one function after the other: its Runtime API, and DynamoDB and SQS behind TLS.

pub mod aws;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a function does with the Runtime API.
enum Step {
    /// It asks for an event.
    Next(Instant),
    /// It has answered one.
    Answer(Instant, Bytes),
    /// It complains.
    Error(Bytes),
}

/// The Runtime API of one function after the other.
#[derive(Clone)]
struct Runtime {
    steps: mpsc::UnboundedSender<Step>,
    events: Arc<Mutex<mpsc::UnboundedReceiver<String>>>,
}

async fn next(State(runtime): State<Runtime>) -> Response {
    let _ = runtime.steps.send(Step::Next(Instant::now()));
    let Some(event) = runtime.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970") + PATIENCE;
    let mut headers = HeaderMap::new();
    headers.insert(
        "lambda-runtime-aws-request-id",
        HeaderValue::from_static("8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
    );
    headers.insert(
        "lambda-runtime-deadline-ms",
        HeaderValue::from(u64::try_from(deadline.as_millis()).expect("small")),
    );
    headers.insert(
        "lambda-runtime-invoked-function-arn",
        HeaderValue::from_static("arn:aws:lambda:us-east-1:123456789012:function:f"),
    );
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    (headers, event).into_response()
}

async fn answered(State(runtime): State<Runtime>, body: Bytes) -> StatusCode {
    let _ = runtime.steps.send(Step::Answer(Instant::now(), body));
    StatusCode::ACCEPTED
}

/// The instance's extension, which wants no event.
async fn register() -> Response {
    ([("lambda-extension-identifier", "one")], "{}").into_response()
}

async fn failed(State(runtime): State<Runtime>, body: Bytes) -> StatusCode {
    let _ = runtime.steps.send(Step::Error(body));
    StatusCode::ACCEPTED
}

/// A function's process, which ends with this.
pub struct Instance(Child);

impl Instance {
    /// The process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lambda.
pub struct Lambda {
    api: SocketAddr,
    steps: mpsc::UnboundedReceiver<Step>,
    events: mpsc::UnboundedSender<String>,
}

impl Lambda {
    /// Listens on a free port.
    pub async fn new() -> Self {
        let (steps, asked) = mpsc::unbounded_channel();
        let (events, given) = mpsc::unbounded_channel();
        let runtime = Runtime { steps, events: Arc::new(Mutex::new(given)) };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2020-01-01/extension/register", post(register))
            .route("/2020-01-01/extension/event/next", get(std::future::pending::<StatusCode>))
            .fallback(any(failed))
            .with_state(runtime);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let api = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { api, steps: asked, events }
    }

    async fn step(&mut self, function: &str) -> Step {
        let step = tokio::time::timeout(PATIENCE, self.steps.recv()).await;
        match step.unwrap_or_else(|_| panic!("{function}: nothing for {PATIENCE:?}")).expect("the API runs") {
            Step::Error(body) => panic!("{function}: {}", String::from_utf8_lossy(&body)),
            step => step,
        }
    }

    /// Starts a function and waits until it asks for its first event; says how long that took.
    pub async fn start(
        &mut self,
        function: &str,
        mut command: Command,
        env: &BTreeMap<String, String>,
    ) -> (Instance, Duration) {
        let started = Instant::now();
        let child = command
            .env_clear()
            .envs(env)
            .envs([
                ("AWS_LAMBDA_FUNCTION_NAME", function),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
                ("AWS_LAMBDA_RUNTIME_API", &self.api.to_string()),
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let instance = Instance(child);
        let Step::Next(ready) = self.step(function).await else { panic!("{function}: an answer to nothing") };
        (instance, ready - started)
    }

    /// Hands an event over and waits until it is answered, not by a failure of ours, and the next one is
    /// asked for; gives the time and the answer.
    pub async fn event(&mut self, function: &str, event: String) -> (Duration, String) {
        let given = Instant::now();
        self.events.send(event).expect("the API runs");
        let Step::Answer(at, body) = self.step(function).await else { panic!("{function}: no answer") };
        let Step::Next(_) = self.step(function).await else { panic!("{function}: it answers twice") };
        let text = String::from_utf8_lossy(&body).into_owned();
        let broken = text.contains("\"statusCode\":5") || text.contains("\"itemIdentifier\"");
        assert!(!broken, "{function}: {text}");
        (at - given, text)
    }
}
