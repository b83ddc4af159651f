//! Nobody sees another's: tokens of one organisation or application against the other's things.

use http::StatusCode;
use serde_json::json;
use shared::ids::OrgId;
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{Receiver, TestStack, sdk};

/// INV-19
#[tokio::test(flavor = "multi_thread")]
async fn another_organisations_token_finds_nothing() {
    let stack = TestStack::start().await;
    let receiver = Receiver::start().await;
    let app = ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("Acme".into()) };
    let app = stack.svix.application().create(app, None).await.unwrap().id;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let message = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    let attempt = stack.attempts(&app, &message).await.remove(0).id;

    let other: OrgId = "org_23rb8YdGqMT0qIzpgGwdXfHirMv".parse().unwrap();
    let other = stack.stack.org_token(Some(other));
    let customer = ApplicationIn::new("another customer".into());
    let other_app = stack.svix.application().create(customer, None).await.unwrap().id;
    let app_token = stack.stack.app_token(None, other_app.parse().unwrap());
    for (who, token) in [("another organisation", &other), ("another application", &app_token)] {
        for (method, path, body) in [
            ("GET", format!("/app/{app}"), ""),
            ("GET", "/app/acme".to_owned(), ""),
            ("GET", format!("/app/{app}/endpoint"), ""),
            ("POST", format!("/app/{app}/endpoint"), r#"{"url":"http://127.0.0.1:1/"}"#),
            ("GET", format!("/app/{app}/endpoint/{endpoint}"), ""),
            ("PUT", format!("/app/{app}/endpoint/{endpoint}"), r#"{"url":"http://127.0.0.1:1/"}"#),
            ("PATCH", format!("/app/{app}/endpoint/{endpoint}"), r#"{"description":"mine now"}"#),
            ("DELETE", format!("/app/{app}/endpoint/{endpoint}"), ""),
            ("GET", format!("/app/{app}/endpoint/{endpoint}/secret"), ""),
            ("GET", format!("/app/{app}/endpoint/{endpoint}/transformation"), ""),
            ("PATCH", format!("/app/{app}/endpoint/{endpoint}/transformation"), r#"{"enabled":false}"#),
            (
                "POST",
                format!("/app/{app}/endpoint/{endpoint}/transformation/simulate"),
                r#"{"code":"const handler = (w) => w","eventType":"a","payload":{}}"#,
            ),
            ("GET", format!("/app/{app}/msg"), ""),
            ("GET", format!("/app/{app}/msg/{message}"), ""),
            ("GET", format!("/app/{app}/attempt/endpoint/{endpoint}"), ""),
            ("GET", format!("/app/{app}/attempt/msg/{message}"), ""),
            ("GET", format!("/app/{app}/msg/{message}/attempt/{attempt}"), ""),
            ("GET", format!("/app/{app}/msg/{message}/attempt/{attempt}/headers"), ""),
            ("DELETE", format!("/app/{app}/msg/{message}/attempt/{attempt}/content"), ""),
            ("DELETE", format!("/app/{app}/msg/{message}/content"), ""),
            ("GET", format!("/app/{app}/msg/{message}/attempt"), ""),
            ("GET", format!("/app/{app}/msg/{message}/endpoint"), ""),
            ("GET", format!("/app/{app}/msg/{message}/endpoint/{endpoint}/attempt"), ""),
            ("POST", format!("/app/{app}/msg/{message}/endpoint/{endpoint}/resend"), ""),
            ("GET", format!("/app/{app}/endpoint/{endpoint}/msg"), ""),
        ] {
            let answer = stack.request(method, &format!("/api/v1{path}"), token, body).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{who}: {method} {path}: {}", answer.text);
            assert_eq!(answer.json()["code"], "not_found");
        }
    }
    // Another application's endpoint under one's own application.
    for path in [
        format!("/app/{other_app}/endpoint/{endpoint}"),
        format!("/app/{other_app}/attempt/endpoint/{endpoint}"),
        format!("/app/{other_app}/msg/{message}"),
        format!("/app/{other_app}/msg/{message}/attempt/{attempt}"),
        format!("/app/{other_app}/msg/{message}/endpoint"),
        format!("/app/{other_app}/endpoint/{endpoint}/msg"),
    ] {
        let answer = stack.request("GET", &format!("/api/v1{path}"), &app_token, "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text);
    }
    for (method, path, body) in [
        ("POST", format!("/app/{app}/msg"), r#"{"eventType":"a","payload":{}}"#),
        ("DELETE", format!("/app/{app}"), ""),
        ("PATCH", format!("/app/{app}"), r#"{"name":"x"}"#),
    ] {
        let answer = stack.request(method, &format!("/api/v1{path}"), &other, body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
    let listed = stack.request("GET", "/api/v1/app", &other, "").await.json();
    assert_eq!(listed, json!({"data": [], "iterator": null, "done": true}));
    // Nothing was changed by all that.
    let read =
        stack.request("GET", &format!("/api/v1/app/{app}/msg/{message}"), &stack.token, "").await.json();
    assert_eq!(read["payload"], json!({}));
    stack.idle().await;
    assert_eq!(stack.attempts(&app, &message).await.len(), 1);
    let read = stack.svix.endpoint().get(app.clone(), endpoint).await.unwrap();
    assert_eq!((read.description.as_str(), read.url), ("", receiver.url("/")));
    assert_eq!(stack.svix.endpoint().list(app, None).await.unwrap().data.len(), 1);
}

/// INV-19
#[tokio::test(flavor = "multi_thread")]
async fn an_applications_token_does_its_own_things_and_no_more() {
    let stack = TestStack::start().await;
    let app = ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("Acme".into()) };
    let app = stack.svix.application().create(app, None).await.unwrap().id;
    let access = stack
        .svix
        .authentication()
        .app_portal_access("acme".into(), svix::models::AppPortalAccessIn::default(), None)
        .await
        .unwrap();
    assert!(access.url.contains("/login#key="), "{}", access.url);
    let customer = sdk(stack.stack.address(), &access.token);
    // By its id and by its uid.
    assert_eq!(customer.application().get(app.clone()).await.unwrap().name, "Acme");
    let made = EndpointIn::new("http://127.0.0.1:9/".into());
    let made = customer.endpoint().create("acme".into(), made, None).await.unwrap();
    assert_eq!(customer.endpoint().list(app.clone(), None).await.unwrap().data[0].id, made.id);
    for (method, path, body) in [
        ("GET", "/app".to_owned(), ""),
        ("POST", "/app".to_owned(), r#"{"name":"x"}"#),
        ("DELETE", format!("/app/{app}"), ""),
        ("POST", "/event-type".to_owned(), r#"{"name":"x","description":""}"#),
        ("POST", format!("/app/{app}/msg"), r#"{"eventType":"a","payload":{}}"#),
        ("POST", format!("/auth/app-portal-access/{app}"), "{}"),
    ] {
        let answer = stack.request(method, &format!("/api/v1{path}"), &access.token, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {}", answer.text);
    }
}
