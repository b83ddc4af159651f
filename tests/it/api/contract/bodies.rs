//! Bodies that two readers would understand differently, or not at all.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::test_stack::TestStack;

/// Where the first broken rule of an answer is.
fn place(answer: &Value) -> String {
    let loc = answer["detail"][0]["loc"].as_array().into_iter().flatten();
    loc.filter_map(Value::as_str).collect::<Vec<_>>().join(".")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_twice_or_in_two_ways_is_refused() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    stack.event_type("a").await;
    stack.event_type("b").await;
    for (path, body, loc) in [
        ("/app/APP/msg", r#"{"eventType":"a","payload":{"n":1},"payload":{"n":2}}"#, "body.payload"),
        ("/app/APP/msg", r#"{"eventType":"a","eventType":"a","payload":{}}"#, "body.eventType"),
        ("/app/APP/msg", r#"{"eventType":"a","payload":{"n":1},"data":{"n":2}}"#, "body.data"),
        ("/app", r#"{"name":"x","rateLimit":1,"throttleRate":2}"#, "body.throttleRate"),
        ("/app", r#"{"name":"x","metadata":{"k":"1","k":"2"}}"#, "body.metadata.k"),
        ("/app", r#"{"name":"x","unknown":1,"unknown":2}"#, "body.unknown"),
        (
            "/app/APP/endpoint",
            r#"{"url":"http://x/","filterTypes":["a"],"eventTypes":["b"]}"#,
            "body.eventTypes",
        ),
        ("/app/APP/endpoint", r#"{"url":"http://x/","headers":{"x-a":"1","x-a":"2"}}"#, "body.headers.x-a"),
        ("/app/APP/endpoint", r#"{"url":"http://x/","filterTypes":["nope"]}"#, "body.filterTypes"),
        (
            "/event-type",
            r#"{"name":"c","description":"","featureFlag":"x","featureFlags":["y"]}"#,
            "body.featureFlag",
        ),
    ] {
        let path = format!("/api/v1{}", path.replace("APP", &app));
        let answer = stack.request("POST", &path, &stack.token, body).await;
        assert_eq!(answer.status.as_u16(), 422, "{path} {body}: {}", answer.text);
        assert_eq!(place(&answer.json()), loc, "{path} {body}");
    }
    // Both names with one value, as our own answers have them.
    let path = format!("/api/v1/app/{app}/endpoint");
    let body =
        r#"{"url":"http://x/","filterTypes":["a"],"eventTypes": [ "a" ],"rateLimit":5,"throttleRate":5}"#;
    let made = stack.request("POST", &path, &stack.token, body).await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    let path = format!("{path}/{}", made.json()["id"].as_str().unwrap());
    let again = stack.request("PUT", &path, &stack.token, made.text).await;
    assert_eq!(again.status.as_u16(), 200, "{}", again.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nested_too_deeply_for_clients_is_refused() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}/msg");
    for (depth, status) in [(123, 202), (124, 422), (1_000, 422), (100_000, 422)] {
        // The payload's own object is one of them.
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        let body = format!(r#"{{"eventType":"a","payload":{{"x":{open}{close}}}}}"#);
        let answer = stack.request("POST", &path, &stack.token, body).await;
        assert_eq!(answer.status.as_u16(), status, "{depth}: {}", answer.text);
        if status == 422 {
            assert!(answer.text.contains("124 levels"), "{}", answer.text);
        }
    }
    // The official SDK reads the deepest.
    assert_eq!(stack.svix.message().list(app, None).await.expect("a list").data.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_body_is_refused_whatever_it_holds() {
    let stack = TestStack::start().await;
    let plain = br#"{"name":"x"}"#.to_vec();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    for (encoding, body, status) in [
        ("gzip", gzip, 415),
        ("gzip", plain.clone(), 415),
        ("br", plain.clone(), 415),
        ("zstd", plain.clone(), 415),
        ("identity", plain.clone(), 201),
    ] {
        let headers = [("content-encoding", encoding)];
        let answer = stack.request_with("POST", "/api/v1/app", &stack.token, &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{encoding}: {}", answer.text);
        if status == 415 {
            assert_eq!(answer.json()["code"], "unsupported_media_type");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_has_to_be_a_json_schema() {
    let stack = TestStack::start().await;
    for (schema, status) in [
        (json!({"readOnly": 15}), 422),
        (json!({"type": "object", "properties": {"a": {"type": "text"}}}), 422),
        (
            json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}),
            201,
        ),
    ] {
        let body = json!({"name": "a", "description": "", "schemas": {"1": schema}}).to_string();
        let answer = stack.request("POST", "/api/v1/event-type", &stack.token, body).await;
        assert_eq!(answer.status.as_u16(), status, "{schema}: {}", answer.text);
        if status == 422 {
            assert_eq!(place(&answer.json()), "body.schemas.1");
            assert!(answer.text.contains("Not a JSON Schema: "), "{}", answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_says_where() {
    let stack = TestStack::start().await;
    for (body, msg) in [
        ("", "The request body is empty; expected a JSON object"),
        ("name=x", "The request body is not valid JSON (line 1, column 2)"),
        ("[]", "A JSON object is expected"),
    ] {
        let answer = stack.request("POST", "/api/v1/app", &stack.token, body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["detail"][0]["msg"]), (422, &json!(msg)));
    }
}
