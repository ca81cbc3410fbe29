//! S3: the lock is released however a turn ends. Each test ends a turn in another way, looks into the seed's two views while
//! the host still runs, and then has the next message answered.

use std::time::Duration;

use nodepath::cli::demo::provider::Answer;
use nodepath::cli::demo::webhooks::Webhook;
use nodepath::model::Budget;
use nodepath::store::ConversationDetail;

use crate::support::{PROSPECT, Setup, TestHost, Trouble, outcomes, parts, states};

/// A host that tries a turn once.
fn once() -> Setup {
    Setup::script().settings(|s| s.max_attempts = 1)
}

fn with_budget(change: impl FnOnce(&mut Budget)) -> Setup {
    once().settings(|s| change(&mut s.budget))
}

/// Has the plugin do something, and waits until its turn has ended and nothing is locked or waits.
async fn ends(host: &TestHost, script: &str) -> ConversationDetail {
    host.hears("wamid.1", script).await;
    host.until("over", |c| {
        c.summary.state == "idle" && !c.turns_run.is_empty()
    })
    .await
}

async fn is_free(host: &TestHost) {
    assert_eq!(host.locks().await, 0, "the session lock is held");
    assert_eq!(host.executions().await, 0, "the execution lock is held");
}

/// The turn failed for good: it is written down as such, nothing was sent, and the conversation goes on.
async fn fails_as(host: TestHost, script: &str, outcome: &str) {
    let detail = ends(&host, script).await;
    assert_eq!(outcomes(&detail), [outcome]);
    assert_eq!(states(&detail), ["dead"]);
    is_free(&host).await;
    assert_eq!(host.provider.requests(), []);
    goes_on(host).await;
}

async fn goes_on(host: TestHost) {
    assert_eq!(host.answers("wamid.next", "reply next").await, "next");
    is_free(&host).await;
    host.stop().await;
}

