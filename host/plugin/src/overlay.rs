//! A turn's own writes laid over the stored state, and what it saw of the scopes that others write too.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::reads::StoredValue;
use nodepath_model::effect::{Observed, Scope, incremented};

/// The state as one turn sees it.
#[derive(Default)]
pub(super) struct Overlay {
    own: BTreeMap<(Scope, String), Own>,
    observed: BTreeMap<(Scope, String), i64>,
}

/// What a turn did to a key.
enum Own {
    Value(Vec<u8>),
    Deleted,
    /// Added to a value that this turn has not replaced, one after the other: at the ends of 64 bits a sum would differ from
    /// what the commit makes of them.
    Added(Vec<i64>),
}

/// What a turn knows of a key without the store.
pub(super) enum Seen {
    /// It wrote this value, or deleted it.
    Here(Option<Vec<u8>>),
    /// It has to ask.
    Ask,
}

impl Overlay {
    /// What the turn's own writes say of a key.
    pub(super) fn seen(&self, scope: Scope, key: &str) -> Seen {
        match self.own.get(&(scope, key.to_owned())) {
            Some(Own::Value(value)) => Seen::Here(Some(value.clone())),
            Some(Own::Deleted) => Seen::Here(None),
            Some(Own::Added(_)) | None => Seen::Ask,
        }
    }

    /// The value of a key of which the store says `stored`. What a turn saw first is what its commit depends on.
    pub(super) fn merge(
        &mut self,
        scope: Scope,
        key: &str,
        stored: Option<StoredValue>,
    ) -> Option<Vec<u8>> {
        if scope != Scope::Conversation {
            let version = stored.as_ref().map_or(0, |stored| stored.version);
            self.observed
                .entry((scope, key.to_owned()))
                .or_insert(version);
        }
        let value = stored.map(|stored| stored.value);
        match self.own.get(&(scope, key.to_owned())) {
            Some(Own::Added(additions)) => additions
                .iter()
                .fold(value, |value, by| Some(incremented(value.as_deref(), *by))),
            _ => value,
        }
    }

    /// Notes a write.
    pub(super) fn set(&mut self, scope: Scope, key: String, value: Vec<u8>) {
        self.own.insert((scope, key), Own::Value(value));
    }

    /// Notes that a key is gone.
    pub(super) fn delete(&mut self, scope: Scope, key: String) {
        self.own.insert((scope, key), Own::Deleted);
    }

    /// Notes an addition. It reads nothing: the commit adds to whatever is there then.
    pub(super) fn increment(&mut self, scope: Scope, key: String, by: i64) {
        let own = self
            .own
            .entry((scope, key))
            .or_insert(Own::Added(Vec::new()));
        match own {
            Own::Value(value) => *own = Own::Value(incremented(Some(value), by)),
            Own::Deleted => *own = Own::Value(incremented(None, by)),
            Own::Added(additions) => additions.push(by),
        }
    }

