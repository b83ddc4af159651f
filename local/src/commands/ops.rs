//! `postrider ops`: what an operator does to a stack in AWS at three in the morning, without Rust, SAM or AWS's
//! command line.
//!
//! Queues are found by their names: those that CloudFormation gives (`STACK-DeliveriesDeadQueue-…`), and
//! those of a local runner (`STACK-deliveries-dead`).

mod api;
mod stack;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::QueueAttributeName as Attribute;
use clap::{Args, Subcommand, ValueEnum};
use shared::Platform;
use shared::config::{Aws, ConfigError, Env};
use shared::error::Chain;

use self::api::Api;
use crate::aws::{Clients, short_name};
use crate::token::Wanted;

/// How often a move is looked at, and for how long.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS_MAX: u32 = 3_600;
/// SQS moves at most 500 a second.
const RATE_MAX: i32 = 500;
/// Pages of queues with a stack's prefix; each has up to 1,000.
const PAGES_MAX: usize = 10;

/// `postrider ops`
#[derive(Debug, Args)]
pub(crate) struct OpsFlags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Args)]
struct Where {
    /// The stack's name.
    #[arg(long, value_name = "NAME", default_value = "postrider")]
    stack: String,
    /// Another address than AWS's, such as a runner's --aws-listen, which has SQS alone.
    #[arg(long, value_name = "URL")]
    aws_endpoint_url: Option<String>,
}

impl Where {
    /// Region, credentials and addresses.
    fn aws(&self, env: &Env<'_>) -> Result<Aws, OpsError> {
        let mut aws = Aws::read(env)?;
        if let Some(url) = &self.aws_endpoint_url {
            if !url.contains("://") {
                let problem = format!("{url:?} has no scheme; did you mean http://{url}?");
                return Err(ConfigError::new("--aws-endpoint-url", problem).into());
            }
            aws.sqs_endpoint = Some(url.clone());
        }
        Ok(aws)
    }

    fn api(&self, env: &Env<'_>) -> Result<Api, OpsError> {
        Api::new(&self.aws(env)?, self.aws_endpoint_url.as_deref(), env)
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show how many jobs are in each queue: waiting, in progress, delayed.
    Queues(Where),
    /// Send the dead letters of a queue back to it, and wait until that is done.
    Redrive {
        /// The queue that they came from.
        queue: Source,
        #[command(flatten)]
        place: Where,
        /// Jobs per second, 1 to 500.
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        rate: i32,
        /// Do it; without, it is only counted.
        #[arg(long)]
        yes: bool,
    },
    /// Show or change how many invocations may take jobs from a queue at a time. The next deployment sets the
    /// template's parameter again.
    Concurrency {
        /// The queue.
        queue: Source,
        /// 2 to 1,000; without, it is only shown.
        #[arg(value_name = "NUMBER")]
        invocations: Option<u32>,
        #[command(flatten)]
        place: Where,
    },
    /// Print a token, signed with the stack's secret: the first one of an installation, or any other.
    Token {
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        wanted: Wanted,
    },
}

/// A queue that feeds a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    Deliveries,
    Retries,
    Background,
    Ingest,
}

impl Source {
    const fn ids(self) -> (&'static str, &'static str) {
        match self {
            Self::Deliveries => ("DeliveriesQueue", "DeliveriesDeadQueue"),
            Self::Retries => ("RetriesQueue", "RetriesDeadQueue"),
            Self::Background => ("BackgroundQueue", "BackgroundDeadQueue"),
            Self::Ingest => ("IngestQueue", "IngestDeadQueue"),
        }
    }

    /// The template's parameter for how many invocations there are at a time.
    const fn parameter(self) -> &'static str {
        match self {
            Self::Deliveries => "DeliveriesConcurrency",
            Self::Retries => "RetriesConcurrency",
            Self::Background => "BackgroundConcurrency",
            Self::Ingest => "IngestConcurrency",
        }
    }
}

