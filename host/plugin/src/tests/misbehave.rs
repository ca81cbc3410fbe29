//! Guests that misbehave as no Rust plugin can, each by its own test: one without does not compile. Whatever they do, the turn
//! fails with the guest's blame, in words for its author, and the thread and its slot are free for the next one.

use nodepath_model::turn::Blame;
use nodepath_test_guests::foreach_wat_guest;

use super::*;

macro_rules! has_a_test {
    ($test:ident, $name:literal) => {
        #[expect(
            unused_imports,
            reason = "a guest without a test of its name must not compile"
        )]
        use self::$test as _;
    };
}
foreach_wat_guest!(has_a_test);

/// A turn of a guest, with little of everything but time: what computes is to meet its other budget, on a busy machine too.
fn tight() -> TurnInput {
    TurnInput {
        budget: Budget {
            cpu_ms: 50,
            wall_ms: 60_000,
            // Eight tables as large as the sandbox lets them be have 4 MiB.
            memory_bytes: 3 << 20,
        },
        config: r#"{"greeting":"hello"}"#.to_owned(),
        ..turn("hi")
    }
}

/// Why a turn of a guest fails.
async fn fails(name: &str) -> String {
    fails_in(name, tight()).await
}

/// Why this turn of a guest fails.
async fn fails_in(name: &str, turn: TurnInput) -> String {
    let bench = Bench::new();
    let bytes = nodepath_test_guests::component(name).unwrap();
    let plugin = bench.load(bytes).await.unwrap();
    let why = fails_on(&bench, &plugin, turn.clone()).await;
    // One that was prompt until now begins on the thread of whoever calls it, and fails no otherwise.
    plugin.prompt.prove();
    assert_eq!(fails_on(&bench, &plugin, turn).await, why);
    why
}

async fn fails_on(bench: &Bench, plugin: &Plugin, turn: TurnInput) -> String {
    let run = bench.runtime.run(plugin, turn).await;
    let failure = run.failure();
    assert_eq!(failure.kind.blame(), Blame::Guest);
    assert!(run.memory_peak <= tight().budget.memory_bytes, "{run:?}");
    is_well(bench).await;
    failure.to_string()
}

/// Why a guest is not taken when it is registered.
async fn refused(name: &str) -> String {
    let bench = Bench::new();
    let bytes = nodepath_test_guests::component(name).unwrap();
    let refused = bench.runtime.check(&bytes).await.unwrap_err();
    assert!(
        matches!(refused, Error::Refused(_) | Error::Guest(_)),
        "{refused:?}"
    );
    is_well(&bench).await;
    refused.to_string()
}

/// Why a guest can't be asked about a configuration.
async fn can_not_validate(name: &str) -> String {
    let bench = Bench::new();
    let bytes = nodepath_test_guests::component(name).unwrap();
    let plugin = bench.load(bytes).await.unwrap();
    let asked = bench.runtime.validate_config(&plugin, "{}").await;
    is_well(&bench).await;
    asked.unwrap_err().to_string()
}

/// The next turn on the same thread is as any other.
async fn is_well(bench: &Bench) {
    bench.empty().await;
    let echo = bench.plugin("echo").await;
    let run = bench.runtime.run(&echo, turn("hi")).await;
    assert_eq!(run.texts(), ["You said: hi"]);
}

#[tokio::test]
async fn data_beyond() {
    insta::assert_snapshot!(refused("data-beyond").await, @"the plugin failed: trap: wasm trap: out of bounds memory access");
}

#[tokio::test]
async fn describes_deeply() {
    insta::assert_snapshot!(refused("describes-deeply").await, @"the plugin is refused: its `config-schema-json` is not a JSON object of at most 65536 bytes; `{}` stands for any configuration");
}

