//! The CPU that threads have used, by their names.

use std::collections::BTreeMap;
use std::time::Duration;

/// CPU time of each name.
pub(crate) type ByName = BTreeMap<String, Duration>;

/// What this process's threads have used so far; empty where the system does not tell.
pub(crate) fn by_name() -> ByName {
    let mut all = ByName::new();
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return all };
    for thread in threads.flatten() {
        // A thread may end meanwhile.
        let read = |file: &str| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        let (name, used) = (read("comm"), read("schedstat"));
        let used = used.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        *all.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(used);
    }
    all
}

/// What was used between two looks.
pub(crate) fn between(before: &ByName, after: &ByName) -> ByName {
    after
        .iter()
        .map(|(name, used)| {
            let earlier = before.get(name).copied().unwrap_or_default();
            (name.clone(), used.saturating_sub(earlier))
        })
        .filter(|(_, used)| !used.is_zero())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn threads_are_told_apart_by_their_names() {
        let before = by_name();
        let (send, wait) = std::sync::mpsc::channel::<()>();
        let (told, worked) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("diligent".into()).spawn(move || {
            let mut sum = 0_u64;
            (0..20_000_000_u64).for_each(|n| sum = std::hint::black_box(sum.wrapping_add(n)));
            told.send(sum).unwrap();
            wait.recv().unwrap();
        });
        worked.recv().unwrap();
        let used = between(&before, &by_name());
        assert!(used["diligent"] > Duration::from_micros(100), "{used:?}");
        send.send(()).unwrap();
        thread.unwrap().join().unwrap();
    }
}
