//! Cutting texts.

use std::collections::BTreeSet;

use unicode_segmentation::UnicodeSegmentation as _;

use super::super::split as splitter;

/// Cuts a text, which the first byte gives the limit for: nothing is lost or invented but white space at a cut, every part fits
/// and says something, and what a reader sees as one character stays whole if it fits at all.
pub fn split(input: &[u8]) {
    let Some((limit, text)) = input.split_first() else {
        return;
    };
    let limit = usize::from(*limit);
    let text = String::from_utf8_lossy(text);
    let parts = splitter::split(&text, limit);
    let limit = limit.max(1);
    for part in &parts {
        assert!(!part.trim().is_empty(), "a blank part of {text:?}");
        assert!(part.chars().count() <= limit, "{part:?} is over {limit}");
    }
    if text.chars().count() <= limit && !text.trim().is_empty() {
        assert_eq!(parts, [text.as_ref()], "a text that fits is not touched");
    }
    let cuts = cuts(&text, &parts);
    let graphemes: Vec<(usize, &str)> = text.grapheme_indices(true).collect();
    if graphemes.iter().all(|(_, g)| g.chars().count() <= limit) {
        let ends: BTreeSet<usize> = graphemes
            .iter()
            .map(|(start, _)| *start)
            .chain([text.len()])
            .collect();
        let broken: Vec<_> = cuts.iter().filter(|cut| !ends.contains(cut)).collect();
        assert!(
            broken.is_empty(),
            "{text:?} at {limit}: {parts:?} breaks a character at {broken:?}"
        );
    }
}

/// Where each part begins and ends in the text. Between two parts, and after the last, is nothing but white space.
fn cuts(text: &str, parts: &[String]) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut rest = text;
    for part in parts {
        while !rest.starts_with(part.as_str()) {
            let after = rest.strip_prefix(char::is_whitespace);
            assert!(after.is_some(), "{text:?} became {parts:?}");
            rest = after.unwrap_or_default();
        }
        cuts.push(text.len() - rest.len());
        rest = rest.get(part.len()..).unwrap_or_default();
        cuts.push(text.len() - rest.len());
    }
    assert_eq!(rest.trim(), "", "{text:?} became {parts:?}");
    cuts
}
