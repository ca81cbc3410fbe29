//! The log of this process, through the host's own telemetry into a file, as `logs/app.log` is written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nodepath::app::RenderMetrics;
use nodepath::telemetry::{self, Format, LogLines, Metrics};

use super::PATIENCE;

struct Started {
    dir: tempfile::TempDir,
    metrics: Metrics,
    _lines: LogLines,
}

/// Telemetry starts once in a process.
static STARTED: OnceLock<Started> = OnceLock::new();

/// The log file, from now on.
pub(crate) struct Log(PathBuf);

impl Log {
    pub(crate) fn start() -> Self {
        let started = STARTED.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let settings = telemetry::Settings {
                file: Some(file(dir.path())),
                filter: "info".to_owned(),
                format: Format::Text,
            };
            let (metrics, lines) = telemetry::start(&settings).unwrap();
            Started {
                dir,
                metrics,
                _lines: lines,
            }
        });
        Self(file(started.dir.path()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// `grep PATTERN logs/app.log`, for the lines that also have `whose` in them: tests may share a process.
    pub(crate) fn grep(&self, pattern: &str, whose: &str) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        let lines = text.lines().filter(|line| line.contains(pattern));
        let own = lines.filter(|line| line.contains(whose));
        own.map(str::to_owned).collect()
    }

    /// Waits until `grep` finds so many lines: a line is written after the commit that it tells of.
    pub(crate) async fn until(&self, pattern: &str, whose: &str, count: usize) -> Vec<String> {
        let look = async {
            loop {
                let lines = self.grep(pattern, whose);
                if lines.len() >= count {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(lines) => lines,
            Err(_) => panic!("never {count} lines: {:#?}", self.grep(pattern, whose)),
        }
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("logs/app.log")
}

/// The figures of this process, where a test has started them.
pub(super) fn metrics() -> Option<RenderMetrics> {
    let metrics = STARTED.get()?.metrics.clone();
    Some(Arc::new(move || metrics.render()))
}
