//! The reference: what a store must come to, on plain collections and without a thought for speed. It is written from the
//! design, and knows nothing of the store's code.
//!
//! Operations that wait at the same time are one commit. Their rules run in their order; what is due comes after them, and locks
//! are taken last, so that a claim covers everything that the commit brought.

mod arrive;
mod claim;
mod deliver;
mod end;
mod hand;
mod picture;

pub(crate) use picture::Picture;

use std::collections::BTreeMap;
use std::fmt;

use nodepath::model::DeviceSettings;

use crate::words::{Answer, Claimed, Conv, Covers, Hand, Op, Order, Piece, Transition, Word};

/// The most messages that a tenant may have waiting here: few, so that it happens.
pub(crate) const MAX_PENDING: usize = 6;

/// Nothing is due at the beginning of time.
pub(crate) const START: i64 = 1_760_433_330_000;

/// A conversation with a human until somebody hands it back.
const FOR_EVER: i64 = i64::MAX;

/// Everything that a store knows, and what the last transition must have answered and told.
#[derive(Clone)]
pub(crate) struct Reference {
    /// Of each device. They are of two tenants, and the second device's provider tells nothing of what it was sent.
    pub(crate) settings: Vec<DeviceSettings>,
    pub(crate) now: i64,
    pub(crate) stage: Stage,
    pub(crate) talks: BTreeMap<Conv, Talk>,
    /// The inbox, in the order of acceptance.
    pub(crate) letters: Vec<Letter>,
    pub(crate) parts: BTreeMap<Piece, Part>,
    /// Every claim that was ever told.
    pub(crate) claims: BTreeMap<Claimed, Claim>,
    /// Of each tenant.
    counters: Vec<Counter>,
    /// Devices whose provider refused them altogether.
    alerts: Vec<bool>,
    timers_set: u64,
    pub(crate) said: Said,
}

/// What the last transition must have answered, and told to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    pub(crate) answers: Vec<Answer>,
    pub(crate) orders: Vec<Order>,
}

/// How far the host has come on its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Running,
    Draining,
    Halted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Waiting,
    Running,
    Sending,
}

/// A conversation.
#[derive(Clone)]
pub(crate) struct Talk {
    pub(crate) state: State,
    pub(crate) epoch: i64,
    has_owner: bool,
    /// A message has come since the claim that the claim does not know.
    has_newer: bool,
    attempts: i64,
    crashes: i64,
    /// The last letter that was under way when the host last ended, or is.
    suspect: Option<usize>,
    restarts: i64,
    turns: i64,
    pub(crate) paused_until: Option<i64>,
    is_signalled: bool,
    /// When a waiting turn starts: between these two, where chance has a part in it.
    ready_at: (i64, i64),
    first_pending_at: Option<i64>,
    /// The last text that was taken in, and when.
    last_text: Option<(u8, i64)>,
    pub(crate) timers: BTreeMap<u8, Timer>,
    kept: Option<u8>,
    tag: Option<u8>,
    /// What becomes of it at the end of the commit.
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stay,
    /// Its lock is free, or given up.
    Free,
    /// Its turn is run again, under the same lock.
    Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) due: i64,
    /// Which setting of it: one that is set again is another one.
    set: u64,
}

/// A row of the inbox.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) device: usize,
    pub(crate) id: u8,
    conv: Conv,
    pub(crate) state: &'static str,
    received_at: i64,
    /// The turn that settled it.
    turn: Option<Claimed>,
}

/// A row of the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) state: PartState,
    pub(crate) status: Option<Word>,
    pub(crate) attempts: u32,
    next_at: Option<i64>,
    /// The provider's id, which is that of a try.
    provider_id: Option<u32>,
    pause: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartState {
    Queued,
    Sending,
    Unknown,
    Sent,
    Held,
    Dead,
}

/// A claim as it was told.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) covers: Covers,
    /// The setting of the timer that it is for.
    timer: Option<u64>,
    /// How often the tenant's counter had been written when it was told.
    counter_writes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    value: Option<i64>,
    writes: u64,
}

impl Reference {
    pub(crate) fn new(settings: Vec<DeviceSettings>) -> Self {
        let devices = settings.len();
        Self {
            settings,
            now: START,
            stage: Stage::Running,
            talks: BTreeMap::new(),
            letters: Vec::new(),
            parts: BTreeMap::new(),
            claims: BTreeMap::new(),
            counters: vec![Counter::default(); devices],
            alerts: vec![false; devices],
            timers_set: 0,
            said: Said::default(),
        }
    }

