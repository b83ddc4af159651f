//! What an operator does during an outage and after it.

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value, json};
use svix::models::MessageIn;
use tokio::sync::mpsc;

use super::{run, started};
use crate::test_stack::{Receiver, TestStack, settings, soon};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_listed_and_recovered() {
    // No retries: what fails is given up at once.
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let down = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&down);
    let mut receiver = Receiver::answering(move |_| {
        let status = if failing.load(Ordering::SeqCst) { 500 } else { 204 };
        (StatusCode::from_u16(status).expect("a status"), String::new())
    })
    .await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let good = async |words: &[&str]| {
        let ended = run(words, &variables).await;
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.err);
        ended.out
    };
    let id = stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    receiver.next().await;
    stack.idle().await;
    assert!(good(&["undelivered"]).await.contains(&id));
    let one: Value =
        serde_json::from_str(&good(&["undelivered", "--app", &app, "--json"]).await).expect("a line");
    assert_eq!((&one["msgId"], &one["endpointId"]), (&json!(id), &json!(endpoint)));

    // Paused, it gets nothing.
    good(&["endpoint", "pause", &endpoint]).await;
    let missed = stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    good(&["endpoint", "resume", &endpoint]).await;
    down.store(false, Ordering::SeqCst);
    let ended = run(&["recover", &endpoint, "--since", "1h"], &variables).await;
    assert!(ended.code == 2 && ended.err.contains("Resend 1 message to"), "{}", ended.err);
    assert!(good(&["recover", &endpoint, "--since", "1h", "--yes"]).await.contains("finished"));
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    assert!(good(&["recover", &endpoint, "--since", "1h", "--missing", "--yes"]).await.contains("finished"));
    assert_eq!(receiver.next().await.header("webhook-id"), missed);
    stack.idle().await;
    assert!(!good(&["undelivered"]).await.contains(&id));
    assert!(good(&["task", "list"]).await.contains("endpoint.recover"));

    good(&["message", "delete", &id, "--yes"]).await;
    let message: Value = serde_json::from_str(&good(&["message", "get", &id]).await).expect("JSON");
    assert_eq!(message["payload"], json!({"expired": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_printed_once_as_they_happen() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let mut post = async || {
        let id = stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
        receiver.next().await;
        stack.idle().await;
        id
    };
    let first = post().await;
    let mut process = started(&["tail", "--app", &app, "--since", "1h", "--json"], &variables);
    let out = BufReader::new(process.stdout.take().expect("its output"));
    let (tell, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok).filter(|line| line.starts_with('{')) {
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if tell.send(line["msgId"].as_str().map(str::to_owned)).is_err() {
                return;
            }
        }
    });
    assert_eq!(soon("a line", lines.recv()).await, Some(Some(first)));
    // What was printed comes again with every look, and is not printed again.
    for _ in 0..2 {
        let id = post().await;
        assert_eq!(soon("a line", lines.recv()).await, Some(Some(id)));
    }
    process.kill().expect("it can be ended");
    process.wait().expect("it ends");
}
