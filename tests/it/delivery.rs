//! How a reply goes out, and what becomes of it.

use std::time::Duration;

use nodepath::cli::demo::provider::Answer;
use nodepath::cli::demo::webhooks::Webhook;
use nodepath::model::Secret;
use nodepath::model::device::{Credentials, Fallback, UnknownPolicy};
use nodepath::store::ConversationDetail;

use crate::support::{PROSPECT, Setup, TestHost, outcomes, parts, states};

fn refuse(code: i64) -> Answer {
    Answer::Refuse {
        code,
        retry_after: None,
    }
}

fn texts(host: &TestHost) -> Vec<String> {
    let taken = host.provider.taken();
    taken.into_iter().filter_map(|m| m.text).collect()
}

/// The parts with their progress by the provider's word, in the order of their decision.
fn statuses(detail: &ConversationDetail) -> Vec<Option<&str>> {
    let rows = detail.outbox.iter().rev();
    rows.map(|p| p.status.as_deref()).collect()
}

#[tokio::test]
async fn a_long_text_goes_out_in_parts_in_order() {
    let host = Setup::script().start().await;
    host.hears("wamid.1", "bigtext 10000; reply the end").await;
    let taken = host.provider.wait_for(4).await;
    let lengths: Vec<_> = taken
        .iter()
        .map(|m| m.text.as_deref().unwrap_or_default().len())
        .collect();
    assert_eq!(lengths, [4_096, 4_096, 1_808, 7]);
    let detail = host.until_idle().await;
    assert_eq!(parts(&detail), ["sent"; 4]);
    host.stop().await;
}

#[tokio::test]
async fn a_part_begins_when_the_one_before_it_has_arrived() {
    let host = Setup::script().start().await;
    host.provider.hold();
    host.hears("wamid.1", "parts 3").await;
    host.provider.wait_for_arrivals(1).await;
    host.until("one at a time", |c| {
        parts(c) == ["sending", "queued", "queued"]
    })
    .await;
    host.provider.release();
    host.provider.wait_for(3).await;
    host.until_idle().await;
    assert_eq!(texts(&host), ["part 1", "part 2", "part 3"]);
    host.stop().await;
}

#[tokio::test]
async fn a_pause_before_a_part_is_kept_under_the_lock() {
    let setup = Setup::script().settings(|s| s.part_delay_ms = 2_000);
    let host = setup.clock().start().await;
    host.hears("wamid.1", "reply one; reply two; delay 5000 three")
        .await;
    host.provider.wait_for(1).await;
    host.until("paused", |c| parts(c) == ["sent", "queued", "queued"])
        .await;
    host.passes(Duration::from_millis(1_999));
    assert_eq!(host.locks().await, 1);
    assert_eq!(host.provider.requests().len(), 1);
    host.passes(Duration::from_millis(1));
    host.provider.wait_for(2).await;
    host.until("paused again", |c| parts(c) == ["sent", "sent", "queued"])
        .await;
    host.passes(Duration::from_secs(5));
    host.provider.wait_for(3).await;
    host.until_idle().await;
    assert_eq!(texts(&host), ["one", "two", "three"]);
    host.stop().await;
}

#[tokio::test]
async fn what_may_succeed_later_is_tried_again_later_and_later() {
    let host = Setup::script().clock().start().await;
    host.provider
        .script([refuse(130_429), refuse(131_016), refuse(80_007)]);
    host.hears("wamid.1", "reply hello; reply and more").await;
    // Each wait is twice the one before, a quarter more or less.
    for (tries, longest) in [(1, 2_500), (2, 5_000), (3, 10_000)] {
        host.until("put off", |c| {
            parts(c) == ["queued", "queued"] && c.outbox[1].attempts == tries
        })
        .await;
        host.passes(Duration::from_millis(longest / 2));
        assert_eq!(
            host.provider.requests().len(),
            usize::try_from(tries).unwrap()
        );
        host.passes(Duration::from_millis(longest / 2));
    }
    host.provider.wait_for(2).await;
    host.until_idle().await;
    assert_eq!(
        texts(&host),
        ["hello", "and more"],
        "the second did not overtake"
    );
    assert_eq!(host.provider.requests().len(), 5);
    host.stop().await;
}

