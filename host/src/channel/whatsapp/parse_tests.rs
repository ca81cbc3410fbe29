//! Every shape of webhook in `tests/fixtures/whatsapp`, whole and damaged. The shapes are Meta's, the values are invented.

use serde_json::{Value, json};

use super::parse::parse;
use crate::channel::ParseError;
use crate::model::inbound::IgnoreReason;
use crate::model::{Content, Event, InboundMessage, ProspectId, Timestamp};

macro_rules! fixtures {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../tests/fixtures/whatsapp/", $name, ".json")))),*]
    };
}

pub(in crate::channel) const FIXTURES: &[(&str, &str)] = fixtures![
    "account_notice",
    "audio_voice",
    "batch",
    "button_reply",
    "contacts",
    "document",
    "echo",
    "echoes",
    "edit",
    "errors_only",
    "form_reply",
    "group",
    "image",
    "invented_later",
    "list_reply",
    "location",
    "location_bare",
    "order",
    "other_number",
    "own_message",
    "reaction",
    "reaction_removed",
    "revoke",
    "status_failed",
    "status_group",
    "status_sent",
    "statuses",
    "sticker",
    "system_changed_number",
    "system_changed_user_id",
    "system_identity",
    "template_button",
    "text",
    "text_forwarded",
    "text_product",
    "text_referral",
    "text_reply",
    "unsupported",
    "unsupported_broken",
    "user_id_in_contacts",
    "user_id_only",
    "user_id_update",
    "video_forwarded",
];

const NUMBER: &str = "1122334455667";

const NOW: Timestamp = Timestamp(1_760_434_000_000);

fn events(name: &str) -> Vec<Event> {
    let fixture = FIXTURES.iter().find(|(known, _)| *known == name);
    let (_, body) = fixture.unwrap_or_else(|| panic!("there is no fixture {name}"));
    parse(NUMBER, body.as_bytes(), NOW).unwrap()
}

fn reasons(name: &str) -> Vec<IgnoreReason> {
    events(name)
        .into_iter()
        .map(|event| match event {
            Event::Ignored(ignored) => ignored.reason,
            other => panic!("{name}: {other:?}"),
        })
        .collect()
}

#[test]
fn every_fixture_file_is_tested() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/whatsapp");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    let known: Vec<&str> = FIXTURES.iter().map(|(name, _)| *name).collect();
    assert_eq!(files, known);
}

#[test]
fn every_shape_becomes_its_events() {
    let mut lines = String::new();
    for (name, body) in FIXTURES {
        lines += &format!("{name}\n");
        for mut event in parse(NUMBER, body.as_bytes(), NOW).unwrap() {
            if let Event::Ignored(ignored) = &mut event {
                ignored.excerpt.clear();
            }
            lines += &format!("  {event:?}\n");
        }
    }
    insta::assert_snapshot!("fixtures", lines);
}

#[test]
fn what_starts_no_turn_is_ignored_with_its_reason() {
    use IgnoreReason::*;
    for (name, expected) in [
        ("reaction", &[Reaction][..]),
        ("reaction_removed", &[Reaction]),
        ("group", &[Group]),
        ("status_group", &[Group]),
        ("own_message", &[OwnMessage]),
        ("other_number", &[OtherNumber, OtherNumber]),
        ("unsupported", &[Unsupported]),
        ("unsupported_broken", &[Unsupported]),
        ("account_notice", &[Notice]),
        ("errors_only", &[Notice]),
    ] {
        assert_eq!(reasons(name), expected, "{name}");
    }
}

#[test]
fn a_batch_keeps_its_order_and_loses_nothing() {
    let told: Vec<String> = events("batch")
        .into_iter()
        .map(|event| match event {
            Event::Message(message) => match message.content {
                Content::Text { text } => format!("{}: {text}", message.prospect_name.unwrap()),
                other => format!("{other:?}").split('(').next().unwrap().to_owned(),
            },
            Event::Status(status) => format!("{:?}", status.status),
            Event::Ignored(ignored) => format!("{:?}", ignored.reason),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "Aminah: First",
            "Malformed",
            "Bakri: Second",
            "Image",
            "Read",
            "Aminah: Third",
            "Notice"
        ]
    );
}

#[test]
fn a_phone_number_goes_before_a_user_id() {
    let sender = |name: &str| match &events(name)[0] {
        Event::Message(message) => (
            message.prospect.to_string(),
            message.alias.as_ref().map(ProspectId::to_string),
        ),
        other => panic!("{other:?}"),
    };
    let user_id = "MY.70112233445566778899".to_owned();
    assert_eq!(
        sender("text"),
        ("60123456789".to_owned(), Some(user_id.clone()))
    );
    assert_eq!(sender("user_id_only"), (user_id.clone(), None));
    assert_eq!(sender("user_id_in_contacts"), (user_id, None));
}

