//! What a message meets that comes while its conversation is busy, and that nobody else's conversation is.

use std::collections::BTreeSet;
use std::time::Duration;

use nodepath::cli::demo::webhooks::Webhook;
use nodepath::model::DeviceSettings;
use nodepath::model::device::Overlap;
use nodepath::store::ConversationDetail;

use crate::support::{PROSPECT, Setup, TestHost, Trouble, conversation, outcomes, states, taken};

fn policy(overlap: Overlap) -> Setup {
    Setup::script().settings(|s| s.overlap = overlap)
}

/// Delivers a text that holds its plugin up for as long as there is a [`Trouble`], and waits until the plugin runs.
async fn begins(host: &TestHost, id: &str, text: &str) {
    assert_eq!(host.hears(id, text).await["accepted"], 1);
    host.until("running", |c| c.summary.state == "running")
        .await;
}

async fn texts(host: &TestHost) -> Vec<String> {
    let taken = host.provider.taken();
    taken.into_iter().filter_map(|m| m.text).collect()
}

fn is_running(detail: &ConversationDetail, try_number: usize) -> bool {
    detail.summary.state == "running" && detail.turns_run.len() + 1 == try_number
}

#[tokio::test]
async fn a_burst_while_the_plugin_waits_gets_one_reply_to_all_of_it() {
    let host = policy(Overlap::Restart).makes_trouble().start().await;
    let _trouble = Trouble::reads_hang();
    begins(&host, "wamid.1", "get tenant a").await;
    host.hears("wamid.2", "get tenant b").await;
    host.until("restarted", |c| is_running(c, 2)).await;
    host.hears("wamid.3", "and a third").await;
    let detail = host.until_idle().await;
    assert_eq!(
        texts(&host).await,
        ["You said: get tenant a\nget tenant b\nand a third"]
    );
    assert_eq!(outcomes(&detail), ["superseded", "superseded", "committed"]);
    assert_eq!(states(&detail), ["done"; 3]);
    let by: BTreeSet<_> = detail.inbox.iter().map(|m| m.turn.clone()).collect();
    assert_eq!(by.len(), 1, "one turn answers all");
    host.stop().await;
}

#[tokio::test]
async fn a_turn_that_was_restarted_often_enough_commits() {
    let setup = policy(Overlap::Restart).settings(|s| s.max_restarts = 1);
    let host = setup.makes_trouble().start().await;
    let trouble = Trouble::reads_hang();
    begins(&host, "wamid.1", "get tenant a").await;
    host.hears("wamid.2", "get tenant b").await;
    host.until("restarted", |c| is_running(c, 2)).await;
    host.hears("wamid.3", "get tenant c").await;
    drop(trouble);
    host.provider.wait_for(2).await;
    let detail = host.until_idle().await;
    assert_eq!(texts(&host).await, ["b is not set", "c is not set"]);
    assert_eq!(outcomes(&detail), ["superseded", "committed", "committed"]);
    host.stop().await;
}

#[tokio::test]
async fn a_turn_whose_first_message_has_waited_long_enough_commits() {
    let host = policy(Overlap::Restart)
        .makes_trouble()
        .clock()
        .start()
        .await;
    let trouble = Trouble::reads_hang();
    begins(&host, "wamid.1", "get tenant a").await;
    host.passes(Duration::from_secs(20));
    host.hears("wamid.2", "get tenant b").await;
    drop(trouble);
    host.provider.wait_for(2).await;
    host.until_idle().await;
    assert_eq!(texts(&host).await, ["a is not set", "b is not set"]);
    host.stop().await;
}

