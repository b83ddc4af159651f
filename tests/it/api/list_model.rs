//! Every list against a plain model of it, in pages of every kind: a seeded random choice of filters,
//! limits, directions, times and iterators over thousands of entries.
//!
//! `POSTRIDER_TEST_LIST_PAGES` sets how many pages are compared, `POSTRIDER_TEST_SEED` the seed.

mod dice;
mod fill;
mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared::clock::{Clock, Sleep, Timestamp};
use shared::ids::{AppId, EndpointId, Id as _, Ksuid, MessageId};
use shared::store::Store;

use dice::Dice;
use fill::{all, by_endpoint, by_message, configuration, message, messages};
use model::{Ask, Row, model};

use crate::test_stack::{TestStack, settings};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Far from the machine's own time, so that nothing depends on it.
const START: u64 = 2_200_000_000_000;
/// The contract's longest span of a query.
const WINDOW: u64 = 90 * DAY;
/// The most that one page may cost, in read units.
const UNITS_MAX: f64 = 400.0;

/// Stands where it is set.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, wait: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(wait))
    }
}

/// A stack whose clock a test sets.
async fn stack() -> (TestStack, Arc<Hand>, Store) {
    let clock = Arc::new(Hand(AtomicU64::new(START - 10 * DAY)));
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let variables = stack.stack.environment("messages").expect("its environment").clone();
    let env = shared::config::Env::new(|name| variables.get(name).cloned());
    let store = stack.stack.platform().store(&env).expect("a store");
    (stack, clock, store)
}

fn variable(name: &str) -> Option<u64> {
    let text = shared::config::Env::process().optional(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} should be a number")))
}

/// INV-32
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "how much was tried is the result")]
async fn every_page_is_the_models() {
    let seed = variable("POSTRIDER_TEST_SEED").unwrap_or(20_261_107);
    let pages = variable("POSTRIDER_TEST_LIST_PAGES").unwrap_or(250);
    let mut dice = Dice(seed);
    let (stack, clock, store) = stack().await;
    let app: AppId = stack.app().await.parse().expect("an id");
    let other: AppId = stack.app().await.parse().expect("an id");
    let [applications, endpoints, types] =
        configuration(&mut dice, &stack, &store, &clock, [app, other]).await;
    let ids: Vec<EndpointId> = endpoints.rows.keys().map(|id| id.parse().expect("an id")).collect();
    let lists = [
        messages(&mut dice, &store, other).await,
        by_endpoint(&mut dice, &store, app, ids[0]).await,
        by_message(&mut dice, &store, app, &ids[1..]).await,
        applications,
        endpoints,
        types,
    ];

    let (mut compared, mut parts, mut entries, mut refused) = (0, 0, 0, 0);
    let mut dearest = 0f64;
    while compared < pages {
        // The two lists over shards are the ones with the most to go wrong.
        let list = &lists[dice.below(9).saturating_sub(3) as usize];
        let now = list.until.min(START + 20 * DAY + dice.below(200 * DAY));
        clock.0.store(now, Ordering::SeqCst);
        let ask = Ask::roll(&mut dice, list, now);
        let mut iterator = dice.one_in(2).then(|| {
            let id = list.any_id(&mut dice);
            let sign = if dice.one_in(2) {
                "-"
            } else if id.starts_with('-') {
                "~"
            } else {
                ""
            };
            format!("{sign}{id}")
        });
        for _ in 0..4 {
            let path = format!("/api/v1{}?{}", list.path, ask.query(list, iterator.as_deref()));
            let before = stack.stack.usage().read_units;
            let answer = stack.request("GET", &path, &stack.token, "").await;
            let told =
                || format!("POSTRIDER_TEST_SEED={seed}, page {compared}: {now} {path}: {}", answer.status);
            let future = [ask.before, ask.after].iter().flatten().any(|at| *at > now + HOUR);
            if future {
                assert_eq!(answer.status, 422, "{}", told());
                refused += 1;
                break;
            }
            assert_eq!(answer.status, 200, "{}: {}", told(), answer.text);
            let cost = stack.stack.usage().read_units - before;
            dearest = dearest.max(cost);
            assert!(cost < UNITS_MAX, "{}: {cost} read units", told());
            let answer = answer.json();
            match model(list, &ask, iterator.as_deref(), now).check(&answer) {
                Ok(part) => parts += u64::from(part),
                Err(wrong) => panic!("{}: {wrong}", told()),
            }
            compared += 1;
            entries += answer["data"].as_array().map_or(0, Vec::len);
            let way = if dice.one_in(3) { "prevIterator" } else { "iterator" };
            match answer[way].as_str() {
                Some(next) => iterator = Some(next.to_owned()),
                None => break,
            }
        }
    }
    let rows: usize = lists.iter().map(|list| list.rows.len()).sum();
    println!(
        "{compared} pages with {entries} entries out of {rows} are the model's ({parts} cut short, {refused} \
         refused, at most {dearest} read units)"
    );
}

