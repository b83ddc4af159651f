//! Reads `template.yaml`: the tables, queues and functions that the local runner, the simulation and the
//! tests need, and the whole of any template for the tests' rules.
//!
//! The template is the one description of the installation; what runs locally is read from it, so
//! that the two cannot drift apart. This is no implementation of CloudFormation: it knows what our
//! template uses, and refuses what would make the local side behave otherwise than the cloud (an
//! index, a kind of event that nobody here sends) instead of skipping it. Whether the template is
//! right in itself is the business of `sam validate --lint`.
//!
//! The file is part of the source and trusted as such: its size is limited, its aliases are not.

mod json;
mod node;
mod role;
mod value;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use saphyr::{LoadableYamlNode, YamlOwned};

pub use json::json;
use node::{Node, quote};
pub use role::Grant;
use value::Scope;
pub use value::Value;

/// Longest template that is read: CloudFormation's own limit for one in S3.
const TEMPLATE_BYTES_MAX: usize = 1024 * 1024;
/// What SAM sets where a template names no timeout.
const TIMEOUT_SECONDS_DEFAULT: u32 = 3;
/// What SQS sets where a template names no visibility timeout.
const VISIBILITY_SECONDS_DEFAULT: u32 = 30;
/// What Lambda sets where a template names no batch size.
const BATCH_SIZE_DEFAULT: u32 = 10;
/// The properties of a queue that are attributes of the same name for `CreateQueue`. Not among them:
/// who may use it and how it is encrypted, which has no meaning on one's own machine.
const QUEUE_ATTRIBUTES: [&str; 9] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "VisibilityTimeout",
];

/// The template cannot be read. One line that names the resource and the property.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: {place}: {problem}")]
pub struct TemplateError {
    place: String,
    problem: String,
}

impl TemplateError {
    fn new(place: &str, problem: &str) -> Self {
        let line = |text: &str| text.replace(char::is_control, " ");
        Self { place: line(place), problem: line(problem) }
    }
}

/// The one YAML document of a template.
fn load(text: &str) -> Result<YamlOwned, TemplateError> {
    if text.len() > TEMPLATE_BYTES_MAX {
        let problem = format!("is {} bytes long; at most {TEMPLATE_BYTES_MAX} are read", text.len());
        return Err(TemplateError::new("the file", &problem));
    }
    let mut documents =
        YamlOwned::load_from_str(text).map_err(|error| TemplateError::new("the file", &error.to_string()))?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document),
        _ => Err(TemplateError::new("the file", "should hold one YAML document")),
    }
}

/// What `template.yaml` describes, in its order.
#[derive(Clone, Debug)]
pub struct Template {
    /// The DynamoDB tables.
    pub tables: Vec<Table>,
    /// The SQS queues, dead-letter queues among them.
    pub queues: Vec<Queue>,
    /// The Lambda functions.
    pub functions: Vec<Function>,
    /// What each role allows.
    roles: BTreeMap<String, BTreeSet<Grant>>,
    scope: Scope,
}

/// A DynamoDB table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name within the template.
    pub logical_id: String,
    /// The attribute that is the partition key.
    pub hash_key: String,
    /// The attribute that is the sort key.
    pub range_key: Option<String>,
    /// The attribute that says when an item expires.
    pub ttl_attribute: Option<String>,
    /// Names and types (`S`, `N` or `B`) of the attributes that keys are made of.
    pub attributes: Vec<(String, String)>,
}

/// An SQS queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name within the template.
    pub logical_id: String,
    /// What `CreateQueue` is told, but for redrive, policies and encryption.
    pub attributes: BTreeMap<String, String>,
    /// The dead-letter queue's logical id, and how often a message is received before it goes there.
    pub dead_letter: Option<(String, u32)>,
    visibility_seconds: u32,
}

impl Queue {
    /// How long a message that was received stays hidden from others.
    pub fn visibility_timeout(&self) -> Duration {
        Duration::from_secs(self.visibility_seconds.into())
    }
}

/// A Lambda function, the template's `Globals` merged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name within the template, such as `BackgroundFunction`.
    pub logical_id: String,
    /// Its folder's name, which is its package's too, such as `background`.
    pub name: String,
    /// How long one invocation may take.
    pub timeout_seconds: u32,
    /// Its environment; [`Template::resolve`] makes text of the values.
    pub environment: BTreeMap<String, Value>,
    /// The requests that reach it.
    pub routes: Vec<Route>,
    /// The queues that feed it.
    pub queues: Vec<QueueSource>,
    /// How often it is invoked, once per entry.
    pub schedules: Vec<Duration>,
    /// Whether Lambda lets it cause itself to be invoked again, more than 16 times in a row.
    pub recursive_loop_allowed: bool,
    /// Its role's logical id.
    pub role: Option<String>,
}

