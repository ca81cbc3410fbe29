//! "May this turn do that?": the rules for the arguments of effects and state calls, as functions of nothing but them.
//!
//! A refusal is read by the plugin's author, so it says what is wrong and what would be right.

use std::time::Duration;

use unicode_segmentation::UnicodeSegmentation as _;

use super::bindings::effects::{Button, EffectError, MediaKind, OutboundMedia};
use super::limits::{
    DELAY, EXTRA_BYTES, EXTRA_NESTING, EXTRAS, KEY_BYTES, NAME_CHARS, TEXT_BYTES, TIMER_AHEAD,
    URL_BYTES,
};
use nodepath_model::Timestamp;
use nodepath_model::content::Ext;
use nodepath_model::delivery::ChannelLimits;

type Answer<T> = Result<T, EffectError>;

/// What the effects of a turn are checked against.
pub(super) struct Facts {
    /// What the channel can express.
    pub(super) limits: ChannelLimits,
    /// Whether the prospect may be written to freely now.
    pub(super) window_open: bool,
    /// The start of the turn.
    pub(super) now: Timestamp,
}

/// May anything be sent now?
pub(super) fn window(facts: &Facts) -> Answer<()> {
    if facts.window_open {
        return Ok(());
    }
    let hours = facts.limits.window.unwrap_or_default().as_secs() / 3_600;
    Err(EffectError::Policy(format!(
        "the channel takes free messages only within {hours} hours after the prospect's last message"
    )))
}

/// A text of any length that is split later.
pub(super) fn text(text: &str) -> Answer<()> {
    if text.trim().is_empty() {
        return invalid("the text is empty");
    }
    if text.len() > TEXT_BYTES {
        return Err(EffectError::LimitExceeded(format!(
            "a text may have {TEXT_BYTES} bytes; this one has {}",
            text.len()
        )));
    }
    Ok(())
}

/// A file from a URL.
pub(super) fn media(media: &OutboundMedia, limits: &ChannelLimits) -> Answer<()> {
    url(&media.url)?;
    if let Some(caption) = &media.caption {
        if media.kind == MediaKind::Audio {
            return Err(EffectError::Unsupported(
                "audio has no caption; send the words as a text".to_owned(),
            ));
        }
        fits("the caption", caption, limits.caption_chars)?;
    }
    match &media.filename {
        Some(filename) => words("filename", filename, NAME_CHARS),
        None => Ok(()),
    }
}

/// A URL that a provider can fetch.
fn url(url: &str) -> Answer<()> {
    if url.len() > URL_BYTES {
        return invalid(format!("the url may have {URL_BYTES} bytes"));
    }
    let parsed: Option<http::Uri> = url.parse().ok();
    let authority = parsed
        .as_ref()
        .filter(|uri| uri.scheme_str() == Some("https"))
        .and_then(http::Uri::authority);
    match authority {
        Some(authority) if authority.as_str().contains('@') => {
            invalid("the url must not carry a user name or a password")
        }
        Some(authority) if !authority.host().is_empty() => Ok(()),
        _ => invalid("the url must be absolute, begin with `https://` and be percent-encoded"),
    }
}

/// A text with buttons.
pub(super) fn buttons(body: &str, buttons: &[Button], limits: &ChannelLimits) -> Answer<()> {
    if limits.buttons == 0 {
        return Err(EffectError::Unsupported(
            "this channel has no buttons; send the choices as a text".to_owned(),
        ));
    }
    if body.trim().is_empty() {
        return invalid("the text above the buttons is empty");
    }
    fits(
        "the text above the buttons",
        body,
        limits.buttons_text_chars,
    )?;
    if buttons.is_empty() || buttons.len() > limits.buttons {
        return invalid(format!(
            "there are {} buttons; this channel shows 1 to {}",
            buttons.len(),
            limits.buttons
        ));
    }
    for (n, button) in buttons.iter().enumerate() {
        words("the id of a button", &button.id, limits.button_id_chars)?;
        words(
            "the title of a button",
            &button.title,
            limits.button_title_chars,
        )?;
        if buttons.iter().take(n).any(|other| other.id == button.id) {
            return invalid(format!("two buttons have the id `{}`", button.id));
        }
    }
    Ok(())
}

