//! Cutting a long text into parts that a channel takes.

use unicode_segmentation::UnicodeSegmentation as _;

/// Cuts `text` into parts of at most `limit` characters, none of them blank. See `channel::split` for where.
pub(super) fn split(text: &str, limit: usize) -> Vec<String> {
    // A limit of 0 would ask for the impossible.
    let limit = limit.max(1);
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.trim().is_empty() {
        let Some(window) = window(rest, limit) else {
            parts.push(rest.to_owned());
            break;
        };
        let (part, after) = rest.split_at(best_cut(window, rest));
        let part = trim_end(part);
        if !part.trim().is_empty() {
            parts.push(part.to_owned());
        }
        rest = trim_start(after);
    }
    parts
}

/// The text without the blank graphemes at its beginning. White space that carries a mark is no blank one.
fn trim_start(text: &str) -> &str {
    let ink = text.grapheme_indices(true).find(|(_, g)| !is_blank(g));
    let start = ink.map_or(text.len(), |(start, _)| start);
    text.get(start..).unwrap_or_default()
}

/// The text without the blank graphemes at its end.
fn trim_end(text: &str) -> &str {
    let ink = text.grapheme_indices(true).rfind(|(_, g)| !is_blank(g));
    let end = ink.map_or(0, |(start, g)| start + g.len());
    text.get(..end).unwrap_or_default()
}

/// As much of the beginning of `text` as fits into `limit` characters and ends between two graphemes; none if all of it fits.
/// A single grapheme that is longer than the limit is cut nevertheless: nothing else would ever end.
fn window(text: &str, limit: usize) -> Option<&str> {
    let (hard_end, _) = text.char_indices().nth(limit)?;
    let soft_end = text
        .grapheme_indices(true)
        .map(|(start, _)| start)
        .take_while(|start| *start <= hard_end)
        .last()
        .filter(|end| *end > 0);
    text.get(..soft_end.unwrap_or(hard_end))
}

/// Where to cut `text`, of which `window` is the beginning that fits: where a paragraph, a line or a sentence ends in the
/// second half of the window, so that no part is tiny; else at the last white space, else where a word ends, else at the end.
fn best_cut(window: &str, text: &str) -> usize {
    let half = window.len() / 2;
    let graphemes: Vec<(usize, &str)> = window.grapheme_indices(true).collect();
    let ends = |is_end: &dyn Fn(&str, &str) -> bool| {
        graphemes
            .windows(2)
            .filter_map(|pair| match pair {
                [(_, before), (start, this)] if is_end(before, this) => Some(start + this.len()),
                _ => None,
            })
            .last()
    };
    let paragraph = || ends(&|before, this| is_newline(before) && is_newline(this));
    let line = || ends(&|_, this| is_newline(this));
    let sentence = || ends(&|before, this| closes_sentence(before) && is_blank(this));
    let space = || ends(&|_, this| is_blank(this));
    let word = || last_word_end(window, text, &graphemes);
    paragraph()
        .filter(|cut| *cut > half)
        .or_else(|| line().filter(|cut| *cut > half))
        .or_else(|| sentence().filter(|cut| *cut > half))
        .or_else(space)
        .or_else(|| word().filter(|cut| *cut > half))
        .unwrap_or(window.len())
}

/// The last place in the window where a word ends by the rules of Unicode (UAX #29), for scripts that write no spaces.
fn last_word_end(window: &str, text: &str, graphemes: &[(usize, &str)]) -> Option<usize> {
    text.split_word_bound_indices()
        .map(|(start, _)| start)
        .take_while(|start| *start <= window.len())
        .filter(|start| {
            *start == window.len() || graphemes.binary_search_by_key(start, |(at, _)| *at).is_ok()
        })
        .last()
        .filter(|cut| *cut > 0)
}

fn is_newline(grapheme: &str) -> bool {
    matches!(grapheme, "\n" | "\r\n" | "\r" | "\u{2028}" | "\u{2029}")
}

fn is_blank(grapheme: &str) -> bool {
    grapheme.chars().all(char::is_whitespace)
}

