//! Jobs outlive a deployment: those that the version before has written are handled, and those that this
//! one writes are understood by the version before.
//!
//! `tests/data/jobs` holds bodies as they were written, with ids that are replaced here. Files are added
//! when a job's shape changes, and never changed: a field that comes later has to be one that can be
//! missing, or the job gets another name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use local::Settings;
use serde_json::{Value, json};
use shared::clock::{Clock as _, Timestamp};
use shared::ids::MessageId;
use shared::operational::MANAGEMENT_ORG;
use shared::queue::{DEDUP_FREE_WINDOW, Job};
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{Receiver, Still, TestStack, sdk, settings};

/// What stands behind the prefix of every id in the files.
const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";

const BODIES: [(&str, &str); 12] = [
    ("deliver.v1.whole", include_str!("../../data/jobs/deliver.v1.whole.json")),
    ("deliver.v1.least", include_str!("../../data/jobs/deliver.v1.least.json")),
    ("deliver.v1.beside-a-plain-one", include_str!("../../data/jobs/deliver.v1.beside-a-plain-one.json")),
    ("resend.v1.whole", include_str!("../../data/jobs/resend.v1.whole.json")),
    ("resend.v1.least", include_str!("../../data/jobs/resend.v1.least.json")),
    ("fan-out.v1", include_str!("../../data/jobs/fan-out.v1.json")),
    ("fan-out.v1.ordered", include_str!("../../data/jobs/fan-out.v1.ordered.json")),
    ("advance.v1.whole", include_str!("../../data/jobs/advance.v1.whole.json")),
    ("advance.v1.least", include_str!("../../data/jobs/advance.v1.least.json")),
    ("operational.v1", include_str!("../../data/jobs/operational.v1.json")),
    ("task.v1", include_str!("../../data/jobs/task.v1.json")),
    ("probe.v1", include_str!("../../data/jobs/probe.v1.json")),
];

fn body(name: &str) -> &'static str {
    let (_, body) = BODIES.iter().find(|(known, _)| *known == name).expect("a file of that name");
    body.trim_end()
}

/// Whether all that `part` says `whole` says, too.
fn says(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|found| says(found, value)))
        }
        (whole, part) => whole == part,
    }
}

/// INV-6
#[test]
fn every_kind_of_job_is_on_file() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/data/jobs")).expect("the folder");
    let files: BTreeSet<String> =
        files.map(|file| file.expect("a file").file_name().into_string().expect("text")).collect();
    assert_eq!(files, BODIES.iter().map(|(name, _)| format!("{name}.json")).collect());
    let kinds: BTreeSet<&str> = BODIES
        .iter()
        .map(|(_, body)| match Job::parse(body).expect("a job") {
            // A new kind does not compile here until it has a file.
            Job::Deliver(_) => "deliver",
            Job::Resend(_) => "resend",
            Job::Advance(_) => "advance",
            Job::FanOut(_) => "fan-out",
            Job::Operational(_) => "operational",
            Job::Task(_) => "task",
            Job::Probe(_) => "probe",
        })
        .collect();
    assert_eq!(kinds.len(), 7);
}

/// INV-6
#[test]
fn both_versions_understand_each_other() {
    for (name, body) in BODIES {
        let old: Value = serde_json::from_str(body).expect("JSON");
        // What was written then is written now, under the same names: fields are added, none is lost.
        let now = Job::parse(body).expect("a job").body().expect("a body");
        let now: Value = serde_json::from_str(&now).expect("JSON");
        assert!(says(&now, &old), "{name}: {old} has become {now}");
        // While a deployment is under way, functions of this version meet jobs of the next.
        let mut next = old;
        next["with"]["of_the_next_version"] = json!({"x": [1]});
        next["of_the_next_version"] = json!(1);
        assert!(Job::parse(&next.to_string()).is_ok(), "{name}");
    }
}

/// A stack whose queues nobody polls, with an application, an endpoint, and a message that has not gone there yet.
struct Yard {
    stack: TestStack,
    receiver: Receiver,
    app: String,
    endpoint: String,
    message: String,
}

impl Yard {
    async fn start() -> Self {
        Self::start_with(settings()).await
    }

