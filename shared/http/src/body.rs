//! Request bodies, read within a limit.

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use domain::error::{Error, Result};
use domain::limits::BODY_LENGTH_MAX;
use http_body_util::BodyExt as _;

use crate::ApiError;

/// How much of a body that is too large is read and thrown away, so that the client, still
/// writing, sees the 413 instead of a broken pipe.
const DRAIN_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// The bytes of a request's body.
#[derive(Clone, Debug)]
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let encoding = request.headers().get(http::header::CONTENT_ENCODING).cloned();
        let body = read(request.into_body()).await?;
        match encoding {
            Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
                Err(ApiError(Error::UnsupportedEncoding))
            }
            _ => Ok(Self(body)),
        }
    }
}

async fn read(mut body: HttpBody) -> Result<Bytes> {
    let mut kept = BytesMut::new();
    let mut length = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::BadRequest(format!("The body ended early: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= BODY_LENGTH_MAX {
            kept.extend_from_slice(&data);
        } else if length > DRAIN_LENGTH_MAX {
            break;
        }
    }
    if length > BODY_LENGTH_MAX { Err(Error::TooLarge(BODY_LENGTH_MAX)) } else { Ok(kept.freeze()) }
}
