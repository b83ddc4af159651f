//! What a request says and nobody asks for is accepted, and named in the answer.

use http::StatusCode;

use crate::test_stack::TestStack;

#[tokio::test(flavor = "multi_thread")]
async fn typos_are_accepted_and_named() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let key: &[(&str, &str)] = &[("idempotency-key", "typo")];
    for (method, path, body, status, unknown) in [
        ("GET", "/app?limit=5&limt=5", "", 200, Some("limt")),
        ("GET", "/app?limit=5&order=ascending&iterator=", "", 200, None),
        ("GET", "/app/APP?b=1&a=2", "", 200, Some("a, b")),
        ("GET", "/app/APP/msg?event_types[]=a&event_types[1]=b&event_type=c", "", 200, Some("event_type")),
        (
            "POST",
            "/app?get_if_exists=true",
            r#"{"name":"x","rate_limit":1,"Uid":"x"}"#,
            201,
            Some("Uid, rate_limit"),
        ),
        ("POST", "/app", r#"{"name":"x","metadata":{"any":"thing"}}"#, 201, None),
        ("PATCH", "/app/APP", r#"{"nmae":"x"}"#, 200, Some("nmae")),
        (
            "POST",
            "/app/APP/msg?with_contents=false",
            r#"{"eventType":"a","payload":{"any":1},"event_id":"x","transformationsParams":{"rawpayload":""},
                "application":null}"#,
            202,
            Some("event_id, transformationsParams.rawpayload, with_contents"),
        ),
        (
            "POST",
            "/app/APP/endpoint",
            r#"{"url":"http://127.0.0.1:9/","headers":{"x-any":"thing"},"event_types":["a"]}"#,
            201,
            Some("event_types"),
        ),
        // Of what is refused, the rule that it breaks is named.
        ("GET", "/app?limit=x&limt=5", "", 400, None),
        ("POST", "/app", r#"{"nmae":"x"}"#, 422, None),
    ] {
        let path = format!("/api/v1{}", path.replace("APP", &app));
        let answer = stack.request(method, &path, &stack.token, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        let said = answer.headers.get("postrider-unknown").map(|said| said.to_str().unwrap());
        assert_eq!(said, unknown, "{method} {path}");
    }
    // An earlier answer is given again without reading the request.
    for said in [true, false] {
        let body = r#"{"name":"once","nmae":"x"}"#;
        let answer =
            stack.request_with("POST", "/api/v1/app?get_if_exists=true", &stack.token, key, body).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(answer.headers.contains_key("postrider-unknown"), said);
    }
}