    async fn start_with(mut settings: Settings) -> Self {
        settings.poll = false;
        let stack = TestStack::with(settings).await;
        let receiver = Receiver::start().await;
        let app = stack.app().await;
        let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
        let message = stack.message(&app, MessageIn::new("a.b".into(), json!({"n": 1}))).await;
        let yard = Self { stack, receiver, app, endpoint, message };
        // Its own job is not what this is about.
        let own = yard.stack.receive("DeliveriesQueue").await;
        yard.done("DeliveriesQueue", &own).await;
        yard
    }

    async fn done(&self, queue: &str, event: &SqsEvent) {
        for record in &event.records {
            self.stack.delete(queue, record.receipt_handle.as_deref().expect("a handle")).await;
        }
    }

    /// The body with the ids of this stack in it.
    fn here(&self, name: &str) -> String {
        [
            ("org", shared::auth::DEFAULT_ORG),
            ("app", &self.app),
            ("ep", &self.endpoint),
            ("msg", &self.message),
        ]
        .iter()
        .fold(body(name).to_owned(), |body, (prefix, id)| body.replace(&format!("{prefix}_{K}"), id))
    }

    /// Sends a job, and hands what the queue makes of it to its function, which does it.
    async fn work(&self, queue: &str, body: &str) {
        self.stack.send(queue, body).await;
        self.go_on(queue).await;
    }

    /// The same of what is in the queue already.
    async fn go_on(&self, queue: &str) {
        let event = self.stack.receive(queue).await;
        let of = |function: &str| self.stack.stack.environment(function).expect("its environment").clone();
        let platform = self.stack.stack.platform();
        let answer = if queue == "BackgroundQueue" {
            let variables = of("background");
            let env = shared::config::Env::new(|name| variables.get(name).cloned());
            let function = background::Background::connect(&env, platform).expect("it connects");
            function.handle(event.clone()).await
        } else {
            self.stack.deliver(event.clone()).await
        };
        assert_eq!(answer.batch_item_failures.len(), 0, "{event:?}");
        self.done(queue, &event).await;
    }

    async fn dead_letters(&self) -> usize {
        let mut found = 0;
        for queue in ["DeliveriesDeadQueue", "RetriesDeadQueue", "BackgroundDeadQueue"] {
            let url = &self.stack.stack.queue(queue).expect("a queue of the template").url;
            let received = self.stack.stack.sqs().receive_message().queue_url(url).send().await;
            found += received.expect("an answer").messages().len();
        }
        found
    }
}

