//! A running installation: the services, the functions, and what calls them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use local_sqs::Counts;
use sam_template::{Grant, Template};
use shared::Platform;
use shared::auth::{DEFAULT_ORG, Tokens};
use shared::config::{Aws, ConfigError};
use shared::ids::{AppId, OrgId};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::QueueRef;
use crate::env_vars;
use crate::error::StartError;
use crate::functions::InProgress;
use crate::listeners::Listeners;
use crate::meter::{Ledger, Spent};
use crate::secrets::{self, Folder};
use crate::services::Services;
use crate::settings::{self, Settings};
use crate::wiring::Functions;

/// How often [`Stack::idle`] looks at the queues.
const IDLE_LOOK: Duration = Duration::from_millis(20);
/// What an invocation may take to delete its batch, after its function's own timeout.
const GRACE: Duration = Duration::from_secs(5);

/// A running installation. Dropped without [`Stack::stop`], it ends at once, as a killed process does.
pub struct Stack {
    address: SocketAddr,
    aws_address: Option<SocketAddr>,
    routes: usize,
    tokens: Tokens,
    functions: Functions,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    services: Services,
    // The last to go: what is above works on its files.
    _folder: Option<Folder>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Stack {
    /// Starts everything, and returns when the API answers.
    ///
    /// # Errors
    /// A setting makes no sense, a file or an address is in use, or a service does not answer.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let template = Template::parse(&settings.template)?;
        settings::check_names(&settings.settings, &template)?;
        let listeners = Listeners::bind(&settings).await?;
        let folder = settings.data.as_deref().map(Folder::open).transpose()?;
        let mut overrides = settings.overrides();
        secrets::complete(&mut overrides, settings.data.as_deref(), &*settings.platform.random)?;
        let (stop, stopped) = watch::channel(false);
        let services =
            Services::start(&settings, &overrides, &template, folder.as_ref(), stopped.clone()).await?;

        let environments: BTreeMap<String, BTreeMap<String, String>> = template
            .functions
            .iter()
            .map(|function| {
                let (names, lambda) = (&services.names, &services.variables);
                let variables = settings::environment(function, &template, &overrides, names, lambda);
                (function.name.clone(), variables)
            })
            .collect();
        let (address, aws_address) = (listeners.address(), listeners.aws_address());
        if let Some(path) = &settings.env_vars {
            let endpoint = aws_address.map(|address| format!("http://{address}"));
            env_vars::write(path, &template, &environments, endpoint.as_deref())?;
        }
        let tokens = tokens(&environments, &overrides, &services.platform)?;
        let (functions, callers) = Functions::connect(&template, &services, environments)?;
        let routes = callers.api.len();
        let tasks = listeners.spawn(&settings, &template, &services, &functions, callers, &stopped);
        Ok(Self { address, aws_address, routes, tokens, functions, stop, tasks, services, _folder: folder })
    }

    /// Where the embedded services are served to others.
    pub fn aws_address(&self) -> Option<SocketAddr> {
        self.aws_address
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The API's URL, without a slash at its end.
    pub fn url(&self) -> String {
        crate::listeners::own_url(self.address)
    }

    /// How many routes the API has.
    pub fn routes(&self) -> usize {
        self.routes
    }

    /// A token for everything in an organisation; in [`DEFAULT_ORG`] if none is named.
    ///
    /// # Panics
    /// The stack was given a public key only, which makes no tokens.
    pub fn org_token(&self, org: Option<OrgId>) -> String {
        self.tokens.for_org(org.unwrap_or_else(default_org)).expect("the stack has a key to sign with")
    }

    /// A token for one application; in [`DEFAULT_ORG`] if no organisation is named.
    ///
    /// # Panics
    /// The stack was given a public key only, which makes no tokens.
    pub fn app_token(&self, org: Option<OrgId>, app: AppId) -> String {
        let org = org.unwrap_or_else(default_org);
        self.tokens.for_app(org, app, Default::default()).expect("the stack has a key to sign with")
    }

    /// A client of the DynamoDB in use.
    pub fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        &self.services.clients.dynamodb
    }

