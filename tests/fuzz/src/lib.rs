//! What the fuzz targets share: a mutator that edits a webhook as JSON, so that most inputs get past the first brace.

use libfuzzer_sys::fuzzer_mutate;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

/// One mutation in so many is the fuzzer's own, which knows the dictionary and what the code compares with.
const BYTES_EVERY: u32 = 3;

/// Names that parsers ask for.
const NAMES: [&str; 56] = [
    "object",
    "entry",
    "changes",
    "field",
    "value",
    "metadata",
    "phone_number_id",
    "display_phone_number",
    "contacts",
    "profile",
    "name",
    "wa_id",
    "user_id",
    "messages",
    "statuses",
    "message_echoes",
    "user_id_update",
    "errors",
    "id",
    "from",
    "from_user_id",
    "to",
    "timestamp",
    "type",
    "text",
    "body",
    "image",
    "audio",
    "video",
    "document",
    "sticker",
    "location",
    "latitude",
    "longitude",
    "interactive",
    "button_reply",
    "list_reply",
    "button",
    "payload",
    "context",
    "referral",
    "system",
    "group_id",
    "status",
    "recipient_type",
    "biz_opaque_callback_data",
    "error_data",
    "data",
    "kind",
    "media",
    "url",
    "message_id",
    "is_group",
    "from_me",
    "ext",
    "previous",
];

/// Texts that parsers compare with, or choke on.
const TEXTS: [&str; 24] = [
    "",
    "messages",
    "smb_message_echoes",
    "user_id_update",
    "text",
    "image",
    "location",
    "interactive",
    "button_reply",
    "reaction",
    "unsupported",
    "system",
    "user_changed_number",
    "user_changed_user_id",
    "sent",
    "failed",
    "group",
    "message.received",
    "message.echo",
    "message.status",
    "1122334455667",
    "9223372036854775807",
    "\u{0}",
    "👩‍👩‍👧",
];

/// Edits `data[..size]` in place, as libFuzzer asks of a mutator, and answers its new size.
pub fn mutate_json(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut chance = StdRng::seed_from_u64(u64::from(seed));
    let parsed = serde_json::from_slice::<Value>(&data[..size]);
    let (Ok(mut webhook), false) = (parsed, chance.random_ratio(1, BYTES_EVERY)) else {
        return fuzzer_mutate(data, size, max_size);
    };
    edit(&mut webhook, &mut chance);
    let edited = webhook.to_string().into_bytes();
    if edited.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..edited.len()].copy_from_slice(&edited);
    edited.len()
}

fn edit(webhook: &mut Value, chance: &mut StdRng) {
    let mut places = Vec::new();
    list_places(webhook, &mut String::new(), &mut places);
    let any = |chance: &mut StdRng| places.choose(chance).cloned().unwrap_or_default();
    let (place, other) = (any(chance), any(chance));
    let copy = webhook.pointer(&other).cloned().unwrap_or_default();
    let Some(value) = webhook.pointer_mut(&place) else {
        return;
    };
    match (value, chance.random_range(0..6)) {
        (Value::Array(items), 0..=2) => edit_list(items, copy, chance),
        (Value::Object(fields), 0..=2) => {
            let name = name(chance);
            if fields.remove(name).is_none() {
                fields.insert(name.to_owned(), copy);
            }
        }
        (Value::Object(fields), 3) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            if let Some(old) = names.choose(chance) {
                let moved = fields.remove(old).unwrap_or_default();
                if chance.random_bool(0.5) {
                    fields.insert(name(chance).to_owned(), moved);
                }
            }
        }
        (value, 4) => *value = copy,
        (value, _) => *value = invented(chance),
    }
}

fn edit_list(items: &mut Vec<Value>, copy: Value, chance: &mut StdRng) {
    let at = chance.random_range(0..=items.len());
    match (items.get(at).cloned(), chance.random_range(0..3)) {
        (Some(_), 0) => {
            items.remove(at);
        }
        (Some(same), 1) => items.insert(at, same),
        _ => items.insert(at, copy),
    }
}

fn invented(chance: &mut StdRng) -> Value {
    match chance.random_range(0..8) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({}),
        3 => json!(chance.random_bool(0.5)),
        4 => json!(chance.random::<i64>()),
        5 => json!(f64::from_bits(chance.random())),
        6 => json!(chance.random_range(-200.0..200.0)),
        _ => json!(TEXTS.choose(chance)),
    }
}

fn name(chance: &mut StdRng) -> &'static str {
    NAMES.choose(chance).copied().unwrap_or_default()
}

/// Every value in it, as JSON pointers.
fn list_places(value: &Value, place: &mut String, places: &mut Vec<String>) {
    places.push(place.clone());
    let mut within = |name: &str, value: &Value| {
        let length = place.len();
        place.push('/');
        place.push_str(&name.replace('~', "~0").replace('/', "~1"));
        list_places(value, place, places);
        place.truncate(length);
    };
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(n, item)| within(&n.to_string(), item)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| within(name, field)),
        _ => {}
    }
}
