//! What can go wrong around a command: one line that says what to do, and the right exit code.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use shared::auth::{DEFAULT_ORG, Tokens};
use shared::clock::SystemClock;
use shared::config::Env;

use super::{command, run};
use crate::test_stack::{Ahead, Receiver, TestStack, settings};

async fn says(words: &[&str], variables: &[(&str, &str)], code: i32, text: &str) {
    let ended = run(words, variables).await;
    assert_eq!(ended.code, code, "{words:?}: {}", ended.err);
    assert!(ended.err.contains(text), "{words:?}: {}", ended.err);
    assert_eq!(ended.err.trim_end().lines().count(), 1, "{words:?}: {}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_kind_is_told_from_one_of_this_api() {
    for body in ["<html>hello</html>", "{\"hello\":1}", "[]", "3"] {
        let other = Receiver::answering(move |_| (StatusCode::OK, body.to_owned())).await;
        let url = other.url("");
        let variables =
            [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", "t"), ("POSTRIDER_FROM_TOKEN", "f")];
        for words in [
            &["app", "list"][..],
            &["event-type", "list", "--all"],
            &["migrate", "--from", "http://127.0.0.1:9", "--server-url", &url],
            &["import", "/dev/null"],
            &["export", "/nonexistent/file"],
            &["tail", "--app", "x"],
            &["listen", "--app", "x", "--forward-to", "http://127.0.0.1:9/"],
        ] {
            let (code, text) = match words[0] {
                "migrate" => (3, "cannot reach http://127.0.0.1:9"),
                "import" => (2, "not an environment's file"),
                _ => (1, "is it a server of this API?"),
            };
            says(words, &variables, code, text).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_named_as_such() {
    let mut settings = settings();
    let secret = settings.settings["POSTRIDER_JWT_SECRET"].clone();
    let clock = Arc::new(Ahead::default());
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let env = Env::new(|name| (name == "POSTRIDER_JWT_SECRET").then(|| secret.clone()));
    let tokens =
        Tokens::read(&env, Arc::new(SystemClock)).expect("a secret").lasting(Duration::from_secs(1_800));
    let token = tokens.for_org(DEFAULT_ORG.parse().expect("an ID")).expect("a token");
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", token.as_str())];
    assert_eq!(run(&["app", "list"], &variables).await.code, 0);
    clock.skip(Duration::from_secs(3_600));
    says(&["app", "list"], &variables, 1, "The token has expired. Set POSTRIDER_TOKEN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_flags_that_cannot_be_used_are_named() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("payload");
    let path = file.to_str().expect("text");
    for (text, says_) in
        [("no JSON", "is not JSON"), ("[1]", "a payload is a JSON object"), ("", "is not JSON")]
    {
        std::fs::write(&file, text).expect("written");
        says(&["trigger", "a.b", "--app", &app, "--payload", path], &variables, 2, says_).await;
    }
    for (words, code, text) in [
        (&["trigger", "a.b", "--payload", "/nonexistent"][..], 2, "cannot read /nonexistent"),
        (&["export", "/nonexistent/x"], 2, "cannot write /nonexistent/x"),
        (&["export", path], 2, "--force"),
        (&["export", "x", "--concurrency", "0"], 2, "--concurrency: expected 1 to 32"),
        (&["import", "/nonexistent"], 2, "cannot read /nonexistent"),
        (&["migrate", "--from", "https://a"], 2, "POSTRIDER_FROM_TOKEN"),
        (&["migrate", "--from", "a.example", "--from-token", "t"], 2, "did you mean https://a.example?"),
        (&["migrate", "--from", &url, "--from-token", &stack.token], 2, "the same organisation"),
        (&["profile", "save"], 2, "cannot write /nonexistent"),
        (&["app", "list", "--profile", "none"], 2, "no profile"),
    ] {
        // Somebody who may write everywhere makes the folder.
        if words[0] == "profile" && std::fs::create_dir("/nonexistent").is_ok() {
            std::fs::remove_dir("/nonexistent").expect("removed");
            continue;
        }
        says(words, &variables, code, text).await;
    }
    let token = stack.stack.app_token(None, app.parse().expect("an id"));
    let own = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", token.as_str())];
    says(&["export", "-"], &own, 2, "use an organisation's").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_the_profiles_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let variables =
        [("POSTRIDER_CONFIG", path), ("POSTRIDER_TOKEN", "first"), ("POSTRIDER_SERVER_URL", "http://a")];
    let ended = run(&["profile", "save"], &variables).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let file = folder.path().join("profiles.json");
    let before = std::fs::read(&file).expect("a file");
    // No file may grow: what a disk without room says, without filling one.
    let program = command(&["profile", "save", "second"], &variables);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]);
    limited.arg(program.get_program()).args(program.get_args());
    limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output =
        tokio::task::spawn_blocking(move || limited.output()).await.expect("it ends").expect("output");
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("cannot write") && err.trim_end().lines().count() == 1, "{err}");
    assert_eq!(std::fs::read(&file).expect("a file"), before);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_the_command_quietly() {
    let stack = TestStack::start().await;
    stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let program = command(&["app", "list", "--json"], &variables);
    let mut piped = Command::new("sh");
    piped.args(["-c", "\"$0\" \"$@\" | head -c 1 >/dev/null; echo ended"]);
    piped.arg(program.get_program()).args(program.get_args());
    piped.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = tokio::task::spawn_blocking(move || piped.output()).await.expect("it ends").expect("output");
    let err = String::from_utf8(output.stderr).expect("text");
    assert!(output.stdout.ends_with(b"ended\n") && !err.contains("panicked"), "{err}");
}
