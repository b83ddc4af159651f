//! Requests to the API, and to receivers on this machine.

use std::time::Duration;

use bytes::Bytes;
use domain::error::Chain;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{CliError, Result};

/// The most that one request may take: an HTTP API of AWS gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);
/// Lambda answers with 6 MB at most.
const RESPONSE_LENGTH_MAX: usize = 8 * 1024 * 1024;
/// The variable that a token is read from.
pub(crate) const TOKEN: &str = "POSTRIDER_TOKEN";
/// Where a server names the fields that it ignored.
const UNKNOWN: &str = "postrider-unknown";
const AGENT: &str = concat!("postrider-cli/", env!("CARGO_PKG_VERSION"));

/// An HTTP client. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) fn new() -> Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| CliError::usage(format!("no certificate authorities found: {error}")))?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// One exchange, within `timeout`; or why there is no response.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> std::result::Result<Response, String> {
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| cause(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, RESPONSE_LENGTH_MAX).collect().await;
            let body = body.map_err(|error| format!("the response broke off: {error}"))?.to_bytes();
            Ok(Response { status: head.status, headers: head.headers, body })
        };
        let late = Err(format!("no response within {} s", timeout.as_secs()));
        tokio::time::timeout(timeout, exchange).await.unwrap_or(late)
    }
}

/// The last cause says what happened; those before it name layers of the client.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    if text.is_empty() { Chain(error).to_string() } else { text }
}

/// A server of the API, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: Http,
    url: String,
    token: String,
    /// The variable that this token may be set by.
    token_variable: &'static str,
}

/// One page of a list; its entries as they came.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Page {
    pub(crate) data: Vec<Box<RawValue>>,
    #[serde(default)]
    pub(crate) iterator: Option<String>,
    #[serde(default)]
    done: Option<bool>,
}

impl Page {
    /// Where the next page begins; none at the end.
    pub(crate) fn next(self) -> Option<String> {
        self.iterator.filter(|_| self.done == Some(false))
    }
}

/// What a server made of a body.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The response, as it came.
    pub(crate) text: String,
    /// The fields that it ignored.
    pub(crate) ignored: Option<String>,
}

impl Sent {
    /// Complains about fields that were ignored: they are misspelt, or of another version.
    pub(crate) fn all_known(&self) -> Result<()> {
        match &self.ignored {
            None => Ok(()),
            Some(names) => Err(CliError::Refused(format!(
                "done, but the server does not know these fields and ignored them: {names}"
            ))),
        }
    }
}

/// A text that another sentence may follow.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// Whether the same request may succeed a moment later.
pub(crate) fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Whether a token can be sent at all: one that was read from a file may have a line break in it.
pub(crate) fn checked_token(name: &str, token: &str) -> Result<()> {
    match HeaderValue::from_str(token) {
        Ok(_) => Ok(()),
        Err(_) => Err(CliError::usage(format!(
            "{name}: the token has a line break or another control character in it; give it without"
        ))),
    }
}

/// A segment of a path or a value of a query, encoded.
pub(crate) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Whether a URL stays on this machine.
pub(crate) fn is_local(url: &str) -> bool {
    let url = url::Url::parse(url).ok();
    url.as_ref().and_then(url::Url::host).is_some_and(|host| match host {
        url::Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    })
}

impl Api {
    pub(crate) fn new(http: Http, url: &str, token: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { http, url, token: token.to_owned(), token_variable: TOKEN }
    }

    /// The same for a token that comes from this variable.
    pub(crate) fn with_token_of(self, token_variable: &'static str) -> Self {
        Self { token_variable, ..self }
    }

