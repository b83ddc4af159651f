//! How fast each function starts, as it is deployed: plays Lambda's Runtime API for the release binaries,
//! with the embedded DynamoDB and SQS behind TLS and, where the machine lets it, the CPU share of a memory size.
//!
//! `sam build --parameter-overrides Arch=x86_64` first, then
//! `cargo bench -p tests --bench cold_start --profile bench-local -- [RUNS] [MEGABYTES] [FOLDER] [FUNCTION]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

mod lambda;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lambda::Lambda;
use lambda::aws::Aws;
use sam_template::Template;
use serde_json::Value;

const RUNS_DEFAULT: usize = 20;
const MEGABYTES_DEFAULT: u64 = 256;
/// "Configure Lambda function memory": so much has one whole processor.
const MEGABYTES_OF_A_CPU: u64 = 1_769;
/// The slice of time that a share is given of.
const PERIOD_MICROSECONDS: u64 = 20_000;

/// A control group with a share of a processor, where the machine lets us make one.
struct Share(PathBuf);

impl Share {
    fn new(megabytes: u64) -> Option<Self> {
        let quota = PERIOD_MICROSECONDS * megabytes / MEGABYTES_OF_A_CPU;
        let name = format!("postrider-cold-start-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/cpu");
        let (folder, limits) = if old.join("cpu.cfs_quota_us").exists() || old.join("cpu.shares").exists() {
            let limits = [
                ("cpu.cfs_period_us", PERIOD_MICROSECONDS.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ];
            (old.join(name), limits.to_vec())
        } else {
            let limits = [("cpu.max", format!("{quota} {PERIOD_MICROSECONDS}"))];
            (Path::new("/sys/fs/cgroup").join(name), limits.to_vec())
        };
        std::fs::create_dir(&folder).ok()?;
        let share = Self(folder);
        limits.iter().all(|(file, value)| std::fs::write(share.0.join(file), value).is_ok()).then_some(share)
    }

    fn take(&self, process: u32) {
        std::fs::write(self.0.join("cgroup.procs"), process.to_string()).expect("a process can be moved");
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// What the first event after a start took.
struct First {
    took: Duration,
    /// Of that, what the emulators took.
    emulators: Duration,
    requests: u64,
    cpu: Duration,
    faults: u64,
}

/// What one start took.
struct Start {
    init: Duration,
    first: First,
    second: Duration,
    rss_kb: u64,
}

/// What the process's threads have computed so far.
fn cpu(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let nanoseconds = threads.map(|thread| {
        let times = std::fs::read_to_string(thread.expect("a thread").path().join("schedstat"));
        let times = times.unwrap_or_default();
        times.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or_default()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Pages that the process had to be given so far.
fn faults(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    fields.split(' ').nth(7).and_then(|faults| faults.parse().ok()).expect("a number")
}

async fn start(
    lambda: &mut Lambda,
    aws: &Aws,
    share: Option<&Share>,
    function: &str,
    program: &Path,
    event: &str,
) -> Start {
    let env: BTreeMap<String, String> = aws.environment(function);
    // What the instance before this one took of the share is over by then.
    tokio::time::sleep(Duration::from_micros(3 * PERIOD_MICROSECONDS)).await;
    let (instance, init) = lambda.start(function, Command::new(program), &env).await;
    let process = instance.id();
    // Lambda gives an instance a whole processor until it asks for its first event.
    if let Some(share) = share {
        share.take(process);
    }
    aws.waited.take();
    let before = (cpu(process), faults(process));
    let (took, _) = lambda.event(function, event.to_owned()).await;
    let (emulators, requests) = aws.waited.take();
    let first =
        First { took, emulators, requests, cpu: cpu(process) - before.0, faults: faults(process) - before.1 };
    let (second, _) = lambda.event(function, event.to_owned()).await;
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let rss_kb = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    Start { init, first, second, rss_kb }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

fn milliseconds(times: impl Iterator<Item = Duration>) -> f64 {
    median(times).as_secs_f64() * 1000.0
}

/// The size of an archive's one entry: what Lambda stores, but for some headers.
fn zipped(program: &Path) -> usize {
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(9));
    packed.write_all(&std::fs::read(program).expect("a program")).expect("memory");
    packed.finish().expect("memory").len()
}

/// The same event with a mistake in it that is found behind the token, whose look-up is then the one
/// request that is made. Jobs of applications that there are not take one anyway.
fn with_a_mistake(function: &str, event: &str) -> String {
    let mut event: Value = serde_json::from_str(event).expect("JSON");
    if function == "auth" {
        event["rawPath"] = "/api/v1/auth/app-portal-access/acme".into();
        event["requestContext"]["http"]["method"] = "POST".into();
        event["body"] = "[]".into();
    } else if event.get("body").is_some() {
        event["body"] = "{}".into();
    } else if event.get("rawPath").is_some() {
        event["rawQueryString"] = "limit=none".into();
    }
    event.to_string()
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let runs = numbers.next().map_or(RUNS_DEFAULT, |runs| usize::try_from(runs).expect("small").max(1));
    let megabytes = numbers.next().unwrap_or(MEGABYTES_DEFAULT);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::args().skip(1).find(|argument| argument.contains('/'));
    let folder = folder.map_or_else(|| root.join(".aws-sam/build"), PathBuf::from);
    let template = Template::parse(local::TEMPLATE).expect("the template is read");
    let named: Vec<_> = std::env::args().skip(1).filter(|name| template.function(name).is_some()).collect();
    let aws = Aws::start().await;
    let mut lambda = Lambda::new().await;
    let share = Share::new(megabytes);
    match &share {
        Some(_) => println!("medians of {runs}; events are worked on with the CPU share of {megabytes} MB"),
        None => println!("medians of {runs}; no control groups here: events have a whole processor"),
    }
    println!(
        "one call or as few as there are: requests, ms to the answer, of that the emulators', ms of CPU, faults | \
         the same of the event"
    );
    println!(
        "function       to /next |  n  answer  emulators  CPU  faults |  n  answer  emulators  CPU  faults  second | \
         peak RSS  bootstrap   zipped"
    );
    for function in &template.functions {
        if !named.is_empty() && !named.contains(&function.name) {
            continue;
        }
        // As `sam build` leaves them, or cargo.
        let built = folder.join(&function.logical_id).join("bootstrap");
        let program = if built.exists() { built } else { folder.join(&function.name) };
        assert!(program.exists(), "{} is not there: sam build comes first", program.display());
        let event = std::fs::read_to_string(root.join("events").join(format!("{}.json", function.name)));
        let event = event.expect("its event").replace("${TOKEN}", &aws.stack.org_token(None));
        let mistaken = with_a_mistake(&function.name, &event);
        let (mut light, mut starts) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            light.push(start(&mut lambda, &aws, share.as_ref(), &function.name, &program, &mistaken).await);
            starts.push(start(&mut lambda, &aws, share.as_ref(), &function.name, &program, &event).await);
        }
        let first = |starts: &[Start]| {
            format!(
                "{:2}  {:6.1}  {:9.1} {:4.1}  {:6}",
                median(starts.iter().map(|start| start.first.requests)),
                milliseconds(starts.iter().map(|start| start.first.took)),
                milliseconds(starts.iter().map(|start| start.first.emulators)),
                milliseconds(starts.iter().map(|start| start.first.cpu)),
                median(starts.iter().map(|start| start.first.faults)),
            )
        };
        println!(
            "{:14} {:5.1} ms | {} | {}  {:6.1} | {:5.1} MB {:7.2} MB  {:4.2} MB",
            function.name,
            milliseconds(light.iter().chain(&starts).map(|start| start.init)),
            first(&light),
            first(&starts),
            milliseconds(starts.iter().map(|start| start.second)),
            median(starts.iter().map(|start| start.rss_kb)) as f64 / 1024.0,
            std::fs::metadata(&program).expect("a program").len() as f64 / 1e6,
            zipped(&program) as f64 / 1e6,
        );
    }
    drop(share);
    aws.stack.stop().await;
}
