//! The schedules: what EventBridge does with the template's rates.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::{SharedClock, Timestamp};
use shared::error::Chain;
use tokio::sync::{Mutex, watch};

use crate::functions::{Handler, Invoker, shutdown_requested};

/// A function with a schedule.
pub(crate) struct Scheduled {
    pub(crate) name: String,
    pub(crate) rates: Vec<Duration>,
    pub(crate) invoker: Invoker,
    pub(crate) clock: SharedClock,
    pub(crate) code: Handler<Timestamp, shared::Result<usize>>,
    running: Mutex<()>,
}

impl Scheduled {
    pub(crate) fn new(
        name: &str,
        rates: Vec<Duration>,
        invoker: Invoker,
        clock: SharedClock,
        code: Handler<Timestamp, shared::Result<usize>>,
    ) -> Self {
        Self { name: name.to_owned(), rates, invoker, clock, code, running: Mutex::new(()) }
    }

    /// Runs the function now, after an invocation that is under way.
    ///
    /// # Errors
    /// It failed, or gave no answer; one line.
    pub(crate) async fn run(&self) -> Result<usize, String> {
        let _running = self.running.lock().await;
        self.invoke().await
    }

    /// Runs the function unless it is running: two invocations at a time do nothing more than one, and
    /// the next tick comes soon.
    async fn tick(&self) {
        let Ok(_running) = self.running.try_lock() else {
            tracing::debug!(function = self.name, "a tick was left out: the one before is not done");
            return;
        };
        match self.invoke().await {
            Ok(done) => tracing::debug!(function = self.name, done, "a tick was done"),
            Err(error) => tracing::warn!(function = self.name, error, "a tick failed"),
        }
    }

    async fn invoke(&self) -> Result<usize, String> {
        let _begun = self.invoker.progress.begin(1);
        let deadline = self.clock.now().after(self.invoker.timeout);
        match self.invoker.invoke((self.code)(deadline)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Chain(&error).to_string()),
            Err(unanswered) => Err(unanswered.to_string()),
        }
    }

    /// Runs the function at one of its rates, and once right now, until `stop` becomes true.
    pub(crate) async fn keep_time(self: Arc<Self>, rate: Duration, mut stop: watch::Receiver<bool>) {
        let mut next = self.clock.now();
        loop {
            let wait = next.since(self.clock.now());
            tokio::select! {
                biased;
                () = shutdown_requested(&mut stop) => return,
                () = self.clock.sleep(wait) => self.tick().await,
            }
            // Of ticks that were missed, one is made up for.
            next = next.after(rate).max(self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use shared::clock::SystemClock;

    use super::*;

    fn counted(calls: Arc<AtomicUsize>, work: Duration) -> Arc<Scheduled> {
        let code: Handler<Timestamp, shared::Result<usize>> = Arc::new(move |_| {
            let calls = calls.clone();
            async move {
                tokio::time::sleep(work).await;
                Ok(calls.fetch_add(1, Ordering::Relaxed))
            }
            .boxed()
        });
        let rates = vec![Duration::from_secs(60)];
        let invoker = Invoker::new(Duration::from_secs(9));
        Arc::new(Scheduled::new("timers", rates, invoker, Arc::new(SystemClock), code))
    }

    #[tokio::test]
    async fn it_runs_at_once_and_ends_when_told() {
        let calls = Arc::new(AtomicUsize::new(0));
        let scheduled = counted(calls.clone(), Duration::ZERO);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(scheduled.clone().keep_time(Duration::from_secs(60), stopped));
        while calls.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.send_replace(true);
        task.await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_tick_during_an_invocation_is_left_out() {
        let calls = Arc::new(AtomicUsize::new(0));
        let scheduled = counted(calls.clone(), Duration::from_millis(20));
        let (first, ()) = tokio::join!(scheduled.run(), async {
            tokio::task::yield_now().await;
            scheduled.tick().await;
        });
        assert_eq!((first, calls.load(Ordering::Relaxed)), (Ok(0), 1));
    }
}
