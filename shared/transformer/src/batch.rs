//! What is asked, and what is answered.

use std::collections::BTreeMap;

use runtime::clock::SharedClock;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::transform;

/// Most webhooks of one batch: as many as deliveries come in one event.
pub const RUNS_MAX: usize = 10;

/// Webhooks to transform.
#[derive(Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The code, once for all webhooks that share it.
    pub codes: Vec<String>,
    /// The webhooks, at most [`RUNS_MAX`].
    pub runs: Vec<Run>,
}

impl Batch {
    /// Transforms all webhooks in this process, one after the other; the outcomes are in their order. What one run
    /// does cannot reach another, but for a call that the interpreter does not interrupt: [`Worker`](crate::Worker)
    /// ends that, too.
    pub fn run(&self, clock: &SharedClock) -> Vec<Outcome> {
        let outcomes = self.runs.iter().enumerate().map(|(at, run)| match self.codes.get(run.code) {
            _ if at >= RUNS_MAX => Outcome::too_many(),
            Some(code) => transform(clock, code, &run.webhook),
            None => Outcome::no_code(run.code),
        });
        outcomes.collect()
    }
}

/// One webhook to transform.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// Which of the batch's codes, counted from 0.
    pub code: usize,
    /// What `handler` is called with.
    pub webhook: Webhook,
}

/// What `handler` is called with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// `POST`.
    pub method: String,
    /// The endpoint's URL.
    pub url: String,
    /// The payload, as it was posted.
    pub payload: Box<RawValue>,
    /// The message's event type.
    pub event_type: String,
    /// The message's channels.
    #[serde(default)]
    pub channels: Vec<String>,
    /// The endpoint's variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the message's sender says to transformations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transformations_params: Option<Box<RawValue>>,
}

/// How one run ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Outcome {
    /// This is to be sent.
    Send(Transformed),
    /// Nothing is to be sent.
    Cancel,
    /// There was an exception, a limit was reached, or what came back is no webhook.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// Why, in at most some hundred bytes.
        error: String,
        /// The line of the code, counted from 1, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
    },
}

/// A webhook after its transformation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Transformed {
    /// `POST`, `PUT` or `PATCH`.
    pub method: String,
    /// Where to. Nobody has looked yet whether webhooks may be sent there.
    pub url: String,
    /// What to send; none where the code left the payload as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Headers to add. Nobody has looked yet whether they may be set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Outcome {
    /// A failure that is at no line.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), line: None }
    }

    pub(crate) fn too_many() -> Self {
        Self::failed(format!("more than {RUNS_MAX} webhooks in one batch"))
    }

    pub(crate) fn no_code(number: usize) -> Self {
        Self::failed(format!("the batch has no code number {number}"))
    }
}
