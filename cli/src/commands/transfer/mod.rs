//! `migrate`, `export` and `import`: an environment from one server to another, directly or by a file.
//!
//! All three use the operations of the public API alone. The difference is shown before anything changes,
//! and nothing is deleted. What is done is found again by its uid, so every run may be repeated.

mod code;
mod engine;
mod file;
mod record;
mod source;
mod tally;
mod workers;

use clap::Args;
use http::Method;
use runtime::clock::{Clock as _, SystemClock};
use serde_json::Value;

use self::engine::Mode;
use self::file::{Input, Writer};
use self::record::{App, Connector, Endpoint, Kind, counted, is_of_listen, waits};
use self::source::{CONNECTOR_LIST, Cursor, Source, complete};
use self::tally::Tally;
use super::{confirm_or_interrupted, interruption};
use crate::Connection;
use crate::client::{Api, Http, checked_token, encoded};
use crate::connection::{Env, subject, web_url};
use crate::error::{CliError, Result};
use crate::output::Output;

/// The most applications at a time.
const CONCURRENCY_MAX: usize = 32;

/// The variable with the token of the server that is copied from.
const FROM_TOKEN: &str = "POSTRIDER_FROM_TOKEN";

/// How a difference is shown and applied.
#[derive(Debug, Args)]
struct Applying {
    /// Show the difference and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Show all lines of the difference instead of the first 200.
    #[arg(long)]
    full: bool,
    /// Also create endpoints whose headers or ed25519 key the source does not show, without them.
    #[arg(long)]
    allow_missing: bool,
    /// Applications at a time, 1 to 32.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    concurrency: usize,
}

/// `postrider migrate`
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    connection: Connection,
    /// The server to copy from: any server of this API.
    #[arg(long, value_name = "URL")]
    from: String,
    /// An organisation's token there [env: POSTRIDER_FROM_TOKEN].
    #[arg(long, value_name = "TOKEN")]
    from_token: Option<String>,
    #[command(flatten)]
    applying: Applying,
}

/// `postrider export`
#[derive(Debug, Args)]
pub struct Export {
    /// The file to write; - is standard output.
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    connection: Connection,
    /// Also write the endpoints' signing secrets, headers, transformations, and users and passwords in URLs: who has
    /// the file can sign as you.
    #[arg(long)]
    with_secrets: bool,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    /// Applications at a time, 1 to 32.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    concurrency: usize,
}

/// `postrider import`
#[derive(Debug, Args)]
pub struct Import {
    /// A file that `postrider export` wrote; - is standard input.
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    applying: Applying,
}

fn concurrency(number: usize) -> Result<usize> {
    if (1..=CONCURRENCY_MAX).contains(&number) {
        return Ok(number);
    }
    Err(CliError::usage(format!("--concurrency: expected 1 to {CONCURRENCY_MAX}")))
}

/// Looks at a server before thousands of requests: it answers, knows the token, and is one of this API.
async fn check(api: &Api, what: &str) -> Result<()> {
    if subject(api.token()).is_some_and(|subject| subject.starts_with("app_")) {
        return Err(CliError::usage(format!(
            "{what}: an application's token sees one application; use an organisation's"
        )));
    }
    let page = api.ask(Method::GET, "/app?limit=1", None).await?;
    if page["data"].is_array() { Ok(()) } else { Err(api.stranger()) }
}

