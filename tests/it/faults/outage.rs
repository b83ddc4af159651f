//! DynamoDB out of reach for an hour: nothing is accepted that would be lost, nothing becomes a dead
//! letter, and what was under way goes on by itself when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorFuture, SharedHttpClient};
use aws_smithy_runtime_api::client::result::ConnectorError;
use http::StatusCode;
use serde_json::json;
use shared::config::Env;
use svix::models::MessageIn;

use crate::api::sdk_interceptor::{between, hurried};
use crate::test_stack::{Ahead, ENDPOINT_VARIABLE, Receiver, TestStack, settings, soon};

/// Lets everything pass but requests to DynamoDB while that is down.
#[derive(Clone, Debug, Default)]
pub struct Outage {
    pub down: Arc<AtomicBool>,
    /// Whether it ever was.
    began: Arc<AtomicBool>,
    /// Requests that were refused, without those that look for timers: they come by themselves.
    pub refused: Arc<AtomicUsize>,
}

impl Outage {
    /// The client that goes through it.
    pub fn before(&self, inner: SharedHttpClient) -> SharedHttpClient {
        let (down, refused) = (self.down.clone(), self.refused.clone());
        between(inner, move |inner, request| {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            if target.starts_with("DynamoDB_") && down.load(Ordering::SeqCst) {
                let body = request.body().bytes().unwrap_or_default();
                if !body.windows(6).any(|some| some == b"TIMER#") {
                    refused.fetch_add(1, Ordering::SeqCst);
                }
                return HttpConnectorFuture::ready(Err(ConnectorError::io("connection refused".into())));
            }
            inner.call(request)
        })
    }
}

/// INV-3
impl Outage {
    /// Lets nobody receive retries before it began: where delays are cut, they would come before.
    fn retries_after(&self, inner: SharedHttpClient) -> SharedHttpClient {
        let began = self.began.clone();
        between(inner, move |inner, request| {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let body = request.body().bytes().unwrap_or_default();
            let retries = body.windows(7).any(|some| some.eq_ignore_ascii_case(b"retries"));
            if !target.ends_with(".ReceiveMessage") || !retries {
                return inner.call(request);
            }
            let (inner, began) = (inner.clone(), began.clone());
            HttpConnectorFuture::new(async move {
                while !began.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                inner.call(request).await
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_resume_by_themselves_after_an_hour_without_dynamodb() {
    const HELD: usize = 8;
    let clock = Arc::new(Ahead::default());
    let mut ahead = settings().with("POSTRIDER_RETRY_SCHEDULE", "300,300");
    // In between is where sockets are.
    ahead.sockets = true;
    let outage = Outage::default();
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        ahead.platform.http = outage.retries_after(hurried(ahead.platform.http));
    }
    ahead.platform.http = outage.before(ahead.platform.http.clone());
    let Outage { down, refused, began } = outage;
    ahead.platform.clock = clock.clone();
    let stack = TestStack::with(ahead).await;
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let mut receiver = Receiver::answering(move |_| {
        let code =
            if answers.load(Ordering::SeqCst) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (code, String::new())
    })
    .await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let mut messages = Vec::new();
    for nth in 0..HELD {
        messages.push(stack.message(&app, MessageIn::new("a".into(), json!({"nth": nth}))).await);
    }
    for _ in 0..HELD {
        receiver.next().await;
    }
    soon("the first attempts on record", async {
        for message in &messages {
            while stack.attempts(&app, message).await.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;

    down.store(true, Ordering::SeqCst);
    began.store(true, Ordering::SeqCst);
    works.store(true, Ordering::SeqCst);
    let path = format!("/api/v1/app/{app}/msg");
    let answer = stack.request("POST", &path, &stack.token, r#"{"eventType":"a","payload":{}}"#).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("service_unavailable"))
    );
    // An hour, in which the retries come due and come back again and again.
    for _ in 0..12 {
        let before = refused.load(Ordering::SeqCst);
        clock.skip(Duration::from_secs(300));
        stack.stack.wake();
        soon("a job that fails", async {
            while refused.load(Ordering::SeqCst) < before + 3 {
                clock.skip(Duration::from_secs(1));
                stack.stack.wake();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    assert_eq!(receiver.rest().len(), 0);
    down.store(false, Ordering::SeqCst);
    soon("all of them", async {
        let mut arrived = std::collections::BTreeSet::new();
        while arrived.len() < HELD {
            clock.skip(Duration::from_secs(60));
            stack.stack.wake();
            arrived.extend(receiver.rest().iter().map(|webhook| webhook.header("webhook-id").to_owned()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(messages.iter().all(|message| arrived.contains(message)));
    })
    .await;
    // A job whose attempt arrived may have run out of the time that was skipped before its state was moved: it comes back.
    soon("the end of their jobs", async {
        while stack.stack.waiting().await.expect("the queues answer") > 0 {
            clock.skip(Duration::from_secs(60));
            stack.stack.wake();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for queue in ["DeliveriesDeadQueue", "RetriesDeadQueue", "BackgroundDeadQueue"] {
        let url = &stack.stack.queue(queue).expect("a queue of the template").url;
        let counts = stack.stack.sqs().get_queue_attributes().queue_url(url);
        let counts =
            counts.attribute_names(aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages);
        let counts = counts.send().await.expect("counts").attributes.unwrap_or_default();
        assert_eq!(counts.into_values().collect::<Vec<_>>(), ["0"], "{queue}");
    }
    for message in &messages {
        let states: Vec<i64> =
            stack.attempts(&app, message).await.iter().map(|attempt| attempt.status as i64).collect();
        assert_eq!(states, [0, 2], "{message}");
    }
}