/// A reaction, or none to take it back.
pub(super) fn reaction(emoji: Option<&str>, limits: &ChannelLimits) -> Answer<()> {
    if !limits.reactions {
        return Err(EffectError::Unsupported(
            "this channel has no reactions".to_owned(),
        ));
    }
    match emoji {
        Some(emoji) if emoji.is_ascii() || emoji.graphemes(true).count() != 1 => {
            invalid("the emoji must be one emoji, or none to take the reaction back")
        }
        _ => Ok(()),
    }
}

/// The id of a message that came in.
pub(super) fn inbound_id(argument: &str, id: &str) -> Answer<()> {
    let is_one = id.starts_with("msg_") && id.len() <= NAME_CHARS && id.is_ascii();
    if is_one && !id.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Ok(());
    }
    invalid(format!(
        "{argument} must be the id of a message that came in, `msg_…`"
    ))
}

/// A delay before a message, in milliseconds.
pub(super) fn delay(ms: u64) -> Answer<u64> {
    if Duration::from_millis(ms) > DELAY {
        return invalid(format!(
            "a delay may be {} ms; use a timer to write later",
            DELAY.as_millis()
        ));
    }
    Ok(ms)
}

/// When a timer is due. One of the past runs at once.
pub(super) fn due(due: u64, now: Timestamp) -> Answer<Timestamp> {
    let latest = now.plus(TIMER_AHEAD);
    match i64::try_from(due).map(Timestamp) {
        Ok(due) if due <= latest => Ok(due),
        _ => invalid(format!(
            "a timer may be due at {latest} at the latest; `due` is in milliseconds since 1970"
        )),
    }
}

/// Extras for the channel.
pub(super) fn ext(ext: &Ext) -> Answer<()> {
    if ext.len() > EXTRAS {
        return invalid(format!("a message may have {EXTRAS} extras"));
    }
    for (name, json) in ext {
        words("the name of an extra", name, NAME_CHARS)?;
        if json.len() > EXTRA_BYTES {
            return invalid(format!("the extra `{name}` may have {EXTRA_BYTES} bytes"));
        }
        // Read as a channel will read it, which an answer to "is it JSON?" is not: that has no bound on nesting.
        if serde_json::from_str::<serde_json::Value>(json).is_err() {
            return invalid(format!(
                "the extra `{name}` must be JSON text that nests at most {EXTRA_NESTING} deep"
            ));
        }
    }
    Ok(())
}

/// What extras count for in the buffer.
pub(super) fn ext_bytes(ext: &Ext) -> usize {
    ext.iter()
        .fold(0, |sum, (name, json)| sum + name.len() + json.len())
}

/// A short text that is not empty and that people see in a list.
pub(super) fn words(argument: &str, words: &str, most: usize) -> Answer<()> {
    if words.trim().is_empty() {
        return invalid(format!("{argument} is empty"));
    }
    if words.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        return invalid(format!("{argument} contains a control character"));
    }
    fits(argument, words, most)
}

fn fits(what: &str, text: &str, most: usize) -> Answer<()> {
    let count = text.chars().count();
    if count > most {
        return invalid(format!("{what} has {count} characters and may have {most}"));
    }
    Ok(())
}

fn invalid<T>(why: impl Into<String>) -> Answer<T> {
    Err(EffectError::Invalid(why.into()))
}

