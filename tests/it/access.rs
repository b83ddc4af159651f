//! Tokens come to their end: one that is logged out, and all of an application at once.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use svix::models::{AppPortalAccessIn, ApplicationIn, ApplicationTokenExpireIn};

use crate::house::{Ahead, House, sdk, settings};

async fn house() -> (House, Arc<Ahead>) {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    let house = House::with(settings).await;
    let app = ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("Acme".into()) };
    house.svix.application().create(app, None).await.expect("an application");
    (house, clock)
}

async fn token(house: &House) -> String {
    let access = AppPortalAccessIn::default();
    house.svix.authentication().app_portal_access("acme".into(), access, None).await.expect("access").token
}

/// The answers of functions that share no memory: what one knows of a token the others have to look up.
async fn statuses(house: &House, token: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for path in ["/app/acme", "/app/acme/endpoint", "/app/acme/msg", "/event-type"] {
        let answer = house.request("GET", &format!("/api/v1{path}"), token, "").await;
        statuses.push(answer.status.as_u16());
    }
    statuses
}

/// INV-21
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_logged_out_counts_nowhere() {
    let (house, clock) = house().await;
    let (one, other) = (token(&house).await, token(&house).await);
    assert_eq!(statuses(&house, &one).await, [200; 4]);
    sdk(house.stack.address(), &one).authentication().logout(None).await.unwrap();
    // The other functions have just seen it valid, and believe that for a few seconds.
    clock.skip(Duration::from_secs(6));
    assert_eq!(statuses(&house, &one).await, [401; 4]);
    let answer = house.request("GET", "/api/v1/app/acme", &one, "").await.json();
    assert_eq!(
        answer,
        json!({"code": "authentication_failed", "detail": "The token was logged out or revoked."})
    );
    assert_eq!(statuses(&house, &other).await, [200; 4]);
    // There is nothing left to log out; with a key, and on the path that old clients know.
    let key = [("idempotency-key", "k")];
    let again = house.request_with("POST", "/api/v1/auth/logout/", &one, &key, "").await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    let first = house.request_with("POST", "/api/v1/auth/logout/", &other, &key, "").await;
    assert_eq!((first.status, first.text.as_str()), (StatusCode::NO_CONTENT, ""));
    // An organisation's token is not one to log out: it goes on to work.
    let refused = house.request("POST", "/api/v1/auth/logout", &house.token, "").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (StatusCode::FORBIDDEN, &json!("insufficient_access"))
    );
    assert_eq!(statuses(&house, &house.token).await, [200; 4]);
    for bad in ["", "x.y.z"] {
        assert_eq!(
            house.request("POST", "/api/v1/auth/logout", bad, "").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_a_token_up_costs_half_a_unit_each_five_seconds_or_each_minute() {
    let (house, clock) = house().await;
    let token = token(&house).await;
    let cost = async |token: &str| {
        let before = house.stack.usage();
        assert_eq!(house.request("GET", "/api/v1/event-type", token, "").await.status, StatusCode::OK);
        let after = house.stack.usage();
        (after.requests - before.requests, after.read_units - before.read_units)
    };
    // Both are new to this function.
    let (first, first_units) = cost(&house.token).await;
    let (requests, units) = (first - 1, first_units - 0.5);
    assert_eq!(cost(&token).await, (requests + 1, units + 0.5));
    assert_eq!(cost(&token).await, (requests, units));
    clock.skip(Duration::from_secs(6));
    assert_eq!(cost(&token).await, (requests + 1, units + 0.5));
    // An organisation's token comes with every message, and is looked up once a minute.
    assert_eq!(cost(&house.token).await, (requests, units));
    clock.skip(Duration::from_secs(45));
    assert_eq!(cost(&house.token).await, (requests, units));
    clock.skip(Duration::from_secs(10));
    assert_eq!(cost(&house.token).await, (requests + 1, units + 0.5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_revokes_its_own_tokens_and_nobody_elses() {
    const PATH: &str = "/api/v1/auth/revoke-token";
    let (house, clock) = house().await;
    let revoke =
        async |by: &str, body: serde_json::Value| house.request("POST", PATH, by, body.to_string()).await;
    // Tokens that are made within the same millisecond are one.
    clock.skip(Duration::from_millis(2));
    let (lost, known) = (house.stack.org_token(None), {
        clock.skip(Duration::from_millis(2));
        house.stack.org_token(None)
    });
    let customers = token(&house).await;
    for token in [&lost, &known, &customers] {
        assert_eq!(statuses(&house, token).await, [200; 4]);
    }
    assert_eq!(revoke(&house.token, json!({ "token": lost })).await.status, StatusCode::NO_CONTENT);
    let id = shared::auth::token_id(&known);
    assert_eq!(revoke(&house.token, json!({ "tokenId": id })).await.status, StatusCode::NO_CONTENT);
    assert_eq!(revoke(&house.token, json!({ "token": customers })).await.status, StatusCode::NO_CONTENT);
    // The other functions have just seen them valid.
    clock.skip(Duration::from_secs(6));
    assert_eq!(statuses(&house, &customers).await, [401; 4]);
    clock.skip(Duration::from_secs(55));
    assert_eq!(statuses(&house, &lost).await, [401; 4]);
    assert_eq!(statuses(&house, &known).await, [401; 4]);
    assert_eq!(statuses(&house, &house.token).await, [200; 4]);
    // Neither changes anything: again by its id, which leaves no second event, and with the revoked one.
    assert_eq!(revoke(&house.token, json!({ "tokenId": id })).await.status, StatusCode::NO_CONTENT);
    assert_eq!(revoke(&lost, json!({ "tokenId": id })).await.status, StatusCode::UNAUTHORIZED);
    let events =
        house.request("GET", "/api/v1/audit-event?what=token.revoked", &house.token, "").await.json();
    let subjects: Vec<_> = events["data"].as_array().unwrap().iter().map(|event| &event["subject"]).collect();
    assert_eq!(subjects.len(), 3);
    assert!(subjects.contains(&&json!(id)));

    // Another organisation means its own tokens only, whatever ids it knows.
    let other = house.stack.org_token(Some("org_000000000000000000000000000".parse().unwrap()));
    let ours = shared::auth::token_id(&house.token);
    assert_eq!(revoke(&other, json!({ "tokenId": ours })).await.status, StatusCode::NO_CONTENT);
    clock.skip(Duration::from_secs(61));
    assert_eq!(statuses(&house, &house.token).await, [200; 4]);

    for (body, loc) in [
        (json!({}), "token"),
        (json!({ "token": house.token, "tokenId": id }), "token"),
        (json!({ "token": "x.y.z" }), "token"),
        (json!({ "token": other }), "token"),
        (json!({ "tokenId": id[1..] }), "tokenId"),
        (json!({ "tokenId": id.to_uppercase() }), "tokenId"),
        (json!({ "tokenId": 7 }), "tokenId"),
    ] {
        let answer = revoke(&house.token, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        let detail = answer.json()["detail"].clone();
        assert_eq!(
            (detail.as_array().unwrap().len(), &detail[0]["loc"]),
            (1, &json!(["body", loc])),
            "{body}"
        );
    }
    let customers = token(&house).await;
    assert_eq!(revoke(&customers, json!({ "tokenId": id })).await.status, StatusCode::FORBIDDEN);
}

/// INV-21
#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_an_application_expire_and_new_ones_count() {
    let (house, clock) = house().await;
    let app_statuses = async |token: &str| statuses(&house, token).await[..3].to_vec();
    let old = token(&house).await;
    let expire = async |expiry| {
        let sent = ApplicationTokenExpireIn { expiry, ..ApplicationTokenExpireIn::new() };
        house.svix.authentication().expire_all("acme".into(), sent, None).await.expect("it is noted");
        clock.skip(Duration::from_millis(1));
    };
    expire(Some(60)).await;
    let newer = token(&house).await;
    assert_eq!(app_statuses(&old).await, [200; 3]);
    clock.skip(Duration::from_secs(60));
    assert_eq!(app_statuses(&old).await, [401; 3]);
    assert_eq!(app_statuses(&newer).await, [200; 3]);
    // A later and longer grace brings nothing back; none at all ends them at once.
    expire(Some(3_600)).await;
    assert_eq!((app_statuses(&old).await, app_statuses(&newer).await), (vec![401; 3], vec![200; 3]));
    expire(None).await;
    assert_eq!(app_statuses(&newer).await, [401; 3]);
    let newest = token(&house).await;
    assert_eq!(app_statuses(&newest).await, [200; 3]);
    assert_eq!(app_statuses(&house.token).await, [200; 3]);

    let path = "/api/v1/auth/app/acme/expire-all";
    for (body, loc) in [
        (r#"{"expiry":259201}"#, "expiry"),
        (r#"{"expiry":-1}"#, "expiry"),
        (r#"{"expiry":"soon"}"#, "expiry"),
        (r#"{"sessionIds":["a b"]}"#, "sessionIds"),
    ] {
        let answer = house.request("POST", path, &house.token, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", loc]));
    }
    assert_eq!(house.request("POST", path, &newest, "{}").await.status, StatusCode::FORBIDDEN);
    let none = house.request("POST", &path.replace("acme", "none"), &house.token, "").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert_eq!(app_statuses(&newest).await, [200; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_paths_and_health() {
    let (house, _) = house().await;
    let access = house.request("POST", "/api/v1/auth/dashboard-access/acme/", &house.token, "").await.json();
    let token = access["token"].as_str().expect("a token");
    assert!(access["url"].as_str().expect("a URL").contains("/login#key="));
    assert_eq!(house.request("GET", "/api/v1/app/acme/", token, "").await.status, StatusCode::OK);
    for path in ["/api/v1/health", "/api/v1/health/", "/api/v1/health/ping", "/api/v1/health/ping/"] {
        for method in ["GET", "HEAD"] {
            let answer = house.request(method, path, "", "").await;
            assert_eq!(
                (answer.status, answer.text.as_str()),
                (StatusCode::NO_CONTENT, ""),
                "{method} {path}"
            );
        }
    }
}
