//! What may happen next.

use nodepath_model::overlap::State;
use stateright::Model;

use crate::commits::{Commit, counts_as_told};
use crate::state::{
    Broken, End, LetterState, Part, PartState, Post, System, Turn, Verdict, Webhook, places,
};
use crate::world::World;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A webhook with this message comes in.
    Deliver(u8),
    /// What was answered too early is committed.
    CommitLate(u8),
    /// The webhook is answered.
    Answer(u8),
    /// A turn ends so, and its T3 is committed.
    End(Turn, End),
    /// The same, and nobody tells it.
    EndUnheard(Turn, End),
    /// The waiting conversation is due.
    Due,
    /// The waiting conversation is due; the turn is told, and then the host ends and the file has forgotten the claim.
    DueForgotten,
    /// The part of this place is due.
    PartDue(u8),
    /// The provider decides about a POST.
    Decide(Post, Verdict),
    /// A POST that nobody waits for gets lost.
    Lose(Post),
    /// The provider's answer comes, and T5 is committed.
    Hear(Post),
    /// The answer does not come, and T5 is committed.
    HearNothing(Post),
    /// The provider tells that the part of this place has arrived.
    Status(u8),
    /// kill -9.
    Crash,
    /// A new host.
    Start,
    Unlock,
    ReplayLetter(u8),
    ReplayPart(u8),
    TakeOver,
    HandBack,
}

impl Model for World {
    type State = System;
    type Action = Step;

    fn init_states(&self) -> Vec<System> {
        vec![System::new(self)]
    }

    fn actions(&self, at: &System, steps: &mut Vec<Step>) {
        self.progress(at, steps);
        self.faults(at, steps);
    }

    fn next_state(&self, last: &System, step: Step) -> Option<System> {
        let mut next = last.clone();
        self.take(&mut next, step);
        // A step that changes nothing, such as one that was fenced off, leads nowhere new.
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        crate::promises::all(self)
    }
}

impl World {
    /// What happens sooner or later if nothing else does.
    pub(crate) fn progress(&self, at: &System, steps: &mut Vec<Step>) {
        for post in &at.posts {
            if post.fate.is_none() {
                steps.push(Step::Decide(*post, Verdict::Taken));
            }
            if !post.is_awaited {
                steps.push(Step::Lose(*post));
            }
        }
        if !at.is_up {
            return steps.push(Step::Start);
        }
        let due = at.sender.iter().zip(0..).find(|(sent, _)| sent.is_due);
        steps.extend(due.map(|(_, message)| Step::Deliver(message)));
        steps.extend(at.webhooks.iter().map(|webhook| {
            if webhook.is_committed {
                Step::Answer(webhook.message)
            } else {
                Step::CommitLate(webhook.message)
            }
        }));
        for turn in at.turns.iter().filter(|turn| !turn.is_ghost) {
            self.ends(at, turn, steps);
        }
        if at.row.state == State::Waiting {
            steps.push(Step::Due);
        }
        for (part, place) in at.outbox.iter().zip(0..) {
            if part.is_timed && self.is_due(at, part, place) {
                steps.push(Step::PartDue(place));
            }
        }
        let answered = at.posts.iter().filter(|p| p.is_awaited && p.fate.is_some());
        steps.extend(answered.map(|post| Step::Hear(*post)));
        steps.extend(at.statuses.iter().map(|part| Step::Status(*part)));
    }

    /// What goes wrong, and what people do.
    fn faults(&self, at: &System, steps: &mut Vec<Step>) {
        let may = at.may;
        for post in &at.posts {
            if post.fate.is_none() && post.is_awaited {
                let refusals = [
                    (may.refuse, Verdict::RefusedForNow),
                    (may.reject, Verdict::Rejected),
                ];
                let left = refusals.into_iter().filter(|(left, _)| *left > 0);
                steps.extend(left.map(|(_, verdict)| Step::Decide(*post, verdict)));
            }
            if post.is_awaited && may.lose_answer > 0 && at.is_up {
                steps.push(Step::HearNothing(*post));
            }
        }
        if may.crash > 0 && at.is_up {
            steps.push(Step::Crash);
        }
        if !at.is_up {
            return;
        }
        if may.redeliver > 0 && at.sender.first().is_some_and(|sent| !sent.is_due) {
            steps.push(Step::Deliver(0));
        }
        for turn in &at.turns {
            if turn.is_ghost {
                self.ends(at, turn, steps);
            } else if may.ask_again > 0 && turn.asks_again.is_none() {
                steps.push(Step::EndUnheard(*turn, End::Commit));
            }
        }
        if may.lose_claim > 0 && at.row.state == State::Waiting {
            steps.push(Step::DueForgotten);
        }
        self.people(at, steps);
    }

