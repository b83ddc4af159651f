//! What makes a message quick: what need not wait does not, a whole batch is in flight at once, and
//! connections are used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorFuture};
use deliver::Deliver;
use local::Settings;
use serde_json::json;
use shared::config::Env;
use svix::models::MessageIn;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use crate::api::sdk_interceptor::between;
use crate::test_stack::{TestStack, settings, soon};

/// A receiver that counts connections, and answers when `together` requests wait for their answer.
struct Counting {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Counting {
    async fn start(together: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let (connections, barrier) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(together)));
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(stream, barrier.clone()));
            }
        });
        Self { url, connections }
    }
}

async fn answer(stream: TcpStream, barrier: Arc<Barrier>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).await.expect("a whole body");
        barrier.wait().await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("it is written");
    }
}

/// A stack whose queues are worked on by hand, with one connected `deliver`.
async fn stack() -> (TestStack, Deliver) {
    let stack = TestStack::with(Settings { poll: false, ..settings() }).await;
    let variables = stack.stack.environment("deliver").expect("its environment").clone();
    let env = Env::new(|name| variables.get(name).cloned());
    let deliver = Deliver::connect(&env, stack.stack.platform()).expect("it connects");
    (stack, deliver)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_claimed_while_the_application_is_read() {
    let mut settings = settings();
    settings.sockets = true;
    // Neither reading nor claiming is answered before the other is asked, too.
    let (asked, armed) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let arm = armed.clone();
    settings.platform.http = between(settings.platform.http.clone(), move |inner, request| {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let claims = request.body().bytes().is_some_and(|body| body.windows(5).any(|some| some == b"IDEM#"));
        let reads = target.ends_with(".GetItem") || target.ends_with(".Query");
        let waits = armed.load(Ordering::Relaxed) && (claims || reads);
        let (asked, answer) = (asked.clone(), inner.call(request));
        HttpConnectorFuture::new(async move {
            if waits {
                asked.wait().await;
            }
            answer.await
        })
    });
    let stack = TestStack::with(Settings { poll: false, ..settings }).await;
    let app = stack.app().await;
    let (path, body) = (format!("/api/v1/app/{app}/msg"), r#"{"eventType":"a","payload":{}}"#);
    arm.store(true, Ordering::Relaxed);
    let key = [("idempotency-key", "k")];
    let answer = soon("the answer", stack.request_with("POST", &path, &stack.token, &key, body)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_in_flight_all_at_once() {
    let (stack, deliver) = stack().await;
    // None of them answers before all of them are asked.
    let receiver = Counting::start(10).await;
    let app = stack.app().await;
    for _ in 0..10 {
        stack.endpoint(&app, &receiver.url).await;
    }
    stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    let batch = stack.receive("DeliveriesQueue").await;
    assert_eq!(batch.records.len(), 10);
    let before = stack.stack.ledger();
    let answer = soon("the batch", deliver.handle(batch)).await;
    assert!(answer.batch_item_failures.is_empty());
    // A state each, with the attempt inside: all of them were delivered.
    let written = stack.stack.ledger().since(&before).total(|call| call.on == "log");
    assert_eq!((written.write_units, receiver.connections.load(Ordering::Relaxed)), (10.0, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_by_later_invocations() {
    let (stack, deliver) = stack().await;
    let receiver = Counting::start(1).await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url).await;
    for _ in 0..5 {
        stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
        let batch = stack.receive("DeliveriesQueue").await;
        assert!(deliver.handle(batch).await.batch_item_failures.is_empty());
    }
    assert_eq!(receiver.connections.load(Ordering::Relaxed), 1);
}
