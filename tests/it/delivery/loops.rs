//! Endpoints whose URL is this API itself.

use std::time::Duration;

use serde_json::json;
use shared::clock::{Clock as _, SystemClock};
use svix::models::{EndpointIn, EventTypeIn, MessageIn};

use crate::test_stack::{TestStack, settings};

/// An endpoint that calls `operation` of itself with the customer's own token, and what becomes of it.
async fn refused(operation: &str, payload: serde_json::Value) {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let app = stack.app().await;
    let schemas = json!({"1": {"type": "object", "examples": [payload]}});
    let event_type = EventTypeIn { schemas: Some(schemas), ..EventTypeIn::new("a".into(), "loops".into()) };
    stack.svix.event_type().create(event_type, None).await.expect("an event type");
    let access = format!("/api/v1/auth/app-portal-access/{app}");
    let access = stack.request("POST", &access, &stack.token, "{}").await.json();
    let token = access["token"].as_str().expect("a token");
    let uid = "loop";
    let url = format!("http://{}/api/v1/app/{app}/endpoint/{uid}/{operation}", stack.stack.address());
    let headers = [("Authorization".to_owned(), format!("Bearer {token}"))].into();
    let endpoint = EndpointIn { uid: Some(uid.into()), headers: Some(headers), ..EndpointIn::new(url) };
    stack.endpoint_with(&app, endpoint).await;

    let id = stack.message(&app, MessageIn::new("a".into(), payload.clone())).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].response_status_code, 403, "{}", attempts[0].response);
    assert!(attempts[0].response.contains("a webhook that Postrider delivers"), "{}", attempts[0].response);
    assert_eq!(stack.svix.message().list(app.clone(), None).await.expect("messages").data.len(), 1);
    // The same by hand is done.
    let path = format!("/api/v1/app/{app}/endpoint/{uid}/{operation}");
    let answer = stack.request("POST", &path, token, payload.to_string()).await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

/// INV-29
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_an_operation_that_sends_ends_on_its_first_hop() {
    refused("send-example", json!({"eventType": "a"})).await;
    let since = SystemClock.now().before(Duration::from_secs(3600)).to_string();
    refused("bulk-replay", json!({"since": since})).await;
}
