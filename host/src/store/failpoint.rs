//! The places around a commit at which the tests kill the process, as a power cut would: with the feature `failpoints`, and for
//! example `KILL_AT=t3.committed@2` in the environment, it ends there at the second pass. Without the feature nothing of this is
//! compiled.
//!
//! `t1` is a webhook's commit, `t3` a turn's and `t5` a delivery's, `due` what time brings. The other places, in the order in
//! which a host meets them, are `open.locked`, `open.migrated`, `recover.begun`, `recover.turns`, `recover.written`,
//! `recover.committed`, `webhook.parsed`, `webhook.unanswered`, `turn.claimed`, `turn.attempt`, `turn.call`, `turn.ran`,
//! `turn.ended`, `turn.finished`, `delivery.attempt`, `delivery.answered`, `delivery.settled`, `stop.draining` and `stop.closing`.

use fail::fail_point;

use super::writer::Op;

/// The write lock is held and everything is loaded; no row of the operations is decided on.
pub(super) fn begun(ops: &[Op]) {
    for op in ops {
        match op {
            Op::Accept(..) => fail_point!("t1.begun"),
            Op::Finish(..) => fail_point!("t3.begun"),
            Op::Settle(..) => fail_point!("t5.begun"),
            Op::Due(..) => fail_point!("due.begun"),
        }
    }
}

/// Every statement of the transaction has run, and nothing of it is committed.
pub(super) fn written(ops: &[Op]) {
    for op in ops {
        match op {
            Op::Accept(..) => fail_point!("t1.written"),
            Op::Finish(..) => fail_point!("t3.written"),
            Op::Settle(..) => fail_point!("t5.written"),
            Op::Due(..) => fail_point!("due.written"),
        }
    }
}

/// It is on the disk, and nobody has been told.
pub(super) fn committed(ops: &[Op]) {
    for op in ops {
        match op {
            Op::Accept(..) => fail_point!("t1.committed"),
            Op::Finish(..) => fail_point!("t3.committed"),
            Op::Settle(..) => fail_point!("t5.committed"),
            Op::Due(..) => fail_point!("due.committed"),
        }
    }
}

/// The loops have been handed what it decided, and whoever brought it has no answer.
pub(super) fn told(ops: &[Op]) {
    for op in ops {
        match op {
            Op::Accept(..) => fail_point!("t1.told"),
            Op::Finish(..) => fail_point!("t3.told"),
            Op::Settle(..) => fail_point!("t5.told"),
            Op::Due(..) => fail_point!("due.told"),
        }
    }
}
