//! The attributes of a queue: parsing, ranges and rendering.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::error::{ApiError, Kind};

/// Where a message goes that was received too often.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Redrive {
    pub(crate) target: String,
    pub(crate) max_receives: u32,
}

/// Which queues may name this one as their dead-letter queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Allow {
    #[default]
    All,
    None,
    Only(Vec<String>),
}

/// The attributes that a caller can set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) visibility: u64,
    pub(crate) delay: u64,
    pub(crate) retention: u64,
    pub(crate) max_bytes: u64,
    pub(crate) wait: u64,
    pub(crate) redrive: Option<Redrive>,
    pub(crate) allow: Option<Allow>,
    pub(crate) sse: bool,
    pub(crate) kms_key: Option<String>,
    pub(crate) kms_reuse: u64,
    pub(crate) policy: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            visibility: 30,
            delay: 0,
            retention: 345_600,
            max_bytes: 1_048_576,
            wait: 0,
            redrive: None,
            allow: None,
            sse: true,
            kms_key: None,
            kms_reuse: 300,
            policy: None,
        }
    }
}

/// The attributes that can be read but not set.
pub(crate) const READ_ONLY: [&str; 6] = [
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
];
const SETTABLE: [&str; 11] = [
    "VisibilityTimeout",
    "DelaySeconds",
    "MessageRetentionPeriod",
    "MaximumMessageSize",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "Policy",
];
const FIFO: [&str; 4] =
    ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"];
const MAX_POLICY: usize = 16_384;

/// Whether `name` can be asked for. The attributes of FIFO queues can, and are never there.
pub(crate) fn readable(name: &str) -> bool {
    name == "All" || READ_ONLY.contains(&name) || SETTABLE.contains(&name) || FIFO.contains(&name)
}

impl Settings {
    /// Sets the attributes named, or none of them.
    pub(crate) fn apply(&mut self, attributes: &BTreeMap<String, String>) -> Result<(), ApiError> {
        let mut new = self.clone();
        for (name, value) in attributes {
            new.set(name, value)?;
        }
        *self = new;
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        match name {
            "VisibilityTimeout" => self.visibility = number(name, value, 0, 43_200)?,
            "DelaySeconds" => self.delay = number(name, value, 0, 900)?,
            "MessageRetentionPeriod" => self.retention = number(name, value, 60, 1_209_600)?,
            "MaximumMessageSize" => self.max_bytes = number(name, value, 1_024, 1_048_576)?,
            "ReceiveMessageWaitTimeSeconds" => self.wait = number(name, value, 0, 20)?,
            "RedrivePolicy" => self.redrive = optional(name, value, redrive)?,
            "RedriveAllowPolicy" => self.allow = optional(name, value, allow)?,
            "SqsManagedSseEnabled" => self.sse = boolean(name, value)?,
            "KmsMasterKeyId" => self.kms_key = Some(value.to_owned()).filter(|key| !key.is_empty()),
            "KmsDataKeyReusePeriodSeconds" => self.kms_reuse = number(name, value, 60, 86_400)?,
            "Policy" => self.policy = optional(name, value, |_| Some(value.to_owned()))?,
            "FifoQueue" if value == "true" => return Err(no_fifo()),
            _ => {
                return Err(ApiError::new(Kind::InvalidAttributeName, format!("Unknown Attribute {name}.")));
            }
        }
        Ok(())
    }

    /// The attributes as the service shows them; those that are unset are left out.
    pub(crate) fn render(&self) -> BTreeMap<&'static str, String> {
        let mut shown = BTreeMap::from([
            ("VisibilityTimeout", self.visibility.to_string()),
            ("DelaySeconds", self.delay.to_string()),
            ("MessageRetentionPeriod", self.retention.to_string()),
            ("MaximumMessageSize", self.max_bytes.to_string()),
            ("ReceiveMessageWaitTimeSeconds", self.wait.to_string()),
            ("SqsManagedSseEnabled", (self.sse && self.kms_key.is_none()).to_string()),
        ]);
        if let Some(key) = &self.kms_key {
            shown.insert("KmsMasterKeyId", key.clone());
            shown.insert("KmsDataKeyReusePeriodSeconds", self.kms_reuse.to_string());
        }
        if let Some(policy) = &self.policy {
            shown.insert("Policy", policy.clone());
        }
        if let Some(Redrive { target, max_receives }) = &self.redrive {
            let policy =
                serde_json::json!({ "deadLetterTargetArn": target, "maxReceiveCount": max_receives });
            shown.insert("RedrivePolicy", policy.to_string());
        }
        if let Some(allow) = &self.allow {
            let policy = match allow {
                Allow::All => serde_json::json!({ "redrivePermission": "allowAll" }),
                Allow::None => serde_json::json!({ "redrivePermission": "denyAll" }),
                Allow::Only(arns) => {
                    serde_json::json!({ "redrivePermission": "byQueue", "sourceQueueArns": arns })
                }
            };
            shown.insert("RedriveAllowPolicy", policy.to_string());
        }
        shown
    }

    /// Whether messages of `source` may be moved here as dead letters.
    pub(crate) fn allows(&self, source: &str) -> bool {
        match &self.allow {
            None | Some(Allow::All) => true,
            Some(Allow::None) => false,
            Some(Allow::Only(arns)) => arns.iter().any(|arn| arn == source),
        }
    }
}

