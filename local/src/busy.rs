//! Which invocations of a queue keep this machine busy, and which wait for somebody else.
//!
//! Nothing is timed for each invocation: it notes when it was last at work, and that is looked at while somebody waits for
//! an invocation to make room.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// An invocation that does nothing for so long waits for somebody else, and keeps no machine busy.
const QUIET: Duration = Duration::from_millis(20);

/// Leave to keep the machine busy, and who has it.
#[derive(Debug)]
pub(crate) struct Busy {
    permits: Arc<Semaphore>,
    began: Instant,
    /// Those that have leave, at most as many as there are permits.
    working: Mutex<Vec<Arc<Working>>>,
}

/// An invocation under way.
#[derive(Debug)]
struct Working {
    /// When it was last at work, in microseconds since the queue's beginning.
    last: AtomicU64,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

/// By the machine's clock, also where that of the functions is steered: it is the machine that is busy.
#[expect(clippy::disallowed_methods, reason = "whether a machine is busy is a matter of its own time")]
fn now() -> Instant {
    Instant::now()
}

impl Busy {
    /// So many at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(most)), began: now(), working: Mutex::default() }
    }

    /// Has none available while as many invocations work as the machine can carry, and somebody waits for one.
    pub(crate) fn permits(&self) -> Arc<Semaphore> {
        self.permits.clone()
    }

    /// How many invocations count as busy.
    pub(crate) fn now(&self) -> usize {
        self.working().len()
    }

    fn working(&self) -> MutexGuard<'_, Vec<Arc<Working>>> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self) -> u64 {
        u64::try_from(now().duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// Waits for `room`; meanwhile those make room that do nothing.
    pub(crate) async fn waiting<T>(&self, room: impl Future<Output = T>) -> T {
        let mut room = pin!(room);
        loop {
            tokio::select! {
                biased;
                room = &mut room => return room,
                () = async { tokio::time::sleep(self.let_go()).await } => {}
            }
        }
    }

    /// Lets go of those that have done nothing for a while; when to look again.
    fn let_go(&self) -> Duration {
        let (now, mut next) = (self.micros(), QUIET);
        self.working().retain(|one| {
            let quiet = Duration::from_micros(now.saturating_sub(one.last.load(Ordering::Relaxed)));
            let stays = quiet < QUIET;
            if stays {
                next = next.min(QUIET - quiet);
            } else {
                one.let_go();
            }
            stays
        });
        next
    }

    /// Registers an invocation that has leave. It counts as busy until the end of [`Busy::of`], or until it makes room.
    fn begin(&self, permit: Option<OwnedSemaphorePermit>) -> Arc<Working> {
        let one = Arc::new(Working { last: AtomicU64::new(self.micros()), permit: Mutex::new(permit) });
        self.working().push(one.clone());
        one
    }

    /// Runs `work`, which has leave to keep the machine busy from the call of this on.
    pub(crate) fn of<T>(
        self: Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = T> {
        let begun = Begun { one: self.begin(permit), all: self };
        async move {
            let mut work = pin!(work);
            poll_fn(|context| {
                let done = work.as_mut().poll(context);
                begun.one.last.store(begun.all.micros(), Ordering::Relaxed);
                done
            })
            .await
        }
    }
}

impl Working {
    fn let_go(&self) {
        drop(self.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Lets go of what an invocation has when it ends, also by a panic.
#[derive(Debug)]
struct Begun {
    one: Arc<Working>,
    all: Arc<Busy>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.all.working().retain(|one| !Arc::ptr_eq(one, &self.one));
        self.one.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn leave(busy: &Busy) -> Option<OwnedSemaphorePermit> {
        busy.waiting(busy.permits().acquire_owned()).await.ok()
    }

    #[tokio::test]
    async fn who_does_nothing_makes_room_for_who_waits_and_who_ends_does_at_once() {
        let busy = Arc::new(Busy::new(2));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let hangs = tokio::spawn(busy.clone().of(leave(&busy).await, std::future::pending::<()>()));
        let ends = tokio::spawn(busy.clone().of(leave(&busy).await, ended));
        assert_eq!((busy.now(), busy.permits().available_permits()), (2, 0));
        end.send(()).unwrap();
        ends.await.unwrap().unwrap();
        assert_eq!((busy.now(), busy.permits().available_permits()), (1, 1));
        let (first, second) = (leave(&busy).await, leave(&busy).await);
        assert!(first.is_some() && second.is_some() && busy.now() == 0 && !hangs.is_finished());
        hangs.abort();
    }

    #[tokio::test]
    async fn who_was_at_work_within_20_ms_stays() {
        let busy = Busy { began: now() - Duration::from_secs(1), ..Busy::new(2) };
        let (works, quiet) = (busy.begin(leave(&busy).await), busy.begin(leave(&busy).await));
        works.last.store(u64::MAX, Ordering::Relaxed);
        quiet.last.store(busy.micros() - 20_000, Ordering::Relaxed);
        assert_eq!(busy.let_go(), QUIET);
        assert_eq!((busy.now(), busy.permits().available_permits()), (1, 1));
        works.last.store(0, Ordering::Relaxed);
        busy.let_go();
        assert_eq!((busy.now(), busy.permits().available_permits()), (0, 2));
    }
}
