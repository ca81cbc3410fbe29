//! How many of something one party may have at once, so that it leaves room for the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what each party holds. Clones count together.
#[derive(Debug)]
pub struct Shares<K> {
    most: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self {
            most: self.most,
            held: self.held.clone(),
        }
    }
}

/// One of a party's share. It goes back when it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    key: K,
    of: Shares<K>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// At most so many for each.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            held: Arc::default(),
        }
    }

    /// Takes one, unless this party has as many as it may.
    #[must_use]
    pub fn take(&self, key: K) -> Option<Share<K>> {
        let mut held = lock(&self.held);
        let count = held.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share {
            key,
            of: self.clone(),
        })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.of.held);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            // The map holds only who holds something.
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

/// Every change of the map is one step, so it is whole even if a holder of the mutex panicked.
fn lock<K>(held: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_share_of_its_own_and_what_is_dropped_is_free_again() {
        let shares = Shares::new(2);
        let first = shares.take("a").unwrap();
        let _second = shares.take("a").unwrap();
        assert!(shares.take("a").is_none());
        assert!(shares.take("b").is_some());
        drop(first);
        assert!(shares.take("a").is_some());
        assert_eq!(
            lock(&shares.held).len(),
            1,
            "only who holds something is there"
        );
    }
}
