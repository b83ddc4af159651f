//! Attempts as spans of distributed traces: what identifies each, the header `traceparent`, and what is exported
//! of them. Off unless the operator sets it (`docs/TRACING.md`).
//!
//! All attempts of a message are spans of one trace: the caller's, where the message came with a `traceparent`, or
//! one whose ID follows from the message's. The IDs follow from those of message and attempt, so copies of a job
//! mean the same span, and nothing is stored.

mod export;
mod otlp;
mod settings;

use std::sync::{Mutex, PoisonError};

use shared::aws_place::AwsService;
use shared::clock::SharedClock;
use shared::config::{ConfigError, Env};
use shared::ids::{AttemptId, Id as _, MessageId};
use shared::store::applications::Application;
use shared::store::attempts::{Attempt, Passage, Status, Trigger};
use shared::store::endpoints::{Destination, Endpoint};
use shared::traceparent::TraceParent;

use crate::job::AttemptJob;
use crate::transform::Prepared;
use export::Exporter;
use otlp::{Kind, Span};
use settings::Settings;

/// What the error of an attempt is called that had no response in time.
const TIMEOUT: &str = "timeout";
/// What other errors without a status are called: their texts can hold what is the customer's.
const OTHER: &str = "_OTHER";
/// What stands for the path of a URL, which can be a secret.
const REDACTED: &str = "REDACTED";

/// Which span an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    own: TraceParent,
    /// The caller's span, if there is one.
    parent: Option<u64>,
}

impl SpanContext {
    /// The span of an attempt: in the caller's trace and sampled as that is, or in one that follows from the
    /// message, whose first 32 bits are its time in seconds, as X-Ray wants it.
    fn of(message: MessageId, attempt: AttemptId, caller: Option<TraceParent>) -> Self {
        let own = |bytes: &[u8]| bytes.iter().fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
        let trace = match caller {
            Some(caller) => caller.trace,
            None => u128::from(message.time().seconds()) << 96 | own(&message.ksuid().bytes()[8..]),
        };
        let span = u64::try_from(own(&attempt.ksuid().bytes()[12..])).expect("8 of 20 bytes are left");
        let sampled = caller.is_none_or(|caller| caller.sampled);
        // Neither may be 0.
        let own = TraceParent { trace: trace.max(1), span: span.max(1), sampled };
        Self { own, parent: caller.map(|caller| caller.span) }
    }
}

/// What is set about spans.
#[derive(Debug)]
pub struct Spans {
    /// Webhooks carry a `traceparent`.
    header: bool,
    /// Where attempts are exported to.
    exporter: Option<Exporter>,
}

/// The spans of one batch.
#[derive(Debug, Default)]
pub struct Collected(Mutex<Vec<Vec<u8>>>);

impl Spans {
    /// Reads `POSTRIDER_TRACEPARENT` and the variables of the collector.
    ///
    /// # Errors
    /// One of them is invalid.
    pub fn read(env: &Env<'_>, clock: SharedClock) -> Result<Self, ConfigError> {
        let Settings { header, collector } = Settings::read(env)?;
        let resource = otlp::resource(&shared::metrics::stack(env));
        Ok(Self {
            header,
            exporter: collector.map(|collector| Exporter::connect(collector, resource, clock)),
        })
    }

    /// Which span an attempt is; none where nobody wants to know.
    pub fn of(&self, job: &AttemptJob) -> Option<SpanContext> {
        (self.header || self.exporter.is_some()).then(|| {
            let caller = job.trace().and_then(shared::trace::Trace::caller);
            SpanContext::of(job.message(), job.id(), caller)
        })
    }

    /// The header of a webhook.
    pub fn header(&self, span: Option<SpanContext>) -> Option<String> {
        span.filter(|_| self.header).map(|span| span.own.to_string())
    }

    /// Keeps the span of an attempt that was made until its batch is done, if it is to be exported.
    pub fn collect(&self, collected: &Collected, span: Option<SpanContext>, made: Made<'_>) {
        let Some(span) = span.filter(|span| span.own.sampled && self.exporter.is_some()) else { return };
        // Nothing was sent, nor was it tried: a code said so, or failed.
        if made.attempt.passage != Passage::Canceled && !matches!(made.prepared, Prepared::Failed(_)) {
            let encoded = made.encoded(span);
            collected.0.lock().unwrap_or_else(PoisonError::into_inner).push(encoded);
        }
    }

    /// Exports the spans of a batch; that they are lost is a line in the log and nothing else.
    pub async fn export(&self, collected: Collected) {
        let spans = collected.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(exporter) = &self.exporter
            && !spans.is_empty()
        {
            exporter.export(&spans).await;
        }
    }
}

/// An attempt that was made.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// What asked for it.
    pub job: &'a AttemptJob,
    /// The application.
    pub app: &'a Application,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// What the endpoint's transformation made of the webhook.
    pub prepared: &'a Prepared,
    /// How it ended.
    pub attempt: &'a Attempt,
}

