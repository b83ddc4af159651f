//! Places in AWS that an endpoint's messages can go to, in any account: a queue, a topic, an event bus, a bucket
//! or a function, by a role there that trusts this installation (ADR 0030).

use ring::digest::{SHA256, digest};

use crate::ids::{AppId, EndpointId, Id as _, MessageId};
use runtime::clock::Timestamp;

/// What a key template is where an endpoint has none.
pub const KEY_TEMPLATE_DEFAULT: &str = "{eventType}/{year}/{month}/{day}/{message}.json";
/// What it is for objects of lines: those of one object have it in common but for the message, also their event type
/// where a template names that.
pub const LINES_KEY_TEMPLATE_DEFAULT: &str = "{year}/{month}/{day}/{message}.jsonl";
/// What an object of a bucket can hold: a message, or a line of JSON for each of some.
pub const FORMATS: &[&str] = &["object", "jsonl"];
/// Longest key template: what it becomes is shorter than S3's 1,024 bytes, since each name may be there once.
pub const KEY_TEMPLATE_LENGTH_MAX: usize = 256;
/// Longest JSON pointer.
pub const FIFO_KEY_LENGTH_MAX: usize = 256;
/// What external IDs begin with; the deliver function's role may pass no others (`template.yaml`).
pub const EXTERNAL_ID_PREFIX: &str = "postrider-";

/// The external ID that an application's roles have to demand. It is ours to say and not the caller's: otherwise one
/// application could have another's role used (the confused deputy). It is no secret.
pub fn external_id(app: AppId) -> String {
    format!("{EXTERNAL_ID_PREFIX}{app}")
}

/// A service that takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AwsService {
    /// A queue of SQS, standard or FIFO.
    Sqs,
    /// A topic of SNS, standard or FIFO.
    Sns,
    /// An event bus of EventBridge.
    EventBridge,
    /// A bucket of S3: each message is an object.
    S3,
    /// A function of Lambda, which is invoked and waited for.
    Lambda,
}

impl AwsService {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Sqs, Self::Sns, Self::EventBridge, Self::S3, Self::Lambda];

    /// The name of the kind of destination.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::EventBridge => "eventbridge",
            Self::S3 => "s3",
            Self::Lambda => "lambda",
        }
    }

    /// The kind of that name.
    pub fn of_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.kind() == kind)
    }

    /// What ARNs, hosts and signatures call it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::EventBridge => "events",
            other => other.kind(),
        }
    }

    /// What such a place is, for people.
    pub const fn place(self) -> &'static str {
        match self {
            Self::Sqs => "an SQS queue",
            Self::Sns => "an SNS topic",
            Self::EventBridge => "an EventBridge event bus",
            Self::S3 => "an S3 bucket",
            Self::Lambda => "a Lambda function",
        }
    }

    const fn example(self) -> &'static str {
        match self {
            Self::Sqs => "arn:aws:sqs:eu-central-1:123456789012:orders",
            Self::Sns => "arn:aws:sns:eu-central-1:123456789012:orders",
            Self::EventBridge => "arn:aws:events:eu-central-1:123456789012:event-bus/orders",
            Self::S3 => "arn:aws:s3:::orders",
            Self::Lambda => "arn:aws:lambda:eu-central-1:123456789012:function:orders",
        }
    }

    /// Whether the last part of an ARN names such a place.
    fn names(self, resource: &str) -> bool {
        let made_of = |text: &str, others: &[u8], lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
        };
        let without_fifo = resource.strip_suffix(".fifo").unwrap_or(resource);
        match self {
            Self::Sqs => made_of(without_fifo, b"-_", 1..=80) && resource.len() <= 80,
            Self::Sns => made_of(without_fifo, b"-_", 1..=256) && resource.len() <= 256,
            Self::EventBridge => {
                resource.strip_prefix("event-bus/").is_some_and(|name| made_of(name, b"-_./", 1..=256))
            }
            Self::S3 => made_of(resource, b"-.", 3..=63) && !resource.bytes().any(|b| b.is_ascii_uppercase()),
            Self::Lambda => resource.strip_prefix("function:").is_some_and(|function| {
                let (name, alias) = function.split_once(':').unwrap_or((function, "live"));
                made_of(name, b"-_", 1..=64) && made_of(alias, b"-_$", 1..=128)
            }),
        }
    }
}

