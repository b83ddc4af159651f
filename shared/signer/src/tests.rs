//! Signatures, compared with the SDK's.

use aws_sdk_dynamodb::config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_async::time::StaticTimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;

use super::*;

fn request(url: &str, body: &str, headers: &[(&'static str, &str)]) -> HttpRequest {
    let mut request = HttpRequest::new(SdkBody::from(body.to_owned()));
    request.set_method("POST").unwrap();
    request.set_uri(url.to_owned()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, (*value).to_owned());
    }
    request
}

/// What the SDK's own signer says of the same request and of the same headers in it.
fn expected(request: &HttpRequest, host: &str, credentials: &Credentials, now: SystemTime) -> String {
    let identity = Identity::from(credentials.clone());
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("dynamodb")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let wanted = |name: &str| name == "content-type" || name.starts_with("x-amz-");
    let ours = request
        .headers()
        .iter()
        .filter(|(name, _)| wanted(name) && !["x-amz-date", "x-amz-security-token"].contains(name));
    let body = SignableBody::Bytes(request.body().bytes().unwrap());
    let signable = SignableRequest::new("POST", request.uri(), ours.chain([("host", host)]), body).unwrap();
    let (instructions, _) = sign(signable, &params.into()).unwrap().into_parts();
    let (headers, _) = instructions.into_parts();
    headers.into_iter().find(|header| header.name() == "authorization").unwrap().value().to_owned()
}

#[test]
fn signatures_are_those_of_the_sdk() {
    let target = ("x-amz-target", "DynamoDB_20120810.PutItem");
    let kind = ("content-type", "application/x-amz-json-1.0");
    let signer = Signer::new("dynamodb", "eu-central-1");
    let long = "é{}".repeat(5_000);
    for (seconds, session) in
        [(1_795_521_600, None), (1_795_521_599, Some("to/ken+=")), (1_795_607_999, None)]
    {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        let session = session.map(str::to_owned);
        let credentials = Credentials::new("AKID", "sec/ret", session, None, "test");
        for (url, host) in [
            ("https://dynamodb.eu-central-1.amazonaws.com", "dynamodb.eu-central-1.amazonaws.com"),
            ("https://dynamodb.eu-central-1.amazonaws.com/", "dynamodb.eu-central-1.amazonaws.com"),
            ("http://localhost:8072/", "localhost:8072"),
            (
                "https://lambda.eu-central-1.amazonaws.com/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A1%3Afunction%3Aa_b%3Alive/invocations",
                "lambda.eu-central-1.amazonaws.com",
            ),
        ] {
            for body in ["", "{}", &long] {
                for headers in [&[][..], &[target, kind], &[kind, ("amz-sdk-request", "attempt=1")]] {
                    let mut request = request(url, body, headers);
                    assert!(signer.sign(&mut request, &credentials, now));
                    let expected = expected(&request, host, &credentials, now);
                    assert_eq!(request.headers().get("authorization"), Some(expected.as_str()), "{url}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_plain_is_left_alone() {
    let signer = Signer::new("dynamodb", "eu-central-1");
    let credentials = Credentials::new("AKID", "secret", None, None, "test");
    let sign = |url: &str, headers: &[(&'static str, &str)]| {
        let mut request = request(url, "{}", headers);
        let signed = signer.sign(&mut request, &credentials, UNIX_EPOCH);
        assert_eq!(request.headers().get("authorization").is_some(), signed);
        signed
    };
    assert!(sign("https://a.b/", &[]));
    for url in [
        "https://a.b//c",
        "https://a.b/c/../d",
        "https://a.b/c+d",
        "https://a.b/?c",
        "https://c@a.b/",
        "https://A.b/",
        "https://a.b:443/",
        "http://a.b:80/",
    ] {
        assert!(!sign(url, &[]), "{url}");
    }
    for headers in [&[("x-amz-a", "a  b")][..], &[("x-amz-a", "a"), ("x-amz-a", "b")], &[("x-amz-a", "é")]] {
        assert!(!sign("https://a.b/", headers), "{headers:?}");
    }
}

/// Whose clock is an hour ahead of ours.
#[derive(Clone, Debug, Default)]
struct Ahead(Arc<Mutex<Vec<(String, String)>>>);

impl HttpConnector for Ahead {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let header = |name| request.headers().get(name).unwrap().to_owned();
        self.0.lock().unwrap().push((header("x-amz-date"), header("user-agent")));
        let right = header("x-amz-date").starts_with("20261124T13");
        let body = if right {
            "{}"
        } else {
            r#"{"__type":"InvalidSignatureException","message":"not yet current"}"#
        };
        let status = if right { 200_u16 } else { 400 };
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        response.headers_mut().insert("date", "Tue, 24 Nov 2026 13:00:00 GMT");
        HttpConnectorFuture::ready(Ok(response))
    }
}

/// Does not like what it is asked first.
#[derive(Debug, Default)]
struct Refusing(AtomicBool);

impl HttpConnector for Refusing {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = match self.0.swap(true, Ordering::Relaxed) {
            false => (403_u16, r#"{"__type":"com.amazon.coral.service#SignatureDoesNotMatch"}"#),
            true => (200, "{}"),
        };
        // As from a socket, not read yet.
        let body = SdkBody::from(body).map(std::convert::identity);
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), body)))
    }
}

#[test]
fn what_an_item_says_of_signatures_is_no_refusal() {
    let prefix = r#"{"__type":"com.amazonaws.dynamodb.v20120810#"#;
    for (error, wanted) in [
        (r#"InvalidSignatureException","message":"x"}"#, true),
        (r#"ConditionalCheckFailedException","Item":{"p":{"S":"Signature"}},"message":"x"}"#, false),
        (r#"ConditionalCheckFailedException","Item":{"__type":{"S":"SignatureDoesNotMatch"}}}"#, false),
    ] {
        assert_eq!(is_about_the_signature(format!("{prefix}{error}").as_bytes()), wanted, "{error}");
    }
    assert!(!is_about_the_signature(b"Signature") && !is_about_the_signature(b"{}"));
}

#[tokio::test]
async fn after_a_signature_was_refused_the_sdk_signs() {
    let signer = Signer::new("dynamodb", "eu-central-1");
    let client = client(&signer, SharedHttpConnector::new(Refusing::default()));
    let get = || client.get_item().table_name("t").set_key(Some([].into())).send();
    get().await.unwrap_err();
    // What it would need to sign itself.
    assert!(signer.0.key.lock().unwrap().take().is_some());
    get().await.unwrap();
    assert!(signer.0.key.lock().unwrap().is_none());
}

fn client(signer: &Signer, connector: SharedHttpConnector) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("AKID", "secret", None, None, "test"))
        .http_client(http_client_fn(move |_: &HttpConnectorSettings, _| connector.clone()))
        .time_source(StaticTimeSource::new(UNIX_EPOCH + Duration::from_secs(1_795_521_600)))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::ZERO))
        .push_auth_scheme(signer.clone())
        .interceptor(signer.clone());
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected() {
    let ahead = Ahead::default();
    let signer = Signer::new("dynamodb", "eu-central-1");
    let client = client(&signer, SharedHttpConnector::new(ahead.clone()));
    for _ in 0..2 {
        client.get_item().table_name("t").set_key(Some([].into())).send().await.unwrap();
    }
    let seen = std::mem::take(&mut *ahead.0.lock().unwrap());
    let dates: Vec<&str> = seen.iter().map(|(date, _)| date.as_str()).collect();
    assert_eq!(dates, ["20261124T120000Z", "20261124T130000Z", "20261124T130000Z"]);
    assert!(seen.iter().all(|(_, agent)| agent == AGENT), "{seen:?}");
}
