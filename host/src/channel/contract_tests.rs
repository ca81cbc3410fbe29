//! What `wit/` says of the channels is what they do.

use std::collections::BTreeSet;

use super::whatsapp::parse_tests::FIXTURES;
use super::{limits, whatsapp};
use crate::model::{ChannelKind, Content, Event, Timestamp};

/// The documentation of an interface as running text.
fn told(interface: &str) -> String {
    let lines = interface
        .lines()
        .filter_map(|line| line.trim().strip_prefix("///"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

fn n(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

#[test]
fn effects_tell_what_each_channel_can_express() {
    let told = told(include_str!("../../../wit/effects.wit"));
    for kind in [ChannelKind::Whatsapp, ChannelKind::Generic] {
        let limits = limits(kind);
        let sentence = format!(
            "`{}`: {} buttons with titles of {} characters and ids of {} below a text of {}, and captions of {}.",
            kind.as_str(),
            n(limits.buttons),
            n(limits.button_title_chars),
            n(limits.button_id_chars),
            n(limits.buttons_text_chars),
            n(limits.caption_chars),
        );
        assert!(
            told.contains(&sentence),
            "effects.wit does not say: {sentence}"
        );
        assert!(told.contains(&format!("({} characters for both)", n(limits.text_chars))));
    }
}

#[test]
fn types_list_the_extras_of_whatsapp_messages() {
    let told = told(include_str!("../../../wit/types.wit"));
    let mut names = BTreeSet::new();
    for (_, body) in FIXTURES {
        let events =
            whatsapp::parse::parse("1122334455667", body.as_bytes(), Timestamp(0)).unwrap();
        for event in events {
            if let Event::Message(message) = event {
                names.extend(message.ext.into_iter().map(|(name, _)| name));
                if let Content::Image(media) | Content::Audio(media) = message.content {
                    names.extend(media.ext.into_iter().map(|(name, _)| name));
                }
            }
        }
    }
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(
            told.contains(&format!("`{name}`")),
            "types.wit does not list {name}"
        );
    }
}
