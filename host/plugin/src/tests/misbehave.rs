use super::*;
#[tokio::test]
async fn probe() {
    let bench = Bench::new();
    for name in nodepath_test_guests::names() {
        let bytes = match nodepath_test_guests::component(name) { Ok(b) => b, Err(e) => { println!("{name}: BUILD {e:#}"); continue } };
        let checked = bench.runtime.check(&bytes).await;
        match checked { Ok(_) => println!("{name}: check ok"), Err(e) => println!("{name}: check {e}") }
        match bench.load(bytes).await {
            Ok(plugin) => {
                let started = std::time::Instant::now();
                let mut t = turn("hi");
                t.budget.cpu_ms = 200; t.budget.wall_ms = 500; t.budget.memory_bytes = 4 << 20;
                t.config = r#"{"a":1}"#.to_owned();
                let run = bench.runtime.run(&plugin, t).await;
                println!("{name}: {:?} peak {} {:?} logs {} dropped {}", run.result, run.memory_peak, started.elapsed(), run.logs.len(), run.logs_dropped);
                let valid = bench.runtime.validate_config(&plugin, "{}").await;
                println!("{name}: validate {}", format!("{valid:?}").chars().take(200).collect::<String>());
            }
            Err(e) => println!("{name}: load {e}"),
        }
    }
}
