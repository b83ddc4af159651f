//! Limits: throttled endpoints, quotas of applications, and endpoints that are given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use shared::clock::{Clock, Sleep, SystemClock, Timestamp};
use shared::config::Env;
use shared::random::Random;
use shared::store::throttles::{Limit, Limited};
use svix::models::{ApplicationIn, EndpointIn, EndpointPatch, MessageIn};

use crate::test_stack::{Ahead, Receiver, TestStack, settings};

/// A clock that stands still.
#[derive(Debug)]
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
    fn sleep(&self, wait: Duration) -> Sleep {
        SystemClock.sleep(wait)
    }
}

/// Bytes that look random, the same ones in each run: how evenly slots fall on their items is no chance.
#[derive(Debug)]
struct Same(AtomicU64);

impl Random for Same {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(step(state)));
            let [high, ..] = before.unwrap_or_default().to_be_bytes();
            *byte = high;
        }
    }
}

/// INV-37
#[tokio::test(flavor = "multi_thread")]
async fn slots_follow_each_other_whoever_takes_them() {
    let stack = TestStack::start().await;
    let variables = stack.stack.environment("deliver").expect("its environment");
    let env = Env::new(|name| variables.get(name).cloned());
    let now = SystemClock.now();
    let random: Arc<Same> = Arc::new(Same(AtomicU64::new(1)));
    let store = |at| {
        let (clock, random) = (Arc::new(Still(at)), random.clone());
        let platform = shared::Platform { clock, random, ..stack.stack.platform().clone() };
        platform.store(&env).expect("a store")
    };
    let of = Limited::Endpoint("ep_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().expect("an id"));
    let limit = Limit { of, per_second: 10 };
    // Eight instances, four slots each, at the same time: 32 slots, a tenth of a second apart.
    let stores: Vec<_> = (0..8).map(|_| store(now)).collect();
    let taken = futures_util::future::try_join_all(stores.iter().map(|store| store.reserve_slots(limit, 4)));
    let mut taken = taken.await.expect("slots").concat();
    taken.sort();
    let expected: Vec<_> = (0..32).map(|nth| now.after(Duration::from_millis(nth * 100))).collect();
    assert_eq!(taken, expected);
    // Nobody came for a minute: slots are not saved up.
    let later = now.after(Duration::from_secs(60));
    assert_eq!(
        store(later).reserve_slots(limit, 2).await.expect("slots"),
        [later, later.after(Duration::from_millis(100))]
    );
    // What is fast is spread over several items, and keeps its rate over all of them.
    let fast = Limit {
        of: Limited::Application("app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().expect("an id")),
        per_second: 2_000,
    };
    let mut furthest = now;
    for _ in 0..80 {
        furthest =
            furthest.max(*store(now).reserve_slots(fast, 100).await.expect("slots").last().expect("one"));
    }
    // 8,000 slots at 2,000 a second are four seconds, a little more on the fullest of four items.
    assert!((3_500..7_000).contains(&furthest.since(now).as_millis()), "{:?}", furthest.since(now));
}

/// INV-37
#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_endpoint_gets_everything_once_and_not_too_fast() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let slow = EndpointIn { throttle_rate: Some(4), ..EndpointIn::new(receiver.url("/slow")) };
    let slow = stack.endpoint_with(&app, slow).await;
    stack.endpoint(&app, &receiver.url("/free")).await;
    let mut sent = Vec::new();
    for nth in 0..16 {
        sent.push(stack.message(&app, MessageIn::new("a".into(), json!({"nth": nth}))).await);
    }
    stack.idle().await;
    let arrived = receiver.rest();
    for path in ["/slow", "/free"] {
        let here = arrived.iter().filter(|webhook| webhook.path == path);
        let mut ids: Vec<_> = here.map(|webhook| webhook.header("webhook-id").to_owned()).collect();
        ids.sort();
        let mut expected = sent.clone();
        expected.sort();
        assert_eq!(ids, expected, "{path}");
    }
    let list = stack
        .request("GET", &format!("/api/v1/app/{app}/attempt/endpoint/{}", slow.id), &stack.token, "")
        .await
        .json();
    let mut times: Vec<u64> = list["data"]
        .as_array()
        .expect("attempts")
        .iter()
        .map(|attempt| Timestamp::parse(attempt["timestamp"].as_str().expect("a time")).expect("a time").ms())
        .collect();
    times.sort_unstable();
    assert_eq!(times.len(), 16);
    // At four a second the last slot lies 3.75 seconds behind the first; it can be used a second early.
    assert!(times[15] - times[0] >= 2_500, "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_limit_is_shared_by_its_endpoints() {
    let stack = TestStack::start().await;
    let receiver = Receiver::start().await;
    let limited = ApplicationIn { throttle_rate: Some(3), ..ApplicationIn::new("limited".into()) };
    let app = stack.svix.application().create(limited, None).await.expect("an application").id;
    let ends = [
        stack.endpoint(&app, &receiver.url("/a")).await.id,
        stack.endpoint(&app, &receiver.url("/b")).await.id,
    ];
    for nth in 0..6 {
        stack.message(&app, MessageIn::new("a".into(), json!({"nth": nth}))).await;
    }
    stack.idle().await;
    let mut times = Vec::new();
    for end in &ends {
        let list = stack
            .request("GET", &format!("/api/v1/app/{app}/attempt/endpoint/{end}"), &stack.token, "")
            .await
            .json();
        times.extend(list["data"].as_array().expect("attempts").iter().map(|attempt| {
            Timestamp::parse(attempt["timestamp"].as_str().expect("a time")).expect("a time").ms()
        }));
    }
    times.sort_unstable();
    assert_eq!(times.len(), 12);
    assert!(times[11] - times[0] >= 2_500, "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_answers_429_and_changes_nothing() {
    let mut still = settings().with("POSTRIDER_MESSAGE_QUOTA", "7");
    still.platform.clock = Arc::new(Still(SystemClock.now()));
    let stack = TestStack::with(still).await;
    let app = stack.app().await;
    let other = stack.app().await;
    let post = async |app: &str| {
        stack
            .request(
                "POST",
                &format!("/api/v1/app/{app}/msg"),
                &stack.token,
                r#"{"eventType":"a","payload":{}}"#,
            )
            .await
    };
    for _ in 0..7 {
        assert_eq!(post(&app).await.status, StatusCode::ACCEPTED);
    }
    for _ in 0..3 {
        let refused = post(&app).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(
            refused.json(),
            json!({"code": "rate_limit_exceeded", "detail": "too many requests: retry in 1 s"})
        );
        assert_eq!(refused.headers["retry-after"], "1");
    }
    // An example is a message as well.
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:1/").await.id;
    let example = format!("/api/v1/app/{app}/endpoint/{endpoint}/send-example");
    let refused = stack.request("POST", &example, &stack.token, r#"{"eventType":"svix.ping"}"#).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.text);
    // Another customer is not concerned.
    assert_eq!(post(&other).await.status, StatusCode::ACCEPTED);
    let list = stack
        .request(
            "GET",
            &format!("/api/v1/app/{app}/msg?before={}", SystemClock.now().after(Duration::from_secs(60))),
            &stack.token,
            "",
        )
        .await;
    assert_eq!(list.json()["data"].as_array().map(Vec::len), Some(7), "{}", list.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_only_failed_for_five_days_is_disabled() {
    let clock = Arc::new(Ahead::default());
    let mut ahead = settings().with("POSTRIDER_RETRY_SCHEDULE", "");
    ahead.platform.clock = clock.clone();
    let stack = TestStack::with(ahead).await;
    let mut receiver = Receiver::answering(|webhook| {
        let works = webhook.body.windows(5).any(|part| part == b"works");
        (if works { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, String::new())
    })
    .await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let disabled =
        async || stack.svix.endpoint().get(app.clone(), endpoint.clone()).await.expect("it").disabled;
    let send = async |text: &str| {
        stack.message(&app, MessageIn::new("a".into(), json!({"text": text}))).await;
        stack.stack.wake();
        stack.idle().await;
    };
    const DAY: Duration = Duration::from_secs(24 * 3600);
    send("fails").await;
    clock.skip(DAY * 4);
    // A success on the fourth day forgets it all.
    send("works").await;
    send("fails").await;
    clock.skip(DAY * 4);
    send("fails").await;
    assert_eq!(disabled().await, Some(false));
    clock.skip(DAY + Duration::from_secs(2 * 3600));
    send("fails").await;
    assert_eq!(disabled().await, Some(true));
    assert_eq!(receiver.rest().len(), 5);
    send("works").await;
    assert_eq!(receiver.rest().len(), 0);
}

/// INV-36
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_goes_to_the_low_priority_queue_in_all_instances_until_it_answers() {
    let ahead = Arc::new(Ahead::default());
    let mut settings =
        settings().with("POSTRIDER_RETRY_SCHEDULE", "").with("POSTRIDER_DELIVERY_TIMEOUT", "2");
    settings.platform.clock = ahead.clone();
    let stack = TestStack::with(settings).await;
    let (hangs, hanging) = tokio::sync::watch::channel(true);
    let receive = move || {
        let mut hanging = hanging.clone();
        async move { hanging.wait_for(|hangs| !hangs).await.map(drop).expect("the test runs") }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(receive)).await });
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &url).await.id;
    // How many jobs a message makes: one, and one more where the first queue sends it on.
    let jobs_of_one_more = async || {
        let before = stack.sends();
        stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
        stack.idle().await;
        stack.sends() - before
    };
    assert_eq!(jobs_of_one_more().await, 1);
    assert_eq!(jobs_of_one_more().await, 2, "it is known to hang");
    hangs.send(false).expect("the receiver runs");
    ahead.skip(Duration::from_secs(11));
    assert_eq!(jobs_of_one_more().await, 2, "that it answers again is learned in the low-priority queue");
    assert_eq!(jobs_of_one_more().await, 1);
    // Who is switched off takes no place among those that hang.
    hangs.send(true).expect("the receiver runs");
    ahead.skip(Duration::from_secs(11));
    assert_eq!(jobs_of_one_more().await, 1);
    assert_eq!(jobs_of_one_more().await, 2);
    for disabled in [true, false] {
        let switch = EndpointPatch { disabled: Some(disabled), ..EndpointPatch::default() };
        stack.svix.endpoint().patch(app.clone(), endpoint.clone(), switch).await.expect("it is switched");
    }
    assert_eq!(jobs_of_one_more().await, 1);
}
