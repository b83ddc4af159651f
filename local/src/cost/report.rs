//! A bill as a table for people, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use shared::config::ConfigError;

use super::{Bill, Month, bill, pays_from};

/// `1234567.891` as `1,234,567.89`; whole numbers without what is behind the point.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &rest
}

/// What a million messages cost at this volume, besides what is fixed.
fn million(bill: &Bill) -> Option<f64> {
    (bill.month.messages > 0.0).then(|| (bill.total() - bill.fixed()) / bill.month.messages * 1e6)
}

/// For people.
pub(super) fn table(bill: &Bill) -> String {
    let (month, prices) = (&bill.month, &bill.prices);
    let mut text = format!(
        "{} messages per month of {} KB to {} endpoints, {} % of the attempts fail: {} attempts.\n\
         List prices of {}, {}, without free tiers.\n\n",
        grouped(month.messages, 0),
        month.payload_kb,
        month.endpoints,
        (month.failures * 1e4).round() / 100.0,
        grouped(bill.attempts, 0),
        prices.region,
        prices.as_of,
    );
    let mut row = |service: &str, what: &str, amount: &str, price: &str, usd: &str| {
        let line = format!("{service:<16} {what:<31} {amount:>24} {price:>19} {usd:>12}");
        let _infallible = writeln!(text, "{}", line.trim_end());
    };
    row("service", "", "amount", "price", "USD");
    for line in &bill.lines {
        let price = &prices.prices[line.price];
        let per = match price.per {
            1e6 => "a million".to_owned(),
            _ => format!("each{}", if price.unit == "GB" { " GB" } else { "" }),
        };
        let decimals =
            if price.per > 1.0 || line.amount >= 1000.0 || line.amount.fract() == 0.0 { 0 } else { 2 };
        let amount = format!("{} {}", grouped(line.amount, decimals), price.unit);
        let shown =
            if price.usd < 0.001 { format!("{:.10}", price.usd) } else { format!("{:.3}", price.usd) };
        row(line.service, &line.what, &amount, &format!("{shown} {per}"), &grouped(line.usd, 2));
    }
    row("total", "", "", "", &grouped(bill.total(), 2));
    row("", "fixed, per month", "", "", &grouped(bill.fixed(), 2));
    if let Some(million) = million(bill) {
        row("", "per million messages", "", "", &grouped(million, 2));
    }
    text.push_str("\nElsewhere, by public prices:\n");
    for other in &prices.alternatives {
        let usd = grouped(other.usd(month.messages), 2);
        let _infallible = writeln!(
            text,
            "{:<80} {usd:>26}\n    {} ({}, {})",
            other.name, other.note, other.source, other.read
        );
    }
    let _infallible = write!(
        text,
        "\nLambda's time is an assumption: {} ms to accept a message and {} ms for each further one with it, {} ms for a batch of {} deliveries, at 256 MB. Counted with {} MB, deliver with {} MB. docs/COST.md says what else is.",
        month.accept_ms,
        bill.accept_next_ms,
        month.delivery_ms,
        month.batch,
        month.memory_mb,
        month.deliver_memory_mb
    );
    text
}

/// Three volumes in one table, by the ways to send them. `month` says everything else.
///
/// # Errors
/// A file of numbers, or the template, cannot be read.
pub(super) fn volumes(month: Month) -> Result<String, ConfigError> {
    const VOLUMES: [f64; 3] = [1e5, 1e6, 1e8];
    let one = Month {
        batch: 1.0,
        keys: true,
        posted: 1.0,
        direct: false,
        ingest: false,
        provisioned: false,
        ..month
    };
    let under_load = Month { batch: 10.0, ..one };
    let queued = Month { ingest: true, ..under_load };
    let ways = [
        ("posted one by one, with a key", one),
        ("the same, jobs in batches of ten under load", under_load),
        ("the same, no key", Month { keys: false, ..under_load }),
        ("to MessagesUrl, under load, with a key", Month { direct: true, ..under_load }),
        ("to MessagesUrl, under load, no key", Month { direct: true, keys: false, ..under_load }),
        ("ten in one request, under load, with a key", Month { posted: 10.0, ..under_load }),
        ("ten in one request, under load, no key", Month { posted: 10.0, keys: false, ..under_load }),
        ("by the queue, in batches of ten", queued),
        ("posted, under load, provisioned capacity", Month { provisioned: true, ..under_load }),
        ("by the queue, provisioned capacity", Month { provisioned: true, ..queued }),
    ];
    let mut text = format!(
        "USD per month without fixed charges, and per million messages.\nKept: messages for {} days, payloads for {}, attempts for {}, keys for 12 hours; {} point-in-time recovery.\n",
        month.kept.messages,
        month.kept.payloads,
        month.kept.attempts,
        if month.recovery { "with" } else { "without" },
    );
    let mut row = |way: &str, cells: [String; 3]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>18}")).collect();
        let _infallible = writeln!(text, "{way:<44}{cells}");
    };
    row("messages per month", VOLUMES.map(|messages| grouped(messages, 0)));
    for (way, month) in ways {
        let mut cells = [const { String::new() }; 3];
        for (cell, messages) in cells.iter_mut().zip(VOLUMES) {
            let bill = bill(Month { messages, ..month })?;
            let sent = bill.total() - bill.fixed();
            let million = million(&bill).unwrap_or_default();
            *cell = format!("{} ({})", grouped(sent, 2), grouped(million, 2));
        }
        row(way, cells);
    }
    let edge = pays_from(under_load)?;
    let _infallible = write!(
        text,
        "Provisioned capacity pays from about {:.1} million messages per month, {:.1} per second, if they come evenly.",
        edge / 1e6,
        edge / (30.0 * 86_400.0)
    );
    Ok(text)
}