/// Shows the difference, asks, and applies it.
async fn apply(
    source: impl Fn() -> Result<Source>,
    target: &Api,
    flags: &Applying,
    out: &Output,
) -> Result<()> {
    let concurrency = concurrency(flags.concurrency)?;
    let mode = Mode { apply: false, full: flags.full, concurrency };
    let plan = engine::run(source()?, target, out, mode).await?;
    out.line(&format!("{}: {}.", target.url(), plan.sentence("to create", "to change")))?;
    if plan.new_secrets > 0 {
        let endpoints = endpoints_of(plan.new_secrets);
        out.note(&format!("New secrets, which the receivers have to take: {endpoints}."));
    }
    if plan.new_keys > 0 {
        out.note(&format!(
            "{} polling endpoints are created without their keys and positions: `postrider endpoint polling-key --rotate` makes one for each poller.",
            plan.new_keys
        ));
    }
    if plan.hidden_codes > 0 {
        out.note(&hidden_codes(plan.hidden_codes));
    }
    if plan.hidden_logins > 0 {
        out.note(&format!(
            "Without the user and password of its URL, which the file does not have: {}. Set it with `postrider endpoint update ENDPOINT url=…`.",
            endpoints_of(plan.hidden_logins)
        ));
    }
    if plan.waiting > 0 {
        out.note(&waiting(plan.waiting));
    }
    if flags.dry_run {
        return Ok(());
    }
    if plan.missing > 0 && !flags.allow_missing {
        return Err(CliError::usage(format!(
            "{} endpoints have values that the source does not show (marked !). Nothing was changed. Add \
             --allow-missing to copy the rest, and set these by hand",
            plan.missing
        )));
    }
    if plan.nothing() {
        return out.line("Nothing to do.");
    }
    confirm_or_interrupted("Apply this?", flags.yes).await?;
    let done: Tally = engine::run(source()?, target, out, Mode { apply: true, ..mode }).await?;
    out.line(&format!("Done: {}.", done.sentence("created", "changed")))?;
    if done.refused > 0 {
        return Err(CliError::Refused(format!(
            "{} were refused (above). Correct them at the source and run the same command again",
            done.refused
        )));
    }
    Ok(())
}

/// `1 endpoint`, `2 endpoints`
fn endpoints_of(count: u64) -> String {
    format!("{count} endpoint{}", if count == 1 { "" } else { "s" })
}

/// What to do about endpoints whose code nobody sees.
fn hidden_codes(count: u64) -> String {
    let endpoints = endpoints_of(count);
    format!(
        "The source does not show transformations: of {endpoints}, set the code again where there is some."
    )
}

/// What became of endpoints that have no URL yet.
fn waiting(count: u64) -> String {
    let endpoints = endpoints_of(count);
    format!("Left out: {endpoints} waiting for AutoConfig. Give their receivers a token of the new server.")
}

/// Copies an environment from another server.
pub(crate) async fn migrate(flags: Migrate, env: Env<'_>, out: &Output) -> Result<()> {
    let target = flags.connection.api(env)?;
    let token = flags.from_token.clone().or_else(|| env(FROM_TOKEN));
    let token = token.ok_or_else(|| {
        CliError::usage("--from-token: give a token of the server to copy from, or set POSTRIDER_FROM_TOKEN")
    })?;
    checked_token("--from-token", &token)?;
    web_url("--from", &flags.from, "https")?;
    let from = Api::new(Http::new()?, &flags.from, &token).with_token_of(FROM_TOKEN);
    if from.url() == target.url() && subject(from.token()) == subject(target.token()) {
        return Err(CliError::usage(
            "--from: source and target are the same organisation of the same server",
        ));
    }
    check(&from, "--from-token").await?;
    check(&target, "--token").await?;
    apply(|| Ok(Source::server(&from)), &target, &flags.applying, out).await
}

/// Applies a file to a server.
pub(crate) async fn import(flags: Import, env: Env<'_>, out: &Output) -> Result<()> {
    let target = flags.connection.api(env)?;
    // A file that is not whole is refused before anything is asked.
    let input = Input::of(&flags.file)?;
    let mut whole = input.open()?;
    while whole.next()?.is_some() {}
    check(&target, "--token").await?;
    apply(|| Source::file(&input), &target, &flags.applying, out).await
}

