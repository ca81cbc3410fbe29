//! What every database must fulfil, whoever left it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Evidence, Left, Moment, Turn, Verdict, grouped};

/// Outcomes after which a turn has decided nothing.
const UNDECIDED: [&str; 5] = [
    "superseded",
    "taken_over",
    "conflict",
    "handed_back",
    "retry",
];

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    let left = &evidence.left;
    for damage in &left.damage {
        verdict.note(Broken::Damaged, damage);
    }
    locks(left, evidence.moment, verdict);
    wake_ups(left, evidence.moment, verdict);
    messages(left, verdict);
    epochs(left, verdict);
    parts(left, verdict);
}

/// A lock is there for a turn that runs, or for a part that is still to go out; and a part that is still to go out has it.
fn locks(left: &Left, moment: Moment, verdict: &mut Verdict) {
    let open = grouped(left.outbox.iter().filter(|p| p.is_open()), |p| {
        p.conversation.as_str()
    });
    for row in &left.conversations {
        let is_locked = matches!(row.state.as_str(), "running" | "sending");
        if !is_locked && row.owner.is_some() && row.state != "sending" {
            verdict.note(
                Broken::LockLeft,
                format!("{} is {} and has an owner", row.id, row.state),
            );
        }
        if row.state == "running" && moment >= Moment::Stopped {
            verdict.note(
                Broken::LockLeft,
                format!("{} is running, and no host is", row.id),
            );
        }
        if row.state == "sending" && !open.contains_key(row.id.as_str()) {
            verdict.note(
                Broken::LockLeft,
                format!("{} is sending, and no part is to go out", row.id),
            );
        }
        if row.state != "idle" && moment == Moment::Calm {
            verdict.note(Broken::LockLeft, format!("{} stays {}", row.id, row.state));
        }
        // What an operator sends again keeps the error of the try before, and waits without the lock.
        for part in open
            .get(row.id.as_str())
            .into_iter()
            .flatten()
            .filter(|p| p.error.is_none())
        {
            if row.state != "sending" {
                verdict.note(
                    Broken::LockLeft,
                    format!(
                        "{} is {}, while its {} goes out",
                        row.id, row.state, part.id
                    ),
                );
            }
        }
    }
}

/// Whoever frees a lock looks for what is pending, and what waits knows for how long.
fn wake_ups(left: &Left, moment: Moment, verdict: &mut Verdict) {
    let pending = grouped(left.inbox.iter().filter(|m| m.state == "pending"), |m| {
        m.conversation.as_deref()
    });
    for row in &left.conversations {
        if row.state == "idle" && pending.contains_key(&Some(row.id.as_str())) {
            verdict.note(
                Broken::WakeUpLost,
                format!("{} is idle, and a message is pending", row.id),
            );
        }
        if row.state == "waiting" && row.ready_at.is_none() {
            verdict.note(Broken::WakeUpLost, format!("{} waits for ever", row.id));
        }
    }
    if moment == Moment::Calm {
        for part in left.outbox.iter().filter(|p| p.is_open()) {
            verdict.note(
                Broken::WakeUpLost,
                format!("{} stays {}", part.id, part.state),
            );
        }
    }
}

fn messages(left: &Left, verdict: &mut Verdict) {
    let committed: BTreeMap<&str, &Turn> = left
        .turns
        .iter()
        .filter(|t| t.outcome == "committed")
        .map(|t| (t.id.as_str(), t))
        .collect();
    for message in &left.inbox {
        let state = message.state.as_str();
        if matches!(state, "skipped" | "absorbed" | "dead" | "ignored") && message.reason.is_none()
        {
            verdict.note(
                Broken::Lost,
                format!("{} is {state} without a word", message.id),
            );
        }
        if state == "pending" && (message.turn.is_some() || message.settled_at.is_some()) {
            verdict.note(
                Broken::Doubled,
                format!("{} is both pending and settled", message.id),
            );
        }
        let turn = message.turn.as_deref().and_then(|turn| committed.get(turn));
        let is_its = turn.is_some_and(|t| Some(&t.conversation) == message.conversation.as_ref());
        if state == "done" && !is_its {
            verdict.note(
                Broken::Undecided,
                format!("{} is done by no turn of its own", message.id),
            );
        }
    }
    let ids = left
        .inbox
        .iter()
        .filter(|m| m.provider_message_id.is_some());
    for ((device, id), rows) in grouped(ids, |m| (&m.device, &m.provider_message_id)) {
        if rows.len() > 1 {
            verdict.note(
                Broken::Doubled,
                format!("{id:?} of {device} has {} rows", rows.len()),
            );
        }
    }
}

/// Each try of a conversation has a higher epoch than the one that was written before it.
fn epochs(left: &Left, verdict: &mut Verdict) {
    for (conversation, mut turns) in grouped(&left.turns, |t| &t.conversation) {
        turns.sort_by_key(|t| t.place);
        for pair in turns.windows(2) {
            if let [a, b] = pair
                && b.epoch <= a.epoch
            {
                verdict.note(
                    Broken::NotExclusive,
                    format!(
                        "{conversation}: epoch {} of {} after {} of {}",
                        b.epoch, b.id, a.epoch, a.id
                    ),
                );
            }
        }
    }
}

/// Parts are those of a turn that decided, and numbered without a gap.
fn parts(left: &Left, verdict: &mut Verdict) {
    let turns: BTreeMap<_, _> = left.turns.iter().map(|t| (&t.id, t)).collect();
    for (turn, parts) in grouped(&left.outbox, |p| &p.turn) {
        let decided = turns.get(turn).is_some_and(|t| {
            parts.iter().all(|p| p.conversation == t.conversation)
                && !UNDECIDED.contains(&t.outcome.as_str())
        });
        if !decided {
            verdict.note(
                Broken::Undecided,
                format!("the parts of {turn} are of no turn that decided"),
            );
        }
        let places: BTreeSet<_> = parts.iter().map(|p| p.idx).collect();
        let wanted: BTreeSet<_> = (0..).take(parts.len()).collect();
        if places != wanted {
            verdict.note(
                Broken::Undecided,
                format!("the parts of {turn} are numbered {places:?}"),
            );
        }
    }
}
