//! The tools: what they take, and what they ask the API for.

use std::collections::BTreeMap;

use runtime::clock::{Clock as _, SystemClock, Timestamp};
use runtime::random::{SystemRandom, bytes};
use serde_json::{Map, Value, json};

use super::super::time;
use crate::client::{Api, encoded};
use crate::connection::subject;
use crate::error::{CliError, Result};
use crate::login;
use crate::output::text;

/// The most entries of one list: what a model can read.
const LIMIT_MAX: u64 = 100;
const LIMIT: u64 = 20;
/// Endpoints that one call resends a message to.
const RESENDS_MAX: usize = 250;
/// How long a confirmation holds.
const CONFIRMATION_SECONDS: u64 = 600;
/// Confirmations that are kept.
const CONFIRMATIONS_MAX: usize = 100;

/// A parameter: name, JSON type, whether it is required, and what it means.
type Parameter = (&'static str, &'static str, bool, &'static str);

/// What a tool is.
struct Tool {
    name: &'static str,
    description: &'static str,
    /// Without `app`, which is added where an organisation's token asks.
    parameters: &'static [Parameter],
    sends: bool,
}

const APP: Parameter = ("app", "string", true, "The application's ID or uid.");
const ENDPOINT: Parameter = ("endpoint", "string", true, "The endpoint's ID or uid.");
const MESSAGE: Parameter = ("message", "string", true, "The message's ID.");
const LIMIT_OF: Parameter = ("limit", "integer", false, "Entries, 1 to 100; 20 by default.");
const ITERATOR: Parameter = ("iterator", "string", false, "The `iterator` of the page before.");
const SINCE: Parameter = ("since", "string", false, "Begin of the window: 1h, 2d or 2026-01-31T00:00:00Z.");
const CONFIRMATION: Parameter = (
    "confirmation",
    "string",
    false,
    "What a call without it returned; only after the user has agreed. It holds ten minutes, once, and for the same \
     arguments.",
);

const TOOLS: [Tool; 9] = [
    Tool {
        name: "list_applications",
        description: "List the organisation's applications.",
        parameters: &[LIMIT_OF, ITERATOR],
        sends: false,
    },
    Tool {
        name: "list_endpoints",
        description: "List an application's endpoints.",
        parameters: &[LIMIT_OF, ITERATOR],
        sends: false,
    },
    Tool {
        name: "get_endpoint",
        description: "Get one endpoint: URL, filters, whether it is disabled.",
        parameters: &[ENDPOINT],
        sends: false,
    },
    Tool {
        name: "endpoint_stats",
        description: "Count an endpoint's deliveries by how they stand.",
        parameters: &[ENDPOINT, SINCE],
        sends: false,
    },
    Tool {
        name: "list_messages",
        description: "List an application's messages, newest first, without payloads.",
        parameters: &[("event_type", "string", false, "Only this event type."), SINCE, LIMIT_OF, ITERATOR],
        sends: false,
    },
    Tool {
        name: "get_message",
        description: "Get one message with its payload.",
        parameters: &[MESSAGE],
        sends: false,
    },
    Tool {
        name: "list_attempts",
        description: "List delivery attempts of one message or of one endpoint, newest first, with responses.",
        parameters: &[
            ("message", "string", false, "The message's ID; this or `endpoint`."),
            ("endpoint", "string", false, "The endpoint's ID or uid; this or `message`."),
            ("failing", "boolean", false, "Only failed attempts."),
            LIMIT_OF,
            ITERATOR,
        ],
        sends: false,
    },
    Tool {
        name: "resend_message",
        description: "Send one message again, to one endpoint or to all that it was sent to. Needs a confirmation.",
        parameters: &[
            MESSAGE,
            ("endpoint", "string", false, "Only this endpoint's ID or uid."),
            CONFIRMATION,
        ],
        sends: true,
    },
    Tool {
        name: "recover_endpoint",
        description: "Send an endpoint again what failed in a window. Needs a confirmation.",
        parameters: &[
            ENDPOINT,
            ("since", "string", true, "Begin of the window: 1h, 2d or 2026-01-31T00:00:00Z."),
            ("until", "string", false, "End of the window; now by default."),
            CONFIRMATION,
        ],
        sends: true,
    },
];

/// What was counted and may be confirmed.
struct Counted {
    tool: &'static str,
    arguments: Value,
    at: Timestamp,
    /// The paths and bodies to post.
    posts: Vec<(String, Value)>,
}

/// The tools, for one token.
pub(super) struct Tools {
    api: Api,
    /// The only application, if there is but one.
    app: Option<String>,
    read_only: bool,
    counted: BTreeMap<String, Counted>,
}

/// Arguments that were checked against a tool's parameters.
struct Arguments<'a>(&'a Map<String, Value>);

impl Arguments<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn segment(&self, name: &str) -> String {
        encoded(self.text(name).unwrap_or_default())
    }

    fn query(&self) -> Result<String> {
        let limit = self.0.get("limit").map_or(Some(LIMIT), Value::as_u64);
        let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
        let limit = limit.ok_or_else(|| CliError::usage(format!("limit: expected 1 to {LIMIT_MAX}")))?;
        let at = self.text("iterator").map_or_else(String::new, |at| format!("&iterator={}", encoded(at)));
        Ok(format!("limit={limit}{at}"))
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        self.text(name).map(|text| time(name, text)).transpose()
    }
}

