//! The calculator, counted by hand.

use super::*;

pub(super) fn month() -> Month {
    let (_, units) = data::read().unwrap();
    Month {
        messages: 1e6,
        endpoints: 1.0,
        failures: 0.0,
        payload_kb: 1.0,
        batch: 1.0,
        keys: true,
        posted: 1.0,
        direct: false,
        ingest: false,
        tracing: false,
        customer_key: false,
        provisioned: false,
        recovery: true,
        kept: Kept::from(Retention::default()),
        accept_ms: units.assumed.accept_ms,
        delivery_ms: units.assumed.delivery_ms,
        memory_mb: data::memory_mb("HttpMemory").unwrap(),
        deliver_memory_mb: data::memory_mb("DeliverMemory").unwrap(),
    }
}

fn usd(bill: &Bill, service: &str, what: &str) -> f64 {
    let line = bill.lines.iter().find(|line| line.service == service && line.what == what);
    line.map_or(0.0, |line| round(line.usd))
}

fn round(usd: f64) -> f64 {
    (usd * 1000.0).round() / 1000.0
}

#[test]
fn a_million_messages_by_hand() {
    let bill = bill(month()).unwrap();
    assert!((bill.attempts - 1e6).abs() < 0.5);
    // Three write units, two read units, three requests to SQS.
    assert_eq!(usd(&bill, "DynamoDB", "writes"), 1.875);
    assert_eq!(usd(&bill, "DynamoDB", "reads"), 0.25);
    assert_eq!(usd(&bill, "SQS", "requests"), 1.2);
    assert_eq!(usd(&bill, "API Gateway", "requests"), 1.0);
    assert_eq!(usd(&bill, "Lambda", "invocations"), 0.4);
    // A quarter of a GB for 20 ms, and an eighth for 209: 1.3 ms of a processor take 9 ms longer there.
    assert_eq!(usd(&bill, "Lambda", "time"), 0.415);
    let other = |mb| usd(&super::bill(Month { deliver_memory_mb: mb, ..month() }).unwrap(), "Lambda", "time");
    assert_eq!(other(256.0), 0.733);
    // With one whole processor and more, nothing is faster.
    assert!((other(3538.0) - 0.067) / (other(1769.0) - 0.067) > 1.99);
    assert_eq!(usd(&bill, "X-Ray", "traces, at most"), 0.0);
}

#[test]
fn a_million_messages_by_the_queue_by_hand() {
    let one = bill(Month { ingest: true, ..month() }).unwrap();
    // Each sent, received and deleted by itself: the API's price is gone, and three requests are there.
    assert_eq!((usd(&one, "API Gateway", "requests"), usd(&one, "SQS", "requests of ingest")), (0.0, 1.2));
    assert_eq!((usd(&one, "SQS", "requests"), usd(&one, "DynamoDB", "writes")), (1.2, 1.25));
    let ten = bill(Month { ingest: true, batch: 10.0, ..month() }).unwrap();
    assert_eq!(usd(&ten, "SQS", "requests of ingest"), 0.12);
    // Of the application's two reads, each is for ten.
    assert_eq!(usd(&ten, "DynamoDB", "reads"), 0.025);
    assert_eq!((usd(&ten, "DynamoDB", "writes"), usd(&ten, "Lambda", "invocations")), (1.25, 0.04));
    let api = bill(Month { batch: 10.0, ..month() }).unwrap();
    assert!(ten.total() < api.total() - 2.4, "{} and {}", ten.total(), api.total());
    // It needs no key.
    let without = bill(Month { ingest: true, keys: false, ..month() }).unwrap();
    assert!((without.total() - one.total()).abs() < 1e-9);
}

