//! The embedded DynamoDB: a server on a loopback socket and for this process, with a thread of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use dynoxide::Database;
use local_sqs::Checkpoints;
use shared::clock::SharedClock;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::Injected;
use crate::error::StartError;
use crate::in_process::{self, Tables};

/// How long the server may take to end: it waits for requests under way.
const GRACE: Duration = Duration::from_secs(5);

/// A running server. Dropping it ends the server without waiting.
pub(crate) struct Dynamo {
    pub(crate) address: SocketAddr,
    /// The way to it inside the process.
    pub(crate) tables: Tables,
    /// None in memory.
    checkpoints: Option<Checkpoints>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Dynamo {
    /// Opens the tables of a file, or none in memory, and serves them.
    ///
    /// A thread apart from the functions' works on requests that may take long, so that these do not hold up the API's
    /// connections.
    pub(crate) fn start(path: Option<&Path>, clock: SharedClock) -> Result<Self, StartError> {
        let failed = |error: String| StartError::Embedded { service: "DynamoDB", problem: error };
        let database = match path {
            // The file has no injected clock: expiry removes by the machine's, which only matters to a
            // test that keeps files and moves time.
            Some(path) => {
                crate::secrets::private_file(path).map_err(|error| failed(error.to_string()))?;
                let path = path.to_str().ok_or_else(|| failed("the path is no Unicode text".into()))?;
                let database = Database::new(path).map_err(|error| failed(error.to_string()))?;
                // Sets `synchronous = NORMAL`: with the write-ahead log, an end of the process loses
                // nothing, and a commit need not wait for the disk.
                database.disable_bulk_loading().map_err(|error| failed(error.to_string()))?;
                database
            }
            None => Database::memory_with_clock(Arc::new(Injected(clock)))
                .map_err(|error| failed(error.to_string()))?,
        };
        let io = |error: std::io::Error| failed(error.to_string());
        let checkpoints =
            path.map(Checkpoints::start).transpose().map_err(|error| failed(error.to_string()))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (ask, asking) = mpsc::unbounded_channel();
        let turn = Arc::new(Semaphore::new(1));
        let (served, served_by_turns) = (database.clone(), turn.clone());
        let thread = std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                let ended = runtime.block_on(async {
                    let listener =
                        tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
                    // An error means that the stack is gone, which ends the server as well.
                    let shutdown = async { drop(stopped.await) };
                    tokio::spawn(in_process::serve(served.clone(), served_by_turns, asking));
                    dynoxide::server::serve_with_shutdown(listener, served, shutdown).await
                });
                if let Err(error) = ended {
                    tracing::error!(error, "the embedded DynamoDB has ended");
                }
            })
            .map_err(io)?;
        Ok(Self { address, tables: Tables { database, ask, turn }, checkpoints, stop, thread })
    }

    /// Removes what has expired.
    pub(crate) async fn sweep(&self) {
        sweep(self.tables.clone()).await;
    }

    /// A handle for [`sweep`].
    pub(crate) fn tables(&self) -> Tables {
        self.tables.clone()
    }

    /// Ends the server and lets go of the file.
    pub(crate) async fn stop(self) {
        let Self { tables, checkpoints, stop, thread, .. } = self;
        // An error means that the thread has ended by itself.
        let _ended = stop.send(());
        let joined = tokio::task::spawn_blocking(move || {
            let panicked = thread.join().is_err();
            drop(checkpoints);
            drop(tables);
            panicked
        });
        match tokio::time::timeout(GRACE, joined).await {
            Ok(Ok(false)) => {}
            Ok(_) => tracing::error!("the embedded DynamoDB has panicked"),
            Err(_) => tracing::warn!("the embedded DynamoDB did not end in time"),
        }
    }
}

/// Removes what has expired. That may take a second, in which nobody else works in the tables.
pub(crate) async fn sweep(tables: Tables) {
    let turn = tables.turn.clone().acquire_owned().await;
    let swept = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        tables.database.sweep_ttl()
    });
    match swept.await {
        Ok(Ok(0)) => {}
        Ok(Ok(items)) => tracing::debug!(items, "expired items were removed"),
        Ok(Err(error)) => tracing::warn!(%error, "expired items could not be removed"),
        Err(error) => tracing::warn!(%error, "expired items could not be removed"),
    }
}
