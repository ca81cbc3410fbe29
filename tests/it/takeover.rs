//! A human takes a conversation over, and hands it back.

use std::time::Duration;

use nodepath::cli::demo::webhooks::Webhook;

use crate::support::{PROSPECT, Setup, TestHost, outcomes, states};

async fn owner_writes(host: &TestHost, id: &str, text: &str) {
    host.receives(Webhook::new().echo(PROSPECT, id, text, host.now()))
        .await;
}

#[tokio::test]
async fn when_the_owner_answers_by_hand_the_plugin_is_silent_for_a_while() {
    let host = Setup::script().clock().start().await;
    host.answers("wamid.1", "reply robot").await;
    host.passes(Duration::from_secs(1));
    owner_writes(&host, "wamid.2", "It's me, the owner").await;
    host.passes(Duration::from_secs(1));
    assert_eq!(host.hears("wamid.3", "a human!").await["absorbed"], 1);
    assert_eq!(host.provider.taken().len(), 1);
    // The default is an hour.
    host.passes(Duration::from_secs(3_600));
    // What was said meanwhile is there to read.
    let past = host.answers("wamid.4", "history 10").await;
    assert_eq!(
        past,
        "prospect: a human!\nhuman: It's me, the owner\nplugin: robot\nprospect: reply robot"
    );
    assert_eq!(
        states(&host.detail().await),
        ["done", "human", "absorbed", "done"]
    );
    host.stop().await;
}

/// B8: the words are the owner's.
#[tokio::test]
async fn cmd_from_the_owner_takes_over_for_good_and_dmc_hands_back() {
    let host = Setup::script().clock().start().await;
    host.answers("wamid.1", "reply robot").await;
    owner_writes(&host, "wamid.2", "cmd").await;
    host.passes(Duration::from_secs(1_000_000));
    assert_eq!(host.hears("wamid.3", "hello?").await["absorbed"], 1);
    owner_writes(&host, "wamid.4", "dmc").await;
    // The plugin is told with a signal.
    let detail = host
        .until("told", |c| {
            c.turns_run.len() == 2 && c.summary.state == "idle"
        })
        .await;
    assert_eq!(detail.turns_run[0].trigger, "signal");
    assert_eq!(
        host.answers("wamid.5", "reply robot again").await,
        "robot again"
    );
    assert_eq!(host.provider.taken().len(), 2);
    host.stop().await;
}

/// B8: in the original program a customer could silence the plugin.
#[tokio::test]
async fn cmd_and_the_like_from_the_customer_are_words_like_any_other() {
    let host = Setup::script().start().await;
    for (n, word) in ["cmd", "dmc", "%", "#60123", "0812 is my number", "stage: X"]
        .into_iter()
        .enumerate()
    {
        let told = host.answers(&format!("wamid.{n}"), word).await;
        assert_eq!(told, format!("You said: {word}"));
    }
    host.stop().await;
}

#[tokio::test]
async fn a_plugin_hands_over_after_its_last_words() {
    let host = Setup::script().start().await;
    let script = "reply A colleague will answer you; handover They want a refund";
    host.answers("wamid.1", script).await;
    assert_eq!(host.hears("wamid.2", "thanks").await["absorbed"], 1);
    assert_eq!(host.locks().await, 0);
    host.store.resume(&host.conversation()).await.unwrap();
    let detail = host
        .until("told", |c| {
            c.turns_run.len() == 2 && c.summary.state == "idle"
        })
        .await;
    assert_eq!(detail.turns_run[0].trigger, "signal");
    assert_eq!(outcomes(&detail), ["committed", "committed"]);
    host.answers("wamid.3", "reply back").await;
    host.stop().await;
}

#[tokio::test]
async fn a_plugin_that_gives_up_hands_over_without_a_word() {
    let host = Setup::script().start().await;
    host.hears("wamid.1", "reply never; give It is beyond me")
        .await;
    let detail = host
        .until("over", |c| {
            states(c) == ["absorbed"] && c.summary.state == "idle"
        })
        .await;
    assert_eq!(outcomes(&detail), ["handover"]);
    assert_eq!(host.hears("wamid.2", "hello?").await["absorbed"], 1);
    assert_eq!(host.provider.requests(), []);
    host.stop().await;
}

/// B7: a human who takes over one conversation of a prospect has not taken over the one on another device.
#[tokio::test]
async fn a_takeover_reaches_one_conversation() {
    let host = Setup::script().start().await;
    let settings = nodepath::model::DeviceSettings::default();
    let other = host
        .add_device(
            &host.tenant,
            "device_456",
            host.provider.credentials(),
            "test-script",
            settings,
        )
        .await;
    owner_writes(&host, "wamid.1", "cmd").await;
    let webhook = host.text("wamid.2", "reply robot");
    host.posts_to(&other, &webhook).await;
    assert_eq!(host.provider.sent().await.text.unwrap(), "robot");
    assert_eq!(host.hears("wamid.3", "hello").await["absorbed"], 1);
    host.stop().await;
}
