//! `mcp`: real lines to and from a real process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};

use serde_json::{Value, json};

use super::command;
use crate::test_stack::{Receiver, TestStack};

struct Client {
    process: Child,
    to: ChildStdin,
    from: std::io::Lines<BufReader<std::process::ChildStdout>>,
    id: u64,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Client {
    fn start(stack: &TestStack, token: &str, words: &[&str]) -> Self {
        let url = format!("http://{}", stack.stack.address());
        let variables = [("POSTRIDER_SERVER_URL", url.as_str()), ("POSTRIDER_TOKEN", token)];
        let mut process = command(&[&["mcp"], words].concat(), &variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let to = process.stdin.take().expect("its input");
        let from = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { process, to, from, id: 0 }
    }

    /// Sends a line, and reads the next one.
    fn line(&mut self, line: &str) -> Value {
        tokio::task::block_in_place(|| {
            writeln!(self.to, "{line}").expect("it reads");
            // The test harness says something first.
            let line = self.from.by_ref().map_while(Result::ok).find(|line| line.starts_with(['{', '[']));
            serde_json::from_str(&line.expect("a response")).expect("JSON")
        })
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.id += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        let response = self.line(&request.to_string());
        assert_eq!((&response["jsonrpc"], &response["id"]), (&json!("2.0"), &json!(self.id)));
        response
    }

    /// Calls a tool: whether it failed, and what it says.
    fn call(&mut self, name: &str, arguments: Value) -> (bool, Value) {
        let response = self.request("tools/call", &json!({"name": name, "arguments": arguments}));
        let result = &response["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"));
        (result["isError"] == true, serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reads_and_sends_again_only_what_was_confirmed() {
    let (stack, mut receiver) = (TestStack::start().await, Receiver::start().await);
    let (app, other) = (stack.app().await, stack.app().await);
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let id = stack.message(&app, svix::models::MessageIn::new("a.b".into(), json!({"x": 1}))).await;
    receiver.next().await;
    stack.idle().await;
    let token = stack.stack.app_token(None, app.parse().expect("an id"));
    let mut client = Client::start(&stack, &token, &[]);
    for (asked, agreed) in
        [("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("1999-01-01", "2025-11-25")]
    {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let response = client.request("initialize", &params);
        assert_eq!(response["result"]["protocolVersion"], agreed);
        assert!(response["result"]["capabilities"]["tools"].is_object());
    }
    // A notification gets no response: the next line is that of the ping.
    writeln!(client.to, r#"{{"jsonrpc":"2.0","method":"notifications/initialized"}}"#).expect("it reads");
    assert_eq!(client.request("ping", &json!({}))["result"], json!({}));

    let listed = client.request("tools/list", &json!({}));
    let names: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert!(names.contains(&"recover_endpoint") && !names.contains(&"list_applications"), "{names:?}");
    assert_eq!(client.call("list_endpoints", json!({})).1["data"][0]["id"], endpoint.id);
    assert_eq!(client.call("get_endpoint", json!({"endpoint": endpoint.id})).1["url"], receiver.url("/"));
    assert_eq!(client.call("endpoint_stats", json!({"endpoint": endpoint.id})).1["success"], 1);
    assert_eq!(
        client.call("list_messages", json!({"event_type": "a.b", "since": "1h"})).1["data"][0]["id"],
        id
    );
    assert_eq!(client.call("get_message", json!({"message": id})).1["payload"]["x"], 1);
    assert_eq!(client.call("list_attempts", json!({"message": id})).1["data"][0]["responseStatusCode"], 204);

    let (_, counted) = client.call("resend_message", json!({"message": id}));
    assert_eq!(counted["count"], 1);
    let confirmation = counted["confirmation"].as_str().expect("a confirmation").to_owned();
    assert_eq!(receiver.rest().len(), 0);
    // Not for other arguments, and not after that.
    let wrong = json!({"message": id, "endpoint": endpoint.id, "confirmation": confirmation});
    assert!(client.call("resend_message", wrong).0);
    let confirmed = json!({"message": id, "confirmation": confirmation});
    assert!(client.call("resend_message", confirmed).0);
    let (_, counted) = client.call("resend_message", json!({"message": id}));
    let confirmed = json!({"message": id, "confirmation": counted["confirmation"]});
    assert_eq!(client.call("resend_message", confirmed.clone()).1["sent"], true);
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    assert!(client.call("resend_message", confirmed).0, "a confirmation is used once");
    let nothing = client.call("recover_endpoint", json!({"endpoint": endpoint.id, "since": "1h"})).1;
    assert_eq!(nothing["count"], 0);

    // What an agent gets wrong, it is told.
    for (arguments, says) in [
        (json!({"message": id, "app": other}), "app: "),
        (json!({"message": 7}), "message: "),
        (json!({}), "message: "),
        (json!({"message": "msg_none"}), "404"),
    ] {
        let (failed, text) = client.call("get_message", arguments);
        assert!(failed && text.as_str().expect("text").contains(says), "{text}");
    }
    assert!(client.call("list_endpoints", json!({"limit": 101})).0);
    for (line, code) in [
        ("{", -32_700),
        ("[]", -32_600),
        (r#"{"id":1}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, -32_601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"drop_tables"}}"#, -32_602),
    ] {
        assert_eq!(client.line(line)["error"]["code"], code, "{line}");
    }
    // An organisation's token names the application; --read-only sends nothing; batches exist in one version.
    let mut client = Client::start(&stack, &stack.token, &["--read-only"]);
    client.request("initialize", &json!({"protocolVersion": "2025-03-26"}));
    let both = client
        .line(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/list"}]"#);
    assert!(!both.to_string().contains("resend_message") && both[1]["id"] == 2, "{both}");
    assert_eq!(client.call("list_endpoints", json!({"app": app})).1["data"][0]["id"], endpoint.id);
    assert_eq!(client.call("list_applications", json!({})).1["data"].as_array().map(Vec::len), Some(2));
}
