//! The SDK's clients of DynamoDB and SQS, and the same for requests that are asked often.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::StalledStreamProtectionConfig;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::client::endpoint::{EndpointResolverParams, SharedEndpointResolver};

use runtime::config::{Aws, ConfigError};
use sdk::{Parts, Service};
use signer::Signer;

use crate::Platform;

impl Platform {
    /// DynamoDB, which repeats what may work the next time.
    ///
    /// # Errors
    /// The region makes no sense.
    pub(crate) fn dynamodb_clients(
        &self,
        aws: &Aws,
    ) -> Result<(aws_sdk_dynamodb::Client, Service), ConfigError> {
        let (signer, retries) = (Signer::new("dynamodb", &aws.region), RetryConfig::standard());
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::new(aws.region.clone()))
            .credentials_provider(credentials(aws))
            .push_auth_scheme(signer.clone())
            .interceptor(signer.clone())
            .http_client(self.http.clone())
            .sleep_impl(self.sleeping())
            .time_source(self.time_source())
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(retries.clone());
        config.set_endpoint_url(aws.dynamodb_endpoint.clone());
        let client = aws_sdk_dynamodb::Client::from_conf(config.build());
        Ok((client, self.service("dynamodb", aws, signer, retries, dynamodb_endpoint(aws)?)))
    }

    /// SQS, which repeats nothing: a job that is sent twice has to say so.
    ///
    /// # Errors
    /// The region makes no sense.
    pub(crate) fn sqs_clients(&self, aws: &Aws) -> Result<(aws_sdk_sqs::Client, Service), ConfigError> {
        let (signer, retries) = (Signer::new("sqs", &aws.region), RetryConfig::disabled());
        let mut config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::new(aws.region.clone()))
            .credentials_provider(credentials(aws))
            .push_auth_scheme(signer.clone())
            .interceptor(signer.clone())
            .http_client(self.http.clone())
            .sleep_impl(self.sleeping())
            .time_source(self.time_source())
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(retries.clone());
        config.set_endpoint_url(aws.sqs_endpoint.clone());
        let client = aws_sdk_sqs::Client::from_conf(config.build());
        Ok((client, self.service("sqs", aws, signer, retries, sqs_endpoint(aws)?)))
    }

    /// What the requests to a service have in common, as its client has it.
    fn service(
        &self,
        service: &'static str,
        aws: &Aws,
        signer: Signer,
        retries: RetryConfig,
        (endpoint, endpoint_params): (SharedEndpointResolver, EndpointResolverParams),
    ) -> Service {
        Service::new(Parts {
            service,
            region: aws.region.clone(),
            endpoint,
            endpoint_params,
            credentials: credentials(aws),
            signer,
            http: self.http.clone(),
            timeouts: timeouts(),
            retries,
            sleep: self.sleeping(),
            time: self.time_source(),
        })
    }
}

/// The rules for DynamoDB's endpoint, and what they are asked with.
fn dynamodb_endpoint(aws: &Aws) -> Result<(SharedEndpointResolver, EndpointResolverParams), ConfigError> {
    use aws_sdk_dynamodb::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
    let params = Params::builder().region(aws.region.clone()).set_endpoint(aws.dynamodb_endpoint.clone());
    let params = params.build().map_err(|error| ConfigError::new("AWS_REGION", error.to_string()))?;
    Ok((DefaultResolver::new().into_shared_resolver(), EndpointResolverParams::new(params)))
}

/// Those of SQS.
fn sqs_endpoint(aws: &Aws) -> Result<(SharedEndpointResolver, EndpointResolverParams), ConfigError> {
    use aws_sdk_sqs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
    let params = Params::builder().region(aws.region.clone()).set_endpoint(aws.sqs_endpoint.clone());
    let params = params.build().map_err(|error| ConfigError::new("AWS_REGION", error.to_string()))?;
    Ok((DefaultResolver::new().into_shared_resolver(), EndpointResolverParams::new(params)))
}

