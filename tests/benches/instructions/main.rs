//! How many instructions one more message takes, in the release binaries, counted by callgrind: those of
//! `messages` for one that is accepted, those of `deliver` for one that is delivered over TLS.
//!
//! ```sh
//! CARGO_PROFILE_RELEASE_STRIP=false CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
//!     cargo build --release -p messages -p deliver --target-dir target/lines
//! cargo bench -p tests --bench instructions --profile bench-local -- [EVENTS] [FOLDER] [CASE]
//! ```
//!
//! Callgrind's processor has AES and AVX2, but no instructions for SHA-256, which those of Lambda's arm64 have.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

#[path = "../lambda/https.rs"]
mod https;
#[path = "../lambda/mod.rs"]
mod lambda;
mod profile;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_sqs::types::MessageSystemAttributeName;
use axum::Router;
use axum::http::StatusCode;
use lambda::Lambda;
use lambda::aws::Aws;
use profile::Profile;
use serde_json::{Value, json};
use svix::api::{Svix, SvixOptions};
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

/// Events that are counted.
const EVENTS_DEFAULT: u64 = 100;
/// Events before that: connections are made and caches filled by then.
const WARM: u64 = 20;
/// Lines of the profile.
const TOP: usize = 25;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Post,
    PostWithKey,
    PostTen,
    Deliver,
    DeliverTen,
}

impl Case {
    const ALL: [Self; 5] = [Self::Post, Self::PostWithKey, Self::PostTen, Self::Deliver, Self::DeliverTen];

    const fn name(self) -> &'static str {
        match self {
            Self::Post => "accept",
            Self::PostWithKey => "accept-with-key",
            Self::PostTen => "accept-ten",
            Self::Deliver => "deliver",
            Self::DeliverTen => "deliver-ten",
        }
    }

    const fn function(self) -> &'static str {
        match self {
            Self::Post | Self::PostWithKey | Self::PostTen => "messages",
            Self::Deliver | Self::DeliverTen => "deliver",
        }
    }

    /// Messages in one event.
    const fn messages(self) -> u64 {
        match self {
            Self::PostTen | Self::DeliverTen => 10,
            _ => 1,
        }
    }
}

/// An endpoint as most are: HTTPS, and 204 to everything. Gives its URL, and counts what arrives.
async fn receiver(arrived: Arc<AtomicU64>) -> String {
    let receive = async move || {
        arrived.fetch_add(1, Ordering::Relaxed);
        StatusCode::NO_CONTENT
    };
    let router = Router::new().fallback(receive);
    format!("https://localhost:{}/hook", https::serve(router).await.port())
}

/// A message of half a kilobyte, as the load generator posts.
fn message(nth: u64) -> Value {
    json!({
        "eventType": "invoice.paid",
        "payload": {"nth": nth, "id": "inv_1", "text": "x".repeat(480)},
    })
}

