//! Bugs that are planted for `cargo xtask crash`, which must find each of them: with the feature `planted-bugs`, and for example
//! `PLANTED_BUG=no-epoch-check` in the environment. No other build has this module.
//!
//! `ack-before-commit`: a webhook is answered while its commit still waits. `no-epoch-check`: a turn commits with whatever lock its
//! conversation has. `seq-marks`: a turn marks everything up to its last message. `release-before-send`: the lock is free before the
//! reply has left. `dedupe-expires-early`: ids are forgotten while providers still deliver them again.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use super::Error;
use super::group::Mark;
use super::rows::json_rows;
use crate::model::Timestamp;

/// How long an id is remembered by a host that forgets too early.
const DEDUPE: Duration = Duration::from_secs(1);

/// Whether this process has this bug.
pub(super) fn is(bug: &str) -> bool {
    std::env::var("PLANTED_BUG").is_ok_and(|planted| planted == bug)
}

/// `seq-marks`
pub(super) async fn mark_by_seq(
    conn: &mut SqliteConnection,
    marks: &[Mark],
    now: i64,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE inbox SET state = t.state, reason = t.reason, turn = t.turn, settled_at = $2
         FROM (SELECT m.conversation, m.seq, value ->> 'state' AS state, value ->> 'reason' AS reason, value ->> 'turn' AS turn
               FROM json_each($1) JOIN inbox AS m ON m.id = value ->> 'id') AS t
         WHERE inbox.conversation = t.conversation AND inbox.seq <= t.seq AND inbox.state = 'pending' AND t.state = 'done'",
    )
    .bind(json_rows(marks)?)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// `dedupe-expires-early`
pub(super) async fn forget_ids(conn: &mut SqliteConnection, now: Timestamp) -> Result<(), Error> {
    sqlx::query("DELETE FROM inbox WHERE state = 'done' AND settled_at < $1")
        .bind(now.minus(DEDUPE).0)
        .execute(conn)
        .await?;
    Ok(())
}
