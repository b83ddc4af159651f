//! What every kind of run has in common: how one seed is run, and many of them on all cores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::time::{Rest, Sim};
use crate::world::{Bug, World};

/// How a run of any kind went.
pub trait Outcome: Default + Send {
    fn violations(&mut self) -> &mut Vec<String>;

    /// What happened, if the run was to note it.
    fn trace(&self) -> &[String];
}

/// Runs one seed of one kind: the seed, what is broken on purpose, and whether it notes what happens.
pub type Run<D> = fn(u64, Option<Bug>, bool) -> D;

/// What a seed begins with: an installation, on a thread that is the seed's alone. `work` ends what it begins.
pub fn begin<T>(seed: u64, bug: Option<Bug>, traced: bool, work: impl FnOnce(&Sim, &Arc<World>) -> T) -> T {
    // Timers of tokio are not used for anything that is waited for, but some want to be made.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    // The SDK's own jitter.
    fastrand::seed(seed);
    let sim = Sim::new(seed, traced);
    let world = World::new(seed, &sim, bug);
    work(&sim, &world)
}

/// Runs until `work` is done, which nothing goes wrong with: what it came to.
pub fn wait_for<T: Send + 'static>(
    sim: &Sim,
    end: Duration,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let (over, result) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (tell, put) = (over.clone(), result.clone());
    let work: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(work);
    sim.spawn(async move {
        let came_to = work.await;
        *put.lock().unwrap_or_else(PoisonError::into_inner) = Some(came_to);
        tell.store(true, Ordering::Relaxed);
    });
    assert_eq!(sim.run(end, || over.load(Ordering::Relaxed)), Rest::Done, "nothing goes wrong here");
    result.lock().unwrap_or_else(PoisonError::into_inner).take().expect("it is done")
}

/// Runs seeds on all cores, and hands each outcome over. Whoever is done takes the next seed, so that no core waits
/// for a long run but at the very end.
pub fn on_all_cores<D: Outcome>(
    seeds: impl Iterator<Item = u64> + Send,
    run: Run<D>,
    take: impl FnMut(u64, D) + Send,
) {
    let (seeds, take) = (Mutex::new(seeds), Mutex::new(take));
    let next = || seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(seed) = next() {
            let done = catch_unwind(AssertUnwindSafe(|| run(seed, None, false))).unwrap_or_else(|_| {
                let mut done = D::default();
                done.violations().push("the run panicked".into());
                done
            });
            take.lock().unwrap_or_else(PoisonError::into_inner)(seed, done);
        }
    };
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
}

/// Runs one seed, and shows all that happened in it.
///
/// # Panics
/// It broke a promise.
pub fn show_one<D: Outcome>(seed: u64, run: Run<D>) {
    let mut done = run(seed, None, true);
    for line in done.trace() {
        crate::show(line);
    }
    let violations = done.violations();
    assert!(violations.is_empty(), "seed {seed}:\n{}", violations.join("\n"));
}

/// Looks for what is broken on purpose, seed by seed; the seed that finds it finds nothing without.
///
/// # Panics
/// None of the first `most` seeds finds it.
pub fn find<D: Outcome>(bug: Bug, most: u64, run: Run<D>) {
    let found = (1..=most).find_map(|seed| {
        let mut broken = run(seed, Some(bug), false);
        broken.violations().first().map(|violation| (seed, violation.clone()))
    });
    let (seed, violation) = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
    let without = std::mem::take(run(seed, None, false).violations());
    assert_eq!(without, Vec::<String>::new(), "seed {seed} has another fault");
    crate::show(&format!("{bug:?}: found after {seed} seeds: {violation}"));
}

/// Seeds that broke something, with what they broke.
pub fn describe<'a>(broken: impl IntoIterator<Item = (&'a u64, &'a Vec<String>)>, test: &str) -> String {
    let lines = broken.into_iter().map(|(seed, violations)| {
        format!(
            "seed {seed} (POSTRIDER_SIM_SEED={seed} cargo test -p tests --test sim -- --nocapture {test}):\n  {}\n",
            violations.join("\n  ")
        )
    });
    lines.collect()
}
