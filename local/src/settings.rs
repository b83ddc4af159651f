//! What a stack is started with, and the environment that each function gets from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use sam_template::{Function, Template};
use shared::Platform;
use shared::config::{ConfigError, Env};

use crate::aws::Names;

/// The repository's `template.yaml`, as it was when the runner was built.
pub const TEMPLATE: &str = include_str!("../../template.yaml");
/// The region of the embedded services, and of a given endpoint where none is named.
pub(crate) const REGION: &str = "us-east-1";
/// Deliveries of the local runner reach the machine itself; in the cloud that takes a setting.
const LOOPBACK: &str = "127.0.0.0/8,::1/128";
/// A developer's machine lets a process open 1,024 files by default, and the queues and deliveries need
/// some too.
const CONNECTIONS_MAX: usize = 512;
const ALLOWED_SUBNETS: &str = "POSTRIDER_ALLOWED_SUBNETS";
const HTTPS_ONLY: &str = "POSTRIDER_HTTPS_ONLY";
const DESTINATION_ROLES: &str = "POSTRIDER_DESTINATION_ROLES";
/// Locally any role can be named: it is the embedded STS that is asked for it.
const ANY_ROLE: &str = "arn:*:iam::*:role/*";

/// What a stack is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder that holds tables, queues and secrets; none keeps them in memory.
    pub data: Option<PathBuf>,
    /// `POSTRIDER_…` variables that win over the template's values, and the `AWS_…` variables that name
    /// region and credentials. Functions see only those that the template gives them.
    pub settings: BTreeMap<String, String>,
    /// Where DynamoDB and SQS are; none runs the embedded ones.
    pub aws_endpoint: Option<String>,
    /// Where the embedded DynamoDB and SQS are served to others as well; none keeps them to the functions.
    pub aws_listen: Option<SocketAddr>,
    /// A file to write the functions' environments to, as `sam local --env-vars` wants them.
    pub env_vars: Option<PathBuf>,
    /// Most connections to the API at a time. When there are as many, those that wait for a request go
    /// first.
    pub connections_max: usize,
    /// Origins whose pages may call the API from a browser; `*` is all of them.
    pub cors_origins: Vec<String>,
    /// Whether embedded services are reached over their sockets, as foreign ones are; otherwise requests
    /// are handed over inside the process.
    pub sockets: bool,
    /// Time, randomness and the SDK's connections. The embedded services use its clock too.
    pub platform: Platform,
    /// What the names of tables and queues begin with.
    pub prefix: String,
    /// Whether queues are polled and schedules run; otherwise a test does that by itself.
    pub poll: bool,
    /// Whether deliveries reach the machine itself, although it is no public network.
    pub allow_loopback: bool,
    /// Whether the built-in receiver of test messages is there although the API listens on more than loopback, as it
    /// does in a container.
    pub receiver: bool,
    /// The template's text.
    pub template: String,
    /// Starts a program that calls `transformer::serve`, for code that transforms webhooks. None: this program once
    /// more, whose `main` asks [`transform::is_child`] first.
    pub transformer: Option<transform::Program>,
}

impl Settings {
    /// Everything in memory, on a free port.
    pub fn ephemeral() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data: None,
            settings: BTreeMap::new(),
            aws_endpoint: None,
            aws_listen: None,
            env_vars: None,
            connections_max: CONNECTIONS_MAX,
            cors_origins: Vec::new(),
            sockets: false,
            platform: Platform::system(),
            prefix: "postrider".to_owned(),
            poll: true,
            allow_loopback: true,
            receiver: false,
            template: TEMPLATE.to_owned(),
            transformer: None,
        }
    }

    /// This and one setting more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What wins over the template's values: what was given, and what is different on one's own machine.
    pub(crate) fn overrides(&self) -> BTreeMap<String, String> {
        let mut overrides = self.settings.clone();
        overrides.entry(HTTPS_ONLY.to_owned()).or_insert_with(|| "false".to_owned());
        overrides.entry(DESTINATION_ROLES.to_owned()).or_insert_with(|| ANY_ROLE.to_owned());
        if self.allow_loopback {
            let subnets = overrides.entry(ALLOWED_SUBNETS.to_owned()).or_default();
            *subnets = match subnets.trim() {
                "" => LOOPBACK.to_owned(),
                given => format!("{given},{LOOPBACK}"),
            };
        }
        overrides
    }
}

