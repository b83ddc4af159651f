//! The commands of `postrider` against a real stack: this test binary once more, as a process of its own.

mod left_out;
mod listening;
mod mcp;
mod outage;
mod payloads;
mod terminal;
mod transfer;
mod watching;
mod wrong;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use clap::Parser;
use serde_json::Value;

use crate::test_stack::{Receiver, TestStack, soon};

const LINE_VARIABLE: &str = "POSTRIDER_TEST_COMMAND_LINE";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: cli::Command,
}

/// What the process does that [`started`] starts; among the tests it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn program() {
    let env = |name: &str| shared::config::Env::process().optional(name);
    let Some(line) = env(LINE_VARIABLE) else { return };
    let line: Vec<String> = serde_json::from_str(&line).expect("words");
    let program = Program::try_parse_from(line).unwrap_or_else(|error| error.exit());
    std::process::exit(cli::run(program.command, &env).await.into());
}

/// The program with these words, to be started.
fn command(words: &[&str], variables: &[(&str, &str)]) -> Command {
    let line: Vec<&str> = ["postrider"].iter().chain(words).copied().collect();
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "operations::command_line::program", "--nocapture"]);
    command.env(LINE_VARIABLE, serde_json::to_string(&line).expect("JSON")).envs(variables.iter().copied());
    // What a test says of it counts.
    if !variables.iter().any(|(name, _)| *name == "POSTRIDER_CONFIG") {
        command.env("POSTRIDER_CONFIG", "/nonexistent");
    }
    command.stdin(Stdio::null());
    command
}

