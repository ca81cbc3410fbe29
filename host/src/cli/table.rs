//! Tables and other text for people.

use crate::config::format_size;
use crate::model::Timestamp;

/// Rows below headings, in columns as wide as needed. Without rows it is `empty`, which says what to do.
pub(super) fn table<const N: usize>(
    headings: [&str; N],
    rows: &[[String; N]],
    empty: &str,
) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let headings = headings.map(str::to_owned);
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.clone().map(|cell| plain(&cell)))
        .collect();
    let width = |column: usize| {
        std::iter::once(&headings)
            .chain(&rows)
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and values below each other. A value of several lines is indented.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in facts {
        let lines: Vec<String> = value.lines().map(plain).collect();
        let indent = format!("\n{:width$}  ", "");
        text.push_str(&format!("{name:<width$}  {}", lines.join(&indent)));
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// A text of strangers without what steers a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A text that is cut when it is long.
pub(super) fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return plain(text);
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", plain(&kept))
}

/// A time as people read it, to the second; `-` for none.
pub(super) fn time(at: Option<i64>) -> String {
    at.map_or_else(dash, |ms| {
        let text = Timestamp(ms).to_string();
        match text.split_once('.') {
            Some((seconds, _)) => format!("{}Z", seconds.replace('T', " ")),
            None => text,
        }
    })
}

/// A size in whole units, cut down.
pub(super) fn size(bytes: u64) -> String {
    let unit = [1 << 30, 1 << 20, 1 << 10, 1];
    let unit = unit.into_iter().find(|unit| bytes >= *unit).unwrap_or(1);
    format_size(bytes - bytes % unit)
}

/// A number of things: `1 device`, `2 devices`.
pub(super) fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// What stands where there is nothing.
pub(super) fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "1".to_owned()],
            ["ßßß\x1b[2J".to_owned(), String::new()],
        ];
        insta::assert_snapshot!(table(["ID", "N"], &rows, ""), @r"
        ID       N
        a        1
        ßßß�[2J
        ");
        assert_eq!(table(["ID"], &[], "None yet."), "None yet.\n");
    }

    #[test]
    fn a_time_is_read_by_people() {
        assert_eq!(time(Some(1_760_433_330_123)), "2025-10-14 09:15:30Z");
        assert_eq!(time(None), "-");
    }

    #[test]
    fn amounts_are_read_by_people() {
        assert_eq!(
            [size(0), size(82_021), size(3 << 20)],
            ["0B", "80KiB", "3MiB"]
        );
        assert_eq!(
            [count(1, "device"), count(0, "device")],
            ["1 device", "0 devices"]
        );
    }

    #[test]
    fn facts_of_several_lines_are_indented() {
        let text = facts(&[("id", "x".to_owned()), ("config", "{\n}".to_owned())]);
        assert_eq!(text, "id      x\nconfig  {\n        }\n");
    }
}
