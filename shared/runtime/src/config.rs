//! Configuration: the environment, read once at the start, typed.
//!
//! Each function reads the sections that it needs and no others; `template.yaml` sets just those
//! variables, and a test compares the two. An empty variable counts as unset, because SAM passes
//! `""` where a template leaves a value out.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

/// A setting is missing or makes no sense. One line that names the variable and what it should be.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    variable: String,
    problem: String,
}

/// A program that returns it prints it this way, and somebody has to read that.
impl std::fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl ConfigError {
    /// An error about `variable`.
    pub fn new(variable: &str, problem: impl Into<String>) -> Self {
        Self { variable: variable.to_owned(), problem: problem.into() }
    }
}

/// Looks one setting up.
type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// Where settings come from: the process's environment, or a map in tests and in the local runner.
pub struct Env<'a> {
    get: Lookup<'a>,
    read: RefCell<BTreeSet<String>>,
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("read", &self.read).finish_non_exhaustive()
    }
}

impl<'a> Env<'a> {
    /// Settings that `get` looks up.
    pub fn new(get: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { get: Box::new(get), read: RefCell::default() }
    }

    /// The process's environment.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
    pub fn process() -> Env<'static> {
        Env::new(|name| std::env::var(name).ok())
    }

    /// The names that were asked for so far, set or not.
    pub fn names_read(&self) -> BTreeSet<String> {
        self.read.borrow().clone()
    }

    /// The setting as it is, trimmed; empty where it is set to nothing.
    pub fn raw(&self, name: &str) -> Option<String> {
        self.read.borrow_mut().insert(name.to_owned());
        (self.get)(name).map(|value| value.trim().to_owned())
    }

    /// The setting, if it is there and not empty.
    pub fn optional(&self, name: &str) -> Option<String> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// The setting, which must be there; `what` says what it should be.
    ///
    /// # Errors
    /// It is missing or empty.
    pub fn required(&self, name: &str, what: &str) -> Result<String, ConfigError> {
        self.optional(name).ok_or_else(|| ConfigError::new(name, format!("is not set; it should be {what}")))
    }

    /// The secrets in a setting, the newest first: one text, or several as a JSON list. A text can hold
    /// any character but begins with no bracket, so that the two cannot be taken for each other.
    ///
    /// # Errors
    /// It is missing or empty, or no list although it begins as one.
    pub fn secrets(&self, name: &str, what: &str) -> Result<Vec<String>, ConfigError> {
        let text = self.required(name, what)?;
        if !text.starts_with('[') {
            return Ok(vec![text]);
        }
        // Neither the text nor what the parser says of it goes into a log.
        match serde_json::from_str::<Vec<String>>(&text) {
            Ok(secrets) if !secrets.is_empty() => Ok(secrets),
            _ => Err(ConfigError::new(name, format!("is no JSON list of texts; it should be {what}"))),
        }
    }

    /// The setting as `parse` reads it, or `default` where it is not set.
    ///
    /// # Errors
    /// `parse` refuses it; `what` says what it should be.
    pub fn parsed<T>(
        &self,
        name: &str,
        what: &str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        match self.optional(name) {
            None => Ok(default),
            Some(text) => parse(&text)
                .ok_or_else(|| ConfigError::new(name, format!("invalid value {text:?}: expected {what}"))),
        }
    }
}

/// How to reach AWS. Read from the variables that Lambda itself sets, so that no profile, no
/// metadata service and no configuration file is asked at a cold start.
#[derive(Clone)]
pub struct Aws {
    /// Such as `eu-central-1`.
    pub region: String,
    /// Another address for DynamoDB, as the SDKs' own variables spell it.
    pub dynamodb_endpoint: Option<String>,
    /// Another address for SQS.
    pub sqs_endpoint: Option<String>,
    /// Another address for Lambda.
    pub lambda_endpoint: Option<String>,
    /// Access key id, secret key and, for temporary credentials, the session token.
    pub credentials: (String, String, Option<String>),
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, dynamodb_endpoint, sqs_endpoint, lambda_endpoint, credentials: _ } = self;
        f.debug_struct("Aws")
            .field("region", region)
            .field("dynamodb_endpoint", dynamodb_endpoint)
            .field("sqs_endpoint", sqs_endpoint)
            .field("lambda_endpoint", lambda_endpoint)
            .finish_non_exhaustive()
    }
}