#[tokio::test]
async fn the_provider_may_ask_for_a_longer_wait() {
    let host = Setup::script().clock().start().await;
    let wait = |seconds| Answer::Status {
        status: 503,
        retry_after: Some(Duration::from_secs(seconds)),
    };
    host.provider.script([wait(60)]);
    host.hears("wamid.1", "reply hello").await;
    host.until("put off", |c| parts(c) == ["queued"]).await;
    host.passes(Duration::from_secs(59));
    assert_eq!(host.provider.requests().len(), 1);
    host.passes(Duration::from_secs(1));
    host.provider.wait_for(1).await;
    host.until_idle().await;
    host.stop().await;
}

#[tokio::test]
async fn what_never_succeeds_becomes_a_dead_letter_with_the_providers_words_and_is_sent_again_by_hand()
 {
    let host = Setup::script().start().await;
    host.provider.script([refuse(131_047)]);
    host.hears("wamid.1", "reply hello").await;
    let detail = host.until("dead", |c| parts(c) == ["dead"]).await;
    let dead = host
        .store
        .dead_letters(Some(&host.tenant), 10)
        .await
        .unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].id, detail.outbox[0].id);
    assert!(
        dead[0].reason.as_deref().unwrap().contains("131047"),
        "{dead:?}"
    );
    host.until_idle().await;
    host.provider.hold();
    host.store.replay(&dead[0].id).await.unwrap();
    host.provider.wait_for_arrivals(2).await;
    assert_eq!(host.locks().await, 1, "a turn can't overtake it");
    host.hears("wamid.2", "reply next").await;
    host.provider.release();
    host.provider.wait_for(2).await;
    let detail = host.until_idle().await;
    assert_eq!(texts(&host), ["hello", "next"]);
    assert_eq!(parts(&detail), ["sent", "sent"]);
    assert_eq!(host.locks().await, 0);
    assert!(host.store.dead_letters(None, 10).await.unwrap().is_empty());
    host.stop().await;
}

