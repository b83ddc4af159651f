//! Transformations: what code makes of a webhook, what happens when it fails, and that it harms nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use svix::models::{MessageIn, MessageStatus};

use crate::test_stack::{Ahead, Answer, Endpoint, Receiver, TestStack, settings, soon};

impl TestStack {
    fn transformation(app: &str, endpoint: &str) -> String {
        format!("/api/v1/app/{app}/endpoint/{endpoint}/transformation")
    }

    async fn change_transformation(&self, app: &str, endpoint: &str, body: Value) -> Answer {
        self.request("PATCH", &Self::transformation(app, endpoint), &self.token, body.to_string()).await
    }

    /// An endpoint whose webhooks pass this code.
    async fn transformed(&self, app: &str, url: &str, code: &str) -> Endpoint {
        let endpoint = self.endpoint(app, url).await;
        let body = json!({"code": code, "enabled": true, "variables": {"team": "books"}});
        let changed = self.change_transformation(app, &endpoint.id, body).await;
        assert_eq!(changed.status, StatusCode::NO_CONTENT, "{code}: {}", changed.text);
        endpoint
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.request("GET", path, &self.token, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    }

    async fn simulate(&self, app: &str, endpoint: &str, body: &Value) -> Answer {
        let path = format!("{}/simulate", Self::transformation(app, endpoint));
        self.request("POST", &path, &self.token, body.to_string()).await
    }
}

fn message(payload: Value) -> MessageIn {
    MessageIn {
        channels: Some(["north".to_owned()].into()),
        ..MessageIn::new("invoice.paid".into(), payload)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_changes_method_url_payload_and_headers_and_the_signature_is_of_what_is_sent() {
    let stack = TestStack::start().await;
    let (mut receiver, mut other) = (Receiver::start().await, Receiver::start().await);
    let app = stack.app().await;
    let code = format!(
        "function handler(webhook) {{
            webhook.method = 'PUT';
            webhook.url = '{}';
            webhook.payload = {{ of: webhook.payload.id, type: webhook.eventType, team: webhook.env.team, channels: webhook.channels }};
            webhook.headers = {{ 'X-Team': webhook.env.team, 'x-own': 'the code' }};
            return webhook;
        }}",
        other.url("/changed")
    );
    let endpoint = stack.transformed(&app, &receiver.url("/"), &code).await;
    let headers = r#"{"headers":{"X-Own":"the owner","X-Kept":"1"}}"#;
    let path = format!("/api/v1/app/{app}/endpoint/{}/headers", endpoint.id);
    stack.request("PUT", &path, &stack.token, headers).await;
    let id = stack.message(&app, message(json!({"id": "in_1"}))).await;
    let webhook = other.next().await;
    assert_eq!((&webhook.method, webhook.path.as_str()), (&Method::PUT, "/changed"));
    let expected = json!({"of": "in_1", "type": "invoice.paid", "team": "books", "channels": ["north"]});
    assert_eq!(serde_json::from_slice::<Value>(&webhook.body).expect("JSON"), expected);
    assert_eq!(
        ["x-team", "x-own", "x-kept"].map(|name| webhook.header(name)),
        ["books", "the code", "1"],
        "the code's headers win over the endpoint's"
    );
    webhook.verify(&endpoint.secret);
    stack.idle().await;
    assert!(receiver.rest().is_empty());
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!((attempts.len(), &attempts[0].url), (1, &other.url("/changed")));
    // What was sent then is not kept: there is no signature to be computed.
    let path = format!("/api/v1/app/{app}/msg/{id}/attempt/{}/headers", attempts[0].id);
    let sent = stack.json(&path).await["sentHeaders"].to_string();
    assert!(sent.contains("webhook-id") && !sent.contains("webhook-signature"), "{sent}");

    // Untouched, a payload arrives byte for byte; without code, all of it is as it was.
    let code = "const handler = (webhook) => { webhook.headers = { 'x-only': '1' }; return webhook }";
    let changed = stack.change_transformation(&app, &endpoint.id, json!({"code": code})).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.text);
    let raw = r#"{"eventType":"a","payload":{"n": 1.0,  "big": 12345678901234567890123}}"#;
    let path = format!("/api/v1/app/{app}/msg");
    for disabled in [false, true] {
        if disabled {
            stack.change_transformation(&app, &endpoint.id, json!({"enabled": false})).await;
        }
        stack.request("POST", &path, &stack.token, raw).await;
        let webhook = receiver.next().await;
        assert_eq!(webhook.body, r#"{"n": 1.0,  "big": 12345678901234567890123}"#);
        assert_eq!((&webhook.method, webhook.headers.contains_key("x-only")), (&Method::POST, !disabled));
        webhook.verify(&endpoint.secret);
    }
    stack.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_code_cancels_is_a_success_and_clients_that_know_it_see_so() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let code = "function handler(w) { w.cancel = w.payload.cancel; return w }";
    let endpoint = stack.transformed(&app, &receiver.url("/"), code).await;
    let canceled = stack.message(&app, message(json!({"cancel": true}))).await;
    let sent = stack.message(&app, message(json!({"cancel": false}))).await;
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 1);
    let attempts = stack.attempts(&app, &canceled).await;
    // This SDK sends `expanded_statuses`.
    assert_eq!((attempts[0].status, attempts[0].response_status_code), (MessageStatus::Canceled, 0));
    assert!(attempts[0].response.contains("cancelled"), "{}", attempts[0].response);
    let older = stack.json(&format!("/api/v1/app/{app}/attempt/msg/{canceled}")).await;
    assert_eq!(
        (&older["data"][0]["status"], &older["data"][0]["statusText"]),
        (&json!(0), &json!("success"))
    );
    let of = format!("/api/v1/app/{app}/attempt/endpoint/{}", endpoint.id);
    let messages = format!("/api/v1/app/{app}/endpoint/{}/msg", endpoint.id);
    for (query, expected) in [
        ("status=0", vec![&sent, &canceled]),
        ("status=4", vec![]),
        ("status=0&expanded_statuses=true", vec![&sent]),
        ("status=4&expanded_statuses=true", vec![&canceled]),
    ] {
        for (path, id) in [(&of, "msgId"), (&messages, "id")] {
            let page = stack.json(&format!("{path}?{query}")).await;
            let found: Vec<&str> = page["data"]
                .as_array()
                .expect("entries")
                .iter()
                .map(|one| one[id].as_str().expect("an id"))
                .collect();
            assert_eq!(found, expected, "{path}?{query}");
        }
    }
    let path = format!("/api/v1/app/{app}/msg/{canceled}/attempt/{}?expanded_statuses=true", attempts[0].id);
    let one = stack.json(&path).await;
    assert_eq!((&one["status"], &one["statusText"]), (&json!(4), &json!("canceled")));
}