/// The key of a value, or a prefix of keys; a prefix may be empty.
pub(super) fn key(argument: &str, key: &str, may_be_empty: bool) -> Result<(), String> {
    if key.is_empty() && !may_be_empty {
        return Err(format!("{argument} is empty"));
    }
    if key.len() > KEY_BYTES {
        return Err(format!(
            "{argument} has {} bytes and may have {KEY_BYTES}",
            key.len()
        ));
    }
    if key.contains(char::is_control) {
        return Err(format!("{argument} contains a control character"));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn facts() -> Facts {
        Facts {
            limits: ChannelLimits {
                text_chars: 4_096,
                caption_chars: 1_024,
                buttons_text_chars: 1_024,
                buttons: 3,
                button_title_chars: 20,
                button_id_chars: 256,
                reactions: true,
                window: Some(Duration::from_secs(24 * 3_600)),
            },
            window_open: true,
            now: Timestamp(1_760_433_330_000),
        }
    }

    fn button(id: &str, title: &str) -> Button {
        Button {
            id: id.to_owned(),
            title: title.to_owned(),
        }
    }

    fn why<T: std::fmt::Debug>(answer: Answer<T>) -> String {
        match answer.unwrap_err() {
            EffectError::Invalid(why)
            | EffectError::Unsupported(why)
            | EffectError::LimitExceeded(why)
            | EffectError::Policy(why) => why,
        }
    }

    #[test]
    fn only_absolute_https_urls_are_fetched() {
        for good in [
            "https://example.com/a.png",
            "https://example.com:8443/a?b=c%20d",
        ] {
            assert!(url(good).is_ok(), "{good}");
        }
        let bad = [
            "http://example.com/a.png",
            "//example.com/a.png",
            "/a.png",
            "https:///a.png",
            "https://user:secret@example.com/",
            "https://example.com/a b",
            "file:///etc/passwd",
            "data:image/png;base64,AA==",
            "",
        ];
        for bad in bad {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn buttons_fit_the_channel() {
        let limits = facts().limits;
        let four: Vec<_> = ["a", "b", "c", "d"]
            .iter()
            .map(|id| button(id, id))
            .collect();
        assert!(buttons("Choose", &four[..3], &limits).is_ok());
        assert_eq!(
            why(buttons("Choose", &four, &limits)),
            "there are 4 buttons; this channel shows 1 to 3"
        );
        assert_eq!(
            why(buttons("Choose", &[button("a", &"x".repeat(21))], &limits)),
            "the title of a button has 21 characters and may have 20"
        );
        assert_eq!(
            why(buttons(
                "Choose",
                &[button("a", "x"), button("a", "y")],
                &limits
            )),
            "two buttons have the id `a`"
        );
        let none = ChannelLimits {
            buttons: 0,
            ..limits
        };
        assert!(why(buttons("Choose", &four, &none)).contains("has no buttons"));
    }

    #[test]
    fn a_reaction_is_one_emoji() {
        let limits = facts().limits;
        for good in [None, Some("👍"), Some("👩‍👩‍👧"), Some("❤️"), Some("🇮🇩")]
        {
            assert!(reaction(good, &limits).is_ok(), "{good:?}");
        }
        for bad in ["", "ok", "👍👍", "a"] {
            assert!(reaction(Some(bad), &limits).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn captions_filenames_and_extras_are_checked() {
        let limits = facts().limits;
        let of = |kind, caption: Option<&str>| OutboundMedia {
            kind,
            url: "https://example.com/a".to_owned(),
            caption: caption.map(str::to_owned),
            filename: None,
        };
        assert!(media(&of(MediaKind::Image, Some("x")), &limits).is_ok());
        assert!(media(&of(MediaKind::Audio, Some("x")), &limits).is_err());
        assert!(media(&of(MediaKind::Image, Some(&"x".repeat(1_025))), &limits).is_err());
        let extra = |json: &str| vec![("preview-url".to_owned(), json.to_owned())];
        assert!(ext(&extra("true")).is_ok());
        assert_eq!(
            why(ext(&extra("yes please"))),
            "the extra `preview-url` must be JSON text that nests at most 127 deep"
        );
        let deep = |levels| extra(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        assert!(ext(&deep(EXTRA_NESTING)).is_ok());
        assert!(ext(&deep(EXTRA_NESTING + 1)).is_err());
    }

    #[test]
    fn ids_texts_delays_and_keys_are_checked() {
        assert!(inbound_id("target", "msg_0199").is_ok());
        for bad in ["", "out_1", "msg_ 1", "wamid.1"] {
            assert!(inbound_id("target", bad).is_err(), "{bad}");
        }
        assert!(text(" \n").is_err());
        assert!(text(&"x".repeat(TEXT_BYTES + 1)).is_err());
        assert!(delay(30_000).is_ok() && delay(30_001).is_err() && delay(u64::MAX).is_err());
        assert!(key("key", "cart/1", false).is_ok());
        assert!(key("prefix", "", true).is_ok() && key("key", "", false).is_err());
        assert!(key("key", "a\nb", false).is_err());
        assert!(key("key", &"k".repeat(KEY_BYTES + 1), false).is_err());
    }
}
