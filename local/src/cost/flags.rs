//! What the calculator is told: a month, in words such as `10M` and `2%`.

use clap::Args;
use shared::config::{ConfigError, Env};
use shared::retention::Retention;

use super::{Kept, Month, bill, data, report};

/// All are text: what they should be is checked in one place, which answers with one line.
#[derive(Debug, Args)]
pub(crate) struct CostFlags {
    /// Messages per month: a number, or one such as 250k, 10M or 1.5G.
    #[arg(long, value_name = "NUMBER", default_value = "1M")]
    messages: String,
    /// Endpoints that a message goes to, on average.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    endpoints: String,
    /// Share of the attempts that fail: 2% or 0.02. What failed is tried again by the schedule.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    failure_rate: String,
    /// Size of a payload in kilobytes.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    payload_kb: String,
    /// Jobs that one invocation delivers, on average: 1 where little is sent, 10 where much is.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    batch: String,
    /// Milliseconds that accepting a message takes in Lambda. An assumption [default: 20].
    #[arg(long, value_name = "MS")]
    accept_ms: Option<String>,
    /// Milliseconds that a batch of deliveries takes in Lambda, which waits for the slowest endpoint. An
    /// assumption [default: 200].
    #[arg(long, value_name = "MS")]
    delivery_ms: Option<String>,
    /// Memory of the functions in megabytes [default: as in the template: 256, deliver's 128].
    #[arg(long, value_name = "MB")]
    memory_mb: Option<String>,
    /// Memory of deliver, if not as much as the others have: DeliverMemory. With less, what it computes takes longer.
    #[arg(long, value_name = "MB")]
    deliver_memory_mb: Option<String>,
    /// Requests bring no idempotency key. (SDKs bring one by themselves; messages by the ingest queue need none.)
    #[arg(long)]
    no_keys: bool,
    /// Messages that one request posts, on average: `POST …/msg/batch` takes up to 100.
    #[arg(long, value_name = "NUMBER", default_value = "1", conflicts_with = "ingest")]
    posted_together: String,
    /// Requests go to the address of the function itself: the template's MessagesUrl is true.
    #[arg(long, conflicts_with = "ingest")]
    messages_url: bool,
    /// Messages come by the ingest queue (docs/INGEST.md) and not by the API, in batches as large as those
    /// of deliveries.
    #[arg(long)]
    ingest: bool,
    /// Count with X-Ray: the template's Tracing is Active.
    #[arg(long)]
    tracing: bool,
    /// Include a customer-managed KMS key for the tables.
    #[arg(long)]
    customer_key: bool,
    /// Count with provisioned capacity and target tracking: the template's ProvisionedUnits is 25.
    #[arg(long)]
    provisioned: bool,
    /// Days that messages are kept: the template's MessageRetentionDays [default: 90].
    #[arg(long, value_name = "DAYS")]
    message_days: Option<String>,
    /// Days that payloads are kept, if not as long as their messages: PayloadRetentionDays.
    #[arg(long, value_name = "DAYS")]
    payload_days: Option<String>,
    /// Days that attempts are kept, if not as long as their messages: AttemptRetentionDays.
    #[arg(long, value_name = "DAYS")]
    attempt_days: Option<String>,
    /// Count without point-in-time recovery of the log: the template's LogTableRecovery is false.
    #[arg(long)]
    no_recovery: bool,
    /// Compare 100,000, a million and a hundred million messages per month, by each way to send them.
    #[arg(long, conflicts_with_all = ["messages", "batch", "no_keys", "posted_together", "messages_url", "ingest", "provisioned", "json"])]
    volumes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl CostFlags {
    /// The bill.
    ///
    /// # Errors
    /// A flag is invalid; one line that names it.
    pub(crate) fn answer(&self) -> Result<String, ConfigError> {
        let assumed = data::read()?.1.assumed;
        let or = |flag: &str, text: &Option<String>, otherwise: f64, most: f64| match text {
            Some(text) => number(flag, text, 1.0, most),
            None => Ok(otherwise),
        };
        let days = |name, text: &Option<String>| text.as_ref().map(|text| (name, text.trim().to_owned()));
        // What the functions would refuse is refused here.
        let kept = [
            days("POSTRIDER_MESSAGE_RETENTION_DAYS", &self.message_days),
            days("POSTRIDER_PAYLOAD_RETENTION_DAYS", &self.payload_days),
            days("POSTRIDER_ATTEMPT_RETENTION_DAYS", &self.attempt_days),
        ];
        let given = |name: &str| {
            kept.iter().flatten().find(|(known, _)| *known == name).map(|(_, days)| days.clone())
        };
        let retention = Retention::read(&Env::new(given))?;
        let month = Month {
            messages: number("--messages", &self.messages, 0.0, 1e12)?,
            endpoints: number("--endpoints", &self.endpoints, 0.0, 1e5)?,
            failures: share("--failure-rate", &self.failure_rate)?,
            payload_kb: number("--payload-kb", &self.payload_kb, 0.0, 1024.0)?,
            batch: number("--batch", &self.batch, 1.0, 10.0)?,
            keys: !self.no_keys,
            posted: number("--posted-together", &self.posted_together, 1.0, 100.0)?,
            direct: self.messages_url,
            ingest: self.ingest,
            tracing: self.tracing,
            customer_key: self.customer_key,
            provisioned: self.provisioned,
            recovery: !self.no_recovery,
            kept: Kept::from(retention),
            accept_ms: or("--accept-ms", &self.accept_ms, assumed.accept_ms, 29_000.0)?,
            delivery_ms: or("--delivery-ms", &self.delivery_ms, assumed.delivery_ms, 60_000.0)?,
            memory_mb: or("--memory-mb", &self.memory_mb, data::memory_mb("HttpMemory")?, 10_240.0)?,
            deliver_memory_mb: match (&self.deliver_memory_mb, &self.memory_mb) {
                (None, None) => data::memory_mb("DeliverMemory")?,
                (None, Some(all)) => number("--memory-mb", all, 1.0, 10_240.0)?,
                (Some(own), _) => number("--deliver-memory-mb", own, 1.0, 10_240.0)?,
            },
        };
        if self.volumes {
            return report::volumes(month);
        }
        let bill = bill(month)?;
        Ok(if self.json { report::json(&bill) } else { report::table(&bill) })
    }
}

/// A number with an optional `k`, `M` or `G` behind it, and with `_` or `,` between its digits.
fn number(flag: &str, text: &str, least: f64, most: f64) -> Result<f64, ConfigError> {
    let plain = text.trim().replace(['_', ','], "");
    let (digits, times) = match plain.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1e3),
        Some((at, 'm' | 'M')) => (&plain[..at], 1e6),
        Some((at, 'g' | 'G')) => (&plain[..at], 1e9),
        _ => (plain.as_str(), 1.0),
    };
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value = digits.parse::<f64>().ok().filter(|_| is_number).map(|value| value * times);
    value.filter(|value| (least..=most).contains(value)).ok_or_else(|| {
        let such = if most >= 1e7 { "1.5 or 10M" } else { "1.5" };
        let problem =
            format!("invalid value {text:?}: expected a number from {least} to {most}, such as {such}");
        ConfigError::new(flag, problem)
    })
}

