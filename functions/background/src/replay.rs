//! Tasks that send messages again, a page at a time.
//!
//! A step sends the resends of its page, says that it is done, and then queues its successor. The ids
//! of the resends follow from the task: a step that is worked on twice sends nothing twice.

use std::time::Duration;

use shared::Result;
use shared::ids::AttemptId;
use shared::queue::{Job, Resend};
use shared::store::chosen::Chosen;
use shared::store::keys::SHARDS;
use shared::store::tasks::{Progress, Replay, Task};

use crate::Background;

/// How long a step waits for the one before it: with the size of a page, what bounds a task's rate.
const PACE: Duration = Duration::from_secs(1);

impl Background {
    /// Sends the page of messages at which a task is `at`.
    pub(crate) async fn replay(&self, task: Task, at: Replay) -> Result<()> {
        let step = task.step + 1;
        let app = task.in_app()?;
        let endpoint = match task.endpoint {
            Some(endpoint) => self.store.find_endpoint(app, endpoint).await?,
            None => None,
        };
        let app = self.store.find_application(task.org, app).await?;
        let endpoint = endpoint.filter(|endpoint| !endpoint.settings.disabled);
        let (Some(app), Some(endpoint)) = (app, endpoint) else {
            let ended = Task { step, finished: true, ..task };
            return self.store.advance_task(&ended).await.map(drop);
        };
        let Chosen { messages: chosen, unnoted, last } = self.store.chosen(&task, at, &endpoint).await?;
        for message in &unnoted {
            self.store.note_destination(message, endpoint.id).await?;
        }
        let resends = chosen.iter().map(|message| {
            let (org, app, endpoint) = (task.org, app.id, endpoint.id);
            let attempt = AttemptId::of_task(task.id, *message, endpoint);
            Job::Resend(Resend { org, app, endpoint, message: *message, attempt, slot: None, trace: None })
        });
        self.send(&self.retries, &app, resends).await?;
        let shard = at.shard + u8::from(last.is_none());
        let (finished, sent) = (shard >= SHARDS, at.sent + chosen.len() as u64);
        let progress = Progress::Replay(Replay { shard, after: last, sent });
        let task = Task { step, progress, finished, ..task };
        // Also where a copy was faster, or where it was this one and its answer was lost: a second
        // successor finds that it is one.
        self.store.advance_task(&task).await?;
        if !finished {
            // An empty page costs no endpoint anything: the next one need not wait.
            return self.queue_next(&task, if chosen.is_empty() { Duration::ZERO } else { PACE }).await;
        }
        Ok(())
    }
}
