//! T3: a turn ends.

use nodepath::model::Backoff;

use super::{FOR_EVER, Next, Part, PartState, Reference, State, Timer};
use crate::words::{Claimed, Covers, Effect, End, Piece, Reply};

impl Reference {
    pub(super) fn finish(&mut self, turn: Claimed, end: &End) -> &'static str {
        let conv = turn.conv;
        // Promise I3: only the turn that the row names.
        let holds = |t: &super::Talk| t.state == State::Running && t.epoch == turn.epoch;
        if !self.talks.get(&conv).is_some_and(holds) {
            return "fenced";
        }
        let (now, may_restart) = (self.now, self.may_restart(conv));
        let is_stale = self.talk(conv).has_newer && may_restart;
        if self.is_paused(conv) {
            self.mark(turn, "absorbed");
            self.spend(turn);
            self.talk(conv).next = Next::Free;
            return "taken over";
        }
        match end {
            End::HandedBack => self.talk(conv).wait_until(now),
            End::Cancelled => return self.run_again(turn),
            // Promise I6.
            _ if is_stale => return self.run_again(turn),
            End::Commit(reply) if self.is_outdated(turn, reply) => {
                self.put_off(turn);
                return "conflict";
            }
            End::Commit(reply) => return self.decide(turn, "done", reply),
            End::GiveUp(reply) => return self.decide(turn, "dead", reply),
            End::HandOver => {
                let effects = vec![Effect::Handover];
                let reply = Reply {
                    effects,
                    ..Reply::default()
                };
                return self.decide(turn, "absorbed", &reply);
            }
            End::Retry(ms) => {
                let talk = self.talk(conv);
                talk.attempts += 1;
                talk.wait_until(now + ms);
            }
        }
        "retrying"
    }

    fn run_again(&mut self, turn: Claimed) -> &'static str {
        let talk = self.talk(turn.conv);
        talk.restarts += 1;
        talk.next = Next::Again;
        "superseded"
    }

    /// The tenant's counter is another one than the turn has read.
    fn is_outdated(&self, turn: Claimed, reply: &Reply) -> bool {
        let read = self.claims[&turn].counter_writes;
        reply.has_read_counter && self.counters[turn.conv.device].writes != read
    }

    /// After a conflict it is tried again a little later: by chance from three to five quarters of its backoff.
    fn put_off(&mut self, turn: Claimed) {
        let now = self.now;
        let talk = self.talk(turn.conv);
        let attempt = u32::try_from(talk.attempts + talk.crashes + 1).unwrap();
        let at = |chance| {
            let delay = Backoff::TURN.delay(attempt, chance).as_millis();
            now + i64::try_from(delay).unwrap()
        };
        talk.wait_until(now);
        talk.ready_at = (at(0.0), at(1.0));
    }

    /// Promise I5: what is pending of what the turn was run for, by its ids.
    fn mark(&mut self, turn: Claimed, state: &'static str) {
        let Covers::Messages(ids) = &self.claims[&turn].covers else {
            return;
        };
        for letter in &mut self.letters {
            let is_covered = letter.device == turn.conv.device && ids.contains(&letter.id);
            if is_covered && letter.state == "pending" {
                letter.state = state;
                letter.turn = Some(turn);
            }
        }
    }

    /// A timer fires once, and a signal is given once.
    fn spend(&mut self, turn: Claimed) {
        let claim = self.claims[&turn].clone();
        let talk = self.talk(turn.conv);
        match claim.covers {
            Covers::Messages(_) => {}
            Covers::Signal => talk.is_signalled = false,
            Covers::Timer(_) => talk.timers.retain(|_, t| Some(t.set) != claim.timer),
        }
    }

    fn decide(&mut self, turn: Claimed, state: &'static str, reply: &Reply) -> &'static str {
        self.mark(turn, state);
        self.spend(turn);
        for effect in &reply.effects {
            self.write_effect(turn, effect);
        }
        for (idx, pause) in reply.parts.iter().enumerate() {
            let part = Part {
                state: PartState::Queued,
                status: None,
                attempts: 0,
                next_at: None,
                provider_id: None,
                pause: *pause,
            };
            self.parts.insert(Piece { turn, idx }, part);
        }
        let talk = self.talk(turn.conv);
        talk.turns += 1;
        talk.attempts = 0;
        talk.crashes = 0;
        talk.restarts = 0;
        if reply.parts.is_empty() {
            talk.next = Next::Free;
        } else {
            talk.state = State::Sending;
            talk.first_pending_at = None;
            self.begin(Piece { turn, idx: 0 });
        }
        "committed"
    }

    fn write_effect(&mut self, turn: Claimed, effect: &Effect) {
        let (now, set) = (self.now, self.timers_set);
        let talk = self.talks.get_mut(&turn.conv).unwrap();
        match effect {
            Effect::Timer(name, ms) => {
                let due = now + ms;
                talk.timers.insert(*name, Timer { due, set });
                self.timers_set += 1;
            }
            Effect::CancelTimer(name) => drop(talk.timers.remove(name)),
            Effect::Keep(value) => talk.kept = *value,
            Effect::Tag(value) => talk.tag = *value,
            Effect::Handover => talk.paused_until = Some(FOR_EVER),
            Effect::Count(by) => {
                let counter = &mut self.counters[turn.conv.device];
                counter.value = Some(counter.value.unwrap_or(0) + by);
                counter.writes += 1;
            }
        }
    }
}
