//! `/metrics`: the functions' own metrics, and what AWS tells of its services in the cloud.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use local_sqs::Engine;
use sam_template::Template;
use serde_json::json;
use shared::Platform;
use shared::clock::SharedClock;
use shared::ids::Ksuid;
use shared::random;
use shared::trace::{self, Trace};

use crate::aws::Clients;
use crate::cors::Cors;
use crate::dev::{self, Dev};
use crate::meter::Metered;
use crate::metrics::{Registry, Text};
use crate::pace::Pace;
use crate::requests::Requests;
use crate::routes::Api;
use crate::services::Services;

/// Where Prometheus finds the metrics. It is the runner's own path: the template has no such route.
const PATH: &str = "/metrics";
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body of a request: API Gateway's limit.
const BODY_MAX: usize = 10 * 1024 * 1024;

/// A queue of the template.
struct Queue {
    logical_id: String,
    name: String,
    url: String,
    /// It holds what other queues gave up.
    dead: bool,
}

/// What the numbers are read from.
pub(crate) struct Sources {
    queues: Vec<Queue>,
    clients: Clients,
    engine: Option<Engine>,
    platform: Platform,
    meter: Metered,
    registry: Arc<Registry>,
    requests: Requests,
}

impl Sources {
    pub(crate) fn new(template: &Template, services: &Services) -> Self {
        let dead = |id: &str| {
            let mut redrives = template.queues.iter().filter_map(|queue| queue.dead_letter.as_ref());
            redrives.any(|(dead, _)| dead == id)
        };
        let queue = |(id, queue): (&String, &crate::aws::QueueRef)| Queue {
            logical_id: id.clone(),
            name: queue.name.clone(),
            url: queue.url.clone(),
            dead: dead(id),
        };
        Self {
            queues: services.names.queues.iter().map(queue).collect(),
            clients: services.clients.clone(),
            engine: services.engine().cloned(),
            platform: services.platform.clone(),
            meter: services.meter.clone(),
            registry: services.registry.clone(),
            requests: Requests::default(),
        }
    }

    /// Everything, now. What a service does not answer is left out.
    async fn text(&self) -> Text {
        let mut text = self.registry.text();
        self.write_queues(&mut text).await;
        self.write_requests(&mut text);
        self.requests.write(&mut text);
        text
    }

    async fn write_queues(&self, text: &mut Text) {
        let mut depths = Vec::new();
        for queue in &self.queues {
            match self.clients.depth(&queue.url).await {
                Ok(depth) => depths.push((queue, depth)),
                Err(error) => tracing::warn!(queue = queue.name, error, "a queue could not be looked at"),
            }
        }
        const MESSAGES: &str = "postrider_queue_messages";
        text.head(MESSAGES, "gauge", "Messages of a queue: visible, in flight or delayed.");
        for (queue, depth) in &depths {
            for (state, count) in ["visible", "in_flight", "delayed"].into_iter().zip(depth) {
                text.value(MESSAGES, &[("queue", &queue.logical_id), ("state", state)], *count as f64);
            }
        }
        const DEAD: &str = "postrider_dead_letters";
        text.head(DEAD, "gauge", "Jobs in a dead-letter queue.");
        for (queue, depth) in depths.iter().filter(|(queue, _)| queue.dead) {
            text.value(DEAD, &[("queue", &queue.logical_id)], depth.iter().sum::<u64>() as f64);
        }
        // SQS tells this to CloudWatch and to nobody else.
        let Some(engine) = &self.engine else { return };
        const AGE: &str = "postrider_queue_oldest_message_age_seconds";
        text.head(AGE, "gauge", "Since when the oldest message of a queue has been in it; 0 if it is empty.");
        let now = self.platform.clock.now().ms();
        for queue in &self.queues {
            let age = engine.oldest_sent(&queue.name).map_or(0, |sent| now.saturating_sub(sent));
            text.value(AGE, &[("queue", &queue.logical_id)], age as f64 / 1000.0);
        }
    }

    fn write_requests(&self, text: &mut Text) {
        let ledger = self.meter.ledger();
        let usage = ledger.total(|call| call.service == "DynamoDB");
        for (name, help, value) in [
            ("postrider_dynamodb_requests_total", "Requests to DynamoDB.", usage.requests as f64),
            ("postrider_dynamodb_read_units_total", "Read request units.", usage.read_units),
            ("postrider_dynamodb_write_units_total", "Write request units.", usage.write_units),
        ] {
            text.head(name, "counter", help);
            text.value(name, &[], value);
        }
        const SQS: &str = "postrider_sqs_requests_total";
        text.head(SQS, "counter", "Requests to SQS; a batch is one.");
        for (operation, begins) in
            [("send", "Send"), ("receive", "Receive"), ("delete", "DeleteMessage"), ("change", "Change")]
        {
            let of = ledger.total(|call| call.service == "SQS" && call.operation.starts_with(begins));
            text.value(SQS, &[("operation", operation)], of.requests as f64);
        }
    }
}

