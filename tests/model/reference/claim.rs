//! The end of a commit: time brings what is due, and locks that are free are taken for what is pending.

use super::{Claim, Next, Reference, Stage, State, Talk};
use crate::words::{Claimed, Conv, Covers, Order, Piece};

/// After so many ends of the host in the middle of a turn it is taken to be the cause.
const SUSPICIOUS: i64 = 2;

/// What is due when a commit begins.
pub(super) struct DueNow {
    convs: Vec<Conv>,
    parts: Vec<Piece>,
}

impl Reference {
    pub(super) fn what_is_due(&self) -> DueNow {
        let now = self.now;
        let is_due = |(conv, talk): &(&Conv, &Talk)| match talk.state {
            State::Waiting => talk.ready_at.1 <= now,
            State::Idle => !self.is_paused(**conv) && talk.timers.values().any(|t| t.due <= now),
            State::Running | State::Sending => false,
        };
        let convs = self.talks.iter().filter(is_due).map(|(conv, _)| *conv);
        let parts = self.parts.iter();
        let mut parts: Vec<_> = parts
            .filter_map(|(piece, part)| Some((part.next_at.filter(|at| *at <= now)?, *piece)))
            .collect();
        parts.sort_unstable();
        DueNow {
            convs: convs.collect(),
            parts: parts.into_iter().map(|(_, piece)| piece).collect(),
        }
    }

    pub(super) fn run_due(&mut self, due: DueNow) {
        for part in due.parts {
            self.part_due(part);
        }
        let now = self.now;
        for conv in due.convs {
            let talk = self.talk(conv);
            // Another operation of the commit may have been faster, or may have put it off.
            let is_due = match talk.state {
                State::Idle => true,
                State::Waiting => talk.ready_at.1 <= now,
                State::Running | State::Sending => false,
            };
            if is_due && talk.next == Next::Stay {
                talk.next = Next::Free;
            }
        }
    }

    pub(super) fn take_locks(&mut self) {
        let free = self.talks.iter().filter(|(_, t)| t.next != Next::Stay);
        let free: Vec<_> = free.map(|(conv, talk)| (*conv, talk.next)).collect();
        for (conv, next) in free {
            self.talk(conv).next = Next::Stay;
            self.start(conv, next);
        }
    }

    /// Promise I7: whoever frees a lock looks for what is pending.
    fn start(&mut self, conv: Conv, next: Next) {
        let (now, is_paused, stage) = (self.now, self.is_paused(conv), self.stage);
        let mut pending = self.pending(conv);
        let since = pending.first().map(|row| self.letters[*row].received_at);
        let talk = self.talks.get_mut(&conv).unwrap();
        talk.first_pending_at = since;
        talk.part_suspects(&mut pending);
        let ids: Vec<_> = pending.iter().map(|row| self.letters[*row].id).collect();
        match talk.choose(ids, now) {
            _ if is_paused => {
                talk.rest();
                for row in self.pending(conv) {
                    self.letters[row].state = "absorbed";
                }
            }
            None => talk.rest(),
            Some(_) if stage > Stage::Running => talk.wait_until(now),
            Some((covers, timer)) => {
                if next == Next::Free {
                    talk.restarts = 0;
                }
                talk.state = State::Running;
                talk.epoch += 1;
                talk.has_owner = true;
                talk.has_newer = false;
                talk.suspect = pending.last().copied();
                self.tell(conv, covers, timer);
            }
        }
    }

    fn tell(&mut self, conv: Conv, covers: Covers, timer: Option<u64>) {
        let talk = &self.talks[&conv];
        let epoch = talk.epoch;
        let turn = Claimed { conv, epoch };
        self.said.orders.push(Order::Run {
            turn,
            covers: covers.clone(),
            attempt: talk.attempts + talk.crashes + 1,
            crashes: talk.crashes,
            turns: talk.turns,
        });
        let claim = Claim {
            covers,
            timer,
            counter_writes: self.counters[conv.device].writes,
        };
        self.claims.insert(turn, claim);
    }

    /// When the next thing is due.
    pub(super) fn next_due(&self) -> Option<(i64, i64)> {
        let waiting = self.talks.values().filter(|t| t.state == State::Waiting);
        let waiting = waiting.map(|talk| talk.ready_at);
        let can_fire =
            |(conv, talk): &(&Conv, &Talk)| talk.state == State::Idle && !self.is_paused(**conv);
        let timers = self.talks.iter().filter(can_fire);
        let timers = timers.flat_map(|(_, talk)| talk.timers.values().map(|t| (t.due, t.due)));
        let parts = self.parts.values().filter_map(|p| p.next_at);
        let parts = parts.map(|at| (at, at));
        let all: Vec<_> = waiting.chain(timers).chain(parts).collect();
        let from = all.iter().map(|(from, _)| *from).min()?;
        let to = all.iter().map(|(_, to)| *to).min()?;
        Some((from, to))
    }
}

impl Talk {
    /// What was under way each time that the host ended is tried by itself; what was not begins anew.
    fn part_suspects(&mut self, pending: &mut Vec<usize>) {
        if self.crashes < SUSPICIOUS || pending.is_empty() {
            return;
        }
        let suspect = self.suspect;
        let is_suspect = |row: &usize| suspect.is_some_and(|last| *row <= last);
        if pending.iter().any(is_suspect) {
            pending.retain(is_suspect);
        } else {
            self.crashes = 0;
            self.attempts = 0;
        }
    }

    /// Messages come before a signal, and a signal before a timer. The second is the setting of the timer.
    fn choose(&mut self, ids: Vec<u8>, now: i64) -> Option<(Covers, Option<u64>)> {
        if !ids.is_empty() {
            // They say more than that a human has handed back.
            self.is_signalled = false;
            return Some((Covers::Messages(ids), None));
        }
        if self.is_signalled {
            return Some((Covers::Signal, None));
        }
        let due = self.timers.iter().filter(|(_, t)| t.due <= now);
        let first = due.min_by_key(|(_, t)| (t.due, t.set));
        first.map(|(name, timer)| (Covers::Timer(*name), Some(timer.set)))
    }

    fn rest(&mut self) {
        self.state = State::Idle;
        self.has_owner = false;
        self.first_pending_at = None;
        self.attempts = 0;
        self.crashes = 0;
        self.restarts = 0;
    }
}