    fn people(&self, at: &System, steps: &mut Vec<Step>) {
        let is_locked = matches!(at.row.state, State::Running | State::Sending);
        if at.may.unlock > 0 && is_locked {
            steps.push(Step::Unlock);
        }
        if at.may.replay > 0 {
            let dead = at.letters(|l| l.state == LetterState::Dead);
            if !at.row.is_paused {
                steps.extend(places(dead).map(Step::ReplayLetter));
            }
            for (part, place) in at.outbox.iter().zip(0..) {
                if matches!(part.state, PartState::Dead | PartState::Held) {
                    steps.push(Step::ReplayPart(place));
                }
            }
        }
        if at.row.is_paused {
            steps.push(Step::HandBack);
        } else if at.may.take_over > 0 {
            steps.push(Step::TakeOver);
        }
    }

    /// How a turn may end.
    fn ends(&self, at: &System, turn: &Turn, steps: &mut Vec<Step>) {
        let most = self.most_attempts();
        if let Some(end) = turn.asks_again {
            return steps.push(Step::End(*turn, end));
        }
        if turn.crashes >= most {
            return steps.push(Step::End(*turn, End::GiveUp));
        }
        // A turn that has ended counts as ended, even if it was to be stopped in the same moment.
        steps.push(Step::End(*turn, End::Commit));
        if turn.is_cancelled {
            steps.push(Step::End(*turn, End::Cancelled));
        }
        if at.may.fail > 0 {
            let end = if turn.attempt < most {
                End::Retry
            } else {
                End::GiveUp
            };
            steps.push(Step::End(*turn, end));
        }
    }

    /// Whether a part's time has come. A doubt lasts until the provider has told what it can tell.
    fn is_due(&self, at: &System, part: &Part, place: u8) -> bool {
        if part.state != PartState::Unknown {
            return Commit::may_begin(at, self);
        }
        let is_open = |post: &Post| post.part == place && post.fate.is_none();
        let may_still_tell = at.statuses.contains(&place) || at.posts.iter().any(is_open);
        let has_waited = !(self.tells && may_still_tell && self.guards.hold_window);
        has_waited && (counts_as_told(self, part) || Commit::may_begin(at, self))
    }

    fn take(&self, at: &mut System, step: Step) {
        match step {
            Step::Deliver(message) => self.deliver(at, message),
            Step::CommitLate(message) => {
                at.webhooks.retain(|w| w.message != message);
                self.commit(at).accept(message);
            }
            Step::Answer(message) => {
                at.webhooks.retain(|w| w.message != message);
                acknowledge(at, message);
            }
            Step::End(turn, end) => {
                at.turns.retain(|t| *t != turn);
                self.finish(at, turn, end);
            }
            Step::EndUnheard(turn, end) => {
                at.may.ask_again -= 1;
                at.turns.retain(|t| *t != turn);
                self.finish(at, turn, end);
                let asks_again = Some(end);
                at.turns.push(Turn { asks_again, ..turn });
                at.turns.sort_unstable();
            }
            Step::Due => self.commit(at).due(),
            Step::DueForgotten => {
                at.may.lose_claim -= 1;
                let (row, inbox) = (at.row.clone(), at.inbox.clone());
                self.commit(at).due();
                (at.row, at.inbox) = (row, inbox);
                self.crash(at, true);
            }
            Step::PartDue(part) => self.commit(at).part_due(part),
            Step::Decide(post, verdict) => self.decide(at, post, verdict),
            Step::Lose(post) => at.posts.retain(|p| *p != post),
            Step::Hear(post) => {
                at.posts.retain(|p| *p != post);
                self.commit(at).settle(post, post.fate);
            }
            Step::HearNothing(post) => {
                at.may.lose_answer -= 1;
                leave(at, post);
                self.commit(at).settle(post, None);
            }
            Step::Status(part) => {
                at.statuses.retain(|p| *p != part);
                self.commit(at).note_status(part);
            }
            Step::Crash => {
                at.may.crash -= 1;
                self.crash(at, self.ghosts);
            }
            Step::Start => {
                at.is_up = true;
                self.commit(at).recover();
            }
            by_hand => self.by_hand(at, by_hand),
        }
    }

    fn by_hand(&self, at: &mut System, step: Step) {
        match step {
            Step::Unlock => {
                at.may.unlock -= 1;
                self.commit(at).unlock();
            }
            Step::ReplayLetter(seq) => {
                at.may.replay -= 1;
                self.commit(at).replay_letter(seq);
            }
            Step::ReplayPart(part) => {
                at.may.replay -= 1;
                self.commit(at).replay_part(part);
            }
            Step::TakeOver => {
                at.may.take_over -= 1;
                self.commit(at).take_over();
            }
            Step::HandBack => self.commit(at).hand_back(),
            _ => {}
        }
    }