fn started(words: &[&str], variables: &[(&str, &str)]) -> std::process::Child {
    let mut command = command(words, variables);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

async fn run(words: &[&str], variables: &[(&str, &str)]) -> Ended {
    let process = started(words, variables);
    let ended = tokio::task::spawn_blocking(move || process.wait_with_output());
    let output = soon("the end of a command", ended).await.expect("it ends");
    let output = output.expect("its output");
    let out = String::from_utf8(output.stdout).expect("text");
    // The test harness says something first.
    let out = out.trim_start().trim_start_matches("running 1 test").trim_start().to_owned();
    let code = output.status.code().expect("a code");
    Ended { code, out, err: String::from_utf8(output.stderr).expect("text") }
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_made_listed_and_used() {
    let (stack, mut receiver) = (TestStack::start().await, Receiver::start().await);
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let good = async |words: &[&str]| {
        let ended = run(words, &variables).await;
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.err);
        ended.out
    };
    let app: Value = serde_json::from_str(&good(&["app", "create", "Acme", "uid=acme"]).await).expect("JSON");
    assert_eq!(app["uid"], "acme");
    assert!(good(&["app", "list"]).await.contains("acme"));
    good(&["endpoint", "create", &receiver.url("/hook"), "uid=main", "--app", "acme"]).await;
    let secret = good(&["endpoint", "secret", "main"]).await;
    let polled =
        good(&["endpoint", "create", "destination.kind=polling", "uid=polled", "disabled=true"]).await;
    assert_eq!(serde_json::from_str::<Value>(&polled).expect("JSON")["destination"]["kind"], "polling");
    let listed = good(&["endpoint", "list"]).await;
    assert!(listed.lines().any(|line| line.contains("polled") && line.contains("polling")), "{listed}");
    let key = good(&["endpoint", "polling-key", "polled", "--rotate"]).await;
    assert!(key.starts_with("sk_poll_"), "{key}");
    assert_eq!(good(&["endpoint", "polling-key", "polled"]).await, key);
    // Without --app, the only application is meant.
    let posted = good(&["trigger", "invoice.paid", "--set", "customer.id=7"]).await;
    let webhook = receiver.next().await;
    webhook.verify(secret.trim());
    assert_eq!(webhook.body, r#"{"customer":{"id":7}}"#);
    assert!(posted.contains(webhook.header("webhook-id")), "{posted}");
    good(&["resend", webhook.header("webhook-id"), "--endpoint", "main"]).await;
    assert_eq!(receiver.next().await.header("webhook-id"), webhook.header("webhook-id"));
    let listed: Value = serde_json::from_str(&good(&["message", "list", "--json"]).await).expect("a line");
    assert_eq!(listed["payload"]["customer"]["id"], 7);
    assert!(good(&["open", "--app", "acme", "--read-only", "--print"]).await.contains("/login#key="));
    let doctor = good(&["doctor", "--deliver", "acme"]).await;
    assert!(doctor.contains("a test message was delivered"), "{doctor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_forwarded_signed() {
    let (stack, mut receiver) = (TestStack::start().await, Receiver::start().await);
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("SVIX_SERVER_URL", url.as_str()), ("SVIX_AUTH_TOKEN", stack.token.as_str())];
    let to = receiver.url("/local");
    let words = ["listen", "--app", &app, "--forward-to", &to, "--since", "1h", "--json", "--secret", SECRET];
    let id =
        stack.message(&app, svix::models::MessageIn::new("a.b".into(), serde_json::json!({"x": 1}))).await;
    let mut process = started(&words, &variables);
    let webhook = receiver.next().await;
    webhook.verify(SECRET);
    assert_eq!((webhook.header("webhook-id"), &webhook.body[..]), (id.as_str(), &br#"{"x":1}"#[..]));
    // One that is posted while it runs, once and in order.
    let later = stack.message(&app, svix::models::MessageIn::new("a.c".into(), serde_json::json!({}))).await;
    assert_eq!(receiver.next().await.header("webhook-id"), later);
    let out = process.stdout.take().expect("its output");
    let lines = tokio::task::spawn_blocking(move || {
        BufReader::new(out)
            .lines()
            .map_while(Result::ok)
            .filter(|line| line.starts_with('{'))
            .take(2)
            .collect()
    });
    let lines: Vec<String> = soon("two lines", lines).await.expect("lines");
    let first: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!((&first["id"], &first["eventType"]), (&Value::from(id), &Value::from("a.b")));
    process.kill().expect("it can be ended");
    process.wait().expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_refused_from_wrong_use_from_unreachable() {
    let stack = TestStack::start().await;
    let url = format!("http://{}", stack.stack.address());
    for (words, variables, code, says) in [
        (&["app", "list"][..], &[][..], 2, "POSTRIDER_TOKEN"),
        (&["app", "list"], &[("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", "x.y.z")], 1, "401"),
        (&["app", "list", "--server-url", "http://127.0.0.1:9", "--token", "t"], &[], 3, "cannot reach"),
        (&["app", "list", "--server-url", "127.0.0.1:9", "--token", "t"], &[], 2, "did you mean http://"),
        (&["recover", "ep", "--since", "soon", "--app", "x"], &[("POSTRIDER_TOKEN", "t")], 3, "cannot reach"),
        (&["listen", "--forward-to", "localhost:3000"], &[], 2, "did you mean http://localhost:3000?"),
        (&["trigger", "a", "--count", "0"], &[], 2, "--count"),
        (&["listen", "--forward-to", "ftp://x"], &[], 2, "--forward-to: ftp:// is not supported"),
        (&["app", "list", "--server-url", "ftp://h/", "--token", "t"], &[], 2, "ftp:// is not supported"),
        (&["app", "list", "--server-url", "", "--token", "t"], &[], 2, "--server-url: the URL is empty"),
        (&["app", "list", "--token", "a\nb"], &[], 2, "--token: the token has a line break"),
        (&["tail", "--since", "100d", "--app", "x"], &[("POSTRIDER_TOKEN", "t")], 2, "at most 90d"),
    ] {
        let mut variables = variables.to_vec();
        if !words.contains(&"--server-url")
            && !variables.iter().any(|(name, _)| *name == "POSTRIDER_SERVER_URL")
        {
            variables.push(("POSTRIDER_SERVER_URL", "http://127.0.0.1:9"));
        }
        let ended = run(words, &variables).await;
        assert_eq!(ended.code, code, "{words:?}: {}", ended.err);
        assert!(ended.err.contains(says), "{words:?}: {}", ended.err);
        assert_eq!(ended.err.trim_end().lines().count(), 1, "{words:?}: {}", ended.err);
    }
}