/// Follows the iterators to the end, and says what was seen in which order. With `from` it walks backwards
/// from there.
async fn walk(
    stack: &TestStack,
    path: &str,
    from: Option<MessageId>,
    mut between: impl AsyncFnMut(),
) -> Vec<String> {
    let way = if from.is_some() { "prevIterator" } else { "iterator" };
    let (mut seen, mut iterator) = (Vec::new(), from.map(|id| format!("-{id}")));
    loop {
        let at = iterator.map(|iterator| format!("&iterator={iterator}")).unwrap_or_default();
        let page = stack.request("GET", &format!("{path}{at}"), &stack.token, "").await.json();
        let mut ids: Vec<String> = page["data"]
            .as_array()
            .expect("data")
            .iter()
            .map(|entry| entry["id"].as_str().expect("an id").to_owned())
            .collect();
        if way == "prevIterator" {
            ids.reverse();
        }
        seen.append(&mut ids);
        if page["done"] == true {
            return seen;
        }
        iterator = Some(page[way].as_str().expect("a way on").to_owned());
        between().await;
    }
}

/// INV-32
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_shows_each_old_entry_once_while_others_come() {
    let mut dice = Dice(7);
    let (stack, clock, store) = stack().await;
    let app: AppId = stack.app().await.parse().expect("an id");
    clock.0.store(START + 60 * DAY, Ordering::SeqCst);
    let mut old: Vec<MessageId> =
        (0..150).map(|_| MessageId::from_ksuid(dice.ksuid_within(60 * DAY))).collect();
    let row = Row { event_type: "type.0".into(), ..Row::default() };
    all(old.iter().map(async |id| message(&store, app, *id, &row, Vec::new()).await)).await;
    old.sort();
    old.reverse();
    let old: Vec<String> = old.iter().map(MessageId::to_string).collect();
    let mut late = Vec::new();
    for limit in [3, 50] {
        let path = format!("/api/v1/app/{app}/msg?limit={limit}&with_content=false");
        let seen = walk(&stack, &path, None, async || {
            for _ in 0..3 {
                // New ones, and some that arrive late with an older time.
                let at = START + if dice.one_in(2) { 60 * DAY + HOUR / 2 } else { dice.below(60 * DAY) };
                let id = MessageId::from_ksuid(dice.ksuid(at));
                message(&store, app, id, &row, Vec::new()).await;
                late.push(id.to_string());
            }
        })
        .await;
        let kept: Vec<&String> = seen.iter().filter(|id| !late.contains(id)).collect();
        assert!(kept.iter().copied().eq(old.iter()), "limit {limit}");
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "limit {limit}: repeated");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "what it costs is the result")]
async fn a_filter_that_finds_little_leads_on() {
    let mut dice = Dice(11);
    let (stack, clock, store) = stack().await;
    let app: AppId = stack.app().await.parse().expect("an id");
    let mut rows: Vec<(MessageId, Row)> = Vec::new();
    for nth in 0..2_300 {
        let id = MessageId::from_ksuid(dice.ksuid_within(80 * DAY));
        let rare = nth % 1_000 == 0;
        rows.push((id, Row { event_type: if rare { "rare" } else { "type.0" }.into(), ..Row::default() }));
    }
    all(rows.iter().map(async |(id, row)| message(&store, app, *id, row, Vec::new()).await)).await;
    let mut rare: Vec<String> =
        rows.iter().filter(|(_, row)| row.event_type == "rare").map(|(id, _)| id.to_string()).collect();
    rare.sort();
    clock.0.store(START + 80 * DAY, Ordering::SeqCst);
    let path = format!("/api/v1/app/{app}/msg?event_types=rare&with_content=false");
    let mut requests = 1;
    let mut seen = walk(&stack, &path, None, async || requests += 1).await;
    seen.reverse();
    assert_eq!((&seen, requests), (&rare, 3));
    // The other way, from before everything: the window of an id is 90 days long.
    let first = MessageId::from_ksuid(Ksuid::new(Timestamp::from_ms(START - DAY), [0; 15]));
    let mut requests = 1;
    let seen = walk(&stack, &path, Some(first), async || requests += 1).await;
    assert_eq!((&seen, requests), (&rare, 3));

    let usage = stack.stack.usage();
    stack.request("GET", &format!("/api/v1/app/{app}/msg"), &stack.token, "").await;
    let now = stack.stack.usage();
    let (requests, units) = (now.requests - usage.requests, now.read_units - usage.read_units);
    println!("a page of 50 messages: {requests} requests, {units} read units");
    assert!(units <= 12.0, "{units} read units for a page of 50");
}
