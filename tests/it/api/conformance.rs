//! The official Rust SDK, through every operation that it has for what Postrider offers.
//!
//! `tests/sdk` does the same in Python and JavaScript.

mod resources;
mod told;
mod traffic;
mod usage;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::Value;
use svix::api::Svix;
use svix::error::Error;

use crate::test_stack::{Receiver, TestStack, settings};

/// Other products and features than sending webhooks: Postrider has none of it, by design.
const NOT_OFFERED_RESOURCES: [&str; 14] = [
    "autoconfig_subscription",
    "destination",
    "destination_transformation",
    "ingest",
    "ingest_authentication",
    "ingest_endpoint",
    "ingest_endpoint_transformation",
    "ingest_source",
    "streaming",
    "streaming_event_type",
    "streaming_events",
    "streaming_sink",
    "streaming_sink_transformation",
    "streaming_stream",
];
const NOT_OFFERED: [&str; 10] = [
    "authentication.get_stream_poller_token",
    "authentication.rotate_stream_poller_token",
    "authentication.stream_expire_all",
    "authentication.stream_logout",
    "authentication.stream_portal_access",
    "authentication.whoami",
    "endpoint.get_attempt_stats",
    // Behind a feature of the crate that it calls a beta.
    "message.events",
    "message.events_subscription",
    "message.precheck",
];

/// Calls an operation of the SDK and records it once it has answered.
macro_rules! walk {
    ($walk:expr, $resource:ident.$operation:ident($($argument:expr),* $(,)?)) => {
        walk!($walk, as $walk.stack.svix, $resource.$operation($($argument),*))
    };
    ($walk:expr, as $svix:expr, $resource:ident.$operation:ident($($argument:expr),* $(,)?)) => {{
        let answer = $svix.$resource().$operation($($argument),*).await;
        if answer.is_ok() {
            $walk.walked.insert(concat!(stringify!($resource), ".", stringify!($operation)));
        }
        answer
    }};
}
use walk;

/// A journey and what it has walked.
struct Walk {
    stack: TestStack,
    receiver: Receiver,
    /// Whether `/broken` answers 200 by now, and no longer 500.
    mended: Arc<AtomicBool>,
    walked: BTreeSet<&'static str>,
}

impl Walk {
    async fn start() -> Self {
        let mended = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&mended);
        let receiver = Receiver::answering(move |webhook| {
            let status = match webhook.path.as_str() {
                "/broken" if !broken.load(Ordering::Relaxed) => StatusCode::INTERNAL_SERVER_ERROR,
                // It is tried again after a minute at the earliest.
                "/busy" => StatusCode::BAD_GATEWAY,
                _ => StatusCode::OK,
            };
            (status, "thanks".to_owned())
        });
        let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "1")).await;
        Self { stack, receiver: receiver.await, mended, walked: BTreeSet::new() }
    }

    /// The same SDK with another token.
    fn as_caller(&self, token: &str) -> Svix {
        self.stack.svix.with_token(token.to_owned())
    }
}

/// The SDK's own error for that status.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, status: u16, code: &str) {
    match answer {
        Err(Error::Http(error)) => {
            assert_eq!(error.status.as_u16(), status);
            let payload = error.payload.expect("an error that the SDK can read");
            assert_eq!(payload.code, code);
            assert!(!payload.detail.is_empty());
        }
        other => panic!("not refused with {status}: {other:?}"),
    }
}

/// The SDK's own error for input that breaks one rule.
#[track_caller]
fn invalid<T: std::fmt::Debug>(answer: Result<T, Error>, loc: [&str; 2]) {
    match answer {
        Err(Error::Validation(error)) => {
            let detail = error.payload.expect("an error that the SDK can read").detail;
            assert_eq!(detail.iter().map(|rule| &rule.loc[..]).collect::<Vec<_>>(), [loc]);
            assert!(!detail[0].msg.is_empty() && !detail[0].r#type.is_empty());
        }
        other => panic!("not refused as invalid: {other:?}"),
    }
}

/// The SDK's version and every operation of it, from the sources that this test is built with.
fn sdk() -> (String, BTreeSet<String>) {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    // Without the host's name, cargo wants packages that only other platforms need.
    let version = run("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let metadata =
        run(env!("CARGO"), &["metadata", "--offline", "--format-version=1", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).expect("metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let svix = packages.iter().find(|package| package["name"] == "svix").expect("the SDK");
    let manifest = std::path::Path::new(svix["manifest_path"].as_str().expect("a path"));
    let mut operations = BTreeSet::new();
    for file in std::fs::read_dir(manifest.with_file_name("src").join("api")).expect("sources") {
        let path = file.expect("a file").path();
        let resource = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let source = std::fs::read_to_string(&path).expect("a source");
        for signature in source.split("pub async fn ").skip(1) {
            let name = signature.split(['(', '<']).next().expect("a name");
            operations.insert(format!("{resource}.{name}"));
        }
    }
    (svix["version"].as_str().expect("a version").to_owned(), operations)
}

#[expect(clippy::print_stdout, reason = "how much was walked is the result")]
#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_cannot_tell_the_difference() {
    let mut walk = Walk::start().await;
    walk!(walk, health.get()).expect("health");
    let app = resources::applications(&mut walk).await;
    resources::event_types(&mut walk).await;
    resources::connectors(&mut walk).await;
    resources::environment(&mut walk).await;
    let endpoint = resources::endpoints(&mut walk, &app).await;
    traffic::traffic(&mut walk, &app, &endpoint).await;
    traffic::polling(&mut walk).await;
    usage::usage(&mut walk, &app).await;
    told::told(&mut walk).await;
    resources::integrations(&mut walk, &app).await;
    resources::authentication(&mut walk, &app, &endpoint).await;

    let (version, every) = sdk();
    let (left_out, offered): (Vec<_>, Vec<_>) = every.iter().map(String::as_str).partition(|name| {
        let resource = name.split('.').next().expect("a resource");
        NOT_OFFERED_RESOURCES.contains(&resource) || NOT_OFFERED.contains(name)
    });
    assert_eq!(walk.walked.iter().copied().collect::<Vec<_>>(), offered, "walked, and offered by the list");
    println!("rust svix {version}: {} operations covered, {} not offered", offered.len(), left_out.len());
}
