//! Turns that go as their plugin wants.

use super::*;

#[tokio::test]
async fn echo_answers_a_burst_once() {
    let bench = Bench::new(1);
    let plugin = bench.plugin("echo").await;
    let burst = Trigger::Messages(vec![message("one"), message("two")]);
    let run = bench.runtime.run(&plugin, turn_of(burst)).await;
    assert_eq!(run.texts(), ["You said: one\ntwo"]);
    assert!(run.cpu > Duration::ZERO && run.wall >= run.cpu && run.memory_peak > 0);
    bench.empty().await;
}
