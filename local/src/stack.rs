//! A running installation: the services, the functions, and what calls them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use shared::Platform;
use shared::auth::{DEFAULT_ORG, Tokens};
use shared::clock::SharedClock;
use shared::config::{Aws, ConfigError};
use shared::draining::Draining;
use shared::error::Chain;
use shared::ids::{AppId, OrgId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::{Clients, Names, QueueRef};
use crate::cors::Cors;
use crate::cpu::Cpu;
use crate::dev::Dev;
use crate::dynamo::{self, Dynamo};
use crate::functions::{InProgress, told};
use crate::in_process::InProcess;
use crate::meter::{Ledger, Metered, Spent};
use crate::metrics::Registry;
use crate::pace::{self, Pace};
use crate::permits::Permits;
use crate::poller::Patience;
use crate::schedule::Scheduled;
use crate::scrape::{Front, Sources};
use crate::secrets::{self, Folder, FolderError};
use crate::server;
use crate::settings::{self, REGION, Settings};
use crate::sqs::Sqs;
use crate::wiring::{Callers, callers, timeout};
use crate::{env_vars, gate};
use sam_template::{Grant, Template, TemplateError};

/// How often [`Stack::idle`] looks at the queues.
const IDLE_LOOK: Duration = Duration::from_millis(20);
/// How often expired items are removed.
const SWEEP: Duration = Duration::from_secs(60);
/// What an invocation may take to delete its batch, after its function's own timeout.
const GRACE: Duration = Duration::from_secs(5);
/// The variables that say where to listen.
const LISTEN: &str = "POSTRIDER_LISTEN";
const AWS_LISTEN: &str = "POSTRIDER_AWS_LISTEN";
/// In the data folder.
const TABLES_FILE: &str = "dynamodb.sqlite";
const QUEUES_FILE: &str = "sqs.sqlite";

/// Why a stack did not start. One line each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is missing or makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The template cannot be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The template names something that is not here.
    #[error("template: {0}")]
    Function(String),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The embedded queues did not open.
    #[error(transparent)]
    Queues(#[from] local_sqs::Error),
    /// Audit events were not exported, or not all of them.
    #[error("audit: {0}")]
    Export(String),
    /// An embedded service did not start.
    #[error("the embedded {service} did not start: {problem}")]
    Embedded {
        /// Which one.
        service: &'static str,
        /// Why.
        problem: String,
    },
    /// A table or a queue could not be created or looked up.
    #[error("{service}: cannot create or find {name:?}: {problem}")]
    Service {
        /// DynamoDB or SQS.
        service: &'static str,
        /// The table or queue.
        name: String,
        /// Why, with all causes.
        problem: String,
    },
}

impl StartError {
    pub(crate) fn service(
        service: &'static str,
        name: &str,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let problem = Chain(error).to_string().replace(char::is_control, " ");
        Self::Service { service, name: name.to_owned(), problem }
    }
}

/// A running installation. Dropped without [`Stack::stop`], it ends at once, as a killed process does.
pub struct Stack {
    address: SocketAddr,
    aws_address: Option<SocketAddr>,
    routes: usize,
    tokens: Tokens,
    platform: Platform,
    meter: Metered,
    aws: Aws,
    clients: Clients,
    names: Names,
    environments: BTreeMap<String, BTreeMap<String, String>>,
    scheduled: Vec<Arc<Scheduled>>,
    permits: BTreeMap<String, Permits>,
    cpu: BTreeMap<String, Cpu>,
    progress: BTreeMap<String, InProgress>,
    sources: Vec<QueueRef>,
    longest: Duration,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    sqs: Option<Sqs>,
    dynamo: Option<Dynamo>,
    // The last to go: what is above works on its files.
    _folder: Option<Folder>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The API's URL as a browser on this machine opens it.
fn own_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

impl Stack {
    /// Starts everything, and returns when the API answers.
    ///
    /// # Errors
    /// A setting makes no sense, a file or an address is in use, or a service does not answer.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let template = Template::parse(&settings.template)?;
        settings::check_names(&settings.settings, &template)?;
        // First what costs nothing and most often goes wrong.
        let listener = listen(LISTEN, settings.listen).await?;
        let folder = settings.data.as_deref().map(Folder::open).transpose()?;
        let mut overrides = settings.overrides();
        secrets::complete(&mut overrides, settings.data.as_deref(), &*settings.platform.random)?;

        let clock = settings.platform.clock.clone();
        let (mut dynamo, mut sqs) = (None, None);
        if settings.aws_endpoint.is_none() {
            let file = |name: &str| folder.as_ref().map(|folder| folder.file(name));
            dynamo = Some(Dynamo::start(file(TABLES_FILE).as_deref(), clock.clone())?);
            sqs = Some(Sqs::start(file(QUEUES_FILE).as_deref(), clock.clone()).await?);
        }
        let endpoint = |own: Option<SocketAddr>| {
            settings.aws_endpoint.clone().or_else(|| own.map(|address| format!("http://{address}")))
        };
        let lambda = lambda_variables(
            &overrides,
            endpoint(dynamo.as_ref().map(|dynamo| dynamo.address)),
            endpoint(sqs.as_ref().map(|sqs| sqs.address)),
        );
        let aws = Aws::read(&settings::env(&lambda))?;

        let gate = match settings.aws_listen {
            Some(address) => {
                let listener = listen(AWS_LISTEN, address).await?;
                Some((listener.local_addr().map_err(|error| refused(AWS_LISTEN, address, &error))?, listener))
            }
            None => None,
        };

        let http = match (&dynamo, &sqs) {
            (Some(dynamo), Some(sqs)) if !settings.sockets => SharedHttpClient::new(InProcess {
                network: settings.platform.http.clone(),
                dynamodb: (dynamo.address, dynamo.ask.clone()),
                sqs: (sqs.address, sqs.engine.clone()),
            }),
            _ => settings.platform.http.clone(),
        };
        let (stop, stopped) = watch::channel(false);
        let meter = Metered::new(http, &settings.prefix);
        let registry = Arc::new(Registry::default());
        let platform = Platform {
            http: SharedHttpClient::new(meter.clone()),
            metrics: registry.clone(),
            consumption: true,
            draining: Draining::when(stopped.clone()),
            ..settings.platform
        };
        let clients = Clients::new(&aws, &platform);
        let names = clients.create(&template, &settings.prefix, &aws.region).await;
        let names = names.map_err(|error| match (error, &settings.aws_endpoint) {
            (StartError::Service { service, problem, .. }, Some(url)) => {
                let problem = format!("cannot use {service} at {url}: {problem}");
                ConfigError::new("AWS_ENDPOINT_URL", problem).into()
            }
            (error, _) => error,
        })?;

        let environments: BTreeMap<String, BTreeMap<String, String>> = template
            .functions
            .iter()
            .map(|function| {
                let variables = settings::environment(function, &template, &overrides, &names, &lambda);
                (function.name.clone(), variables)
            })
            .collect();
        if let Some(path) = &settings.env_vars {
            let endpoint = gate.as_ref().map(|(address, _)| format!("http://{address}"));
            env_vars::write(path, &template, &environments, endpoint.as_deref())?;
        }
        let tokens = tokens(&environments, &overrides, &platform)?;
        let patience = if sqs.is_some() { Patience::Embedded } else { Patience::Foreign };
        let Callers { api, pollers, scheduled, permits, cpu, progress } =
            callers(&template, &environments, &platform, &meter, &clients, &names, patience)?;

        let address = listener.local_addr().map_err(|error| refused(LISTEN, settings.listen, &error))?;
        let (mut tasks, routes) = (JoinSet::new(), api.len());
        let sources = pollers.iter().map(|poller| poller.queue.clone()).collect();
        let aws_address = gate.as_ref().map(|(address, _)| *address);
        if let (Some((_, listener)), Some(dynamo), Some(sqs)) = (gate, &dynamo, &sqs) {
            tasks.spawn(gate::serve(listener, dynamo.address, sqs.address, stopped.clone()));
        }
        let engine = sqs.as_ref().map(|sqs| sqs.engine.clone());
        let deliveries = pollers.iter().find(|poller| settings.poll && poller.source.queue == pace::QUEUE);
        let pace = deliveries.zip(engine.clone()).map(|(poller, engine)| Pace {
            engine,
            queue: poller.queue.name.clone(),
            busy: poller.busy.clone(),
            clock: clock.clone(),
        });
        let (meters, world) = (meter.clone(), platform.clone());
        let read = Sources::new(&template, &names, clients.clone(), engine, world, meters, registry);
        let cors = Cors::new(settings.cors_origins.clone());
        let url = own_url(address);
        let dev = address.ip().is_loopback().then(|| Dev::new(url.clone(), clock.clone()));
        let front = Front { api: Arc::new(api), cors, pace, dev, sources: read, url };
        tasks.spawn(server::serve(listener, settings.connections_max, Arc::new(front), stopped.clone()));
        if settings.poll {
            for poller in pollers {
                tasks.spawn(poller.run(stopped.clone()));
            }
            for function in &scheduled {
                for rate in &function.rates {
                    tasks.spawn(function.clone().keep_time(*rate, stopped.clone()));
                }
            }
            if let Some(dynamo) = &dynamo {
                tasks.spawn(keep_swept(dynamo.database(), clock, stopped));
            }
        }
        let longest = template.functions.iter().map(timeout).max().unwrap_or_default();
        Ok(Self {
            address,
            aws_address,
            routes,
            tokens,
            platform,
            meter,
            aws,
            clients,
            names,
            environments,
            scheduled,
            permits,
            cpu,
            progress,
            sources,
            longest,
            stop,
            tasks,
            sqs,
            dynamo,
            _folder: folder,
        })
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
        format!("http://{}", self.address)
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
        &self.clients.dynamodb
    }

    /// A client of the SQS in use. Its requests are counted too.
    pub fn sqs(&self) -> &aws_sdk_sqs::Client {
        &self.clients.sqs
    }

    /// Region, credentials and addresses of both services.
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The name of a table, by its logical id such as `LogTable`.
    pub fn table(&self, logical_id: &str) -> Option<&str> {
        self.names.tables.get(logical_id).map(String::as_str)
    }

    /// A queue, by its logical id such as `DeliveriesQueue`.
    pub fn queue(&self, logical_id: &str) -> Option<&QueueRef> {
        self.names.queues.get(logical_id)
    }

    /// The environment that a function was connected with, such as `deliver`'s, to connect another one.
    pub fn environment(&self, function: &str) -> Option<&BTreeMap<String, String>> {
        self.environments.get(function)
    }

    /// The outside world of the functions; its connections are counted.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// What was used of DynamoDB.
    pub fn usage(&self) -> Spent {
        self.meter.ledger().total(|call| call.service == "DynamoDB")
    }

    /// What each function has done to tables and queues so far. What its role in the template does not
    /// allow is refused, as IAM does.
    pub fn used(&self) -> BTreeMap<String, BTreeSet<Grant>> {
        self.permits.iter().map(|(function, permits)| (function.clone(), permits.used())).collect()
    }

    /// The CPU that each function's own code has used so far.
    pub fn cpu(&self) -> BTreeMap<String, Duration> {
        self.cpu.iter().map(|(function, cpu)| (function.clone(), cpu.used())).collect()
    }

    /// What each function has in progress.
    pub fn in_progress(&self) -> Progress {
        Progress(self.progress.clone())
    }

    /// What functions and pollers asked of DynamoDB and SQS, and what that consumed.
    pub fn ledger(&self) -> Ledger {
        self.meter.ledger()
    }

    /// Runs each function with a schedule now, and says how much they did. An invocation that is under
    /// way is waited for first.
    ///
    /// # Errors
    /// One failed, or gave no answer; one line.
    pub async fn run_timers(&self) -> Result<usize, String> {
        let mut all = 0;
        for function in &self.scheduled {
            all += function.run().await.map_err(|error| format!("{}: {error}", function.name))?;
        }
        Ok(all)
    }

    /// Removes expired items from the embedded tables now; DynamoDB itself does so when it likes.
    pub async fn sweep(&self) {
        if let Some(dynamo) = &self.dynamo {
            dynamo.sweep().await;
        }
    }

    /// Makes the embedded queues look at the clock again, after a test has moved it.
    pub fn wake(&self) {
        if let Some(sqs) = &self.sqs {
            sqs.engine.wake();
        }
    }

    /// How many messages the queues hold that feed functions: visible, in flight or delayed.
    ///
    /// # Errors
    /// A queue does not answer; one line.
    pub async fn waiting(&self) -> Result<u64, String> {
        let mut all = 0;
        for queue in &self.sources {
            all += match &self.sqs {
                Some(sqs) => sqs.engine.counts(&queue.name).map_or(0, |counts| {
                    u64::try_from(counts.visible + counts.in_flight + counts.delayed).unwrap_or(u64::MAX)
                }),
                None => self.clients.depth(&queue.url).await?.iter().sum(),
            };
        }
        Ok(all)
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
        if tokio::time::timeout(self.longest + GRACE, drained).await.is_err() {
            tracing::warn!("invocations in progress were given up");
        }
        self.tasks.shutdown().await;
        // The services last: what came to its end above needed them.
        if let Some(sqs) = self.sqs.take() {
            sqs.stop().await;
        }
        if let Some(dynamo) = self.dynamo.take() {
            dynamo.stop().await;
        }
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

async fn listen(variable: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| refused(variable, address, &error))
}

fn refused(variable: &str, address: SocketAddr, error: &std::io::Error) -> StartError {
    let problem = match error.kind() {
        ErrorKind::AddrInUse => {
            format!("{address} is in use by another program; stop that one or choose another address")
        }
        _ => format!("cannot listen on {address}: {error}"),
    };
    ConfigError::new(variable, problem).into()
}

/// What Lambda itself puts into a function's environment, and where the services are.
fn lambda_variables(
    given: &BTreeMap<String, String>,
    dynamodb: Option<String>,
    sqs: Option<String>,
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> =
        [("AWS_REGION", REGION), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let aws = given.iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
    variables.extend(aws.map(|(name, value)| (name.clone(), value.clone())));
    variables.extend(dynamodb.map(|url| ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), url)));
    variables.extend(sqs.map(|url| ("AWS_ENDPOINT_URL_SQS".to_owned(), url)));
    variables
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

async fn keep_swept(database: dynoxide::Database, clock: SharedClock, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            () = told(&mut stop) => return,
            () = clock.sleep(SWEEP) => dynamo::sweep(database.clone()).await,
        }
    }
}

#[cfg(test)]
#[path = "stack_tests.rs"]
mod tests;
