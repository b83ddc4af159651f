//! A task that wakes itself goes on at once.
//!
//! HTTP connections do so once for each request with a body: who takes a part of it wakes who reads it, which is the same task. The
//! runtime lets such a task wait its turn, and wakes another thread to take it over: on a machine with little to do that takes
//! longer than going on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// How often it goes on within one turn: others wait meanwhile.
const AGAIN: usize = 2;

const IDLE: u8 = 0;
const POLLED: u8 = 1;
/// It was woken, and is to be polled once more.
const WOKEN: u8 = 2;

/// A future whose wake-ups from within are left to itself.
#[derive(Debug)]
pub(crate) struct SelfWaking<F> {
    inner: Pin<Box<F>>,
    state: Arc<State>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct State {
    now: AtomicU8,
    /// Of the task that it is in.
    task: AtomicWaker,
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Always a write: what was done before a wake-up is seen by the poll that follows, whoever woke it first.
        if self.now.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

impl<F: Future> SelfWaking<F> {
    pub(crate) fn new(inner: F) -> Self {
        let state = Arc::new(State::default());
        Self { inner: Box::pin(inner), waker: state.clone().into(), state }
    }
}

impl<F: Future> Future for SelfWaking<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { inner, state, waker } = &mut *self;
        state.task.register(context.waker());
        for _ in 0..=AGAIN {
            state.now.swap(POLLED, Ordering::AcqRel);
            if let Poll::Ready(output) = inner.as_mut().poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(output);
            }
            if state.now.compare_exchange(POLLED, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        state.now.swap(IDLE, Ordering::AcqRel);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls once what wakes itself in so many of its polls: how often it was polled, and how often its task was woken.
    fn polled(wakes: usize) -> (usize, usize) {
        let (polls, woken) = (AtomicUsize::new(0), Arc::new(Counting::default()));
        let inner = poll_fn(|context: &mut Context<'_>| {
            if polls.fetch_add(1, Ordering::Relaxed) < wakes {
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        let mut task = SelfWaking::new(inner);
        let waker = Waker::from(woken.clone());
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(task);
        (polls.load(Ordering::Relaxed), woken.0.load(Ordering::Relaxed))
    }

    #[test]
    fn it_goes_on_by_itself_and_not_for_ever() {
        assert_eq!(polled(0), (1, 0));
        assert_eq!(polled(1), (2, 0));
        assert_eq!(polled(AGAIN), (AGAIN + 1, 0));
        assert_eq!(polled(usize::MAX), (AGAIN + 1, 1));
    }

    #[test]
    fn others_wake_its_task() {
        let (mut inner_waker, woken) = (None, Arc::new(Counting::default()));
        let inner = poll_fn(|context: &mut Context<'_>| match inner_waker.take() {
            None => {
                inner_waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(_) => Poll::Ready(()),
        });
        let mut task = SelfWaking::new(inner);
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut task).poll(&mut context).is_pending());
        // As the waker that was handed out is.
        task.waker.wake_by_ref();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(Pin::new(&mut task).poll(&mut context).is_ready());
    }
}
