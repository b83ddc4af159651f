//! Erasing what a deleted application left: secrets first, then texts, then the log.

use std::time::Duration;

use shared::Result;
use shared::ids::AppId;
use shared::store::keys::SHARDS;
use shared::store::tasks::{Erasure, Progress, Stage, Task};

use crate::Background;

/// Items that one step erases, at the least while there are more: far below what its time allows.
const STEP: usize = 1_000;
/// Deliveries that were under way when the application was deleted are recorded until they end: the
/// logs are gone through once more when that must be over.
const SETTLED: Duration = Duration::from_secs(120);

/// The stage after one of which nothing is left; none after the last.
const fn following(stage: Stage) -> Option<Stage> {
    match stage {
        Stage::Secrets => Some(Stage::Messages(0)),
        Stage::Messages(shard) if shard + 1 < SHARDS => Some(Stage::Messages(shard + 1)),
        Stage::Messages(_) => Some(Stage::Logs),
        Stage::Logs => Some(Stage::LogsAgain),
        Stage::LogsAgain => Some(Stage::Endpoints),
        Stage::Endpoints => None,
    }
}

impl Background {
    /// Works on the next step of an erasure, which is `at`.
    pub(crate) async fn erase(&self, task: Task, at: Erasure) -> Result<()> {
        let Erasure { stage, .. } = at;
        let app = task.in_app()?;
        let (mut next, mut is_over) = (at, false);
        match stage {
            Stage::Secrets => {
                next.after = self.store.erase_secrets(app, at.after).await?;
                is_over = next.after.is_none();
            }
            Stage::Messages(shard) => {
                let mut erased = 0;
                while erased < STEP && !is_over {
                    let page = self.store.erase_messages(task.org, app, shard).await?;
                    is_over = page == 0;
                    erased += page;
                }
                next.erased += erased as u64;
            }
            Stage::Logs | Stage::LogsAgain => is_over = self.erase_logs(app, &mut next).await?,
            Stage::Endpoints => {
                let erased = self.store.erase_endpoints(app).await?;
                next.erased += erased as u64;
                is_over = erased == 0;
            }
        }
        let following = following(stage);
        if let Some(stage) = following
            && is_over
        {
            next = Erasure { stage, after: None, ..next };
        }
        let finished = is_over && following.is_none();
        let task = Task { step: task.step + 1, progress: Progress::Erase(next), finished, ..task };
        self.store.advance_task(&task).await?;
        if finished {
            tracing::info!(%app, items = next.erased, "an application is erased");
            return Ok(());
        }
        let waits = stage == Stage::Logs && is_over;
        self.queue_next(&task, if waits { SETTLED } else { Duration::ZERO }).await
    }

    /// Erases the logs of endpoints, one after the other; says whether there are no more.
    async fn erase_logs(&self, app: AppId, next: &mut Erasure) -> Result<bool> {
        let mut erased = 0;
        while erased < STEP {
            let Some(endpoint) = self.store.endpoint_page(app, next.after, 1).await?.pop() else {
                return Ok(true);
            };
            let page = self.store.erase_log(endpoint).await?;
            if page == 0 {
                next.after = Some(endpoint);
            }
            // Looking at an empty log is work, too.
            erased += page.max(10);
            next.erased += page as u64;
        }
        Ok(false)
    }
}
