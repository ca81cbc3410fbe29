//! In the tests' build, the environment says where the process fails: `FAILPOINTS` as the crate `fail` reads it, and `KILL_AT`
//! for a place at which it kills itself. The places are listed in `store/failpoint.rs`.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Reads both. The places lose their meaning when the answer is dropped.
pub(crate) fn set_up() -> fail::FailScenario<'static> {
    let scenario = fail::FailScenario::setup();
    if let Some((place, pass)) = std::env::var("KILL_AT").ok().as_deref().and_then(parse) {
        kill_at(place, pass);
    }
    scenario
}

/// `PLACE` or `PLACE@PASS`; the first pass unless told.
fn parse(words: &str) -> Option<(&str, u32)> {
    match words.split_once('@') {
        None => Some((words, 1)),
        Some((place, pass)) => Some((place, pass.parse().ok()?)),
    }
}

/// Nothing is flushed, told or closed, as if the machine had taken the process away.
fn kill_at(place: &str, pass: u32) {
    let passes = AtomicU32::new(0);
    let ends = move || {
        if passes.fetch_add(1, Ordering::SeqCst) + 1 == pass
            && let Err(error) = kill_process(getpid(), Signal::KILL)
        {
            tracing::error!(%error, "failpoints: the process can't kill itself");
        }
    };
    if let Err(error) = fail::cfg_callback(place, ends) {
        tracing::error!(error, "failpoints: KILL_AT can't be set up");
    }
}
