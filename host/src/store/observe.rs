//! What the lock tells: the seed's five lines, verbatim and at its levels, and the figures behind them. They are told by the
//! writer, after the commit and in its order, so the log never says what did not happen.

use metrics::{counter, gauge, histogram};

use super::rows::Row;
use crate::model::{ProspectId, Timestamp};

/// Locks taken.
pub(super) const ACQUIRED: &str = "nodepath_session_locks_acquired_total";
/// Messages that met a lock, by `action`.
pub(super) const BUSY: &str = "nodepath_session_locks_busy_total";
/// Locks held now.
pub(super) const ACTIVE: &str = "nodepath_session_locks_active";
/// How long a lock was held, in seconds.
pub(super) const HELD: &str = "nodepath_session_lock_held_seconds";
/// Locks of a dead host that this one has freed.
pub(super) const RECOVERED: &str = "nodepath_session_locks_recovered_total";

/// Something that happened to a session lock.
pub(super) struct LockEvent {
    kind: Kind,
    device: String,
    prospect: String,
    conversation: String,
    epoch: i64,
}

enum Kind {
    Acquired,
    Busy(&'static str),
    Released { held_ms: u64 },
}

impl LockEvent {
    pub(super) fn acquired(row: &Row) -> Self {
        Self::of(row, Kind::Acquired)
    }

    pub(super) fn busy(row: &Row, action: &'static str) -> Self {
        Self::of(row, Kind::Busy(action))
    }

    pub(super) fn released(row: &Row, now: Timestamp) -> Self {
        let held = row.locked_at.map_or(0, |at| now.0.saturating_sub(at));
        Self::of(
            row,
            Kind::Released {
                held_ms: u64::try_from(held).unwrap_or(0),
            },
        )
    }

    fn of(row: &Row, kind: Kind) -> Self {
        Self {
            kind,
            device: row.device.clone(),
            // A log is read by more people than may know a number.
            prospect: ProspectId::from_trusted(&row.prospect).masked(),
            conversation: row.id.clone(),
            epoch: row.epoch,
        }
    }
}

/// Tells one.
pub(super) fn lock(event: &LockEvent) {
    let LockEvent {
        kind,
        device: id_device,
        prospect,
        conversation,
        epoch,
    } = event;
    match kind {
        Kind::Acquired => {
            counter!(ACQUIRED).increment(1);
            gauge!(ACTIVE).increment(1);
            tracing::info!(
                id_device,
                id_prospect = prospect,
                conversation,
                epoch,
                "🔒 EXECUTION LOCK: This is the oldest execution - proceeding with processing"
            );
            tracing::info!(
                id_device,
                id_prospect = prospect,
                from = prospect,
                conversation,
                epoch,
                "🔒 SESSION LOCK: Session lock acquired - proceeding with processing"
            );
        }
        Kind::Busy(action) => {
            counter!(BUSY, "action" => *action).increment(1);
            tracing::warn!(
                id_device,
                id_prospect = prospect,
                from = prospect,
                conversation,
                epoch,
                action,
                "🔒 SESSION LOCK: Session already locked - duplicate message detected, skipping processing"
            );
        }
        Kind::Released { held_ms } => {
            gauge!(ACTIVE).decrement(1);
            histogram!(HELD).record(std::time::Duration::from_millis(*held_ms).as_secs_f64());
            tracing::info!(
                id_device,
                id_prospect = prospect,
                from = prospect,
                conversation,
                epoch,
                held_ms,
                "🔒 SESSION LOCK: Session lock released successfully"
            );
        }
    }
}
