//! How much memory `deliver` takes at most: batches of ten of the largest payloads, to one endpoint and to ten, over TLS, in the
//! release binary.
//!
//! ```sh
//! cargo build --release -p deliver --target-dir target/lines
//! cargo bench -p tests --bench memory --profile bench-local -- [FOLDER]
//! ```

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

#[path = "lambda/https.rs"]
mod https;
mod lambda;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aws_sdk_sqs::types::MessageSystemAttributeName;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use lambda::Lambda;
use lambda::aws::Aws;
use serde_json::{Value, json};
use svix::api::{Svix, SvixOptions};
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

/// Batches of each kind.
const ROUNDS: usize = 10;
const BATCH: usize = 10;
/// Nearly what a body may have.
const LARGEST: usize = 1_000_000;

/// An endpoint that reads everything and says 204; its address.
async fn receiver() -> String {
    let receive = async |body: Bytes| {
        drop(body);
        // Long enough that all of a batch are in flight together.
        tokio::time::sleep(Duration::from_millis(300)).await;
        StatusCode::NO_CONTENT
    };
    let limit = axum::extract::DefaultBodyLimit::disable();
    let router = Router::new().fallback(receive).layer(limit);
    format!("https://localhost:{}", https::serve(router).await.port())
}

/// Text that hardly packs, and none that does, half and half.
fn payload(nth: usize, length: usize) -> Value {
    let mut state = nth as u64;
    let mut noise = String::with_capacity(length);
    while noise.len() < length / 2 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.push_str(&format!("{state:016x}"));
    }
    noise.push_str(&"\"quoted\" ".repeat(length / 2 / 11));
    json!({ "nth": nth, "text": noise })
}

/// As many jobs as there are, as one event of the queue.
async fn batch(aws: &Aws, size: usize) -> String {
    let queue = aws.stack.queue("DeliveriesQueue").expect("a queue of the template");
    let mut records = Vec::new();
    while records.len() < size {
        let request = aws.stack.sqs().receive_message().queue_url(&queue.url).max_number_of_messages(10);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
        for message in request.send().await.expect("the queue answers").messages.unwrap_or_default() {
            let attributes = message.attributes.unwrap_or_default();
            let attributes: serde_json::Map<String, Value> =
                attributes.into_iter().map(|(name, value)| (name.as_str().into(), value.into())).collect();
            records.push(json!({
                "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
                "attributes": attributes, "messageAttributes": {}, "md5OfBody": message.md5_of_body,
                "eventSource": "aws:sqs", "eventSourceARN": queue.arn, "awsRegion": "us-east-1",
            }));
        }
    }
    json!({ "Records": records }).to_string()
}

fn status(process: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let value = status.lines().find_map(|line| line.strip_prefix(name)).expect("a value");
    value.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

#[tokio::main]
async fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::args().skip(1).find(|argument| argument.contains('/'));
    let folder = folder.map_or_else(|| root.join("target/lines/release"), PathBuf::from);
    let program = folder.join("deliver");
    assert!(program.exists(), "{} is not there: build it first", program.display());
    let mut lambda = Lambda::new().await;
    println!("ten deliveries an event, {ROUNDS} events: peak RSS of `deliver`");
    for (endpoints, length) in [(1, 1_000), (1, 40_000), (1, LARGEST), (10, LARGEST)] {
        let aws = Aws::start().await;
        let options = SvixOptions { server_url: Some(aws.stack.url()), ..SvixOptions::default() };
        let svix = Svix::new(aws.stack.org_token(None), Some(options));
        let app = svix.application().create(ApplicationIn::new("x".into()), None).await.expect("created").id;
        let url = receiver().await;
        for nth in 0..endpoints {
            let endpoint = EndpointIn::new(format!("{url}/{nth}"));
            svix.endpoint().create(app.clone(), endpoint, None).await.expect("created");
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let env = aws.environment("deliver");
        let (instance, _) = lambda.start("deliver", Command::new(&program), &env).await;
        let process = instance.id();
        for round in 0..ROUNDS {
            for nth in 0..BATCH / endpoints {
                let payload = payload(round * BATCH + nth, length);
                let message = MessageIn::new("invoice.paid".into(), payload);
                svix.message().create(app.clone(), message, None).await.expect("accepted");
            }
            let event = batch(&aws, BATCH).await;
            aws.waited.take();
            let _ = lambda.event("deliver", event).await;
            let (_, requests) = aws.waited.take();
            if round == 0 || round == ROUNDS - 1 {
                println!(
                    "{endpoints:2} endpoints, {length:9} bytes, after {:3}: {:6.1} MB, now {:6.1} MB; {requests} requests to AWS",
                    round + 1,
                    status(process, "VmHWM:"),
                    status(process, "VmRSS:")
                );
            }
        }
        drop(instance);
        aws.stack.stop().await;
    }
}
