//! Requests to services of AWS that are asked too seldom for a client of their own, signed by Signature Version 4.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use shared::Platform;
use shared::config::{Aws, Env};
use shared::error::Chain;

use super::OpsError;

/// What one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// No response that is asked for here is as long as this.
const RESPONSE_LENGTH_MAX: usize = 4 * 1024 * 1024;

/// The services of one region, for one caller.
pub(super) struct Api {
    aws: Aws,
    /// Another address than AWS's, of all services.
    endpoint: Option<String>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A request before it is signed.
pub(super) struct Ask<'a> {
    pub(super) service: &'static str,
    pub(super) method: Method,
    /// Path and query, encoded.
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'static str, &'static str)],
    pub(super) body: String,
}

/// What a service says about a refusal, in JSON or XML.
fn reason(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let message = ["message", "Message"].into_iter().find_map(|name| json[name].as_str());
    let message = message.or_else(|| super::stack::between(body, "<Message>", "</Message>"));
    message.map_or_else(|| "no reason given".to_owned(), |text| text.replace(char::is_control, " "))
}

impl Api {
    pub(super) fn new(aws: &Aws, endpoint: Option<&str>, env: &Env<'_>) -> Result<Self, OpsError> {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| OpsError::Usage(format!("no certificates of authorities were found: {error}")))?
            .https_or_http()
            .enable_http1()
            .build();
        let endpoint = endpoint.map(str::to_owned).or_else(|| env.optional("AWS_ENDPOINT_URL"));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { aws: aws.clone(), endpoint, client })
    }

    fn url(&self, service: &str) -> String {
        let region = &self.aws.region;
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let aws = || format!("https://{service}.{region}.{suffix}");
        self.endpoint.as_ref().map_or_else(aws, |endpoint| endpoint.trim_end_matches('/').to_owned())
    }

    /// Sends a request.
    pub(super) async fn ask(&self, ask: Ask<'_>, platform: &Platform) -> Result<String, OpsError> {
        let wrong = |problem: String| OpsError::Usage(format!("{}: {problem}", ask.service));
        let mut request = Request::builder().method(&ask.method).uri(self.url(ask.service) + ask.path);
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let mut request = request
            .body(Full::new(Bytes::from(ask.body.clone())))
            .map_err(|error| wrong(error.to_string()))?;
        let (id, secret, session) = self.aws.credentials.clone();
        let identity = Credentials::new(id, secret, session, None, "environment").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.aws.region)
            .name(ask.service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_millis(platform.clock.now().ms()))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| wrong(error.to_string()))?
            .into();
        let uri = request.uri().to_string();
        let headers = ask.headers.iter().copied();
        let body = SignableBody::Bytes(ask.body.as_bytes());
        let signed = SignableRequest::new(ask.method.as_str(), uri, headers, body)
            .and_then(|request| sign(request, &params))
            .map_err(|error| wrong(error.to_string()))?;
        signed.into_parts().0.apply_to_request_http1x(&mut request);

        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| Chain(&error).to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), RESPONSE_LENGTH_MAX).collect().await;
            let body = body.map_err(|error| format!("the response ended early: {error}"))?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let late = Err(format!("no response within {} s", PATIENCE.as_secs()));
        let exchanged: Result<(StatusCode, String), String> =
            tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(late);
        match exchanged {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, body)) => Err(OpsError::refused(ask.service, format!("{status}: {}", reason(&body)))),
            Err(problem) => Err(OpsError::unreachable(ask.service, problem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_whatever_form_it_has() {
        let xml = "<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id x does not exist</Message></Error></ErrorResponse>";
        assert_eq!(reason(xml), "Stack with id x does not exist");
        assert_eq!(reason(r#"{"__type":"x","Message":"not\nyours"}"#), "not yours");
        assert_eq!(reason(r#"{"message":"denied"}"#), "denied");
        assert_eq!(reason("<html>"), "no reason given");
    }
}
