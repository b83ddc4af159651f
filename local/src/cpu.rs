//! The CPU that a function's own code uses: each time one of its invocations is polled, the clock of
//! the thread is read before and after.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the invocations of one function have used. Not in it are tasks that they leave to the runtime:
/// of the HTTP client, those that keep its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu(Arc<AtomicU64>);

impl Cpu {
    /// Runs `work`, and counts what its polls use.
    pub(crate) async fn of<A>(&self, work: impl Future<Output = A>) -> A {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let (before, elsewhere) = (thread_nanos(), ELSEWHERE.get());
            let polled = work.as_mut().poll(context);
            let elsewhere = ELSEWHERE.get() - elsewhere;
            let used = thread_nanos().saturating_sub(before).saturating_sub(elsewhere);
            self.0.fetch_add(used, Ordering::Relaxed);
            polled
        })
        .await
    }

    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

thread_local! {
    /// What this thread has used so far for others than the function that it was running.
    static ELSEWHERE: Cell<u64> = const { Cell::new(0) };
}

/// Does within a function's invocation what a service in a process of its own would do: the function has not used
/// that.
pub(crate) fn elsewhere<T>(work: impl FnOnce() -> T) -> T {
    let before = thread_nanos();
    let done = work();
    ELSEWHERE.set(ELSEWHERE.get() + thread_nanos().saturating_sub(before));
    done
}

/// The same for what takes several polls.
pub(crate) async fn elsewhere_of<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|context| elsewhere(|| work.as_mut().poll(context))).await
}

/// What this thread has used so far.
#[cfg(unix)]
fn thread_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}

/// Elsewhere nobody tells.
#[cfg(not(unix))]
fn thread_nanos() -> u64 {
    0
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_is_free_and_work_is_not() {
        let (waits, asks, works) = (Cpu::default(), Cpu::default(), Cpu::default());
        waits.of(tokio::time::sleep(Duration::from_millis(100))).await;
        let busy = || (0..20_000_000_u64).fold(0_u64, |sum, n| std::hint::black_box(sum ^ n));
        std::hint::black_box(asks.of(async { elsewhere(busy) }).await);
        std::hint::black_box(works.of(async { busy() }).await);
        for idle in [&waits, &asks] {
            assert!(
                works.used() > idle.used() && idle.used() < Duration::from_millis(50),
                "{idle:?} {works:?}"
            );
        }
    }
}
