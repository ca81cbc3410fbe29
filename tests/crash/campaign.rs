//! `cargo xtask crash`: every way to end or hinder a host, and one table of what came of it. It takes minutes, so `cargo test` runs
//! it only when it is asked for by name.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::disk::{self, Disk};
use crate::planted::{BUGS, catches};
use crate::promises::Broken;
use crate::site::Setup;
use crate::storm::{self, THINK};
use crate::world::{Outcome, World, seed};
use crate::{birth, by_hand, clock, frozen, places};

/// Longer than a body may take to arrive, and than a statement waits for the database.
const SHORT: Duration = Duration::from_secs(6);

/// Longer than a turn's budget of time, than a provider may take to answer, and than a provider has to tell about a part.
const LONG: Duration = Duration::from_secs(35);

/// What the environment asks for.
struct Plan {
    seed: u64,
    is_quick: bool,
    /// Only scenarios whose names contain this.
    only: Option<String>,
    /// The executable with the planted bugs.
    planted: Option<PathBuf>,
    /// Whether this process has a mount namespace of its own.
    may_mount: bool,
    /// The library that lies about the time.
    faketime: Option<PathBuf>,
}

impl Plan {
    fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            seed: seed(),
            is_quick: variable("CRASH_QUICK").is_some(),
            only: variable("CRASH_ONLY"),
            planted: variable("CRASH_PLANTED").map(PathBuf::from),
            may_mount: variable("CRASH_MAY_MOUNT").is_some(),
            faketime: variable("CRASH_FAKETIME").map(PathBuf::from),
        }
    }

    fn pick(&self, quick: usize, full: usize) -> usize {
        if self.is_quick { quick } else { full }
    }

    fn wants(&self, scenario: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| scenario.contains(only))
    }
}

#[tokio::test]
#[ignore = "it takes minutes: `cargo xtask crash` runs it"]
async fn all_scenarios() {
    let plan = Plan::from_environment();
    let mut table = Table::default();
    eprintln!(
        "crash: CRASH_SEED={} makes this one again, as far as the machine's timing allows",
        plan.seed
    );
    if plan.wants("first start") {
        let outcome = birth::is_hard(plan.pick(2, 20), plan.seed).await;
        table.add("first start", outcome);
    }
    places(&plan, &mut table).await;
    storm(&plan, &mut table).await;
    by_hand(&plan, &mut table).await;
    frozen(&plan, &mut table).await;
    disks(&plan, &mut table).await;
    clock(&plan, &mut table).await;
    let missed = plant(&plan).await;
    println!("\n{}\nseed {}", table.text(), plan.seed);
    assert!(table.is_good(), "promises are broken, see above");
    assert!(
        missed.is_empty(),
        "the checker has not seen these bugs: {missed:?}"
    );
}

async fn places(plan: &Plan, table: &mut Table) {
    if plan.wants("places") {
        let world = World::new(Setup::pondering(THINK), plan.seed).await;
        let kills = if plan.is_quick {
            places::some(&mut world.chance(2))
        } else {
            places::all()
        };
        table.add("places", places::visit(&world, &kills).await);
    }
}

async fn storm(plan: &Plan, table: &mut Table) {
    if plan.wants("storm") {
        let world = World::new(Setup::pondering(THINK), plan.seed).await;
        let outcome = storm::rages(&world, plan.pick(12, 200)).await;
        table.add("storm", outcome);
    }
}

async fn by_hand(plan: &Plan, table: &mut Table) {
    if plan.wants("by hand") {
        let world = by_hand::world(|setup| setup, plan.seed).await;
        let outcome = by_hand::interferes(&world, &by_hand::STEPS, plan.pick(1, 5)).await;
        table.add("by hand", outcome);
    }
}

async fn frozen(plan: &Plan, table: &mut Table) {
    if plan.wants("frozen") {
        let world = World::new(Setup::pondering(THINK), plan.seed).await;
        let span = if plan.is_quick { SHORT } else { LONG };
        let outcome = frozen::freezes(&world, plan.pick(1, 3), span).await;
        table.add("frozen", outcome);
    }
}