/// A share, as `2%` or `0.02`.
fn share(flag: &str, text: &str) -> Result<f64, ConfigError> {
    let wrong =
        || ConfigError::new(flag, format!("invalid value {text:?}: expected a share such as 2% or 0.02"));
    match text.trim().strip_suffix('%') {
        Some(percent) => number(flag, percent, 0.0, 100.0).map(|percent| percent / 100.0),
        None => number(flag, text, 0.0, 1.0),
    }
    .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_shares_as_people_write_them() {
        let number = |text| number("--messages", text, 0.0, 1e12).ok();
        for (text, value) in
            [("10M", 1e7), ("1.5k", 1.5e3), ("2_000_000", 2e6), ("2,000", 2e3), (" 7 ", 7.0), ("1G", 1e9)]
        {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["", "M", "-1", "ten", "1e3", "inf", "NaN", "1MM", "9999G", "1.2.3"] {
            assert_eq!(number(text), None, "{text}");
        }
        let share = |text| share("--failure-rate", text).ok();
        for (text, value) in [("2%", 0.02), ("0.02", 0.02), ("100%", 1.0), ("0", 0.0)] {
            assert!((share(text).unwrap() - value).abs() < 1e-12, "{text}");
        }
        for text in ["2", "101%", "-2%", "%", "half"] {
            assert_eq!(share(text), None, "{text}");
        }
    }
}
