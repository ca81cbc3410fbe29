//! The store's transactions: T1, T3, T5, what is due, recovery, and what people do by hand. Each is one step, since each is one
//! commit; the names and the order are those of `host/src/store`.

use nodepath_model::Timestamp;
use nodepath_model::device::UnknownPolicy;
use nodepath_model::overlap::{Arrival, Situation, State, arrival, may_restart};

use crate::state::{
    Broken, End, Letter, LetterState, Part, PartState, Post, Row, System, Turn, Verdict, places,
};
use crate::world::World;

/// Time stands still: what waits for a time may happen at once, and in any order.
const NOW: Timestamp = Timestamp(0);

/// After so many ends of the host in the middle of a turn it is taken to be the cause, as in `store::claim`.
const SUSPICIOUS: u8 = 2;

/// One transaction under way, in one world.
pub(crate) struct Commit<'a> {
    pub(crate) at: &'a mut System,
    pub(crate) world: &'a World,
}

impl Commit<'_> {
    /// T1.
    pub(crate) fn accept(&mut self, message: u8) {
        let guards = self.world.guards;
        if guards.dedupe && self.at.inbox.iter().any(|l| l.message == message) {
            return;
        }
        let row = &self.at.row;
        let situation = Situation {
            state: row.state,
            paused_until: row.is_paused.then_some(Timestamp(i64::MAX)),
            restarts: u32::from(row.restarts),
            first_pending_at: Some(NOW),
            is_retrying: row.attempts + row.crashes > 0,
            same_text_after: None,
            now: NOW,
        };
        let arrival = arrival(&situation, &self.world.settings);
        let state = match arrival {
            Arrival::Skip(_) => LetterState::Skipped,
            Arrival::Absorb => LetterState::Absorbed,
            _ => LetterState::Pending,
        };
        self.at.inbox.push(Letter { message, state });
        if state == LetterState::Pending && guards.newcomer_is_counted {
            self.at.row.version += 1;
        }
        match arrival {
            Arrival::Claim => self.free(),
            Arrival::Debounce(_) => self.at.row.state = State::Waiting,
            Arrival::Restart => self.cancel(),
            _ => {}
        }
    }

    /// T3.
    pub(crate) fn finish(&mut self, turn: Turn, end: End) {
        if !self.is_held_by(turn) {
            return;
        }
        let guards = self.world.guards;
        let row = &self.at.row;
        let newer = row.version != row.claim_version;
        let may_restart = self.may_restart();
        match end {
            _ if row.is_paused && guards.human_refuses_reply => {
                self.mark(turn.covers, LetterState::Absorbed);
                self.free();
            }
            End::Cancelled => self.restart(),
            _ if newer && may_restart && guards.newer_refuses_stale => self.restart(),
            End::Commit => {
                self.notice_commit(turn);
                let covers = if guards.mark_by_id {
                    turn.covers
                } else {
                    // What `seq <= the last one` would mark.
                    let last = places(turn.covers).max().unwrap_or(0);
                    self.at.pending() & ((1 << (last + 1)) - 1)
                };
                self.mark(covers, LetterState::Done);
                self.commit(turn, self.world.parts);
            }
            End::Retry => {
                if guards.attempts_are_counted {
                    self.at.row.attempts += 1;
                }
                self.at.row.unlock(State::Waiting);
            }
            End::GiveUp => {
                self.mark(turn.covers, LetterState::Dead);
                self.commit(turn, 0);
            }
        }
    }

    /// T5: our own try has ended; none of a verdict stands for an answer that was lost.
    pub(crate) fn settle(&mut self, post: Post, verdict: Option<Verdict>) {
        let guards = self.world.guards;
        let Some(part) = self.at.outbox.get_mut(usize::from(post.part)) else {
            return;
        };
        let is_own_try = part.attempts == post.attempt;
        if verdict.is_some_and(|v| v != Verdict::Taken) && is_own_try {
            part.is_doubtful = false;
        }
        if guards.settle_only_own_try && !(is_own_try && part.state == PartState::Sending) {
            return;
        }
        let is_told = counts_as_told(self.world, part);
        (part.state, part.is_timed) = match verdict {
            Some(Verdict::Taken) => (PartState::Sent, false),
            Some(Verdict::RefusedForNow) | None if is_told => (PartState::Sent, false),
            Some(Verdict::RefusedForNow) => (PartState::Queued, true),
            Some(Verdict::Rejected) => (PartState::Dead, false),
            None => (PartState::Unknown, true),
        };
        self.touch(post.part);
    }

    /// The provider tells that a part has arrived.
    pub(crate) fn note_status(&mut self, part: u8) {
        let ends_doubt = self.world.guards.status_ends_doubt;
        let Some(row) = self.at.outbox.get_mut(usize::from(part)) else {
            return;
        };
        if row.state == PartState::Sending {
            row.is_told = true;
        } else if row.state != PartState::Sent && row.attempts > 0 && ends_doubt {
            row.is_told = true;
            row.state = PartState::Sent;
            row.is_timed = false;
            self.touch(part);
        }
    }

    /// A waiting conversation is due.
    pub(crate) fn due(&mut self) {
        self.free();
    }

    /// A part is due: its next try, or the end of a doubt.
    pub(crate) fn part_due(&mut self, place: u8) {
        let Some(mut part) = self.at.outbox.get(usize::from(place)).copied() else {
            return;
        };
        let is_told = counts_as_told(self.world, &part);
        let holds = self.world.settings.unknown == UnknownPolicy::Hold;
        if part.state == PartState::Unknown && (is_told || holds) {
            part.state = if is_told {
                PartState::Sent
            } else {
                PartState::Held
            };
            part.is_timed = false;
            self.put(place, part);
            return self.touch(place);
        }
        if part.state == PartState::Unknown {
            // The device's own policy asks for it, now that the provider has had its time to tell.
            part.is_doubtful = false;
            self.put(place, part);
        }
        if self.at.row.state != State::Sending {
            self.at.row.epoch += 1;
            self.at.row.state = State::Sending;
        }
        self.begin_part(place);
    }

    /// Whether a part that is due may go out now.
    pub(crate) fn may_begin(at: &System, world: &World) -> bool {
        let under_way = at.outbox.iter().any(|p| p.state == PartState::Sending);
        let is_free = at.row.state != State::Running;
        (is_free && !under_way) || !world.guards.due_part_needs_the_lock
    }

    /// A new host takes up what the last one left.
    pub(crate) fn recover(&mut self) {
        let guards = self.world.guards;
        if self.at.row.state == State::Running && guards.recovery_frees_running {
            self.at.row.unlock(State::Waiting);
            if guards.crashes_are_counted {
                self.at.row.crashes += 1;
            }
        }
        for part in &mut self.at.outbox {
            if part.state == PartState::Sending {
                part.is_timed = true;
                part.state = if guards.recovery_sending_is_unknown {
                    PartState::Unknown
                } else {
                    PartState::Queued
                };
            }
        }
    }

    /// An operator takes the lock away.
    pub(crate) fn unlock(&mut self) {
        self.at.row.unlock(State::Waiting);
        self.at.row.epoch += 1;
        self.at.row.attempts = 0;
        self.at.row.crashes = 0;
        for part in &mut self.at.outbox {
            if part.is_open() && self.world.guards.unlock_holds_parts {
                part.state = PartState::Held;
                part.is_timed = false;
                part.is_by_hand = true;
            }
        }
    }

    /// An operator sends a dead message through again.
    pub(crate) fn replay_letter(&mut self, seq: u8) {
        if let Some(letter) = self.at.inbox.get_mut(usize::from(seq)) {
            letter.state = LetterState::Pending;
        }
        let guards = self.world.guards;
        if guards.replay_is_counted {
            self.at.row.version += 1;
        }
        if self.at.row.state == State::Idle && guards.replay_wakes {
            self.at.row.state = State::Waiting;
        }
    }

    /// An operator sends a dead or held part again.
    pub(crate) fn replay_part(&mut self, place: u8) {
        if let Some(part) = self.at.outbox.get_mut(usize::from(place)) {
            part.asked += u8::from(part.state == PartState::Held);
            part.state = PartState::Queued;
            part.is_timed = true;
            part.is_told = false;
            part.is_doubtful = false;
            part.is_by_hand = true;
        }
    }

    /// A human takes the conversation.
    pub(crate) fn take_over(&mut self) {
        self.at.row.is_paused = true;
        match self.at.row.state {
            State::Running => self.cancel(),
            State::Waiting => self.free(),
            State::Idle | State::Sending => {}
        }
    }

    /// A human gives the conversation back.
    pub(crate) fn hand_back(&mut self) {
        self.at.row.is_paused = false;
        if self.at.row.state == State::Idle {
            self.free();
        }
    }

    fn is_held_by(&self, turn: Turn) -> bool {
        let (row, guards) = (&self.at.row, self.world.guards);
        (row.state == State::Running || !guards.fence_state)
            && (row.epoch == turn.epoch || !guards.fence_epoch)
            && (row.owner == Some(turn.owner) || !guards.fence_owner)
    }

    fn may_restart(&self) -> bool {
        let restarts = u32::from(self.at.row.restarts);
        may_restart(restarts, Some(NOW), NOW, &self.world.settings)
    }

    /// Stops the turn that runs.
    fn cancel(&mut self) {
        let epoch = self.at.row.epoch;
        for turn in &mut self.at.turns {
            turn.is_cancelled |= turn.epoch == epoch && !turn.is_ghost;
        }
    }

    fn mark(&mut self, covers: u8, state: LetterState) {
        for seq in places(covers) {
            let Some(letter) = self.at.inbox.get_mut(usize::from(seq)) else {
                continue;
            };
            let is_pending = letter.state == LetterState::Pending;
            if !is_pending && self.world.guards.mark_pending_only {
                continue;
            }
            let is_undone = letter.state == LetterState::Done && state != LetterState::Done;
            letter.state = state;
            if is_undone {
                self.at.breaks(Broken::Undone);
            }
        }
    }

    fn commit(&mut self, turn: Turn, parts: u8) {
        self.at.row.attempts = 0;
        self.at.row.crashes = 0;
        self.at.row.restarts = 0;
        let first = self.at.outbox.len();
        for idx in 0..parts {
            self.at.outbox.push(Part::new(turn.epoch, idx));
        }
        if parts == 0 {
            return self.free();
        }
        self.at.row.state = State::Sending;
        let at_once = if self.world.guards.one_part_at_a_time {
            1
        } else {
            usize::from(parts)
        };
        for place in first..first + at_once {
            self.begin_part(place_of(place));
        }
    }

    /// Lets go of the lock; what is pending starts a new turn.
    fn free(&mut self) {
        let pending = self.at.pending();
        if self.at.row.is_paused {
            self.mark(pending, LetterState::Absorbed);
            return self.rest();
        }
        if pending == 0 || !self.world.guards.release_looks_for_pending {
            return self.rest();
        }
        self.at.row.restarts = 0;
        self.take(pending);
    }

    /// Runs the turn again over everything that is pending, under the same lock.
    fn restart(&mut self) {
        self.at.row.restarts += 1;
        match self.at.pending() {
            0 => self.rest(),
            pending => self.take(pending),
        }
    }

    fn take(&mut self, pending: u8) {
        let mut covers = pending;
        let row = &mut self.at.row;
        if row.crashes >= SUSPICIOUS && self.world.guards.suspects_run_alone {
            let until = row.suspect.map_or(0, |last| (1 << (last + 1)) - 1);
            if pending & until == 0 {
                row.crashes = 0;
                row.attempts = 0;
            } else {
                covers = pending & until;
            }
        }
        row.epoch += 1;
        row.claim_version = row.version;
        row.state = State::Running;
        self.at.seen.claims += 1;
        let owner = if self.world.owners_repeat {
            1
        } else {
            self.at.seen.claims
        };
        row.owner = Some(owner);
        row.suspect = places(covers).max();
        let turn = Turn {
            epoch: row.epoch,
            owner,
            covers,
            knew: pending,
            attempt: row.attempts + row.crashes + 1,
            crashes: row.crashes,
            is_cancelled: false,
            is_ghost: false,
            asks_again: None,
        };
        self.at.turns.push(turn);
        self.at.turns.sort_unstable();
    }

    fn rest(&mut self) {
        let row = &mut self.at.row;
        row.unlock(State::Idle);
        row.attempts = 0;
        row.crashes = 0;
        row.restarts = 0;
    }

    fn begin_part(&mut self, place: u8) {
        let Some(part) = self.at.outbox.get_mut(usize::from(place)) else {
            return;
        };
        let is_blind = part.is_doubtful;
        part.attempts += 1;
        part.state = PartState::Sending;
        part.is_timed = false;
        part.is_doubtful = true;
        let post = Post {
            part: place,
            attempt: part.attempts,
            fate: None,
            is_awaited: true,
        };
        self.at.posts.push(post);
        self.at.posts.sort_unstable();
        if is_blind {
            self.at.breaks(Broken::Blind);
        }
    }

    /// Goes on with the conversation if the part is settled.
    fn touch(&mut self, place: u8) {
        let part = self.at.outbox.get(usize::from(place));
        if part.is_none_or(Part::is_open) || self.at.row.state != State::Sending {
            return;
        }
        let open = self.at.outbox.iter().position(Part::is_open);
        match open.filter(|_| self.world.guards.release_after_last_part) {
            None => self.free(),
            Some(next) => {
                let waits_for_others = |p: &&Part| p.state == PartState::Queued && !p.is_timed;
                if self.at.outbox.get(next).filter(waits_for_others).is_some() {
                    self.begin_part(place_of(next));
                }
            }
        }
    }

    fn put(&mut self, place: u8, part: Part) {
        if let Some(row) = self.at.outbox.get_mut(usize::from(place)) {
            *row = part;
        }
    }

    /// What a commit says of the promises, from what has come and not from the row.
    fn notice_commit(&mut self, turn: Turn) {
        let newcomers = self.at.pending() & !turn.knew;
        if newcomers != 0 && self.may_restart() {
            self.at.breaks(Broken::Stale);
        }
        if self.at.row.is_paused {
            self.at.breaks(Broken::Interrupted);
        }
        if turn.epoch <= self.at.seen.last_commit {
            self.at.breaks(Broken::Epoch);
        }
        self.at.seen.last_commit = turn.epoch;
        for seq in places(turn.covers) {
            let message = self
                .at
                .inbox
                .get(usize::from(seq))
                .map(|l| usize::from(l.message));
            if let Some(answers) = message.and_then(|m| self.at.seen.answers.get_mut(m)) {
                *answers += 1;
            }
        }
    }
}

impl Row {
    fn unlock(&mut self, to: State) {
        self.state = to;
        self.owner = None;
    }
}

impl Part {
    fn new(epoch: u8, idx: u8) -> Self {
        Self {
            epoch,
            idx,
            state: PartState::Queued,
            attempts: 0,
            is_timed: false,
            is_told: false,
            taken: 0,
            asked: 0,
            is_doubtful: false,
            is_by_hand: false,
        }
    }
}

/// Whether the provider's word is taken for what became of a part.
pub(crate) fn counts_as_told(world: &World, part: &Part) -> bool {
    part.is_told && world.guards.told_is_no_doubt
}

fn place_of(place: usize) -> u8 {
    u8::try_from(place).unwrap_or(u8::MAX)
}
