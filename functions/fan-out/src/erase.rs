//! Erasing what a deleted application left: secrets first, then texts, then the log.

use std::time::Duration;

use shared::Result;
use shared::error::corrupt;
use shared::ids::EndpointId;
use shared::store::keys::SHARDS;
use shared::store::tasks::Task;

use crate::Dispatcher;

/// Items that one step erases, at the least while there are more: far below what its time allows.
const STEP: usize = 1_000;
/// Deliveries that were under way when the application was deleted are recorded until they end: the
/// logs are gone through once more when that must be over.
const SETTLED: Duration = Duration::from_secs(120);

/// The stages, which the task keeps in the place of a shard: secrets, a shard of messages each, the
/// logs, the logs once more, the endpoints.
const SECRETS: u8 = 0;
const LOGS: u8 = SHARDS + 1;
const LOGS_AGAIN: u8 = SHARDS + 2;
const ENDPOINTS: u8 = SHARDS + 3;

impl Dispatcher {
    /// Works on the next step of an erasure.
    pub(crate) async fn erase(&self, task: Task) -> Result<()> {
        let stage = task.shard;
        let mut next = Task { step: task.step + 1, ..task };
        match stage {
            SECRETS => {
                let last = self.store.erase_secrets(next.app, endpoint_of(&next)?).await?;
                next.after = last.map(|id| id.to_string());
                next.shard += u8::from(last.is_none());
            }
            LOGS | LOGS_AGAIN => self.erase_logs(&mut next).await?,
            ENDPOINTS => {
                let erased = self.store.erase_endpoints(next.app).await?;
                next.sent += erased as u64;
                next.finished = erased == 0;
            }
            _ => {
                let mut erased = 0;
                while erased < STEP {
                    let page = self.store.erase_messages(next.org, next.app, stage - 1).await?;
                    if page == 0 {
                        next.shard += 1;
                        break;
                    }
                    erased += page;
                }
                next.sent += erased as u64;
            }
        }
        self.store.advance_task(&next).await?;
        if next.finished {
            tracing::info!(app = %next.app, items = next.sent, "an application is erased");
            return Ok(());
        }
        let waits = stage == LOGS && next.shard == LOGS_AGAIN;
        self.queue_next(&next, if waits { SETTLED } else { Duration::ZERO }).await
    }

    /// Erases the logs of endpoints, one after the other.
    async fn erase_logs(&self, next: &mut Task) -> Result<()> {
        let mut erased = 0;
        while erased < STEP {
            let after = endpoint_of(next)?;
            let Some(endpoint) = self.store.endpoint_page(next.app, after, 1).await?.pop() else {
                (next.shard, next.after) = (next.shard + 1, None);
                break;
            };
            let page = self.store.erase_log(endpoint).await?;
            if page == 0 {
                next.after = Some(endpoint.to_string());
            }
            // Looking at an empty log is work, too.
            erased += page.max(10);
            next.sent += page as u64;
        }
        Ok(())
    }
}

fn endpoint_of(task: &Task) -> Result<Option<EndpointId>> {
    task.after.as_deref().map(str::parse).transpose().map_err(corrupt("a task"))
}
