//! Receiving, deleting, and changing visibility.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::content::{TRACE, attributes_digest, hex};
use super::queue::{MAX_IN_FLIGHT, Message, Place, Queue, Taken};
use super::receipt::Receipt;
use super::{Commit, Core, Engine, State, check_batch, deletes, name_in_url};
use crate::store::Write;
use crate::wire::error::{ApiError, Kind, within};
use crate::wire::shapes::{
    Batch, BatchResult, Done, Empty, Failure, Messages, OnReceipt, ReceiveMessage, Received,
};

/// The most receives that wait at once, over all queues.
const MAX_WAITING: usize = 4_096;
/// Receives wait for the writer when it is this far behind.
const MAX_PENDING: usize = 16_384;
const SYSTEM: [&str; 10] = [
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    TRACE,
    "DeadLetterQueueSourceArn",
];

/// What one receive asks for.
struct Plan {
    id: u64,
    max: usize,
    visibility_ms: Option<u64>,
    system: Vec<String>,
    attributes: Vec<String>,
}

enum Attempt {
    Found(Vec<Received>),
    /// Nothing now; by the passing of time, something in so many milliseconds.
    Nothing {
        due_in: Option<u64>,
    },
}

/// Counts a waiting receive, until it is dropped.
struct Waiting<'a>(&'a Core);

