//! A turn: what starts it, the lock that it holds, and how it ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Timestamp;
use super::content::Content;
use super::device::Device;
use super::effect::{Effect, Observed};
use super::ids::{ConversationId, MessageId, ProspectId, TimerId, TurnId};
use super::inbound::InboundMessage;

/// The session lock of one conversation: the right to commit the turn of this epoch.
///
/// It is a token, not a mutex: whoever finishes a turn hands it in, and the row decides whether it still holds. It can't be
/// copied, so finishing twice does not compile. In the words of the old program, a claim is `TryAcquireSession(from,
/// idDevice)` and handing the lock in is `ReleaseSession(from, idDevice)`.
#[derive(Debug, PartialEq, Eq)]
pub struct Lock {
    /// The conversation.
    pub conversation: ConversationId,
    /// Which claim of it; rises with every claim.
    pub epoch: i64,
    /// A random number of this claim.
    pub owner: String,
}

/// A conversation that was claimed, with everything that its turn needs.
#[derive(Debug)]
pub struct Claim {
    /// The right to finish it.
    pub lock: Lock,
    /// Its turn's id.
    pub turn: TurnId,
    /// The device, with the plugin version that this turn is pinned to.
    pub device: Device,
    /// Who writes.
    pub prospect: ProspectId,
    /// The name that they go by.
    pub prospect_name: Option<String>,
    /// Why the plugin is run.
    pub trigger: Trigger,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How many of the tries before took the host down with them, or were cut off by its end.
    pub crashes: u32,
    /// How many turns of the conversation were committed before.
    pub turn_seq: u64,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// What `clock.now` says: the time of the first try.
    pub clock: Timestamp,
    /// What chance is made from, the same for every try.
    pub seed: u64,
    /// When the prospect last wrote.
    pub last_inbound_at: Option<Timestamp>,
}

/// Why the plugin is run.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// Messages that wait for an answer, in the order in which they were accepted.
    Messages(Vec<PendingMessage>),
    /// A timer that came due.
    Timer {
        /// Its row.
        id: TimerId,
        /// The plugin's name for it.
        name: String,
        /// When it was due.
        due: Timestamp,
        /// What the plugin gave it.
        payload: Vec<u8>,
    },
    /// Something else, such as the hand-back from a human.
    Signal {
        /// What.
        kind: String,
        /// More about it.
        json: String,
    },
}

/// A message that waits for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingMessage {
    /// Our id.
    pub id: MessageId,
    /// Its place in the inbox.
    pub seq: i64,
    /// What came.
    pub message: InboundMessage,
}

/// How a plugin ended a turn without failing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// What is to happen, in the order in which it was asked for. Already without messages for `silent`, and empty for
    /// `ignore`.
    pub effects: Vec<Effect>,
    /// What it read of the scopes that other conversations may write.
    pub observed: Vec<Observed>,
}

/// Why a turn has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct TurnFailure {
    /// What sort of failure.
    pub kind: FailureKind,
    /// For the operator and the plugin's author.
    pub detail: String,
    /// The guest asked for this delay before the next try.
    pub retry_after: Option<Duration>,
}

/// Sorts of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The guest answered `retry`.
    Retry,
    /// The guest answered `failed`.
    Failed,
    /// The guest answered `handover`.
    Handover,
    /// The guest trapped.
    Trap,
    /// The guest used up its CPU budget.
    CpuBudget,
    /// The turn used up its time.
    WallBudget,
    /// The guest asked for more memory than it may have.
    Memory,
    /// The plugin can't be run: none is deployed, or it can't be loaded.
    Plugin,
    /// Something of the host broke.
    Host,
}

/// Who is to blame for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The plugin.
    Guest,
    /// This host.
    Host,
}

impl FailureKind {
    /// The word for it in the store and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Failed => "failed",
            Self::Handover => "handover",
            Self::Trap => "trap",
            Self::CpuBudget => "cpu_budget",
            Self::WallBudget => "wall_budget",
            Self::Memory => "memory",
            Self::Plugin => "plugin",
            Self::Host => "host",
        }
    }

    /// Who is to blame.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            // None is deployed, or it can't be loaded: whoever wrote it did nothing wrong in this turn.
            Self::Host | Self::Plugin => Blame::Host,
            _ => Blame::Guest,
        }
    }

    /// Whether another try might help.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Handover)
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message of the past, as `history` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// `msg_…` or `out_…`.
    pub id: String,
    /// When it came or went.
    pub at: Timestamp,
    /// Who wrote it.
    pub author: Author,
    /// What it says.
    pub content: Content,
}

/// A page of the past, newest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryPage {
    /// The messages.
    pub entries: Vec<HistoryEntry>,
    /// Where the page before it in time begins; none on the last.
    pub next: Option<String>,
}

/// Who wrote a message of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The prospect.
    Prospect,
    /// A plugin.
    Plugin,
    /// The owner of the number, by hand.
    Human,
}
