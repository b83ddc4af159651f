//! Work on several applications at a time.

use std::future::Future;

use tokio::task::JoinSet;

use crate::error::{CliError, Result};

/// Takes work, so many at a time. The first error ends it; what was begun is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    running: JoinSet<Result<()>>,
    most: usize,
}

impl Workers {
    pub(super) fn new(most: usize) -> Self {
        Self { running: JoinSet::new(), most }
    }

    async fn one(&mut self) -> Result<()> {
        match self.running.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(CliError::usage(format!("a worker ended: {error}"))),
            None => Ok(()),
        }
    }

    /// Begins some work, once there is room for it.
    pub(super) async fn give(
        &mut self,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        while self.running.len() >= self.most {
            self.one().await?;
        }
        self.running.spawn(work);
        Ok(())
    }

    /// Waits until all work is done.
    pub(super) async fn all(&mut self) -> Result<()> {
        while !self.running.is_empty() {
            self.one().await?;
        }
        Ok(())
    }
}
