//! A host that is stopped for longer than everything that waits for it, and goes on: SIGSTOP and SIGCONT.

use std::time::Duration;

use futures_util::future::join_all;
use nodepath::cli::demo::provider::Answer;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::process::Signal;

use crate::process::Process;
use crate::storm::{NO_LATER, moment, settles, talks};
use crate::world::{Outcome, World};

/// Freezes the host so many times, for so long.
pub(crate) async fn freezes(world: &World, rounds: usize, span: Duration) -> Outcome {
    let host = world.start().await;
    let mut rng = world.chance(0);
    let freeze = async {
        for _ in 0..rounds {
            freeze(world, &host, span, &mut rng).await;
        }
        world.site.provider.behave();
        world.counts.send_modify(|counts| counts.is_over = true);
    };
    tokio::join!(freeze, join_all(talks(world)));
    let verdict = settles(world, &host, "after a freeze").await;
    assert!(host.terminate().await.success());
    world.outcome(rounds, rounds, &verdict)
}

async fn freeze(world: &World, host: &Process<'_>, span: Duration, rng: &mut StdRng) {
    // Some answers come while nobody is there to read them, and some after that.
    let longest = span.as_millis() * 5 / 4;
    let answers = (0..6).map(|_| match rng.random_range(0..4) {
        0 => Answer::TakeAndCut,
        1 => Answer::LoseAndCut,
        _ => Answer::TakeLate(Duration::from_millis(
            u64::try_from(rng.random_range(0..longest)).unwrap_or_default(),
        )),
    });
    world.site.provider.script(answers.collect::<Vec<_>>());
    drop(tokio::time::timeout(NO_LATER, moment(world, rng)).await);
    host.signal(Signal::STOP);
    tokio::time::sleep(span).await;
    host.signal(Signal::CONT);
    // It takes webhooks again.
    world.goes_on("after a freeze").await;
}
