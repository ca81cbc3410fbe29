//! What goes out: the parts of a reply, and what became of sending one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::content::Ext;
use super::ids::{ConversationId, DeviceId, OutboxId, ProspectId, TurnId};

/// One message to a prospect. Texts that are too long for the channel are several.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Our id; the provider gives it back where it can.
    pub id: OutboxId,
    /// The conversation whose lock is held until this part is settled.
    pub conversation: ConversationId,
    /// The turn that decided it.
    pub turn: TurnId,
    /// Its place among the parts of the turn, from 0.
    pub idx: u32,
    /// The device that sends it.
    pub device: DeviceId,
    /// Who gets it.
    pub prospect: ProspectId,
    /// What it says.
    pub body: PartBody,
    /// Which try this is, from 1.
    pub attempt: u32,
}

/// What a part says. It is stored as JSON and never changes once its turn has committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartBody {
    /// The message itself.
    #[serde(flatten)]
    pub kind: PartKind,
    /// The provider's id of the message that this one is shown as an answer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The pause before it, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
    /// Extras for the channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ext: Ext,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The kinds of messages that go out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PartKind {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A file that the provider fetches.
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
    /// An emoji on a message of the prospect; none takes it back.
    React {
        /// The provider's id of the prospect's message.
        target: String,
        /// The emoji.
        emoji: Option<String>,
    },
}

/// Sorts of files that providers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// A picture.
    Image,
    /// Sound.
    Audio,
    /// A film.
    Video,
    /// Anything else.
    Document,
}

impl MediaKind {
    /// The word that providers use for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
        }
    }
}

/// A button below a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// Comes back when it is pressed.
    pub id: String,
    /// What is written on it.
    pub title: String,
}

/// What became of one try to send a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The provider took it.
    Sent {
        /// The provider's id for it.
        provider_id: Option<String>,
    },
    /// It was certainly not sent, and may be later.
    Retry {
        /// The provider asked to wait this long.
        after: Option<Duration>,
        /// In the provider's words.
        why: String,
    },
    /// Nobody can tell whether it was sent.
    Unknown {
        /// What broke.
        why: String,
    },
    /// It was certainly not sent, and never will be as it is.
    Dead {
        /// In the provider's words.
        why: String,
        /// Whether the device itself is at fault.
        scope: DeadScope,
    },
}

/// How far a permanent failure reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadScope {
    /// This message only.
    Message,
    /// Everything that this device sends, for example because its token has expired.
    Device,
}

/// A sign that leaves at once, outside the outbox: best effort, at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// An answer is being written, or is no more.
    Typing(bool),
    /// The messages of the turn were read.
    Read,
}

/// What a channel can express. The plugin's effects are checked against it before they are buffered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelLimits {
    /// The most characters of one text; a longer one is split.
    pub text_chars: usize,
    /// The most characters of a caption.
    pub caption_chars: usize,
    /// The most characters of a text with buttons.
    pub buttons_text_chars: usize,
    /// The most buttons; 0 where there are none.
    pub buttons: usize,
    /// The most characters on a button.
    pub button_title_chars: usize,
    /// The most characters of a button's id.
    pub button_id_chars: usize,
    /// Whether a message can be reacted to.
    pub reactions: bool,
    /// How long after the prospect's last message it may be written to freely; none where it always may.
    pub window: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_it_was_written() {
        let body = PartBody {
            kind: PartKind::Text {
                text: "hi".to_owned(),
            },
            reply_to: None,
            delay_ms: 0,
            ext: vec![],
        };
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(json, r#"{"type":"text","text":"hi"}"#);
        assert_eq!(serde_json::from_str::<PartBody>(&json).unwrap(), body);
    }
}
