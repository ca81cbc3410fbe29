//! Gives the disk what it has to write a little at a time. The system would let it gather for half a minute and then write all of it at once,
//! and every fsync of that moment waits behind it.

use std::os::fd::{AsFd, AsRawFd as _};

/// What is given to the disk at once where somebody waits for it: 64 pages, about as long as an fsync.
pub(crate) const STRETCH: i64 = 256 << 10;

/// Has a stretch of a file written, and waits for that. It promises nothing: only an fsync does.
pub(crate) fn write_stretch(file: impl AsFd, at: i64) {
    let how = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    write(file, at, STRETCH, how);
}

/// What is written before the disk is to begin with it: a tenth of a second of the log lines of a host at full load.
const UNWRITTEN: usize = 1 << 20;

/// Has the disk write a file, to whose end somebody writes, as it grows.
#[derive(Debug, Default)]
pub(crate) struct Steadily {
    unwritten: usize,
}

impl Steadily {
    /// To be told of all that is written. What is no file is left alone.
    pub(crate) fn wrote(&mut self, file: impl AsFd, bytes: usize) {
        self.unwritten += bytes;
        if self.unwritten >= UNWRITTEN {
            self.unwritten = 0;
            // No length stands for all of it.
            write(file, 0, 0, libc::SYNC_FILE_RANGE_WRITE);
        }
    }
}

fn write(file: impl AsFd, at: i64, length: i64, how: libc::c_uint) {
    // SAFETY: it takes numbers only, and the file stays open meanwhile.
    let _nobody_counts_on_it =
        unsafe { libc::sync_file_range(file.as_fd().as_raw_fd(), at, length, how) };
}
