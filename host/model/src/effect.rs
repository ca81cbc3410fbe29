//! What a plugin asked for in one turn, as data: what T3 commits, and what people are shown.

use serde::{Deserialize, Serialize};

use super::clock::Timestamp;
use super::content::Ext;
use super::delivery::{Button, MediaKind};
use super::ids::{MessageId, OutboxId};

/// One thing that a plugin wants to happen. The list of a turn is in the order of the calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Send a message.
    Send {
        /// What `send-*` answered.
        id: OutboxId,
        /// The message.
        message: Outgoing,
        /// Show it as an answer to this message.
        reply_to: Option<MessageId>,
        /// The pause before it, in milliseconds.
        delay_ms: u64,
        /// Extras for the channel.
        ext: Ext,
    },
    /// Hand the conversation over to a human.
    Handover {
        /// Why.
        reason: String,
        /// For the human.
        note: Option<String>,
    },
    /// Run the conversation again later.
    Schedule {
        /// The plugin's name for the timer.
        name: String,
        /// When.
        due: Timestamp,
        /// Comes back with the timer.
        payload: Vec<u8>,
    },
    /// Take a timer back.
    CancelTimer {
        /// The plugin's name for it.
        name: String,
    },
    /// Label the conversation, or take the label away.
    SetTag {
        /// The label.
        key: String,
        /// Its value.
        value: Option<String>,
    },
    /// Keep a value.
    SetState {
        /// How far it reaches.
        scope: Scope,
        /// Its key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// When it is forgotten.
        expires_at: Option<Timestamp>,
    },
    /// Forget a value.
    DeleteState {
        /// How far it reaches.
        scope: Scope,
        /// Its key.
        key: String,
    },
    /// Add to a number.
    IncrementState {
        /// How far it reaches.
        scope: Scope,
        /// Its key.
        key: String,
        /// How much.
        by: i64,
    },
}

/// The messages that a plugin can send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outgoing {
    /// Words, of any length.
    Text {
        /// The words.
        text: String,
    },
    /// A file from a URL.
    Media {
        /// What sort of file.
        media: MediaKind,
        /// Where it is.
        url: String,
        /// Words below it.
        caption: Option<String>,
        /// What a document is saved as.
        filename: Option<String>,
    },
    /// Words with buttons.
    Buttons {
        /// The words.
        text: String,
        /// The buttons.
        buttons: Vec<Button>,
    },
    /// An emoji on a message; none takes it back.
    React {
        /// The message.
        target: MessageId,
        /// The emoji.
        emoji: Option<String>,
    },
}

/// How far a kept value reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This conversation.
    Conversation,
    /// This prospect on all devices of the tenant.
    Prospect,
    /// The tenant.
    Tenant,
}

impl Scope {
    /// The word for it in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conversation => "conversation",
            Self::Prospect => "prospect",
            Self::Tenant => "tenant",
        }
    }
}

/// A value of a wider scope as a turn saw it. If it is another one at the commit, the turn is run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// How far it reaches.
    pub scope: Scope,
    /// Its key.
    pub key: String,
    /// The version that was read; 0 where there was none.
    pub version: i64,
}

/// The value after adding `by` to a number that is kept as decimal text. What is missing, or is not a number, counts as 0; the
/// sum stops at the ends of 64 bits.
#[must_use]
pub fn incremented(current: Option<&[u8]>, by: i64) -> Vec<u8> {
    let current = current
        .and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|text| text.trim().parse::<i64>().ok())
        .unwrap_or(0);
    current.saturating_add(by).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_counts_as_nothing() {
        assert_eq!(incremented(Some(b"41"), 1), b"42");
        assert_eq!(incremented(Some(b"-3"), -4), b"-7");
        assert_eq!(incremented(None, 5), b"5");
        assert_eq!(incremented(Some(b"many"), 5), b"5");
        assert_eq!(incremented(Some(&[0xff]), 5), b"5");
        assert_eq!(
            incremented(Some(i64::MAX.to_string().as_bytes()), 1),
            i64::MAX.to_string().as_bytes()
        );
    }
}
