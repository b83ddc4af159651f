//! What the runner writes to standard error: our own lines, and few of them when much goes wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::clock::SharedClock;
use shared::config::ConfigError;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable that says what is logged.
pub(crate) const VARIABLE: &str = "POSTRIDER_LOG";
/// The workspace's own crates, by the names that their lines carry. What they depend on says nothing
/// below a warning unless it is named.
const OWN: [&str; 29] = [
    "applications",
    "attempts",
    "auth",
    "aws",
    "background",
    "cli",
    "deliver",
    "domain",
    "endpoints",
    "event_types",
    "http_api",
    "ingest",
    "input",
    "intake",
    "local",
    "local_dynamodb",
    "local_sqs",
    "messages",
    "portal",
    "queue",
    "runtime",
    "sdk",
    "sam_template",
    "shared",
    "signer",
    "store",
    "timers",
    "transform",
    "transformer",
];
/// Successful attempts. Functions log them at debug, as each line costs in the cloud.
const DELIVERED: &str = "deliver::delivered";
/// Lines about one record each, every one of which somebody looks for: what is refused leaves no other trace
/// (docs/INGEST.md).
const RECORDS: &str = "queue::refused";
/// Such lines of one kind per second; of all others there is one.
const RECORDS_PER_SECOND: u32 = 100;
/// How long warnings or errors keep others of their kind from being written.
const PERIOD: Duration = Duration::from_secs(1);

/// Reads a level, or a list such as `warn,deliver=debug`.
fn filter(text: &str) -> Option<Targets> {
    let mut level = LevelFilter::INFO;
    let mut named = Vec::new();
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            Some((target, of)) => {
                named.push((target.trim().to_owned(), of.trim().parse::<LevelFilter>().ok()?))
            }
            None => level = part.parse().ok()?,
        }
    }
    // The embedded DynamoDB warns of every condition that is not met, which is how the functions find
    // out what is there.
    let others = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("dynoxide", level.min(LevelFilter::ERROR))
        // Targets are beginnings: these are not parts of our `aws`.
        .with_target("aws_", level.min(LevelFilter::WARN));
    let delivered = if level >= LevelFilter::INFO { level.max(LevelFilter::DEBUG) } else { level };
    let own = others.with_targets(OWN.map(|target| (target, level))).with_target(DELIVERED, delivered);
    Some(own.with_targets(named))
}

/// Lets one warning or error of a kind through per second, or as many as are about records, and counts the others.
#[derive(Clone)]
struct OnePerSecond {
    clock: SharedClock,
    kinds: Arc<Mutex<Kinds>>,
}

#[derive(Default)]
struct Kinds {
    /// The second in which lines of each kind were written last, and how many.
    written: HashMap<Identifier, (u64, u32)>,
    left_out: u64,
}

impl OnePerSecond {
    fn new(clock: SharedClock) -> Self {
        Self { clock, kinds: Arc::default() }
    }

    fn left_out(&self) -> u64 {
        std::mem::take(&mut self.kinds.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }
}

impl<S: Subscriber> Filter<S> for OnePerSecond {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::WARN {
            return true;
        }
        let now = self.clock.now().seconds();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let most = if event.metadata().target() == RECORDS { RECORDS_PER_SECOND } else { 1 };
        let written = kinds.written.entry(event.metadata().callsite()).or_default();
        if written.0 != now {
            *written = (now, 0);
        }
        if written.1 >= most {
            kinds.left_out += 1;
            return false;
        }
        written.1 += 1;
        true
    }
}

fn subscriber(
    filter: Targets,
    limit: OnePerSecond,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).compact();
    tracing_subscriber::registry().with(filter).with(lines.with_filter(limit))
}