async fn disks(plan: &Plan, table: &mut Table) {
    if plan.wants("full disk") {
        if plan.may_mount {
            let (disk, world) = Disk::world(plan.seed).await;
            let outcome = disk::fills_up(&disk, &world, plan.pick(2, 8)).await;
            table.add("full disk", outcome);
        } else {
            table.not_run("full disk", "no mount namespace: run it as root, or where users may have namespaces of their own");
        }
    }
    if plan.wants("read-only files") {
        let world = World::new(Setup::pondering(THINK), plan.seed).await;
        match disk::locks_files(&world, plan.pick(2, 8)).await {
            Some(outcome) => table.add("read-only files", outcome),
            None => table.not_run(
                "read-only files",
                "no immutable files: run it as root, with TMPDIR on ext4",
            ),
        }
    }
}

async fn clock(plan: &Plan, table: &mut Table) {
    if plan.wants("clock") {
        match &plan.faketime {
            Some(library) => {
                let world = clock::world(library, plan.seed).await;
                let outcome = clock::jumps(&world, plan.pick(4, 40)).await;
                table.add("clock", outcome);
            }
            None => table.not_run("clock", "no libfaketime, see above"),
        }
    }
}

/// The bugs that the checker has not seen.
async fn plant(plan: &Plan) -> Vec<&'static str> {
    let mut missed = Vec::new();
    let Some(executable) = &plan.planted else {
        return missed;
    };
    for bug in BUGS.iter().filter(|_| plan.wants("planted")) {
        eprintln!(
            "crash: with the planted bug {}; what is broken now is what is looked for",
            bug.name
        );
        let caught = catches(bug, executable, plan.seed).await;
        println!(
            "planted {:<22} {} ({} times; {} violations in all)",
            bug.name,
            if caught.as_wanted > 0 {
                "caught"
            } else {
                "NOT SEEN"
            },
            caught.as_wanted,
            caught.in_all
        );
        if caught.as_wanted == 0 {
            missed.push(bug.name);
        }
    }
    missed
}

/// What came of each scenario, and why some were not run.
#[derive(Default)]
struct Table(Vec<(String, Outcome)>, Vec<String>);

impl Table {
    fn add(&mut self, scenario: &str, outcome: Outcome) {
        let outcome_text = Self::line(scenario, &outcome);
        eprintln!("crash: {}", outcome_text.trim_end());
        self.0.push((scenario.to_owned(), outcome));
    }

    fn not_run(&mut self, scenario: &str, why: &str) {
        self.1.push(format!("{scenario:<22} NOT RUN: {why}"));
    }

    /// Whether something was run, and nothing was broken.
    fn is_good(&self) -> bool {
        let is_empty = self.0.is_empty() && self.1.is_empty();
        !is_empty && self.0.iter().all(|(_, outcome)| outcome.broken.is_empty())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{:<22}{:>7}{:>7}{:>6}{:>9}{:>8} |{:>5}{:>8}{:>7}{:>6}{:>6} |{:>8}{:>5}{:>7}{:>8}{:>5}{:>5}{:>6}\n",
            "scenario",
            "rounds",
            "faults",
            "time",
            "messages",
            "replies",
            "lost",
            "doubled",
            "order",
            "stale",
            "other",
            "unknown",
            "told",
            "resent",
            "by hand",
            "held",
            "dead",
            "twice"
        );
        for (scenario, outcome) in &self.0 {
            text += &Self::line(scenario, outcome);
        }
        for line in &self.1 {
            writeln!(text, "{line}").unwrap();
        }
        for (scenario, outcome) in &self.0 {
            for (what, broken) in &outcome.broken {
                writeln!(text, "BROKEN in {scenario}: {broken:?}: {what}").unwrap();
            }
        }
        text
    }

    fn line(scenario: &str, outcome: &Outcome) -> String {
        let told_apart = [
            Broken::Lost,
            Broken::Doubled,
            Broken::OutOfOrder,
            Broken::Stale,
        ];
        let [lost, doubled, order, stale] = told_apart.map(|broken| outcome.count(broken));
        let other = outcome.broken.len() - lost - doubled - order - stale;
        let doubts = outcome.doubts;
        format!(
            "{scenario:<22}{:>7}{:>7}{:>5}s{:>9}{:>8} |{lost:>5}{doubled:>8}{order:>7}{stale:>6}{other:>6} |{:>8}{:>5}{:>7}{:>8}{:>5}{:>5}{:>6}\n",
            outcome.rounds,
            outcome.faults,
            outcome.seconds,
            outcome.messages,
            outcome.replies,
            doubts.all(),
            doubts.told,
            doubts.resent,
            doubts.by_hand,
            doubts.held,
            doubts.dead,
            outcome.twice,
        )
    }
}
