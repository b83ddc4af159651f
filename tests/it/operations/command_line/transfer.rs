//! `migrate`, `export` and `import` between two stacks.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::{Ended, run, started};
use crate::test_stack::{Receiver, TestStack, soon};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(super) fn url(stack: &TestStack) -> String {
    format!("http://{}", stack.stack.address())
}

/// A command for `target`, with `source` to migrate from.
pub(super) async fn command(words: &[&str], source: &TestStack, target: &TestStack) -> Ended {
    let (from, to) = (url(source), url(target));
    let variables = variables(&to, &target.token, &source.token);
    let words: Vec<&str> = words.iter().map(|word| if *word == "FROM" { &from[..] } else { word }).collect();
    run(&words, &variables).await
}

pub(super) fn variables<'a>(to: &'a str, token: &'a str, from_token: &'a str) -> [(&'a str, &'a str); 3] {
    [("POSTRIDER_SERVER_URL", to), ("POSTRIDER_TOKEN", token), ("POSTRIDER_FROM_TOKEN", from_token)]
}

pub(super) async fn post(stack: &TestStack, path: &str, body: Value) -> Value {
    let answer = stack.request("POST", &format!("/api/v1{path}"), &stack.token, body.to_string()).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
    answer.json()
}

pub(super) async fn get(stack: &TestStack, path: &str) -> Value {
    stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await.json()
}