impl Made<'_> {
    /// The span, with the attribute names of OpenTelemetry's semantic conventions where there are some, and
    /// `postrider.…` for ours. No path, query, header, payload or text of an error: all of them can hold secrets.
    fn encoded(&self, SpanContext { own, parent }: SpanContext) -> Vec<u8> {
        let attempt = self.attempt;
        let destination = &self.endpoint.settings.destination;
        let is_aws = matches!(destination, Destination::Aws(_));
        let method = match self.prepared {
            Prepared::Changed(changed) => changed.method.as_str(),
            _ => "POST",
        };
        let kind = if is_aws { Kind::Producer } else { Kind::Client };
        let mut span = Span::new(own, parent, if is_aws { "send" } else { method }, kind);
        let start = attempt.at.ms();
        span.times(start, start.saturating_add(attempt.duration_ms));
        match destination {
            Destination::Aws(place) => {
                let system = match place.service {
                    AwsService::Sqs => Some("aws_sqs"),
                    AwsService::Sns => Some("aws_sns"),
                    _ => None,
                };
                if let Some(system) = system {
                    span.text("messaging.system", system);
                    span.text("messaging.operation.type", "send");
                    span.text("messaging.operation.name", "send");
                    let name = place.arn.rsplit(':').next().unwrap_or_default();
                    span.text("messaging.destination.name", name);
                }
                span.text("cloud.region", &place.region);
            }
            // Of the URL that it was sent to: a transformation can have changed it.
            _ => {
                span.text("http.request.method", method);
                if let Some(url) = url::Url::parse(&attempt.url).ok().filter(url::Url::has_host) {
                    span.text("server.address", url.host_str().unwrap_or_default());
                    if let Some(port) = url.port_or_known_default() {
                        span.number("server.port", port.into());
                    }
                    let is_plain = url.path() == "/" && url.query().is_none();
                    let path = if is_plain { "" } else { REDACTED };
                    span.text("url.full", &format!("{}/{path}", url.origin().ascii_serialization()));
                }
            }
        }
        if attempt.code > 0 {
            span.number("http.response.status_code", attempt.code.into());
        }
        if attempt.status != Status::Success {
            let code = attempt.code.to_string();
            let timed_out =
                attempt.error.as_deref().is_some_and(|error| error.starts_with("no response within"));
            span.text(
                "error.type",
                match attempt.code {
                    0 if timed_out => TIMEOUT,
                    0 => OTHER,
                    _ => &code,
                },
            );
            span.failed();
        }
        if let AttemptJob::Scheduled(job) = self.job {
            let number = job.number();
            span.number("postrider.attempt.number", number.into());
            if number > 1 && !is_aws {
                span.number("http.request.resend_count", (number - 1).into());
            }
        }
        let message = attempt.message.to_string();
        span.text("messaging.message.id", &message);
        span.text("cloudevents.event_id", &message);
        span.text("cloudevents.event_type", &attempt.labels.event_type);
        span.text("postrider.organization.id", &self.app.org.to_string());
        span.text("postrider.application.id", &self.app.id.to_string());
        span.text("postrider.endpoint.id", &attempt.endpoint.to_string());
        span.text("postrider.attempt.id", &attempt.id.to_string());
        span.text("postrider.destination.kind", destination.kind());
        span.text(
            "postrider.attempt.trigger",
            match attempt.trigger {
                Trigger::Scheduled => "scheduled",
                Trigger::Manual => "manual",
            },
        );
        span.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::EndpointId;

    const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";
    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn attempts_of_a_message_are_spans_of_one_trace() {
        let message: MessageId = format!("msg_{K}").parse().unwrap();
        let endpoint: EndpointId = format!("ep_{K}").parse().unwrap();
        let first = SpanContext::of(message, AttemptId::first(message, endpoint), None);
        let due = message.time().after(std::time::Duration::from_secs(60));
        let second = SpanContext::of(message, AttemptId::scheduled(message, endpoint, 2, due), None);
        assert_eq!(first.own.trace, second.own.trace);
        assert_ne!(first.own.span, second.own.span);
        assert!(first.own.sampled && first.parent.is_none());
        assert_eq!(first.own.trace >> 96, u128::from(message.time().seconds()));
        assert_eq!(TraceParent::parse(&first.own.to_string()), Some(first.own));
        // The caller's goes on, and so does that it is not sampled.
        let caller = TraceParent::parse(CALLER);
        let followed = SpanContext::of(message, AttemptId::first(message, endpoint), caller);
        let expected = format!("{}-{:016x}-00", &CALLER[..35], first.own.span);
        assert_eq!(followed.own.to_string(), expected);
        assert_eq!(followed.parent, caller.map(|caller| caller.span));
    }
}
