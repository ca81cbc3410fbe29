//! What prospects wrote, against what became of it. The plugins of the campaign answer with the words that they were given, so a
//! reply says by itself which messages it answers.

use std::collections::{BTreeMap, BTreeSet};

use nodepath::model::device::Overlap;

use super::{Broken, Evidence, Message, Moment, Posted, Send, Turn, Verdict, grouped};

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    let rows = rows_of(evidence);
    for posted in &evidence.posted {
        let row = rows.get(&(posted.device.as_str(), posted.id.as_str()));
        match row {
            None if posted.is_answered => verdict.note(
                Broken::Lost,
                format!("{} was answered 2xx and is not there", posted.id),
            ),
            Some(row) if evidence.moment == Moment::Calm && row.state == "pending" => verdict.note(
                Broken::Lost,
                format!("{} is pending, and nothing happens", posted.id),
            ),
            _ => {}
        }
    }
    replies(evidence, &rows, verdict);
    answers(evidence, &rows, verdict);
    if !evidence.clock_was_set {
        stale(evidence, verdict);
    }
}

type Rows<'a> = BTreeMap<(&'a str, &'a str), &'a Message>;

fn rows_of(evidence: &Evidence) -> Rows<'_> {
    let key = |m: &'_ Message| Some((m.device.clone(), m.provider_message_id.clone()?));
    let posted: BTreeMap<_, _> = evidence
        .posted
        .iter()
        .map(|p| ((p.device.clone(), p.id.clone()), p))
        .collect();
    let mut rows = Rows::new();
    for message in &evidence.left.inbox {
        if let Some(p) = key(message).and_then(|key| posted.get(&key)) {
            rows.insert((p.device.as_str(), p.id.as_str()), message);
        }
    }
    rows
}

/// The reply that a turn decided is the one that its messages ask for, no more and no less.
fn replies(evidence: &Evidence, rows: &Rows<'_>, verdict: &mut Verdict) {
    let mut texts: BTreeMap<&str, Vec<(i64, &str)>> = BTreeMap::new();
    for posted in &evidence.posted {
        let row = rows.get(&(posted.device.as_str(), posted.id.as_str()));
        let turn = row.filter(|r| r.state == "done");
        if let Some((row, turn)) = turn.and_then(|r| Some((r, r.turn.as_deref()?))) {
            texts
                .entry(turn)
                .or_default()
                .push((row.seq, posted.text.as_str()));
        }
    }
    let parts = grouped(&evidence.left.outbox, |p| p.turn.as_str());
    for (turn, mut asked) in texts {
        asked.sort_unstable();
        let asked: Vec<_> = asked.into_iter().map(|(_, text)| text).collect();
        let mut decided = parts.get(turn).cloned().unwrap_or_default();
        decided.sort_by_key(|p| p.idx);
        let decided: Vec<_> = decided.iter().map(|p| p.text()).collect();
        if words(&decided) != expected(&asked) {
            verdict.note(
                Broken::Lost,
                format!("{turn} answers {asked:?} with {decided:?}"),
            );
        }
    }
}

/// What a reply says it answers: the words after "You said", or else its own.
fn words(texts: &[String]) -> Vec<&str> {
    texts.iter().flat_map(|text| said(text)).collect()
}

fn said(text: &str) -> Vec<&str> {
    match text.strip_prefix("You said: ") {
        Some(said) => said.split([' ', '\n']).filter(|w| *w != "/").collect(),
        None => text.split(' ').collect(),
    }
}

/// `reply A; reply B` asks for two parts, whatever came before it; anything else is said again.
fn expected<'a>(asked: &[&'a str]) -> Vec<&'a str> {
    let script = asked.last().filter(|text| text.starts_with("reply "));
    match script {
        Some(script) => script
            .split("; ")
            .filter_map(|command| command.strip_prefix("reply "))
            .flat_map(|text| text.split(' '))
            .collect(),
        None => asked.iter().flat_map(|text| text.split(' ')).collect(),
    }
}

