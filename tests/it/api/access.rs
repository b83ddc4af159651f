//! Tokens come to their end: one that is logged out, and all of an application at once.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use svix::models::{AppPortalAccessIn, ApplicationIn, ApplicationTokenExpireIn};

use crate::test_stack::{Ahead, TestStack, sdk, settings};

async fn stack() -> (TestStack, Arc<Ahead>) {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let app = ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("Acme".into()) };
    stack.svix.application().create(app, None).await.expect("an application");
    (stack, clock)
}

async fn token(stack: &TestStack) -> String {
    let access = AppPortalAccessIn::default();
    stack.svix.authentication().app_portal_access("acme".into(), access, None).await.expect("access").token
}

/// The answers of functions that share no memory: what one knows of a token the others have to look up.
async fn statuses(stack: &TestStack, token: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for path in ["/app/acme", "/app/acme/endpoint", "/app/acme/msg", "/event-type"] {
        let answer = stack.request("GET", &format!("/api/v1{path}"), token, "").await;
        statuses.push(answer.status.as_u16());
    }
    statuses
}

/// INV-21
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_logged_out_counts_nowhere() {
    let (stack, clock) = stack().await;
    let (one, other) = (token(&stack).await, token(&stack).await);
    assert_eq!(statuses(&stack, &one).await, [200; 4]);
    sdk(stack.stack.address(), &one).authentication().logout(None).await.unwrap();
    // The other functions have just seen it valid, and believe that for a few seconds.
    clock.skip(Duration::from_secs(6));
    assert_eq!(statuses(&stack, &one).await, [401; 4]);
    let answer = stack.request("GET", "/api/v1/app/acme", &one, "").await.json();
    assert_eq!(
        answer,
        json!({"code": "authentication_failed", "detail": "The token was logged out or revoked."})
    );
    assert_eq!(statuses(&stack, &other).await, [200; 4]);
    // There is nothing left to log out; with a key, and on the path that old clients know.
    let key = [("idempotency-key", "k")];
    let again = stack.request_with("POST", "/api/v1/auth/logout/", &one, &key, "").await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    let first = stack.request_with("POST", "/api/v1/auth/logout/", &other, &key, "").await;
    assert_eq!((first.status, first.text.as_str()), (StatusCode::NO_CONTENT, ""));
    // An organisation's token is not one to log out: it goes on to work.
    let refused = stack.request("POST", "/api/v1/auth/logout", &stack.token, "").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (StatusCode::FORBIDDEN, &json!("insufficient_access"))
    );
    assert_eq!(statuses(&stack, &stack.token).await, [200; 4]);
    for bad in ["", "x.y.z"] {
        assert_eq!(
            stack.request("POST", "/api/v1/auth/logout", bad, "").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_a_token_up_costs_half_a_unit_each_five_seconds_or_each_minute() {
    let (stack, clock) = stack().await;
    let token = token(&stack).await;
    let cost = async |token: &str| {
        let before = stack.stack.usage();
        assert_eq!(stack.request("GET", "/api/v1/event-type", token, "").await.status, StatusCode::OK);
        let after = stack.stack.usage();
        (after.requests - before.requests, after.read_units - before.read_units)
    };
    // Both are new to this function.
    let (first, first_units) = cost(&stack.token).await;
    let (requests, units) = (first - 1, first_units - 0.5);
    assert_eq!(cost(&token).await, (requests + 1, units + 0.5));
    assert_eq!(cost(&token).await, (requests, units));
    clock.skip(Duration::from_secs(6));
    assert_eq!(cost(&token).await, (requests + 1, units + 0.5));
    // An organisation's token comes with every message, and is looked up once a minute.
    assert_eq!(cost(&stack.token).await, (requests, units));
    clock.skip(Duration::from_secs(45));
    assert_eq!(cost(&stack.token).await, (requests, units));
    clock.skip(Duration::from_secs(10));
    assert_eq!(cost(&stack.token).await, (requests + 1, units + 0.5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_revokes_its_own_tokens_and_nobody_elses() {
    const PATH: &str = "/api/v1/auth/revoke-token";
    let (stack, clock) = stack().await;
    let revoke =
        async |by: &str, body: serde_json::Value| stack.request("POST", PATH, by, body.to_string()).await;
    // Tokens that are made within the same millisecond are one.
    clock.skip(Duration::from_millis(2));
    let (lost, known) = (stack.stack.org_token(None), {
        clock.skip(Duration::from_millis(2));
        stack.stack.org_token(None)
    });
    let customers = token(&stack).await;
    for token in [&lost, &known, &customers] {
        assert_eq!(statuses(&stack, token).await, [200; 4]);
    }
    assert_eq!(revoke(&stack.token, json!({ "token": lost })).await.status, StatusCode::NO_CONTENT);
    let id = shared::auth::token_id(&known);
    assert_eq!(revoke(&stack.token, json!({ "tokenId": id })).await.status, StatusCode::NO_CONTENT);
    assert_eq!(revoke(&stack.token, json!({ "token": customers })).await.status, StatusCode::NO_CONTENT);
    // The other functions have just seen them valid.
    clock.skip(Duration::from_secs(6));
    assert_eq!(statuses(&stack, &customers).await, [401; 4]);
    clock.skip(Duration::from_secs(55));
    assert_eq!(statuses(&stack, &lost).await, [401; 4]);
    assert_eq!(statuses(&stack, &known).await, [401; 4]);
    assert_eq!(statuses(&stack, &stack.token).await, [200; 4]);
    // Neither changes anything: again by its id, which leaves no second event, and with the revoked one.
    assert_eq!(revoke(&stack.token, json!({ "tokenId": id })).await.status, StatusCode::NO_CONTENT);
    assert_eq!(revoke(&lost, json!({ "tokenId": id })).await.status, StatusCode::UNAUTHORIZED);
    let events =
        stack.request("GET", "/api/v1/audit-event?what=token.revoked", &stack.token, "").await.json();
    let subjects: Vec<_> = events["data"].as_array().unwrap().iter().map(|event| &event["subject"]).collect();
    assert_eq!(subjects.len(), 3);
    assert!(subjects.contains(&&json!(id)));

    // Another organisation means its own tokens only, whatever ids it knows.
    let other = stack.stack.org_token(Some("org_000000000000000000000000000".parse().unwrap()));
    let ours = shared::auth::token_id(&stack.token);
    assert_eq!(revoke(&other, json!({ "tokenId": ours })).await.status, StatusCode::NO_CONTENT);
    clock.skip(Duration::from_secs(61));
    assert_eq!(statuses(&stack, &stack.token).await, [200; 4]);

    for (body, loc) in [
        (json!({}), "token"),
        (json!({ "token": stack.token, "tokenId": id }), "token"),
        (json!({ "token": "x.y.z" }), "token"),
        (json!({ "token": other }), "token"),
        (json!({ "tokenId": id[1..] }), "tokenId"),
        (json!({ "tokenId": id.to_uppercase() }), "tokenId"),
        (json!({ "tokenId": 7 }), "tokenId"),
    ] {
        let answer = revoke(&stack.token, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        let detail = answer.json()["detail"].clone();
        assert_eq!(
            (detail.as_array().unwrap().len(), &detail[0]["loc"]),
            (1, &json!(["body", loc])),
            "{body}"
        );
    }
    let customers = token(&stack).await;
    assert_eq!(revoke(&customers, json!({ "tokenId": id })).await.status, StatusCode::FORBIDDEN);
}

/// INV-21
#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_an_application_expire_and_new_ones_count() {
    let (stack, clock) = stack().await;
    let app_statuses = async |token: &str| statuses(&stack, token).await[..3].to_vec();
    let old = token(&stack).await;
    let expire = async |expiry| {
        let sent = ApplicationTokenExpireIn { expiry, ..ApplicationTokenExpireIn::new() };
        stack.svix.authentication().expire_all("acme".into(), sent, None).await.expect("it is noted");
        clock.skip(Duration::from_millis(1));
    };
    expire(Some(60)).await;
    let newer = token(&stack).await;
    assert_eq!(app_statuses(&old).await, [200; 3]);
    clock.skip(Duration::from_secs(60));
    assert_eq!(app_statuses(&old).await, [401; 3]);
    assert_eq!(app_statuses(&newer).await, [200; 3]);
    // A later and longer grace brings nothing back; none at all ends them at once.
    expire(Some(3_600)).await;
    assert_eq!((app_statuses(&old).await, app_statuses(&newer).await), (vec![401; 3], vec![200; 3]));
    expire(None).await;
    assert_eq!(app_statuses(&newer).await, [401; 3]);
    let newest = token(&stack).await;
    assert_eq!(app_statuses(&newest).await, [200; 3]);
    assert_eq!(app_statuses(&stack.token).await, [200; 3]);

    let path = "/api/v1/auth/app/acme/expire-all";
    for (body, loc) in [
        (r#"{"expiry":259201}"#, "expiry"),
        (r#"{"expiry":-1}"#, "expiry"),
        (r#"{"expiry":"soon"}"#, "expiry"),
        (r#"{"sessionIds":["a b"]}"#, "sessionIds"),
    ] {
        let answer = stack.request("POST", path, &stack.token, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", loc]));
    }
    assert_eq!(stack.request("POST", path, &newest, "{}").await.status, StatusCode::FORBIDDEN);
    let none = stack.request("POST", &path.replace("acme", "none"), &stack.token, "").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert_eq!(app_statuses(&newest).await, [200; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_paths_and_health() {
    let (stack, _) = stack().await;
    let access = stack.request("POST", "/api/v1/auth/dashboard-access/acme/", &stack.token, "").await.json();
    let token = access["token"].as_str().expect("a token");
    assert!(access["url"].as_str().expect("a URL").contains("/login#key="));
    assert_eq!(stack.request("GET", "/api/v1/app/acme/", token, "").await.status, StatusCode::OK);
    for path in ["/api/v1/health", "/api/v1/health/", "/api/v1/health/ping", "/api/v1/health/ping/"] {
        for method in ["GET", "HEAD"] {
            let answer = stack.request(method, path, "", "").await;
            assert_eq!(
                (answer.status, answer.text.as_str()),
                (StatusCode::NO_CONTENT, ""),
                "{method} {path}"
            );
        }
    }
}
