//! The command line: flags and variables, and what they come to.

mod token;

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use shared::Platform;
use shared::config::{ConfigError, Env};
use shared::ids::OrgId;

use crate::audit::Export;
use crate::cost::CostFlags;
use crate::openapi::{openapi, routes};
use crate::settings::{self, Settings};
use crate::stack::StartError;

use token::TokenFlags;

/// Where the API listens if nothing else is said.
const LISTEN: &str = "127.0.0.1:8071";
/// Where the data is kept if nothing else is said.
const DATA: &str = "./.postrider";

const EXAMPLES: &str = "\
Examples:
  Start on the default address and keep everything in ./.postrider:
    cargo run -p local

  Start on a free port with nothing kept, and retry three times, a second apart:
    cargo run -p local -- --ephemeral --listen 127.0.0.1:0 --retry-schedule 1,1,1";

/// Runs Postrider on this machine: the API, its tables and queues, deliveries and retries, in one
/// process. Nothing else has to be installed or running.
#[derive(Debug, Parser)]
#[command(name = "local", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints a token, signed with the secret that the runner uses or with one that is given, and nothing
    /// else.
    Token(TokenFlags),
    /// Prints the id of a new organisation: whatever a token says exists.
    NewOrg,
    /// Prints an organisation's audit events, the oldest first, one JSON object a line.
    Audit(AuditFlags),
    /// Prints the API's OpenAPI document, as the functions' code describes it.
    Openapi,
    /// Prints every operation of the API: method, path, the function that answers it, and its id.
    Routes,
    /// Prints what a month costs in AWS, by list prices.
    Cost(CostFlags),
}

#[derive(Debug, Args)]
struct AuditFlags {
    /// Where the API is, here or in the cloud.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8071")]
    url: String,
    /// An organisation's token.
    #[arg(long, env = "TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: String,
    /// Only what happened after this time, such as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// Only what comes behind this event (audit_…): goes on where an export has ended.
    #[arg(long, value_name = "ID")]
    behind: Option<String>,
}

/// All are text: what they should be is checked in one place, which answers with one line.
#[derive(Debug, Default, Args)]
struct Flags {
    /// Address and port of the API; port 0 takes a free one. Another address than a loopback one lets
    /// other machines in [default: 127.0.0.1:8071].
    #[arg(long, env = "POSTRIDER_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// The folder for tables, queues and secrets; one runner at a time can have it [default:
    /// ./.postrider].
    #[arg(long, env = "POSTRIDER_DATA", value_name = "FOLDER", global = true)]
    data: Option<String>,
    /// Keep everything in memory, and draw new secrets at each start [default: false].
    #[arg(
        long,
        env = "POSTRIDER_EPHEMERAL",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        global = true
    )]
    ephemeral: Option<String>,
    /// Signs and verifies callers' tokens; 32 characters or more [default: one that is drawn at the
    /// first start and kept in the data folder].
    #[arg(long, env = "POSTRIDER_JWT_SECRET", hide_env_values = true, value_name = "TEXT", global = true)]
    jwt_secret: Option<String>,
    /// Seals endpoints' secrets in the tables; 32 characters or more. With another one, what was sealed
    /// cannot be read [default: one that is drawn at the first start and kept in the data folder].
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
    /// The kind of key that a new endpoint gets: hmac256 or ed25519 [default: hmac256].
    #[arg(long, env = "POSTRIDER_SIGNATURE", value_name = "KIND")]
    signature: Option<String>,
    /// How a webhook's headers are spelled: webhook (webhook-id), svix (svix-id) or both [default:
    /// webhook].
    #[arg(long, env = "POSTRIDER_HEADER_STYLE", value_name = "STYLE")]
    header_style: Option<String>,
    /// Tell what happens to endpoints and messages to the application that an organisation has in the
    /// management organisation [default: false].
    #[arg(
        long,
        env = "POSTRIDER_OPERATIONAL_WEBHOOKS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    operational_webhooks: Option<String>,
    /// Messages that one application may post in a second; what is more is answered with 429 [default:
    /// 0, no limit].
    #[arg(long, env = "POSTRIDER_MESSAGE_QUOTA", value_name = "NUMBER")]
    message_quota: Option<String>,
    /// What is logged to standard error: error, warn, info, debug or trace, or a list such as
    /// warn,deliver=debug [default: info,dynoxide=error].
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
    /// Write the environments of all functions into this file, for `sam local … --env-vars`. It holds the
    /// secrets [default: none].
    #[arg(long, env = "POSTRIDER_ENV_VARS", value_name = "FILE")]
    env_vars: Option<String>,
    /// Another template than the one that the runner was built with [default: the repository's
    /// template.yaml].
    #[arg(long, env = "POSTRIDER_TEMPLATE", value_name = "FILE")]
    template: Option<String>,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Print this.
    Print(String),
    /// Print these audit events.
    Export(Export),
    /// Run, and say where the data is.
    Run(Box<Settings>),
}

