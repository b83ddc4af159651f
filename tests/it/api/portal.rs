//! The portal as the runner serves it: its address, its headers, and the receiver that a first message goes
//! to.

use http::StatusCode;
use local::Settings;
use serde_json::{Value, json};
use svix::models::MessageIn;

use crate::test_stack::{TestStack, settings, soon};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_address_leads_to_the_portal() {
    let stack = TestStack::start().await;
    let answer = stack.request("GET", "/", "", "").await;
    assert_eq!((answer.status, answer.headers["location"].as_bytes()), (StatusCode::FOUND, &b"/portal"[..]));
    for path in ["/portal", "/login", "/login/", "/portal/x"] {
        let page = stack.request("GET", path, "", "").await;
        assert_eq!(
            (page.status, page.headers["cache-control"].as_bytes()),
            (StatusCode::OK, &b"no-cache"[..])
        );
        let (_, rest) = page.text.split_once("src=\"").expect("a module");
        let (module, _) = rest.split_once('"').expect("its address");
        let file = stack.request("GET", module, "", "").await;
        assert_eq!(file.status, StatusCode::OK, "{module}");
        assert_eq!(file.headers["content-type"], "text/javascript; charset=utf-8");
        assert_eq!(file.headers["cache-control"], "public, max-age=31536000, immutable");
    }
    // The API's own paths stay what they were.
    assert_eq!(stack.request("GET", "/api/v1/health", "", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(stack.request("GET", "/api/v1/nothing", "", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_arrives_at_the_built_in_receiver_and_is_verified() {
    let stack = TestStack::start().await;
    let config = stack.request("GET", "/dev/config.json", "", "").await.json();
    assert_eq!(config["serverUrl"], stack.stack.url());
    let url = config["receiver"].as_str().expect("a URL");
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, url).await;
    let failing = stack.endpoint(&app, &format!("{url}?status=503")).await;
    let message = stack.message(&app, MessageIn::new("user.created".into(), json!({"name": "é"}))).await;
    let path = format!("/dev/receiver/requests?id={message}");
    let found: Vec<Value> = soon("both webhooks", async {
        loop {
            let data = stack.request("GET", &path, "", "").await.json()["data"].as_array().cloned();
            if let Some(data) = data.filter(|data| data.len() >= 2) {
                return data;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let verified = |secret: &str| {
        let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
        let verify = |one: &&Value| {
            let headers: http::HeaderMap = one["headers"]
                .as_array()
                .expect("headers")
                .iter()
                .map(|pair| {
                    let text = |at: usize| pair[at].as_str().expect("text");
                    (text(0).parse::<http::HeaderName>().expect("a name"), text(1).parse().expect("a value"))
                })
                .collect();
            webhook.verify(one["body"].as_str().expect("a body").as_bytes(), &headers).is_ok()
        };
        found.iter().filter(verify).map(|one| one["status"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(verified(&endpoint.secret), [204]);
    assert!(verified(&failing.secret).iter().all(|status| *status == 503));
    assert_eq!(found[0]["body"], r#"{"name":"é"}"#);
    let none = stack.request("GET", "/dev/receiver/requests?id=msg_x", "", "").await.json();
    assert_eq!(none, json!({"data": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_receiver_keeps_the_last_hundred_and_refuses_what_it_does_not_know() {
    let stack = TestStack::start().await;
    for nth in 0..120 {
        let answer = stack.request("POST", "/dev/receiver", "", format!("{nth}")).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    let kept = stack.request("GET", "/dev/receiver/requests", "", "").await.json();
    let bodies: Vec<&str> =
        kept["data"].as_array().expect("a list").iter().filter_map(|one| one["body"].as_str()).collect();
    assert_eq!((bodies.len(), bodies[0], bodies[99]), (100, "119", "20"));
    for (method, path, status) in [
        ("POST", "/dev/receiver?status=100", StatusCode::UNPROCESSABLE_ENTITY),
        ("POST", "/dev/receiver?status=x", StatusCode::BAD_REQUEST),
        ("GET", "/dev/receiver", StatusCode::METHOD_NOT_ALLOWED),
        ("DELETE", "/dev/config.json", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "/dev/nothing", StatusCode::NOT_FOUND),
        ("GET", "/dev", StatusCode::NOT_FOUND),
    ] {
        let answer = stack.request(method, path, "", "").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
    let large = "x".repeat(2 * 1024 * 1024 + 1);
    let answer = stack.request("POST", "/dev/receiver", "", large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_than_this_machine_find_no_receiver() {
    let any = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    let stack = TestStack::with(Settings { listen: any, ..settings() }).await;
    for path in ["/dev/config.json", "/dev/receiver/requests"] {
        assert_eq!(stack.request("GET", path, "", "").await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(stack.request("POST", "/dev/receiver", "", "{}").await.status, StatusCode::NOT_FOUND);
}
