//! How the domain looks over HTTP: bodies and queries read strictly, errors in the contract's words.

mod api;
pub mod auth;
mod body;
mod error;
mod gateway;
mod idempotency;
mod list;
mod missing;
mod openapi;
mod operation;
mod path;
mod query;
mod request_id;
mod response;
pub mod wire;

pub use api::Api;
pub use body::Body;
pub use domain::idempotency::{IdempotencyKey, KEY_LENGTH_MAX};
pub use domain::limits::BODY_LENGTH_MAX;
pub use domain::page::{Cursor, EXAMINED_MAX, Filling, ListQuery, Order, Page, TEXTS_LENGTH_MAX};
pub use error::{ApiError, ApiResult};
pub use gateway::serve;
pub use idempotency::{Idempotent, Once};
pub use input::{BodyType, Field, Fields, RETRY_POLICY, RequestBody, Rule, Shape, Shaped, Text};
pub use list::{Ascending, Descending, ListOut};
pub use missing::no_such_path;
pub use openapi::Document;
pub use operation::{Content, Input, Inputs, Operation, Registry, Returns, Takes};
pub use path::{
    AppRef, ConnectorRef, ConsumerName, EndpointRef, MessageRef, Path, Segment, Segments, SinkRef,
};
pub use query::{Query, QueryParams, RawQuery};
pub use request_id::{OwnUrl, own_url, request_id, set_request_id};
pub use response::{Accepted, Created, Either, Json, NoContent, Responses};

use std::sync::Arc;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{MatchedPath, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;
use tower::util::MapRequest;

use domain::error::{Error, corrupt};
use runtime::metrics::Metrics;

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(status, bytes),
        Err(error) => ApiError(corrupt("a response")(error)).into_response(),
    }
}

/// An answer whose JSON text is there already.
pub fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Finishes a function's routes: unknown paths and methods answer like every other error, and a
/// path may end in a slash, which the contract accepts everywhere.
pub fn finish<S: Clone + Send + Sync + 'static>(routes: Router<S>, state: S) -> Router {
    let routes = routes
        .fallback(async |method: Method, uri: Uri| no_such_path(&method, &uri))
        .method_not_allowed_fallback(async || ApiError(Error::MethodNotAllowed).into_response())
        .layer(axum::middleware::from_fn(explain))
        .with_state(state);
    // A layer of the routes themselves would run after they were matched.
    Router::new().fallback_service(MapRequest::new(routes, trim_trailing_slash))
}

/// Tells what a request counted before its answer goes out: Lambda freezes what is behind that.
pub fn flush_metrics_layer(routes: Router, metrics: Arc<Metrics>) -> Router {
    routes.layer(axum::middleware::from_fn_with_state(metrics, flush_metrics))
}

async fn flush_metrics(
    State(metrics): State<Arc<Metrics>>,
    request: http::Request<HttpBody>,
    next: axum::middleware::Next,
) -> Response {
    let response = next.run(request).await;
    metrics.flush();
    response
}

/// Says in an answer what of the request was missing, or not understood.
async fn explain(request: http::Request<HttpBody>, next: axum::middleware::Next) -> Response {
    let uri = request.uri().clone();
    // A path whose segments are no text names nothing; the framework would say so in words of its own.
    if percent_encoding::percent_decode_str(uri.path()).decode_utf8().is_err() {
        return no_such_path(request.method(), &uri);
    }
    let route = request.extensions().get::<MatchedPath>().cloned();
    let parameters = RawQuery::parse(uri.query().unwrap_or_default()).into_names();
    let (response, unknown) = input::unknown::noting(parameters, next.run(request)).await;
    let mut response = missing::named(response, &uri);
    let unknown = unknown.filter(|_| response.status().is_success());
    if let Some(unknown) = unknown.and_then(|names| HeaderValue::from_str(&names).ok()) {
        response.headers_mut().insert(input::unknown::HEADER, unknown);
    }
    // For whoever counts answers by route; it does not leave the process.
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

fn trim_trailing_slash(mut request: http::Request<HttpBody>) -> http::Request<HttpBody> {
    let path = request.uri().path();
    // One: behind a second there would be a segment that is empty, which names nothing.
    if let Some(trimmed) = path.strip_suffix('/').filter(|trimmed| !trimmed.is_empty()) {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(uri) = format!("{trimmed}{query}").parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn slashes_at_the_end_of_a_path_change_nothing() {
        let routes = Router::new().route("/a/{id}", get(async |uri: Uri| uri.to_string()));
        let router = finish(routes, ());
        for (path, status, text) in [
            ("/a/7", StatusCode::OK, "/a/7"),
            ("/a/7/?x=1", StatusCode::OK, "/a/7?x=1"),
            (
                "/a/7//",
                StatusCode::NOT_FOUND,
                r#"{"code":"not_found","detail":"No such path: GET /a/7/. The API reference is at /docs."}"#,
            ),
            (
                "/a/",
                StatusCode::NOT_FOUND,
                r#"{"code":"not_found","detail":"No such path: GET /a. The API reference is at /docs."}"#,
            ),
            (
                "/",
                StatusCode::NOT_FOUND,
                r#"{"code":"not_found","detail":"No such path: GET /. The API reference is at /docs."}"#,
            ),
        ] {
            let request = Request::get(path).body(HttpBody::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(axum::body::to_bytes(answer.into_body(), 1000).await.unwrap(), text, "{path}");
        }
        let request = Request::post("/a/7/").body(HttpBody::empty()).unwrap();
        assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
