//! The keys of an installation are exchanged while it holds what the old ones have sealed and signed.

use std::path::Path;

use serde_json::json;
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{Receiver, TestStack, settings};

const OLD: &str = "an old key of the tests, long enough";
const NEW: &str = "a new key of the tests, long enough";

/// The installation of that folder and prefix; where another DynamoDB keeps the tables, the prefix alone
/// says which they are.
async fn stack(folder: &Path, prefix: &str, keys: &[&str]) -> TestStack {
    let list = json!(keys).to_string();
    let text = if let [key] = keys { *key } else { &list };
    let mut settings = settings().with("POSTRIDER_ENCRYPTION_KEY", text).with("POSTRIDER_JWT_SECRET", text);
    settings.data = Some(folder.to_owned());
    settings.prefix = prefix.to_owned();
    TestStack::with(settings).await
}

/// INV-22
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_while_everything_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = settings().prefix;
    let mut receiver = Receiver::start().await;
    let first = stack(folder.path(), &prefix, &[OLD]).await;
    let old_token = first.token.clone();
    let app = first.svix.application().create(ApplicationIn::new("x".into()), None).await.expect("made").id;
    let mut endpoints = Vec::new();
    for path in ["/written", "/left"] {
        let headers = [("x-api-key".to_owned(), "sesame".to_owned())].into();
        let endpoint = EndpointIn { headers: Some(headers), ..EndpointIn::new(receiver.url(path)) };
        endpoints.push(first.endpoint_with(&app, endpoint).await);
    }
    first.stack.stop().await;

    let mut tokens = vec![old_token];
    for keys in [&[OLD, NEW], &[NEW, OLD]] {
        let stack = stack(folder.path(), &prefix, keys).await;
        tokens.push(stack.token.clone());
        for token in &tokens {
            let answer = stack.request("GET", &format!("/api/v1/app/{app}"), token, "").await;
            assert_eq!(answer.status, 200, "{keys:?}: {}", answer.text);
        }
        let message = MessageIn::new("a".into(), json!({"keys": keys}));
        stack.message(&app, message).await;
        for _ in &endpoints {
            let webhook = receiver.next().await;
            let endpoint = &endpoints[usize::from(webhook.path == "/left")];
            webhook.verify(&endpoint.secret);
            assert_eq!(webhook.header("x-api-key"), "sesame");
        }
        stack.idle().await;
        if keys[0] == NEW {
            let path = format!("/api/v1/app/{app}/endpoint/{}", endpoints[0].id);
            assert_eq!(stack.request("PATCH", &path, &stack.token, "{}").await.status, 200);
        }
        stack.stack.stop().await;
    }

    let last = stack(folder.path(), &prefix, &[NEW]).await;
    let secret = async |endpoint: &str, token: &str| {
        last.request("GET", &format!("/api/v1/app/{app}/endpoint/{endpoint}/secret"), token, "").await
    };
    let newest = tokens.pop().expect("a token");
    let written = secret(&endpoints[0].id, &newest).await;
    assert_eq!((written.status.as_u16(), written.json()["key"].as_str()), (200, Some(&*endpoints[0].secret)));
    // What nobody wrote since needs the key that sealed it, and tokens need the secret that signed them.
    let left = secret(&endpoints[1].id, &newest).await;
    assert_eq!((left.status.as_u16(), &left.json()["code"]), (500, &json!("server_error")));
    for token in tokens {
        assert_eq!(secret(&endpoints[0].id, &token).await.status, 401);
    }
}