impl<'a> Waiting<'a> {
    fn enter(core: &'a Core) -> Result<Self, ApiError> {
        let waiting = Self(core);
        if core.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            return Err(ApiError::new(Kind::OverLimit, "Too many receives are waiting."));
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    /// Makes those who wait look again when something becomes visible sooner than they know of.
    pub(super) fn wake_if_sooner(&self, before: Option<u64>) {
        if self.next_due().is_some_and(|due| before.is_none_or(|before| due < before)) {
            self.notify.notify_waiters();
        }
    }
}

impl Engine {
    /// Receives. Ends early, without a message, when `stop` becomes true.
    ///
    /// Messages are taken in the same step that ends this future, never before it waits: when the
    /// caller goes away and the future is dropped, no message is lost with it.
    pub(crate) async fn receive_message(
        &self,
        request: ReceiveMessage,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Messages, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let max = within("MaxNumberOfMessages", request.max_number_of_messages, 1..=10)?;
        let visibility = within("VisibilityTimeout", request.visibility_timeout, 0..=43_200)?;
        let wait = within("WaitTimeSeconds", request.wait_time_seconds, 0..=20)?;
        let mut system = request.message_system_attribute_names.unwrap_or_default();
        system.extend(request.attribute_names.unwrap_or_default());
        if let Some(unknown) = system.iter().find(|name| !SYSTEM.contains(&name.as_str())) {
            return Err(ApiError::new(Kind::InvalidAttributeName, format!("Unknown Attribute {unknown}.")));
        }
        let core = self.core();
        let (notify, id, default_wait) = {
            let mut state = core.lock();
            let queue = state.named(name)?;
            (queue.notify.clone(), queue.id, queue.settings.wait)
        };
        let plan = Plan {
            id,
            max: max.map_or(1, |max| usize::try_from(max).unwrap_or(1)),
            visibility_ms: visibility.map(|seconds| seconds.unsigned_abs() * 1_000),
            system,
            attributes: request.message_attribute_names.unwrap_or_default(),
        };
        if self.inner.store.pending() > MAX_PENDING {
            self.write(Vec::new(), |_| {}).done().await?;
        }
        let wait_ms = wait.map_or(default_wait, i64::unsigned_abs) * 1_000;
        let started = core.now();
        // The poll ends by whichever comes first: what the clock says, or what it waited.
        let mut deadline = core.clock.sleep(Duration::from_millis(wait_ms));
        let mut waited = false;
        let mut waiting = None;
        loop {
            // Registered before looking, so that nothing is missed in between.
            let notified = notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let due_in = match self.attempt(name, &plan)? {
                Attempt::Found(messages) => return Ok(Messages { messages }),
                Attempt::Nothing { due_in } => due_in,
            };
            let over = core.now().saturating_sub(started) >= wait_ms;
            if over || waited || *stop.borrow() {
                return Ok(Messages::default());
            }
            if waiting.is_none() {
                waiting = Some(Waiting::enter(core)?);
            }
            let due = async {
                match due_in {
                    Some(ms) => core.clock.sleep(Duration::from_millis(ms.max(1))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = notified => {}
                () = due => {}
                () = &mut deadline => waited = true,
                changed = stop.changed() => {
                    // The server is gone, and nobody is left to stop this.
                    if changed.is_err() {
                        return Ok(Messages::default());
                    }
                }
            }
        }
    }

    fn attempt(&self, name: &str, plan: &Plan) -> Result<Attempt, ApiError> {
        let core = self.core();
        let mut state = core.lock();
        let now = core.now();
        let mut next_receive = state.next_receive;
        let queue = state.same(name, plan.id).ok_or_else(ApiError::no_queue)?;
        let mut writes = deletes(queue.advance(now));
        let redrive = queue.settings.redrive.clone();
        // A dead-letter queue that was deleted takes nothing: the message goes on being received.
        let dead_letter_queue = redrive.and_then(|redrive| {
            let name = core.name_in_arn(&redrive.target)?.to_owned();
            state.queues.contains_key(&name).then_some((name, redrive.max_receives))
        });
        let queue = state.same(name, plan.id).ok_or_else(ApiError::no_queue)?;
        let due_before = queue.next_due();
        let until = now + plan.visibility_ms.unwrap_or(queue.settings.visibility * 1_000);
        let limit = dead_letter_queue.as_ref().map(|(_, max)| *max);
        let (mut taken, mut dead): (Vec<Message>, Vec<Message>) = (Vec::new(), Vec::new());
        let full = queue.counts().in_flight >= MAX_IN_FLIGHT;
        while taken.len() < plan.max && queue.counts().in_flight < MAX_IN_FLIGHT {
            match queue.take(now, until, next_receive, limit) {
                Some(Taken::Received(message)) => {
                    writes.push(Write::Received {
                        seq: message.seq,
                        receives: message.receives,
                        first_receive_ms: message.first_receive_ms,
                        receive: message.receive,
                    });
                    next_receive += 1;
                    taken.push(message);
                }
                Some(Taken::Dead(message)) => dead.push(message),
                None => break,
            }
        }
        if !taken.is_empty() {
            queue.wake_if_sooner(due_before);
            if queue.counts().visible > 0 {
                queue.notify.notify_one();
            }
        }
        let due_in = queue.next_due().map(|due| due.saturating_sub(now));
        let origin = queue.arn.clone();
        state.next_receive = next_receive;
        if let Some((dead_letter_queue, _)) = dead_letter_queue {
            send_to_dlq(&mut state, &dead_letter_queue, &origin, dead, now, &mut writes);
        }
        self.write_later(writes);
        drop(state);
        if full {
            return Err(ApiError::new(
                Kind::OverLimit,
                format!("Too many messages are in flight (the maximum is {MAX_IN_FLIGHT})."),
            ));
        }
        if taken.is_empty() {
            return Ok(Attempt::Nothing { due_in });
        }
        Ok(Attempt::Found(taken.into_iter().map(|message| self.render(message, plan)).collect()))
    }

    fn render(&self, message: Message, plan: &Plan) -> Received {
        let payload = &message.payload;
        let wanted = |name: &str| plan.system.iter().any(|asked| asked == "All" || asked == name);
        let all = [
            ("SenderId", Some(self.core().account.clone())),
            ("SentTimestamp", Some(message.sent_ms.to_string())),
            ("ApproximateReceiveCount", Some(message.receives.to_string())),
            ("ApproximateFirstReceiveTimestamp", message.first_receive_ms.map(|ms| ms.to_string())),
            ("MessageGroupId", payload.group.as_deref().map(str::to_owned)),
            (TRACE, payload.trace.clone()),
            ("DeadLetterQueueSourceArn", message.origin.as_deref().map(str::to_owned)),
        ];
        let attributes: BTreeMap<_, _> = all
            .into_iter()
            .filter_map(|(name, value)| value.filter(|_| wanted(name)).map(|value| (name, value)))
            .collect();
        let chosen: BTreeMap<_, _> = payload
            .attributes
            .iter()
            .filter(|(name, _)| plan.attributes.iter().any(|pattern| matches(pattern, name)))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Received {
            receipt_handle: Receipt { queue: plan.id, seq: message.seq, receive: message.receive }.handle(),
            md5_of_body: hex(&payload.md5),
            body: payload.body.clone(),
            md5_of_attributes: attributes_digest(chosen.iter().map(|(name, value)| (name.as_str(), value))),
            message_attributes: chosen,
            attributes,
            message_id: message.id,
        }
    }

    pub(crate) async fn delete_message(&self, request: OnReceipt) -> Result<Empty, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let (mut results, commit) = self.delete(name, std::slice::from_ref(&request))?;
        results.pop().unwrap_or(Ok(()))?;
        commit.done().await?;
        Ok(Empty {})
    }

    pub(crate) async fn delete_message_batch(
        &self,
        request: Batch<OnReceipt>,
    ) -> Result<BatchResult<Done>, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        self.core().lock().named(name)?;
        check_batch(&request.entries)?;
        let (results, commit) = self.delete(name, &request.entries)?;
        commit.done().await?;
        Ok(split(request.entries, results))
    }

