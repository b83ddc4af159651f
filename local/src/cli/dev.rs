//! `postrider dev`: the local runner's flags, and the settings that they come to.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::Args;
use shared::Platform;
use shared::config::{ConfigError, Env};

use crate::settings::{self, Settings};

use super::{flag, set};

/// Where the API listens if nothing else is said.
pub(crate) const LISTEN: &str = "127.0.0.1:8071";
/// Where the data is kept if nothing else is said.
pub(super) const DATA: &str = "./.postrider";

/// All are text: what they should be is checked in one place, which answers with one line.
#[derive(Debug, Args)]
pub(super) struct DevFlags {
    /// Address and port of the API; port 0 takes a free one. A non-loopback address exposes the API to
    /// other machines [default: 127.0.0.1:8071].
    #[arg(long, env = "POSTRIDER_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// The folder for tables, queues and secrets; one runner at a time can have it [default:
    /// ./.postrider].
    #[arg(long, env = "POSTRIDER_DATA", value_name = "FOLDER")]
    data: Option<String>,
    /// Keep everything in memory, and generate new secrets at each start [default: false].
    #[arg(
        long,
        env = "POSTRIDER_EPHEMERAL",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    ephemeral: Option<String>,
    /// Signs and verifies callers' tokens; 32 characters or more [default: generated at first start and
    /// stored in the data folder].
    #[arg(long, env = "POSTRIDER_JWT_SECRET", hide_env_values = true, value_name = "TEXT")]
    jwt_secret: Option<String>,
    /// Encrypts endpoints' secrets in the tables; 32 characters or more. Changing it makes existing
    /// endpoint secrets unreadable; see docs/ROTATION.md [default: generated at first start and stored in
    /// the data folder].
    #[arg(long, env = "POSTRIDER_ENCRYPTION_KEY", hide_env_values = true, value_name = "TEXT")]
    encryption_key: Option<String>,
    /// Seconds to wait after each failed attempt, separated by commas; empty for no retry [default:
    /// 5,300,1800,7200,18000,36000,36000].
    #[arg(long, env = "POSTRIDER_RETRY_SCHEDULE", value_name = "SECONDS")]
    retry_schedule: Option<String>,
    /// Seconds that one delivery may take, from 1 to 25 [default: 15].
    #[arg(long, env = "POSTRIDER_DELIVERY_TIMEOUT", value_name = "SECONDS")]
    delivery_timeout: Option<String>,
    /// Networks that deliveries may reach although they are not public, such as 10.1.0.0/16,fd00::/8.
    /// This machine itself (127.0.0.0/8,::1/128) may always be reached here [default: none].
    #[arg(long, env = "POSTRIDER_ALLOWED_SUBNETS", value_name = "NETWORKS")]
    allowed_subnets: Option<String>,
    /// Refuse endpoints whose URL is not https [default: false; in the cloud it is true].
    #[arg(
        long,
        env = "POSTRIDER_HTTPS_ONLY",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    https_only: Option<String>,
    /// The IAM roles that endpoints in AWS may name, as a pattern [default: any; in the cloud none].
    #[arg(long, env = "POSTRIDER_DESTINATION_ROLES", value_name = "PATTERN")]
    destination_roles: Option<String>,
    /// The kind of key that a new endpoint gets: hmac256 or ed25519 [default: hmac256].
    #[arg(long, env = "POSTRIDER_SIGNATURE", value_name = "KIND")]
    signature: Option<String>,
    /// How a webhook's headers are spelled: webhook (webhook-id), svix (svix-id) or both [default:
    /// webhook].
    #[arg(long, env = "POSTRIDER_HEADER_STYLE", value_name = "STYLE")]
    header_style: Option<String>,
    /// Webhooks carry a traceparent (W3C Trace Context); see docs/TRACING.md [default: false].
    #[arg(
        long,
        env = "POSTRIDER_TRACEPARENT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    traceparent: Option<String>,
    /// Export attempts as spans to this collector (OTLP/HTTP), such as http://127.0.0.1:4318/v1/traces
    /// [default: nowhere].
    #[arg(long, env = "POSTRIDER_OTLP_URL", value_name = "URL")]
    otlp_url: Option<String>,
    /// Headers of the requests to the collector, as name=value,name=value [default: none].
    #[arg(long, env = "POSTRIDER_OTLP_HEADERS", hide_env_values = true, value_name = "HEADERS")]
    otlp_headers: Option<String>,
    /// The address that mails come from which warn of failing endpoints, by SES (AWS_ENDPOINT_URL_SESV2 says
    /// where that is) [default: none, no mail].
    #[arg(long, env = "POSTRIDER_WARN_FROM", value_name = "ADDRESS")]
    warn_from: Option<String>,
    /// Where app portal links lead, without the path /login [default: the API's own address].
    #[arg(long, env = "POSTRIDER_PORTAL_URL", value_name = "URL")]
    portal_url: Option<String>,
    /// App portal links work once and for ten minutes [default: false].
    #[arg(
        long,
        env = "POSTRIDER_PORTAL_ONE_TIME_LINKS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    portal_one_time_links: Option<String>,
    /// Messages that one application may post per second; more are answered with 429 [default: 0, no
    /// limit].
    #[arg(long, env = "POSTRIDER_MESSAGE_QUOTA", value_name = "NUMBER")]
    message_quota: Option<String>,
    /// Days that messages are kept, with what belongs to them: 14 to 90 [default: 90].
    #[arg(long, env = "POSTRIDER_MESSAGE_RETENTION_DAYS", value_name = "DAYS")]
    message_retention_days: Option<String>,
    /// Days that payloads are kept at most, from 2 on [default: 0, as long as their messages].
    #[arg(long, env = "POSTRIDER_PAYLOAD_RETENTION_DAYS", value_name = "DAYS")]
    payload_retention_days: Option<String>,
    /// Days that attempts are kept, from 14 on [default: 0, as long as their messages].
    #[arg(long, env = "POSTRIDER_ATTEMPT_RETENTION_DAYS", value_name = "DAYS")]
    attempt_retention_days: Option<String>,
    /// What is logged to standard error: error, warn, info, debug or trace, or a list such as
    /// warn,deliver=debug. A level is for Postrider's own lines; libraries log warnings unless they are
    /// named, as in info,hyper=debug [default: info].
    #[arg(long, env = "POSTRIDER_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Use the DynamoDB and SQS at this address instead of the embedded ones, with AWS_REGION and the
    /// AWS_… credentials (us-east-1 and test/test where they are not set); missing tables and queues
    /// are created [default: the embedded ones].
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    aws_endpoint_url: Option<String>,
    /// Serve the embedded DynamoDB and SQS at this address and port as well, for the AWS CLI and for
    /// functions in containers [default: nowhere].
    #[arg(long, env = "POSTRIDER_AWS_LISTEN", value_name = "ADDRESS")]
    aws_listen: Option<String>,
    /// Origins whose pages may call the API from a browser, separated by commas, such as
    /// http://localhost:3000; * for all [default: none; in the cloud the parameter CorsOrigins].
    #[arg(long, env = "POSTRIDER_CORS_ORIGINS", value_name = "ORIGINS")]
    cors_origins: Option<String>,
    /// Keep the built-in receiver, to which the portal sends test messages, although the API listens on more than
    /// loopback: for a container whose port is published on loopback [default: false].
    #[arg(
        long,
        env = "POSTRIDER_RECEIVER",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    receiver: Option<String>,
    /// Write the environments of all functions into this file, for `sam local … --env-vars`. It holds the
    /// secrets [default: none].
    #[arg(long, env = "POSTRIDER_ENV_VARS", value_name = "FILE")]
    env_vars: Option<String>,
    /// Another template than the one that the runner was built with [default: the repository's
    /// template.yaml].
    #[arg(long, env = "POSTRIDER_TEMPLATE", value_name = "FILE")]
    template: Option<String>,
}

