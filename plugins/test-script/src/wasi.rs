//! Looks for what a sandbox should not have.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::TcpStream;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One `NAME: VALUE` in a line. The values of `random` and the clocks let a test check that a retry sees the same.
pub fn probe() -> String {
    let connected = match TcpStream::connect(("127.0.0.1", 80)) {
        Ok(_) => "connected".to_owned(),
        Err(error) => format!("refused ({})", error.kind()),
    };
    [
        format!("environment: {}", std::env::vars_os().count()),
        format!("arguments: {}", std::env::args_os().count()),
        format!("files: {}", files()),
        format!("sockets: {connected}"),
        format!("wall clock: {}", wall_clock_ms()),
        format!("monotonic clock: {}", monotonic_clock()),
        format!("random: {}", RandomState::new().hash_one(0)),
    ]
    .join("\n")
}

fn files() -> String {
    let paths = [
        ".",
        "/",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/urandom",
    ];
    let seen: Vec<&str> = paths
        .into_iter()
        .filter(|path| std::fs::metadata(path).is_ok())
        .collect();
    let written = std::fs::write("/tmp/nodepath-test-script", b"escaped").is_ok();
    match (seen.is_empty(), written) {
        (true, false) => "none".to_owned(),
        (_, written) => format!("saw {seen:?}, wrote: {written}"),
    }
}

fn wall_clock_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

/// `stands still`, or how far it went meanwhile.
fn monotonic_clock() -> String {
    let start = Instant::now();
    crate::misbehave::spin(1);
    let passed = start.elapsed();
    if passed.is_zero() {
        "stands still".to_owned()
    } else {
        format!("went on {passed:?}")
    }
}