/// What requests meet first: the runner's own path, and API Gateway's part in tracing.
pub(crate) struct ApiFrontend {
    pub(crate) api: Arc<Api>,
    pub(crate) cors: Cors,
    /// None where queues are not embedded, or nobody polls them.
    pub(crate) pace: Option<Pace>,
    /// None where others than this machine can reach the API.
    pub(crate) dev: Option<Dev>,
    pub(crate) sources: Sources,
    /// Where the API is.
    pub(crate) url: String,
}

impl ApiFrontend {
    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response {
        if let Some(answer) = self.cors.preflight(&request) {
            return answer;
        }
        let origin = self.cors.allowed(request.headers());
        let mut answer = match whole(request, &self.sources.platform.clock).await {
            Ok(request) => self.answer_whole(request).await,
            Err(refused) => refused,
        };
        if let Some(origin) = origin {
            Cors::expose(answer.headers_mut(), origin);
        }
        answer
    }

    async fn answer_whole(&self, mut request: Request<Body>) -> Response {
        if request.uri().path() == PATH && request.method() == Method::GET {
            let text = self.sources.text().await.into_string();
            return ([(header::CONTENT_TYPE, Text::CONTENT_TYPE)], text).into_response();
        }
        if let Some(dev) = self.dev.as_ref().filter(|_| request.uri().path().starts_with(dev::PREFIX)) {
            return dev.answer(request).await;
        }
        let platform = &self.sources.platform;
        // As API Gateway does: whoever begins no trace gets one.
        if !request.headers().contains_key(trace::HEADER) {
            let drawn = Trace::draw(platform.clock.now(), &*platform.random).to_string();
            if let Ok(value) = drawn.parse() {
                request.headers_mut().insert(trace::HEADER, value);
            }
        }
        // Function and client are told the request's id, also as API Gateway does.
        let id = Ksuid::new(platform.clock.now(), random::bytes(&*platform.random)).to_string();
        shared::http::set_request_id(request.extensions_mut(), id.clone());
        request.extensions_mut().insert(shared::http::OwnUrl(self.url.clone()));
        if let Some(pace) = &self.pace
            && request.method() == Method::POST
            && self.api.leads_to(&request, "messages")
        {
            pace.admit().await;
        }
        let (method, begun) = (request.method().clone(), platform.clock.now());
        let mut response = self.api.clone().answer(request).await;
        self.sources.requests.add(method, &response, platform.clock.now().since(begun));
        if let Ok(id) = id.try_into() {
            response.headers_mut().insert("apigw-requestid", id);
        }
        response
    }
}

/// A request with all of its body: API Gateway hands over no other.
async fn whole(request: Request<Body>, clock: &SharedClock) -> Result<Request<Body>, Response> {
    let refused = |status: StatusCode, code: &str, detail: String| {
        let mut answer = shared::http::json(status, &json!({ "code": code, "detail": detail }));
        // What is left of the body is not read.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    };
    let (parts, body) = request.into_parts();
    let body = tokio::select! {
        biased;
        body = Limited::new(body, BODY_MAX).collect() => Some(body),
        () = clock.sleep(BODY_TIMEOUT) => None,
    };
    match body {
        Some(Ok(body)) => Ok(Request::from_parts(parts, body.to_bytes().into())),
        Some(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("The request body exceeds {} MiB.", BODY_MAX / 1024 / 1024);
            Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail))
        }
        Some(Err(error)) => {
            let detail = format!("The request body cannot be read: {error}");
            Err(refused(StatusCode::BAD_REQUEST, "bad_request", detail))
        }
        None => {
            let detail = format!("The request body did not arrive within {} s.", BODY_TIMEOUT.as_secs());
            Err(refused(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_of_the_template_is_hidden_but_the_last_resort() {
        let template = Template::parse(crate::TEMPLATE).unwrap();
        let mut routes = template.functions.iter().flat_map(|function| &function.routes);
        let hidden = |path: &str| path.starts_with(PATH) || path.starts_with(dev::PREFIX);
        assert!(routes.all(|route| !hidden(&route.path)));
    }
}
