//! Whether the process is about to end, for those who could still begin something.

use tokio::sync::watch;

/// Says that the process ends: what is in progress is finished, and nothing new begins. By default it
/// never does; Lambda sends an instance no event any more before it ends it.
#[derive(Clone, Debug, Default)]
pub struct Draining(Option<watch::Receiver<bool>>);

impl Draining {
    /// From when `stop` is true, or its sender is gone.
    pub const fn when(stop: watch::Receiver<bool>) -> Self {
        Self(Some(stop))
    }

    /// Completes when the process begins to end; at once after that.
    pub async fn begun(&self) {
        match &self.0 {
            // An error means that whoever could say so is gone, and so is everything else.
            Some(stop) => drop(stop.clone().wait_for(|stop| *stop).await),
            None => std::future::pending().await,
        }
    }
}