/// Where data is kept; none is in memory.
pub(super) fn folder(
    data: &Option<String>,
    ephemeral: &Option<String>,
) -> Result<Option<PathBuf>, ConfigError> {
    let ephemeral = flag("POSTRIDER_EPHEMERAL", ephemeral)?;
    match (set(data), ephemeral) {
        (Some(folder), true) => {
            let problem = format!(
                "contradicts POSTRIDER_DATA={folder}: either everything is kept in memory, or in that folder"
            );
            Err(ConfigError::new("POSTRIDER_EPHEMERAL", problem))
        }
        (None, true) => Ok(None),
        (folder, false) => Ok(Some(folder.unwrap_or(DATA).into())),
    }
}

/// Origins as a browser writes them: anything else would never match.
fn origins(text: &str) -> Result<Vec<String>, ConfigError> {
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    origins
        .map(|origin| {
            let url = url::Url::parse(origin).ok();
            if origin == "*" || url.is_some_and(|url| url.origin().ascii_serialization() == origin) {
                return Ok(origin.to_owned());
            }
            let problem =
                format!("invalid value {origin:?}: expected an origin such as http://localhost:3000, or *");
            Err(ConfigError::new("POSTRIDER_CORS_ORIGINS", problem))
        })
        .collect()
}

fn address(variable: &str, given: &str) -> Result<SocketAddr, ConfigError> {
    let wrong = |problem: String| Err(ConfigError::new(variable, problem));
    let port = given.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        return wrong(format!("invalid value {given:?}: expected HOST:PORT, e.g. {LISTEN}"));
    }
    let found: Vec<SocketAddr> = match given.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => return wrong(format!("cannot look up {given:?}: {error}")),
    };
    // What is printed for others to use is best read as IPv4.
    match found.iter().find(|address| address.is_ipv4()).or(found.first()) {
        Some(address) => Ok(*address),
        None => wrong(format!("{given:?} has no address")),
    }
}