#[test]
fn messages_of_one_request_share_its_price_and_an_address_of_its_own_has_none() {
    let with = |posted, direct| bill(Month { posted, direct, batch: 10.0, keys: false, ..month() }).unwrap();
    let (one, ten, direct, both) = (with(1.0, false), with(10.0, false), with(1.0, true), with(10.0, true));
    // 0.1 requests, and a batch of jobs for each.
    assert_eq!(usd(&ten, "API Gateway", "requests"), 0.1);
    assert_eq!((usd(&one, "Lambda", "invocations"), usd(&ten, "Lambda", "invocations")), (0.22, 0.04));
    // The application is read once for ten that are accepted, and once for ten that are delivered.
    assert_eq!((usd(&one, "DynamoDB", "reads"), usd(&ten, "DynamoDB", "reads")), (0.25, 0.025));
    assert_eq!(usd(&ten, "DynamoDB", "writes"), usd(&one, "DynamoDB", "writes"));
    // Sent, received and deleted: 1, 0.1, 0.1, and 0.1 of each.
    assert_eq!((usd(&one, "SQS", "requests"), usd(&ten, "SQS", "requests")), (0.48, 0.12));
    assert_eq!(usd(&ten, "Data transfer", "to the internet"), usd(&one, "Data transfer", "to the internet"));
    // Alarms look at its four metrics.
    assert!((one.total() - direct.total() - 1.0 + 0.4).abs() < 1e-9);
    assert!((ten.total() - both.total() - 0.1 + 0.4).abs() < 1e-9);
    // A batch of deliveries that is smaller than a request reads more often.
    let small = bill(Month { posted: 10.0, batch: 2.0, keys: false, ..month() }).unwrap();
    assert_eq!(usd(&small, "DynamoDB", "reads"), round((0.1 + 0.5) * 0.125));
}

#[test]
fn an_alarm_costs_by_the_metrics_that_it_looks_at() {
    let watched = |month| {
        let bill = bill(month).unwrap();
        bill.lines.iter().find(|line| line.price == "alarm").unwrap().amount
    };
    // Each says its metrics' namespaces; what a filter of a log makes has one, too.
    let parts = PARTS.concat();
    let named = parts.matches(" Namespace: ").count() as f64;
    assert!(named > parts.matches("Type: AWS::CloudWatch::Alarm").count() as f64);
    assert_eq!(watched(Month { direct: true, ..month() }), named);
    assert_eq!(watched(month()), named - 4.0);
}

#[test]
fn an_instance_writes_a_line_each_ten_seconds() {
    // Of two functions, each with one instance that is always there; and five bytes for each latency.
    let million = bill(month()).unwrap();
    let ten_seconds = 30.0 * 24.0 * 360.0;
    assert_eq!(usd(&million, "CloudWatch", "logs"), round((2.0 * ten_seconds * 340.0 + 5e6) / 1e9 * 0.5));
    // So seldom that each invocation writes its own.
    let few = bill(Month { messages: 1e5, ..month() }).unwrap();
    assert_eq!(usd(&few, "CloudWatch", "logs"), round((2e5 * 340.0 + 5e5) / 1e9 * 0.5));
    // 0.77 of an instance accept and 7.7 deliver at once; with three deviations, 4 and 17.
    let many = bill(Month { messages: 1e8, ..month() }).unwrap();
    assert_eq!(usd(&many, "CloudWatch", "logs"), round((21.0 * ten_seconds * 340.0 + 5e8) / 1e9 * 0.5));
}

#[test]
fn keys_are_stored_for_twelve_hours_and_the_log_for_ninety_days() {
    let line = |month, what| usd(&bill(month).unwrap(), "DynamoDB", what);
    // Bytes of a million for so many days, and two more for their removal.
    let cents = |bytes: f64, days: f64| round(bytes / 1000.0 * (days + 2.0) / 30.0 * 0.25);
    assert_eq!(line(month(), "messages, kept for 90 days"), cents(423.0, 90.0));
    assert_eq!(line(month(), "attempts, kept for 90 days"), cents(226.0, 90.0));
    assert_eq!(line(month(), "keys, kept for 12 hours"), cents(221.0, 0.5));
    let short = Kept { attempts: 14.0, ..Kept::from(Retention::default()) };
    assert_eq!(line(Month { kept: short, ..month() }, "attempts, kept for 14 days"), cents(226.0, 14.0));
    assert_eq!(line(Month { recovery: false, ..month() }, "point-in-time recovery"), 0.0);
}

