//! The command line: commands, flags and variables, and what they come to.

mod dev;
mod token;

use std::ffi::OsString;
use std::io::Read;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use shared::Platform;
use shared::config::{ConfigError, Env};
use shared::ids::{AuditId, OrgId};

use crate::audit::Export;
use crate::commands::{OpsFlags, Shell, completions};
use crate::cost::CostFlags;
use crate::error::StartError;
use crate::openapi::{openapi, routes};
use crate::settings::Settings;

use dev::DevFlags;
pub(crate) use dev::LISTEN;
use token::TokenFlags;

/// What is done where no command is named.
const DEFAULT: &str = "dev";

const EXAMPLES: &str = "\
Without a command, `dev` runs: `postrider --ephemeral` is `postrider dev --ephemeral`.

Examples:
  Start on the default address and keep everything in ./.postrider:
    postrider

  Start on a free port with nothing kept, and retry three times, a second apart:
    postrider dev --ephemeral --listen 127.0.0.1:0 --retry-schedule 1,1,1";

/// Postrider on this machine, and tools for any installation.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The flags that were given, by the variables that they stand for.
    #[arg(skip)]
    given: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run Postrider: the API, its tables and queues, deliveries and retries, in one process. Nothing
    /// else has to be installed or running.
    #[command(visible_aliases = ["serve", "start", "run"])]
    Dev(Box<DevFlags>),
    /// Print a token, signed with the secret that the local runner uses or with one that is given, and
    /// nothing else.
    Token(TokenFlags),
    /// Generate an organisation ID. Organisations need no registration: one exists as soon as a token
    /// names it.
    NewOrg,
    /// Print an organisation's audit events, oldest first, one JSON object per line.
    Audit(AuditFlags),
    /// Print the API's OpenAPI document, as the functions' code describes it.
    Openapi,
    /// Print every operation of the API: method, path, the function that answers it, and its ID.
    Routes,
    /// Print what a month costs in AWS, by list prices.
    Cost(CostFlags),
    /// Print a script with which a shell completes commands and flags.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// What an operator does to a stack in AWS: its queues, its concurrency, its first token.
    Ops(OpsFlags),
    /// What is done against a server, through its API.
    #[command(flatten)]
    Remote(cli::Command),
}

