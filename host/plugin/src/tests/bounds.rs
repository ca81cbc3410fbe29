//! Turns that go wrong, each in its own way, and guests that would rather not end.

use std::future::pending;
use std::pin::pin;

use futures_util::future::BoxFuture;
use wasmtime::component::{Component, Linker};
use wasmtime::{Store, StoreContextMut, Trap};

use super::*;
use crate::guest::Guest;
use crate::meter::CpuMeter;
use crate::pace::Pace;
use crate::run::{bound, step_by_step};
use nodepath_model::effect::Scope;
use nodepath_model::turn::HistoryPage;

/// A turn that may use this much.
fn within(cpu_ms: u64, wall_ms: u64, text: &str) -> TurnInput {
    TurnInput {
        budget: Budget {
            cpu_ms,
            wall_ms,
            ..Budget::default()
        },
        ..turn(text)
    }
}

#[tokio::test]
async fn the_plugins_own_errors_come_through() {
    let bench = Bench::new();
    let retry = bench.script("reply dropped; retry 1500").await;
    assert_eq!(retry.failure().kind, FailureKind::Retry);
    assert_eq!(
        retry.failure().retry_after,
        Some(Duration::from_millis(1_500))
    );
    let failed = bench.script("fail no\u{7} such order").await;
    assert_eq!(failed.failure().to_string(), "failed: no such order");
    let handover = bench.script("give They want a refund").await;
    assert_eq!(
        handover.failure().to_string(),
        "handover: They want a refund"
    );
}

#[tokio::test]
async fn a_trap_says_where_it_was_and_what_the_guest_said_last() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-trap").await;
    let run = bench.runtime.run(&plugin, turn("hi")).await;
    let failure = run.failure();
    assert_eq!(failure.kind, FailureKind::Trap);
    for part in ["unreachable", "test-trap panics in turn trn_1", "(in "] {
        assert!(failure.detail.contains(part), "{failure}");
    }
    bench.empty().await;
}

#[tokio::test]
async fn a_stack_overflow_is_a_trap() {
    let bench = Bench::new();
    let run = bench.script("recurse").await;
    assert_eq!(run.failure().kind, FailureKind::Trap);
    assert!(
        run.failure().detail.contains("stack"),
        "{:?}",
        run.failure()
    );
}

#[tokio::test]
async fn an_endless_loop_ends_with_the_cpu_budget() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-loop").await;
    let run = bench.runtime.run(&plugin, within(50, 60_000, "hi")).await;
    assert_eq!(run.failure().kind, FailureKind::CpuBudget);
    assert!(run.cpu >= Duration::from_millis(50), "{run:?}");
    bench.empty().await;
}

#[tokio::test]
async fn each_call_has_the_whole_cpu_budget() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    for _ in 0..3 {
        let run = bench
            .runtime
            .run(&plugin, within(10_000, 60_000, "spin 1; reply done"))
            .await;
        assert_eq!(run.texts(), ["done"]);
    }
}

#[tokio::test]
async fn memory_ends_with_its_budget() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-memory").await;
    let run = bench.runtime.run(&plugin, turn("hi")).await;
    assert_eq!(run.failure().kind, FailureKind::Memory);
    assert!(
        run.failure().detail.contains("64 MiB"),
        "{:?}",
        run.failure()
    );
    assert!(
        run.memory_peak <= 64 << 20 && run.memory_peak > 60 << 20,
        "{run:?}"
    );
}

#[tokio::test]
async fn a_sleeping_guest_ends_with_the_wall_budget() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-sleep").await;
    let run = bench.runtime.run(&plugin, within(1_000, 100, "hi")).await;
    assert_eq!(run.failure().kind, FailureKind::WallBudget);
    bench.empty().await;
}

/// A store that never answers, or breaks.
enum Bad {
    Silent,
    Panics,
}

impl Bad {
    fn answer<'a, T: 'a>(&'a self) -> BoxFuture<'a, Result<T, ReadError>> {
        match self {
            Self::Silent => Box::pin(pending()),
            Self::Panics => Box::pin(async { panic!("/var/lib/nodepath.db is gone") }),
        }
    }
}

impl Reads for Bad {
    fn state<'a>(
        &'a self,
        _: Scope,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, ReadError>> {
        self.answer()
    }

    fn state_keys<'a>(
        &'a self,
        _: Scope,
        _: &'a str,
        _: Option<&'a str>,
        _: u32,
    ) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        self.answer()
    }

    fn history<'a>(
        &'a self,
        _: u32,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<HistoryPage, ReadError>> {
        self.answer()
    }
}

