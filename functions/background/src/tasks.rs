//! Tasks: a step at a time, each of which queues the next.

use std::time::Duration;

use shared::Result;
use shared::error::unavailable;
use shared::queue::{Job, Outgoing, TaskStep};
use shared::store::tasks::{Progress, Task};

use crate::Background;

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
            Progress::Expunge(at) => self.expunge(task, at).await,
            Progress::Count(at) => self.count_usage(task, at).await,
        }
    }

    /// Says that a task has done a step, and queues the next one where there is one.
    pub(crate) async fn end_step(&self, task: Task, progress: Progress, finished: bool) -> Result<()> {
        let task = Task { step: task.step + 1, progress, finished, ..task };
        self.store.advance_task(&task).await?;
        if finished { Ok(()) } else { self.queue_next(&task, Duration::ZERO).await }
    }

    pub(crate) async fn queue_next(&self, task: &Task, delay: Duration) -> Result<()> {
        let job = Outgoing::new(&Job::Task(task.next_step()), delay, task.group())?;
        self.sqs.send(&self.source.queue, &[job]).await.map_err(unavailable("queue a task's next step"))
    }
}
