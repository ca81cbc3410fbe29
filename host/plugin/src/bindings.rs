//! The contract in Rust, generated from `wit/`, and its values from and to those of the model.

mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "conversation",
        imports: {
            // Only what asks the store can wait. The rest answers from memory.
            "nodepath:plugin/state.get": async,
            "nodepath:plugin/state.list-keys": async,
            "nodepath:plugin/history.recent": async,
        },
        exports: { default: async },
    });
}

pub(super) use generated::exports::nodepath::plugin::{handler, manifest};
pub(super) use generated::nodepath::plugin::{
    clock, config, effects, history, log, presence, state, types,
};
pub(super) use generated::{Conversation, ConversationPre};

use nodepath_model::content::{Content, Media};
use nodepath_model::delivery::MediaKind;
use nodepath_model::effect::Scope;
use nodepath_model::turn::{Author, HistoryEntry, PendingMessage};
use nodepath_model::{Timestamp, Trigger};

/// The contract's time; what was before 1970 is 1970.
pub(super) fn instant(at: Timestamp) -> types::InstantMs {
    u64::try_from(at.0).unwrap_or(0)
}

impl From<Trigger> for handler::Trigger {
    fn from(trigger: Trigger) -> Self {
        match trigger {
            Trigger::Messages(messages) => {
                Self::Messages(messages.into_iter().map(Into::into).collect())
            }
            Trigger::Timer {
                name, due, payload, ..
            } => Self::Timer(types::TimerFired {
                id: name,
                scheduled_for: instant(due),
                payload,
            }),
            Trigger::Signal { kind, json } => Self::Signal(types::OtherContent { kind, json }),
        }
    }
}

impl From<PendingMessage> for types::InboundMessage {
    fn from(pending: PendingMessage) -> Self {
        let message = pending.message;
        Self {
            id: pending.id.to_string(),
            sent_at: instant(message.sent_at),
            content: message.content.into(),
            reply_to: message.reply_to,
            ext: message.ext,
        }
    }
}

impl From<Content> for types::Content {
    fn from(content: Content) -> Self {
        match content {
            Content::Text { text } => Self::Text(text),
            Content::Image(media) => Self::Image(media.into()),
            Content::Audio(media) => Self::Audio(media.into()),
            Content::Video(media) => Self::Video(media.into()),
            Content::Document(media) => Self::Document(media.into()),
            Content::Location {
                latitude,
                longitude,
                name,
                address,
            } => Self::Location(types::Location {
                latitude,
                longitude,
                name,
                address,
            }),
            Content::Interactive { id, title } => {
                Self::Interactive(types::InteractiveReply { id, title })
            }
            Content::Other { kind, json } => Self::Other(types::OtherContent { kind, json }),
        }
    }
}

impl From<Media> for types::Media {
    fn from(media: Media) -> Self {
        Self {
            id: media.id,
            mime_type: media.mime_type,
            filename: media.filename,
            caption: media.caption,
            ext: media.ext,
        }
    }
}

impl From<HistoryEntry> for history::Entry {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            id: entry.id,
            at: instant(entry.at),
            author: match entry.author {
                Author::Prospect => history::Author::Prospect,
                Author::Plugin => history::Author::Plugin,
                Author::Human => history::Author::Human,
            },
            content: entry.content.into(),
        }
    }
}

impl From<state::Scope> for Scope {
    fn from(scope: state::Scope) -> Self {
        match scope {
            state::Scope::Conversation => Self::Conversation,
            state::Scope::Prospect => Self::Prospect,
            state::Scope::Tenant => Self::Tenant,
        }
    }
}

impl From<effects::MediaKind> for MediaKind {
    fn from(kind: effects::MediaKind) -> Self {
        match kind {
            effects::MediaKind::Image => Self::Image,
            effects::MediaKind::Audio => Self::Audio,
            effects::MediaKind::Video => Self::Video,
            effects::MediaKind::Document => Self::Document,
        }
    }
}
