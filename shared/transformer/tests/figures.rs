//! How long a typical run takes, and that runs leave no memory behind. Shown with `--nocapture`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::clock::{SharedClock, SystemClock};
use serde_json::value::RawValue;
use transformer::{HEAP_MAX, Outcome, Webhook, transform};

/// Picks, renames and adds, as most transformations do.
const CODE: &str = "function handler(webhook) {\n  const { customer, lines, ...rest } = webhook.payload;\n  \
    const total = lines.reduce((sum, line) => sum + line.amount * line.quantity, 0);\n  webhook.payload = { ...rest, \
    customer: customer.name.toUpperCase(), total, at: new Date(rest.created).toISOString() };\n  webhook.headers = \
    { 'X-Customer': customer.id };\n  return webhook;\n}\n";

fn webhook() -> Webhook {
    let lines =
        vec![r#"{"sku":"a-1","amount":12.5,"quantity":3,"text":"a line of an invoice"}"#; 40].join(",");
    let payload = format!(
        r#"{{"id":"in_1","created":"2026-11-29T12:00:00Z","customer":{{"id":"c1","name":"Ada"}},"lines":[{lines}]}}"#
    );
    Webhook {
        method: "POST".into(),
        url: "https://example.com/hook".into(),
        payload: RawValue::from_string(payload).expect("JSON"),
        event_type: "invoice.paid".into(),
        channels: Vec::new(),
        env: BTreeMap::new(),
        transformations_params: None,
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are shown")]
fn a_typical_run_takes_milliseconds() {
    const RUNS: u32 = 100;
    let (clock, webhook): (SharedClock, _) = (Arc::new(SystemClock), webhook());
    let timed = |runs: u32| {
        let begun = clock.now();
        for _ in 0..runs {
            let outcome = transform(&clock, CODE, &webhook);
            assert!(matches!(outcome, Outcome::Send(_)), "{outcome:?}");
        }
        clock.now().since(begun)
    };
    let (first, further) = (timed(1), timed(RUNS));
    println!("first run: {first:?}, further ones: {:?} each", further / RUNS);
    // For machines that do much else, and code that is not optimised.
    assert!(further / RUNS < Duration::from_millis(50), "{further:?}");
}

#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::print_stdout, reason = "the figures are shown")]
fn runs_leave_no_memory_behind() {
    let clock: SharedClock = Arc::new(SystemClock);
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("the status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    };
    let greedy = "function handler() { const all = []; for (;;) all.push(new Array(100).fill({})) }";
    let before = resident();
    for _ in 0..30 {
        assert!(matches!(transform(&clock, greedy, &webhook()), Outcome::Failed { .. }));
    }
    let after = resident();
    println!("resident before {} MB, after 30 greedy runs {} MB", before >> 20, after >> 20);
    assert!(after.saturating_sub(before) < 3 * HEAP_MAX, "{before} {after}");
}
