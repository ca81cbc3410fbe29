//! What a turn reads of the store, through a trait, because this module knows no store.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::limits::{READ_WALL, READS};
use nodepath_model::effect::Scope;
use nodepath_model::turn::HistoryPage;

/// What the plugins of one conversation may read. Each method answers from a committed state; a turn's own writes are laid
/// over it by the caller.
pub trait Reads: Send + Sync + 'static {
    /// The value of a key; none if there is none or it has expired.
    fn state<'a>(
        &'a self,
        scope: Scope,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, ReadError>>;

    /// The keys that begin with `prefix` and come after `after`, in the order of their bytes, at most `limit`.
    fn state_keys<'a>(
        &'a self,
        scope: Scope,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>>;

    /// What was said before this turn, newest first, at most `limit` messages.
    fn history<'a>(
        &'a self,
        limit: u32,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<HistoryPage, ReadError>>;
}

/// A value as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// The value.
    pub value: Vec<u8>,
    /// Rises with each write; never 0, which stands for a key that does not exist.
    pub version: i64,
}

/// Why a read has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The cursor is not one that this host gave out.
    #[error("the cursor is not one that this host gave out")]
    BadCursor,
    /// The store can't answer now. Whoever implements [`Reads`] logs why; a plugin is only told to try again.
    #[error("the store can't answer now")]
    Unavailable,
}

/// Nothing was ever said or kept: what a plugin sees while it is checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReads;

impl Reads for NoReads {
    fn state<'a>(
        &'a self,
        _: Scope,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, ReadError>> {
        Box::pin(async { Ok(None) })
    }

    fn state_keys<'a>(
        &'a self,
        _: Scope,
        _: &'a str,
        _: Option<&'a str>,
        _: u32,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn history<'a>(
        &'a self,
        _: u32,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<HistoryPage, ReadError>> {
        Box::pin(async { Ok(HistoryPage::default()) })
    }
}

/// The reads of one turn: so many, and none for ever.
pub(super) struct Budgeted {
    reads: Arc<dyn Reads>,
    left: u32,
}

/// Why a turn's read has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The turn has read too often.
    Limit,
    /// As [`ReadError::BadCursor`].
    BadCursor,
    /// The store can't answer, or not in time.
    Unavailable,
}

/// All that a plugin is told of a failure of the host.
pub(super) const UNAVAILABLE: &str = "try again later";

impl Budgeted {
    /// The reads of a turn.
    pub(super) fn new(reads: Arc<dyn Reads>) -> Self {
        Self { reads, left: READS }
    }

    /// Takes one read from the turn's budget.
    pub(super) fn one(&mut self) -> Result<Arc<dyn Reads>, Refusal> {
        self.left = self.left.checked_sub(1).ok_or(Refusal::Limit)?;
        Ok(Arc::clone(&self.reads))
    }
}

/// Waits for an answer of the store, but not for ever.
pub(super) async fn answer<T>(read: BoxFuture<'_, Result<T, ReadError>>) -> Result<T, Refusal> {
    match timeout(READ_WALL, read).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(ReadError::BadCursor)) => Err(Refusal::BadCursor),
        Ok(Err(ReadError::Unavailable)) | Err(_) => Err(Refusal::Unavailable),
    }
}

impl Refusal {
    /// The limit that was met, in words.
    pub(super) fn limit() -> String {
        format!("a turn may read {READS} times")
    }
}