#[tokio::test]
async fn a_slow_host_call_ends_with_the_wall_budget() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    let input = TurnInput {
        reads: Arc::new(Bad::Silent),
        ..within(1_000, 100, "get conversation k")
    };
    let run = bench.runtime.run(&plugin, input).await;
    assert_eq!(run.failure().kind, FailureKind::WallBudget);
    assert!(run.cpu < Duration::from_millis(100));
    bench.empty().await;
}

#[tokio::test]
async fn a_host_panic_is_the_hosts_failure_and_the_thread_lives_on() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-script").await;
    let input = TurnInput {
        reads: Arc::new(Bad::Panics),
        ..turn("get conversation k")
    };
    for _ in ["on its own thread", "where it is called"] {
        let run = bench.runtime.run(&plugin, input.clone()).await;
        assert_eq!(
            run.failure().to_string(),
            "host: the host broke while the plugin called it"
        );
        bench.empty().await;
        assert_eq!(bench.script("reply well").await.texts(), ["well"]);
        plugin.prompt.prove();
    }
}

#[tokio::test]
async fn a_prompt_guest_answers_where_it_is_called() {
    let bench = Bench::new();
    let echo = bench.plugin("echo").await;
    let run = bench.runtime.run(&echo, turn("hi"));
    assert!(run.now_or_never().is_none());
    // On a busy machine a tick may come in between.
    let at_once = (0..1_000).any(|_| {
        echo.prompt.prove();
        let run = bench.runtime.run(&echo, turn("hi"));
        run.now_or_never().is_some()
    });
    assert!(at_once);
}

/// A guest that keeps its caller's thread leaves another one of the callers' free.
#[tokio::test]
async fn one_prompt_guest_at_a_time_runs_where_it_is_called_and_none_where_there_is_no_other_thread()
 {
    let bench = Bench::new();
    let alone = Runtime::new(Settings {
        callers: 1,
        ..bench.settings.clone()
    });
    let _another = bench.runtime.0.here.try_acquire().unwrap();
    for runtime in [&bench.runtime, &alone.unwrap()] {
        let echo = component("echo");
        let bytes = || async { Ok::<_, io::Error>(echo.clone()) };
        let echo = runtime.load(&Digest::of(&echo), bytes).await.unwrap();
        echo.prompt.prove();
        let mut run = pin!(runtime.run(&echo, turn("hi")));
        assert!(poll_immediate(run.as_mut()).await.is_none());
        assert_eq!(run.await.texts(), ["You said: hi"]);
    }
}

#[tokio::test]
async fn a_prompt_guest_that_computes_goes_on_on_its_own_thread() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-loop").await;
    plugin.prompt.prove();
    let mut live = bench.runtime.live_instances();
    let mut run = pin!(bench.runtime.run(&plugin, within(50, 60_000, "hi")));
    assert!(poll_immediate(run.as_mut()).await.is_none());
    // Nobody polls it here any more, and it comes to its end all the same.
    soon(live.wait_for(|count| *count == 0)).await.unwrap();
    assert_eq!(run.await.failure().kind, FailureKind::CpuBudget);
    assert!(!plugin.prompt.is_proved());
}

/// A component that calls the host so often without a loop, a call of its own, or one of the shims that `wit-component` puts
/// between: the epoch is looked at nowhere.
fn calls_in_a_row(calls: usize) -> Vec<u8> {
    let calls = "call $f ".repeat(calls);
    let text = format!(
        r#"(component
            (import "f" (func $f))
            (core func $lowered (canon lower (func $f)))
            (core module $m
                (import "" "f" (func $f))
                (func (export "run") {calls}))
            (core instance $i (instantiate $m (with "" (instance (export "f" (func $lowered))))))
            (func (export "run") (canon lift (core func $i "run"))))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn calls_of_the_host_in_a_row_end_with_the_cpu_budget() {
    let engine = engine::for_running(1).unwrap();
    let component = Component::from_binary(&engine, &calls_in_a_row(1_000)).unwrap();
    let (cpu, stride) = (CpuMeter::default(), Pace::new().stride());
    let mut linker = Linker::new(&engine);
    let meter = cpu.clone();
    let computes = move |_: StoreContextMut<'_, Guest>, (): ()| {
        let until = meter.spent_until_now() + Duration::from_millis(1);
        while meter.spent_until_now() < until {}
        Ok(())
    };
    linker.root().func_wrap("f", computes).unwrap();
    let (_, _, around) = taken_apart(turn("hi"));
    let budget = Duration::from_millis(50);
    let mut store = Store::new(&engine, Guest::new(around, 1 << 20));
    bound(&mut store, cpu.clone(), budget, stride.clone());
    store.set_epoch_deadline(1);
    let called = async {
        let instance = linker.instantiate_async(&mut store, &component).await?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        run.call_async(&mut store, ()).await
    };
    let error = step_by_step(&cpu, &stride, called).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    assert!(cpu.spent() < 4 * budget, "{:?}", cpu.spent());
}

