//! The first commands on a new directory, killed while they lay out the database. Whatever they had done, the next one goes on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::site::Setup;
use crate::storm::THINK;
use crate::world::{Outcome, PLAIN, World};

/// Commands that are killed before one may end.
const KILLS: usize = 4;

/// A command has laid the database out by then.
const LONGEST_MS: u64 = 120;

/// So many directories.
pub(crate) async fn is_hard(rounds: usize, seed: u64) -> Outcome {
    let mut outcome = Outcome::default();
    for round in 0..rounds {
        let world = born(seed.wrapping_add(round as u64)).await;
        let host = world.start().await;
        world.says(PLAIN, "62814", "a").await;
        let verdict = world.calms_down("after the first start").await;
        assert!(host.terminate().await.success());
        outcome.add(world.outcome(1, KILLS, &verdict));
    }
    outcome
}

async fn born(seed: u64) -> World {
    let setup = Setup::pondering(THINK);
    let executable = setup.runs().to_owned();
    let setup = setup.prepare(move |dir| {
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..KILLS {
            kill_one(&executable, dir, &mut rng);
        }
    });
    World::new(setup, seed).await
}

fn kill_one(executable: &Path, dir: &Path, rng: &mut StdRng) {
    let mut command = Command::new(executable);
    command
        .args(["tenant", "list"])
        .current_dir(dir)
        .env_clear();
    command.env("NODEPATH_DATA_DIR", "data");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(rng.random_range(0..LONGEST_MS)));
    child.kill().unwrap();
    child.wait().unwrap();
}
