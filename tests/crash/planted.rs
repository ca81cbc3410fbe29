//! The checker is checked: an executable with a bug runs through the scenario that must show it.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::places::{self, Kill};
use crate::promises::Broken;
use crate::site::Setup;
use crate::world::World;
use crate::{by_hand, storm};

/// A bug, and what it breaks.
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    breaks: &'static [Broken],
    shown_by: Scenario,
}

#[derive(Clone, Copy)]
enum Scenario {
    /// The host dies before the commit of a webhook.
    Places,
    Storm,
    ByHand(by_hand::Step),
}

pub(crate) const BUGS: [Bug; 5] = [
    Bug {
        name: "ack-before-commit",
        breaks: &[Broken::Lost],
        shown_by: Scenario::Places,
    },
    Bug {
        name: "no-epoch-check",
        breaks: &[Broken::Doubled],
        shown_by: Scenario::ByHand(by_hand::Step::UnlocksATurn),
    },
    Bug {
        name: "seq-marks",
        breaks: &[Broken::Lost],
        shown_by: Scenario::ByHand(by_hand::Step::ReplaysBesideATurn),
    },
    Bug {
        name: "release-before-send",
        breaks: &[Broken::LockLeft, Broken::OutOfOrder],
        shown_by: Scenario::Storm,
    },
    Bug {
        name: "dedupe-expires-early",
        breaks: &[Broken::Doubled],
        shown_by: Scenario::ByHand(by_hand::Step::RedeliversAfterARestart),
    },
];

/// What stays broken needs no patience.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the checker says of an executable with this bug.
pub(crate) struct Caught {
    /// What it should say, and how often it did.
    pub(crate) as_wanted: usize,
    pub(crate) in_all: usize,
}

/// Runs the scenario of a bug.
pub(crate) async fn catches(bug: &Bug, executable: &Path, seed: u64) -> Caught {
    let setup = Setup::pondering(storm::THINK);
    let with_bug = |setup: Setup| {
        let setup = setup.environment("PLANTED_BUG", bug.name);
        setup.executable(executable.to_owned())
    };
    let mut world = match bug.shown_by {
        Scenario::ByHand(_) => by_hand::world(with_bug, seed).await,
        Scenario::Places | Scenario::Storm => World::new(with_bug(setup), seed).await,
    };
    world.patience = PATIENCE;
    world.is_planted = true;
    let scenario = async {
        match bug.shown_by {
            Scenario::Places => {
                let kill = |pass| Kill {
                    place: "t1.written",
                    pass,
                };
                places::visit(&world, &[kill(1), kill(2)]).await
            }
            Scenario::Storm => storm::rages(&world, 2).await,
            Scenario::ByHand(step) => by_hand::interferes(&world, &[step], 2).await,
        }
    };
    // A host with a bug may do what no scenario expects; what counts is what the checker has seen.
    drop(AssertUnwindSafe(scenario).catch_unwind().await);
    let broken = world.broken();
    Caught {
        as_wanted: broken.values().filter(|b| bug.breaks.contains(b)).count(),
        in_all: broken.len(),
    }
}
