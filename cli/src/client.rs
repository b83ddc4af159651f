//! Requests to the API, and to receivers on this machine.

use std::time::Duration;

use bytes::Bytes;
use domain::error::Chain;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::error::{CliError, Result};

/// The most that one request may take: an HTTP API of AWS gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);
/// Lambda answers with 6 MB at most.
const RESPONSE_LENGTH_MAX: usize = 8 * 1024 * 1024;
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
        Self { http, url: url.trim_end_matches('/').to_owned(), token: token.to_owned() }
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

    /// The same, as it came.
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
            _ if body.is_null() => return self.stranger(),
            _ => String::new(),
        };
        let hint = match response.status.as_u16() {
            401 => " Set POSTRIDER_TOKEN, or save one with `postrider profile save`.",
            429 => " Wait a moment and try again.",
            _ => "",
        };
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
        assert!(refused(401, r#"{"code":"x","detail":"Invalid token"}"#).contains("postrider profile save"));
        assert!(refused(502, "<html>").contains("not with JSON"));
        assert_eq!(api.url(), "http://127.0.0.1:1");
    }
}
