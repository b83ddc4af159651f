//! Responses that go wrong after their head: what the head said counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use shared::clock::Timestamp;
use svix::models::{EndpointIn, MessageIn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::test_stack::{Receiver, TestStack, settings, soon};

/// How a body goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Body {
    BreaksOff,
    IsReset,
    IsWronglyChunked,
    BreaksOffInAChunk,
    Drips,
}

const BODIES: [Body; 5] =
    [Body::BreaksOff, Body::IsReset, Body::IsWronglyChunked, Body::BreaksOffInAChunk, Body::Drips];

/// A receiver whose every response has that head and a body that goes wrong.
async fn receiver(head: &str, body: Body) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (framing, part) = match body {
        Body::BreaksOff | Body::IsReset | Body::Drips => ("content-length: 100", "part"),
        Body::IsWronglyChunked => ("transfer-encoding: chunked", "4\r\npart\r\nwrong\r\n"),
        Body::BreaksOffInAChunk => ("transfer-encoding: chunked", "64\r\npart"),
    };
    let response = format!("HTTP/1.1 {head}\r\n{framing}\r\n\r\n{part}");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let response = response.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"{}") && stream.read_buf(&mut request).await.is_ok_and(|n| n > 0) {}
                stream.write_all(response.as_bytes()).await.expect("the response is written");
                match body {
                    // Until the other side has had enough.
                    Body::Drips => while stream.read_u8().await.is_ok() {},
                    Body::IsReset => {
                        // Once the part is there.
                        tokio::task::yield_now().await;
                        stream.set_zero_linger().expect("an open connection");
                    }
                    _ => {}
                }
            });
        }
    });
    format!("http://{address}/")
}

