//! What the promises I1 to I9 mean, in one place: what was posted and how it was answered, what the provider saw, and the database
//! that is left go in, and what is broken comes out. It looks at nothing else, so it can be tried on evidence that is made up.
//!
//! [`rows`] has what the database alone must fulfil, [`sends`] what it must fulfil beside the provider's log, [`posts`] what it
//! must fulfil beside what was posted, and [`doubt`] counts what became of sends that nobody could tell about.

mod doubt;
mod left;
mod posts;
mod rows;
mod sends;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use nodepath::cli::demo::provider::{Answer, Request};

pub(crate) use doubt::Doubts;
pub(crate) use left::{Left, Message, Part, Policy, Row, Turn};

/// How far the host had come when it left the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// It was killed, or still runs: whatever holds after each commit.
    Any,
    /// It has stopped: no turn runs.
    Stopped,
    /// It had time to end everything: nothing waits, and nothing is locked.
    Calm,
}

/// Everything that there is to judge by.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) moment: Moment,
    /// Every message that was posted, in the order of each conversation.
    pub(crate) posted: Vec<Posted>,
    /// Every send that reached the provider, in the order in which it decided on them.
    pub(crate) sends: Vec<Send>,
    /// Whether those are all that this database's hosts have sent, and no others.
    pub(crate) is_log_whole: bool,
    pub(crate) left: Left,
    /// Parts that were seen under way or in doubt when a host was killed.
    pub(crate) doubted: BTreeSet<String>,
    /// Whether the host's clock was set while it ran, so that its times say nothing about what came first.
    pub(crate) clock_was_set: bool,
}

/// A message that was posted. Its prospect waits for no reply, but for the 2xx to the message before.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) device: String,
    pub(crate) prospect: String,
    pub(crate) id: String,
    pub(crate) text: String,
    /// Whether any delivery of it was answered 2xx.
    pub(crate) is_answered: bool,
}

/// A send that reached the provider.
#[derive(Debug, Clone)]
pub(crate) struct Send {
    /// Our id of the part.
    pub(crate) part: String,
    pub(crate) to: String,
    pub(crate) text: String,
    /// Whether the prospect has it on the screen.
    pub(crate) is_taken: bool,
    /// Whether the answer said that it was not taken, so that it may be sent again.
    pub(crate) is_refused: bool,
    /// Whether the provider gave no answer.
    pub(crate) is_silent: bool,
}

impl From<Request> for Send {
    fn from(request: Request) -> Self {
        Self {
            part: request.callback.unwrap_or_default(),
            to: request.to,
            text: request.text.unwrap_or_default(),
            is_taken: request.wamid.is_some(),
            is_refused: request.refusal.is_some() || request.answer.refuses(),
            is_silent: !matches!(
                request.answer,
                Answer::Take | Answer::TakeLate(_) | Answer::Refuse { .. } | Answer::Status { .. }
            ),
        }
    }
}

/// What sort of promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// I1: a message whose webhook was answered 2xx is nowhere, or ends nowhere.
    Lost,
    /// I2, I5: a message is there twice, or several replies answer it.
    Doubled,
    /// I4: a reply overtook another of its conversation.
    OutOfOrder,
    /// I6: a reply was committed although a newer message had come.
    Stale,
    /// I3: an epoch was used twice, or fell.
    NotExclusive,
    /// I5: what left was not decided, or is not what was decided.
    Undecided,
    /// I7: something waits that nothing will start.
    WakeUpLost,
    /// I8: a part was sent again although nobody knew that it had not arrived.
    BlindResend,
    /// I9: a lock is held for nothing, or did not end in time.
    LockLeft,
    /// The file itself is damaged.
    Damaged,
}

/// A broken promise, with what breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) broken: Broken,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.broken, self.what)
    }
}

/// What the evidence shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    pub(crate) doubts: Doubts,
    /// Parts that prospects have twice, as their devices ask for where nobody knows.
    pub(crate) twice: usize,
}

impl Verdict {
    fn note(&mut self, broken: Broken, what: impl Into<String>) {
        let what = what.into();
        self.violations.push(Violation { broken, what });
    }
}

/// Says what is broken.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    rows::judge(evidence, &mut verdict);
    sends::judge(evidence, &mut verdict);
    posts::judge(evidence, &mut verdict);
    verdict.doubts = doubt::count(evidence);
    verdict
}

/// Things by what they have in common, each group in its own order.
fn grouped<'a, K: Ord, T>(
    things: impl IntoIterator<Item = &'a T>,
    key: impl Fn(&'a T) -> K,
) -> BTreeMap<K, Vec<&'a T>> {
    let mut groups: BTreeMap<K, Vec<&T>> = BTreeMap::new();
    for thing in things {
        groups.entry(key(thing)).or_default().push(thing);
    }
    groups
}
