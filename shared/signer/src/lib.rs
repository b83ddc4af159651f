//! Signature Version 4 for nearly every request there is: a POST of a text to a plain URL.
//!
//! The SDK derives its key anew for each request and takes each apart again, which was a third of what a
//! message costs. The key holds for a day. Whatever is not as plain as that, is repeated, or follows
//! upon a sign that this machine's clock is wrong, is left to the SDK. A test compares the two.

mod any;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4Signer};
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::{AuthScheme, AuthSchemeEndpointConfig, AuthSchemeId, Sign};
use aws_smithy_runtime_api::client::identity::{Identity, SharedIdentityResolver};
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
    BeforeSerializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, disable_interceptor, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::{GetIdentityResolver, RuntimeComponents};
use aws_smithy_types::config_bag::ConfigBag;
use http::HeaderValue;
use ring::{digest, hmac};
use serde::Deserialize;

use runtime::clock::Timestamp;
use runtime::{AGENT, hex};

pub use any::{Unsigned, escaped, sign};
pub use aws_credential_types::Credentials as AwsCredentials;

/// From then on another clock than ours is at fault, or ours is. AWS takes what is five minutes off.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// Signs the requests of one client.
#[derive(Clone, Debug)]
pub struct Signer(Arc<Inner>);

struct Inner {
    service: &'static str,
    region: String,
    key: Mutex<Option<Arc<Key>>>,
    clock_is_wrong: AtomicBool,
    /// AWS did not like one of ours.
    is_refused: AtomicBool,
    sdk: SigV4Signer,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("service", &self.service).finish_non_exhaustive()
    }
}

/// What signs all requests of a day.
struct Key {
    day: u64,
    credentials: Credentials,
    /// `20260729`.
    date: String,
    /// `20260729/eu-central-1/sqs/aws4_request`.
    scope: String,
    key: hmac::Key,
}

impl Key {
    fn derive(credentials: &Credentials, day: u64, region: &str, service: &str) -> Option<Self> {
        let seconds = i64::try_from(day * SECONDS_OF_A_DAY).ok()?;
        let date = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?.date();
        let date = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
        let first = format!("AWS4{}", credentials.secret_access_key());
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
        for part in [date.as_str(), region, service, "aws4_request"] {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        let scope = format!("{date}/{region}/{service}/aws4_request");
        Some(Self { day, credentials: credentials.clone(), date, scope, key })
    }
}

const SECONDS_OF_A_DAY: u64 = 24 * 3600;

impl Signer {
    /// Signs for `service` in `region`.
    pub fn new(service: &'static str, region: &str) -> Self {
        Self(Arc::new(Inner {
            service,
            region: region.to_owned(),
            key: Mutex::default(),
            clock_is_wrong: AtomicBool::default(),
            is_refused: AtomicBool::default(),
            sdk: SigV4Signer::new(),
        }))
    }

    fn key(&self, credentials: &Credentials, day: u64) -> Option<Arc<Key>> {
        let mut kept = self.0.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = kept.as_ref().filter(|key| key.day == day && key.credentials == *credentials) {
            return Some(key.clone());
        }
        let key = Arc::new(Key::derive(credentials, day, &self.0.region, self.0.service)?);
        Some(kept.insert(key).clone())
    }

    /// Signs a request that is plain enough: a POST to a URL without a query, whose body is at hand. Says whether it
    /// was. For requests that no client of the SDK makes.
    pub fn sign(&self, request: &mut HttpRequest, credentials: &Credentials, now: SystemTime) -> bool {
        let Some((host, path)) = plain(request.uri()) else { return false };
        let (host, path) = (host.to_owned(), path.to_owned());
        let Some(hash) = request.body().bytes().map(sha256) else { return false };
        let Ok(seconds) = now.duration_since(UNIX_EPOCH).map(|since| since.as_secs()) else { return false };
        let Some(key) = self.key(credentials, seconds / SECONDS_OF_A_DAY) else { return false };
        if request.method() != "POST" {
            return false;
        }
        let of_day = seconds % SECONDS_OF_A_DAY;
        let at = format!("{}T{:02}{:02}{:02}Z", key.date, of_day / 3600, of_day / 60 % 60, of_day % 60);
        let token = match credentials.session_token().map(HeaderValue::from_str) {
            None => None,
            Some(Ok(mut token)) => {
                token.set_sensitive(true);
                Some(token)
            }
            Some(Err(_)) => return false,
        };
        let headers = request.headers_mut();
        headers.insert("x-amz-date", at.clone());
        if let Some(token) = token {
            headers.insert("x-amz-security-token", token);
        }
        let Some((signed, canonical)) = canonical(request, &host, &path, &hash) else { return false };
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{}\n{}", key.scope, sha256(canonical.as_bytes()));
        let signature = hex(hmac::sign(&key.key, text.as_bytes()).as_ref());
        let id = credentials.access_key_id();
        let text = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{}, SignedHeaders={signed}, Signature={signature}",
            key.scope
        );
        let Ok(mut text) = HeaderValue::from_str(&text) else { return false };
        text.set_sensitive(true);
        request.headers_mut().insert("authorization", text);
        true
    }
}

