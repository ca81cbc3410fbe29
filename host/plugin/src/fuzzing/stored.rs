//! What was kept and said before the turn.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use futures_util::future::BoxFuture;

use super::call;
use crate::reads::{ReadError, Reads, StoredValue};
use nodepath_model::content::Content;
use nodepath_model::effect::Scope;
use nodepath_model::turn::{Author, HistoryEntry, HistoryPage};

/// A key that the store can't read.
const BROKEN: &str = "k/7";

/// The most keys that were kept: more than one page of a small limit, few enough to make in no time.
const MOST_KEYS: usize = 12;

/// A store that stands still.
pub(super) struct Stored {
    pub(super) values: BTreeMap<(Scope, String), StoredValue>,
}

impl Stored {
    pub(super) fn arbitrary(input: &mut Unstructured<'_>) -> Result<Self> {
        let count = input.int_in_range(0..=MOST_KEYS)?;
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let place = (call::scope(input)?.into(), call::key(input)?);
            let value = call::number_or_bytes(input)?;
            let version = input.int_in_range(1..=9)?;
            values.insert(place, StoredValue { value, version });
        }
        Ok(Self { values })
    }

    pub(super) fn value(&self, scope: Scope, key: &str) -> Option<&StoredValue> {
        self.values.get(&(scope, key.to_owned()))
    }

    /// Whether asking for this key fails.
    pub(super) fn is_broken(key: &str) -> bool {
        key == BROKEN
    }

    pub(super) fn keys(&self, scope: Scope) -> impl Iterator<Item = &String> {
        self.values
            .keys()
            .filter(move |(of, _)| *of == scope)
            .map(|(_, key)| key)
    }
}

impl Reads for Stored {
    fn state<'a>(
        &'a self,
        scope: Scope,
        key: &'a str,
    ) -> BoxFuture<'a, std::result::Result<Option<StoredValue>, ReadError>> {
        Box::pin(async move {
            if Self::is_broken(key) {
                return Err(ReadError::Unavailable);
            }
            Ok(self.value(scope, key).cloned())
        })
    }

    fn state_keys<'a>(
        &'a self,
        scope: Scope,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, std::result::Result<Vec<String>, ReadError>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Box::pin(async move {
            Ok(self
                .keys(scope)
                .filter(|key| key.starts_with(prefix))
                .filter(|key| after.is_none_or(|after| key.as_str() > after))
                .take(limit)
                .cloned()
                .collect())
        })
    }

    fn history<'a>(
        &'a self,
        limit: u32,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, std::result::Result<HistoryPage, ReadError>> {
        Box::pin(async move {
            if cursor.is_some() {
                return Err(ReadError::BadCursor);
            }
            let entry = |n| HistoryEntry {
                id: format!("msg_{n}"),
                at: super::NOW,
                author: Author::Prospect,
                content: Content::text("hi"),
            };
            Ok(HistoryPage {
                entries: (0..limit).map(entry).collect(),
                next: None,
            })
        })
    }
}
