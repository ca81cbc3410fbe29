//! What a guest says, made safe to store and to show.

/// The text without control characters, cut to so many characters. Line breaks become spaces.
pub(super) fn clean(text: &str, max_chars: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max_chars));
    for (n, c) in text.trim().chars().enumerate() {
        if n == max_chars {
            clean.push('…');
            break;
        }
        match c {
            '\n' | '\t' | '\r' => clean.push(' '),
            c if is_unseen(c) => {}
            c => clean.push(c),
        }
    }
    clean
}

/// The beginning of the text that has at most so many bytes and ends between two characters.
pub(super) fn cut(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes))
        .unwrap_or_default()
}

/// Control characters, and those that make the rest of a line read in another direction.
fn is_unseen(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The name of a function as its author wrote it: `_ZN4echo6handle17h0123456789abcdefE` becomes `echo::handle`.
pub(super) fn function_name(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("_ZN") else {
        return name.to_owned();
    };
    let mut path = Vec::new();
    while !rest.starts_with('E') {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (length, after) = rest.split_at(digits);
        let Some(segment) = length.parse().ok().and_then(|n: usize| after.get(..n)) else {
            return name.to_owned();
        };
        rest = after.get(segment.len()..).unwrap_or_default();
        path.push(segment);
    }
    // The last segment tells instances of one generic function apart, which means nothing to a reader.
    path.pop_if(|last| last.len() == 17 && last.starts_with('h'));
    path.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_go_and_long_texts_are_cut() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}d\0 ", 100), "a[31mb cd");
        assert_eq!(clean("äöüß", 3), "äöü…");
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 3), "aä");
    }

    #[test]
    fn a_function_is_named_as_in_its_source() {
        assert_eq!(
            function_name("_ZN9test_trap6handle17h0123456789abcdefE"),
            "test_trap::handle"
        );
        assert_eq!(function_name("rust_begin_unwind"), "rust_begin_unwind");
        for odd in ["_ZN", "_ZN9", "_ZN99abcE", "_ZNäE"] {
            assert_eq!(function_name(odd), odd);
        }
    }
}