/// A route of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// In capitals, such as `GET`; `ANY` for all of them.
    pub method: String,
    /// With its variables in braces, such as `/api/v1/app/{app_id}`.
    pub path: String,
}

/// A queue that feeds a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSource {
    /// The queue's logical id.
    pub queue: String,
    /// Most messages in one invocation.
    pub batch_size: u32,
    /// How long Lambda waits for a batch to fill.
    pub batching_window_seconds: u32,
    /// Whether the function's answer names the messages that failed; otherwise nobody reads it.
    pub report_batch_item_failures: bool,
    /// Most invocations at a time.
    pub maximum_concurrency: Option<u32>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It is too long, no YAML, or holds something that the local runner does not know.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let document = load(text)?;
        let root = Node::root(&document);
        let scope = Scope::read(&root)?;
        let globals = root.find(&["Globals", "Function"])?;

        let mut template = Self {
            tables: Vec::new(),
            queues: Vec::new(),
            functions: Vec::new(),
            roles: BTreeMap::new(),
            scope,
        };
        for (logical_id, resource) in root.need("Resources")?.entries()? {
            let resource = resource.at(logical_id);
            if !template.scope.exists(&resource)? {
                continue;
            }
            match resource.need("Type")?.text(&template.scope)?.as_str() {
                // A global table with its home here is a table; copies elsewhere mean nothing on one machine.
                "AWS::DynamoDB::Table" | "AWS::DynamoDB::GlobalTable" => {
                    template.tables.push(Table::read(logical_id, &resource, &template.scope)?)
                }
                "AWS::SQS::Queue" => {
                    template.queues.push(Queue::read(logical_id, &resource, &template.scope)?)
                }
                "AWS::Serverless::Function" => {
                    let function = Function::read(logical_id, &resource, globals.as_ref(), &template.scope)?;
                    template.functions.push(function);
                }
                "AWS::IAM::Role" => {
                    let grants = role::grants(&resource, &template.scope)?;
                    template.roles.insert(logical_id.to_owned(), grants);
                }
                // Log groups and the like mean nothing on one's own machine.
                _ => {}
            }
        }
        template.check_queue_names()?;
        Ok(template)
    }

    /// The queue of this logical id.
    pub fn queue(&self, logical_id: &str) -> Option<&Queue> {
        self.queues.iter().find(|queue| queue.logical_id == logical_id)
    }

    /// The function of this name, such as `background`.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// What the role of a function allows; nothing if it has none.
    pub fn grants(&self, function: &Function) -> BTreeSet<Grant> {
        function.role.as_ref().and_then(|role| self.roles.get(role)).cloned().unwrap_or_default()
    }

    /// The text that a value stands for.
    ///
    /// Parameters stand for their defaults; `lookup` is asked about everything else that a [`Value::Ref`]
    /// or a [`Value::GetAtt`] can name: resources, `AWS::Region`, parameters without a default.
    /// Nothing comes of `AWS::NoValue`, of functions not known here, of a part that `lookup` does not
    /// know, and of dynamic references (`{{resolve:…}}`), whose values only AWS has.
    pub fn resolve(&self, value: &Value, lookup: impl Fn(&Value) -> Option<String>) -> Option<String> {
        self.scope.resolve(value, &lookup)
    }

    /// That the queues exist which other queues and functions name.
    fn check_queue_names(&self) -> Result<(), TemplateError> {
        let check = |place: String, logical_id: &str| match self.queue(logical_id) {
            Some(_) => Ok(()),
            None => {
                let problem = format!("names {}, which is no queue of this template", quote(logical_id));
                Err(TemplateError::new(&place, &problem))
            }
        };
        for queue in &self.queues {
            if let Some((dead, _)) = &queue.dead_letter {
                check(format!("{}.RedrivePolicy.deadLetterTargetArn", queue.logical_id), dead)?;
            }
        }
        for function in &self.functions {
            for source in &function.queues {
                check(format!("{}.Events", function.logical_id), &source.queue)?;
            }
        }
        Ok(())
    }
}

