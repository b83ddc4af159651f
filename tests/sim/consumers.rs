//! What feeds the functions that read queues: Lambda's pollers, two instances of each consumer.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use background::Background;
use deliver::Deliver;
use ingest::Ingest;
use sam_template::QueueSource;
use serde_json::{Value, json};

use crate::faults::Service;
use crate::installation::{arn, template, url};
use crate::time::{Ended, SimClock};
use crate::world::{Bug, INSTANCES, World};

/// Starts the consumers of every queue that a function reads.
pub fn start(world: &Arc<World>) {
    for name in ["deliver", "background", "ingest"] {
        let function = template().function(name).expect("a function of the template");
        for source in &function.queues {
            for _ in 0..INSTANCES {
                let consumer =
                    Consumer { world: world.clone(), function: name, source: source.clone(), code: None };
                world.sim.spawn(consumer.run());
            }
        }
    }
}

/// The code of a queue's consumer.
enum Code {
    Deliver(Box<Deliver>),
    Background(Box<Background>),
    Ingest(Box<Ingest>),
}

impl Code {
    async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        match self {
            Self::Deliver(function) => function.handle(event).await,
            Self::Background(function) => function.handle(event).await,
            Self::Ingest(function) => function.handle(event).await,
        }
    }
}

/// One instance of a queue's consumer, and the poller that feeds it.
struct Consumer {
    world: Arc<World>,
    function: &'static str,
    source: QueueSource,
    code: Option<Code>,
}

impl Consumer {
    fn connect(&self) -> Code {
        let world = &self.world;
        match self.function {
            "deliver" => Code::Deliver(Box::new(world.connect("deliver", true, |env, platform| {
                let transport = Arc::new(world.receivers.clone());
                let deliver = Deliver::connect_by(transport, env, platform).expect("it connects");
                match world.bug {
                    Some(Bug::Deliver(bug)) => deliver.with_bug(bug),
                    _ => deliver,
                }
            }))),
            "ingest" => {
                Code::Ingest(Box::new(world.connect("ingest", true, Ingest::connect).expect("it connects")))
            }
            _ => Code::Background(Box::new(
                world.connect("background", true, Background::connect).expect("it connects"),
            )),
        }
    }

    async fn run(mut self) {
        let world = self.world.clone();
        loop {
            self.something_to_do().await;
            let most = world.dice.between(1, u64::from(self.source.batch_size.min(10)));
            let received = self.receive(most).await;
            if received.is_empty() {
                continue;
            }
            self.work(received).await;
            world.sim.sleep(world.dice.millis(0, 20)).await;
        }
    }

    /// Completes when the queue shows a message, and is up.
    async fn something_to_do(&self) {
        let (sim, engine) = (&self.world.sim, self.world.aws.engine());
        loop {
            let changed = std::pin::pin!(self.world.aws.queues_changed());
            let visible = engine.counts(&self.source.queue).expect("a queue").visible;
            if visible > 0 {
                if !self.world.faults.is_down(Service::Sqs) {
                    return;
                }
                sim.sleep(Duration::from_secs(1)).await;
                continue;
            }
            match engine.next_due(&self.source.queue) {
                None => changed.await,
                Some(due) => {
                    let wait = due.saturating_sub(SimClock::new(sim).ms()).max(1);
                    let sleep = std::pin::pin!(sim.sleep(Duration::from_millis(wait)));
                    futures_util::future::select(changed, sleep).await;
                }
            }
        }
    }

    async fn receive(&self, most: u64) -> Vec<Value> {
        let request = json!({
            "QueueUrl": url(&self.source.queue),
            "MaxNumberOfMessages": most,
            "WaitTimeSeconds": 0,
            "MessageSystemAttributeNames": ["All"],
        });
        match self.world.aws.sqs("ReceiveMessage", &request).await["Messages"].take() {
            Value::Array(messages) => messages,
            _ => Vec::new(),
        }
    }

    /// One invocation. What it has done leaves the queue, unless something goes wrong with that.
    async fn work(&mut self, received: Vec<Value>) {
        let world = self.world.clone();
        let (rates, dice) = (&world.faults.rates, world.faults.dice());
        for message in &received {
            if world.faults.strikes(rates.duplicate, "job handed out twice") {
                // Often at once, so that the two run at the same time.
                let again = if dice.chance(600) { 0 } else { dice.between(1, 20) };
                self.change(message, again).await;
            }
        }
        let event = event(&received, &arn(&self.source.queue));
        let code = match self.code.take() {
            Some(code) => code,
            None => self.connect(),
        };
        let ended = world.invoke(self.function, world.timeout(self.function), code.handle(event)).await;
        let Ended::Answered(answer) = ended else { return };
        self.code = Some(code);
        for message in &received {
            let id = message["MessageId"].as_str().unwrap_or_default();
            if answer.batch_item_failures.iter().any(|failed| failed.item_identifier == id) {
                continue;
            }
            if world.faults.strikes(rates.lost_delete, "lost delete") {
                // The queue's visibility timeout brings it back; so that runs stay short, soon.
                let again = dice.between(1, 60);
                self.change(message, again).await;
                continue;
            }
            let request = json!({
                "QueueUrl": url(&self.source.queue),
                "ReceiptHandle": message["ReceiptHandle"],
            });
            world.aws.sqs("DeleteMessage", &request).await;
        }
    }

    async fn change(&self, message: &Value, seconds: u64) {
        let request = json!({
            "QueueUrl": url(&self.source.queue),
            "ReceiptHandle": message["ReceiptHandle"],
            "VisibilityTimeout": seconds,
        });
        let target = "AmazonSQS.ChangeMessageVisibility";
        // It fails where another receive has the message now.
        local_sqs::answer_one(self.world.aws.engine(), target, request.to_string().as_bytes()).await;
    }
}

/// The event that Lambda makes of a batch.
fn event(received: &[Value], arn: &str) -> SqsEvent {
    let records: Vec<Value> = received
        .iter()
        .map(|message| {
            json!({
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).expect("an event")
}