/// What is there and not empty: an empty variable counts as unset.
fn set(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

fn flag(variable: &str, value: &Option<String>) -> Result<bool, ConfigError> {
    shared::config::flag(&Env::new(|_| value.clone()), variable, false)
}

fn printed(command: &str, text: Result<String, Vec<String>>) -> Result<Task, StartError> {
    text.map(Task::Print).map_err(|problems| ConfigError::new(command, problems.join("; ")).into())
}

fn address(variable: &str, given: &str) -> Result<SocketAddr, ConfigError> {
    given.parse().map_err(|_| {
        let problem = format!("{given:?} makes no sense; it should be an address such as {LISTEN}");
        ConfigError::new(variable, problem)
    })
}

impl Cli {
    /// What was asked for. `env` is asked for region and credentials only, `input` for a secret.
    pub(crate) fn task(
        &self,
        env: &Env<'_>,
        platform: Platform,
        input: &mut dyn Read,
    ) -> Result<Task, StartError> {
        match &self.command {
            None => Ok(Task::Run(Box::new(self.flags.settings(env, platform)?))),
            Some(Command::Token(flags)) => {
                let folder = self.flags.folder()?;
                token::token(flags, set(&self.flags.jwt_secret), folder, platform, input).map(Task::Print)
            }
            Some(Command::NewOrg) => {
                Ok(Task::Print(OrgId::new(platform.clock.now(), &*platform.random).to_string()))
            }
            Some(Command::Audit(AuditFlags { url, token, after, behind })) => Ok(Task::Export(Export {
                url: url.clone(),
                token: token.clone(),
                after: after.clone(),
                behind: behind.clone(),
            })),
            Some(Command::Openapi) => printed("openapi", openapi()),
            Some(Command::Routes) => printed("routes", routes()),
            Some(Command::Cost(cost)) => Ok(Task::Print(cost.answer()?)),
        }
    }
}

impl Flags {
    /// Where data is kept; none is in memory.
    fn folder(&self) -> Result<Option<PathBuf>, ConfigError> {
        let ephemeral = flag("POSTRIDER_EPHEMERAL", &self.ephemeral)?;
        match (set(&self.data), ephemeral) {
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

    fn settings(&self, env: &Env<'_>, platform: Platform) -> Result<Settings, ConfigError> {
        let listen = address("POSTRIDER_LISTEN", set(&self.listen).unwrap_or(LISTEN))?;
        let aws_listen =
            set(&self.aws_listen).map(|given| address("POSTRIDER_AWS_LISTEN", given)).transpose()?;
        let aws_endpoint = set(&self.aws_endpoint_url).map(str::to_owned);
        if let Some(url) = aws_endpoint.as_deref()
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            let problem = format!("{url:?} makes no sense; it should be a URL such as http://127.0.0.1:4566");
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
            data: self.folder()?,
            aws_endpoint,
            aws_listen,
            env_vars: set(&self.env_vars).map(PathBuf::from),
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
            ("POSTRIDER_SIGNATURE", &self.signature),
            ("POSTRIDER_HEADER_STYLE", &self.header_style),
            ("POSTRIDER_OPERATIONAL_WEBHOOKS", &self.operational_webhooks),
            ("POSTRIDER_MESSAGE_QUOTA", &self.message_quota),
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

#[cfg(test)]
mod tests {
    use super::*;

    use shared::auth::DEFAULT_ORG;

    pub(super) const APP: &str = "app_23rb8YdGqMT0qIzpgGwdXfHirMu";
    pub(super) const LONG: &str = "a secret of more than 32 characters";

    /// What a command line comes to, whatever the environment of the test is.
    pub(super) fn task(line: &[&str]) -> Result<Task, String> {
        piped(line, "")
    }

    /// The same, with something on its standard input.
    pub(super) fn piped(line: &[&str], input: &str) -> Result<Task, String> {
        let cli = Cli::try_parse_from(["local"].iter().chain(line)).unwrap();
        cli.task(&Env::new(|_| None), Platform::system(), &mut input.as_bytes())
            .map_err(|error| error.to_string())
    }

    fn settings(line: &[&str]) -> Settings {
        match task(line) {
            Ok(Task::Run(settings)) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults() {
        let settings = settings(&[]);
        assert_eq!(settings.listen.to_string(), LISTEN);
        assert_eq!(settings.data, Some(DATA.into()));
        assert!(settings.settings.is_empty() && settings.aws_endpoint.is_none() && settings.poll);
        assert_eq!(settings.template, settings::TEMPLATE);
    }

    #[test]
    fn an_empty_retry_schedule_is_not_an_unset_one() {
        assert!(!settings(&[]).settings.contains_key("POSTRIDER_RETRY_SCHEDULE"));
        let empty = settings(&["--retry-schedule", ""]);
        assert_eq!(empty.settings["POSTRIDER_RETRY_SCHEDULE"], "");
        assert!(settings(&["--delivery-timeout", ""]).settings.is_empty());
    }

    #[test]
    fn flags_reach_their_variables() {
        let settings =
            settings(&["--ephemeral", "--https-only", "--signature=ed25519", "--listen", "[::1]:0"]);
        assert_eq!(settings.data, None);
        assert_eq!(settings.settings["POSTRIDER_HTTPS_ONLY"], "true");
        assert_eq!(settings.settings["POSTRIDER_SIGNATURE"], "ed25519");
    }

    #[test]
    fn contradictions_are_one_line_that_names_the_variable() {
        for (line, begin) in [
            (&["--listen", "8071"][..], "POSTRIDER_LISTEN: "),
            (&["--ephemeral", "--data", "x"], "POSTRIDER_EPHEMERAL: "),
            (&["--ephemeral=perhaps"], "POSTRIDER_EPHEMERAL: "),
            (&["--aws-endpoint-url", "localhost"], "AWS_ENDPOINT_URL: "),
            (&["--aws-listen", "8072"], "POSTRIDER_AWS_LISTEN: "),
            (&["--aws-listen", "127.0.0.1:0", "--aws-endpoint-url", "http://x"], "POSTRIDER_AWS_LISTEN: "),
            (&["--template", "/nowhere"], "POSTRIDER_TEMPLATE: "),
            (&["cost", "--messages", "ten"], "--messages: "),
            (&["cost", "--failure-rate", "2"], "--failure-rate: "),
            (&["cost", "--batch", "11"], "--batch: "),
            (&["token", "--org", "x", "--ephemeral"], "--org: "),
            (&["token", "--app", "ep_1", "--ephemeral"], "--app: "),
            (&["token", "--ephemeral"], "POSTRIDER_JWT_SECRET: "),
            (&["token", "--jwt-secret", "short"], "POSTRIDER_JWT_SECRET: "),
            (&["token", "--secret-stdin"], "--secret-stdin: "),
            (&["token", "--ephemeral", "--expires", "soon"], "--expires: "),
            (&["token", "--ephemeral", "--expires", "0d"], "--expires: "),
            (&["token", "--ephemeral", "--expires", "3651d"], "--expires: "),
            (&["token", "--ephemeral", "--app", APP, "--feature-flag", "a b"], "--feature-flag: "),
            (&["token", "--jwt-secret", LONG, "--jwt-algorithm", "none"], "POSTRIDER_JWT_ALGORITHM: "),
            (&["token", "--jwt-secret", LONG, "--jwt-algorithm", "EdDSA"], "POSTRIDER_JWT_SECRET: "),
        ] {
            let error = task(line).unwrap_err();
            assert!(error.starts_with(begin) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_new_organisation_is_an_id() {
        let Ok(Task::Print(id)) = task(&["new-org"]) else { panic!() };
        assert!(id.parse::<OrgId>().is_ok() && id != DEFAULT_ORG);
    }

    #[test]
    fn the_commands_of_the_documents_are_understood() {
        let mut found = 0;
        for document in [include_str!("../../docs/TOKENS.md"), include_str!("../../docs/AUDIT.md")] {
            for line in document.lines().filter_map(|line| line.split_once("-p local -- ")) {
                let words = line.1.split(['|', '>', '#', '`', ')']).next().unwrap().split_whitespace();
                let words = words.map(|word| match word {
                    "$APP" => APP,
                    "$ORG" => DEFAULT_ORG,
                    word => word.trim_matches('"'),
                });
                let words: Vec<&str> = ["local"].into_iter().chain(words).collect();
                // What the environment has of it.
                let rest = if words[1] == "audit" { ["--token", "x"] } else { ["--data", "."] };
                let cli = Cli::try_parse_from(words.iter().chain(&rest));
                let cli = cli.unwrap_or_else(|error| panic!("{error}"));
                if let Some(Command::Token(TokenFlags { expires: Some(expires), .. })) = &cli.command {
                    token::lasting(expires).unwrap();
                }
                found += 1;
            }
        }
        assert!(found >= 5, "{found}");
    }

    #[test]
    fn every_setting_is_explained_in_the_help() {
        let help = <Cli as clap::CommandFactory>::command().render_long_help().to_string();
        for flag in ["listen", "data", "ephemeral", "retry-schedule", "header-style", "aws-endpoint-url"] {
            let variable = flag.to_uppercase().replace('-', "_");
            assert!(help.contains(&format!("--{flag}")) && help.contains(&variable), "{help}");
        }
        assert!(help.contains("Examples:"));
    }
}
