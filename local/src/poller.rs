//! The queue pollers: what Lambda's event source mapping does.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_sqs::types::Message;
use sam_template::QueueSource;
use shared::clock::SharedClock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::aws::QueueRef;
use crate::busy::Busy;
use crate::functions::{Handler, Invoker, shutdown_requested};
use crate::receiving::{RECEIVE_MAX, Receiving, event};

/// Most invocations that keep this machine busy at a time, for one queue: it has to carry all of them,
/// and eight batches of ten deliveries are enough.
pub(crate) const BUSY_MAX: usize = 8;
/// Most invocations at a time for a queue whose template sets no limit.
const CONCURRENCY_MAX: u32 = 100;
/// The wait after a receive that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How a poll waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollMode {
    /// The longest poll there is; given up at once when the runner stops. For the embedded queue, which
    /// loses nothing then: what was in flight is visible again at the next start.
    Embedded,
    /// A short poll that always runs to its end, because some other services lose what a poll has
    /// received that was given up.
    Foreign,
}

impl PollMode {
    const fn seconds(self) -> i32 {
        match self {
            Self::Embedded => 20,
            Self::Foreign => 1,
        }
    }
}

/// One queue that feeds one function.
pub(crate) struct Poller {
    pub(crate) function: String,
    pub(crate) invoker: Invoker,
    pub(crate) source: QueueSource,
    pub(crate) queue: QueueRef,
    pub(crate) region: String,
    pub(crate) receiving: Receiving,
    pub(crate) clock: SharedClock,
    pub(crate) poll_mode: PollMode,
    /// Leave for invocations to keep the machine busy.
    pub(crate) busy: Arc<Busy>,
    pub(crate) code: Handler<SqsEvent, SqsBatchResponse>,
}

