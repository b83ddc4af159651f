//! The program: starts a stack, says what can be done with it, and stops it when told.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use shared::Platform;
use shared::auth::DEFAULT_ORG;
use shared::clock::SharedClock;
use shared::config::Env;
use shared::queue::Queue;

use crate::audit;
use crate::cli::{Cli, LISTEN, Task};
use crate::error::{EXIT_CONFIG, StartError};
use crate::logging;
use crate::portal;
use crate::settings::Settings;
use crate::stack::{Progress, Stack};

/// The exit code after a second Ctrl-C: that of a process that the first one killed.
const EXIT_INTERRUPTED: i32 = 130;
/// How often it is said what the end waits for.
const REPORT: Duration = Duration::from_secs(2);
const DELIVERY_TIMEOUT: &str = "POSTRIDER_DELIVERY_TIMEOUT";
/// What is logged if nothing else is said.
const LOG_DEFAULT: &str = "info";

/// Runs customers' code until the parent is gone, where this process was started for that; none where it was not.
pub fn transformer() -> Option<ExitCode> {
    if !transform::is_child() {
        return None;
    }
    let clock: SharedClock = std::sync::Arc::new(shared::clock::SystemClock);
    let served = transformer::serve(&clock);
    Some(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does what the process's command line says.
pub fn main() -> ExitCode {
    begin(std::env::args_os(), tokio::runtime::Runtime::new).into()
}

/// Does what a command line says, the program's name first. Returns the exit code.
///
/// `runtime` is called once the line is understood and has something to do: `--version`, `--help` and wrong
/// flags are answered before there is a thread, so that they take no time.
pub fn begin(
    line: impl Iterator<Item = OsString>,
    runtime: impl FnOnce() -> std::io::Result<tokio::runtime::Runtime>,
) -> u8 {
    let line = match Cli::read(line) {
        Ok(line) => line,
        Err(answer) => return answered(&answer),
    };
    match runtime() {
        Ok(runtime) => runtime.block_on(carry_out(line)),
        Err(error) => {
            complain(&format!("postrider: cannot start threads: {error}"));
            EXIT_CONFIG
        }
    }
}

/// The same within a runtime.
pub async fn run_line(line: impl Iterator<Item = OsString>) -> u8 {
    match Cli::read(line) {
        Ok(line) => carry_out(line).await,
        Err(answer) => answered(&answer),
    }
}

/// Prints what a line comes to that is no command: what was asked about the program, or what is wrong.
fn answered(answer: &clap::Error) -> u8 {
    let _closed = answer.print();
    u8::try_from(answer.exit_code()).unwrap_or(EXIT_CONFIG)
}

async fn carry_out(line: Cli) -> u8 {
    let cli = match line.remote() {
        Ok(command) => return cli::run(command, &|name| Env::process().optional(name)).await,
        Err(cli) => cli,
    };
    if let Some(operation) = cli.operation() {
        return match operation.run(&Env::process(), &Platform::system()).await {
            Ok(text) => print(&text),
            Err(error) => {
                complain(&format!("postrider: {error}"));
                error.code()
            }
        };
    }
    let ended = match cli.task(&Env::process(), Platform::system(), &mut std::io::stdin()) {
        Ok(Task::Print(text)) => return print(&text),
        Ok(Task::Export(export)) => {
            let exported = audit::export(&export, &mut std::io::stdout().lock()).await;
            exported.map(drop).map_err(StartError::from)
        }
        Ok(Task::Run(settings)) => run(*settings).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => 0,
        Err(error) => {
            // A reader that went away ends a command quietly.
            if error.code() != 0 {
                complain(&cli.explain(&error));
            }
            error.code()
        }
    }
}

async fn run(settings: Settings) -> Result<(), StartError> {
    let log = settings.settings.get(logging::VARIABLE).map_or(LOG_DEFAULT, String::as_str);
    logging::init(log, &settings.platform.clock)?;
    let data = match (&settings.aws_endpoint, &settings.data) {
        (Some(url), None) => format!("in DynamoDB and SQS at {url}; the secrets in memory"),
        (Some(url), Some(folder)) => {
            format!("in DynamoDB and SQS at {url}; the secrets in {}", folder.display())
        }
        (None, Some(folder)) => format!("in {}", folder.display()),
        (None, None) => "in memory, and lost when the runner stops".to_owned(),
    };
    let mut warning = String::new();
    if !settings.listen.ip().is_loopback() {
        warning += &format!(
            "Warning: {} exposes the API to other machines; the traffic is not encrypted.\n",
            settings.listen
        );
    }
    if let Some(address) = settings.aws_listen.filter(|address| !address.ip().is_loopback()) {
        warning +=
            &format!("Warning: anybody who reaches {address} can read and change all tables and queues.\n");
    }
    // Before anything is started: from now on a signal waits until it can be heard.
    let mut signals = Signals::new()
        .map_err(|error| StartError::Embedded { service: "signal handler", problem: error.to_string() })?;
    let clock = settings.platform.clock.clone();
    let stack = Stack::start(settings).await?;
    say(&format!("{}{}", warning, welcome(&stack, &data)));

    signals.next().await;
    let deadline = stack.environment("deliver").and_then(|variables| variables.get(DELIVERY_TIMEOUT));
    let deadline = deadline.map_or_else(String::new, |seconds| format!(" (up to {seconds} s)"));
    say(&format!("Shutting down: finishing in-flight deliveries{deadline}. Press Ctrl-C again to quit now."));
    let progress = stack.in_progress();
    tokio::select! {
        () = stack.stop() => Ok(()),
        () = signals.next() => std::process::exit(EXIT_INTERRUPTED),
        () = report(&progress, &clock) => Ok(()),
    }
}

/// Says every now and then what is waited for.
async fn report(progress: &Progress, clock: &SharedClock) {
    loop {
        clock.sleep(REPORT).await;
        let waiting = progress.now();
        if !waiting.is_empty() {
            let waiting =
                waiting.iter().map(|(function, number)| format!("{function} ({number} in progress)"));
            say(&format!("Waiting for {}.", waiting.collect::<Vec<_>>().join(", ")));
        }
    }
}

/// What there is, and how to see a delivery.
fn welcome(stack: &Stack, data: &str) -> String {
    let (url, routes, token) = (stack.url(), stack.routes(), stack.org_token(None));
    let aws = stack
        .aws_address()
        .map_or_else(String::new, |address| format!("\nDynamoDB and SQS: http://{address}"));
    let queue = stack.queue(Queue::Ingest.logical_id()).map_or_else(String::new, |queue| {
        // At the address that was asked for: the other one has another port at each start.
        let url = match (stack.aws_address(), queue.url.splitn(4, '/').nth(3)) {
            (Some(address), Some(path)) => format!("http://{address}/{path}"),
            _ => queue.url.clone(),
        };
        format!("\nSQS ingest queue: {url} (see docs/INGEST.md)")
    });
    let curl = format!(
        "curl -sS -w '\\n' -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' {url}/api/v1/app"
    );
    let portal = portal::link(&url, &token);
    // Commands ask at the default address by themselves.
    let server = if url == format!("http://{LISTEN}") {
        String::new()
    } else {
        format!("\nexport POSTRIDER_SERVER_URL={url}")
    };
    format!(
        r#"
Open the portal; this link has full access to organisation {DEFAULT_ORG}:

{portal}

Postrider listens on {url} ({routes} routes; the reference is at /docs). Ctrl-C stops it.{aws}{queue}
Data is {data}.
For scripts, SDKs and other commands (`postrider app list`), the same token:

export TOKEN={token}
export POSTRIDER_TOKEN=$TOKEN{server}

To see a delivery, start a receiver in another terminal:

python3 -c "import http.server as h; h.HTTPServer(('127.0.0.1', 9000), type('R', (h.BaseHTTPRequestHandler,), {{'do_POST': lambda r: (print(r.headers, r.rfile.read(int(r.headers['content-length'])).decode()), r.send_response(204), r.end_headers())}})).serve_forever()"

Then, with TOKEN set as above, create an application and an endpoint, send a message, and list its attempts:

{curl} -d '{{"name": "Demo", "uid": "demo"}}'
{curl}/demo/endpoint -d '{{"url": "http://127.0.0.1:9000/", "uid": "receiver"}}'
{curl}/demo/msg -d '{{"eventType": "user.created", "payload": {{"hello": "world"}}}}'
{curl}/demo/attempt/endpoint/receiver
"#
    )
}

/// Writes what a command was asked for to standard output, and returns its exit code. A reader that went away, as `head`
/// does, ends it quietly; a full disk does not.
fn print(text: &str) -> u8 {
    print_to(&mut std::io::stdout().lock(), text)
}

fn print_to(out: &mut impl std::io::Write, text: &str) -> u8 {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(&format!("postrider: cannot write to standard output: {error}"));
            EXIT_CONFIG
        }
        _ => 0,
    }
}