/// Host and path of a URL that has nothing behind them and no port that its scheme implies.
fn plain(uri: &str) -> Option<(&str, &str)> {
    let (rest, implied) = match uri.strip_prefix("https://") {
        Some(rest) => (rest, ":443"),
        None => (uri.strip_prefix("http://")?, ":80"),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:".contains(&byte);
    // What AWS makes of two slashes, and of dots, is for the SDK to know.
    let is_plain_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~%.".contains(&byte);
    let plain = !host.is_empty() && host.bytes().all(is_plain) && !host.ends_with(implied);
    let path_is_plain = path.bytes().all(is_plain_path)
        && !path.contains("//")
        && !path.split('/').any(|part| part.starts_with('.'));
    (plain && path_is_plain).then_some((host, if path.is_empty() { "/" } else { path }))
}

/// The names of the headers that are signed, and the text that they, the body's `hash` and the rest make.
/// None if a header's text would have to be changed for that.
fn canonical(request: &HttpRequest, host: &str, path: &str, hash: &str) -> Option<(String, String)> {
    let wanted = |name: &str| name == "content-type" || name.starts_with("x-amz-");
    let mut headers: Vec<(&str, &str)> = vec![("host", host)];
    headers.extend(request.headers().iter().filter(|(name, _)| wanted(name)));
    headers.sort_unstable();
    let is_plain =
        |value: &str| value.is_ascii() && value.trim() == value && !value.contains("  ") && !value.is_empty();
    if headers.windows(2).any(|two| two[0].0 == two[1].0) || !headers.iter().all(|(_, value)| is_plain(value))
    {
        return None;
    }
    let length: usize = headers.iter().map(|(name, value)| 2 * name.len() + value.len() + 3).sum();
    let (mut signed, mut canonical) = (String::with_capacity(length / 2), String::with_capacity(length + 80));
    // A path is escaped once more than it is on the wire.
    canonical.push_str("POST\n");
    canonical.push_str(&path.replace('%', "%25"));
    canonical.push_str("\n\n");
    for (name, value) in headers {
        if !signed.is_empty() {
            signed.push(';');
        }
        signed.push_str(name);
        for part in [name, ":", value, "\n"] {
            canonical.push_str(part);
        }
    }
    for part in ["\n", &signed, "\n", hash] {
        canonical.push_str(part);
    }
    Some((signed, canonical))
}

/// The SHA-256 of `bytes`, in lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Whether an error is `InvalidSignatureException`, `IncompleteSignature` or `SignatureDoesNotMatch`. Only its
/// kind is looked at: a condition that failed brings an item along, and that holds what somebody wrote.
fn is_about_the_signature(error: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "__type")]
        kind: Cow<'a, str>,
    }
    serde_json::from_slice::<Kind<'_>>(error).is_ok_and(|Kind { kind }| kind.contains("Signature"))
}

impl AuthScheme for Signer {
    fn scheme_id(&self) -> AuthSchemeId {
        SCHEME_ID
    }

    fn identity_resolver(&self, resolvers: &dyn GetIdentityResolver) -> Option<SharedIdentityResolver> {
        resolvers.identity_resolver(self.scheme_id())
    }

    fn signer(&self) -> &dyn Sign {
        self
    }
}

impl Sign for Signer {
    fn sign_http_request(
        &self,
        request: &mut HttpRequest,
        identity: &Identity,
        endpoint: AuthSchemeEndpointConfig<'_>,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        request.headers_mut().insert("user-agent", AGENT);
        let is_first = config.load::<RequestAttempts>().is_none_or(|attempts| attempts.attempts() <= 1);
        if is_first
            && !self.0.clock_is_wrong.load(Ordering::Relaxed)
            && !self.0.is_refused.load(Ordering::Relaxed)
            && let Some(credentials) = identity.data::<Credentials>()
            && self.sign(request, credentials, components.time_source().unwrap_or_default().now())
        {
            return Ok(());
        }
        self.0.sdk.sign_http_request(request, identity, endpoint, components, config)
    }
}

#[dyn_dispatch_hint]
impl Intercept for Signer {
    fn name(&self) -> &'static str {
        "Signer"
    }

    /// What the SDK composes of its versions and of features that were used is a twentieth of a request.
    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let instead = disable_interceptor::<UserAgentInterceptor>("the signer names us");
        config.interceptor_state().store_put(instead);
        Ok(())
    }

    /// If AWS ever refuses a signature, the SDK signs from then on: that costs one request, and not an
    /// installation. The body is read by now.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if response.status().is_client_error()
            && response.body().bytes().is_some_and(is_about_the_signature)
            && !self.0.is_refused.swap(true, Ordering::Relaxed)
        {
            tracing::error!(service = self.0.service, "AWS refuses a signature: the SDK signs from now on");
        }
        Ok(())
    }

    /// The SDK learns how wrong a clock is, and signs by the right time.
    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if !response.status().is_client_error() {
            return Ok(());
        }
        let ours = components.time_source().unwrap_or_default().now().duration_since(UNIX_EPOCH)?;
        let ours = Timestamp::from_ms(u64::try_from(ours.as_millis())?);
        let theirs = response.headers().get("date").and_then(|date| Timestamp::parse_http_date(date, ours));
        if let Some(theirs) = theirs {
            let apart = theirs.since(ours).max(ours.since(theirs));
            self.0.clock_is_wrong.store(apart > CLOCKS_APART_MAX, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        let signable =
            SignableRequest::new("POST", request.uri(), ours.chain([("host", host)]), body).unwrap();
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
        for headers in
            [&[("x-amz-a", "a  b")][..], &[("x-amz-a", "a"), ("x-amz-a", "b")], &[("x-amz-a", "é")]]
        {
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
}
