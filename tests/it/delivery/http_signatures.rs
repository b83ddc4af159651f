//! Webhooks that are signed as HTTP messages (RFC 9421): verified here by a few lines and the published keys, and by
//! other libraries in `tests/examples/signed.py`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use svix::models::MessageIn;

use crate::test_stack::{Ahead, Receiver, TestStack, Webhook, settings};

const COMPONENTS: [&str; 6] =
    ["@method", "@target-uri", "content-digest", "content-type", "webhook-id", "webhook-timestamp"];

impl TestStack {
    async fn signed_endpoint(&self, app: &str, url: &str) -> Value {
        let body = json!({"url": url, "headerStyle": "rfc9421"}).to_string();
        let made = self.request("POST", &format!("/api/v1/app/{app}/endpoint"), &self.token, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made.json()
    }

    /// The published keys: ID and bytes, the newest first.
    async fn jwks(&self) -> Vec<(String, Vec<u8>)> {
        let answer = self.request("GET", "/.well-known/jwks.json", "", "").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.headers["cache-control"], "public, max-age=300");
        let document = answer.json();
        let keys = document["keys"].as_array().expect("keys");
        keys.iter()
            .map(|key| {
                assert_eq!(
                    (&key["kty"], &key["crv"], &key["use"]),
                    (&json!("OKP"), &json!("Ed25519"), &json!("sig"))
                );
                let x = URL_SAFE_NO_PAD.decode(key["x"].as_str().expect("a key")).expect("base64url");
                (key["kid"].as_str().expect("an id").to_owned(), x)
            })
            .collect()
    }

