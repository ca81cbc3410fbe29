//! `state`: values that last across turns. Reads see the turn's own writes, and writes wait for its commit.

use std::time::Duration;

use wasmtime::component::HasData;

use crate::model::effect::Scope;
use crate::model::{Effect, Timestamp};
use crate::plugin::bindings::state::{self, Host, StateError};
use crate::plugin::buffer::{Buffer, Full};
use crate::plugin::grant;
use crate::plugin::limits::{KEYS, VALUE_BYTES};
use crate::plugin::overlay::{Overlay, Seen};
use crate::plugin::reads::{Budgeted, Refusal, UNAVAILABLE, answer};

type Answer<T> = Result<T, StateError>;

/// What a turn knows of its state.
pub(in crate::plugin) struct State<'a> {
    /// The turn's own writes, and what it read.
    pub(in crate::plugin) overlay: &'a mut Overlay,
    /// Where the writes go.
    pub(in crate::plugin) buffer: &'a mut Buffer,
    /// What was there before.
    pub(in crate::plugin) reads: &'a mut Budgeted,
    /// The start of the turn.
    pub(in crate::plugin) now: Timestamp,
}

/// The type that stands for [`State`] when it is linked.
pub(in crate::plugin) struct HasState;

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
