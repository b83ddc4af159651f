//! What a month costs in AWS, from list prices and measured units.
//!
//! Attempts fail independently of each other here, each with the same probability. In truth an endpoint
//! that fails fails again, so the retries of a month cost a little more than this says, or much less
//! than its failures suggest once it is disabled.

mod data;
mod flags;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use flags::CostFlags;

use sam_template::Template;
use shared::config::ConfigError;
use shared::metrics::{Metric, PACE};
use shared::queue::DELAY_MAX;
use shared::retention::Retention;
use shared::retry::RetryPolicy;
use shared::store::idempotency;

use crate::settings::TEMPLATE;
use data::{Prices, Taken, Units};

/// The templates that a deployed stack is made of: alarms, dashboards and secrets are counted in them.
const PARTS: &[&str] = &[
    TEMPLATE,
    include_str!("../../infra/errors.yaml"),
    include_str!("../../infra/monitoring.yaml"),
    include_str!("../../infra/objectives.yaml"),
];
const DAYS: f64 = 30.0;
const MINUTES: f64 = DAYS * 24.0 * 60.0;
const GB: f64 = 1e9;
const KB: f64 = 1024.0;
/// What SQS counts as one request.
const SQS_CHUNK: f64 = 64.0 * KB;
/// Most jobs of one request.
const JOBS_MAX: f64 = 10.0;
/// Seconds of one long poll.
const POLL: f64 = 20.0;
/// "Configure Lambda function memory": so much has one whole processor, and less a share of it.
const MB_OF_A_CPU: f64 = 1769.0;
/// Larger payloads are read from the message.
const INLINE_KB_MAX: f64 = 48.0;

/// What happens in a month.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Month {
    messages: f64,
    /// Endpoints that a message goes to, on average.
    endpoints: f64,
    /// Share of the attempts that fail.
    failures: f64,
    payload_kb: f64,
    /// Jobs in a batch, on average.
    batch: f64,
    /// Requests bring an idempotency key.
    keys: bool,
    /// Messages of one request to the API, on average.
    posted: f64,
    /// Requests go to the address of the function itself, for which nothing is charged: the template's MessagesUrl.
    direct: bool,
    /// Messages come by the queue and not by the API, in batches of that many.
    ingest: bool,
    /// X-Ray records traces.
    tracing: bool,
    /// The tables have a key of the customer's.
    customer_key: bool,
    /// The tables have provisioned capacity with target tracking.
    provisioned: bool,
    /// The log can go back in time.
    recovery: bool,
    kept: Kept,
    accept_ms: f64,
    delivery_ms: f64,
    /// Memory of the functions but `deliver` …
    memory_mb: f64,
    /// … and of that.
    deliver_memory_mb: f64,
}

/// Days that each kind of record is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kept {
    messages: f64,
    payloads: f64,
    attempts: f64,
}

impl From<Retention> for Kept {
    fn from(retention: Retention) -> Self {
        Self {
            messages: retention.message_days() as f64,
            payloads: retention.payload_days() as f64,
            attempts: retention.attempt_days() as f64,
        }
    }
}

/// A line of the bill.
#[derive(Clone, Debug)]
struct Line {
    service: &'static str,
    what: String,
    amount: f64,
    /// The name of its price.
    price: &'static str,
    usd: f64,
    /// It does not depend on how much is sent.
    fixed: bool,
}

/// What a month comes to.
#[derive(Clone, Debug)]
pub(crate) struct Bill {
    month: Month,
    attempts: f64,
    lines: Vec<Line>,
    prices: Prices,
    /// Milliseconds for each further message of a request.
    accept_next_ms: f64,
}

impl Bill {
    fn total(&self) -> f64 {
        self.lines.iter().map(|line| line.usd).sum()
    }

    fn fixed(&self) -> f64 {
        self.lines.iter().filter(|line| line.fixed).map(|line| line.usd).sum()
    }
}

/// What the deliveries of one message to one endpoint take, with their retries.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    attempts: f64,
    taken: Taken,
}