#[tokio::test]
async fn after_a_turn_that_ends_well() {
    let host = once().start().await;
    let detail = ends(&host, "reply well").await;
    assert_eq!(outcomes(&detail), ["committed"]);
    assert_eq!(states(&detail), ["done"]);
    is_free(&host).await;
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_turn_that_says_nothing() {
    let host = once().start().await;
    let detail = ends(&host, "reply never; silent").await;
    assert_eq!(outcomes(&detail), ["committed"]);
    is_free(&host).await;
    assert_eq!(host.provider.requests(), []);
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_turn_that_fails() {
    let host = once().start().await;
    fails_as(host, "reply never; fail no such order", "failed").await;
}

#[tokio::test]
async fn after_a_turn_that_asks_for_another_try() {
    let host = Setup::script().clock().start().await;
    host.hears("wamid.1", "retry-until 2; reply at last").await;
    host.until("put off", |c| c.summary.state == "waiting")
        .await;
    is_free(&host).await;
    assert_eq!(host.provider.requests(), []);
    host.passes(Duration::from_secs(1));
    assert_eq!(host.provider.sent().await.text.unwrap(), "at last");
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), ["retry", "committed"]);
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_trap() {
    fails_as(once().start().await, "reply never; trap", "trap").await;
}

#[tokio::test]
async fn after_a_turn_that_computes_for_too_long() {
    let host = with_budget(|b| b.cpu_ms = 50).start().await;
    fails_as(host, "reply never; loop", "cpu_budget").await;
}

#[tokio::test]
async fn after_a_turn_that_takes_too_long() {
    let host = with_budget(|b| {
        b.wall_ms = 100;
        b.cpu_ms = 60_000;
    });
    fails_as(host.start().await, "reply never; loop", "wall_budget").await;
}

#[tokio::test]
async fn after_a_turn_that_wants_too_much_memory() {
    let host = with_budget(|b| b.memory_bytes = 16 << 20).start().await;
    fails_as(host, "reply never; grow 32", "memory").await;
}

#[tokio::test]
async fn after_a_host_call_that_fails() {
    let host = once().makes_trouble().start().await;
    let trouble = Trouble::reads_fail();
    let detail = ends(&host, "get tenant stock").await;
    // The guest is told, and decides for itself.
    assert_eq!(outcomes(&detail), ["committed"]);
    let told = host.provider.sent().await.text.unwrap();
    assert!(told.starts_with("error: unavailable: "), "{told}");
    is_free(&host).await;
    drop(trouble);
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_host_call_that_fails_a_plugin_that_gives_up() {
    let host = Setup::plugin("menu").makes_trouble().clock().start().await;
    let trouble = Trouble::reads_fail();
    host.hears("wamid.1", "hello").await;
    host.until("put off", |c| c.summary.state == "waiting")
        .await;
    is_free(&host).await;
    assert_eq!(host.provider.requests(), []);
    drop(trouble);
    host.passes(Duration::from_secs(1));
    host.provider.sent().await;
    assert_eq!(outcomes(&host.until_idle().await), ["retry", "committed"]);
    host.stop().await;
}

#[tokio::test]
async fn after_a_host_call_that_panics() {
    let host = once().makes_trouble().start().await;
    let trouble = Trouble::reads_panic();
    host.hears("wamid.1", "reply after all; get tenant stock")
        .await;
    // The message is not to blame, so it is not given up after its one try.
    let detail = host
        .until("put off", |c| c.summary.state == "waiting")
        .await;
    assert_eq!(outcomes(&detail), ["host"]);
    assert_eq!(states(&detail), ["pending"]);
    is_free(&host).await;
    assert_eq!(host.provider.requests(), []);
    drop(trouble);
    host.provider.sent().await;
    host.until_idle().await;
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_panic_of_the_host_in_the_turn() {
    let host = once().makes_trouble().start().await;
    let trouble = Trouble::turns_panic();
    host.hears("wamid.1", "reply after all").await;
    // The message is not to blame, so it is not given up after its one try.
    let detail = host
        .until("put off", |c| c.summary.state == "waiting")
        .await;
    assert_eq!(outcomes(&detail), ["host"]);
    assert_eq!(states(&detail), ["pending"]);
    is_free(&host).await;
    assert_eq!(host.provider.requests(), []);
    drop(trouble);
    host.provider.sent().await;
    host.until_idle().await;
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_panic_of_the_host_in_the_delivery() {
    let host = once().makes_trouble().clock().start().await;
    let trouble = Trouble::deliveries_panic();
    host.hears("wamid.1", "reply perhaps").await;
    host.until("in doubt", |c| parts(c) == ["unknown"]).await;
    drop(trouble);
    host.passes(Duration::from_secs(30));
    let detail = host.until_idle().await;
    assert_eq!(parts(&detail), ["held"]);
    is_free(&host).await;
    assert_eq!(host.provider.requests(), []);
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_send_that_fails_and_then_succeeds() {
    let host = once().clock().start().await;
    let busy = Answer::Refuse {
        code: 130_429,
        retry_after: None,
    };
    host.provider.script([busy]);
    host.hears("wamid.1", "reply hello").await;
    host.until("put off", |c| parts(c) == ["queued"]).await;
    assert_eq!(host.locks().await, 1, "the reply is still to be sent");
    assert_eq!(host.executions().await, 0);
    host.passes(Duration::from_secs(3));
    host.provider.sent().await;
    let detail = host.until_idle().await;
    assert_eq!(parts(&detail), ["sent"]);
    assert_eq!(outcomes(&detail), ["committed"]);
    is_free(&host).await;
    assert_eq!(host.provider.requests().len(), 2);
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_send_that_fails_for_good() {
    let host = once().start().await;
    let refused = Answer::Refuse {
        code: 131_026,
        retry_after: None,
    };
    host.provider.script([refused]);
    let detail = ends(&host, "reply hello").await;
    assert_eq!(parts(&detail), ["dead"]);
    assert_eq!(outcomes(&detail), ["committed"]);
    is_free(&host).await;
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_send_of_which_nobody_knows() {
    let host = once().clock().start().await;
    host.provider.script([Answer::TakeAndCut]);
    host.hears("wamid.1", "reply hello").await;
    host.until("in doubt", |c| parts(c) == ["unknown"]).await;
    assert_eq!(host.locks().await, 1, "the provider may still tell");
    host.passes(Duration::from_secs(30));
    let detail = host.until_idle().await;
    assert_eq!(parts(&detail), ["held"]);
    is_free(&host).await;
    assert_eq!(host.provider.requests().len(), 1, "nothing is sent again");
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_turn_that_a_newer_message_restarts() {
    let host = once().makes_trouble().start().await;
    let trouble = Trouble::reads_hang();
    host.hears("wamid.1", "reply old; get tenant stock").await;
    host.until("running", |c| c.summary.state == "running")
        .await;
    host.hears("wamid.2", "reply new").await;
    assert_eq!(host.provider.sent().await.text.unwrap(), "new");
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), ["superseded", "committed"]);
    assert_eq!(states(&detail), ["done", "done"]);
    is_free(&host).await;
    assert_eq!(host.provider.requests().len(), 1);
    drop(trouble);
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_turn_that_a_human_ends_by_taking_over() {
    let host = once().makes_trouble().start().await;
    let trouble = Trouble::reads_hang();
    host.hears("wamid.1", "reply robot; get tenant stock").await;
    host.until("running", |c| c.summary.state == "running")
        .await;
    let by_hand = |id: &str, text: &str| Webhook::new().echo(PROSPECT, id, text, host.now());
    host.receives(by_hand("wamid.2", "I'll see to it myself"))
        .await;
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), ["taken_over"]);
    assert_eq!(states(&detail), ["absorbed", "human"]);
    is_free(&host).await;
    drop(trouble);
    host.receives(by_hand("wamid.3", "dmc")).await;
    host.until("told that it has the conversation again", |c| {
        outcomes(c) == ["taken_over", "committed"]
    })
    .await;
    assert_eq!(host.provider.requests(), []);
    goes_on(host).await;
}

#[tokio::test]
async fn after_a_turn_that_the_stop_of_the_host_ends() {
    let setup = once().makes_trouble();
    let host = setup
        .stop_deadline(Duration::from_millis(100))
        .start()
        .await;
    let trouble = Trouble::reads_hang();
    host.hears("wamid.1", "get tenant stock").await;
    host.until("running", |c| c.summary.state == "running")
        .await;
    let stopped = host.stop().await;
    assert_eq!(stopped.provider.requests(), []);
    drop(trouble);
    let host = stopped.restart().await;
    assert_eq!(host.provider.sent().await.text.unwrap(), "stock is not set");
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), ["handed_back", "committed"]);
    is_free(&host).await;
    goes_on(host).await;
}
