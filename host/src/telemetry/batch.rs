//! Lines leave through a thread of their own: whoever logs only formats. What has gathered meanwhile goes out in one write, so that a
//! busy host writes a few times for hundreds of lines, and no line is written while somebody waits for an answer.
//!
//! A process that is killed loses the lines of its last moment. They follow their commits, so what they would have told of is in the
//! database.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long lines gather. It is longer than a message takes and shorter than anybody notices.
const GATHER: Duration = Duration::from_millis(5);

/// Lines that may wait, in bytes: seconds of a host at full load. Whoever logs more waits too, since a line that is left out would make
/// `grep` lie.
const MOST_WAITING: usize = 4 << 20;

/// Takes whole lines and hands them over.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

/// Writes what waits when it is dropped, and ends.
pub(super) struct Writing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write, or it is the end.
    work: Condvar,
    /// There is room again.
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    is_over: bool,
}

/// Starts a thread that writes to `sink` what it is handed over.
pub(super) fn hand_over(
    name: &str,
    sink: impl Write + Send + 'static,
) -> io::Result<(Lines, Writing)> {
    let shared = Arc::new(Shared::default());
    let thread = std::thread::Builder::new().name(name.to_owned());
    let thread = thread.spawn({
        let shared = shared.clone();
        move || shared.write_to(sink)
    })?;
    let writing = Writing {
        shared: shared.clone(),
        thread: Some(thread),
    };
    Ok((Lines(shared), writing))
}

impl Shared {
    fn write_to(&self, mut sink: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut waiting = self.waiting();
            while waiting.lines.is_empty() && !waiting.is_over {
                waiting = wait(&self.work, waiting);
            }
            if waiting.lines.is_empty() {
                return;
            }
            if !waiting.is_over && waiting.lines.len() < MOST_WAITING {
                // Whoever ends the process, or has no room, cuts it short.
                let cut = self.work.wait_timeout(waiting, GATHER);
                waiting = cut.unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut waiting.lines, &mut lines);
            drop(waiting);
            self.room.notify_all();
            // A console that went away stops nothing; a file counts what it lost.
            drop(sink.write_all(&lines).and_then(|()| sink.flush()));
            lines.clear();
        }
    }

    fn add(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        while waiting.lines.len() >= MOST_WAITING && !waiting.is_over {
            waiting = wait(&self.room, waiting);
        }
        let was_empty = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        let is_full = waiting.lines.len() >= MOST_WAITING;
        drop(waiting);
        if was_empty || is_full {
            self.work.notify_one();
        }
    }

    /// The lines are whole even if a holder of the mutex panicked: every change of them is one call.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(event: &Condvar, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
    event.wait(waiting).unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.waiting().is_over = true;
        self.shared.work.notify_one();
        self.shared.room.notify_all();
        if let Some(thread) = self.thread.take() {
            // It ends in no other way than by a panic, which has said so itself.
            drop(thread.join());
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells each write, and takes as long for it as whoever listens.
    struct Told(Sender<Vec<u8>>, Receiver<()>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            self.1.recv().unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_gathers_during_a_write_goes_out_in_one_and_nothing_is_left_at_the_end() {
        let ((told, writes), (go, may_go)) = (channel(), channel());
        let (mut lines, writing) = hand_over("test", Told(told, may_go)).unwrap();
        lines.write_all(b"1\n").unwrap();
        assert_eq!(writes.recv().unwrap(), b"1\n");
        for line in [b"2\n", b"3\n", b"4\n"] {
            lines.write_all(line).unwrap();
        }
        go.send(()).unwrap();
        go.send(()).unwrap();
        drop(writing);
        assert_eq!(writes.recv().unwrap(), b"2\n3\n4\n");
        assert!(writes.recv().is_err());
    }

    #[test]
    fn a_sink_that_fails_holds_nobody_up() {
        let full = std::fs::File::options().append(true).open("/dev/full");
        let (mut lines, writing) = hand_over("test", full.unwrap()).unwrap();
        let line = vec![b'x'; MOST_WAITING / 2];
        for _ in 0..5 {
            lines.write_all(&line).unwrap();
        }
        drop(writing);
        // And after the end neither.
        lines.write_all(b"x\n").unwrap();
    }
}
