//! The table, and whether what was set as the goal is reached.

use std::time::Duration;

use crate::load::{CONVERSATIONS, IN_FLIGHT, Latency, STEADY_RATE, Saturation};
use crate::probe::Probe;
use crate::syncs::Syncs;

pub(crate) struct Report {
    pub(crate) syncs: Option<Syncs>,
    rounds: Vec<Round>,
    quick: bool,
}

struct Round {
    saturation: Saturation,
    latency: Latency,
    sync_p50: Duration,
    hash: Duration,
}

impl Report {
    pub(crate) fn new(quick: bool) -> Self {
        Self { syncs: None, rounds: Vec::new(), quick }
    }

    pub(crate) fn add(&mut self, saturation: Saturation, latency: Latency, probes: &[&Probe]) {
        let mut syncs: Vec<_> = probes.iter().flat_map(|p| p.syncs.iter().copied()).collect();
        let mut hashes: Vec<_> = probes.iter().map(|p| p.hash).collect();
        self.rounds.push(Round { saturation, latency, sync_p50: percentile(&mut syncs, 50), hash: percentile(&mut hashes, 50) });
    }

    pub(crate) fn print(&self) {
        for (n, round) in self.rounds.iter().enumerate() {
            let Round { saturation: s, latency: l, .. } = round;
            let per_second = s.messages as f64 / s.took.as_secs_f64();
            println!("round {}: fsync p50 {:?}, sha256 of 1 MiB {:?}", n + 1, round.sync_p50, round.hash);
            println!("  saturation ({IN_FLIGHT} in flight, {CONVERSATIONS} conversations): {per_second:.0} messages/s, {:.1} CPU-us a message, {:.1} MiB PSS, {}",
                s.cpu.as_micros() as f64 / s.messages as f64, s.memory as f64 / 1048576.0, show(&s.latency));
            println!("  {STEADY_RATE}/s: {}", show(l));
        }
        if let Some(s) = &self.syncs {
            println!("fsyncs a message: {:.3} ({} messages)", s.syncs as f64 / s.messages as f64, s.messages);
        }
    }

    pub(crate) fn is_reached(&self) -> bool {
        !self.quick
    }
}

fn show(l: &Latency) -> String {
    let (mut acks, mut replies) = (l.acks.clone(), l.replies.clone());
    format!("ack p50 {:?} p99 {:?}, reply p50 {:?} p99 {:?}", percentile(&mut acks, 50), percentile(&mut acks, 99), percentile(&mut replies, 50), percentile(&mut replies, 99))
}

pub(crate) fn percentile(times: &mut [Duration], share: usize) -> Duration {
    times.sort_unstable();
    let at = times.len().saturating_sub(1) * share / 100;
    times.get(at).copied().unwrap_or_default()
}