    /// A client of the SQS in use. Its requests are counted too.
    pub fn sqs(&self) -> &aws_sdk_sqs::Client {
        &self.services.clients.sqs
    }

    /// Region, credentials and addresses of both services.
    pub fn aws(&self) -> &Aws {
        &self.services.aws
    }

    /// The name of a table, by its logical id such as `LogTable`.
    pub fn table(&self, logical_id: &str) -> Option<&str> {
        self.services.names.tables.get(logical_id).map(String::as_str)
    }

    /// A queue, by its logical id such as `DeliveriesQueue`.
    pub fn queue(&self, logical_id: &str) -> Option<&QueueRef> {
        self.services.names.queues.get(logical_id)
    }

    /// The environment that a function was connected with, such as `deliver`'s, to connect another one.
    pub fn environment(&self, function: &str) -> Option<&BTreeMap<String, String>> {
        self.functions.environments.get(function)
    }

    /// The outside world of the functions; its connections are counted.
    pub fn platform(&self) -> &Platform {
        &self.services.platform
    }

    /// What was used of DynamoDB.
    pub fn usage(&self) -> Spent {
        self.services.meter.ledger().total(|call| call.service == "DynamoDB")
    }

    /// What each function has done to tables and queues so far. What its role in the template does not
    /// allow is refused, as IAM does.
    pub fn used(&self) -> BTreeMap<String, BTreeSet<Grant>> {
        self.functions
            .role_policies
            .iter()
            .map(|(function, role_policies)| (function.clone(), role_policies.used()))
            .collect()
    }

    /// The CPU that each function's own code has used so far.
    pub fn cpu(&self) -> BTreeMap<String, Duration> {
        self.functions.cpu.iter().map(|(function, cpu)| (function.clone(), cpu.used())).collect()
    }

    /// What each function has in progress.
    pub fn in_progress(&self) -> Progress {
        Progress(self.functions.progress.clone())
    }

    /// What functions and pollers asked of DynamoDB and SQS, and what that consumed.
    pub fn ledger(&self) -> Ledger {
        self.services.meter.ledger()
    }

    /// Runs each function with a schedule now, and says how much they did. An invocation that is under
    /// way is waited for first.
    ///
    /// # Errors
    /// One failed, or gave no answer; one line.
    pub async fn run_timers(&self) -> Result<usize, String> {
        let mut all = 0;
        for function in &self.functions.scheduled {
            all += function.run().await.map_err(|error| format!("{}: {error}", function.name))?;
        }
        Ok(all)
    }

    /// Removes expired items from the embedded tables now; DynamoDB itself does so when it likes.
    pub async fn sweep(&self) {
        if let Some(embedded) = &self.services.embedded {
            embedded.dynamo.sweep().await;
        }
    }

    /// Makes the embedded queues look at the clock again, after a test has moved it.
    pub fn wake(&self) {
        if let Some(engine) = self.services.engine() {
            engine.wake();
        }
    }

    /// How many messages the queues hold that feed functions: visible, in flight or delayed.
    ///
    /// # Errors
    /// A queue does not answer; one line.
    pub async fn waiting(&self) -> Result<u64, String> {
        let mut all = 0;
        for queue in &self.functions.sources {
            all += self.services.waiting(queue).await?;
        }
        Ok(all)
    }

    /// Messages in the queues that feed functions that are due or in a function's hands: those that wait for their time
    /// are none of them.
    ///
    /// # Errors
    /// A queue does not answer; one line.
    pub async fn due(&self) -> Result<u64, String> {
        let mut all = 0;
        for queue in &self.functions.sources {
            all += self.services.due(queue).await?;
        }
        Ok(all)
    }

