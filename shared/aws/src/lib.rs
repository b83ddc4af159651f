//! What a function is given from outside: time, randomness, and the ways to AWS and out of it.

mod clients;
mod end;
mod transformer;

pub use transformer::TransformerClient;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::{AsyncSleep, SharedAsyncSleep, Sleep};
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use domain::retention::Retention;
use queue::Sqs;
use runtime::clock::{SharedClock, SystemClock};
use runtime::config::{Aws, ConfigError, Env, Tables};
use runtime::draining::Draining;
use runtime::metrics::{Metrics, SharedSink, Stdout};
use runtime::random::{SharedRandom, SystemRandom};
use store::Store;
use store::seal::Sealer;

/// The outside world. Production has one, a simulation has as many as it likes.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Tells the time.
    pub clock: SharedClock,
    /// Draws keys, ids and jitter.
    pub random: SharedRandom,
    /// Carries the SDK's requests.
    pub http: SharedHttpClient,
    /// Asks DynamoDB with each request what that consumed, for whoever reads the answers on their way.
    pub consumption: bool,
    /// Takes the lines of metrics.
    pub metrics: SharedSink,
    /// Says when the process ends.
    pub draining: Draining,
}

impl Platform {
    /// The machine's clock and generator, and real connections.
    pub fn system() -> Self {
        let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::new()),
            http: aws_smithy_http_client::Builder::new().tls_provider(ring).build_https(),
            consumption: false,
            metrics: Arc::new(Stdout::new(&Env::process())),
            draining: Draining::default(),
        }
    }

    /// The metrics of one instance of a function, by the name of its folder.
    pub fn metrics(&self, function: &'static str) -> Arc<Metrics> {
        Arc::new(Metrics::new(function, self.clock.clone(), self.metrics.clone()))
    }

    /// The two tables.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn store(&self, env: &Env<'_>) -> Result<Store, ConfigError> {
        let (client, service) = self.dynamodb_clients(&Aws::read(env)?)?;
        let sealer = Sealer::read(env, self.random.clone())?;
        let (clock, random) = (self.clock.clone(), self.random.clone());
        let return_consumed_capacity = self.consumption.then_some(ReturnConsumedCapacity::Total);
        let tables = Tables::read(env)?;
        let store = Store::new(client, &service, tables, sealer, clock, random, return_consumed_capacity);
        Ok(store.keeping(Retention::read(env)?))
    }

    /// The queue service.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn sqs(&self, env: &Env<'_>) -> Result<Sqs, ConfigError> {
        let (client, service) = self.sqs_clients(&Aws::read(env)?)?;
        Ok(Sqs::new(client, &service, self.clock.clone()))
    }

    /// The function that runs customers' code.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn transformer(&self, env: &Env<'_>) -> Result<TransformerClient, ConfigError> {
        let aws = Aws::read(env)?;
        let function = env.required(
            "POSTRIDER_TRANSFORM_FUNCTION",
            "the name or the ARN of the function that runs transformations",
        )?;
        Ok(TransformerClient::new(self, &aws, clients::credentials(&aws), &function))
    }

    /// How the SDK waits: by the injected clock.
    pub fn sleeping(&self) -> SharedAsyncSleep {
        SharedAsyncSleep::new(Injected(self.clock.clone()))
    }

    /// What the SDK reads the time from: the injected clock.
    pub fn time_source(&self) -> SharedTimeSource {
        SharedTimeSource::new(Injected(self.clock.clone()))
    }
}

/// The injected clock as the SDK wants it: its timeouts, its waits between tries and its signatures
/// follow the same time as everything else.
#[derive(Debug)]
struct Injected(SharedClock);

impl AsyncSleep for Injected {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.0.sleep(duration))
    }
}

impl TimeSource for Injected {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.now().ms())
    }
}
