//! The field `destination` of endpoints: what says where messages go, for every kind of place.

use http::StatusCode;
use serde_json::{Value, json};

use crate::test_stack::TestStack;

/// The fields that a response finds fault with, below the body.
fn places(answer: &Value) -> Vec<String> {
    let loc = |rule: &Value| {
        let parts = rule["loc"].as_array().expect("a place").iter().skip(1);
        parts.map(|part| part.as_str().expect("a name")).collect::<Vec<_>>().join(".")
    };
    answer["detail"].as_array().expect("broken rules").iter().map(loc).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn url_and_destination_are_two_ways_to_say_the_same() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let all = format!("/api/v1/app/{app}/endpoint");
    let post = async |body: &Value| stack.request("POST", &all, &stack.token, body.to_string()).await;
    let http = |url: &str| json!({"kind": "http", "url": url});
    let url = "https://example.com/hooks";
    for body in [
        json!({"url": url}),
        json!({"destination": http(url)}),
        json!({"url": "HTTPS://example.com:443/hooks", "destination": http(url)}),
    ] {
        let answer = post(&body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{body}: {}", answer.text);
        assert_eq!((&answer.json()["url"], &answer.json()["destination"]), (&json!(url), &http(url)));
    }
    for (body, place) in [
        (json!({}), "url"),
        (json!({"destination": null}), "url"),
        (json!({"destination": {}}), "destination.kind"),
        (json!({"destination": {"kind": "pigeon"}}), "destination.kind"),
        (json!({"destination": {"kind": "http"}}), "destination.url"),
        (json!({"destination": {"kind": "http", "url": "example.com"}}), "destination.url"),
        (json!({"destination": {"kind": "http", "url": url, "loft": 1}}), "destination.loft"),
        (json!({"url": "https://example.org/", "destination": http(url)}), "url"),
        (json!({"destination": "http"}), "destination"),
    ] {
        let answer = post(&body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(places(&answer.json()), [place], "{body}");
    }
    let one = format!("{all}/{}", post(&json!({"url": url})).await.json()["id"].as_str().expect("an id"));
    let send = async |method: &str, body: Value| {
        let answer = stack.request(method, &one, &stack.token, body.to_string()).await;
        (answer.status.as_u16(), answer.json())
    };
    let other = "https://example.org/";
    assert_eq!(send("PATCH", json!({"destination": http(other)})).await.1["url"], other);
    assert_eq!(send("PATCH", json!({"description": "d"})).await.1["destination"], http(other));
    for body in [json!({"destination": null}), json!({"url": null})] {
        assert_eq!(send("PATCH", body).await.0, 422);
    }
    // What a GET shows can be put back as it is.
    let shown = stack.request("GET", &one, &stack.token, "").await.json();
    let (status, put) = send("PUT", shown.clone()).await;
    assert_eq!((status, &put["destination"]), (200, &shown["destination"]));
}
