//! Reading a stranger's JSON without trusting its shape, and saying what was ignored in it.

use serde_json::Value;

use crate::model::inbound::{IgnoreReason, Ignored};
use crate::model::{Content, Event, ProspectId};

/// The most characters of an ignored item that are kept: enough to recognise it.
const MAX_EXCERPT_CHARS: usize = 500;

/// The text at `key`; none if it is missing, empty or not a text.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// The list at `key`; none if it is missing or not a list.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> Option<&'a [Value]> {
    value.get(key)?.as_array().map(Vec::as_slice)
}

/// Whether there is a list at `key` that has something in it.
pub(super) fn has_items(value: &Value, key: &str) -> bool {
    list(value, key).is_some_and(|items| !items.is_empty())
}

/// A place on the map; none if either number is missing, no number, or nowhere.
pub(super) fn place(value: &Value) -> Option<(f64, f64)> {
    let degrees = |key: &str, most: f64| {
        let number = value.get(key)?.as_f64()?;
        (-most..=most).contains(&number).then_some(number)
    };
    Some((degrees("latitude", 90.0)?, degrees("longitude", 180.0)?))
}

/// A text of at most `max` characters.
pub(super) fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

/// What has no variant of its own, or can't be read as what it says it is.
pub(super) fn other(kind: &str, json: &Value) -> Content {
    Content::Other {
        kind: kind.to_owned(),
        json: json.to_string(),
    }
}

/// An item that starts no turn.
pub(super) fn ignored(
    reason: IgnoreReason,
    provider_id: Option<&str>,
    prospect: Option<&ProspectId>,
    item: &Value,
) -> Event {
    Event::Ignored(Ignored {
        provider_id: provider_id.map(str::to_owned),
        prospect: prospect.cloned(),
        reason,
        excerpt: shorten(&item.to_string(), MAX_EXCERPT_CHARS),
    })
}

/// An item that can't be read at all.
pub(super) fn malformed(item: &Value) -> Event {
    ignored(IgnoreReason::Malformed, text(item, "id"), None, item)
}
