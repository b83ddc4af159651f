//! Every resource: list, get, create, update, delete. Tables for people, JSON for programs.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fields::{self, Known, check, set};
use super::{id, name, read_text};
use crate::Connection;
use crate::client::{Api, encoded};
use crate::connection::{Env, application};
use crate::error::{CliError, Result};
use crate::json::{self, Object};
use crate::login;
use crate::output::{Output, plain, text};

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
    /// Fields as name=value; a value that is JSON is taken as JSON (`disabled=true`, `channels=["a"]`),
    /// but a text field's is a text (`uid=42`).
    #[arg(value_name = "NAME=VALUE")]
    fields: Vec<String>,
    /// A file with a JSON object; - is standard input. Fields are put on top of it.
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
}

impl Body {
    /// The object of file and fields. The ones that are `positional` (name and value) were given as such, and come
    /// before those of the file.
    fn read(&self, known: Known, of: &str, positional: &[(&str, &str)]) -> Result<Object> {
        let mut object = match &self.file {
            None => Object::default(),
            Some(path) => match Object::read(&read_text("--file", path)?) {
                Ok(Some(object)) => object,
                Ok(None) => return Err(CliError::usage(format!("--file: {path} holds no JSON object"))),
                Err(error) => return Err(CliError::usage(format!("--file: {path} is not JSON: {error}"))),
            },
        };
        for (name, value) in positional {
            if self.fields.iter().any(|field| field.split_once('=').is_some_and(|(one, _)| one == *name)) {
                return Err(CliError::usage(format!("{name} is given twice: {value:?} and as {name}=…")));
            }
            object.insert(name, json::string(value));
        }
        self.fields.iter().try_for_each(|field| set(&mut object, field, known))?;
        check(&object, known, of)?;
        Ok(object)
    }
}

/// Sends a body and shows what it came to.
async fn send(api: &Api, method: Method, path: &str, body: &Object, out: &Output) -> Result<()> {
    let sent = api.give(method, path, body.text()).await?;
    out.json(&sent.text)?;
    sent.all_known()
}

/// Columns: a heading, and the field below it.
pub(super) type Columns = &'static [(&'static str, &'static str)];

