//! Lengths of time as people write them: `250ms`, `30s`, `5m`, `2h`, `30d`.

use std::time::Duration;

/// The units, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest time that makes sense anywhere: it still fits into a timestamp when it is added to one.
const LONGEST: Duration = Duration::from_secs(1_000 * 365 * 86_400);

/// Reads a whole number with a unit, such as `30s`.
///
/// # Errors
/// If it is none, in words for whoever wrote it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a length of time: write one like 250ms, 30s, 5m, 2h or 30d");
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let millis = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, millis)| number.parse::<u64>().ok()?.checked_mul(*millis))
        .map(Duration::from_millis);
    millis.filter(|d| *d <= LONGEST).ok_or_else(wrong)
}

/// Writes it in the longest unit that says it exactly.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(_, unit)| millis.is_multiple_of(*unit))
        .map_or_else(String::new, |(name, unit)| {
            format!("{}{name}", millis / unit)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0s", "250ms", "30s", "90s", "5m", "2h", "30d"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(parse_duration("48h").unwrap()), "2d");
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "1.5h",
            "-1s",
            "30 s",
            "1w",
            "99999999999999999999d",
            "9999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
