//! What was used last, up to a size.

use std::collections::HashMap;
use std::hash::Hash;

/// Values with a size each. What was not used for longest goes first; what somebody else still holds lives on with them.
pub(super) struct Lru<K, V> {
    values: HashMap<K, Kept<V>>,
    bytes: u64,
    most_bytes: u64,
    most_values: usize,
    uses: u64,
}

struct Kept<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Lru<K, V> {
    /// Room for so many bytes and so many values.
    pub(super) fn new(most_bytes: u64, most_values: usize) -> Self {
        Self {
            values: HashMap::new(),
            bytes: 0,
            most_bytes,
            most_values,
            uses: 0,
        }
    }

    /// The value of a key, which counts as a use.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.uses += 1;
        let kept = self.values.get_mut(key)?;
        kept.used = self.uses;
        Some(kept.value.clone())
    }

    /// Keeps a value, also one that alone is larger than there is room.
    pub(super) fn put(&mut self, key: K, value: V, bytes: u64) {
        self.uses += 1;
        let used = self.uses;
        let kept = Kept { value, bytes, used };
        let before = self.values.insert(key, kept).map_or(0, |kept| kept.bytes);
        self.bytes = self.bytes.saturating_add(bytes).saturating_sub(before);
        while self.values.len() > 1 && self.is_full() {
            let oldest = self.values.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            let gone = self.values.remove(&oldest).map_or(0, |kept| kept.bytes);
            self.bytes = self.bytes.saturating_sub(gone);
        }
    }

    fn is_full(&self) -> bool {
        self.bytes > self.most_bytes || self.values.len() > self.most_values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut lru = Lru::new(10, 9);
        lru.put("a", 1, 4);
        lru.put("b", 2, 4);
        assert_eq!(lru.get(&"a"), Some(1));
        lru.put("c", 3, 4);
        assert_eq!(
            (lru.get(&"a"), lru.get(&"b"), lru.get(&"c")),
            (Some(1), None, Some(3))
        );
        lru.put("d", 4, 100);
        assert_eq!((lru.get(&"a"), lru.get(&"d")), (None, Some(4)));
        lru.put("d", 4, 1);
        lru.put("e", 5, 9);
        assert_eq!((lru.get(&"d"), lru.get(&"e")), (Some(4), Some(5)));
    }

    #[test]
    fn the_number_of_values_is_bounded_too() {
        let mut lru = Lru::new(u64::MAX, 2);
        (0..5).for_each(|n| lru.put(n, n, 0));
        assert_eq!(
            (lru.get(&2), lru.get(&3), lru.get(&4)),
            (None, Some(3), Some(4))
        );
    }
}
