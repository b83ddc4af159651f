//! An endpoint's URL is shown as the one that is connected to.

use serde_json::json;

use crate::test_stack::{Receiver, TestStack};

#[tokio::test(flavor = "multi_thread")]
async fn urls_are_stored_as_they_are_connected_to() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}/endpoint");
    for (written, stored) in [
        ("http://bad.url2", "http://bad.url2/"),
        (r"http://127.0.0.2:80\@127.0.0.1/", "http://127.0.0.2/@127.0.0.1/"),
        ("HTTP://EXAMPLE.com:80/a/../b", "http://example.com/b"),
        ("http://0x7f.1:9/", "http://127.0.0.1:9/"),
    ] {
        let body = json!({ "url": written }).to_string();
        let made = stack.request("POST", &path, &stack.token, body.clone()).await;
        assert_eq!((made.status.as_u16(), &made.json()["url"]), (201, &json!(stored)), "{}", made.text);
        let one = format!("{path}/{}", made.json()["id"].as_str().unwrap());
        for method in ["PUT", "PATCH"] {
            let changed = stack.request(method, &one, &stack.token, body.clone()).await.json();
            assert_eq!(changed["url"], stored, "{method} {written}");
        }
        assert_eq!(stack.request("GET", &one, &stack.token, "").await.json()["url"], stored);
    }
    let answer = stack.request("POST", &path, &stack.token, r#"{"url":"example.com"}"#).await;
    let meant = "Not an absolute URL; did you mean https://example.com?";
    assert_eq!((answer.status.as_u16(), &answer.json()["detail"][0]["msg"]), (422, &json!(meant)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ping_needs_no_event_type() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let path = format!("/api/v1/app/{app}/endpoint/{}/send-example", endpoint.id);
    let ping = stack.request("POST", &path, &stack.token, r#"{"eventType":"svix.ping"}"#).await;
    assert_eq!(
        (ping.status.as_u16(), &ping.json()["eventType"]),
        (200, &json!("svix.ping")),
        "{}",
        ping.text
    );
    let webhook = receiver.next().await;
    webhook.verify(&endpoint.secret);
    assert_eq!(webhook.header("webhook-id"), ping.json()["id"]);
    let other = stack.request("POST", &path, &stack.token, r#"{"eventType":"other.ping"}"#).await;
    assert_eq!(other.status.as_u16(), 422);
}