#[tokio::test]
async fn describes_for_ever() {
    // On a busy machine the ten seconds are over before two of CPU time are.
    let refused = refused("describes-for-ever").await;
    let told = refused.strip_prefix("the plugin failed: ").unwrap();
    let budgets = [
        "cpu_budget: the plugin computed for longer than 2000 ms",
        "wall_budget: the turn took longer than 10000 ms",
    ];
    assert!(budgets.contains(&told), "{told}");
}

#[tokio::test]
async fn describes_much() {
    insta::assert_snapshot!(refused("describes-much").await, @"the plugin failed: trap: the plugin passed more than 2 MiB to the host in one call");
}

#[tokio::test]
async fn effect_flood() {
    insta::assert_snapshot!(fails("effect-flood").await, @"cpu_budget: the plugin computed for longer than 50 ms");
}

#[tokio::test]
async fn enum_unknown() {
    insta::assert_snapshot!(fails("enum-unknown").await, @"trap: the plugin broke the rules of calls to and from the host (unexpected discriminant: 77); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn extras_deep() {
    insta::assert_snapshot!(fails("extras-deep").await, @"failed: the extra `preview_url` must be JSON text that nests at most 127 deep");
}

#[tokio::test]
async fn grows_by_pages() {
    insta::assert_snapshot!(fails("grows-by-pages").await, @"memory: the plugin asked for more than its 3 MiB of memory");
}

#[tokio::test]
async fn grows_in_vain() {
    insta::assert_snapshot!(fails("grows-in-vain").await, @"cpu_budget: the plugin computed for longer than 50 ms");
}

#[tokio::test]
async fn handle_twice() {
    insta::assert_snapshot!(fails("handle-twice").await, @"trap: the plugin broke the rules of calls to and from the host (unknown handle index 1); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn handle_unknown() {
    insta::assert_snapshot!(fails("handle-unknown").await, @"trap: the plugin broke the rules of calls to and from the host (unknown handle index 99); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn handles_kept() {
    insta::assert_snapshot!(fails("handles-kept").await, @"trap: the plugin asked for more than the 256 WASI handles that it may hold, or for one that it does not hold (resource table has no free keys); let go of those that it is done with");
}

#[tokio::test]
async fn instances_many() {
    insta::assert_snapshot!(refused("instances-many").await, @"the plugin is refused: it begins with more than the sandbox has for an instance: The component transitively contains 71 core module instances, which exceeds the configured maximum of 64 in the pooling allocator");
}

#[tokio::test]
async fn list_endless() {
    insta::assert_snapshot!(fails("list-endless").await, @"trap: the plugin broke the rules of calls to and from the host (list pointer/length out of bounds of memory); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn list_repeats() {
    insta::assert_snapshot!(fails("list-repeats").await, @"memory: the plugin asked for more than its 3 MiB of memory");
}

#[tokio::test]
async fn log_flood() {
    insta::assert_snapshot!(fails("log-flood").await, @"cpu_budget: the plugin computed for longer than 50 ms");
}

#[tokio::test]
async fn memories_grow() {
    insta::assert_snapshot!(fails("memories-grow").await, @"memory: the plugin asked for more than its 3 MiB of memory");
}

#[tokio::test]
async fn memories_many() {
    insta::assert_snapshot!(refused("memories-many").await, @"the plugin is refused: it begins with more than the sandbox has for an instance: The component transitively contains 6 Wasm linear memories, which exceeds the configured maximum of 4 in the pooling allocator");
}

#[tokio::test]
async fn polls() {
    insta::assert_snapshot!(fails("polls").await, @"cpu_budget: the plugin computed for longer than 50 ms");
}

#[tokio::test]
async fn post_return_calls() {
    insta::assert_snapshot!(fails("post-return-calls").await, @"trap: the plugin called the host from its allocator or from the clean-up after its answer, where it may not");
}

#[tokio::test]
async fn post_return_loops() {
    insta::assert_snapshot!(fails("post-return-loops").await, @"cpu_budget: the plugin computed for longer than 50 ms");
}

#[tokio::test]
async fn post_return_traps() {
    insta::assert_snapshot!(fails("post-return-traps").await, @"trap: wasm trap: wasm `unreachable` instruction executed");
}

#[tokio::test]
async fn problems_endless() {
    insta::assert_snapshot!(can_not_validate("problems-endless").await, @"the plugin failed: trap: the plugin passed more than 2 MiB to the host in one call");
}

#[tokio::test]
async fn random_flood() {
    insta::assert_snapshot!(fails("random-flood").await, @"trap: the plugin asked for more than 65536 random bytes in one call");
}

#[tokio::test]
async fn realloc_calls() {
    insta::assert_snapshot!(fails("realloc-calls").await, @"trap: the plugin called the host from its allocator or from the clean-up after its answer, where it may not");
}

#[tokio::test]
async fn realloc_grows() {
    insta::assert_snapshot!(fails("realloc-grows").await, @"memory: the plugin asked for more than its 3 MiB of memory");
}

#[tokio::test]
async fn realloc_lies() {
    insta::assert_snapshot!(fails("realloc-lies").await, @"trap: the plugin broke the rules of calls to and from the host (realloc return: beyond end of memory); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn realloc_loops() {
    insta::assert_snapshot!(fails("realloc-loops").await, @"cpu_budget: the plugin computed for longer than 50 ms");
}

#[tokio::test]
async fn realloc_slants() {
    insta::assert_snapshot!(fails("realloc-slants").await, @"trap: the plugin broke the rules of calls to and from the host (realloc return: result not aligned); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn realloc_traps() {
    insta::assert_snapshot!(fails("realloc-traps").await, @"trap: wasm trap: wasm `unreachable` instruction executed");
}

#[tokio::test]
async fn recurses() {
    insta::assert_snapshot!(fails("recurses").await, @"trap: the plugin's calls nest deeper than its stack of 512 KiB; call in loops instead of recursion (in deeper < deeper < deeper < deeper < deeper < deeper)");
}

#[tokio::test]
async fn returns_beyond() {
    insta::assert_snapshot!(fails("returns-beyond").await, @"trap: the plugin broke the rules of calls to and from the host (pointer out of bounds of memory); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn returns_much() {
    insta::assert_snapshot!(fails("returns-much").await, @"memory: the plugin asked for more than its 3 MiB of memory");
}

#[tokio::test]
async fn returns_nonsense() {
    insta::assert_snapshot!(fails("returns-nonsense").await, @"trap: the plugin broke the rules of calls to and from the host (unexpected discriminant: 9); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn sleeps() {
    let mut brief = tight();
    brief.budget.wall_ms = 100;
    insta::assert_snapshot!(fails_in("sleeps", brief).await, @"wall_budget: the turn took longer than 100 ms");
}

#[tokio::test]
async fn start_loops() {
    insta::assert_snapshot!(fails("start-loops").await, @"cpu_budget: the plugin computed for longer than 50 ms (in begin)");
}

#[tokio::test]
async fn start_traps() {
    insta::assert_snapshot!(fails("start-traps").await, @"trap: wasm trap: wasm `unreachable` instruction executed (in begin)");
}

#[tokio::test]
async fn string_beyond() {
    insta::assert_snapshot!(fails("string-beyond").await, @"trap: the plugin broke the rules of calls to and from the host (string pointer/length out of bounds of memory); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn string_broken() {
    insta::assert_snapshot!(fails("string-broken").await, @"trap: the plugin broke the rules of calls to and from the host (invalid utf-8 sequence of 1 bytes from index 0); build it with current tools, against this host's `wit/`");
}

#[tokio::test]
async fn tables_grow() {
    insta::assert_snapshot!(fails("tables-grow").await, @"memory: the plugin asked for more than its 3 MiB of memory");
}

#[tokio::test]
async fn tables_many() {
    insta::assert_snapshot!(refused("tables-many").await, @"the plugin is refused: it begins with more than the sandbox has for an instance: module table does not fit in pooling allocator requirements: defined tables count of 18 exceeds the per-instance limit of 16");
}
