//! The host kills itself at every place between two steps of a message's way, at the first, second and third pass, and its
//! successor while it takes up what was left.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::join_all;
use nodepath::cli::demo::provider::Answer;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::timeout;

use crate::process::Process;
use crate::promises::Broken;
use crate::site::PATIENCE;
use crate::world::{DEVICES, Outcome, Talk, World};

/// Places on the way of a message, and of a stop.
const ON_THE_WAY: [&str; 23] = [
    "webhook.parsed",
    "t1.begun",
    "t1.written",
    "t1.committed",
    "t1.told",
    "webhook.unanswered",
    "turn.claimed",
    "turn.attempt",
    "turn.call",
    "turn.ran",
    "turn.ended",
    "t3.begun",
    "t3.written",
    "t3.committed",
    "t3.told",
    "turn.finished",
    "delivery.attempt",
    "delivery.answered",
    "t5.begun",
    "t5.written",
    "t5.committed",
    "t5.told",
    "delivery.settled",
];

/// Places that a host comes by as it starts, with nobody's help.
const AT_THE_START: [&str; 10] = [
    "open.locked",
    "open.migrated",
    "recover.begun",
    "recover.turns",
    "recover.written",
    "recover.committed",
    "due.begun",
    "due.written",
    "due.committed",
    "due.told",
];

/// Places that a host comes by as it stops.
const AT_THE_STOP: [&str; 2] = ["stop.draining", "stop.closing"];

/// Moments that only somebody outside sees: the 2xx has arrived; a send has, and its answer has not left.
const OUTSIDE: [&str; 3] = ["ack.received", "send.taken", "send.lost"];

/// Passes of a place at which the host dies, one after the other.
pub(crate) const PASSES: std::ops::RangeInclusive<usize> = 1..=3;

/// Messages that each prospect of a round writes.
const MESSAGES: usize = 3;

/// One kill.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) place: &'static str,
    pub(crate) pass: usize,
}

/// Every place, with every pass that can be told apart.
pub(crate) fn all() -> Vec<Kill> {
    let often = ON_THE_WAY.iter().chain(&OUTSIDE);
    let often = often.flat_map(|place| PASSES.map(|pass| Kill { place, pass }));
    let due = AT_THE_START.iter().filter(|p| p.starts_with("due"));
    let due = due.flat_map(|place| PASSES.map(|pass| Kill { place, pass }));
    // A host comes by these once.
    let once = AT_THE_START.iter().filter(|p| !p.starts_with("due"));
    let once = once.chain(&AT_THE_STOP);
    let once = once.map(|place| Kill { place, pass: 1 });
    often.chain(due).chain(once).collect()
}

/// Each place once, at some pass, and only every third of them.
pub(crate) fn some(rng: &mut StdRng) -> Vec<Kill> {
    let mut kills = all();
    kills.retain(|_| rng.random_ratio(1, 8));
    kills
}

#[test]
fn every_place_of_the_host_is_visited() {
    let mut visited: Vec<_> = all().iter().map(|kill| kill.place).collect();
    visited.retain(|place| !OUTSIDE.contains(place));
    let visited: BTreeSet<_> = visited.into_iter().collect();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let code = code_below(&sources);
    // What fails a read is no place to end at.
    let there = code.split("fail_point!(\"").skip(1);
    let there = there.filter_map(|rest| rest.split('"').next());
    let there: BTreeSet<_> = there.filter(|place| *place != "turn.read_state").collect();
    assert_eq!(visited, there);
}

fn code_below(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap();
    let code = entries.map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code_below(&path)
        } else {
            std::fs::read_to_string(path).unwrap()
        }
    });
    code.collect()
}

/// A round for each kill, with conversations of its own.
pub(crate) async fn visit(world: &World, kills: &[Kill]) -> Outcome {
    let mut faults = 0;
    let mut rng = world.chance(0);
    for (round, kill) in kills.iter().enumerate() {
        faults += visit_one(world, round, *kill, &mut rng).await;
        if round % 20 == 19 {
            eprintln!("crash: {} places of {}", round + 1, kills.len());
        }
    }
    let verdict = world.calms_down("after all places").await;
    world.outcome(kills.len(), faults, &verdict)
}

/// Answers how often a host was killed.
async fn visit_one(world: &World, round: usize, kill: Kill, rng: &mut StdRng) -> usize {
    let when = format!("at pass {} of {}", kill.pass, kill.place);
    let before = world.site.provider.requests().len();
    let talks = DEVICES.into_iter().enumerate().map(|(i, device)| {
        world.converse(Talk {
            prospect: (round * DEVICES.len() + i) as u64 + 1,
            device,
            messages: Some(MESSAGES),
            pause_ms: 20,
        })
    });
    let (faults, _) = tokio::join!(die_twice(world, kill, &when, rng), join_all(talks));
    let host = world.start().await;
    world.tells(&host, before, rng).await;
    world.calms_down(&when).await;
    assert!(host.terminate().await.success());
    faults
}

/// The host dies there, and its successor at some place of its start. A third takes what is still to be delivered.
async fn die_twice(world: &World, kill: Kill, when: &str, rng: &mut StdRng) -> usize {
    let mut faults = first_death(world, kill).await;
    world.buried(when).await;
    let again = *AT_THE_START.choose(rng).unwrap();
    world.site.serve_or_die(again).await;
    world.buried(&format!("{when}, and then at {again}")).await;
    faults += 1;
    let host = world.start().await;
    let mut counts = world.counts.subscribe();
    counts.wait_for(|c| c.writing == 0).await.unwrap();
    // The host of the next steps is another one, so that what a stop hands over is shown each time.
    assert!(host.terminate().await.success());
    faults
}

async fn first_death(world: &World, kill: Kill) -> usize {
    let Kill { place, pass } = kill;
    let provider = &world.site.provider;
    if AT_THE_START.contains(&place) {
        // With something to take up.
        let host = world.start().await;
        acks(world, pass).await;
        world.kill(host).await;
        world.site.serve_or_die(&format!("{place}@{pass}")).await;
        return 2;
    }
    if OUTSIDE.contains(&place) {
        let enough = provider.requests().len() + pass;
        let last = match place {
            "send.taken" => Some(Answer::TakeAndStall),
            "send.lost" => Some(Answer::LoseAndStall),
            _ => None,
        };
        let host = world.start().await;
        if let Some(last) = last {
            provider.script(std::iter::repeat_n(Answer::Take, pass - 1).chain([last]));
            provider.wait_for_requests(enough).await;
        } else {
            acks(world, pass).await;
        }
        host.kill().await;
        provider.behave();
        return 1;
    }
    let host = world.site.serve_until(&format!("{place}@{pass}")).await;
    world.takes_webhooks(&host);
    if AT_THE_STOP.contains(&place) {
        acks(world, pass).await;
        host.signal(rustix::process::Signal::TERM);
    }
    dies_there(world, host, kill).await
}

/// Waits for so many more webhooks that are answered 2xx.
async fn acks(world: &World, more: usize) {
    let mut counts = world.counts.subscribe();
    let enough = counts.borrow().answered + more;
    counts
        .wait_for(|c| c.answered >= enough || c.writing == 0)
        .await
        .unwrap();
}

async fn dies_there(world: &World, mut host: Process<'_>, kill: Kill) -> usize {
    let died = timeout(PATIENCE / 2, host.has_died()).await.is_ok();
    if !died {
        let what = format!("no host ever comes by pass {} of {}", kill.pass, kill.place);
        world.is_broken(Broken::LockLeft, &what);
        host.signal(rustix::process::Signal::KILL);
    }
    host.dies().await;
    1
}
