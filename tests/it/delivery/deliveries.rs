//! The main journey and its branches: posted, delivered, retried, seen in the log.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::json;
use svix::models::{EndpointIn, MessageIn, MessageStatus};

use crate::test_stack::{Receiver, TestStack, settings, soon};

/// INV-18
#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_byte_for_byte_and_verified() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/hook?x=1")).await;

    // Through the SDK.
    let message = MessageIn::new("invoice.paid".into(), json!({"id": "inv_1", "sum": 12.5}));
    let id = stack.message(&app, message).await;
    let webhook = receiver.next().await;
    assert_eq!(webhook.path, "/hook?x=1");
    assert_eq!(webhook.body, r#"{"id":"inv_1","sum":12.5}"#);
    assert_eq!(webhook.header("webhook-id"), id);
    assert_eq!(webhook.header("content-type"), "application/json");
    assert!(webhook.header("user-agent").starts_with("Postrider/"));
    webhook.verify(&endpoint.secret);

    // With every freedom that JSON's grammar leaves.
    let payload = "{ \"b\" :\t1.00, \"a\":\"\\u00e9 é \\/\",\r\n \"n\": 12345678901234567890e-3 }";
    let path = format!("/api/v1/app/{app}/msg/");
    let body = format!("{{\"eventType\": \"a\", \"payload\": {payload} }}");
    let answer = stack.request("POST", &path, &stack.token, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert!(answer.text.contains(payload), "{}", answer.text);
    let webhook = receiver.next().await;
    assert_eq!(webhook.body, payload);
    webhook.verify(&endpoint.secret);

    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].response_status_code, attempts[0].status), (204, MessageStatus::Success));
    assert_eq!((&attempts[0].endpoint_id, &attempts[0].msg_id), (&endpoint.id, &id));
    let by_id = stack
        .svix
        .message_attempt()
        .get(app.clone(), id.clone(), attempts[0].id.clone(), None)
        .await
        .unwrap();
    assert_eq!((by_id.id, by_id.response), (attempts[0].id.clone(), attempts[0].response.clone()));
    let list = stack.svix.message_attempt().list_by_endpoint(app.clone(), endpoint.id, None).await.unwrap();
    assert_eq!(list.data.len(), 2);
    let listed = stack.svix.message().list(app, None).await.unwrap();
    assert_eq!(listed.data.len(), 2);
    assert_eq!(listed.data[1].id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_the_endpoints() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    for name in ["invoice.paid", "user.signup"] {
        stack.event_type(name).await;
    }
    let set = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    for (path, event_types, channels) in [
        ("/paid", set(&["invoice.paid"]), None),
        ("/signup", set(&["user.signup"]), None),
        ("/north", None, set(&["north"])),
    ] {
        let endpoint = EndpointIn { event_types, channels, ..EndpointIn::new(receiver.url(path)) };
        stack.endpoint_with(&app, endpoint).await;
    }
    let disabled = EndpointIn { disabled: Some(true), ..EndpointIn::new(receiver.url("/disabled")) };
    stack.endpoint_with(&app, disabled).await;

    let mut arrived = async |event_type: &str, channels: Option<&[&str]>| {
        let channels = channels.and_then(set);
        let message = MessageIn { channels, ..MessageIn::new(event_type.into(), json!({})) };
        stack.message(&app, message).await;
        stack.idle().await;
        let mut paths: Vec<_> = receiver.rest().into_iter().map(|webhook| webhook.path).collect();
        paths.sort();
        paths
    };
    assert_eq!(arrived("invoice.paid", None).await, ["/paid"]);
    assert_eq!(arrived("user.signup", Some(&["south", "north"])).await, ["/north", "/signup"]);
    assert_eq!(arrived("of.no.type", Some(&["south"])).await, Vec::<String>::new());
}