impl Aws {
    /// Reads `AWS_REGION`, the credentials and the `AWS_ENDPOINT_URL…` variables.
    ///
    /// # Errors
    /// Region or credentials are missing.
    pub fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
        let region = match env.optional("AWS_REGION") {
            Some(region) => region,
            None => {
                env.required("AWS_DEFAULT_REGION", "an AWS region such as eu-central-1 (or set AWS_REGION)")?
            }
        };
        let endpoint = |service: &str| {
            env.optional(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| env.optional("AWS_ENDPOINT_URL"))
        };
        Ok(Self {
            region,
            dynamodb_endpoint: endpoint("DYNAMODB"),
            sqs_endpoint: endpoint("SQS"),
            lambda_endpoint: endpoint("LAMBDA"),
            credentials: (
                env.required("AWS_ACCESS_KEY_ID", "an access key id")?,
                env.required("AWS_SECRET_ACCESS_KEY", "the secret of that access key")?,
                env.optional("AWS_SESSION_TOKEN"),
            ),
        })
    }
}

/// The names of the two tables.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Few writes, read through caches.
    pub config: String,
    /// Written for every message.
    pub log: String,
}

impl Tables {
    /// Reads `POSTRIDER_CONFIG_TABLE` and `POSTRIDER_LOG_TABLE`.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            config: env.required("POSTRIDER_CONFIG_TABLE", "the name of the configuration table")?,
            log: env.required("POSTRIDER_LOG_TABLE", "the name of the log table")?,
        })
    }
}

/// What the deliver function is told about deliveries.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The deadline of one exchange, connecting and body included.
    pub timeout: Duration,
    /// Networks that may be reached although they are not public.
    pub allowed_subnets: Vec<IpNet>,
    /// How the signature's headers are spelled.
    pub header_style: HeaderStyle,
}

/// How the three headers of a signed webhook are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderStyle {
    /// `webhook-id`, as Standard Webhooks has it.
    Webhook,
    /// `svix-id`, for receivers that look for it.
    Svix,
    /// Both of them.
    Both,
}

impl HeaderStyle {
    /// Reads `POSTRIDER_HEADER_STYLE`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
        env.parsed("POSTRIDER_HEADER_STYLE", "webhook, svix or both", Self::Webhook, |text| match text {
            "webhook" => Some(Self::Webhook),
            "svix" => Some(Self::Svix),
            "both" => Some(Self::Both),
            _ => None,
        })
    }
}

impl Delivery {
    /// Reads the variables of the deliver function.
    ///
    /// # Errors
    /// One of them cannot be understood.
    pub fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
        let allowed_subnets = env.parsed(
            "POSTRIDER_ALLOWED_SUBNETS",
            "networks such as 10.1.0.0/16,fd00::/8",
            Vec::new(),
            |text| text.split(',').map(|net| net.trim().parse().ok()).collect(),
        )?;
        let header_style = HeaderStyle::read(env)?;
        Ok(Self { timeout: delivery_timeout(env)?, allowed_subnets, header_style })
    }
}

/// Reads `POSTRIDER_DELIVERY_TIMEOUT`: the deadline of one delivery, 15 seconds where it is not set.
///
/// # Errors
/// It is not a number of seconds between 1 and 25 (the function that delivers has 60 seconds, and
/// may have to wait for two exchanges with one endpoint).
pub fn delivery_timeout(env: &Env<'_>) -> Result<Duration, ConfigError> {
    env.parsed("POSTRIDER_DELIVERY_TIMEOUT", "seconds from 1 to 25", Duration::from_secs(15), |text| {
        text.parse().ok().filter(|s| (1..=25).contains(s)).map(Duration::from_secs)
    })
}

/// Reads a yes or a no.
///
/// # Errors
/// It is something else than `true` or `false`.
pub fn flag(env: &Env<'_>, name: &str, default: bool) -> Result<bool, ConfigError> {
    env.parsed(name, "true or false", default, |text| text.to_ascii_lowercase().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env<'static> {
        let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Env::new(move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn defaults_are_the_contracts() {
        let delivery = Delivery::read(&env(&[])).unwrap();
        assert_eq!(delivery.timeout, Duration::from_secs(15));
        assert_eq!(delivery.header_style, HeaderStyle::Webhook);
    }

    #[test]
    fn empty_is_unset_and_errors_name_the_variable() {
        let error = Tables::read(&env(&[("POSTRIDER_CONFIG_TABLE", "")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "POSTRIDER_CONFIG_TABLE: is not set; it should be the name of the configuration table"
        );
        assert!(Delivery::read(&env(&[("POSTRIDER_ALLOWED_SUBNETS", "10.0.0.0/99")])).is_err());
        assert!(delivery_timeout(&env(&[("POSTRIDER_DELIVERY_TIMEOUT", "0")])).is_err());
    }
}
