//! The protocol over HTTP: every operation is a `POST` that names it in a header.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::wire::error::{ApiError, Kind};
use crate::wire::parse;
use crate::{Engine, Error};

/// The most that a request may hold: the largest batch, with room for its JSON.
const MAX_REQUEST: usize = 2 * 1_024 * 1_024;
/// How long requests under way may take once the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often messages that outlived their retention period are removed.
const SWEEP: Duration = Duration::from_secs(60);
const TARGET: &str = "AmazonSQS.";
const TARGET_HEADER: HeaderName = HeaderName::from_static("x-amz-target");

#[derive(Clone)]
struct Server {
    engine: Engine,
    /// What queue URLs name, where a request does not name its host.
    host: Arc<str>,
    stop: watch::Receiver<bool>,
}

/// Serves the queues on a listener until `shutdown` ends. Receives that wait are then answered at
/// once, without messages.
///
/// Credentials are not checked, so the listener should be on a loopback address.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let (stopping, stop) = watch::channel(false);
    let server = Server {
        engine: engine.clone(),
        host: Arc::from(listener.local_addr()?.to_string()),
        stop: stop.clone(),
    };
    // Some SDKs post to `/`, and some to the URL of the queue.
    let app = Router::new()
        .route("/", post(answer))
        .route("/{*path}", post(answer))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(server);
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        // An error means that the sender is gone, and this with it.
        let _ended = stop.wait_for(|&stop| stop).await;
    };
    let serving = axum::serve(listener, app).with_graceful_shutdown(stopped(stop.clone()));
    let serving = std::future::IntoFuture::into_future(serving);
    let signal = async move {
        shutdown.await;
        stopping.send_replace(true);
        // Kept until here: the receives that wait watch it.
        tokio::time::sleep(GRACE).await;
    };
    let sweeping = async {
        loop {
            tokio::time::sleep(SWEEP).await;
            engine.sweep();
        }
    };
    tokio::select! {
        result = serving => Ok(result?),
        () = signal => Ok(()),
        () = sweeping => Ok(()),
    }
}

/// Answers one request without a socket, for callers in the same process: status and body for what
/// the `X-Amz-Target` header and the body would be. Queue URLs name the host `sqs`.
pub async fn answer_one(engine: &Engine, target: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let (status, body, _) =
        answer_in_process(engine, target.strip_prefix(TARGET).unwrap_or(target), body).await;
    (status, body)
}

/// Answers one request without a socket: status, body, and the error's code as the header
/// `x-amzn-query-error` has it. `operation` is such as `SendMessage`. A receive that waits ends when
/// this is dropped.
pub async fn answer_in_process(
    engine: &Engine,
    operation: &str,
    body: &[u8],
) -> (u16, Vec<u8>, Option<String>) {
    // A receive that waits ends when its sender is gone; here it is there until the answer is.
    let (stopping, stop) = watch::channel(false);
    let server = Server { engine: engine.clone(), host: Arc::from("sqs"), stop };
    let answer = match operate(server, operation, None, body).await {
        Ok(body) => (StatusCode::OK.as_u16(), body, None),
        Err(error) => {
            let body = serde_json::to_vec(&error.body()).unwrap_or_default();
            (error.kind.status(), body, Some(query_error(&error)))
        }
    };
    drop(stopping);
    answer
}

async fn answer(
    State(server): State<Server>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request_id = server.engine.request_id();
    let mut response = match body {
        Ok(body) => {
            let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            match dispatch(server, text(TARGET_HEADER), text(HOST), &body).await {
                Ok(body) => (StatusCode::OK, body).into_response(),
                Err(error) => refuse(&error),
            }
        }
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("A request cannot be longer than {MAX_REQUEST} bytes.");
            refuse(&ApiError::new(Kind::RequestTooLarge, message))
        }
        Err(rejection) => refuse(&ApiError::new(Kind::Serialization, rejection.body_text())),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}

fn refuse(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = serde_json::to_vec(&error.body()).unwrap_or_default();
    (status, [("x-amzn-query-error", query_error(error))], body).into_response()
}

/// An error's code as clients of the older protocol know it, and whose fault it is.
fn query_error(error: &ApiError) -> String {
    let fault = if error.sender_fault() { "Sender" } else { "Receiver" };
    format!("{};{fault}", error.kind.names().1)
}

async fn dispatch(
    server: Server,
    target: Option<&str>,
    host: Option<&str>,
    body: &[u8],
) -> Result<Vec<u8>, ApiError> {
    let operation = target.and_then(|target| target.strip_prefix(TARGET)).ok_or_else(|| {
        ApiError::new(
            Kind::UnknownOperation,
            "The X-Amz-Target header must name an operation, as in AmazonSQS.SendMessage; only the AWS JSON \
             protocol is spoken here.",
        )
    })?;
    operate(server, operation, host, body).await
}

async fn operate(
    server: Server,
    operation: &str,
    host: Option<&str>,
    body: &[u8],
) -> Result<Vec<u8>, ApiError> {
    let host = host.unwrap_or(&server.host);
    let engine = &server.engine;
    match operation {
        "CreateQueue" => json(&engine.create_queue(parse(body)?, host).await?),
        "GetQueueUrl" => json(&engine.get_queue_url(parse(body)?, host)?),
        "ListQueues" => json(&engine.list_queues(parse(body)?, host)?),
        "DeleteQueue" => json(&engine.delete_queue(parse(body)?).await?),
        "PurgeQueue" => json(&engine.purge_queue(parse(body)?).await?),
        "GetQueueAttributes" => json(&engine.get_queue_attributes(parse(body)?)?),
        "SetQueueAttributes" => json(&engine.set_queue_attributes(parse(body)?).await?),
        "TagQueue" => json(&engine.tag_queue(parse(body)?).await?),
        "UntagQueue" => json(&engine.untag_queue(parse(body)?).await?),
        "ListQueueTags" => json(&engine.list_queue_tags(parse(body)?)?),
        "ListDeadLetterSourceQueues" => json(&engine.list_dead_letter_source_queues(parse(body)?, host)?),
        "SendMessage" => json(&engine.send_message(parse(body)?).await?),
        "SendMessageBatch" => json(&engine.send_message_batch(parse(body)?).await?),
        "ReceiveMessage" => json(&engine.receive_message(parse(body)?, server.stop.clone()).await?),
        "DeleteMessage" => json(&engine.delete_message(parse(body)?).await?),
        "DeleteMessageBatch" => json(&engine.delete_message_batch(parse(body)?).await?),
        "ChangeMessageVisibility" => json(&engine.change_message_visibility(&parse(body)?)?),
        "ChangeMessageVisibilityBatch" => json(&engine.change_message_visibility_batch(parse(body)?)?),
        "StartMessageMoveTask" => json(&engine.start_message_move_task(parse(body)?)?),
        "ListMessageMoveTasks" => json(&engine.list_message_move_tasks(parse(body)?)?),
        "CancelMessageMoveTask" => json(&engine.cancel_message_move_task(parse(body)?)?),
        unknown => Err(ApiError::new(
            Kind::UnknownOperation,
            format!("The operation {unknown} is not known to this server."),
        )),
    }
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(answer).map_err(|error| ApiError::new(Kind::Internal, error.to_string()))
}
