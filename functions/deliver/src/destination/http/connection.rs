//! What a connection of the client's pool has seen: enough to tell whether a request that failed on it
//! may be sent again at once, and to read a response that came before the request was written.
//!
//! The bytes are counted above TLS, whose own records (session tickets, say) are no response.

use std::error::Error as StdError;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Uri;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No response has been read to its end.
const NONE: u64 = u64::MAX;

/// What one connection has seen, shared by all that hold it.
#[derive(Clone, Debug)]
pub struct History(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// Bytes that were read.
    read: AtomicU64,
    /// How many they were when a response ended last; [`NONE`] before the first.
    settled: AtomicU64,
}

impl Default for History {
    fn default() -> Self {
        Self(Arc::new(Counts { read: AtomicU64::new(0), settled: AtomicU64::new(NONE) }))
    }
}

impl History {
    /// Whether the connection was kept from an earlier exchange.
    pub fn is_kept(&self) -> bool {
        self.0.settled.load(Ordering::Relaxed) != NONE
    }

    /// Whether nothing was read since the last response.
    pub fn is_silent(&self) -> bool {
        self.0.settled.load(Ordering::Relaxed) == self.0.read.load(Ordering::Relaxed)
    }

    /// A response has been read to its end.
    fn settle(&self) {
        self.0.settled.store(self.0.read.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A body that notes in the connection's history where it ends.
pub struct Noted {
    body: Incoming,
    history: Option<History>,
}

impl Noted {
    /// Notes the end of `body`, which comes by the connection of `history`.
    pub fn new(body: Incoming, history: Option<History>) -> Self {
        Self { body, history }
    }
}

impl hyper::body::Body for Noted {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None))
            && let Some(history) = &self.history
        {
            history.settle();
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        // The end has to be polled for.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that keeps its [`History`].
#[derive(Debug)]
pub struct Tracked<T> {
    io: TokioIo<T>,
    history: History,
    /// Nothing can be written any more.
    unwritable: bool,
}

impl<T> Tracked<T> {
    /// A receiver may answer and close before it has read the whole request: the write fails, and the
    /// response is there to be read. So what cannot be written is dropped, and reading decides.
    fn written<V>(&mut self, polled: Poll<io::Result<V>>, all: V) -> Poll<io::Result<V>> {
        match polled {
            Poll::Ready(Err(_)) => {
                self.unwritable = true;
                Poll::Ready(Ok(all))
            }
            polled => polled,
        }
    }
}

impl<T: Read + Unpin> AsyncRead for Tracked<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        self.history.0.read.fetch_add(read as u64, Ordering::Relaxed);
        polled
    }
}

impl<T: Write + Unpin> AsyncWrite for Tracked<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.unwritable {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(polled, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unwritable {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.written(polled, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unwritable {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.written(polled, ())
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = parts.iter().map(|part| part.len()).sum();
        if self.unwritable {
            return Poll::Ready(Ok(all));
        }
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.written(polled, all)
    }
}

impl<T: Connection> Connection for Tracked<T> {
    fn connected(&self) -> Connected {
        self.io.inner().connected().extra(self.history.clone())
    }
}

/// Makes connections that keep their history.
#[derive(Clone, Debug)]
pub struct Tracking<C>(pub C);

impl<C, T> tower::Service<Uri> for Tracking<C>
where
    C: tower::Service<Uri, Response = T>,
    C::Future: Send + 'static,
    C::Error: 'static,
{
    type Response = TokioIo<Tracked<T>>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let io = TokioIo::new(connecting.await?);
            Ok(TokioIo::new(Tracked { io, history: History::default(), unwritable: false }))
        })
    }
}
