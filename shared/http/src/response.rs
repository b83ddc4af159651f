//! Responses, as types: a handler's return type says how it responds if nothing is wrong.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;

use crate::operation::Content;
use crate::{ApiResult, json};

/// How a handler responds if nothing is wrong.
pub trait Responses {
    /// Each status, and what comes with it. The document alone asks for it.
    fn declared() -> Vec<(u16, Content)>;
}

macro_rules! json_responses {
    ($($(#[$about:meta])* $name:ident: $status:expr;)*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<T>(pub T);

        impl<T: Serialize> IntoResponse for $name<T> {
            fn into_response(self) -> Response {
                json($status, &self.0)
            }
        }

        impl<T: JsonSchema> Responses for $name<T> {
            fn declared() -> Vec<(u16, Content)> {
                vec![($status.as_u16(), Content::Json(SchemaGenerator::subschema_for::<T>))]
            }
        }
    )*};
}

json_responses! {
    /// 200 with a body of JSON.
    Json: StatusCode::OK;
    /// 201 with a body of JSON.
    Created: StatusCode::CREATED;
    /// 202 with a body of JSON.
    Accepted: StatusCode::ACCEPTED;
}

/// 204 without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Responses for NoContent {
    fn declared() -> Vec<(u16, Content)> {
        vec![(StatusCode::NO_CONTENT.as_u16(), Content::Nothing)]
    }
}

/// One response or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The one.
    First(A),
    /// The other.
    Second(B),
}

impl<A: IntoResponse, B: IntoResponse> IntoResponse for Either<A, B> {
    fn into_response(self) -> Response {
        match self {
            Self::First(response) => response.into_response(),
            Self::Second(response) => response.into_response(),
        }
    }
}

impl<A: Responses, B: Responses> Responses for Either<A, B> {
    fn declared() -> Vec<(u16, Content)> {
        A::declared().into_iter().chain(B::declared()).collect()
    }
}

impl<A: Responses> Responses for ApiResult<A> {
    fn declared() -> Vec<(u16, Content)> {
        A::declared()
    }
}