fn closes_sentence(grapheme: &str) -> bool {
    matches!(
        grapheme,
        "." | "!" | "?" | "…" | "。" | "！" | "？" | "؟" | "।" | "\"" | "”" | ")"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text without white space: what must survive any cut.
    fn ink(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    fn check(text: &str, limit: usize) -> Vec<String> {
        let parts = split(text, limit);
        assert_eq!(
            ink(&parts.concat()),
            ink(text),
            "lost something of {text:?} at {limit}"
        );
        for part in &parts {
            assert!(!part.trim().is_empty(), "blank part of {text:?} at {limit}");
            assert!(part.chars().count() <= limit, "{part:?} is over {limit}");
        }
        parts
    }

    #[test]
    fn a_text_that_fits_is_not_touched() {
        assert_eq!(split("  hi\n", 5), ["  hi\n"]);
        assert_eq!(split("", 5), Vec::<String>::new());
        assert_eq!(split(" \n ", 5), Vec::<String>::new());
    }

    #[test]
    fn it_is_cut_where_the_largest_unit_ends() {
        assert_eq!(
            check("one two.\n\nthree four", 12),
            ["one two.", "three four"]
        );
        assert_eq!(check("one two\nthree four", 12), ["one two", "three four"]);
        assert_eq!(check("One two. Three four", 12), ["One two.", "Three four"]);
        assert_eq!(check("one two three four", 12), ["one two", "three four"]);
        assert_eq!(check("onetwothreefour", 6), ["onetwo", "threef", "our"]);
        // The first line is too short to be a part of its own, so the words after it come along.
        assert_eq!(check("a\nbbb ccc ddd", 10), ["a\nbbb ccc", "ddd"]);
    }

    #[test]
    fn a_script_without_spaces_is_cut_between_words() {
        let parts = check("カタカナひらがなカタカナ", 10);
        assert_eq!(parts, ["カタカナひらがな", "カタカナ"]);
    }

    #[test]
    fn a_grapheme_is_not_broken() {
        let family = "👨‍👩‍👧‍👦";
        assert_eq!(family.chars().count(), 7);
        assert_eq!(check(&family.repeat(3), 10), [family; 3]);
        let flags = "🇲🇾🇮🇩🇸🇬";
        assert_eq!(check(flags, 3), ["🇲🇾", "🇮🇩", "🇸🇬"]);
        assert_eq!(check("e\u{301}e\u{301}", 3), ["e\u{301}", "e\u{301}"]);
        assert_eq!(check("ab\r\ncd", 3), ["ab", "cd"]);
        // White space that carries a mark, or a mark that carries white space, is one character too.
        assert_eq!(check("ab \u{301}c", 3), ["ab", " \u{301}c"]);
        assert_eq!(check("a\u{600} bc", 3), ["a\u{600} ", "bc"]);
    }

    #[test]
    fn a_grapheme_longer_than_the_limit_ends_all_the_same() {
        let stacked = format!("e{}", "\u{301}".repeat(25));
        assert_eq!(check(&stacked, 10).len(), 3);
        assert_eq!(check("👨‍👩‍👧‍👦", 1).len(), 7);
        assert_eq!(split("ab", 0), ["a", "b"]);
    }

    #[test]
    fn white_space_alone_makes_no_part() {
        assert_eq!(check(&format!("a{}b", " ".repeat(50)), 10), ["a", "b"]);
        assert!(check(&"\n".repeat(50), 10).is_empty());
    }

    /// Symbols that differ in every way that the cutting looks at; none is longer than two characters.
    const SYMBOLS: [&str; 6] = ["a", " ", "\n", ".", "e\u{301}", "🇲"];

    fn check_graphemes(text: &str, limit: usize) {
        fn seen(text: &str) -> impl Iterator<Item = &str> {
            text.graphemes(true).filter(|g| !is_blank(g))
        }
        let parts = check(text, limit);
        let kept: Vec<&str> = parts.iter().flat_map(|part| seen(part)).collect();
        let whole: Vec<&str> = seen(text).collect();
        assert_eq!(kept, whole, "{text:?} at {limit}: {parts:?}");
    }

    #[test]
    fn every_short_text_keeps_its_promises() {
        for length in 0..=5u32 {
            for mut n in 0..SYMBOLS.len().pow(length) {
                let mut text = String::new();
                for _ in 0..length {
                    text.push_str(SYMBOLS[n % SYMBOLS.len()]);
                    n /= SYMBOLS.len();
                }
                check(&text, 1);
                check_graphemes(&text, 2);
                check_graphemes(&text, 3);
            }
        }
    }

    #[test]
    fn long_texts_keep_them_too() {
        // A linear congruential generator: the same texts in every run.
        let mut state: u32 = 1;
        let mut next = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize % below
        };
        for _ in 0..3_000 {
            let length = 10 + next(60);
            let text: String = (0..length).map(|_| SYMBOLS[next(SYMBOLS.len())]).collect();
            check_graphemes(&text, 2 + next(20));
        }
    }

    #[test]
    fn a_long_text_is_cut_quickly() {
        let text = "Lorem ipsum dolor sit amet, consectetur. ".repeat(5_000);
        let parts = check(&text, 4_096);
        assert_eq!(parts.len(), text.len().div_ceil(4_096));
        assert!(parts.iter().all(|part| part.trim_end().ends_with('.')));
    }
}
