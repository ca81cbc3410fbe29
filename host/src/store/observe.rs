//! What the lock tells: the seed's five lines, verbatim and at its levels, and the figures behind them. They are told
//! by whoever takes the commit's work, in the order of the commits, so the log never says what did not happen.

use metrics::{counter, gauge, histogram};

use super::rows::Row;
use super::{Error, Store};
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
#[derive(Clone)]
pub(super) struct LockEvent {
    kind: Kind,
    device: String,
    prospect: String,
    conversation: String,
    epoch: i64,
}

#[derive(Clone)]
enum Kind {
    Acquired,
    TakenForPart,
    SameText,
    Busy(&'static str),
    Released { held_ms: u64 },
}

impl LockEvent {
    pub(super) fn acquired(row: &Row) -> Self {
        Self::of(row, Kind::Acquired)
    }

    /// A part that is sent again has taken the lock; no turn runs.
    pub(super) fn taken_for_part(row: &Row) -> Self {
        Self::of(row, Kind::TakenForPart)
    }

    /// A message came that says what the one before it said; no lock is held.
    pub(super) fn same_text(row: &Row) -> Self {
        Self::of(row, Kind::SameText)
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
            tracing::info!(parent: None, id_device,
                id_prospect = prospect,
                conversation,
                epoch,
                "🔒 EXECUTION LOCK: This is the oldest execution - proceeding with processing"
            );
            acquired(event);
        }
        Kind::TakenForPart => acquired(event),
        Kind::SameText => tracing::info!(parent: None, id_device,
            id_prospect = prospect,
            conversation,
            "store: a message is skipped, since the same words came just before"
        ),
        Kind::Busy(action) => {
            counter!(BUSY, "action" => *action).increment(1);
            tracing::warn!(parent: None, id_device,
                id_prospect = prospect,
                from = prospect,
                conversation,
                epoch,
                action,
                "🔒 SESSION LOCK: Session already locked - duplicate message detected, skipping processing"
            );
        }
        Kind::Released { held_ms } => {
            histogram!(HELD).record(std::time::Duration::from_millis(*held_ms).as_secs_f64());
            tracing::info!(parent: None, id_device,
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

fn acquired(event: &LockEvent) {
    let prospect = &event.prospect;
    counter!(ACQUIRED).increment(1);
    tracing::info!(parent: None, id_device = event.device,
        id_prospect = prospect,
        from = prospect,
        conversation = event.conversation,
        epoch = event.epoch,
        "🔒 SESSION LOCK: Session lock acquired - proceeding with processing"
    );
}

impl Store {
    /// Brings the figure of held locks up to date. It is counted and not kept, so that it is right after a restart and after what
    /// people do by hand.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn observe_locks(&self) -> Result<(), Error> {
        let (locked,): (i32,) = sqlx::query_as(
            "SELECT COUNT(*) FROM conversation WHERE state IN ('running', 'sending')",
        )
        .fetch_one(&self.readers)
        .await?;
        gauge!(ACTIVE).set(locked);
        Ok(())
    }
}
