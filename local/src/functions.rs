//! The functions' code, by the names that the template knows them by, and how one invocation is run.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use axum::Router;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use shared::Platform;
use shared::clock::Timestamp;
use shared::config::{ConfigError, Env};
use tokio::sync::watch;
use transform::Program;

use crate::cpu::Cpu;

/// Code that is called with an event and gives an answer.
pub(crate) type Handler<E, A> = Arc<dyn Fn(E) -> BoxFuture<'static, A> + Send + Sync>;

/// A function, by what calls it.
pub(crate) enum Code {
    /// Requests.
    Http(Router),
    /// Batches of a queue's messages.
    Queue(Handler<SqsEvent, SqsBatchResponse>),
    /// Invocations by other functions: the text of the event, and that of the answer.
    Invoked(Handler<Vec<u8>, Result<Vec<u8>, String>>),
    /// A schedule; told when it has to be done, it says how much it did.
    Schedule(Handler<Timestamp, shared::Result<usize>>),
}

/// Connects the function of this name, as its `main` does in the cloud. None if there is no such code.
pub(crate) fn connect(
    name: &str,
    env: &Env<'_>,
    platform: &Platform,
    transformer: &Program,
) -> Result<Option<Code>, ConfigError> {
    Ok(Some(match name {
        "applications" => Code::Http(applications::router(env, platform)?),
        "attempts" => Code::Http(attempts::router(env, platform)?),
        "auth" => Code::Http(auth::router(env, platform)?),
        "endpoints" => Code::Http(endpoints::router(env, platform)?),
        "event-types" => Code::Http(event_types::router(env, platform)?),
        "messages" => Code::Http(messages::router(env, platform)?),
        "portal" => Code::Http(portal::router(env)?),
        "deliver" => {
            let code = Arc::new(deliver::Deliver::connect(env, platform)?);
            Code::Queue(Arc::new(move |event| {
                let code = code.clone();
                async move { code.handle(event).await }.boxed()
            }))
        }
        "background" => {
            let code = Arc::new(background::Background::connect(env, platform)?);
            Code::Queue(Arc::new(move |event| {
                let code = code.clone();
                async move { code.handle(event).await }.boxed()
            }))
        }
        "ingest" => {
            let code = Arc::new(ingest::Ingest::connect(env, platform)?);
            Code::Queue(Arc::new(move |event| {
                let code = code.clone();
                async move { code.handle(event).await }.boxed()
            }))
        }
        "transform" => {
            let code = transform::Transform::new(transformer.clone(), platform.clock.clone());
            Code::Invoked(Arc::new(move |event| {
                let code = code.clone();
                async move {
                    let batch = serde_json::from_slice(&event).map_err(|error| error.to_string())?;
                    let outcomes = code.handle(batch).await.map_err(|error| error.to_string())?;
                    serde_json::to_vec(&outcomes).map_err(|error| error.to_string())
                }
                .boxed()
            }))
        }
        "timers" => {
            let code = Arc::new(timers::Timers::connect(env, platform)?);
            Code::Schedule(Arc::new(move |deadline| {
                let code = code.clone();
                async move { code.handle(deadline).await }.boxed()
            }))
        }
        _ => return Ok(None),
    }))
}

/// Completes when `stop` is true, or whoever could say so is gone.
pub(crate) async fn shutdown_requested(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Why an invocation gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("the invocation took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the function panicked: {0}")]
    Panicked(String),
}

/// What invocations of a function run under.
#[derive(Clone, Debug)]
pub(crate) struct Invoker {
    /// How long one may take.
    pub(crate) timeout: Duration,
    /// What they have used.
    pub(crate) cpu: Cpu,
    /// Requests, jobs and ticks in progress.
    pub(crate) progress: InProgress,
}

/// How many requests, jobs or ticks of a function are in progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct InProgress(Arc<AtomicUsize>);

impl InProgress {
    /// So many more, until the guard is dropped.
    pub(crate) fn begin(&self, number: usize) -> Begun {
        self.0.fetch_add(number, Ordering::Relaxed);
        Begun { number, all: self.clone() }
    }

    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What [`InProgress::begin`] has counted.
#[derive(Debug)]
pub(crate) struct Begun {
    number: usize,
    all: InProgress,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.number, Ordering::Relaxed);
    }
}

impl Invoker {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, cpu: Cpu::default(), progress: InProgress::default() }
    }

    /// Runs one invocation, as Lambda does: not longer than the function's timeout, and a panic ends the
    /// invocation and nothing else.
    ///
    /// The timeout runs by the machine's clock, also where the functions' clock is steered: it is there
    /// for what really hangs.
    pub(crate) async fn invoke<A>(&self, work: impl Future<Output = A>) -> Result<A, Unanswered> {
        let work = AssertUnwindSafe(self.cpu.of(work)).catch_unwind();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(panic)) => Err(Unanswered::Panicked(panic_text(&*panic))),
            Err(_) => Err(Unanswered::TimedOut(self.timeout)),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_invocation_ends_by_answer_timeout_or_panic() {
        let second = Invoker::new(Duration::from_secs(1));
        assert_eq!(second.invoke(async { 7 }).await, Ok(7));
        let hung = Invoker::new(Duration::from_millis(5)).invoke(std::future::pending::<()>()).await;
        assert!(matches!(hung, Err(Unanswered::TimedOut(_))));
        let panicked = second.invoke(async { panic!("number {}", 7) }).await;
        assert_eq!(panicked, Err::<(), _>(Unanswered::Panicked("number 7".into())));
    }
}