#[derive(Debug, Args)]
struct AuditFlags {
    /// Where the API is, here or in the cloud [env: POSTRIDER_SERVER_URL] [default: http://127.0.0.1:8071].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// An organisation's token [env: TOKEN, POSTRIDER_TOKEN].
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Only what happened after this time, such as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// Only what comes after this event (audit_…): continues where an export has ended.
    #[arg(long, value_name = "ID")]
    behind: Option<String>,
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

/// Moves a server and a token that stand before a command after its name, where they belong:
/// `postrider --server-url URL app list`.
fn connection_last(line: &mut [OsString]) {
    const FLAGS: [&str; 3] = ["--server-url", "--token", "--profile"];
    let mut command = 1;
    while let Some(word) = line.get(command).and_then(|word| word.to_str()) {
        match word.split_once('=') {
            Some((flag, _)) if FLAGS.contains(&flag) => command += 1,
            None if FLAGS.contains(&word) => command += 2,
            _ => break,
        }
    }
    if command > 1 && command < line.len() {
        line[1..=command].rotate_right(1);
    }
}

impl AuditFlags {
    fn export(&self, env: &Env<'_>) -> Result<Export, ConfigError> {
        let Self { url, token, after, behind } = self;
        let given = |flag: &Option<String>, variables: &[&str]| {
            let named = variables.iter().find_map(|name| env.optional(name).filter(|text| !text.is_empty()));
            flag.clone().or(named)
        };
        let url = given(url, &["POSTRIDER_SERVER_URL"]).unwrap_or_else(|| format!("http://{LISTEN}"));
        let token = given(token, &["TOKEN", "POSTRIDER_TOKEN"]);
        let wrong = |flag: &str, problem: String| Err(ConfigError::new(flag, problem));
        let Some(token) = token.filter(|token| !token.trim().is_empty()) else {
            return wrong("--token", "give an organisation's token, or set POSTRIDER_TOKEN".to_owned());
        };
        if token.trim().contains(char::is_control) {
            return wrong("--token", "the token has a line break in it; give it without".to_owned());
        }
        let token = token.trim().to_owned();
        if !url.contains("://") {
            return wrong("--url", format!("{url:?} has no scheme; did you mean http://{url}?"));
        }
        if url.parse::<http::Uri>().is_err() {
            return wrong(
                "--url",
                format!("invalid value {url:?}: expected a URL such as http://127.0.0.1:8071"),
            );
        }
        if let Some(id) = behind
            && id.parse::<AuditId>().is_err()
        {
            return wrong("--behind", format!("{id:?} is not an audit event ID (audit_ and 27 characters)"));
        }
        Ok(Export { url, token, after: after.clone(), behind: behind.clone() })
    }
}

/// All commands, for what describes them.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// Reads a command line; what does not name a command is for the default one.
    ///
    /// # Errors
    /// It cannot be understood, or asks for help.
    pub(crate) fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut line: Vec<OsString> = line.into_iter().collect();
        connection_last(&mut line);
        let about = ["-h", "--help", "-V", "--version"];
        let first = line.get(1).and_then(|word| word.to_str());
        if first.is_none_or(|word| word.starts_with('-') && !about.contains(&word)) {
            line.insert(line.len().min(1), DEFAULT.into());
        }
        let command = Self::command();
        let matches = command.clone().try_get_matches_from(line)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let Some((name, matches)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            for flag in command.get_arguments() {
                let given = matches.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine);
                if let (true, Some(variable), Some(long)) = (given, flag.get_env(), flag.get_long()) {
                    cli.given.push((variable.to_string_lossy().into_owned(), format!("--{long}")));
                }
            }
        }
        Ok(cli)
    }

    /// The command against a server, if it is one; otherwise the command line itself.
    ///
    /// # Errors
    /// It is a command of the runner's.
    pub(crate) fn remote(self) -> Result<cli::Command, Box<Self>> {
        match self.command {
            Command::Remote(command) => Ok(command),
            command => Err(Box::new(Self { command, ..self })),
        }
    }

    /// The operation on a stack, if it is one.
    pub(crate) fn operation(&self) -> Option<&OpsFlags> {
        match &self.command {
            Command::Ops(flags) => Some(flags),
            _ => None,
        }
    }

    /// An error as whoever typed the command sees it: with the flags that were used in place of the
    /// variables that they stand for.
    pub(crate) fn explain(&self, error: &StartError) -> String {
        self.given.iter().fold(error.to_string(), |text, (variable, flag)| text.replace(variable, flag))
    }

    /// What was asked for. `env` is asked for region, credentials, a server and its token, `input` for a secret.
    pub(crate) fn task(
        &self,
        env: &Env<'_>,
        platform: Platform,
        input: &mut dyn Read,
    ) -> Result<Task, StartError> {
        match &self.command {
            Command::Dev(flags) => Ok(Task::Run(Box::new(flags.settings(env, platform)?))),
            Command::Token(flags) => token::token(flags, platform, input).map(Task::Print),
            Command::NewOrg => {
                Ok(Task::Print(OrgId::new(platform.clock.now(), &*platform.random).to_string()))
            }
            Command::Audit(flags) => Ok(Task::Export(flags.export(env)?)),
            Command::Openapi => printed("openapi", openapi()),
            Command::Routes => printed("routes", routes()),
            Command::Cost(cost) => Ok(Task::Print(cost.answer()?)),
            Command::Completions { shell } => Ok(Task::Print(completions(*shell, command()))),
            Command::Remote(_) | Command::Ops(_) => unreachable!("taken out by `remote` and `operation`"),
        }
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
        let cli = Cli::read(["postrider"].iter().chain(line).map(OsString::from)).unwrap();
        cli.task(&Env::new(|_| None), Platform::system(), &mut input.as_bytes())
            .map_err(|error| cli.explain(&error))
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
        assert_eq!(settings.listen.to_string(), dev::LISTEN);
        assert_eq!(settings.data, Some(dev::DATA.into()));
        assert!(settings.settings.is_empty() && settings.aws_endpoint.is_none() && settings.poll);
        assert_eq!(settings.template, crate::TEMPLATE);
    }

    #[test]
    fn a_server_before_a_command_is_the_commands() {
        let moved = |words: &str| {
            let mut line: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            connection_last(&mut line);
            line.join(std::ffi::OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(moved("p --server-url URL app list"), "p app --server-url URL list");
        assert_eq!(moved("p --token=T --profile x tail --app a"), "p tail --token=T --profile x --app a");
        for same in ["p app list --token T", "p --ephemeral --token T", "p --token", "p --token T", "p"] {
            assert_eq!(moved(same), same);
        }
        for words in [
            &["postrider", "--server-url", "http://a", "app", "list"][..],
            &["postrider", "--token=t", "tail"],
        ] {
            let cli = Cli::read(words.iter().map(OsString::from)).unwrap();
            assert!(cli.remote().is_ok(), "{words:?}");
        }
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
    fn errors_are_one_line_that_names_the_flag() {
        for (line, begin) in [
            (&["--listen", "8071"][..], "--listen: "),
            (&["--ephemeral", "--data", "x"], "--ephemeral: "),
            (&["--ephemeral=perhaps"], "--ephemeral: "),
            (&["--aws-endpoint-url", "localhost"], "--aws-endpoint-url: "),
            (&["--aws-listen", "8072"], "--aws-listen: "),
            (&["--aws-listen", "127.0.0.1:0", "--aws-endpoint-url", "http://x"], "--aws-listen: "),
            (&["--template", "/nowhere"], "--template: "),
            (&["--cors-origins", "http://localhost:3000/"], "--cors-origins: "),
            (&["cost", "--messages", "ten"], "--messages: "),
            (&["cost", "--failure-rate", "2"], "--failure-rate: "),
            (&["cost", "--batch", "11"], "--batch: "),
            (&["token", "--org", "x", "--ephemeral"], "--org: "),
            (&["token", "--app", "ep_1", "--ephemeral"], "--app: "),
            (&["token", "--ephemeral"], "--ephemeral: "),
            (&["token", "--jwt-secret", "short"], "--jwt-secret: "),
            (&["token", "--secret-stdin"], "--secret-stdin: "),
            (&["token", "--data", "/nowhere/at/all"], "--data: "),
            (&["audit", "--token", "x", "--url", "127.0.0.1:8071"], "--url: "),
            (&["audit"], "--token: "),
            (&["audit", "--token", "a\nb"], "--token: "),
            (&["audit", "--token", "x", "--behind", "foo"], "--behind: "),
            (&["token", "--ephemeral", "--expires", "soon"], "--expires: "),
            (&["token", "--ephemeral", "--expires", "0d"], "--expires: "),
            (&["token", "--ephemeral", "--expires", "3651d"], "--expires: "),
            (&["token", "--ephemeral", "--app", APP, "--feature-flag", "a b"], "--feature-flag: "),
            (&["token", "--jwt-secret", LONG, "--jwt-algorithm", "none"], "--jwt-algorithm: "),
            (&["token", "--jwt-secret", LONG, "--jwt-algorithm", "EdDSA"], "--jwt-secret: "),
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
                let words: Vec<&str> = ["postrider"].into_iter().chain(words).collect();
                // What the environment has of it.
                let rest: &[&str] = if words[1] == "audit" { &["--token", "x"] } else { &[] };
                let cli = Cli::read(words.iter().chain(rest).map(OsString::from));
                let cli = cli.unwrap_or_else(|error| panic!("{error}"));
                if let Command::Token(flags) = &cli.command
                    && let Some(expires) = &flags.wanted.expires
                {
                    crate::token::lasting(expires).unwrap();
                }
                found += 1;
            }
        }
        assert!(found >= 5, "{found}");
    }

    #[test]
    fn the_commands_of_the_operators_are_understood() {
        let document = include_str!("../../docs/OPERATIONS.md");
        let quoted = document.split('`').skip(1).step_by(2).filter(|text| text.starts_with("postrider "));
        let lines = document.lines().filter(|line| line.starts_with("postrider "));
        let mut found = 0;
        for text in quoted.chain(lines).filter(|text| !text.contains('…')) {
            let words = text.split('#').next().unwrap_or_default().split_whitespace();
            let words = words.map(|word| word.trim_matches('"'));
            Cli::read(words.map(OsString::from)).unwrap_or_else(|error| panic!("{text}: {error}"));
            found += 1;
        }
        assert!(found >= 8, "{found}");
    }

    #[test]
    fn every_setting_is_explained_in_the_help() {
        let mut command = Cli::command();
        assert!(command.render_long_help().to_string().contains("Examples:"));
        let help = command.find_subcommand_mut(DEFAULT).unwrap().render_long_help().to_string();
        for flag in ["listen", "data", "ephemeral", "retry-schedule", "header-style", "aws-endpoint-url"] {
            let variable = flag.to_uppercase().replace('-', "_");
            assert!(help.contains(&format!("--{flag}")) && help.contains(&variable), "{help}");
        }
    }

    #[test]
    fn dev_is_what_runs_without_a_command_and_has_aliases() {
        for name in ["dev", "serve", "start", "run"] {
            assert_eq!(settings(&[name, "--ephemeral"]).data, None);
        }
        assert_eq!(settings(&["--ephemeral"]).data, None);
        let cli = Cli::read(["postrider", "--data", "x", "token"].map(OsString::from));
        assert!(cli.unwrap_err().to_string().contains("token"));
    }

    #[test]
    fn names_of_machines_are_looked_up() {
        assert!(settings(&["--listen", "localhost:8071"]).listen.ip().is_loopback());
        assert_eq!(settings(&["--aws-listen", "localhost:0"]).aws_listen.unwrap().port(), 0);
    }
}
