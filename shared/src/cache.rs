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

    /// Keeps a value. A full cache drops what is too old, and if that is nothing, the oldest.
    pub fn put(&self, key: K, value: V, now: Timestamp) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.size_max && !entries.contains_key(&key) {
            entries.retain(|_, (at, _)| now.since(*at) < AGE_MAX);
            if entries.len() >= self.size_max
                && let Some(oldest) =
                    entries.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone())
            {
                entries.remove(&oldest);
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
    fn old_entries_and_the_oldest_of_too_many_go() {
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
    }
}