/// INV-6
#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_the_version_before_are_handled() {
    let mut yard = Yard::start().await;

    // Its text is read from the message, or travels along: that counts while the application is as it was.
    let least = yard.here("deliver.v1.least");
    yard.work("DeliveriesQueue", &least).await;
    assert_eq!(yard.receiver.next().await.body, r#"{"n":1}"#);
    // The same attempt, which is made.
    let beside = yard.here("deliver.v1.beside-a-plain-one");
    yard.work("DeliveriesQueue", &beside).await;
    assert_eq!(yard.receiver.rest().len(), 0);
    let whole = yard.here("deliver.v1.whole").replace("\"version\":1", "\"version\":2");
    yard.work("RetriesQueue", &whole).await;
    assert_eq!(yard.receiver.next().await.body, "a raw text");

    for (name, attempt) in [("resend.v1.whole", "1"), ("resend.v1.least", "2")] {
        let id = format!("atmpt_{}{attempt}", &K[..26]);
        let job = yard.here(name).replace(&format!("atmpt_{K}"), &id);
        yard.work("DeliveriesQueue", &job).await;
        assert_eq!(yard.receiver.next().await.body, r#"{"n":1}"#, "{name}");
    }

    // Of an endpoint that waits for no probe, or for another one.
    let probe = yard.here("probe.v1");
    yard.work("RetriesQueue", &probe).await;
    assert_eq!(yard.receiver.rest().len(), 0);

    let fan_out = yard.here("fan-out.v1");
    yard.work("BackgroundQueue", &fan_out).await;
    let sent = yard.stack.receive("DeliveriesQueue").await;
    assert!(sent.records[0].body.as_deref().expect("a body").contains(&yard.message));
    yard.done("DeliveriesQueue", &sent).await;

    let path = format!("/api/v1/app/{}/endpoint/{}/bulk-replay", yard.app, yard.endpoint);
    let since = yard.stack.stack.platform().clock.now().before(Duration::from_secs(600));
    let request = json!({"since": since.to_string()}).to_string();
    let task = yard.stack.request("POST", &path, &yard.stack.token, request).await.json();
    let first = yard.stack.receive("BackgroundQueue").await;
    yard.done("BackgroundQueue", &first).await;
    let step = yard.here("task.v1").replace(&format!("qtask_{K}"), task["id"].as_str().expect("an id"));
    yard.work("BackgroundQueue", &step).await;
    let next = yard.stack.receive("BackgroundQueue").await;
    let next_step = first.records[0].body.as_deref().expect("a body").replace("\"step\":1", "\"step\":2");
    assert_eq!(next.records[0].body.as_deref(), Some(&*next_step));
    yard.done("BackgroundQueue", &next).await;

    // The operator listens.
    let management = yard.stack.stack.org_token(Some(MANAGEMENT_ORG.parse().expect("an id")));
    let svix = sdk(yard.stack.stack.address(), &management);
    let about_us = ApplicationIn {
        uid: Some(shared::auth::DEFAULT_ORG.into()),
        ..ApplicationIn::new("operations".into())
    };
    let operations = svix.application().create(about_us, None).await.expect("an application").id;
    let sink = EndpointIn::new(yard.receiver.url("/operator"));
    svix.endpoint().create(operations, sink, None).await.expect("an endpoint");
    let platform = yard.stack.stack.platform();
    let message = MessageId::new(platform.clock.now(), &*platform.random);
    let told = yard.here("operational.v1").replace(&yard.message, &message.to_string());
    yard.work("BackgroundQueue", &told).await;
    yard.go_on("DeliveriesQueue").await;
    let webhook = yard.receiver.next().await;
    let text = r#"{"type":"endpoint.disabled","data":{"n": 1.0}}"#;
    assert_eq!((webhook.path.as_str(), &*webhook.body), ("/operator", text.as_bytes()));

    assert_eq!(yard.dead_letters().await, 0);
}

/// INV-14
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_waits_for_plain_ones_by_the_queues_clock() {
    let (clock, mut settings) = (Arc::new(Still::default()), settings());
    settings.platform.clock = clock.clone();
    let mut yard = Yard::start_with(settings).await;
    let at = |body: &str, due: Timestamp| {
        let body = body.replace("1700000000000", &due.ms().to_string());
        body.replace("1700000010000", &due.after(DEDUP_FREE_WINDOW).ms().to_string())
    };
    let (plain, copy) = (yard.here("deliver.v1.least"), yard.here("deliver.v1.beside-a-plain-one"));

    // Its sender's clock is 20 s ahead, so that the copy is seen at once and a plain one is not old for 30 s.
    let due = clock.now().after(Duration::from_secs(20));
    yard.work("DeliveriesQueue", &at(&copy, due)).await;
    assert_eq!(yard.receiver.rest().len(), 0, "the copy was posted before a plain one would look");
    // A plain one that the queue took 14 s late is posted without a look …
    clock.skip(Duration::from_secs(14));
    yard.work("DeliveriesQueue", &at(&plain, due)).await;
    assert_eq!(yard.receiver.next().await.body, r#"{"n":1}"#);
    // … and the copy, when it comes again, finds that it was.
    clock.skip(Duration::from_secs(17));
    yard.go_on("DeliveriesQueue").await;
    assert_eq!(yard.receiver.rest().len(), 0);
    assert_eq!(yard.dead_letters().await, 0);
}

/// INV-14
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_more_than_they_can_delay_no_copy() {
    let mut yard = Yard::start().await;
    let ahead = yard.stack.stack.platform().clock.now().after(Duration::from_secs(3600));
    let copy = yard.here("deliver.v1.beside-a-plain-one");
    yard.work("DeliveriesQueue", &copy.replace("1700000010000", &ahead.ms().to_string())).await;
    assert_eq!(yard.receiver.next().await.body, r#"{"n":1}"#);
}