/// An application with its endpoints, but for those that wait for their receiver, which are counted.
async fn endpoints(api: Api, app: App, secrets: bool) -> Result<(App, Vec<Endpoint>, u64)> {
    let path = format!("/app/{}/endpoint", encoded(&app.id));
    let (mut cursor, mut endpoints, mut waiting) = (Cursor::default(), Vec::new(), 0);
    while let Some(page) = cursor.next(&api, &path).await? {
        for listed in page.iter().filter(|listed| !is_of_listen(listed)) {
            if waits(listed) {
                waiting += 1;
            } else if secrets {
                endpoints.push(complete(&api, &app.id, listed).await?);
            } else {
                endpoints.push(Endpoint::without_secrets(listed));
            }
        }
    }
    Ok((app, endpoints, waiting))
}

/// What a file does not have.
#[derive(Debug, Default)]
struct LeftOut {
    /// Endpoints whose code the server does not show, if they have some.
    codes: u64,
    /// Endpoints with a user and a password in their URLs.
    logins: u64,
    /// Endpoints that wait for their receiver.
    waiting: u64,
}

/// Writes everything, in the order in which the server lists it. Returns what was left out.
async fn write(
    api: &Api,
    writer: &mut Writer,
    secrets: bool,
    concurrency: usize,
    out: &Output,
) -> Result<LeftOut> {
    let mut left = LeftOut::default();
    let mut types = Cursor::default();
    while let Some(page) = types.next(api, "/event-type?include_archived=true&with_content=true").await? {
        page.iter().try_for_each(|one| writer.event_type(&Kind::EventType.pick(one)))?;
    }
    let mut connectors = Cursor::optional();
    while let Some(page) = connectors.next(api, CONNECTOR_LIST).await? {
        page.iter().try_for_each(|one| writer.connector(&Connector::of(one)))?;
    }
    let mut apps = Cursor::default();
    while let Some(page) = apps.next(api, "/app").await? {
        for some in page.chunks(concurrency) {
            let one = |app: &Value| tokio::spawn(endpoints(api.clone(), App::of(app), secrets));
            let tasks: Vec<_> = some.iter().map(one).collect();
            for task in tasks {
                let ended =
                    task.await.map_err(|error| CliError::usage(format!("a worker ended: {error}")))?;
                let (app, endpoints, waiting) = ended?;
                writer.app(&app)?;
                endpoints.iter().try_for_each(|endpoint| writer.endpoint(endpoint))?;
                left.codes += endpoints.iter().filter(|endpoint| endpoint.code_is_hidden).count() as u64;
                left.logins += endpoints.iter().filter(|endpoint| endpoint.login_is_hidden).count() as u64;
                left.waiting += waiting;
            }
            let [.., apps, endpoints] = writer.counts;
            out.progress(&format!("{apps} applications, {endpoints} endpoints …"));
        }
    }
    out.progress_done();
    Ok(left)
}

/// Writes an environment into a file.
pub(crate) async fn export(flags: Export, env: Env<'_>, out: &Output) -> Result<()> {
    let concurrency = concurrency(flags.concurrency)?;
    let api = flags.connection.api(env)?;
    check(&api, "--token").await?;
    let now = SystemClock.now().to_string();
    let interrupted = interruption()?;
    let mut writer = Writer::create(&flags.file, flags.force, flags.with_secrets, &now)?;
    let left = tokio::select! {
        ended = write(&api, &mut writer, flags.with_secrets, concurrency, out) => ended?,
        () = interrupted => {
            out.progress_done();
            return Err(CliError::Interrupted("interrupted; no file was written".into()));
        }
    };
    let counts = counted(writer.finish()?);
    let what = if counts.is_empty() { "nothing is there to export" } else { &counts };
    let secrets = if flags.with_secrets {
        " with their secrets"
    } else {
        ", without secrets, headers and transformations"
    };
    out.note(&format!("{}: {what}{secrets}", flags.file));
    if left.codes > 0 {
        out.note(&hidden_codes(left.codes));
    }
    if left.logins > 0 {
        out.note(&format!(
            "Of {} the user and password in the URL were left out: --with-secrets writes them.",
            endpoints_of(left.logins)
        ));
    }
    if left.waiting > 0 {
        out.note(&waiting(left.waiting));
    }
    Ok(())
}
