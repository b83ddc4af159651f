//! What an endpoint has besides its own fields: headers, and keys that are rotated.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::{Clock as _, Timestamp};
use svix::models::{
    EndpointHeadersIn, EndpointHeadersPatchIn, EndpointIn, EndpointSecretRotateIn, MessageIn,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::test_stack::{Ahead, Receiver, TestStack, Webhook, settings, soon};

async fn house_with_clock() -> (TestStack, Arc<Ahead>) {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    (TestStack::with(settings).await, clock)
}

fn places(answer: &Value) -> Vec<(String, String)> {
    let places = answer["detail"].as_array().expect("broken rules").iter().map(|rule| {
        let loc: Vec<_> = rule["loc"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
        (loc.join("."), rule["msg"].as_str().unwrap().to_owned())
    });
    places.collect()
}

/// Takes one request as it is on the wire.
async fn one_request_as_written(listener: tokio::net::TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.ends_with("{\"n\":1}") {
        let length = stream.read(&mut buffer).await.expect("bytes");
        assert_ne!(length, 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..length]).expect("text"));
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.expect("it is answered");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_set_changed_and_shown_without_secrets() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let api = stack.svix.endpoint();
    let shown = async || {
        let shown = api.get_headers(app.clone(), endpoint.clone()).await.expect("headers");
        let sensitive: std::collections::BTreeSet<_> = shown.sensitive.into_iter().collect();
        (json!(shown.headers), json!(sensitive))
    };
    assert_eq!(shown().await, (json!({}), json!([])));
    let all = [("X-One", "1"), ("x-TWO", "2"), ("Authorization", "Bearer t"), ("X-API-Key", "k")];
    let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
    api.set_headers(app.clone(), endpoint.clone(), EndpointHeadersIn::new(all.into())).await.unwrap();
    let secret = json!(["Authorization", "X-API-Key"]);
    assert_eq!(shown().await, (json!({"X-One": "1", "x-TWO": "2"}), secret));

    // A value sets, null removes, what is not named stays; the case is the last one written.
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/headers");
    let body = r#"{"headers":{"x-one":"eins","X-Two":null,"x-api-key":null,"X-Three":"3","X-None":null}}"#;
    let patched = stack.request("PATCH", &path, &stack.token, body).await;
    assert_eq!((patched.status, patched.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(shown().await, (json!({"x-one": "eins", "X-Three": "3"}), json!(["Authorization"])));
    let mut patch = EndpointHeadersPatchIn::new([("X-Four".to_owned(), "4".to_owned())].into());
    patch.delete_headers = Some(vec!["X-ONE".into(), "authorization".into()]);
    api.patch_headers(app.clone(), endpoint.clone(), patch).await.unwrap();
    assert_eq!(shown().await, (json!({"X-Four": "4", "X-Three": "3"}), json!([])));
    let put = stack.request("PUT", &path, &stack.token, r#"{"headers":{"B":""}}"#).await;
    assert_eq!((put.status, put.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(shown().await, (json!({"B": ""}), json!([])));

    // Other changes of the endpoint leave them alone, and a new endpoint can bring its own.
    stack.request("PATCH", &path.replace("/headers", ""), &stack.token, r#"{"description":"x"}"#).await;
    assert_eq!(shown().await.0, json!({"B": ""}));
    let headers = Some([("X-New".to_owned(), "new and secret".to_owned())].into());
    let made = EndpointIn { headers, ..EndpointIn::new("http://127.0.0.1:9/".into()) };
    let made = api.create(app.clone(), made, None).await.unwrap().id;
    assert_eq!(
        json!(api.get_headers(app.clone(), made).await.unwrap().headers),
        json!({"X-New": "new and secret"})
    );
    // In the table they are sealed; their names are in audit events.
    let table = stack.stack.table("ConfigTable").unwrap();
    let items = stack.stack.dynamodb().scan().table_name(table).send().await.unwrap();
    assert!(!format!("{items:?}").contains("new and secret"));
    let named = items.items().iter().filter(|item| format!("{item:?}").contains("X-New"));
    let named: Vec<_> = named.map(|item| item["pk"].as_s().unwrap().as_str()).collect();
    assert_eq!(named, [format!("AUDIT#{}", shared::auth::DEFAULT_ORG)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_break_a_rule_are_named_and_nothing_is_changed() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/headers");
    assert!(
        stack.request("PUT", &path, &stack.token, r#"{"headers":{"X-Kept":"1"}}"#).await.status.is_success()
    );
    let many: serde_json::Map<_, _> = (0..51).map(|n| (format!("X-{n}"), json!("v"))).collect();
    let large: serde_json::Map<_, _> = (0..9).map(|n| (format!("X-{n}"), json!("v".repeat(4096)))).collect();
    for method in ["PUT", "PATCH"] {
        for (headers, loc, msg) in [
            (json!(null), "headers", "Field required"),
            (json!([]), "headers", "Invalid type"),
            (json!({"X-A": 1}), "headers.X-A", "Invalid type"),
            (json!({"a b": "1"}), "headers.a b", "Not a header's name of 1 to 256 characters"),
            (json!({"": "1"}), "headers.", "Not a header's name of 1 to 256 characters"),
            (json!({"X-A": "a\r\nb: c"}), "headers.X-A", "Must be visible ASCII characters and spaces"),
            (json!({"X-A": "v".repeat(4097)}), "headers.X-A", "Must have at most 4096 bytes"),
            (json!({"Host": "x"}), "headers.Host", "This header cannot be set"),
            (json!({"User-Agent": "x"}), "headers.User-Agent", "This header cannot be set"),
            (
                json!({"Webhook-Id": "x"}),
                "headers.Webhook-Id",
                "Headers that begin with webhook- cannot be set",
            ),
            (json!({"svix-id": "x"}), "headers.svix-id", "Headers that begin with svix- cannot be set"),
            (
                json!({"X-Amz-Date": "x"}),
                "headers.X-Amz-Date",
                "Headers that begin with x-amz- cannot be set",
            ),
            (json!({"X-A": "1", "x-a": "2"}), "headers.x-a", "Is the same header as X-A"),
            (json!(many), "headers", "Must have at most 50 entries"),
            (json!(large), "headers", "Must have at most 32768 bytes in all"),
        ] {
            let body = json!({"headers": headers}).to_string();
            let answer = stack.request(method, &path, &stack.token, body).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {loc}: {}", answer.text);
            let (found, text) = places(&answer.json()).remove(0);
            assert_eq!(found, format!("body.{loc}"), "{method} {msg}");
            assert!(text.starts_with(msg), "{method} {loc}: {text}");
        }
    }
    // All at once; null means nothing to PUT.
    let body = r#"{"headers":{"Host":"x","X-A":null,"X-B":2}}"#;
    let answer = stack.request("PUT", &path, &stack.token, body).await.json();
    let mut found: Vec<_> = places(&answer).into_iter().map(|(loc, _)| loc).collect();
    found.sort();
    assert_eq!(found, ["body.headers.Host", "body.headers.X-A", "body.headers.X-B"]);
    let bad = r#"{"url":"http://127.0.0.1:9/","headers":{"Host":"x"}}"#;
    let answer = stack.request("POST", &format!("/api/v1/app/{app}/endpoint"), &stack.token, bad).await;
    assert_eq!(places(&answer.json())[0].0, "body.headers.Host");

    let shown = stack.request("GET", &path, &stack.token, "").await.json();
    assert_eq!(shown, json!({"headers": {"X-Kept": "1"}, "sensitive": []}));
    assert_eq!(stack.svix.endpoint().list(app, None).await.unwrap().data.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_arrive_as_they_were_written_and_ours_stay_ours() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://us%40er:pass@{}/in", listener.local_addr().unwrap());
    let endpoint = stack.endpoint(&app, &url).await.id;
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/headers");
    let body =
        r#"{"headers":{"X-MixedCASE":"One","x-lower":"two","Authorization":"Bearer t","ACCEPT":"text/x"}}"#;
    assert!(stack.request("PUT", &path, &stack.token, body).await.status.is_success());
    stack.message(&app, MessageIn::new("a".into(), json!({"n": 1}))).await;
    let text = soon("a request", one_request_as_written(listener)).await;
    for line in ["X-MixedCASE: One", "x-lower: two", "Authorization: Bearer t", "ACCEPT: text/x"] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
    }
    // The explicit header wins over what the URL says, and each is there once.
    let lower = text.to_lowercase();
    for name in
        ["authorization", "accept", "content-type", "user-agent", "webhook-id", "webhook-signature", "host"]
    {
        assert_eq!(lower.matches(&format!("\r\n{name}: ")).count(), 1, "{name} in {text}");
    }
    assert!(
        lower.contains("\r\ncontent-type: application/json\r\n")
            && lower.contains("\r\nuser-agent: postrider/")
    );
    stack.idle().await;
}

fn signatures(webhook: &Webhook) -> usize {
    webhook.header("webhook-signature").split(' ').count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_signs_until_its_grace_ends() {
    let (stack, clock) = house_with_clock().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let path = format!("/api/v1/app/{app}/endpoint/{}/secret", endpoint.id);
    let mut send = async || {
        stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
        receiver.next().await
    };
    send().await.verify(&endpoint.secret);

    // Without a body: a key is drawn, and the old one lasts a day.
    let rotated = stack.request("POST", &format!("{path}/rotate"), &stack.token, "").await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.text);
    let second = rotated.json()["key"].as_str().unwrap().to_owned();
    assert_ne!(second, endpoint.secret);
    // Which keys are valid, and until when.
    let previous = async || {
        let shown = stack.request("GET", &path, &stack.token, "").await.json();
        assert_eq!(shown["key"], json!(second));
        let until = shown["previousKeys"].as_array().cloned().unwrap_or_default();
        until
            .iter()
            .map(|key| key["until"].as_str().and_then(Timestamp::parse).expect("a time"))
            .collect::<Vec<_>>()
    };
    let until = previous().await;
    assert_eq!(until.len(), 1);
    let left = until[0].since(clock.now()).as_secs();
    assert!((86_000..=86_400).contains(&left), "{left}");
    let webhook = send().await;
    assert_eq!(signatures(&webhook), 2);
    for key in [&endpoint.secret, &second] {
        webhook.verify(key);
    }
    clock.skip(Duration::from_secs(86_390));
    assert_eq!(signatures(&send().await), 2);
    clock.skip(Duration::from_secs(20));
    let webhook = send().await;
    assert_eq!((signatures(&webhook), previous().await.len()), (1, 0));

    // With a key of one's own, through the SDK, and no grace at all.
    let third = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let rotate = EndpointSecretRotateIn { key: Some(third.into()), grace_period_seconds: Some(0) };
    stack.svix.endpoint().rotate_secret(app.clone(), endpoint.id.clone(), rotate, None).await.unwrap();
    let webhook = send().await;
    assert_eq!(signatures(&webhook), 1);
    // By now it is of a day that the verifier's clock has not reached.
    let verifier = svix::webhooks::Webhook::new(third).unwrap();
    verifier
        .verify_ignoring_timestamp(&webhook.body, &webhook.headers)
        .expect("it is signed with the new key");
    // A pair of keys: only the public one is shown.
    let seed = "whsk_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let body = json!({"key": seed, "gracePeriodSeconds": 60}).to_string();
    let shown = stack.request("POST", &format!("{path}/rotate"), &stack.token, body).await.json();
    assert!(shown["key"].as_str().unwrap().starts_with("whpk_"), "{shown}");
    let webhook = send().await;
    assert!(webhook.header("webhook-signature").starts_with("v1a,") && signatures(&webhook) == 2);
    // A key that is drawn after that is of the same kind.
    let next = stack.request("POST", &format!("{path}/rotate"), &stack.token, "{}").await.json();
    assert!(next["key"].as_str().unwrap().starts_with("whpk_") && next != shown);
    // The first SDKs take an answer with a body for a failure.
    for (agent, status) in [("svix-libs/1.45.1/python", 204), ("svix-libs/2.9.1/python", 200)] {
        let headers = [("user-agent", agent), ("idempotency-key", agent)];
        for _ in 0..2 {
            let answer =
                stack.request_with("POST", &format!("{path}/rotate"), &stack.token, &headers, "{}").await;
            assert_eq!((answer.status.as_u16(), answer.text.is_empty()), (status, status == 204), "{agent}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_have_rules_and_happen_once_for_a_key() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let path = format!("/api/v1/app/{app}/endpoint/{}/secret", endpoint.id);
    let rotate = format!("{path}/rotate");
    for (body, loc) in [
        (r#"{"key":"short"}"#, "body.key"),
        (r#"{"key":7}"#, "body.key"),
        (r#"{"gracePeriodSeconds":604801}"#, "body.gracePeriodSeconds"),
        (r#"{"gracePeriodSeconds":-1}"#, "body.gracePeriodSeconds"),
        ("[]", "body"),
    ] {
        let answer = stack.request("POST", &rotate, &stack.token, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        assert_eq!(places(&answer.json())[0].0, loc, "{body}");
    }
    let current = async || stack.request("GET", &path, &stack.token, "").await.json()["key"].clone();
    assert_eq!(current().await, json!(endpoint.secret));

    let key = [("idempotency-key", "one")];
    let requests = (0..5).map(|_| stack.request_with("POST", &rotate, &stack.token, &key, "{}"));
    let answers = futures_util::future::join_all(requests).await;
    let rotated = current().await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.json()["key"]), (StatusCode::OK, &rotated));
    }
    // One old key is valid now. Nine more may be; after that only a rotation that keeps none.
    for _ in 0..9 {
        assert_eq!(
            stack.request("POST", &rotate, &stack.token, r#"{"gracePeriodSeconds":604800}"#).await.status,
            StatusCode::OK
        );
    }
    let last = current().await;
    let refused = stack.request("POST", &rotate, &stack.token, "{}").await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::BAD_REQUEST, &json!("limit_reached")));
    assert_eq!(current().await, last);
    let without = stack.request("POST", &rotate, &stack.token, r#"{"gracePeriodSeconds":0}"#).await;
    assert_eq!(without.status, StatusCode::OK);
    assert_ne!(current().await, last);
}
