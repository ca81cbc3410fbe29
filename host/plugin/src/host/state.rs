//! `state`: values that last across turns. Reads see the turn's own writes, and writes wait for its commit.

use std::time::Duration;

use wasmtime::component::HasData;

use crate::bindings::state::{self, Host, StateError};
use crate::buffer::{Buffer, Full};
use crate::grant;
use crate::limits::{KEYS, VALUE_BYTES};
use crate::overlay::{Overlay, Seen};
use crate::reads::{Budgeted, Refusal, UNAVAILABLE, answer};
use nodepath_model::effect::Scope;
use nodepath_model::{Effect, Timestamp};

type Answer<T> = Result<T, StateError>;

/// What a turn knows of its state.
pub(crate) struct State<'a> {
    /// The turn's own writes, and what it read.
    pub(crate) overlay: &'a mut Overlay,
    /// Where the writes go.
    pub(crate) buffer: &'a mut Buffer,
    /// What was there before.
    pub(crate) reads: &'a mut Budgeted,
    /// The start of the turn.
    pub(crate) now: Timestamp,
}

/// The type that stands for [`State`] when it is linked.
pub(crate) struct HasState;

impl HasData for HasState {
    type Data<'a> = State<'a>;
}

impl Host for State<'_> {
    async fn get(&mut self, scope: state::Scope, key: String) -> Answer<Option<Vec<u8>>> {
        valid("key", &key, false)?;
        let scope = scope.into();
        if let Seen::Here(value) = self.overlay.seen(scope, &key) {
            return Ok(value);
        }
        let reads = self.reads.one()?;
        let stored = answer(reads.state(scope, &key)).await?;
        Ok(self.overlay.merge(scope, &key, stored))
    }

    fn set(
        &mut self,
        scope: state::Scope,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Answer<()> {
        valid("key", &key, false)?;
        if value.len() > VALUE_BYTES {
            return Err(StateError::TooLarge(
                u64::try_from(VALUE_BYTES).unwrap_or(u64::MAX),
            ));
        }
        if ttl_ms == Some(0) {
            return Err(StateError::Invalid(
                "ttl-ms is 0; use `delete` to forget a value".to_owned(),
            ));
        }
        let scope = scope.into();
        let effect = Effect::SetState {
            scope,
            key: key.clone(),
            value: value.clone(),
            expires_at: ttl_ms.map(|ms| self.now.plus(Duration::from_millis(ms))),
        };
        self.buffer.push(effect, key.len() + value.len())?;
        self.overlay.set(scope, key, value);
        Ok(())
    }

    fn delete(&mut self, scope: state::Scope, key: String) -> Answer<()> {
        valid("key", &key, false)?;
        let scope = scope.into();
        let effect = Effect::DeleteState {
            scope,
            key: key.clone(),
        };
        self.buffer.push(effect, key.len())?;
        self.overlay.delete(scope, key);
        Ok(())
    }

    async fn list_keys(
        &mut self,
        scope: state::Scope,
        prefix: String,
        limit: u32,
        cursor: Option<String>,
    ) -> Answer<(Vec<String>, Option<String>)> {
        valid("prefix", &prefix, true)?;
        if let Some(cursor) = &cursor {
            valid("cursor", cursor, false)?;
        }
        let scope: Scope = scope.into();
        let limit = limit.min(KEYS);
        if limit == 0 {
            return Ok((Vec::new(), cursor));
        }
        let after = cursor.as_deref();
        // As many as the page needs when every key that this turn deleted is among them, and one to see whether more follow.
        let enough = limit
            .saturating_add(1)
            .saturating_add(self.overlay.deleted(scope));
        let reads = self.reads.one()?;
        let stored = answer(reads.state_keys(scope, &prefix, after, enough)).await?;
        Ok(self.overlay.page(scope, &prefix, after, stored, limit))
    }

    fn increment(&mut self, scope: state::Scope, key: String, by: i64) -> Answer<()> {
        valid("key", &key, false)?;
        let scope = scope.into();
        let effect = Effect::IncrementState {
            scope,
            key: key.clone(),
            by,
        };
        self.buffer.push(effect, key.len() + size_of::<i64>())?;
        self.overlay.increment(scope, key, by);
        Ok(())
    }
}

fn valid(argument: &str, key: &str, may_be_empty: bool) -> Answer<()> {
    grant::key(argument, key, may_be_empty).map_err(StateError::Invalid)
}

impl From<Full> for StateError {
    fn from(full: Full) -> Self {
        Self::LimitExceeded(full.0)
    }
}

impl From<Refusal> for StateError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Limit => Self::LimitExceeded(Refusal::limit()),
            Refusal::BadCursor => {
                Self::Invalid("the cursor is not one that this host gave out".to_owned())
            }
            Refusal::Unavailable => Self::Unavailable(UNAVAILABLE.to_owned()),
        }
    }
}
