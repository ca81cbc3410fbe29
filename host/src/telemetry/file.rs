//! The log file. A write has whole lines, so lines of two processes never mix; those that can't be written are counted, and stop
//! nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Stderr, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::disk::Steadily;

/// Lines that could not be written.
pub(super) const LOST: &str = "nodepath_log_lines_lost_total";

/// How often it is checked whether the file is still the one of its name. A rotation by renaming is noticed this late, and
/// nothing of it is lost: the lines are in the renamed file.
const CHECK: Duration = Duration::from_secs(1);

/// A file that lines are appended to. When it was renamed or removed, as `logrotate` does, it is made anew.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    checked: Instant,
    steadily: Steadily,
}

impl LogFile {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        let open = Mutex::new(Open {
            file,
            checked: Instant::now(),
            steadily: Steadily::default(),
        });
        Ok(Self { path, open })
    }

    fn line(&self, line: &[u8], now: Instant) -> io::Result<()> {
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let open = &mut *open;
        if now.saturating_duration_since(open.checked) >= CHECK {
            open.checked = now;
            if !is_at(&open.file, &self.path) {
                open.file = append(&self.path)?;
            }
        }
        open.file.write_all(line)?;
        open.steadily.wrote(&open.file, line.len());
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Takes whole lines of the formatter.
pub(super) struct LineWriter<'a>(&'a LogFile);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.line(line, Instant::now()).is_err() {
            let lines = line.iter().filter(|byte| **byte == b'\n').count();
            metrics::counter!(LOST).increment(lines as u64);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes whole lines, several at a time.
impl Write for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        LineWriter(self).write(lines)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self)
    }
}

/// The console, which may be a file too.
#[derive(Debug)]
pub(super) struct Console {
    stderr: Stderr,
    steadily: Steadily,
}

impl Console {
    pub(super) fn open() -> Self {
        Self {
            stderr: io::stderr(),
            steadily: Steadily::default(),
        }
    }
}

impl Write for Console {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let written = self.stderr.write(lines)?;
        self.steadily.wrote(&self.stderr, written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stderr.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_go_to_a_new_file_after_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/app.log");
        let old = dir.path().join("logs/app.log.1");
        LogFile::open(path.clone())
            .unwrap()
            .line(b"0\n", Instant::now())
            .unwrap();
        let log = LogFile::open(path.clone()).unwrap();
        let start = Instant::now();
        log.line(b"1\n", start).unwrap();
        std::fs::rename(&path, &old).unwrap();
        log.line(b"2\n", start).unwrap();
        log.line(b"3\n", start + CHECK * 2).unwrap();
        assert_eq!(std::fs::read_to_string(old).unwrap(), "0\n1\n2\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "3\n");
    }

    #[test]
    fn a_line_that_can_not_be_written_stops_nothing() {
        let log = LogFile::open(PathBuf::from("/dev/full")).unwrap();
        assert_eq!(log.make_writer().write(b"x\n").unwrap(), 2);
    }
}
