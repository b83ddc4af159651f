//! A small cache with an age limit, for what a function instance reads again and again.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// No entry outlives this, whatever versions say.
const AGE_MAX: Duration = Duration::from_secs(60);
/// A change is one transaction, but readers of several items can see a part of it for a moment: what is read
/// so soon after a change is used once and not kept.
const SETTLED: Duration = Duration::from_secs(1);

/// Keeps values for up to a minute, as many as weigh no more than a fixed sum.
#[derive(Debug)]
pub struct Cache<K, V> {
    entries: Mutex<Entries<K, V>>,
    weight_max: usize,
    weigh: fn(&V) -> usize,
}

#[derive(Debug)]
struct Entries<K, V> {
    by_key: HashMap<K, (Timestamp, V)>,
    /// Of all of them.
    weight: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    /// An empty cache of up to `size_max` entries.
    pub fn new(size_max: usize) -> Self {
        Self::weighing(size_max, |_| 1)
    }

    /// An empty cache of entries that `weigh` up to `weight_max` together. One that weighs more by itself
    /// is not kept.
    pub fn weighing(weight_max: usize, weigh: fn(&V) -> usize) -> Self {
        let entries = Mutex::new(Entries { by_key: HashMap::new(), weight: 0 });
        Self { entries, weight_max, weigh }
    }

    fn entries(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, if it is there and young enough.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Timestamp) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entries = self.entries();
        entries.by_key.get(key).filter(|(at, _)| now.since(*at) < AGE_MAX).map(|(_, value)| value.clone())
    }

    /// Keeps a value. A full cache drops what is too old, and then older ones, until half of it is free: so
    /// what a value costs does not depend on how many there are.
    pub fn put(&self, key: K, value: V, now: Timestamp) {
        let weight = (self.weigh)(&value);
        let mut entries = self.entries();
        entries.forget(&key, self.weigh);
        if weight > self.weight_max {
            return;
        }
        if entries.weight + weight > self.weight_max {
            let mut ages: Vec<(Timestamp, K)> =
                entries.by_key.iter().map(|(key, (at, _))| (*at, key.clone())).collect();
            ages.sort_unstable_by_key(|(at, _)| *at);
            for (at, key) in ages {
                let enough =
                    entries.weight + weight <= self.weight_max && entries.weight <= self.weight_max / 2;
                if enough && now.since(at) < AGE_MAX {
                    break;
                }
                entries.forget(&key, self.weigh);
            }
        }
        entries.weight += weight;
        entries.by_key.insert(key, (now, value));
    }

    /// Drops a value.
    pub fn remove(&self, key: &K) {
        self.entries().forget(key, self.weigh);
    }
}

impl<K: Eq + Hash, V> Entries<K, V> {
    fn forget(&mut self, key: &K, weigh: fn(&V) -> usize) {
        if let Some((_, value)) = self.by_key.remove(key) {
            self.weight -= weigh(&value);
        }
    }
}

/// The version of what cached values belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Raised by each change of a value.
    pub number: u64,
    /// When it was raised last.
    pub raised_at: Timestamp,
}

/// Keeps values that belong to a version, which is read strongly before each use: a value holds as long as no
/// change has raised the version, and what is read within a second of a change is not kept.
#[derive(Debug)]
pub struct VersionedCache<K, V>(Cache<K, (u64, V)>);

impl<K: Eq + Hash + Clone, V: Clone> VersionedCache<K, V> {
    /// An empty cache of up to `size_max` entries.
    pub fn new(size_max: usize) -> Self {
        Self(Cache::new(size_max))
    }

    /// An empty cache of entries that `weigh` up to `weight_max` together; a value is weighed with its version.
    pub fn weighing(weight_max: usize, weigh: fn(&(u64, V)) -> usize) -> Self {
        Self(Cache::weighing(weight_max, weigh))
    }

    /// Whether there is a value that is young enough, of whatever version.
    pub fn contains(&self, key: &K, now: Timestamp) -> bool {
        self.0.get(key, now).is_some()
    }

