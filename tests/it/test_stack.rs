//! What every journey starts with: the whole stack on free ports, the official SDK, and a receiver.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use axum::body::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use local::{Settings, Stack};
use shared::clock::{Clock, Sleep, SystemClock, Timestamp};
use shared::random::{Random, SystemRandom};
use svix::api::{MessageAttemptListByMsgOptions, Svix, SvixOptions};
use svix::models::{ApplicationIn, EndpointIn, EventTypeIn, MessageIn};
use tokio::sync::{mpsc, watch};

/// Set to the address of another DynamoDB and SQS to run everything against that.
pub const ENDPOINT_VARIABLE: &str = "POSTRIDER_TEST_AWS_ENDPOINT";
/// Random bytes of an ID.
const ID_LENGTH: usize = 15;
/// Longer than anything takes; what hits it is lost, not slow.
const PATIENCE: Duration = Duration::from_secs(90);

/// The settings of most tests: short waits between attempts. An attempt has as long as a busy machine may
/// need: one that misses its deadline is repeated a minute later. Who tests that sets a deadline.
pub fn settings() -> Settings {
    static STACKS: AtomicU32 = AtomicU32::new(0);
    let mut settings = Settings::ephemeral()
        .with("POSTRIDER_RETRY_SCHEDULE", "1,1,1")
        .with("POSTRIDER_DELIVERY_TIMEOUT", "20")
        .with("POSTRIDER_JWT_SECRET", "a secret of the tests, long enough")
        .with("POSTRIDER_ENCRYPTION_KEY", "another secret of the tests, long enough");
    settings.platform.random = Arc::new(Counted::default());
    settings.transformer = Some(crate::child::transformer());
    if let Some(endpoint) = shared::config::Env::process().optional(ENDPOINT_VARIABLE) {
        settings.aws_endpoint = Some(endpoint);
        // Stacks share that endpoint: each has tables and queues of its own.
        let nth = STACKS.fetch_add(1, Ordering::Relaxed);
        settings.prefix = format!("t{}-{nth}", std::process::id());
    }
    settings
}

/// The machine's randomness, but that what is drawn for an ID (fifteen bytes) begins with a count: of two IDs within the
/// same four milliseconds the later one is the greater, as it is where requests take longer than that.
#[derive(Debug, Default)]
struct Counted {
    drawn: AtomicU64,
    system: SystemRandom,
}

impl Random for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        self.system.fill(bytes);
        if bytes.len() == ID_LENGTH {
            let [.., a, b, c] = self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            bytes[..3].copy_from_slice(&[a, b, c]);
        }
    }
}

/// The machine's clock, some time ahead.
#[derive(Debug, Default)]
pub struct Ahead(AtomicU64);

impl Ahead {
    pub fn skip(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).expect("a short time"), Ordering::Relaxed);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().after(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }
    fn sleep(&self, wait: Duration) -> Sleep {
        SystemClock.sleep(wait)
    }
}

/// A clock that stands until a test moves it. However busy the machine is: nothing runs into a deadline,
/// no cache expires, and no minute ends between two requests.
#[derive(Debug)]
pub struct Still(watch::Sender<Timestamp>);

impl Default for Still {
    fn default() -> Self {
        Self(watch::Sender::new(SystemClock.now()))
    }
}

impl Still {
    /// One that stands at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self(watch::Sender::new(at))
    }

    pub fn skip(&self, time: Duration) {
        self.0.send_modify(|now| *now = now.after(time));
    }
}

impl Clock for Still {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }
    fn sleep(&self, wait: Duration) -> Sleep {
        let (until, mut now) = (self.now().after(wait), self.0.subscribe());
        Box::pin(async move {
            if now.wait_for(|now| *now >= until).await.is_err() {
                // Nobody is left to move it.
                std::future::pending().await
            }
        })
    }
}

/// Awaits `future`, but not for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing after {PATIENCE:?}"),
    }
}

/// How often a stack that ends looks whether its jobs are done.
const JOBS_LOOK: Duration = Duration::from_millis(10);
/// How many times it does so: for half a minute. A job that is due then is one that nobody works at.
const JOBS_LOOKS: u32 = 3_000;