    /// How many keys of a scope the turn deleted.
    pub(super) fn deleted(&self, scope: Scope) -> u32 {
        let count = self
            .own
            .iter()
            .filter(|((of, _), own)| *of == scope && matches!(own, Own::Deleted))
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A page of keys, with a cursor if more follow. `stored` has at least one key more than the page takes after those that
    /// the turn deleted, or else all that there are; so no key of the page lies beyond what the store was asked for.
    pub(super) fn page(
        &self,
        scope: Scope,
        prefix: &str,
        after: Option<&str>,
        stored: Vec<String>,
        limit: u32,
    ) -> (Vec<String>, Option<String>) {
        let mut keys: BTreeMap<String, ()> = stored.into_iter().map(|key| (key, ())).collect();
        let from = Bound::Included((scope, prefix.to_owned()));
        for ((of, key), own) in self.own.range((from, Bound::Unbounded)) {
            if *of != scope || !key.starts_with(prefix) {
                break;
            }
            if matches!(own, Own::Deleted) {
                keys.remove(key);
            } else if after.is_none_or(|after| key.as_str() > after) {
                keys.insert(key.clone(), ());
            }
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = keys.len() > limit;
        let page: Vec<String> = keys.into_keys().take(limit).collect();
        let cursor = page.last().filter(|_| more).cloned();
        (page, cursor)
    }

    /// What the turn saw of the scopes that other conversations write.
    pub(super) fn into_observed(self) -> Vec<Observed> {
        self.observed
            .into_iter()
            .map(|((scope, key), version)| Observed {
                scope,
                key,
                version,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: Scope = Scope::Conversation;
    const T: Scope = Scope::Tenant;

    fn stored(value: &str, version: i64) -> Option<StoredValue> {
        Some(StoredValue {
            value: value.as_bytes().to_vec(),
            version,
        })
    }

    /// What `get` answers where the store has `base`.
    fn get(overlay: &mut Overlay, scope: Scope, key: &str, base: Option<StoredValue>) -> String {
        let value = match overlay.seen(scope, key) {
            Seen::Here(value) => value,
            Seen::Ask => overlay.merge(scope, key, base),
        };
        value.map_or("none".to_owned(), |v| String::from_utf8(v).unwrap())
    }

    #[test]
    fn a_turn_reads_what_it_wrote() {
        let mut overlay = Overlay::default();
        assert_eq!(get(&mut overlay, C, "k", stored("old", 1)), "old");
        overlay.set(C, "k".to_owned(), b"new".to_vec());
        assert_eq!(get(&mut overlay, C, "k", stored("old", 1)), "new");
        assert_eq!(get(&mut overlay, T, "k", None), "none");
        overlay.delete(C, "k".to_owned());
        assert_eq!(get(&mut overlay, C, "k", stored("old", 1)), "none");
    }

    #[test]
    fn additions_are_seen_over_whatever_is_there() {
        let mut overlay = Overlay::default();
        overlay.increment(C, "n".to_owned(), 2);
        overlay.increment(C, "n".to_owned(), 3);
        assert_eq!(get(&mut overlay, C, "n", stored("10", 1)), "15");
        assert_eq!(get(&mut overlay, C, "n", None), "5");
        assert_eq!(get(&mut overlay, C, "n", stored("a word", 1)), "5");
        overlay.set(C, "n".to_owned(), b"7".to_vec());
        overlay.increment(C, "n".to_owned(), 1);
        assert_eq!(get(&mut overlay, C, "n", stored("10", 1)), "8");
        overlay.delete(C, "n".to_owned());
        overlay.increment(C, "n".to_owned(), -1);
        assert_eq!(get(&mut overlay, C, "n", stored("10", 1)), "-1");
    }

    #[test]
    fn additions_stop_at_the_ends_as_they_do_in_the_commit() {
        let mut overlay = Overlay::default();
        for by in [i64::MAX, -i64::MAX] {
            overlay.increment(C, "n".to_owned(), by);
        }
        assert_eq!(get(&mut overlay, C, "n", stored("5", 1)), "0");
        assert_eq!(get(&mut overlay, C, "n", None), "0");
    }

    #[test]
    fn only_reads_of_shared_scopes_are_observed_and_the_first_counts() {
        let mut overlay = Overlay::default();
        get(&mut overlay, C, "mine", stored("1", 9));
        overlay.increment(T, "counter".to_owned(), 1);
        overlay.set(T, "written".to_owned(), b"x".to_vec());
        get(&mut overlay, T, "written", stored("y", 4));
        get(&mut overlay, T, "read", stored("y", 4));
        get(&mut overlay, T, "read", stored("z", 5));
        get(&mut overlay, T, "missing", None);
        let seen: Vec<_> = overlay
            .into_observed()
            .into_iter()
            .map(|o| (o.key, o.version))
            .collect();
        assert_eq!(seen, [("missing".to_owned(), 0), ("read".to_owned(), 4)]);
    }

    /// The pages of a turn, each from a store that has `base`.
    fn pages(overlay: &Overlay, base: &[&str], prefix: &str, limit: u32) -> Vec<Vec<String>> {
        let (mut pages, mut after) = (Vec::new(), None::<String>);
        loop {
            let enough = limit + 1 + overlay.deleted(C);
            let stored = base
                .iter()
                .filter(|key| key.starts_with(prefix))
                .filter(|key| after.as_deref().is_none_or(|after| **key > after))
                .take(enough.try_into().unwrap())
                .map(|key| (*key).to_owned())
                .collect();
            let (page, next) = overlay.page(C, prefix, after.as_deref(), stored, limit);
            pages.push(page);
            match next {
                Some(next) => after = Some(next),
                None => return pages,
            }
        }
    }

    #[test]
    fn keys_are_those_of_the_store_and_of_the_turn() {
        let mut overlay = Overlay::default();
        let base = ["a/1", "a/2", "a/3", "a/5", "b/1"];
        overlay.set(C, "a/4".to_owned(), vec![]);
        overlay.set(C, "a/1".to_owned(), vec![]);
        overlay.increment(C, "a/0".to_owned(), 1);
        overlay.delete(C, "a/2".to_owned());
        overlay.delete(C, "a/9".to_owned());
        overlay.set(C, "c/1".to_owned(), vec![]);
        overlay.set(T, "a/6".to_owned(), vec![]);
        for limit in 1..8 {
            let pages = pages(&overlay, &base, "a/", limit);
            assert_eq!(
                pages.concat(),
                ["a/0", "a/1", "a/3", "a/4", "a/5"],
                "{limit}"
            );
        }
        assert_eq!(pages(&overlay, &base, "a/", 2).len(), 3);
        assert_eq!(pages(&overlay, &base, "", 9).concat().len(), 7);
    }
}