#[tokio::test]
async fn a_turn_reads_only_so_often() {
    let bench = Bench::new();
    let script = "get conversation k;".repeat(10) + "incr conversation k 1";
    assert_eq!(bench.script(&script).await.texts().len(), 10);
    let mut reads = reads::Budgeted::new(Arc::new(NoReads));
    assert!((0..limits::READS).all(|_| reads.one().is_ok()));
    assert!(reads.one().is_err());
}

#[tokio::test]
async fn a_guest_that_nobody_waits_for_is_gone() {
    let bench = Bench::new();
    let plugin = bench.plugin("test-loop").await;
    let mut live = bench.runtime.live_instances();
    let mut running = Box::pin(bench.runtime.run(&plugin, within(600_000, 600_000, "hi")));
    tokio::select! {
        run = &mut running => panic!("{run:?}"),
        count = live.wait_for(|count| *count == 1) => { count.unwrap(); }
    }
    drop(running);
    bench.empty().await;
}

#[tokio::test]
async fn a_noisy_guest_does_not_stop_another_on_its_thread() {
    let bench = Bench::new();
    let (noisy, quiet) = (bench.plugin("test-loop").await, bench.plugin("echo").await);
    let mut loops: Vec<_> = (0..7)
        .map(|_| Box::pin(bench.runtime.run(&noisy, within(600_000, 600_000, "hi"))))
        .collect();
    let mut loops = futures_util::future::select_all(loops.iter_mut());
    let other = TurnInput {
        tenant: TenantId::from_trusted("ten_2"),
        ..within(1_000, 60_000, "hi")
    };
    let mut live = bench.runtime.live_instances();
    let meanwhile = async {
        live.wait_for(|count| *count == 7).await.unwrap();
        bench.runtime.run(&quiet, other).await
    };
    tokio::select! {
        ended = &mut loops => panic!("{:?}", ended.0),
        run = soon(meanwhile) => assert_eq!(run.texts(), ["You said: hi"]),
    }
}

#[tokio::test]
async fn a_tenant_whose_guests_are_all_stuck_leaves_slots_for_others() {
    let bench = Bench::new();
    let (stuck, quiet) = (bench.plugin("test-sleep").await, bench.plugin("echo").await);
    let mut sleepers: Vec<_> = (0..40)
        .map(|_| Box::pin(bench.runtime.run(&stuck, within(600_000, 600_000, "hi"))))
        .collect();
    let mut sleepers = futures_util::future::select_all(sleepers.iter_mut());
    let other = TurnInput {
        tenant: TenantId::from_trusted("ten_2"),
        ..turn("hi")
    };
    let mut live = bench.runtime.live_instances();
    let meanwhile = async {
        live.wait_for(|count| *count == 8).await.unwrap();
        bench.runtime.run(&quiet, other).await
    };
    tokio::select! {
        ended = &mut sleepers => panic!("{:?}", ended.0),
        run = soon(meanwhile) => assert_eq!(run.texts(), ["You said: hi"]),
    }
    assert_eq!(*bench.runtime.live_instances().borrow(), 8, "half of 16");
}

#[tokio::test]
async fn one_call_passes_only_so_many_bytes() {
    let bench = Bench::new();
    let run = bench.script("bigtext 3000000").await;
    assert_eq!(run.failure().kind, FailureKind::Trap);
    assert!(
        run.failure()
            .detail
            .starts_with("the plugin passed more than 2 MiB to the host in one call"),
        "{:?}",
        run.failure()
    );
}

