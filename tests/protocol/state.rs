//! One state of everything: the file, the process, the outside, and what the checker remembers of the way here.

use nodepath_model::overlap::State;

use crate::world::{May, World};

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct System {
    // The file.
    pub(crate) row: Row,
    /// The inbox; a letter's place is its `seq`.
    pub(crate) inbox: Vec<Letter>,
    /// The outbox, in the order in which parts were decided.
    pub(crate) outbox: Vec<Part>,
    // The process.
    pub(crate) is_up: bool,
    pub(crate) turns: Vec<Turn>,
    /// Messages whose webhook is under way: it has come and is not answered.
    pub(crate) webhooks: Vec<Webhook>,
    // The outside.
    pub(crate) sender: Vec<Sent>,
    pub(crate) posts: Vec<Post>,
    /// Parts whose arrival the provider is about to tell.
    pub(crate) statuses: Vec<u8>,
    pub(crate) may: May,
    // What the checker remembers.
    pub(crate) seen: Seen,
}

/// The row of the conversation: the lock is in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) state: State,
    pub(crate) epoch: u8,
    pub(crate) owner: Option<u8>,
    pub(crate) version: u8,
    pub(crate) claim_version: u8,
    pub(crate) attempts: u8,
    pub(crate) crashes: u8,
    pub(crate) suspect: Option<u8>,
    pub(crate) restarts: u8,
    pub(crate) is_paused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Letter {
    pub(crate) message: u8,
    pub(crate) state: LetterState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LetterState {
    Pending,
    Done,
    Skipped,
    Absorbed,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    /// The epoch of the turn that decided it, and its place there.
    pub(crate) epoch: u8,
    pub(crate) idx: u8,
    pub(crate) state: PartState,
    pub(crate) attempts: u8,
    /// Whether it waits for a time, and not for the part before it.
    pub(crate) is_timed: bool,
    /// The provider has told that it arrived.
    pub(crate) is_told: bool,
    /// How often the provider took it, which the host can't see.
    pub(crate) taken: u8,
    /// How often an operator asked for it to be sent although it may have been.
    pub(crate) asked: u8,
    /// Whether the fate of its last try is not known to be a failure.
    pub(crate) is_doubtful: bool,
    /// An operator has had a hand in it: its order is theirs.
    pub(crate) is_by_hand: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PartState {
    Queued,
    Sending,
    Unknown,
    Sent,
    Held,
    Dead,
}

/// A turn that runs somewhere, with the lock that it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) epoch: u8,
    pub(crate) owner: u8,
    /// The letters that it was run for, a bit for each `seq`.
    pub(crate) covers: u8,
    /// The letters that were pending when it was claimed.
    pub(crate) knew: u8,
    pub(crate) attempt: u8,
    pub(crate) crashes: u8,
    pub(crate) is_cancelled: bool,
    /// Its process has ended; what it asks for comes from nowhere.
    pub(crate) is_ghost: bool,
    /// It has ended so and was not told; it asks again.
    pub(crate) asks_again: Option<End>,
}

/// How a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    Commit,
    Retry,
    GiveUp,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Webhook {
    pub(crate) message: u8,
    pub(crate) is_committed: bool,
}

/// A message at whoever delivers webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) is_due: bool,
    pub(crate) is_acknowledged: bool,
}

/// A POST to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Post {
    pub(crate) part: u8,
    pub(crate) attempt: u8,
    pub(crate) fate: Option<Verdict>,
    /// The host still waits for the answer.
    pub(crate) is_awaited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Taken,
    RefusedForNow,
    Rejected,
}

/// What the promises are about and no row says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Seen {
    /// How many committed replies covered each message.
    pub(crate) answers: Vec<u8>,
    /// How many tries of each message have failed.
    pub(crate) failures: Vec<u8>,
    /// How many tries of each message the end of the host has cut off.
    pub(crate) cut_off: Vec<u8>,
    /// How often the lock was taken for a turn, in a file that may have forgotten some of it.
    pub(crate) claims: u8,
    /// The epoch of the last commit.
    pub(crate) last_commit: u8,
    /// The last part that the provider took, in the order of decisions.
    pub(crate) last_taken: (u8, u8),
    /// The promises that were seen to break, for those that only a step can show: a bit for each.
    broken: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// I3: a turn committed after one of the same or a later epoch.
    Epoch,
    /// I4: a part arrived after one that was decided later, or left while another was under way.
    Order,
    /// I5: what a turn had decided of a message was changed by another.
    Undone,
    /// I6: a reply was committed although a newer message had come.
    Stale,
    /// I6: a reply was committed although a human had the conversation.
    Interrupted,
    /// I8: a part was sent again although nobody knew that it had failed.
    Blind,
}

impl System {
    pub(crate) fn new(world: &World) -> Self {
        let per_message = vec![0; usize::from(world.messages)];
        Self {
            row: Row {
                state: State::Idle,
                epoch: 0,
                owner: None,
                version: 0,
                claim_version: 0,
                attempts: 0,
                crashes: 0,
                suspect: None,
                restarts: 0,
                is_paused: false,
            },
            inbox: vec![],
            outbox: vec![],
            is_up: true,
            turns: vec![],
            webhooks: vec![],
            sender: vec![
                Sent {
                    is_due: true,
                    is_acknowledged: false
                };
                usize::from(world.messages)
            ],
            posts: vec![],
            statuses: vec![],
            may: world.may,
            seen: Seen {
                answers: per_message.clone(),
                failures: per_message.clone(),
                cut_off: per_message,
                ..Seen::default()
            },
        }
    }

    /// The letters that wait, a bit for each.
    pub(crate) fn pending(&self) -> u8 {
        self.letters(|letter| letter.state == LetterState::Pending)
    }

    pub(crate) fn letters(&self, which: impl Fn(&Letter) -> bool) -> u8 {
        let bits = self.inbox.iter().enumerate();
        bits.fold(0, |bits, (seq, letter)| {
            bits | (u8::from(which(letter)) << seq)
        })
    }

    pub(crate) fn breaks(&mut self, promise: Broken) {
        self.seen.broken |= 1 << promise as u8;
    }

    pub(crate) fn is_broken(&self, promise: Broken) -> bool {
        self.seen.broken >> promise as u8 & 1 == 1
    }
}

impl Part {
    pub(crate) fn is_open(&self) -> bool {
        use PartState::{Queued, Sending, Unknown};
        matches!(self.state, Queued | Sending | Unknown)
    }
}

/// The places of the bits that are set.
pub(crate) fn places(bits: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |place| bits >> place & 1 == 1)
}
