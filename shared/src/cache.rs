//! A small cache with an age limit, for what a function instance reads again and again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// No entry outlives this, whatever versions say.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Keeps up to a fixed number of values for up to a minute.
#[derive(Debug)]
pub struct Cache<K, V> {
    entries: Mutex<HashMap<K, (Timestamp, V)>>,
    size_max: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    /// An empty cache of up to `size_max` entries.
    pub fn new(size_max: usize) -> Self {
        Self { entries: Mutex::default(), size_max }
    }

    /// The value, if it is there and young enough.
    pub fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(at, _)| now.since(*at) < AGE_MAX).map(|(_, value)| value.clone())
    }

    /// Keeps a value. A full cache drops what is too old, and if that is less than a half, the older half:
    /// so what a value costs does not depend on how many there are.
    pub fn put(&self, key: K, value: V, now: Timestamp) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.size_max && !entries.contains_key(&key) {
            entries.retain(|_, (at, _)| now.since(*at) < AGE_MAX);
            let mut ages: Vec<Timestamp> = entries.values().map(|(at, _)| *at).collect();
            let too_many = ages.len().saturating_sub(self.size_max / 2);
            if too_many > 0 {
                let (_, last, _) = ages.select_nth_unstable(too_many - 1);
                let last = *last;
                entries.retain(|_, (at, _)| *at > last);
            }
        }
        entries.insert(key, (now, value));
    }

    /// Drops a value.
    pub fn remove(&self, key: &K) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_entries_and_the_older_half_of_too_many_go() {
        let cache = Cache::new(2);
        let at = |s: u64| Timestamp::from_ms(s * 1000);
        cache.put("a", 1, at(0));
        cache.put("b", 2, at(30));
        assert_eq!(cache.get(&"a", at(59)), Some(1));
        assert_eq!(cache.get(&"a", at(60)), None);
        cache.put("c", 3, at(31));
        assert_eq!((cache.get(&"a", at(31)), cache.get(&"b", at(31))), (None, Some(2)));
        cache.remove(&"b");
        assert_eq!(cache.get(&"b", at(31)), None);

        let many = Cache::new(100);
        for n in 0..=100 {
            many.put(n, n, at(n / 4));
        }
        let kept = (0..=100).filter(|n| many.get(n, at(26)).is_some()).count();
        assert!((40..=51).contains(&kept), "{kept}");
        assert_eq!((many.get(&0, at(26)), many.get(&100, at(26))), (None, Some(100)));
    }
}
