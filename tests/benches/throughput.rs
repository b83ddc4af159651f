//! How many messages the local stack accepts and delivers a second, and how long each takes from
//! its POST to its arrival. The load generator and the receiver run in the same process.
//!
//! `cargo bench -p tests --bench throughput --profile bench-local -- [MESSAGES] [POSTERS]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use local::{Settings, Stack};
use svix::api::{MessageCreateOptions, Svix, SvixOptions};
use svix::models::{ApplicationIn, EndpointIn, MessageIn};
use tokio::sync::mpsc;

const MESSAGES_DEFAULT: usize = 5_000;
const POSTERS_DEFAULT: usize = 16;

fn percentile(sorted: &[Duration], of_100: usize) -> Duration {
    sorted[(sorted.len() * of_100 / 100).min(sorted.len() - 1)]
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let messages: usize = numbers.next().unwrap_or(MESSAGES_DEFAULT);
    let posters: usize = numbers.next().unwrap_or(POSTERS_DEFAULT);
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::ephemeral();
    settings.data = Some(folder.path().to_owned());
    let stack = Stack::start(settings).await.expect("the stack starts");

    let (send, mut arrived) = mpsc::unbounded_channel::<(usize, Instant)>();
    let receive = move |body: Bytes| {
        let nth =
            serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|body| body["nth"].as_u64());
        let _ = send.send((usize::try_from(nth.expect("a number")).expect("an index"), Instant::now()));
        async {}
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(receive)).await });

    let options = SvixOptions { server_url: Some(stack.url()), ..SvixOptions::default() };
    let svix = Svix::new(stack.org_token(None), Some(options));
    let app =
        svix.application().create(ApplicationIn::new("x".into()), None).await.expect("an application").id;
    svix.endpoint().create(app.clone(), EndpointIn::new(url), None).await.expect("an endpoint");

    let (usage, sqs) = (stack.usage(), stack.sqs_requests());
    let posted = Arc::new(Mutex::new(HashMap::with_capacity(messages)));
    let next = Arc::new(AtomicUsize::new(0));
    let padding = "a line of an ordinary invoice; ".repeat(30);
    let started = Instant::now();
    let posting = (0..posters).map(|_| {
        let (svix, app, next, posted, padding) =
            (svix.clone(), app.clone(), next.clone(), posted.clone(), padding.clone());
        tokio::spawn(async move {
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= messages {
                    return;
                }
                posted.lock().expect("no panic").insert(nth, Instant::now());
                let payload = serde_json::json!({"nth": nth, "text": padding});
                let message = MessageIn::new("bench".into(), payload);
                let key =
                    MessageCreateOptions { idempotency_key: Some(format!("k{nth}")), ..Default::default() };
                svix.message().create(app.clone(), message, Some(key)).await.expect("accepted");
            }
        })
    });
    let posting: Vec<_> = posting.collect();
    let accepted = tokio::spawn(async move {
        for poster in posting {
            poster.await.expect("a poster");
        }
        started.elapsed()
    });
    let mut took = HashMap::with_capacity(messages);
    let mut copies = 0;
    while took.len() < messages {
        let (nth, at) = arrived.recv().await.expect("the receiver runs");
        let since = posted.lock().expect("no panic")[&nth];
        if took.insert(nth, at - since).is_some() {
            copies += 1;
        }
        if took.len() % 1_000 == 0 {
            println!("{} of {messages} arrived", took.len());
        }
    }
    let delivered = started.elapsed();
    let accepted = accepted.await.expect("the posters");
    stack.idle().await;
    let mut took: Vec<Duration> = took.into_values().collect();
    took.sort_unstable();
    let rate = |elapsed: Duration| messages as f64 / elapsed.as_secs_f64();
    println!(
        "{messages} messages, {posters} posters: accepted {:.0}/s, delivered {:.0}/s; POST to arrival p50 {:?}, p99 {:?}; {copies} copies",
        rate(accepted),
        rate(delivered),
        percentile(&took, 50),
        percentile(&took, 99)
    );
    let (used, requests) = (stack.usage(), stack.sqs_requests());
    let each = |count: f64| count / messages as f64;
    println!(
        "for one message: {:.2} write units, {:.2} read units, {:.2} DynamoDB requests; SQS: {:.2} sends, {:.2} receives, {:.2} deletes",
        each(used.write_units - usage.write_units),
        each(used.read_units - usage.read_units),
        each((used.requests - usage.requests) as f64),
        each((requests.send - sqs.send) as f64),
        each((requests.receive - sqs.receive) as f64),
        each((requests.delete - sqs.delete) as f64),
    );
    stack.stop().await;
}