#[test]
fn a_payload_that_goes_before_its_message_is_a_write_of_its_own() {
    let apart = Month { kept: Kept { payloads: 7.0, ..Kept::from(Retention::default()) }, ..month() };
    let (apart, together) = (bill(apart).unwrap(), bill(month()).unwrap());
    assert_eq!(usd(&apart, "DynamoDB", "writes"), usd(&together, "DynamoDB", "writes") + 0.625);
    let messages = |bill| usd(bill, "DynamoDB", "messages, kept for 90 days");
    assert!(messages(&apart) < messages(&together));
    assert!(usd(&apart, "DynamoDB", "payloads, kept for 7 days") > 0.0);
    assert_eq!(usd(&together, "DynamoDB", "payloads, kept for 90 days"), 0.0);
}

#[test]
fn failures_walk_the_schedule() {
    let (_, units) = data::read().unwrap();
    let of = |failures| chain(&RetryPolicy::default(), failures, &units);
    assert!((of(0.0).attempts - 1.0).abs() < 1e-9);
    assert!((of(0.5).attempts - (2.0 - 0.5_f64.powi(7))).abs() < 1e-9);
    // All fail: two retries by the queue, five by timers.
    let all = of(1.0);
    assert!((all.attempts - 8.0).abs() < 1e-9);
    // And each retry marks the minute of its message, to be counted again.
    assert!((all.taken.write_units - (8.0 * 2.0 + 5.0 * 2.0 + 7.0)).abs() < 1e-9, "{all:?}");
    assert!((all.taken.read_units - (1.0 + 2.0 * 3.0 + 5.0 * 4.0)).abs() < 1e-9, "{all:?}");
    assert!((all.taken.sqs_sends - 7.0).abs() < 1e-9, "{all:?}");
}

#[test]
fn nothing_sent_costs_what_is_fixed() {
    let bill = bill(Month { messages: 0.0, ..month() }).unwrap();
    assert!((bill.total() - bill.fixed()).abs() < 1e-9);
    assert!(bill.fixed() > 0.0 && bill.fixed() < 25.0, "{}", bill.fixed());
}

#[test]
fn more_of_anything_costs_more() {
    let total = |month| bill(month).unwrap().total();
    let base = total(month());
    for more in [
        Month { endpoints: 1.5, ..month() },
        Month { failures: 0.1, ..month() },
        Month { payload_kb: 20.0, ..month() },
        Month { tracing: true, ..month() },
        Month { customer_key: true, ..month() },
        Month { delivery_ms: 900.0, ..month() },
    ] {
        assert!(total(more) > base, "{more:?}");
    }
    assert!(total(Month { batch: 10.0, ..month() }) < base);
    assert!(total(Month { keys: false, ..month() }) < base);
    assert!(
        total(Month { payload_kb: 49.0, ..month() }) > total(Month { payload_kb: 47.0, ..month() }) * 0.9
    );
}

#[test]
fn capacity_costs_its_least_and_then_follows_the_load() {
    let of = |messages, provisioned| bill(Month { messages, provisioned, ..month() }).unwrap();
    // 30 units for 720 hours.
    let least = usd(&of(1e6, true), "DynamoDB", "write capacity");
    assert_eq!(least, 14.04);
    assert_eq!(usd(&of(0.0, true), "DynamoDB", "write capacity"), least);
    // 300 million writes in 2,592,000 seconds, of which 70 % are used.
    let many = usd(&of(1e8, true), "DynamoDB", "write capacity");
    assert!((many - (3e8 / 2_592_000.0 / 0.7 + 5.0) * 720.0 * 0.00065).abs() < 0.01, "{many}");
    let edge = pays_from(month()).unwrap();
    for (messages, cheaper) in [(edge * 0.9, false), (edge * 1.1, true), (1e9, true)] {
        assert_eq!(of(messages, true).total() < of(messages, false).total(), cheaper, "{messages}");
    }
}

#[test]
fn every_price_is_used_and_says_where_it_is_from() {
    let everything = Month { tracing: true, customer_key: true, ..month() };
    let mut bill = bill(everything).unwrap();
    bill.lines.extend(super::bill(Month { provisioned: true, ..everything }).unwrap().lines);
    for (name, price) in &bill.prices.prices {
        assert!(
            price.source.starts_with("https://") && price.read.starts_with(char::is_alphanumeric),
            "{name}"
        );
        let used = bill.lines.iter().any(|line| line.price == name);
        // A template without alarms or dashboards has no lines for them.
        assert!(used || ["alarm", "dashboard"].contains(&name.as_str()), "{name}");
    }
}