    /// The value, if it is as new as `version`, which was just read.
    pub fn get(&self, key: &K, version: Version, now: Timestamp) -> Option<V> {
        self.0.get(key, now).filter(|(number, _)| *number >= version.number).map(|(_, value)| value)
    }

    /// Keeps a value that was read at `now`, after `version` was.
    pub fn put(&self, key: K, version: Version, value: V, now: Timestamp) {
        if now.since(version.raised_at) > SETTLED {
            self.0.put(key, (version.number, value), now);
        }
    }

    /// Drops a value.
    pub fn remove(&self, key: &K) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_until_its_version_is_raised_and_is_not_kept_within_a_second_of_that() {
        let at = Timestamp::from_ms;
        let version = |number, raised_at| Version { number, raised_at: at(raised_at) };
        let cache = VersionedCache::new(10);
        cache.put("a", version(1, 5_000), "too soon", at(6_000));
        assert!(!cache.contains(&"a", at(6_000)));
        cache.put("a", version(1, 5_000), "one", at(6_001));
        assert_eq!(cache.get(&"a", version(1, 5_000), at(7_000)), Some("one"));
        assert_eq!(cache.get(&"a", version(2, 6_900), at(7_000)), None);
        // What reads the new version so soon does not put the old value out, nor make it hold.
        cache.put("a", version(2, 6_900), "two", at(7_000));
        assert!(cache.contains(&"a", at(7_000)));
        assert_eq!(cache.get(&"a", version(2, 6_900), at(7_000)), None);
        cache.put("a", version(2, 6_900), "two", at(8_000));
        assert_eq!(cache.get(&"a", version(2, 6_900), at(8_000)), Some("two"));
        // Who read the version before that may use what is newer.
        assert_eq!(cache.get(&"a", version(1, 5_000), at(8_000)), Some("two"));
        assert!(!cache.contains(&"a", at(68_000)), "whatever versions say");
        cache.remove(&"a");
        assert!(!cache.contains(&"a", at(8_000)));
    }

    #[test]
    fn old_entries_and_the_older_half_of_too_many_go() {
        let cache = Cache::new(2);
        let at = |s: u64| Timestamp::from_ms(s * 1000);
        cache.put("a", 1, at(0));
        cache.put("b", 2, at(30));
        assert_eq!(cache.get("a", at(59)), Some(1));
        assert_eq!(cache.get("a", at(60)), None);
        cache.put("c", 3, at(31));
        assert_eq!((cache.get("a", at(31)), cache.get("b", at(31))), (None, Some(2)));
        cache.remove(&"b");
        assert_eq!(cache.get("b", at(31)), None);

        let many = Cache::new(100);
        for n in 0..=100 {
            many.put(n, n, at(n / 4));
        }
        let kept = (0..=100).filter(|n| many.get(n, at(26)).is_some()).count();
        assert!((40..=51).contains(&kept), "{kept}");
        assert_eq!((many.get(&0, at(26)), many.get(&100, at(26))), (None, Some(100)));
    }

    #[test]
    fn what_is_heavy_takes_the_place_of_many() {
        let cache = Cache::weighing(10, |text: &&str| text.len());
        let at = Timestamp::from_ms;
        for (n, text) in ["aaa", "bbb", "ccc"].into_iter().enumerate() {
            cache.put(n, text, at(n as u64));
        }
        // The same key again weighs once.
        cache.put(2, "CCCC", at(3));
        assert!([0, 1, 2].iter().all(|n| cache.get(n, at(4)).is_some()));
        cache.put(3, "dddddd", at(4));
        let kept: Vec<_> = (0..4).map(|n| cache.get(&n, at(5))).collect();
        assert_eq!(kept, [None, None, Some("CCCC"), Some("dddddd")]);
        // What is too heavy by itself is not kept, and nothing goes for it.
        cache.put(4, "eeeeeeeeeee", at(5));
        cache.put(2, "CCCCCCCCCCC", at(5));
        let kept: Vec<_> = (2..5).map(|n| cache.get(&n, at(6))).collect();
        assert_eq!(kept, [None, Some("dddddd"), None]);
    }
}
