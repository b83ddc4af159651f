//! Message move tasks: out of a dead-letter queue, back to where its messages came from or elsewhere.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::manage::redrives_to;
use super::queue::Place;
use super::{Commit, Engine, Inner, State, deletes};
use crate::store::Write;
use crate::wire::error::{ApiError, Kind, within};
use crate::wire::shapes as wire;

/// How many messages one step moves; between steps, others get the lock.
const STEP: u64 = 100;
/// How many finished tasks are remembered.
const REMEMBERED: usize = 100;

/// A move task.
#[derive(Debug)]
pub(super) struct Task {
    handle: String,
    source: String,
    source_id: u64,
    source_arn: String,
    /// The name and the ARN of the destination; without one, each message goes to where it came from.
    destination: Option<(String, String)>,
    per_second: Option<u64>,
    status: Status,
    moved: u64,
    to_move: u64,
    failure: Option<&'static str>,
    started_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Running,
    Completed,
    Cancelling,
    Cancelled,
    Failed,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }
}

impl Engine {
    /// Starts a task, which runs on the caller's runtime until it is done or the engine is gone.
    pub(crate) fn start_message_move_task(
        &self,
        request: wire::StartMove,
    ) -> Result<wire::TaskHandle, ApiError> {
        let source_arn = request.source_arn.ok_or_else(|| ApiError::missing("SourceArn"))?;
        let range = 1..=500;
        let per_second =
            within("MaxNumberOfMessagesPerSecond", request.max_number_of_messages_per_second, range)?;
        let core = self.core();
        let mut state = core.lock();
        let source = core.name_in_arn(&source_arn).ok_or_else(|| no_resource("SourceArn"))?.to_owned();
        let queue = state.queues.get_mut(&source).ok_or_else(|| no_resource("SourceArn"))?;
        let now = core.now();
        self.write_later(deletes(queue.advance(now)));
        let (source_id, to_move) = (queue.id, queue.counts().visible as u64);
        if !state.queues.values().any(|queue| redrives_to(queue, &source_arn)) {
            return Err(ApiError::new(
                Kind::InvalidParameterValue,
                "Source queue must be configured as a Dead Letter Queue.",
            ));
        }
        let destination = match request.destination_arn {
            None => None,
            Some(arn) if arn == source_arn => {
                return Err(ApiError::new(
                    Kind::InvalidParameterValue,
                    "Source queue arn and destination queue arn cannot be the same.",
                ));
            }
            Some(arn) => {
                let name = core.name_in_arn(&arn).filter(|&name| state.queues.contains_key(name));
                let name = name.ok_or_else(|| no_resource("DestinationArn"))?.to_owned();
                Some((name, arn))
            }
        };
        let active = |task: &Task| matches!(task.status, Status::Running | Status::Cancelling);
        if state.tasks.iter().any(|task| task.source_arn == source_arn && active(task)) {
            return Err(ApiError::new(
                Kind::UnsupportedOperation,
                "There is already a task running. Only one active task is allowed for a source queue arn at a \
                 given time.",
            ));
        }
        if state.tasks.len() >= REMEMBERED
            && let Some(oldest) = state.tasks.iter().position(|task| !active(task))
        {
            state.tasks.remove(oldest);
        }
        let handle = core.ids.next();
        state.tasks.push(Task {
            handle: handle.clone(),
            source,
            source_id,
            source_arn,
            destination,
            per_second: per_second.map(i64::unsigned_abs),
            status: Status::Running,
            moved: 0,
            to_move,
            failure: None,
            started_ms: now,
        });
        drop(state);
        tokio::spawn(run(Arc::downgrade(&self.inner), handle.clone()));
        Ok(wire::TaskHandle { task_handle: handle })
    }

    pub(crate) fn list_message_move_tasks(&self, request: wire::ListMoves) -> Result<wire::Moves, ApiError> {
        let source_arn = request.source_arn.ok_or_else(|| ApiError::missing("SourceArn"))?;
        let limit = within("MaxResults", request.max_results, 1..=10)?.unwrap_or(1);
        let core = self.core();
        let state = core.lock();
        let known = core.name_in_arn(&source_arn).is_some_and(|name| state.queues.contains_key(name));
        if !known {
            return Err(no_resource("SourceArn"));
        }
        let results = state
            .tasks
            .iter()
            .rev()
            .filter(|task| task.source_arn == source_arn)
            .take(usize::try_from(limit).unwrap_or(1))
            .map(|task| wire::MoveTask {
                task_handle: Some(task.handle.clone()).filter(|_| task.status == Status::Running),
                status: task.status.name(),
                source_arn: task.source_arn.clone(),
                destination_arn: task.destination.as_ref().map(|(_, arn)| arn.clone()),
                max_number_of_messages_per_second: task.per_second.map(u64::cast_signed),
                approximate_number_of_messages_moved: task.moved,
                approximate_number_of_messages_to_move: task.to_move,
                failure_reason: task.failure,
                started_timestamp: task.started_ms,
            })
            .collect();
        Ok(wire::Moves { results })
    }

