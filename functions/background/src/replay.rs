//! Tasks: messages that are sent again, a page at a time.
//!
//! A step sends the resends of its page, says that it is done, and then queues its successor. The ids
//! of the resends follow from the task: a step that is worked on twice sends nothing twice.

use std::time::Duration;

use shared::Result;
use shared::error::unavailable;
use shared::ids::AttemptId;
use shared::queue::{Job, Outgoing, Resend, TaskStep};
use shared::store::chosen::Chosen;
use shared::store::keys::SHARDS;
use shared::store::tasks::{Progress, Replay, Task};

use crate::Background;

/// How long a step waits for the one before it: with the size of a page, what bounds a task's rate.
const PACE: Duration = Duration::from_secs(1);

impl Background {
    /// Works on one step of a task.
    pub(crate) async fn step(&self, job: TaskStep) -> Result<()> {
        let Some(task) = self.store.find_task(job.org, job.task).await? else { return Ok(()) };
        if task.finished || task.step > job.step {
            return Ok(());
        }
        if task.step == job.step {
            // The copy that did this step may have died before it queued the next one.
            return self.queue_next(&task, Duration::ZERO).await;
        }
        match task.progress {
            Progress::Replay(at) => self.replay(task, at).await,
            Progress::Erase(at) => self.erase(task, at).await,
        }
    }

    /// Sends the page of messages at which a task is `at`.
    async fn replay(&self, task: Task, at: Replay) -> Result<()> {
        let step = task.step + 1;
        let app = self.store.find_application(task.org, task.app).await?;
        let endpoint = match task.endpoint {
            Some(endpoint) => self.store.find_endpoint(task.app, endpoint).await?,
            None => None,
        };
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
            let (org, app, endpoint) = (task.org, task.app, endpoint.id);
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

    pub(crate) async fn queue_next(&self, task: &Task, delay: Duration) -> Result<()> {
        let job = Outgoing::new(&Job::Task(task.next_step()), delay, task.app)?;
        self.sqs.send(&self.source.queue, &[job]).await.map_err(unavailable("queue a task's next step"))
    }
}