/// The stack, and an SDK that speaks to it.
pub struct TestStack {
    /// Ends before the stack does: fields end in this order.
    jobs: Jobs,
    pub stack: Stack,
    pub svix: Svix,
    pub token: String,
    dead_letters: DeadLetters,
}

/// Fails a test that leaves jobs behind which are due and never done, while its functions still run: an endpoint that
/// hangs, a queue that nobody reads, a job that comes again for ever.
struct Jobs {
    due: Option<Box<dyn Fn() -> BTreeMap<String, usize> + Send + Sync>>,
    expected: AtomicBool,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        let Some(due) = &self.due else { return };
        // A test that has failed already has said why.
        if self.expected.load(Ordering::Relaxed) || std::thread::panicking() || due().is_empty() {
            return;
        }
        // On a runtime of one thread, which tests that read their own thread's log lines need, nobody would work.
        let flavor = tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor());
        if !matches!(flavor, Ok(tokio::runtime::RuntimeFlavor::MultiThread)) {
            return;
        }
        let left = tokio::task::block_in_place(|| {
            (0..JOBS_LOOKS).find(|_| {
                std::thread::sleep(JOBS_LOOK);
                due().is_empty()
            });
            due()
        });
        assert!(
            left.is_empty(),
            "the test leaves jobs: {left:?}. If it means to, it says so by `leaves_jobs`"
        );
    }
}

/// Fails a test that leaves dead letters behind: nothing else would tell of a job that was given up.
struct DeadLetters {
    count: Option<Box<dyn Fn() -> usize + Send + Sync>>,
    expected: AtomicBool,
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        // A test that has failed already has said why.
        if self.expected.load(Ordering::Relaxed) || std::thread::panicking() {
            return;
        }
        let left = self.count.as_ref().map_or(0, |count| count());
        assert_eq!(
            left, 0,
            "the test leaves dead letters: if it means to, it says so by `leaves_dead_letters`"
        );
    }
}

