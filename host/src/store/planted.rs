//! Bugs that are planted for `cargo xtask crash`, which must find each of them: with the feature `planted-bugs`, and for example
//! `PLANTED_BUG=no-epoch-check` in the environment. No other build has this module.
//!
//! `ack-before-commit`: a webhook is answered while its commit still waits. `no-epoch-check`: a turn commits with whatever lock its
//! conversation has. `seq-marks`: a turn marks everything up to its last message. `release-before-send`: the lock is free before the
//! reply has left. `dedupe-expires-early`: ids are forgotten while providers still deliver them again.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::group::Mark;
use super::{Error, sql};
use crate::model::Timestamp;

/// How long an id is remembered by a host that forgets too early.
const DEDUPE: Duration = Duration::from_secs(1);

/// Whether this process has this bug.
pub(super) fn is(bug: &str) -> bool {
    std::env::var("PLANTED_BUG").is_ok_and(|planted| planted == bug)
}

/// `seq-marks`
pub(super) fn mark_by_seq(conn: &Connection, mark: &Mark, now: i64) -> Result<(), Error> {
    sql::execute(
        conn,
        "UPDATE inbox SET state = ?2, reason = ?3, turn = ?4, settled_at = ?5
         FROM (SELECT conversation, seq FROM inbox WHERE id = ?1) AS m
         WHERE inbox.conversation = m.conversation AND inbox.seq <= m.seq AND inbox.state = 'pending' AND ?2 = 'done'",
        params![mark.id, mark.state, mark.reason, mark.turn, now],
    )?;
    Ok(())
}

/// `dedupe-expires-early`
pub(super) fn forget_ids(conn: &Connection, now: Timestamp) -> Result<(), Error> {
    sql::execute(
        conn,
        "DELETE FROM inbox WHERE state = 'done' AND settled_at < ?1",
        [now.minus(DEDUPE).0],
    )?;
    Ok(())
}
