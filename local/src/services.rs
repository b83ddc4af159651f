//! DynamoDB and SQS, with the template's tables and queues in them: embedded, or those at an address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use sam_template::Template;
use shared::Platform;
use shared::config::{Aws, ConfigError};
use shared::draining::Draining;
use tokio::sync::watch;
use transform::Program;

use crate::aws::{Clients, Names, QueueRef};
use crate::dynamo::Dynamo;
use crate::error::StartError;
use crate::in_process::InProcess;
use crate::invocations::{self, Invocations, Registry as Invoked};
use crate::meter::Metered;
use crate::metrics::Registry;
use crate::receiving::Receiving;
use crate::secrets::Folder;
use crate::settings::{self, REGION, Settings};
use crate::sqs::Sqs;
use crate::sts::Sts;

/// In the data folder.
const TABLES_FILE: &str = "dynamodb.sqlite";
const QUEUES_FILE: &str = "sqs.sqlite";

/// The services that run in this process.
pub(crate) struct Embedded {
    pub(crate) sqs: Sqs,
    pub(crate) dynamo: Dynamo,
    pub(crate) sts: Sts,
}

/// Both services, and how they are reached.
pub(crate) struct Services {
    /// Region, credentials and addresses.
    pub(crate) aws: Aws,
    /// The same as variables, and what else Lambda itself puts into a function's environment.
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) clients: Clients,
    /// What pollers ask.
    pub(crate) receiving: Receiving,
    pub(crate) names: Names,
    /// The outside world of the functions; its connections are counted.
    pub(crate) platform: Platform,
    pub(crate) meter: Metered,
    pub(crate) registry: Arc<Registry>,
    /// The functions that others invoke.
    pub(crate) invoked: Invoked,
    /// Starts the processes that run transformations.
    pub(crate) transformer: Program,
    pub(crate) embedded: Option<Embedded>,
}

impl Services {
    /// Starts the embedded services, or finds the foreign ones, and creates what the template has in them.
    ///
    /// # Errors
    /// A file is in use, or a service does not answer.
    pub(crate) async fn start(
        settings: &Settings,
        overrides: &BTreeMap<String, String>,
        template: &Template,
        folder: Option<&Folder>,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self, StartError> {
        let clock = &settings.platform.clock;
        let embedded = match &settings.aws_endpoint {
            Some(_) => None,
            None => {
                let file = |name: &str| folder.map(|folder| folder.file(name));
                let dynamo = Dynamo::start(file(TABLES_FILE).as_deref(), clock.clone())?;
                let sqs = Sqs::start(file(QUEUES_FILE).as_deref(), clock.clone()).await?;
                let sts = Sts::start(clock.clone()).await?;
                Some(Embedded { sqs, dynamo, sts })
            }
        };
        let endpoint = |own: Option<SocketAddr>| {
            settings.aws_endpoint.clone().or_else(|| own.map(|address| format!("http://{address}")))
        };
        let mut variables = lambda_variables(
            overrides,
            endpoint(embedded.as_ref().map(|embedded| embedded.dynamo.address)),
            endpoint(embedded.as_ref().map(|embedded| embedded.sqs.address)),
            endpoint(embedded.as_ref().map(|embedded| embedded.sts.address)),
        );
        if let Some(address) = &settings.aws_endpoint {
            // It serves what endpoints in AWS need as well.
            for service in ["STS", "SNS", "EVENTBRIDGE", "S3", "LAMBDA_DESTINATIONS", "SESV2"] {
                variables.entry(format!("AWS_ENDPOINT_URL_{service}")).or_insert_with(|| address.clone());
            }
        }
        let aws = Aws::read(&settings::env(&variables))?;
        let http = match &embedded {
            Some(Embedded { sqs, dynamo, .. }) if !settings.sockets => SharedHttpClient::new(InProcess {
                network: settings.platform.http.clone(),
                dynamodb: (dynamo.address, dynamo.tables.clone()),
                sqs: (sqs.address, sqs.engine.clone()),
            }),
            _ => settings.platform.http.clone(),
        };
        let invoked = Invoked::default();
        let http = SharedHttpClient::new(Invocations { inner: http, registry: invoked.clone() });
        let meter = Metered::new(http, &settings.prefix);
        let registry = Arc::new(Registry::default());
        let platform = Platform {
            http: SharedHttpClient::new(meter.clone()),
            metrics: registry.clone(),
            consumption: true,
            draining: Draining::when(stopped),
            ..settings.platform.clone()
        };
        let clients = Clients::new(&aws, &platform);
        let receiving = Receiving::new(&aws, &platform)?;
        let names = clients.create(template, &settings.prefix, &aws.region).await;
        let names = names.map_err(|error| match (error, &settings.aws_endpoint) {
            (StartError::Service { service, problem, .. }, Some(url)) => {
                let problem = format!("cannot use {service} at {url}: {problem}");
                ConfigError::new("AWS_ENDPOINT_URL", problem).into()
            }
            (error, _) => error,
        })?;
        let transformer = match &settings.transformer {
            Some(program) => program.clone(),
            None => Program::own().map_err(|error| StartError::Embedded {
                service: "process for transformations",
                problem: error.to_string(),
            })?,
        };
        Ok(Self {
            aws,
            variables,
            clients,
            receiving,
            names,
            platform,
            meter,
            registry,
            invoked,
            transformer,
            embedded,
        })
    }

    /// The embedded queues.
    pub(crate) fn engine(&self) -> Option<&local_sqs::Engine> {
        self.embedded.as_ref().map(|embedded| &embedded.sqs.engine)
    }

    /// How many messages a queue holds: visible, in flight or delayed.
    ///
    /// # Errors
    /// It does not answer; one line.
    pub(crate) async fn waiting(&self, queue: &QueueRef) -> Result<u64, String> {
        Ok(self.depth(queue).await?.iter().sum())
    }

    /// Messages in a queue that are visible or in flight.
    pub(crate) async fn due(&self, queue: &QueueRef) -> Result<u64, String> {
        let [visible, in_flight, _delayed] = self.depth(queue).await?;
        Ok(visible + in_flight)
    }

    async fn depth(&self, queue: &QueueRef) -> Result<[u64; 3], String> {
        let Some(engine) = self.engine() else { return self.clients.depth(&queue.url).await };
        let counts = engine.counts(&queue.name).unwrap_or_default();
        let all = [counts.visible, counts.in_flight, counts.delayed];
        Ok(all.map(|count| u64::try_from(count).unwrap_or(u64::MAX)))
    }

    /// Ends the embedded services.
    pub(crate) async fn stop(self) {
        if let Some(Embedded { sqs, dynamo, .. }) = self.embedded {
            sqs.stop().await;
            dynamo.stop().await;
        }
    }
}

/// What Lambda itself puts into a function's environment, and where the services are.
fn lambda_variables(
    given: &BTreeMap<String, String>,
    dynamodb: Option<String>,
    sqs: Option<String>,
    sts: Option<String>,
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> =
        [("AWS_REGION", REGION), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let aws = given.iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
    variables.extend(aws.map(|(name, value)| (name.clone(), value.clone())));
    // A given one wins: a test has its own.
    variables.entry("AWS_ENDPOINT_URL_LAMBDA".to_owned()).or_insert_with(|| invocations::ADDRESS.to_owned());
    variables.extend(dynamodb.map(|url| ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), url)));
    if let Some(sts) = sts {
        variables.entry("AWS_ENDPOINT_URL_STS".to_owned()).or_insert(sts);
    }
    variables.extend(sqs.map(|url| ("AWS_ENDPOINT_URL_SQS".to_owned(), url)));
    variables
}
