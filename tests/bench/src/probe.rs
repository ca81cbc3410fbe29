//! What the machine does meanwhile: one fsync on the database's disk, and a fixed piece of work on the processor.
//!
//! An fsync that follows on another finds disk and processor awake; one in each hundredth of a second takes longer. So it is probed both
//! ways: one after the other beside the saturation, and at the pace of the steady load, by a thread that is as awake as that is, beside it.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::load::{STEADY_RATE, TIMER};

/// How often each is done.
const SYNCS: usize = 200;
const PACED_SYNCS: usize = 100;
const HASHES: usize = 21;

/// What is written before each fsync: what taking a webhook in adds to SQLite's log, some sixteen pages of 4 KiB (counted by strace).
const WRITE_BYTES: usize = 64 << 10;

/// The file that is written over and over, as SQLite does with its log. It is as large as that gets before it begins anew.
const FILE_BYTES: u64 = 16 << 20;

/// What is hashed.
const HASH_BYTES: usize = 1 << 20;

/// What a probe took.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// Each fsync of those that follow on each other.
    pub(crate) syncs: Vec<Duration>,
    /// Each fsync of those at the pace of the steady load.
    pub(crate) paced_syncs: Vec<Duration>,
    /// SHA-256 of one MiB, the median.
    pub(crate) hash: Duration,
}

/// Takes all, one after the other; they need a second and a half, and more where the disk is slow.
pub(crate) fn take(dir: &Path) -> Result<Probe> {
    let path = dir.join("fsync-probe");
    Ok(Probe {
        syncs: syncs(&path, SYNCS, None)?,
        paced_syncs: syncs(
            &path,
            PACED_SYNCS,
            Some(Duration::from_secs(1) / STEADY_RATE),
        )?,
        hash: hash(),
    })
}

fn syncs(path: &Path, count: usize, pace: Option<Duration>) -> Result<Vec<Duration>> {
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    let page = vec![0x5a; WRITE_BYTES];
    let slots = FILE_BYTES / WRITE_BYTES as u64;
    // Written once before, so that an fsync has no new blocks to allocate.
    for slot in 0..slots {
        file.write_all_at(&page, slot * WRITE_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut took = Vec::with_capacity(count);
    let mut due = Instant::now();
    for slot in (0..slots).cycle().take(count) {
        if let Some(pace) = pace {
            due += pace;
            std::thread::sleep((due - TIMER).saturating_duration_since(Instant::now()));
            while Instant::now() < due {
                std::hint::spin_loop();
            }
        }
        file.write_all_at(&page, slot * WRITE_BYTES as u64)?;
        let started = Instant::now();
        file.sync_data()?;
        took.push(started.elapsed());
    }
    Ok(took)
}

fn hash() -> Duration {
    let bytes = vec![0x5a; HASH_BYTES];
    let mut took: Vec<_> = (0..HASHES)
        .map(|_| {
            let started = Instant::now();
            black_box(Sha256::digest(black_box(&bytes)));
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    took.get(HASHES / 2).copied().unwrap_or_default()
}
