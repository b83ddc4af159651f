//! Names that clients remove from a path: a request about such a thing would reach another.

use http::StatusCode;

use crate::test_stack::TestStack;

#[tokio::test(flavor = "multi_thread")]
async fn names_of_dots_are_refused_wherever_they_are_written() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    for dots in [".", ".."] {
        for (method, path, body, loc) in [
            ("POST", "/app", format!(r#"{{"name":"x","uid":"{dots}"}}"#), "body.uid"),
            ("PUT", "/app/APP", format!(r#"{{"name":"x","uid":"{dots}"}}"#), "body.uid"),
            ("PATCH", "/app/APP", format!(r#"{{"uid":"{dots}"}}"#), "body.uid"),
            ("POST", "/app/APP/endpoint", format!(r#"{{"url":"http://x/","uid":"{dots}"}}"#), "body.uid"),
            ("PUT", "/app/APP/endpoint/EP", format!(r#"{{"url":"http://x/","uid":"{dots}"}}"#), "body.uid"),
            ("PATCH", "/app/APP/endpoint/EP", format!(r#"{{"uid":"{dots}"}}"#), "body.uid"),
            ("POST", "/event-type", format!(r#"{{"name":"{dots}","description":""}}"#), "body.name"),
            (
                "POST",
                "/app/APP/msg",
                format!(r#"{{"eventType":"a","payload":{{}},"eventId":"{dots}"}}"#),
                "body.eventId",
            ),
            ("POST", "/app/APP/msg", format!(r#"{{"eventType":"{dots}","payload":{{}}}}"#), "body.eventType"),
            (
                "POST",
                "/app/new/msg",
                format!(r#"{{"eventType":"a","payload":{{}},"application":{{"name":"x","uid":"{dots}"}}}}"#),
                "body.application.uid",
            ),
            (
                "POST",
                "/auth/app-portal-access/new",
                format!(r#"{{"application":{{"name":"x","uid":"{dots}"}}}}"#),
                "body.application.uid",
            ),
        ] {
            let path = format!("/api/v1{}", path.replace("APP", &app).replace("EP", &endpoint));
            let answer = stack.request(method, &path, &stack.token, body.clone()).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {body}: {}", answer.text);
            let first = &answer.json()["detail"][0];
            let found = first["loc"].as_array().unwrap().iter().map(|part| part.as_str().unwrap());
            assert_eq!(found.collect::<Vec<_>>().join("."), loc, "{path} {body}");
            assert!(first["msg"].as_str().unwrap().contains("clients remove these"), "{}", answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_reaches_what_it_does_not_name() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    stack.event_type("a").await;
    for method in ["DELETE", "PUT", "PATCH", "GET"] {
        for path in [
            "/app/APP/endpoint/..",
            "/app/APP/endpoint/../",
            "/app/APP/endpoint/%2e%2e",
            "/app/APP/endpoint/%2E.",
            "/app/APP/endpoint/.",
            "/app/APP/endpoint/%2e/",
            "/app/APP/endpoint/EP/.",
            "/app/APP/endpoint/x/../EP",
            "/app/APP//endpoint/EP",
            "/app//APP",
            "/app/APP/./endpoint/EP",
            "/app/APP//",
            "/app/APP/endpoint/EP//",
            "//app/APP",
            "/event-type/a/..",
            "/event-type/../event-type/a",
            "/event-type//a",
            "/event-type/a//",
            "/app/APP/endpoint/..%2f..%2fAPP",
            "/app/APP/endpoint/%2e%2e%2f",
            "/app/APP%2f",
        ] {
            let path = format!("/api/v1{}", path.replace("APP", &app).replace("EP", &endpoint));
            let answer = stack.request(method, &path, &stack.token, r#"{"name":"changed"}"#).await;
            let refused = matches!(answer.status.as_u16(), 404 | 405 | 422);
            assert!(refused, "{method} {path}: {} {}", answer.status, answer.text);
        }
    }
    let name = stack.svix.application().get(app.clone()).await.expect("the application is there").name;
    assert_eq!(name, "customer");
    stack.svix.endpoint().get(app, endpoint).await.expect("the endpoint is there");
    stack.svix.event_type().get("a".into()).await.expect("the event type is there");
}
