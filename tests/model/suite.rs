//! Step by step: the same transition on the reference and on the store, and a comparison of everything.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nodepath::model::device::UnknownPolicy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine as _, StateMachineTest};
use tokio::runtime::Runtime;

use crate::reference::{Picture, Reference};
use crate::strategy::Machine;
use crate::subject::Subject;
use crate::words::{Answer, Fate, Op, Order, Piece, Transition};

/// How long a step may take. The store tries T3 and T5 again until the database takes them, so what can't be written hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A case on its way.
struct Case {
    runtime: Runtime,
    subject: Subject,
    /// The epochs of the last step: they only rise.
    epochs: BTreeMap<String, i64>,
    /// The parts whose last try is not known to have failed.
    doubtful: BTreeSet<(Piece, u32)>,
}

impl StateMachineTest for Case {
    type SystemUnderTest = Self;
    type Reference = Machine;

    fn init_test(reference: &Reference) -> Self {
        // One thread: operations that are asked for together ask in their order.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let subject = runtime.block_on(Subject::new(&reference.settings));
        Self {
            runtime,
            subject,
            epochs: BTreeMap::new(),
            doubtful: BTreeSet::new(),
        }
    }

    fn apply(mut case: Self, reference: &Reference, transition: Transition) -> Self {
        count(&transition);
        let Self {
            runtime, subject, ..
        } = &mut case;
        let taken = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, subject.take(&transition)).await });
        let (answers, orders) = taken.expect("the store answers");
        case.must_have_said(reference, &answers, &orders);
        case.note_doubts(reference, &transition, &orders);
        let seen = case.runtime.block_on(case.subject.picture());
        case.must_look_like(reference, seen);
        let broken = case.runtime.block_on(case.subject.broken());
        assert!(broken.is_empty(), "{broken:?}");
        case
    }

    fn teardown(case: Self, _: Reference) {
        case.runtime.block_on(case.subject.close());
    }
}

impl Case {
    fn must_have_said(&self, reference: &Reference, answers: &[Answer], orders: &[Order]) {
        let mut expected = reference.said.orders.clone();
        expected.sort();
        assert_eq!(
            orders, expected,
            "told to do (left), and to be told (right)"
        );
        let expected = &reference.said.answers;
        let is_same = |(answer, expected): (&Answer, &Answer)| match (answer, expected) {
            (Answer::Due(Some((at, _))), Answer::Due(Some((from, to)))) => {
                (from..=to).contains(&at)
            }
            (answer, expected) => answer == expected,
        };
        let fits = answers.len() == expected.len() && answers.iter().zip(expected).all(is_same);
        assert!(fits, "answered {answers:?}, and should {expected:?}");
    }

    fn must_look_like(&mut self, reference: &Reference, seen: Picture) {
        let mut expected = reference.picture();
        for (name, from, to) in reference.moot_times() {
            let at: i64 = seen[&name].parse().unwrap();
            assert!(
                (from..=to).contains(&at),
                "{name}: {at}, not {from} to {to}"
            );
            expected.insert(name, at.to_string());
        }
        let differs = |name: &&String| seen.get(*name) != expected.get(*name);
        let names: BTreeSet<_> = seen.keys().chain(expected.keys()).collect();
        let lines: Vec<_> = names.into_iter().filter(differs).collect();
        let show = |picture: &Picture, name: &String| {
            picture.get(name).cloned().unwrap_or("nothing".to_owned())
        };
        let lines: Vec<_> = lines
            .into_iter()
            .map(|n| {
                format!(
                    "{n}: {}, and should be {}",
                    show(&seen, n),
                    show(&expected, n)
                )
            })
            .collect();
        assert!(lines.is_empty(), "\n  {}", lines.join("\n  "));
        self.epochs_must_rise(&seen);
    }

    /// I3.
    fn epochs_must_rise(&mut self, seen: &Picture) {
        for (name, epoch) in seen.iter().filter(|(name, _)| name.ends_with("epoch")) {
            let epoch = epoch.parse().unwrap();
            let before = self.epochs.insert(name.clone(), epoch);
            assert!(before.is_none_or(|before| before <= epoch), "{name} fell");
        }
    }