/// For programs.
pub(super) fn json(bill: &Bill) -> String {
    let (month, prices) = (&bill.month, &bill.prices);
    let cents = |usd: f64| (usd * 1e4).round() / 1e4;
    let lines = bill.lines.iter().map(|line| {
        let price = &prices.prices[line.price];
        json!({
            "service": line.service, "what": line.what, "amount": line.amount, "unit": price.unit,
            "usd": cents(line.usd), "fixed": line.fixed,
            "price": { "usd": price.usd, "per": price.per, "source": price.source, "read": price.read },
        })
    });
    let alternatives = prices.alternatives.iter().map(|other| {
        json!({ "name": other.name, "usd": cents(other.usd(month.messages)), "source": other.source, "read": other.read })
    });
    let answer = json!({
        "month": {
            "messages": month.messages, "endpoints": month.endpoints, "failure_rate": month.failures,
            "message_days": month.kept.messages, "payload_days": month.kept.payloads, "attempt_days": month.kept.attempts,
            "payload_kb": month.payload_kb, "batch": month.batch, "ingest": month.ingest,
            "posted_together": month.posted, "messages_url": month.direct, "attempts": bill.attempts,
            "accept_ms": month.accept_ms, "delivery_ms": month.delivery_ms, "memory_mb": month.memory_mb,
            "deliver_memory_mb": month.deliver_memory_mb,
        },
        "region": prices.region,
        "as_of": prices.as_of,
        "lines": lines.collect::<Vec<Value>>(),
        "total_usd": cents(bill.total()),
        "fixed_usd": cents(bill.fixed()),
        "usd_per_million_messages": million(bill).map(cents),
        "alternatives": alternatives.collect::<Vec<Value>>(),
    });
    format!("{answer:#}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::month;
    use super::super::{Kept, Line, bill};
    use super::*;

    #[test]
    fn the_document_shows_what_the_calculator_says() {
        let document = include_str!("../../../docs/COST.md");
        let bill = bill(month()).unwrap();
        // What does not depend on messages changes with the template.
        let is_of =
            |row: &str, line: &Line| row.starts_with(&format!("{:<16} {:<31} ", line.service, line.what));
        let of_messages = |row: &&str| bill.lines.iter().any(|line| !line.fixed && is_of(row, line));
        let table = table(&bill);
        let rows: Vec<&str> = table.lines().filter(of_messages).collect();
        assert!(rows.len() > 10, "{table}");
        let missing: Vec<&&str> = rows.iter().filter(|row| !document.contains(**row)).collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn the_document_compares_three_volumes_as_the_calculator_does() {
        let document = include_str!("../../../docs/COST.md");
        let retention = |days: f64| Kept { messages: days, payloads: days, attempts: days };
        for month in [
            month(),
            Month { kept: retention(30.0), ..month() },
            Month { kept: retention(30.0), recovery: false, ..month() },
        ] {
            let volumes = volumes(month).unwrap();
            assert!(document.contains(&volumes), "{volumes}");
        }
    }

    #[test]
    fn one_price_is_said() {
        let bill = bill(month()).unwrap();
        let said = format!(
            "about ${:.0} per million messages, plus about ${:.0} a month of fixed charges",
            million(&bill).unwrap(),
            bill.fixed()
        );
        for document in [include_str!("../../../README.md"), include_str!("../../../docs/COST.md")] {
            let text = document.replace('\n', " ");
            assert!(text.contains(&said), "a document does not say: {said}");
            assert!(!text.contains("next to nothing"));
        }
    }

    #[test]
    fn digits_are_grouped() {
        for (value, decimals, text) in
            [(0.0, 2, "0.00"), (999.0, 0, "999"), (1000.0, 0, "1,000"), (1234567.891, 2, "1,234,567.89")]
        {
            assert_eq!(grouped(value, decimals), text);
        }
    }
}