impl Table {
    fn read(logical_id: &str, resource: &Node<'_>, scope: &Scope) -> Result<Self, TemplateError> {
        let properties = resource.need("Properties")?.at(logical_id);
        for unknown in ["GlobalSecondaryIndexes", "LocalSecondaryIndexes", "StreamSpecification"] {
            if let Some(node) = properties.get(unknown)?.filter(|node| !scope.absent(&node.value())) {
                return Err(node.error("is something that the local runner does not make"));
            }
        }
        let mut attributes = Vec::new();
        for definition in properties.need("AttributeDefinitions")?.items()? {
            let name = definition.need("AttributeName")?.text(scope)?;
            attributes.push((name, definition.need("AttributeType")?.text(scope)?));
        }
        let schema = properties.need("KeySchema")?;
        let (mut hash_key, mut range_key) = (None, None);
        for key in schema.items()? {
            let name = key.need("AttributeName")?;
            let text = name.text(scope)?;
            if !attributes.iter().any(|(defined, _)| *defined == text) {
                return Err(name.error("is not among the AttributeDefinitions"));
            }
            let kind = key.need("KeyType")?;
            let place = match kind.text(scope)?.as_str() {
                "HASH" => &mut hash_key,
                "RANGE" => &mut range_key,
                other => return Err(kind.error(&format!("should be HASH or RANGE, not {}", quote(other)))),
            };
            if place.replace(text).is_some() {
                return Err(kind.error("is there twice"));
            }
        }
        let hash_key = hash_key.ok_or_else(|| schema.error("should name a HASH key"))?;
        let ttl_attribute = match properties.get("TimeToLiveSpecification")? {
            Some(ttl) if ttl.need("Enabled")?.flag(scope)? => Some(ttl.need("AttributeName")?.text(scope)?),
            _ => None,
        };
        Ok(Self { logical_id: logical_id.to_owned(), hash_key, range_key, ttl_attribute, attributes })
    }
}

impl Queue {
    fn read(logical_id: &str, resource: &Node<'_>, scope: &Scope) -> Result<Self, TemplateError> {
        let mut queue = Self {
            logical_id: logical_id.to_owned(),
            attributes: BTreeMap::new(),
            dead_letter: None,
            visibility_seconds: VISIBILITY_SECONDS_DEFAULT,
        };
        // A queue may well have no properties at all.
        let Some(properties) = resource.get("Properties")? else {
            return Ok(queue);
        };
        let properties = properties.at(logical_id);
        for name in QUEUE_ATTRIBUTES {
            if let Some(value) = properties.get(name)? {
                queue.attributes.insert(name.to_owned(), value.text(scope)?);
            }
        }
        if let Some(seconds) = properties.get("VisibilityTimeout")? {
            queue.visibility_seconds = seconds.number(scope, 0, 12 * 3600)?;
        }
        if let Some(redrive) = properties.get("RedrivePolicy")? {
            let dead = redrive.need("deadLetterTargetArn")?.arn_of()?;
            queue.dead_letter = Some((dead, redrive.need("maxReceiveCount")?.number(scope, 1, 1000)?));
        }
        Ok(queue)
    }
}

impl Function {
    fn read(
        logical_id: &str,
        resource: &Node<'_>,
        globals: Option<&Node<'_>>,
        scope: &Scope,
    ) -> Result<Self, TemplateError> {
        let properties = resource.need("Properties")?.at(logical_id);
        // SAM: what the function says wins, what it does not say the globals do.
        let property = |name: &str| -> Result<Option<Node<'_>>, TemplateError> {
            match (properties.get(name)?, globals) {
                (None, Some(globals)) => globals.get(name),
                (own, _) => Ok(own),
            }
        };

