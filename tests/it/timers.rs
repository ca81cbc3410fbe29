//! Timers: a plugin that comes back by itself, under the same lock.

use std::time::Duration;

use nodepath::cli::demo::provider::FakeWhatsApp;
use nodepath::model::DeviceSettings;

use crate::support::{PROSPECT, Setup, TestHost, conversation, outcomes, taken};

const MINUTE: Duration = Duration::from_secs(60);

async fn menu() -> TestHost {
    let setup = Setup::plugin("menu").plugin_config(r#"{"follow_up_ms": 60000}"#);
    setup.clock().start().await
}

#[tokio::test]
async fn the_menu_follows_up_when_the_prospect_goes_quiet() {
    let host = menu().await;
    host.answers("wamid.1", "hello").await;
    assert_eq!(host.detail().await.timers.len(), 1);
    host.passes(MINUTE);
    let follow_up = host.provider.wait_for(2).await.remove(1);
    assert_eq!(
        (follow_up.to.as_str(), follow_up.kind.as_str()),
        (PROSPECT, "text")
    );
    let detail = host.until_idle().await;
    assert_eq!(detail.timers, []);
    assert_eq!(detail.turns_run[0].trigger, "timer");
    assert_eq!(outcomes(&detail), ["committed", "committed"]);
    assert_eq!(host.locks().await, 0);
    host.stop().await;
}

#[tokio::test]
async fn a_message_takes_the_follow_up_back() {
    let host = menu().await;
    host.answers("wamid.1", "hello").await;
    host.passes(MINUTE / 2);
    host.answers("wamid.2", "hours").await;
    assert_eq!(host.detail().await.timers, []);
    host.passes(MINUTE);
    // Whatever was due is done before this is answered.
    host.answers("wamid.3", "address").await;
    assert_eq!(host.provider.taken().len(), 3);
    host.stop().await;
}

#[tokio::test]
async fn a_timer_is_there_after_a_restart_of_the_host() {
    let host = menu().await;
    host.answers("wamid.1", "hello").await;
    let host = host.stop().await.restart().await;
    host.passes(MINUTE);
    host.provider.wait_for(2).await;
    host.until_idle().await;
    host.stop().await;
}

/// B11: the original program took the first device that it found.
#[tokio::test]
async fn a_timer_is_of_the_device_that_set_it() {
    let host = Setup::script().clock().start().await;
    let own = FakeWhatsApp::start().await.unwrap();
    let settings = DeviceSettings::default();
    let second = host
        .add_device(
            &host.tenant,
            "device_456",
            own.credentials(),
            "test-script",
            settings,
        )
        .await;
    let webhook = host.text("wamid.1", "timer nudge 60000 buy; reply set");
    taken(host.posts_to(&second, &webhook).await).await;
    own.sent().await;
    let id = conversation(&second, PROSPECT);
    host.until_in(&id, "idle", |c| c.summary.state == "idle")
        .await;
    host.passes(MINUTE);
    assert_eq!(own.sent().await.text.unwrap(), "timer nudge buy");
    host.until_in(&id, "idle", |c| c.summary.state == "idle")
        .await;
    assert_eq!(host.provider.requests(), []);
    host.stop().await;
}

#[tokio::test]
async fn a_timer_waits_for_the_lock_and_for_a_human_to_hand_back() {
    let host = Setup::script().clock().start().await;
    host.answers("wamid.1", "timer nudge 60000; reply set")
        .await;
    host.provider.hold();
    host.hears("wamid.2", "reply busy").await;
    host.provider.wait_for_arrivals(2).await;
    host.passes(MINUTE);
    host.store.pause(&host.conversation(), None).await.unwrap();
    host.provider.release();
    host.until_idle().await;
    assert_eq!(host.detail().await.timers.len(), 1, "it is still to come");
    host.store.resume(&host.conversation()).await.unwrap();
    let last = host.provider.wait_for(3).await.remove(2);
    assert_eq!(last.text.unwrap(), "timer nudge");
    host.until("over", |c| c.summary.state == "idle" && c.timers.is_empty())
        .await;
    host.stop().await;
}

#[tokio::test]
async fn outside_whatsapps_window_a_timer_sends_nothing() {
    let host = Setup::script().clock().start().await;
    host.answers("wamid.1", "timer late 86400000; reply set")
        .await;
    host.passes(24 * 60 * MINUTE);
    let detail = host
        .until("run", |c| {
            c.turns_run.len() == 2 && c.summary.state == "idle"
        })
        .await;
    assert_eq!(outcomes(&detail), ["committed", "failed"]);
    let why = detail.turns_run[0].detail.as_deref().unwrap();
    assert!(why.contains("policy") && why.contains("24 hours"), "{why}");
    assert_eq!(detail.timers, [], "it is not tried for ever");
    assert_eq!(host.provider.requests().len(), 1);
    host.stop().await;
}
