//! Lines leave through a thread of their own: whoever logs only formats. What has gathered while the last batch was written goes out in
//! one write, so a busy host writes a few times for a hundred lines.
//!
//! A process that is killed loses the lines of its last moment. They follow their commits, so what they would have told of is in the
//! database.

use std::io::{self, Write};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// A batch is written at this size, also if there are more lines.
const BATCH_BYTES: usize = 64 << 10;

/// Lines that may wait; whoever logs one more waits too. Losing lines would make `grep` lie.
const WAITING_LINES: usize = 16_384;

/// Hands lines over to a thread that writes them to `sink`, until the guard is dropped.
pub(super) fn hand_over(
    name: &str,
    sink: impl Write + Send + 'static,
) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name(name)
        .finish(Batch {
            sink,
            lines: Vec::with_capacity(BATCH_BYTES),
        })
}

/// Gathers lines and writes them whole.
struct Batch<W> {
    sink: W,
    lines: Vec<u8>,
}

impl<W: Write> Write for Batch<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.len() + line.len() > BATCH_BYTES {
            self.flush()?;
        }
        self.lines.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What can't be written is dropped: a console that went away stops nothing.
        let written = self.sink.write_all(&self.lines);
        self.lines.clear();
        written?;
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_written_in_whole_lines_and_one_write() {
        let mut batch = Batch {
            sink: Writes::default(),
            lines: Vec::new(),
        };
        let line = vec![b'x'; BATCH_BYTES / 2];
        for _ in 0..3 {
            batch.write_all(&line).unwrap();
        }
        batch.flush().unwrap();
        assert_eq!(batch.sink.0, [BATCH_BYTES, BATCH_BYTES / 2]);
    }

    #[test]
    fn a_sink_that_fails_does_not_make_lines_pile_up() {
        let mut batch = Batch {
            sink: std::fs::File::options()
                .append(true)
                .open("/dev/full")
                .unwrap(),
            lines: Vec::new(),
        };
        batch.write_all(b"x\n").unwrap();
        batch.flush().unwrap_err();
        assert!(batch.lines.is_empty());
    }

    /// How many bytes each write had.
    #[derive(Default)]
    struct Writes(Vec<usize>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