#[tokio::test]
async fn a_message_that_no_turn_could_answer_is_a_dead_letter_and_taken_up_again_by_hand() {
    let setup = Setup::script().settings(|s| s.max_attempts = 1);
    let host = setup
        .plugin_config(r#"{"script": "trap-until 2; reply at last"}"#)
        .start()
        .await;
    host.hears("wamid.1", "hello").await;
    host.until("dead", |c| states(c) == ["dead"]).await;
    let dead = host.store.dead_letters(None, 10).await.unwrap();
    assert!(
        dead[0].reason.as_deref().unwrap().starts_with("trap: "),
        "{dead:?}"
    );
    let was = host.store.device(&host.device).await.unwrap();
    let mut now = was.clone();
    now.plugin_config = "{}".to_owned();
    host.store.change_device(&was, &now).await.unwrap();
    host.store.replay(&dead[0].id).await.unwrap();
    assert_eq!(host.provider.sent().await.text.unwrap(), "You said: hello");
    let detail = host.until_idle().await;
    assert_eq!(states(&detail), ["done"]);
    assert_eq!(outcomes(&detail), ["trap", "committed"]);
    host.stop().await;
}

#[tokio::test]
async fn where_a_turn_fails_for_good_the_prospect_is_told_what_the_owner_wants() {
    let text = Fallback::Text {
        text: "We'll be back soon.".to_owned(),
    };
    let setup = Setup::script().settings(|s| s.fallback = text);
    let host = setup.start().await;
    assert_eq!(
        host.answers("wamid.1", "fail oh no").await,
        "We'll be back soon."
    );
    assert_eq!(states(&host.detail().await), ["dead"]);
    host.stop().await;
    let setup = Setup::script().settings(|s| s.fallback = Fallback::Handover);
    let host = setup.start().await;
    host.hears("wamid.1", "fail oh no").await;
    host.until("over", |c| states(c) == ["dead"]).await;
    assert_eq!(host.hears("wamid.2", "hello?").await["absorbed"], 1);
    host.stop().await;
}

/// I8: a part of which nobody knows is not sent again, and the provider's own word ends the doubt.
#[tokio::test]
async fn a_part_in_doubt_is_settled_by_the_providers_word() {
    let host = Setup::script().clock().start().await;
    host.provider.script([Answer::TakeAndCut]);
    host.hears("wamid.1", "parts 2").await;
    host.until("in doubt", |c| parts(c) == ["unknown", "queued"])
        .await;
    let arrived = host.provider.sent().await;
    let (wamid, ours) = (arrived.wamid.unwrap(), arrived.callback.unwrap());
    let word = Webhook::new().status(&wamid, "delivered", Some(&ours), host.now());
    host.receives(word).await;
    // The next part goes out at once: no time has passed.
    assert_eq!(host.provider.sent().await.text.unwrap(), "part 2");
    let detail = host.until_idle().await;
    assert_eq!(parts(&detail), ["sent", "sent"]);
    assert_eq!(detail.outbox[1].provider_message_id, Some(wamid));
    assert_eq!(host.provider.requests().len(), 2, "nothing was sent again");
    host.stop().await;
}

#[tokio::test]
async fn a_part_of_which_the_provider_says_that_it_failed_is_a_dead_letter() {
    let host = Setup::script().clock().start().await;
    host.provider.script([Answer::LoseAndCut]);
    host.hears("wamid.1", "reply lost").await;
    let detail = host.until("in doubt", |c| parts(c) == ["unknown"]).await;
    let ours = detail.outbox[0].id.clone();
    let word = Webhook::new().status("wamid.never", "failed", Some(&ours), host.now());
    host.receives(word).await;
    let detail = host.until_idle().await;
    assert_eq!(parts(&detail), ["dead"]);
    assert_eq!(host.provider.requests().len(), 1);
    host.stop().await;
}

#[tokio::test]
async fn a_part_that_stays_in_doubt_is_held_and_the_conversation_goes_on() {
    let host = Setup::script().clock().start().await;
    host.provider.script([Answer::LoseAndCut]);
    host.hears("wamid.1", "parts 2").await;
    host.until("in doubt", |c| parts(c) == ["unknown", "queued"])
        .await;
    host.hears("wamid.2", "reply next").await;
    host.passes(Duration::from_millis(29_999));
    assert_eq!(
        host.provider.requests().len(),
        1,
        "the lock is held meanwhile"
    );
    host.passes(Duration::from_millis(1));
    host.provider.wait_for(2).await;
    let detail = host.until_idle().await;
    assert_eq!(texts(&host), ["part 2", "next"]);
    assert_eq!(parts(&detail), ["held", "sent", "sent"]);
    // It is shown to the operator, who knows that it did not arrive.
    let held = host.store.dead_letters(None, 10).await.unwrap();
    assert_eq!(held[0].state, "held");
    host.store.replay(&held[0].id).await.unwrap();
    host.provider.wait_for(3).await;
    host.until("sent", |c| parts(c) == ["sent"; 3]).await;
    host.until_idle().await;
    host.stop().await;
}

#[tokio::test]
async fn where_the_owner_prefers_it_a_part_that_stays_in_doubt_is_sent_again() {
    let setup = Setup::script().settings(|s| s.unknown = UnknownPolicy::Resend);
    let host = setup.clock().start().await;
    host.provider.script([Answer::TakeAndCut]);
    host.hears("wamid.1", "reply twice").await;
    host.until("in doubt", |c| parts(c) == ["unknown"]).await;
    host.passes(Duration::from_secs(30));
    let taken = host.provider.wait_for(2).await;
    assert_eq!(taken[0].callback, taken[1].callback, "the same part");
    assert_eq!(parts(&host.until_idle().await), ["sent"]);
    host.stop().await;
}

#[tokio::test]
async fn the_providers_word_is_kept_with_the_part_and_only_gets_better() {
    let host = Setup::script().start().await;
    host.answers("wamid.1", "reply hello").await;
    let wamid = host.provider.taken()[0].wamid.clone().unwrap();
    let says = async |word: &str| {
        host.receives(Webhook::new().status(&wamid, word, None, host.now()))
            .await;
        statuses(&host.detail().await)[0].map(str::to_owned)
    };
    assert_eq!(says("sent").await.as_deref(), Some("sent"));
    assert_eq!(says("read").await.as_deref(), Some("read"));
    assert_eq!(
        says("delivered").await.as_deref(),
        Some("read"),
        "out of order"
    );
    host.answers("wamid.2", "reply more").await;
    let second = host.provider.taken()[1].wamid.clone().unwrap();
    host.receives(Webhook::new().status(&second, "failed", None, host.now()))
        .await;
    let detail = host.detail().await;
    assert_eq!(statuses(&detail), [Some("read"), Some("failed")]);
    assert!(detail.outbox[0].error.is_some());
    host.stop().await;
}

#[tokio::test]
async fn an_expired_token_alerts_the_operator_until_a_send_succeeds() {
    let host = Setup::script().start().await;
    let good = host.provider.credentials();
    let Credentials::Whatsapp {
        app_secret,
        verify_token,
        phone_number_id,
        api_base,
        ..
    } = good.clone()
    else {
        panic!("{good:?}")
    };
    let expired = Credentials::Whatsapp {
        access_token: Secret::new("expired"),
        app_secret,
        verify_token,
        phone_number_id,
        api_base,
    };
    host.store
        .change_credentials(&host.device, &expired)
        .await
        .unwrap();
    host.hears("wamid.1", "reply hello").await;
    let detail = host.until("dead", |c| parts(c) == ["dead"]).await;
    let alert = host
        .store
        .device(&host.device)
        .await
        .unwrap()
        .alert
        .unwrap();
    assert!(alert.contains("Invalid OAuth access token"), "{alert}");
    assert!(!alert.contains("expired"), "it tells no secret: {alert}");
    // The provider itself is well again, and so is the device with the next success.
    host.provider.script([]);
    host.store
        .change_credentials(&host.device, &good)
        .await
        .unwrap();
    assert_eq!(host.store.device(&host.device).await.unwrap().alert, None);
    host.store.replay(&detail.outbox[0].id).await.unwrap();
    host.provider.wait_for(1).await;
    host.until_idle().await;
    host.stop().await;
}

#[tokio::test]
async fn an_alert_goes_with_the_next_success() {
    let host = Setup::script().start().await;
    host.provider.script([refuse(131_031)]);
    host.hears("wamid.1", "reply hello").await;
    host.until("dead", |c| parts(c) == ["dead"]).await;
    assert!(
        host.store
            .device(&host.device)
            .await
            .unwrap()
            .alert
            .is_some()
    );
    host.until_idle().await;
    host.answers("wamid.2", "reply hello again").await;
    assert_eq!(host.store.device(&host.device).await.unwrap().alert, None);
    host.stop().await;
}

#[tokio::test]
async fn typing_and_read_marks_leave_at_once() {
    let host = Setup::script().start().await;
    host.provider.hold();
    host.hears("wamid.1", "read; typing; reply hello").await;
    let signs = host.provider.wait_for_presence(2).await;
    assert_eq!(signs[0]["message_id"], "wamid.1");
    assert_eq!(signs[1]["typing_indicator"]["type"], "text");
    host.provider.release();
    host.provider.wait_for(1).await;
    host.until_idle().await;
    host.stop().await;
}

#[tokio::test]
async fn buttons_media_reactions_and_answers_arrive_as_graph_wants_them() {
    let host = Setup::script().start().await;
    let script = "buttons Yes,No; media https://example.com/a.jpg look; media https://example.com/b.pdf; react 🎉; answer yes";
    host.hears("wamid.1", script).await;
    let taken = host.provider.wait_for(5).await;
    let kinds: Vec<_> = taken.iter().map(|m| m.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["interactive", "image", "document", "reaction", "text"]
    );
    let buttons = &taken[0].body["interactive"]["action"]["buttons"];
    assert_eq!(buttons[1]["reply"]["title"], "No");
    assert_eq!(taken[1].body["image"]["link"], "https://example.com/a.jpg");
    assert_eq!(taken[1].text.as_deref(), Some("look"));
    assert_eq!(taken[3].body["reaction"]["message_id"], "wamid.1");
    assert_eq!(taken[4].body["context"]["message_id"], "wamid.1");
    host.until_idle().await;
    let pressed = Webhook::new().button(PROSPECT, "wamid.2", "button-2", "No", host.now());
    host.receives(pressed).await;
    let said = host.provider.wait_for(6).await.remove(5).text.unwrap();
    assert_eq!(said, "You said: chose button-2 No");
    host.until_idle().await;
    host.stop().await;
}
