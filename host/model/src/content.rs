//! What a message says, the same for every channel.

use serde::{Deserialize, Serialize};

/// Extras as (name, JSON text).
pub type Ext = Vec<(String, String)>;

/// What a message says. The variants are those of the plugin contract (`wit/types.wit`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A picture.
    Image(Media),
    /// Sound, or a voice message.
    Audio(Media),
    /// A film.
    Video(Media),
    /// Any other file.
    Document(Media),
    /// A place.
    Location {
        /// Degrees north.
        latitude: f64,
        /// Degrees east.
        longitude: f64,
        /// What the place is called.
        name: Option<String>,
        /// Where the post finds it.
        address: Option<String>,
    },
    /// A button or list row that was chosen.
    Interactive {
        /// The id that it was sent with.
        id: String,
        /// What was written on it.
        title: String,
    },
    /// Anything that has no variant of its own.
    Other {
        /// The provider's name for it.
        kind: String,
        /// The provider's JSON for it.
        json: String,
    },
}

/// A file that a message carries; its bytes are still at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Media {
    /// The provider's id of the file.
    pub id: String,
    /// For example `image/jpeg`.
    pub mime_type: String,
    /// What the sender's device called it.
    pub filename: Option<String>,
    /// Words sent with it.
    pub caption: Option<String>,
    /// What else the provider says of it.
    pub ext: Ext,
}

impl Content {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}
