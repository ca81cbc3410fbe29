//! What is shown of a run, and what of it is not as it should be.

use std::time::Duration;

use crate::attacks::{Attack, Refusal};
use crate::measure::{Cpu, Times};
use crate::site::Recorded;

/// How much longer than twice its time alone an innocent answer may take while another tenant attacks. Plugins may use every core,
/// and an answer passes through six threads on its way (webhook, writer, turn, plugin, writer, delivery), each of which may wait for
/// one slice of the kernel's scheduler, which is 3 ms on two cores.
const SLICES: Duration = Duration::from_millis(20);

/// How much more memory the host may hold after an attack than before it: what an allocator keeps for the next one.
const MEMORY_KEPT: u64 = 64 << 20;

/// One attack as it was measured.
pub(crate) struct Row {
    pub(crate) attack: &'static Attack,
    /// The innocent tenant's answers before and after it.
    pub(crate) alone: Times,
    /// The innocent tenant's answers during it.
    pub(crate) meanwhile: Times,
    pub(crate) seconds: f64,
    /// The attacker's turns that ended.
    pub(crate) turns: i64,
    /// What the attacker's turns computed: all that plugins did, without the innocent tenant's.
    pub(crate) attacker_cpu: Duration,
    pub(crate) cpu: Cpu,
    pub(crate) put_off: u64,
    pub(crate) failed: u64,
    pub(crate) memory_before: u64,
    pub(crate) memory_peak: u64,
    pub(crate) memory_after: u64,
}

/// A run so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    wrong: Vec<String>,
    pub(crate) is_alive: bool,
    pub(crate) innocent_taken: u64,
    pub(crate) innocent_refused: u64,
    pub(crate) innocent_failed: i64,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
}

impl Report {
    /// Begins with what was refused.
    pub(crate) fn of(refusals: &[(&'static Refusal, String)]) -> Self {
        let mut report = Self {
            is_alive: true,
            ..Self::default()
        };
        println!("\nrefused at registration");
        for (refusal, said) in refusals {
            let Refusal { name, words, .. } = refusal;
            // Which command said it, and of which file, goes without saying.
            let why = said.rsplit("because: ").next().unwrap_or_default();
            println!("  {name:<22} {}", shortened(why));
            if !said.contains(words) {
                report.fault(format!("{name} is not refused with {words:?}: {said:?}"));
            }
        }
        println!("\nrecorded by the host{:>26}", "blame");
        report
    }

    /// Notes what the host recorded of an attack.
    pub(crate) fn contained(&mut self, attack: &Attack, recorded: &[Recorded], blamed: &[String]) {
        let name = attack.name;
        if recorded.is_empty() {
            self.fault(format!("{name}: the host recorded no turn"));
        }
        for Recorded {
            outcome, detail, ..
        } in recorded
        {
            let blame = blamed.join(" and ");
            println!(
                "  {name:<22} {outcome:<12} {blame:<6} {}",
                shortened(detail)
            );
            if outcome != attack.outcome || !detail.contains(attack.words) {
                self.fault(format!(
                    "{name} was to end with {} and {:?}, and ended with {outcome}: {detail:?}",
                    attack.outcome, attack.words
                ));
            }
        }
        let expected: &[&str] = if attack.outcome == "committed" {
            &[]
        } else {
            &["guest"]
        };
        if blamed != expected {
            self.fault(format!(
                "{name} is blamed on {blamed:?} instead of {expected:?}"
            ));
        }
    }

    /// Notes how an attack was measured, and whether a slow one is measured again.
    pub(crate) fn measured(&mut self, row: Row, tries_left: u32) {
        let name = row.attack.name;
        if self.rows.is_empty() {
            println!(
                "\ninnocent tenant's answers, webhook to reply, in ms; CPU in % of one core; memory in MiB\n{HEAD}"
            );
        }
        println!("{}", row.line());
        if row.is_slow() && tries_left == 0 {
            let (bound, p99) = (row.bound(), row.meanwhile.percentile(99));
            self.fault(format!(
                "{name}: an innocent p99 of {p99:?} is beyond {bound:?}, again and again"
            ));
        }
        if row.failed > 0 {
            self.fault(format!(
                "{name}: {} webhooks of the attacker's were not answered",
                row.failed
            ));
        }
        if row.memory_after > row.memory_before + MEMORY_KEPT {
            let (kept, before) = (mib(row.memory_after), mib(row.memory_before));
            self.fault(format!(
                "{name}: the host holds {kept:.0} MiB after it, and {before:.0} before"
            ));
        }
        self.rows.push(row);
    }

    /// Shows the end, and answers whether everything is as it should be.
    pub(crate) fn print(mut self) -> bool {
        println!(
            "\ninnocent tenant: {} messages taken, {} webhooks refused, {} turns failed, {} answers lost, {} doubled",
            self.innocent_taken,
            self.innocent_refused,
            self.innocent_failed,
            self.lost,
            self.doubled
        );
        if !self.is_alive {
            self.fault("the host has ended".to_owned());
        }
        let counts = [self.innocent_refused, self.innocent_failed.unsigned_abs()];
        if counts != [0, 0] || (self.lost, self.doubled) != (0, 0) {
            self.fault("the innocent tenant was not served".to_owned());
        }
        for wrong in &self.wrong {
            println!("NOT CONTAINED: {wrong}");
        }
        println!("{} faults", self.wrong.len());
        self.wrong.is_empty()
    }

    fn fault(&mut self, what: String) {
        self.wrong.push(what);
    }
}

const HEAD: &str = "  attack                 alone p50    p99  meanwhile p50    p99  ratio | turns/s    429 | attacker plugins  host | peak  after";

impl Row {
    /// The longest that an innocent p99 may be.
    fn bound(&self) -> Duration {
        self.alone.percentile(99) * 2 + SLICES
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.meanwhile.percentile(99) > self.bound()
    }

    fn line(&self) -> String {
        let ms = |times: &Times, percent| times.percentile(percent).as_secs_f64() * 1_000.0;
        let share = |time: Duration| time.as_secs_f64() * 100.0 / self.seconds;
        let host = self.cpu.all.saturating_sub(self.cpu.plugins);
        format!(
            "  {:<22} {:>9.1} {:>6.1} {:>14.1} {:>6.1} {:>6.1} | {:>7.1} {:>6} | {:>8.0} {:>7.0} {:>5.0} | {:>4.0} {:>6.0}",
            self.attack.name,
            ms(&self.alone, 50),
            ms(&self.alone, 99),
            ms(&self.meanwhile, 50),
            ms(&self.meanwhile, 99),
            ms(&self.meanwhile, 99) / ms(&self.alone, 99),
            self.turns as f64 / self.seconds,
            self.put_off,
            share(self.attacker_cpu),
            share(self.cpu.plugins),
            share(host),
            mib(self.memory_peak),
            mib(self.memory_after),
        )
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// As much of a text as a line has room for.
fn shortened(text: &str) -> String {
    let line = text.replace('\n', " ");
    let text: String = line.chars().take(110).collect();
    if text.len() < line.len() {
        text + "…"
    } else {
        text
    }
}
