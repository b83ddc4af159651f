//! Portal links: where they lead, what their tokens allow, and how their sessions end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use shared::auth::capability::{NEEDS, Need};
use shared::auth::{Capabilities, Capability};

use crate::test_stack::{Ahead, TestStack, settings};

const ACCESS: &str = "/api/v1/auth/app-portal-access/acme";

async fn stack(one_time: bool) -> (TestStack, Arc<Ahead>) {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    if one_time {
        settings = settings.with("POSTRIDER_PORTAL_ONE_TIME_LINKS", "true");
    }
    let stack = TestStack::with(settings).await;
    let app = json!({"name": "Acme", "uid": "acme"}).to_string();
    assert_eq!(stack.request("POST", "/api/v1/app", &stack.token, app).await.status, StatusCode::CREATED);
    (stack, clock)
}

async fn access(stack: &TestStack, body: Value) -> Value {
    let answer = stack.request("POST", ACCESS, &stack.token, body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

async fn token(stack: &TestStack, body: Value) -> String {
    access(stack, body).await["token"].as_str().expect("a token").to_owned()
}

/// What the fragment of a link holds.
pub fn key(url: &Value) -> Value {
    let (_, key) = url.as_str().expect("a link").split_once("/login#key=").expect("a fragment");
    serde_json::from_slice(&STANDARD.decode(key).expect("base64")).expect("JSON")
}

fn names(capabilities: Capabilities) -> Vec<&'static str> {
    capabilities.iter().map(Capability::name).collect()
}

/// Every operation that the document offers to an application's token: method and path.
fn offered() -> BTreeSet<(String, String)> {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON");
    let mut offered = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let security = operation["security"].as_array().map(Vec::as_slice).unwrap_or_default();
            if security.iter().any(|kind| kind["application"].is_array()) {
                offered.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    offered
}

/// INV-20
#[test]
fn every_operation_of_an_application_says_which_capability_it_needs() {
    let table: BTreeSet<_> =
        NEEDS.iter().map(|(method, path, _)| (method.to_string(), (*path).to_owned())).collect();
    let missing: Vec<_> = offered().difference(&table).cloned().collect();
    assert!(missing.is_empty(), "add a row to NEEDS in the file capability.rs for each of {missing:?}");
    let gone: Vec<_> = table.difference(&offered()).cloned().collect();
    assert!(
        gone.is_empty(),
        "no such operation, or not for applications' tokens: take out of NEEDS {gone:?}"
    );
}

/// INV-20
#[tokio::test(flavor = "multi_thread")]
async fn without_its_capability_every_operation_is_refused_and_with_the_others_none() {
    let (stack, _) = stack(false).await;
    for capability in Capability::ALL {
        let others: Capabilities = Capability::ALL.into_iter().filter(|one| *one != capability).collect();
        let token = token(&stack, json!({ "capabilities": names(others) })).await;
        // Logging out ends the token.
        let last = |path: &str| path.ends_with("/logout");
        let mut needs: Vec<_> = NEEDS.iter().collect();
        needs.sort_by_key(|(_, path, _)| last(path));
        for (method, path, need) in needs {
            let path = path
                .replace("{app_id}", "acme")
                .replace("{endpoint_id}", "none")
                .replace("{msg_id}", "none")
                .replace("{attempt_id}", "atmpt_23rb8YdGqMT0qIzpgGwdXfHirMu")
                .replace("{task_id}", "none")
                .replace("{event_type_name}", "none");
            let answer = stack.request(method, &path, &token, "{}").await;
            if *need == Need::Of(capability) {
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {}", answer.text);
                let refusal = answer.json();
                assert_eq!(refusal["code"], "insufficient_access", "{method} {path}");
                let detail = refusal["detail"].as_str().expect("a sentence");
                assert!(detail.contains(capability.name()), "{method} {path}: {detail}");
            } else {
                let refused = [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED];
                assert!(
                    !refused.contains(&answer.status),
                    "{method} {path}: {} {}",
                    answer.status,
                    answer.text
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_may_only_read_makes_nothing_and_reads_no_secret() {
    let (stack, _) = stack(false).await;
    let all = token(&stack, json!({})).await;
    let endpoint = json!({"url": "http://127.0.0.1:1/", "uid": "main"}).to_string();
    let made = stack.request("POST", "/api/v1/app/acme/endpoint", &all, endpoint.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    for body in [json!({"readOnly": true}), json!({"capabilities": ["ViewBase"]})] {
        let token = token(&stack, body).await;
        let status = async |method: &str, path: &str, body: &str| {
            stack
                .request(method, &format!("/api/v1/app/acme/endpoint{path}"), &token, body.to_owned())
                .await
                .status
        };
        assert_eq!(status("GET", "/main", "").await, StatusCode::OK);
        assert_eq!(status("GET", "/main/secret", "").await, StatusCode::FORBIDDEN);
        assert_eq!(status("POST", "", &endpoint).await, StatusCode::FORBIDDEN);
        assert_eq!(status("DELETE", "/main", "").await, StatusCode::FORBIDDEN);
        let who = stack.request("GET", "/api/v1/auth/whoami", &token, "").await.json();
        assert_eq!(who["capabilities"], json!(["ViewBase"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_link_cannot_have_is_refused() {
    let (stack, _) = stack(false).await;
    for (body, field) in [
        (json!({"expiry": 3_599}), "expiry"),
        (json!({"expiry": 604_801}), "expiry"),
        (json!({"expiry": "1h"}), "expiry"),
        (json!({"sessionId": ""}), "sessionId"),
        (json!({"sessionId": "a b"}), "sessionId"),
        (json!({"sessionId": "x".repeat(65)}), "sessionId"),
        (json!({"capabilities": ["Everything"]}), "capabilities"),
        (json!({"capabilities": ["ViewBase", "ViewBase"]}), "capabilities"),
        (json!({"capabilities": []}), "capabilities"),
        (json!({"capabilities": "ViewBase"}), "capabilities"),
        (json!({"readOnly": "yes"}), "readOnly"),
        (json!({"readOnly": true, "capabilities": ["ManageEndpoint"]}), "readOnly"),
    ] {
        let answer = stack.request("POST", ACCESS, &stack.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", field]), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_leads_to_the_api_itself_whatever_headers_say() {
    let (stack, _) = stack(false).await;
    let headers = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "host=evil.example"),
    ];
    let answer = stack.request_with("POST", ACCESS, &stack.token, &headers, "{}").await.json();
    let own = format!("http://{}", stack.stack.address());
    assert!(answer["url"].as_str().unwrap().starts_with(&format!("{own}/login#key=")), "{answer}");
    let key = key(&answer["url"]);
    assert_eq!((&key["serverUrl"], &key["region"]), (&json!(own), &json!("self")));
    assert_eq!(key["token"], answer["token"]);
    assert!(key["appId"].as_str().unwrap().starts_with("app_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lasts_as_long_as_was_asked_for_and_seven_days_otherwise() {
    let (stack, clock) = stack(false).await;
    let (short, usual) = (token(&stack, json!({"expiry": 3_600})).await, token(&stack, json!({})).await);
    let status = async |token: &str| stack.request("GET", "/api/v1/auth/whoami", token, "").await.status;
    clock.skip(Duration::from_secs(3_599));
    assert_eq!((status(&short).await, status(&usual).await), (StatusCode::OK, StatusCode::OK));
    clock.skip(Duration::from_secs(2));
    assert_eq!((status(&short).await, status(&usual).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    clock.skip(Duration::from_secs(7 * 86_400));
    assert_eq!(status(&usual).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_alone() {
    let (stack, clock) = stack(false).await;
    let ann = token(&stack, json!({"sessionId": "ann@acme"})).await;
    let bob = token(&stack, json!({"sessionId": "bob"})).await;
    let none = token(&stack, json!({})).await;
    let who = stack.request("GET", "/api/v1/auth/whoami", &ann, "").await.json();
    assert_eq!(who["sessionId"], "ann@acme");
    let expire = async |body: Value| {
        let path = "/api/v1/auth/app/acme/expire-all";
        stack.request("POST", path, &stack.token, body.to_string()).await.status
    };
    let statuses = async |token: &str| {
        let mut statuses = Vec::new();
        for path in ["/app/acme", "/app/acme/msg", "/event-type"] {
            statuses.push(stack.request("GET", &format!("/api/v1{path}"), token, "").await.status.as_u16());
        }
        statuses
    };
    for token in [&ann, &bob, &none] {
        assert_eq!(statuses(token).await, [200; 3]);
    }
    assert_eq!(
        expire(json!({"sessionIds": ["ann@acme", "nobody"], "expiry": 60})).await,
        StatusCode::NO_CONTENT
    );
    clock.skip(Duration::from_secs(50));
    assert_eq!(statuses(&ann).await, [200; 3], "within the grace period");
    clock.skip(Duration::from_secs(11));
    assert_eq!(statuses(&ann).await, [401; 3]);
    for token in [&bob, &none] {
        assert_eq!(statuses(token).await, [200; 3]);
    }
    // The same session, opened anew.
    let again = token(&stack, json!({"sessionId": "ann@acme"})).await;
    assert_eq!(statuses(&again).await, [200; 3]);
    // A later and longer grace brings nothing back.
    let longer = json!({"sessionIds": ["ann@acme"], "expiry": 3_600});
    assert_eq!(expire(longer).await, StatusCode::NO_CONTENT);
    clock.skip(Duration::from_secs(6));
    assert_eq!((statuses(&ann).await, statuses(&again).await), (vec![401; 3], vec![200; 3]));
    for wrong in
        [json!({"sessionIds": ["a b"]}), json!({"sessionIds": vec!["s"; 2]}), json!({"expiry": 259_201})]
    {
        assert_eq!(expire(wrong.clone()).await, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    let many: Vec<String> = (0..1_000).map(|nth| format!("session-{nth}")).collect();
    assert_eq!(expire(json!({ "sessionIds": many })).await, StatusCode::NO_CONTENT);
    assert_eq!(expire(json!({})).await, StatusCode::NO_CONTENT);
    clock.skip(Duration::from_secs(6));
    assert_eq!(statuses(&bob).await[..2], [401; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_link_opens_once_and_for_ten_minutes() {
    let (stack, clock) = stack(true).await;
    let exchange = async |text: &str| {
        let body = json!({ "oneTimeToken": text }).to_string();
        stack.request("POST", "/api/v1/auth/one-time-token", "", body).await
    };
    let link = access(&stack, json!({"capabilities": ["ViewBase", "CreateAttempts"]})).await;
    let key_of = key(&link["url"]);
    assert!(key_of.get("token").is_none(), "{key_of}");
    let once = key_of["oneTimeToken"].as_str().unwrap();
    let opened = exchange(once).await;
    assert_eq!(opened.status, StatusCode::OK, "{}", opened.text);
    let opened = opened.json();
    assert_eq!(
        (&opened["token"], &opened["capabilities"]),
        (&link["token"], &json!(["ViewBase", "CreateAttempts"]))
    );
    assert_eq!(exchange(once).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(exchange("ott_unknown").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(exchange("").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let late = key(&access(&stack, json!({})).await["url"]);
    clock.skip(Duration::from_secs(601));
    assert_eq!(exchange(late["oneTimeToken"].as_str().unwrap()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoami_says_whose_token_it_is() {
    let (stack, _) = stack(false).await;
    let org = stack.request("GET", "/api/v1/auth/whoami", &stack.token, "").await.json();
    assert_eq!(
        (&org["envId"], &org["permissionSource"]),
        (&json!(shared::auth::DEFAULT_ORG), &json!("SvixJwt"))
    );
    assert!(org.get("appId").is_none() && org["expiresAt"].is_string(), "{org}");
    // The SDK knows the kinds of tokens by name.
    let sdk = stack.svix.authentication().whoami().await.expect("whoami");
    assert_eq!(sdk.env_id.as_deref(), Some(shared::auth::DEFAULT_ORG));
    let who = stack.request("GET", "/api/v1/auth/whoami", &token(&stack, json!({})).await, "").await.json();
    assert!(who["appId"].as_str().unwrap().starts_with("app_"), "{who}");
    assert_eq!(who["capabilities"].as_array().map(Vec::len), Some(6));
    let token = token(&stack, json!({})).await;
    assert!(stack.request("DELETE", "/api/v1/app/acme", &stack.token, "").await.status.is_success());
    let gone = stack.request("GET", "/api/v1/auth/whoami", &token, "").await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_link_without_a_body_still_works() {
    let (stack, _) = stack(false).await;
    let path = "/api/v1/auth/dashboard-access/acme";
    let answer = stack.request("POST", path, &stack.token, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(key(&answer.json()["url"])["region"], "self");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_authorization_header() {
    let (stack, _) = stack(false).await;
    let second = format!("Bearer {}", stack.token);
    let headers = [("authorization", second.as_str())];
    let answer = stack.request_with("GET", "/api/v1/app", &stack.token, &headers, "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_is_repeated_by_its_key_alone() {
    let (stack, clock) = stack(false).await;
    let logout = async |token: &str, key: &str| {
        let headers = [("idempotency-key", key)];
        let headers = if key.is_empty() { &[][..] } else { &headers };
        stack.request_with("POST", "/api/v1/auth/logout", token, headers, "").await.status.as_u16()
    };
    let one = token(&stack, json!({})).await;
    clock.skip(Duration::from_millis(2));
    let two = token(&stack, json!({})).await;
    assert_eq!(logout(&one, "k").await, 204);
    // The first response may have been lost.
    assert_eq!(logout(&one, "k").await, 204);
    assert_eq!(logout(&one, "l").await, 401);
    assert_eq!(logout(&one, "").await, 401);
    // The same key of another token is another request.
    let whoami = async |token: &str| stack.request("GET", "/api/v1/auth/whoami", token, "").await.status;
    assert_eq!(whoami(&two).await, StatusCode::OK);
    assert_eq!(logout(&two, "k").await, 204);
    assert_eq!(whoami(&two).await, StatusCode::UNAUTHORIZED);
}
