//! The queues of `template.yaml`: how it calls them, and the variables in which functions find them.

use runtime::config::{ConfigError, Env};

use crate::consumer::Source;

/// A queue of the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// First attempts.
    Deliveries,
    /// Later attempts.
    Retries,
    /// Fan-outs, replays, erasures, operational webhooks.
    Background,
    /// Messages that producers queue.
    Ingest,
}

impl Queue {
    /// Its logical ID in the template.
    pub const fn logical_id(self) -> &'static str {
        match self {
            Self::Deliveries => "DeliveriesQueue",
            Self::Retries => "RetriesQueue",
            Self::Background => "BackgroundQueue",
            Self::Ingest => "IngestQueue",
        }
    }

    /// The variables that hold its URL and that of its dead-letter queue.
    const fn variables(self) -> (&'static str, &'static str) {
        match self {
            Self::Deliveries => ("POSTRIDER_DELIVERIES_QUEUE", "POSTRIDER_DELIVERIES_DEAD_QUEUE"),
            Self::Retries => ("POSTRIDER_RETRIES_QUEUE", "POSTRIDER_RETRIES_DEAD_QUEUE"),
            Self::Background => ("POSTRIDER_BACKGROUND_QUEUE", "POSTRIDER_BACKGROUND_DEAD_QUEUE"),
            Self::Ingest => ("POSTRIDER_INGEST_QUEUE", "POSTRIDER_INGEST_DEAD_QUEUE"),
        }
    }

    /// Its URL.
    ///
    /// # Errors
    /// The variable is missing, or holds no URL.
    pub fn url(self, env: &Env<'_>) -> Result<QueueUrl, ConfigError> {
        QueueUrl::read(env, self.variables().0)
    }

    /// The queue and its dead letters, for the function that consumes it.
    ///
    /// # Errors
    /// One of the variables is missing, or holds no URL.
    pub fn source(self, env: &Env<'_>) -> Result<Source, ConfigError> {
        let (queue, dead_letters) = self.variables();
        Ok(Source { queue: QueueUrl::read(env, queue)?, dead_letters: QueueUrl::read(env, dead_letters)? })
    }
}

/// A queue's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrl(String);

impl QueueUrl {
    fn read(env: &Env<'_>, variable: &str) -> Result<Self, ConfigError> {
        let url = env.required(variable, "the URL of an SQS queue")?;
        match url::Url::parse(&url) {
            Ok(_) => Ok(Self(url)),
            Err(_) => Err(ConfigError::new(
                variable,
                format!("{url:?} is no URL; it should be that of an SQS queue"),
            )),
        }
    }

    /// The text of it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The queue's name: the last part of its URL and of its ARN.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}
