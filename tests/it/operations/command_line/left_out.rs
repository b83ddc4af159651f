//! What `export`, `import` and `migrate` leave out, and that they say so; and what they read from a pipe.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::transfer::{command, get, post, url, variables};
use crate::test_stack::{Receiver, TestStack, soon};

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_of_a_url_are_secrets() {
    let (source, target, receiver) =
        (TestStack::start().await, TestStack::start().await, Receiver::start().await);
    let plain = receiver.url("/hook");
    let with_login = plain.replace("http://", "http://ann:pass@");
    post(&source, "/app", json!({"name": "Acme", "uid": "acme"})).await;
    post(&source, "/app/acme/endpoint", json!({"url": with_login, "uid": "main"})).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (bare, full) = (path("bare"), path("full"));
    let run = async |words: &[&str]| {
        let ended = command(words, &source, &target).await;
        assert_eq!(ended.code, 0, "{words:?}: {}{}", ended.out, ended.err);
        assert!(
            !format!("{}{}", ended.out, ended.err).contains("pass@"),
            "{words:?}: {}{}",
            ended.out,
            ended.err
        );
        ended
    };
    let from_source = async |words: &[&str]| {
        let ended = command(words, &source, &source).await;
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.err);
        ended
    };
    let exported = from_source(&["export", &bare]).await;
    assert!(
        exported.err.contains("Of 1 endpoint the user and password in the URL were left out"),
        "{}",
        exported.err
    );
    assert!(!std::fs::read_to_string(&bare).expect("a file").contains("pass"));
    from_source(&["export", &full, "--with-secrets"]).await;
    assert!(std::fs::read_to_string(&full).expect("a file").contains("ann:pass@"));
    let listed = from_source(&["endpoint", "list", "--app", "acme"]).await;
    assert!(listed.out.contains("http://***@") && !listed.out.contains("pass"), "{}", listed.out);

    // Without secrets the endpoint is made without, and the summary says so.
    let imported = run(&["import", &bare, "--yes"]).await;
    assert!(
        imported
            .err
            .contains("Without the user and password of its URL, which the file does not have: 1 endpoint."),
        "{}",
        imported.err
    );
    assert_eq!(get(&target, "/app/acme/endpoint/main").await["url"], plain);
    // With them it is changed; a file without them leaves it as it is.
    assert!(run(&["import", &full, "--yes"]).await.out.contains("~ endpoint acme/main: url"));
    assert_eq!(get(&target, "/app/acme/endpoint/main").await["url"], with_login);
    assert!(run(&["import", &bare, "--yes"]).await.out.contains("Nothing to do."));
    assert_eq!(get(&target, "/app/acme/endpoint/main").await["url"], with_login);
    assert!(run(&["migrate", "--from", "FROM", "--yes"]).await.out.contains("Nothing to do."));
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_move_and_what_is_there_for_a_moment_does_not() {
    let (source, target) = (TestStack::start().await, TestStack::start().await);
    post(&source, "/event-type", json!({"name": "invoice.paid", "description": ""})).await;
    let code = "function handler(webhook) { return webhook }";
    let connector = json!({
        "name": "Chat", "uid": "chat", "kind": "Slack", "description": "To a channel", "instructions": "Paste it",
        "transformation": code, "allowedEventTypes": ["invoice.paid"],
    });
    post(&source, "/connector", connector).await;
    let plain = post(&source, "/connector", json!({"name": "No uid", "transformation": code})).await;
    let plain = plain["id"].as_str().expect("an ID");
    post(&source, "/app", json!({"name": "Acme", "uid": "acme"})).await;
    for uid in ["cli-0123456789abcdef", "mine"] {
        let description = if uid == "mine" { "mine" } else { "postrider listen" };
        let body = json!({"uid": uid, "description": description, "destination": {"kind": "polling"}});
        post(&source, "/app/acme/endpoint", body).await;
    }
    let migrate = async || command(&["migrate", "--from", "FROM", "--yes"], &source, &target).await;
    let ended = migrate().await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let says = "Done: 1 event type, 2 connectors, 1 application, 1 endpoint created.";
    assert!(ended.out.contains(says), "{}", ended.out);
    let copied = get(&target, "/connector/chat").await;
    let was = get(&source, "/connector/chat").await;
    for field in ["name", "kind", "description", "instructions", "transformation", "allowedEventTypes", "uid"]
    {
        assert_eq!(copied[field], was[field], "{field}");
    }
    assert_eq!(get(&target, &format!("/connector/migrated.{plain}")).await["name"], "No uid");
    assert!(migrate().await.out.contains("Nothing to do."));
    let patched =
        source.request("PATCH", "/api/v1/connector/chat", &source.token, r#"{"name":"Talk"}"#).await;
    assert!(patched.status.is_success(), "{}", patched.text);
    assert!(migrate().await.out.contains("~ connector chat: name"));
    assert_eq!(get(&target, "/connector/chat").await["name"], "Talk");
    let listed = get(&target, "/app/acme/endpoint").await;
    let uids: Vec<&Value> =
        listed["data"].as_array().expect("a list").iter().map(|one| &one["uid"]).collect();
    assert_eq!(uids, ["mine"]);

    // From one pipe into another.
    let exported = command(&["export", "-"], &target, &source).await;
    assert_eq!(exported.code, 0, "{}", exported.err);
    assert!(
        exported.out.contains(r#""connectors":2"#) && !exported.out.contains("cli-0123"),
        "{}",
        exported.out
    );
    let third = TestStack::start().await;
    let to = url(&third);
    let mut process = super::command(&["import", "-", "--yes"], &variables(&to, &third.token, "-"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut input = process.stdin.take().expect("its input");
    let ended = tokio::task::spawn_blocking(move || {
        input.write_all(exported.out.as_bytes()).expect("it reads");
        drop(input);
        process.wait_with_output()
    });
    let ended = soon("its end", ended).await.expect("it ends").expect("its output");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(get(&third, "/connector/chat").await["name"], "Talk");
    assert_eq!(get(&third, "/app/acme/endpoint/mine").await["uid"], "mine");
}
