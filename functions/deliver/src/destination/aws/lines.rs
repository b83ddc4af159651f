//! Objects of JSON lines: messages of one batch of jobs that go to one bucket are lines of one object.
//!
//! Nothing is stored for it. Whoever is the first of them waits for those of the batch that may still come, writes all of
//! them in one request, and its result is everybody's: an attempt succeeds only when its object is there. Since a job
//! that comes back may come with others, the object's key follows from all of its lines
//! ([`AwsPlace::lines_key`]): no object takes away another's lines.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use shared::Result;
use shared::aws_place::AwsPlace;
use shared::error::unavailable;
use shared::ids::{EndpointId, MessageId};
use shared::store::attempts::ResponseBody;
use tokio::sync::{oneshot, watch};

use super::{Aws, call};
use crate::destination::{AttemptResult, Webhook};

/// The lines that one batch of jobs writes.
#[derive(Debug)]
pub struct Lines {
    /// Jobs that may still become a line.
    on_the_way: watch::Sender<usize>,
    waiting: Mutex<HashMap<Group, Vec<Waiting>>>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { on_the_way: watch::Sender::new(0), waiting: Mutex::default() }
    }
}

/// What lines of one object have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Group {
    endpoint: EndpointId,
    place: AwsPlace,
    /// Of their keys.
    key: String,
}

/// A line that is not written yet, and who waits for it.
#[derive(Debug)]
struct Waiting {
    message: MessageId,
    line: String,
    give: oneshot::Sender<AttemptResult>,
}

/// A job that may still become a line: those that are wait for it. Whoever becomes none drops it before it waits for
/// anybody else.
#[derive(Debug)]
pub struct OnTheWay<'a>(&'a Lines);

impl Lines {
    /// Announces a job.
    pub fn announce(&self) -> OnTheWay<'_> {
        self.on_the_way.send_modify(|count| *count += 1);
        OnTheWay(self)
    }

    /// Adds a line; says whether it is the first, which writes all.
    fn add(&self, group: &Group, waiting: Waiting) -> bool {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = all.entry(group.clone()).or_default();
        lines.push(waiting);
        lines.len() == 1
    }

    /// The lines of a group once no job is on the way, in the order of their messages' IDs.
    async fn take(&self, group: &Group) -> Vec<Waiting> {
        // All jobs of the batch have begun after this.
        tokio::task::yield_now().await;
        // It ends with an error if nobody counts any more, and then nobody is on the way.
        let _ = self.on_the_way.subscribe().wait_for(|count| *count == 0).await;
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = all.remove(group).unwrap_or_default();
        lines.sort_by_key(|line| line.message);
        lines
    }
}

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        self.0.on_the_way.send_modify(|count| *count -= 1);
    }
}

impl Aws {
    /// Sends a message as a line of the object that the others of its batch go into.
    ///
    /// # Errors
    /// It cannot be signed, or who writes the object ended early: the job comes back.
    pub async fn send_line(
        &self,
        place: &AwsPlace,
        webhook: Webhook<'_>,
        on_the_way: OnTheWay<'_>,
    ) -> Result<AttemptResult> {
        let Webhook { message, endpoint, payload, event_type, .. } = webhook;
        let text = endpoint.settings.destination.signed(payload);
        let line = call::line(&self.outgoing(webhook, &text)?, &text);
        let key = place.lines_group(endpoint.app, endpoint.id, message, event_type);
        let group = Group { endpoint: endpoint.id, place: place.clone(), key };
        let (give, given) = oneshot::channel();
        let lines = on_the_way.0;
        let writes = lines.add(&group, Waiting { message, line, give });
        drop(on_the_way);
        if writes {
            let all = lines.take(&group).await;
            self.write(place, webhook, all).await;
        }
        given.await.map_err(unavailable("write an object of lines"))
    }

    /// Writes the lines, and tells whoever waits for them. `webhook` is one of them.
    async fn write(&self, place: &AwsPlace, webhook: Webhook<'_>, lines: Vec<Waiting>) {
        let Webhook { endpoint, event_type, .. } = webhook;
        let messages: Vec<MessageId> = lines.iter().map(|line| line.message).collect();
        let key = place.lines_key(endpoint.app, endpoint.id, &messages, event_type);
        let body = lines.iter().fold(String::new(), |body, line| body + &line.line);
        let result = self.exchange(place, endpoint.app, call::lines(place, &key, body, &self.aws)).await;
        for (line, nth) in lines.into_iter().zip(1..) {
            let mut result = result.clone();
            if result.success {
                // S3 answers an object with nothing: what can be said is where the line is.
                let mut text = String::new();
                let _ = write!(text, "line {nth} of {} in {key}", messages.len());
                result.body = ResponseBody::Text(text);
            }
            // Nobody waits any more where an invocation ended early.
            let _ = line.give.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_takes_all_that_come_and_waits_for_nobody_who_does_not() {
        let lines = Lines::default();
        let id = |last: char| format!("msg_23rb8YdGqMT0qIzpgGwdXfHirM{last}").parse::<MessageId>().unwrap();
        let group = Group {
            endpoint: "ep_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().unwrap(),
            place: AwsPlace {
                service: shared::aws_place::AwsService::S3,
                arn: "arn:aws:s3:::b".into(),
                region: "r".into(),
                role_arn: "role".into(),
                fifo_key: None,
                key_template: None,
                json_lines: true,
            },
            key: String::new(),
        };
        let waiting = |message| Waiting { message, line: String::new(), give: oneshot::channel().0 };
        let come = async |last| {
            let on_the_way = lines.announce();
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let first = lines.add(&group, waiting(id(last)));
            drop(on_the_way);
            if first { lines.take(&group).await } else { Vec::new() }
        };
        let late = async |last| {
            let on_the_way = lines.announce();
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            let first = lines.add(&group, waiting(id(last)));
            drop(on_the_way);
            assert!(!first);
        };
        let gone = async || {
            let on_the_way = lines.announce();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            drop(on_the_way);
            std::future::pending::<()>().await;
        };
        let written = async { tokio::join!(come('c'), come('b'), late('a')).0 };
        let written = tokio::select! {
            written = written => written,
            () = gone() => unreachable!("it never ends"),
        };
        let messages: Vec<MessageId> = written.iter().map(|line| line.message).collect();
        assert_eq!(messages, ['a', 'b', 'c'].map(id));
    }
}
