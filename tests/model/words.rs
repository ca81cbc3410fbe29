//! What the suite can do to a store, as data that says what it is when it is printed: a case that has shrunk is read as a story.

use std::fmt;

/// A conversation: which device, and which prospect of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Conv {
    pub(crate) device: usize,
    pub(crate) prospect: usize,
}

/// A claim of a conversation, told as work some time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Claimed {
    pub(crate) conv: Conv,
    pub(crate) epoch: i64,
}

/// A part of a reply: of which claim's turn, and its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Piece {
    pub(crate) turn: Claimed,
    pub(crate) idx: usize,
}

/// One thing that is done to the store.
#[derive(Clone)]
pub(crate) enum Transition {
    /// Operations that wait for the writer at the same time, so that one transaction commits them.
    Group(Vec<Op>),
    /// Time passes, in milliseconds.
    Wait(i64),
    Unlock(Conv),
    /// A human takes over: for so long, or until handed back.
    Pause(Conv, Option<i64>),
    Resume(Conv),
    ReplayMessage(usize, u8),
    ReplayPart(Piece),
    Drain,
    Halt,
    /// kill -9, and another host.
    Restart,
}

/// An operation of the writer.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A webhook for this device.
    Accept(usize, Vec<Told>),
    /// A turn ends so, with this lock in its hand.
    Finish(Claimed, Hand, End),
    /// This try of the part has ended so.
    Settle(Piece, u32, Fate),
    Due,
}

/// What lock is handed in for a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    Own,
    /// One of another owner.
    OtherOwner,
    /// One of the epoch before.
    OtherEpoch,
}

/// One event of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// This prospect sent a message of this id, with one of a few texts.
    Message { prospect: usize, id: u8, text: u8 },
    /// The owner wrote to this prospect.
    Owner {
        prospect: usize,
        id: u8,
        word: OwnerWord,
    },
    /// The provider's word on this try of a part, by our own id or only by its own.
    Status {
        part: Piece,
        attempt: u32,
        word: Word,
        names_ours: bool,
    },
    /// A reaction.
    Ignored { prospect: usize, id: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerWord {
    Cmd,
    Dmc,
    Other,
}

/// How far a message has come. The order is that in which one outweighs another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    Sent,
    Failed,
    Delivered,
    Read,
}

/// How a turn ends.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Commit(Reply),
    /// It failed, and is tried again so much later.
    Retry(i64),
    /// It failed for good.
    GiveUp(Reply),
    /// It hands over to a human.
    HandOver,
    Cancelled,
    HandedBack,
}

/// What a turn decided.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    /// The pause before each part.
    pub(crate) parts: Vec<i64>,
    pub(crate) effects: Vec<Effect>,
    /// It read the tenant's counter when it began.
    pub(crate) has_read_counter: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// A timer of this name, so much later.
    Timer(u8, i64),
    CancelTimer(u8),
    /// Keeps a value for the conversation, or forgets it.
    Keep(Option<u8>),
    /// Adds to the tenant's counter.
    Count(i64),
    Tag(Option<u8>),
    Handover,
}

/// What became of one try of a part. Times are from now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Sent { with_id: bool },
    RetryIn(i64),
    UnknownFor(i64),
    NotTried(i64),
    Dead { alert: bool },
}

/// What an operation answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Full,
    Stored(Vec<&'static str>),
    Finished(&'static str),
    Settled,
    /// When the next thing is due; within these bounds, where chance has a part in it.
    Due(Option<(i64, i64)>),
    /// Of what is done by hand.
    Done,
    WasSo,
    Refused,
    NotFound,
}

/// Something that a commit told to do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    Run {
        turn: Claimed,
        covers: Covers,
        attempt: i64,
        crashes: i64,
        turns: i64,
    },
    Cancel(Claimed),
    Send(Piece, u32),
}

/// What a turn is run for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Covers {
    Messages(Vec<u8>),
    Timer(u8),
    Signal,
}

impl fmt::Debug for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}p{}", self.device, self.prospect)
    }
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}e{}", self.conv, self.epoch)
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}i{}", self.turn, self.idx)
    }
}

/// On a line of its own, also where everything else is spread out: a story has a line for each step.
impl fmt::Debug for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(ops) => match ops.as_slice() {
                [op] => write!(f, "{op:?}"),
                ops => write!(f, "Together{ops:?}"),
            },
            Self::Wait(ms) => write!(f, "Wait({ms})"),
            Self::Unlock(conv) => write!(f, "Unlock({conv:?})"),
            Self::Pause(conv, ms) => write!(f, "Pause({conv:?}, {ms:?})"),
            Self::Resume(conv) => write!(f, "Resume({conv:?})"),
            Self::ReplayMessage(device, id) => write!(f, "ReplayMessage({device}, {id})"),
            Self::ReplayPart(part) => write!(f, "ReplayPart({part:?})"),
            Self::Drain => f.write_str("Drain"),
            Self::Halt => f.write_str("Halt"),
            Self::Restart => f.write_str("Restart"),
        }
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run {
                turn,
                covers,
                attempt,
                crashes,
                turns,
            } => write!(
                f,
                "run {turn:?} for {covers:?}, try {attempt} after {crashes} crashes and {turns} turns"
            ),
            Self::Cancel(turn) => write!(f, "cancel {turn:?}"),
            Self::Send(part, attempt) => write!(f, "send {part:?}, try {attempt}"),
        }
    }
}

impl Word {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }
}

impl Transition {
    /// What it is called in the table, one name for each operation.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        match self {
            Self::Group(ops) => ops.iter().flat_map(Op::kinds).collect(),
            Self::Wait(_) => vec!["time passes"],
            Self::Unlock(_) => vec!["unlock"],
            Self::Pause(..) => vec!["pause"],
            Self::Resume(_) => vec!["resume"],
            Self::ReplayMessage(..) => vec!["replay of a message"],
            Self::ReplayPart(_) => vec!["replay of a part"],
            Self::Drain => vec!["drain"],
            Self::Halt => vec!["halt"],
            Self::Restart => vec!["restart"],
        }
    }
}

impl Op {
    fn kinds(&self) -> Vec<&'static str> {
        match self {
            Self::Accept(_, events) => events.iter().map(Told::kind).collect(),
            Self::Finish(_, _, End::Commit(_)) => vec!["turn: commit"],
            Self::Finish(_, _, End::Retry(_)) => vec!["turn: retry"],
            Self::Finish(_, _, End::GiveUp(_)) => vec!["turn: give up"],
            Self::Finish(_, _, End::HandOver) => vec!["turn: hand over"],
            Self::Finish(_, _, End::Cancelled) => vec!["turn: cancelled"],
            Self::Finish(_, _, End::HandedBack) => vec!["turn: handed back"],
            Self::Settle(_, _, Fate::Sent { .. }) => vec!["part: sent"],
            Self::Settle(_, _, Fate::RetryIn(_)) => vec!["part: retry"],
            Self::Settle(_, _, Fate::UnknownFor(_)) => vec!["part: unknown"],
            Self::Settle(_, _, Fate::NotTried(_)) => vec!["part: not tried"],
            Self::Settle(_, _, Fate::Dead { .. }) => vec!["part: dead"],
            Self::Due => vec!["run what is due"],
        }
    }
}

impl Told {
    fn kind(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Owner { .. } => "the owner writes",
            Self::Status { word, .. } => match word {
                Word::Sent => "status: sent",
                Word::Failed => "status: failed",
                Word::Delivered => "status: delivered",
                Word::Read => "status: read",
            },
            Self::Ignored { .. } => "reaction",
        }
    }
}