/// Endpoints as a model may see them: without user and password of their URLs.
fn shown(mut value: Value) -> String {
    let hide = |endpoint: &mut Value| {
        for pointer in ["/url", "/destination/url"] {
            if let Some(url) = endpoint.pointer_mut(pointer)
                && let Some(text) = url.as_str()
            {
                *url = json!(login::hidden(text));
            }
        }
    };
    hide(&mut value);
    value["data"].as_array_mut().into_iter().flatten().for_each(hide);
    value.to_string()
}

impl Tools {
    pub(super) async fn new(api: Api, named: Option<String>, read_only: bool) -> Result<Self> {
        let own = subject(api.token()).filter(|subject| subject.starts_with("app_"));
        let app = match named.or(own) {
            Some(app) => Some(text(&api.get(&format!("/app/{}", encoded(&app))).await?, "id")),
            // An organisation's token that is refused is not for the model to find out.
            None => api.get("/app?limit=1").await.map(|_| None)?,
        };
        Ok(Self { api, app, read_only, counted: BTreeMap::new() })
    }

    fn offered(&self) -> impl Iterator<Item = &'static Tool> {
        let (one, read_only) = (self.app.is_some(), self.read_only);
        TOOLS.iter().filter(move |tool| !(one && tool.name == "list_applications" || read_only && tool.sends))
    }

    fn parameters(&self, tool: &'static Tool) -> impl Iterator<Item = &'static Parameter> {
        let app = (self.app.is_none() && tool.name != "list_applications").then_some(&APP);
        app.into_iter().chain(tool.parameters)
    }

    /// What `tools/list` shows.
    pub(super) fn list(&self) -> Vec<Value> {
        let tool = |tool: &'static Tool| {
            let properties: Map<String, Value> = self
                .parameters(tool)
                .map(|(name, kind, _, text)| {
                    ((*name).to_owned(), json!({ "type": kind, "description": text }))
                })
                .collect();
            let required: Vec<&str> = self
                .parameters(tool)
                .filter(|(_, _, required, _)| *required)
                .map(|(name, ..)| *name)
                .collect();
            json!({
                "name": tool.name,
                "description": tool.description,
                "inputSchema": {
                    "type": "object", "properties": properties, "required": required, "additionalProperties": false,
                },
                "annotations": { "readOnlyHint": !tool.sends, "destructiveHint": false, "openWorldHint": tool.sends },
            })
        };
        self.offered().map(tool).collect()
    }

    /// Calls a tool; none if there is no such tool.
    pub(super) async fn call(&mut self, name: &str, arguments: &Value) -> Option<Result<String>> {
        let tool = self.offered().find(|tool| tool.name == name)?;
        Some(match self.checked(tool, arguments) {
            Ok(object) => self.answer(tool, &Arguments(object)).await,
            Err(error) => Err(error),
        })
    }

    fn checked<'a>(&self, tool: &'static Tool, arguments: &'a Value) -> Result<&'a Map<String, Value>> {
        let object = arguments.as_object().ok_or_else(|| CliError::usage("arguments: expected an object"))?;
        if let Some(name) = object.keys().find(|name| !self.parameters(tool).any(|one| one.0 == *name)) {
            return Err(CliError::usage(format!("{name}: {} has no such argument", tool.name)));
        }
        for (name, kind, required, _) in self.parameters(tool) {
            let right = match (object.get(*name), *kind) {
                (None, _) => !required,
                (Some(Value::String(text)), "string") => !text.is_empty(),
                (Some(Value::Bool(_)), "boolean") => true,
                (Some(Value::Number(_)), "integer") => true,
                _ => false,
            };
            if !right {
                return Err(CliError::usage(format!("{name}: expected a {kind} that is not empty")));
            }
        }
        Ok(object)
    }

    async fn answer(&mut self, tool: &'static Tool, arguments: &Arguments<'_>) -> Result<String> {
        let app = self.app.clone().unwrap_or_else(|| arguments.segment("app"));
        let endpoint = format!("/app/{app}/endpoint/{}", arguments.segment("endpoint"));
        let message = format!("/app/{app}/msg/{}", arguments.segment("message"));
        let since = arguments.time("since")?;
        let api = &self.api;
        match tool.name {
            "list_applications" => api.text(&format!("/app?{}", arguments.query()?)).await,
            "list_endpoints" => {
                Ok(shown(api.get(&format!("/app/{app}/endpoint?{}", arguments.query()?)).await?))
            }
            "get_endpoint" => Ok(shown(api.get(&endpoint).await?)),
            "endpoint_stats" => {
                let since = since.map_or_else(String::new, |since| format!("?since={since}"));
                api.text(&format!("{endpoint}/stats{since}")).await
            }
            "list_messages" => {
                let mut path = format!("/app/{app}/msg?with_content=false&{}", arguments.query()?);
                if let Some(since) = since {
                    path += &format!("&after={since}");
                }
                if arguments.text("event_type").is_some() {
                    path += &format!("&event_types={}", arguments.segment("event_type"));
                }
                api.text(&path).await
            }
            "get_message" => api.text(&message).await,
            "list_attempts" => {
                let of = match (arguments.text("message"), arguments.text("endpoint")) {
                    (Some(_), None) => format!("msg/{}", arguments.segment("message")),
                    (None, Some(_)) => format!("endpoint/{}", arguments.segment("endpoint")),
                    _ => return Err(CliError::usage("give either message or endpoint")),
                };
                let failing = if arguments.0.get("failing") == Some(&json!(true)) { "&status=2" } else { "" };
                api.text(&format!("/app/{app}/attempt/{of}?{}{failing}", arguments.query()?)).await
            }
            _ => match arguments.text("confirmation") {
                Some(confirmation) => {
                    self.confirmed(tool, arguments, confirmation).await.map(|value| value.to_string())
                }
                None => self
                    .count(tool, arguments, &app, &endpoint, &message)
                    .await
                    .map(|value| value.to_string()),
            },
        }
    }

    /// Counts what would be sent, and sends nothing.
    async fn count(
        &mut self,
        tool: &'static Tool,
        arguments: &Arguments<'_>,
        app: &str,
        endpoint: &str,
        message: &str,
    ) -> Result<Value> {
        let (count, more, posts) = if tool.name == "resend_message" {
            let to: Vec<String> = match arguments.text("endpoint") {
                Some(_) => vec![text(&self.api.get(endpoint).await?, "id")],
                None => {
                    let page = self.api.get(&format!("{message}/endpoint?limit={RESENDS_MAX}")).await?;
                    if page["done"] == false {
                        return Err(CliError::usage(format!(
                            "the message was sent to more than {RESENDS_MAX} endpoints; name one of them"
                        )));
                    }
                    page["data"].as_array().into_iter().flatten().map(|one| text(one, "id")).collect()
                }
            };
            let id = encoded(&text(&self.api.get(&format!("{message}?with_content=false")).await?, "id"));
            let posts: Vec<(String, Value)> = to
                .iter()
                .map(|to| (format!("/app/{app}/msg/{id}/endpoint/{}/resend", encoded(to)), json!({})))
                .collect();
            (posts.len() as u64, false, posts)
        } else {
            let mut window = json!({ "since": arguments.time("since")?.map(|since| since.to_string()) });
            // Without an end, what fails between the count and the confirmation would be sent as well.
            let until = arguments.time("until")?.unwrap_or_else(|| SystemClock.now());
            window["until"] = json!(until.to_string());
            let path = format!("{endpoint}/recover");
            let counted = self.api.post(&format!("{path}/count"), &window).await?;
            let count = counted["count"].as_u64().unwrap_or_default();
            (count, counted["more"] == true, vec![(path, window)])
        };
        if count == 0 && !more {
            return Ok(json!({ "count": 0, "text": "There is nothing to send." }));
        }
        let now = SystemClock.now();
        self.counted.retain(|_, one| now.since(one.at).as_secs() < CONFIRMATION_SECONDS);
        if self.counted.len() >= CONFIRMATIONS_MAX {
            return Err(CliError::usage("too many confirmations are open; use one or wait ten minutes"));
        }
        let random: [u8; 8] = bytes(&SystemRandom::new());
        let confirmation = format!("send-{count}-{:016x}", u64::from_be_bytes(random));
        let counted = Counted { tool: tool.name, arguments: json!(arguments.0), at: now, posts };
        self.counted.insert(confirmation.clone(), counted);
        Ok(json!({
            "count": count,
            "more": more,
            "confirmation": confirmation,
            "text": format!(
                "Nothing was sent yet. This sends {}{count} webhooks. Ask the user, then call {} again with the same \
                 arguments and this confirmation.",
                if more { "at least " } else { "" },
                tool.name
            ),
        }))
    }

    /// Sends what was counted.
    async fn confirmed(
        &mut self,
        tool: &Tool,
        arguments: &Arguments<'_>,
        confirmation: &str,
    ) -> Result<Value> {
        let mut same = arguments.0.clone();
        same.remove("confirmation");
        let now = SystemClock.now();
        let counted = self.counted.remove(confirmation).filter(|counted| {
            counted.tool == tool.name
                && counted.arguments == json!(same)
                && now.since(counted.at).as_secs() < CONFIRMATION_SECONDS
        });
        let Some(counted) = counted else {
            return Err(CliError::usage(
                "confirmation: unknown, used, older than ten minutes, or for other arguments; call without it first",
            ));
        };
        let mut results = Vec::new();
        for (path, body) in &counted.posts {
            match self.api.post(path, body).await {
                Ok(result) => results.push(result),
                Err(error) => {
                    let (done, all) = (results.len(), counted.posts.len());
                    return Err(error.and(&format!(" ({done} of {all} were sent before that)")));
                }
            }
        }
        Ok(json!({ "sent": true, "results": results }))
    }
}
