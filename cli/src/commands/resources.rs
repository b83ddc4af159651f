//! Every resource: list, get, create, update, delete. Tables for people, JSON for programs.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::read_text;
use crate::Connection;
use crate::client::{Api, encoded};
use crate::connection::{Env, application};
use crate::error::{CliError, Result};
use crate::output::{Output, text};

/// The most that the API gives in one page.
const PAGE: usize = 250;

/// How a list is shown.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Follow the pages to the end instead of showing the first.
    #[arg(long)]
    all: bool,
    /// Entries of the first page.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// A body: fields as name=value, or a JSON file.
#[derive(Debug, Args)]
struct Body {
    /// Fields as name=value; a value that is JSON is taken as JSON: `disabled=true`, `channels=["a"]`.
    #[arg(value_name = "NAME=VALUE")]
    fields: Vec<String>,
    /// A file with a JSON object; - is standard input. Fields are put on top of it.
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
}

/// `invoice.lines.0=…` into the object, making objects on the way.
pub(crate) fn set(object: &mut Map<String, Value>, assignment: &str) -> Result<()> {
    let Some((path, value)) = assignment.split_once('=') else {
        return Err(CliError::usage(format!("{assignment:?} is not name=value")));
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    let mut names: Vec<&str> = path.split('.').collect();
    let last = names.pop().filter(|name| !name.is_empty());
    let last = last.ok_or_else(|| CliError::usage(format!("{assignment:?} has no name")))?;
    let mut at = object;
    for name in names {
        let next = at.entry(name).or_insert_with(|| Value::Object(Map::new()));
        at = match next {
            Value::Object(next) => next,
            _ => return Err(CliError::usage(format!("{path}: {name} is not an object"))),
        };
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

impl Body {
    fn read(&self) -> Result<Value> {
        let mut object = match &self.file {
            None => Map::new(),
            Some(path) => match serde_json::from_str(&read_text("--file", path)?) {
                Ok(Value::Object(object)) => object,
                Ok(_) => return Err(CliError::usage(format!("--file: {path} holds no JSON object"))),
                Err(error) => return Err(CliError::usage(format!("--file: {path} is not JSON: {error}"))),
            },
        };
        self.fields.iter().try_for_each(|field| set(&mut object, field))?;
        Ok(Value::Object(object))
    }
}

/// Columns: a heading, and the field below it.
pub(super) type Columns = &'static [(&'static str, &'static str)];

/// A field in a table; where an endpoint has no URL, the kind of its destination.
fn cell(entry: &Value, field: &str) -> String {
    match text(entry, field) {
        nothing if nothing.is_empty() && field == "url" => text(&entry["destination"], "kind"),
        text => text,
    }
}

/// Lists a path's pages, each as it comes.
pub(super) async fn list(api: &Api, path: &str, columns: Columns, flags: &List, out: &Output) -> Result<()> {
    let (mut count, mut iterator) = (0, None::<String>);
    let limit = if flags.all { PAGE } else { flags.limit.clamp(1, PAGE) };
    let join = if path.contains('?') { '&' } else { '?' };
    loop {
        let first = iterator.is_none();
        let at = iterator.as_deref().map_or_else(String::new, |at| format!("&iterator={}", encoded(at)));
        let page = api.get(&format!("{path}{join}limit={limit}{at}")).await?;
        let Some(entries) = page["data"].as_array() else { return Err(api.stranger()) };
        out.progress_done();
        if flags.json {
            entries.iter().try_for_each(|entry| out.line(&entry.to_string()))?;
        } else {
            let row = |entry: &Value| columns.iter().map(|(_, field)| cell(entry, field)).collect();
            let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
            out.table(&heads, entries.iter().map(row).collect(), first)?;
        }
        count += entries.len();
        iterator = page["iterator"].as_str().map(str::to_owned);
        if page["done"] != false || iterator.is_none() || !flags.all {
            if page["done"] == false {
                out.note("There are more: --all shows them.");
            }
            return Ok(());
        }
        out.progress(&format!("{count} entries …"));
    }
}

/// `postrider app`
#[derive(Debug, Args)]
pub struct Apps {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: AppAction,
}

#[derive(Debug, Subcommand)]
enum AppAction {
    /// List applications.
    List(List),
    /// Show one, by id or uid.
    Get { app: String },
    /// Create one: `postrider app create Acme uid=acme`.
    Create {
        name: String,
        #[command(flatten)]
        body: Body,
    },
    /// Change fields of one.
    Update {
        app: String,
        #[command(flatten)]
        body: Body,
    },
    /// Delete one, with its endpoints and its log.
    Delete {
        app: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `postrider app …`
pub(crate) async fn apps(flags: Apps, env: Env<'_>, out: &Output) -> Result<()> {
    const COLUMNS: Columns = &[("ID", "id"), ("UID", "uid"), ("NAME", "name"), ("CREATED", "createdAt")];
    let api = flags.connection.api(env)?;
    match flags.action {
        AppAction::List(flags) => list(&api, "/app", COLUMNS, &flags, out).await,
        AppAction::Get { app } => out.json(&api.get(&format!("/app/{}", encoded(&app))).await?),
        AppAction::Create { name, body } => {
            let mut body = body.read()?;
            body["name"] = json!(name);
            out.json(&api.post("/app", &body).await?)
        }
        AppAction::Update { app, body } => {
            let path = format!("/app/{}", encoded(&app));
            out.json(&api.ask(Method::PATCH, &path, Some(body.read()?.to_string())).await?)
        }
        AppAction::Delete { app, yes } => {
            super::confirm(
                &format!("Delete application {app} with its endpoints and its delivery log?"),
                yes,
            )?;
            api.ask(Method::DELETE, &format!("/app/{}", encoded(&app)), None).await?;
            out.line(&format!("Deleted {app}"))
        }
    }
}

/// Which application.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// The application's id or uid [default: the token's, or the only one].
    #[arg(long, value_name = "APP", global = true)]
    pub(crate) app: Option<String>,
}

/// `postrider endpoint`
#[derive(Debug, Args)]
pub struct Endpoints {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    of: Of,
    #[command(subcommand)]
    action: EndpointAction,
}

#[derive(Debug, Subcommand)]
enum EndpointAction {
    /// List an application's endpoints.
    List(List),
    /// Show one, by id or uid.
    Get { endpoint: String },
    /// Show its signing secret.
    Secret { endpoint: String },
    /// Show the key that a polling endpoint is polled with.
    PollingKey {
        endpoint: String,
        /// Make a new one, or the first; the old one stays valid for five minutes.
        #[arg(long)]
        rotate: bool,
    },
    /// Create one: `postrider endpoint create https://example.com/hooks uid=main`, or
    /// `postrider endpoint create destination.kind=polling uid=main`.
    Create {
        #[arg(value_name = "URL|NAME=VALUE")]
        url: String,
        #[command(flatten)]
        body: Body,
    },
    /// Change fields of one: `disabled=true`, `rateLimit=10`.
    Update {
        endpoint: String,
        #[command(flatten)]
        body: Body,
    },
    /// Pause one: nothing is delivered to it until it is resumed. `recover` sends what it missed.
    Pause { endpoint: String },
    /// Resume one that was paused, or disabled because it failed.
    Resume { endpoint: String },
    /// Delete one.
    Delete {
        endpoint: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `postrider endpoint …`
pub(crate) async fn endpoints(flags: Endpoints, env: Env<'_>, out: &Output) -> Result<()> {
    const COLUMNS: Columns =
        &[("ID", "id"), ("UID", "uid"), ("URL", "url"), ("DISABLED", "disabled"), ("CREATED", "createdAt")];
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.of.app.as_deref()).await?;
    let all = format!("/app/{app}/endpoint");
    let one = |endpoint: &str| format!("{all}/{}", encoded(endpoint));
    match flags.action {
        EndpointAction::List(flags) => list(&api, &all, COLUMNS, &flags, out).await,
        EndpointAction::Get { endpoint } => out.json(&api.get(&one(&endpoint)).await?),
        EndpointAction::Secret { endpoint } => {
            let secret = api.get(&format!("{}/secret", one(&endpoint))).await?;
            out.line(&text(&secret, "key"))
        }
        EndpointAction::Create { url, body } => {
            let mut body = body.read()?;
            match &mut body {
                // No URL begins so.
                Value::Object(object) if url.starts_with("destination") => set(object, &url)?,
                body => body["url"] = json!(url),
            }
            out.json(&api.post(&all, &body).await?)
        }
        EndpointAction::PollingKey { endpoint, rotate } => {
            let path = format!("{}/poller/token", one(&endpoint));
            let key = match rotate {
                true => api.post(&format!("{path}/rotate"), &json!({})).await?,
                false => api.get(&path).await?,
            };
            out.line(&text(&key, "token"))
        }
        EndpointAction::Update { endpoint, body } => {
            out.json(&api.ask(Method::PATCH, &one(&endpoint), Some(body.read()?.to_string())).await?)
        }
        EndpointAction::Pause { endpoint } => {
            disable(&api, &one(&endpoint), true).await?;
            out.line(&format!(
                "Paused {endpoint}. `postrider endpoint resume {endpoint} --app {app}` resumes it."
            ))
        }
        EndpointAction::Resume { endpoint } => {
            disable(&api, &one(&endpoint), false).await?;
            out.line(&format!(
                "Resumed {endpoint}. `postrider recover {endpoint} --app {app} --missing --since TIME` sends what it missed."
            ))
        }
        EndpointAction::Delete { endpoint, yes } => {
            super::confirm(&format!("Delete endpoint {endpoint}?"), yes)?;
            api.ask(Method::DELETE, &one(&endpoint), None).await?;
            out.line(&format!("Deleted {endpoint}"))
        }
    }
}

async fn disable(api: &Api, path: &str, disabled: bool) -> Result<()> {
    api.ask(Method::PATCH, path, Some(json!({ "disabled": disabled }).to_string())).await.map(drop)
}

/// `postrider event-type`
#[derive(Debug, Args)]
pub struct EventTypes {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: EventTypeAction,
}

#[derive(Debug, Subcommand)]
enum EventTypeAction {
    /// List event types.
    List(List),
    /// Show one.
    Get { name: String },
    /// Create one: `postrider event-type create invoice.paid description="An invoice was paid"`.
    Create {
        name: String,
        #[command(flatten)]
        body: Body,
    },
    /// Change fields of one.
    Update {
        name: String,
        #[command(flatten)]
        body: Body,
    },
    /// Archive one.
    Delete {
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `postrider event-type …`
pub(crate) async fn event_types(flags: EventTypes, env: Env<'_>, out: &Output) -> Result<()> {
    const COLUMNS: Columns = &[("NAME", "name"), ("DESCRIPTION", "description"), ("ARCHIVED", "archived")];
    let api = flags.connection.api(env)?;
    let one = |name: &str| format!("/event-type/{}", encoded(name));
    match flags.action {
        EventTypeAction::List(flags) => list(&api, "/event-type", COLUMNS, &flags, out).await,
        EventTypeAction::Get { name } => out.json(&api.get(&one(&name)).await?),
        EventTypeAction::Create { name, body } => {
            let mut body = body.read()?;
            body["name"] = json!(name);
            if body["description"].is_null() {
                body["description"] = json!("");
            }
            out.json(&api.post("/event-type", &body).await?)
        }
        EventTypeAction::Update { name, body } => {
            out.json(&api.ask(Method::PATCH, &one(&name), Some(body.read()?.to_string())).await?)
        }
        EventTypeAction::Delete { name, yes } => {
            super::confirm(&format!("Archive event type {name}?"), yes)?;
            api.ask(Method::DELETE, &one(&name), None).await?;
            out.line(&format!("Archived {name}"))
        }
    }
}

/// `postrider message`
#[derive(Debug, Args)]
pub struct Messages {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    of: Of,
    #[command(subcommand)]
    action: MessageAction,
}

#[derive(Debug, Subcommand)]
enum MessageAction {
    /// List an application's messages, the newest first.
    List(List),
    /// Show one, by id or event id.
    Get { message: String },
    /// Post one: `postrider message create invoice.paid payload.id=inv_1`.
    Create {
        event_type: String,
        #[command(flatten)]
        body: Body,
    },
    /// Expunge the payload of one; its log stays.
    Delete {
        message: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `postrider message …`
pub(crate) async fn messages(flags: Messages, env: Env<'_>, out: &Output) -> Result<()> {
    const COLUMNS: Columns =
        &[("ID", "id"), ("EVENT TYPE", "eventType"), ("EVENT ID", "eventId"), ("TIME", "timestamp")];
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.of.app.as_deref()).await?;
    let all = format!("/app/{app}/msg");
    match flags.action {
        MessageAction::List(flags) if flags.json => list(&api, &all, COLUMNS, &flags, out).await,
        MessageAction::List(flags) => {
            list(&api, &format!("{all}?with_content=false"), COLUMNS, &flags, out).await
        }
        MessageAction::Get { message } => out.json(&api.get(&format!("{all}/{}", encoded(&message))).await?),
        MessageAction::Create { event_type, body } => {
            let mut body = body.read()?;
            body["eventType"] = json!(event_type);
            if body["payload"].is_null() {
                body["payload"] = json!({});
            }
            out.json(&api.post(&all, &body).await?)
        }
        MessageAction::Delete { message, yes } => {
            super::confirm(&format!("Expunge the payload of message {message}?"), yes)?;
            api.ask(Method::DELETE, &format!("{all}/{}/content", encoded(&message)), None).await?;
            out.line(&format!("Expunged the payload of {message}"))
        }
    }
}

/// `postrider task`
#[derive(Debug, Args)]
pub struct Tasks {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: TaskAction,
}

#[derive(Debug, Subcommand)]
enum TaskAction {
    /// List background tasks.
    List(List),
    /// Show one.
    Get { task: String },
}

/// `postrider task …`
pub(crate) async fn tasks(flags: Tasks, env: Env<'_>, out: &Output) -> Result<()> {
    const COLUMNS: Columns =
        &[("ID", "id"), ("TASK", "task"), ("STATUS", "status"), ("UPDATED", "updatedAt")];
    let api = flags.connection.api(env)?;
    match flags.action {
        TaskAction::List(flags) => list(&api, "/background-task", COLUMNS, &flags, out).await,
        TaskAction::Get { task } => {
            out.json(&api.get(&format!("/background-task/{}", encoded(&task))).await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_json_where_they_can_be_and_paths_make_objects() {
        let body = Body {
            fields: ["url=http://a?b=c", "disabled=true", "metadata.plan=gold", "n=1", "t=\"1\""]
                .map(str::to_owned)
                .to_vec(),
            file: None,
        };
        assert_eq!(
            body.read().unwrap(),
            json!({"url": "http://a?b=c", "disabled": true, "metadata": {"plan": "gold"}, "n": 1, "t": "1"})
        );
        for wrong in ["x", "=1", "a.=1"] {
            assert!(set(&mut Map::new(), wrong).is_err(), "{wrong}");
        }
        let mut object = Map::from_iter([("a".to_owned(), json!(1))]);
        assert!(set(&mut object, "a.b=1").is_err());
    }
}
