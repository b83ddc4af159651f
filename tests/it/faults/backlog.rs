//! More timers than one run can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use futures_util::future::join;
use shared::clock::{Clock as _, SystemClock, Timestamp};
use shared::config::Env;
use shared::ids::{AppId, EndpointId, MessageId};
use shared::labels::Labels;
use shared::queue::{Deliver, Job};
use shared::random::SystemRandom;
use shared::store::Store;
use timers::Timers;

use crate::api::sdk_interceptor::between;
use crate::test_stack::{TestStack, settings};

/// Pages of all shards hold 1,600.
const TIMERS: usize = 2_000;
const FEW: usize = 300;

fn job(now: Timestamp) -> Deliver {
    let random = &SystemRandom::new();
    Deliver {
        org: "org_00000000000000000000000000p".parse().expect("an id"),
        // Nobody's: `deliver` has nothing to do with it.
        app: AppId::new(now, random),
        version: 1,
        endpoint: EndpointId::new(now, random),
        message: MessageId::new(now, random),
        labels: Labels::of("a"),
        due: vec![now, now],
        check: true,
        not_before: None,
        payload: None,
        payload_until: now.after(Duration::from_secs(60)),
        slot: None,
        trace: None,
    }
}

/// Timers that were due at `at`.
async fn set(store: &Store, at: Timestamp, count: usize) {
    for chunk in (0..count).collect::<Vec<_>>().chunks(50) {
        let set = chunk.iter().map(async |nth| {
            let job = job(at);
            let body = Job::Deliver(job.clone()).body().expect("a body");
            store.set_timer(at, job.message, nth, "group", &body).await
        });
        futures_util::future::try_join_all(set).await.expect("timers are set");
    }
}

/// Timers of this test's own, and their store.
fn own(stack: &TestStack) -> (Timers, Store) {
    let variables = stack.stack.environment("timers").expect("its environment");
    let env = Env::new(|name| variables.get(name).cloned());
    let timers = Timers::connect(&env, stack.stack.platform()).expect("connects");
    (timers, stack.stack.platform().store(&env).expect("a store"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_cannot_be_read_holds_up_no_other() {
    let (refusing, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut settings = settings();
    settings.poll = false;
    let (refuses, counts) = (refusing.clone(), looks.clone());
    settings.platform.http = between(settings.platform.http, move |inner, request| {
        let body = request.body().bytes().unwrap_or_default();
        let is_query = request.headers().get("x-amz-target").is_some_and(|target| target.ends_with(".Query"));
        let names = |shard: &str| body.windows(shard.len()).any(|some| some == shard.as_bytes());
        if is_query && names("TIMER#") {
            counts.fetch_add(1, Ordering::SeqCst);
            if refuses.load(Ordering::SeqCst) && names("TIMER#2\"") {
                let text = r#"{"__type":"com.amazon.coral.validate#ValidationException"}"#;
                let status = 400.try_into().expect("a status");
                return HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(text))));
            }
        }
        inner.call(request)
    });
    // In between is where sockets are.
    settings.sockets = true;
    let stack = TestStack::with(settings).await;
    let (timers, store) = own(&stack);
    let now = SystemClock.now();
    let deadline = now.after(Duration::from_secs(600));
    set(&store, now, FEW).await;
    refusing.store(true, Ordering::SeqCst);
    timers.handle(deadline).await.expect_err("a shard is out of reach");
    assert_eq!(looks.load(Ordering::SeqCst), 8, "each shard is looked at once");
    let moved = stack.stack.waiting().await.expect("a number");
    // About an eighth of them stays.
    let few = FEW as u64;
    assert!((few / 2..few).contains(&moved), "{moved} of {few}");
    refusing.store(false, Ordering::SeqCst);
    let rest = timers.handle(deadline).await.expect("a run");
    assert_eq!(moved + rest as u64, few);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_timers_is_moved_run_by_run_and_by_two_at_once() {
    // Nothing but this test runs timers, and nobody takes what they queue.
    let mut settings = settings();
    settings.poll = false;
    let stack = TestStack::with(settings).await;
    let (timers, store) = own(&stack);
    // Nobody ran for an hour, and a run has to end before it can move everything: it moves a page of each
    // shard, and the next one goes on.
    let now = SystemClock.now();
    set(&store, now.before(Duration::from_secs(3600)), TIMERS).await;
    let mut runs = Vec::new();
    loop {
        match timers.handle(SystemClock.now()).await.expect("a run") {
            0 => break,
            moved => runs.push(moved),
        }
    }
    assert_eq!(runs.iter().sum::<usize>(), TIMERS);
    assert!((2..=3).contains(&runs.len()), "{runs:?}");
    assert_eq!(stack.stack.waiting().await, Ok(TIMERS as u64));
    // Two at once do some of it twice, and leave nothing.
    set(&store, now, FEW).await;
    let deadline = now.after(Duration::from_secs(600));
    let (one, other) = join(timers.handle(deadline), timers.handle(deadline)).await;
    let moved = one.expect("a run") + other.expect("a run");
    assert!((FEW..=2 * FEW).contains(&moved), "{moved}");
    assert_eq!(stack.stack.waiting().await, Ok((TIMERS + moved) as u64));
    assert_eq!(timers.handle(deadline).await.expect("a run"), 0);
}