/// Writes to standard output. A reader that has gone away is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes one line to standard error, whatever is in it.
fn complain(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{}", text.replace(char::is_control, " "));
}

/// Ctrl-C, and where there is one the request to terminate.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_cannot_be_written_is_an_error_unless_its_reader_went_away() {
        struct Broken(std::io::ErrorKind);
        impl std::io::Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(print_to(&mut Broken(std::io::ErrorKind::StorageFull), "x"), EXIT_CONFIG);
        assert_eq!(print_to(&mut Broken(std::io::ErrorKind::BrokenPipe), "x"), 0);
        assert_eq!(print_to(&mut Vec::new(), "x"), 0);
    }

    #[test]
    fn nothing_is_started_before_the_line_is_understood() {
        let started = Cell::new(0);
        let code = |words: &[&str]| {
            let line = ["postrider"].iter().chain(words).map(OsString::from);
            begin(line, || {
                started.set(started.get() + 1);
                tokio::runtime::Builder::new_current_thread().build()
            })
        };
        for (words, expected) in [
            (&["--version"][..], 0),
            (&["--help"], 0),
            (&["listen", "--help"], 0),
            (&["lisen"], 2),
            (&["listen", "--forward"], 2),
        ] {
            assert_eq!((code(words), started.get()), (expected, 0), "{words:?}");
        }
        assert_eq!((code(&["new-org"]), started.get()), (0, 1));
    }
}