/// A runtime whose guests have so many MiB together, and a plugin on it.
async fn with_memory(bench: &Bench, mib: u64, name: &str) -> (Runtime, Plugin) {
    let runtime = Runtime::new(Settings {
        max_memory_bytes: mib << 20,
        ..bench.settings.clone()
    })
    .unwrap();
    let bytes = component(name);
    let digest = Digest::of(&bytes);
    let plugin = runtime
        .load(&digest, || async { Ok::<_, io::Error>(bytes) })
        .await
        .unwrap();
    (runtime, plugin)
}

/// A turn of a tenant with so many MiB.
fn of_tenant(name: &str, mib: u64, text: &str) -> TurnInput {
    TurnInput {
        tenant: TenantId::from_trusted(name),
        budget: Budget {
            memory_bytes: mib << 20,
            ..Budget::default()
        },
        ..turn(text)
    }
}

#[tokio::test]
async fn one_tenants_memory_takes_nothing_from_another() {
    let bench = Bench::new();
    let (runtime, plugin) = with_memory(&bench, 64, "test-script").await;
    // Each takes most of its budget, and holds it until it is stopped.
    let stuck = || TurnInput {
        reads: Arc::new(Bad::Silent),
        ..of_tenant("evil", 16, "grow 10; get conversation k")
    };
    let mut evil: Vec<_> = (0..7)
        .map(|_| Box::pin(runtime.run(&plugin, stuck())))
        .collect();
    let mut evil = futures_util::future::select_all(evil.iter_mut());
    let mut live = runtime.live_instances();
    let meanwhile = async {
        live.wait_for(|count| *count == 2).await.unwrap();
        for _ in 0..20 {
            let good = of_tenant("good", 32, "grow 20");
            assert_eq!(runtime.run(&plugin, good).await.texts(), ["grew 20"]);
        }
    };
    tokio::select! {
        ended = &mut evil => panic!("a turn that has to wait has ended: {:?}", ended.0),
        () = soon(meanwhile) => {}
    }
    assert_eq!(*runtime.live_instances().borrow(), 2, "half of 64 MiB");
}

#[tokio::test]
async fn a_tenant_that_wants_too_much_memory_at_once_waits_for_itself() {
    let bench = Bench::new();
    let (runtime, plugin) = with_memory(&bench, 64, "test-script").await;
    let runs = (0..12).map(|_| runtime.run(&plugin, of_tenant("hungry", 32, "grow 25")));
    for run in soon(futures_util::future::join_all(runs)).await {
        assert_eq!(run.texts(), ["grew 25"]);
    }
}

#[tokio::test]
async fn a_budget_beyond_a_tenants_share_ends_with_the_share_and_says_so() {
    let bench = Bench::new();
    let (runtime, plugin) = with_memory(&bench, 16, "test-script").await;
    let run = runtime
        .run(&plugin, of_tenant("ten_1", 64, "grow 32"))
        .await;
    assert_eq!(run.failure().kind, FailureKind::Memory);
    assert!(
        run.failure().detail.contains("8 MiB") && run.failure().detail.contains("`max_memory`"),
        "{:?}",
        run.failure()
    );
}

#[tokio::test]
async fn a_full_pool_is_a_wait_and_no_error() {
    let bench = Bench::new();
    let small = Runtime::new(Settings {
        max_instances: 1,
        ..bench.settings.clone()
    })
    .unwrap();
    let bytes = component("test-script");
    let plugin = small
        .load(&Digest::of(&bytes), || async { Ok::<_, io::Error>(bytes) })
        .await
        .unwrap();
    // Past the queue, which would not let so many in: the pool has 9 instances.
    let pace = pace::Pace::new();
    let (_, stuck, around) = taken_apart(TurnInput {
        reads: Arc::new(Bad::Silent),
        ..within(600_000, 600_000, "get conversation k")
    });
    let (_, quick, idle) = taken_apart(within(1_000, 50, "reply well"));
    let most = limits::MOST_MEMORY;
    let mut held: Vec<_> = (0..9)
        .map(|_| Box::pin(run::run(&plugin, &stuck, &around, most, &pace)))
        .collect();
    for holder in &mut held {
        // A step brings each to the read that never answers.
        let ended = timeout(Duration::from_millis(100), holder).await;
        assert!(ended.is_err());
    }
    let mut waits = Box::pin(run::run(&plugin, &quick, &idle, most, &pace));
    // Longer than the turn may take: waiting is no part of it.
    assert!(
        timeout(Duration::from_millis(200), &mut waits)
            .await
            .is_err()
    );
    held.pop();
    let finished = soon(waits).await;
    assert!(matches!(finished.answer, Ok(Answer::Handled(Ok(_)))));
}