#[test]
fn a_body_that_is_none_of_metas_is_an_error() {
    for body in [
        "",
        "{",
        "\u{0}",
        "{\"object\":\"whatsapp_business_account\"} x",
    ] {
        let result = parse(NUMBER, body.as_bytes(), NOW);
        assert!(matches!(result, Err(ParseError::NotJson(_))), "{body:?}");
    }
    for body in [
        "null",
        "[]",
        "{}",
        r#"{"object":"page","entry":[]}"#,
        r#"{"object":"whatsapp_business_account"}"#,
        r#"{"object":"whatsapp_business_account","entry":{}}"#,
    ] {
        let result = parse(NUMBER, body.as_bytes(), NOW);
        assert!(
            matches!(result, Err(ParseError::NotTheProviders(_))),
            "{body:?}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(parse(NUMBER, deep.as_bytes(), NOW).is_err());
}

#[test]
fn a_body_that_was_cut_off_is_an_error() {
    for (name, body) in FIXTURES {
        for end in (0..body.trim_end().len()).step_by(7) {
            let cut = body.as_bytes().get(..end).unwrap();
            assert!(parse(NUMBER, cut, NOW).is_err(), "{name} cut at {end}");
        }
    }
}

/// What stands where something else is expected.
fn wrong_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(i64::MAX),
        json!(1e300),
        json!(""),
        json!("\u{0}\u{202e}"),
        json!("9".repeat(400)),
        json!([]),
        json!([null, [], {}]),
        json!({}),
        json!({"id": {"id": []}}),
    ]
}

/// The JSON pointers of everything in a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                pointers(field, &format!("{at}/{}", escape(key)), found);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{i}"), found);
            }
        }
        _ => {}
    }
}

/// Every damage of one place: a wrong value, or nothing.
fn damaged(value: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    pointers(value, "", &mut places);
    let mut all = Vec::new();
    for place in places {
        for wrong in wrong_values() {
            let mut copy = value.clone();
            *copy.pointer_mut(&place).unwrap() = wrong.clone();
            all.push((format!("{place} = {wrong:.60}"), copy));
        }
        if let Some((parent, key)) = place.rsplit_once('/') {
            let mut copy = value.clone();
            if let Some(Value::Object(fields)) = copy.pointer_mut(parent) {
                fields.remove(&key.replace("~1", "/").replace("~0", "~"));
                all.push((format!("{place} removed"), copy));
            }
        }
    }
    all
}

fn sibling() -> Value {
    json!({
        "from": "60177777777", "id": "wamid.sibling", "timestamp": "1760433999", "type": "text",
        "text": { "body": "I am still here" },
    })
}

fn change_with(messages: Vec<Value>) -> Value {
    json!({
        "field": "messages",
        "value": {
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "60311223344", "phone_number_id": NUMBER },
            "contacts": [{ "profile": { "name": "Siti" }, "wa_id": "60177777777" }],
            "messages": messages,
        },
    })
}

fn envelope(entries: Vec<Vec<Value>>) -> Vec<u8> {
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|changes| json!({ "changes": changes }))
        .collect();
    json!({ "object": "whatsapp_business_account", "entry": entries })
        .to_string()
        .into_bytes()
}

/// Asserts that each sibling came through, and that what stood beside them became something too.
fn assert_siblings(body: &[u8], siblings: usize, damage: &str) {
    let events = parse(NUMBER, body, NOW).unwrap();
    let survived = events
        .iter()
        .filter(|event| match event {
            Event::Message(message) => {
                message.provider_id == "wamid.sibling"
                    && message.prospect_name.as_deref() == Some("Siti")
                    && message.content == Content::text("I am still here")
            }
            _ => false,
        })
        .count();
    assert_eq!(survived, siblings, "{damage}: {events:?}");
    assert!(events.len() > siblings, "{damage}: {events:?}");
}