/// An [`Env`] over a map.
pub(crate) fn env(variables: &BTreeMap<String, String>) -> Env<'_> {
    Env::new(|name| variables.get(name).cloned())
}

/// The environment of one function: what the template gives it, `overrides` put over that, and what
/// Lambda itself sets (`lambda`).
pub(crate) fn environment(
    function: &Function,
    template: &Template,
    overrides: &BTreeMap<String, String>,
    names: &Names,
    lambda: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let named = function.environment.iter().filter_map(|(name, value)| {
        let value =
            overrides.get(name).cloned().or_else(|| template.resolve(value, |value| names.lookup(value)));
        Some((name.clone(), value?))
    });
    lambda.iter().map(|(name, value)| (name.clone(), value.clone())).chain(named).collect()
}

/// That each setting given is one that some function has: a mistyped name would change nothing.
pub(crate) fn check_names(given: &BTreeMap<String, String>, template: &Template) -> Result<(), ConfigError> {
    let known: BTreeSet<&str> = template
        .functions
        .iter()
        .flat_map(|function| function.environment.keys().map(String::as_str))
        .collect();
    match given.keys().find(|name| !name.starts_with("AWS_") && !known.contains(name.as_str())) {
        Some(unknown) => Err(ConfigError::new(unknown, "is a setting that no function of the template has")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, settings: &Settings) -> BTreeMap<String, String> {
        let template = Template::parse(TEMPLATE).unwrap();
        let names = Names::example(&template);
        let lambda = BTreeMap::from([("AWS_REGION".to_owned(), REGION.to_owned())]);
        environment(template.function(name).unwrap(), &template, &settings.overrides(), &names, &lambda)
    }

    #[test]
    fn what_is_given_wins_over_the_template() {
        let settings = Settings::ephemeral();
        let deliver = of("deliver", &settings);
        assert_eq!(deliver["POSTRIDER_RETRY_SCHEDULE"], shared::retry::RETRY_SCHEDULE_DEFAULT);
        assert_eq!(deliver[ALLOWED_SUBNETS], LOOPBACK);
        assert_eq!(deliver["AWS_REGION"], REGION);
        assert_eq!(deliver["POSTRIDER_CONFIG_TABLE"], "ConfigTable-name");
        assert_eq!(deliver["POSTRIDER_RETRIES_QUEUE"], "http://sqs/RetriesQueue");
        // Only AWS knows the secret; `secrets` fills it in.
        assert!(!deliver.contains_key("POSTRIDER_ENCRYPTION_KEY"));
        assert!(!deliver.contains_key(HTTPS_ONLY));
        assert_eq!(of("endpoints", &settings)[HTTPS_ONLY], "false");

        let settings = settings
            .with("POSTRIDER_RETRY_SCHEDULE", "")
            .with(ALLOWED_SUBNETS, "10.0.0.0/8")
            .with(HTTPS_ONLY, "true");
        let deliver = of("deliver", &settings);
        assert_eq!(deliver["POSTRIDER_RETRY_SCHEDULE"], "");
        assert_eq!(deliver[ALLOWED_SUBNETS], format!("10.0.0.0/8,{LOOPBACK}"));
        assert_eq!(of("endpoints", &settings)[HTTPS_ONLY], "true");
    }

    #[test]
    fn a_name_that_no_function_has_is_refused() {
        let template = Template::parse(TEMPLATE).unwrap();
        let check = |name: &str| check_names(&Settings::ephemeral().with(name, "1").settings, &template);
        assert_eq!(check("POSTRIDER_RETRY_SCHEDULE"), Ok(()));
        assert_eq!(check("AWS_REGION"), Ok(()));
        let error = check("POSTRIDER_RETRY_SCHEDUEL").unwrap_err().to_string();
        assert!(error.starts_with("POSTRIDER_RETRY_SCHEDUEL: "), "{error}");
    }
}