/// Why an operation was not done, in one line. The exit code is that of the other commands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpsError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Usage(String),
    #[error("{service} refused: {problem}")]
    Refused { service: &'static str, problem: String },
    #[error("cannot reach {service}: {problem}. Check AWS_REGION, --aws-endpoint-url and your network")]
    Unreachable { service: &'static str, problem: String },
    #[error("{0}")]
    Token(String),
}

impl OpsError {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Refused { .. } => 1,
            Self::Config(_) | Self::Usage(_) | Self::Token(_) => 2,
            Self::Unreachable { .. } => 3,
        }
    }

    const fn refused(service: &'static str, problem: String) -> Self {
        Self::Refused { service, problem }
    }

    const fn unreachable(service: &'static str, problem: String) -> Self {
        Self::Unreachable { service, problem }
    }

    fn sdk<E, R>(error: aws_sdk_sqs::error::SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        match error.as_service_error() {
            Some(error) => {
                let said = error.message().map_or_else(|| Chain(error).to_string(), str::to_owned);
                Self::refused("SQS", said.replace(char::is_control, " "))
            }
            None => Self::unreachable("SQS", Chain(&error).to_string()),
        }
    }
}

struct Queues {
    sqs: Client,
    /// URLs by logical ID.
    urls: BTreeMap<&'static str, String>,
}

/// The logical ID of a stack's queue with that name.
fn logical(stack: &str, name: &str) -> Option<&'static str> {
    const IDS: [&str; 8] = [
        "DeliveriesQueue",
        "DeliveriesDeadQueue",
        "RetriesQueue",
        "RetriesDeadQueue",
        "BackgroundQueue",
        "BackgroundDeadQueue",
        "IngestQueue",
        "IngestDeadQueue",
    ];
    let rest = name.strip_prefix(stack)?.strip_prefix('-')?;
    let cloud = |id: &str| {
        let suffix = rest.strip_prefix(id).and_then(|rest| rest.strip_prefix('-'));
        suffix.is_some_and(|suffix| !suffix.is_empty() && suffix.bytes().all(|c| c.is_ascii_alphanumeric()))
    };
    IDS.into_iter().find(|id| rest == short_name(id, "Queue") || cloud(id))
}

impl Queues {
    async fn of(place: &Where, env: &Env<'_>, platform: &Platform) -> Result<Self, OpsError> {
        let aws = place.aws(env)?;
        let sqs = Clients::new(&aws, platform).sqs;
        let mut urls = BTreeMap::new();
        let mut pages = sqs
            .list_queues()
            .queue_name_prefix(format!("{}-", place.stack))
            .into_paginator()
            .page_size(1_000)
            .send();
        for _ in 0..PAGES_MAX {
            let Some(page) = pages.next().await else { break };
            for url in page.map_err(OpsError::sdk)?.queue_urls() {
                let name = url.rsplit('/').next().unwrap_or_default();
                if let Some(id) = logical(&place.stack, name)
                    && let Some(other) = urls.insert(id, url.clone())
                {
                    let problem = format!("--stack: two queues are its {id}: {other} and {url}");
                    return Err(OpsError::Usage(problem));
                }
            }
        }
        if urls.is_empty() {
            let problem = format!("--stack: no queues of a stack {:?} in region {}", place.stack, aws.region);
            return Err(OpsError::Usage(problem));
        }
        Ok(Self { sqs, urls })
    }

    fn url(&self, id: &str) -> Result<&String, OpsError> {
        self.urls.get(id).ok_or_else(|| OpsError::Usage(format!("--stack: it has no {id}")))
    }

    async fn attributes(&self, url: &str) -> Result<impl Fn(Attribute) -> String, OpsError> {
        let asked =
            self.sqs.get_queue_attributes().queue_url(url).attribute_names(Attribute::All).send().await;
        let attributes = asked.map_err(OpsError::sdk)?.attributes.unwrap_or_default();
        Ok(move |name| attributes.get(&name).cloned().unwrap_or_default())
    }

