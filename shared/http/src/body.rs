//! Request bodies, read within a limit.

use std::marker::PhantomData;

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use domain::error::{Error, Result};
use domain::limits::BODY_LENGTH_MAX;
use http_body_util::BodyExt as _;
use input::{Fields, RequestBody};

use crate::ApiError;

/// How much of a body that is too large is read and thrown away, so that the client, still
/// writing, sees the 413 instead of a broken pipe.
const DRAIN_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// A request's body, which is read as a `T` when the handler asks for it: after a 404, and once for each key.
#[derive(Debug)]
pub struct Body<T>(Bytes, PhantomData<fn() -> T>);

impl<T: RequestBody> Body<T> {
    /// What the body says.
    ///
    /// # Errors
    /// `Invalid` with every broken rule.
    pub fn read(&self) -> Result<T> {
        self.read_with(T::With::default())
    }

    /// What the body says, where that depends on something else.
    ///
    /// # Errors
    /// `Invalid` with every broken rule.
    pub fn read_with(&self, with: T::With) -> Result<T> {
        self.parse(with, |_, _| {})
    }

    /// What the body says; `check` adds the rules that it breaks together with the rest of the request.
    ///
    /// # Errors
    /// `Invalid` with every broken rule.
    pub fn read_and(&self, check: impl FnOnce(&T, &mut Fields<'_>)) -> Result<T> {
        self.parse(T::With::default(), check)
    }

    fn parse(&self, with: T::With, check: impl FnOnce(&T, &mut Fields<'_>)) -> Result<T> {
        let mut fields =
            if T::TYPE.optional { Fields::parse_optional(&self.0)? } else { Fields::parse(&self.0)? };
        let body = T::read(&mut fields, with);
        check(&body, &mut fields);
        fields.finish()?;
        Ok(body)
    }
}

impl<T, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let encoding = request.headers().get(http::header::CONTENT_ENCODING).cloned();
        let body = read(request.into_body()).await?;
        match encoding {
            Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
                Err(ApiError(Error::UnsupportedEncoding))
            }
            _ => Ok(Self(body, PhantomData)),
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