pub(crate) fn credentials(aws: &Aws) -> Credentials {
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};
    use std::sync::{Arc, Mutex};

    use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
    use aws_sdk_dynamodb::operation::put_item::{PutItem, PutItemError, PutItemInput, PutItemOutput};
    use aws_sdk_dynamodb::types::AttributeValue;
    use aws_sdk_sqs::operation::send_message_batch::{
        SendMessageBatch, SendMessageBatchError, SendMessageBatchInput, SendMessageBatchOutput,
    };
    use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
    use aws_smithy_runtime_api::client::http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
    use aws_smithy_types::body::SdkBody;
    use runtime::clock::{Clock, Sleep, Timestamp};
    use runtime::config::Env;
    use sdk::Call;

    use super::*;

    /// A request as it left: URL, headers, body.
    type Left = (String, BTreeMap<String, String>, String);

    /// An answer: status, header `date`, body.
    type Answer = (u16, &'static str, &'static str);

    /// Gives the answers that it was given, and keeps the requests.
    #[derive(Clone, Debug, Default)]
    struct Wire {
        answers: Arc<Mutex<VecDeque<Answer>>>,
        left: Arc<Mutex<Vec<Left>>>,
    }

    impl HttpClient for Wire {
        fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    impl HttpConnector for Wire {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let headers = request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
            self.left.lock().unwrap().push((request.uri().to_owned(), headers.collect(), body));
            let (status, date, body) = self.answers.lock().unwrap().pop_front().expect("an answer");
            let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
            response.headers_mut().insert("date", date);
            HttpConnectorFuture::ready(Ok(response))
        }
    }

    /// Stands, and lets nobody wait.
    #[derive(Debug)]
    struct Standing;

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp::from_ms(1_795_521_600_000)
        }
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(std::future::ready(()))
        }
    }

    const NOW: &str = "Tue, 24 Nov 2026 12:00:00 GMT";
    const LATER: &str = "Tue, 24 Nov 2026 13:00:00 GMT";

    fn aws(endpoint: Option<&'static str>) -> Aws {
        let get = move |name: &str| match name {
            "AWS_REGION" => Some("eu-central-1".to_owned()),
            "AWS_ACCESS_KEY_ID" => Some("AKID".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("sec/ret".to_owned()),
            "AWS_SESSION_TOKEN" => Some("to/ken+=".to_owned()),
            "AWS_ENDPOINT_URL" => endpoint.map(str::to_owned),
            _ => None,
        };
        Aws::read(&Env::new(get)).unwrap()
    }

    /// What left, without the headers that number the tries of a request.
    fn left(wire: &Wire) -> Vec<Left> {
        let mut all = std::mem::take(&mut *wire.left.lock().unwrap());
        for (_, headers, _) in &mut all {
            headers.retain(|name, _| !name.starts_with("amz-sdk-"));
        }
        all
    }

    /// How it ended, by what callers look at.
    fn ended<O: std::fmt::Debug, E: std::fmt::Debug + ProvideErrorMetadata, R>(
        result: Result<O, SdkError<E, R>>,
    ) -> String {
        match result {
            Ok(output) => format!("{output:?}"),
            Err(error) => {
                format!("{:?} {:?}", error.code(), error.as_service_error().map(|error| error.message()))
            }
        }
    }

    const THROTTLED: &str =
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow"}"#;
    const REFUSED: &str =
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no"}"#;
    const WRONG_TIME: &str =
        r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature expired"}"#;

    #[tokio::test]
    async fn what_is_put_together_once_asks_as_the_client_does() {
        for endpoint in [None, Some("http://127.0.0.1:8072"), Some("https://example.com/some/path")] {
            for answers in [
                &[(200, NOW, "{}")][..],
                &[(400, NOW, REFUSED)],
                &[(400, NOW, THROTTLED), (500, NOW, "{}"), (200, NOW, "{}")],
                &[(400, NOW, THROTTLED), (400, NOW, THROTTLED), (400, NOW, THROTTLED)],
                // The clock is wrong: the SDK measures it, signs by the right time, and so does whoever asks next.
                &[(400, LATER, WRONG_TIME), (200, LATER, "{}"), (200, LATER, "{}")],
                &[(403, NOW, "<html>")],
            ] {
                let mut both = Vec::new();
                for is_once in [false, true] {
                    let wire = Wire::default();
                    let platform = Platform {
                        http: SharedHttpClient::new(wire.clone()),
                        clock: Arc::new(Standing),
                        ..Platform::system()
                    };
                    let (client, service) = platform.dynamodb_clients(&aws(endpoint)).unwrap();
                    let call: Call<PutItemInput, PutItemOutput, PutItemError> =
                        service.call("PutItem", &PutItem::new());
                    wire.answers.lock().unwrap().extend(answers);
                    let mut told = Vec::new();
                    while !wire.answers.lock().unwrap().is_empty() {
                        let input = PutItemInput::builder().table_name("log").condition_expression("a = b");
                        let input = input.item("pk", AttributeValue::S("é".into()));
                        told.push(ended(if is_once {
                            call.send(input.build().unwrap()).await
                        } else {
                            input.send_with(&client).await
                        }));
                    }
                    both.push((told, left(&wire)));
                }
                assert!(!both[0].1.is_empty());
                assert_eq!(both[0], both[1], "{endpoint:?} {answers:?}");
            }
        }
    }

    #[tokio::test]
    async fn jobs_are_sent_as_the_client_does_and_once() {
        for endpoint in [None, Some("http://127.0.0.1:8072")] {
            for answer in [
                (200, NOW, r#"{"Successful":[],"Failed":[]}"#),
                (500, NOW, "{}"),
                (400, NOW, r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"none"}"#),
            ] {
                let mut both = Vec::new();
                for is_once in [false, true] {
                    let wire = Wire::default();
                    let platform = Platform {
                        http: SharedHttpClient::new(wire.clone()),
                        clock: Arc::new(Standing),
                        ..Platform::system()
                    };
                    let (client, service) = platform.sqs_clients(&aws(endpoint)).unwrap();
                    let call: Call<SendMessageBatchInput, SendMessageBatchOutput, SendMessageBatchError> =
                        service.call("SendMessageBatch", &SendMessageBatch::new());
                    wire.answers.lock().unwrap().push_back(answer);
                    let entry = SendMessageBatchRequestEntry::builder().id("0").message_body("{\"a\":1}");
                    let input = SendMessageBatchInput::builder()
                        .queue_url("https://sqs.eu-central-1.amazonaws.com/1/q")
                        .entries(entry.build().unwrap());
                    let told = ended(if is_once {
                        call.send(input.build().unwrap()).await
                    } else {
                        input.send_with(&client).await
                    });
                    both.push((told, left(&wire)));
                }
                assert_eq!(both[0].1.len(), 1);
                assert_eq!(both[0], both[1], "{endpoint:?} {answer:?}");
            }
        }
    }
}
