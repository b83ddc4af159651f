//! How deliveries stand: counted once, and again what has changed.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::{Clock as _, Timestamp};
use shared::ids::{EndpointId, Id as _, Ksuid, MessageId};
use shared::store::Store;
use shared::store::attempts::{State as DeliveryState, Status};

use crate::test_stack::{Ahead, Still, TestStack, settings};

async fn house_with_clock() -> (TestStack, Arc<Ahead>) {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    (TestStack::with(settings).await, clock)
}

/// Where a test writes states by itself: connected as the function that delivers is.
fn store(stack: &TestStack) -> Store {
    let variables = stack.stack.environment("deliver").expect("its environment");
    let env = shared::config::Env::new(|name| variables.get(name).cloned());
    stack.stack.platform().store(&env).expect("it connects")
}

fn state(endpoint: EndpointId, at: Timestamp, nth: u8, status: Status) -> DeliveryState {
    let message = MessageId::from_ksuid(Ksuid::new(at, [nth; 15]));
    let (next, by_hand) = (None, Vec::new());
    DeliveryState {
        endpoint,
        message,
        status,
        due: vec![at],
        next,
        stopped: false,
        by_hand,
        delivered_by_hand: false,
        canceled: false,
        first: None,
    }
}

async fn stats(stack: &TestStack, path: &str, since: Timestamp, until: Timestamp) -> Value {
    let path =
        format!("{path}?since={}&until={}", json!(since).as_str().unwrap(), json!(until).as_str().unwrap());
    let answer = stack.request("GET", &path, &stack.token, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

/// INV-34
#[tokio::test(flavor = "multi_thread")]
async fn stats_are_what_a_plain_count_says_and_old_hours_are_counted_once() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (stack, clock) = house_with_clock().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let (path, id) =
        (format!("/api/v1/app/{app}/endpoint/{endpoint}/stats"), endpoint.parse::<EndpointId>().unwrap());
    let (store, now) = (store(&stack), stack.stack.platform().clock.now());
    // One state each 37 minutes of ten days; only young ones are still under way.
    let mut model = Vec::new();
    for nth in 0..390_u16 {
        let at = now.before(Duration::from_secs(u64::from(nth) * 37 * 60 + 30));
        let status = match (nth % 5, nth < 90) {
            (0, true) => Status::Pending,
            (1, true) => Status::Sending,
            (2, _) => Status::Fail,
            _ => Status::Success,
        };
        let state = state(id, at, (nth % 251) as u8, status);
        assert!(store.advance(&state).await.unwrap());
        model.push((state.message, status));
    }
    let plain = |since: Timestamp, until: Timestamp| {
        let count = |wanted| {
            let within = |at: Timestamp| at >= since && at < until;
            model.iter().filter(|(message, status)| *status == wanted && within(message.time())).count()
        };
        json!({
            "success": count(Status::Success), "pending": count(Status::Pending),
            "sending": count(Status::Sending), "fail": count(Status::Fail), "canceled": 0,
        })
    };
    // Twice: counted, and then read from what was kept.
    for _ in 0..2 {
        for (from, to) in [
            (28 * 24, 0),
            (10 * 24, 3 * 24),
            (9 * 24, 8 * 24),
            (7 * 24 + 5, 2 * 24 + 7),
            (30, 0),
            (1, 0),
            (5, 5),
        ] {
            let (since, until) = (now.before(HOUR * from), now.before(HOUR * to));
            assert_eq!(
                stats(&stack, &path, since, until).await,
                plain(since, until),
                "{from} to {to} hours ago"
            );
        }
    }
    let all = stack.request("GET", &path, &stack.token, "").await.json();
    assert_eq!(all, plain(now.before(HOUR * 28 * 24), now));
    let sdk = stack.svix.endpoint().get_stats(app.clone(), endpoint.clone(), None).await.unwrap();
    assert_eq!(json!([sdk.success, sdk.fail]), json!([all["success"], all["fail"]]));

    // What is kept holds until it is marked: a failure of long ago that was sent again by hand.
    // No invocation that has marked a minute lives any longer.
    clock.skip(Duration::from_secs(600));
    let (since, until) = (now.before(HOUR * 8 * 24), now.before(HOUR * 4 * 24));
    let is_old = |message: &MessageId| {
        message.time() > since.after(HOUR * 36) && message.time() < until.before(HOUR * 36)
    };
    let (failed, _) =
        *model.iter().find(|(message, status)| *status == Status::Fail && is_old(message)).unwrap();
    let before = stats(&stack, &path, since, until).await;
    let table = stack.stack.table("LogTable").unwrap();
    let key = |name: String| aws_sdk_dynamodb::types::AttributeValue::S(name);
    let change = stack.stack.dynamodb().update_item().table_name(table);
    let shard = shared::store::keys::shard(failed);
    let change =
        change.key("pk", key(format!("EP#{endpoint}#{shard:x}"))).key("sk", key(format!("MSG#{failed}")));
    let one = aws_sdk_dynamodb::types::AttributeValue::N("1".into());
    let change = change.update_expression("SET ms = :one").expression_attribute_values(":one", one);
    change.send().await.unwrap();
    assert_eq!(stats(&stack, &path, since, until).await, before);
    store.mark_counts(id, failed).await.unwrap();
    let after = stats(&stack, &path, since, until).await;
    let number = |counts: &Value, name: &str| counts[name].as_u64().unwrap();
    assert_eq!(number(&after, "success"), number(&before, "success") + 1);
    assert_eq!(number(&after, "fail"), number(&before, "fail") - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_stats_have_rules() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/stats");
    for (query, status, name) in [
        ("since=yesterday", 400, ""),
        ("until=2999-01-01T00:00:00Z", 422, "until"),
        ("since=2999-01-01T00:00:00Z", 422, "since"),
        ("since=2020-01-01T00:00:00Z", 400, ""),
        ("since=2020-01-01T00:00:00Z&until=2020-01-29T00:00:01Z", 400, ""),
        ("since=2020-01-02T00:00:00Z&until=2020-01-01T00:00:00Z", 422, "since"),
        ("since=2020-01-01T00:00:00Z&until=2020-01-29T00:00:00Z", 200, ""),
        ("until=2020-01-29T00:00:00Z", 200, ""),
    ] {
        let answer = stack.request("GET", &format!("{path}?{query}"), &stack.token, "").await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text);
        if !name.is_empty() {
            assert_eq!(answer.json()["detail"][0]["loc"], json!(["query", name]), "{query}");
        }
    }
}

/// What was written, and so what has to be counted.
#[derive(Default)]
struct Model(std::collections::BTreeMap<MessageId, DeliveryState>);

impl Model {
    async fn write(&mut self, store: &Store, state: DeliveryState) {
        assert!(store.advance(&state).await.expect("it is written"));
        self.0.insert(state.message, state);
    }

    fn counts(&self, since: Timestamp, until: Timestamp) -> [u64; 3] {
        let mut counts = [0; 3];
        let within = |at: Timestamp| at >= since && at < until;
        for state in self.0.values().filter(|state| within(state.message.time())) {
            counts[state.status as usize] += 1;
        }
        counts
    }
}

/// The counts of a series, hour by hour.
fn points(series: &Value) -> Vec<[u64; 3]> {
    let number = |point: &Value, name: &str| point[name].as_u64().expect("a number");
    let points = series["points"].as_array().expect("points").iter();
    points.map(|point| ["success", "pending", "fail"].map(|name| number(point, name))).collect()
}

/// INV-34
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_counted_again_at_whatever_time_it_is_asked_for() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (stack, clock) = house_with_clock().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let id = endpoint.parse::<EndpointId>().unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/stats");
    let (store, began) = (store(&stack), clock.now());
    let mut random = fastrand::Rng::with_seed(7);
    let mut model = Model::default();
    let mut nth = 0;
    while clock.now().since(began) < HOUR * 9 {
        clock.skip(Duration::from_secs(random.u64(1..400)));
        for _ in 0..random.u8(0..4) {
            nth += 1;
            let status = [Status::Success, Status::Pending, Status::Fail][random.usize(0..3)];
            // Now and then one that waited for its first attempt.
            let at =
                clock.now().before(Duration::from_secs(if random.bool() { 0 } else { random.u64(0..4_000) }));
            model.write(&store, state(id, at, nth, status)).await;
        }
        let pending = model.0.values().filter(|state| state.status == Status::Pending).cloned();
        let pending: Vec<_> = pending.collect();
        if let Some(some) = random.choice(&pending) {
            let status = [Status::Success, Status::Pending, Status::Fail][random.usize(0..3)];
            let mut due = some.due.clone();
            due.push(clock.now());
            model.write(&store, DeliveryState { status, due, ..some.clone() }).await;
        }
        if random.u8(0..4) == 0 {
            let length = Duration::from_secs(random.u64(0..30_000));
            let until = clock.now().before(Duration::from_secs(random.u64(0..9_000)));
            let since = until.before(length);
            let counted = stats(&stack, &path, since, until).await;
            let counted = ["success", "pending", "fail"].map(|name| counted[name].as_u64().unwrap());
            assert_eq!(counted, model.counts(since, until), "{since} to {until}, at {}", clock.now());
        }
    }
    // All of it, by the hour: of the endpoint, and of the application whose only one it is.
    for path in [format!("{path}/series"), format!("/api/v1/app/{app}/stats/series")] {
        let series = stack.request("GET", &path, &stack.token, "").await;
        assert_eq!(series.status, StatusCode::OK, "{}", series.text);
        let series = series.json();
        let since: Timestamp = serde_json::from_value(series["since"].clone()).expect("a time");
        assert_eq!((series["bucket"].as_str(), since.ms() % 3_600_000), (Some("hour"), 0));
        let wanted: Vec<_> = (0..25).map(|nth| since.after(HOUR * nth)).collect();
        let wanted: Vec<_> = wanted.iter().map(|at| model.counts(*at, at.after(HOUR))).collect();
        assert_eq!(points(&series), wanted);
        let days = stack.request("GET", &format!("{path}?bucket=day"), &stack.token, "").await.json();
        let sum = |points: Vec<[u64; 3]>| {
            points.iter().fold([0; 3], |sum, point| [0, 1, 2].map(|at| sum[at] + point[at]))
        };
        assert_eq!((sum(points(&days)), points(&days).len()), (sum(wanted), 2));
    }
}

