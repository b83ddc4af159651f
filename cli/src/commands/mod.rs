//! One module per group of commands.

pub(crate) mod attempts;
pub(crate) mod connect;
pub(crate) mod doctor;
mod fields;
pub(crate) mod listen;
pub(crate) mod mcp;
mod recent;
pub(crate) mod resources;
pub(crate) mod signature;
pub(crate) mod transfer;
pub(crate) mod trigger;

use std::io::Read as _;
use std::time::Duration;

use runtime::clock::{Clock as _, SystemClock, Timestamp};

use crate::error::{CliError, Result};

/// Reads an ID or uid. An empty one, of a shell variable that is not set, would mean another path: the list instead of one.
pub(crate) fn id(text: &str) -> std::result::Result<String, String> {
    filled(text, "expected an ID or uid, not an empty text")
}

/// Reads a name.
pub(crate) fn name(text: &str) -> std::result::Result<String, String> {
    filled(text, "expected a name, not an empty text")
}

fn filled(text: &str, expected: &str) -> std::result::Result<String, String> {
    if text.trim().is_empty() { Err(expected.to_owned()) } else { Ok(text.to_owned()) }
}

/// The longest payload that is read from a file: what the API takes.
const FILE_LENGTH_MAX: u64 = 1024 * 1024;

/// A file's text, or standard input's for `-`.
fn read_text(flag: &str, path: &str) -> Result<String> {
    let mut text = String::new();
    let read = if path == "-" {
        std::io::stdin().take(FILE_LENGTH_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_LENGTH_MAX + 1).read_to_string(&mut text))
    };
    read.map_err(|error| CliError::usage(format!("{flag}: cannot read {path}: {error}")))?;
    if text.len() as u64 > FILE_LENGTH_MAX {
        return Err(CliError::usage(format!("{flag}: {path} is longer than 1 MiB, which the API refuses")));
    }
    Ok(text)
}

/// The longest span before now, in seconds.
const SINCE_MAX: u64 = 90 * 86_400;

/// A point in time: RFC 3339, or a span before now such as `90s`, `15m`, `1h`, `2d`.
fn time(flag: &str, text: &str) -> Result<Timestamp> {
    time_before(SystemClock.now(), flag, text)
}

fn time_before(now: Timestamp, flag: &str, text: &str) -> Result<Timestamp> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(at);
    }
    let wrong = || {
        CliError::usage(format!(
            "{flag}: {text:?} is not a time; expected 1h, 15m, 2d or 2026-01-31T00:00:00Z"
        ))
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let span = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    match span.filter(|span| *span <= SINCE_MAX) {
        Some(span) => Ok(now.before(Duration::from_secs(span))),
        None => Err(CliError::usage(format!(
            "{flag}: {text:?} is too long ago; at most {}d, as long as messages are kept",
            SINCE_MAX / 86_400
        ))),
    }
}

/// Asks a person, who has to say yes; a script says so by a flag.
fn confirm(question: &str, yes: bool) -> Result<()> {
    use std::io::{IsTerminal as _, Write as _};
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage(format!(
            "{question} Nothing was done: add --yes to go on without being asked"
        )));
    }
    let _lost = write!(std::io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let _read = std::io::stdin().read_line(&mut answer);
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(CliError::usage("nothing was done")) }
}

/// [`confirm`] for a command that has called [`interruption`]: the process no longer ends by a signal itself.
async fn confirm_or_interrupted(question: &str, yes: bool) -> Result<()> {
    let interrupted = interruption()?;
    let (tell, confirmed) = tokio::sync::oneshot::channel();
    let question = question.to_owned();
    // A read that waits cannot be cancelled: a thread of its own, which ends with the process.
    std::thread::spawn(move || tell.send(confirm(&question, yes)));
    tokio::select! {
        confirmed = confirmed => confirmed.unwrap_or_else(|_| Err(CliError::usage("nothing was done"))),
        () = interrupted => Err(CliError::Interrupted("interrupted; nothing was done".into())),
    }
}

/// Waits for Ctrl-C or the request to terminate, which are noticed from this call on.
#[cfg(unix)]
fn interruption() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let noticed = |kind| signal(kind).map_err(|error| CliError::usage(format!("no signal handler: {error}")));
    let mut interrupt = noticed(SignalKind::interrupt())?;
    let mut terminate = noticed(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
fn interruption() -> Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_spans() {
        assert_eq!(time("--since", "2026-01-31T00:00:00Z").unwrap().ms(), 1_769_817_600_000);
        let now = Timestamp::from_ms(1_769_817_600_000);
        assert_eq!(time_before(now, "--since", "1h").unwrap().ms(), 1_769_817_600_000 - 3_600_000);
        for wrong in ["", "h", "1", "1w", "-1h", "91d", "99999999999999999999d", "1é"] {
            assert!(time("--since", wrong).unwrap_err().to_string().starts_with("--since: "), "{wrong}");
        }
        assert!(time("--since", "100d").unwrap_err().to_string().contains("at most 90d"));
    }
}