/// I6, with the two as close as they come: where a reply to the first alone has left, the second came after its commit.
#[tokio::test]
async fn a_stale_reply_never_leaves() {
    let host = policy(Overlap::Restart).start().await;
    let prospects: Vec<String> = (0..40).map(|n| format!("60120000{n:03}")).collect();
    let says = async |prospect: &str, text: &str| {
        let webhook =
            Webhook::new().text(prospect, &format!("{prospect}.{text}"), text, host.now());
        taken(host.posts(&webhook).await).await;
    };
    let both = prospects
        .iter()
        .map(|p| async { tokio::join!(says(p, "one"), says(p, "two")) });
    futures_util::future::join_all(both).await;
    for prospect in &prospects {
        let id = conversation(&host.device, prospect);
        let detail = host
            .until_in(&id, "idle", |c| c.summary.state == "idle")
            .await;
        let committed: Vec<_> = detail
            .turns_run
            .iter()
            .filter(|t| t.outcome == "committed")
            .collect();
        assert_eq!(states(&detail), ["done", "done"]);
        assert_eq!(detail.outbox.len(), committed.len());
        if let [second, first] = committed[..] {
            assert_ne!(first.id, second.id);
            assert!(
                detail.inbox[0].received_at >= first.finished_at,
                "{detail:#?}"
            );
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn under_queue_the_running_turn_commits_and_the_next_takes_what_came() {
    let host = policy(Overlap::Queue).makes_trouble().start().await;
    let trouble = Trouble::reads_hang();
    begins(&host, "wamid.1", "get tenant a").await;
    host.hears("wamid.2", "two").await;
    host.hears("wamid.3", "three").await;
    drop(trouble);
    host.provider.wait_for(2).await;
    let detail = host.until_idle().await;
    assert_eq!(texts(&host).await, ["a is not set", "You said: two\nthree"]);
    assert_eq!(outcomes(&detail), ["committed", "committed"]);
    host.stop().await;
}

#[tokio::test]
async fn under_queue_replies_come_in_the_order_of_the_messages() {
    let host = policy(Overlap::Queue).start().await;
    let said: Vec<String> = (0..20).map(|n| format!("number {n}")).collect();
    for (n, text) in said.iter().enumerate() {
        host.hears(&format!("wamid.{n}"), text).await;
    }
    host.until_idle().await;
    let answered: Vec<String> = texts(&host)
        .await
        .iter()
        .flat_map(|reply| reply.trim_start_matches("You said: ").lines())
        .map(str::to_owned)
        .collect();
    assert_eq!(answered, said);
    host.stop().await;
}

#[tokio::test]
async fn under_skip_a_message_that_meets_the_lock_is_recorded_and_its_plugin_not_called() {
    let host = policy(Overlap::Skip).makes_trouble().start().await;
    let trouble = Trouble::reads_hang();
    begins(&host, "wamid.1", "get tenant a").await;
    assert_eq!(host.hears("wamid.2", "reply two").await["skipped"], 1);
    drop(trouble);
    host.provider.sent().await;
    let detail = host.until_idle().await;
    assert_eq!(states(&detail), ["done", "skipped"]);
    assert_eq!(detail.inbox[0].reason.as_deref(), Some("locked"));
    assert_eq!(detail.turns_run.len(), 1, "no turn was run for it");
    assert_eq!(texts(&host).await, ["a is not set"]);
    host.stop().await;
}

#[tokio::test]
async fn a_message_that_comes_while_the_reply_is_being_sent_waits_for_the_release() {
    for overlap in [Overlap::Restart, Overlap::Queue] {
        let host = policy(overlap).start().await;
        host.provider.hold();
        host.hears("wamid.1", "reply one").await;
        host.provider.wait_for_arrivals(1).await;
        host.hears("wamid.2", "reply two").await;
        assert_eq!(host.executions().await, 0, "{overlap:?}");
        host.provider.release();
        host.provider.wait_for(2).await;
        host.until_idle().await;
        assert_eq!(texts(&host).await, ["one", "two"]);
        host.stop().await;
    }
}

#[tokio::test]
async fn debounce_waits_for_silence_and_one_turn_answers() {
    let setup = Setup::script().settings(|s| s.debounce_ms = 4_000).clock();
    let host = setup.start().await;
    for (n, text) in ["one", "two", "three"].into_iter().enumerate() {
        host.passes(Duration::from_secs(1));
        host.hears(&format!("wamid.{n}"), text).await;
    }
    host.passes(Duration::from_millis(3_900));
    assert_eq!(host.hears("wamid.2", "three").await["duplicates"], 1);
    let detail = host.detail().await;
    assert_eq!(detail.summary.state, "waiting");
    assert!(detail.turns_run.is_empty());
    assert_eq!(host.locks().await, 0, "who waits holds no lock");
    // The redelivery has not begun the wait anew.
    host.passes(Duration::from_millis(100));
    host.provider.sent().await;
    let detail = host.until_idle().await;
    assert_eq!(texts(&host).await, ["You said: one\ntwo\nthree"]);
    assert_eq!(outcomes(&detail), ["committed"]);
    host.stop().await;
}

#[tokio::test]
async fn debounce_does_not_wait_for_ever() {
    let setup = Setup::script().settings(|s| {
        s.debounce_ms = 4_000;
        s.max_wait_ms = 6_000;
    });
    let host = setup.clock().start().await;
    host.hears("wamid.1", "one").await;
    host.passes(Duration::from_secs(3));
    host.hears("wamid.2", "two").await;
    host.passes(Duration::from_millis(2_999));
    assert_eq!(host.detail().await.summary.state, "waiting");
    host.passes(Duration::from_millis(1));
    host.provider.sent().await;
    host.until_idle().await;
    assert_eq!(texts(&host).await, ["You said: one\ntwo"]);
    host.stop().await;
}

#[tokio::test]
async fn the_same_text_within_the_window_is_one_question_and_later_it_is_two() {
    let host = Setup::script().clock().start().await;
    host.answers("wamid.1", "hello").await;
    host.passes(Duration::from_millis(1_000));
    assert_eq!(host.hears("wamid.2", " hello ").await["skipped"], 1);
    host.passes(Duration::from_millis(999));
    // B4: another text is never taken for the same.
    assert_eq!(host.answers("wamid.3", "hello?").await, "You said: hello?");
    host.passes(Duration::from_millis(2_000));
    host.answers("wamid.4", "hello?").await;
    let detail = host.detail().await;
    assert_eq!(states(&detail), ["done", "skipped", "done", "done"]);
    assert_eq!(detail.inbox[2].reason.as_deref(), Some("same_text"));
    host.stop().await;
}

#[tokio::test]
async fn the_same_text_twice_while_the_plugin_runs_is_answered_once() {
    let host = policy(Overlap::Restart).makes_trouble().start().await;
    let trouble = Trouble::reads_hang();
    begins(&host, "wamid.1", "get tenant a").await;
    assert_eq!(host.hears("wamid.2", "get tenant a").await["skipped"], 1);
    drop(trouble);
    host.provider.sent().await;
    let detail = host.until_idle().await;
    assert_eq!(outcomes(&detail), ["committed"], "nothing was restarted");
    assert_eq!(texts(&host).await, ["a is not set"]);
    host.stop().await;
}

#[tokio::test]
async fn a_redelivery_changes_nothing_whenever_it_comes() {
    let host = policy(Overlap::Restart).makes_trouble().start().await;
    let again = async || {
        let answer = host.hears("wamid.1", "get tenant a").await;
        assert_eq!(
            (answer["duplicates"].clone(), answer["accepted"].clone()),
            (1.into(), 0.into())
        );
    };
    let trouble = Trouble::reads_hang();
    begins(&host, "wamid.1", "get tenant a").await;
    again().await;
    host.provider.hold();
    drop(trouble);
    host.provider.wait_for_arrivals(1).await;
    again().await;
    host.provider.release();
    host.until_idle().await;
    again().await;
    let detail = host.detail().await;
    assert_eq!(detail.summary.state, "idle");
    assert_eq!(outcomes(&detail), ["committed"]);
    assert_eq!(texts(&host).await, ["a is not set"]);
    host.stop().await;
}

#[tokio::test]
async fn a_redelivery_after_a_restart_of_the_host_changes_nothing() {
    let host = Setup::script().start().await;
    host.answers("wamid.1", "hello").await;
    let host = host.stop().await.restart().await;
    assert_eq!(host.hears("wamid.1", "hello").await["duplicates"], 1);
    assert_eq!(host.provider.requests().len(), 1);
    host.stop().await;
}

/// S26
#[tokio::test]
async fn two_hundred_conversations_are_locked_at_once_and_none_waits_for_another() {
    let host = policy(Overlap::Skip).start().await;
    host.provider.hold();
    let webhooks: Vec<Webhook> = (0..200)
        .map(|n| {
            let from = format!("60130000{n:03}");
            Webhook::new().text(&from, &format!("wamid.{n}"), "the same words", host.now())
        })
        .collect();
    let posts = webhooks.iter().map(|webhook| host.posts(webhook));
    for response in futures_util::future::join_all(posts).await {
        assert_eq!(taken(response).await["accepted"], 1);
    }
    host.provider.wait_for_arrivals(200).await;
    assert_eq!(host.locks().await, 200);
    host.provider.release();
    host.provider.wait_for(200).await;
    for n in 0..200 {
        let id = conversation(&host.device, &format!("60130000{n:03}"));
        host.until_in(&id, "idle", |c| c.summary.state == "idle")
            .await;
    }
    let to: BTreeSet<_> = host.provider.taken().into_iter().map(|m| m.to).collect();
    assert_eq!((to.len(), host.provider.requests().len()), (200, 200));
    host.stop().await;
}

/// S26, B7: the pair is what is locked, so the same prospect on another device is another conversation.
#[tokio::test]
async fn a_plugin_that_hangs_holds_up_its_own_conversation_only() {
    let host = policy(Overlap::Skip).makes_trouble().start().await;
    let credentials = host.provider.credentials();
    let settings = DeviceSettings {
        overlap: Overlap::Skip,
        ..DeviceSettings::default()
    };
    let other = host
        .add_device(
            &host.tenant,
            "device_456",
            credentials,
            "test-script",
            settings,
        )
        .await;
    let trouble = Trouble::reads_hang();
    begins(&host, "wamid.1", "get tenant a").await;
    let same_prospect = host.text("wamid.1", "reply from the other device");
    taken(host.posts_to(&other, &same_prospect).await).await;
    let somebody_else = Webhook::new().text("60123456789", "wamid.2", "reply else", host.now());
    host.receives(somebody_else).await;
    host.provider.wait_for(2).await;
    assert_eq!(host.executions().await, 1, "the first is still running");
    drop(trouble);
    host.provider.wait_for(3).await;
    host.until_idle().await;
    host.stop().await;
}

#[tokio::test]
async fn conversations_that_change_the_same_value_all_get_their_answer() {
    let host = Setup::script().start().await;
    let webhooks: Vec<Webhook> = (0..10)
        .map(|n| {
            let (from, id) = (format!("60140000{n:03}"), format!("wamid.{n}"));
            let script = format!("get tenant stock; set tenant stock {n}");
            Webhook::new().text(&from, &id, &script, host.now())
        })
        .collect();
    let posts = webhooks.iter().map(|webhook| host.posts(webhook));
    futures_util::future::join_all(posts).await;
    for n in 0..10 {
        let id = conversation(&host.device, &format!("60140000{n:03}"));
        let detail = host
            .until_in(&id, "idle", |c| c.summary.state == "idle")
            .await;
        assert_eq!(states(&detail), ["done"], "{detail:#?}");
    }
    assert_eq!(host.provider.taken().len(), 10);
    host.stop().await;
}

#[tokio::test]
async fn what_a_plugin_keeps_is_there_in_the_next_turn_and_only_where_it_reaches() {
    let host = Setup::script().start().await;
    let settings = DeviceSettings::default;
    let script = "test-script";
    let sibling = host
        .add_device(
            &host.tenant,
            "sibling",
            host.provider.credentials(),
            script,
            settings(),
        )
        .await;
    let stranger = host.store.add_tenant("stranger", 10).await.unwrap().id;
    let stranger = host
        .add_device(
            &stranger,
            "stranger",
            host.provider.credentials(),
            script,
            settings(),
        )
        .await;
    let set = "set tenant k 1; set prospect k 2; set conversation k 3; reply kept";
    host.answers("wamid.1", set).await;
    let get = "get tenant k; get prospect k; get conversation k";
    for (device, expected) in [
        (&host.device, ["k=1", "k=2", "k=3"]),
        (&sibling, ["k=1", "k=2", "k is not set"]),
        // I10, B7: the same prospect, the same key, another tenant.
        (&stranger, ["k is not set"; 3]),
    ] {
        let before = host.provider.taken().len();
        let webhook = host.text("wamid.2", get);
        taken(host.posts_to(device, &webhook).await).await;
        let all = host.provider.wait_for(before + 3).await;
        let told: Vec<_> = all[before..]
            .iter()
            .filter_map(|m| m.text.as_deref())
            .collect();
        assert_eq!(told, expected, "{device}");
        host.until_in(&conversation(device, PROSPECT), "idle", |c| {
            c.summary.state == "idle"
        })
        .await;
    }
    host.stop().await;
}
