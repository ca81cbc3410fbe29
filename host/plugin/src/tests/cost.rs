//! What a turn costs. Run it with `cargo test --release -p nodepath --lib cost -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

/// The median and the 99th percentile.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    format!("median {:?}, p99 {:?}", at(50), at(99))
}

async fn cost_of(bench: &Bench, plugin: &Plugin) {
    let name = plugin.digest().short().to_owned();
    let (mut outside, mut wall, mut cpu) = (vec![], vec![], vec![]);
    for n in 0..3_000 {
        let started = Instant::now();
        let run = bench.runtime.run(plugin, turn("hi")).await;
        // The first ones bring the code and the pool's slots into memory.
        if n >= 500 {
            outside.push(started.elapsed());
            wall.push(run.wall);
            cpu.push(run.cpu);
            run.result.unwrap();
        }
    }
    println!("{name}: from call to answer: {}", spread(outside));
    println!("{name}: on the plugin's thread: {}", spread(wall));
    println!("{name}: of that CPU: {}", spread(cpu));
    let started = Instant::now();
    for _ in 0..100 {
        let batch = (0..8).map(|_| bench.runtime.run(plugin, turn("hi")));
        futures_util::future::join_all(batch).await;
    }
    let each = started.elapsed() / 800;
    println!("{name}: {each:?} a turn, eight at a time on one thread");
}

/// What a turn costs while another tenant has as many endless loops on its thread as it may.
async fn cost_beside_loops(bench: &Bench, plugin: &Plugin, looping: &Plugin) {
    let noisy = || TurnInput {
        tenant: TenantId::from_trusted("noisy"),
        budget: Budget {
            cpu_ms: 600_000,
            wall_ms: 600_000,
            ..Budget::default()
        },
        ..turn("hi")
    };
    let loops = (0..8).map(|_| bench.runtime.run(looping, noisy()));
    let loops = futures_util::future::join_all(loops);
    let mut live = bench.runtime.live_instances();
    let measured = async {
        live.wait_for(|count| *count == 8).await.unwrap();
        let mut outside = vec![];
        for _ in 0..1_000 {
            let started = Instant::now();
            bench.runtime.run(plugin, turn("hi")).await.result.unwrap();
            outside.push(started.elapsed());
        }
        outside
    };
    tokio::select! {
        _ = loops => panic!("the loops ended"),
        outside = measured => println!("beside 8 loops on one thread: {}", spread(outside)),
    }
}

/// `XTASK_COMPONENTS` names more components to measure, separated by colons.
#[tokio::test]
#[ignore = "a measurement"]
async fn what_a_turn_costs() {
    let bench = Bench::new();
    let echo = bench.plugin("echo").await;
    cost_of(&bench, &echo).await;
    cost_beside_loops(&bench, &echo, &bench.plugin("test-loop").await).await;
    for path in std::env::var("XTASK_COMPONENTS")
        .unwrap_or_default()
        .split(':')
    {
        if path.is_empty() {
            continue;
        }
        let bytes = std::fs::read(path).unwrap();
        let started = Instant::now();
        let checked = bench.runtime.check(&bytes).await.unwrap();
        println!("{path}: checked in {:?}: {checked:?}", started.elapsed());
        let again = Bench::new();
        let started = Instant::now();
        let plugin = again.load(bytes).await.unwrap();
        println!("{path}: loaded from the cache in {:?}", started.elapsed());
        cost_of(&again, &plugin).await;
    }
}
