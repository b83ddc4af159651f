//! Asks the function `transform` to run customers' code: one request of Lambda's API, for which its SDK would add
//! more than it is worth.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::StalledStreamProtectionConfig;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::timeout::TimeoutConfig;

use domain::Result;
use domain::error::{corrupt, unavailable};
use domain::transformation::{Batch, Outcome};
use runtime::AGENT;
use runtime::clock::SharedClock;
use runtime::config::Aws;
use signer::Signer;

use crate::Platform;

/// How long an answer is waited for: all runs of a batch, and the start of an instance. It and two deliveries of the
/// longest kind have to fit into the 60 seconds of `deliver`.
const ANSWER_MAX: Duration = Duration::from_millis(4_500);

/// Asks the function `transform`. Clones are the same.
#[derive(Clone, Debug)]
pub struct TransformerClient {
    operation: Operation<Vec<u8>, Vec<u8>, Refused>,
}

/// The function was not reached, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the response has the status {status}: {text}")]
struct Refused {
    status: u16,
    text: String,
}

/// Signs what is sent.
#[derive(Debug)]
struct Signing {
    signer: Signer,
    credentials: Credentials,
    clock: SharedClock,
}

#[dyn_dispatch_hint]
impl Intercept for Signing {
    fn name(&self) -> &'static str {
        "Signing"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(self.clock.now().ms());
        context.request_mut().headers_mut().insert("user-agent", AGENT);
        if self.signer.sign(context.request_mut(), &self.credentials, now) {
            Ok(())
        } else {
            Err("the request to Lambda cannot be signed".into())
        }
    }
}

/// A name or an ARN as a part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn answered(response: &HttpResponse) -> Result<Vec<u8>, OrchestratorError<Refused>> {
    let body = response.body().bytes().unwrap_or_default();
    let status = response.status().as_u16();
    // An invocation that ended badly is answered with 200 and this header.
    if status == 200 && response.headers().get("x-amz-function-error").is_none() {
        return Ok(body.to_vec());
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
    Err(OrchestratorError::operation(Refused { status, text }))
}

impl TransformerClient {
    pub(crate) fn new(platform: &Platform, aws: &Aws, credentials: Credentials, function: &str) -> Self {
        let signer = Signer::new("lambda", &aws.region);
        let signing = Signing { signer, credentials, clock: platform.clock.clone() };
        let endpoint = aws.lambda_endpoint.clone();
        let endpoint = endpoint.unwrap_or_else(|| {
            let suffix = if aws.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://lambda.{}.{suffix}", aws.region)
        });
        let path = format!("/2015-03-31/functions/{}/invocations", escaped(function));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(ANSWER_MAX)
            .operation_timeout(ANSWER_MAX)
            .build();
        let operation = Operation::builder()
            .service_name("lambda")
            .operation_name("Invoke")
            .http_client(platform.http.clone())
            .endpoint_url(&endpoint)
            // It is signed below.
            .no_auth()
            // The job comes back.
            .no_retry()
            .timeout_config(timeouts)
            .sleep_impl(platform.sleeping())
            .time_source(platform.time_source())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(signing)
            .serializer(move |body: Vec<u8>| {
                let mut request = HttpRequest::new(SdkBody::from(body));
                request.set_method("POST")?;
                request.set_uri(path.clone())?;
                request.headers_mut().insert("content-type", "application/json");
                Ok(request)
            })
            .deserializer(answered)
            .build();
        Self { operation }
    }

    /// Runs a batch, which is to be below 6 MB as JSON; the outcomes are in its order.
    ///
    /// # Errors
    /// `Unavailable` where the function is not reached or does not answer in time.
    pub async fn run(&self, batch: &Batch) -> Result<Vec<Outcome>> {
        let asked = serde_json::to_vec(batch).map_err(corrupt("a batch of transformations"))?;
        let answer = self.operation.invoke(asked).await.map_err(unavailable("run transformations"))?;
        let outcomes: Vec<Outcome> =
            serde_json::from_slice(&answer).map_err(corrupt("the response of the function transform"))?;
        if outcomes.len() == batch.runs.len() {
            Ok(outcomes)
        } else {
            Err(unavailable("run transformations")("there is not an outcome for each webhook"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_one_part_of_a_path() {
        assert_eq!(
            escaped("arn:aws:lambda:eu-central-1:1:function:a_b-c:live"),
            "arn%3Aaws%3Alambda%3Aeu-central-1%3A1%3Afunction%3Aa_b-c%3Alive"
        );
        assert_eq!(escaped("x/../y"), "x%2F%2E%2E%2Fy");
    }
}
