//! The embedded SQS: a server on a loopback socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use local_sqs::{Engine, Options};
use shared::clock::SharedClock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::Injected;
use crate::error::StartError;
use crate::settings::REGION;

/// A running server. Dropping it ends the server without waiting.
pub(crate) struct Sqs {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Engine,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Sqs {
    /// Opens the queues of a file, or none in memory, and serves them.
    pub(crate) async fn start(path: Option<&Path>, clock: SharedClock) -> Result<Self, StartError> {
        let failed =
            |error: std::io::Error| StartError::Embedded { service: "SQS", problem: error.to_string() };
        let options = Options {
            path: path.map(Path::to_path_buf),
            region: REGION.to_owned(),
            clock: Arc::new(Injected(clock)),
            ..Options::default()
        };
        let engine = tokio::task::spawn_blocking(move || Engine::open(options))
            .await
            .map_err(|error| failed(std::io::Error::other(error)))??;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = engine.clone();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            if let Err(error) = local_sqs::serve(listener, served, shutdown).await {
                tracing::error!(%error, "the embedded SQS has ended");
            }
        });
        Ok(Self { address, engine, stop: Some(stop), task })
    }

    /// Ends the server, commits what waits and lets go of the file.
    pub(crate) async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the server has ended by itself.
            let _ended = stop.send(());
        }
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the embedded SQS has panicked");
        }
        let engine = self.engine.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || engine.close()).await {
            tracing::error!(%error, "the queues could not be closed");
        }
    }
}

impl Drop for Sqs {
    fn drop(&mut self) {
        self.task.abort();
    }
}
