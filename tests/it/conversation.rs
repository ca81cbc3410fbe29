//! Messages and their replies.

use nodepath::model::device::Overlap;

use crate::support::{PROSPECT, Setup};

#[tokio::test]
async fn a_text_is_answered_once_and_the_lock_is_held_until_the_reply_is_sent() {
    let host = Setup::plugin("echo").start().await;
    host.provider.hold();
    host.hears("wamid.1", "hello").await;
    host.provider.wait_for_arrivals(1).await;
    // S1, S8: the lock is on the way of the message, and visible while it is held.
    let locks = host.store.session_locks().await.unwrap();
    assert_eq!(
        (locks[0].0.as_str(), locks[0].1.as_str()),
        (PROSPECT, "device_123")
    );
    host.provider.release();
    let reply = host.provider.sent().await;
    assert_eq!(reply.body["text"]["body"], "You said: hello");
    let detail = host.until_idle().await;
    assert_eq!(detail.inbox[0].state, "done");
    assert_eq!(host.locks().await, 0);
    host.stop().await;
}

#[tokio::test]
async fn a_redelivery_is_not_answered() {
    let host = Setup::plugin("echo").start().await;
    host.hears("wamid.1", "hello").await;
    host.provider.sent().await;
    host.until_idle().await;
    let answer = host.hears("wamid.1", "hello").await;
    assert_eq!(answer["duplicates"], 1);
    host.stop().await;
}

#[tokio::test]
async fn under_skip_a_second_message_meets_the_lock() {
    let host = Setup::plugin("echo")
        .settings(|s| s.overlap = Overlap::Skip)
        .start()
        .await;
    host.provider.hold();
    host.hears("wamid.1", "one").await;
    host.provider.wait_for_arrivals(1).await;
    assert_eq!(host.hears("wamid.2", "two").await["skipped"], 1);
    host.provider.release();
    host.until_idle().await;
    assert_eq!(host.provider.requests().len(), 1);
    host.stop().await;
}
