//! Workers that fetch messages from polling endpoints by leases, in place of a receiver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Failed;
use crate::client::Api;
use crate::payload::Payloads;
use crate::tally::Tally;

/// The name under which each endpoint's worker fetches.
const CONSUMER: &str = "bench";

/// A page of messages that are leased to whoever asked.
#[derive(Debug, Deserialize)]
pub(crate) struct Leased {
    pub(crate) data: Vec<Polled>,
    /// There is nothing more for now.
    pub(crate) done: bool,
}

/// One message of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Polled {
    pub(crate) offset: u64,
    pub(crate) id: String,
    pub(crate) payload: Box<RawValue>,
}

/// What was on file before the run, fetched by one worker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Backlog {
    /// Messages that it got.
    pub messages: u64,
    /// Requests that it took, commits included.
    pub requests: u64,
    /// In how many seconds.
    pub seconds: f64,
    /// Messages that came behind one that is younger.
    pub out_of_order: u64,
    /// The longest request, in milliseconds.
    pub slowest_ms: f64,
}

/// An endpoint and who fetches from it.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) api: Api,
    pub(crate) app: String,
    pub(crate) endpoint: String,
    /// Which application, and which endpoint of it.
    pub(crate) place: (u32, u32),
    /// How long it waits once there is nothing more.
    pub(crate) every: Duration,
}

impl Worker {
    fn path(&self) -> String {
        format!("/app/{}/polling-endpoint/{}/consumer/{CONSUMER}", self.app, self.endpoint)
    }

    /// One page: fetched, taken and committed.
    async fn turn(&self, mut take: impl FnMut(&Polled)) -> Result<Leased, String> {
        let page = self.api.lease(&self.path()).await?;
        page.data.iter().for_each(&mut take);
        if let Some(last) = page.data.last() {
            self.api.commit(&self.path(), last.offset).await?;
        }
        Ok(page)
    }

    /// Fetches until it is aborted. `applications` are how many the messages are spread over.
    pub(crate) async fn work(self, tally: Arc<Tally>, payloads: Arc<Payloads>, applications: u32) {
        let (application, endpoint) = self.place;
        loop {
            let turn = self.turn(|polled| match payloads.message(polled.payload.get().as_bytes()) {
                Some(nth) if tally.application(nth) % applications == application => {
                    tally.arrive(nth, endpoint)
                }
                _ => _ = tally.altered.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            });
            match turn.await {
                Ok(page) if !page.done => {}
                Ok(_) => tokio::time::sleep(self.every).await,
                Err(reason) => {
                    tally.fail(&format!("poll: {reason}"));
                    tokio::time::sleep(self.every).await;
                }
            }
        }
    }

    /// Fetches what is there, and says how it went.
    ///
    /// # Errors
    /// The server refused, or there was not as much as `expected`.
    pub(crate) async fn drain(&self, expected: u32) -> Result<Backlog, Failed> {
        let failed = |problem: String| Failed::Server(format!("the backlog was not fetched: {problem}"));
        let began = Instant::now();
        let mut backlog =
            Backlog { messages: 0, requests: 0, seconds: 0.0, out_of_order: 0, slowest_ms: 0.0 };
        let mut youngest = String::new();
        loop {
            let asked = Instant::now();
            let page = self.turn(|polled| {
                backlog.messages += 1;
                // IDs of messages are in the order of their times.
                if polled.id < youngest {
                    backlog.out_of_order += 1;
                } else {
                    youngest.clone_from(&polled.id);
                }
            });
            let page = page.await.map_err(failed)?;
            backlog.requests += 1 + u64::from(!page.data.is_empty());
            backlog.slowest_ms = backlog.slowest_ms.max(asked.elapsed().as_secs_f64() * 1e3);
            if page.done {
                break;
            }
        }
        backlog.seconds = began.elapsed().as_secs_f64();
        if backlog.messages == u64::from(expected) {
            Ok(backlog)
        } else {
            Err(failed(format!("{} messages instead of {expected}", backlog.messages)))
        }
    }
}
