//! SIGTERM.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::site::{Setup, text, texts, think_ms};

#[tokio::test]
async fn a_turn_under_way_ends_and_its_reply_is_sent() {
    let site = Setup::pondering(Duration::from_millis(500)).site().await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "hello")).await;
    site.provider.wait_for_presence(1).await;
    assert!(host.terminate().await.success());
    assert_eq!(texts(&site.provider.taken()), ["You said: hello"]);
    assert_eq!(site.locks().await, 0);
    assert_eq!(site.until_idle().await.inbox[0].state, "done");
}

#[tokio::test]
async fn a_message_that_comes_during_a_stop_is_refused_or_kept() {
    let setup = Setup::pondering(Duration::from_millis(300)).set("overlap=queue");
    let site = setup.site().await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "hello")).await;
    site.provider.wait_for_presence(1).await;
    host.signal(Signal::TERM);
    host.says("stopping; nothing more is taken").await;
    // The listener closes at about this moment.
    let late = host.delivers(&text("wamid.2", "too late?")).await;
    assert!(host.ends().await.success());
    assert_eq!(texts(&site.provider.taken()), ["You said: hello"]);
    assert_eq!(site.locks().await, 0);

    let host = site.serve().await;
    if late.is_none() {
        host.receives(&text("wamid.2", "too late?")).await;
    }
    site.provider.wait_for(2).await;
    site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(
        texts(&site.provider.taken()),
        ["You said: hello", "You said: too late?"]
    );
}

#[tokio::test]
async fn a_reply_under_way_is_sent_to_its_end() {
    let site = Setup::plugin("test-script").site().await;
    site.provider.hold();
    let host = site.serve().await;
    host.receives(&text("wamid.1", "parts 3")).await;
    site.provider.wait_for_arrivals(1).await;
    host.signal(Signal::TERM);
    host.says("stopping; nothing more is taken").await;
    site.provider.release();
    assert!(host.ends().await.success());
    assert_eq!(
        texts(&site.provider.taken()),
        ["part 1", "part 2", "part 3"]
    );
    assert_eq!(site.locks().await, 0);
}

#[tokio::test]
async fn a_message_that_waited_is_kept_for_the_next_start() {
    let site = Setup::pondering(Duration::from_millis(300))
        .set("overlap=queue")
        .site()
        .await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "one")).await;
    site.provider.wait_for_presence(1).await;
    host.receives(&text("wamid.2", "two")).await;
    assert!(host.terminate().await.success());
    assert_eq!(texts(&site.provider.taken()), ["You said: one"]);
    assert_eq!(site.locks().await, 0);

    let host = site.serve().await;
    site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(
        texts(&site.provider.taken()),
        ["You said: one", "You said: two"]
    );
}

#[tokio::test]
async fn a_plugin_that_takes_too_long_is_stopped_at_the_deadline_and_answers_after_the_next_start()
{
    let setup = Setup::pondering(Duration::from_secs(60)).set("budget.wall=60s");
    let site = setup
        .environment("NODEPATH_STOP_DEADLINE", "200ms")
        .site()
        .await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "hello")).await;
    site.provider.wait_for_presence(1).await;
    let asked = Instant::now();
    assert!(host.terminate().await.success());
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(site.locks().await, 0);

    site.run(&[
        "device",
        "set",
        "shop",
        "--plugin-config",
        &think_ms(Duration::ZERO),
    ])
    .await;
    let host = site.serve().await;
    let detail = site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(texts(&site.provider.taken()), ["You said: hello"]);
    // What the stop took away was no failure of the plugin's.
    assert_eq!(detail.turns_run[0].attempt, 1, "{detail:#?}");
}

#[tokio::test]
async fn a_plugin_that_computes_for_ever_does_not_keep_the_host() {
    let setup = Setup::plugin("test-script")
        .set("budget.wall=60s")
        .set("budget.cpu=60s");
    let site = setup
        .environment("NODEPATH_STOP_DEADLINE", "200ms")
        .site()
        .await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "typing; loop")).await;
    site.provider.wait_for_presence(1).await;
    host.signal(Signal::TERM);
    host.says("the deadline of the stop has passed").await;
    let asked = Instant::now();
    assert!(host.ends().await.success());
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(site.locks().await, 0);
    let detail = site.until("kept", |c| c.summary.pending == 1).await;
    assert_eq!(detail.summary.state, "waiting");
}

#[tokio::test]
async fn a_provider_that_does_not_answer_does_not_keep_the_host() {
    let setup = Setup::plugin("echo").set("unknown_window=60s");
    let site = setup
        .environment("NODEPATH_STOP_DEADLINE", "200ms")
        .site()
        .await;
    site.provider.hold();
    let host = site.serve().await;
    host.receives(&text("wamid.1", "hello")).await;
    site.provider.wait_for_arrivals(1).await;
    host.signal(Signal::TERM);
    host.says("a provider has not answered").await;
    assert!(host.ends().await.success());
    site.provider.release();

    let host = site.serve().await;
    site.until("in doubt", |c| c.outbox[0].state == "unknown")
        .await;
    host.kill().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_nothing_is_lost() {
    let site = Setup::pondering(Duration::from_secs(60))
        .set("budget.wall=60s")
        .site()
        .await;
    let host = site.serve().await;
    host.receives(&text("wamid.1", "hello")).await;
    site.provider.wait_for_presence(1).await;
    host.signal(Signal::TERM);
    host.says("stopping; nothing more is taken").await;
    host.signal(Signal::INT);
    assert_eq!(host.ends().await.code(), Some(1));

    site.run(&[
        "device",
        "set",
        "shop",
        "--plugin-config",
        &think_ms(Duration::ZERO),
    ])
    .await;
    let host = site.serve().await;
    site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(texts(&site.provider.taken()), ["You said: hello"]);
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_the_host() {
    let site = Setup::plugin("echo").site().await;
    let host = site.serve().await;
    let silent = host.connects("").await;
    let begun = host
        .connects("POST /webhooks/shop HTTP/1.1\r\nHost: x\r\n")
        .await;
    host.signal(Signal::TERM);
    host.says("stopping; nothing more is taken").await;
    let asked = Instant::now();
    assert!(host.ends().await.success());
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    drop((silent, begun));
}
