//! Queues: creating, finding, configuring, tagging, purging and deleting them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::hex;
use super::queue::Queue;
use super::settings::{Redrive, bad_value, no_fifo, readable};
use super::{Commit, Core, Engine, State, deletes, name_in_url};
use crate::store::{QueueRow, Write};
use crate::wire::error::{ApiError, Kind, within};
use crate::wire::shapes as wire;

const MAX_QUEUES: usize = 10_000;
const MAX_TAGS: usize = 50;
/// The most names in one page.
const PAGE: i64 = 1_000;

/// A page of queue URLs, and where the next one starts.
type Page = (Vec<String>, Option<String>);

impl Engine {
    pub(crate) async fn create_queue(
        &self,
        request: wire::CreateQueue,
        host: &str,
    ) -> Result<wire::QueueUrl, ApiError> {
        let name = request.queue_name.ok_or_else(|| ApiError::missing("QueueName"))?;
        check_name(&name)?;
        let attributes = request.attributes.unwrap_or_default();
        let tags = request.tags.unwrap_or_default();
        check_tags(&tags)?;
        let core = self.core();
        let queue_url = core.url(host, &name);
        let commit = {
            let mut state = core.lock();
            if let Some(queue) = state.queues.get(&name) {
                // Only the attributes that were named are compared.
                let mut wanted = queue.settings.clone();
                wanted.apply(&attributes)?;
                if wanted != queue.settings {
                    return Err(ApiError::new(
                        Kind::QueueNameExists,
                        "A queue already exists with the same name and a different value for an attribute.",
                    ));
                }
                // Its own commit may still be under way, and this answer must not come before it.
                self.write(Vec::new(), |_| {})
            } else {
                if state.queues.len() >= MAX_QUEUES {
                    return Err(ApiError::new(Kind::OverLimit, "There are too many queues."));
                }
                let arn = Arc::from(core.arn(&name));
                let mut queue = Queue::new(state.next_queue, name.clone(), arn, core.now());
                queue.settings.apply(&attributes)?;
                core.check_redrive(&state, &queue.arn, queue.settings.redrive.as_ref())?;
                queue.tags = tags;
                state.next_queue += 1;
                let commit = self.save(&queue);
                state.queues.insert(name, queue);
                commit
            }
        };
        commit.done().await?;
        Ok(wire::QueueUrl { queue_url })
    }

    pub(crate) fn get_queue_url(
        &self,
        request: wire::GetQueueUrl,
        host: &str,
    ) -> Result<wire::QueueUrl, ApiError> {
        let name = request.queue_name.ok_or_else(|| ApiError::missing("QueueName"))?;
        let core = self.core();
        core.lock().named(&name)?;
        if request.owner.is_some_and(|owner| owner != core.account) {
            return Err(ApiError::no_queue());
        }
        Ok(wire::QueueUrl { queue_url: core.url(host, &name) })
    }

    pub(crate) fn list_queues(
        &self,
        request: wire::ListQueues,
        host: &str,
    ) -> Result<wire::QueueUrls, ApiError> {
        let prefix = request.queue_name_prefix.unwrap_or_default();
        let state = self.core().lock();
        let names = state.queues.keys().filter(|name| name.starts_with(&prefix));
        let (queue_urls, next_token) = self.page(names, request.max_results, request.next_token, host)?;
        Ok(wire::QueueUrls { queue_urls, next_token })
    }

