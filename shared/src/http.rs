//! How the domain looks over HTTP: bodies and queries read strictly, errors in the contract's words.

mod body;
mod field;
mod gateway;
mod idempotency;
mod list;
mod openapi;
mod operation;
mod query;
mod request_id;
mod schema;
mod text;

pub use body::{Body, Fields};
pub use field::Field;
pub use gateway::serve;
pub use idempotency::{IdempotencyKey, KEY_LENGTH_MAX, idempotent};
pub use list::{Cursor, EXAMINED_MAX, Filling, ListOut, ListQuery, Order, Page, TEXTS_LENGTH_MAX};
pub use openapi::Document;
pub use operation::{Input, Inputs, Operation, Registry, RequestBody, Takes, Verb};
pub use query::Query;
pub use request_id::{request_id, set_request_id};
pub use schema::{Rule, Shape, Shaped};
pub use text::Text;

use std::sync::Arc;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri, header};
use schemars::JsonSchema;
use serde::Serialize;
use tower::util::MapRequest;

use crate::error::{Chain, Error};
use crate::metrics::Metrics;

/// Largest body of a request, in bytes. API Gateway would let 10 MB pass, Lambda 6 MB.
pub const BODY_LENGTH_MAX: usize = 1024 * 1024;

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(status, bytes),
        Err(error) => crate::error::corrupt("an answer")(error).into_response(),
    }
}

/// An answer whose JSON text is there already.
pub fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// An error in an answer.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorOut")]
struct ErrorOut<'a> {
    /// What is wrong, for a program.
    code: &'a str,
    /// What is wrong, and what the caller can do about it.
    detail: &'a str,
}

/// Rules that a request breaks.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ViolationsOut")]
struct ViolationsOut<'a> {
    /// All that were found.
    detail: &'a [crate::error::Violation],
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = self.to_string();
        let (status, code, detail) = match &self {
            Error::Invalid(violations) => {
                return json(StatusCode::UNPROCESSABLE_ENTITY, &ViolationsOut { detail: violations });
            }
            Error::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request", text.as_str()),
            Error::Unfinished(_) => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", text.as_str()),
            Error::LimitReached(_) => (StatusCode::BAD_REQUEST, "limit_reached", text.as_str()),
            Error::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "authentication_failed", text.as_str()),
            Error::Forbidden(_) => (StatusCode::FORBIDDEN, "insufficient_access", text.as_str()),
            // Whether it never existed or is another's: one text.
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", "Entity not found"),
            Error::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path has no such method.")
            }
            Error::Conflict(_) => (StatusCode::CONFLICT, "conflict", text.as_str()),
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", text.as_str()),
            Error::TooMany { retry_after } => {
                let out = ErrorOut { code: "rate_limit_exceeded", detail: text.as_str() };
                let mut response = json(StatusCode::TOO_MANY_REQUESTS, &out);
                response.headers_mut().insert(header::RETRY_AFTER, retry_after.as_secs().max(1).into());
                return response;
            }
            Error::Unavailable { .. } => {
                tracing::error!(error = %Chain(&self), "answered 503");
                let detail = "A dependency is out of reach for now. Send the request again.";
                (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", detail)
            }
            Error::Corrupt { .. } => {
                tracing::error!(error = %Chain(&self), "answered 500");
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Internal server error")
            }
        };
        json(status, &ErrorOut { code, detail })
    }
}

/// Finishes a function's routes: unknown paths and methods answer like every other error, and a
/// path may end in a slash, which the contract accepts everywhere.
pub fn finish<S: Clone + Send + Sync + 'static>(routes: Router<S>, state: S) -> Router {
    let routes = routes
        .fallback(async || Error::NotFound("Path").into_response())
        .method_not_allowed_fallback(async || Error::MethodNotAllowed.into_response())
        .layer(axum::middleware::from_fn(refuse_bytes))
        .with_state(state);
    // A layer of the routes themselves would run after they were matched.
    Router::new().fallback_service(MapRequest::new(routes, trim_trailing_slash))
}

/// Tells what a request counted before its answer goes out: Lambda freezes what is behind that.
pub fn telling(routes: Router, metrics: Arc<Metrics>) -> Router {
    routes.layer(axum::middleware::from_fn_with_state(metrics, tell))
}

async fn tell(
    State(metrics): State<Arc<Metrics>>,
    request: http::Request<HttpBody>,
    next: axum::middleware::Next,
) -> Response {
    let response = next.run(request).await;
    metrics.flush();
    response
}

/// A path whose segments are no text names nothing; the framework would say so in words of its own.
async fn refuse_bytes(request: http::Request<HttpBody>, next: axum::middleware::Next) -> Response {
    match percent_encoding::percent_decode_str(request.uri().path()).decode_utf8() {
        Ok(_) => next.run(request).await,
        Err(_) => Error::NotFound("Path").into_response(),
    }
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

/// Reads a path segment that names a resource.
///
/// # Errors
/// `NotFound` if the segment can be no name of it.
pub fn reference<I: crate::ids::Id>(
    segment: &str,
    what: &'static str,
) -> crate::Result<crate::ids::Reference<I>> {
    crate::ids::Reference::parse(segment).ok_or(Error::NotFound(what))
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
            ("/a/7//", StatusCode::NOT_FOUND, r#"{"code":"not_found","detail":"Entity not found"}"#),
            ("/a/", StatusCode::NOT_FOUND, r#"{"code":"not_found","detail":"Entity not found"}"#),
            ("/", StatusCode::NOT_FOUND, r#"{"code":"not_found","detail":"Entity not found"}"#),
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
