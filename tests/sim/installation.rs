//! What the template describes, as a simulation has it: tables, queues, and each function's variables.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use sam_template::{Template, Value as TemplateValue};
use serde_json::json;

use crate::random::Dice;
use crate::world::World;

/// The template, read once.
pub fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| Template::parse(local::TEMPLATE).expect("the template"))
}

/// What is drawn of an installation.
#[derive(Clone, Debug)]
pub struct Settings {
    pub schedule: Vec<u64>,
    pub timeout: Duration,
}

impl Settings {
    pub fn draw(dice: &Dice) -> Self {
        // Waits of seconds, of what a queue can delay, and of what only timers can.
        let schedules: [&[u64]; 6] =
            [&[5, 300, 1800], &[1, 2, 4], &[3], &[2, 1000], &[1000, 30, 5], &[20, 20, 20, 20]];
        Self { schedule: dice.pick(&schedules).to_vec(), timeout: Duration::from_secs(dice.between(2, 15)) }
    }
}

impl World {
    /// Creates the tables and queues of the template.
    pub async fn create(&self) {
        for described in &template().tables {
            let keys = std::iter::once((&described.hash_key, "HASH"))
                .chain(described.range_key.as_ref().map(|name| (name, "RANGE")));
            let attributes = described.attributes.iter();
            let request = json!({
                "TableName": table(&described.logical_id),
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": keys.map(|(name, kind)| json!({ "AttributeName": name, "KeyType": kind }))
                    .collect::<Vec<_>>(),
                "AttributeDefinitions": attributes
                    .map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind }))
                    .collect::<Vec<_>>(),
            });
            self.aws.dynamodb("CreateTable", &request);
        }
        let (sources, dead): (Vec<_>, Vec<_>) =
            template().queues.iter().partition(|queue| queue.dead_letter.is_some());
        for queue in dead.into_iter().chain(sources) {
            let mut attributes = queue.attributes.clone();
            if let Some((dead, times)) = &queue.dead_letter {
                let policy = json!({ "deadLetterTargetArn": arn(dead), "maxReceiveCount": times });
                attributes.insert("RedrivePolicy".into(), policy.to_string());
            }
            let request = json!({ "QueueName": queue.logical_id, "Attributes": attributes });
            self.aws.sqs("CreateQueue", &request).await;
        }
    }

    /// The variables of a function.
    pub fn environment(&self, of: &BTreeMap<String, TemplateValue>) -> BTreeMap<String, String> {
        let schedule: Vec<String> = self.settings.schedule.iter().map(u64::to_string).collect();
        let own = BTreeMap::from([
            ("POSTRIDER_JWT_SECRET", "a secret of the simulation, long enough".to_owned()),
            ("POSTRIDER_ENCRYPTION_KEY", "another secret of the simulation, long enough".to_owned()),
            ("POSTRIDER_RETRY_SCHEDULE", schedule.join(",")),
            ("POSTRIDER_DESTINATION_ROLES", "arn:aws:iam::*:role/postrider*".to_owned()),
            ("POSTRIDER_DELIVERY_TIMEOUT", self.settings.timeout.as_secs().to_string()),
        ]);
        let lookup = |value: &TemplateValue| match value {
            TemplateValue::Ref(id) if template().queue(id).is_some() => Some(url(id)),
            TemplateValue::Ref(id) if template().tables.iter().any(|table| table.logical_id == *id) => {
                Some(table(id))
            }
            TemplateValue::Ref(name) if name.ends_with(".Alias") => Some("transform".to_owned()),
            TemplateValue::GetAtt(id, attribute) if attribute == "Arn" => Some(arn(id)),
            _ => None,
        };
        let lambda = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let services = ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_LAMBDA"]
            .map(|name| (name.to_owned(), "http://in.process".to_owned()));
        let named = of.iter().filter_map(|(name, value)| {
            let value = own.get(name.as_str()).cloned().or_else(|| template().resolve(value, lookup));
            Some((name.clone(), value?))
        });
        lambda.into_iter().chain(services).chain(named).collect()
    }
}

pub fn table(logical_id: &str) -> String {
    logical_id.to_owned()
}

pub fn url(logical_id: &str) -> String {
    format!("http://sqs/000000000000/{logical_id}")
}

pub fn arn(logical_id: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{logical_id}")
}
