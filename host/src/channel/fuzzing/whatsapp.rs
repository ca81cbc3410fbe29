//! Webhooks of WhatsApp.

use serde_json::{Value, json};

use super::super::json::{list, text};
use super::super::whatsapp::parse::parse;
use super::{NOW, check};
use crate::model::inbound::{IgnoreReason, Ignored};
use crate::model::{Event, ProspectId};

/// The number of most fixtures, so that a webhook is mostly meant for it.
const NUMBER: &str = "1122334455667";

/// The lists of items that a change may have.
const LISTS: [&str; 4] = ["messages", "statuses", "message_echoes", "user_id_update"];

/// Reads a webhook: always the same, every item by itself, and no item is lost.
pub fn whatsapp_webhook(body: &[u8]) {
    let parsed = parse(NUMBER, body, NOW);
    assert_eq!(parsed, parse(NUMBER, body, NOW));
    let Ok(events) = parsed else {
        return;
    };
    events.iter().for_each(check);
    let webhook: Value = serde_json::from_slice(body).unwrap_or_default();
    let alone: Vec<Event> = list(&webhook, "entry")
        .unwrap_or_default()
        .iter()
        .flat_map(events_of_entry)
        .collect();
    assert_eq!(events, alone, "an item is read differently beside others");
}

/// What an entry tells when each item comes in a webhook of its own.
fn events_of_entry(entry: &Value) -> Vec<Event> {
    match list(entry, "changes") {
        Some(changes) => changes.iter().flat_map(events_of_change).collect(),
        None => parse_one(entry),
    }
}

fn events_of_change(change: &Value) -> Vec<Event> {
    let read = parse_one(&json!({ "changes": [change] }));
    assert!(!read.is_empty(), "nothing is told of {change}");
    let items = items(change);
    // Without its number a change is refused as a whole.
    if items.is_empty() || !has_number(change) {
        return read;
    }
    items
        .iter()
        .flat_map(|(key, item)| {
            let events = parse_one(&json!({ "changes": [with_only(change, key, item)] }));
            assert!(!events.is_empty(), "nothing is told of {item}");
            let list = item.as_array().map_or(&[][..], Vec::as_slice);
            if let ("messages", [message]) = (*key, list) {
                check_fate(message, &events);
            }
            events
        })
        .collect()
}

/// The items of a change with the key that each stands under, in the order in which they are read; each as a list of one. What
/// should be a list and is none stands for itself.
fn items(change: &Value) -> Vec<(&'static str, Value)> {
    let read: &[&'static str] = match text(change, "field") {
        Some("messages") => &["messages", "statuses"],
        Some("smb_message_echoes") => &["message_echoes"],
        Some("user_id_update") => &["user_id_update"],
        _ => &[],
    };
    let mut items = Vec::new();
    for key in read {
        match change.get("value").and_then(|value| value.get(key)) {
            None => {}
            Some(Value::Array(list)) => {
                items.extend(list.iter().map(|item| (*key, json!([item]))));
            }
            Some(other) => items.push((*key, other.clone())),
        }
    }
    items
}

fn has_number(change: &Value) -> bool {
    let metadata = change
        .get("value")
        .and_then(|value| value.get("metadata"))
        .unwrap_or(&Value::Null);
    text(change, "field") == Some("user_id_update") || text(metadata, "phone_number_id").is_some()
}

/// The change with all that its items share, and this for its only items.
fn with_only(change: &Value, key: &str, items: &Value) -> Value {
    let mut change = change.clone();
    if let Some(value) = change.get_mut("value").and_then(Value::as_object_mut) {
        value.retain(|name, _| !LISTS.contains(&name.as_str()));
        value.insert(key.to_owned(), items.clone());
    }
    change
}

fn parse_one(entry: &Value) -> Vec<Event> {
    let webhook = json!({ "object": "whatsapp_business_account", "entry": [entry] });
    let events = parse(NUMBER, webhook.to_string().as_bytes(), NOW);
    assert!(events.is_ok(), "{webhook}: {events:?}");
    events.unwrap_or_default()
}

/// A message is either one or ignored; and one with an id and a sender is not ignored for being malformed.
fn check_fate(item: &Value, events: &[Event]) {
    match events {
        [Event::Message(_)] | [Event::Renamed { .. }, Event::Message(_)] => {}
        [Event::Ignored(Ignored { reason, .. })] => {
            let is_sender =
                |key: &&str| text(item, key).is_some_and(|id| ProspectId::parse(id).is_ok());
            let is_whole =
                text(item, "id").is_some() && ["from", "from_user_id"].iter().any(is_sender);
            assert!(
                *reason != IgnoreReason::Malformed || !is_whole,
                "a message is lost: {item}"
            );
        }
        other => panic!("{item} became {other:?}"),
    }
}
