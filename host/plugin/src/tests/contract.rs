//! What `wit/` says of limits is what the host does: an author reads nothing else.

use std::path::Path;

use super::limits::*;
use crate::check::{self, BUDGET};
use nodepath_model::Budget;

/// The documentation of an interface as running text.
fn told(interface: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../wit/{interface}.wit"));
    let text = std::fs::read_to_string(path).unwrap();
    let docs = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("///"))
        .map(str::trim);
    docs.collect::<Vec<_>>().join(" ")
}

/// A number as the documentation writes it.
fn n(number: impl TryInto<u64>) -> String {
    let Ok(number) = number.try_into() else {
        panic!("no limit is that large")
    };
    let digits = number.to_string();
    let mut told = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

fn mib(bytes: impl TryInto<u64>) -> String {
    let Ok(bytes) = bytes.try_into() else {
        panic!("no limit is that large")
    };
    assert_eq!(bytes % (1 << 20), 0);
    format!("{} MiB", bytes >> 20)
}

#[test]
fn the_world_tells_the_budgets() {
    let Budget {
        cpu_ms,
        wall_ms,
        memory_bytes,
    } = Budget::default();
    says(
        "world",
        &[
            format!("A component has at most {}.", mib(COMPONENT_BYTES)),
            format!(
                "By default these are {} ms, {} ms and {};",
                n(cpu_ms),
                n(wall_ms),
                mib(memory_bytes)
            ),
            format!("passes at most {} to the host", mib(HOSTCALL_BYTES)),
        ],
    );
}

#[test]
fn effects_tell_their_limits() {
    says(
        "effects",
        &[
            format!(
                "A turn may ask for {} effects and state writes, {} of them messages (reactions among them), with {} bytes together.",
                n(EFFECTS),
                n(MESSAGES),
                n(EFFECT_BYTES)
            ),
            format!("at most {} ms. To write later", n(DELAY.as_millis())),
            format!(
                "At most {}, with names of at most {} characters and at most {} bytes each, nested at most {} deep.",
                n(EXTRAS),
                n(NAME_CHARS),
                n(EXTRA_BYTES),
                n(EXTRA_NESTING)
            ),
            format!("an absolute `https` URL of at most {} bytes", n(URL_BYTES)),
            format!(
                "a document is saved under: at most {} characters.",
                n(NAME_CHARS)
            ),
            format!("Sends a text of at most {} bytes.", n(TEXT_BYTES)),
            format!(
                "The reason has at most {} characters, the note at most {}.",
                n(REASON_CHARS),
                n(NOTE_CHARS)
            ),
            format!(
                "It may be due at most {} days after",
                n(TIMER_AHEAD.as_secs() / 86_400)
            ),
            format!(
                "The id has at most {} characters, the payload at most {} bytes",
                n(NAME_CHARS),
                n(PAYLOAD_BYTES)
            ),
            format!(
                "The key has at most {} characters, the value at most {}.",
                n(NAME_CHARS),
                n(TAG_CHARS)
            ),
        ],
    );
}

#[test]
fn state_and_history_tell_their_limits() {
    says(
        "state",
        &[
            format!(
                "A key has 1 to {} bytes and no control characters, a value at most {} bytes.",
                n(KEY_BYTES),
                n(VALUE_BYTES)
            ),
            format!(
                "count among its {} effects and their {} bytes.",
                n(EFFECTS),
                n(EFFECT_BYTES)
            ),
            format!(
                "A turn may ask for {} values, pages of keys and pages of `history` together",
                n(READS)
            ),
            format!("each answers within {} seconds", n(READ_WALL.as_secs())),
            format!("`limit` is cut to {}.", n(KEYS)),
        ],
    );
    says(
        "history",
        &[
            format!("`limit` is cut to {}.", n(HISTORY)),
            format!("among the {} reads of a turn", n(READS)),
        ],
    );
}

#[test]
fn logs_signs_and_failures_tell_their_limits() {
    says(
        "log",
        &[
            format!(
                "are cut to {} bytes each, and the fields to {}.",
                n(LINE_BYTES),
                n(LINE_FIELDS)
            ),
            format!(
                "A turn logs {} lines and {} bytes at once, and {} lines and {} bytes more each second.",
                n(LOG_LINES),
                n(LOG_BYTES),
                n(LOG_LINES_PER_SECOND),
                n(LOG_BYTES_PER_SECOND)
            ),
        ],
    );
    says(
        "presence",
        &[format!("A turn sends {} of them;", n(PRESENCE))],
    );
    says(
        "handler",
        &[
            format!(
                "The text is for the operator; {} characters",
                n(DETAIL_CHARS)
            ),
            format!("The text is for the human; {} characters", n(DETAIL_CHARS)),
        ],
    );
}

#[test]
fn the_manifest_tells_its_limits() {
    says(
        "manifest",
        &[
            format!("1 to {} lower-case letters", n(check::NAME_CHARS)),
            format!(
                "A semantic version of at most {} characters",
                n(check::VERSION_CHARS)
            ),
            format!(
                "One line for people, of at most {} characters.",
                n(check::DESCRIPTION_CHARS)
            ),
            format!("At most {}.", n(check::CAPABILITIES)),
            format!("a JSON object of at most {} bytes", n(check::SCHEMA_BYTES)),
            format!(
                "may use {} ms of CPU time, {} ms of real time and {} of memory",
                n(BUDGET.cpu_ms),
                n(BUDGET.wall_ms),
                mib(BUDGET.memory_bytes)
            ),
            format!(
                "{} problems are shown, and {} characters of each.",
                n(check::PROBLEMS),
                n(check::PROBLEM_CHARS)
            ),
        ],
    );
}

fn says(interface: &str, sentences: &[String]) {
    let told = told(interface);
    for sentence in sentences {
        assert!(
            told.contains(sentence.as_str()),
            "{interface}.wit does not say: {sentence}"
        );
    }
}
