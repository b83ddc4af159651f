//! AutoConfig: a receiver configures its own endpoint with a token, and nothing else.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};
use svix::models::{EndpointIn, MessageIn, SinkInCommon};

use crate::test_stack::{Answer, Receiver, TestStack};

/// What a token holds.
struct Token {
    text: String,
    endpoint: String,
    content: Value,
}

impl Token {
    fn key(&self) -> &str {
        self.content["tok"].as_str().expect("a key")
    }
}

impl TestStack {
    async fn auto_config(&self, app: &str, body: Value) -> Token {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("/api/v1/app/{app}/auto-config");
        // Whoever has the token sends its key to the address inside of it.
        let headers = [("host", "evil.example"), ("x-forwarded-host", "evil.example")];
        let answer = self.request_with("POST", &path, &self.token, &headers, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let made = answer.json();
        let text = made["token"].as_str().expect("a token").to_owned();
        let content = STANDARD.decode(text.strip_prefix("auto_v1_").expect("a prefix")).expect("base64");
        let content: Value = serde_json::from_slice(&content).expect("JSON");
        assert_eq!(content["surl"], format!("http://{}", self.stack.address()));
        assert_eq!((&content["aid"], &content["eid"]), (&json!(app), &made["endpId"]));
        assert!(made["updatedAt"].is_string());
        Token { text, endpoint: made["endpId"].as_str().expect("an id").to_owned(), content }
    }

    async fn configure(&self, app: &str, endpoint: &str, key: &str, body: Value) -> Answer {
        let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/auto-config");
        self.request("PUT", &path, key, body.to_string()).await
    }

    async fn configured(&self, app: &str, token: &Token, body: Value) -> Value {
        let answer = self.configure(app, &token.endpoint, token.key(), body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.headers.get("postrider-unknown"), None);
        answer.json()
    }

    async fn events_of(&self, endpoint: &str) -> Vec<String> {
        let path = format!("/api/v1/audit-event?order=ascending&subject={endpoint}");
        let events = self.request("GET", &path, &self.token, "").await.json();
        let events = events["data"].as_array().expect("events").iter();
        events.map(|event| event["what"].as_str().expect("a word").to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_says_where_its_webhooks_go() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.event_type("a.b").await;
    let token = stack.auto_config(&app, Value::Null).await;
    let path = format!("/api/v1/app/{app}/endpoint/{}", token.endpoint);
    let read = async || stack.request("GET", &path, &stack.token, "").await.json();
    let waiting = read().await;
    assert_eq!((&waiting["url"], &waiting["disabled"]), (&json!(""), &json!(true)));
    // What a GET shows, a PUT and a PATCH take back.
    for method in ["PUT", "PATCH"] {
        let same = stack.request(method, &path, &stack.token, waiting.to_string()).await;
        assert_eq!((same.status, &same.json()["destination"]), (StatusCode::OK, &waiting["destination"]));
    }
    // Until then nothing is sent, and nobody enables it without a URL.
    stack.message(&app, MessageIn::new("a.b".into(), json!({"n": 1}))).await;
    for (method, body) in [
        ("PATCH", json!({"disabled": false})),
        ("PUT", json!({"url": "", "disabled": false})),
        ("PUT", json!({"destination": {"kind": "http", "url": ""}, "disabled": false})),
        ("PUT", json!({"destination": {"kind": "http"}, "disabled": true})),
        ("PATCH", json!({"url": ""})),
    ] {
        let refused = stack.request(method, &path, &stack.token, body.to_string()).await;
        let status = refused.status.as_u16();
        let is_kept = body.get("disabled").is_none() && status == 200;
        assert!(status == 422 || is_kept, "{method} {body}: {status} {}", refused.text);
    }
    for (operation, body) in [
        ("send-example", json!({"eventType": "a.b", "payload": {}})),
        ("recover", json!({"since": stack.stack.platform().clock.now().to_string()})),
    ] {
        let refused =
            stack.request("POST", &format!("{path}/{operation}"), &stack.token, body.to_string()).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{operation}: {}", refused.text);
    }
    // Another token for it, as long as it waits; the one before is worth nothing.
    let first = token;
    let token = stack.auto_config(&app, json!({})).await;
    assert_eq!(first.endpoint, token.endpoint);
    let late =
        stack.configure(&app, &first.endpoint, first.key(), json!({"endpoint": {"url": receiver.url("/")}}));
    assert_eq!(late.await.status, StatusCode::UNAUTHORIZED);

    // As the SDK does it.
    let given =
        EndpointIn { event_types: Some(["a.b".to_owned()].into()), ..EndpointIn::new(receiver.url("/")) };
    let sdk = svix::AutoConfig::new(token.text.clone(), given).expect("a token");
    let made = sdk.subscribe().await.expect("it is configured");
    assert_eq!((&made.id, made.url, made.disabled), (&token.endpoint, receiver.url("/"), Some(false)));
    stack.message(&app, MessageIn::new("a.b".into(), json!({"n": 2}))).await;
    let webhook = receiver.next().await;
    let secret = token.content["esec"].as_str().expect("a secret");
    webhook.verify(secret);
    // What was posted before it was there can be had.
    let since = stack.stack.platform().clock.now().before(Duration::from_secs(3_600));
    let since = json!({"since": since.to_string()}).to_string();
    let replayed = stack.request("POST", &format!("{path}/replay-missing"), &stack.token, since).await;
    assert!(replayed.status.is_success(), "{}", replayed.text);
    stack.run_timers().await;
    assert!(String::from_utf8_lossy(&receiver.next().await.body).contains("\"n\":1"));
    stack.idle().await;

    // The same at the next start changes nothing; what somebody disabled stays so.
    let events = stack.events_of(&token.endpoint).await;
    sdk.subscribe().await.expect("it is configured");
    assert_eq!(stack.events_of(&token.endpoint).await, events);
    assert_eq!(
        events,
        [
            "endpoint.created",
            "endpoint.updated",
            "endpoint.updated",
            "endpoint.updated",
            "endpoint.auto-config-key-rotated",
            "endpoint.updated",
            "endpoint.replay"
        ]
    );
    stack.request("PATCH", &path, &stack.token, r#"{"disabled":true}"#).await;
    let again = stack.configured(&app, &token, json!({"endpoint": {"url": receiver.url("/v2")}})).await;
    assert_eq!((&again["disabled"], &again["url"]), (&json!(true), &json!(receiver.url("/v2"))));
    assert!(again.get("filterTypes").is_none());
    let body =
        json!({"url": receiver.url("/v2"), "disabled": false, "headers": {"x-own": "1"}, "secret": secret});
    let again = stack.configured(&app, &token, json!({"sink": {"type": "http", "config": body}})).await;
    assert_eq!(again["disabled"], false);
    stack.configured(&app, &token, json!({"endpoint": {"url": receiver.url("/v3")}})).await;
    let headers = stack.request("GET", &format!("{path}/headers"), &stack.token, "").await.json();
    assert_eq!(headers["headers"], json!({"x-own": "1"}));

    // The next one is for another endpoint; this one's is replaced by its name.
    let next = stack.auto_config(&app, Value::Null).await;
    assert_ne!(next.endpoint, token.endpoint);
    let renewed = stack.auto_config(&app, json!({"endpId": token.endpoint})).await;
    assert_eq!((&renewed.endpoint, &renewed.content["esec"]), (&token.endpoint, &token.content["esec"]));
    let body = json!({"endpoint": {"url": receiver.url("/v3")}});
    let old = stack.configure(&app, &token.endpoint, token.key(), body.clone()).await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
    stack.configured(&app, &renewed, body.clone()).await;
    // It ends with its endpoint.
    stack.request("DELETE", &path, &stack.token, "").await;
    let gone = stack.configure(&app, &renewed.endpoint, renewed.key(), body).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_polls_is_given_everything_since_its_endpoint_was_made() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    stack.event_type("a.b").await;
    let token = stack.auto_config(&app, Value::Null).await;
    stack.message(&app, MessageIn::new("a.b".into(), json!({"n": 1}))).await;
    let config = SinkInCommon { event_types: Some(["a.b".to_owned()].into()), ..SinkInCommon::default() };
    let consumer = svix::AutoConfigConsumer::new(token.text.clone(), config).expect("a token");
    for _ in 0..2 {
        consumer.subscribe().await.expect("it is configured");
    }
    let polled = consumer.receive("worker".to_owned(), None).await.expect("messages");
    assert_eq!(polled.data.len(), 1);
    consumer.commit("worker".to_owned(), polled.data[0].offset, None).await.expect("it is done");
    // Its key is for no other endpoint, of whichever kind.
    let other = stack.polling_endpoint(&app, Value::Null).await;
    let poll = async |endpoint: &str, key: &str| {
        stack.request("GET", &format!("/api/v1/app/{app}/poller/{endpoint}"), key, "").await.status
    };
    assert_eq!(poll(&token.endpoint, token.key()).await, StatusCode::OK);
    assert_eq!(poll(&other, token.key()).await, StatusCode::NOT_FOUND);
    for body in [
        json!({"endpoint": {"url": "http://127.0.0.1:9/"}}),
        json!({"sink": {"type": "http", "config": {"url": "http://127.0.0.1:9/"}}}),
    ] {
        let refused = stack.configure(&app, &token.endpoint, token.key(), body).await;
        assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    }
    // Nor does one that is sent webhooks become a polling endpoint.
    let sent = stack.auto_config(&app, Value::Null).await;
    stack
        .configured(&app, &sent, json!({"endpoint": {"url": "http://127.0.0.1:9/", "disabled": true}}))
        .await;
    let body = json!({"sink": {"type": "poller", "config": {}}});
    let refused = stack.configure(&app, &sent.endpoint, sent.key(), body).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert_eq!(poll(&sent.endpoint, sent.key()).await, StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_configured_is_refused() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let token = stack.auto_config(&app, Value::Null).await;
    let url = "http://127.0.0.1:9/";
    for (body, at) in [
        (json!({}), vec!["endpoint"]),
        (json!({"endpoint": {"url": url}, "sink": {"type": "poller", "config": {}}}), vec!["endpoint"]),
        (json!({"endpoint": {}}), vec!["endpoint", "url"]),
        (json!({"endpoint": {"url": ""}}), vec!["endpoint", "url"]),
        (json!({"endpoint": {"url": "ftp://x/"}}), vec!["endpoint", "url"]),
        (json!({"endpoint": {"url": url, "filterTypes": ["none"]}}), vec!["endpoint", "filterTypes"]),
        (
            json!({"endpoint": {"url": url, "secret": format!("whsec_{}", "A".repeat(32))}}),
            vec!["endpoint", "secret"],
        ),
        (json!({"sink": {"config": {}}}), vec!["sink", "type"]),
        (json!({"sink": {"type": "sqs", "config": {}}}), vec!["sink", "type"]),
        (json!({"sink": {"type": "poller"}}), vec!["sink", "config"]),
        (json!({"sink": {"type": "http", "config": {}}}), vec!["sink", "config", "url"]),
        (json!({"sink": {"type": "poller", "config": {"url": url}}}), vec!["sink", "config", "url"]),
        (
            json!({"sink": {"type": "poller", "config": {"throttleRate": 1}}}),
            vec!["sink", "config", "rateLimit"],
        ),
        (
            json!({"sink": {"type": "poller", "config": {"eventTypes": ["none"]}}}),
            vec!["sink", "config", "filterTypes"],
        ),
    ] {
        let refused = stack.configure(&app, &token.endpoint, token.key(), body.clone()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", refused.text);
        let at: Vec<&str> = ["body"].into_iter().chain(at).collect();
        assert_eq!(refused.json()["detail"][0]["loc"], json!(at), "{body}: {}", refused.text);
    }
    for (body, status) in [
        (json!({"endpId": "nope"}), StatusCode::NOT_FOUND),
        (json!({"endpId": "ep_x"}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"endpId": 1}), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let path = format!("/api/v1/app/{app}/auto-config");
        let refused = stack.request("POST", &path, &stack.token, body.to_string()).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.text);
    }
    let waiting = stack.svix.endpoint().get(app, token.endpoint).await.expect("the endpoint");
    assert_eq!((waiting.url.as_str(), waiting.disabled), ("", Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sdks_do_not_send_stays_until_a_receiver_says_otherwise() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let token = stack.auto_config(&app, Value::Null).await;
    let own = json!({
        "filter": {"amount": [{"numeric": [">", 5]}]}, "retryPolicy": {"schedule": [5, 300]}, "autoEnable": true,
        "headerStyle": "rfc9421", "channels": ["one"], "rateLimit": 7, "fifo": true, "fifoKey": "/customer",
        "batchSize": 20, "maxWaitSecs": 3,
    });
    let path = format!("/api/v1/app/{app}/endpoint/{}", token.endpoint);
    let patched = stack.request("PATCH", &path, &stack.token, own.to_string()).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.text);
    let url = "http://127.0.0.1:9/";
    // What official SDKs send is replaced, and an endpoint that waited keeps the rest as well.
    for _ in 0..2 {
        let shown = stack.configured(&app, &token, json!({"endpoint": {"url": url, "disabled": true}})).await;
        for name in [
            "filter",
            "retryPolicy",
            "autoEnable",
            "headerStyle",
            "fifo",
            "fifoKey",
            "batchSize",
            "maxWaitSecs",
        ] {
            assert_eq!(shown[name], patched.json()[name], "{name}: {shown}");
        }
        assert!(shown.get("channels").is_none() && shown.get("rateLimit").is_none(), "{shown}");
    }
    let other = json!({"url": url, "retryPolicy": {"schedule": [9]}, "autoEnable": false, "filter": null});
    let shown = stack.configured(&app, &token, json!({"endpoint": other})).await;
    assert_eq!((&shown["retryPolicy"]["schedule"], &shown["headerStyle"]), (&json!([9]), &json!("rfc9421")));
    assert!(shown.get("filter").is_none() && shown.get("autoEnable").is_none(), "{shown}");
    let shown = stack
        .configured(&app, &token, json!({"endpoint": {"url": url, "headerStyle": null, "retryPolicy": null}}))
        .await;
    assert!(shown.get("headerStyle").is_none() && shown.get("retryPolicy").is_none(), "{shown}");
    // A polling endpoint has only a filter of them.
    let polls = stack.auto_config(&app, Value::Null).await;
    let path = format!("/api/v1/app/{app}/endpoint/{}", polls.endpoint);
    stack.request("PATCH", &path, &stack.token, own.to_string()).await;
    let shown = stack.configured(&app, &polls, json!({"sink": {"type": "poller", "config": {}}})).await;
    assert_eq!(shown["filter"], own["filter"]);
    assert!(shown.get("retryPolicy").is_none() && shown.get("headerStyle").is_none(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_receivers_that_can_verify_with_it() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let secret = format!("whsk_{}", STANDARD.encode([7; 32]));
    let body = json!({"url": "http://127.0.0.1:9/", "secret": secret}).to_string();
    let made = stack.request("POST", &format!("/api/v1/app/{app}/endpoint"), &stack.token, body).await.json();
    let endpoint = made["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/app/{app}/auto-config");
    let named = json!({"endpId": endpoint}).to_string();
    let refused = stack.request("POST", &path, &stack.token, named).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert!(refused.text.contains("rotate its secret"), "{}", refused.text);
    // Nothing was changed for that.
    assert_eq!(stack.events_of(&endpoint).await, ["endpoint.created"]);
    let rotate = format!("/api/v1/app/{app}/endpoint/{endpoint}/secret/rotate");
    let body = json!({"key": format!("whsec_{}", "A".repeat(32))}).to_string();
    assert!(stack.request("POST", &rotate, &stack.token, body).await.status.is_success());
    let token = stack.auto_config(&app, json!({"endpId": endpoint})).await;
    assert_eq!(token.content["esec"], format!("whsec_{}", "A".repeat(32)));
}

/// INV-19
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_token_does_nothing_else() {
    let stack = TestStack::start().await;
    let (app, other_app) = (stack.app().await, stack.app().await);
    let token = stack.auto_config(&app, Value::Null).await;
    let elsewhere = stack.auto_config(&other_app, Value::Null).await;
    let own = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    // Every operation of the document: none is done, but the two kinds that are for it.
    let document = stack.request("GET", "/api/v1/openapi.json", "", "").await.json();
    let mut refused = 0;
    for (template, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let is_open = operation["security"].as_array().is_none_or(Vec::is_empty);
            let is_for_it =
                template.ends_with("/auto-config") && method == "put" || template.contains("/poll");
            if is_open || is_for_it && !template.ends_with("/token") && !template.ends_with("/rotate") {
                continue;
            }
            let path = template
                .replace("{app_id}", &app)
                .replace("{endpoint_id}", &token.endpoint)
                .replace("{sink_id}", &token.endpoint);
            let answer = stack.request(&method.to_uppercase(), &path, token.key(), "{}").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {template}: {}", answer.text);
            refused += 1;
        }
    }
    assert!(refused > 80, "{refused}");
    // Of its own endpoint alone, under its own application alone.
    let body = json!({"endpoint": {"url": "http://127.0.0.1:9/taken"}});
    for (app, endpoint) in [(&app, &own), (&other_app, &elsewhere.endpoint), (&other_app, &token.endpoint)] {
        let answer = stack.configure(app, endpoint, token.key(), body.clone()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{app} {endpoint}: {}", answer.text);
    }
    // A key whose ids were exchanged is none, and neither is a token as it is, or a polling key.
    let mut bytes =
        URL_SAFE_NO_PAD.decode(token.key().strip_prefix("sk_auto_").expect("a prefix")).expect("base64");
    for at in [0, 19, 20, 40, 60, 83] {
        bytes[at] ^= 1;
        let forged = format!("sk_auto_{}", URL_SAFE_NO_PAD.encode(&bytes));
        let answer = stack.configure(&app, &token.endpoint, &forged, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{at}: {}", answer.text);
        bytes[at] ^= 1;
    }
    let polled = stack.polling_endpoint(&app, Value::Null).await;
    let rotate = format!("/api/v1/app/{app}/endpoint/{polled}/poller/token/rotate");
    let polling = stack.request("POST", &rotate, &stack.token, "{}").await.json();
    let polling = polling["token"].as_str().expect("a key").to_owned();
    for key in ["sk_auto_", "sk_auto_AAAA", &token.text, &polling] {
        let answer = stack.configure(&app, &polled, key, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{key}: {}", answer.text);
    }
    // Tokens that may change endpoints do it as well; making tokens is for the organisation.
    let customer = stack.stack.app_token(None, app.parse().expect("an id"));
    let answer = stack.configure(&app, &token.endpoint, &customer, body.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let create = format!("/api/v1/app/{app}/auto-config");
    let answer = stack.request("POST", &create, &customer, "").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    let stranger = stack.stack.org_token(Some("org_23rb8YdGqMT0qIzpgGwdXfHirMv".parse().expect("an id")));
    for path in [create, format!("/api/v1/app/{app}/endpoint/{}/auto-config", token.endpoint)] {
        let method = if path.contains("/endpoint/") { "PUT" } else { "POST" };
        let answer = stack.request(method, &path, &stranger, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {}", answer.text);
    }
}
