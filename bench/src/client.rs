//! The few requests that a load needs.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use shared::error::Chain;

use crate::Failed;
use crate::flags::Order;
use crate::poll::Leased;

/// What takes longer counts as an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const ANSWER_MAX: usize = 6 << 20;

/// A request as it is sent.
pub(crate) type Asking = Request<Full<Bytes>>;

/// A server of the API, and who asks it. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    authorization: String,
}

impl Api {
    pub(crate) fn new(url: &str, token: &str) -> Result<Self, Failed> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| Failed::Server(format!("TLS is not to be had: {error}")))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1_024).build(connector);
        Ok(Self { client, url: url.to_owned(), authorization: format!("Bearer {token}") })
    }

    /// One request; the answer's status and text, or why there is none.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        key: Option<String>,
        body: String,
    ) -> Result<(StatusCode, Bytes), String> {
        let request = self.asking(method, path, key, body)?;
        self.answer(request).await
    }

    fn asking(
        &self,
        method: Method,
        path: &str,
        key: Option<String>,
        body: String,
    ) -> Result<Asking, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.url))
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())
    }

    async fn answer(&self, request: Asking) -> Result<(StatusCode, Bytes), String> {
        let answered = async {
            let response = self.client.request(request).await.map_err(|error| Chain(&error).to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, answered)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    }

    /// Creates something, and returns its id.
    async fn create(&self, what: &str, path: &str, body: &Value) -> Result<String, Failed> {
        let failed = |problem: String| Failed::Server(format!("{what} was not created: {problem}"));
        let (status, text) = self.ask(Method::POST, path, None, body.to_string()).await.map_err(failed)?;
        if !status.is_success() {
            return Err(failed(format!("{status}: {}", String::from_utf8_lossy(&text))));
        }
        let answer: Value = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        let id = answer["id"].as_str().ok_or_else(|| failed("the answer has no id".to_owned()))?;
        Ok(id.to_owned())
    }

    pub(crate) async fn application(&self, name: &str) -> Result<String, Failed> {
        self.create("an application", "/app", &json!({ "name": name })).await
    }

    pub(crate) async fn endpoint(&self, app: &str, url: &str, secret: &str) -> Result<String, Failed> {
        let body = json!({ "url": url, "secret": secret });
        self.create("an endpoint", &format!("/app/{app}/endpoint"), &body).await
    }

    /// The same for an endpoint that gets its messages in order.
    pub(crate) async fn ordered_endpoint(
        &self,
        app: &str,
        url: &str,
        secret: &str,
        order: &Order,
        batch: u16,
    ) -> Result<String, Failed> {
        let mut body = json!({ "url": url, "secret": secret, "fifo": true });
        if batch > 1 {
            body["batchSize"] = batch.into();
        }
        if let Order::By(pointer) = order {
            body["fifoKey"] = pointer.as_str().into();
        }
        self.create("an ordered endpoint", &format!("/app/{app}/endpoint"), &body).await
    }

    /// Pauses an ordered endpoint, or resumes it.
    pub(crate) async fn order(&self, app: &str, endpoint: &str, what: &str) -> Result<(), Failed> {
        let path = format!("/app/{app}/endpoint/{endpoint}/order/{what}");
        let failed =
            |problem: String| Failed::Server(format!("an order was not changed ({what}): {problem}"));
        let (status, text) = self.ask(Method::POST, &path, None, String::new()).await.map_err(failed)?;
        match status.is_success() {
            true => Ok(()),
            false => Err(failed(format!("{status}: {}", String::from_utf8_lossy(&text)))),
        }
    }

    /// An endpoint whose messages are fetched.
    pub(crate) async fn polling_endpoint(&self, app: &str) -> Result<String, Failed> {
        let body = json!({ "destination": { "kind": "polling" } });
        self.create("a polling endpoint", &format!("/app/{app}/endpoint"), &body).await
    }

    /// The next messages of a consumer, leased.
    pub(crate) async fn lease(&self, consumer: &str) -> Result<Leased, String> {
        let path = format!("{consumer}?limit=250");
        let (status, text) = self.ask(Method::GET, &path, None, String::new()).await?;
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&text)));
        }
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }

    /// What was leased, up to this offset, is done.
    pub(crate) async fn commit(&self, consumer: &str, offset: u64) -> Result<(), String> {
        let body = json!({ "offset": offset }).to_string();
        let (status, text) = self.ask(Method::POST, &format!("{consumer}/commit"), None, body).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&text)))
        }
    }

    /// An endpoint whose signatures nobody looks at.
    pub(crate) async fn plain_endpoint(&self, app: &str, url: &str) -> Result<(), Failed> {
        let body = json!({ "url": url });
        self.create("an endpoint", &format!("/app/{app}/endpoint"), &body).await.map(drop)
    }

    /// An endpoint that gets none of the messages that are posted here.
    pub(crate) async fn uninterested_endpoint(&self, app: &str, url: &str) -> Result<(), Failed> {
        let body = json!({ "url": url, "channels": ["others"] });
        self.create("an endpoint", &format!("/app/{app}/endpoint"), &body).await.map(drop)
    }

    /// Reads something; says whether it was there, and not still to be counted.
    pub(crate) async fn read(&self, path: &str) -> Result<bool, Failed> {
        let failed = |problem: String| Failed::Server(format!("{path} was not read: {problem}"));
        let (status, text) = self.ask(Method::GET, path, None, String::new()).await.map_err(failed)?;
        match status {
            StatusCode::SERVICE_UNAVAILABLE => Ok(false),
            _ if status.is_success() => Ok(true),
            _ => Err(failed(format!("{status}: {}", String::from_utf8_lossy(&text)))),
        }
    }

    /// Removes an application; one that stays is a blemish and no failure.
    pub(crate) async fn remove(&self, app: &str) {
        let _stays = self.ask(Method::DELETE, &format!("/app/{app}"), None, String::new()).await;
    }

    /// The request that posts a message, or several.
    pub(crate) fn messages(
        &self,
        app: &str,
        key: Option<String>,
        messages: &[(Option<String>, String)],
    ) -> Result<Asking, String> {
        let bodies = messages.iter().map(|(event_id, payload)| {
            let event_id = event_id.as_ref().map(|id| format!("\"eventId\":\"{id}\",")).unwrap_or_default();
            format!("{{\"eventType\":\"bench.load\",{event_id}\"payload\":{payload}}}")
        });
        let bodies: Vec<String> = bodies.collect();
        match &bodies[..] {
            [one] => self.asking(Method::POST, &format!("/app/{app}/msg"), key, one.clone()),
            several => {
                let body = format!("{{\"messages\":[{}]}}", several.join(","));
                self.asking(Method::POST, &format!("/app/{app}/msg/batch"), key, body)
            }
        }
    }

    /// Posts them: for each whether it was accepted, or what to count it as.
    pub(crate) async fn post(&self, messages: Asking, count: usize) -> Vec<Result<(), String>> {
        let (status, text) = match self.answer(messages).await {
            Ok(answer) => answer,
            Err(error) => return vec![Err(error); count],
        };
        if status.is_success() && count == 1 {
            return vec![Ok(())];
        }
        let read = serde_json::from_slice::<Value>(&text).unwrap_or_default();
        let refused = |status: u64, error: &Value| {
            let code = error["code"].as_str().unwrap_or_default();
            Err(format!("{status} {code}").trim().to_owned())
        };
        if !status.is_success() {
            return vec![refused(status.as_u16().into(), &read); count];
        }
        let one = |nth: usize| match read["data"][nth]["status"].as_u64() {
            Some(202) => Ok(()),
            Some(status) => refused(status, &read["data"][nth]["error"]),
            None => Err("the answer says nothing of it".to_owned()),
        };
        (0..count).map(one).collect()
    }
}