impl TestStack {
    pub async fn start() -> Self {
        Self::with(settings()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let polls = settings.poll;
        let stack = Stack::start(settings).await.expect("the stack starts");
        let token = stack.org_token(None);
        let svix = sdk(stack.address(), &token);
        let count = stack.dead_letters().map(|count| Box::new(count) as Box<dyn Fn() -> usize + Send + Sync>);
        let dead_letters = DeadLetters { count, expected: AtomicBool::new(false) };
        // Where nobody polls, the test itself takes the jobs that it wants.
        let due = stack
            .jobs_due()
            .filter(|_| polls)
            .map(|due| Box::new(due) as Box<dyn Fn() -> BTreeMap<String, usize> + Send + Sync>);
        let jobs = Jobs { due, expected: AtomicBool::new(false) };
        Self { jobs, stack, svix, token, dead_letters }
    }

    /// This test ends while jobs are under way or wait for somebody: its functions do not run, or a receiver hangs.
    pub fn leaves_jobs(&self) {
        self.jobs.expected.store(true, Ordering::Relaxed);
    }

    /// This test is about jobs that end as dead letters.
    pub fn leaves_dead_letters(&self) {
        self.dead_letters.expected.store(true, Ordering::Relaxed);
    }

    /// Requests that sent something into a queue, so far; a batch is one.
    pub fn sends(&self) -> u64 {
        self.stack.ledger().total(|call| call.operation.starts_with("SendMessage")).requests
    }

    /// Waits until the queues that feed functions are empty, but not for ever.
    pub async fn idle(&self) {
        if tokio::time::timeout(PATIENCE, self.stack.idle()).await.is_err() {
            let (waiting, progress) = (self.stack.waiting().await, self.stack.in_progress());
            panic!("not idle after {PATIENCE:?}: {waiting:?} jobs, in progress: {:?}", progress.now());
        }
    }

    /// Waits until no job is due or in a function's hands, but not for ever; those that wait for their time may.
    pub async fn jobs_are_done(&self) {
        let done = async {
            // Two looks in a row: a job can go on in a queue that was looked at already.
            let mut empty = 0;
            while empty < 2 {
                empty = if self.stack.due().await == Ok(0) { empty + 1 } else { 0 };
                tokio::time::sleep(JOBS_LOOK).await;
            }
        };
        soon("jobs that are done", done).await;
    }

    /// Runs what has a schedule now, and says how much that did.
    pub async fn run_timers(&self) -> usize {
        soon("the timers", self.stack.run_timers()).await.expect("timers")
    }

    /// An application with a name and nothing else.
    pub async fn app(&self) -> String {
        let app = ApplicationIn::new("customer".into());
        self.svix.application().create(app, None).await.expect("an application").id
    }

    pub async fn endpoint(&self, app: &str, url: &str) -> Endpoint {
        self.endpoint_with(app, EndpointIn::new(url.into())).await
    }

    pub async fn endpoint_with(&self, app: &str, endpoint: EndpointIn) -> Endpoint {
        let made = self.svix.endpoint().create(app.into(), endpoint, None).await.expect("an endpoint");
        let secret = self.svix.endpoint().get_secret(app.into(), made.id.clone()).await.expect("a secret");
        Endpoint { id: made.id, secret: secret.key }
    }

    pub async fn event_type(&self, name: &str) {
        let event_type = EventTypeIn::new(name.into(), "of a test".into());
        self.svix.event_type().create(event_type, None).await.expect("an event type");
    }

    pub async fn message(&self, app: &str, message: MessageIn) -> String {
        self.svix.message().create(app.into(), message, None).await.expect("a message").id
    }

    /// The attempts of a message as the SDK shows them, newest first.
    pub async fn attempts(&self, app: &str, message: &str) -> Vec<svix::models::MessageAttemptOut> {
        // This version of the SDK leaves answers' texts out unless it is asked for them.
        let options = MessageAttemptListByMsgOptions { with_content: Some(true), ..Default::default() };
        let list = self.svix.message_attempt().list_by_msg(app.into(), message.into(), Some(options)).await;
        list.expect("attempts").data
    }

    /// What a consumer of that queue gets next, as Lambda hands it over. The queue must not be polled.
    pub async fn receive(&self, queue: &str) -> SqsEvent {
        let queue = self.stack.queue(queue).expect("a queue of the template");
        let received = self
            .stack
            .sqs()
            .receive_message()
            .queue_url(&queue.url)
            .max_number_of_messages(10)
            .wait_time_seconds(20)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send();
        let received = soon("a job", received).await.expect("the queue answers");
        let records = received.messages().iter().map(|message| {
            let attributes = message.attributes.clone().unwrap_or_default();
            let attributes: std::collections::BTreeMap<_, _> =
                attributes.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect();
            serde_json::json!({
                "messageId": message.message_id,
                "receiptHandle": message.receipt_handle,
                "body": message.body,
                "attributes": attributes,
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": queue.arn,
            })
        });
        serde_json::from_value(serde_json::json!({"Records": records.collect::<Vec<_>>()})).expect("an event")
    }

    /// Hands an event to the deliver function, connected as the stack's own is.
    pub async fn deliver(&self, event: SqsEvent) -> SqsBatchResponse {
        let variables = self.stack.environment("deliver").expect("its environment");
        let env = shared::config::Env::new(|name| variables.get(name).cloned());
        let function = deliver::Deliver::connect(&env, self.stack.platform()).expect("it connects");
        function.handle(event).await
    }

    /// Hands an event to the ingest function, connected as the stack's own is.
    pub async fn ingest(&self, event: SqsEvent) -> SqsBatchResponse {
        let variables = self.stack.environment("ingest").expect("its environment");
        let env = shared::config::Env::new(|name| variables.get(name).cloned());
        let function = ingest::Ingest::connect(&env, self.stack.platform()).expect("it connects");
        function.handle(event).await
    }

    pub async fn make_visible(&self, queue: &str, receipt_handle: &str) {
        let url = &self.stack.queue(queue).expect("a queue of the template").url;
        let change =
            self.stack.sqs().change_message_visibility().queue_url(url).receipt_handle(receipt_handle);
        change.visibility_timeout(0).send().await.expect("the message is visible");
    }

    pub async fn delete(&self, queue: &str, receipt_handle: &str) {
        let url = &self.stack.queue(queue).expect("a queue of the template").url;
        let delete = self.stack.sqs().delete_message().queue_url(url).receipt_handle(receipt_handle);
        delete.send().await.expect("the message is deleted");
    }

    pub async fn send(&self, queue: &str, body: &str) {
        let url = &self.stack.queue(queue).expect("a queue of the template").url;
        self.stack.sqs().send_message().queue_url(url).message_body(body).send().await.expect("it is sent");
    }

    /// A request without an SDK.
    pub async fn request(&self, method: &str, path: &str, token: &str, body: impl Into<Bytes>) -> Answer {
        self.request_with(method, path, token, &[], body).await
    }

    pub async fn request_with(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let uri = format!("http://{}{path}", self.stack.address());
        let mut request = http::Request::builder().method(method).uri(uri);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = async {
            let (parts, body) = client.request(request).await.expect("an answer").into_parts();
            (parts, body.collect().await.expect("a whole answer").to_bytes())
        };
        let (parts, body) = soon(path, answer).await;
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).expect("text"),
        }
    }
}

