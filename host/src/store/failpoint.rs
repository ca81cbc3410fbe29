//! Where the tests end the process around a commit, as a power cut would: with the feature `failpoints`, and for example
//! `FAILPOINTS=t3.committed=return` in the environment, it aborts there. Without the feature nothing of this is compiled.
//!
//! `t1` is a webhook's commit, `t3` a turn's and `t5` a delivery's, `due` what time brings. The other places, in the order in
//! which a message meets them, are `webhook.unanswered`, `turn.attempt`, `turn.ended`, `delivery.attempt` and
//! `delivery.answered`.

use fail::fail_point;

use super::writer::Op;

/// Every statement of the transaction has run, and nothing of it is committed.
pub(super) fn written(ops: &[Op]) {
    for op in ops {
        match op {
            Op::Accept(..) => fail_point!("t1.written", |_| std::process::abort()),
            Op::Finish(..) => fail_point!("t3.written", |_| std::process::abort()),
            Op::Settle(..) => fail_point!("t5.written", |_| std::process::abort()),
            Op::Due(..) => fail_point!("due.written", |_| std::process::abort()),
        }
    }
}

/// It is on the disk, and nobody has been told.
pub(super) fn committed(ops: &[Op]) {
    for op in ops {
        match op {
            Op::Accept(..) => fail_point!("t1.committed", |_| std::process::abort()),
            Op::Finish(..) => fail_point!("t3.committed", |_| std::process::abort()),
            Op::Settle(..) => fail_point!("t5.committed", |_| std::process::abort()),
            Op::Due(..) => fail_point!("due.committed", |_| std::process::abort()),
        }
    }
}