    async fn rotate(&self, body: Value) -> Value {
        let path = "/api/v1/environment/signing-key/rotate";
        let answer = self.request("POST", path, &self.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }
}

/// The ID of the key that signed a webhook; nothing of it is altered.
fn verified(webhook: &Webhook, url: &str, keys: &[(String, Vec<u8>)]) -> String {
    let body = format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, &webhook.body)));
    assert_eq!(webhook.header("content-digest"), body);
    let input = webhook.header("signature-input").strip_prefix("webhook=").expect("its label");
    let (components, parameters) = input.split_once(");").expect("parameters");
    let named: Vec<&str> =
        components.trim_start_matches('(').split(' ').map(|name| name.trim_matches('"')).collect();
    assert_eq!(named, COMPONENTS);
    let parameters: BTreeMap<&str, &str> =
        parameters.split(';').map(|pair| pair.split_once('=').expect("a parameter")).collect();
    assert_eq!((parameters["alg"], parameters["tag"]), ("\"ed25519\"", "\"webhook\""));
    assert_eq!(parameters["created"], webhook.header("webhook-timestamp"));
    let id = parameters["keyid"].trim_matches('"');
    let (_, key) =
        keys.iter().find(|(known, _)| known == id).unwrap_or_else(|| panic!("{id} is not in {keys:?}"));
    let value = |name: &str| match name {
        "@method" => webhook.method.to_string(),
        "@target-uri" => url.to_owned(),
        name => webhook.header(name).to_owned(),
    };
    let lines = COMPONENTS.iter().map(|name| format!("\"{name}\": {}\n", value(name)));
    let base = lines.collect::<String>() + "\"@signature-params\": " + input;
    let signature =
        webhook.header("signature").strip_prefix("webhook=:").and_then(|rest| rest.strip_suffix(':'));
    let signature = STANDARD.decode(signature.expect("its label")).expect("base64");
    UnparsedPublicKey::new(&ED25519, key)
        .verify(base.as_bytes(), &signature)
        .expect("the signature is right");
    id.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_for_it_gets_signatures_of_http_messages() {
    let stack = TestStack::with(settings().with("POSTRIDER_HEADER_STYLE", "svix")).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    assert!(stack.jwks().await.is_empty());
    let plain = stack.endpoint(&app, &receiver.url("/plain")).await;
    assert!(stack.jwks().await.is_empty());
    let url = receiver.url("/signed?x=%20y&z");
    let made = stack.signed_endpoint(&app, &url.replace("http://", "http://me:pass@")).await;
    assert_eq!(made["headerStyle"], "rfc9421");
    let keys = stack.jwks().await;
    assert_eq!(keys.len(), 1);
    // A second endpoint has the same key.
    stack.signed_endpoint(&app, &receiver.url("/second")).await;
    assert_eq!(stack.jwks().await, keys);
    let raw = json!({"eventType": "a", "payload": {}, "transformationsParams": {
        "rawPayload": "<é/>", "headers": {"content-type": "text/xml; charset=utf-8"},
    }});
    let sent = stack.request("POST", &format!("/api/v1/app/{app}/msg"), &stack.token, raw.to_string()).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text);
    let mut webhooks = [receiver.next().await, receiver.next().await, receiver.next().await];
    webhooks.sort_by_key(|webhook| webhook.path.clone());
    let [without, second, signed] = &webhooks;
    for name in ["signature", "signature-input", "content-digest", "webhook-id"] {
        assert!(!without.headers.contains_key(name), "{name}");
    }
    verified(second, &receiver.url("/second"), &keys);
    verified(signed, &url, &keys);
    // And by the endpoint's own secret, as before.
    let path = format!("/api/v1/app/{app}/endpoint/{}/secret", made["id"].as_str().expect("an id"));
    let secret = stack.request("GET", &path, &stack.token, "").await.json();
    let svix = svix::webhooks::Webhook::new(secret["key"].as_str().expect("a key")).expect("a secret");
    svix.verify(&signed.body, &signed.headers).expect("the SDK verifies the webhook");
    assert_eq!(signed.header("webhook-id"), signed.header("svix-id"));
    // Another organisation, and one that is not there, have no keys; what is none is refused.
    let other =
        stack.request("GET", "/.well-known/jwks.json?org=org_000000000000000000000000000", "", "").await;
    assert_eq!((other.status, other.json()), (StatusCode::OK, json!({"keys": []})));
    let none = stack.request("GET", "/.well-known/jwks.json?org=acme", "", "").await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST, "{}", none.text);

    // Switched off again.
    let path = format!("/api/v1/app/{app}/endpoint/{}", made["id"].as_str().expect("an id"));
    for (body, style) in
        [(json!({"description": "kept"}), json!("rfc9421")), (json!({"headerStyle": null}), Value::Null)]
    {
        let patched = stack.request("PATCH", &path, &stack.token, body.to_string()).await.json();
        assert_eq!(patched["headerStyle"], style, "{body}");
    }
    stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    for _ in 0..3 {
        let webhook = receiver.next().await;
        assert_eq!(webhook.headers.contains_key("signature"), webhook.path == "/second", "{}", webhook.path);
    }
    drop(plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_published_before_it_signs_and_the_old_one_after() {
    let clock = Arc::new(Ahead::default());
    let mut ahead = settings();
    ahead.platform.clock = clock.clone();
    let stack = TestStack::with(ahead).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let url = receiver.url("/");
    stack.signed_endpoint(&app, &url).await;
    let mut signs = async |stack: &TestStack| {
        stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
        let webhook = receiver.next().await;
        verified(&webhook, &url, &stack.jwks().await)
    };
    let first = stack.jwks().await[0].0.clone();
    assert_eq!(signs(&stack).await, first);
    let rotated = stack.rotate(json!({"gracePeriodSeconds": 3600})).await;
    let ids: Vec<String> = stack.jwks().await.into_iter().map(|(id, _)| id).collect();
    assert_eq!((ids.len(), &ids[1]), (2, &first));
    let second = ids[0].clone();
    assert_eq!((&rotated["keys"][0]["kid"], &rotated["keys"][1]["kid"]), (&json!(second), &json!(first)));
    assert_eq!(signs(&stack).await, first);
    clock.skip(Duration::from_secs(700));
    assert_eq!(signs(&stack).await, second);
    assert_eq!(stack.jwks().await.len(), 2);
    clock.skip(Duration::from_secs(3600));
    assert_eq!(stack.jwks().await.len(), 1);
    assert_eq!(signs(&stack).await, second);
    // After a leak nothing old is left; an instance that has read the old one uses it for up to a minute.
    stack.rotate(json!({"gracePeriodSeconds": 0})).await;
    let keys = stack.jwks().await;
    assert!(keys.len() == 1 && keys[0].0 != second);
    clock.skip(Duration::from_secs(61));
    assert_eq!(signs(&stack).await, keys[0].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_http_messages_are_for_urls() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}/endpoint");
    for body in [
        json!({"destination": {"kind": "polling"}, "headerStyle": "rfc9421"}),
        json!({"url": "http://127.0.0.1:9/", "headerStyle": "svix"}),
        json!({"url": "http://127.0.0.1:9/", "headerStyle": true}),
    ] {
        let refused = stack.request("POST", &path, &stack.token, body.to_string()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", refused.text);
        assert!(refused.text.contains("headerStyle"), "{}", refused.text);
    }
    assert!(stack.jwks().await.is_empty());
    let made = stack.signed_endpoint(&app, "http://127.0.0.1:9/").await;
    let path = format!("{path}/{}", made["id"].as_str().expect("an id"));
    let moved = json!({"destination": {"kind": "polling"}}).to_string();
    let refused = stack.request("PATCH", &path, &stack.token, moved).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    let refused = stack
        .request(
            "POST",
            "/api/v1/environment/signing-key/rotate",
            &stack.token,
            r#"{"gracePeriodSeconds":604801}"#,
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
}
