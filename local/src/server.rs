//! The API's socket: bounded in connections and in patience, and drained at the end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::functions::shutdown_requested;
use crate::scrape::ApiFrontend;
use crate::self_waking::SelfWaking;

/// How long a client may take to send a request's head; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in progress may take once the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// The wait after a failed accept: out of files, it would fail again at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// All connections, and which of them wait for a request.
#[derive(Debug)]
struct Connections {
    most: usize,
    state: Mutex<State>,
    /// A connection has closed, or waits for a request.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// Those without a request, silent from the start or kept after an answer; the one that has waited
    /// longest is the first.
    waiting: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

impl Connections {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more. Where there is none, the connection that has waited
    /// longest for a request goes; only those with a request in progress are waited for.
    async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                if state.open < self.most {
                    return;
                }
                if let Some((_, close)) = state.waiting.pop_first() {
                    // It counts no more, although its task may take a moment to end.
                    state.open -= 1;
                    close.notify_one();
                    return;
                }
            }
            changed.await;
        }
    }

    fn open(self: &Arc<Self>) -> Connection {
        let close = Arc::new(Notify::new());
        let connection = Connection { all: self.clone(), close, at: Mutex::new(None) };
        self.lock().open += 1;
        connection.wait();
        connection
    }
}

/// One connection; it counts until it is dropped.
#[derive(Debug)]
struct Connection {
    all: Arc<Connections>,
    close: Arc<Notify>,
    /// Its place among those that wait.
    at: Mutex<Option<u64>>,
}

impl Connection {
    fn place(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it waits for a request.
    fn wait(&self) {
        let mut state = self.all.lock();
        let place = state.next;
        state.next += 1;
        state.waiting.insert(place, self.close.clone());
        *self.place() = Some(place);
        drop(state);
        self.all.changed.notify_one();
    }

    /// From now on it has a request, unless it was told to go at this very moment.
    fn work(&self) -> bool {
        let mut state = self.all.lock();
        let mut place = self.place();
        let stays = place.is_some_and(|place| state.waiting.remove(&place).is_some());
        if stays {
            *place = None;
        }
        stays
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.all.lock();
        // One that was told to go was counted off then.
        let told_to_go = self.place().take().is_some_and(|place| state.waiting.remove(&place).is_none());
        if !told_to_go {
            state.open -= 1;
        }
        drop(state);
        self.all.changed.notify_one();
    }
}

/// Serves the API, on so many connections at most, until `stop` becomes true, and then what is in progress.
pub(crate) async fn serve(
    listener: TcpListener,
    most: usize,
    front: Arc<ApiFrontend>,
    mut stop: watch::Receiver<bool>,
) {
    let all = Arc::new(Connections { most, state: Mutex::default(), changed: Notify::new() });
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown_requested(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        tokio::select! {
            biased;
            () = shutdown_requested(&mut stop) => break,
            () = all.room() => {}
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers may be sent late");
        }
        let front = front.clone();
        let own = Arc::new(all.open());
        let this = own.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (front, this) = (front.clone(), this.clone());
            async move {
                if !this.work() {
                    std::future::pending::<()>().await;
                }
                let answer = front.answer(request.map(Body::new)).await;
                this.wait();
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            // Who has sent all of a request may close its own half; what was begun is finished, as in Lambda.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        connections.spawn(SelfWaking::new(async move {
            tokio::select! {
                biased;
                () = own.close.notified() => tracing::debug!("a connection without a request made room"),
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke");
                    }
                }
            }
        }));
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in progress were given up");
    }
    connections.shutdown().await;
}
