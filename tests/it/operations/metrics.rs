//! What the functions count, read where Prometheus reads it.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::json;
use svix::models::MessageIn;

use crate::test_stack::{Receiver, TestStack, settings};

/// The values of `/metrics`, by series.
async fn scrape(stack: &TestStack) -> BTreeMap<String, f64> {
    let answer = stack.request("GET", "/metrics", "", "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let values = answer.text.lines().filter(|line| !line.starts_with('#'));
    values
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and its value");
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_failures_and_disabled_endpoints_are_counted() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "1")).await;
    stack.leaves_dead_letters();
    let zero = scrape(&stack).await;
    for series in [
        r#"postrider_accepted_total{function="messages"}"#,
        r#"postrider_delivered_total{function="deliver"}"#,
        r#"postrider_disabled_total{function="deliver"}"#,
        r#"postrider_accept_to_first_attempt_seconds_count{function="deliver"}"#,
        r#"postrider_dead_letters{queue="DeliveriesDeadQueue"}"#,
    ] {
        assert_eq!(zero.get(series), Some(&0.0), "{series}");
    }
    let works = Receiver::start().await;
    let fails = Receiver::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, String::new())).await;
    let gone = Receiver::answering(|_| (StatusCode::GONE, String::new())).await;
    let app = stack.app().await;
    for receiver in [&works, &works, &fails, &gone] {
        stack.endpoint(&app, &receiver.url("/")).await;
    }
    for nth in 0..2 {
        stack.message(&app, MessageIn::new("a".into(), json!({ "nth": nth }))).await;
        stack.idle().await;
    }
    stack.send("DeliveriesQueue", "no job of ours").await;
    stack.idle().await;
    assert_eq!(stack.run_timers().await, 0);

    let now = scrape(&stack).await;
    for (series, value) in [
        (r#"postrider_accepted_total{function="messages"}"#, 2.0),
        (r#"postrider_delivered_total{function="deliver"}"#, 4.0),
        // Two messages twice, and once the endpoint that is gone.
        (r#"postrider_failed_total{function="deliver"}"#, 5.0),
        (r#"postrider_retried_total{function="deliver"}"#, 2.0),
        (r#"postrider_disabled_total{function="deliver"}"#, 1.0),
        (r#"postrider_accept_to_first_attempt_seconds_count{function="deliver"}"#, 7.0),
        (r#"postrider_accept_to_first_attempt_seconds_bucket{function="deliver",le="+Inf"}"#, 7.0),
        (r#"postrider_timer_lag_seconds{function="timers"}"#, 0.0),
        (r#"postrider_dead_letters{queue="DeliveriesDeadQueue"}"#, 1.0),
        (r#"postrider_queue_messages{queue="DeliveriesDeadQueue",state="visible"}"#, 1.0),
        (r#"postrider_queue_messages{queue="RetriesQueue",state="in_flight"}"#, 0.0),
    ] {
        assert_eq!(now.get(series), Some(&value), "{series}");
    }
    assert!(!now.contains_key(r#"postrider_dead_letters{queue="RetriesQueue"}"#));
    assert!(now["postrider_dynamodb_write_units_total"] > zero["postrider_dynamodb_write_units_total"]);
    let sends = r#"postrider_sqs_requests_total{operation="send"}"#;
    assert!(now[sends] > zero[sends]);
    let longest = now[r#"postrider_accept_to_first_attempt_seconds_sum{function="deliver"}"#];
    assert!(longest > 0.0 && longest < 7.0 * 60.0, "{longest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_route_method_and_status() {
    let stack = TestStack::start().await;
    let (app, other) = (stack.app().await, stack.app().await);
    for path in
        [format!("/api/v1/app/{app}"), format!("/api/v1/app/{other}/"), "/api/v1/app/app_no".to_owned()]
    {
        stack.request("GET", &path, &stack.token, "").await;
    }
    stack.request("GET", &format!("/api/v1/app/{app}"), "", "").await;
    stack.request("BREW", "/no/such/path", &stack.token, "").await;
    let now = scrape(&stack).await;
    let requests = |labels: &str| now.get(&format!("postrider_http_requests_total{{{labels}}}")).copied();
    for (labels, count) in [
        (r#"route="/api/v1/app",method="POST",status="201""#, 2.0),
        (r#"route="/api/v1/app/{app_id}",method="GET",status="200""#, 2.0),
        (r#"route="/api/v1/app/{app_id}",method="GET",status="404""#, 1.0),
        (r#"route="/api/v1/app/{app_id}",method="GET",status="401""#, 1.0),
        (r#"route="none",method="GET",status="404""#, 1.0),
    ] {
        assert_eq!(requests(labels), Some(count), "{labels}");
    }
    let count = r#"postrider_http_request_seconds_count{route="/api/v1/app/{app_id}",method="GET"}"#;
    assert_eq!(now[count], 4.0);
    // No path of a customer is a label.
    assert!(now.keys().all(|series| !series.contains(&app)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_counts_once_and_a_refused_one_not_at_all() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}/msg");
    let key = [("idempotency-key", "one")];
    for (headers, body, status) in [
        (&key[..], r#"{"eventType":"a","payload":{}}"#, StatusCode::ACCEPTED),
        (&key[..], r#"{"eventType":"a","payload":{}}"#, StatusCode::ACCEPTED),
        (&[], r#"{"eventType":"a"}"#, StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = stack.request_with("POST", &path, &stack.token, headers, body).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    let accepted = scrape(&stack).await[r#"postrider_accepted_total{function="messages"}"#];
    assert!((accepted - 1.0).abs() < f64::EPSILON, "{accepted}");
}
