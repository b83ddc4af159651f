//! The numbers that the calculator counts with: list prices and units, each in a file of its own.

use std::collections::BTreeMap;

use serde::Deserialize;
use shared::config::ConfigError;

use crate::settings::TEMPLATE;

const PRICES: &str = include_str!("../../data/prices.json");
const UNITS: &str = include_str!("../../data/units.json");

/// What a unit costs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Price {
    pub(crate) usd: f64,
    /// How many units that is for.
    pub(crate) per: f64,
    pub(crate) unit: String,
    pub(crate) source: String,
    pub(crate) read: String,
}

/// What somebody else asks for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Alternative {
    pub(crate) name: String,
    pub(crate) monthly_usd: f64,
    /// Messages that are in that; none if all are.
    pub(crate) included: Option<f64>,
    pub(crate) usd_per_million: f64,
    pub(crate) source: String,
    pub(crate) read: String,
    pub(crate) note: String,
}

impl Alternative {
    /// For that many messages in a month.
    pub(crate) fn usd(&self, messages: f64) -> f64 {
        let beyond = self.included.map_or(0.0, |included| (messages - included).max(0.0));
        self.monthly_usd + beyond / 1e6 * self.usd_per_million
    }
}

/// List prices.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Prices {
    pub(crate) region: String,
    pub(crate) as_of: String,
    pub(crate) prices: BTreeMap<String, Price>,
    pub(crate) alternatives: Vec<Alternative>,
}

/// What an operation takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Taken {
    pub(crate) write_units: f64,
    pub(crate) read_units: f64,
    pub(crate) sqs_sends: f64,
    pub(crate) stored_bytes: f64,
}

impl Taken {
    /// This, `count` times more.
    pub(crate) fn add(&mut self, count: f64, other: Self) {
        self.write_units += count * other.write_units;
        self.read_units += count * other.read_units;
        self.sqs_sends += count * other.sqs_sends;
        self.stored_bytes += count * other.stored_bytes;
    }

    /// What this takes more than `other`.
    pub(crate) fn beyond(mut self, other: Self) -> Self {
        self.add(-1.0, other);
        self
    }
}

/// What tests measure.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Measured {
    pub(crate) accept: Taken,
    pub(crate) accept_with_key: Taken,
    pub(crate) accept_with_own_payload: Taken,
    pub(crate) attempt: Taken,
    pub(crate) attempt_that_queues_a_retry: Taken,
    pub(crate) retry: Taken,
    pub(crate) retry_that_sets_a_timer: Taken,
    pub(crate) retry_from_a_timer: Taken,
    pub(crate) timers_run: Taken,
    pub(crate) timers_run_that_moves_one: Taken,
}

/// What no test here can measure.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Assumed {
    /// Memory with which the times are as they are assumed.
    pub(crate) time_memory_mb: f64,
    /// Billed time of accepting a message.
    pub(crate) accept_ms: f64,
    /// Billed time of each further one in a batch of the ingest queue.
    pub(crate) accept_next_ms: f64,
    /// What is beside the payload in a record of that queue.
    pub(crate) record_overhead_bytes: f64,
    /// Billed time of a batch of deliveries; most of it is the endpoints'.
    pub(crate) delivery_ms: f64,
    /// What of it each delivery computes on a whole processor: its instructions (docs/BENCHMARKS.md), three a nanosecond …
    pub(crate) delivery_cpu_ms: f64,
    /// … and a new connection's handshake, once a batch.
    pub(crate) handshake_cpu_ms: f64,
    /// Billed time of a run of the timers.
    pub(crate) timers_ms: f64,
    /// What a webhook sends beside its payload: TLS, headers.
    pub(crate) request_overhead_bytes: f64,
    /// What the API answers to a message.
    pub(crate) answer_bytes: f64,
    /// What a job holds beside the payload.
    pub(crate) job_overhead_bytes: f64,
    /// What compression leaves of a payload.
    pub(crate) compressed_share: f64,
    /// The share of provisioned capacity that target tracking aims at; the template's.
    pub(crate) capacity_used: f64,
    /// The least capacity of the busier table of each kind, units per second: the template's `ProvisionedUnits` …
    pub(crate) capacity_least: f64,
    /// … and that of the other one.
    pub(crate) capacity_least_other: f64,
    /// Alarms that target tracking makes: four for each of two kinds of capacity of two tables.
    pub(crate) capacity_alarms: f64,
    /// Polls that Lambda keeps open on an idle queue.
    pub(crate) idle_pollers: f64,
    /// Days from the end of an item's time until DynamoDB has removed it, which is stored as long.
    pub(crate) removal_days: f64,
    /// Instances that are busy at once beyond the average, in standard deviations of arrivals by chance.
    pub(crate) peak_deviations: f64,
    /// What the latency of a first attempt adds to a line of metrics: digits and a comma.
    pub(crate) latency_bytes: f64,
    /// Requests that X-Ray records each second in any case …
    pub(crate) traced_each_second: f64,
    /// … and its share of the others.
    pub(crate) traced_share: f64,
}

/// Units of all operations.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Units {
    pub(crate) measured: Measured,
    pub(crate) metrics_line_bytes: f64,
    /// What of an acceptance with a payload of its own is that payload's item.
    pub(crate) own_payload_bytes: f64,
    pub(crate) assumed: Assumed,
}

/// The memory of functions in megabytes, which the template's `parameter` has by default.
///
/// # Errors
/// The template cannot be read, or has no such parameter.
pub(crate) fn memory_mb(parameter: &str) -> Result<f64, ConfigError> {
    let wrong = |problem: String| ConfigError::new("template", problem);
    let template = sam_template::json(TEMPLATE).map_err(|error| wrong(error.to_string()))?;
    let default = &template["Parameters"][parameter]["Default"];
    let number = default.as_f64().or_else(|| default.as_str()?.parse().ok());
    number.ok_or_else(|| wrong(format!("lacks the default of {parameter}")))
}

/// Reads both files, which are part of the program.
///
/// # Errors
/// One of them is not what this version reads.
pub(crate) fn read() -> Result<(Prices, Units), ConfigError> {
    let wrong = |file: &str| {
        let file = file.to_owned();
        move |error: serde_json::Error| ConfigError::new(&file, error.to_string())
    };
    let prices = serde_json::from_str(PRICES).map_err(wrong("local/data/prices.json"))?;
    Ok((prices, serde_json::from_str(UNITS).map_err(wrong("local/data/units.json"))?))
}
