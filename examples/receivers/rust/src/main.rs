//! Receives webhooks, verifies each signature and skips duplicates.
//!
//! usage: `WEBHOOK_SECRET=whsec_… [PORT=9000] cargo run -p receiver-example`

use std::collections::HashSet;
use std::error::Error;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use clap::Parser;
use http::{HeaderMap, StatusCode};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

/// Receives webhooks and prints one line for each.
#[derive(Parser)]
struct Settings {
    /// The endpoint's secret, `whsec_…`.
    #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true)]
    secret: String,
    /// The port to listen on, on this machine alone.
    #[arg(long, env = "PORT", default_value_t = 9000)]
    port: u16,
}

struct Receiver {
    webhook: Webhook,
    /// In a real receiver: a unique column beside what the event changes.
    seen: Mutex<HashSet<String>>,
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    // The raw body, before anything parses it.
    if receiver.webhook.verify(&body, &headers).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    let message = headers["webhook-id"].to_str().unwrap_or_default(); // the same in every attempt
    let is_new = receiver.seen.lock().is_ok_and(|mut seen| seen.insert(message.to_owned()));
    if is_new {
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let _ = writeln!(std::io::stdout(), "received {} {message}", event["id"].as_str().unwrap_or("?"));
    }
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::parse();
    let webhook = Webhook::new(&settings.secret)?;
    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
    let receiver = Arc::new(Receiver { webhook, seen: Mutex::default() });
    axum::serve(listener, Router::new().fallback(post(receive)).with_state(receiver)).await?;
    Ok(())
}
