use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// What was opened, beside what it was opened from. A store that reads its policies again gives other values, so that what
/// changed is opened anew, and what no store holds any more is dropped.
pub(super) struct Cache<K, T>(Mutex<HashMap<K, Pair<T>>>);

struct Pair<T> {
    sealed: Arc<T>,
    opened: Arc<T>,
}

impl<K, T> Default for Cache<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T> Cache<K, T> {
    /// The opened value; the sealed one if it cannot be opened, which is tried again the next time.
    pub(super) fn get(&self, key: K, sealed: &Arc<T>, open: impl FnOnce(&T) -> Option<T>) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = known.get(&key).filter(|pair| Arc::ptr_eq(&pair.sealed, sealed)) {
            return Arc::clone(&pair.opened);
        }
        let Some(opened) = open(sealed).map(Arc::new) else { return Arc::clone(sealed) };
        // Held by nobody else any more.
        known.retain(|_, pair| Arc::strong_count(&pair.sealed) > 1);
        known.insert(key, Pair { sealed: Arc::clone(sealed), opened: Arc::clone(&opened) });
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_outside_is_dropped_here() {
        let cache = Cache::default();
        let (one, two) = (Arc::new(1), Arc::new(2));
        assert_eq!(*cache.get('a', &one, |n| Some(n * 10)), 10);
        assert_eq!(*cache.get('a', &one, |_| None), 10);
        let opened = Arc::downgrade(&cache.get('a', &one, |_| None));
        drop(one);
        assert_eq!(*cache.get('b', &two, |n| Some(n * 10)), 20);
        assert!(opened.upgrade().is_none());
        let changed = Arc::new(3);
        assert_eq!(*cache.get('b', &changed, |n| Some(n * 10)), 30);
        assert_eq!(*cache.get('c', &two, |_| None), 2);
    }
}
