//! Integrations, and what their keys are good for.

use http::StatusCode;
use serde_json::{Value, json};

use crate::test_stack::{Answer, TestStack};

impl TestStack {
    async fn ask_integration(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request(method, &format!("/api/v1/app/{path}"), token, body).await
    }

    async fn key_of(&self, path: &str) -> String {
        let rotated =
            self.ask_integration("POST", &format!("{path}/key/rotate"), &self.token, &Value::Null).await;
        assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.text);
        rotated.json()["key"].as_str().expect("a key").to_owned()
    }

    async fn status_of(&self, path: &str, token: &str) -> StatusCode {
        self.ask_integration("GET", path, token, &Value::Null).await.status
    }
}

/// INV-19
#[tokio::test(flavor = "multi_thread")]
async fn a_key_acts_within_its_application_until_the_next_one() {
    let stack = TestStack::start().await;
    let (app, other) = (stack.app().await, stack.app().await);
    let all = format!("{app}/integration");
    let body = json!({"name": "Zap", "featureFlags": ["beta"]});
    let made = stack.ask_integration("POST", &all, &stack.token, &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!((&made["name"], &made["featureFlags"]), (&json!("Zap"), &json!(["beta"])));
    let one = format!("{all}/{}", made["id"].as_str().expect("an id"));

    let key = stack.key_of(&one).await;
    assert!(key.starts_with("integsk_"), "{key}");
    let endpoints = format!("{app}/endpoint");
    assert_eq!(stack.status_of(&endpoints, &key).await, StatusCode::OK);
    let endpoint = json!({"url": "http://127.0.0.1:9/"});
    let endpoint = stack.ask_integration("POST", &endpoints, &key, &endpoint).await;
    assert_eq!(endpoint.status, StatusCode::CREATED, "{}", endpoint.text);
    // Its application alone, and nothing that is the organisation's.
    assert_eq!(stack.status_of(&format!("{other}/endpoint"), &key).await, StatusCode::NOT_FOUND);
    for (method, path) in [("GET", all.as_str()), ("GET", &one), ("DELETE", &one)] {
        let refused = stack.ask_integration(method, path, &key, &Value::Null).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    let rotate = format!("{one}/key/rotate");
    assert_eq!(
        stack.ask_integration("POST", &rotate, &key, &Value::Null).await.status,
        StatusCode::FORBIDDEN
    );
    // What it sees follows its feature flags.
    let beta = json!({"name": "beta.thing", "description": "", "featureFlags": ["beta"]}).to_string();
    stack.request("POST", "/api/v1/event-type", &stack.token, beta).await;
    let sees = async || {
        let path = "/api/v1/event-type/beta.thing";
        stack.request("GET", path, &key, "").await.status == StatusCode::OK
    };
    assert!(sees().await);
    let put = stack.ask_integration("PUT", &one, &stack.token, &json!({"name": "Zapped"})).await;
    assert_eq!((put.status, &put.json()["featureFlags"]), (StatusCode::OK, &json!([])));
    assert!(!sees().await);
    let who = stack.request("GET", "/api/v1/auth/whoami", &key, "").await.json();
    assert_eq!((&who["appId"], &who["expiresAt"]), (&json!(app), &Value::Null));
    // Tokens of the portal end without it.
    let expire = format!("/api/v1/auth/app/{app}/expire-all");
    assert!(stack.request("POST", &expire, &stack.token, "{}").await.status.is_success());
    assert_eq!(stack.status_of(&endpoints, &key).await, StatusCode::OK);

    // The next key ends it at once; a repeated request makes no other.
    let headers = [("idempotency-key", "one")];
    let path = format!("/api/v1/app/{rotate}");
    let next = stack.request_with("POST", &path, &stack.token, &headers, "").await;
    let again = stack.request_with("POST", &path, &stack.token, &headers, "").await;
    assert_eq!((next.status, &next.text), (StatusCode::OK, &again.text));
    let next = next.json()["key"].as_str().expect("a key").to_owned();
    assert_eq!(stack.status_of(&endpoints, &key).await, StatusCode::UNAUTHORIZED);
    assert_eq!(stack.status_of(&endpoints, &next).await, StatusCode::OK);
    for text in ["integsk_", "integsk_AAAA", &next[..next.len() - 1], &format!("{next}A")] {
        assert_eq!(stack.status_of(&endpoints, text).await, StatusCode::UNAUTHORIZED, "{text}");
    }
    assert_eq!(
        stack.ask_integration("DELETE", &one, &stack.token, &Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(stack.status_of(&endpoints, &next).await, StatusCode::UNAUTHORIZED);
    let gone = stack.ask_integration("GET", &one, &stack.token, &Value::Null).await;
    let id = made["id"].as_str().expect("an id");
    assert_eq!(gone.json()["detail"], format!("Integration \"{id}\" not found"));
}

/// INV-19
#[tokio::test(flavor = "multi_thread")]
async fn integrations_are_listed_and_are_their_applications_own() {
    let stack = TestStack::start().await;
    let (app, other) = (stack.app().await, stack.app().await);
    let mut ids = Vec::new();
    for nth in 0..3 {
        let body = json!({"name": format!("n{nth}")});
        let made = stack.ask_integration("POST", &format!("{app}/integration"), &stack.token, &body).await;
        ids.push(made.json()["id"].clone());
    }
    ids.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    let listed = async |path: String, token: &str| {
        let page = stack.ask_integration("GET", &path, token, &Value::Null).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        let page = page.json();
        let ids: Vec<Value> =
            page["data"].as_array().expect("a page").iter().map(|one| one["id"].clone()).collect();
        (ids, page)
    };
    let (first, page) = listed(format!("{app}/integration?limit=2"), &stack.token).await;
    assert_eq!((&first[..], &page["done"]), (&ids[..2], &json!(false)));
    let iterator = page["iterator"].as_str().expect("an iterator");
    let (rest, page) = listed(format!("{app}/integration?limit=2&iterator={iterator}"), &stack.token).await;
    assert_eq!((&rest[..], &page["done"]), (&ids[2..], &json!(true)));
    assert_eq!(listed(format!("{other}/integration"), &stack.token).await.0, Vec::<Value>::new());
    // Neither an endpoint of it, nor anybody else's.
    let endpoints =
        stack.ask_integration("GET", &format!("{app}/endpoint"), &stack.token, &Value::Null).await;
    assert_eq!(endpoints.json()["data"], json!([]));
    let stranger = stack.stack.org_token(Some("org_23rb8YdGqMT0qIzpgGwdXfHirMv".parse().expect("an id")));
    let id = ids[0].as_str().expect("an id");
    for (method, path) in [
        ("GET", format!("{app}/integration")),
        ("GET", format!("{app}/integration/{id}")),
        ("PUT", format!("{app}/integration/{id}")),
        ("DELETE", format!("{app}/integration/{id}")),
        ("POST", format!("{app}/integration/{id}/key/rotate")),
    ] {
        let body = if method == "PUT" { json!({"name": "mine"}) } else { Value::Null };
        let answer = stack.ask_integration(method, &path, &stranger, &body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {}", answer.text);
    }
    let elsewhere = format!("{other}/integration/{id}");
    assert_eq!(stack.status_of(&elsewhere, &stack.token).await, StatusCode::NOT_FOUND);
    for body in [json!({}), json!({"name": ""}), json!({"name": "x", "featureFlags": ["a b"]})] {
        let refused = stack.ask_integration("POST", &format!("{app}/integration"), &stack.token, &body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    // A deleted application takes them along.
    let key = stack.key_of(&format!("{app}/integration/{id}")).await;
    assert_eq!(stack.status_of(&format!("{app}/endpoint"), &key).await, StatusCode::OK);
    let deleted = stack.ask_integration("DELETE", &app, &stack.token, &Value::Null).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert!(stack.status_of(&format!("{app}/endpoint"), &key).await.is_client_error());
}