        let code = properties.need("CodeUri")?;
        let path = code.text(scope)?;
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if name.is_empty() || name.starts_with('.') {
            return Err(
                code.error(&format!("should be a folder such as functions/deliver, not {}", quote(&path)))
            );
        }
        let timeout_seconds = match property("Timeout")? {
            Some(seconds) => seconds.number(scope, 1, 900)?,
            None => TIMEOUT_SECONDS_DEFAULT,
        };
        let recursive_loop_allowed = match property("RecursiveLoop")? {
            Some(recursion) => recursion.text(scope)? == "Allow",
            None => false,
        };
        let role = match property("Role")?.map(|role| role.value()) {
            Some(Value::GetAtt(role, attribute)) if attribute == "Arn" => Some(role),
            _ => None,
        };
        // Maps are merged entry by entry.
        let mut environment = BTreeMap::new();
        for level in globals.into_iter().chain([&properties]) {
            if let Some(variables) = level.find(&["Environment", "Variables"])? {
                let variables = variables.entries()?;
                environment
                    .extend(variables.into_iter().map(|(name, value)| (name.to_owned(), value.value())));
            }
        }
        // How a function does without what the globals give to all.
        environment.retain(|_, value| !scope.absent(value));
        let mut function = Self {
            logical_id: logical_id.to_owned(),
            name: name.to_owned(),
            timeout_seconds,
            environment,
            routes: Vec::new(),
            queues: Vec::new(),
            schedules: Vec::new(),
            recursive_loop_allowed,
            role,
        };
        if let Some(events) = properties.get("Events")? {
            for (_, event) in events.entries()? {
                function.read_event(&event, scope)?;
            }
        }
        Ok(function)
    }

    fn read_event(&mut self, event: &Node<'_>, scope: &Scope) -> Result<(), TemplateError> {
        let properties = event.need("Properties")?.at(event.place());
        let kind = event.need("Type")?;
        match kind.text(scope)?.as_str() {
            "HttpApi" => self.routes.push(Route::read(&properties, scope)?),
            "SQS" => {
                if enabled(&properties, scope)? {
                    self.queues.push(QueueSource::read(&properties, scope)?);
                }
            }
            name @ ("Schedule" | "ScheduleV2") => {
                let key = if name == "Schedule" { "Schedule" } else { "ScheduleExpression" };
                if enabled(&properties, scope)? {
                    let schedule = properties.need(key)?;
                    let text = schedule.text(scope)?;
                    let problem = || {
                        schedule
                            .error(&format!("should be a rate such as rate(5 minutes), not {}", quote(&text)))
                    };
                    self.schedules.push(rate(&text).ok_or_else(problem)?);
                }
            }
            other => {
                let problem =
                    format!("is {}; the local runner sends HttpApi, SQS and Schedule", quote(other));
                return Err(kind.error(&problem));
            }
        }
        Ok(())
    }
}

impl Route {
    fn read(properties: &Node<'_>, scope: &Scope) -> Result<Self, TemplateError> {
        let method = properties.need("Method")?.text(scope)?.to_ascii_uppercase();
        let path = properties.need("Path")?;
        let text = path.text(scope)?;
        if !text.starts_with('/') {
            return Err(path.error(&format!("should begin with a slash, unlike {}", quote(&text))));
        }
        Ok(Self { method, path: text })
    }
}

impl QueueSource {
    fn read(properties: &Node<'_>, scope: &Scope) -> Result<Self, TemplateError> {
        let number = |name: &str, default: u32, min: u32, max: u32| match properties.get(name)? {
            Some(node) => node.number(scope, min, max),
            None => Ok(default),
        };
        let mut report_batch_item_failures = false;
        if let Some(kinds) = properties.get("FunctionResponseTypes")? {
            for kind in kinds.items()? {
                report_batch_item_failures |= kind.text(scope)? == "ReportBatchItemFailures";
            }
        }
        let maximum_concurrency = match properties.find(&["ScalingConfig", "MaximumConcurrency"])? {
            Some(most) => Some(most.number(scope, 2, 1000)?),
            None => None,
        };
        if let Some(node) = properties.get("FilterCriteria")? {
            return Err(node.error("is something that the local runner does not do"));
        }
        Ok(Self {
            queue: properties.need("Queue")?.arn_of()?,
            batch_size: number("BatchSize", BATCH_SIZE_DEFAULT, 1, 10_000)?,
            batching_window_seconds: number("MaximumBatchingWindowInSeconds", 0, 0, 300)?,
            report_batch_item_failures,
            maximum_concurrency,
        })
    }
}

/// Whether an event is switched on; SAM has two properties for that.
fn enabled(properties: &Node<'_>, scope: &Scope) -> Result<bool, TemplateError> {
    if let Some(enabled) = properties.get("Enabled")? {
        return enabled.flag(scope);
    }
    match properties.get("State")? {
        Some(state) => Ok(state.text(scope)? != "DISABLED"),
        None => Ok(true),
    }
}

/// `rate(1 minute)`, `rate(5 minutes)`, hours and days likewise.
fn rate(text: &str) -> Option<Duration> {
    let (number, unit) = text.strip_prefix("rate(")?.strip_suffix(')')?.trim().split_once(' ')?;
    let unit_seconds = match unit.trim() {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3600,
        "day" | "days" => 86_400,
        _ => return None,
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    number.checked_mul(unit_seconds).map(Duration::from_secs)
}