/// INV-11
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_receiver_is_tried_again_by_the_schedule() {
    let stack = TestStack::start().await;
    let calls = AtomicU32::new(0);
    let mut receiver = Receiver::answering(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, "broken".into()),
        1 => (StatusCode::FOUND, "elsewhere".into()),
        _ => (StatusCode::OK, "thanks".into()),
    })
    .await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({"n": 1}))).await;
    let mut timestamps = Vec::new();
    for _ in 0..3 {
        let webhook = receiver.next().await;
        assert_eq!(webhook.header("webhook-id"), id);
        webhook.verify(&endpoint.secret);
        timestamps.push(webhook.header("webhook-timestamp").parse::<u64>().unwrap());
    }
    assert!(timestamps.is_sorted(), "{timestamps:?}");
    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    let seen: Vec<_> =
        attempts.iter().map(|a| (a.response_status_code, a.response.as_str(), a.status)).collect();
    assert_eq!(
        seen,
        [
            (200, "thanks", MessageStatus::Success),
            (302, "elsewhere", MessageStatus::Fail),
            (500, "broken", MessageStatus::Fail),
        ]
    );
    assert_eq!(receiver.rest().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_too_much_to_do_is_left_alone_for_a_minute() {
    let stack = TestStack::with(settings().with("POSTRIDER_DELIVERY_TIMEOUT", "1")).await;
    let app = stack.app().await;
    let mut busy = Receiver::answering(|_| (StatusCode::TOO_MANY_REQUESTS, String::new())).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    stack.endpoint(&app, &busy.url("/")).await;
    stack.endpoint(&app, &format!("http://{}/", silent.local_addr().unwrap())).await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    busy.next().await;
    // Both second attempts wait in the queue.
    let states = async || {
        let scan = stack.stack.dynamodb().scan().table_name(stack.stack.table("LogTable").unwrap()).send();
        let items = scan.await.unwrap().items.unwrap_or_default();
        let number = |item: &std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>,
                      name: &str| {
            item.get(name).map_or(0, |value| value.as_n().unwrap().parse::<u64>().unwrap())
        };
        let attempts = items.iter().filter(|item| item["sk"].as_s().unwrap().starts_with("ATT#"));
        attempts.map(|item| number(item, "nx") - number(item, "at")).collect::<Vec<_>>()
    };
    let waits = soon("two attempts", async {
        loop {
            match states().await {
                waits if waits.len() == 2 => return waits,
                _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    assert!(waits.iter().all(|wait| *wait >= 60_000), "{waits:?}");
    assert_eq!(
        stack.attempts(&app, &id).await.iter().filter(|a| a.status == MessageStatus::Success).count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_ends_with_its_schedule() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "1")).await;
    let app = stack.app().await;
    // Nobody listens here.
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 2);
    for attempt in &attempts {
        assert_eq!((attempt.response_status_code, attempt.status), (0, MessageStatus::Fail));
        assert!(attempt.response.starts_with("the connection could not be made"), "{}", attempt.response);
    }
    assert_eq!(attempts[0].endpoint_id, endpoint.id);

    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let app = stack.app().await;
    stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    assert_eq!(stack.attempts(&app, &id).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoints_policy_goes_before_its_applications_and_that_before_the_schedule() {
    // Twice the retention of the last message below: whatever the jitter, its payload is gone by then.
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "7200")).await;
    let ask = async |method: &str, path: &str, body: serde_json::Value| {
        let answer = stack.request(method, &format!("/api/v1{path}"), &stack.token, body.to_string()).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        answer.json()
    };
    let of_app = json!({"schedule": [1], "jitter": 0});
    let app = ask("POST", "/app", json!({"name": "Acme", "retryPolicy": of_app})).await;
    assert_eq!(app["retryPolicy"], of_app);
    let app = app["id"].as_str().unwrap().to_owned();
    // Nobody listens here.
    let all = format!("/app/{app}/endpoint");
    let of_own = json!({"attempts": 3, "minSeconds": 1, "maxSeconds": 1, "jitter": 20});
    let mut endpoints = Vec::new();
    for policy in [json!(null), json!({"attempts": 1}), of_own.clone()] {
        let made = ask("POST", &all, json!({"url": "http://127.0.0.1:9/", "retryPolicy": policy})).await;
        endpoints.push(made["id"].as_str().unwrap().to_owned());
    }
    let last = format!("{all}/{}", endpoints[2]);
    assert_eq!(ask("GET", &last, json!({})).await["retryPolicy"], of_own);
    let made = async |body: serde_json::Value| {
        let message = ask("POST", &format!("/app/{app}/msg"), body).await;
        stack.idle().await;
        let attempts = stack.attempts(&app, message["id"].as_str().unwrap()).await;
        let of = |id: &String| attempts.iter().filter(|attempt| attempt.endpoint_id == *id).count();
        endpoints.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(made(json!({"eventType": "a", "payload": {}})).await, [2, 1, 3]);

    // A PATCH leaves it alone; null clears it, as a PUT does that says nothing of it.
    let patched = ask("PATCH", &last, json!({"description": "d"})).await;
    assert_eq!(patched["retryPolicy"], of_own);
    assert_eq!(ask("PATCH", &last, json!({"retryPolicy": null})).await.get("retryPolicy"), None);
    assert_eq!(made(json!({"eventType": "a", "payload": {}})).await, [2, 1, 2]);
    let cleared = ask("PUT", &format!("/app/{app}"), json!({"name": "Acme"})).await;
    assert_eq!(cleared.get("retryPolicy"), None);
    assert_eq!(made(json!({"eventType": "a", "payload": {}})).await, [1, 1, 1]);

    // What is due after the payload is gone is not waited for.
    let undelivered = async || {
        let list = ask("GET", &format!("/app/{app}/undelivered?limit=250"), json!({})).await;
        list["data"].as_array().unwrap().len()
    };
    ask("PATCH", &last, json!({"retryPolicy": {"schedule": [1, 86400]}})).await;
    let before = undelivered().await;
    let brief = json!({"eventType": "a", "payload": {}, "payloadRetentionHours": 1});
    assert_eq!(made(brief).await, [1, 1, 2]);
    assert_eq!(undelivered().await - before, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_meets_the_deadline_and_one_that_talks_too_much_is_cut() {
    let short = settings().with("POSTRIDER_RETRY_SCHEDULE", "").with("POSTRIDER_DELIVERY_TIMEOUT", "2");
    let stack = TestStack::with(short).await;
    let app = stack.app().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    stack.endpoint(&app, &format!("http://{}/", silent.local_addr().unwrap())).await;
    let talker = Receiver::answering(|_| (StatusCode::OK, "x".repeat(100_000))).await;
    let talking = stack.endpoint(&app, &talker.url("/")).await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 2);
    for attempt in attempts {
        if attempt.endpoint_id == talking.id {
            assert_eq!((attempt.response_status_code, attempt.response.len()), (200, 20_000));
        } else {
            assert_eq!(
                (attempt.response_status_code, attempt.response.as_str()),
                (0, "no response within 2 seconds")
            );
        }
    }
}

/// INV-27
#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_not_reached() {
    let mut settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "");
    settings.allow_loopback = false;
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let port = receiver.address.port();
    for host in
        ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254"]
    {
        stack.endpoint(&app, &format!("http://{host}:{port}/")).await;
    }
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 7);
    for attempt in attempts {
        assert_eq!(attempt.response_status_code, 0);
        assert!(
            attempt.response.starts_with("the address is not public"),
            "{}: {}",
            attempt.url,
            attempt.response
        );
    }
    assert_eq!(receiver.rest().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_how_webhooks_are_signed() {
    let both = settings().with("POSTRIDER_HEADER_STYLE", "both").with("POSTRIDER_SIGNATURE", "ed25519");
    let stack = TestStack::with(both).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    // Credentials in the URL become a header.
    let url = receiver.url("/").replace("http://", "http://us%40er:pa+ss@");
    let endpoint = stack.endpoint(&app, &url).await;
    assert!(endpoint.secret.starts_with("whpk_"), "{}", endpoint.secret);
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    let webhook = receiver.next().await;
    assert_eq!((webhook.header("svix-id"), webhook.header("webhook-id")), (id.as_str(), id.as_str()));
    assert_eq!(webhook.header("svix-signature"), webhook.header("webhook-signature"));
    assert!(webhook.header("webhook-signature").starts_with("v1a,"));
    // base64 of us@er:pa+ss
    assert_eq!(webhook.header("authorization"), "Basic dXNAZXI6cGErc3M=");
    // An endpoint may bring its own key, of either kind.
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let own = EndpointIn { secret: Some(secret.into()), ..EndpointIn::new(receiver.url("/own")) };
    stack.endpoint_with(&app, own).await;
    stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    let mut webhooks = [receiver.next().await, receiver.next().await];
    webhooks.sort_by_key(|webhook| webhook.path.clone());
    webhooks[1].verify(secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_endpoints_are_served_through_the_fan_out_queue() {
    // More than one step of the fan-out, and more than a message names in its own item.
    const ENDPOINTS: usize = 510;
    // A busy machine is no reason for a second attempt.
    let stack = TestStack::with(settings().with("POSTRIDER_DELIVERY_TIMEOUT", "25")).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let urls = (0..ENDPOINTS).map(|nth| receiver.url(&format!("/{nth}")));
    let made = futures_util::stream::iter(urls)
        .map(async |url| stack.svix.endpoint().create(app.clone(), EndpointIn::new(url), None).await)
        .buffer_unordered(8);
    assert_eq!(made.filter(|made| std::future::ready(made.is_ok())).count().await, ENDPOINTS);
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    let mut paths = std::collections::BTreeSet::new();
    for _ in 0..ENDPOINTS {
        paths.insert(receiver.next().await.path);
    }
    assert_eq!(paths.len(), ENDPOINTS);
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    // Three pages of the log, of attempts and of destinations.
    for (path, name) in [(format!("attempt/msg/{id}"), "endpointId"), (format!("msg/{id}/endpoint"), "id")] {
        let path = format!("/api/v1/app/{app}/{path}?limit=250");
        let (mut iterator, mut seen) = (String::new(), std::collections::BTreeSet::new());
        for (length, done) in [(250, false), (250, false), (10, true)] {
            let page = stack.request("GET", &format!("{path}{iterator}"), &stack.token, "").await.json();
            let data = page["data"].as_array().unwrap();
            assert_eq!((data.len(), &page["done"]), (length, &json!(done)));
            assert!(data.iter().all(|entry| entry["status"] == json!(0)));
            seen.extend(data.iter().map(|entry| entry[name].to_string()));
            iterator = format!("&iterator={}", page["iterator"].as_str().unwrap());
        }
        assert_eq!(seen.len(), ENDPOINTS);
    }
}

/// INV-18
#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_work() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    // Random letters do not compress below DynamoDB's 400 KB.
    let mut state = 7u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'#' + u8::try_from((state >> 33) % 56).unwrap())
    })
    .take(1_000_000)
    .collect();
    // A character that SQS refuses, within JSON that is valid.
    for payload in [format!("{{\"noise\":\"{noise}\"}}"), "{\"odd\":\"\u{ffff}\"}".to_owned()] {
        let body = format!("{{\"eventType\":\"a\",\"payload\":{payload}}}");
        let answer = stack.request("POST", &format!("/api/v1/app/{app}/msg"), &stack.token, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", &answer.text[..answer.text.len().min(300)]);
        let webhook = receiver.next().await;
        assert!(webhook.body == payload.as_bytes(), "the payload of {} bytes changed", payload.len());
        webhook.verify(&endpoint.secret);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/app/{app}/msg/{id}");
        let read = stack.request("GET", &path, &stack.token, "").await;
        assert!(read.text.contains(&payload));
    }
}
