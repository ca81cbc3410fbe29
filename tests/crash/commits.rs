//! The host ends at every place around its three commits, and the provider delivers again what was not answered 200. However
//! far it had come: nothing is lost, nothing is said twice, nothing is out of order.

use nodepath::cli::demo::webhooks::Webhook;
use nodepath::store::ConversationDetail;

use crate::site::{Setup, Site, text, texts};

/// Until the reply is decided, whatever was begun is begun again.
#[tokio::test]
async fn ended_before_anything_is_committed() {
    nothing_had_left("t1.written").await;
}

#[tokio::test]
async fn ended_with_the_message_on_the_disk() {
    nothing_had_left("t1.committed").await;
}

#[tokio::test]
async fn ended_before_the_webhook_is_answered() {
    nothing_had_left("webhook.unanswered").await;
}

#[tokio::test]
async fn ended_as_the_turn_begins() {
    nothing_had_left("turn.attempt").await;
}

#[tokio::test]
async fn ended_with_a_turn_that_has_run_and_not_committed() {
    nothing_had_left("turn.ended").await;
}

#[tokio::test]
async fn ended_within_the_commit_of_the_turn() {
    nothing_had_left("t3.written").await;
}

/// From here on a part is written down as being sent, and only the provider can tell. It has not got it, so nothing comes.
#[tokio::test]
async fn ended_with_the_reply_committed_and_not_sent() {
    nobody_knows_and_it_had_not_left("t3.committed").await;
}

#[tokio::test]
async fn ended_just_before_the_request() {
    nobody_knows_and_it_had_not_left("delivery.attempt").await;
}

#[tokio::test]
async fn ended_just_before_the_request_where_the_device_asks_to_send_again() {
    let site = site(&["unknown=resend"]).await;
    ends_at(&site, "delivery.attempt").await;
    let detail = starts_again(&site).await;
    assert_eq!(
        (detail.outbox[0].state.as_str(), detail.outbox[0].attempts),
        ("sent", 2)
    );
    assert_eq!(texts(&site.provider.taken()), ["You said: hello"]);
    goes_on(&site).await;
}

/// It has got it, and says so.
#[tokio::test]
async fn ended_with_the_provider_s_answer_in_hand() {
    the_provider_tells("delivery.answered").await;
}

#[tokio::test]
async fn ended_within_the_commit_of_the_delivery() {
    the_provider_tells("t5.written").await;
}

#[tokio::test]
async fn ended_with_everything_committed() {
    let site = site(&[]).await;
    ends_at(&site, "t5.committed").await;
    let detail = starts_again(&site).await;
    assert_eq!(
        (detail.outbox[0].state.as_str(), detail.outbox[0].attempts),
        ("sent", 1)
    );
    goes_on(&site).await;
}

#[tokio::test]
async fn ended_between_two_parts_of_a_reply_it_goes_on_at_the_second() {
    let site = site(&["unknown_window=60s"]).await;
    let host = site.serve_until("t5.written").await;
    host.delivers(&text("wamid.1", "parts 3")).await;
    host.dies().await;

    let host = site.serve().await;
    site.until("in doubt", |c| {
        c.outbox.last().is_some_and(|part| part.state == "unknown")
    })
    .await;
    host.receives(&site.status_of(&site.provider.taken()[0], "sent"))
        .await;
    site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(
        texts(&site.provider.taken()),
        ["part 1", "part 2", "part 3"]
    );
}

#[tokio::test]
async fn ended_twice_in_a_row_at_what_time_brings() {
    let site = site(&["unknown=resend"]).await;
    ends_at(&site, "turn.ended").await;
    // The next start looks for what is due, and ends there: before its commit, and after it.
    site.serve_or_die("due.written").await;
    site.serve_or_die("due.committed").await;
    starts_again(&site).await;
    assert_eq!(texts(&site.provider.taken()), ["You said: hello"]);
    goes_on(&site).await;
}

async fn nothing_had_left(place: &str) {
    let site = site(&[]).await;
    ends_at(&site, place).await;
    assert!(site.provider.requests().is_empty());
    let detail = starts_again(&site).await;
    assert_eq!(
        (detail.outbox[0].state.as_str(), detail.outbox[0].attempts),
        ("sent", 1)
    );
    assert_eq!(texts(&site.provider.taken()), ["You said: hello"]);
    goes_on(&site).await;
}

async fn nobody_knows_and_it_had_not_left(place: &str) {
    let site = site(&[]).await;
    ends_at(&site, place).await;
    let detail = starts_again(&site).await;
    assert_eq!(detail.outbox[0].state, "held");
    assert!(site.provider.requests().is_empty());
    let host = site.serve().await;
    // Visible, and one command away.
    site.run(&["dead", "replay", &detail.outbox[0].id]).await;
    assert_eq!(
        site.provider.sent().await.text.as_deref(),
        Some("You said: hello")
    );
    site.until_idle().await;
    assert!(host.terminate().await.success());
    goes_on(&site).await;
}

async fn the_provider_tells(place: &str) {
    let site = site(&["unknown_window=60s"]).await;
    ends_at(&site, place).await;
    let host = site.serve().await;
    site.until("in doubt", |c| c.outbox[0].state == "unknown")
        .await;
    host.receives(&site.status_of(&site.provider.taken()[0], "delivered"))
        .await;
    let detail = site.until_idle().await;
    assert_eq!(
        (detail.outbox[0].state.as_str(), detail.outbox[0].attempts),
        ("sent", 1)
    );
    assert!(host.terminate().await.success());
    goes_on(&site).await;
}

/// A device that waits only shortly for the provider's word.
async fn site(settings: &[&'static str]) -> Site {
    let setup = Setup::plugin("test-script").set("unknown_window=100ms");
    let setup = settings
        .iter()
        .fold(setup, |setup, setting| setup.set(setting));
    setup.site().await
}

fn hello() -> Webhook {
    text("wamid.1", "hello")
}

/// Delivers "hello" to a host that ends there.
async fn ends_at(site: &Site, place: &str) {
    let host = site.serve_until(place).await;
    // Whether it is answered before the end is a matter of luck.
    host.delivers(&hello()).await;
    host.dies().await;
}

/// The next host. The provider delivers "hello" again, as often as it likes.
async fn starts_again(site: &Site) -> ConversationDetail {
    let host = site.serve().await;
    host.receives(&hello()).await;
    host.receives(&hello()).await;
    let detail = site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(detail.inbox.len(), 1, "{detail:#?}");
    assert_eq!(detail.inbox[0].state, "done");
    assert_eq!(detail.outbox.len(), 1, "{detail:#?}");
    assert_eq!(site.locks().await, 0);
    detail
}

/// Whatever was before: "hello" was answered once, and the next message is answered once, after it.
async fn goes_on(site: &Site) {
    let host = site.serve().await;
    host.receives(&hello()).await;
    host.receives(&text("wamid.2", "bye")).await;
    site.provider.wait_for(2).await;
    site.until_idle().await;
    assert!(host.terminate().await.success());
    assert_eq!(
        texts(&site.provider.taken()),
        ["You said: hello", "You said: bye"]
    );
    assert_eq!(site.locks().await, 0);
}
