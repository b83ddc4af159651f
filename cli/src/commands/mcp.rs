//! `mcp`: a Model Context Protocol server on standard input and output, one JSON-RPC message per line.
//!
//! What a client may see and do is what the token may. What sends something is done in two calls: the
//! first one counts and returns a confirmation, which the second one has to bring.

mod tools;

use std::io::{BufRead as _, Read as _};

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::tools::Tools;
use super::id;
use crate::Connection;
use crate::connection::Env;
use crate::error::Result;
use crate::output::Output;

/// Versions of the protocol, the newest first. They differ in nothing that is used here but batches.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// The one version with batches.
const BATCHES: &str = "2025-03-26";
/// The longest line that is read.
const LINE_LENGTH_MAX: u64 = 1024 * 1024;
/// Requests of one batch.
const BATCH_MAX: usize = 50;

const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;
const METHOD_NOT_FOUND: i32 = -32_601;
const INVALID_PARAMS: i32 = -32_602;

/// `postrider mcp`
#[derive(Debug, Args)]
pub struct Mcp {
    #[command(flatten)]
    connection: Connection,
    /// The only application that may be used [default: the token's; all of an organisation's].
    #[arg(long, value_name = "APP", value_parser = id)]
    app: Option<String>,
    /// Offer no tool that sends anything.
    #[arg(long)]
    read_only: bool,
}

/// A JSON-RPC error: its code and text.
#[derive(Debug)]
struct Problem(i32, String);

/// One line of standard input; none for one that is too long.
fn line(input: &mut impl std::io::BufRead) -> Option<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(LINE_LENGTH_MAX + 1).read_until(b'\n', &mut line);
    if read.is_err() || line.is_empty() {
        return None;
    }
    if line.len() as u64 <= LINE_LENGTH_MAX {
        return Some(Some(line));
    }
    // The rest of it is left out.
    while line.last() != Some(&b'\n') {
        line.clear();
        let read = input.by_ref().take(LINE_LENGTH_MAX).read_until(b'\n', &mut line);
        if read.is_err() || line.is_empty() {
            break;
        }
    }
    Some(None)
}

struct Server {
    tools: Tools,
    /// The version that was agreed upon.
    version: &'static str,
}

impl Server {
    /// The response to one message; none to a notification.
    async fn message(&mut self, message: &Value) -> Option<Value> {
        let id = message.get("id");
        let valid = id.is_none_or(|id| id.is_string() || id.is_i64() || id.is_u64());
        let method = message["method"].as_str().filter(|_| message["jsonrpc"] == "2.0" && valid);
        let Some(method) = method else {
            // The client's own responses need none: nothing is asked of it.
            if message.get("result").or(message.get("error")).is_some() {
                return None;
            }
            let id = id.filter(|_| valid).cloned().unwrap_or_default();
            return Some(failed(&id, &Problem(INVALID_REQUEST, "not a JSON-RPC 2.0 request".into())));
        };
        let result = self.call(method, &message["params"]).await;
        // A notification gets no response, whatever it comes to.
        let id = id?;
        Some(match result {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(problem) => failed(id, &problem),
        })
    }

    async fn call(&mut self, method: &str, params: &Value) -> std::result::Result<Value, Problem> {
        match method {
            "initialize" => {
                let Some(asked) = params["protocolVersion"].as_str() else {
                    return Err(Problem(INVALID_PARAMS, "protocolVersion is missing".into()));
                };
                self.version = VERSIONS.into_iter().find(|one| *one == asked).unwrap_or(VERSIONS[0]);
                Ok(json!({
                    "protocolVersion": self.version,
                    "capabilities": { "tools": { "listChanged": false } },
                    "serverInfo": { "name": "postrider", "version": env!("CARGO_PKG_VERSION") },
                    "instructions": "Webhook deliveries of Postrider. resend_message and recover_endpoint send \
                        webhooks: call them once without `confirmation`, show the user what it says, and call \
                        them again with the confirmation once the user agrees.",
                }))
            }
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({ "tools": self.tools.list() })),
            "tools/call" => {
                let Some(name) = params["name"].as_str() else {
                    return Err(Problem(INVALID_PARAMS, "name is missing".into()));
                };
                let none = json!({});
                let arguments = if params["arguments"].is_null() { &none } else { &params["arguments"] };
                let Some(result) = self.tools.call(name, arguments).await else {
                    return Err(Problem(
                        INVALID_PARAMS,
                        format!("unknown tool {name:?}; tools/list has them"),
                    ));
                };
                // What a tool says about a failure is for the model to read.
                let (text, failed) = match result {
                    Ok(text) => (text, false),
                    Err(error) => (error.to_string(), true),
                };
                Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": failed }))
            }
            name if name.starts_with("notifications/") => Ok(Value::Null),
            name => Err(Problem(METHOD_NOT_FOUND, format!("unknown method {name:?}"))),
        }
    }

    /// The response to one line; none where it needs none.
    async fn line(&mut self, line: &[u8]) -> Option<Value> {
        match serde_json::from_slice(line) {
            Err(error) => Some(failed(&Value::Null, &Problem(PARSE_ERROR, format!("not JSON: {error}")))),
            Ok(Value::Array(batch)) => {
                if self.version != BATCHES || batch.is_empty() || batch.len() > BATCH_MAX {
                    let problem =
                        format!("batches have 1 to {BATCH_MAX} messages, and exist in {BATCHES} only");
                    return Some(failed(&Value::Null, &Problem(INVALID_REQUEST, problem)));
                }
                let mut responses = Vec::new();
                for message in &batch {
                    responses.extend(self.message(message).await);
                }
                (!responses.is_empty()).then_some(Value::Array(responses))
            }
            Ok(message) => self.message(&message).await,
        }
    }
}

fn failed(id: &Value, Problem(code, message): &Problem) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// Serves until standard input ends.
pub(crate) async fn run(flags: Mcp, env: Env<'_>, out: &Output) -> Result<()> {
    let api = flags.connection.api(env)?;
    let tools = Tools::new(api, flags.app, flags.read_only).await?;
    let mut server = Server { tools, version: VERSIONS[0] };
    // A read that waits cannot be cancelled: a thread of its own, which ends with the process.
    let (tell, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while let Some(line) = line(&mut input) {
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let interrupted = super::interruption()?;
    tokio::pin!(interrupted);
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = &mut interrupted => None,
        };
        let response = match line {
            None => return Ok(()),
            Some(Some(line)) if line.trim_ascii().is_empty() => None,
            Some(Some(line)) => server.line(&line).await,
            Some(None) => {
                Some(failed(&Value::Null, &Problem(INVALID_REQUEST, "the line is longer than 1 MiB".into())))
            }
        };
        if let Some(response) = response {
            out.line(&response.to_string())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_the_next_one_is_read() {
        let text = format!("{}\nnext\n", "x".repeat(3 * LINE_LENGTH_MAX as usize));
        let mut input = text.as_bytes();
        assert_eq!(line(&mut input), Some(None));
        assert_eq!(line(&mut input), Some(Some(b"next\n".to_vec())));
        assert_eq!(line(&mut input), None);
    }
}