    pub(crate) fn take(&mut self, transition: &Transition) {
        self.said = Said::default();
        let answer = match transition {
            Transition::Group(ops) => return self.group(ops),
            Transition::Wait(ms) => {
                self.now += ms;
                None
            }
            Transition::Unlock(conv) => Some(self.unlock(*conv)),
            Transition::Pause(conv, ms) => Some(self.pause(*conv, *ms)),
            Transition::Resume(conv) => Some(self.resume(*conv)),
            Transition::ReplayMessage(device, id) => Some(self.replay_message(*device, *id)),
            Transition::ReplayPart(part) => Some(self.replay_part(*part)),
            Transition::Drain => {
                self.stage = self.stage.max(Stage::Draining);
                None
            }
            Transition::Halt => {
                self.stage = Stage::Halted;
                None
            }
            Transition::Restart => {
                self.restart();
                None
            }
        };
        self.said.answers.extend(answer);
    }

    /// One commit.
    fn group(&mut self, ops: &[Op]) {
        let arrived = self.write_down(ops);
        let due = self.what_is_due();
        let mut hurried = Vec::new();
        for (op, arrived) in ops.iter().zip(arrived) {
            let answer = match op {
                Op::Accept(device, events) => self.accept(*device, events, arrived),
                Op::Finish(turn, Hand::Own, end) => Answer::Finished(self.finish(*turn, end)),
                Op::Finish(..) => Answer::Finished("fenced"),
                Op::Settle(part, attempt, fate) => {
                    hurried.extend(self.settle(*part, *attempt, *fate));
                    Answer::Settled
                }
                Op::Due => Answer::Due(None),
            };
            self.said.answers.push(answer);
        }
        let runs_due = ops.iter().any(|op| matches!(op, Op::Due));
        if runs_due {
            self.run_due(due);
        }
        self.take_locks();
        for device in hurried {
            self.hurry(device);
        }
        let next = self.next_due();
        for answer in &mut self.said.answers {
            if let Answer::Due(at) = answer {
                *at = next;
            }
        }
    }

    fn talk(&mut self, conv: Conv) -> &mut Talk {
        self.talks.entry(conv).or_insert_with(Talk::new)
    }

    pub(crate) fn is_paused(&self, conv: Conv) -> bool {
        let until = self.talks.get(&conv).and_then(|t| t.paused_until);
        until.is_some_and(|until| until > self.now)
    }

    fn pending(&self, conv: Conv) -> Vec<usize> {
        let waits = |l: &Letter| l.conv == conv && l.state == "pending";
        let places = self.letters.iter().enumerate();
        places.filter(|(_, l)| waits(l)).map(|(i, _)| i).collect()
    }

    /// Whether chance decides if something is due now; a test that asks then would ask of chance.
    pub(crate) fn is_moot(&self) -> bool {
        let waits = self.talks.values().filter(|t| t.state == State::Waiting);
        waits
            .map(|t| t.ready_at)
            .any(|(from, to)| from <= self.now && self.now < to)
    }
}

impl Talk {
    fn new() -> Self {
        Self {
            state: State::Idle,
            epoch: 0,
            has_owner: false,
            has_newer: false,
            attempts: 0,
            crashes: 0,
            suspect: None,
            restarts: 0,
            turns: 0,
            paused_until: None,
            is_signalled: false,
            ready_at: (0, 0),
            first_pending_at: None,
            last_text: None,
            timers: BTreeMap::new(),
            kept: None,
            tag: None,
            next: Next::Stay,
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        matches!(self.state, State::Running | State::Sending)
    }

    fn wait_until(&mut self, at: i64) {
        self.state = State::Waiting;
        self.has_owner = false;
        self.ready_at = (at, at);
    }
}

impl Part {
    pub(crate) fn is_open(&self) -> bool {
        use PartState::{Queued, Sending, Unknown};
        matches!(self.state, Queued | Sending | Unknown)
    }

    /// Whether an operator may send it again.
    pub(crate) fn is_dead_letter(&self) -> bool {
        let has_failed = self.state == PartState::Sent && self.status == Some(Word::Failed);
        matches!(self.state, PartState::Dead | PartState::Held) || has_failed
    }
}

/// A case is told by its settings; everything else follows from its transitions.
impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (device, s) in self.settings.iter().enumerate() {
            write!(
                f,
                "device {device}: {:?}, debounce {}, same text {}, {:?}; ",
                s.overlap, s.debounce_ms, s.duplicate_window_ms, s.unknown
            )?;
        }
        Ok(())
    }
}
