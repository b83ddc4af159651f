//! Connectors: made by an organisation, read by its applications.

use http::StatusCode;
use serde_json::{Value, json};

use crate::test_stack::{Answer, TestStack};

const CODE: &str = "function handler(webhook) { return webhook }";
const OTHER_CODE: &str = "const handler = (webhook) => webhook;";
const OTHER_ORG: &str = "org_23rb8YdGqMT0qIzpgGwdXfHirMv";

impl TestStack {
    async fn ask_connector(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request(method, &format!("/api/v1/connector{path}"), token, body).await
    }

    /// One that is made by a body with these fields and what a body must have.
    async fn connector(&self, fields: Value) -> Value {
        let mut body = json!({"name": "Slack", "transformation": CODE});
        body.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
        let made = self.ask_connector("POST", "", &self.token, &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        assert_eq!(made.headers.get("postrider-unknown"), None);
        made.json()
    }
}

fn uids(list: &Answer) -> Vec<String> {
    let list = list.json();
    let entries = list["data"].as_array().expect("a list").iter();
    entries.map(|entry| entry["uid"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_says_what_was_said_of_it() {
    let stack = TestStack::start().await;
    let token = stack.token.clone();
    let whole = json!({
        "name": "Slack", "uid": "slack", "logo": "https://example.com/slack.png", "description": "Posts", "kind": "Slack",
        "instructions": "# Set up", "allowedEventTypes": ["a.b", "not.there.yet"], "transformation": CODE,
        "featureFlags": ["beta"], "productType": "Dispatch",
    });
    let made = stack.connector(whole.clone()).await;
    for (name, value) in whole.as_object().expect("fields") {
        assert_eq!(&made[name], value, "{name}");
    }
    assert!(made["id"].as_str().expect("an id").starts_with("trtmpl_"), "{made}");
    assert_eq!(made["orgId"], shared::auth::DEFAULT_ORG);
    let get = async |path: &str| stack.ask_connector("GET", path, &token, &Value::Null).await.json();
    let by_id = format!("/{}", made["id"].as_str().expect("an id"));
    assert_eq!((get("/slack").await, get(&by_id).await), (made.clone(), made.clone()));

    // The least; what is not there is not shown.
    let least = stack.connector(json!({})).await;
    assert_eq!(
        (&least["kind"], &least["description"], &least["instructions"]),
        (&json!("Custom"), &json!(""), &json!(""))
    );
    for name in ["uid", "logo", "allowedEventTypes", "featureFlags"] {
        assert!(least.get(name).is_none(), "{name}");
    }

    // A change leaves the rest; the code has a time of its own.
    let change = async |method: &str, path: &str, body: Value| {
        let answer = stack.ask_connector(method, path, &token, &body).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        answer
    };
    let patched =
        change("PATCH", "/slack", json!({"name": "S", "logo": null, "featureFlags": null})).await.json();
    assert_eq!((&patched["name"], &patched["instructions"]), (&json!("S"), &made["instructions"]));
    assert!(patched.get("logo").is_none() && patched.get("featureFlags").is_none());
    assert_eq!(patched["transformationUpdatedAt"], made["transformationUpdatedAt"]);
    assert_ne!(patched["updatedAt"], made["updatedAt"]);
    let patched = change("PATCH", "/slack", json!({"transformation": OTHER_CODE})).await.json();
    assert_eq!(
        (&patched["transformation"], &patched["transformationUpdatedAt"]),
        (&json!(OTHER_CODE), &patched["updatedAt"])
    );
    let put = change("PUT", "/slack", json!({"transformation": OTHER_CODE})).await;
    let shown = put.json();
    assert_eq!((put.status, &shown["uid"], &shown["name"]), (StatusCode::OK, &json!("slack"), &json!("")));
    assert_eq!((&shown["id"], &shown["createdAt"]), (&made["id"], &made["createdAt"]));
    assert!(shown.get("allowedEventTypes").is_none());
    let put = change("PUT", "/teams", json!({"name": "T", "kind": "Teams", "transformation": CODE})).await;
    assert_eq!((put.status, &put.json()["uid"]), (StatusCode::CREATED, &json!("teams")));

    let listed = stack.ask_connector("GET", "?limit=2", &token, &Value::Null).await;
    assert_eq!(
        (uids(&listed), &listed.json()["done"]),
        (vec!["slack".to_owned(), String::new()], &json!(false))
    );
    let next = listed.json()["iterator"].as_str().expect("an iterator").to_owned();
    let rest = stack.ask_connector("GET", &format!("?iterator={next}"), &token, &Value::Null).await;
    assert_eq!((uids(&rest), &rest.json()["done"]), (vec!["teams".to_owned()], &json!(true)));
    for (query, count) in [("?product_type=Dispatch", 3), ("?product_type=Stream", 0)] {
        let listed = stack.ask_connector("GET", query, &token, &Value::Null).await;
        assert_eq!(uids(&listed).len(), count, "{query}");
    }

    assert_eq!(change("DELETE", "/slack", Value::Null).await.status, StatusCode::NO_CONTENT);
    for path in ["/slack", by_id.as_str(), "/nope", "/trtmpl_x"] {
        for method in ["GET", "PATCH", "DELETE"] {
            let gone = stack.ask_connector(method, path, &token, &json!({})).await;
            assert_eq!(gone.status, StatusCode::NOT_FOUND, "{method} {path}");
            assert!(
                gone.json()["detail"].as_str().expect("a sentence").starts_with("Connector \""),
                "{}",
                gone.text
            );
        }
    }
    // An id is never made by its name; a uid is free again.
    let put = stack.ask_connector("PUT", &by_id, &token, &json!({"transformation": CODE})).await;
    assert_eq!(put.status, StatusCode::NOT_FOUND);
    stack.connector(json!({"uid": "slack"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connector_cannot_be_is_refused() {
    let stack = TestStack::start().await;
    stack.connector(json!({"uid": "taken"})).await;
    let types: Vec<String> = (0..251).map(|nth| format!("t{nth}")).collect();
    for (field, value) in [
        ("name", Value::Null),
        ("name", json!("x".repeat(4_097))),
        ("uid", json!("a b")),
        ("uid", json!("trtmpl_mine")),
        ("logo", json!("http://example.com/x.png")),
        ("logo", json!("javascript:alert(1)")),
        ("logo", json!("")),
        ("description", json!("x".repeat(4_097))),
        ("kind", json!("slack")),
        ("instructions", json!("x".repeat(65_537))),
        ("allowedEventTypes", json!([])),
        ("allowedEventTypes", json!(["a", "a"])),
        ("allowedEventTypes", json!(["invoice.*"])),
        ("allowedEventTypes", json!(types)),
        ("featureFlags", json!(["a b"])),
        ("productType", json!("Stream")),
        ("transformation", Value::Null),
        ("transformation", json!("short")),
        ("transformation", json!(format!("{CODE}//{}", "x".repeat(51_200)))),
        ("transformation", json!("function handler(webhook) {")),
        ("transformation", json!("function other(webhook) { return webhook }")),
        ("transformation", json!("while (true) {} function handler() {}")),
    ] {
        let mut body = json!({"name": "n", "transformation": CODE});
        body[field] = value.clone();
        let refused = stack.ask_connector("POST", "", &stack.token, &body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {value}");
        assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", field]), "{}", refused.text);
        // A PUT and a PATCH hold to the same, of the fields that they have.
        let is_there = !["uid", "productType"].contains(&field) && !value.is_null();
        for method in if is_there { &["PUT", "PATCH"][..] } else { &[] } {
            let refused = stack.ask_connector(method, "/taken", &stack.token, &body).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {field}: {value}");
            assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", field]), "{}", refused.text);
        }
    }
    let taken = json!({"name": "n", "uid": "taken", "transformation": CODE});
    let refused = stack.ask_connector("POST", "", &stack.token, &taken).await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    let listed = stack.ask_connector("GET", "", &stack.token, &Value::Null).await;
    assert_eq!(uids(&listed), ["taken"]);
    // The longest code of the widest characters, with all else that is long.
    let widest = format!("{CODE}//{}", "𝄞".repeat(51_200 - CODE.len() - 2));
    let types: Vec<String> = (0..250).map(|nth| format!("{nth:0>256}")).collect();
    let large = json!({
        "uid": "large", "transformation": widest, "instructions": "é".repeat(32_768), "allowedEventTypes": types,
        "description": "x".repeat(4_096), "name": "x".repeat(4_096),
    });
    stack.connector(large.clone()).await;
    // A page ends where an answer would be too long.
    for nth in 0..11 {
        let mut large = large.clone();
        large["uid"] = json!(format!("large-{nth}"));
        stack.connector(large).await;
    }
    let (mut found, mut query) = (0, String::new());
    for _ in 0..4 {
        let page = stack.ask_connector("GET", &query, &stack.token, &Value::Null).await;
        assert!(page.text.len() < 5 * 1024 * 1024, "{}", page.text.len());
        found += uids(&page).len();
        if page.json()["done"] == true {
            break;
        }
        query = format!("?iterator={}", page.json()["iterator"].as_str().expect("an iterator"));
    }
    assert_eq!(found, 13);
}

/// INV-19
#[tokio::test(flavor = "multi_thread")]
async fn applications_read_what_is_for_them_and_write_nothing() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    for (uid, flags) in [("open", json!([])), ("beta", json!(["beta", "more"])), ("secret", json!(["other"]))]
    {
        stack.connector(json!({"uid": uid, "featureFlags": flags})).await;
    }
    let access = async |body: Value| {
        let path = format!("/api/v1/auth/app-portal-access/{app}");
        let answer = stack.request("POST", &path, &stack.token, body.to_string()).await;
        answer.json()["token"].as_str().expect("a token").to_owned()
    };
    let (plain, beta) = (access(json!({})).await, access(json!({"featureFlags": ["beta"]})).await);
    for (token, expected) in
        [(&plain, &["open"][..]), (&beta, &["open", "beta"]), (&stack.token, &["open", "beta", "secret"])]
    {
        let listed = stack.ask_connector("GET", "", token, &Value::Null).await;
        assert_eq!(uids(&listed), expected);
        for uid in ["open", "beta", "secret"] {
            let read = stack.ask_connector("GET", &format!("/{uid}"), token, &Value::Null).await;
            let status = if expected.contains(&uid) { StatusCode::OK } else { StatusCode::NOT_FOUND };
            assert_eq!(read.status, status, "{uid}");
        }
    }
    let body = json!({"name": "mine", "transformation": CODE});
    for (method, path) in [("POST", ""), ("PUT", "/open"), ("PATCH", "/open"), ("DELETE", "/open")] {
        let refused = stack.ask_connector(method, path, &beta, &body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    // Another organisation has its own, under the same uid.
    let other = stack.stack.org_token(Some(OTHER_ORG.parse().expect("an id")));
    for method in ["GET", "PATCH", "DELETE"] {
        let missing = stack.ask_connector(method, "/open", &other, &json!({})).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND, "{method}");
    }
    let put = stack.ask_connector("PUT", "/open", &other, &body).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    let read = stack.ask_connector("GET", "/open", &stack.token, &Value::Null).await;
    assert_eq!(read.json()["name"], "Slack");
}
