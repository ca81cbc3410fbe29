//! What one WhatsApp message says.

use serde_json::Value;

use super::super::json::{other, place, text};
use crate::model::content::Ext;
use crate::model::{Content, Media};

/// What the message says, with the extras that belong to the kind of content.
///
/// A type that has no variant of `Content` (contacts, order, system, edit, revoke, and whatever Meta adds next), and one that
/// lacks what its type needs, becomes `Content::Other` with the JSON under the type's name, or the whole message where there
/// is nothing of that name.
pub(super) fn read(message: &Value, kind: &str) -> (Content, Ext) {
    known(message, kind).unwrap_or_else(|| {
        let part = message.get(kind).filter(|part| !part.is_null());
        (other(kind, part.unwrap_or(message)), Ext::new())
    })
}

/// What a message of a known type says, if it has what its type needs.
fn known(message: &Value, kind: &str) -> Option<(Content, Ext)> {
    let part = message.get(kind)?;
    let content = match kind {
        "text" => Content::text(text(part, "body")?),
        "image" => Content::Image(media(part)?),
        "audio" => Content::Audio(media(part)?),
        "video" => Content::Video(media(part)?),
        "document" => Content::Document(media(part)?),
        "sticker" => Content::Image(sticker(part)?),
        "location" => return location(part),
        "interactive" => return interactive(part),
        "button" => button(part)?,
        _ => return None,
    };
    Some((content, Ext::new()))
}

/// A file. What has no field of its own (`sha256`, `voice`, `url`, …) becomes an extra of the same name.
fn media(object: &Value) -> Option<Media> {
    const NAMED: [&str; 4] = ["id", "mime_type", "filename", "caption"];
    let owned = |key| text(object, key).map(str::to_owned);
    let extras = object.as_object()?.iter();
    Some(Media {
        id: owned("id")?,
        mime_type: owned("mime_type").unwrap_or_default(),
        filename: owned("filename"),
        caption: owned("caption"),
        ext: extras
            .filter(|(key, _)| !NAMED.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect(),
    })
}

/// A sticker is an image that says so.
fn sticker(object: &Value) -> Option<Media> {
    let mut media = media(object)?;
    media.ext.push(("sticker".to_owned(), "true".to_owned()));
    Some(media)
}

fn location(object: &Value) -> Option<(Content, Ext)> {
    let (latitude, longitude) = place(object)?;
    let content = Content::Location {
        latitude,
        longitude,
        name: text(object, "name").map(str::to_owned),
        address: text(object, "address").map(str::to_owned),
    };
    let url = object
        .get("url")
        .map(|url| ("location_url".to_owned(), url.to_string()));
    Some((content, url.into_iter().collect()))
}

/// A reply button or list row that was chosen. Other interactive messages, such as a completed form (`nfm_reply`), have no
/// variant of their own.
fn interactive(object: &Value) -> Option<(Content, Ext)> {
    let kind =
        text(object, "type").filter(|kind| matches!(*kind, "button_reply" | "list_reply"))?;
    let reply = object.get(kind)?;
    let content = Content::Interactive {
        id: text(reply, "id")?.to_owned(),
        title: text(reply, "title").unwrap_or_default().to_owned(),
    };
    let description = reply
        .get("description")
        .map(|words| ("description".to_owned(), words.to_string()));
    Some((content, description.into_iter().collect()))
}

/// A quick reply of a template. One without a payload is known by its text.
fn button(object: &Value) -> Option<Content> {
    let title = text(object, "text");
    Some(Content::Interactive {
        id: text(object, "payload").or(title)?.to_owned(),
        title: title.unwrap_or_default().to_owned(),
    })
}
