//! The local runner's own manners: connections, browsers, slow clients, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use shared::clock::{Clock as _, SystemClock};
use shared::draining::Draining;
use svix::models::MessageIn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::operations::idle::Fast;
use crate::test_stack::{Receiver, Still, TestStack, settings, soon};

async fn connect(stack: &TestStack) -> TcpStream {
    TcpStream::connect(stack.stack.address()).await.expect("a connection")
}

/// Sends a text over a connection, and reads until the answer has this in it, or the connection's end.
async fn exchange(stream: &mut TcpStream, text: &str, until: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("it is sent");
    let (mut answer, mut bytes) = (String::new(), [0; 1024]);
    while !answer.contains(until) {
        match soon("an answer", stream.read(&mut bytes)).await.expect("it can be read") {
            0 => break,
            read => answer += std::str::from_utf8(&bytes[..read]).expect("text"),
        }
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_sent_all_of_a_request_may_close_its_half() {
    let stack = TestStack::start().await;
    let body = json!({"name": "half closed"}).to_string();
    let mut stream = connect(&stack).await;
    let request = format!(
        "POST /api/v1/app HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        stack.token,
        body.len(),
    );
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    stream.shutdown().await.expect("its half is closed");
    let answer = exchange(&mut stream, "", "half closed").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

const HEALTH: &str = "GET /api/v1/health HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_idle_connections_make_room_for_requests() {
    const MOST: usize = 8;
    let mut settings = settings();
    settings.connections_max = MOST;
    let stack = TestStack::with(settings).await;
    let began = SystemClock.now();

    // A request that is in progress: half of its body is there.
    let mut working = connect(&stack).await;
    let body = json!({"name": "in progress"}).to_string();
    let head = format!(
        "POST /api/v1/app HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        stack.token,
        body.len(),
    );
    exchange(&mut working, &head, "100 Continue").await;

    let mut silent = Vec::new();
    for _ in 0..4 * MOST {
        silent.push(connect(&stack).await);
    }
    let mut kept = Vec::new();
    for _ in 0..4 * MOST {
        let mut stream = connect(&stack).await;
        let answer = exchange(&mut stream, HEALTH, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        kept.push(stream);
    }
    // Half of the time after which a silent connection goes by itself.
    assert!(SystemClock.now().since(began) < Duration::from_secs(15), "requests waited for silent clients");

    // Whoever waited longest went first, and nobody else.
    for (at, stream) in kept.iter_mut().enumerate() {
        let stays = at > 3 * MOST;
        if stays {
            let answer = exchange(stream, HEALTH, "\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 204 "), "{at}: {answer}");
        } else {
            let mut rest = Vec::new();
            let closed = soon("its end", stream.read_to_end(&mut rest)).await;
            assert!(closed.is_err() || rest.is_empty(), "{at}");
        }
    }
    let answer = exchange(&mut working, &body, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    stack.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_a_408() {
    let clock = Fast::default();
    let mut settings = settings();
    settings.platform.clock = Arc::new(clock.clone());
    let stack = TestStack::with(settings).await;
    clock.set_pace(20);
    let mut stream = connect(&stack).await;
    let request = format!(
        "POST /api/v1/app HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\n{{",
        stack.token
    );
    let answer = exchange(&mut stream, &request, "}").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.contains("did not arrive within 10 s") && answer.contains("connection: close"),
        "{answer}"
    );
    clock.set_pace(1);
    stack.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_answered_as_api_gateway_does() {
    const PAGE: &str = "https://app.example";
    let mut settings = settings();
    settings.cors_origins = vec![PAGE.to_owned()];
    let stack = TestStack::with(settings).await;
    let preflight = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,svix-req-id"),
    ];
    let answer = stack.request_with("OPTIONS", "/api/v1/app", "", &preflight, "").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
    let allowed = answer.headers["access-control-allow-headers"].to_str().expect("text");
    for header in ["authorization", "content-type", "idempotency-key", "svix-req-id", "svix-retry-count"] {
        assert!(allowed.split(',').any(|name| name == header), "{allowed}");
    }

    let answer = stack.request_with("GET", "/api/v1/app", &stack.token, &[("origin", PAGE)], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
    assert_eq!(answer.headers["access-control-expose-headers"], "retry-after");
    let other = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let answer = stack.request_with("OPTIONS", "/api/v1/app", "", &other, "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    stack.stack.stop().await;
}

/// A receiver that answers nobody, and how many have asked.
async fn hanging() -> (SocketAddr, Arc<AtomicUsize>, Arc<Notify>) {
    let (count, arrived) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, notified) = (count.clone(), arrived.clone());
    let handler = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        notified.notify_one();
        std::future::pending::<()>()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, count, arrived)
}

async fn wait_for(count: &AtomicUsize, arrived: &Notify, number: usize) {
    while count.load(Ordering::Relaxed) < number {
        soon("a webhook", arrived.notified()).await;
    }
}

async fn messages(stack: &TestStack, app: &str, number: usize) {
    let messages = vec![json!({"eventType": "a.b", "payload": {}}); number];
    let path = format!("/api/v1/app/{app}/msg/batch");
    let body = json!({ "messages": messages }).to_string();
    let answer = stack.request("POST", &path, &stack.token, body).await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_begins_no_delivery() {
    let mut settings = settings();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let (address, count, arrived) = hanging().await;
    let app = stack.app().await;
    stack.endpoint(&app, &format!("http://{address}/")).await;
    messages(&stack, &app, 10).await;
    let event = stack.receive("DeliveriesQueue").await;
    assert_eq!(event.records.len(), 10);

    let (stop, stopped) = watch::channel(false);
    let variables = stack.stack.environment("deliver").expect("its environment").clone();
    let env = shared::config::Env::new(|name| variables.get(name).cloned());
    let platform = shared::Platform { draining: Draining::when(stopped), ..stack.stack.platform().clone() };
    let function = deliver::Deliver::connect(&env, &platform).expect("it connects");
    // Five at a time go to one endpoint; the others wait for them.
    let end = async {
        wait_for(&count, &arrived, 5).await;
        stop.send_replace(true);
    };
    let (answer, ()) = tokio::join!(function.handle(event), end);
    assert_eq!((answer.batch_item_failures.len(), count.load(Ordering::Relaxed)), (5, 5));
    stack.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_one_deadline_and_says_for_what() {
    let stack = TestStack::with(settings().with("POSTRIDER_DELIVERY_TIMEOUT", "4")).await;
    stack.leaves_jobs();
    let app = stack.app().await;
    let (address, count, arrived) = hanging().await;
    stack.endpoint(&app, &format!("http://{address}/")).await;
    messages(&stack, &app, 20).await;
    wait_for(&count, &arrived, 5).await;
    let progress = stack.stack.in_progress();
    let waiting = progress.now();
    let [("deliver", number)] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert!(*number >= 5, "{waiting:?}");
    let began = SystemClock.now();
    stack.stack.stop().await;
    let took = SystemClock.now().since(began);
    assert!(took < Duration::from_secs(7), "{took:?}: two deadlines are eight seconds");
    assert_eq!(progress.now(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_receivers_hang_than_invocations_run_and_hold_up_nobody() {
    // `DeliveriesConcurrency` by its default, and some more.
    const HANGING: usize = 120;
    // Nothing runs into a deadline, and nobody learns that they hang.
    let mut settings = settings();
    settings.platform.clock = Arc::new(Still::default());
    let stack = TestStack::with(settings).await;
    stack.leaves_jobs();
    let (hangs, count, arrived) = hanging().await;
    let mut receiver = Receiver::start().await;
    let (theirs, app) = (stack.app().await, stack.app().await);
    stack.endpoint(&theirs, &format!("http://{hangs}/")).await;
    stack.endpoint(&app, &receiver.url("/")).await;
    // One after the other, so that each has an invocation of its own.
    for nth in 0..HANGING {
        stack.message(&theirs, MessageIn::new("a".into(), json!({}))).await;
        wait_for(&count, &arrived, nth + 1).await;
    }
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    assert_eq!(receiver.next().await.header("webhook-id"), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_ends_with_the_exit_codes_of_other_commands() {
    let stack = TestStack::start().await;
    let url = stack.stack.url();
    let code = async |url: &str, token: &str| {
        let line = ["postrider", "audit", "--url", url, "--token", token].map(std::ffi::OsString::from);
        local::runner::run_line(line.into_iter()).await
    };
    assert_eq!(code(&url, &stack.token).await, 0);
    assert_eq!(code(&url, "x.y.z").await, 1);
    assert_eq!(code("example.com", &stack.token).await, 2);
    // Nobody listens there.
    assert_eq!(code("http://127.0.0.1:9", &stack.token).await, 3);
}