/// A field in a table; where an endpoint has no URL, the kind of its destination.
fn cell(entry: &Value, field: &str) -> String {
    match text(entry, field) {
        nothing if nothing.is_empty() && field == "url" => text(&entry["destination"], "kind"),
        url if field == "url" => login::hidden(&url),
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
        let page = api.page(&format!("{path}{join}limit={limit}{at}")).await?;
        out.progress_done();
        if flags.json {
            page.data.iter().try_for_each(|entry| out.json_line(entry.get()))?;
        } else {
            let row = |entry: &RawValue| {
                let entry: Value = serde_json::from_str(entry.get()).unwrap_or_default();
                columns.iter().map(|(_, field)| cell(&entry, field)).collect()
            };
            let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
            out.table(&heads, page.data.iter().map(|entry| row(entry)).collect(), first)?;
        }
        count += page.data.len();
        iterator = page.next();
        if iterator.is_none() || !flags.all {
            if iterator.is_some() {
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
    Get {
        #[arg(value_parser = id)]
        app: String,
    },
    /// Create one: `postrider app create Acme uid=acme`.
    Create {
        #[arg(value_parser = name)]
        name: String,
        #[command(flatten)]
        body: Body,
    },
    /// Change fields of one.
    Update {
        #[arg(value_parser = id)]
        app: String,
        #[command(flatten)]
        body: Body,
    },
    /// Delete one, with its endpoints and its log.
    Delete {
        #[arg(value_parser = id)]
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
        AppAction::Get { app } => out.json(&api.text(&format!("/app/{}", encoded(&app))).await?),
        AppAction::Create { name, body } => {
            let body = body.read(fields::APPLICATION, "an application", &[("name", &name)])?;
            send(&api, Method::POST, "/app", &body, out).await
        }
        AppAction::Update { app, body } => {
            let body = body.read(fields::APPLICATION, "an application", &[])?;
            send(&api, Method::PATCH, &format!("/app/{}", encoded(&app)), &body, out).await
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
    #[arg(long, value_name = "APP", global = true, value_parser = id)]
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
    Get {
        #[arg(value_parser = id)]
        endpoint: String,
    },
    /// Show its signing secret.
    Secret {
        #[arg(value_parser = id)]
        endpoint: String,
    },
    /// Show the key that a polling endpoint is polled with.
    PollingKey {
        #[arg(value_parser = id)]
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
        #[arg(value_parser = id)]
        endpoint: String,
        #[command(flatten)]
        body: Body,
    },
    /// Pause one: nothing is delivered to it until it is resumed. Then `recover --all` sends what failed before and what
    /// it was never sent.
    Pause {
        #[arg(value_parser = id)]
        endpoint: String,
    },
    /// Resume one that was paused, or disabled because it failed.
    Resume {
        #[arg(value_parser = id)]
        endpoint: String,
    },
    /// Delete one.
    Delete {
        #[arg(value_parser = id)]
        endpoint: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `postrider endpoint …`
pub(crate) async fn endpoints(flags: Endpoints, env: Env<'_>, out: &Output) -> Result<()> {
    const OF: &str = "an endpoint";
    const COLUMNS: Columns =
        &[("ID", "id"), ("UID", "uid"), ("URL", "url"), ("DISABLED", "disabled"), ("CREATED", "createdAt")];
    let api = flags.connection.api(env)?;
    let app = application(&api, flags.of.app.as_deref()).await?;
    let all = format!("/app/{app}/endpoint");
    let one = |endpoint: &str| format!("{all}/{}", encoded(endpoint));
    match flags.action {
        EndpointAction::List(flags) => list(&api, &all, COLUMNS, &flags, out).await,
        EndpointAction::Get { endpoint } => out.json(&api.text(&one(&endpoint)).await?),
        EndpointAction::Secret { endpoint } => {
            let secret = api.get(&format!("{}/secret", one(&endpoint))).await?;
            out.line(&plain(&text(&secret, "key")))
        }
        EndpointAction::Create { url, body } => {
            // No URL begins so.
            let body = if url.starts_with("destination") {
                let fields = [vec![url], body.fields].concat();
                Body { fields, ..body }.read(fields::NEW_ENDPOINT, OF, &[])?
            } else {
                body.read(fields::NEW_ENDPOINT, OF, &[("url", &url)])?
            };
            send(&api, Method::POST, &all, &body, out).await
        }
        EndpointAction::PollingKey { endpoint, rotate } => {
            let path = format!("{}/poller/token", one(&endpoint));
            let key = match rotate {
                true => api.post(&format!("{path}/rotate"), &json!({})).await?,
                false => api.get(&path).await?,
            };
            out.line(&plain(&text(&key, "token")))
        }
        EndpointAction::Update { endpoint, body } => {
            let body = body.read(fields::ENDPOINT, OF, &[])?;
            send(&api, Method::PATCH, &one(&endpoint), &body, out).await
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
                "Resumed {endpoint}. `postrider recover {endpoint} --app {app} --all --since TIME` sends what failed and what it was never sent."
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
    Get {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Create one: `postrider event-type create invoice.paid description="An invoice was paid"`.
    Create {
        #[arg(value_parser = name)]
        name: String,
        #[command(flatten)]
        body: Body,
    },
    /// Change fields of one.
    Update {
        #[arg(value_parser = name)]
        name: String,
        #[command(flatten)]
        body: Body,
    },
    /// Archive one.
    Delete {
        #[arg(value_parser = name)]
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `postrider event-type …`
pub(crate) async fn event_types(flags: EventTypes, env: Env<'_>, out: &Output) -> Result<()> {
    const OF: &str = "an event type";
    const COLUMNS: Columns = &[("NAME", "name"), ("DESCRIPTION", "description"), ("ARCHIVED", "archived")];
    let api = flags.connection.api(env)?;
    let one = |name: &str| format!("/event-type/{}", encoded(name));
    match flags.action {
        EventTypeAction::List(flags) => list(&api, "/event-type", COLUMNS, &flags, out).await,
        EventTypeAction::Get { name } => out.json(&api.text(&one(&name)).await?),
        EventTypeAction::Create { name, body } => {
            let mut body = body.read(fields::NEW_EVENT_TYPE, OF, &[("name", &name)])?;
            if body.get("description").is_none() {
                body.insert("description", json::string(""));
            }
            send(&api, Method::POST, "/event-type", &body, out).await
        }
        EventTypeAction::Update { name, body } => {
            let body = body.read(fields::EVENT_TYPE, OF, &[])?;
            send(&api, Method::PATCH, &one(&name), &body, out).await
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
    Get {
        #[arg(value_parser = id)]
        message: String,
    },
    /// Post one: `postrider message create invoice.paid payload.id=inv_1`.
    Create {
        #[arg(value_parser = name)]
        event_type: String,
        #[command(flatten)]
        body: Body,
    },
    /// Expunge the payload of one; its log stays.
    Delete {
        #[arg(value_parser = id)]
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
        MessageAction::Get { message } => out.json(&api.text(&format!("{all}/{}", encoded(&message))).await?),
        MessageAction::Create { event_type, body } => {
            let mut body = body.read(fields::MESSAGE, "a message", &[("eventType", &event_type)])?;
            if body.get("payload").or(body.get("data")).is_none() {
                body.insert("payload", Object::default().written());
            }
            send(&api, Method::POST, &all, &body, out).await
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
    Get {
        #[arg(value_parser = id)]
        task: String,
    },
}

/// `postrider task …`
pub(crate) async fn tasks(flags: Tasks, env: Env<'_>, out: &Output) -> Result<()> {
    const COLUMNS: Columns =
        &[("ID", "id"), ("TASK", "task"), ("STATUS", "status"), ("UPDATED", "updatedAt")];
    let api = flags.connection.api(env)?;
    match flags.action {
        TaskAction::List(flags) => list(&api, "/background-task", COLUMNS, &flags, out).await,
        TaskAction::Get { task } => {
            out.json(&api.text(&format!("/background-task/{}", encoded(&task))).await?)
        }
    }
}
