//! `listen` and the polling endpoint that it makes: what is there while it runs, and what is left afterwards.

use std::process::{Child, Command, Stdio};

use http::StatusCode;
use serde_json::{Value, json};
use svix::models::MessageIn;
use tokio::sync::mpsc;

use super::{SECRET, command, started};
use crate::test_stack::{Receiver, TestStack, soon};

/// A command in the background whose lines of JSON are read. Killed if it is dropped.
struct Listening {
    process: Child,
    lines: mpsc::UnboundedReceiver<Value>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Listening {
    fn start(words: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process = started(words, variables);
        let out = std::io::BufReader::new(process.stdout.take().expect("its output"));
        let (tell, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(out).map_while(Result::ok) {
                if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line) {
                    let _ = tell.send(value);
                }
            }
        });
        Self { process, lines }
    }

    async fn line(&mut self) -> Value {
        soon("a line of listen", self.lines.recv()).await.expect("a line")
    }

    /// Ends it as Ctrl-C does; the exit code.
    async fn interrupt(mut self) -> i32 {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
        let ended = tokio::task::spawn_blocking(move || self.process.wait().map(|status| status.code()));
        soon("its end", ended).await.expect("it ends").expect("its status").expect("a code")
    }
}

async fn endpoints(stack: &TestStack, app: &str) -> Vec<Value> {
    let listed = stack.request("GET", &format!("/api/v1/app/{app}/endpoint"), &stack.token, "").await;
    listed.json()["data"].as_array().expect("a list").clone()
}

async fn post(stack: &TestStack, app: &str, name: &str) -> String {
    stack.message(app, MessageIn::new(name.into(), json!({"x": 1}))).await
}

/// Waits until the command has made its endpoint.
async fn endpoint(stack: &TestStack, app: &str) -> Value {
    soon("the polling endpoint", async {
        loop {
            if let [one] = &endpoints(stack, app).await[..] {
                return one.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_token_listens_and_its_endpoint_is_gone_at_the_end() {
    let (stack, mut receiver) = (TestStack::start().await, Receiver::start().await);
    let app = stack.app().await;
    let token = stack.stack.app_token(None, app.parse().expect("an id"));
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", token.as_str())];
    stack.event_type("order.paid").await;
    let to = receiver.url("/local");
    let words = [
        "listen",
        "--forward-to",
        &to,
        "--json",
        "--secret",
        SECRET,
        "--event-types",
        "invoice.*,order.paid",
    ];
    let mut listening = Listening::start(&words, &variables);
    let made = endpoint(&stack, &app).await;
    assert!(made["uid"].as_str().is_some_and(|uid| uid.starts_with("cli-")), "{made}");
    assert_eq!(
        (&made["destination"], &made["filterTypes"]),
        (&json!({"kind": "polling"}), &json!(["invoice.*", "order.paid"]))
    );
    post(&stack, &app, "user.left").await;
    for name in ["invoice.paid", "order.paid"] {
        let id = post(&stack, &app, name).await;
        let webhook = receiver.next().await;
        webhook.verify(SECRET);
        assert_eq!(webhook.header("webhook-id"), id);
        assert_eq!(listening.line().await["id"], id);
    }
    // Somebody removes it in the portal: it is made again, and nothing is skipped or sent twice.
    let path = format!("/api/v1/app/{app}/endpoint/{}", made["uid"].as_str().expect("a uid"));
    assert_eq!(stack.request("DELETE", &path, &stack.token, "").await.status, StatusCode::NO_CONTENT);
    let id = post(&stack, &app, "invoice.late").await;
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    assert_eq!(listening.interrupt().await, 0);
    assert_eq!(endpoints(&stack, &app).await, [Value::Null; 0]);
    assert_eq!(receiver.rest().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_endpoint_goes_on_where_it_ended() {
    let (stack, mut receiver) = (TestStack::start().await, Receiver::start().await);
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let to = receiver.url("/");
    let words = ["listen", "--app", &app, "--forward-to", &to, "--json", "--keep"];
    let mut listening = Listening::start(&words, &variables);
    let made = endpoint(&stack, &app).await;
    let first = post(&stack, &app, "a.b").await;
    assert_eq!(receiver.next().await.header("webhook-id"), first);
    assert_eq!(listening.line().await["id"], first);
    assert_eq!(listening.interrupt().await, 0);
    let meanwhile = post(&stack, &app, "a.b").await;
    let mut listening = Listening::start(&words, &variables);
    assert_eq!(receiver.next().await.header("webhook-id"), meanwhile);
    assert_eq!(listening.line().await["id"], meanwhile);
    assert_eq!(listening.interrupt().await, 0);
    let kept = endpoint(&stack, &app).await;
    assert_eq!(kept["id"], made["id"]);
    // Without the flag the same command removes it.
    let listening = Listening::start(&words[..words.len() - 1], &variables);
    let uid = made["uid"].as_str().expect("a uid");
    soon("it is taken up", async {
        let path = format!("/api/v1/app/{app}/endpoint/{uid}");
        let before = kept["updatedAt"].clone();
        while stack.request("GET", &path, &stack.token, "").await.json()["updatedAt"] == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(listening.interrupt().await, 0);
    assert_eq!(endpoints(&stack, &app).await, [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_listens_by_the_list() {
    let (stack, mut receiver) = (TestStack::start().await, Receiver::start().await);
    let app = stack.app().await;
    let path = format!("/api/v1/auth/app-portal-access/{app}");
    let access =
        stack.request("POST", &path, &stack.token, json!({"readOnly": true}).to_string()).await.json();
    let token = access["token"].as_str().expect("a token");
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", token)];
    let to = receiver.url("/");
    let id = post(&stack, &app, "a.b").await;
    let mut listening =
        Listening::start(&["listen", "--forward-to", &to, "--json", "--since", "1h"], &variables);
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    assert_eq!(listening.line().await["id"], id);
    assert_eq!(endpoints(&stack, &app).await, [Value::Null; 0]);
    assert_eq!(listening.interrupt().await, 0);
    let ended = super::run(&["listen", "--forward-to", &to, "--keep"], &variables).await;
    assert!(
        ended.code == 1 && ended.err.contains("--keep: there is no endpoint to keep: 403"),
        "{}",
        ended.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_leaves_no_endpoint() {
    let (stack, receiver) = (TestStack::start().await, Receiver::start().await);
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", stack.token.as_str())];
    let to = receiver.url("/");
    for _ in 0..3 {
        post(&stack, &app, "a.b").await;
    }
    let program = command(&["listen", "--app", &app, "--forward-to", &to, "--since", "1h"], &variables);
    let mut piped = Command::new("sh");
    // The test harness says something first.
    piped.args(["-c", "\"$0\" \"$@\" | head -n 4 >/dev/null"]);
    piped.arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
    piped.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = tokio::task::spawn_blocking(move || piped.output());
    let output = soon("its end", ended).await.expect("it ends").expect("output");
    let err = String::from_utf8(output.stderr).expect("text");
    assert!(!err.contains("panicked"), "{err}");
    assert_eq!(endpoints(&stack, &app).await, [Value::Null; 0]);
}