/// The message that Meta would send with these fields beside its id and sender.
fn received(fields: Value) -> InboundMessage {
    let mut message =
        json!({ "from": "60123456789", "id": "wamid.odd", "timestamp": "1760433999" });
    message
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let body = envelope(vec![vec![change_with(vec![message])]]);
    match &parse(NUMBER, &body, NOW).unwrap()[..] {
        [Event::Message(message)] => message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_lacks_what_its_type_needs_reaches_the_plugin_as_other() {
    let at = |latitude: Value| json!({ "latitude": latitude, "longitude": 101.7 });
    for (kind, part) in [
        ("text", json!({})),
        ("text", json!({ "body": "" })),
        ("image", json!({ "mime_type": "image/png" })),
        ("sticker", json!("a cat")),
        ("button", json!({})),
        ("interactive", json!({ "type": "carousel_reply" })),
        ("interactive", json!({ "type": "button_reply" })),
        (
            "interactive",
            json!({ "type": "list_reply", "list_reply": { "title": "Monday" } }),
        ),
        ("location", at(json!("3.1579"))),
        ("location", at(json!(90.01))),
        ("location", json!({ "latitude": 3.1, "longitude": -181 })),
    ] {
        let message = received(json!({ "type": kind, kind: part }));
        let (kind, json) = (kind.to_owned(), part.to_string());
        assert_eq!(message.content, Content::Other { kind, json });
        assert_eq!(message.sent_at, Timestamp(1_760_433_999_000));
    }
    for (fields, kind) in [
        (json!({ "type": "text" }), "text"),
        (json!({ "type": "text", "text": null }), "text"),
        (json!({ "text": { "body": "of no type" } }), "unknown"),
    ] {
        match received(fields).content {
            Content::Other { kind: told, json } => {
                assert_eq!(told, kind);
                assert!(json.contains("wamid.odd"), "the whole message: {json}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_number_is_not_changed_on_its_way() {
    // Read the fast way, this one becomes its neighbour.
    let number = -3.192_306_017_267_439e187;
    let message = received(json!({ "type": "invented", "invented": number }));
    let json = json!(number).to_string();
    let kind = "invented".to_owned();
    assert_eq!(message.content, Content::Other { kind, json });
}

#[test]
fn without_a_time_a_message_is_as_old_as_its_webhook() {
    for timestamp in [json!(null), json!("soon"), json!(-1), json!([])] {
        let text = json!({ "body": "hi" });
        let message = received(json!({ "timestamp": timestamp, "type": "text", "text": text }));
        assert_eq!(
            (message.content, message.sent_at),
            (Content::text("hi"), NOW)
        );
    }
}

/// Whatever is damaged of a message but its id, its sender, and what makes it one to ignore.
#[test]
fn a_damaged_message_is_never_malformed_while_its_id_and_sender_are_known() {
    for (name, body) in FIXTURES {
        let fixture: Value = serde_json::from_str(body).unwrap();
        let Some(message) = fixture.pointer("/entry/0/changes/0/value/messages/0") else {
            continue;
        };
        for (damage, message) in damaged(message) {
            let is_known = [&message["id"], &message["from"]].iter().all(|id| {
                id.as_str()
                    .is_some_and(|id| id.starts_with("wamid.fixture") || id.starts_with('6'))
            });
            if !is_known {
                continue;
            }
            let body = envelope(vec![vec![change_with(vec![message])]]);
            let events = parse(NUMBER, &body, NOW).unwrap();
            let is_malformed = |event: &Event| matches!(event, Event::Ignored(ignored) if ignored.reason == IgnoreReason::Malformed);
            assert!(
                !events.iter().any(is_malformed),
                "{name}: {damage}: {events:?}"
            );
        }
    }
}

#[test]
fn a_damaged_change_takes_no_other_with_it() {
    for (name, body) in FIXTURES {
        let fixture: Value = serde_json::from_str(body).unwrap();
        let change = fixture.pointer("/entry/0/changes/0").unwrap();
        for (damage, change) in damaged(change) {
            let healthy = change_with(vec![sibling()]);
            let body = envelope(vec![vec![change, healthy.clone()], vec![healthy]]);
            assert_siblings(&body, 2, &format!("{name}: {damage}"));
        }
    }
}

#[test]
fn a_damaged_message_takes_no_other_with_it() {
    for (name, body) in FIXTURES {
        let fixture: Value = serde_json::from_str(body).unwrap();
        let Some(message) = fixture.pointer("/entry/0/changes/0/value/messages/0") else {
            continue;
        };
        for (damage, message) in damaged(message) {
            let body = envelope(vec![vec![change_with(vec![message, sibling()])]]);
            assert_siblings(&body, 1, &format!("{name}: {damage}"));
        }
    }
}

#[test]
fn a_damaged_webhook_never_panics() {
    for (_, body) in FIXTURES {
        let fixture: Value = serde_json::from_str(body).unwrap();
        for (_, damaged) in damaged(&fixture) {
            // An error is as good as any event here.
            drop(parse(NUMBER, damaged.to_string().as_bytes(), NOW));
        }
    }
}
