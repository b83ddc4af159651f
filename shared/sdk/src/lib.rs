//! Requests of the AWS SDK whose parts are put together once.
//!
//! A client of the SDK composes anew for each request what it is made of: a dozen plugins, twenty interceptors, the
//! parameters and the rules of its endpoint, its identity. That was a third of a message's instructions, and comes to the
//! same each time. Here they are put together when a function starts, and every request goes through the SDK's own
//! orchestrator with them: its serialisers, its retries with their shared quota, its timeouts, its errors. What is left out
//! is what only names features in a user agent of the SDK's, which ours replaces, and two headers that number the tries of a
//! request (`amz-sdk-invocation-id`, `amz-sdk-request`).
//!
//! ADR 0039 says more. A test compares the requests with a client's.

mod skew;

use std::fmt;
use std::marker::PhantomData;

use aws_credential_types::Credentials;
use aws_runtime::auth::sigv4::SCHEME_ID;
use aws_runtime::recursion_detection::RecursionDetectionInterceptor;
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_runtime::service_clock_skew::ServiceClockSkewClassifier;
use aws_smithy_async::rt::sleep::SharedAsyncSleep;
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime::client::defaults::{DefaultPluginParams, default_retry_config_plugin_v2};
use aws_smithy_runtime::client::http::connection_poisoning::ConnectionPoisoningInterceptor;
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator;
use aws_smithy_runtime::client::retries::RetryPartition;
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, ModeledAsRetryableClassifier, TransientErrorClassifier,
};
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{AuthScheme, SharedAuthSchemeOptionResolver};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::endpoint::{EndpointResolverParams, SharedEndpointResolver};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::identity::{
    Identity, IdentityFuture, ResolveIdentity, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::Input;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_runtime_api::client::runtime_plugin::{RuntimePlugin, RuntimePlugins, StaticRuntimePlugin};
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::config_bag::{ConfigBag, FrozenLayer, Layer};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::{ProvideErrorKind, RetryConfig};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::{Region, SigningRegion};

use skew::SkewOfErrors;

/// What all requests to one service have in common.
pub struct Parts<S> {
    /// The service's name in signatures and in the SDK's quota of retries, such as `dynamodb`.
    pub service: &'static str,
    /// Its region.
    pub region: String,
    /// The SDK's rules for its endpoint.
    pub endpoint: SharedEndpointResolver,
    /// What these rules are asked with.
    pub endpoint_params: EndpointResolverParams,
    /// Who asks.
    pub credentials: Credentials,
    /// Signs, and watches what comes of it.
    pub signer: S,
    /// Carries requests.
    pub http: SharedHttpClient,
    /// How long what may take.
    pub timeouts: TimeoutConfig,
    /// What is tried again.
    pub retries: RetryConfig,
    /// How it is waited.
    pub sleep: SharedAsyncSleep,
    /// What the time is.
    pub time: SharedTimeSource,
}

/// Where the requests to one service begin.
#[derive(Clone, Debug)]
pub struct Service {
    name: &'static str,
    config: FrozenLayer,
    components: RuntimeComponentsBuilder,
}

/// One operation of a service. Clones are the same.
pub struct Call<I, O, E> {
    service: &'static str,
    name: &'static str,
    plugins: RuntimePlugins,
    // It holds none of them.
    types: PhantomData<fn(I) -> Result<O, E>>,
}

impl<I, O, E> Clone for Call<I, O, E> {
    fn clone(&self) -> Self {
        let Self { service, name, plugins, types } = self;
        Self { service, name, plugins: plugins.clone(), types: *types }
    }
}

impl<I, O, E> fmt::Debug for Call<I, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("service", &self.service)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Puts together what its requests have in common.
    pub fn new<S: AuthScheme + Intercept + Clone + 'static>(parts: Parts<S>) -> Self {
        let Parts {
            service,
            region,
            endpoint,
            endpoint_params,
            credentials,
            signer,
            http,
            timeouts,
            retries,
            sleep,
            time,
        } = parts;
        let region = Region::new(region);
        let mut config = Layer::new("service");
        // The quota of retries is the one that the SDK's client of this service in this region has.
        let of_retries = DefaultPluginParams::new()
            .with_retry_partition_name(format!("{service}-{region}"))
            .with_behavior_version(BehaviorVersion::latest())
            .with_is_aws_sdk(true);
        let of_retries = default_retry_config_plugin_v2(&of_retries);
        let mut components = RuntimeComponentsBuilder::new("service");
        if let Some(retrying) = of_retries {
            components = retrying.runtime_components(&components).into_owned();
            let layer = retrying.config();
            if let Some(partition) = layer.as_ref().and_then(|layer| layer.load::<RetryPartition>()) {
                config.store_put(partition.clone());
            }
        }
        config.store_put(SigningRegion::from(region.clone()));
        config.store_put(region);
        config.store_put(SigningName::from_static(service));
        config.store_put(endpoint_params);
        config.store_put(timeouts);
        config.store_put(retries);
        config.store_put(StalledStreamProtectionConfig::disabled());
        let schemes = StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]);
        let components = components
            .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(schemes)))
            .with_auth_scheme(signer.clone())
            .with_identity_cache(Some(IdentityCache::no_cache()))
            .with_identity_resolver(SCHEME_ID, SharedIdentityResolver::new(Always(credentials.into())))
            .with_endpoint_resolver(Some(endpoint))
            .with_http_client(Some(http))
            .with_sleep_impl(Some(sleep))
            .with_time_source(Some(time))
            .with_retry_classifier(HttpStatusCodeClassifier::default())
            .with_interceptor(ConnectionPoisoningInterceptor::new())
            .with_interceptor(RecursionDetectionInterceptor::new())
            .with_interceptor(SkewOfErrors::default())
            .with_interceptor(signer);
        Self { name: service, config: config.freeze(), components }
    }

    /// The SDK's `operation` of that name, whose input is an `I`, its output an `O` and its errors `E`: other types than
    /// the operation's own make each [`Call::send`] panic.
    pub fn call<I, O, E>(&self, name: &'static str, operation: &impl RuntimePlugin) -> Call<I, O, E>
    where
        E: std::error::Error + ProvideErrorKind + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let components = self
            .components
            .clone()
            .with_retry_classifier(TransientErrorClassifier::<E>::new())
            .with_retry_classifier(ModeledAsRetryableClassifier::<E>::new())
            .with_retry_classifier(AwsErrorCodeClassifier::<E>::new())
            .with_retry_classifier(ServiceClockSkewClassifier::<E>::new());
        let common =
            StaticRuntimePlugin::new().with_config(self.config.clone()).with_runtime_components(components);
        let mut own = StaticRuntimePlugin::new();
        if let Some(config) = operation.config() {
            own = own.with_config(config);
        }
        let plugins = RuntimePlugins::new().with_client_plugin(common).with_client_plugin(own);
        Call { service: self.name, name, plugins, types: PhantomData }
    }
}

impl<I, O, E> Call<I, O, E>
where
    I: fmt::Debug + Send + Sync + 'static,
    O: fmt::Debug + Send + Sync + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    /// Asks, as the SDK's client would.
    ///
    /// # Errors
    /// The client's.
    ///
    /// # Panics
    /// The types are not those of the operation.
    pub async fn send(&self, input: I) -> Result<O, SdkError<E, HttpResponse>> {
        // Some kilobytes: whatever waits for it would be copied with it each time that it is moved.
        let sent =
            Box::pin(orchestrator::invoke(self.service, self.name, Input::erase(input), &self.plugins));
        match sent.await {
            Ok(output) => Ok(output.downcast().expect("the operation's own output")),
            Err(error) => Err(error.map_service_error(|error| error.downcast().expect("its own error"))),
        }
    }
}

/// Whose identity never changes: a function's credentials last as long as its process.
#[derive(Debug)]
struct Always(Identity);

impl ResolveIdentity for Always {
    fn resolve_identity<'a>(&'a self, _: &'a RuntimeComponents, _: &'a ConfigBag) -> IdentityFuture<'a> {
        IdentityFuture::ready(Ok(self.0.clone()))
    }
}
