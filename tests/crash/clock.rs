//! A clock that is set, forward and back, by hours: while the host runs and between two of its lives. Only what asks for the time
//! of day is fooled; what measures how long something takes is not, as on a real machine.

use std::path::Path;

use futures_util::future::join_all;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::process::Process;
use crate::site::Setup;
use crate::storm::{THINK, misbehaves, pause_of, settles, talks};
use crate::world::{Outcome, World};

/// Where libfaketime reads how late it is, in the directory in which the executable runs.
const FILE: &str = "clock";

/// The clock is set to at most so many hours before or after the right time. A conversation may be answered for a day.
const HOURS: i32 = 10;

/// Providers deliver again for 7 days, and ids are remembered for 8.
const DAYS: i32 = 6;

/// A world whose clock is in a file.
pub(crate) async fn world(library: &Path, seed: u64) -> World {
    let setup = Setup::pondering(THINK)
        .environment("LD_PRELOAD", library.to_str().unwrap())
        .environment("FAKETIME_TIMESTAMP_FILE", FILE)
        .environment("FAKETIME_NO_CACHE", "1")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .environment("NO_FAKE_STAT", "1")
        .prepare(|dir| std::fs::write(dir.join(FILE), "+0").unwrap());
    let world = World::new(setup, seed).await;
    world.clock_is_set();
    world
}

/// Sets the clock so many times.
pub(crate) async fn jumps(world: &World, rounds: usize) -> Outcome {
    let mut rng = world.chance(0);
    let set = async {
        let mut host = world.start().await;
        for _ in 0..rounds {
            misbehaves(world, &mut rng, false);
            pause_of(&mut rng).await;
            let restarts = rng.random_ratio(1, 3);
            host = jump(world, host, restarts, &mut rng).await;
            world.goes_on("after the clock was set").await;
        }
        world.site.provider.behave();
        world.counts.send_modify(|counts| counts.is_over = true);
        // What was put off by a clock that was late is due when it is as late again.
        shows(world, &format!("+{}h", HOURS + 1));
        host
    };
    let (host, _) = tokio::join!(set, join_all(talks(world)));
    let verdict = settles(world, &host, "after the clock was set").await;
    assert!(host.terminate().await.success());
    remembers(world).await;
    world.outcome(rounds, rounds, &verdict)
}

async fn jump<'a>(
    world: &'a World,
    host: Process<'a>,
    restarts: bool,
    rng: &mut StdRng,
) -> Process<'a> {
    let hours = rng.random_range(-HOURS..=HOURS);
    if restarts {
        world.kill(host).await;
        shows(world, &format!("{hours:+}h"));
        world.start().await
    } else {
        shows(world, &format!("{hours:+}h"));
        host
    }
}

/// Days later, what was answered is still known.
async fn remembers(world: &World) {
    shows(world, &format!("+{DAYS}d"));
    let host = world.start().await;
    world.redeliver_some(&mut world.chance(4), 20).await;
    world.calms_down("days later").await;
    assert!(host.terminate().await.success());
}

/// The file is replaced in one step, so that nobody reads half of it.
fn shows(world: &World, offset: &str) {
    let next = world.site.path("clock.next");
    std::fs::write(&next, offset).unwrap();
    std::fs::rename(next, world.site.path(FILE)).unwrap();
}