/// The refusal of everything first-in-first-out.
pub(crate) fn no_fifo() -> ApiError {
    ApiError::new(Kind::UnsupportedOperation, "FIFO queues are not supported by this local queue server.")
}

pub(crate) fn bad_value(name: &str) -> ApiError {
    ApiError::new(Kind::InvalidAttributeValue, format!("Invalid value for the parameter {name}."))
}

fn number(name: &str, value: &str, low: u64, high: u64) -> Result<u64, ApiError> {
    value.parse().ok().filter(|n| (low..=high).contains(n)).ok_or_else(|| bad_value(name))
}

fn boolean(name: &str, value: &str) -> Result<bool, ApiError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad_value(name)),
    }
}

/// Reads a JSON object; an empty text takes the attribute away.
fn optional<T>(
    name: &str,
    value: &str,
    read: impl FnOnce(&serde_json::Map<String, Value>) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    if value.is_empty() {
        return Ok(None);
    }
    if value.len() > MAX_POLICY {
        return Err(bad_value(name));
    }
    match serde_json::from_str(value) {
        Ok(Value::Object(fields)) => read(&fields).map(Some).ok_or_else(|| bad_value(name)),
        _ => Err(bad_value(name)),
    }
}

fn redrive(fields: &serde_json::Map<String, Value>) -> Option<Redrive> {
    let known = ["deadLetterTargetArn", "maxReceiveCount"];
    if fields.keys().any(|key| !known.contains(&key.as_str())) {
        return None;
    }
    // Both spellings are in use: a number and a text.
    let max = match fields.get("maxReceiveCount")? {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    let max_receives = u32::try_from(max).ok().filter(|max| (1..=1_000).contains(max))?;
    Some(Redrive { target: fields.get("deadLetterTargetArn")?.as_str()?.to_owned(), max_receives })
}

fn allow(fields: &serde_json::Map<String, Value>) -> Option<Allow> {
    let arns = fields.get("sourceQueueArns");
    match (fields.get("redrivePermission")?.as_str()?, arns) {
        ("allowAll", None) => Some(Allow::All),
        ("denyAll", None) => Some(Allow::None),
        ("byQueue", Some(Value::Array(arns))) if (1..=10).contains(&arns.len()) => {
            arns.iter().map(|arn| arn.as_str().map(str::to_owned)).collect::<Option<_>>().map(Allow::Only)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(name: &str, value: &str) -> Result<Settings, ApiError> {
        let mut settings = Settings::default();
        settings.apply(&BTreeMap::from([(name.to_owned(), value.to_owned())]))?;
        Ok(settings)
    }

    #[test]
    fn ranges_are_enforced() {
        for (name, low, high) in [
            ("VisibilityTimeout", 0, 43_200),
            ("DelaySeconds", 0, 900),
            ("MessageRetentionPeriod", 60, 1_209_600),
            ("MaximumMessageSize", 1_024, 1_048_576),
            ("ReceiveMessageWaitTimeSeconds", 0, 20),
            ("KmsDataKeyReusePeriodSeconds", 60, 86_400),
        ] {
            for value in [low, high] {
                assert!(apply(name, &value.to_string()).is_ok(), "{name}={value}");
            }
            for value in [low - 1, high + 1] {
                let error = apply(name, &value.to_string()).expect_err("out of range");
                assert_eq!(error.kind, Kind::InvalidAttributeValue, "{name}={value}");
            }
            assert!(apply(name, "many").is_err());
        }
    }

    #[test]
    fn policies_are_read_and_rendered() {
        let arn = "arn:aws:sqs:us-east-1:000000000000:dead";
        for count in ["3", "\"3\""] {
            let text = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{count}}}"#);
            let settings = apply("RedrivePolicy", &text).expect("fine");
            assert_eq!(settings.redrive, Some(Redrive { target: arn.to_owned(), max_receives: 3 }));
            assert!(settings.render()["RedrivePolicy"].contains(":3"));
        }
        assert_eq!(apply("RedrivePolicy", "").expect("removed").redrive, None);
        for bad in ["[]", "{}", r#"{"deadLetterTargetArn":"x","maxReceiveCount":0}"#] {
            assert!(apply("RedrivePolicy", bad).is_err(), "{bad}");
        }
        let only = apply("RedriveAllowPolicy", r#"{"redrivePermission":"byQueue","sourceQueueArns":["a"]}"#);
        let only = only.expect("fine");
        assert!(only.allows("a") && !only.allows("b"));
        assert!(
            !apply("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#).expect("fine").allows("a")
        );
        assert!(apply("RedriveAllowPolicy", r#"{"redrivePermission":"byQueue"}"#).is_err());
    }

    #[test]
    fn one_bad_attribute_changes_nothing() {
        let mut settings = Settings::default();
        let both = BTreeMap::from([
            ("DelaySeconds".to_owned(), "5".to_owned()),
            ("VisibilityTimeout".to_owned(), "-1".to_owned()),
        ]);
        assert!(settings.apply(&both).is_err());
        assert_eq!(settings, Settings::default());
        assert_eq!(apply("FifoQueue", "true").expect_err("no").kind, Kind::UnsupportedOperation);
        assert_eq!(apply("FifoQueue", "false").expect_err("no").kind, Kind::InvalidAttributeName);
        assert_eq!(apply("QueueArn", "x").expect_err("no").kind, Kind::InvalidAttributeName);
    }
}