    pub(crate) fn cancel_message_move_task(
        &self,
        request: wire::CancelMove,
    ) -> Result<wire::Cancelled, ApiError> {
        let handle = request.task_handle.ok_or_else(|| ApiError::missing("TaskHandle"))?;
        let mut state = self.core().lock();
        let task = state.tasks.iter_mut().find(|task| task.handle == handle);
        let task = task.ok_or_else(|| no_resource("TaskHandle"))?;
        if task.status != Status::Running {
            return Err(ApiError::new(
                Kind::UnsupportedOperation,
                format!("Only active tasks can be cancelled; this one is {}.", task.status.name()),
            ));
        }
        task.status = Status::Cancelling;
        Ok(wire::Cancelled { approximate_number_of_messages_moved: task.moved })
    }

    /// Moves some messages. `None` when the task has ended.
    fn step(&self, handle: &str) -> Option<(Commit, bool)> {
        let core = self.core();
        let mut state = core.lock();
        let now = core.now();
        let at = state.tasks.iter().position(|task| task.handle == handle)?;
        let mut task = state.tasks.remove(at);
        let mut writes = Vec::new();
        let more = self.move_some(&mut state, &mut task, now, &mut writes);
        let slow = task.per_second.is_some();
        state.tasks.insert(at, task);
        let commit = self.write(writes, |_| {});
        more.then_some((commit, slow))
    }

    /// Moves up to a step's worth; says whether the task goes on.
    fn move_some(&self, state: &mut State, task: &mut Task, now: u64, writes: &mut Vec<Write>) -> bool {
        let core = self.core();
        let end = |task: &mut Task, status, failure| {
            task.status = status;
            task.failure = failure;
            false
        };
        if task.status == Status::Cancelling {
            return end(task, Status::Cancelled, None);
        }
        let Some(source) = state.same(&task.source, task.source_id) else {
            return end(task, Status::Failed, Some("AWS.SimpleQueueService.NonExistentQueue"));
        };
        writes.extend(deletes(source.advance(now)));
        for _ in 0..task.per_second.unwrap_or(STEP) {
            // Messages that came after the start are not its business.
            let Some(source) = state.same(&task.source, task.source_id).filter(|_| task.moved < task.to_move)
            else {
                return end(task, Status::Completed, None);
            };
            let Some(mut message) = source.pop() else {
                return end(task, Status::Completed, None);
            };
            let target = match (&task.destination, &message.origin) {
                (Some((name, _)), _) => Ok(name.clone()),
                (None, Some(origin)) => core.name_in_arn(origin).map(str::to_owned).ok_or(()),
                (None, None) => Err(()),
            };
            let failure = match &target {
                Ok(name) if state.queues.contains_key(name) => None,
                Ok(_) => Some("AWS.SimpleQueueService.NonExistentQueue"),
                Err(()) => Some("CouldNotDetermineMessageSource"),
            };
            let Some(queue) = target.ok().and_then(|name| state.queues.get_mut(&name)) else {
                if let Some(source) = state.same(&task.source, task.source_id) {
                    source.insert(message);
                }
                return end(task, Status::Failed, failure);
            };
            // It counts as a new message, with an id and a life of its own.
            message.id = core.ids.next();
            (message.sent_ms, message.place) = (now, Place::Visible { since: now });
            (message.receives, message.receives_before) = (0, 0);
            (message.first_receive_ms, message.origin) = (None, None);
            writes.push(Write::Redrive {
                seq: message.seq,
                queue: queue.id,
                id: message.id.clone(),
                sent_ms: now,
            });
            queue.insert(message);
            queue.notify.notify_one();
            task.moved += 1;
        }
        true
    }
}

/// Runs a task to its end. It holds the engine only during a step, so it keeps no file open.
async fn run(engine: Weak<Inner>, handle: String) {
    loop {
        let Some(inner) = engine.upgrade() else { return };
        let step = Engine { inner }.step(&handle);
        let Some((commit, slow)) = step else { return };
        if let Err(error) = commit.done().await {
            tracing::error!(error = error.message, "a message move was not stored");
            return;
        }
        if slow {
            tokio::time::sleep(Duration::from_secs(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

fn no_resource(parameter: &str) -> ApiError {
    ApiError::new(
        Kind::ResourceNotFound,
        format!("The resource that you specified for the {parameter} parameter doesn't exist."),
    )
}