    /// The server's URL, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The HTTP client.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// `GET` of a path below `/api/v1`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    /// `POST` of a path below `/api/v1`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Method::POST, path, Some(body.to_string())).await
    }

    /// One request; null for a response without content.
    ///
    /// # Errors
    /// `Refused` with the server's reason, `Unreachable` without a response.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Value> {
        let text = self.bytes(method, path, body).await?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&text).map_err(|_| self.stranger())
    }

    /// One page of a list.
    pub(crate) async fn page(&self, path: &str) -> Result<Page> {
        let text = self.bytes(Method::GET, path, None).await?;
        serde_json::from_slice(&text).map_err(|_| self.stranger())
    }

    /// `GET` of a path below `/api/v1`: a JSON text, as it came.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        let text = self.bytes(Method::GET, path, None).await?;
        self.json(&text)
    }

    /// Sends a body that is JSON; what it came to is JSON, too.
    pub(crate) async fn give(&self, method: Method, path: &str, body: String) -> Result<Sent> {
        let response = self.send(method, path, Some(body)).await?;
        if !response.status.is_success() {
            return Err(self.refused(&response));
        }
        let ignored = response.headers.get(UNKNOWN).and_then(|names| names.to_str().ok()).map(str::to_owned);
        Ok(Sent { text: self.json(&response.body)?, ignored })
    }

    fn json(&self, text: &[u8]) -> Result<String> {
        let value: Box<RawValue> = serde_json::from_slice(text).map_err(|_| self.stranger())?;
        Ok(value.get().to_owned())
    }

    /// A response that says something about the request: not about the token, or the server's load.
    ///
    /// # Errors
    /// `Unreachable` also where the server is busy: the next request may succeed.
    pub(crate) async fn answered(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Response> {
        let response = self.send(method, path, body).await?;
        match response.status {
            StatusCode::UNAUTHORIZED => Err(self.refused(&response)),
            status if is_busy(status) => Err(CliError::Unreachable(self.refused(&response).to_string())),
            _ => Ok(response),
        }
    }

    /// `GET` for a command that waits for a server which restarts.
    ///
    /// # Errors
    /// `Unreachable` where the next request may succeed.
    pub(crate) async fn watch(&self, path: &str) -> Result<Value> {
        let response = self.answered(Method::GET, path, None).await?;
        if !response.status.is_success() {
            return Err(self.refused(&response));
        }
        serde_json::from_slice(&response.body).map_err(|_| self.stranger())
    }

    /// One request and its response's body, as it came.
    pub(crate) async fn bytes(&self, method: Method, path: &str, body: Option<String>) -> Result<Bytes> {
        let response = self.send(method, path, body).await?;
        if response.status.is_success() {
            return Ok(response.body);
        }
        Err(self.refused(&response))
    }

    /// The same, whatever its status.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<Response> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.url))
            .header(USER_AGENT, AGENT)
            .header(AUTHORIZATION, format!("Bearer {}", self.token));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())));
        let request = request.map_err(|error| CliError::usage(format!("{}: {error}", self.url)))?;
        self.http.send(request, TIMEOUT).await.map_err(|problem| {
            let hint = if is_local(&self.url) {
                ". Is `postrider dev` running?"
            } else {
                ". Check --server-url and your network."
            };
            CliError::Unreachable(format!("cannot reach {}: {problem}{hint}", self.url))
        })
    }

    /// Something answered that is no server of this API.
    pub(crate) fn stranger(&self) -> CliError {
        CliError::Refused(format!("{} answered, but not with JSON: is it a server of this API?", self.url))
    }

    /// What a refusal says, on one line.
    pub(crate) fn refused(&self, response: &Response) -> CliError {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let detail = match &body["detail"] {
            Value::String(text) => text.clone(),
            Value::Array(list) => {
                let violations = list.iter().map(|one| {
                    let place = one["loc"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let place: Vec<&str> = place.iter().filter_map(Value::as_str).collect();
                    format!("{}: {}", place.join("."), one["msg"].as_str().unwrap_or_default())
                });
                violations.collect::<Vec<_>>().join("; ")
            }
            // Gateways say it so.
            _ if body["message"].is_string() => body["message"].as_str().unwrap_or_default().to_owned(),
            _ if body.is_object() => "no reason given".to_owned(),
            _ => format!("{} answered, but not with JSON: is it a server of this API?", self.url),
        };
        let hint = match response.status.as_u16() {
            401 if self.token_variable == TOKEN => {
                format!(" Set {TOKEN}, or save one with `postrider profile save`.")
            }
            401 => format!(" Set {}.", self.token_variable),
            429 | 502..=504 => " Wait a moment and try again.".to_owned(),
            _ => String::new(),
        };
        let detail = if hint.is_empty() { detail } else { sentence(&detail) };
        CliError::Refused(format!("{}: {detail}{hint}", response.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encoded("a b/c?"), "a%20b%2Fc%3F");
        assert_eq!(encoded("invoice.paid_1-x"), "invoice.paid_1-x");
    }

    #[test]
    fn a_local_url_is_one_of_this_machine() {
        for url in ["http://127.0.0.1:8071", "http://localhost", "http://[::1]:1/", "http://a.localhost/x"] {
            assert!(is_local(url), "{url}");
        }
        for url in ["http://127.0.0.1.example.com", "http://localhost.example.com", "http://10.0.0.1", "x"] {
            assert!(!is_local(url), "{url}");
        }
    }

    #[test]
    fn what_a_server_ignored_is_named_and_no_success() {
        let sent = |ignored: Option<&str>| Sent { text: "{}".into(), ignored: ignored.map(str::to_owned) };
        assert_eq!(sent(None).all_known(), Ok(()));
        let error = sent(Some("limt, rate_limit")).all_known().unwrap_err();
        assert!(error.code() == 1 && error.to_string().ends_with(": limt, rate_limit"), "{error}");
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_named() {
        assert_eq!(checked_token("--token", "a.b.c"), Ok(()));
        assert!(checked_token("--token", "a\nb").unwrap_err().to_string().starts_with("--token: "));
    }

    #[test]
    fn a_refusal_is_one_line_with_the_servers_reason() {
        let api = Api::new(Http::new().unwrap(), "http://127.0.0.1:1/", "t");
        let refused = |status: u16, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            let response =
                Response { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) };
            api.refused(&response).to_string()
        };
        let violation =
            r#"{"detail":[{"loc":["body","url"],"msg":"Not an absolute URL","type":"value_error"}]}"#;
        assert_eq!(refused(422, violation), "422 Unprocessable Entity: body.url: Not an absolute URL");
        assert_eq!(
            refused(401, r#"{"code":"x","detail":"Invalid token"}"#),
            "401 Unauthorized: Invalid token. Set POSTRIDER_TOKEN, or save one with `postrider profile save`."
        );
        assert_eq!(
            refused(503, "<html>"),
            "503 Service Unavailable: http://127.0.0.1:1 answered, but not with JSON: is it a server of this API? \
             Wait a moment and try again."
        );
        assert_eq!(refused(403, r#"{"message":"Forbidden"}"#), "403 Forbidden: Forbidden");
        let source = api.clone().with_token_of("POSTRIDER_FROM_TOKEN");
        let unauthorized =
            Response { status: StatusCode::UNAUTHORIZED, headers: HeaderMap::new(), body: Bytes::from("{}") };
        assert!(source.refused(&unauthorized).to_string().ends_with("Set POSTRIDER_FROM_TOKEN."));
        assert_eq!(api.url(), "http://127.0.0.1:1");
    }
}
