//! How fast each function starts, as it is deployed: plays Lambda's Runtime API for the release binaries,
//! with the embedded DynamoDB and SQS behind TLS and, where the machine lets it, the CPU share of a memory size.
//!
//! `sam build --parameter-overrides Arch=x86_64` first, then
//! `cargo bench -p tests --bench cold_start --profile bench-local -- [RUNS] [MEGABYTES] [FOLDER]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use local::template::Template;
use local::{Settings, Stack};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Mutex, mpsc};

const RUNS_DEFAULT: usize = 20;
const MEGABYTES_DEFAULT: u64 = 256;
/// "Configure Lambda function memory": so much has one whole processor.
const MEGABYTES_OF_A_CPU: u64 = 1_769;
/// The slice of time that a share is given of.
const PERIOD_MICROSECONDS: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// What a function does with the Runtime API.
enum Step {
    /// It asks for an event.
    Next(Instant),
    /// It has answered one.
    Answer(Instant, Bytes),
    /// It complains.
    Error(Bytes),
}

/// The Runtime API of one function after the other.
#[derive(Clone)]
struct Runtime {
    steps: mpsc::UnboundedSender<Step>,
    events: Arc<Mutex<mpsc::UnboundedReceiver<String>>>,
}

async fn next(State(runtime): State<Runtime>) -> Response {
    let _ = runtime.steps.send(Step::Next(Instant::now()));
    let Some(event) = runtime.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970") + PATIENCE;
    let mut headers = HeaderMap::new();
    headers.insert(
        "lambda-runtime-aws-request-id",
        HeaderValue::from_static("8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
    );
    headers.insert(
        "lambda-runtime-deadline-ms",
        HeaderValue::from(u64::try_from(deadline.as_millis()).expect("small")),
    );
    headers.insert(
        "lambda-runtime-invoked-function-arn",
        HeaderValue::from_static("arn:aws:lambda:us-east-1:123456789012:function:f"),
    );
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    (headers, event).into_response()
}

async fn answered(State(runtime): State<Runtime>, body: Bytes) -> StatusCode {
    let _ = runtime.steps.send(Step::Answer(Instant::now(), body));
    StatusCode::ACCEPTED
}

async fn failed(State(runtime): State<Runtime>, body: Bytes) -> StatusCode {
    let _ = runtime.steps.send(Step::Error(body));
    StatusCode::ACCEPTED
}

/// A process that ends with this.
struct Instance(Child);

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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

/// What one start took.
struct Start {
    init: Duration,
    first: Duration,
    second: Duration,
    rss_kb: u64,
}

/// Passes connections on to `to` without their TLS.
async fn tls_in_front_of(to: SocketAddr) -> SocketAddr {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_file(data.join("localhost.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(data.join("localhost.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let Ok(mut behind) = tokio::net::TcpStream::connect(to).await else { return };
                let _ = stream.get_ref().0.set_nodelay(true).and_then(|()| behind.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
    address
}

struct Harness {
    api: SocketAddr,
    steps: mpsc::UnboundedReceiver<Step>,
    events: mpsc::UnboundedSender<String>,
    share: Option<Share>,
}

impl Harness {
    async fn new(megabytes: u64) -> Self {
        let (steps, asked) = mpsc::unbounded_channel();
        let (events, given) = mpsc::unbounded_channel();
        let runtime = Runtime { steps, events: Arc::new(Mutex::new(given)) };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .fallback(any(failed))
            .with_state(runtime);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let api = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { api, steps: asked, events, share: Share::new(megabytes) }
    }

    async fn step(&mut self, function: &str) -> Step {
        let step = tokio::time::timeout(PATIENCE, self.steps.recv()).await;
        match step.unwrap_or_else(|_| panic!("{function}: nothing for {PATIENCE:?}")).expect("the API runs") {
            Step::Error(body) => panic!("{function}: {}", String::from_utf8_lossy(&body)),
            step => step,
        }
    }

    async fn event(&mut self, function: &str, event: &str) -> (Duration, Bytes) {
        let given = Instant::now();
        self.events.send(event.to_owned()).expect("the API runs");
        let Step::Answer(at, body) = self.step(function).await else { panic!("{function}: no answer") };
        let Step::Next(_) = self.step(function).await else { panic!("{function}: it answers twice") };
        (at - given, body)
    }

    async fn start(
        &mut self,
        function: &str,
        program: &Path,
        env: &BTreeMap<String, String>,
        event: &str,
    ) -> Start {
        let started = Instant::now();
        let child = Command::new(program)
            .env_clear()
            .envs(env)
            .envs([
                ("AWS_LAMBDA_FUNCTION_NAME", function),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
                ("AWS_LAMBDA_RUNTIME_API", &self.api.to_string()),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program starts");
        let instance = Instance(child);
        let Step::Next(ready) = self.step(function).await else { panic!("{function}: an answer to nothing") };
        // Lambda gives an instance a whole processor until it asks for its first event.
        if let Some(share) = &self.share {
            share.take(instance.0.id());
        }
        let (first, body) = self.event(function, event).await;
        let text = String::from_utf8_lossy(&body);
        assert!(
            !text.contains("\"statusCode\":5") && !text.contains("\"itemIdentifier\""),
            "{function}: {text}"
        );
        let (second, _) = self.event(function, event).await;
        let status = std::fs::read_to_string(format!("/proc/{}/status", instance.0.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let rss_kb = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        Start { init: ready - started, first, second, rss_kb }
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The size of an archive's one entry: what Lambda stores, but for some headers.
fn zipped(program: &Path) -> usize {
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(9));
    packed.write_all(&std::fs::read(program).expect("a program")).expect("memory");
    packed.finish().expect("memory").len()
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let runs = numbers.next().map_or(RUNS_DEFAULT, |runs| usize::try_from(runs).expect("small").max(1));
    let megabytes = numbers.next().unwrap_or(MEGABYTES_DEFAULT);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::args().skip(1).find(|argument| argument.contains('/'));
    let folder = folder.map_or_else(|| root.join(".aws-sam/build"), PathBuf::from);
    let settings = Settings {
        aws_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        poll: false,
        ..Settings::ephemeral()
    };
    let stack = Stack::start(settings).await.expect("the stack starts");
    let aws = tls_in_front_of(stack.aws_address().expect("it is served")).await;
    let template = Template::parse(local::TEMPLATE).expect("the template is read");
    let mut harness = Harness::new(megabytes).await;
    match &harness.share {
        Some(_) => println!("medians of {runs}; events are worked on with the CPU share of {megabytes} MB"),
        None => println!("medians of {runs}; no control groups here: events have a whole processor"),
    }
    println!("function       to /next   first event   second   peak RSS   bootstrap   zipped");
    for function in &template.functions {
        let program = folder.join(&function.logical_id).join("bootstrap");
        assert!(program.exists(), "{} is not there: sam build comes first", program.display());
        let mut env = stack.environment(&function.name).expect("its environment").clone();
        env.retain(|name, _| !name.starts_with("AWS_ENDPOINT_URL"));
        env.insert("AWS_ENDPOINT_URL".into(), format!("https://localhost:{}", aws.port()));
        env.insert("SSL_CERT_FILE".into(), root.join("tests/data/ca.pem").to_string_lossy().into_owned());
        let event = std::fs::read_to_string(root.join("events").join(format!("{}.json", function.name)));
        let event = event.expect("its event").replace("${TOKEN}", &stack.org_token(None));
        let mut starts = Vec::new();
        for _ in 0..runs {
            starts.push(harness.start(&function.name, &program, &env, &event).await);
        }
        println!(
            "{:14} {:5.1} ms   {:8.1} ms {:6.1} ms   {:5.1} MB   {:6.2} MB   {:4.2} MB",
            function.name,
            milliseconds(median(starts.iter().map(|start| start.init))),
            milliseconds(median(starts.iter().map(|start| start.first))),
            milliseconds(median(starts.iter().map(|start| start.second))),
            median(starts.iter().map(|start| start.rss_kb)) as f64 / 1024.0,
            std::fs::metadata(&program).expect("a program").len() as f64 / 1e6,
            zipped(&program) as f64 / 1e6,
        );
    }
    drop(harness);
    stack.stop().await;
}
