//! Each test guest by its own test: a guest without one does not compile.

use std::process::Command;
use std::time::Duration;

use nodepath::model::DeviceSettings;
use nodepath::model::device::Fallback;
use nodepath::store::ConversationDetail;

use crate::support::{Log, Setup, TestHost, component, outcomes};

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

macro_rules! has_a_test {
    ($test:ident, $component:literal) => {
        #[expect(
            unused_imports,
            reason = "a guest without a test of its name must not compile"
        )]
        use self::$test as _;
    };
}
foreach_test_guest!(has_a_test);

/// A guest that fails in every turn: two tries, then its message is a dead letter, and nothing ever left.
async fn misbehaves(
    guest: &'static str,
    change: impl FnOnce(&mut DeviceSettings),
    outcome: &str,
) -> (TestHost, ConversationDetail) {
    let setup = Setup::plugin(guest).settings(|s| s.max_attempts = 2);
    let host = setup.settings(change).clock().start().await;
    host.hears("wamid.1", "hello").await;
    host.until("put off", |c| c.summary.state == "waiting")
        .await;
    host.passes(Duration::from_secs(1));
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), [outcome, outcome]);
    assert_eq!(detail.inbox[0].state, "dead");
    assert_eq!(host.provider.requests(), []);
    assert_eq!((host.locks().await, host.executions().await), (0, 0));
    (host, detail)
}

#[tokio::test]
async fn test_fickle() {
    let host = Setup::plugin("test-fickle").clock().start().await;
    host.hears("wamid.1", "hello").await;
    host.until("put off", |c| c.summary.state == "waiting")
        .await;
    host.passes(Duration::from_secs(1));
    host.provider.wait_for(1).await;
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), ["trap", "committed"]);
    let sent = host.provider.taken();
    let texts: Vec<_> = sent.iter().filter_map(|r| r.text.as_deref()).collect();
    assert_eq!(texts, ["attempt 2"]);
    assert_eq!(detail.tags, [("by".to_owned(), "attempt 2".to_owned())]);
    let timers: Vec<_> = detail.timers.iter().map(|(name, _)| name).collect();
    assert_eq!(timers, ["attempt 2"]);
    let kept = "SELECT COUNT(*) FROM plugin_state WHERE (key, CAST(value AS TEXT)) IN
        (VALUES ('by', 'attempt 2'), ('attempt 2', '1'), ('attempts', '1'))";
    assert_eq!(host.count(kept).await, 3);
    let all = host.count("SELECT COUNT(*) FROM plugin_state").await;
    assert_eq!(all, 3, "the first attempt has left something");
    host.stop().await;
}

#[tokio::test]
async fn what_a_guest_does_wrong_is_told_to_the_operator_and_the_conversation_goes_on() {
    let log = Log::start();
    let device = "device_of_the_wrongdoer";
    let change = |s: &mut DeviceSettings| {
        s.max_attempts = 1;
        s.budget.cpu_ms = 500;
        s.fallback = Fallback::Text {
            text: "Please try again later.".to_owned(),
        };
    };
    let host = Setup::script()
        .device(device)
        .settings(change)
        .start()
        .await;
    let wrongs = [
        "recurse",
        "bigtext 3000000",
        "loop",
        "grow 100",
        "reply dropped; fail I give up",
    ];
    for (n, wrong) in wrongs.iter().enumerate() {
        let told = host.answers(&format!("wamid.{n}"), wrong).await;
        assert_eq!(told, "Please try again later.");
    }
    assert_eq!(host.answers("wamid.well", "reply well").await, "well");
    let detail = host.detail().await;
    let told: Vec<_> = detail
        .turns_run
        .iter()
        .rev()
        .map(|turn| {
            let detail = turn.detail.as_deref().unwrap_or_default();
            // Where in the guest it happened follows in brackets.
            let what = detail.split(" (in ").next().unwrap_or_default();
            format!("{}: {what}", turn.outcome)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    trap: the plugin's calls nest deeper than its stack of 512 KiB; call in loops instead of recursion
    trap: the plugin passed more than 2 MiB to the host in one call
    cpu_budget: the plugin computed for longer than 500 ms
    memory: the plugin asked for more than its 64 MiB of memory
    failed: I give up
    committed: 
    ");
    let blamed = log
        .until("turn: the plugin failed", device, wrongs.len())
        .await;
    assert!(
        blamed.iter().all(|line| line.contains("blame=guest")),
        "{blamed:?}"
    );
    host.stop().await;
}

#[tokio::test]
async fn test_loop() {
    let (host, detail) = misbehaves("test-loop", |s| s.budget.cpu_ms = 50, "cpu_budget").await;
    assert!(detail.turns_run[0].cpu_us >= 50_000, "{detail:?}");
    host.stop().await;
}

#[tokio::test]
async fn test_memory() {
    let budget = |s: &mut DeviceSettings| s.budget.memory_bytes = 8 << 20;
    let (host, detail) = misbehaves("test-memory", budget, "memory").await;
    let why = detail.turns_run[0].detail.as_deref().unwrap();
    assert!(why.contains("8 MiB"), "{why}");
    host.stop().await;
}

#[tokio::test]
async fn test_sleep() {
    let budget = |s: &mut DeviceSettings| s.budget.wall_ms = 100;
    let (host, detail) = misbehaves("test-sleep", budget, "wall_budget").await;
    assert!(detail.turns_run[0].cpu_us < 100_000, "sleeping is free");
    host.stop().await;
}

#[tokio::test]
async fn test_trap() {
    let (host, _) = misbehaves("test-trap", |_| (), "trap").await;
    let kept = host.count("SELECT COUNT(*) FROM plugin_state").await;
    assert_eq!(kept, 0, "what a trap has written is not there");
    host.stop().await;
}

#[tokio::test]
async fn test_script() {
    let host = Setup::script().start().await;
    let told = host.answers("wamid.1", "turn").await;
    assert_eq!(
        told,
        "turn 0 attempt 1 whatsapp device_123 6281234567890 Aminah"
    );
    host.stop().await;
}

/// What the command line says of a guest that can't be registered.
fn refused(guest: &str) -> String {
    let elsewhere = tempfile::tempdir().unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_nodepath"))
        .args(["plugin", "check"])
        .arg(component(guest))
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    assert!(!check.status.success(), "{guest} is taken");
    let told = [check.stdout, check.stderr].concat();
    String::from_utf8(told).unwrap()
}

#[test]
fn test_manifest() {
    let told = refused("test-manifest");
    assert!(
        told.contains("test-manifest does not say what it is"),
        "{told}"
    );
}

#[test]
fn test_world() {
    let told = refused("test-world");
    assert!(told.contains("test:elsewhere/engine"), "{told}");
}
