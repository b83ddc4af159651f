//! A 404 says what is missing, by which id; and what is not offered.

use serde_json::json;
use svix::models::MessageIn;

use crate::test_stack::TestStack;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let message = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    for (method, path, detail) in [
        ("GET", "/app/nope", "Application \"nope\" not found"),
        ("GET", "/app/nope/endpoint/x", "Application \"nope\" not found"),
        ("POST", "/auth/app-portal-access/nope", "Application \"nope\" not found"),
        ("GET", "/app/APP/endpoint/nope", "Endpoint \"nope\" not found"),
        ("GET", "/app/APP/attempt/endpoint/nope", "Endpoint \"nope\" not found"),
        ("POST", "/app/APP/msg/MSG/endpoint/nope/resend", "Endpoint \"nope\" not found"),
        ("GET", "/app/APP/msg/nope", "Message \"nope\" not found"),
        ("GET", "/app/APP/attempt/msg/nope", "Message \"nope\" not found"),
        ("GET", "/app/APP/msg/MSG/attempt/nope", "Attempt \"nope\" not found"),
        ("GET", "/event-type/no.pe%20", "Event type \"no.pe \" not found"),
        ("GET", "/apps", "No such path: GET /api/v1/apps. The API reference is at /docs."),
        ("GET", "/app/APP/nope", "No such path: GET /api/v1/app/APP/nope. The API reference is at /docs."),
        (
            "GET",
            "/stream",
            "Not offered: GET /api/v1/stream is v1.streaming.stream.list, an operation of other servers of this API. \
             Those of Postrider are at /docs.",
        ),
        (
            "POST",
            "/stream/",
            "Not offered: POST /api/v1/stream/ is v1.streaming.stream.create, an operation of other servers of this \
             API. Those of Postrider are at /docs.",
        ),
    ] {
        let [path, detail] = [path, detail].map(|text| text.replace("APP", &app).replace("MSG", &message));
        let answer = stack.request(method, &format!("/api/v1{path}"), &stack.token, "").await;
        assert_eq!(answer.status.as_u16(), 404, "{path}: {}", answer.text);
        assert_eq!(answer.json(), json!({"code": "not_found", "detail": detail}), "{path}");
    }
}
