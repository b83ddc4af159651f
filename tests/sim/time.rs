//! One thread, virtual time: tasks run until all of them wait, then time jumps to the next event.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use shared::clock::{Clock, Sleep, Timestamp};

use crate::random::Dice;

/// When every run begins.
pub const START_MS: u64 = 1_790_000_000_000;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A run's time and tasks. Clones are the same.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<State>>);

struct State {
    now: Duration,
    timers: BTreeMap<(Duration, u64), Waker>,
    counter: u64,
    /// Tasks that can go on, in the order in which they were woken.
    ready: Vec<u64>,
    born: Vec<(u64, Work)>,
    order: Dice,
    steps: u64,
    /// The invocation that is being polled.
    invocation: u64,
    trace: Option<Vec<String>>,
}

struct TaskWaker {
    sim: Sim,
    task: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut state = self.sim.lock();
        if !state.ready.contains(&self.task) {
            state.ready.push(self.task);
        }
    }
}

/// How a run's tasks came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// What was asked for has come about.
    Done,
    /// Time or steps ran out before.
    Never,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

impl Sim {
    pub fn new(seed: u64, traced: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: Duration::ZERO,
            timers: BTreeMap::new(),
            counter: 0,
            ready: Vec::new(),
            born: Vec::new(),
            order: Dice::new(seed, "order"),
            steps: 0,
            invocation: 0,
            trace: traced.then(Vec::new),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the run began.
    pub fn now(&self) -> Duration {
        self.lock().now
    }

    /// A number that no other call gets.
    pub fn number(&self) -> u64 {
        let mut state = self.lock();
        state.counter += 1;
        state.counter
    }

    /// Notes something, if anybody reads it.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        let mut state = self.lock();
        let now = state.now;
        if let Some(trace) = &mut state.trace {
            trace.push(format!("{:>12.3} {}", now.as_secs_f64(), line()));
        }
    }

    pub fn take_trace(&self) -> Vec<String> {
        self.lock().trace.take().unwrap_or_default()
    }

    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.lock();
        state.counter += 1;
        let task = state.counter;
        state.born.push((task, Box::pin(work)));
        state.ready.push(task);
    }

    pub fn sleep(&self, wait: Duration) -> SimSleep {
        SimSleep { sim: self.clone(), until: self.now() + wait, key: None }
    }

    /// The number of the invocation that is being polled; 0 outside of all.
    pub fn invocation(&self) -> u64 {
        self.lock().invocation
    }

    /// Runs until `done`, which is asked whenever everything waits; not beyond `end`. What is not done by
    /// then goes on with the next run.
    pub fn run(&self, end: Duration, done: impl FnMut() -> bool) -> Rest {
        let mut tasks = BTreeMap::new();
        let rest = self.run_tasks(&mut tasks, end, done);
        self.lock().born.extend(tasks);
        rest
    }

    fn run_tasks(
        &self,
        tasks: &mut BTreeMap<u64, Work>,
        end: Duration,
        mut done: impl FnMut() -> bool,
    ) -> Rest {
        const STEPS_MAX: u64 = 2_000_000;
        loop {
            let next = {
                let mut state = self.lock();
                tasks.extend(state.born.drain(..));
                state.steps += 1;
                if state.steps > STEPS_MAX {
                    return Rest::Never;
                }
                match state.ready.len() {
                    0 => None,
                    waiting => {
                        let at = state.order.below(waiting);
                        Some(state.ready.remove(at))
                    }
                }
            };
            if let Some(task) = next {
                let waker = Waker::from(Arc::new(TaskWaker { sim: self.clone(), task }));
                let ended = tasks
                    .get_mut(&task)
                    .is_some_and(|work| work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
                if ended {
                    tasks.remove(&task);
                }
                continue;
            }
            if done() {
                return Rest::Done;
            }
            let waker = {
                let mut state = self.lock();
                let Some(((at, _), waker)) = state.timers.pop_first() else { return Rest::Never };
                state.now = state.now.max(at);
                if state.now > end {
                    return Rest::Never;
                }
                waker
            };
            waker.wake();
        }
    }

    /// Works on `work` as one invocation. It ends without an answer where it takes longer than
    /// `timeout`, or when it would go on for the time `fuse` (which then is where it crashes).
    pub fn invoke<F: Future>(&self, number: u64, timeout: Duration, fuse: Option<u32>, work: F) -> Invoke<F> {
        Invoke { sim: self.clone(), number, left: fuse, end: self.sleep(timeout), work: Some(Box::pin(work)) }
    }
}

/// Completes after some virtual time.
pub struct SimSleep {
    sim: Sim,
    until: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let sim = self.sim.clone();
        let mut state = sim.lock();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) => key,
            None => {
                state.counter += 1;
                (self.until, state.counter)
            }
        };
        self.key = Some(key);
        state.timers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.sim.lock().timers.remove(&key);
        }
    }
}

/// What [`Sim::invoke`] gives.
pub struct Invoke<F> {
    sim: Sim,
    number: u64,
    left: Option<u32>,
    end: SimSleep,
    work: Option<Pin<Box<F>>>,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<T> {
    Answered(T),
    Crashed,
    TimedOut,
}

impl<F: Future> Future for Invoke<F> {
    type Output = Ended<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let sim = self.sim.clone();
        let outer = std::mem::replace(&mut sim.lock().invocation, self.number);
        let polled = self.as_mut().step(context);
        sim.lock().invocation = outer;
        polled
    }
}

impl<F: Future> Invoke<F> {
    fn step(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended<F::Output>> {
        if let Some(left) = &mut self.left {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    self.work = None;
                    return Poll::Ready(Ended::Crashed);
                }
            }
        }
        let Some(work) = &mut self.work else { return Poll::Pending };
        if let Poll::Ready(answer) = work.as_mut().poll(context) {
            return Poll::Ready(Ended::Answered(answer));
        }
        if Pin::new(&mut self.end).poll(context).is_ready() {
            self.work = None;
            return Poll::Ready(Ended::TimedOut);
        }
        Poll::Pending
    }
}

/// The clock of one instance: virtual time, and how far it is off.
#[derive(Clone, Debug)]
pub struct SimClock {
    sim: Sim,
    offset_ms: Arc<AtomicI64>,
}

impl SimClock {
    pub fn new(sim: &Sim) -> Self {
        Self { sim: sim.clone(), offset_ms: Arc::default() }
    }

    pub fn set_offset(&self, ms: i64) {
        self.offset_ms.store(ms, Ordering::Relaxed);
    }

    pub fn ms(&self) -> u64 {
        let now = START_MS + u64::try_from(self.sim.now().as_millis()).unwrap_or(u64::MAX);
        now.saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.ms())
    }

    fn sleep(&self, wait: Duration) -> Sleep {
        Box::pin(self.sim.sleep(wait))
    }
}

impl local_sqs::Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.ms()
    }
}

impl dynoxide::storage_backend::Clock for SimClock {
    fn now_unix_secs(&self) -> u64 {
        self.ms() / 1000
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.ms() as f64 / 1000.0
    }
}
