//! What commands pass on: payloads as they are, fields that the API knows, texts that look like numbers.

use serde_json::{Value, json};

use super::run;
use crate::test_stack::{Receiver, TestStack};

/// Numbers that no float holds, keys that are not sorted, escapes and a space that somebody wants.
const PAYLOAD: &str =
    r#"{"z":12345678901234567890123,"a":1.10,"e":"\u00e9\/","n":{ "y" : 1e2,"x":[0.1000 ,-0]}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_posted_shown_and_sent_byte_for_byte() {
    let (stack, mut receiver) = (TestStack::start().await, Receiver::start().await);
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let good = async |words: &[&str]| {
        let ended = run(words, &variables).await;
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.err);
        ended.out
    };
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let payload = write("payload", &format!("{PAYLOAD}\n"));
    let message = write("message", &format!(r#"{{"payload":{PAYLOAD},"eventId":"e1"}}"#));
    for words in [
        &["trigger", "a.b", "--app", &app, "--payload", &payload, "--json"][..],
        &["message", "create", "a.b", "--app", &app, "--file", &message],
    ] {
        let posted = good(words).await;
        assert!(posted.contains(PAYLOAD), "{posted}");
        let webhook = receiver.next().await;
        assert_eq!(webhook.body, PAYLOAD);
        let id = webhook.header("webhook-id");
        assert!(good(&["message", "get", id, "--app", &app]).await.contains(PAYLOAD));
        let listed = good(&["message", "list", "--json", "--app", &app]).await;
        assert!(listed.lines().any(|line| line.contains(id) && line.contains(PAYLOAD)), "{listed}");
    }
    // What is set is changed, and nothing else.
    good(&["trigger", "a.b", "--app", &app, "--payload", &payload, "--set", "n.y=7"]).await;
    let changed = PAYLOAD.replace(r#"{ "y" : 1e2,"#, r#"{"y":7,"#);
    assert_eq!(receiver.next().await.body, changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_the_api_does_not_know_is_refused_before_anything_is_sent() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    for (words, says) in [
        (&["endpoint", "create", "http://127.0.0.1:9/", "ratelimit=5"][..], "did you mean rateLimit?"),
        (&["endpoint", "create", "http://127.0.0.1:9/", "disbled=true"], "did you mean disabled?"),
        (&["message", "create", "invoice.paid", "id=inv_1"], "payload.NAME"),
        (&["event-type", "create", "zz", "schema={}"], "did you mean schemas?"),
        (&["app", "update", &app, "nam=x"], "did you mean name?"),
        (&["app", "create", "x", "name=y"], "name is given twice"),
    ] {
        let ended = run(words, &variables).await;
        assert_eq!(ended.code, 2, "{words:?}: {}", ended.err);
        assert!(ended.err.contains(says), "{words:?}: {}", ended.err);
    }
    for path in
        [format!("/api/v1/app/{app}/endpoint"), format!("/api/v1/app/{app}/msg"), "/api/v1/event-type".into()]
    {
        assert_eq!(stack.request("GET", &path, &stack.token, "").await.json()["data"], json!([]), "{path}");
    }
    // A text field's value is a text, whatever it looks like.
    for words in [
        &["app", "create", "Customer", "uid=42", "metadata.plan=7"][..],
        &[
            "endpoint",
            "create",
            "http://127.0.0.1:9/",
            "uid=43",
            "description=true",
            "rateLimit=5",
            "--app",
            "42",
        ],
        &["event-type", "create", "zz", "groupName=1", "deprecated=true"],
    ] {
        let ended = run(words, &variables).await;
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.err);
        let made: Value = serde_json::from_str(&ended.out).expect("JSON");
        match words[0] {
            "app" => assert_eq!((&made["uid"], &made["metadata"]["plan"]), (&json!("42"), &json!("7"))),
            "endpoint" => assert_eq!((&made["uid"], &made["rateLimit"]), (&json!("43"), &json!(5))),
            _ => assert_eq!((&made["groupName"], &made["deprecated"]), (&json!("1"), &json!(true))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_id_is_wrong_use_and_nothing_is_sent() {
    let variables = [("POSTRIDER_SERVER_URL", "http://127.0.0.1:9"), ("POSTRIDER_TOKEN", "t")];
    for (words, names) in [
        (&["app", "get", ""][..], "<APP>': expected an ID or uid"),
        (&["app", "delete", "", "--yes"], "<APP>': expected an ID or uid"),
        (&["endpoint", "list", "--app", ""], "--app <APP>': expected an ID or uid"),
        (&["endpoint", "pause", " "], "<ENDPOINT>': expected an ID or uid"),
        (&["resend", ""], "<MESSAGE>': expected an ID or uid"),
        (&["recover", "", "--since", "1h"], "<ENDPOINT>': expected an ID or uid"),
        (&["task", "get", ""], "<TASK>': expected an ID or uid"),
        (&["event-type", "delete", "", "--yes"], "<NAME>': expected a name"),
        (&["trigger", ""], "<TYPE>': expected a name"),
        (&["tail", "--endpoint="], "<ENDPOINT>': expected an ID or uid"),
        (&["profile", "save", ""], "[NAME]': expected a name"),
    ] {
        let ended = run(words, &variables).await;
        assert_eq!(ended.code, 2, "{words:?}: {}", ended.err);
        assert!(ended.err.contains(names), "{words:?}: {}", ended.err);
    }
}