/// A request as API Gateway hands it over.
fn request(path: &str, token: &str, key: Option<String>, body: &Value) -> String {
    let mut headers = json!({
        "accept": "application/json",
        "authorization": format!("Bearer {token}"),
        "content-type": "application/json",
        "host": "api.example.com",
        "user-agent": "svix-libs/2.9.1/python",
        "x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    if let Some(key) = key {
        headers["idempotency-key"] = key.into();
    }
    json!({
        "version": "2.0",
        "routeKey": "ANY /api/v1/app/{app_id}/msg",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": "api.example.com",
            "domainPrefix": "api",
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "svix-libs/2.9.1/python",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "ANY /api/v1/app/{app_id}/msg",
            "stage": "$default",
            "time": "24/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_795_521_600_000_u64,
        },
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
    .to_string()
}

/// Who posts, and what to.
struct Customer {
    svix: Svix,
    token: String,
    app: String,
    arrived: Arc<AtomicU64>,
}

impl Customer {
    async fn new(aws: &Aws) -> Self {
        let (token, arrived) = (aws.stack.org_token(None), Arc::<AtomicU64>::default());
        let options = SvixOptions { server_url: Some(aws.stack.url()), ..SvixOptions::default() };
        let svix = Svix::new(token.clone(), Some(options));
        let app = svix.application().create(ApplicationIn::new("x".into()), None).await.expect("created").id;
        let endpoint = EndpointIn::new(receiver(arrived.clone()).await);
        svix.endpoint().create(app.clone(), endpoint, None).await.expect("created");
        // What is read within a second of a change of the endpoints is not kept.
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        Self { svix, token, app, arrived }
    }

    async fn event(&self, aws: &Aws, case: Case, nth: u64) -> String {
        let path = format!("/api/v1/app/{}/msg", self.app);
        match case {
            Case::Post => request(&path, &self.token, None, &message(nth)),
            Case::PostWithKey => request(&path, &self.token, Some(format!("key-{nth}")), &message(nth)),
            Case::PostTen => {
                let messages: Vec<Value> = (0..10).map(|of_ten| message(nth * 10 + of_ten)).collect();
                request(&format!("{path}/batch"), &self.token, None, &json!({ "messages": messages }))
            }
            Case::Deliver | Case::DeliverTen => {
                // Under callgrind the first handshake may take as long as an endpoint that hangs, which the
                // low-priority queue bears.
                let queue = if nth < WARM { "RetriesQueue" } else { "DeliveriesQueue" };
                self.batch(aws, case.messages(), queue).await
            }
        }
    }

    /// So many jobs as `messages` has just queued them, as if they came from `queue`.
    async fn batch(&self, aws: &Aws, size: u64, queue: &str) -> String {
        let from = &aws.stack.queue(queue).expect("a queue of the template").arn;
        for nth in 0..size {
            let posted: MessageIn = serde_json::from_value(message(nth)).expect("a message");
            self.svix.message().create(self.app.clone(), posted, None).await.expect("accepted");
        }
        let queue = aws.stack.queue("DeliveriesQueue").expect("a queue of the template");
        let mut records = Vec::new();
        while records.len() < usize::try_from(size).expect("small") {
            let request = aws.stack.sqs().receive_message().queue_url(&queue.url).max_number_of_messages(10);
            let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
            for message in request.send().await.expect("the queue answers").messages.unwrap_or_default() {
                let attributes = message.attributes.unwrap_or_default();
                let attributes: serde_json::Map<String, Value> = attributes
                    .into_iter()
                    .map(|(name, value)| (name.as_str().into(), value.into()))
                    .collect();
                records.push(json!({
                    "messageId": message.message_id,
                    "receiptHandle": message.receipt_handle,
                    "body": message.body,
                    "attributes": attributes,
                    "messageAttributes": {},
                    "md5OfBody": message.md5_of_body,
                    "eventSource": "aws:sqs",
                    "eventSourceARN": from,
                    "awsRegion": "us-east-1",
                }));
            }
        }
        json!({ "Records": records }).to_string()
    }
}

fn callgrind_control(what: &str, process: u32) {
    let done = Command::new("callgrind_control").args([what, &process.to_string()]).output();
    let done = done.expect("callgrind_control comes with valgrind");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// What all events of one case took.
struct Counted {
    instructions: u64,
    /// Of those, SHA-256's.
    hashing: u64,
    requests: u64,
}

/// Counts one case, and prints where its instructions went.
async fn count(lambda: &mut Lambda, case: Case, events: u64, program: &Path) -> Counted {
    // Its own, with nobody else's jobs in the queue.
    let aws = &Aws::start().await;
    let customer = Customer::new(aws).await;
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let mut command = Command::new("/usr/bin/valgrind");
    command.args(["--tool=callgrind", "--quiet", "--log-file=/dev/null"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(program);
    let (instance, _) = lambda.start(case.function(), command, &aws.environment(case.function())).await;
    for nth in 0..WARM + events {
        if nth == WARM {
            aws.waited.take();
            customer.arrived.store(0, Ordering::Relaxed);
            callgrind_control("--zero", instance.id());
        }
        let event = customer.event(aws, case, nth).await;
        let (_, answer) = lambda.event(case.function(), event).await;
        let accepted = case.function() != "messages" || answer.contains("\"statusCode\":20");
        assert!(accepted, "{answer}");
    }
    let (_, requests) = aws.waited.take();
    let sent = if case.function() == "deliver" { events * case.messages() } else { 0 };
    let arrived = customer.arrived.load(Ordering::Relaxed);
    assert_eq!(arrived, sent, "the machine is too busy: the endpoint counts as one that hangs");
    callgrind_control("--dump", instance.id());
    drop(instance);
    let dumped = out.with_extension("1");
    let profile = Profile::parse(&std::fs::read_to_string(dumped).expect("callgrind has dumped"));
    let messages = events * case.messages();
    let print = |title: &str, functions: Vec<(u64, &str)>| {
        println!("\n{}, {title}: instructions a message", case.name());
        for (cost, name) in functions {
            let share = cost as f64 / profile.total as f64 * 100.0;
            println!("{:9} {share:5.1} %  {}", cost / messages, name.chars().take(120).collect::<String>());
        }
    };
    print("functions by themselves", profile.top(TOP, |cost| cost.own, |_| true));
    print(
        "ours and the SDK's with what they call",
        profile.top(TOP, |cost| cost.with_calls, is_ours_or_the_sdks),
    );
    let hashing = profile.functions.iter().filter(|(name, _)| name.contains("sha256"));
    let hashing = hashing.map(|(_, cost)| cost.own).sum();
    Counted { instructions: profile.total, hashing, requests }
}

fn is_ours_or_the_sdks(function: &str) -> bool {
    let crates = ["shared::", "messages::", "deliver::", "aws_", "jsonwebtoken::"];
    let name = function.trim_start_matches(['<', '&']);
    crates.iter().any(|of| name.starts_with(of)) && !name.contains("::main")
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let events = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(EVENTS_DEFAULT);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = arguments.iter().find(|argument| argument.contains('/'));
    let folder = folder.map_or_else(|| root.join("target/lines/release"), PathBuf::from);
    let named = |case: &&Case| arguments.iter().any(|argument| argument == case.name());
    let mut cases: Vec<Case> = Case::ALL.iter().filter(named).copied().collect();
    if cases.is_empty() {
        cases = Case::ALL.to_vec();
    }
    let mut lambda = Lambda::new().await;
    let mut table = String::from(
        "\ncase             instructions: an event   a message   but for SHA-256   requests to AWS: an event\n",
    );
    for case in cases {
        let program = folder.join(case.function());
        assert!(program.exists(), "{} is not there: build it first", program.display());
        let counted = count(&mut lambda, case, events, &program).await;
        let event = counted.instructions / events;
        let requests = counted.requests as f64 / events as f64;
        table.push_str(&format!(
            "{:16} {event:22} {:11} {:17} {requests:27.2}\n",
            case.name(),
            event / case.messages(),
            (counted.instructions - counted.hashing) / events / case.messages(),
        ));
    }
    println!("{table}");
}