impl Poller {
    /// Polls until `stop` becomes true; then lets the invocations under way come to their ends.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        // Lambda's limit is of invocations, which have full batches when there is much to do. Here a message
        // does not wait for its batch to fill, so as many messages count.
        let concurrency = self.source.maximum_concurrency.unwrap_or(CONCURRENCY_MAX);
        let most = u64::from(concurrency) * u64::from(self.source.batch_size);
        let most = usize::try_from(most).unwrap_or(1).clamp(1, Semaphore::MAX_PERMITS);
        let (permits, busy) = (Arc::new(Semaphore::new(most)), self.busy.clone());
        let leave = || both(permits.clone(), busy.permits());
        let (this, mut invocations) = (Arc::new(self), JoinSet::new());
        loop {
            let permit = tokio::select! {
                biased;
                () = shutdown_requested(&mut stop) => break,
                permit = busy.waiting(leave()) => permit,
            };
            let batch = match this.poll_mode {
                PollMode::Embedded => tokio::select! {
                    biased;
                    () = shutdown_requested(&mut stop) => break,
                    batch = this.batch() => batch,
                },
                PollMode::Foreign => this.batch().await,
            };
            match batch {
                Ok(batch) if batch.is_empty() => {}
                Ok(batch) => {
                    let more = u32::try_from(batch.len() - 1).unwrap_or(0);
                    let more = busy.waiting(permits.clone().acquire_many_owned(more)).await;
                    let this = this.clone();
                    let [one, leave] = permit;
                    invocations.spawn(busy.clone().of(leave, async move {
                        let (_one, _more) = (one, more);
                        this.work(batch).await;
                    }));
                    if busy.now() == 1 {
                        // Nobody else is at work: what was received goes before the next receive.
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => {
                    tracing::warn!(queue = this.queue.name, error, "a queue could not be polled");
                    tokio::select! {
                        () = shutdown_requested(&mut stop) => break,
                        () = this.clock.sleep(RETRY) => {}
                    }
                }
            }
            while invocations.try_join_next().is_some() {}
        }
        while invocations.join_next().await.is_some() {}
    }

    /// Receives until the batch is full or its window has passed.
    async fn batch(&self) -> Result<Vec<Message>, String> {
        let mut batch = self.receive(self.source.batch_size, self.poll_mode.seconds()).await?;
        let window = Duration::from_secs(self.source.batching_window_seconds.into());
        if batch.is_empty() || window.is_zero() {
            return Ok(batch);
        }
        let end = self.clock.now().after(window);
        loop {
            let wanted =
                self.source.batch_size.saturating_sub(u32::try_from(batch.len()).unwrap_or(u32::MAX));
            let left = end.since(self.clock.now()).as_secs();
            if wanted == 0 || left == 0 {
                return Ok(batch);
            }
            let wait = i32::try_from(left).unwrap_or(i32::MAX).min(self.poll_mode.seconds());
            match self.receive(wanted, wait).await {
                Ok(more) => batch.extend(more),
                // What is there already must not wait for the queue to be reachable again.
                Err(_) => return Ok(batch),
            }
        }
    }

    async fn receive(&self, wanted: u32, wait_seconds: i32) -> Result<Vec<Message>, String> {
        self.receiving.receive(&self.queue, wanted, wait_seconds).await
    }

    /// One invocation: the batch goes to the function, and what it has done leaves the queue. The rest
    /// stays hidden until its visibility timeout ends, and it is the queue that moves it aside.
    async fn work(&self, batch: Vec<Message>) {
        let _begun = self.invoker.progress.begin(batch.len());
        let event = event(&batch, &self.queue.arn, &self.region);
        let answer = self.invoker.invoke((self.code)(event)).await.map_err(|error| error.to_string());
        if let Err(error) = &answer {
            tracing::error!(function = self.function, error, messages = batch.len(), "an invocation failed");
        }
        let ids: Vec<&str> = batch.iter().map(|message| message.message_id().unwrap_or_default()).collect();
        let done = done(&ids, answer.as_ref().ok(), self.source.report_batch_item_failures);
        let handles: Vec<&str> = done.into_iter().filter_map(|at| batch[at].receipt_handle()).collect();
        for handles in handles.chunks(RECEIVE_MAX as usize) {
            if let Err(error) = self.receiving.delete(&self.queue, handles).await {
                // They are received again; functions bear that.
                tracing::warn!(queue = self.queue.name, error, "messages that are done were not deleted");
            }
        }
    }
}

/// Leave for one more message, and for one that keeps the machine busy. None is ever refused.
async fn both(all: Arc<Semaphore>, busy: Arc<Semaphore>) -> [Option<OwnedSemaphorePermit>; 2] {
    [all.acquire_owned().await.ok(), busy.acquire_owned().await.ok()]
}

/// Which messages of a batch are done, by position, given the function's answer (none: it failed).
///
/// As Lambda reads it: without `ReportBatchItemFailures` the answer means nothing; a failure that
/// names no message of the batch makes all of it fail.
fn done(ids: &[&str], answer: Option<&SqsBatchResponse>, reports: bool) -> Vec<usize> {
    let Some(answer) = answer else { return Vec::new() };
    if !reports {
        return (0..ids.len()).collect();
    }
    let failed: Vec<&str> =
        answer.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    if failed.iter().any(|id| id.is_empty() || !ids.contains(id)) {
        tracing::error!(
            "a response names a message that was not in its batch: the whole batch counts as failed"
        );
        return Vec::new();
    }
    (0..ids.len()).filter(|at| !failed.contains(&ids[*at])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(failed: &[&str]) -> SqsBatchResponse {
        let mut answer = SqsBatchResponse::default();
        answer.set_failures(failed.iter().copied());
        answer
    }

    #[test]
    fn only_what_did_not_fail_is_deleted() {
        let ids = ["a", "b", "c"];
        let all = vec![0, 1, 2];
        assert_eq!(done(&ids, Some(&answer(&[])), true), all);
        assert_eq!(done(&ids, Some(&answer(&["b"])), true), vec![0, 2]);
        assert_eq!(done(&ids, Some(&answer(&["a", "b", "c"])), true), Vec::<usize>::new());
        // An unknown or an empty id: nobody knows which messages failed.
        assert_eq!(done(&ids, Some(&answer(&["b", "x"])), true), Vec::<usize>::new());
        assert_eq!(done(&ids, Some(&answer(&[""])), true), Vec::<usize>::new());
        // Without the declaration nobody reads the answer.
        assert_eq!(done(&ids, Some(&answer(&["b"])), false), all);
        // Over its time, or panicked.
        assert_eq!(done(&ids, None, true), Vec::<usize>::new());
        assert_eq!(done(&ids, None, false), Vec::<usize>::new());
    }
}
