//! The CPU that a function's own code uses: each time one of its invocations is polled, the clock of
//! the thread is read before and after.

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
            let before = thread_nanos();
            let polled = work.as_mut().poll(context);
            self.0.fetch_add(thread_nanos().saturating_sub(before), Ordering::Relaxed);
            polled
        })
        .await
    }

    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
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
        let (waits, works) = (Cpu::default(), Cpu::default());
        waits.of(tokio::time::sleep(Duration::from_millis(100))).await;
        let counted = async { (0..20_000_000_u64).fold(0_u64, |sum, n| std::hint::black_box(sum ^ n)) };
        std::hint::black_box(works.of(counted).await);
        assert!(
            works.used() > waits.used() && waits.used() < Duration::from_millis(50),
            "{waits:?} {works:?}"
        );
    }
}
