//! What a provider's webhook tells us, the same for every channel.

use serde::{Deserialize, Serialize};

use super::clock::Timestamp;
use super::content::{Content, Ext};
use super::ids::ProspectId;

/// One thing that a webhook told. A webhook may carry many, and each stands for itself: one that can't be read becomes
/// `Ignored` and loses nothing of the others.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A prospect wrote.
    Message(InboundMessage),
    /// The provider tells what became of a message that we sent.
    Status(StatusUpdate),
    /// The owner of the number wrote to a prospect from another app: a human has taken over.
    Echo(OwnerEcho),
    /// A prospect has another id from now on.
    Renamed {
        /// The id until now.
        from: ProspectId,
        /// The id from now on.
        to: ProspectId,
    },
    /// Something that starts no turn. It is recorded with its reason.
    Ignored(Ignored),
}

/// A message of a prospect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboundMessage {
    /// The provider's id. Where a channel has none, one made from the content.
    pub provider_id: String,
    /// Who wrote.
    pub prospect: ProspectId,
    /// Another id of the same prospect, where the provider tells two.
    pub alias: Option<ProspectId>,
    /// The name that they go by.
    pub prospect_name: Option<String>,
    /// When the provider says it was sent.
    pub sent_at: Timestamp,
    /// What it says.
    pub content: Content,
    /// The provider's id of the message that it answers.
    pub reply_to: Option<String>,
    /// Extras for the plugin.
    pub ext: Ext,
}

/// How far a message of ours has come, by the provider's word. The order is that of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// The provider has it.
    Sent,
    /// The prospect's device has it.
    Delivered,
    /// It was seen (or played).
    Read,
    /// It will not arrive.
    Failed,
}

/// A provider's word on a message that we sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusUpdate {
    /// The provider's id of the message.
    pub provider_id: String,
    /// Our own id (`out_…`), where the provider gives it back.
    pub callback: Option<String>,
    /// How far it has come.
    pub status: DeliveryStatus,
    /// When the provider saw that.
    pub at: Timestamp,
    /// What the provider says of a failure.
    pub detail: Option<String>,
}

/// A message that the owner of the number wrote by hand.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnerEcho {
    /// The provider's id.
    pub provider_id: String,
    /// Whom the owner wrote to.
    pub prospect: ProspectId,
    /// When.
    pub sent_at: Timestamp,
    /// What.
    pub content: Content,
}

/// Something that starts no turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The provider's id, where it has one.
    pub provider_id: Option<String>,
    /// Who sent it, where that can be told.
    pub prospect: Option<ProspectId>,
    /// Why it starts no turn.
    pub reason: IgnoreReason,
    /// The item as it came, cut short; for the operator.
    pub excerpt: String,
}

/// Why something starts no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoreReason {
    /// It was written in a group.
    Group,
    /// The device itself wrote it.
    OwnMessage,
    /// It is a reaction to another message.
    Reaction,
    /// The provider itself can't tell what it is.
    Unsupported,
    /// It lacks what every such item has, or has it in a form that can't be read.
    Malformed,
    /// It was meant for another number than this device's.
    OtherNumber,
    /// It tells something that conversations have no use for, such as a change of the account.
    Notice,
}

impl IgnoreReason {
    /// The word for it in the store and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::OwnMessage => "own_message",
            Self::Reaction => "reaction",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
            Self::OtherNumber => "other_number",
            Self::Notice => "notice",
        }
    }
}
