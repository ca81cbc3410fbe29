//! Everything that can be seen of a store, as lines: a name, and what is there.

use std::collections::BTreeMap;

use super::{PartState, Reference, State, Talk};
use crate::words::Conv;

/// Everything that can be seen. The store's own is made from its rows, and the two must be the same.
pub(crate) type Picture = BTreeMap<String, String>;

impl Reference {
    pub(crate) fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        for (conv, talk) in &self.talks {
            add_talk(&mut picture, *conv, talk);
        }
        self.add_letters(&mut picture);
        self.add_parts(&mut picture);
        let tenants = self.counters.iter().zip(&self.alerts).enumerate();
        for (device, (counter, alert)) in tenants {
            if let Some(value) = counter.value {
                picture.insert(format!("counter of tenant {device}"), value.to_string());
            }
            picture.insert(format!("alert of device {device}"), alert.to_string());
        }
        picture
    }

    fn add_letters(&self, picture: &mut Picture) {
        for (place, letter) in self.letters.iter().enumerate() {
            let name = format!("message {} of device {}", letter.id, letter.device);
            if letter.state == "dead" {
                picture.insert(format!("dead letter: {name}"), "dead".to_owned());
            }
            let turn = letter
                .turn
                .map_or("nobody".to_owned(), |t| format!("{t:?}"));
            let what = format!("{} by {turn}, place {place}", letter.state);
            picture.insert(name, what);
        }
    }

    fn add_parts(&self, picture: &mut Picture) {
        for (piece, part) in &self.parts {
            if part.is_dead_letter() {
                let what = match part.state {
                    PartState::Sent => "failed",
                    other => part_word(other),
                };
                picture.insert(format!("dead letter: part {piece:?}"), what.to_owned());
            }
            let what = format!(
                "{}, {}, {} tries, next at {:?}",
                part_word(part.state),
                part.status.map_or("untold", |word| word.as_str()),
                part.attempts,
                part.next_at
            );
            picture.insert(format!("part {piece:?}"), what);
        }
    }

    /// The times that chance has a part in: a line's name, and from when to when it may be.
    pub(crate) fn moot_times(&self) -> Vec<(String, i64, i64)> {
        let is_moot =
            |talk: &Talk| talk.state == State::Waiting && talk.ready_at.0 != talk.ready_at.1;
        let moot = self.talks.iter().filter(|(_, talk)| is_moot(talk));
        moot.map(|(conv, talk)| {
            let name = format!("conversation {conv:?} ready at");
            (name, talk.ready_at.0, talk.ready_at.1)
        })
        .collect()
    }
}

fn add_talk(picture: &mut Picture, conv: Conv, talk: &Talk) {
    let mut add = |what: &str, value: String| {
        picture.insert(format!("conversation {conv:?} {what}"), value);
    };
    add("state", word(talk.state).to_owned());
    add("epoch", talk.epoch.to_string());
    add("has an owner", talk.has_owner.to_string());
    let counts = format!(
        "{} attempts, {} crashes, {} restarts, {} turns",
        talk.attempts, talk.crashes, talk.restarts, talk.turns
    );
    add("counts", counts);
    add("paused until", format!("{:?}", talk.paused_until));
    add("signalled", talk.is_signalled.to_string());
    add("first pending at", format!("{:?}", talk.first_pending_at));
    if let Some(kept) = talk.kept {
        add("kept", kept.to_string());
    }
    if let Some(tag) = talk.tag {
        add("tag", tag.to_string());
    }
    for (name, timer) in &talk.timers {
        add(&format!("timer {name}"), timer.due.to_string());
    }
    if talk.state == State::Waiting {
        // Compared as a range where chance has a part in it.
        add("ready at", talk.ready_at.0.to_string());
    }
    if talk.is_locked() {
        add("in the view of sessions", "yes".to_owned());
    }
    if talk.state == State::Running {
        add("in the view of executions", "yes".to_owned());
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Waiting => "waiting",
        State::Running => "running",
        State::Sending => "sending",
    }
}

fn part_word(state: PartState) -> &'static str {
    match state {
        PartState::Queued => "queued",
        PartState::Sending => "sending",
        PartState::Unknown => "unknown",
        PartState::Sent => "sent",
        PartState::Held => "held",
        PartState::Dead => "dead",
    }
}
