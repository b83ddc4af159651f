//! One address for both embedded services: for the AWS CLI, and for functions that run in containers.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::functions::shutdown_requested;

/// Where the services are, and the way there.
#[derive(Clone)]
struct Behind {
    dynamodb: SocketAddr,
    sqs: SocketAddr,
    client: Client<HttpConnector, Body>,
}

/// Passes requests on to the service that they name, until `stop` becomes true.
pub(crate) async fn serve(
    listener: TcpListener,
    dynamodb: SocketAddr,
    sqs: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let router = Router::new().fallback(pass).with_state(Behind { dynamodb, sqs, client });
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown_requested(&mut stop).await });
    if let Err(error) = served.await {
        tracing::error!(%error, "nobody passes requests to the embedded services any more");
    }
}

async fn pass(State(behind): State<Behind>, mut request: Request<Body>) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let address = match target {
        Some(target) if target.starts_with("DynamoDB_") => behind.dynamodb,
        Some(target) if target.starts_with("AmazonSQS.") => behind.sqs,
        _ => {
            let told = "{\"__type\":\"UnknownOperationException\",\"message\":\"DynamoDB and SQS, by their JSON protocols, are served here\"}";
            return (StatusCode::BAD_REQUEST, told).into_response();
        }
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("http://{address}{path}").parse::<Uri>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    match behind.client.request(request).await {
        Ok(answer) => answer.map(Body::new).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