    fn delete(
        &self,
        name: &str,
        entries: &[OnReceipt],
    ) -> Result<(Vec<Result<(), ApiError>>, Commit), ApiError> {
        let mut state = self.core().lock();
        let queue = state.named(name)?;
        let mut gone = Vec::new();
        let results = entries
            .iter()
            .map(|entry| {
                let receipt = Receipt::read(entry.receipt_handle.as_deref(), queue.id)?;
                if queue.delete(receipt.seq, receipt.receive) {
                    gone.push(receipt.seq);
                }
                Ok(())
            })
            .collect();
        Ok((results, self.write(deletes(gone), |_| {})))
    }

    pub(crate) fn change_message_visibility(&self, request: &OnReceipt) -> Result<Empty, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let mut results = self.change(name, std::slice::from_ref(request))?;
        results.pop().unwrap_or(Ok(())).map(|()| Empty {})
    }

    pub(crate) fn change_message_visibility_batch(
        &self,
        request: Batch<OnReceipt>,
    ) -> Result<BatchResult<Done>, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        self.core().lock().named(name)?;
        check_batch(&request.entries)?;
        let results = self.change(name, &request.entries)?;
        Ok(split(request.entries, results))
    }

    /// Nothing is written: what is in flight becomes visible anyway when the file is opened again.
    fn change(&self, name: &str, entries: &[OnReceipt]) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        let core = self.core();
        let mut state = core.lock();
        let now = core.now();
        let queue = state.named(name)?;
        self.write_later(deletes(queue.advance(now)));
        let due = queue.next_due();
        let results = entries
            .iter()
            .map(|entry| {
                let receipt = Receipt::read(entry.receipt_handle.as_deref(), queue.id)?;
                let seconds = within("VisibilityTimeout", entry.visibility_timeout, 0..=43_200)?
                    .ok_or_else(|| ApiError::missing("VisibilityTimeout"))?;
                queue.change_visibility(receipt.seq, receipt.receive, now, seconds.unsigned_abs())?;
                if seconds == 0 {
                    queue.notify.notify_one();
                }
                Ok(())
            })
            .collect();
        queue.wake_if_sooner(due);
        Ok(results)
    }
}

/// Moves messages into a dead-letter queue, as they are.
fn send_to_dlq(
    state: &mut State,
    dead_letter_queue: &str,
    origin: &std::sync::Arc<str>,
    dead: Vec<Message>,
    now: u64,
    writes: &mut Vec<Write>,
) {
    let Some(queue) = state.queues.get_mut(dead_letter_queue) else { return };
    for mut message in dead {
        message.receives_before = message.receives;
        message.origin = Some(origin.clone());
        message.place = Place::Visible { since: now };
        writes.push(Write::Bury {
            seq: message.seq,
            queue: queue.id,
            receives_before: message.receives_before,
            origin: origin.clone(),
        });
        queue.insert(message);
        queue.notify.notify_one();
    }
}

/// `All` and `.*` stand for every attribute, `prefix.*` for those that start like it.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == "All" || pattern == name,
    }
}

fn split(entries: Vec<OnReceipt>, results: Vec<Result<(), ApiError>>) -> BatchResult<Done> {
    let mut split = BatchResult { successful: Vec::new(), failed: Vec::new() };
    for (entry, result) in entries.into_iter().zip(results) {
        let id = entry.id.unwrap_or_default();
        match result {
            Ok(()) => split.successful.push(Done { id }),
            Err(error) => split.failed.push(Failure::new(id, error)),
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn attribute_names_are_matched() {
        assert!(matches("All", "a") && matches(".*", "a") && matches("a", "a"));
        assert!(matches("a.*", "a.b") && matches("a.*", "ab"));
        assert!(!matches("a.*", "b.a") && !matches("a", "ab"));
    }
}
