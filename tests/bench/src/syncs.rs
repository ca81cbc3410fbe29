//! How many commits and fsyncs a message costs, counted and not computed: the host's own count of commits, and strace's of
//! fsync and fdatasync. strace slows the host down, so this is a run of its own and nothing in it is timed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::host::Site;
use crate::load::Driver;
use crate::provider::Provider;

/// How long is counted.
const COUNT_FOR: Duration = Duration::from_secs(5);

/// What was counted.
#[derive(Debug)]
pub(crate) struct Syncs {
    pub(crate) messages: u64,
    pub(crate) syncs: u64,
}

/// Counts at saturation; none where there is no strace.
pub(crate) async fn count(site: &Site, provider: &Provider) -> Result<Option<Syncs>> {
    let strace = Path::new("strace");
    let found = Command::new(strace)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!(
            "bench: fsyncs are not counted, since strace is missing; its package has that name"
        );
        return Ok(None);
    }
    let log = site.dir().join("strace.log");
    let log_name = log.to_string_lossy().into_owned();
    let watch = [
        // The host stays our own child, so that a signal reaches it.
        "--daemonize",
        "--follow-forks",
        "--seccomp-bpf",
        "--quiet=all",
        "--signal=none",
        "--trace=fsync,fdatasync",
        "--output",
        &log_name,
    ];
    let host = site.serve_under(strace, &watch).await?;
    let lines = || -> Result<u64> {
        let text = std::fs::read_to_string(&log)?;
        Ok(text.lines().filter(|line| line.contains("sync(")).count() as u64)
    };
    let before = lines()?;
    let load = Driver::new(&host, provider).saturate(COUNT_FOR).await?;
    let syncs = lines()? - before;
    host.stop().await?;
    Ok(Some(Syncs {
        messages: load.messages,
        syncs,
    }))
}
