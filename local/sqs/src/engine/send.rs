//! Sending.

use std::sync::Arc;

use super::content::{MAX_BYTES, Prepared, attributes_digest, hex, prepare, too_long};
use super::queue::{Message, Place};
use super::{Commit, Core, Engine, check_batch, name_in_url};
use crate::store::{MessageRow, Write};
use crate::wire::error::{ApiError, Kind};
use crate::wire::shapes::{Batch, BatchResult, Failure, SendMessage, Sent};

impl Engine {
    pub(crate) async fn send_message(&self, mut request: SendMessage) -> Result<Sent, ApiError> {
        let url = request.queue_url.take();
        let name = name_in_url(url.as_deref())?;
        self.require(name)?;
        let prepared = prepare(request)?;
        let (mut results, commit) = self.enqueue(name, vec![prepared])?;
        let sent = results.pop().unwrap_or_else(|| Err(ApiError::no_queue()))?;
        commit.done().await?;
        Ok(sent)
    }

    pub(crate) async fn send_message_batch(
        &self,
        request: Batch<SendMessage>,
    ) -> Result<BatchResult<Sent>, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        self.require(name)?;
        check_batch(&request.entries)?;
        let mut failed = Vec::new();
        let (mut ids, mut prepared) = (Vec::new(), Vec::new());
        let mut total = 0;
        for entry in request.entries {
            // Also the entries that fail for another reason count: they were in the request.
            total += entry.message_body.as_ref().map_or(0, String::len);
            let id = entry.id.clone().unwrap_or_default();
            let body = entry.message_body.as_ref().map_or(0, String::len);
            match prepare(entry) {
                Ok(one) => {
                    total += one.size - body;
                    prepared.push(one);
                    ids.push(id);
                }
                Err(error) => failed.push(Failure::new(id, error)),
            }
        }
        if total > MAX_BYTES {
            return Err(ApiError::new(
                Kind::BatchRequestTooLong,
                format!(
                    "Batch requests cannot be longer than {MAX_BYTES} bytes. You have sent {total} bytes."
                ),
            ));
        }
        let (results, commit) = self.enqueue(name, prepared)?;
        let mut successful = Vec::new();
        for (id, result) in ids.into_iter().zip(results) {
            match result {
                Ok(sent) => successful.push(Sent { id: Some(id), ..sent }),
                Err(error) => failed.push(Failure::new(id, error)),
            }
        }
        commit.done().await?;
        Ok(BatchResult { successful, failed })
    }

    /// Refuses early what is for no queue, so that this is the error a caller sees first.
    fn require(&self, name: &str) -> Result<(), ApiError> {
        self.core().lock().named(name).map(drop)
    }

    /// Numbers the messages and hands them to the writer. They become visible after the commit.
    fn enqueue(
        &self,
        name: &str,
        prepared: Vec<Prepared>,
    ) -> Result<(Vec<Result<Sent, ApiError>>, Commit), ApiError> {
        let core = self.core();
        let mut state = core.lock();
        let now = core.now();
        let queue = state.named(name)?;
        let (queue_id, limit, delay) = (queue.id, queue.settings.max_bytes, queue.settings.delay);
        let mut results = Vec::with_capacity(prepared.len());
        let mut messages = Vec::with_capacity(prepared.len());
        let mut writes = Vec::with_capacity(prepared.len());
        for Prepared { payload, delay_seconds, size } in prepared {
            if size as u64 > limit {
                results.push(Err(too_long(limit)));
                continue;
            }
            let (seq, id) = (state.seq(), core.ids.next());
            let delay_ms = delay_seconds.unwrap_or(delay) * 1_000;
            let attributes = payload.attributes.iter().map(|(name, value)| (name.as_str(), value));
            results.push(Ok(Sent {
                id: None,
                message_id: id.clone(),
                md5_of_body: hex(&payload.md5),
                md5_of_attributes: attributes_digest(attributes),
                md5_of_system_attributes: payload.system_digest(),
            }));
            let delayed_until = if delay_ms > 0 { now + delay_ms } else { 0 };
            writes.push(Write::Insert(Box::new(MessageRow {
                seq,
                queue: queue_id,
                id: id.clone(),
                payload: Arc::clone(&payload),
                sent_ms: now,
                delayed_until,
                receives: 0,
                receives_before: 0,
                first_receive_ms: None,
                receive: 0,
                origin: None,
            })));
            let place = if delay_ms > 0 {
                Place::Delayed { until: delayed_until }
            } else {
                Place::Visible { since: now }
            };
            messages.push(Message {
                seq,
                id,
                payload,
                sent_ms: now,
                receives: 0,
                receives_before: 0,
                first_receive_ms: None,
                receive: 0,
                origin: None,
                place,
            });
        }
        let name = name.to_owned();
        let commit = self.write(writes, move |core| core.arrive(&name, queue_id, messages));
        Ok((results, commit))
    }
}

impl Core {
    /// Puts messages that are durable into their queue, and wakes those who wait for them.
    fn arrive(&self, name: &str, queue: u64, messages: Vec<Message>) {
        let mut state = self.lock();
        // A queue that was deleted meanwhile took its messages with it, also in the file.
        let Some(queue) = state.same(name, queue) else { return };
        let due = queue.next_due();
        for message in messages {
            if queue.purged(message.seq) {
                continue;
            }
            let visible = matches!(message.place, Place::Visible { .. });
            queue.insert(message);
            if visible {
                queue.notify.notify_one();
            }
        }
        queue.wake_if_sooner(due);
    }
}
