//! How well a rate limit is kept, and what an endpoint that hangs costs the others. One process, the
//! whole local stack.
//!
//! `cargo bench -p tests --bench limits --profile bench-local -- [RATE] [SECONDS]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::future::join_all;
use local::{Settings, Stack};
use svix::api::{Svix, SvixOptions};
use svix::models::{ApplicationIn, EndpointIn, MessageIn};
use tokio::sync::mpsc;

/// Messages a second of the limited endpoint.
const RATE_DEFAULT: u64 = 50;
/// Seconds over which the rate is measured.
const SECONDS_DEFAULT: u64 = 60;
/// Messages a second to the healthy endpoint, and as many to the one that hangs.
const HEALTHY_RATE: u64 = 40;
const HEALTHY_SECONDS: u64 = 30;

async fn receiver(answers: bool) -> (String, mpsc::UnboundedReceiver<(u64, Instant)>) {
    let (send, arrived) = mpsc::unbounded_channel();
    let receive = move |body: Bytes| {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let _ = send.send((body["nth"].as_u64().expect("a number"), Instant::now()));
        async move {
            if !answers {
                std::future::pending::<()>().await;
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(receive)).await });
    (url, arrived)
}

async fn customer(svix: &Svix, url: String, rate: Option<u16>) -> String {
    let app =
        svix.application().create(ApplicationIn::new("x".into()), None).await.expect("an application").id;
    let endpoint = EndpointIn { throttle_rate: rate, ..EndpointIn::new(url) };
    svix.endpoint().create(app.clone(), endpoint, None).await.expect("an endpoint");
    app
}

async fn post(svix: &Svix, app: &str, nth: u64) {
    let message = MessageIn::new("bench".into(), serde_json::json!({"nth": nth}));
    svix.message().create(app.into(), message, None).await.expect("accepted");
}

fn percentile(sorted: &[Duration], of_100: usize) -> Duration {
    sorted[(sorted.len() * of_100 / 100).min(sorted.len() - 1)]
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let rate: u64 = numbers.next().unwrap_or(RATE_DEFAULT);
    let seconds: u64 = numbers.next().unwrap_or(SECONDS_DEFAULT);
    let stack = Stack::start(Settings::ephemeral()).await.expect("the stack starts");
    let options = SvixOptions { server_url: Some(stack.url()), ..SvixOptions::default() };
    let svix = Svix::new(stack.org_token(None), Some(options));
    throttle(&svix, rate, seconds).await;
    isolation(&svix).await;
    stack.stop().await;
}

/// Posts what takes some seconds longer than is measured, as fast as it goes.
async fn throttle(svix: &Svix, rate: u64, seconds: u64) {
    let (url, mut arrived) = receiver(true).await;
    let app = customer(svix, url, Some(u16::try_from(rate).expect("a rate"))).await;
    let count = rate * (seconds + 5);
    println!("{count} messages to an endpoint that takes {rate} a second …");
    for chunk in (0..count).collect::<Vec<_>>().chunks(16) {
        join_all(chunk.iter().map(|nth| post(svix, &app, *nth))).await;
    }
    let mut times = Vec::new();
    while times.len() < usize::try_from(count).expect("a count") {
        times.push(arrived.recv().await.expect("the receiver runs").1);
    }
    times.sort();
    // From the second on: in the first one the second's worth of early slots goes out at once.
    let from = times[0] + Duration::from_secs(2);
    let window = Duration::from_secs(seconds);
    let within = times.iter().filter(|at| **at >= from && **at < from + window).count();
    let measured = within as f64 / window.as_secs_f64();
    println!(
        "throttle: configured {rate}/s, measured {measured:.2}/s over {seconds} s ({:+.1} %), {} arrived of {count}",
        (measured / rate as f64 - 1.0) * 100.0,
        times.len()
    );
}

/// The same load on a healthy endpoint, alone and beside one that never answers.
async fn isolation(svix: &Svix) {
    let mut figures = Vec::new();
    let mut posting = tokio::task::JoinSet::new();
    for hanging in [false, true] {
        let (url, mut arrived) = receiver(true).await;
        let healthy = customer(svix, url, None).await;
        // Kept until the end: a receiver that is gone would answer, by refusing connections.
        let (sick, _unread) = if hanging {
            let (url, unread) = receiver(false).await;
            (Some(customer(svix, url, None).await), Some(unread))
        } else {
            (None, None)
        };
        let posted = Arc::new(Mutex::new(HashMap::new()));
        let mut tick = tokio::time::interval(Duration::from_millis(1000 / HEALTHY_RATE));
        let count = HEALTHY_RATE * HEALTHY_SECONDS;
        for nth in 0..count {
            tick.tick().await;
            let (svix, healthy, sick, posted) = (svix.clone(), healthy.clone(), sick.clone(), posted.clone());
            posting.spawn(async move {
                posted.lock().expect("no panic").insert(nth, Instant::now());
                post(&svix, &healthy, nth).await;
                if let Some(sick) = sick {
                    post(&svix, &sick, nth).await;
                }
            });
        }
        let mut took = HashMap::new();
        while took.len() < usize::try_from(count).expect("a count") {
            let (nth, at) = arrived.recv().await.expect("the receiver runs");
            let since = posted.lock().expect("no panic")[&nth];
            took.entry(nth).or_insert(at - since);
        }
        let mut took: Vec<Duration> = took.into_values().collect();
        took.sort_unstable();
        let beside = if hanging { "beside an endpoint that hangs, under as much load" } else { "alone" };
        println!(
            "isolation: healthy endpoint at {HEALTHY_RATE}/s {beside}: POST to arrival p50 {:?}, p99 {:?}, max {:?}",
            percentile(&took, 50),
            percentile(&took, 99),
            took[took.len() - 1]
        );
        figures.push(percentile(&took, 99));
    }
    while posting.join_next().await.is_some() {}
    println!(
        "isolation: p99 with the hanging endpoint is {:.1} times that without",
        figures[1].as_secs_f64() / figures[0].as_secs_f64()
    );
}
