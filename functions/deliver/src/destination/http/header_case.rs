//! The case of header names on HTTP/1.1.
//!
//! hyper writes names in lower case, unless the request carries an extension that says how they were
//! spelled. Only hyper's own parser makes that extension, on connections that preserve the case, and
//! proxies hand it on. So the names are shown to such a connection: one that reads from memory and
//! never waits. HTTP/2 knows lower case only and ignores it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::{Extensions, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

/// What a request has to carry for `names` to be written as they are spelled here; none where lower
/// case is what they are spelled in.
pub async fn spelled<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<Extensions> {
    if !names.clone().any(|name| name.bytes().any(|byte| byte.is_ascii_uppercase())) {
        return None;
    }
    let mut text = "GET / HTTP/1.1\r\n".to_owned();
    for name in names {
        text.push_str(name);
        text.push_str(":\r\n");
    }
    text.push_str("\r\n");
    let parsed = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        *parsed.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.into_parts().0.extensions);
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    let connection = http1::Builder::new()
        .preserve_header_case(true)
        .header_read_timeout(None)
        .keep_alive(false)
        .serve_connection(Memory(Bytes::from(text)), service);
    // The connection may well call it an error that nothing follows the one request.
    let outcome = connection.await;
    let parsed = parsed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if parsed.is_none() {
        let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        tracing::warn!(error, "header names are sent in lower case: their spelling could not be kept");
    }
    parsed
}

/// Reads what is there and then the end; takes whatever is written.
struct Memory(Bytes);

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.0.len().min(buffer.remaining());
        buffer.put_slice(&self.0[..length]);
        self.0.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_other_than_lower_case_needs_something() {
        assert!(spelled(["x-a", "b"].into_iter()).await.is_none());
        for nth in 0..1000 {
            let found = spelled(["x-a", "X-B", "Authorization", "webhook-id"].into_iter()).await;
            assert!(found.is_some_and(|found| !found.is_empty()), "{nth}");
        }
    }
}
