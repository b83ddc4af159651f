//! What a path names, read as what it can be.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use domain::error::{Error, Result, corrupt};
use domain::ids::{
    AppId, AttemptId, ConnectorId, EndpointId, IntegrationId, MessageId, Reference, TaskId, is_name,
};
use domain::polling::CONSUMER_LENGTH_MAX;

use crate::ApiError;

/// An application as paths name it.
pub type AppRef = Reference<AppId>;
/// An endpoint as paths name it.
pub type EndpointRef = Reference<EndpointId>;
/// A message as paths name it.
pub type MessageRef = Reference<MessageId>;

/// A connector as paths name it.
pub type ConnectorRef = Reference<ConnectorId>;

/// A segment of a path that names something.
pub trait Segment: Sized {
    /// What the path calls it.
    const NAME: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// `NotFound` if it can be no name of it.
    fn read(segment: &str) -> Result<Self>;
}

impl Segment for AppRef {
    const NAME: &'static str = "app_id";

    fn read(segment: &str) -> Result<Self> {
        Self::parse(segment).ok_or(Error::NotFound("Application"))
    }
}

impl Segment for EndpointRef {
    const NAME: &'static str = "endpoint_id";

    fn read(segment: &str) -> Result<Self> {
        Self::parse(segment).ok_or(Error::NotFound("Endpoint"))
    }
}

impl Segment for MessageRef {
    const NAME: &'static str = "msg_id";

    fn read(segment: &str) -> Result<Self> {
        Self::parse(segment).ok_or(Error::NotFound("Message"))
    }
}

impl Segment for ConnectorRef {
    const NAME: &'static str = "connector_id";

    fn read(segment: &str) -> Result<Self> {
        Self::parse(segment).ok_or(Error::NotFound("Connector"))
    }
}

impl Segment for AttemptId {
    const NAME: &'static str = "attempt_id";

    fn read(segment: &str) -> Result<Self> {
        segment.parse().map_err(|_| Error::NotFound("Attempt"))
    }
}

impl Segment for IntegrationId {
    const NAME: &'static str = "integ_id";

    fn read(segment: &str) -> Result<Self> {
        segment.parse().map_err(|_| Error::NotFound("Integration"))
    }
}

impl Segment for TaskId {
    const NAME: &'static str = "task_id";

    fn read(segment: &str) -> Result<Self> {
        segment.parse().map_err(|_| Error::NotFound("Task"))
    }
}

/// A polling endpoint, as the paths of pollers name it.
#[derive(Clone, Debug)]
pub struct SinkRef(pub EndpointRef);

impl Segment for SinkRef {
    const NAME: &'static str = "sink_id";

    fn read(segment: &str) -> Result<Self> {
        EndpointRef::read(segment).map(Self)
    }
}

/// The name of a consumer, which whoever polls chooses.
#[derive(Clone, Debug)]
pub struct ConsumerName(pub String);

impl Segment for ConsumerName {
    const NAME: &'static str = "consumer_id";

    fn read(segment: &str) -> Result<Self> {
        if is_name(segment, CONSUMER_LENGTH_MAX) {
            return Ok(Self(segment.to_owned()));
        }
        let msg = format!("Must be 1 to {CONSUMER_LENGTH_MAX} of a-z, A-Z, 0-9, -, _ and .");
        Err(Error::violation(["path", Self::NAME], msg))
    }
}

/// All that a path names, in its order.
pub trait Segments: Sized {
    /// What the path calls each.
    const NAMES: &'static [&'static str];

    /// Reads them; the path has as many as there are names.
    ///
    /// # Errors
    /// `NotFound` if one can be no name of what it should name.
    fn read(segments: &[&str]) -> Result<Self>;
}

fn segment<A: Segment>(segments: &[&str], nth: usize) -> Result<A> {
    A::read(segments.get(nth).copied().unwrap_or_default())
}

impl<A: Segment> Segments for (A,) {
    const NAMES: &'static [&'static str] = &[A::NAME];

    fn read(segments: &[&str]) -> Result<Self> {
        Ok((segment(segments, 0)?,))
    }
}

impl<A: Segment, B: Segment> Segments for (A, B) {
    const NAMES: &'static [&'static str] = &[A::NAME, B::NAME];

    fn read(segments: &[&str]) -> Result<Self> {
        Ok((segment(segments, 0)?, segment(segments, 1)?))
    }
}

impl<A: Segment, B: Segment, C: Segment> Segments for (A, B, C) {
    const NAMES: &'static [&'static str] = &[A::NAME, B::NAME, C::NAME];

    fn read(segments: &[&str]) -> Result<Self> {
        Ok((segment(segments, 0)?, segment(segments, 1)?, segment(segments, 2)?))
    }
}

/// What the path of a request names.
#[derive(Clone, Debug)]
pub struct Path<P>(pub P);

impl<S: Send + Sync, P: Segments> FromRequestParts<S> for Path<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Paths that are no text have been answered by then.
        let segments = RawPathParams::from_request_parts(parts, state).await.map_err(corrupt("a path"))?;
        let segments: Vec<&str> = segments.iter().map(|(_, segment)| segment).collect();
        Ok(Self(P::read(&segments)?))
    }
}