    async fn table(&self) -> Result<String, OpsError> {
        let mut text = format!("{:<22}{:>9}{:>13}{:>9}", "QUEUE", "WAITING", "IN PROGRESS", "DELAYED");
        for (id, url) in &self.urls {
            let of = self.attributes(url).await?;
            let _infallible = write!(
                text,
                "\n{id:<22}{:>9}{:>13}{:>9}",
                of(Attribute::ApproximateNumberOfMessages),
                of(Attribute::ApproximateNumberOfMessagesNotVisible),
                of(Attribute::ApproximateNumberOfMessagesDelayed),
            );
        }
        Ok(text)
    }

    async fn redrive(
        &self,
        from: Source,
        rate: i32,
        yes: bool,
        platform: &Platform,
    ) -> Result<String, OpsError> {
        let (source, dead) = from.ids();
        let dead_letters = self.attributes(self.url(dead)?).await?;
        let count = dead_letters(Attribute::ApproximateNumberOfMessages);
        if count == "0" {
            return Ok(format!("{dead} is empty: nothing to do"));
        }
        if !yes {
            return Err(OpsError::Usage(format!(
                "{dead} has {count} dead letters. Nothing was done: add --yes to send them back to {source}"
            )));
        }
        let arn = dead_letters(Attribute::QueueArn);
        let destination = self.attributes(self.url(source)?).await?(Attribute::QueueArn);
        let start = self.sqs.start_message_move_task().source_arn(&arn).destination_arn(destination);
        start.max_number_of_messages_per_second(rate).send().await.map_err(OpsError::sdk)?;
        for _ in 0..LOOKS_MAX {
            let tasks =
                self.sqs.list_message_move_tasks().source_arn(&arn).send().await.map_err(OpsError::sdk)?;
            let Some(task) = tasks.results().first() else { break };
            let moved = task.approximate_number_of_messages_moved();
            match task.status() {
                Some("COMPLETED") => return Ok(format!("{moved} jobs moved from {dead} to {source}")),
                Some("RUNNING") => platform.clock.sleep(LOOK).await,
                status => {
                    let why = task.failure_reason().or(status).unwrap_or("no reason");
                    let problem = format!("the move ended after {moved} jobs: {why}");
                    return Err(OpsError::refused("SQS", problem));
                }
            }
        }
        Ok(format!("The move from {dead} to {source} goes on; `postrider ops queues` shows how far it is"))
    }
}

/// Shows or changes how many invocations take jobs from a queue at a time.
async fn concurrency(
    queue: Source,
    wanted: Option<u32>,
    place: &Where,
    env: &Env<'_>,
    platform: &Platform,
) -> Result<String, OpsError> {
    if wanted.is_some_and(|wanted| !stack::CONCURRENCY.contains(&wanted)) {
        return Err(OpsError::Usage("NUMBER: expected 2 to 1000".into()));
    }
    let api = place.api(env)?;
    let queues = Queues::of(place, env, platform).await?;
    let (id, _) = queue.ids();
    let arn = queues.attributes(queues.url(id)?).await?(Attribute::QueueArn);
    let mapping = stack::mapping(&api, &arn, platform).await?;
    let was = mapping.concurrency.map_or_else(|| "no limit".to_owned(), |number| number.to_string());
    let Some(wanted) = wanted else {
        return Ok(format!("{id}: at most {was} invocations at a time, {}", mapping.state));
    };
    stack::set_concurrency(&api, &mapping, wanted, platform).await?;
    let parameter = queue.parameter();
    Ok(format!(
        "{id}: at most {wanted} invocations at a time from now on (before: {was}). The next deployment sets it back: \
         add {parameter}={wanted} to its parameters"
    ))
}