    pub(crate) fn list_dead_letter_source_queues(
        &self,
        request: wire::ListSources,
        host: &str,
    ) -> Result<wire::Sources, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let mut state = self.core().lock();
        let arn = state.named(name)?.arn.clone();
        let sources = state.queues.values().filter(|queue| redrives_to(queue, &arn)).map(|queue| &queue.name);
        let (queue_urls, next_token) = self.page(sources, request.max_results, request.next_token, host)?;
        Ok(wire::Sources { queue_urls, next_token })
    }

    /// One page of names that come in order. The token is the last name of the page before, in
    /// hexadecimal so that nobody takes it for more than a token.
    fn page<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        max: Option<i64>,
        token: Option<String>,
        host: &str,
    ) -> Result<Page, ApiError> {
        let limit = usize::try_from(within("MaxResults", max, 1..=PAGE)?.unwrap_or(PAGE)).unwrap_or(1);
        let mut names = names
            .map(|name| (hex(name.as_bytes()), name))
            .filter(|(key, _)| token.as_ref().is_none_or(|token| key > token));
        let page: Vec<_> = names.by_ref().take(limit).collect();
        // Without a page size the service gives no token.
        let more = max.is_some() && names.next().is_some();
        let token = page.last().filter(|_| more).map(|(key, _)| key.clone());
        Ok((page.into_iter().map(|(_, name)| self.core().url(host, name)).collect(), token))
    }

    pub(crate) async fn delete_queue(&self, request: wire::OnQueue) -> Result<wire::Empty, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let commit = {
            let mut state = self.core().lock();
            let queue = state.queues.remove(name).ok_or_else(ApiError::no_queue)?;
            queue.notify.notify_waiters();
            self.write(vec![Write::DropQueue { id: queue.id }], |_| {})
        };
        commit.done().await?;
        Ok(wire::Empty {})
    }

    pub(crate) async fn purge_queue(&self, request: wire::OnQueue) -> Result<wire::Empty, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let commit = {
            let mut state = self.core().lock();
            let below = state.next_seq;
            let queue = state.named(name)?;
            queue.purge(below);
            self.write(vec![Write::Purge { queue: queue.id, below }], |_| {})
        };
        commit.done().await?;
        Ok(wire::Empty {})
    }

    pub(crate) fn get_queue_attributes(
        &self,
        request: wire::GetQueueAttributes,
    ) -> Result<wire::QueueAttributes, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let core = self.core();
        let mut state = core.lock();
        let queue = state.named(name)?;
        let asked = request.attribute_names.unwrap_or_default();
        if let Some(unknown) = asked.iter().find(|name| !readable(name)) {
            return Err(ApiError::new(Kind::InvalidAttributeName, format!("Unknown Attribute {unknown}.")));
        }
        self.write_later(deletes(queue.advance(core.now())));
        let counts = queue.counts();
        let mut attributes = queue.settings.render();
        attributes.extend([
            ("QueueArn", queue.arn.to_string()),
            ("ApproximateNumberOfMessages", counts.visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
            ("CreatedTimestamp", (queue.created_ms / 1_000).to_string()),
            ("LastModifiedTimestamp", (queue.modified_ms / 1_000).to_string()),
        ]);
        attributes.retain(|name, _| asked.iter().any(|asked| asked == "All" || asked == name));
        Ok(wire::QueueAttributes { attributes })
    }

    pub(crate) async fn set_queue_attributes(
        &self,
        request: wire::SetQueueAttributes,
    ) -> Result<wire::Empty, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let attributes = request.attributes.ok_or_else(|| ApiError::missing("Attributes"))?;
        let core = self.core();
        let commit = {
            let mut state = core.lock();
            let queue = state.named(name)?;
            let mut settings = queue.settings.clone();
            settings.apply(&attributes)?;
            let arn = queue.arn.clone();
            if attributes.contains_key("RedrivePolicy") {
                core.check_redrive(&state, &arn, settings.redrive.as_ref())?;
            }
            let queue = state.named(name)?;
            queue.settings = settings;
            queue.modified_ms = core.now();
            // The receives that wait may find something now (a retention period or a policy changed).
            queue.notify.notify_waiters();
            self.save(queue)
        };
        commit.done().await?;
        Ok(wire::Empty {})
    }

    pub(crate) async fn tag_queue(&self, request: wire::TagQueue) -> Result<wire::Empty, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let tags = request.tags.ok_or_else(|| ApiError::missing("Tags"))?;
        check_tags(&tags)?;
        self.retag(name, |old| old.extend(tags)).await
    }

    pub(crate) async fn untag_queue(&self, request: wire::UntagQueue) -> Result<wire::Empty, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        let keys = request.tag_keys.ok_or_else(|| ApiError::missing("TagKeys"))?;
        self.retag(name, |old| old.retain(|key, _| !keys.contains(key))).await
    }

    async fn retag(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<wire::Empty, ApiError> {
        let commit = {
            let mut state = self.core().lock();
            let queue = state.named(name)?;
            let mut tags = queue.tags.clone();
            change(&mut tags);
            check_tags(&tags)?;
            queue.tags = tags;
            self.save(queue)
        };
        commit.done().await?;
        Ok(wire::Empty {})
    }

    pub(crate) fn list_queue_tags(&self, request: wire::OnQueue) -> Result<wire::Tags, ApiError> {
        let name = name_in_url(request.queue_url.as_deref())?;
        Ok(wire::Tags { tags: self.core().lock().named(name)?.tags.clone() })
    }

    fn save(&self, queue: &Queue) -> Commit {
        let row = QueueRow {
            id: queue.id,
            name: queue.name.clone(),
            created_ms: queue.created_ms,
            modified_ms: queue.modified_ms,
            settings: queue.settings.clone(),
            tags: queue.tags.clone(),
        };
        self.write(vec![Write::SaveQueue(Box::new(row))], |_| {})
    }
}

impl Core {
    /// The URL under which the caller reached this server, for a queue.
    fn url(&self, host: &str, name: &str) -> String {
        format!("http://{host}/{}/{name}", self.account)
    }

    fn check_redrive(&self, state: &State, source: &str, redrive: Option<&Redrive>) -> Result<(), ApiError> {
        let Some(Redrive { target, .. }) = redrive else { return Ok(()) };
        let refuse = |reason: &str| Err(ApiError::value("RedrivePolicy", target, reason));
        let Some(name) = self.name_in_arn(target) else {
            return if target.starts_with("arn:aws:sqs:") {
                refuse("Dead letter target does not exist.")
            } else {
                Err(bad_value("RedrivePolicy"))
            };
        };
        match state.queues.get(name) {
            _ if target == source => refuse("A queue cannot be its own dead letter target."),
            None => refuse("Dead letter target does not exist."),
            Some(queue) if !queue.settings.allows(source) => {
                refuse("The dead letter target does not allow this source queue.")
            }
            Some(_) => Ok(()),
        }
    }
}

/// Whether the dead letters of `queue` go to `arn`.
pub(super) fn redrives_to(queue: &Queue, arn: &str) -> bool {
    queue.settings.redrive.as_ref().is_some_and(|redrive| redrive.target == arn)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.ends_with(".fifo") {
        return Err(no_fifo());
    }
    let fine = (1..=80).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fine {
        return Ok(());
    }
    Err(ApiError::new(
        Kind::InvalidParameterValue,
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
    ))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let refuse = |text: &str| Err(ApiError::new(Kind::InvalidParameterValue, text));
    if tags.len() > MAX_TAGS {
        return refuse("A queue can have at most 50 tags.");
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return refuse("A tag key has 1 to 128 characters, and a tag value at most 256.");
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return refuse("A tag key cannot start with aws:.");
        }
    }
    Ok(())
}
