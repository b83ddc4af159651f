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

    /// A second of the day as signatures have it: `20260729T235959Z`.
    fn at(&self, second: u64) -> String {
        let mut at = String::with_capacity(16);
        at.push_str(&self.date);
        at.push('T');
        for part in [second / 3600, second / 60 % 60, second % 60] {
            // Below a hundred.
            let part = u8::try_from(part).unwrap_or_default();
            at.extend([char::from(b'0' + part / 10), char::from(b'0' + part % 10)]);
        }
        at.push('Z');
        at
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
        let Ok(seconds) = now.duration_since(UNIX_EPOCH).map(|since| since.as_secs()) else { return false };
        let Some(key) = self.key(credentials, seconds / SECONDS_OF_A_DAY) else { return false };
        if request.method() != "POST" {
            return false;
        }
        let at = key.at(seconds % SECONDS_OF_A_DAY);
        let token = match credentials.session_token().map(HeaderValue::from_str) {
            None => None,
            Some(Ok(mut token)) => {
                token.set_sensitive(true);
                Some(token)
            }
            Some(Err(_)) => return false,
        };
        let Some(text) = authorization(request, credentials, &key, &at) else { return false };
        let Ok(mut text) = HeaderValue::try_from(text) else { return false };
        text.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(DATE, at);
        if let Some(token) = token {
            headers.insert(TOKEN, token);
        }
        headers.insert("authorization", text);
        true
    }
}

/// The header with the time of the signature.
const DATE: &str = "x-amz-date";
/// The header with the token of temporary credentials.
const TOKEN: &str = "x-amz-security-token";

/// The header that signs a request at `at`. None if it is not plain enough.
fn authorization(request: &HttpRequest, credentials: &Credentials, key: &Key, at: &str) -> Option<String> {
    let (host, path) = plain(request.uri())?;
    let hash = sha256(request.body().bytes()?);
    let own = [("host", host), (DATE, at)];
    let (signed, canonical) = canonical(request, own, credentials.session_token(), path, &hash)?;
    let mut text = String::with_capacity(200);
    for part in ["AWS4-HMAC-SHA256\n", at, "\n", &key.scope, "\n", &sha256(canonical.as_bytes())] {
        text.push_str(part);
    }
    let signature = hex(hmac::sign(&key.key, text.as_bytes()).as_ref());
    let mut text = String::with_capacity(320);
    for part in [
        "AWS4-HMAC-SHA256 Credential=",
        credentials.access_key_id(),
        "/",
        &key.scope,
        ", SignedHeaders=",
        &signed,
        ", Signature=",
        &signature,
    ] {
        text.push_str(part);
    }
    Some(text)
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

/// Whether a header's text is in a signature as it is: with no blank at either end, and no two together.
fn is_plain_value(value: &str) -> bool {
    let (mut blank, mut plain) = (true, true);
    for byte in value.bytes() {
        plain &= matches!(byte, b'!'..=b'~') || byte == b' ' && !blank;
        blank = byte == b' ';
    }
    plain && !blank
}

/// The names of the headers that are signed, and the text that they, the body's `hash` and the rest make: with the
/// headers `own` and the `token`, whatever the request has under these names.
/// None if a header's text would have to be changed for that.
fn canonical(
    request: &HttpRequest,
    own: [(&'static str, &str); 2],
    token: Option<&str>,
    path: &str,
    hash: &str,
) -> Option<(String, String)> {
    let wanted =
        |name: &str| name == "content-type" || name.starts_with("x-amz-") && name != DATE && name != TOKEN;
    let mut headers: Vec<(&str, &str)> = Vec::with_capacity(8);
    headers.extend(own);
    headers.extend(token.map(|token| (TOKEN, token)));
    headers.extend(request.headers().iter().filter(|(name, _)| wanted(name)));
    headers.sort_unstable();
    if headers.windows(2).any(|two| two[0].0 == two[1].0)
        || !headers.iter().all(|(_, value)| is_plain_value(value))
    {
        return None;
    }
    let length: usize = headers.iter().map(|(name, value)| 2 * name.len() + value.len() + 3).sum();
    let (mut signed, mut canonical) = (String::with_capacity(length / 2), String::with_capacity(length + 80));
    // A path is escaped once more than it is on the wire.
    canonical.push_str("POST\n");
    for (nth, part) in path.split('%').enumerate() {
        if nth > 0 {
            canonical.push_str("%25");
        }
        canonical.push_str(part);
    }
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
mod tests;
