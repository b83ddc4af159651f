//! What is watched and checked: `tail` with its filters, `doctor` with an origin.

use std::io::{BufRead as _, BufReader};

use http::StatusCode;
use serde_json::{Value, json};
use svix::models::MessageIn;

use super::{run, started};
use crate::test_stack::{Receiver, TestStack, settings, soon};

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_only_what_its_filters_ask_for() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let mut good = Receiver::start().await;
    let mut bad = Receiver::answering(|_| (StatusCode::IM_A_TEAPOT, String::new())).await;
    let app = stack.app().await;
    stack.endpoint(&app, &good.url("/good")).await;
    let failing = stack.endpoint(&app, &bad.url("/bad")).await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let mut ids = Vec::new();
    for name in ["invoice.paid", "invoice.sent", "invoice.paid"] {
        ids.push(stack.message(&app, MessageIn::new(name.into(), json!({}))).await);
        good.next().await;
        bad.next().await;
    }
    stack.idle().await;
    let words = ["tail", "--app", &app, "--failing", "--type", "invoice.paid", "--since", "1h", "--json"];
    let mut process = started(&words, &variables);
    let out = process.stdout.take().expect("its output");
    let lines = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        lines.filter(|line| line.starts_with('{')).take(2).collect::<Vec<_>>()
    });
    let lines = soon("two attempts", lines).await.expect("lines");
    process.kill().expect("it can be ended");
    process.wait().expect("it ends");
    let attempts: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let seen: Vec<_> = attempts.iter().map(|attempt| attempt["msgId"].as_str().expect("an id")).collect();
    assert_eq!(seen, [&ids[0], &ids[2]], "the failed attempts of one type, the oldest first");
    for attempt in &attempts {
        assert_eq!(
            (&attempt["endpointId"], &attempt["responseStatusCode"]),
            (&json!(failing.id), &json!(418))
        );
        assert_eq!(attempt["msg"]["eventType"], "invoice.paid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_whether_pages_of_an_origin_may_call() {
    let mut settings = settings();
    settings.cors_origins = vec!["https://app.example.com".into()];
    let stack = TestStack::with(settings).await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let allowed = run(&["doctor", "--origin", "https://app.example.com"], &variables).await;
    assert_eq!(allowed.code, 0, "{}{}", allowed.out, allowed.err);
    assert!(allowed.out.contains("pages of https://app.example.com may call the API"), "{}", allowed.out);
    let foreign = run(&["doctor", "--origin", "https://elsewhere.example.com"], &variables).await;
    assert_eq!(foreign.code, 1, "{}", foreign.out);
    assert!(
        foreign.out.contains("pages of https://elsewhere.example.com may not call the API"),
        "{}",
        foreign.out
    );
    assert!(foreign.out.contains("CorsOrigins"), "it says what to do: {}", foreign.out);
    for none in ["app.example.com", "https://app.example.com/path", "*"] {
        let refused = run(&["doctor", "--origin", none], &variables).await;
        assert_eq!(refused.code, 2, "{none}: {}", refused.err);
        assert!(refused.err.contains("expected https://app.example.com"), "{none}: {}", refused.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_became_of_a_test_message_at_each_endpoint() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let good = Receiver::start().await;
    let bad = Receiver::answering(|_| (StatusCode::BAD_GATEWAY, "\u{1b}[2Jbroken".into())).await;
    // Nobody listens there.
    let gone = "http://127.0.0.1:9/";
    let app = stack.app().await;
    let fine = stack.endpoint(&app, &good.url("/good")).await.id;
    let failing = stack.endpoint(&app, &bad.url("/bad").replace("http://", "http://user:secret@")).await.id;
    let refused = stack.endpoint(&app, gone).await.id;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let ended = run(&["doctor", "--deliver", &app], &variables).await;
    assert!(ended.code == 1 && ended.err.contains("2 checks failed"), "{}{}", ended.out, ended.err);
    for text in [
        format!("a test message was delivered to {fine} {} (204)", good.url("/good")),
        format!(
            "{failing} {}: a test message was answered with 502: ?[2Jbroken",
            bad.url("/bad").replace("http://", "http://***@")
        ),
        format!("{refused} {gone}: a test message got no response: "),
        format!("`postrider tail --app {app} --endpoint {refused} --failing`"),
    ] {
        assert!(ended.out.contains(&text), "{text}: {}", ended.out);
    }
    assert!(ended.out.to_lowercase().contains("refused") && !ended.out.contains("secret"), "{}", ended.out);
    let empty = stack.app().await;
    let ended = run(&["doctor", "--deliver", &empty], &variables).await;
    assert!(ended.code == 1 && ended.out.contains("goes to no endpoint"), "{}", ended.out);
}