    fn commit<'a>(&'a self, at: &'a mut System) -> Commit<'a> {
        Commit { at, world: self }
    }

    fn deliver(&self, at: &mut System, message: u8) {
        if let Some(sent) = at.sender.get_mut(usize::from(message)) {
            if sent.is_due {
                sent.is_due = false;
            } else {
                at.may.redeliver -= 1;
            }
        }
        let is_committed = self.guards.ack_after_commit;
        if is_committed {
            self.commit(at).accept(message);
        } else {
            acknowledge(at, message);
        }
        let webhook = Webhook {
            message,
            is_committed,
        };
        // Only a crash can come between a commit and its answer; where none can come any more they are one step.
        if is_committed && at.may.crash + at.may.lose_claim == 0 {
            return acknowledge(at, message);
        }
        if !at.webhooks.contains(&webhook) {
            at.webhooks.push(webhook);
            at.webhooks.sort_unstable();
        }
    }

    fn finish(&self, at: &mut System, turn: Turn, end: End) {
        let is_poisonous = turn.crashes >= self.most_attempts();
        if matches!(end, End::Retry | End::GiveUp) && !is_poisonous {
            at.may.fail -= 1;
            count(at, turn, |seen| &mut seen.failures);
        }
        self.commit(at).finish(turn, end);
    }

    /// The process ends: what only it knew is gone.
    fn crash(&self, at: &mut System, leaves_ghosts: bool) {
        at.is_up = false;
        for post in at.posts.clone() {
            leave(at, post);
        }
        for webhook in std::mem::take(&mut at.webhooks) {
            if let Some(sent) = at.sender.get_mut(usize::from(webhook.message)) {
                sent.is_due |= !sent.is_acknowledged;
            }
        }
        for turn in std::mem::take(&mut at.turns) {
            // One that has taken the host down too often is given up without being run.
            let is_run = turn.crashes < self.most_attempts() && turn.asks_again.is_none();
            if is_run && !turn.is_ghost && turn.epoch == at.row.epoch {
                count(at, turn, |seen| &mut seen.cut_off);
            }
            if (leaves_ghosts || turn.is_ghost) && turn.asks_again.is_none() {
                let is_ghost = true;
                at.turns.push(Turn { is_ghost, ..turn });
            }
        }
        at.turns.sort_unstable();
    }

    fn most_attempts(&self) -> u8 {
        u8::try_from(self.settings.max_attempts).unwrap_or(u8::MAX)
    }

    fn decide(&self, at: &mut System, post: Post, verdict: Verdict) {
        match verdict {
            Verdict::Taken => self.arrive(at, post),
            Verdict::RefusedForNow => at.may.refuse -= 1,
            Verdict::Rejected => at.may.reject -= 1,
        }
        let decided = at.posts.iter_mut().find(|p| **p == post);
        if let Some(decided) = decided {
            decided.fate = Some(verdict);
        }
        at.posts.retain(|p| p.is_awaited || p.fate.is_none());
        at.posts.sort_unstable();
    }

    /// The provider takes a part.
    fn arrive(&self, at: &mut System, post: Post) {
        let Some(part) = at.outbox.get_mut(usize::from(post.part)) else {
            return;
        };
        part.taken += 1;
        let place = (part.epoch, part.idx);
        // What nobody waits for any more, or an operator has asked for, comes when it comes.
        if post.is_awaited && !part.is_by_hand {
            if place < at.seen.last_taken {
                at.breaks(Broken::Order);
            }
            at.seen.last_taken = at.seen.last_taken.max(place);
        }
        if self.tells && !at.statuses.contains(&post.part) {
            at.statuses.push(post.part);
            at.statuses.sort_unstable();
        }
    }
}

fn acknowledge(at: &mut System, message: u8) {
    if let Some(sent) = at.sender.get_mut(usize::from(message)) {
        sent.is_acknowledged = true;
    }
}

/// Nobody waits for the answer to a POST any more.
fn leave(at: &mut System, post: Post) {
    if let Some(post) = at.posts.iter_mut().find(|p| **p == post) {
        post.is_awaited = false;
    }
    at.posts.retain(|p| p.is_awaited || p.fate.is_none());
    at.posts.sort_unstable();
}

/// Counts something that happened to the messages of a turn.
fn count(at: &mut System, turn: Turn, what: impl Fn(&mut crate::state::Seen) -> &mut Vec<u8>) {
    for seq in places(turn.covers) {
        let message = at
            .inbox
            .get(usize::from(seq))
            .map(|l| usize::from(l.message));
        if let Some(count) = message.and_then(|m| what(&mut at.seen).get_mut(m)) {
            *count += 1;
        }
    }
}
