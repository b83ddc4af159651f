//! How fast a backlog of due timers drains. One process, the whole local stack, tables in memory.
//!
//! `cargo bench -p tests --bench backlog --profile bench-local -- [TIMERS]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use local::{Settings, Stack};
use shared::clock::{Clock as _, SystemClock};
use shared::config::Env;
use shared::ids::{AppId, EndpointId, MessageId};
use shared::labels::Labels;
use shared::queue::{Deliver, Job};
use shared::random::SystemRandom;
use timers::Timers;

const TIMERS_DEFAULT: u64 = 100_000;
/// As in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(TIMERS_DEFAULT);
    // Nobody else moves timers, and what becomes of the jobs is not what is measured.
    let settings = Settings { poll: false, ..Settings::ephemeral() };
    let stack = Stack::start(settings).await.expect("the stack starts");
    let variables = stack.environment("timers").expect("its environment").clone();
    let env = Env::new(|name| variables.get(name).cloned());
    let timers = Timers::connect(&env, stack.platform()).expect("connects");
    let store = stack.platform().store(&env).expect("a store");
    let now = SystemClock.now();
    let started = Instant::now();
    let mut set = futures_util::stream::iter((0..count).map(|nth| {
        let store = &store;
        async move {
            let random = &SystemRandom::new();
            let job = Deliver {
                org: "org_00000000000000000000000000p".parse().expect("an id"),
                app: AppId::new(now, random),
                version: 1,
                endpoint: EndpointId::new(now, random),
                message: MessageId::new(now, random),
                labels: Labels::of("invoice.paid"),
                due: vec![now, now],
                check: true,
                not_before: None,
                payload: None,
                payload_until: now.after(Duration::from_secs(3600)),
                slot: None,
                trace: None,
            };
            let body = Job::Deliver(job.clone()).body().expect("a body");
            store
                .set_timer(now, job.message, nth, &job.app.to_string(), &body)
                .await
                .expect("a timer is set");
        }
    }))
    .buffer_unordered(32);
    let mut done = 0_u64;
    while set.next().await.is_some() {
        done += 1;
        if done.is_multiple_of(50_000) {
            println!("{done} timers set after {:.0?}", started.elapsed());
        }
    }
    drop(set);
    let (started, mut run, mut total) = (Instant::now(), 0, 0);
    loop {
        let began = Instant::now();
        let moved = timers.handle(SystemClock.now().after(TIMEOUT)).await.expect("a run");
        if moved == 0 {
            break;
        }
        run += 1;
        total += moved;
        let took = began.elapsed();
        assert!(took < TIMEOUT, "a run took {took:?}: Lambda would have ended it");
        println!(
            "run {run}: {moved} timers in {took:.1?}, {:.0} a second",
            moved as f64 / took.as_secs_f64()
        );
    }
    println!("{total} of {count} timers moved in {run} runs and {:.1?}", started.elapsed());
    stack.stop().await;
}
