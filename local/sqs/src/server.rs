//! The protocol over HTTP: every operation is a `POST` that names it in a header.

use std::future::Future;
use std::net::SocketAddr;
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

#[derive(Clone)]
struct Server {
    engine: Engine,
    address: SocketAddr,
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
    let server = Server { engine: engine.clone(), address: listener.local_addr()?, stop: stop.clone() };
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

async fn answer(
    State(server): State<Server>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request_id = server.engine.request_id();
    let mut response = match body {
        Ok(body) => match dispatch(server, &headers, &body).await {
            Ok(body) => (StatusCode::OK, body).into_response(),
            Err(error) => refuse(&error),
        },
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
    let fault = if error.sender_fault() { "Sender" } else { "Receiver" };
    let code = format!("{};{fault}", error.kind.names().1);
    (status, [("x-amzn-query-error", code)], body).into_response()
}

async fn dispatch(server: Server, headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, ApiError> {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET)).ok_or_else(|| {
        ApiError::new(
            Kind::UnknownOperation,
            "The X-Amz-Target header must name an operation, as in AmazonSQS.SendMessage; only the AWS JSON \
             protocol is spoken here.",
        )
    })?;
    let address = server.address.to_string();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(&address);
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