impl DevFlags {
    /// The settings of a stack.
    pub(super) fn settings(&self, env: &Env<'_>, platform: Platform) -> Result<Settings, ConfigError> {
        let listen = address("POSTRIDER_LISTEN", set(&self.listen).unwrap_or(LISTEN))?;
        let aws_listen =
            set(&self.aws_listen).map(|given| address("POSTRIDER_AWS_LISTEN", given)).transpose()?;
        let aws_endpoint = set(&self.aws_endpoint_url).map(str::to_owned);
        if let Some(url) = aws_endpoint.as_deref()
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            let problem = format!("invalid value {url:?}: expected a URL such as http://127.0.0.1:4566");
            return Err(ConfigError::new("AWS_ENDPOINT_URL", problem));
        }
        if let (Some(url), Some(_)) = (&aws_endpoint, aws_listen) {
            let problem =
                format!("contradicts AWS_ENDPOINT_URL={url}: there are no embedded services to serve");
            return Err(ConfigError::new("POSTRIDER_AWS_LISTEN", problem));
        }
        let template = match set(&self.template) {
            None => settings::TEMPLATE.to_owned(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                ConfigError::new("POSTRIDER_TEMPLATE", format!("{path} cannot be read: {error}"))
            })?,
        };
        let mut settings = Settings {
            listen,
            data: folder(&self.data, &self.ephemeral)?,
            aws_endpoint,
            aws_listen,
            env_vars: set(&self.env_vars).map(PathBuf::from),
            receiver: flag("POSTRIDER_RECEIVER", &self.receiver)?,
            cors_origins: origins(set(&self.cors_origins).unwrap_or_default())?,
            platform,
            template,
            ..Settings::ephemeral()
        };
        for (name, value) in [
            ("POSTRIDER_JWT_SECRET", &self.jwt_secret),
            ("POSTRIDER_ENCRYPTION_KEY", &self.encryption_key),
            ("POSTRIDER_DELIVERY_TIMEOUT", &self.delivery_timeout),
            ("POSTRIDER_ALLOWED_SUBNETS", &self.allowed_subnets),
            ("POSTRIDER_HTTPS_ONLY", &self.https_only),
            ("POSTRIDER_DESTINATION_ROLES", &self.destination_roles),
            ("POSTRIDER_SIGNATURE", &self.signature),
            ("POSTRIDER_HEADER_STYLE", &self.header_style),
            ("POSTRIDER_TRACEPARENT", &self.traceparent),
            ("POSTRIDER_OTLP_URL", &self.otlp_url),
            ("POSTRIDER_OTLP_HEADERS", &self.otlp_headers),
            ("POSTRIDER_WARN_FROM", &self.warn_from),
            ("POSTRIDER_PORTAL_URL", &self.portal_url),
            ("POSTRIDER_PORTAL_ONE_TIME_LINKS", &self.portal_one_time_links),
            ("POSTRIDER_MESSAGE_QUOTA", &self.message_quota),
            ("POSTRIDER_MESSAGE_RETENTION_DAYS", &self.message_retention_days),
            ("POSTRIDER_PAYLOAD_RETENTION_DAYS", &self.payload_retention_days),
            ("POSTRIDER_ATTEMPT_RETENTION_DAYS", &self.attempt_retention_days),
            ("POSTRIDER_LOG", &self.log),
        ] {
            if let Some(value) = set(value) {
                settings = settings.with(name, value);
            }
        }
        // The one setting whose empty value means something: no retry.
        if let Some(schedule) = &self.retry_schedule {
            settings = settings.with("POSTRIDER_RETRY_SCHEDULE", schedule.trim());
        }
        // Where the services are that endpoints in AWS name, if not in AWS.
        for service in ["STS", "SNS", "EVENTBRIDGE", "S3", "LAMBDA_DESTINATIONS", "SESV2"] {
            let name = format!("AWS_ENDPOINT_URL_{service}");
            if let Some(value) = env.optional(&name) {
                settings = settings.with(&name, &value);
            }
        }
        // The embedded services need none of these, and real credentials do not belong there.
        if settings.aws_endpoint.is_some() {
            if let Some(region) = env.optional("AWS_REGION").or_else(|| env.optional("AWS_DEFAULT_REGION")) {
                settings = settings.with("AWS_REGION", &region);
            }
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
                if let Some(value) = env.optional(name) {
                    settings = settings.with(name, &value);
                }
            }
        }
        Ok(settings)
    }
}
