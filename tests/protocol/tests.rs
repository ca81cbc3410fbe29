//! With all guards no world breaks a promise; without any one of them a promise breaks. The table of `cargo xtask model` is made
//! here too.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::cases::{Case, NEEDED, SECOND};
use crate::state::System;
use crate::steps::Step;
use crate::world::{World, large, small};

/// What the checker found out about one world.
struct Visit {
    states: usize,
    depth: usize,
    took: Duration,
    /// Promises that break, with what leads there.
    broken: HashMap<&'static str, Vec<Step>>,
    /// Stories that must be reachable and are not.
    untold: Vec<&'static str>,
}

/// Visits every state of a world; or, where a promise is named, until it breaks.
fn visit(world: World, until: Option<&'static str>) -> Visit {
    let start = Instant::now();
    let named: BTreeSet<_> = until.into_iter().collect();
    let mut checker = world.checker();
    if !named.is_empty() {
        checker = checker.finish_when(HasDiscoveries::AllOf(named));
    }
    let checker = checker.spawn_bfs().join();
    assert!(checker.is_done(), "the checker was stopped");
    let found = checker.discoveries();
    let properties = checker.model().properties();
    let stories = properties
        .iter()
        .filter(|p| !p.expectation.discovery_is_failure());
    let untold = stories.map(|p| p.name).filter(|n| !found.contains_key(n));
    let untold: Vec<_> = untold.collect();
    let failures: HashSet<_> = properties
        .iter()
        .filter(|p| p.expectation.discovery_is_failure())
        .map(|p| p.name)
        .collect();
    Visit {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: start.elapsed(),
        untold,
        broken: found
            .into_iter()
            .filter(|(name, _)| failures.contains(name))
            .map(|(name, path)| (name, path.into_actions()))
            .collect(),
    }
}

/// Visits a world in which every promise must hold.
fn holds(world: World) -> Visit {
    let name = world.name;
    let visit = visit(world, None);
    assert!(visit.broken.is_empty(), "{name}: {:#?}", visit.broken);
    assert!(visit.untold.is_empty(), "{name}: {:?}", visit.untold);
    visit
}

/// Takes a guard away and finds the shortest story in which its promise breaks.
fn breaks(case: &Case) -> Option<(&'static str, Vec<Step>)> {
    let world = (case.world)();
    holds(world.clone());
    let without = world.with(|w| (case.take_away)(&mut w.guards));
    let visit = visit(without, case.breaks);
    match case.breaks {
        Some(promise) => {
            let story = visit.broken.get(promise).cloned();
            let story = story.unwrap_or_else(|| {
                panic!(
                    "without {}, {promise:?} holds: {:?}",
                    case.guard, visit.broken
                )
            });
            Some((promise, story))
        }
        None => {
            assert!(
                visit.broken.is_empty(),
                "{}: {:#?}",
                case.guard,
                visit.broken
            );
            None
        }
    }
}

#[test]
fn with_all_guards_no_world_breaks_a_promise() {
    let states: usize = small().into_iter().map(|world| holds(world).states).sum();
    assert!(
        states > 500_000,
        "the worlds have shrunk to {states} states"
    );
}

#[test]
fn without_any_one_guard_a_promise_breaks() {
    for case in NEEDED {
        assert!(breaks(case).is_some());
    }
}

#[test]
fn a_second_guard_is_missed_only_where_the_first_fails() {
    for case in SECOND {
        assert!(breaks(case).is_none());
    }
}

/// What is settled in the end is settled whatever the order only if every path ends.
#[test]
fn every_path_ends() {
    for world in small()
        .into_iter()
        .skip(1)
        .chain(NEEDED.iter().map(|c| (c.world)()))
    {
        assert!(!has_cycle(&world), "{}: a path never ends", world.name);
    }
}

/// Walks depth first; a step to a state that is on the way here closes a circle.
fn has_cycle(world: &World) -> bool {
    let hasher = RandomState::new();
    let steps = |at: &System| {
        let mut steps = Vec::new();
        world.actions(at, &mut steps);
        steps
    };
    let mut done = HashSet::new();
    let mut here = HashSet::new();
    let mut path = Vec::new();
    for at in world.init_states() {
        here.insert(hasher.hash_one(&at));
        path.push((steps(&at), at));
    }
    while let Some((left, at)) = path.last_mut() {
        let Some(step) = left.pop() else {
            let place = hasher.hash_one(&*at);
            here.remove(&place);
            done.insert(place);
            path.pop();
            continue;
        };
        let Some(next) = world.next_state(at, step) else {
            continue;
        };
        let place = hasher.hash_one(&next);
        if here.contains(&place) {
            return true;
        }
        if !done.contains(&place) {
            here.insert(place);
            path.push((steps(&next), next));
        }
    }
    false
}

/// The table of `cargo xtask model`.
#[test]
#[ignore = "cargo xtask model runs it: the large worlds take minutes"]
fn table() {
    let is_quick = std::env::var_os("NODEPATH_MODEL_QUICK").is_some();
    println!(
        "{:<34} {:>10} {:>6} {:>8}",
        "world", "states", "depth", "seconds"
    );
    let worlds = small()
        .into_iter()
        .chain(if is_quick { vec![] } else { large() });
    for world in worlds {
        let name = world.name;
        let Visit {
            states,
            depth,
            took,
            ..
        } = holds(world);
        println!(
            "{name:<34} {states:>10} {depth:>6} {:>8.1}",
            took.as_secs_f64()
        );
    }
    println!(
        "\n{:<44} {:>5}  the promise that breaks",
        "without", "steps"
    );
    for case in NEEDED.iter().chain(SECOND) {
        match breaks(case) {
            Some((promise, story)) => println!("{:<44} {:>5}  {promise}", case.guard, story.len()),
            None => println!(
                "{:<44} {:>5}  none: another guard stands behind it",
                case.guard, "-"
            ),
        }
    }
}
