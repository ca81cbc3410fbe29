//! What the provider saw, against what was decided.

use std::collections::BTreeMap;

use super::{Broken, Evidence, Policy, Send, Verdict, grouped};

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    let log = grouped(&evidence.sends, |s| s.part.as_str());
    if evidence.is_log_whole {
        decided(evidence, &log, verdict);
    }
    again(evidence, &log, verdict);
    order(evidence, verdict);
}

/// Everything that left was decided, and what is written down as sent has arrived.
fn decided(evidence: &Evidence, log: &BTreeMap<&str, Vec<&Send>>, verdict: &mut Verdict) {
    let parts: BTreeMap<_, _> = evidence
        .left
        .outbox
        .iter()
        .map(|p| (p.id.as_str(), p))
        .collect();
    for (id, sends) in log {
        let Some(part) = parts.get(id) else {
            verdict.note(
                Broken::Undecided,
                format!("{id} was sent and is in no outbox"),
            );
            continue;
        };
        for send in sends {
            if !send.text.is_empty() && send.text != part.text() {
                verdict.note(
                    Broken::Undecided,
                    format!(
                        "{id} was sent as {:?} and decided as {}",
                        send.text, part.body
                    ),
                );
            }
        }
    }
    for part in &evidence.left.outbox {
        let has_arrived = log
            .get(part.id.as_str())
            .is_some_and(|sends| sends.iter().any(|s| s.is_taken));
        if part.state == "sent" && !has_arrived {
            verdict.note(
                Broken::Lost,
                format!("{} is sent, and the provider has not got it", part.id),
            );
        }
    }
}

/// A part leaves again only after an answer that refused it, or because its device or an operator asks for it.
fn again(evidence: &Evidence, log: &BTreeMap<&str, Vec<&Send>>, verdict: &mut Verdict) {
    for part in &evidence.left.outbox {
        let sends = log.get(part.id.as_str()).map_or(&[][..], Vec::as_slice);
        let resends = evidence
            .left
            .devices
            .get(&part.device)
            .is_some_and(Policy::resends);
        let is_asked_for = resends || evidence.left.replayed.contains(&part.id);
        let before_last = sends.split_last().map_or(&[][..], |(_, before)| before);
        if !is_asked_for && before_last.iter().any(|s| !s.is_refused) {
            verdict.note(
                Broken::BlindResend,
                format!(
                    "{} left again, and nobody knew that it had not arrived",
                    part.id
                ),
            );
        }
        if sends.iter().filter(|s| s.is_taken).count() > 1 {
            if is_asked_for {
                verdict.twice += 1;
            } else {
                verdict.note(Broken::Doubled, format!("{} arrived twice", part.id));
            }
        }
    }
}

/// What arrived of a conversation came in the order of its turns and their parts. What an operator sends again, or has taken the
/// lock away from, comes when the operator says.
fn order(evidence: &Evidence, verdict: &mut Verdict) {
    let left = &evidence.left;
    let epochs: BTreeMap<_, _> = left.turns.iter().map(|t| (&t.id, t.epoch)).collect();
    let mut arrivals: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (at, send) in evidence
        .sends
        .iter()
        .enumerate()
        .filter(|(_, s)| s.is_taken)
    {
        let (_, last) = arrivals.entry(&send.part).or_insert((at, at));
        *last = at;
    }
    let by_order = left
        .outbox
        .iter()
        .filter(|p| !left.replayed.contains(&p.id) && !left.unlocked.contains(&p.conversation));
    for (conversation, mut parts) in grouped(by_order, |p| &p.conversation) {
        parts.sort_by_key(|p| (epochs.get(&p.turn), p.idx));
        let mut before: Option<(&str, usize)> = None;
        for part in parts {
            let Some((first, last)) = arrivals.get(part.id.as_str()) else {
                continue;
            };
            if let Some((other, _)) = before.filter(|(_, at)| at > first) {
                verdict.note(
                    Broken::OutOfOrder,
                    format!("{conversation}: {} arrived before {other}", part.id),
                );
            }
            before = Some((part.id.as_str(), *last));
        }
    }
}
