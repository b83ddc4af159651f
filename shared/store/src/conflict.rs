//! Changes that lose to somebody else's: read again, decide again, write again, and not forever.

use std::time::Duration;

use super::Store;
use domain::error::{Error, Result};
use runtime::clock::Clock;
use runtime::random::{self, Random};

/// Turns of one change. So many others have to change the same item, one after the other, each between this
/// one's reading and its writing.
const TURNS: u32 = 20;
/// Longest pause after the first turn; it doubles up to [`PAUSE_MAX`]. All pauses are over within four seconds.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);

const CONTENDED: Error =
    Error::Unfinished("Other requests kept changing the same resource. Retry the request.");

impl Store {
    /// Makes a change that reads and writes on the condition that nothing changed between: `turn` does so
    /// once, and is none where somebody else's change came first, which makes it read again.
    ///
    /// # Errors
    /// `Unfinished` where others came first again and again; what `turn` fails with.
    pub async fn retry_on_conflict<T, F>(&self, turn: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        retry_on_conflict(&*self.clock, &*self.random, turn).await
    }
}

async fn retry_on_conflict<T, F>(clock: &dyn Clock, random: &dyn Random, turn: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let mut pause = PAUSE;
    for _ in 1..TURNS {
        if let Some(done) = turn().await? {
            return Ok(done);
        }
        // Of several that keep each other from it, each waits for a time of its own.
        let [share] = random::bytes(random);
        clock.sleep(pause * u32::from(share) / 255).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    turn().await?.ok_or(CONTENDED)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt as _;
    use runtime::clock::{Sleep, Timestamp};
    use runtime::random::SystemRandom;

    use super::*;

    /// Says how long it was slept.
    #[derive(Debug, Default)]
    struct Slept(AtomicU64);

    impl Clock for Slept {
        fn now(&self) -> Timestamp {
            Timestamp::default()
        }
        fn sleep(&self, wait: Duration) -> Sleep {
            self.0.fetch_add(u64::try_from(wait.as_millis()).expect("a pause"), Ordering::Relaxed);
            Box::pin(std::future::ready(()))
        }
    }

    /// What comes of a change that others prevent so many times, the turns that it took, and its pauses.
    fn after(lost: u32) -> (Result<u32>, u32, u64) {
        let (clock, turns) = (Slept::default(), AtomicU64::new(0));
        let random = SystemRandom::new();
        let change = retry_on_conflict(&clock, &random, async || {
            let turn = u32::try_from(turns.fetch_add(1, Ordering::Relaxed)).expect("few turns");
            Ok((turn >= lost).then_some(turn))
        });
        let result = change.now_or_never().expect("this clock's sleeps are over at once");
        let turns = u32::try_from(turns.into_inner()).expect("few turns");
        (result, turns, clock.0.into_inner())
    }

    #[test]
    fn a_change_that_always_loses_is_given_up_with_an_error_that_says_to_try_again() {
        assert!(matches!(after(0), (Ok(0), 1, 0)));
        assert!(matches!(after(TURNS - 1), (Ok(19), TURNS, _)));
        let (result, turns, paused) = after(u32::MAX);
        let error = result.expect_err("it was never its turn");
        assert!(matches!(error, Error::Unfinished(_)) && error.to_string().ends_with("Retry the request."));
        assert_eq!(turns, TURNS);
        assert!((1..4_000).contains(&paused), "{paused} ms");
    }

    #[test]
    fn what_fails_is_not_done_again() {
        let turns = AtomicU64::new(0);
        let (clock, random) = (Slept::default(), SystemRandom::new());
        let change = retry_on_conflict(&clock, &random, async || {
            turns.fetch_add(1, Ordering::Relaxed);
            Err::<Option<()>, _>(Error::NotFound("Application"))
        });
        let result = change.now_or_never().expect("it waits for nothing");
        assert!(matches!(result, Err(Error::NotFound(_))) && turns.into_inner() == 1);
    }
}
