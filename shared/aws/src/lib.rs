//! What a function is given from outside: time, randomness, and the ways to AWS and out of it.

mod end;
mod transformer;

pub use transformer::TransformerClient;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{AsyncSleep, SharedAsyncSleep, Sleep, StalledStreamProtectionConfig};
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
use signer::Signer;
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
        let aws = Aws::read(env)?;
        let signer = Signer::new("dynamodb", &aws.region);
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::new(aws.region.clone()))
            .credentials_provider(credentials(&aws))
            .push_auth_scheme(signer.clone())
            .interceptor(signer)
            .http_client(self.http.clone())
            .sleep_impl(self.sleeping())
            .time_source(self.time_source())
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::standard());
        config.set_endpoint_url(aws.dynamodb_endpoint);
        let client = aws_sdk_dynamodb::Client::from_conf(config.build());
        let sealer = Sealer::read(env, self.random.clone())?;
        let (clock, random) = (self.clock.clone(), self.random.clone());
        let return_consumed_capacity = self.consumption.then_some(ReturnConsumedCapacity::Total);
        let store = Store::new(client, Tables::read(env)?, sealer, clock, random, return_consumed_capacity);
        Ok(store.keeping(Retention::read(env)?))
    }

    /// The queue service.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn sqs(&self, env: &Env<'_>) -> Result<Sqs, ConfigError> {
        let aws = Aws::read(env)?;
        let signer = Signer::new("sqs", &aws.region);
        let mut config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::new(aws.region.clone()))
            .credentials_provider(credentials(&aws))
            .push_auth_scheme(signer.clone())
            .interceptor(signer)
            .http_client(self.http.clone())
            .sleep_impl(self.sleeping())
            .time_source(self.time_source())
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled());
        config.set_endpoint_url(aws.sqs_endpoint);
        Ok(Sqs::new(aws_sdk_sqs::Client::from_conf(config.build()), self.clock.clone()))
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
        Ok(TransformerClient::new(self, &aws, credentials(&aws), &function))
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

fn credentials(aws: &Aws) -> Credentials {
    let (id, secret, session) = aws.credentials.clone();
    Credentials::new(id, secret, session, None, "environment")
}

/// Within a region, an answer that takes longer than this is no longer coming. That bounds a stalled
/// stream too, so the SDK's own watch over streams, which wraps each body, is off.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(12))
        .build()
}
