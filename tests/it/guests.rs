//! Each test guest by its own test: a guest without one does not compile.

use std::process::Command;

use nodepath::model::DeviceSettings;
use nodepath::store::ConversationDetail;

use crate::support::{Setup, TestHost, component, outcomes};

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
    host.passes(std::time::Duration::from_secs(1));
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), [outcome, outcome]);
    assert_eq!(detail.inbox[0].state, "dead");
    assert_eq!(host.provider.requests(), []);
    assert_eq!((host.locks().await, host.executions().await), (0, 0));
    (host, detail)
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
