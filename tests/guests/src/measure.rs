//! What the kernel and the clock know of a host.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The clock that `/proc` counts CPU time in, which Linux shows to every program as this.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Of the threads that plugins run on.
    pub(crate) plugins: Duration,
    /// Of all its threads.
    pub(crate) all: Duration,
}

impl Cpu {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut cpu = Self::default();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end meanwhile.
            let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else {
                continue;
            };
            let (name, spent) = thread_of(&stat).context("/proc has no CPU times")?;
            cpu.all += spent;
            if is_of_plugins(name) {
                cpu.plugins += spent;
            }
        }
        Ok(cpu)
    }

    /// What was spent since then.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            plugins: self.plugins.saturating_sub(before.plugins),
            all: self.all.saturating_sub(before.all),
        }
    }
}

/// `plugin-0` and so on, and not `plugin-ticker`.
fn is_of_plugins(name: &str) -> bool {
    let number = name.strip_prefix("plugin-");
    number.is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()))
}

/// The name of a thread, and what it has spent.
fn thread_of(stat: &str) -> Option<(&str, Duration)> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut times = after
        .split_whitespace()
        .skip(11)
        .map_while(|n| n.parse::<u64>().ok());
    let ticks = times.next()? + times.next()?;
    Some((
        name,
        Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND),
    ))
}

/// The memory that a process holds and that is in no file, in bytes: what a guest could make it keep.
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("/proc has no RssAnon")? << 10)
}

/// Some times of one kind.
#[derive(Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// These and those.
    pub(crate) fn with(&self, others: &Self) -> Self {
        Self::of([self.0.as_slice(), &others.0].concat())
    }

    /// The time that so many of a hundred do not exceed; none where there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = Times::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(times.percentile(50), Duration::from_millis(100));
        assert_eq!(times.percentile(99), Duration::from_millis(198));
        assert_eq!(Times::default().percentile(99), Duration::ZERO);
    }

    #[test]
    fn a_threads_times_are_found_behind_its_name() {
        let stat = "7 (plugin-1 :)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(
            thread_of(stat),
            Some(("plugin-1 :)", Duration::from_secs(2)))
        );
        assert!(is_of_plugins("plugin-12") && !is_of_plugins("plugin-ticker"));
    }
}
