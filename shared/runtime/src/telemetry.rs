//! Logs of the functions: one JSON object per line.

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{ConfigError, Env};

/// A mistyped level would be the name of a part that nobody has, and hide everything else.
fn parse(text: &str) -> Option<Targets> {
    let is_level_or_names_one = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    if text.split(',').all(is_level_or_names_one) { text.parse().ok() } else { None }
}

/// Reads `POSTRIDER_LOG` (`info`, or `warn,deliver=debug`) and sends what passes to standard
/// output. A second call changes nothing.
///
/// # Errors
/// `POSTRIDER_LOG` cannot be understood.
pub fn init(env: &Env<'_>) -> Result<(), ConfigError> {
    // `Targets` instead of `EnvFilter`: the latter brings a regex engine, 5 % of the code.
    let default = "info".parse::<Targets>().expect("a level is a filter");
    let filter = env.parsed(
        "POSTRIDER_LOG",
        "error, warn, info, debug or trace, or a list such as warn,deliver=debug",
        default,
        parse,
    )?;
    // The only error is that a subscriber is there already, as in tests.
    let _ = json(filter, std::io::stdout).try_init();
    Ok(())
}

/// The lines for CloudWatch: an object each, in which `spans` says what they belong to.
pub fn json(
    filter: Targets,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry().with(filter).with(
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(writer),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused() {
        for good in ["info", "WARN", "off", "warn,deliver=debug", "info, dynoxide=error"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in ["loud", "inof,deliver=debug", "deliver=loud", "warn;deliver"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
