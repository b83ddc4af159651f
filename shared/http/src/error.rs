//! How an error looks to a caller.

use axum::response::{IntoResponse, Response};
use domain::error::{Chain, Error, Violation};
use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{json, missing};

/// An error as an answer.
#[derive(Debug)]
pub struct ApiError(pub Error);

/// What a handler returns.
pub type ApiResult<T = Response> = Result<T, ApiError>;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// An error, as it appears in a response.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorOut")]
pub struct ErrorOut<'a> {
    /// What is wrong, for a program.
    pub(super) code: &'a str,
    /// What is wrong, and what to do about it.
    pub(super) detail: &'a str,
}

/// Violations of a request.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ViolationsOut")]
pub struct ViolationsOut<'a> {
    /// The number that was found.
    detail: &'a [Violation],
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = self.0;
        let text = error.to_string();
        let (status, code, detail) = match &error {
            Error::Invalid(violations) => {
                return json(StatusCode::UNPROCESSABLE_ENTITY, &ViolationsOut { detail: violations });
            }
            Error::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request", text.as_str()),
            Error::Unfinished(_) => {
                let out = ErrorOut { code: "service_unavailable", detail: text.as_str() };
                let mut response = json(StatusCode::SERVICE_UNAVAILABLE, &out);
                response.headers_mut().insert(header::RETRY_AFTER, 1.into());
                return response;
            }
            Error::LimitReached(_) => (StatusCode::BAD_REQUEST, "limit_reached", text.as_str()),
            Error::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "authentication_failed", text.as_str()),
            Error::Forbidden(_) => (StatusCode::FORBIDDEN, "insufficient_access", text.as_str()),
            // Whether it never existed or is another's: one text.
            Error::NotFound(what) => {
                let mut response = missing::not_found(&text);
                response.extensions_mut().insert(missing::Missing(what));
                return response;
            }
            Error::UnsupportedEncoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text.as_str())
            }
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
                tracing::error!(error = %Chain(&error), "answered 503");
                let detail = "A dependency is unavailable. Retry the request.";
                (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", detail)
            }
            Error::Corrupt { .. } => {
                tracing::error!(error = %Chain(&error), "answered 500");
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Internal server error")
            }
        };
        json(status, &ErrorOut { code, detail })
    }
}