/// An environment with something of everything; the application and endpoint that have no uid.
async fn furnish(stack: &TestStack, receiver: &Receiver) -> (String, String) {
    let schemas = json!({"1": {"type": "object", "title": "An invoice"}});
    let paid =
        json!({"name": "invoice.paid", "description": "Paid", "schemas": schemas, "featureFlags": ["beta"]});
    post(stack, "/event-type", paid).await;
    post(stack, "/event-type", json!({"name": "old.one", "description": "", "archived": true})).await;
    post(
        stack,
        "/app",
        json!({"name": "Acme", "uid": "acme", "metadata": {"plan": "gold"}, "rateLimit": 50}),
    )
    .await;
    let main = json!({
        "url": receiver.url("/main"), "uid": "main", "secret": SECRET, "headers": {"X-Custom": "seven"},
        "filterTypes": ["invoice.paid"], "channels": ["eu"], "rateLimit": 20, "metadata": {"a": "b"},
        "description": "The main one",
    });
    post(stack, "/app/acme/endpoint", main).await;
    let plain =
        post(stack, "/app", json!({"name": "No uid"})).await["id"].as_str().expect("an id").to_owned();
    let endpoint = json!({"url": receiver.url("/plain"), "disabled": true});
    let endpoint = post(stack, &format!("/app/{plain}/endpoint"), endpoint).await;
    (plain, endpoint["id"].as_str().expect("an id").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_moves_and_its_receivers_change_nothing() {
    let (source, target, mut receiver) =
        (TestStack::start().await, TestStack::start().await, Receiver::start().await);
    let (plain, plain_endpoint) = furnish(&source, &receiver).await;
    let migrate = async |more: &[&str]| {
        command(&[&["migrate", "--from", "FROM"], more].concat(), &source, &target).await
    };
    let ended = migrate(&["--dry-run"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.out.contains("+ event type old.one") && ended.out.contains("+ endpoint acme/main"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("2 event types, 2 applications, 2 endpoints to create."), "{}", ended.out);
    assert_eq!(get(&target, "/app").await["data"], json!([]));
    // Without a terminal nobody can be asked.
    assert_eq!(migrate(&[]).await.code, 2);
    assert_eq!(get(&target, "/app").await["data"], json!([]));

    let ended = migrate(&["--yes"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("Done: 2 event types, 2 applications, 2 endpoints created."), "{}", ended.out);
    for (path, there) in [
        ("/event-type/invoice.paid", "/event-type/invoice.paid".to_owned()),
        ("/event-type/old.one", "/event-type/old.one".to_owned()),
        ("/app/acme", "/app/acme".to_owned()),
        ("/app/acme/endpoint/main", "/app/acme/endpoint/main".to_owned()),
        ("/app/acme/endpoint/main/secret", "/app/acme/endpoint/main/secret".to_owned()),
        ("/app/acme/endpoint/main/headers", "/app/acme/endpoint/main/headers".to_owned()),
        (
            &format!("/app/{plain}/endpoint/{plain_endpoint}/secret"),
            format!("/app/migrated.{plain}/endpoint/migrated.{plain_endpoint}/secret"),
        ),
    ] {
        let (mut was, mut is) = (get(&source, path).await, get(&target, &there).await);
        for value in [&mut was, &mut is] {
            let object = value.as_object_mut().expect("an object");
            object.retain(|name, _| !["id", "createdAt", "updatedAt"].contains(&name.as_str()));
            assert!(!object.contains_key("detail"), "{there}: {object:?}");
        }
        assert_eq!(was, is, "{path}");
    }
    let message = json!({"eventType": "invoice.paid", "channels": ["eu"], "payload": {}});
    post(&target, "/app/acme/msg", message).await;
    let webhook = receiver.next().await;
    webhook.verify(SECRET);
    assert_eq!((&webhook.path[..], webhook.header("x-custom")), ("/main", "seven"));

    let ended = migrate(&["--yes"]).await;
    assert!(ended.code == 0 && ended.out.contains("Nothing to do."), "{}{}", ended.out, ended.err);
    // What changed at the source, and what somebody changed at the target.
    let rotated = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    post(&source, "/app/acme/endpoint/main/secret/rotate", json!({"key": rotated})).await;
    let patch = json!({"metadata": {"plan": "tin"}, "name": "Acme Inc."}).to_string();
    source.request("PATCH", "/api/v1/app/acme", &source.token, patch).await;
    let headers = json!({"headers": {"X-Other": "1"}}).to_string();
    target.request("PUT", "/api/v1/app/acme/endpoint/main/headers", &target.token, headers).await;
    let ended = migrate(&["--yes"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("~ application acme: name, metadata"), "{}", ended.out);
    assert!(ended.out.contains("~ endpoint acme/main: secret, headers"), "{}", ended.out);
    assert_eq!(get(&target, "/app/acme/endpoint/main/secret").await["key"], rotated);
    assert_eq!(
        get(&target, "/app/acme/endpoint/main/headers").await["headers"],
        json!({"X-Custom": "seven"})
    );
    assert!(migrate(&["--yes"]).await.out.contains("Nothing to do."));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_does_not_show_is_said_before_anything_changes() {
    let (source, target, receiver) =
        (TestStack::start().await, TestStack::start().await, Receiver::start().await);
    post(&source, "/app", json!({"name": "Acme", "uid": "acme"})).await;
    let endpoint = json!({"url": receiver.url("/"), "uid": "main", "headers": {"X-Api-Key": "k"}});
    post(&source, "/app/acme/endpoint", endpoint).await;
    let migrate = async |more: &[&str]| {
        command(&[&["migrate", "--from", "FROM", "--yes"], more].concat(), &source, &target).await
    };
    let ended = migrate(&[]).await;
    assert_eq!(ended.code, 2);
    assert!(
        ended.out.contains("! endpoint acme/main: the source does not show header X-Api-Key"),
        "{}",
        ended.out
    );
    assert!(ended.err.contains("--allow-missing"), "{}", ended.err);
    assert_eq!(get(&target, "/app").await["data"], json!([]));
    assert_eq!(migrate(&["--allow-missing"]).await.code, 0);
    // Once it was set by hand, nothing is missing.
    let headers = json!({"headers": {"X-Api-Key": "k"}}).to_string();
    target.request("PATCH", "/api/v1/app/acme/endpoint/main/headers", &target.token, headers).await;
    let ended = migrate(&[]).await;
    assert!(ended.code == 0 && ended.out.contains("Nothing to do."), "{}{}", ended.out, ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_interrupted_is_finished_by_the_next_run() {
    const APPS: usize = 30;
    let (source, target, receiver) =
        (TestStack::start().await, TestStack::start().await, Receiver::start().await);
    for nth in 0..APPS {
        post(&source, "/app", json!({"name": "x", "uid": format!("a{nth}")})).await;
        for uid in ["one", "two"] {
            let endpoint = json!({"url": receiver.url("/"), "uid": uid});
            post(&source, &format!("/app/a{nth}/endpoint"), endpoint).await;
        }
    }
    let (from, to) = (url(&source), url(&target));
    let words = ["migrate", "--from", &from, "--yes", "--concurrency", "2"];
    let mut process = started(&words, &variables(&to, &target.token, &source.token));
    soon("the first application", async {
        while get(&target, "/app").await["data"] == json!([]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    process.kill().expect("it can be ended");
    process.wait().expect("it ends");
    let made = get(&target, "/app?limit=250").await["data"].as_array().expect("a list").len();
    assert!(made < APPS, "it was done before it could be interrupted");
    let ended = command(&words, &source, &target).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("the same") && ended.out.contains("created"), "{}", ended.out);
    let ended = command(&words, &source, &target).await;
    assert!(
        ended.out.contains(&format!("{APPS} applications, {} endpoints the same", 2 * APPS)),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("Nothing to do."), "{}", ended.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_one_file() {
    let (source, target, mut receiver) =
        (TestStack::start().await, TestStack::start().await, Receiver::start().await);
    furnish(&source, &receiver).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (bare, whole) = (path("bare"), path("whole"));
    let ended = command(&["export", &bare], &source, &source).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let text = std::fs::read_to_string(&bare).expect("a file");
    assert!(!text.contains("whsec_") && !text.contains("seven") && text.contains("invoice.paid"), "{text}");
    assert_eq!(command(&["export", &bare], &source, &source).await.code, 2);
    assert_eq!(command(&["export", &whole, "--with-secrets"], &source, &source).await.code, 0);
    assert_eq!(std::fs::metadata(&whole).expect("a file").permissions().mode() & 0o777, 0o600);
    // On the server that it came from there is nothing to do.
    let ended = command(&["import", &whole, "--yes"], &source, &source).await;
    assert!(ended.code == 0 && ended.out.contains("Nothing to do."), "{}{}", ended.out, ended.err);

    let torn = path("torn");
    let text = std::fs::read_to_string(&whole).expect("a file");
    std::fs::write(&torn, &text[..text.len() - 20]).expect("written");
    let ended = command(&["import", &torn, "--yes"], &target, &target).await;
    assert!(ended.code == 2 && ended.err.contains("torn, line "), "{}", ended.err);
    assert_eq!(get(&target, "/app").await["data"], json!([]));

    let ended = command(&["import", &whole, "--yes"], &target, &target).await;
    assert!(ended.out.contains("Done: 2 event types, 2 applications, 2 endpoints created."), "{}", ended.err);
    let message = json!({"eventType": "invoice.paid", "channels": ["eu"], "payload": {}});
    post(&target, "/app/acme/msg", message).await;
    receiver.next().await.verify(SECRET);
    // A file without secrets changes none.
    for file in [&whole, &bare] {
        let ended = command(&["import", file, "--yes"], &target, &target).await;
        assert!(ended.code == 0 && ended.out.contains("Nothing to do."), "{}{}", ended.out, ended.err);
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        3,
        "no file was left half-written"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_policies_and_polling_endpoints_move_as_they_are() {
    let (source, target, receiver) =
        (TestStack::start().await, TestStack::start().await, Receiver::start().await);
    let app = json!({"name": "Acme", "uid": "acme", "retryPolicy": {"schedule": [5, 60], "jitter": 0}});
    post(&source, "/app", app).await;
    let filter =
        json!({"plan": ["gold", {"prefix": "plat"}], "$or": [{"n": [{"numeric": [">", 1]}]}, {"x": [null]}]});
    let sent = json!({
        "url": receiver.url("/sent"), "uid": "sent", "filter": filter, "filterTypes": ["invoice.*"],
        "retryPolicy": {"attempts": 4, "minSeconds": 10, "maxSeconds": 600}, "autoEnable": true, "secret": SECRET,
    });
    post(&source, "/app/acme/endpoint", sent).await;
    let polled = json!({
        "destination": {"kind": "polling"}, "uid": "polled", "filter": filter, "filterTypes": ["*.paid"],
        "channels": ["eu"], "metadata": {"a": "b"},
    });
    post(&source, "/app/acme/endpoint", polled).await;
    // What the other way round is at the target is made like it, in both directions.
    let turned = json!({"destination": {"kind": "polling"}, "uid": "turned"});
    post(&source, "/app/acme/endpoint", turned).await;

    let same = async |uid: &str| {
        let path = format!("/app/acme/endpoint/{uid}");
        let (mut was, mut is) = (get(&source, &path).await, get(&target, &path).await);
        for value in [&mut was, &mut is] {
            let object = value.as_object_mut().expect("an object");
            assert!(!object.contains_key("detail"), "{uid}: {object:?}");
            object.retain(|name, _| !["id", "createdAt", "updatedAt"].contains(&name.as_str()));
        }
        assert_eq!(was, is, "{uid}");
    };
    let migrate = async || command(&["migrate", "--from", "FROM", "--yes"], &source, &target).await;
    let ended = migrate().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("+ endpoint acme/polled polling\n"), "{}", ended.out);
    assert!(ended.err.contains("2 polling endpoints are created without their keys"), "{}", ended.err);
    for uid in ["sent", "polled", "turned"] {
        same(uid).await;
    }
    assert_eq!(
        get(&target, "/app/acme").await["retryPolicy"],
        get(&source, "/app/acme").await["retryPolicy"]
    );
    let again = async || {
        let ended = migrate().await;
        assert!(ended.code == 0 && ended.out.contains("Nothing to do."), "{}{}", ended.out, ended.err);
    };
    again().await;

    let put = async |stack: &TestStack, uid: &str, mut body: Value| {
        body["uid"] = json!(uid);
        let path = format!("/api/v1/app/acme/endpoint/{uid}");
        let answer = stack.request("PUT", &path, &stack.token, body.to_string()).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    };
    put(&source, "polled", json!({"destination": {"kind": "polling"}, "filter": {"plan": ["tin"]}})).await;
    put(&source, "turned", json!({"url": receiver.url("/turned")})).await;
    put(&target, "sent", json!({"destination": {"kind": "polling"}})).await;
    let ended = migrate().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.out.contains("~ endpoint acme/polled: filterTypes, channels, filter, metadata"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("~ endpoint acme/turned: url, destination"), "{}", ended.out);
    for uid in ["sent", "polled", "turned"] {
        same(uid).await;
    }
    again().await;

    let folder = tempfile::tempdir().expect("a folder");
    let (bare, whole) = (folder.path().join("bare"), folder.path().join("whole"));
    let other = TestStack::start().await;
    for (file, more) in [(&bare, None), (&whole, Some("--with-secrets"))] {
        let file = file.to_str().expect("text");
        let words: Vec<&str> = ["export", file].into_iter().chain(more).collect();
        assert_eq!(command(&words, &source, &source).await.code, 0);
    }
    for file in [&whole, &bare] {
        let ended = command(&["import", file.to_str().expect("text"), "--yes"], &other, &other).await;
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    let moved = command(&["migrate", "--from", "FROM", "--yes"], &source, &other).await;
    assert!(moved.code == 0 && moved.out.contains("Nothing to do."), "{}{}", moved.out, moved.err);
}

const CODE: &str = "function handler(webhook) { webhook.payload = {n: webhook.env.n}; return webhook }";

#[tokio::test(flavor = "multi_thread")]
async fn transformations_move_before_anything_is_sent() {
    let (source, target, mut receiver) =
        (TestStack::start().await, TestStack::start().await, Receiver::start().await);
    post(&source, "/app", json!({"name": "Acme", "uid": "acme"})).await;
    for (uid, disabled) in [("main", false), ("off", true)] {
        let endpoint =
            json!({"url": receiver.url("/"), "uid": uid, "disabled": disabled, "headerStyle": "rfc9421"});
        post(&source, "/app/acme/endpoint", endpoint).await;
    }
    let patch = async |stack: &TestStack, path: &str, body: Value| {
        let path = format!("/api/v1/app/acme/endpoint/{path}");
        let answer = stack.request("PATCH", &path, &stack.token, body.to_string()).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    };
    let code = json!({"code": CODE, "enabled": true, "variables": {"n": "7"}});
    for uid in ["main", "off"] {
        patch(&source, &format!("{uid}/transformation"), code.clone()).await;
    }
    let migrate = async |more: &[&str]| {
        let ended = command(&[&["migrate", "--from", "FROM"], more].concat(), &source, &target).await;
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        ended
    };
    let again = async || assert!(migrate(&["--yes"]).await.out.contains("Nothing to do."));
    let same = async |uid: &str| {
        for path in [format!("/app/acme/endpoint/{uid}"), format!("/app/acme/endpoint/{uid}/transformation")]
        {
            let (mut was, mut is) = (get(&source, &path).await, get(&target, &path).await);
            for value in [&mut was, &mut is] {
                let object = value.as_object_mut().expect("an object");
                object.retain(|name, _| !["id", "createdAt", "updatedAt"].contains(&name.as_str()));
            }
            assert_eq!(was, is, "{path}");
        }
    };
    let ended = migrate(&["--yes"]).await;
    assert!(ended.out.contains("(with its transformation)"), "{}", ended.out);
    assert!(!ended.err.contains("transformation"), "{}", ended.err);
    for uid in ["main", "off"] {
        same(uid).await;
    }
    again().await;
    post(&target, "/app/acme/msg", json!({"eventType": "a", "payload": {}})).await;
    assert_eq!(receiver.next().await.body, "{\"n\":\"7\"}");
    target.idle().await;

    // What changed at the source, and what somebody did at the target.
    patch(&source, "main/transformation", json!({"enabled": false})).await;
    patch(&target, "off/transformation", json!({"code": null, "variables": null})).await;
    let ended = migrate(&["--yes"]).await;
    for uid in ["main", "off"] {
        assert!(ended.out.contains(&format!("~ endpoint acme/{uid}: transformation")), "{}", ended.out);
        same(uid).await;
    }
    // Another kind of destination has none; on the way back the code is there before the endpoint starts.
    let turn = async |body: Value| {
        let answer = source.request("PUT", "/api/v1/app/acme/endpoint/off", &source.token, body.to_string());
        assert!(answer.await.status.is_success());
    };
    patch(&source, "off/transformation", json!({"code": null, "variables": null})).await;
    turn(json!({"uid": "off", "destination": {"kind": "polling"}})).await;
    assert!(migrate(&["--yes"]).await.out.contains("transformation"));
    same("off").await;
    again().await;
    turn(json!({"uid": "off", "url": receiver.url("/"), "disabled": true})).await;
    patch(&source, "off/transformation", code).await;
    patch(&source, "off", json!({"disabled": false})).await;
    migrate(&["--yes"]).await;
    same("off").await;
    again().await;

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("whole");
    let file = file.to_str().expect("text");
    let other = TestStack::start().await;
    let ended = command(&["export", file, "--with-secrets"], &source, &source).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let ended = command(&["import", file, "--yes"], &other, &other).await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let ended = command(&["migrate", "--from", "FROM", "--yes"], &source, &other).await;
    assert!(ended.code == 0 && ended.out.contains("Nothing to do."), "{}{}", ended.out, ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_the_target_does_not_take_leaves_its_endpoint_disabled() {
    let target = TestStack::start().await;
    let receiver = Receiver::start().await;
    let list = |data: Value| json!({"data": data, "done": true, "iterator": null}).to_string();
    let endpoint = json!({"id": "ep_1", "uid": "main", "url": receiver.url("/"), "disabled": false});
    let served = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let serves_code = served.clone();
    // A server of this API whose code calls itself something else, or that shows none.
    let source = Receiver::answering(move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let body = match path.strip_prefix("/api/v1").unwrap_or_default() {
            "/event-type" => list(json!([])),
            "/app" => list(json!([{"id": "app_1", "uid": "acme", "name": "Acme"}])),
            "/app/app_1/endpoint" => list(json!([endpoint])),
            "/app/app_1/endpoint/ep_1/secret" => json!({ "key": SECRET }).to_string(),
            "/app/app_1/endpoint/ep_1/headers" => json!({"headers": {}, "sensitive": []}).to_string(),
            "/app/app_1/endpoint/ep_1/transformation"
                if serves_code.load(std::sync::atomic::Ordering::Relaxed) =>
            {
                json!({"code": "function other(webhook) { return webhook }", "enabled": true}).to_string()
            }
            _ => return (http::StatusCode::NOT_FOUND, json!({"detail": "Not Found"}).to_string()),
        };
        (http::StatusCode::OK, body)
    })
    .await;
    let (from, to) = (source.url(""), url(&target));
    let migrate =
        async || run(&["migrate", "--from", &from, "--yes"], &variables(&to, &target.token, "token")).await;
    let is_disabled = async || get(&target, "/app/acme/endpoint/main").await["disabled"].clone();
    // Again and again: it is never enabled without its code.
    for _ in 0..2 {
        let ended = migrate().await;
        assert!(ended.code != 0 && ended.err.contains("handler"), "{}{}", ended.out, ended.err);
        assert_eq!(is_disabled().await, true);
    }
    served.store(false, std::sync::atomic::Ordering::Relaxed);
    let ended = migrate().await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(
        ended.err.contains("does not show transformations") && ended.err.contains("1 endpoint"),
        "{}",
        ended.err
    );
    assert_eq!(is_disabled().await, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_is_finished_by_the_next_run() {
    const APPS: usize = 60;
    let (source, target) = (TestStack::start().await, TestStack::start().await);
    for nth in 0..APPS {
        post(&source, "/app", json!({"name": "x", "uid": format!("a{nth}")})).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all");
    let file = file.to_str().expect("text");
    assert_eq!(command(&["export", file], &source, &source).await.code, 0);
    let words = ["import", file, "--yes", "--concurrency", "1"];
    let to = url(&target);
    let process = started(&words, &variables(&to, &target.token, "-"));
    let id = rustix::process::Pid::from_child(&process);
    soon("the first application", async {
        while get(&target, "/app").await["data"] == json!([]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
    let ended = tokio::task::spawn_blocking(move || process.wait_with_output());
    let ended = soon("its end", ended).await.expect("it ends").expect("its output");
    let err = String::from_utf8(ended.stderr).expect("text");
    assert!(ended.status.code() == Some(130) && err.contains("Run the same command again"), "{err}");
    // What it says that it did is there.
    let said = err.split("until then: ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a count");
    let there = get(&target, "/app?limit=250").await["data"].as_array().expect("a list").len();
    assert!(said == "nothing" || said.parse::<usize>().expect("a number") <= there, "{there}: {err}");
    let ended = command(&words, &target, &target).await;
    assert!(ended.code == 0 && ended.out.contains("the same"), "{}{}", ended.out, ended.err);
    let ended = command(&words, &target, &target).await;
    assert!(ended.out.contains(&format!("{APPS} applications the same")), "{}", ended.out);
}
