//! The services that the functions use: clients for them, and the tables and queues of the template.
//!
//! Embedded or not makes no difference here: both are asked through the SDK.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::operation::get_queue_url::GetQueueUrlError;
use aws_sdk_sqs::types::QueueAttributeName;
use sam_template::{Queue, Table, Template, Value};
use shared::Platform;
use shared::config::Aws;
use shared::error::Chain;

use crate::error::StartError;

/// How long a new table may take until it can be used. In AWS it takes some ten seconds.
const TABLE_WAIT: Duration = Duration::from_secs(60);
/// How often a new table is looked at.
const TABLE_LOOK: Duration = Duration::from_millis(100);
/// Longest wait of one receive, by its definition.
const RECEIVE_WAIT_MAX: Duration = Duration::from_secs(20);

/// A queue as functions and pollers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRef {
    /// Its name.
    pub name: String,
    /// What requests name it by.
    pub url: String,
    /// What events name it by.
    pub arn: String,
}

/// What the template's logical ids stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) tables: BTreeMap<String, String>,
    pub(crate) queues: BTreeMap<String, QueueRef>,
    pub(crate) region: String,
    pub(crate) prefix: String,
}

impl Names {
    /// What a reference in the template stands for.
    pub(crate) fn lookup(&self, value: &Value) -> Option<String> {
        match value {
            Value::Ref(name) if name == "AWS::Region" => Some(self.region.clone()),
            Value::Ref(name) if name == "AWS::StackName" => Some(self.prefix.clone()),
            // Of a function there is the one that is linked.
            Value::Ref(name) if name.ends_with(".Alias") => name.strip_suffix(".Alias").map(str::to_owned),
            Value::Ref(id) => {
                let queue = || self.queues.get(id).map(|queue| queue.url.clone());
                self.tables.get(id).cloned().or_else(queue)
            }
            Value::GetAtt(id, attribute) => {
                let queue = self.queues.get(id)?;
                match attribute.as_str() {
                    "Arn" => Some(queue.arn.clone()),
                    "QueueName" => Some(queue.name.clone()),
                    "QueueUrl" => Some(queue.url.clone()),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn example(template: &Template) -> Self {
        let queue = |id: &str| QueueRef {
            name: id.to_owned(),
            url: format!("http://sqs/{id}"),
            arn: format!("arn:aws:sqs:us-east-1:000000000000:{id}"),
        };
        Self {
            tables: template
                .tables
                .iter()
                .map(|table| (table.logical_id.clone(), format!("{}-name", table.logical_id)))
                .collect(),
            queues: template.queues.iter().map(|q| (q.logical_id.clone(), queue(&q.logical_id))).collect(),
            region: "us-east-1".to_owned(),
            prefix: "postrider".to_owned(),
        }
    }
}

/// Who asks.
pub(crate) fn credentials(aws: &Aws) -> Credentials {
    let (id, secret, session) = aws.credentials.clone();
    Credentials::new(id, secret, session, None, "local")
}

/// An attempt has to outlast the longest poll.
pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(RECEIVE_WAIT_MAX + Duration::from_secs(10))
        .build()
}

/// Clients of both services.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
}

impl Clients {
    /// Clients over `platform`'s connections and clock.
    ///
    /// The SDK does not watch for stalled streams: it would take a long poll of an empty queue, which is
    /// silent for 20 s, for one. Each attempt has a timeout anyway.
    pub(crate) fn new(aws: &Aws, platform: &Platform) -> Self {
        let credentials = credentials(aws);
        let mut dynamodb = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::new(aws.region.clone()))
            .credentials_provider(credentials.clone())
            .sleep_impl(platform.sleeping())
            .time_source(platform.time_source())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(platform.http.clone());
        dynamodb.set_endpoint_url(aws.dynamodb_endpoint.clone());
        let mut sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::new(aws.region.clone()))
            .credentials_provider(credentials)
            .timeout_config(timeouts())
            .sleep_impl(platform.sleeping())
            .time_source(platform.time_source())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(platform.http.clone());
        sqs.set_endpoint_url(aws.sqs_endpoint.clone());
        Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
        }
    }

    /// Creates what is missing of the template's tables and queues.
    pub(crate) async fn create(
        &self,
        template: &Template,
        prefix: &str,
        region: &str,
    ) -> Result<Names, StartError> {
        let mut names = Names { region: region.to_owned(), prefix: prefix.to_owned(), ..Names::default() };
        for table in &template.tables {
            let name = format!("{prefix}-{}", short_name(&table.logical_id, "Table"));
            self.create_table(&name, table).await?;
            names.tables.insert(table.logical_id.clone(), name);
        }
        // Dead-letter queues first: the others name their ARN. One that has a dead-letter queue of its
        // own is no dead-letter queue in SQS's eyes either, so two rounds are enough.
        let (sources, dead): (Vec<&Queue>, Vec<&Queue>) =
            template.queues.iter().partition(|queue| queue.dead_letter.is_some());
        for queue in dead.into_iter().chain(sources) {
            let name = format!("{prefix}-{}", short_name(&queue.logical_id, "Queue"));
            let made = self.create_queue(&name, queue, &names).await?;
            names.queues.insert(queue.logical_id.clone(), made);
        }
        Ok(names)
    }

    async fn create_table(&self, name: &str, table: &Table) -> Result<(), StartError> {
        let failed = |error: &(dyn std::error::Error + 'static)| StartError::service("DynamoDB", name, error);
        let described = self.dynamodb.describe_table().table_name(name).send().await;
        let missing = match described {
            Ok(_) => false,
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(DescribeTableError::ResourceNotFoundException(_))
                ) =>
            {
                true
            }
            Err(error) => return Err(failed(&error)),
        };
        if missing {
            let attributes = table.attributes.iter().map(|(name, kind)| {
                AttributeDefinition::builder()
                    .attribute_name(name)
                    .attribute_type(ScalarAttributeType::from(kind.as_str()))
                    .build()
                    .expect("name and type are set")
            });
            let key = |name: &str, kind: KeyType| {
                KeySchemaElement::builder()
                    .attribute_name(name)
                    .key_type(kind)
                    .build()
                    .expect("name and type are set")
            };
            let range = table.range_key.as_deref().map(|name| key(name, KeyType::Range));
            let keys = std::iter::once(key(&table.hash_key, KeyType::Hash)).chain(range);
            self.dynamodb
                .create_table()
                .table_name(name)
                .set_attribute_definitions(Some(attributes.collect()))
                .set_key_schema(Some(keys.collect()))
                .billing_mode(BillingMode::PayPerRequest)
                .send()
                .await
                .map_err(|error| failed(&error))?;
        }
        tokio::time::timeout(TABLE_WAIT, self.table_is_active(name))
            .await
            .map_err(|_| failed(&std::io::Error::other("the table did not become active in time")))?
            .map_err(|error| failed(&error))?;
        if let Some(attribute) = &table.ttl_attribute {
            self.set_ttl(name, attribute).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn table_is_active(&self, name: &str) -> Result<(), aws_sdk_dynamodb::Error> {
        loop {
            let out = self.dynamodb.describe_table().table_name(name).send().await?;
            let status = out.table().and_then(|table| table.table_status());
            if status == Some(&TableStatus::Active) {
                return Ok(());
            }
            tokio::time::sleep(TABLE_LOOK).await;
        }
    }

    async fn set_ttl(&self, name: &str, attribute: &str) -> Result<(), aws_sdk_dynamodb::Error> {
        let out = self.dynamodb.describe_time_to_live().table_name(name).send().await?;
        let status = out.time_to_live_description().and_then(|ttl| ttl.time_to_live_status());
        // Asking twice for the same is an error in DynamoDB.
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        let ttl = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(true).build()?;
        self.dynamodb.update_time_to_live().table_name(name).time_to_live_specification(ttl).send().await?;
        Ok(())
    }

    /// Creates a queue, or gives one that is there the attributes that the template has now.
    async fn create_queue(&self, name: &str, queue: &Queue, names: &Names) -> Result<QueueRef, StartError> {
        let failed = |error: &(dyn std::error::Error + 'static)| StartError::service("SQS", name, error);
        let mut attributes: HashMap<QueueAttributeName, String> = queue
            .attributes
            .iter()
            .map(|(name, value)| (QueueAttributeName::from(name.as_str()), value.clone()))
            .collect();
        if let Some((dead, max_receive_count)) = &queue.dead_letter {
            let dead = names.queues.get(dead).ok_or_else(|| {
                failed(&std::io::Error::other("its dead-letter queue has a dead-letter queue of its own"))
            })?;
            let policy =
                serde_json::json!({ "deadLetterTargetArn": dead.arn, "maxReceiveCount": max_receive_count });
            attributes.insert(QueueAttributeName::RedrivePolicy, policy.to_string());
        }
        let found = match self.sqs.get_queue_url().queue_name(name).send().await {
            Ok(out) => out.queue_url,
            Err(error)
                if matches!(error.as_service_error(), Some(GetQueueUrlError::QueueDoesNotExist(_))) =>
            {
                None
            }
            Err(error) => return Err(failed(&error)),
        };
        let url = match found {
            Some(url) => {
                if !attributes.is_empty() {
                    let request = self.sqs.set_queue_attributes().queue_url(&url);
                    request.set_attributes(Some(attributes)).send().await.map_err(|error| failed(&error))?;
                }
                url
            }
            None => {
                let request = self.sqs.create_queue().queue_name(name).set_attributes(Some(attributes));
                let out = request.send().await.map_err(|error| failed(&error))?;
                out.queue_url.unwrap_or_default()
            }
        };
        let out = self
            .sqs
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        let arn = out.attributes.and_then(|mut all| all.remove(&QueueAttributeName::QueueArn));
        Ok(QueueRef { name: name.to_owned(), url, arn: arn.unwrap_or_default() })
    }

    /// How many messages of a queue are visible, in flight and delayed.
    pub(crate) async fn depth(&self, url: &str) -> Result<[u64; 3], String> {
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let request = self.sqs.get_queue_attributes().queue_url(url);
        let out = request
            .set_attribute_names(Some(counts.to_vec()))
            .send()
            .await
            .map_err(|error| Chain(&error).to_string())?;
        let all = out.attributes.unwrap_or_default();
        Ok(counts.map(|name| all.get(&name).and_then(|count| count.parse().ok()).unwrap_or_default()))
    }
}

/// `BackgroundDeadQueue` is `background-dead`: words in small letters, without what kind of resource it is.
pub(crate) fn short_name(logical_id: &str, kind: &str) -> String {
    let id = logical_id.strip_suffix(kind).filter(|id| !id.is_empty()).unwrap_or(logical_id);
    let mut name = String::new();
    for c in id.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_logical_ids() {
        assert_eq!(short_name("DeliveriesQueue", "Queue"), "deliveries");
        assert_eq!(short_name("BackgroundDeadQueue", "Queue"), "background-dead");
        assert_eq!(short_name("ConfigTable", "Table"), "config");
        assert_eq!(short_name("Queue", "Queue"), "queue");
    }

    #[test]
    fn references_are_names_urls_and_arns() {
        let template = Template::parse(crate::TEMPLATE).unwrap();
        let names = Names::example(&template);
        let att = |attribute: &str| names.lookup(&Value::GetAtt("RetriesQueue".into(), attribute.into()));
        assert_eq!(names.lookup(&Value::Ref("RetriesQueue".into())).unwrap(), "http://sqs/RetriesQueue");
        assert_eq!(names.lookup(&Value::Ref("LogTable".into())).unwrap(), "LogTable-name");
        assert_eq!(names.lookup(&Value::Ref("Nobody".into())), None);
        assert_eq!(att("QueueName").unwrap(), "RetriesQueue");
        assert!(att("Arn").unwrap().starts_with("arn:aws:sqs:"));
        assert_eq!(att("Tags"), None);
    }
}
