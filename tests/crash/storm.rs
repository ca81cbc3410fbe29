//! Many conversations at once, bursts, redeliveries, a provider that answers badly, and a host that is killed again and again at
//! moments that a seed chooses.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use nodepath::cli::demo::provider::Answer;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::process::Process;
use crate::promises::{Left, Verdict};
use crate::site::Setup;
use crate::world::{DEVICES, Outcome, Talk, World, pause, seed};

/// Conversations of each device.
const CONVERSATIONS: usize = 6;

/// The longest pause of a prospect between two messages.
const PAUSE_MS: u64 = 2_000;

/// The plugin of the hasty device takes this long: bursts meet it, and kills hit it.
pub(crate) const THINK: Duration = Duration::from_millis(30);

/// A moment to kill at comes some time, whatever hangs.
pub(crate) const NO_LATER: Duration = Duration::from_secs(5);

/// As many kills as the gate has time for. `cargo xtask crash` has more.
const KILLS: usize = 6;

#[tokio::test]
async fn whatever_is_killed_nothing_is_lost_doubled_or_out_of_order() {
    let seed = seed();
    eprintln!(
        "storm: CRASH_SEED={seed} makes this one again, as far as the machine's timing allows"
    );
    let world = World::new(Setup::pondering(THINK), seed).await;
    let outcome = rages(&world, KILLS).await;
    eprintln!("storm: {outcome:#?}");
    assert!(outcome.broken.is_empty(), "{:#?}", outcome.broken);
    assert!(outcome.replies > 0 && outcome.faults == KILLS);
}

/// So many kills, and the calm after them.
pub(crate) async fn rages(world: &World, kills: usize) -> Outcome {
    let (host, _) = tokio::join!(kill_and_restart(world, kills), join_all(talks(world)));
    let verdict = settles(world, &host, "after the storm").await;
    assert!(host.terminate().await.success());
    world.outcome(kills, kills, &verdict)
}

/// Everybody writes until it is over.
pub(crate) fn talks(world: &World) -> impl Iterator<Item = impl Future<Output = ()>> {
    let prospects = (0..CONVERSATIONS).flat_map(|_| DEVICES).zip(1..);
    prospects.map(|(device, prospect)| {
        let messages = None;
        let pause_ms = PAUSE_MS;
        world.converse(Talk {
            prospect,
            device,
            messages,
            pause_ms,
        })
    })
}

/// Kills the host at some moment, again and again; the last one stays.
async fn kill_and_restart(world: &World, kills: usize) -> Process<'_> {
    let mut rng = world.chance(0);
    for kill in 0..kills {
        if rng.random_ratio(1, 10) {
            // Long before it takes webhooks, or just before.
            let after = Duration::from_millis(rng.random_range(0..250));
            world.site.serve_and_kill(after).await;
            world.buried("killed at its start").await;
            continue;
        }
        let host = world.start().await;
        misbehaves(world, &mut rng, true);
        world.redeliver_some(&mut rng, 2).await;
        drop(tokio::time::timeout(NO_LATER, moment(world, &mut rng)).await);
        world.kill(host).await;
        if kill % 20 == 19 {
            eprintln!("crash: {} kills of {kills}", kill + 1);
        }
    }
    world.site.provider.behave();
    let host = world.start().await;
    world.counts.send_modify(|counts| counts.is_over = true);
    host
}

/// Answers that a provider gives on a bad day, for the next few sends.
///
/// One that never comes keeps a host that nobody kills for as long as it waits.
pub(crate) fn misbehaves(world: &World, rng: &mut StdRng, may_stall: bool) {
    let mut answers: Vec<_> = (0..rng.random_range(0..12)).map(|_| bad_day(rng)).collect();
    answers.retain(|answer| may_stall || !is_stall(answer));
    world.site.provider.script(answers);
}

fn is_stall(answer: &Answer) -> bool {
    matches!(answer, Answer::TakeAndStall | Answer::LoseAndStall)
}

fn bad_day(rng: &mut StdRng) -> Answer {
    let retry_after = rng.random_ratio(1, 2).then_some(Duration::from_secs(1));
    match rng.random_range(0..24) {
        0 => Answer::TakeAndStall,
        1 => Answer::LoseAndStall,
        2 => Answer::TakeAndCut,
        3 => Answer::LoseAndCut,
        4 | 5 => Answer::TakeLate(Duration::from_millis(rng.random_range(1..400))),
        6 => Answer::Refuse {
            code: 131_016,
            retry_after,
        },
        7 => Answer::Status {
            status: 429,
            retry_after,
        },
        8 => Answer::Status {
            status: 503,
            retry_after,
        },
        9 => Answer::Status {
            status: 502,
            retry_after,
        },
        _ => Answer::Take,
    }
}

/// Waits for the moment of a kill: some time after some webhooks, soon after some sends, or any.
pub(crate) async fn moment(world: &World, rng: &mut StdRng) {
    let some = rng.random_range(1..6);
    match rng.random_range(0..3) {
        0 => {
            let enough = world.counts.borrow().answered + some;
            let mut counts = world.counts.subscribe();
            counts.wait_for(|c| c.answered >= enough).await.unwrap();
            pause(rng, 100).await;
        }
        1 => {
            let provider = &world.site.provider;
            let enough = provider.requests().len() + some;
            provider.wait_for_requests(enough).await;
            pause(rng, 10).await;
        }
        _ => pause(rng, 600).await,
    }
}

/// Any moment of the next second.
pub(crate) async fn pause_of(rng: &mut StdRng) {
    pause(rng, 1_000).await;
}

/// The provider tells of some of what it has taken. What nobody has told of is held, and whoever looks at it has it sent where the
/// provider has not got it.
pub(crate) async fn settles(world: &World, host: &Process<'_>, when: &str) -> Verdict {
    world.tells(host, 0, &mut world.chance(1)).await;
    world.calms_down(when).await;
    let left = Left::read(&world.database()).await.unwrap();
    let taken = world.site.provider.taken();
    let taken: BTreeSet<_> = taken.iter().filter_map(|r| r.callback.as_deref()).collect();
    let missing = |id: &str| !taken.contains(id);
    let held = left
        .outbox
        .iter()
        .filter(|p| p.state == "held" && missing(&p.id));
    let held: Vec<_> = held.map(|p| p.id.as_str()).collect();
    if !held.is_empty() {
        world
            .site
            .run(&[&["dead", "replay"], &held[..]].concat())
            .await;
    }
    world.calms_down(when).await
}
