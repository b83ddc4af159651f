//! Tasks whose worker dies: after each step's sends, and before it says that the step is done.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_dynamodb::types::AttributeValue;
use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::Clock as _;
use shared::config::Env;
use svix::models::MessageIn;

use crate::test_stack::{Ahead, Receiver, TestStack, settings};

const QUEUE: &str = "BackgroundQueue";

type Item = HashMap<String, AttributeValue>;

struct Dying {
    stack: TestStack,
    clock: Arc<Ahead>,
    receiver: Receiver,
    app: String,
    endpoint: String,
    /// How many webhooks have arrived.
    arrived: usize,
}

impl Dying {
    /// An application with messages that were posted before its endpoint was made.
    async fn start(messages: usize) -> Self {
        let clock = Arc::new(Ahead::default());
        let mut settings = settings();
        settings.platform.clock = clock.clone();
        settings.poll = false;
        let stack = TestStack::with(settings).await;
        let receiver = Receiver::start().await;
        let app = stack.app().await;
        for nth in 0..messages {
            stack.message(&app, MessageIn::new("a".into(), json!({ "nth": nth }))).await;
        }
        let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
        Self { stack, clock, receiver, app, endpoint, arrived: 0 }
    }

    async fn task(&self, id: &str) -> Value {
        let path = format!("/api/v1/background-task/{id}");
        self.stack.request("GET", &path, &self.stack.token, "").await.json()
    }

    /// The item that says how far the task is.
    async fn item(&self, id: &str) -> Item {
        let table = self.stack.stack.table("LogTable").expect("the log");
        let out = self.stack.stack.dynamodb().scan().table_name(table).send().await.expect("items");
        let sort_key = AttributeValue::S(format!("TASK#{id}"));
        out.items.unwrap_or_default().into_iter().find(|item| item["sk"] == sort_key).expect("the task")
    }

    async fn works(&self, event: SqsEvent) {
        let variables = self.stack.stack.environment("background").expect("its environment");
        let env = Env::new(|name| variables.get(name).cloned());
        let function =
            background::Background::connect(&env, self.stack.stack.platform()).expect("it connects");
        assert_eq!(function.handle(event).await.batch_item_failures.len(), 0);
    }

    /// The next step's job, without the copies of it that the deaths have left.
    async fn next_job(&self) -> SqsEvent {
        self.clock.skip(Duration::from_secs(2));
        let mut event = self.stack.receive(QUEUE).await;
        for record in &event.records {
            self.stack.delete(QUEUE, record.receipt_handle.as_deref().expect("a handle")).await;
        }
        event.records.truncate(1);
        event
    }

    /// Lets what the step has sent arrive.
    async fn arrive(&mut self) {
        const QUEUE: &str = "RetriesQueue";
        while self.waiting(QUEUE).await > 0 {
            let event = self.stack.receive(QUEUE).await;
            let handles: Vec<_> =
                event.records.iter().filter_map(|record| record.receipt_handle.clone()).collect();
            assert_eq!(self.stack.deliver(event).await.batch_item_failures.len(), 0);
            for handle in handles {
                self.stack.delete(QUEUE, &handle).await;
            }
        }
        self.arrived += self.receiver.rest().len();
    }

    async fn waiting(&self, queue: &str) -> u32 {
        use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
        let url = &self.stack.stack.queue(queue).expect("a queue of the template").url;
        let attributes = self.stack.stack.sqs().get_queue_attributes().queue_url(url);
        let attributes =
            attributes.attribute_names(ApproximateNumberOfMessages).send().await.expect("counts");
        let counts = attributes.attributes().expect("counts");
        counts[&ApproximateNumberOfMessages].parse().expect("a number")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_missing_counts_what_it_sent_though_each_step_dies() {
    const MESSAGES: usize = 12;
    let mut at = Dying::start(MESSAGES).await;
    let path = format!("/api/v1/app/{}/endpoint/{}/replay-missing", at.app, at.endpoint);
    let since = json!({ "since": at.clock.now().before(Duration::from_secs(3_600)) });
    let begun = at.stack.request("POST", &path, &at.stack.token, since.to_string()).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    let id = begun.json()["id"].as_str().expect("an id").to_owned();
    let mut counts = BTreeSet::new();
    while at.task(&id).await["status"] == "running" {
        let (job, then) = (at.next_job().await, at.item(&id).await);
        at.works(job.clone()).await;
        at.arrive().await;
        // It died before it said so. A copy that comes at once would wait for what it is a copy of.
        at.clock.skip(Duration::from_secs(60));
        let table = at.stack.stack.table("LogTable").expect("the log");
        at.stack
            .stack
            .dynamodb()
            .put_item()
            .table_name(table)
            .set_item(Some(then))
            .send()
            .await
            .expect("put");
        at.works(job).await;
        at.arrive().await;
        counts.insert(at.task(&id).await["data"]["messagesSent"].as_u64().expect("a number"));
    }
    let task = at.task(&id).await;
    assert_eq!((&task["status"], &task["data"]["messagesSent"]), (&json!("finished"), &json!(MESSAGES)));
    assert_eq!(at.arrived, MESSAGES, "each once");
    assert!(counts.len() > 1, "it took several steps: {counts:?}");
}