    /// I8: a part is sent again only after a known failure, by hand, or where its device asks for it.
    fn note_doubts(&mut self, reference: &Reference, transition: &Transition, orders: &[Order]) {
        match transition {
            Transition::ReplayPart(part) => self.doubtful.retain(|(p, _)| p != part),
            Transition::Group(ops) => {
                for op in ops {
                    if let Op::Settle(part, attempt, Fate::RetryIn(_) | Fate::NotTried(_)) = op {
                        self.doubtful.remove(&(*part, *attempt));
                    }
                }
            }
            _ => {}
        }
        for order in orders {
            let Order::Send(part, attempt) = order else {
                continue;
            };
            let device = part.turn.conv.device;
            let resends = reference.settings[device].unknown == UnknownPolicy::Resend;
            let is_doubtful = self.doubtful.iter().any(|(p, _)| p == part);
            assert!(resends || !is_doubtful, "I8: {order:?} is sent blindly");
            self.doubtful.retain(|(p, _)| p != part);
            self.doubtful.insert((*part, *attempt));
        }
    }
}

/// How often each kind of transition was taken.
static TAKEN: Mutex<BTreeMap<&str, u64>> = Mutex::new(BTreeMap::new());

fn count(transition: &Transition) {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    *taken.entry("steps").or_default() += 1;
    if matches!(transition, Transition::Group(ops) if ops.len() > 1) {
        *taken.entry("groups of several").or_default() += 1;
    }
    for kind in transition.kinds() {
        *taken.entry(kind).or_default() += 1;
    }
}

/// Runs so many cases of up to so many steps, or as many of them as there is time for.
fn run(cases: u32, steps: usize, seed: u64, longest: Duration) {
    println!("seed {seed}: {cases} cases of up to {steps} steps, within {longest:?}");
    let config = Config {
        cases: AT_ONCE,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: u32::MAX,
        max_shrink_time: MAX_SHRINK_MS,
        ..Config::default()
    };
    let strategy = Machine::sequential_strategy(1..=steps);
    let start = Instant::now();
    let tried = Cell::new(0);
    let failed_at = Cell::new(None);
    // The runner draws on from where it was, so that the cases depend on the seed alone.
    let mut runner = TestRunner::new(config.clone());
    while tried.get() < cases && start.elapsed() < longest {
        // One that has had its cases runs no more.
        let mut batch = TestRunner::new_with_rng(config.clone(), runner.new_rng());
        let result = batch.run(&strategy, |(initial, transitions, seen)| {
            tried.set(tried.get() + 1);
            let case = AssertUnwindSafe(|| {
                Case::test_sequential(config.clone(), initial, transitions, seen);
            });
            catch_unwind(case).map_err(|cause| {
                failed_at.set(failed_at.get().or(Some(tried.get())));
                let words = cause.downcast_ref::<String>();
                TestCaseError::fail(words.cloned().unwrap_or("it panicked".to_owned()))
            })
        });
        if let Err(error) = result {
            let case = failed_at.get().unwrap_or(0);
            panic!("seed {seed}, case {case}: {error}");
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!("{} cases in {took:.0} s", tried.get());
}

/// How many cases are run between two looks at the time.
const AT_ONCE: u32 = 20;

/// A shorter story is worth a minute.
const MAX_SHRINK_MS: u32 = 60_000;

/// As many as take ten seconds, and what they may take where the machine is busy.
const CI_CASES: u32 = 200;
const CI_LONGEST: Duration = Duration::from_secs(40);

/// The same cases every time, so that what fails has been broken by a change.
#[test]
fn the_store_does_what_the_reference_says() {
    run(CI_CASES, 40, 3, CI_LONGEST);
}

/// The table of `cargo xtask model`, which says how many cases, for how long, and may name a seed.
#[test]
#[ignore = "cargo xtask model runs it: thousands of cases take minutes"]
fn campaign() {
    let number = |name: &str, otherwise: u64| {
        let told = std::env::var(name).ok();
        told.map_or(otherwise, |told| told.parse().unwrap())
    };
    let cases = u32::try_from(number("NODEPATH_MODEL_CASES", 400)).unwrap();
    let longest = Duration::from_secs(number("NODEPATH_MODEL_SECONDS", 60));
    let seed = number("NODEPATH_MODEL_SEED", rand::random());
    run(cases, 60, seed, longest);
    for (kind, times) in &*TAKEN.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("{kind:<24} {times:>8}");
    }
}
