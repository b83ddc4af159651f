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
    let resumed = good(&["endpoint", "resume", &endpoint]).await;
    assert!(
        resumed.contains(&format!("`postrider recover {endpoint} --app {app} --all --since TIME`")),
        "{resumed}"
    );
    down.store(false, Ordering::SeqCst);
    let ended = run(&["recover", &endpoint, "--since", "1h"], &variables).await;
    assert!(ended.code == 2 && ended.err.contains("Resend 1 message to"), "{}", ended.err);
    assert!(good(&["recover", &endpoint, "--since", "1h", "--yes"]).await.contains("finished"));
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    let nothing = good(&["recover", &endpoint, "--since", "1h", "--yes"]).await;
    assert!(nothing.contains("Nothing to send: no message of that window failed"), "{nothing}");
    let sent = good(&["recover", &endpoint, "--since", "1h", "--missing", "--yes"]).await;
    assert!(sent.contains("Resending 1 message to") && sent.contains("finished"), "{sent}");
    assert_eq!(receiver.next().await.header("webhook-id"), missed);
    stack.idle().await;
    let nothing = good(&["recover", &endpoint, "--since", "1h", "--missing", "--yes"]).await;
    assert!(nothing.contains("Nothing to send: no message of that window was never sent"), "{nothing}");
    assert!(!good(&["undelivered"]).await.contains(&id));
    assert!(good(&["task", "list"]).await.contains("endpoint.recover"));

    good(&["message", "delete", &id, "--yes"]).await;
    let message: Value = serde_json::from_str(&good(&["message", "get", &id]).await).expect("JSON");
    assert_eq!(message["payload"], json!({"expired": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_one_command_sends_what_failed_and_what_was_never_sent() {
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
    let post = async || stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    let failed = post().await;
    receiver.next().await;
    stack.idle().await;
    run(&["endpoint", "pause", &endpoint], &variables).await;
    let missed = [post().await, post().await];
    stack.idle().await;
    down.store(false, Ordering::SeqCst);
    run(&["endpoint", "resume", &endpoint], &variables).await;
    let ended = run(&["recover", &endpoint, "--since", "1h", "--all", "--yes"], &variables).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let says = format!("Resending 1 message that failed and 2 messages that it was never sent to {endpoint}");
    assert!(ended.out.contains(&says) && ended.out.matches("finished").count() == 2, "{}", ended.out);
    // What failed comes first.
    assert_eq!(receiver.next().await.header("webhook-id"), failed);
    let mut sent = Vec::new();
    for _ in &missed {
        sent.push(receiver.next().await.header("webhook-id").to_owned());
    }
    sent.sort();
    assert_eq!(sent, missed);
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    let ended = run(&["recover", &endpoint, "--since", "1h", "--all", "--missing"], &variables).await;
    assert_eq!(ended.code, 2, "{}", ended.err);
}

/// A server that is away for a while: `tail` goes on where it was, and prints each attempt once.
#[tokio::test(flavor = "multi_thread")]
async fn tail_waits_for_a_server_that_restarts() {
    let now = json!(shared::clock::Clock::now(&shared::clock::SystemClock).to_string());
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let server = Receiver::answering(move |request| {
        let list = |data: Value| (StatusCode::OK, json!({"data": data, "done": true}).to_string());
        let attempt = |id: &str| json!({"id": id, "msgId": id, "timestamp": now, "status": 0});
        let path = request.path.split('?').next().unwrap_or_default();
        match path.strip_prefix("/api/v1").unwrap_or_default() {
            "/app/a" => (StatusCode::OK, json!({"id": "app_1"}).to_string()),
            "/app/app_1/endpoint" => list(json!([{"id": "ep_1", "url": "http://a/"}])),
            "/app/app_1/attempt/endpoint/ep_1" => match looks.fetch_add(1, Ordering::SeqCst) {
                0 => list(json!([attempt("atmpt_1")])),
                1 => (StatusCode::SERVICE_UNAVAILABLE, "<html>restarting</html>".into()),
                _ => list(json!([attempt("atmpt_2"), attempt("atmpt_1")])),
            },
            _ => (StatusCode::NO_CONTENT, String::new()),
        }
    })
    .await;
    let url = server.url("");
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", "t")];
    let mut process = started(&["tail", "--app", "a", "--since", "1h", "--json"], &variables);
    let out = process.stdout.take().expect("its output");
    let lines = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        lines.filter(|line| line.starts_with('{')).take(2).collect::<Vec<_>>()
    });
    let lines = soon("two attempts", lines).await.expect("lines");
    process.kill().expect("it can be ended");
    let ended = tokio::task::spawn_blocking(move || process.wait_with_output());
    let err = String::from_utf8(ended.await.expect("it ends").expect("its output").stderr).expect("text");
    let ids: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].clone()).collect();
    assert_eq!(ids, ["atmpt_1", "atmpt_2"]);
    assert!(err.contains("503 Service Unavailable") && err.contains("Trying again"), "{err}");
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
