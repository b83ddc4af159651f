//! What payload filters cost: each kind of rule, and an application with a thousand endpoints that have one.
//!
//! `cargo bench -p domain --bench filters --profile bench-local`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use domain::payload_filter::{PayloadFilter, PayloadView};

/// How often each measurement is repeated; the median counts.
const ROUNDS: usize = 21;
/// How often a filter is asked in one of them.
const TIMES: u32 = 10_000;
const ENDPOINTS: usize = 1_000;

/// Of some 500 bytes, as an event of a shop.
const PAYLOAD: &str = r#"{"id":"in_31NQ9dyjYCcJ3RxLvYJTnWmYvTt","type":"invoice.paid","created":"2026-11-29T12:00:00Z",
"customer":{"id":"c1","name":"Ada Lovelace","region":"eu-central-1","address":{"ip":"10.1.2.3","city":"London"}},
"amount":1200,"currency":"EUR","tags":["first","large"],"lines":[{"sku":"SKU-1","quantity":3,"price":125.5},
{"sku":"SKU-2","quantity":1,"price":900}],"note":"paid with the second reminder, by transfer"}"#;

/// A name, and a filter that the payload passes: none ends early.
const RULES: [(&str, &str); 10] = [
    ("an exact value", r#"{"currency":["USD","EUR"]}"#),
    ("prefix", r#"{"customer":{"region":[{"prefix":"eu-"}]}}"#),
    ("suffix", r#"{"customer":{"region":[{"suffix":"-1"}]}}"#),
    ("anything-but", r#"{"currency":[{"anything-but":["USD","GBP"]}]}"#),
    ("numeric", r#"{"amount":[{"numeric":[">=",1000,"<",5000]}]}"#),
    ("exists", r#"{"refund":[{"exists":false}]}"#),
    ("equals-ignore-case", r#"{"customer":{"address":{"city":[{"equals-ignore-case":"LONDON"}]}}}"#),
    ("cidr", r#"{"customer":{"address":{"ip":[{"cidr":"10.0.0.0/8"}]}}}"#),
    ("wildcard", r#"{"note":[{"wildcard":"paid*second*transfer"}]}"#),
    ("$or", r#"{"$or":[{"amount":[{"numeric":[">",5000]}]},{"tags":["large"]}]}"#),
];

fn median(mut round: impl FnMut() -> Duration) -> Duration {
    let mut took: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    took.sort_unstable();
    took[ROUNDS / 2]
}

fn main() {
    // A filter that asks for one field of the first level alone: what it takes is reading the payload.
    let first = PayloadFilter::parse(r#"{"id":[{"exists":true}]}"#).expect("a filter");
    let read = median(|| {
        let began = Instant::now();
        for _ in 0..1_000 {
            black_box(first.matches(&PayloadView::new(black_box(PAYLOAD))));
        }
        began.elapsed() / 1_000
    });
    println!("reading a payload of {} bytes, once for all filters: {} ns", PAYLOAD.len(), read.as_nanos());
    let view = PayloadView::new(PAYLOAD);
    for (name, pattern) in RULES {
        let filter = PayloadFilter::parse(pattern).expect("a filter");
        assert!(filter.matches(&view), "{name}");
        let took = median(|| {
            let began = Instant::now();
            for _ in 0..TIMES {
                black_box(black_box(&filter).matches(black_box(&view)));
            }
            began.elapsed()
        });
        println!("{name}: {:.0} ns", took.as_secs_f64() * 1e9 / f64::from(TIMES));
    }
    // Each is another's filter, so that no two are alike; a hundredth of them wants the payload.
    let filters: Vec<PayloadFilter> = (0..ENDPOINTS)
        .map(|nth| {
            let region = if nth % 100 == 0 { "eu-" } else { "us-" };
            let text = format!(
                r#"{{"customer":{{"region":[{{"prefix":"{region}"}}]}},"amount":[{{"numeric":[">",{}]}}]}}"#,
                nth % 1_000
            );
            PayloadFilter::parse(&text).expect("a filter")
        })
        .collect();
    let mut wanted = 0;
    let all = median(|| {
        let began = Instant::now();
        let view = PayloadView::new(PAYLOAD);
        wanted = filters.iter().filter(|filter| filter.matches(&view)).count();
        began.elapsed()
    });
    println!(
        "{ENDPOINTS} endpoints with two rules each, reading included: {} µs, {wanted} want it",
        all.as_micros()
    );
    let compiled = median(|| {
        let began = Instant::now();
        for filter in &filters {
            black_box(PayloadFilter::parse(filter.text()).expect("a filter"));
        }
        began.elapsed()
    });
    println!("reading those filters, as an instance does once: {} µs", compiled.as_micros());
}