/// What prospects have on their screens: no message is answered by two replies, and none before one that was written earlier.
/// Each message has a word of its own, its first or the first after `reply`.
fn answers(evidence: &Evidence, rows: &Rows<'_>, verdict: &mut Verdict) {
    let left = &evidence.left;
    let turns: BTreeMap<_, _> = left
        .outbox
        .iter()
        .map(|p| (p.id.as_str(), p.turn.as_str()))
        .collect();
    let unlocked: BTreeSet<_> = left
        .conversations
        .iter()
        .filter(|c| left.unlocked.contains(&c.id))
        .map(|c| c.prospect.as_str())
        .collect();
    let screens = grouped(evidence.sends.iter().filter(|s| s.is_taken), |s| {
        s.to.as_str()
    });
    for (prospect, posted) in grouped(&evidence.posted, |p| p.prospect.as_str()) {
        let mut places: Places = posted
            .iter()
            .enumerate()
            .map(|(at, p)| (own_word(p), at))
            .collect();
        let screen = screens.get(prospect).map_or(&[][..], Vec::as_slice);
        once(&places, screen, &turns, verdict);
        // A message that an operator takes up again is answered when the operator says.
        for posted in posted {
            let row = rows.get(&(posted.device.as_str(), posted.id.as_str()));
            if row.is_some_and(|row| left.replayed.contains(&row.id)) {
                places.remove(own_word(posted));
            }
        }
        if !unlocked.contains(prospect) {
            in_order(&places, screen, evidence, verdict);
        }
    }
}

/// The places of a prospect's messages among them, by the messages' own words.
type Places<'a> = BTreeMap<&'a str, usize>;

fn once(
    places: &Places<'_>,
    screen: &[&Send],
    turns: &BTreeMap<&str, &str>,
    verdict: &mut Verdict,
) {
    let mut answers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for send in screen {
        let Some(turn) = turns.get(send.part.as_str()) else {
            continue;
        };
        for word in said(&send.text) {
            if places.contains_key(word) {
                answers.entry(word).or_default().insert(turn);
            }
        }
    }
    for (word, turns) in answers.into_iter().filter(|(_, turns)| turns.len() > 1) {
        verdict.note(
            Broken::Doubled,
            format!("{word} is answered by several turns: {turns:?}"),
        );
    }
}

/// A part that comes again, because nobody knew that it had arrived, comes where it may.
fn in_order(places: &Places<'_>, screen: &[&Send], evidence: &Evidence, verdict: &mut Verdict) {
    let (mut seen, mut last) = (BTreeSet::new(), None);
    for send in screen {
        if !seen.insert(send.part.as_str()) || evidence.left.replayed.contains(&send.part) {
            continue;
        }
        for word in said(&send.text) {
            let place = places.get(word).copied();
            if place.is_some() && place < last {
                verdict.note(
                    Broken::OutOfOrder,
                    format!("{word} is answered after a later message"),
                );
            }
            last = last.max(place);
        }
    }
}

fn own_word(posted: &Posted) -> &str {
    let text = posted.text.strip_prefix("reply ").unwrap_or(&posted.text);
    text.split([' ', ';']).next().unwrap_or_default()
}

/// Under `restart` no turn commits over a message that came while it ran, unless it was restarted often or has waited long.
fn stale(evidence: &Evidence, verdict: &mut Verdict) {
    let left = &evidence.left;
    let turns = grouped(&left.turns, |t| t.conversation.as_str());
    let messages = grouped(&left.inbox, |m| m.conversation.as_deref());
    for row in &left.conversations {
        let Some(policy) = left.devices.get(&row.device) else {
            continue;
        };
        if policy.settings.overlap != Overlap::Restart {
            continue;
        }
        let turns = turns.get(row.id.as_str()).map_or(&[][..], Vec::as_slice);
        let messages = messages
            .get(&Some(row.id.as_str()))
            .map_or(&[][..], Vec::as_slice);
        let mut restarts = 0;
        for turn in turns {
            match turn.outcome.as_str() {
                "superseded" => restarts += 1,
                "committed" => {
                    let is_free = restarts < policy.settings.max_restarts
                        && waited(turn, messages) < policy.settings.max_wait_ms;
                    if let Some(newer) = newer(turn, messages).filter(|_| is_free) {
                        verdict.note(
                            Broken::Stale,
                            format!("{} committed although {} had come", turn.id, newer.id),
                        );
                    }
                    restarts = 0;
                }
                _ => restarts = 0,
            }
        }
    }
}

fn waited(turn: &Turn, messages: &[&Message]) -> u64 {
    let first = messages
        .iter()
        .filter(|m| m.turn.as_ref() == Some(&turn.id))
        .map(|m| m.received_at)
        .min();
    let waited = turn.finished_at - first.unwrap_or(turn.finished_at);
    u64::try_from(waited).unwrap_or(0)
}

/// A message that came between the claim of a turn and its commit, and that it does not cover.
fn newer<'a>(turn: &Turn, messages: &[&'a Message]) -> Option<&'a Message> {
    let covered = |m: &&&Message| m.turn.as_ref() == Some(&turn.id);
    let last = messages.iter().filter(covered).map(|m| m.seq).max()?;
    let came_meanwhile = |m: &&&Message| {
        m.seq > last
            && m.received_at > turn.started_at
            && m.received_at < turn.finished_at
            && matches!(m.state.as_str(), "pending" | "done" | "dead")
    };
    messages.iter().find(came_meanwhile).copied()
}