/// Each of them is a failed attempt that says why; the neighbours in the same application get everything.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the table is shown")]
async fn code_that_fails_is_a_failed_attempt_with_the_reason_and_neighbours_are_unharmed() {
    let mut settings = settings().with("POSTRIDER_RETRY_SCHEDULE", "1");
    // The machine itself is private, and so is what the code leads to.
    settings.allow_loopback = false;
    let stack = TestStack::with(settings).await;
    let private = Receiver::start().await;
    let app = stack.app().await;
    let url = "https://nobody.invalid/";
    let elsewhere = format!("function handler(w) {{ w.url = '{}'; return w }}", private.url("/"));
    let hostile: &[(&str, &str, &str)] = &[
        ("loops", "function handler() { for (;;) {} }", "250 ms"),
        (
            "allocates",
            "function handler() { const a = []; for (;;) a.push('x'.repeat(1e6) + a.length) }",
            "MB of memory",
        ),
        ("throws", "function handler() {\n  throw new Error('no') }", "Error: no (line 2)"),
        ("returns nothing", "function handler() {}", "returned undefined"),
        ("a number", "function handler() { return 7 }", "returned int"),
        ("a cycle", "function handler(w) { w.payload.self = w.payload; return w }", "circular reference"),
        ("10 MB", "function handler(w) { w.payload = 'x'.repeat(1e7); return w }", "more than 1048576 bytes"),
        (
            "a forbidden header",
            "function handler(w) { w.headers = { 'Webhook-Id': 'x' }; return w }",
            "webhook-",
        ),
        ("another scheme", "function handler(w) { w.url = 'file:///etc/passwd'; return w }", "http or https"),
        (
            "no interrupt",
            "function handler() { 'a'.repeat(8e6).indexOf('a'.repeat(4e6) + 'b'); return {} }",
            "could not be interrupted",
        ),
        ("a promise", "async function handler(w) { return w }", "asynchronous"),
    ];
    let mut endpoints = Vec::new();
    for (name, code, reason) in hostile {
        endpoints.push((*name, stack.transformed(&app, url, code).await.id, *reason));
    }
    // Not over https: a URL may lead to http if the endpoint's own is.
    let plain = stack.transformed(&app, "http://nobody.invalid/", &elsewhere).await.id;
    endpoints.push(("a private address", plain, "not public"));
    let id = stack.message(&app, message(json!({"a": 1}))).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 2 * endpoints.len(), "each was retried by the policy");
    for (name, endpoint, reason) in &endpoints {
        for attempt in attempts.iter().filter(|attempt| attempt.endpoint_id == *endpoint) {
            assert_eq!((attempt.status, attempt.response_status_code), (MessageStatus::Fail, 0), "{name}");
            // On a busy machine the limit of time can be the first that is hit.
            let says_why = attempt.response.contains(reason) || attempt.response.contains("took longer than");
            assert!(says_why, "{name}: {}", attempt.response);
            println!("{name}: {}", attempt.response);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_of_code_that_hangs_are_served() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let hangs = "function handler() { 'a'.repeat(8e6).indexOf('a'.repeat(4e6) + 'b'); return {} }";
    stack.transformed(&app, &receiver.url("/hangs"), hangs).await;
    let good = "function handler(w) { w.payload.seen = true; return w }";
    stack.transformed(&app, &receiver.url("/good"), good).await;
    stack.endpoint(&app, &receiver.url("/plain")).await;
    for nth in 0..3 {
        stack.message(&app, message(json!({"nth": nth}))).await;
    }
    let mut paths = Vec::new();
    for _ in 0..6 {
        paths.push(receiver.next().await.path);
    }
    paths.sort();
    assert_eq!(paths, ["/good", "/good", "/good", "/plain", "/plain", "/plain"]);
    stack.idle().await;
    assert!(receiver.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transformation_is_checked_kept_and_cleared() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let path = TestStack::transformation(&app, &endpoint);
    let none = json!({"code": null, "enabled": false, "variables": {}, "updatedAt": null});
    assert_eq!(stack.json(&path).await, none);
    let long = format!("function handler() {{}} //{}", "x".repeat(51_200));
    for (body, loc, reason) in [
        (json!({"code": "x = 1"}), "code", "between 10 and 51200 characters"),
        (json!({"code": long}), "code", "between 10 and 51200 characters"),
        (json!({"code": "let a = 1;\nfunction handler( {"}), "code", "(line 2)"),
        (json!({"code": "const other = 1"}), "code", "no function `handler`"),
        (json!({"code": "for (;;) {} ; function handler() {}"}), "code", "250 ms"),
        (json!({"code": 1}), "code", ""),
        (json!({"enabled": true}), "enabled", "without code"),
        (json!({"enabled": null}), "enabled", "null"),
        (json!({"variables": {"a": 1}}), "variables", ""),
        (json!({"variables": {"": "a"}}), "variables", "1 to 256 bytes"),
        (json!({"variables": {"a": "x".repeat(16 * 1024)}}), "variables", "16384 bytes"),
    ] {
        let refused = stack.change_transformation(&app, &endpoint, body.clone()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{loc}: {}", refused.text);
        let rule = &refused.json()["detail"][0];
        assert_eq!(rule["loc"], json!(["body", loc]), "{rule}");
        assert!(rule["msg"].as_str().is_some_and(|text| text.contains(reason)), "{rule}");
    }
    assert_eq!(stack.json(&path).await, none, "nothing of it was kept");
    let before = stack.json(&format!("/api/v1/app/{app}/endpoint/{endpoint}")).await;
    let code = format!("function handler(w) {{ return w }} // {}", "é".repeat(50_000));
    let body = json!({"code": code, "enabled": true, "variables": {"a": "b"}});
    assert_eq!(stack.change_transformation(&app, &endpoint, body).await.status, StatusCode::NO_CONTENT);
    let kept = stack.json(&path).await;
    assert_eq!((&kept["code"], &kept["enabled"]), (&json!(code), &json!(true)));
    assert_eq!(kept["variables"], json!({"a": "b"}));
    assert!(kept["updatedAt"].is_string());
    // Fields that are left out stay, also when the endpoint itself is replaced.
    let put = json!({"url": "http://127.0.0.1:9/other"}).to_string();
    let after =
        stack.request("PUT", &format!("/api/v1/app/{app}/endpoint/{endpoint}"), &stack.token, put).await;
    assert_eq!((after.status, &after.json()["id"]), (StatusCode::OK, &before["id"]));
    assert_eq!(stack.json(&path).await, kept);
    let cleared = stack.change_transformation(&app, &endpoint, json!({"code": null})).await;
    assert_eq!(cleared.status, StatusCode::NO_CONTENT);
    let kept = stack.json(&path).await;
    assert_eq!(
        (&kept["code"], &kept["enabled"], &kept["variables"]),
        (&Value::Null, &json!(false), &json!({"a": "b"}))
    );

    let polled = stack.polling_endpoint(&app, Value::Null).await;
    let refused =
        stack.change_transformation(&app, &polled, json!({"code": "const handler = (w) => w"})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_a_transformation_stays_one_with_a_url() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack
        .transformed(&app, "http://127.0.0.1:9/", "function handler(webhook) { return webhook }")
        .await
        .id;
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    let polling = json!({"destination": {"kind": "polling"}}).to_string();
    let refused = stack.request("PATCH", &path, &stack.token, polling.clone()).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert!(refused.text.contains("disable it first"), "{}", refused.text);
    stack.change_transformation(&app, &endpoint, json!({"enabled": false})).await;
    let moved = stack.request("PATCH", &path, &stack.token, polling).await;
    assert_eq!(moved.status, StatusCode::OK, "{}", moved.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_shows_what_would_be_sent() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/hook").await.id;
    let asked = |code: &str| json!({"code": code, "eventType": "a.b", "channels": ["c"], "payload": {"n": 1.0}, "variables": {"v": "x"}});
    for (code, expected) in [
        (
            "const handler = (w) => w",
            json!({"url": "http://127.0.0.1:9/hook", "payload": {"n": 1.0}, "method": "POST", "cancel": false, "headers": {}}),
        ),
        (
            "const handler = (w) => ({ url: w.url + '?' + w.eventType + w.channels[0] + w.env.v, method: 'PATCH', payload: [1], headers: { a: 'b' } })",
            json!({"url": "http://127.0.0.1:9/hook?a.bcx", "payload": [1], "method": "PATCH", "cancel": false, "headers": {"a": "b"}}),
        ),
        (
            "const handler = () => ({ cancel: true })",
            json!({"url": "http://127.0.0.1:9/hook", "payload": {"n": 1.0}, "method": "POST", "cancel": true, "headers": {}}),
        ),
    ] {
        let answer = stack.simulate(&app, &endpoint, &asked(code)).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, expected), "{code}");
    }
    for (code, reason) in [
        ("function handler() {\n\n throw new TypeError('x') }", "TypeError: x (line 3)"),
        ("const nothing = 1", "no function `handler`"),
        ("const handler = (w) => ({ method: 'DELETE' })", "POST, PUT or PATCH"),
        ("const handler = (w) => ({ headers: { Host: 'x' } })", "cannot be set"),
        ("const handler = (w) => ({ url: 'nowhere' })", "not a URL"),
    ] {
        let answer = stack.simulate(&app, &endpoint, &asked(code)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{code}: {}", answer.text);
        let rule = &answer.json()["detail"][0];
        assert_eq!(rule["loc"], json!(["body", "code"]), "{rule}");
        assert!(rule["msg"].as_str().is_some_and(|text| text.contains(reason)), "{rule}");
    }
}

/// Lambda's own API, as far as it is asked: over a socket, and sometimes out of order.
async fn lambda(down: Arc<AtomicBool>, refused: Arc<AtomicUsize>) -> String {
    let clock: shared::clock::SharedClock = Arc::new(shared::clock::SystemClock);
    let function = transform::Transform::new(crate::child::transformer(), clock);
    let handler = move |uri: http::Uri, headers: http::HeaderMap, body: axum::body::Bytes| {
        let (down, refused, function) = (down.clone(), refused.clone(), function.clone());
        async move {
            assert_eq!(uri.path(), "/2015-03-31/functions/TransformFunction/invocations");
            let signed = headers["authorization"].to_str().expect("text");
            assert!(
                signed.starts_with("AWS4-HMAC-SHA256") && signed.contains("/lambda/aws4_request"),
                "{signed}"
            );
            if down.load(Ordering::SeqCst) {
                refused.fetch_add(1, Ordering::SeqCst);
                return (StatusCode::SERVICE_UNAVAILABLE, Vec::new());
            }
            let batch = serde_json::from_slice(&body).expect("a batch");
            let outcomes = function.handle(batch).await.expect("it runs");
            (StatusCode::OK, serde_json::to_vec(&outcomes).expect("JSON"))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
    format!("http://{address}")
}

/// The way to the function is out of order: that is no failure of the receiver's, and the job comes back.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_function_a_job_comes_back_and_the_receiver_has_not_failed() {
    let (down, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clock = Arc::new(Ahead::default());
    let mut settings =
        settings().with("AWS_ENDPOINT_URL_LAMBDA", &lambda(down.clone(), refused.clone()).await);
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let code = "const handler = (w) => ({ payload: { seen: w.payload } })";
    let endpoint = stack.transformed(&app, &receiver.url("/"), code).await;
    down.store(true, Ordering::SeqCst);
    let body = json!({"code": "const handler = (webhook) => webhook"});
    let answer = stack.change_transformation(&app, &endpoint.id, body).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    let id = stack.message(&app, message(json!({"n": 1}))).await;
    soon("a call of deliver's", async {
        while refused.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(stack.attempts(&app, &id).await.is_empty(), "no attempt was made");
    down.store(false, Ordering::SeqCst);
    soon("the webhook", async {
        while stack.stack.waiting().await.expect("the queues answer") > 0 {
            clock.skip(Duration::from_secs(60));
            stack.stack.wake();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let webhook = receiver.next().await;
    assert_eq!(webhook.body, r#"{"seen":{"n":1}}"#);
    // By then this stack's clock is further ahead than verifiers take.
    assert!(webhook.is_signed_by(&endpoint.secret));
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!((attempts.len(), attempts[0].status), (1, MessageStatus::Success));
}
