//! What operators do while turns run: take a lock away, and take up again what is dead.

use std::time::Duration;

use nodepath::cli::demo::provider::Answer;
use nodepath::store::ConversationDetail;

use crate::process::Process;
use crate::site::{PATIENCE, Setup, conversation_with, think_ms};
use crate::world::{HASTY, Outcome, World};

/// A device whose turns may fail once, and which queues.
const BRITTLE: &str = "brittle";

/// A turn lasts longer than what an operator does.
const THINK: Duration = Duration::from_millis(700);

/// Turns that have run to their end, whatever became of them.
const TURNS: &str = "nodepath_turns_total{outcome=\"commit\"}";

/// A world for it.
pub(crate) async fn world(setup: impl FnOnce(Setup) -> Setup, seed: u64) -> World {
    let world = World::new(setup(Setup::pondering(THINK)), seed).await;
    // The window for the same text would hide a message that is taken for new.
    let settings = ["max_attempts=1", "overlap=queue", "duplicate_window=0s"];
    world
        .site
        .add_device(BRITTLE, "ponder", &think_ms(THINK), &settings)
        .await;
    world
}

/// What somebody does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    UnlocksATurn,
    UnlocksAReply,
    ReplaysBesideATurn,
    RedeliversAfterARestart,
}

/// Everything.
pub(crate) const STEPS: [Step; 4] = [
    Step::UnlocksATurn,
    Step::UnlocksAReply,
    Step::ReplaysBesideATurn,
    Step::RedeliversAfterARestart,
];

/// So many times each.
pub(crate) async fn interferes(world: &World, steps: &[Step], rounds: usize) -> Outcome {
    let mut host = world.start().await;
    for (i, step) in (0..rounds).flat_map(|_| steps).enumerate() {
        let prospect = format!("62813{i:04}");
        match step {
            Step::UnlocksATurn => unlocks_a_turn(world, &host, &prospect).await,
            Step::UnlocksAReply => unlocks_a_reply(world, &prospect).await,
            Step::ReplaysBesideATurn => replays_beside_a_turn(world, &prospect).await,
            Step::RedeliversAfterARestart => {
                host = redelivers_after_a_restart(world, host, &prospect).await;
            }
        }
    }
    let verdict = world.calms_down("after what operators did").await;
    assert!(host.terminate().await.success());
    world.outcome(rounds, rounds * steps.len(), &verdict)
}

/// The turn goes on without its lock, and another one has it.
async fn unlocks_a_turn(world: &World, host: &Process<'_>, prospect: &str) {
    let ended = host.figure(TURNS).await;
    world.says(HASTY, prospect, "a").await;
    until(world, HASTY, prospect, "running", |c| {
        c.summary.state == "running"
    })
    .await;
    unlock(world, HASTY, prospect).await;
    let both = async {
        while host.figure(TURNS).await < ended + 2.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    world.calms_down("after an unlock").await;
}

/// The part that was being sent is held, though it may arrive.
async fn unlocks_a_reply(world: &World, prospect: &str) {
    world.site.provider.script([Answer::TakeLate(THINK)]);
    world.says(HASTY, prospect, "a").await;
    until(world, HASTY, prospect, "sending", |c| {
        c.summary.state == "sending"
    })
    .await;
    unlock(world, HASTY, prospect).await;
    world.says(HASTY, prospect, "b").await;
    world.calms_down("after an unlock").await;
}

/// A message that died is pending again while a turn runs over a later one.
async fn replays_beside_a_turn(world: &World, prospect: &str) {
    let set = async |cpu: &str, wall: &str| {
        let line = ["device", "set", BRITTLE, "--set", cpu, "--set", wall];
        world.site.run(&line).await;
    };
    set("budget.cpu=100ms", "budget.wall=100ms").await;
    world.says(BRITTLE, prospect, "a").await;
    let dead = until(world, BRITTLE, prospect, "dead", |c| {
        c.summary.state == "idle" && c.inbox.iter().any(|m| m.state == "dead")
    })
    .await;
    set("budget.cpu=1s", "budget.wall=30s").await;
    world.says(BRITTLE, prospect, "b").await;
    until(world, BRITTLE, prospect, "running", |c| {
        c.summary.state == "running"
    })
    .await;
    world
        .site
        .store()
        .await
        .replay(&dead.inbox[0].id)
        .await
        .unwrap();
    world.calms_down("after a replay").await;
}

/// Whatever was answered long ago is known.
async fn redelivers_after_a_restart<'a>(
    world: &'a World,
    host: Process<'a>,
    prospect: &str,
) -> Process<'a> {
    let message = world.says(BRITTLE, prospect, "a").await;
    world.calms_down("before a restart").await;
    assert!(host.terminate().await.success());
    // Longer than a host remembers that forgets too early.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let host = world.start().await;
    world.deliver(message).await;
    world.calms_down("after a redelivery").await;
    host
}

async fn unlock(world: &World, device: &str, prospect: &str) {
    let id = conversation_with(device, prospect);
    // What the command line does, without the time that it takes to start.
    world.site.store().await.unlock(&id).await.unwrap();
}

async fn until(
    world: &World,
    device: &str,
    prospect: &str,
    what: &str,
    wanted: impl Fn(&ConversationDetail) -> bool,
) -> ConversationDetail {
    let id = conversation_with(device, prospect);
    world.site.until_of(&id, what, wanted).await
}