/// Puts states as deliveries that arrived at once leave them: without a mark.
async fn store_many(stack: &TestStack, endpoint: EndpointId, from: Timestamp, to: Timestamp, many: u64) {
    use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
    let table = stack.stack.table("LogTable").unwrap();
    let length = to.since(from).as_millis() as u64;
    let put = |nth: u64| {
        let at = from.after(Duration::from_millis(length * nth / many));
        let mut drawn = [0; 15];
        drawn[..8].copy_from_slice(&nth.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        drawn[14] = drawn[0];
        let message = MessageId::from_ksuid(Ksuid::new(at, drawn));
        let shard = shared::store::keys::shard(message);
        let (s, n) = (AttributeValue::S, |number: u64| AttributeValue::N(number.to_string()));
        let put = PutRequest::builder()
            .item("pk", s(format!("EP#{endpoint}#{shard:x}")))
            .item("sk", s(format!("MSG#{message}")))
            .item("v", n(1))
            .item("s", n(0))
            .item("n", n(1))
            .item("t", AttributeValue::L(vec![n(at.ms())]))
            .item("ttl", n(at.seconds() + 90 * 86_400));
        WriteRequest::builder().put_request(put.build().expect("an item")).build()
    };
    for first in (0..many).step_by(25) {
        let some: Vec<_> = (first..many.min(first + 25)).map(put).collect();
        stack.stack.dynamodb().batch_write_item().request_items(table, some).send().await.expect("stored");
    }
}

/// Asks for statistics until all is counted: how many requests that took, and what the last one cost.
async fn counted(stack: &TestStack, path: &str) -> (u32, Value) {
    for nth in 1..100 {
        let answer = stack.request("GET", path, &stack.token, "").await;
        if answer.status == StatusCode::OK {
            return (nth, answer.json());
        }
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    panic!("{path}: not counted after 99 requests")
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the counts are shown")]
async fn what_was_counted_costs_nothing_to_read() {
    // Each minute that ends is counted and kept: none does between two requests.
    let clock = Arc::new(Still::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let id = endpoint.parse::<EndpointId>().unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/stats");
    let from = clock.now();
    clock.skip(Duration::from_secs(2 * 3600));
    let spent = async || {
        counted(&stack, &path).await; // once for what is new
        let before = stack.stack.ledger();
        let (_, counts) = counted(&stack, &path).await;
        let spent = stack.stack.ledger().since(&before).total(|call| call.on == "log");
        (counts["success"].as_u64(), spent.requests, spent.read_units, spent.write_units)
    };
    let (none, requests, units, written) = spent().await;
    assert_eq!((none, written), (Some(0), 0.0));
    store_many(&stack, id, from, clock.now().before(Duration::from_secs(600)), 10_000).await;
    // The reach was there before they were.
    let table = stack.stack.table("LogTable").unwrap();
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let delete = stack.stack.dynamodb().delete_item().table_name(table);
    delete.key("pk", text(&format!("EP#{endpoint}#STATS"))).key("sk", text("F")).send().await.unwrap();
    let (all, more_requests, more_units, written) = spent().await;
    assert_eq!((all, written), (Some(10_000), 0.0));
    println!(
        "statistics: {requests} requests and {units} read units of none, {more_requests} and {more_units} of 10,000"
    );
    assert!(
        more_requests <= requests && more_units <= units + 2.0,
        "{requests} {units}: {more_requests} {more_units}"
    );
}
