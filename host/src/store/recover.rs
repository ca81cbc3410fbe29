//! What a new host makes of what the last one left. The process lock proves that the last one is gone, so its session locks
//! are free at once.

use metrics::counter;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Error, devices, observe, sql};
use crate::model::Timestamp;

/// What the last host had left undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Turns that had not committed; they run again.
    pub turns: u64,
    /// Parts of which nobody can tell whether they were sent.
    pub unknown_parts: u64,
}

/// Takes up what the last host left.
pub(super) fn recover(conn: &mut Connection, now: Timestamp) -> Result<Recovered, Error> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    fail::fail_point!("recover.begun");
    // The epoch rises with the next claim, so a turn of the dead process could not commit even if it still ran (I3).
    let turns = sql::execute(
        &tx,
        "UPDATE conversation SET state = 'waiting', ready_at = ?1, owner = NULL, locked_at = NULL, claimed_at = NULL,
             turn = NULL, crashes = crashes + 1
         WHERE state = 'running'",
        [now.0],
    )? as u64;
    fail::fail_point!("recover.turns");
    // Promise I8: a part that was being sent may have been. Each device says how long its provider has to tell.
    let mut unknown_parts = 0;
    let sending = sql::query(
        &tx,
        "SELECT DISTINCT device FROM outbox WHERE state = 'sending'",
        [],
        |row| row.get(0),
    )?;
    let devices = devices::load(&tx, &sending.into_iter().collect())?;
    for (id, device) in devices {
        unknown_parts += doubt(&tx, Some(&id), now.plus(device.unknown_window()))?;
    }
    // Those of a device that this program can't read.
    unknown_parts += doubt(&tx, None, now)?;
    fail::fail_point!("recover.written");
    tx.commit()?;
    fail::fail_point!("recover.committed");
    counter!(observe::RECOVERED).increment(turns);
    Ok(Recovered {
        turns,
        unknown_parts,
    })
}

/// Puts what was being sent on a device, or on any, in doubt. What its provider has told of already is settled at once.
fn doubt(conn: &Connection, device: Option<&str>, until: Timestamp) -> Result<u64, Error> {
    let parts = sql::execute(
        conn,
        "UPDATE outbox SET state = 'unknown', next_at = CASE WHEN status IS NULL THEN ?2 ELSE 0 END,
             error = COALESCE(error, 'the host ended while it was being sent')
         WHERE state = 'sending' AND (?1 IS NULL OR device = ?1)",
        params![device, until.0],
    )?;
    Ok(parts as u64)
}