/// Writes what `text` asks for to standard error from now on.
///
/// # Errors
/// `text` cannot be understood.
pub(crate) fn init(text: &str, clock: &SharedClock) -> Result<(), ConfigError> {
    let filter = filter(text).ok_or_else(|| {
        let problem = format!(
            "invalid value {text:?}: expected error, warn, info, debug or trace, or a list such as warn,deliver=debug"
        );
        ConfigError::new(VARIABLE, problem)
    })?;
    let (limit, clock) = (OnePerSecond::new(clock.clone()), clock.clone());
    // The only error is that a subscriber is there already.
    let _ = subscriber(filter, limit.clone(), std::io::stderr).try_init();
    tokio::spawn(async move {
        loop {
            clock.sleep(PERIOD).await;
            match limit.left_out() {
                0 => {}
                lines => tracing::warn!(lines, "more warnings and errors of the same kinds: not shown"),
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};

    use shared::clock::{Clock, Sleep, Timestamp};

    use super::*;

    #[test]
    fn a_level_is_for_our_own_lines_unless_others_are_named() {
        let debug = filter("debug").unwrap();
        assert!(OWN.iter().all(|own| debug.would_enable(own, &Level::DEBUG)));
        for (other, level) in [("hyper_util::client", Level::INFO), ("aws_smithy_runtime", Level::DEBUG)] {
            assert!(!debug.would_enable(other, &level), "{other}");
            assert!(debug.would_enable(other, &Level::WARN), "{other}");
        }
        assert!(!debug.would_enable("dynoxide", &Level::WARN));
        assert!(filter("info,hyper_util=debug").unwrap().would_enable("hyper_util::client", &Level::DEBUG));
        // Each delivery is a line unless less is wanted.
        assert!(filter("info").unwrap().would_enable(DELIVERED, &Level::DEBUG));
        assert!(!filter("info").unwrap().would_enable("deliver::circuit", &Level::DEBUG));
        assert!(!filter("warn").unwrap().would_enable(DELIVERED, &Level::DEBUG));
        assert!(!filter("off").unwrap().would_enable("local", &Level::ERROR));
        for wrong in ["loud", "inof,deliver=debug", "deliver=loud", "warn;deliver"] {
            assert!(filter(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn all_crates_of_the_workspace_are_our_own() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = ["cli", "functions", "shared", "local"].map(|folder| root.join(folder));
        let inner = members.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let folders = inner.map(|entry| entry.unwrap().path()).chain(members.iter().cloned());
        let mut found = 0;
        for manifest in folders.map(|folder| folder.join("Cargo.toml")).filter(|path| path.exists()) {
            let text = std::fs::read_to_string(&manifest).unwrap();
            let name = text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
            let name = name.trim_matches('"').replace('-', "_");
            assert!(OWN.contains(&name.as_str()), "OWN lacks {name}");
            found += 1;
        }
        assert_eq!(found, OWN.len());
    }

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_ms(self.0.load(Ordering::Relaxed))
        }
        fn sleep(&self, wait: Duration) -> Sleep {
            Box::pin(tokio::time::sleep(wait))
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn many_errors_of_one_kind_are_one_line_a_second_and_each_refused_record_is_one() {
        let (clock, lines) = (Arc::new(Hand::default()), Lines::default());
        let limit = OnePerSecond::new(clock.clone());
        let writer = lines.clone();
        let subscriber = subscriber(filter("info").unwrap(), limit.clone(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            for ms in 0..1_500 {
                clock.0.store(ms, Ordering::Relaxed);
                tracing::error!("the disk is full");
                if ms % 100 == 0 {
                    tracing::info!("an attempt");
                }
                if ms == 10 {
                    tracing::warn!("another kind");
                }
                if ms < 150 {
                    tracing::warn!(target: RECORDS, ms, "a record is refused");
                }
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("the disk is full"), count("another kind"), count("an attempt")), (2, 1, 15));
        assert_eq!(count("a record is refused"), RECORDS_PER_SECOND as usize);
        assert_eq!((limit.left_out(), limit.left_out()), (1_498 + 50, 0));
    }
}
