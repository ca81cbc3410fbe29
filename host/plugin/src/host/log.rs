//! `log`, and what a guest writes to its standard streams: the log of the turn.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use wasmtime::component::HasData;

use crate::bindings::log::{Host, Level};
use crate::limits::{
    LINE_BYTES, LINE_FIELDS, LOG_BYTES, LOG_BYTES_PER_SECOND, LOG_LINES, LOG_LINES_PER_SECOND,
};
use crate::words::{clean, cut};
use crate::{LogLevel, LogLine, LogSource};

/// The log of one turn. The standard streams hold it too, so it is shared.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Lines>>);

struct Lines {
    kept: Vec<LogLine>,
    dropped: u64,
    lines: Bucket,
    bytes: Bucket,
}

impl Log {
    /// An empty log.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Lines {
            kept: Vec::new(),
            dropped: 0,
            lines: Bucket::full(LOG_LINES, LOG_LINES_PER_SECOND, now),
            bytes: Bucket::full(LOG_BYTES, LOG_BYTES_PER_SECOND, now),
        })))
    }

    /// Adds a line, or counts it as dropped.
    pub(crate) fn add(&self, line: LogLine) {
        let size = line
            .fields
            .iter()
            .fold(line.message.len(), |sum, (k, v)| sum + k.len() + v.len());
        let now = Instant::now();
        // A panic while the lock is held leaves a list of lines, which is as good as any.
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        if lines.lines.has(1, now) && lines.bytes.has(size, now) {
            lines.lines.take(1);
            lines.bytes.take(size);
            lines.kept.push(line);
        } else {
            lines.dropped = lines.dropped.saturating_add(1);
        }
    }

    /// Takes the lines out, with the number of those that were dropped.
    pub(crate) fn take(&self) -> (Vec<LogLine>, u64) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut lines.kept), lines.dropped)
    }

    /// The last line that the guest wrote to its standard error: the words of a panic.
    pub(crate) fn last_words(&self) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_panic: Vec<&str> = lines
            .kept
            .iter()
            .rev()
            .take_while(|line| line.source == LogSource::Stderr)
            // A hint of Rust's runtime that helps nobody here.
            .filter(|line| !line.message.starts_with("note: run with `RUST_BACKTRACE"))
            .map(|line| line.message.as_str())
            .take(3)
            .collect();
        let words: Vec<&str> = of_panic.into_iter().rev().collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

impl HasData for Log {
    type Data<'a> = &'a mut Self;
}

impl Host for Log {
    fn write(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        let fields = fields
            .iter()
            .take(LINE_FIELDS)
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        self.add(LogLine {
            level: match level {
                Level::Trace => LogLevel::Trace,
                Level::Debug => LogLevel::Debug,
                Level::Info => LogLevel::Info,
                Level::Warn => LogLevel::Warn,
                Level::Error => LogLevel::Error,
            },
            source: LogSource::Log,
            message: text(&message),
            fields,
        });
    }
}

/// A text of the guest as a line may carry it.
pub(super) fn text(text: &str) -> String {
    clean(cut(text, LINE_BYTES), LINE_BYTES)
}

/// A token bucket.
struct Bucket {
    tokens: f64,
    most: f64,
    per_second: f64,
    filled_at: Instant,
}

impl Bucket {
    fn full(most: u32, per_second: u32, now: Instant) -> Self {
        Self {
            tokens: f64::from(most),
            most: f64::from(most),
            per_second: f64::from(per_second),
            filled_at: now,
        }
    }

    fn has(&mut self, tokens: u32, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.most);
        self.filled_at = now;
        self.tokens >= f64::from(tokens)
    }

    fn take(&mut self, tokens: u32) {
        self.tokens -= f64::from(tokens);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(log: &mut Log, message: &str) {
        log.write(Level::Info, message.to_owned(), vec![]);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut log = Log::new();
        (0..5_000).for_each(|n| write(&mut log, &format!("line {n}")));
        let (kept, dropped) = log.take();
        assert!(kept.len() >= 200 && kept.len() < 1_000, "{}", kept.len());
        assert_eq!(kept.len() as u64 + dropped, 5_000);
        assert_eq!(kept[0].message, "line 0");
    }

    #[test]
    fn a_long_line_is_cut_and_cleaned() {
        let mut log = Log::new();
        write(&mut log, &format!("a\u{7}b{}", "ä".repeat(10_000)));
        let (kept, _) = log.take();
        assert!(kept[0].message.starts_with("abä"));
        assert!(kept[0].message.len() <= LINE_BYTES);
    }

    #[test]
    fn a_bucket_fills_again_up_to_its_size() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, 5, start);
        assert!(bucket.has(10, start));
        bucket.take(10);
        assert!(!bucket.has(1, start));
        assert!(bucket.has(5, start + Duration::from_secs(1)));
        assert!(!bucket.has(11, start + Duration::from_secs(60)));
    }
}