/// The parts of an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    /// Such as `aws`: separate sets of accounts.
    pub partition: &'a str,
    /// Such as `sqs`.
    pub service: &'a str,
    /// Such as `eu-central-1`; empty where the service has none.
    pub region: &'a str,
    /// Twelve digits, or nothing.
    pub account: &'a str,
    /// The rest.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Takes an ARN apart; none if it is none, or of a partition that is not public.
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("arn:")?;
        let mut parts = rest.splitn(5, ':');
        let mut next = || parts.next();
        let arn = Self {
            partition: next()?,
            service: next()?,
            region: next()?,
            account: next()?,
            resource: next()?,
        };
        let known = ["aws", "aws-cn", "aws-us-gov"].contains(&arn.partition);
        let account = arn.account.is_empty() || is_account(arn.account);
        let region = arn.region.is_empty() || is_region(arn.region);
        (known && account && region && !arn.resource.is_empty()).then_some(arn)
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is spelled as a region is: `eu-central-1`, `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let words: Vec<&str> = text.split('-').collect();
    let is = |word: &str, of: fn(&u8) -> bool| !word.is_empty() && word.bytes().all(|byte| of(&byte));
    let Some((number, names)) = words.split_last() else { return false };
    text.len() <= 32
        && names.len() >= 2
        && is(number, u8::is_ascii_digit)
        && names.iter().all(|name| is(name, u8::is_ascii_lowercase))
}

/// A place in AWS, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AwsPlace {
    /// Whose API takes the messages.
    pub service: AwsService,
    /// The place.
    pub arn: String,
    /// Where it is.
    pub region: String,
    /// The role that may send there; it has to trust the deliver function's role.
    pub role_arn: String,
    /// FIFO: what in a payload names the message's group; the application's ID if absent.
    pub fifo_key: Option<String>,
    /// S3: what objects are called, if not by [`KEY_TEMPLATE_DEFAULT`] or [`LINES_KEY_TEMPLATE_DEFAULT`].
    pub key_template: Option<String>,
    /// S3: messages that are delivered together are lines of one object.
    pub json_lines: bool,
}

/// What a request says of a place, field by field.
#[derive(Clone, Debug, Default)]
pub struct AwsPlaceIn {
    /// The place.
    pub arn: String,
    /// The role.
    pub role_arn: String,
    /// The bucket's region.
    pub region: Option<String>,
    /// A JSON pointer.
    pub fifo_key: Option<String>,
    /// With names in braces.
    pub key_template: Option<String>,
    /// One of [`FORMATS`]; the first if absent.
    pub format: Option<String>,
}

/// A field and what is wrong with it, in a sentence.
pub type Broken = (&'static str, String);

impl AwsPlace {
    /// The place that a request means. `roles`: the pattern of the roles that this installation may take on.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(service: AwsService, place: AwsPlaceIn, roles: &str) -> Result<Self, Vec<Broken>> {
        let mut broken = Vec::new();
        let arn = Arn::parse(&place.arn).filter(|arn| {
            let is_global = service == AwsService::S3;
            arn.service == service.code()
                && arn.region.is_empty() == is_global
                && arn.account.is_empty() == is_global
                && service.names(arn.resource)
        });
        if arn.is_none() {
            let text = format!("Must be the ARN of {}, such as {}", service.place(), service.example());
            broken.push(("arn", text));
        }
        let role = Arn::parse(&place.role_arn)
            .filter(|role| role.service == "iam" && role.region.is_empty() && is_account(role.account))
            .filter(|role| role.resource.strip_prefix("role/").is_some_and(is_role_name));
        match (role, arn) {
            (None, _) => broken.push((
                "roleArn",
                "Must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/postrider-orders".into(),
            )),
            (Some(role), Some(arn)) if role.partition != arn.partition => broken.push((
                "roleArn",
                format!("Must be of the same partition as `arn`, which is {}", arn.partition),
            )),
            (Some(_), _) if !matches_pattern(roles, &place.role_arn) => broken.push((
                "roleArn",
                format!("This installation takes on roles named {roles} only: name the role so, or have the stack's parameter DestinationRoles changed"),
            )),
            _ => {}
        }
        let region = match (service, place.region) {
            (AwsService::S3, None) => {
                broken
                    .push(("region", "The ARN of a bucket does not name its region: it is required".into()));
                String::new()
            }
            (AwsService::S3, Some(region)) => {
                if !is_region(&region) {
                    broken.push(("region", "Must be the name of a region, such as eu-central-1".into()));
                }
                region
            }
            (_, given) => {
                let named = arn.map(|arn| arn.region).unwrap_or_default();
                if given.is_some_and(|given| given != named) {
                    broken.push(("region", "The ARN names the region: leave it out".into()));
                }
                named.to_owned()
            }
        };
        if let Some(key) = &place.fifo_key {
            let is_fifo = arn.is_some_and(|arn| is_fifo(service, arn.resource));
            if arn.is_some() && !is_fifo {
                let text =
                    "Only queues and topics whose names end with .fifo have message groups: leave it out";
                broken.push(("fifoKey", text.into()));
            } else if !is_pointer(key) {
                broken.push((
                    "fifoKey",
                    format!(
                        "Must be a JSON pointer of at most {FIFO_KEY_LENGTH_MAX} bytes, such as /customer/id"
                    ),
                ));
            }
        }
        if let Some(template) = &place.key_template {
            if service != AwsService::S3 {
                broken.push(("keyTemplate", "Only objects in an S3 bucket have keys: leave it out".into()));
            } else if let Err(text) = parts_of(template) {
                broken.push(("keyTemplate", text));
            }
        }
        if place.format.is_some() && service != AwsService::S3 {
            broken.push(("format", "Only objects in an S3 bucket have a format: leave it out".into()));
        }
        if !broken.is_empty() {
            return Err(broken);
        }
        let AwsPlaceIn { arn, role_arn, fifo_key, key_template, format, .. } = place;
        let json_lines = format.is_some_and(|format| format == FORMATS[1]);
        Ok(Self { service, arn, region, role_arn, fifo_key, key_template, json_lines })
    }

    /// The parts of its ARN. What is stored was read by [`AwsPlace::read`]; if it was not, each is empty.
    pub fn parts(&self) -> Arn<'_> {
        let nothing = Arn { partition: "", service: "", region: "", account: "", resource: "" };
        Arn::parse(&self.arn).unwrap_or(nothing)
    }

    /// Whether messages have groups there, within which they keep the order in which they arrive.
    pub fn is_fifo(&self) -> bool {
        is_fifo(self.service, self.parts().resource)
    }

    /// S3: the format of its objects, where that is not one message in each.
    pub fn format(&self) -> Option<&'static str> {
        self.json_lines.then(|| FORMATS[1])
    }

    /// S3: the key of a message's object. It follows from the message alone, so that a repetition replaces the object.
    pub fn object_key(
        &self,
        app: AppId,
        endpoint: EndpointId,
        message: MessageId,
        event_type: &str,
    ) -> String {
        self.key(app, endpoint, message, &message.to_string(), event_type)
    }

    /// S3: what the keys of messages have in common that may be lines of one object: all but the message.
    pub fn lines_group(
        &self,
        app: AppId,
        endpoint: EndpointId,
        message: MessageId,
        event_type: &str,
    ) -> String {
        self.key(app, endpoint, message, "", event_type)
    }

    /// S3: the key of an object of lines, which are of one group; `messages` is not empty, and in the lines' order. In
    /// the place of `{message}` it has the first one, and where there are more, sixteen digits that follow from all of
    /// them. So the same lines replace their object, and other ones never do: a message that comes again by itself does
    /// not take away those that it was with.
    pub fn lines_key(
        &self,
        app: AppId,
        endpoint: EndpointId,
        messages: &[MessageId],
        event_type: &str,
    ) -> String {
        let mut name = messages[0].to_string();
        if messages.len() > 1 {
            let all: Vec<String> = messages.iter().map(ToString::to_string).collect();
            let hash = digest(&SHA256, all.join(",").as_bytes());
            name.push('-');
            name.extend(hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")));
        }
        self.key(app, endpoint, messages[0], &name, event_type)
    }

    fn key(
        &self,
        app: AppId,
        endpoint: EndpointId,
        message: MessageId,
        name: &str,
        event_type: &str,
    ) -> String {
        let default = if self.json_lines { LINES_KEY_TEMPLATE_DEFAULT } else { KEY_TEMPLATE_DEFAULT };
        let template = self.key_template.as_deref().unwrap_or(default);
        let posted: Timestamp = message.ksuid().time();
        let date = posted.to_string();
        let parts = parts_of(template).unwrap_or_default();
        let values = parts.into_iter().map(|part| match part {
            KeyPart::Text(text) => text.to_owned(),
            KeyPart::Name("application") => app.to_string(),
            KeyPart::Name("endpoint") => endpoint.to_string(),
            KeyPart::Name("message") => name.to_owned(),
            KeyPart::Name("eventType") => event_type.to_owned(),
            KeyPart::Name("year") => date[..4].to_owned(),
            KeyPart::Name("month") => date[5..7].to_owned(),
            KeyPart::Name("day") => date[8..10].to_owned(),
            KeyPart::Name(_) => date[11..13].to_owned(),
        });
        values.collect()
    }
}

fn is_fifo(service: AwsService, resource: &str) -> bool {
    matches!(service, AwsService::Sqs | AwsService::Sns) && resource.ends_with(".fifo")
}

/// Whether a text is a role's path and name, by IAM's definition.
fn is_role_name(text: &str) -> bool {
    text.len() <= 576
        && !text.ends_with('/')
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&byte))
}

/// Whether a text is a JSON pointer (RFC 6901) to something in the payload.
pub fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    text.starts_with('/') && text.len() <= FIFO_KEY_LENGTH_MAX && escapes
}

/// Whether a text matches a pattern as IAM has them: `*` is any characters, `?` one.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on when what follows the last `*` did not fit: one character further.
    let (mut p, mut t, mut again) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match again {
                Some((after, from)) => {
                    again = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// A part of a key template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyPart<'a> {
    Text(&'a str),
    /// One of [`KEY_NAMES`].
    Name(&'a str),
}

/// What a key template can name.
const KEY_NAMES: [&str; 8] =
    ["application", "endpoint", "message", "eventType", "year", "month", "day", "hour"];

/// The parts of a key template, or what is wrong with it.
fn parts_of(template: &str) -> Result<Vec<KeyPart<'_>>, String> {
    if template.is_empty() || template.len() > KEY_TEMPLATE_LENGTH_MAX {
        return Err(format!("Must have between 1 and {KEY_TEMPLATE_LENGTH_MAX} bytes"));
    }
    let (mut parts, mut rest) = (Vec::new(), template);
    while !rest.is_empty() {
        let (text, after) = rest.split_once('{').unwrap_or((rest, ""));
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()/=".contains(&byte);
        if !text.bytes().all(safe) {
            return Err("Must consist of letters, digits, any of !-_.*'()/= and names in braces".into());
        }
        if !text.is_empty() {
            parts.push(KeyPart::Text(text));
        }
        if text.len() == rest.len() {
            break;
        }
        let Some((name, after)) = after.split_once('}') else {
            return Err("A brace is not closed".into());
        };
        if !KEY_NAMES.contains(&name) {
            let names: Vec<String> = KEY_NAMES.iter().map(|name| format!("{{{name}}}")).collect();
            return Err(format!("There is no {{{name}}}: there are {}", names.join(", ")));
        }
        if parts.contains(&KeyPart::Name(name)) {
            return Err(format!("{{{name}}} may be there once"));
        }
        parts.push(KeyPart::Name(name));
        rest = after;
    }
    if !parts.contains(&KeyPart::Name("message")) {
        return Err("Must name {message}: without it one message's object would replace another's".into());
    }
    if template.starts_with('/') || template.contains("//") || template.split('/').any(|part| part == "..") {
        return Err("Must not begin with /, nor have an empty part or one that is ..".into());
    }
    Ok(parts)
}

#[cfg(test)]
#[path = "aws_place_tests.rs"]
mod tests;