/// INV-17
#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_response_counts_although_its_body_fails() {
    let settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "600");
    let stack = TestStack::with(settings.with("POSTRIDER_DELIVERY_TIMEOUT", "5")).await;
    let app = stack.app().await;
    let heads = [
        ("200 OK", 200, 0),
        ("410 Gone", 410, 2),
        ("500 Error\r\nwebhook-delivery: abort-message", 500, 2),
        ("500 Error\r\nwebhook-delivery: disable", 500, 2),
        ("500 Error", 500, 3),
        ("503 Busy\r\nretry-after: 900", 503, 3),
    ];
    let mut endpoints = BTreeMap::new();
    for (head, code, status) in heads {
        for body in BODIES {
            let url = receiver(head, body).await;
            let endpoint = stack.endpoint_with(&app, EndpointIn::new(url)).await;
            endpoints.insert(endpoint.id, (head, code, status, body));
        }
    }
    let message = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    let path = format!("/api/v1/app/{app}/msg/{message}/endpoint?limit=100");
    let states = soon("an attempt each", async {
        loop {
            let page = stack.request("GET", &path, &stack.token, "").await.json();
            let states = page["data"].as_array().expect("a list").clone();
            // Sending is also what waits for its retry.
            if states.iter().all(|state| state["status"] != 3 || !state["nextAttempt"].is_null())
                && stack.attempts(&app, &message).await.len() == endpoints.len()
            {
                return states;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let states: BTreeMap<_, _> =
        states.iter().map(|state| (state["id"].as_str().expect("an id"), state)).collect();
    let attempts = stack.attempts(&app, &message).await;
    assert_eq!(attempts.len(), endpoints.len());
    for attempt in attempts {
        let (head, code, status, body) = endpoints[&attempt.endpoint_id];
        let case = format!("{head:?} {body:?}: {attempt:?}");
        assert_eq!(attempt.response_status_code, code, "{case}");
        let reason = match body {
            Body::Drips => "(the response was not complete within 5 seconds)",
            _ => "(the response ended before it was complete)",
        };
        // A reset may throw away what was not read yet.
        let whole = attempt.response == format!("part\n{reason}");
        assert!(whole || (body == Body::IsReset && reason.contains(&attempt.response)), "{case}");

        let state = states[attempt.endpoint_id.as_str()];
        assert_eq!(state["status"], status, "{case} {state}");
        let next = state["nextAttempt"].as_str().and_then(Timestamp::parse);
        assert_eq!(next.is_some(), status == 3, "{case} {state}");
        if let Some(next) = next.filter(|_| head.contains("retry-after")) {
            let wait = next.since(Timestamp::from_ms(attempt.timestamp.timestamp_millis().unsigned_abs()));
            assert!((900..960).contains(&wait.as_secs()), "{case}: {wait:?}");
        }
        let endpoint = stack.svix.endpoint().get(app.clone(), attempt.endpoint_id).await.expect("there");
        assert_eq!(endpoint.disabled, Some(code == 410 || head.contains("disable")), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_payload_has_a_length() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let body = r#"{"eventType":"a","payload":{},"transformationsParams":{"rawPayload":""}}"#;
    let answer = stack.request("POST", &format!("/api/v1/app/{app}/msg"), &stack.token, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let webhook = receiver.next().await;
    assert_eq!((webhook.header("content-length"), webhook.body.len()), ("0", 0));
    webhook.verify(&endpoint.secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_a_response_are_recorded() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let app = stack.app().await;
    let long = "x".repeat(3000);
    for head in ["200 OK", "500 No"] {
        let url = receiver(&format!("{head}\r\nX-Request-Id: 7\r\nlong: {long}"), Body::BreaksOff).await;
        stack.endpoint(&app, &url).await;
    }
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 2);
    for attempt in attempts {
        let path = format!("/api/v1/app/{app}/msg/{id}/attempt/{}/headers", attempt.id);
        let shown = stack.request("GET", &path, &stack.token, "").await.json();
        assert_eq!(shown["responseHeaders"], json!([["x-request-id", "7"], ["content-length", "100"]]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_shows_the_headers_that_were_sent_and_those_of_the_response() {
    let stack = TestStack::with(settings().with("POSTRIDER_HEADER_STYLE", "both")).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let url = receiver.url("/").replacen("http://", "http://me:pass@", 1);
    let headers = json!({"X-Own": "1", "X-Api-Key": "for your eyes only"});
    let body = json!({"url": url, "headers": headers}).to_string();
    let endpoint =
        stack.request("POST", &format!("/api/v1/app/{app}/endpoint"), &stack.token, body).await.json();
    let endpoint = endpoint["id"].as_str().expect("an id").to_owned();
    let body = r#"{"eventType":"a","payload":{},"transformationsParams":{"rawPayload":"x","headers":{"content-type":"text/plain"}}}"#;
    let message = stack.request("POST", &format!("/api/v1/app/{app}/msg"), &stack.token, body).await.json();
    let message = message["id"].as_str().expect("an id").to_owned();
    let webhook = receiver.next().await;
    stack.stack.idle().await;
    let attempt = stack.attempts(&app, &message).await.remove(0).id;
    let path = format!("/api/v1/app/{app}/msg/{message}/attempt/{attempt}/headers");
    let token = stack.stack.app_token(None, app.parse().unwrap());
    let shown = stack.request("GET", &path, &token, "").await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    let shown = shown.json();
    let sent: Vec<(String, String)> =
        serde_json::from_value(shown["sentHeaders"].clone()).expect("names and values");
    let masked = json!(["X-Api-Key", "authorization"]);
    assert_eq!(shown["sensitive"], masked, "{shown}");
    // Whatever arrived is there, but for what the connection adds, and nothing else.
    for (name, value) in &sent {
        let hidden = masked.as_array().unwrap().contains(&json!(name));
        let expected = if hidden { "********" } else { webhook.header(name) };
        assert_eq!(value, expected, "{name}");
    }
    let names = |all: Vec<&str>| all.into_iter().map(str::to_ascii_lowercase).collect::<BTreeSet<_>>();
    let mut arrived = names(webhook.headers.keys().map(|name| name.as_str()).collect());
    arrived.retain(|name| !["host", "content-length"].contains(&name.as_str()));
    assert_eq!(names(sent.iter().map(|(name, _)| name.as_str()).collect()), arrived);
    assert!(!shown.to_string().contains("eyes only") && !shown.to_string().contains("bWU6"), "{shown}");

    // Of what is gone there is what can still be told.
    stack.svix.message().expunge_content(app.clone(), message.clone()).await.unwrap();
    let names = async || {
        let shown = stack.request("GET", &path, &token, "").await.json();
        let sent: Vec<(String, String)> =
            serde_json::from_value(shown["sentHeaders"].clone()).expect("names");
        sent.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let left = names().await;
    assert!(left.contains(&"webhook-id".into()) && !left.contains(&"webhook-signature".into()), "{left:?}");
    stack.svix.endpoint().delete(app.clone(), endpoint).await.unwrap();
    assert!(!names().await.contains(&"X-Own".into()));
}