    /// Counts the messages in the embedded queues that feed no function, which are the dead-letter queues: whenever
    /// it is called, and also when the stack has ended. `None` beside foreign services.
    pub fn dead_letters(&self) -> Option<impl Fn() -> usize + Send + Sync + use<>> {
        let counts = self.embedded_queues(false)?;
        Some(move || counts().map(|(_, counts)| counts.visible + counts.in_flight + counts.delayed).sum())
    }

    /// Counts the jobs in the embedded queues that feed functions and that are due or in a function's hands, by the
    /// queue's name, where there are any. Those that wait for their time are none of them. `None` beside foreign
    /// services.
    pub fn jobs_due(&self) -> Option<impl Fn() -> BTreeMap<String, usize> + Send + Sync + use<>> {
        let counts = self.embedded_queues(true)?;
        Some(move || {
            let due = counts().map(|(queue, counts)| (queue, counts.visible + counts.in_flight));
            due.filter(|(_, count)| *count > 0).collect()
        })
    }

    /// Looks at the embedded queues that feed functions, or at those that do not.
    fn embedded_queues(
        &self,
        feeding: bool,
    ) -> Option<impl Fn() -> std::vec::IntoIter<(String, Counts)> + Send + Sync + use<>> {
        let engine = self.services.engine()?.clone();
        let feeds = |queue: &QueueRef| self.functions.sources.iter().any(|source| source.url == queue.url);
        let queues = self.services.names.queues.values().filter(|queue| feeds(queue) == feeding);
        let queues: Vec<String> = queues.map(|queue| queue.name.clone()).collect();
        Some(move || {
            let counts = queues.iter().filter_map(|queue| Some((queue.clone(), engine.counts(queue)?)));
            counts.collect::<Vec<_>>().into_iter()
        })
    }

    /// Completes when the queues that feed functions hold no message. Two looks in a row have to find
    /// that: a message can go from a queue that was not yet looked at to one that was.
    pub async fn idle(&self) {
        let mut empty = 0;
        while empty < 2 {
            match self.waiting().await {
                Ok(0) => empty += 1,
                Ok(_) => empty = 0,
                Err(error) => {
                    tracing::debug!(error, "the queues could not be looked at");
                    empty = 0;
                }
            }
            tokio::time::sleep(IDLE_LOOK).await;
        }
    }

    /// Stops as Ctrl-C does: no new request, batch or tick; what is under way is brought to its end;
    /// what was queued stays queued, in a data folder for the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let drained = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a part of the runner has panicked");
                }
            }
        };
        if tokio::time::timeout(self.functions.longest + GRACE, drained).await.is_err() {
            tracing::warn!("invocations in progress were given up");
        }
        self.tasks.shutdown().await;
        // The services last: what came to its end above needed them.
        self.services.stop().await;
    }
}

/// What functions have in progress, now and later.
#[derive(Clone, Debug)]
pub struct Progress(BTreeMap<String, InProgress>);

impl Progress {
    /// The functions that have requests, jobs or ticks in progress, and how many.
    pub fn now(&self) -> Vec<(&str, usize)> {
        let all = self.0.iter().map(|(function, progress)| (function.as_str(), progress.now()));
        all.filter(|(_, number)| *number > 0).collect()
    }
}

fn default_org() -> OrgId {
    DEFAULT_ORG.parse().expect("the constant is an id")
}

/// Makes tokens as the functions do that verify them.
fn tokens(
    environments: &BTreeMap<String, BTreeMap<String, String>>,
    overrides: &BTreeMap<String, String>,
    platform: &Platform,
) -> Result<Tokens, ConfigError> {
    let verifier = environments.values().find(|variables| variables.contains_key(secrets::SECRETS[0]));
    Tokens::read(&settings::env(verifier.unwrap_or(overrides)), platform.clock.clone())
}

#[cfg(test)]
#[path = "stack_tests.rs"]
mod tests;
