//! Lookups of names, so that those that get no answer hold up few threads.
//!
//! The operating system's resolver blocks a thread for as long as a name server is silent: ten seconds and more, which
//! is longer than the attempt that asked. Deliveries to names without an answer would take one thread each until none
//! is left, also for what else needs one. So a name is looked up once for all who ask meanwhile, and only so many names
//! are at a time.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

use super::connector::{Resolve, Resolving};

/// Names that are looked up at a time: half of the threads that the runtime has for what blocks.
const NAMES_MAX: usize = 256;

/// Addresses, or why there are none.
type Answer = Result<Vec<SocketAddr>, io::ErrorKind>;
/// An answer that several wait for.
type Asked = Shared<BoxFuture<'static, Answer>>;

/// Shares what is looked up.
#[derive(Clone)]
pub struct Lookups {
    resolver: Arc<dyn Resolve>,
    asked: Arc<Mutex<HashMap<(String, u16), Asked>>>,
    free: Arc<Semaphore>,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}

impl Lookups {
    /// Of names that `resolver` finds.
    pub fn of(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, asked: Arc::default(), free: Arc::new(Semaphore::new(NAMES_MAX)) }
    }

    /// The answer under way, or a new one.
    fn ask(&self, name: (String, u16)) -> Asked {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = asked.get(&name) {
            return answer.clone();
        }
        let (lookups, key) = (self.clone(), name.clone());
        // It goes on when those who wait have gone: its thread does so anyway, and who asks next takes part in it.
        let task = tokio::spawn(async move { lookups.look_up(&key).await });
        let (all, key) = (self.asked.clone(), name.clone());
        let ended = move |ended: Result<Answer, _>| {
            ended.unwrap_or_else(|_| {
                // It broke off: the next one who asks begins anew.
                all.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                Err(io::ErrorKind::Interrupted)
            })
        };
        let answer = task.map(ended).boxed().shared();
        asked.insert(name, answer.clone());
        answer
    }

    /// Looks a name up in its turn, unless all who asked have gone by then.
    async fn look_up(&self, name: &(String, u16)) -> Answer {
        let _free = self.free.acquire().await.map_err(|_| io::ErrorKind::Interrupted)?;
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            // One of them is the map's own.
            if asked.get(name).and_then(Shared::strong_count).is_some_and(|waiting| waiting <= 1) {
                asked.remove(name);
                return Err(io::ErrorKind::Interrupted);
            }
        }
        let answer = self.resolver.resolve(&name.0, name.1).await.map_err(|error| error.kind());
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        answer
    }
}

impl Resolve for Lookups {
    fn resolve(&self, host: &str, port: u16) -> Resolving {
        if host.parse::<IpAddr>().is_ok() {
            return self.resolver.resolve(host, port);
        }
        let answer = self.ask((host.to_owned(), port));
        Box::pin(async move { answer.await.map_err(io::Error::from) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::watch;

    use super::*;

    /// Answers once it is told to, and counts questions.
    #[derive(Debug)]
    struct Silent {
        questions: AtomicUsize,
        speaks: watch::Sender<bool>,
    }

    impl Resolve for Silent {
        fn resolve(&self, host: &str, port: u16) -> Resolving {
            self.questions.fetch_add(1, Ordering::SeqCst);
            let (fails, mut speaks) = (host == "nowhere.example", self.speaks.subscribe());
            Box::pin(async move {
                speaks.wait_for(|speaks| *speaks).await.map_err(io::Error::other)?;
                if fails {
                    Err(io::ErrorKind::NotFound.into())
                } else {
                    Ok(vec![([192, 0, 2, 1], port).into()])
                }
            })
        }
    }

    fn silent() -> (Arc<Silent>, Lookups) {
        let silent = Arc::new(Silent { questions: AtomicUsize::new(0), speaks: watch::Sender::new(false) });
        (silent.clone(), Lookups::of(silent))
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_ask_meanwhile() {
        let (silent, lookups) = silent();
        // Who asked first goes, when others have asked, too.
        assert!(lookups.resolve("a.example", 80).now_or_never().is_none());
        let others: Vec<_> = (0..9).map(|_| tokio::spawn(lookups.resolve("a.example", 80))).collect();
        let nowhere = tokio::spawn(lookups.resolve("nowhere.example", 80));
        while silent.questions.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        silent.speaks.send_replace(true);
        for other in others {
            assert_eq!(other.await.unwrap().unwrap(), [([192, 0, 2, 1], 80).into()]);
        }
        assert_eq!(nowhere.await.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(silent.questions.load(Ordering::SeqCst), 2);
        // Nothing is kept: names can change what they mean.
        assert!(lookups.asked.lock().unwrap().is_empty());
        lookups.resolve("a.example", 80).await.unwrap();
        assert_eq!(silent.questions.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn names_without_an_answer_take_no_more_than_their_share() {
        let (silent, lookups) = silent();
        let asking: Vec<_> = (0..NAMES_MAX + 20)
            .map(|nth| tokio::spawn(lookups.resolve(&format!("{nth}.example"), 80)))
            .collect();
        while silent.questions.load(Ordering::SeqCst) < NAMES_MAX {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(silent.questions.load(Ordering::SeqCst), NAMES_MAX);
        // Who waits no more when its turn comes asks nobody.
        assert!(lookups.resolve("gone.example", 80).now_or_never().is_none());
        // An address is no name.
        silent.speaks.send_replace(true);
        assert_eq!(lookups.resolve("192.0.2.7", 80).await.unwrap().len(), 1);
        for one in asking {
            one.await.unwrap().unwrap();
        }
        while !lookups.asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(silent.questions.load(Ordering::SeqCst), NAMES_MAX + 20 + 1);
    }
}
