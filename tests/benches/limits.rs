//! How well a rate limit is kept, and what an endpoint that hangs, or one whose code never ends, costs the others. One
//! process, the whole local stack; code runs in processes beside it, on the same processors, which in AWS it does not.
//!
//! `cargo bench -p tests --bench limits --profile bench-local -- [RATE] [SECONDS]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

use std::collections::HashMap;
use std::process::ExitCode;
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
/// Of the messages to the healthy endpoint, one in so many goes to the one with code as well: each takes 250 ms of a
/// processor, which is where code is ended.
const CODE_EVERY: u64 = 10;
const ENDLESS_CODE: &str = "function handler(webhook) { for (;;) {} }";

/// What a healthy endpoint has beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Hanging,
    EndlessCode,
}

impl Beside {
    const fn says(self) -> &'static str {
        match self {
            Self::Nothing => "alone",
            Self::Hanging => "beside an endpoint that hangs, under as much load",
            Self::EndlessCode => "beside an endpoint whose code never ends, under a tenth of the load",
        }
    }
}

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

/// Gives an application's only endpoint code.
async fn transform(svix: &Svix, app: &str, code: &str) {
    let endpoints = svix.endpoint().list(app.into(), None).await.expect("endpoints").data;
    let patch = serde_json::from_value(serde_json::json!({"code": code, "enabled": true})).expect("a patch");
    let changed = svix.endpoint().transformation().patch(app.into(), endpoints[0].id.clone(), patch).await;
    changed.expect("the code is taken");
}

async fn post(svix: &Svix, app: &str, nth: u64) {
    let message = MessageIn::new("bench".into(), serde_json::json!({"nth": nth}));
    svix.message().create(app.into(), message, None).await.expect("accepted");
}

fn percentile(sorted: &[Duration], of_100: usize) -> Duration {
    sorted[(sorted.len() * of_100 / 100).min(sorted.len() - 1)]
}

fn main() -> ExitCode {
    // Code runs in a process of this program of its own.
    if let Some(ended) = local::runner::transformer() {
        return ended;
    }
    tokio::runtime::Runtime::new().expect("a runtime").block_on(measure());
    ExitCode::SUCCESS
}

async fn measure() {
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

/// The same load on a healthy endpoint, alone, beside one that never answers, and beside one whose code never ends.
async fn isolation(svix: &Svix) {
    let mut figures = Vec::new();
    let mut posting = tokio::task::JoinSet::new();
    for beside in [Beside::Nothing, Beside::Hanging, Beside::EndlessCode] {
        let (url, mut arrived) = receiver(true).await;
        let healthy = customer(svix, url, None).await;
        // Kept until the end: a receiver that is gone would answer, by refusing connections.
        let (sick, mut unread) = if beside == Beside::Nothing {
            (None, None)
        } else {
            let (url, unread) = receiver(beside == Beside::EndlessCode).await;
            (Some(customer(svix, url, None).await), Some(unread))
        };
        if let (Beside::EndlessCode, Some(app)) = (beside, &sick) {
            transform(svix, app, ENDLESS_CODE).await;
        }
        let posted = Arc::new(Mutex::new(HashMap::new()));
        let mut tick = tokio::time::interval(Duration::from_millis(1000 / HEALTHY_RATE));
        let count = HEALTHY_RATE * HEALTHY_SECONDS;
        for nth in 0..count {
            tick.tick().await;
            let (svix, healthy, sick, posted) = (svix.clone(), healthy.clone(), sick.clone(), posted.clone());
            posting.spawn(async move {
                posted.lock().expect("no panic").insert(nth, Instant::now());
                post(&svix, &healthy, nth).await;
                match sick {
                    Some(sick) if beside == Beside::Hanging || nth % CODE_EVERY == 0 => {
                        post(&svix, &sick, nth).await;
                    }
                    _ => {}
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
        println!(
            "isolation: healthy endpoint at {HEALTHY_RATE}/s {}: {count} messages, POST to arrival p50 {:?}, p99 {:?}, max {:?}",
            beside.says(),
            percentile(&took, 50),
            percentile(&took, 99),
            took[took.len() - 1]
        );
        figures.push(percentile(&took, 99));
        if beside == Beside::EndlessCode {
            let sent = std::iter::from_fn(|| unread.as_mut()?.try_recv().ok()).count();
            println!("isolation: of the endpoint whose code never ends, {sent} webhooks were sent");
        }
    }
    while posting.join_next().await.is_some() {}
    println!(
        "isolation: p99 with the hanging endpoint is {:.1} times that without, with the endless code {:.1} times",
        figures[1].as_secs_f64() / figures[0].as_secs_f64(),
        figures[2].as_secs_f64() / figures[0].as_secs_f64()
    );
}
