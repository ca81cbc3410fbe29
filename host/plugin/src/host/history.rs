//! `history`: what was said before this turn.

use wasmtime::component::HasData;

use crate::bindings::history::{HistoryError, Host, Page};
use crate::limits::{HISTORY, KEY_BYTES};
use crate::reads::{Budgeted, Refusal, UNAVAILABLE, answer};

/// The type that stands for a turn's reads when `history` is linked.
pub(crate) struct HasHistory;

impl HasData for HasHistory {
    type Data<'a> = &'a mut Budgeted;
}

impl Host for Budgeted {
    async fn recent(&mut self, limit: u32, cursor: Option<String>) -> Result<Page, HistoryError> {
        // A cursor of ours is short; the store need not see another.
        if cursor.as_ref().is_some_and(|c| c.len() > KEY_BYTES) {
            return Err(HistoryError::BadCursor);
        }
        let reads = self.one()?;
        let page = answer(reads.history(limit.min(HISTORY), cursor.as_deref())).await?;
        Ok(Page {
            entries: page.entries.into_iter().map(Into::into).collect(),
            next: page.next,
        })
    }
}

impl From<Refusal> for HistoryError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Limit => Self::Unavailable(Refusal::limit()),
            Refusal::BadCursor => Self::BadCursor,
            Refusal::Unavailable => Self::Unavailable(UNAVAILABLE.to_owned()),
        }
    }
}
