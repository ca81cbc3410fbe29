//! Says what is being done, and how long it takes.

use anyhow::Result;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a step that goes on says so.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Runs a step between a line that announces it and one that says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("xtask: {what}");
    let start = Instant::now();
    let result = with_heartbeat(start, work);
    let seconds = start.elapsed().as_secs_f32();
    match &result {
        Ok(_) => eprintln!("xtask: … done in {seconds:.1} s"),
        Err(_) => eprintln!("xtask: … failed after {seconds:.1} s"),
    }
    result
}

/// An error and what caused it, for people: without the backtrace, since nothing here is a bug of xtask's.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut lines = vec![error.to_string()];
    lines.extend(
        error
            .chain()
            .skip(1)
            .map(|cause| format!("because: {cause}")),
    );
    lines.join("\n")
}

fn with_heartbeat<T>(start: Instant, work: impl FnOnce() -> T) -> T {
    let (finished, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            // The channel closes when the work ends.
            while wait.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("xtask: … {} s", start.elapsed().as_secs());
            }
        });
        let result = work();
        drop(finished);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = anyhow::anyhow!("the disk is full").context("could not build\nMake room.");
        assert_eq!(
            describe(&error),
            "could not build\nMake room.\nbecause: the disk is full"
        );
    }
}
