//! A function as Lambda runs it: frozen between two events, and told of its end if it asked for that.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use shared::Platform;
use shared::clock::{Clock as _, SystemClock};
use shared::config::Env;
use tokio::sync::{Mutex, mpsc};

use crate::test_stack::{ENDPOINT_VARIABLE, TestStack, settings, soon};

/// The function `messages` as its `main` runs it. It is never run as a test, which is no Lambda.
#[tokio::test]
#[ignore = "the process of a function"]
async fn messages_in_lambda() {
    let env = Env::process();
    let platform = Platform::system();
    let routes = messages::router(&env, &platform).expect("its settings");
    platform.expect_the_end(&env).await;
    shared::http::serve(routes).await.expect("Lambda's API is there");
}

/// What an instance asked of Lambda.
#[derive(Debug, PartialEq)]
enum Asked {
    Extension(Value),
    NextOfExtension,
    Next,
    Answer(Value),
    Other(String),
}

#[derive(Clone)]
struct Api {
    asked: mpsc::UnboundedSender<Asked>,
    events: Arc<Mutex<mpsc::UnboundedReceiver<String>>>,
    /// What whoever registers an extension is answered.
    registration: StatusCode,
}

impl Api {
    fn note(&self, asked: Asked) {
        self.asked.send(asked).expect("the test runs");
    }
}

async fn next(State(api): State<Api>) -> impl IntoResponse {
    api.note(Asked::Next);
    let Some(event) = api.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = SystemClock.now().after(Duration::from_secs(29)).ms().to_string();
    let head = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        ("lambda-runtime-deadline-ms", deadline.as_str()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:messages"),
        ("content-type", "application/json"),
    ];
    (head, event).into_response()
}

async fn register(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    assert!(headers.contains_key("lambda-extension-name"));
    api.note(Asked::Extension(serde_json::from_slice(&body).expect("JSON")));
    (api.registration, [("lambda-extension-identifier", "one")], "{}")
}

async fn next_of_extension(State(api): State<Api>, headers: HeaderMap) -> StatusCode {
    assert_eq!(headers["lambda-extension-identifier"], "one");
    api.note(Asked::NextOfExtension);
    // It wants no event, and gets none.
    std::future::pending().await
}

/// Lambda, with one instance of `messages`.
struct Lambda {
    process: std::process::Child,
    asked: mpsc::UnboundedReceiver<Asked>,
    events: mpsc::UnboundedSender<String>,
}

impl Drop for Lambda {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Lambda {
    /// Starts the instance, and waits until its initialisation is over.
    async fn start(stack: &TestStack, registration: StatusCode) -> Self {
        let (note, asked) = mpsc::unbounded_channel();
        let (events, given) = mpsc::unbounded_channel();
        let api = Api { asked: note, events: Arc::new(Mutex::new(given)), registration };
        let other = async |State(api): State<Api>, request: axum::extract::Request| {
            api.note(Asked::Other(request.uri().to_string()));
        };
        let answer = async |State(api): State<Api>, body: Bytes| {
            api.note(Asked::Answer(serde_json::from_slice(&body).expect("JSON")));
            StatusCode::ACCEPTED
        };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answer))
            .route("/2020-01-01/extension/register", post(register))
            .route("/2020-01-01/extension/event/next", get(next_of_extension))
            .fallback(any(other))
            .with_state(api);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut env: BTreeMap<String, String> =
            stack.stack.environment("messages").expect("its environment").clone();
        env.retain(|name, _| !name.starts_with("AWS_ENDPOINT_URL"));
        let aws = stack.stack.aws_address().expect("it is served");
        let process = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "operations::lambda_end::messages_in_lambda", "--ignored", "--nocapture"])
            .env_clear()
            .envs(env)
            .env("AWS_ENDPOINT_URL", format!("http://{aws}"))
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "messages")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/postrider/one/messages")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the process starts");
        Self { process, asked, events }
    }

    async fn step(&mut self) -> Asked {
        soon("a request of the instance", self.asked.recv()).await.expect("Lambda's API runs")
    }

    /// Lets it accept a message.
    async fn post(&mut self, app: &str, token: &str) {
        let path = format!("/api/v1/app/{app}/msg");
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
            "headers": {
                "authorization": format!("Bearer {token}"), "content-type": "application/json", "host": "api.example.com",
            },
            "requestContext": {
                "http": { "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "test" },
                "requestId": "one", "stage": "$default", "timeEpoch": 1_795_521_600_000_u64,
            },
            "body": r#"{"eventType":"invoice.paid","payload":{}}"#, "isBase64Encoded": false,
        });
        self.events.send(event.to_string()).expect("Lambda's API runs");
        let Asked::Answer(answer) = self.step().await else { panic!("no answer") };
        assert_eq!(answer["statusCode"], 202, "{answer}");
        assert_eq!(self.step().await, Asked::Next);
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_child(&self.process);
        kill_process(process, signal).expect("it runs");
    }

    /// Freezes the instance, and ends it a while later; gives its exit code and how many messages each line of
    /// its metrics told of.
    async fn end(mut self) -> (Option<i32>, Vec<u64>) {
        self.signal(Signal::STOP);
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        let ended = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            let mut output = self.process.stdout.take().expect("its output");
            output.read_to_string(&mut text).expect("text");
            (self.process.wait().expect("it ended").code(), text)
        });
        let (code, text) = soon("the end of the instance", ended).await.expect("no panic");
        // What the test's harness says of itself is no metric, and may be on the same line.
        let lines = text.lines().filter_map(|line| line.get(line.find(r#"{"Accepted""#)?..));
        let accepted = lines.map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["Stack"], "one");
            line["Accepted"].as_u64().expect("a count")
        });
        (code, accepted.collect())
    }
}

async fn served() -> Option<(TestStack, String)> {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return None; // the function reaches the services of this test's own stack
    }
    let mut settings = settings();
    settings.aws_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let stack = TestStack::with(settings).await;
    let app = stack.app().await;
    Some((stack, app))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_instance_holds_back_is_told_at_its_end() {
    let Some((stack, app)) = served().await else { return };
    let mut lambda = Lambda::start(&stack, StatusCode::OK).await;
    assert_eq!(lambda.step().await, Asked::Extension(json!({ "events": [] })));
    // In either order: the initialisation is over with both.
    let (one, other) = (lambda.step().await, lambda.step().await);
    assert!([&one, &other].contains(&&Asked::Next) && [&one, &other].contains(&&Asked::NextOfExtension));
    let began = SystemClock.now();
    for _ in 0..4 {
        lambda.post(&app, &stack.token).await;
    }
    let slow = SystemClock.now().since(began).as_secs() / 10;
    let (code, lines) = lambda.end().await;
    assert_eq!((code, lines.first(), lines.iter().sum::<u64>()), (Some(0), Some(&1), 4), "{lines:?}");
    assert!(lines.len() as u64 <= 2 + slow, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_told_of_its_end_holds_nothing_back() {
    let Some((stack, app)) = served().await else { return };
    let mut lambda = Lambda::start(&stack, StatusCode::FORBIDDEN).await;
    assert_eq!(lambda.step().await, Asked::Extension(json!({ "events": [] })));
    assert_eq!(lambda.step().await, Asked::Next);
    for _ in 0..3 {
        lambda.post(&app, &stack.token).await;
    }
    let (code, lines) = lambda.end().await;
    assert_eq!((code, lines), (None, vec![1, 1, 1]));
}