impl OpsFlags {
    /// Does it, and returns what to print.
    pub(crate) async fn run(&self, env: &Env<'_>, platform: &Platform) -> Result<String, OpsError> {
        match &self.action {
            Action::Queues(place) => Queues::of(place, env, platform).await?.table().await,
            Action::Redrive { queue, place, rate, yes } => {
                if !(1..=RATE_MAX).contains(rate) {
                    return Err(OpsError::Usage(format!("--rate: expected 1 to {RATE_MAX}")));
                }
                Queues::of(place, env, platform).await?.redrive(*queue, *rate, *yes, platform).await
            }
            Action::Concurrency { queue, invocations, place } => {
                concurrency(*queue, *invocations, place, env, platform).await
            }
            Action::Token { place, wanted } => {
                let (secret, algorithm) = stack::secret(&place.api(env)?, &place.stack, platform).await?;
                let token = wanted.signed(Some(secret), algorithm, platform.clone());
                token.map_err(|error| OpsError::Token(error.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_found_by_the_names_of_cloudformation_and_of_the_runner() {
        assert_eq!(logical("s", "s-DeliveriesDeadQueue-1aB2c"), Some("DeliveriesDeadQueue"));
        assert_eq!(logical("s", "s-DeliveriesQueue-1aB2c"), Some("DeliveriesQueue"));
        assert_eq!(logical("s", "s-background-dead"), Some("BackgroundDeadQueue"));
        for other in
            ["s-DeliveriesQueue-", "s-DeliveriesQueue-a-b", "s2-DeliveriesQueue-x", "s-other", "s", "x"]
        {
            assert_eq!(logical("s", other), None, "{other}");
        }
    }

    #[test]
    fn queues_and_parameters_are_the_templates() {
        for source in Source::value_variants() {
            let (queue, dead) = source.ids();
            for name in [queue, dead, source.parameter()] {
                assert!(crate::TEMPLATE.contains(&format!("\n  {name}:\n")), "{name}");
            }
        }
    }

    #[tokio::test]
    async fn a_stack_is_looked_at_and_its_dead_letters_are_sent_back() {
        let mut settings = crate::Settings::ephemeral();
        settings.poll = false;
        settings.aws_listen = Some("127.0.0.1:0".parse().unwrap());
        let stack = crate::Stack::start(settings).await.unwrap();
        let endpoint = format!("http://{}", stack.aws_address().unwrap());
        let platform = Platform::system();
        let env = Env::new(|name| match name {
            "AWS_REGION" => Some("us-east-1".into()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("local".into()),
            _ => None,
        });
        let run = async |action| OpsFlags { action }.run(&env, &platform).await;
        let place = |stack: &str| Where { stack: stack.into(), aws_endpoint_url: Some(endpoint.clone()) };
        let redrive =
            |yes, rate| Action::Redrive { queue: Source::Deliveries, place: place("postrider"), rate, yes };
        assert!(run(redrive(true, 50)).await.unwrap().contains("is empty"));
        let dead = stack.queue("DeliveriesDeadQueue").unwrap().url.clone();
        for nth in 0..3 {
            stack.sqs().send_message().queue_url(&dead).message_body(nth.to_string()).send().await.unwrap();
        }
        let table = run(Action::Queues(place("postrider"))).await.unwrap();
        let row = table.lines().find(|line| line.starts_with("DeliveriesDeadQueue")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["DeliveriesDeadQueue", "3", "0", "0"]);
        let asked = run(redrive(false, 50)).await.unwrap_err();
        assert!(asked.to_string().contains("has 3 dead letters") && asked.code() == 2, "{asked}");
        assert_eq!(
            run(redrive(true, 500)).await.unwrap(),
            "3 jobs moved from DeliveriesDeadQueue to DeliveriesQueue"
        );
        let table = run(Action::Queues(place("postrider"))).await.unwrap();
        let row = table.lines().find(|line| line.starts_with("DeliveriesQueue")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["DeliveriesQueue", "3", "0", "0"]);

        assert!(run(redrive(true, 0)).await.unwrap_err().to_string().starts_with("--rate: "));
        assert!(run(Action::Queues(place("other"))).await.unwrap_err().to_string().starts_with("--stack: "));
        let nowhere = Where { stack: "x".into(), aws_endpoint_url: Some("localhost".into()) };
        assert_eq!(run(Action::Queues(nowhere)).await.unwrap_err().code(), 2);
        let none = OpsFlags { action: Action::Queues(place("postrider")) };
        assert!(
            none.run(&Env::new(|_| None), &platform).await.unwrap_err().to_string().contains("AWS_REGION")
        );
        stack.stop().await;
    }
}