/// An SDK for the server at `address`. It repeats nothing: a test wants to see the first answer.
pub fn sdk(address: SocketAddr, token: &str) -> Svix {
    let options = SvixOptions {
        server_url: Some(format!("http://{address}")),
        num_retries: Some(0),
        timeout: Some(PATIENCE),
        ..SvixOptions::default()
    };
    Svix::new(token.to_owned(), Some(options))
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

pub struct Endpoint {
    pub id: String,
    pub secret: String,
}

/// One webhook as it arrived.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub method: http::Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Webhook {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
            .to_str()
            .expect("text")
    }

    /// Whether one of its signatures is that of `secret`; unlike [`Self::verify`], whatever time it says.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let standard = standardwebhooks::Webhook::new(secret).expect("a secret");
        let at = self.header("webhook-timestamp").parse().expect("seconds");
        let signature = standard.sign(self.header("webhook-id"), at, &self.body).expect("a signature");
        self.header("webhook-signature").split(' ').any(|one| one == signature)
    }

    /// Verifies with both published libraries.
    pub fn verify(&self, secret: &str) {
        let ours = svix::webhooks::Webhook::new(secret).expect("a secret");
        ours.verify(&self.body, &self.headers).expect("the SDK verifies the webhook");
        let standard = standardwebhooks::Webhook::new(secret).expect("a secret");
        standard.verify(&self.body, &self.headers).expect("the specification's library verifies the webhook");
    }
}

type Answerer = Arc<dyn Fn(&Webhook) -> (StatusCode, String) + Send + Sync>;

/// An HTTP server that keeps what it gets.
pub struct Receiver {
    pub address: SocketAddr,
    arrived: mpsc::UnboundedReceiver<Webhook>,
}

impl Receiver {
    /// Answers everything with 204.
    pub async fn start() -> Self {
        Self::answering(|_| (StatusCode::NO_CONTENT, String::new())).await
    }

    pub async fn answering(
        answer: impl Fn(&Webhook) -> (StatusCode, String) + Send + Sync + 'static,
    ) -> Self {
        let (send, arrived) = mpsc::unbounded_channel();
        let answer: Answerer = Arc::new(answer);
        let handler = move |method: http::Method, uri: http::Uri, headers: HeaderMap, body: Bytes| {
            let webhook = Webhook { method, path: uri.to_string(), headers, body };
            let answered = answer(&webhook);
            let _ = send.send(webhook);
            async move { answered }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, arrived }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next webhook.
    pub async fn next(&mut self) -> Webhook {
        soon("a webhook", self.arrived.recv()).await.expect("the receiver runs")
    }

    /// What arrived and was not asked for; ask once the stack is idle.
    pub fn rest(&mut self) -> Vec<Webhook> {
        std::iter::from_fn(|| self.arrived.try_recv().ok()).collect()
    }
}