/// Follows a delivery through its retries. A retry waits in its queue for up to 15 minutes and as a
/// timer for longer.
fn chain(retries: &RetryPolicy, failures: f64, units: &Units) -> Chain {
    let measured = &units.measured;
    let mut chain = Chain::default();
    // How likely it is that there is an attempt, and what it takes if it is the last one.
    let (mut likely, mut attempt) = (1.0, measured.attempt);
    for wait in retries.waits().map(Some).chain([None]) {
        chain.attempts += likely;
        chain.taken.add(likely, attempt);
        let Some(wait) = wait else { break };
        likely *= failures;
        if wait <= DELAY_MAX {
            let mut queued = measured.attempt_that_queues_a_retry.beyond(measured.attempt);
            if attempt != measured.attempt {
                // Only a first attempt is less than two writes where it is the last one.
                queued = Taken { sqs_sends: queued.sqs_sends, ..Taken::default() };
            }
            chain.taken.add(likely, queued);
            attempt = measured.retry;
        } else {
            chain.taken.add(likely, measured.retry_that_sets_a_timer.beyond(measured.retry));
            chain.taken.add(likely, measured.timers_run_that_moves_one.beyond(measured.timers_run));
            attempt = measured.retry_from_a_timer;
        }
    }
    chain
}

/// Counts what `month` costs.
///
/// # Errors
/// A file of numbers, or the template, cannot be read.
pub(crate) fn bill(month: Month) -> Result<Bill, ConfigError> {
    let (prices, units) = data::read()?;
    let template =
        Template::parse(TEMPLATE).map_err(|error| ConfigError::new("template", error.to_string()))?;
    let assumed = units.assumed;
    let chain = chain(&RetryPolicy::default(), month.failures, &units);
    let deliveries = month.messages * month.endpoints;
    let attempts = deliveries * chain.attempts;
    let batches = attempts / month.batch;

    let mut taken = Taken::default();
    // By the queue none needs a key: a record's own id is its message's.
    let has_key = month.keys && !month.ingest;
    let mut accept = if has_key { units.measured.accept_with_key } else { units.measured.accept };
    // A payload that goes earlier than its message is an item of its own.
    let apart = month.kept.payloads < month.kept.messages;
    let (mut message_bytes, mut payload_bytes) = (units.measured.accept.stored_bytes, 0.0);
    let key_bytes = accept.beyond(units.measured.accept).stored_bytes;
    if apart {
        let own = units.measured.accept_with_own_payload;
        accept.add(1.0, own.beyond(units.measured.accept));
        payload_bytes = units.own_payload_bytes;
        message_bytes = own.stored_bytes - payload_bytes;
    }
    // What the messages of one request, or the records of one batch, share: they are for one application.
    let together = if month.ingest { month.batch } else { month.posted };
    accept.read_units /= together;
    accept.sqs_sends /= together;
    taken.add(month.messages, accept);
    taken.add(deliveries, chain.taken);
    // Jobs that were queued together are delivered together, and a batch reads their application once, too.
    let of_one_app = together.min(month.batch);
    taken.read_units -= deliveries * units.measured.attempt.read_units * (1.0 - 1.0 / of_one_app);
    // What was measured was a kilobyte.
    let more = (month.payload_kb - 1.0).max(0.0);
    taken.write_units += month.messages * (more * assumed.compressed_share).ceil();
    let inline = month.payload_kb <= INLINE_KB_MAX;
    if !inline {
        taken.read_units += attempts * (month.payload_kb * assumed.compressed_share / 4.0).ceil();
    }

    let job = assumed.job_overhead_bytes + if inline { month.payload_kb * KB } else { 0.0 };
    let chunks = |jobs: f64| (jobs * job / SQS_CHUNK).max(1.0);
    let jobs = month.endpoints * together;
    let sends = taken.sqs_sends * chunks(jobs).max((jobs / JOBS_MAX).ceil());
    let job_requests = sends + batches * (chunks(month.batch) + 1.0);
    let queues: f64 = template.functions.iter().map(|function| function.queues.len() as f64).sum();
    let idle = queues * assumed.idle_pollers * MINUTES * 60.0 / POLL;

    // What accepts is called for each request, or for each batch.
    let accepting = month.messages / together;
    let accept_ms = month.accept_ms + (together - 1.0) * assumed.accept_next_ms;
    // What the producer sends, and what Lambda receives and deletes.
    let record = assumed.record_overhead_bytes + month.payload_kb * KB;
    let record_chunks = (together * record / SQS_CHUNK).max(1.0);
    let ingested = if month.ingest { accepting * (2.0 * record_chunks + 1.0) } else { 0.0 };
    let requests = if month.ingest { 0.0 } else { accepting };
    let by_api = if month.direct { 0.0 } else { requests };
    // Each message has an entry in its response.
    let answered = if month.ingest { 0.0 } else { month.messages };

    let gb = |mb: f64| mb / 1024.0;
    let invocations = accepting + batches;
    // What is computed takes longer with less memory, what is waited for does not.
    let cpu_ms = month.batch * assumed.delivery_cpu_ms + assumed.handshake_cpu_ms;
    let computed = |mb: f64| cpu_ms * MB_OF_A_CPU / mb.min(MB_OF_A_CPU);
    let delivery_ms =
        (month.delivery_ms - computed(assumed.time_memory_mb)).max(0.0) + computed(month.deliver_memory_mb);
    let gb_seconds = (gb(month.memory_mb) * accepting * accept_ms
        + gb(month.deliver_memory_mb) * batches * delivery_ms)
        / 1000.0;
    let timers_gb_seconds = gb(month.memory_mb) / 1000.0 * MINUTES * assumed.timers_ms;
    // An instance adds up what it counts, and writes a line of it: at most one after each invocation, and one each
    // `PACE`. What arrives by chance keeps this many instances busy at once.
    let lines = |invocations: f64, ms: f64| {
        let busy = invocations * ms / 1000.0 / (MINUTES * 60.0);
        let instances = (busy + assumed.peak_deviations * busy.sqrt()).ceil().max(1.0);
        invocations.min(instances * MINUTES * 60.0 / PACE.as_secs_f64())
    };
    let line_bytes = units.metrics_line_bytes;
    let log_bytes = line_bytes * (lines(accepting, accept_ms) + lines(batches, delivery_ms))
        + deliveries * assumed.latency_bytes;
    // Each kind stays for its own time, and until DynamoDB has removed it.
    let stored = |bytes: f64, days: f64| bytes.max(0.0) / GB * (days + assumed.removal_days) / DAYS;
    *(if apart { &mut payload_bytes } else { &mut message_bytes }) += more * KB * assumed.compressed_share;
    let kept = month.kept;
    let of_messages = stored(month.messages * message_bytes, kept.messages);
    let of_payloads = stored(month.messages * payload_bytes, kept.payloads);
    let of_attempts = stored(deliveries * chain.taken.stored_bytes, kept.attempts);
    let of_keys = stored(month.messages * key_bytes, idempotency::KEPT.as_secs_f64() / 86_400.0);
    let recovery = f64::from(u8::from(month.recovery)) * (of_messages + of_payloads + of_attempts + of_keys);
    let kept_for = |what: &str, days: f64| format!("{what}, kept for {days} days");
    let (messages_kept, payloads_kept, attempts_kept) = (
        kept_for("messages", kept.messages),
        kept_for("payloads", kept.payloads),
        kept_for("attempts", kept.attempts),
    );
    // A function of its own each: the one that accepts and the one that delivers.
    let recorded = |requests: f64| {
        let always = requests.min(assumed.traced_each_second * MINUTES * 60.0);
        if month.tracing { always + (requests - always) * assumed.traced_share } else { 0.0 }
    };
    let out =
        answered * assumed.answer_bytes + attempts * (assumed.request_overhead_bytes + month.payload_kb * KB);
    let count = |kind: &str| {
        let lines = PARTS.iter().flat_map(|part| part.lines());
        lines.filter(|line| line.trim() == format!("Type: {kind}")).count() as f64
    };
    // An alarm costs by the metrics that it looks at: it names one itself, or several to compute with. Those of the
    // function's own address are there where that is.
    let watched = PARTS
        .iter()
        .flat_map(|part| part.lines())
        .filter(|line| line.starts_with("      MetricName: ") || line.trim_start().starts_with("Metric: {"))
        .filter(|line| month.direct || !line.contains("MetricName: Url"))
        .count() as f64;
    let timers = if month.tracing { MINUTES } else { 0.0 };
    let timers_reads = MINUTES * units.measured.timers_run.read_units;
    let (on_demand, provisioned) = if month.provisioned { (0.0, 1.0) } else { (1.0, 0.0) };
    // Capacity follows the load, to a share of it that is used, and never below what the template says.
    let unit_hours = |units: f64| {
        let followed = units / (MINUTES * 60.0) / assumed.capacity_used;
        (followed.max(assumed.capacity_least) + assumed.capacity_least_other) * MINUTES / 60.0
    };

    let (sent, whatever) = (false, true);
    let lines = [
        ("API Gateway", "requests", by_api, "api_gateway_request", sent),
        ("Lambda", "invocations", invocations, "lambda_request", sent),
        ("Lambda", "time", gb_seconds, "lambda_gb_second", sent),
        ("Lambda", "timers, each minute", MINUTES, "lambda_request", whatever),
        ("Lambda", "time of the timers", timers_gb_seconds, "lambda_gb_second", whatever),
        ("DynamoDB", "writes", on_demand * taken.write_units, "dynamodb_write_unit", sent),
        ("DynamoDB", "reads", on_demand * taken.read_units, "dynamodb_read_unit", sent),
        ("DynamoDB", "reads of the timers", on_demand * timers_reads, "dynamodb_read_unit", whatever),
        (
            "DynamoDB",
            "write capacity",
            provisioned * unit_hours(taken.write_units),
            "dynamodb_write_capacity",
            sent,
        ),
        (
            "DynamoDB",
            "read capacity",
            provisioned * unit_hours(taken.read_units + timers_reads),
            "dynamodb_read_capacity",
            sent,
        ),
        ("CloudWatch", "alarms of auto scaling", provisioned * assumed.capacity_alarms, "alarm", sent),
        ("DynamoDB", messages_kept.as_str(), of_messages, "dynamodb_storage", sent),
        ("DynamoDB", payloads_kept.as_str(), of_payloads, "dynamodb_storage", sent),
        ("DynamoDB", attempts_kept.as_str(), of_attempts, "dynamodb_storage", sent),
        ("DynamoDB", "keys, kept for 12 hours", of_keys, "dynamodb_storage", sent),
        ("DynamoDB", "point-in-time recovery", recovery, "dynamodb_recovery", sent),
        ("SQS", "requests", job_requests, "sqs_request", sent),
        ("SQS", "requests of ingest", ingested, "sqs_request", sent),
        ("SQS", "fair queueing", job_requests, "sqs_fair_request", sent),
        ("SQS", "idle polls of Lambda", idle, "sqs_request", whatever),
        ("CloudWatch", "logs", log_bytes / GB, "logs_ingested", sent),
        ("CloudWatch", "logs of the timers", MINUTES * line_bytes / GB, "logs_ingested", whatever),
        ("CloudWatch", "metrics", Metric::ALL.len() as f64, "custom_metric", whatever),
        ("CloudWatch", "metrics of alarms", watched, "alarm", whatever),
        ("CloudWatch", "dashboards", count("AWS::CloudWatch::Dashboard"), "dashboard", whatever),
        ("X-Ray", "traces, at most", recorded(accepting) + recorded(batches), "trace", sent),
        ("X-Ray", "traces of the timers", timers, "trace", whatever),
        ("Secrets Manager", "secrets", count("AWS::SecretsManager::Secret"), "secret", whatever),
        ("KMS", "customer's key", f64::from(u8::from(month.customer_key)), "key", whatever),
        ("Data transfer", "to the internet", out / GB, "transfer_out", sent),
    ];
    let lines = lines.into_iter().map(|(service, what, amount, name, fixed)| {
        let price = prices.prices.get(name);
        let price =
            price.ok_or_else(|| ConfigError::new("local/data/prices.json", format!("lacks {name}")))?;
        Ok(Line {
            service,
            what: what.to_owned(),
            amount,
            price: name,
            usd: amount / price.per * price.usd,
            fixed,
        })
    });
    let lines = lines.collect::<Result<Vec<_>, ConfigError>>()?;
    let lines = lines.into_iter().filter(|line| line.amount > 0.0).collect();
    Ok(Bill { month, attempts, lines, prices, accept_next_ms: assumed.accept_next_ms })
}

/// From how many messages a month on provisioned capacity costs less than what it replaces.
fn pays_from(month: Month) -> Result<f64, ConfigError> {
    const MANY: f64 = 1e9;
    let of_capacity = |line: &&Line| {
        line.price.starts_with("dynamodb_read_")
            || line.price.starts_with("dynamodb_write_")
            || line.what == "alarms of auto scaling"
    };
    let usd = |month| {
        let bill = bill(month)?;
        Ok::<f64, ConfigError>(bill.lines.iter().filter(of_capacity).map(|line| line.usd).sum())
    };
    let none = Month { messages: 0.0, provisioned: false, ..month };
    // By the request it grows with the messages; capacity stays at its least until that is used up, and grows
    // more slowly after that.
    let of_timers = usd(none)?;
    let each = (usd(Month { messages: MANY, ..none })? - of_timers) / MANY;
    Ok((usd(Month { provisioned: true, ..none })? - of_timers) / each)
}
