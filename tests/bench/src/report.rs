//! The table, and whether the goals are reached.

use std::time::Duration;

use crate::load::{CONVERSATIONS, IN_FLIGHT, Latency, STEADY_RATE, Saturation};
use crate::probe::Probe;
use crate::syncs::Syncs;

/// Three times Restate's handler in Rust and five times the Chat SDK on Redis, measured under such a load on such a machine.
const THROUGHPUT: f64 = 5_000.0;
/// The host's CPU time for a message, in microseconds: so that two cores carry that throughput together with its load generator.
const CPU_MICROS: f64 = 200.0;
/// What answering a webhook may take beside its fsync, at the median.
const ACK: Duration = Duration::from_micros(400);
/// What a reply may take beside its two fsyncs, at the median and at the 99th percentile.
const REPLY: Duration = Duration::from_micros(800);
const REPLY_P99: Duration = Duration::from_millis(3);
/// Resident memory, in MiB.
const MEMORY_MIB: f64 = 100.0;

/// A quick run must only find what has grown many times over: it shares its machine and its disk with whatever runs there.
const QUICK_SLACK: f64 = 6.0;

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) syncs: Option<Syncs>,
    rounds: Vec<Round>,
    slack: f64,
}

struct Round {
    saturation: Saturation,
    steady: Latency,
    bare: Duration,
    fsync: Duration,
    fsync_p99: Duration,
    paced_fsync: Duration,
    hash: Duration,
}

/// A figure, and what it should be at most, or at least.
struct Goal {
    name: &'static str,
    reached: f64,
    wanted: f64,
    unit: &'static str,
    more_is_better: bool,
}

impl Report {
    pub(crate) fn new(quick: bool) -> Self {
        Self {
            syncs: None,
            rounds: Vec::new(),
            slack: if quick { QUICK_SLACK } else { 1.0 },
        }
    }

    pub(crate) fn add(
        &mut self,
        saturation: Saturation,
        steady: Latency,
        mut bare: Vec<Duration>,
        probes: &[&Probe],
    ) {
        let mut syncs: Vec<_> = probes.iter().flat_map(|p| p.syncs.clone()).collect();
        let mut paced: Vec<_> = probes.iter().flat_map(|p| p.paced_syncs.clone()).collect();
        let mut hashes: Vec<_> = probes.iter().map(|p| p.hash).collect();
        self.rounds.push(Round {
            saturation,
            steady,
            bare: percentile(&mut bare, 50),
            fsync: percentile(&mut syncs, 50),
            fsync_p99: percentile(&mut syncs, 99),
            paced_fsync: percentile(&mut paced, 50),
            hash: percentile(&mut hashes, 50),
        });
    }

    pub(crate) fn print(&self) {
        println!(
            "Saturation: {IN_FLIGHT} in flight, {CONVERSATIONS} conversations, echo. Steady: {STEADY_RATE}/s. Times in ms."
        );
        println!();
        println!(
            "| round | fsync p50 / p99 | fsync p50 at {STEADY_RATE}/s | bare answer p50 at {STEADY_RATE}/s | SHA-256 of 1 MiB | messages/s | CPU-µs a message | PSS MiB | ops a commit | ack p50 / p99 (saturated) | reply p50 / p99 (saturated) | ack p50 / p99 ({STEADY_RATE}/s) | reply p50 / p99 ({STEADY_RATE}/s) |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        for (n, round) in self.rounds.iter().enumerate() {
            let s = &round.saturation;
            println!(
                "| {} | {} / {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.1} | {} | {} | {} | {} |",
                n + 1,
                millis(round.fsync),
                millis(round.fsync_p99),
                millis(round.paced_fsync),
                millis(round.bare),
                millis(round.hash),
                s.throughput(),
                s.cpu_micros(),
                s.memory_mib(),
                s.operations_per_commit(),
                spread(&s.latency.acks),
                spread(&s.latency.replies),
                spread(&round.steady.acks),
                spread(&round.steady.replies),
            );
        }
        println!();
        let commits = self.median(|r| r.saturation.commits as f64 / r.saturation.messages as f64);
        println!("Commits a message at saturation: {commits:.3}.");
        match &self.syncs {
            Some(s) => println!(
                "fsyncs a message at saturation, counted by strace, which slows the host: {:.3}.",
                s.syncs as f64 / s.messages as f64
            ),
            None => println!("fsyncs were not counted: strace is missing."),
        }
        println!();
        println!("| goal (medians of the rounds) | wanted | reached | |");
        println!("|---|---|---|---|");
        for goal in self.goals() {
            println!(
                "| {} | {} {:.2} {} | {:.2} | {} |",
                goal.name,
                if goal.more_is_better { "≥" } else { "≤" },
                goal.wanted,
                goal.unit,
                goal.reached,
                if goal.is_reached() { "yes" } else { "NO" },
            );
        }
        if self.slack > 1.0 {
            println!();
            println!(
                "A quick run: what is wanted is {} times easier.",
                self.slack
            );
        }
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.goals().iter().all(Goal::is_reached)
    }

    fn goals(&self) -> Vec<Goal> {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        // What an fsync takes at this pace: see the probe.
        let fsync = self.median(|r| ms(r.paced_fsync));
        let at = |share, pick: fn(&Latency) -> &Vec<Duration>| {
            self.median(|r| ms(percentile(&mut pick(&r.steady).clone(), share)))
        };
        let most = |name, reached, wanted: f64, unit| Goal {
            name,
            reached,
            wanted: wanted * self.slack,
            unit,
            more_is_better: false,
        };
        vec![
            Goal {
                name: "throughput at saturation",
                reached: self.median(|r| r.saturation.throughput()),
                wanted: THROUGHPUT / self.slack,
                unit: "messages/s",
                more_is_better: true,
            },
            most(
                "CPU of the host",
                self.median(|r| r.saturation.cpu_micros()),
                CPU_MICROS,
                "µs a message",
            ),
            most(
                "ack p50, one fsync and 0.4",
                at(50, |l| &l.acks),
                fsync + ms(ACK),
                "ms",
            ),
            most(
                "reply p50, two fsyncs and 0.8",
                at(50, |l| &l.replies),
                2.0 * fsync + ms(REPLY),
                "ms",
            ),
            most(
                "reply p99, two fsyncs and 3",
                at(99, |l| &l.replies),
                2.0 * fsync + ms(REPLY_P99),
                "ms",
            ),
            most(
                "resident memory (PSS)",
                self.median(|r| r.saturation.memory_mib()),
                MEMORY_MIB,
                "MiB",
            ),
        ]
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        let mut figures: Vec<_> = self.rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl Goal {
    fn is_reached(&self) -> bool {
        if self.more_is_better {
            self.reached >= self.wanted
        } else {
            self.reached <= self.wanted
        }
    }
}

fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    format!(
        "{} / {}",
        millis(percentile(&mut times, 50)),
        millis(percentile(&mut times, 99))
    )
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1_000.0)
}

/// The time below which such a share of all are, in percent.
fn percentile(times: &mut [Duration], share: usize) -> Duration {
    times.sort_unstable();
    let at = times.len().saturating_sub(1) * share / 100;
    times.get(at).copied().unwrap_or_default()
}
